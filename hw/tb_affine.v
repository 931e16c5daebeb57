// SPDX-License-Identifier: Apache-2.0
// Affine layer: acc[oy, ox, o] = bias[o] + sum over ky, kx, c of (x - ZERO_IN) * w[o, ky, kx, c],
// one multiply-accumulate per clock. Convolution (2-D, depthwise, grouped), dense (H = W = KH = KW
// = OH = OW = 1) and the sum of an average pool (CODE "ones", GROUPS = O = C) are settings of it.
// Geometry: see tb_window. A tap outside the frame has x = ZERO_IN before truncation.
// CODE: weight code "int8", "int4", "pot4" or "ones" (every weight 1, no weight file).
// BITS: the low 8-BITS bits of x, padding included, are cleared first (8: nothing is cleared).
// ACC_W: width of acc, at least 17; sums are exact modulo 2^ACC_W, so the final acc must fit.
// WEIGHT_FILE: words of the code in the order [o][ky][kx][c of the group]. BIAS_FILE: O words of ACC_W.
// Stream out: acc, channels last. A frame takes H*W*C + OH*OW*O*KH*KW*(C/GROUPS) + 1 clocks.
`default_nettype none
module tb_affine #(
    parameter integer H = 4,
    parameter integer W = 4,
    parameter integer C = 8,
    parameter integer OH = 4,
    parameter integer OW = 4,
    parameter integer O = 4,
    parameter integer KH = 3,
    parameter integer KW = 3,
    parameter integer SH = 1,
    parameter integer SW = 1,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer PT = 1,
    parameter integer PL = 1,
    parameter integer GROUPS = 1,
    parameter integer ZERO_IN = 0,
    parameter integer BITS = 8,
    parameter integer ACC_W = 32,
    parameter CODE = "int8",
    parameter WEIGHT_FILE = "",
    parameter BIAS_FILE = ""
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output wire [ACC_W-1:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    localparam integer WEIGHTS = O * KH * KW * (C / GROUPS);
    localparam [7:0] MASK = 8'hff << (8 - BITS);
    localparam signed [8:0] ZERO = ZERO_IN[8:0];

    wire step = !m_axis_tvalid || m_axis_tready;        // all stages move together
    wire tap_valid, tap_first, tap_last;
    wire [7:0] tap_data;
    wire [7:0] tap = tap_data & MASK;
    wire take = step && tap_valid;

    tb_window #(
        .H(H), .W(W), .C(C), .OH(OH), .OW(OW), .O(O), .KH(KH), .KW(KW), .SH(SH), .SW(SW),
        .DH(DH), .DW(DW), .PT(PT), .PL(PL), .GROUPS(GROUPS), .LANES(1), .PAD(ZERO_IN)
    ) window (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .empty(), .tap_data(tap_data), .tap_first(tap_first),
        .tap_last(tap_last), .tap_valid(tap_valid), .tap_ready(step));

    // Stage 1: x - ZERO_IN beside its weight and bias.
    reg valid, first, last;
    reg signed [8:0] x;
    wire signed [16:0] product;
    wire [ACC_W-1:0] bias;

    always @(posedge clk)
        if (rst) valid <= 1'b0;
        else if (step) valid <= tap_valid;

    always @(posedge clk)
        if (take) begin
            x <= $signed({tap[7], tap}) - ZERO;
            first <= tap_first;
            last <= tap_last;
        end

    generate
        if (CODE == "ones") begin : ones
            assign product = {{8{x[8]}}, x};
            assign bias = {ACC_W{1'b0}};
        end else begin : stored
            tb_sequence #(.WIDTH(ACC_W), .DEPTH(O), .FILE(BIAS_FILE)) biases (
                .clk(clk), .rst(rst), .read(take), .next(take && tap_last), .last(), .data(bias));
            if (CODE == "int4") begin : int4
                tb_product_int4 #(.DEPTH(WEIGHTS), .WEIGHT_FILE(WEIGHT_FILE)) multiply (
                    .clk(clk), .rst(rst), .next(take), .x(x), .product(product));
            end else if (CODE == "pot4") begin : pot4
                tb_product_pot4 #(.DEPTH(WEIGHTS), .WEIGHT_FILE(WEIGHT_FILE)) multiply (
                    .clk(clk), .rst(rst), .next(take), .x(x), .product(product));
            end else begin : int8
                tb_product_int8 #(.DEPTH(WEIGHTS), .WEIGHT_FILE(WEIGHT_FILE)) multiply (
                    .clk(clk), .rst(rst), .next(take), .x(x), .product(product));
            end
        end
    endgenerate

    // Stage 2: accumulate; the accumulator is the output register.
    reg [ACC_W-1:0] acc;

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (step) m_axis_tvalid <= valid && last;

    always @(posedge clk)
        if (step && valid) acc <= (first ? bias : acc) + {{(ACC_W-17){product[16]}}, product};

    assign m_axis_tdata = acc;
endmodule
`default_nettype wire
