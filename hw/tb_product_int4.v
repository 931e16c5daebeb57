// SPDX-License-Identifier: Apache-2.0
// Weight code int4: product = x * weight. WEIGHT_FILE: DEPTH signed 4-bit words.
// `next` fetches the next weight, in the order of the file; its x comes one clock later.
`default_nettype none
module tb_product_int4 #(
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
    wire signed [3:0] weight = code;

    tb_sequence #(.WIDTH(4), .DEPTH(DEPTH), .FILE(WEIGHT_FILE)) weights (
        .clk(clk), .rst(rst), .read(next), .next(next), .last(), .data(code));

    assign product = x * weight;
endmodule
`default_nettype wire
