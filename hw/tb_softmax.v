// SPDX-License-Identifier: Apache-2.0
// Softmax over a frame of COUNT values: p = min(rhe(2^BITS * e / d) + ZERO, HI) with e = exponential[max - q],
// rhe = round half to even, d = s + floor((EXTRA * s + 2^23) / 2^24), s = sum e.
// COUNT: 1 .. 16384; BITS: 0 .. 24; EXTRA: 0 .. 2^24 - 1; ZERO, HI: -128 .. 127.
// FILE: 256 unsigned 16-bit words, the largest of them 2^15.
// Time: 4 * COUNT clocks, then BITS + 22 for each value (one restoring division).
`default_nettype none
module tb_softmax #(
    parameter integer COUNT = 10,
    parameter integer BITS = 8,
    parameter integer EXTRA = 0,
    parameter integer ZERO = -128,
    parameter integer HI = 127,
    parameter FILE = ""
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output reg  [7:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    localparam integer AT_W = (COUNT > 1) ? $clog2(COUNT) : 1;
    localparam integer W = 16 + BITS;
    localparam [31:0] OFFSET = ZERO, MOST = HI, MORE = EXTRA;
    localparam [2:0] LOAD = 0, FETCH = 1, LOOK = 2, SUM = 3, DIVIDE = 4, ROUND = 5, SEND = 6, WIDEN = 7;

    reg [2:0] state;
    reg summed;                                         // the second pass divides
    reg signed [7:0] frame [0:COUNT-1];
    reg signed [7:0] top, q;
    reg [AT_W-1:0] at;
    reg [31:0] sum;
    reg [5:0] bits_left;
    reg [W-1:0] scaled;                                 // 2^BITS * e, shifted out at its top
    reg [31:0] rest;                                    // < sum <= 2^30
    reg [W-1:0] quotient;

    wire [15:0] e;
    wire [7:0] depth = top - q;                         // 0 .. 255, modulo 256
    wire last = at == COUNT[AT_W-1:0] - 1'b1;
    wire [31:0] shifted = {rest[30:0], scaled[W-1]};
    wire fits = shifted >= sum;
    wire [31:0] other = sum - rest;
    wire up = rest > other || (rest == other && quotient[0]);
    wire [41:0] rounded = {{(42-W){1'b0}}, quotient} + {41'd0, up} + {{10{OFFSET[31]}}, OFFSET};
    wire over = $signed(rounded) > $signed({{10{MOST[31]}}, MOST});
    wire [54:0] widened = {23'd0, MORE} * {23'd0, sum} + 55'd8388608;

    assign s_axis_tready = state == LOAD;

    tb_rom #(.WIDTH(16), .DEPTH(256), .FILE(FILE)) exponential (
        .clk(clk), .read(state == LOOK), .address(depth), .data(e));

    always @(posedge clk)
        if (state == LOAD && s_axis_tvalid) frame[at] <= s_axis_tdata;

    always @(posedge clk)
        if (rst) begin
            state <= LOAD;
            at <= 0;
            m_axis_tvalid <= 1'b0;
        end else case (state)
            LOAD: if (s_axis_tvalid) begin
                if (at == 0 || $signed(s_axis_tdata) > top) top <= s_axis_tdata;
                at <= last ? {AT_W{1'b0}} : at + 1'b1;
                sum <= 0;
                summed <= 1'b0;
                if (last) state <= FETCH;
            end
            FETCH: begin
                q <= frame[at];
                state <= LOOK;
            end
            LOOK: state <= SUM;
            SUM: if (!summed) begin
                sum <= sum + {16'd0, e};
                at <= last ? {AT_W{1'b0}} : at + 1'b1;
                summed <= last;
                state <= last ? WIDEN : FETCH;
            end else begin
                scaled <= {W{1'b0}};
                scaled[W-1:BITS] <= e;
                rest <= 0;
                quotient <= 0;
                bits_left <= W[5:0];
                state <= DIVIDE;
            end
            DIVIDE: if (bits_left != 0) begin
                rest <= fits ? shifted - sum : shifted;
                quotient <= {quotient[W-2:0], fits};
                scaled <= {scaled[W-2:0], 1'b0};
                bits_left <= bits_left - 1'b1;
            end else state <= ROUND;
            ROUND: begin
                m_axis_tdata <= over ? MOST[7:0] : rounded[7:0];
                m_axis_tvalid <= 1'b1;
                state <= SEND;
            end
            SEND: if (m_axis_tready) begin
                m_axis_tvalid <= 1'b0;
                at <= last ? {AT_W{1'b0}} : at + 1'b1;
                state <= last ? LOAD : FETCH;
            end
            WIDEN: begin
                sum <= sum + {1'b0, widened[54:24]};
                state <= FETCH;
            end
        endcase
endmodule
`default_nettype wire
