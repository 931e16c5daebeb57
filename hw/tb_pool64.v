// SPDX-License-Identifier: Apache-2.0
// Affine layer whose weights are 8-channel vectors out of a pool of 64 int8 vectors:
// acc[oy, ox, o] = bias[o] + sum over ky, kx, group g of 8 channels of u . pool[index[o, ky, kx, g]],
// where u = q' + 128 is unsigned and q' is q with its low 8 - bits bits cleared, padding included.
// Bit-serial look-up: bit b of the eight u forms a byte, and acc += table[byte][index] << b for
// b = 7 .. 8-bits. The offline fold bias = b - (128 + zero) * sum(w) is the same for every `bits`.
// `bits` (2 .. 8, run time; 0 and above 8 read as 8) is sampled with the first byte of a frame.
// Geometry: see tb_window; C/GROUPS is a multiple of 8; a tap outside the frame has q = ZERO_IN.
// ACC_W: width of acc, at least 19; sums are exact modulo 2^ACC_W, so the final acc must fit.
// INDEX_FILE: 6-bit words in the order [o][ky][kx][group]. BIAS_FILE: O words of ACC_W.
// TABLE_FILE: 256 * 64 signed 12-bit words, word byte*64 + index = sum of the entries j of the
// pool vector whose bit j is set in the byte (entry j belongs to channel 8*group + j).
// Stream out: acc, channels last. A frame takes H*W*C + OH*OW*O*KH*KW*(C/GROUPS/8)*bits + 2 - bits clocks.
`default_nettype none
module tb_pool64 #(
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
    parameter integer ACC_W = 32,
    parameter INDEX_FILE = "",
    parameter TABLE_FILE = "",
    parameter BIAS_FILE = ""
) (
    input  wire clk,
    input  wire rst,
    input  wire [3:0] bits,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output wire [ACC_W-1:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    localparam integer INDICES = O * KH * KW * (C / GROUPS / 8);

    wire step = !m_axis_tvalid || m_axis_tready;        // all stages move together
    wire empty, tap_valid, tap_first, tap_last, take;
    wire [63:0] tap_data;

    // Lowest plane of this frame.
    reg [2:0] plane_end;

    always @(posedge clk)
        if (s_axis_tvalid && empty) plane_end <= bits[3] ? 3'd0 : -bits[2:0];

    tb_window #(
        .H(H), .W(W), .C(C), .OH(OH), .OW(OW), .O(O), .KH(KH), .KW(KW), .SH(SH), .SW(SW),
        .DH(DH), .DW(DW), .PT(PT), .PL(PL), .GROUPS(GROUPS), .LANES(8), .PAD(ZERO_IN)
    ) window (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .empty(empty), .tap_data(tap_data), .tap_first(tap_first),
        .tap_last(tap_last), .tap_valid(tap_valid), .tap_ready(take));

    // Stage 1: one tap, its index and its bias, held for all planes. The lowest plane travels with
    // the tap: the next frame may begin to load, with other bits, while the last tap is still here.
    reg valid, first, last;
    reg [63:0] tap;
    reg [2:0] plane, tap_end;
    wire [5:0] index;
    wire [ACC_W-1:0] bias;
    wire plane_last = plane == tap_end;
    wire plane_top = plane == 3'd7;

    assign take = step && (!valid || plane_last);

    always @(posedge clk)
        if (rst) valid <= 1'b0;
        else if (take) valid <= tap_valid;

    always @(posedge clk)
        if (take) begin
            tap <= tap_data;
            first <= tap_first;
            last <= tap_last;
            plane <= 3'd7;
            tap_end <= plane_end;
        end else if (step) plane <= plane - 3'd1;

    tb_sequence #(.WIDTH(6), .DEPTH(INDICES), .FILE(INDEX_FILE)) indices (
        .clk(clk), .rst(rst), .read(take && tap_valid), .next(take && tap_valid), .last(), .data(index));
    tb_sequence #(.WIDTH(ACC_W), .DEPTH(O), .FILE(BIAS_FILE)) biases (
        .clk(clk), .rst(rst), .read(take && tap_valid), .next(take && tap_valid && tap_last),
        .last(), .data(bias));

    // The plane's byte: u = q + 128 only inverts the top bit.
    wire [7:0] subset;
    genvar i;
    generate
        for (i = 0; i < 8; i = i + 1) begin : lane
            wire [7:0] q = tap[8*i +: 8];
            assign subset[i] = q[plane] ^ plane_top;
        end
    endgenerate

    // Stage 2: the table's answer.
    reg summand_valid, summand_first, summand_last;
    reg [2:0] shift;
    reg [ACC_W-1:0] summand_bias;
    wire [11:0] sum;
    wire signed [18:0] wide = {{7{sum[11]}}, sum};
    wire signed [18:0] summand = wide <<< shift;

    tb_rom #(.WIDTH(12), .DEPTH(256 * 64), .FILE(TABLE_FILE)) table_rom (
        .clk(clk), .read(step), .address({subset, index}), .data(sum));

    always @(posedge clk)
        if (rst) summand_valid <= 1'b0;
        else if (step) summand_valid <= valid;

    always @(posedge clk)
        if (step) begin
            summand_first <= first && plane_top;
            summand_last <= last && plane_last;
            summand_bias <= bias;
            shift <= plane;
        end

    // Stage 3: accumulate; the accumulator is the output register.
    reg [ACC_W-1:0] acc;

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (step) m_axis_tvalid <= summand_valid && summand_last;

    always @(posedge clk)
        if (step && summand_valid)
            acc <= (summand_first ? summand_bias : acc) + {{(ACC_W-19){summand[18]}}, summand};

    assign m_axis_tdata = acc;
endmodule
`default_nettype wire
