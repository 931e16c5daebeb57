// SPDX-License-Identifier: Apache-2.0
// Pointwise function by table: q -> entry[q + 128]. FILE: 256 signed 8-bit words. Latency one clock.
`default_nettype none
module tb_table #(
    parameter FILE = ""
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

    assign s_axis_tready = step;

    tb_rom #(.WIDTH(8), .DEPTH(256), .FILE(FILE)) rom (
        .clk(clk), .read(step && s_axis_tvalid), .address(s_axis_tdata ^ 8'h80), .data(m_axis_tdata));

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (step) m_axis_tvalid <= s_axis_tvalid;
endmodule
`default_nettype wire
