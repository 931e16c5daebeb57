// SPDX-License-Identifier: Apache-2.0
// Dot products of the rows of two frames, to be followed by tb_requantise:
// acc[g, m, n] = sum over k of (a[g, m, k] - ZERO_A) * (b[g, n, k] - ZERO_B).
// Frames of GROUPS * ROWS * DEPTH and GROUPS * COLUMNS * DEPTH bytes come independently of each other; both
// are kept until the last product.
// ZERO_A, ZERO_B: -128 .. 127. ACC_W: width of acc (19 .. 64), in which every sum fits.
// A frame takes GROUPS * ROWS * COLUMNS * DEPTH clocks, when both are there.
`default_nettype none
module tb_mat_mul #(
    parameter integer GROUPS = 1,
    parameter integer ROWS = 2,
    parameter integer COLUMNS = 2,
    parameter integer DEPTH = 4,
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
    localparam integer WORDS_A = GROUPS * ROWS * DEPTH;
    localparam integer WORDS_B = GROUPS * COLUMNS * DEPTH;
    localparam integer A_W = (WORDS_A > 1) ? $clog2(WORDS_A) : 1;
    localparam integer B_W = (WORDS_B > 1) ? $clog2(WORDS_B) : 1;

    wire step = !m_axis_tvalid || m_axis_tready;        // all stages move together
    wire full_a, full_b;
    wire issue = step && full_a && full_b;
    wire depth_last, column_last, row_last, group_last;
    wire done = issue && depth_last && column_last && row_last && group_last;

    // Where the next terms lie, and where this row of a and this group's rows of b begin.
    reg [A_W-1:0] at_a, row_a;
    reg [B_W-1:0] at_b, group_b;
    wire [A_W-1:0] next_a = at_a + 1'b1;
    wire [B_W-1:0] next_b = at_b + 1'b1;

    tb_count #(.COUNT(DEPTH)) depth (.clk(clk), .rst(rst), .step(issue), .value(), .last(depth_last));
    tb_count #(.COUNT(COLUMNS)) column (
        .clk(clk), .rst(rst), .step(issue && depth_last), .value(), .last(column_last));
    tb_count #(.COUNT(ROWS)) row (
        .clk(clk), .rst(rst), .step(issue && depth_last && column_last), .value(), .last(row_last));
    tb_count #(.COUNT(GROUPS)) group (
        .clk(clk), .rst(rst), .step(issue && depth_last && column_last && row_last), .value(),
        .last(group_last));

    always @(posedge clk)
        if (rst || done) begin
            at_a <= 0;
            row_a <= 0;
            at_b <= 0;
            group_b <= 0;
        end else if (issue) begin
            at_a <= (depth_last && !column_last) ? row_a : next_a;
            if (depth_last && column_last) row_a <= next_a;
            at_b <= (depth_last && column_last && !row_last) ? group_b : next_b;
            if (depth_last && column_last && row_last) group_b <= next_b;
        end

    wire [7:0] q_a, q_b;
    tb_store #(.WORDS(WORDS_A), .LANES(1)) store_a (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_a_tdata), .s_axis_tvalid(s_axis_a_tvalid),
        .s_axis_tready(s_axis_a_tready), .empty(), .full(full_a), .free(done),
        .read(issue), .address(at_a), .data(q_a));
    tb_store #(.WORDS(WORDS_B), .LANES(1)) store_b (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_b_tdata), .s_axis_tvalid(s_axis_b_tvalid),
        .s_axis_tready(s_axis_b_tready), .empty(), .full(full_b), .free(done),
        .read(issue), .address(at_b), .data(q_b));

    reg first, valid, last;                             // of the terms that the memories answer with
    wire signed [ACC_W-1:0] a = {{(ACC_W-8){q_a[7]}}, q_a};
    wire signed [ACC_W-1:0] b = {{(ACC_W-8){q_b[7]}}, q_b};
    localparam signed [ACC_W-1:0] ZA = {{(ACC_W-8){ZERO_A[7]}}, ZERO_A[7:0]};
    localparam signed [ACC_W-1:0] ZB = {{(ACC_W-8){ZERO_B[7]}}, ZERO_B[7:0]};
    wire [ACC_W-1:0] product = (a - ZA) * (b - ZB);

    always @(posedge clk)
        if (rst) begin
            valid <= 1'b0;
            m_axis_tvalid <= 1'b0;
            first <= 1'b1;
        end else if (step) begin
            valid <= issue;
            m_axis_tvalid <= valid && last;
            if (valid) first <= last;
        end

    always @(posedge clk) if (step) last <= depth_last;
    always @(posedge clk)
        if (step && valid) m_axis_tdata <= first ? product : m_axis_tdata + product;
endmodule
`default_nettype wire
