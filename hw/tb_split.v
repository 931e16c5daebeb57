// SPDX-License-Identifier: Apache-2.0
// Deals a stream out to two: FIRST beats to a, then SECOND beats to b, then FIRST to a again.
// Latency none.
`default_nettype none
module tb_split #(
    parameter integer FIRST = 4,
    parameter integer SECOND = 4
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // streams out
    output wire [7:0] m_axis_a_tdata,
    output wire m_axis_a_tvalid,
    input  wire m_axis_a_tready,
    output wire [7:0] m_axis_b_tdata,
    output wire m_axis_b_tvalid,
    input  wire m_axis_b_tready
);
    wire second;

    assign m_axis_a_tdata = s_axis_tdata;
    assign m_axis_b_tdata = s_axis_tdata;
    assign m_axis_a_tvalid = s_axis_tvalid && !second;
    assign m_axis_b_tvalid = s_axis_tvalid && second;
    assign s_axis_tready = second ? m_axis_b_tready : m_axis_a_tready;

    tb_turn #(.FIRST(FIRST), .SECOND(SECOND)) turn (
        .clk(clk), .rst(rst), .step(s_axis_tvalid && s_axis_tready), .second(second));
endmodule
`default_nettype wire
