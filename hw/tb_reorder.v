// SPDX-License-Identifier: Apache-2.0
// Moves a frame: output beat i = input beat perm[i], or PAD where perm[i] = IN. IN beats come in, OUT go out.
// FILE: OUT unsigned words of ceil(log2(IN + 1)) bits.
// A frame takes IN + OUT + 1 clocks.
`default_nettype none
module tb_reorder #(
    parameter integer IN = 16,
    parameter integer OUT = 16,
    parameter integer PAD = 0,
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
    localparam integer IN_W = $clog2(IN + 1);
    localparam integer ADDRESS_W = (IN > 1) ? $clog2(IN) : 1;

    wire step = !m_axis_tvalid || m_axis_tready;        // all stages move together
    wire full, perm_last;
    wire [IN_W-1:0] source;
    wire [7:0] stored;
    reg valid, last, blank;
    wire free = step && valid && last;                  // this clock reads the frame's last byte
    wire issue = step && full && !(valid && last);

    tb_store #(.WORDS(IN), .LANES(1)) store (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .empty(), .full(full), .free(free),
        .read(step && valid), .address(source[ADDRESS_W-1:0]), .data(stored));
    tb_sequence #(.WIDTH(IN_W), .DEPTH(OUT), .FILE(FILE)) perm (
        .clk(clk), .rst(rst), .read(issue), .next(issue), .last(perm_last), .data(source));

    always @(posedge clk)
        if (rst) begin
            valid <= 1'b0;
            m_axis_tvalid <= 1'b0;
        end else if (step) begin
            valid <= issue;
            m_axis_tvalid <= valid;
        end

    always @(posedge clk) if (step) last <= perm_last;
    always @(posedge clk) if (step && valid) blank <= source == IN[IN_W-1:0];
    assign m_axis_tdata = blank ? PAD[7:0] : stored;
endmodule
`default_nettype wire
