// SPDX-License-Identifier: Apache-2.0
// ROM that is read in order, again and again: `read` puts the current word into `data` (one clock
// later), `next` moves on to the following word. `last` is high while the current word is the last.
// FILE: DEPTH words, see tb_rom.
`default_nettype none
module tb_sequence #(
    parameter integer WIDTH = 8,
    parameter integer DEPTH = 16,
    parameter FILE = ""
) (
    input  wire clk,
    input  wire rst,
    input  wire read,
    input  wire next,
    output wire last,
    output wire [WIDTH-1:0] data
);
    localparam integer ADDRESS_W = (DEPTH > 1) ? $clog2(DEPTH) : 1;
    wire [ADDRESS_W-1:0] address;

    tb_count #(.COUNT(DEPTH)) position (
        .clk(clk), .rst(rst), .step(next), .value(address), .last(last));
    tb_rom #(.WIDTH(WIDTH), .DEPTH(DEPTH), .FILE(FILE)) rom (
        .clk(clk), .read(read), .address(address), .data(data));
endmodule
`default_nettype wire
