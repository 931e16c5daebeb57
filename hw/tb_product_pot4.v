// SPDX-License-Identifier: Apache-2.0
// Weight code pot4: bit 3 is the sign, bits 2..0 are e: 0 means weight 0, else the weight is
// +-2^(e-1). A shift and a negation, no multiplier. WEIGHT_FILE: DEPTH 4-bit words.
// `next` fetches the next weight, in the order of the file; its x comes one clock later.
`default_nettype none
module tb_product_pot4 #(
    parameter integer DEPTH = 288,
    parameter WEIGHT_FILE = ""
) (
    input  wire clk,
    input  wire rst,
    input  wire next,
    input  wire signed [8:0] x,
    output wire signed [16:0] product
);
    wire [3:0] code;
    wire signed [16:0] wide = {{8{x[8]}}, x};
    wire signed [16:0] shifted = (code[2:0] == 3'd0) ? 17'sd0 : wide <<< (code[2:0] - 3'd1);

    tb_sequence #(.WIDTH(4), .DEPTH(DEPTH), .FILE(WEIGHT_FILE)) weights (
        .clk(clk), .rst(rst), .read(next), .next(next), .last(), .data(code));

    assign product = code[3] ? -shifted : shifted;
endmodule
`default_nettype wire
