// SPDX-License-Identifier: Apache-2.0
// Whose turn it is: `second` is low for FIRST steps, high for SECOND steps, low again.
`default_nettype none
module tb_turn #(
    parameter integer FIRST = 4,
    parameter integer SECOND = 4
) (
    input  wire clk,
    input  wire rst,
    input  wire step,
    output reg  second
);
    wire first_last, second_last;

    tb_count #(.COUNT(FIRST)) firsts (
        .clk(clk), .rst(rst), .step(step && !second), .value(), .last(first_last));
    tb_count #(.COUNT(SECOND)) seconds (
        .clk(clk), .rst(rst), .step(step && second), .value(), .last(second_last));

    always @(posedge clk)
        if (rst) second <= 1'b0;
        else if (step) second <= second ? !second_last : first_last;
endmodule
`default_nettype wire
