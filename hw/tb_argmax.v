// SPDX-License-Identifier: Apache-2.0
// Place of the largest of COUNT values, plus OFFSET; of several the first one, or with LAST = 1 the last one.
// COUNT: 1 .. 256. Time: one clock per value, one for the result.
`default_nettype none
module tb_argmax #(
    parameter integer COUNT = 10,
    parameter integer LAST = 0,
    parameter integer OFFSET = 0
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
    reg signed [7:0] top;
    reg [7:0] at, best;

    wire signed [7:0] value = s_axis_tdata;
    wire larger = at == 8'd0 || value > top || (LAST != 0 && value == top);

    assign s_axis_tready = !m_axis_tvalid;
    assign m_axis_tdata = best + OFFSET[7:0];

    always @(posedge clk)
        if (rst) begin
            at <= 8'd0;
            m_axis_tvalid <= 1'b0;
        end else if (m_axis_tvalid) begin
            if (m_axis_tready) m_axis_tvalid <= 1'b0;
        end else if (s_axis_tvalid) begin
            if (larger) begin
                top <= value;
                best <= at;
            end
            m_axis_tvalid <= at == COUNT[7:0] - 8'd1;
            at <= (at == COUNT[7:0] - 8'd1) ? 8'd0 : at + 8'd1;
        end
endmodule
`default_nettype wire
