// SPDX-License-Identifier: Apache-2.0
// A top as the generator writes it, for the test of templates/rtl_driver.cpp.j2:
// dense 4 -> 3 (pot4), table; with TB_TRACE the inner stream is shown. `bits` has no meaning here
// and plants a bug for the driver to find: 1 tlast, 2 a beat that changes while it waits,
// 3 a surplus beat, 4 silence, 8 none.
`default_nettype none
module driver_top (
    input  wire clk,
    input  wire rst,
    input  wire [3:0] bits,
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    output wire [7:0] m_axis_tdata,
    output wire m_axis_tvalid,
    output wire m_axis_tlast,
    input  wire m_axis_tready
`ifdef TB_TRACE
    , output wire [7:0] trace_0_data
    , output wire trace_0_fire
`endif
);
    wire [19:0] acc;
    wire [7:0] a, b, data;
    wire acc_valid, acc_ready, a_valid, a_ready, b_valid, b_ready, valid, last;

    tb_affine #(
        .H(1), .W(1), .C(4), .OH(1), .OW(1), .O(3), .KH(1), .KW(1), .PT(0), .PL(0), .ACC_W(20), .CODE("pot4"),
        .WEIGHT_FILE("weights.mem"), .BIAS_FILE("bias.mem")
    ) dense (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .m_axis_tdata(acc), .m_axis_tvalid(acc_valid), .m_axis_tready(acc_ready));
    tb_requantise #(.ACC_W(20), .SHIFT(4)) narrow (
        .clk(clk), .rst(rst), .s_axis_tdata(acc), .s_axis_tvalid(acc_valid), .s_axis_tready(acc_ready),
        .m_axis_tdata(a), .m_axis_tvalid(a_valid), .m_axis_tready(a_ready));
    tb_table #(.FILE("table.mem")) entries (
        .clk(clk), .rst(rst), .s_axis_tdata(a), .s_axis_tvalid(a_valid), .s_axis_tready(a_ready),
        .m_axis_tdata(b), .m_axis_tvalid(b_valid), .m_axis_tready(b_ready));
    tb_frame #(.BEATS(3)) frame (
        .clk(clk), .rst(rst), .s_axis_tdata(b), .s_axis_tvalid(b_valid), .s_axis_tready(b_ready),
        .m_axis_tdata(data), .m_axis_tvalid(valid), .m_axis_tlast(last), .m_axis_tready(m_axis_tready));

    reg [15:0] clocks, beats;
    always @(posedge clk)
        if (rst) {clocks, beats} <= 0;
        else {clocks, beats} <= {clocks + 16'd1, beats + {15'd0, m_axis_tvalid && m_axis_tready}};

    assign m_axis_tdata = data ^ {7'd0, bits == 4'd2 && clocks[0]};
    assign m_axis_tlast = last ^ (bits == 4'd1 && beats == 16'd5);
    assign m_axis_tvalid = bits == 4'd3 ? valid || (beats == 16'd30 && clocks > 16'd400)
        : bits == 4'd4 ? valid && beats < 16'd7 : valid;
`ifdef TB_TRACE
    assign trace_0_data = a;
    assign trace_0_fire = a_valid && a_ready;
`endif
endmodule
`default_nettype wire
