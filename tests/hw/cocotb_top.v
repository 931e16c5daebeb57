// SPDX-License-Identifier: Apache-2.0
// Four streaming designs side by side for cocotb_streams.py, each with tlast by tb_frame:
// layer (tb_affine + tb_requantise), pool (tb_pool64 + tb_requantise), max (tb_maxpool),
// add (tb_add + tb_requantise). Cases and memory files: hw_cases.py.
`default_nettype none
module cocotb_top (
    input  wire clk,
    input  wire rst,
    input  wire [3:0] bits,
    // layer
    input  wire [7:0] layer_s_axis_tdata,
    input  wire layer_s_axis_tvalid,
    output wire layer_s_axis_tready,
    output wire [7:0] layer_m_axis_tdata,
    output wire layer_m_axis_tvalid,
    output wire layer_m_axis_tlast,
    input  wire layer_m_axis_tready,
    // pool
    input  wire [7:0] pool_s_axis_tdata,
    input  wire pool_s_axis_tvalid,
    output wire pool_s_axis_tready,
    output wire [7:0] pool_m_axis_tdata,
    output wire pool_m_axis_tvalid,
    output wire pool_m_axis_tlast,
    input  wire pool_m_axis_tready,
    // max
    input  wire [7:0] max_s_axis_tdata,
    input  wire max_s_axis_tvalid,
    output wire max_s_axis_tready,
    output wire [7:0] max_m_axis_tdata,
    output wire max_m_axis_tvalid,
    output wire max_m_axis_tlast,
    input  wire max_m_axis_tready,
    // add
    input  wire [7:0] add_s_axis_tdata,
    input  wire add_s_axis_tvalid,
    output wire add_s_axis_tready,
    input  wire [7:0] add_s_axis_b_tdata,
    input  wire add_s_axis_b_tvalid,
    output wire add_s_axis_b_tready,
    output wire [7:0] add_m_axis_tdata,
    output wire add_m_axis_tvalid,
    output wire add_m_axis_tlast,
    input  wire add_m_axis_tready
);
    wire [23:0] layer_acc, pool_acc;
    wire [15:0] add_acc;
    wire layer_acc_valid, layer_acc_ready, pool_acc_valid, pool_acc_ready, add_acc_valid, add_acc_ready;
    wire [7:0] layer_q, pool_q, max_q, add_q;
    wire layer_valid, layer_ready, pool_valid, pool_ready, max_valid, max_ready, add_valid, add_ready;

    tb_affine #(
        .H(4), .W(3), .C(2), .OH(2), .OW(2), .O(3), .KH(3), .KW(3), .SH(2), .SW(2), .PT(1), .PL(1),
        .ZERO_IN(-9), .ACC_W(24), .WEIGHT_FILE("layer.weight.mem"), .BIAS_FILE("layer.bias.mem")
    ) layer (
        .clk(clk), .rst(rst), .s_axis_tdata(layer_s_axis_tdata), .s_axis_tvalid(layer_s_axis_tvalid),
        .s_axis_tready(layer_s_axis_tready), .m_axis_tdata(layer_acc), .m_axis_tvalid(layer_acc_valid),
        .m_axis_tready(layer_acc_ready));
    tb_requantise #(
        .ACC_W(24), .CHANNELS(3), .MULTIPLIER(0), .SHIFT(16), .ZERO_OUT(4), .MULTIPLIER_FILE("layer.multiplier.mem")
    ) layer_narrow (
        .clk(clk), .rst(rst), .s_axis_tdata(layer_acc), .s_axis_tvalid(layer_acc_valid),
        .s_axis_tready(layer_acc_ready), .m_axis_tdata(layer_q), .m_axis_tvalid(layer_valid),
        .m_axis_tready(layer_ready));
    tb_frame #(.BEATS(12)) layer_frame (
        .clk(clk), .rst(rst), .s_axis_tdata(layer_q), .s_axis_tvalid(layer_valid), .s_axis_tready(layer_ready),
        .m_axis_tdata(layer_m_axis_tdata), .m_axis_tvalid(layer_m_axis_tvalid),
        .m_axis_tlast(layer_m_axis_tlast), .m_axis_tready(layer_m_axis_tready));

    tb_pool64 #(
        .H(1), .W(3), .C(16), .OH(1), .OW(2), .O(3), .KH(1), .KW(3), .PT(0), .PL(1), .ZERO_IN(5), .ACC_W(24),
        .INDEX_FILE("pool.index.mem"), .TABLE_FILE("pool.table.mem"), .BIAS_FILE("pool.bias.mem")
    ) pool (
        .clk(clk), .rst(rst), .bits(bits), .s_axis_tdata(pool_s_axis_tdata), .s_axis_tvalid(pool_s_axis_tvalid),
        .s_axis_tready(pool_s_axis_tready), .m_axis_tdata(pool_acc), .m_axis_tvalid(pool_acc_valid),
        .m_axis_tready(pool_acc_ready));
    tb_requantise #(.ACC_W(24), .SHIFT(9)) pool_narrow (
        .clk(clk), .rst(rst), .s_axis_tdata(pool_acc), .s_axis_tvalid(pool_acc_valid),
        .s_axis_tready(pool_acc_ready), .m_axis_tdata(pool_q), .m_axis_tvalid(pool_valid),
        .m_axis_tready(pool_ready));
    tb_frame #(.BEATS(6)) pool_frame (
        .clk(clk), .rst(rst), .s_axis_tdata(pool_q), .s_axis_tvalid(pool_valid), .s_axis_tready(pool_ready),
        .m_axis_tdata(pool_m_axis_tdata), .m_axis_tvalid(pool_m_axis_tvalid),
        .m_axis_tlast(pool_m_axis_tlast), .m_axis_tready(pool_m_axis_tready));

    tb_maxpool #(.H(4), .W(5), .C(3), .OH(2), .OW(3), .KH(2), .KW(2), .SH(2), .SW(2), .PL(1)) max (
        .clk(clk), .rst(rst), .s_axis_tdata(max_s_axis_tdata), .s_axis_tvalid(max_s_axis_tvalid),
        .s_axis_tready(max_s_axis_tready), .m_axis_tdata(max_q), .m_axis_tvalid(max_valid),
        .m_axis_tready(max_ready));
    tb_frame #(.BEATS(18)) max_frame (
        .clk(clk), .rst(rst), .s_axis_tdata(max_q), .s_axis_tvalid(max_valid), .s_axis_tready(max_ready),
        .m_axis_tdata(max_m_axis_tdata), .m_axis_tvalid(max_m_axis_tvalid),
        .m_axis_tlast(max_m_axis_tlast), .m_axis_tready(max_m_axis_tready));

    tb_add #(.ZERO_A(3), .ZERO_B(-7), .MULTIPLIER_A(5), .MULTIPLIER_B(12), .ACC_W(16)) add (
        .clk(clk), .rst(rst), .s_axis_a_tdata(add_s_axis_tdata), .s_axis_a_tvalid(add_s_axis_tvalid),
        .s_axis_a_tready(add_s_axis_tready), .s_axis_b_tdata(add_s_axis_b_tdata),
        .s_axis_b_tvalid(add_s_axis_b_tvalid), .s_axis_b_tready(add_s_axis_b_tready),
        .m_axis_tdata(add_acc), .m_axis_tvalid(add_acc_valid), .m_axis_tready(add_acc_ready));
    tb_requantise #(.ACC_W(16), .SHIFT(4), .ZERO_OUT(-1)) add_narrow (
        .clk(clk), .rst(rst), .s_axis_tdata(add_acc), .s_axis_tvalid(add_acc_valid),
        .s_axis_tready(add_acc_ready), .m_axis_tdata(add_q), .m_axis_tvalid(add_valid),
        .m_axis_tready(add_ready));
    tb_frame #(.BEATS(20)) add_frame (
        .clk(clk), .rst(rst), .s_axis_tdata(add_q), .s_axis_tvalid(add_valid), .s_axis_tready(add_ready),
        .m_axis_tdata(add_m_axis_tdata), .m_axis_tvalid(add_m_axis_tvalid),
        .m_axis_tlast(add_m_axis_tlast), .m_axis_tready(add_m_axis_tready));
endmodule
`default_nettype wire
