// SPDX-License-Identifier: Apache-2.0
// Product of two streams: acc = (a - ZERO_A) * (b - ZERO_B), to be followed by tb_requantise.
// A beat is taken from both streams at once, when both offer one.
// ZERO_A, ZERO_B: -128 .. 127. ACC_W: width of acc (10 .. 64), in which the product fits. Latency one clock.
`default_nettype none
module tb_mul #(
    parameter integer ZERO_A = 0,
    parameter integer ZERO_B = 0,
    parameter integer ACC_W = 32
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
    output reg  [ACC_W-1:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    wire step = !m_axis_tvalid || m_axis_tready;
    wire both = s_axis_a_tvalid && s_axis_b_tvalid;

    assign s_axis_a_tready = step && s_axis_b_tvalid;
    assign s_axis_b_tready = step && s_axis_a_tvalid;

    wire signed [ACC_W-1:0] a = {{(ACC_W-8){s_axis_a_tdata[7]}}, s_axis_a_tdata};
    wire signed [ACC_W-1:0] b = {{(ACC_W-8){s_axis_b_tdata[7]}}, s_axis_b_tdata};
    localparam signed [ACC_W-1:0] ZA = {{(ACC_W-8){ZERO_A[7]}}, ZERO_A[7:0]};
    localparam signed [ACC_W-1:0] ZB = {{(ACC_W-8){ZERO_B[7]}}, ZERO_B[7:0]};

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (step) m_axis_tvalid <= both;

    always @(posedge clk) if (step) m_axis_tdata <= (a - ZA) * (b - ZB);
endmodule
`default_nettype wire
