// SPDX-License-Identifier: Apache-2.0
// Sliding window over one frame (H, W, C), channels last: loads it, then emits the taps of every
// output (oy, ox, o) in the order ky, kx, group of LANES channels: one tap per clock.
// H, W, C: input; OH, OW, O: output; KH, KW: kernel; SH, SW: strides; DH, DW: dilations;
// PT, PL: padding at the top and left (bottom and right follow from OH and OW); GROUPS: output o
// sees the C/GROUPS channels of group o / (O/GROUPS); LANES divides C/GROUPS and is the number of
// channels per tap; PAD: the byte (-128 .. 127) that a tap outside the frame carries.
// `tap_first`, `tap_last`: first and last tap of an output. `empty`: see tb_store.
// A frame takes H*W*C clocks to load, one per tap, and one more.
// The address moves by constants only, so there is no multiplier.
`default_nettype none
module tb_window #(
    parameter integer H = 4,
    parameter integer W = 4,
    parameter integer C = 8,
    parameter integer OH = 4,
    parameter integer OW = 4,
    parameter integer O = 4,
    parameter integer KH = 3,
    parameter integer KW = 3,
    parameter integer SH = 1,
    parameter integer SW = 1,
    parameter integer DH = 1,
    parameter integer DW = 1,
    parameter integer PT = 1,
    parameter integer PL = 1,
    parameter integer GROUPS = 1,
    parameter integer LANES = 1,
    parameter integer PAD = 0
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    output wire empty,
    // taps out
    output wire [8*LANES-1:0] tap_data,
    output reg  tap_first,
    output reg  tap_last,
    output reg  tap_valid,
    input  wire tap_ready
);
    localparam integer PIXEL = C / LANES;               // words per pixel
    localparam integer DEPTH = PIXEL / GROUPS;          // taps per kernel position
    localparam integer ROW = W * PIXEL;
    localparam integer WORDS = H * ROW;

    // Positions and addresses live modulo a power of two: a padded position may be negative, which
    // then reads as a number beyond the frame, and its address is never used.
    localparam integer Y_END = (OH - 1) * SH + (KH - 1) * DH;
    localparam integer X_END = (OW - 1) * SW + (KW - 1) * DW;
    localparam integer Y_W = $clog2(((Y_END >= H + PT) ? Y_END : H + PT) + PT + 1);
    localparam integer X_W = $clog2(((X_END >= W + PL) ? X_END : W + PL) + PL + 1);
    localparam integer A_W = (WORDS > 1) ? $clog2(WORDS) : 1;

    // Steps from the last tap of one loop to the first tap of the next.
    localparam integer X_BACK = (KW - 1) * DW;
    localparam integer Y_BACK = (KH - 1) * DH;
    localparam integer KX_STEP = DW * PIXEL - (DEPTH - 1);
    localparam integer KY_STEP = DH * ROW - X_BACK * PIXEL - (DEPTH - 1);
    localparam integer O_STEP = -Y_BACK * ROW - X_BACK * PIXEL - (DEPTH - 1);
    localparam integer GROUP_STEP = O_STEP + DEPTH;
    localparam integer OX_STEP = O_STEP - (GROUPS - 1) * DEPTH + SW * PIXEL;
    localparam integer OY_STEP = OX_STEP - OW * SW * PIXEL + SH * ROW;
    localparam integer START = -PT * ROW - PL * PIXEL;
    localparam integer OX_X = SW - X_BACK;
    localparam integer OY_Y = SH - Y_BACK;
    localparam integer X_START = -PL;
    localparam integer Y_START = -PT;

    wire full, free, issue;
    wire c_last, kx_last, ky_last, o_last, group_last, ox_last, oy_last;
    wire [8*LANES-1:0] word;
    reg  [A_W-1:0] address;
    reg  [X_W-1:0] x;
    reg  [Y_W-1:0] y;
    reg  outside, at_first, frame_last;

    wire at_last = c_last && kx_last && ky_last;
    wire pixel_last = at_last && o_last && group_last;
    wire outside_now = x >= W[X_W-1:0] || y >= H[Y_W-1:0];

    // The memory is free once the frame's last tap has been taken.
    assign issue = full && (!tap_valid || (tap_ready && !frame_last));
    assign free = tap_valid && tap_ready && frame_last;
    assign tap_data = outside ? {LANES{PAD[7:0]}} : word;

    tb_store #(.WORDS(WORDS), .LANES(LANES)) store (
        .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
        .s_axis_tready(s_axis_tready), .empty(empty), .full(full), .free(free), .read(issue),
        .address(address), .data(word));

    tb_count #(.COUNT(DEPTH)) count_c (.clk(clk), .rst(rst), .step(issue), .value(), .last(c_last));
    tb_count #(.COUNT(KW)) count_kx (.clk(clk), .rst(rst), .step(issue && c_last), .value(), .last(kx_last));
    tb_count #(.COUNT(KH)) count_ky (
        .clk(clk), .rst(rst), .step(issue && c_last && kx_last), .value(), .last(ky_last));
    tb_count #(.COUNT(O / GROUPS)) count_o (
        .clk(clk), .rst(rst), .step(issue && at_last), .value(), .last(o_last));
    tb_count #(.COUNT(GROUPS)) count_group (
        .clk(clk), .rst(rst), .step(issue && at_last && o_last), .value(), .last(group_last));
    tb_count #(.COUNT(OW)) count_ox (
        .clk(clk), .rst(rst), .step(issue && pixel_last), .value(), .last(ox_last));
    tb_count #(.COUNT(OH)) count_oy (
        .clk(clk), .rst(rst), .step(issue && pixel_last && ox_last), .value(), .last(oy_last));

    always @(posedge clk)
        if (rst || free) begin
            address <= START[A_W-1:0];
            x <= X_START[X_W-1:0];
            y <= Y_START[Y_W-1:0];
        end else if (issue) begin
            if (!c_last) address <= address + 1'b1;
            else if (!kx_last) address <= address + KX_STEP[A_W-1:0];
            else if (!ky_last) address <= address + KY_STEP[A_W-1:0];
            else if (!o_last) address <= address + O_STEP[A_W-1:0];
            else if (!group_last) address <= address + GROUP_STEP[A_W-1:0];
            else if (!ox_last) address <= address + OX_STEP[A_W-1:0];
            else address <= address + OY_STEP[A_W-1:0];

            if (c_last) begin
                if (!kx_last) x <= x + DW[X_W-1:0];
                else if (pixel_last && ox_last) x <= X_START[X_W-1:0];
                else if (pixel_last) x <= x + OX_X[X_W-1:0];
                else x <= x - X_BACK[X_W-1:0];

                if (kx_last) begin
                    if (!ky_last) y <= y + DH[Y_W-1:0];
                    else if (pixel_last && ox_last) y <= y + OY_Y[Y_W-1:0];
                    else y <= y - Y_BACK[Y_W-1:0];
                end
            end
        end

    always @(posedge clk)
        if (rst) begin
            tap_valid <= 1'b0;
            at_first <= 1'b1;
        end else if (issue) begin
            tap_valid <= 1'b1;
            at_first <= at_last;
        end else if (tap_ready) tap_valid <= 1'b0;

    always @(posedge clk)
        if (issue) begin
            outside <= outside_now;
            tap_first <= at_first;
            tap_last <= at_last;
            frame_last <= pixel_last && ox_last && oy_last;
        end
endmodule
`default_nettype wire
