// SPDX-License-Identifier: Apache-2.0
// Requantise: q = clip(round((acc - ZERO_IN) * m / 2^s) + ZERO_OUT, LO, HI), exact. One shift rounds
// every way: round(p / 2^s) = (p + nudge) >> s, nudge = 0 for s = 0.
// ROUNDINGS 0: half to even, nudge = 2^(s-1) - 1 + bit s of p. 1: TFLite's single one, half up,
// nudge = 2^(s-1). 2: TFLite's two, half up by 31 bits, then half away from zero: where s > 31,
// nudge = 2^(s-1) + 2^30, or - 2^30 for p < -2^30 (what the first one makes negative). 3: TFLite's of an
// average, half away from zero: nudge = 2^(s-1), less 1 for p < 0. 4: a mean, half up by s - 15 bits (s > 15),
// then half to even: nudge = 2^(s-16) + 2^(s-1) - 2^(s-15) (1 - bit s of p + 2^(s-16)).
// ACC_W: width of the signed accumulator (at most 64). CHANNELS: beat n has channel n % CHANNELS.
// MULTIPLIER: the m of every channel (1 .. 2^31-1; 1 builds no multiplier), or 0: m per channel out
// of MULTIPLIER_FILE, CHANNELS 31-bit words. SHIFT: the s of every channel (0 .. 62), or 63: s per
// channel out of SHIFT_FILE, CHANNELS 6-bit words. An unused file is not read.
// ZERO_IN, ZERO_OUT, LO, HI: -128 .. 127. Latency four clocks, one value per clock.
`default_nettype none
module tb_requantise #(
    parameter integer ACC_W = 32,
    parameter integer CHANNELS = 1,
    parameter integer MULTIPLIER = 1,
    parameter integer SHIFT = 0,
    parameter integer ZERO_IN = 0,
    parameter integer ZERO_OUT = 0,
    parameter integer LO = -128,
    parameter integer HI = 127,
    parameter integer ROUNDINGS = 0,
    parameter MULTIPLIER_FILE = "",
    parameter SHIFT_FILE = ""
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [ACC_W-1:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output reg  [7:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    localparam integer X_W = (ZERO_IN != 0) ? ACC_W + 1 : ACC_W;
    localparam integer M_W = (MULTIPLIER == 0) ? 31 : $clog2(MULTIPLIER) + 1;
    localparam integer P_W = (MULTIPLIER == 1) ? X_W : X_W + M_W;      // |p| <= 2^(P_W-1)
    localparam integer S_MAX = (SHIFT == 63) ? 62 : SHIFT;
    localparam integer S_W = ((P_W > S_MAX + 8) ? P_W : S_MAX + 8) + 1; // p + 2^(s-1) and q fit

    wire step = !m_axis_tvalid || m_axis_tready;        // all stages move together
    assign s_axis_tready = step;

    // Stage 1: subtract ZERO_IN, beside the channel's m and s.
    reg valid1, valid2, valid3;
    reg signed [X_W-1:0] x;
    wire take = step && s_axis_tvalid;

    generate
        if (ZERO_IN != 0) begin : zero
            always @(posedge clk)
                if (take) x <= {s_axis_tdata[ACC_W-1], s_axis_tdata} - {{(X_W-8){ZERO_IN[7]}}, ZERO_IN[7:0]};
        end else begin : no_zero
            always @(posedge clk) if (take) x <= s_axis_tdata;
        end
    endgenerate

    // Stage 2: p = x * m.
    reg signed [P_W-1:0] p;

    generate
        if (MULTIPLIER == 1) begin : one
            always @(posedge clk) if (step) p <= x;
        end else if (MULTIPLIER == 0) begin : each
            wire [30:0] m;
            tb_sequence #(.WIDTH(31), .DEPTH(CHANNELS), .FILE(MULTIPLIER_FILE)) multipliers (
                .clk(clk), .rst(rst), .read(take), .next(take), .last(), .data(m));
            always @(posedge clk) if (step) p <= x * $signed({1'b0, m});
        end else begin : shared
            always @(posedge clk) if (step) p <= x * $signed({1'b0, MULTIPLIER[M_W-1:0]});
        end
    endgenerate

    // s of the values in stages 2 and 3.
    wire [5:0] s2, s3;

    generate
        if (SHIFT == 63) begin : each_shift
            wire [5:0] s1;
            reg [5:0] s2_reg, s3_reg;
            tb_sequence #(.WIDTH(6), .DEPTH(CHANNELS), .FILE(SHIFT_FILE)) shifts (
                .clk(clk), .rst(rst), .read(take), .next(take), .last(), .data(s1));
            always @(posedge clk)
                if (step) begin
                    s2_reg <= s1;
                    s3_reg <= s2_reg;
                end
            assign s2 = s2_reg;
            assign s3 = s3_reg;
        end else begin : shared_shift
            assign s2 = SHIFT[5:0];
            assign s3 = SHIFT[5:0];
        end
    endgenerate

    // Stage 3: the nudge.
    reg signed [S_W-1:0] sum;
    wire signed [S_W-1:0] wide = {{(S_W-P_W){p[P_W-1]}}, p};
    wire [S_W-1:0] unit = {{(S_W-1){1'b0}}, 1'b1} << s2;
    wire [S_W-1:0] nudge;

    generate
        if (ROUNDINGS == 0) begin : half_even
            wire [S_W-1:0] below_half = (unit - 1'b1) >> 1; // 2^(s-1) - 1, or 0 for s = 0
            wire odd = |(wide & unit) && s2 != 6'd0;
            assign nudge = below_half + {{(S_W-1){1'b0}}, odd};
        end else if (ROUNDINGS == 4) begin : mean
            wire [S_W-1:0] first = unit >> 16;
            wire odd = |((wide + first) & unit);
            assign nudge = first + (unit >> 1) - (odd ? {S_W{1'b0}} : unit >> 15);
        end else if (ROUNDINGS == 3) begin : half_away
            wire less = wide[S_W-1] && s2 != 6'd0;
            assign nudge = (unit >> 1) - {{(S_W-1){1'b0}}, less};
        end else if (ROUNDINGS == 1 || S_MAX <= 31) begin : half_up
            assign nudge = unit >> 1;
        end else begin : twice
            localparam signed [S_W-1:0] CARRY = {{(S_W-31){1'b0}}, 31'h40000000};
            localparam [S_W-1:0] ABOVE = {{(S_W-30){1'b1}}, 30'b0};
            wire [S_W-1:0] half = unit >> 1;            // for s > 31 one bit, and above CARRY
            wire [S_W-1:0] less = ((unit - 1'b1) >> 1) & ABOVE; // half - CARRY
            assign nudge = (s2 <= 6'd31) ? half : (wide < -CARRY) ? less : half | CARRY;
        end
    endgenerate

    always @(posedge clk)
        if (step) sum <= wide + nudge;

    // Stage 4: shift, zero point, saturate.
    localparam signed [S_W-1:0] ZERO_WIDE = {{(S_W-8){ZERO_OUT[7]}}, ZERO_OUT[7:0]};
    localparam signed [S_W-1:0] LO_WIDE = {{(S_W-8){LO[7]}}, LO[7:0]};
    localparam signed [S_W-1:0] HI_WIDE = {{(S_W-8){HI[7]}}, HI[7:0]};
    wire signed [S_W-1:0] shifted = sum >>> s3;
    wire signed [S_W-1:0] q = shifted + ZERO_WIDE;

    always @(posedge clk)
        if (step) m_axis_tdata <= (q < LO_WIDE) ? LO[7:0] : (q > HI_WIDE) ? HI[7:0] : q[7:0];

    always @(posedge clk)
        if (rst) {m_axis_tvalid, valid3, valid2, valid1} <= 4'b0;
        else if (step) {m_axis_tvalid, valid3, valid2, valid1} <= {valid3, valid2, valid1, s_axis_tvalid};
endmodule
`default_nettype wire
