// SPDX-License-Identifier: Apache-2.0
// Adds tlast by counting: high on every BEATS-th beat since reset. Latency none.
`default_nettype none
module tb_frame #(
    parameter integer WIDTH = 8,
    parameter integer BEATS = 10
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [WIDTH-1:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output wire [WIDTH-1:0] m_axis_tdata,
    output wire m_axis_tvalid,
    output wire m_axis_tlast,
    input  wire m_axis_tready
);
    assign m_axis_tdata = s_axis_tdata;
    assign m_axis_tvalid = s_axis_tvalid;
    assign s_axis_tready = m_axis_tready;

    tb_count #(.COUNT(BEATS)) beats (
        .clk(clk), .rst(rst), .step(s_axis_tvalid && m_axis_tready), .value(), .last(m_axis_tlast));
endmodule
`default_nettype wire
