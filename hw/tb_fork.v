// SPDX-License-Identifier: Apache-2.0
// Copies a stream to two; each copy is taken when its side is ready, the input when both have gone.
// Latency none: ready passes combinationally from the outputs to the input.
`default_nettype none
module tb_fork #(
    parameter integer WIDTH = 8
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [WIDTH-1:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // streams out
    output wire [WIDTH-1:0] m_axis_a_tdata,
    output wire m_axis_a_tvalid,
    input  wire m_axis_a_tready,
    output wire [WIDTH-1:0] m_axis_b_tdata,
    output wire m_axis_b_tvalid,
    input  wire m_axis_b_tready
);
    reg sent_a, sent_b;                                 // this beat has already gone that way

    assign m_axis_a_tdata = s_axis_tdata;
    assign m_axis_b_tdata = s_axis_tdata;
    assign m_axis_a_tvalid = s_axis_tvalid && !sent_a;
    assign m_axis_b_tvalid = s_axis_tvalid && !sent_b;
    assign s_axis_tready = (sent_a || m_axis_a_tready) && (sent_b || m_axis_b_tready);

    always @(posedge clk)
        if (rst || (s_axis_tvalid && s_axis_tready)) begin
            sent_a <= 1'b0;
            sent_b <= 1'b0;
        end else if (s_axis_tvalid) begin
            sent_a <= sent_a || m_axis_a_tready;
            sent_b <= sent_b || m_axis_b_tready;
        end
endmodule
`default_nettype wire
