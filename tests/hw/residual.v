// SPDX-License-Identifier: Apache-2.0
// x + requantise(conv(x)) as a generated top wires it: fork, a skip FIFO of one frame, join, tlast.
// Memory files and expected frames: hw_samples_layers.py.
`default_nettype none
module residual (
    input  wire clk,
    input  wire rst,
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    output wire [7:0] m_axis_tdata,
    output wire m_axis_tvalid,
    output wire m_axis_tlast,
    input  wire m_axis_tready
);
    wire [7:0] short_in, long_in, short_out, long_out, q;
    wire [23:0] acc;
    wire [15:0] sum;
    wire short_in_valid, short_in_ready, long_in_valid, long_in_ready, short_out_valid, short_out_ready;
    wire long_out_valid, long_out_ready, acc_valid, acc_ready, sum_valid, sum_ready, q_valid, q_ready;

    tb_fork fork_x (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .m_axis_a_tdata(short_in), .m_axis_a_tvalid(short_in_valid),
        .m_axis_a_tready(short_in_ready), .m_axis_b_tdata(long_in), .m_axis_b_tvalid(long_in_valid),
        .m_axis_b_tready(long_in_ready));
    tb_fifo #(.DEPTH(60)) skip (
        .clk(clk), .rst(rst), .s_axis_tdata(short_in), .s_axis_tvalid(short_in_valid),
        .s_axis_tready(short_in_ready), .m_axis_tdata(short_out), .m_axis_tvalid(short_out_valid),
        .m_axis_tready(short_out_ready));
    tb_affine #(
        .H(5), .W(4), .C(3), .OH(5), .OW(4), .O(3), .KH(3), .KW(3), .PT(1), .PL(1), .ZERO_IN(2), .ACC_W(24),
        .WEIGHT_FILE("residual.weight.mem"), .BIAS_FILE("residual.bias.mem")
    ) conv (
        .clk(clk), .rst(rst), .s_axis_tdata(long_in), .s_axis_tvalid(long_in_valid),
        .s_axis_tready(long_in_ready), .m_axis_tdata(acc), .m_axis_tvalid(acc_valid), .m_axis_tready(acc_ready));
    tb_requantise #(
        .ACC_W(24), .CHANNELS(3), .MULTIPLIER(0), .SHIFT(12), .ZERO_OUT(-4), .LO(-100), .HI(120),
        .MULTIPLIER_FILE("residual.multiplier.mem")
    ) narrow (
        .clk(clk), .rst(rst), .s_axis_tdata(acc), .s_axis_tvalid(acc_valid), .s_axis_tready(acc_ready),
        .m_axis_tdata(long_out), .m_axis_tvalid(long_out_valid), .m_axis_tready(long_out_ready));
    tb_add #(.ZERO_A(2), .ZERO_B(-4), .MULTIPLIER_A(3), .MULTIPLIER_B(5), .ACC_W(16)) add (
        .clk(clk), .rst(rst), .s_axis_a_tdata(short_out), .s_axis_a_tvalid(short_out_valid),
        .s_axis_a_tready(short_out_ready), .s_axis_b_tdata(long_out), .s_axis_b_tvalid(long_out_valid),
        .s_axis_b_tready(long_out_ready), .m_axis_tdata(sum), .m_axis_tvalid(sum_valid), .m_axis_tready(sum_ready));
    tb_requantise #(.ACC_W(16), .SHIFT(3), .ZERO_OUT(1)) total (
        .clk(clk), .rst(rst), .s_axis_tdata(sum), .s_axis_tvalid(sum_valid), .s_axis_tready(sum_ready),
        .m_axis_tdata(q), .m_axis_tvalid(q_valid), .m_axis_tready(q_ready));
    tb_frame #(.BEATS(60)) frame (
        .clk(clk), .rst(rst), .s_axis_tdata(q), .s_axis_tvalid(q_valid), .s_axis_tready(q_ready),
        .m_axis_tdata(m_axis_tdata), .m_axis_tvalid(m_axis_tvalid), .m_axis_tlast(m_axis_tlast),
        .m_axis_tready(m_axis_tready));
endmodule
`default_nettype wire
