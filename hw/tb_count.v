// SPDX-License-Identifier: Apache-2.0
// Counter 0 .. COUNT-1 that wraps. `last` is high while value == COUNT-1.
`default_nettype none
module tb_count #(
    parameter integer COUNT = 2
) (
    input  wire clk,
    input  wire rst,
    input  wire step,
    output reg  [((COUNT > 1) ? $clog2(COUNT) : 1)-1:0] value,
    output wire last
);
    localparam integer WIDTH = (COUNT > 1) ? $clog2(COUNT) : 1;
    localparam integer END = COUNT - 1;

    assign last = value == END[WIDTH-1:0];

    always @(posedge clk)
        if (rst) value <= 0;
        else if (step) value <= last ? {WIDTH{1'b0}} : value + 1'b1;
endmodule
`default_nettype wire
