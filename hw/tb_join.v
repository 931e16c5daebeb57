// SPDX-License-Identifier: Apache-2.0
// Two streams one after the other: FIRST beats of a, then SECOND beats of b, then FIRST of a again.
// Latency none.
`default_nettype none
module tb_join #(
    parameter integer FIRST = 4,
    parameter integer SECOND = 4
) (
    input  wire clk,
    input  wire rst,
    // streams in
    input  wire [7:0] s_axis_a_tdata,
    input  wire s_axis_a_tvalid,
    output wire s_axis_a_tready,
    input  wire [7:0] s_axis_b_tdata,
    input  wire s_axis_b_tvalid,
    output wire s_axis_b_tready,
    // stream out
    output wire [7:0] m_axis_tdata,
    output wire m_axis_tvalid,
    input  wire m_axis_tready
);
    wire second;

    assign m_axis_tdata = second ? s_axis_b_tdata : s_axis_a_tdata;
    assign m_axis_tvalid = second ? s_axis_b_tvalid : s_axis_a_tvalid;
    assign s_axis_a_tready = m_axis_tready && !second;
    assign s_axis_b_tready = m_axis_tready && second;

    tb_turn #(.FIRST(FIRST), .SECOND(SECOND)) turn (
        .clk(clk), .rst(rst), .step(m_axis_tvalid && m_axis_tready), .second(second));
endmodule
`default_nettype wire
