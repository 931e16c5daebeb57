// SPDX-License-Identifier: Apache-2.0
// First in, first out: holds DEPTH beats and one more in the output register, so that the memory has
// a registered read port. A skip path beside layers needs DEPTH of at least one frame, because a
// layer takes its whole frame before it answers. Latency two clocks; ready comes from a register.
`default_nettype none
module tb_fifo #(
    parameter integer WIDTH = 8,
    parameter integer DEPTH = 16
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [WIDTH-1:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // stream out
    output reg  [WIDTH-1:0] m_axis_tdata,
    output reg  m_axis_tvalid,
    input  wire m_axis_tready
);
    localparam integer ADDRESS_W = (DEPTH > 1) ? $clog2(DEPTH) : 1;
    localparam integer COUNT_W = $clog2(DEPTH + 1);

    reg  [WIDTH-1:0] ram [0:DEPTH-1];
    reg  [COUNT_W-1:0] count;
    wire [ADDRESS_W-1:0] write_address, read_address;
    wire write = s_axis_tvalid && s_axis_tready;
    wire read = count != 0 && (!m_axis_tvalid || m_axis_tready);

    assign s_axis_tready = count != DEPTH[COUNT_W-1:0];

    tb_count #(.COUNT(DEPTH)) writes (.clk(clk), .rst(rst), .step(write), .value(write_address), .last());
    tb_count #(.COUNT(DEPTH)) reads (.clk(clk), .rst(rst), .step(read), .value(read_address), .last());

    always @(posedge clk)
        if (rst) count <= 0;
        else if (write && !read) count <= count + 1'b1;
        else if (read && !write) count <= count - 1'b1;

    always @(posedge clk) begin
        if (write) ram[write_address] <= s_axis_tdata;
        if (read) m_axis_tdata <= ram[read_address];
    end

    always @(posedge clk)
        if (rst) m_axis_tvalid <= 1'b0;
        else if (read) m_axis_tvalid <= 1'b1;
        else if (m_axis_tready) m_axis_tvalid <= 1'b0;
endmodule
`default_nettype wire
