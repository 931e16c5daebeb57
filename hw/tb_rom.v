// SPDX-License-Identifier: Apache-2.0
// Read-only memory with one output register: data = word[address] one clock after `read`.
// FILE ($readmemh): DEPTH lines, one word each, two's complement in ceil(WIDTH/4) hex digits,
// with a newline at the end of the last line (Verilator 5.006 drops the word otherwise). Without a
// FILE the words are undefined: that default lets tools read this file on its own.
// The only module to replace by a vendor's ROM primitive.
`default_nettype none
module tb_rom #(
    parameter integer WIDTH = 8,
    parameter integer DEPTH = 16,
    parameter FILE = ""
) (
    input  wire clk,
    input  wire read,
    input  wire [((DEPTH > 1) ? $clog2(DEPTH) : 1)-1:0] address,
    output reg  [WIDTH-1:0] data
);
    reg [WIDTH-1:0] word [0:DEPTH-1];

    initial if (FILE != "") $readmemh(FILE, word);

    always @(posedge clk) if (read) data <= word[address];
endmodule
`default_nettype wire
