// SPDX-License-Identifier: Apache-2.0
// Softmax over a frame of COUNT values: p = min(rhe(256 * e / sum e), 255) - 128 with
// e = exponential[max - q], rhe = round half to even. COUNT: 1 .. 32768.
// FILE: 256 unsigned 16-bit words, the largest of them 2^15.
// Time: 2 * COUNT clocks, then 34 for each value (one restoring division).
`default_nettype none
module tb_softmax #(
    parameter integer COUNT = 10,
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
    localparam [2:0] LOAD = 0, FETCH = 1, LOOK = 2, SUM = 3, DIVIDE = 4, ROUND = 5, SEND = 6;

    reg [2:0] state;
    reg summed;                                         // the second pass divides
    reg signed [7:0] frame [0:COUNT-1];
    reg signed [7:0] top, q;
    reg [AT_W-1:0] at;
    reg [31:0] sum;
    reg [4:0] bits_left;
    reg [23:0] scaled;                                  // 256 * e, shifted out at its top
    reg [31:0] rest;                                    // < sum <= 2^30
    reg [23:0] quotient;

    wire [15:0] e;
    wire [7:0] depth = top - q;                         // 0 .. 255, modulo 256
    wire last = at == COUNT[AT_W-1:0] - 1'b1;
    wire [31:0] shifted = {rest[30:0], scaled[23]};
    wire fits = shifted >= sum;
    wire [31:0] other = sum - rest;
    wire up = rest > other || (rest == other && quotient[0]);
    wire [23:0] rounded = quotient + {23'd0, up};

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
                state <= FETCH;
            end else begin
                scaled <= {e, 8'd0};
                rest <= 0;
                quotient <= 0;
                bits_left <= 5'd24;
                state <= DIVIDE;
            end
            DIVIDE: if (bits_left != 0) begin
                rest <= fits ? shifted - sum : shifted;
                quotient <= {quotient[22:0], fits};
                scaled <= {scaled[22:0], 1'b0};
                bits_left <= bits_left - 1'b1;
            end else state <= ROUND;
            ROUND: begin
                m_axis_tdata <= (rounded > 24'd255 ? 8'd255 : rounded[7:0]) ^ 8'h80;  // minus 128
                m_axis_tvalid <= 1'b1;
                state <= SEND;
            end
            SEND: if (m_axis_tready) begin
                m_axis_tvalid <= 1'b0;
                at <= last ? {AT_W{1'b0}} : at + 1'b1;
                state <= last ? LOAD : FETCH;
            end
            default: state <= LOAD;
        endcase
endmodule
`default_nettype wire
