// SPDX-License-Identifier: Apache-2.0
// Maximum over a window, channel by channel; geometry: see tb_window. A tap outside the frame is
// the lowest value, so padding never wins. A frame takes H*W*C + OH*OW*C*KH*KW + 1 clocks.
`default_nettype none
module tb_maxpool #(
    parameter integer H = 4,
    parameter integer W = 4,
    parameter integer C = 4,
    parameter integer OH = 2,
    parameter integer OW = 2,
    parameter integer KH = 2,
    parameter integer KW = 2,
    parameter integer SH = 2,
    parameter integer SW = 2,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer PT = 0,
    parameter integer PL = 0
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output wire [7:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    wire step = !m_axis_tvalid || m_axis_tready;
    wire tap_valid, tap_first, tap_last;
    wire [7:0] tap;

    tb_window #(
        .H(H), .W(W), .C(C), .OH(OH), .OW(OW), .O(C), .KH(KH), .KW(KW), .SH(SH), .SW(SW),
        .DH(DH), .DW(DW), .PT(PT), .PL(PL), .GROUPS(C), .LANES(1), .PAD(-128)
    ) window (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .empty(), .tap_data(tap), .tap_first(tap_first),
        .tap_last(tap_last), .tap_valid(tap_valid), .tap_ready(step));

    // The running maximum is the output register.
    reg signed [7:0] best;
    wire better = tap_first || $signed(tap) > best;

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (step) m_axis_tvalid <= tap_valid && tap_last;

    always @(posedge clk) if (step && tap_valid && better) best <= tap;

    assign m_axis_tdata = best;
endmodule
`default_nettype wire
