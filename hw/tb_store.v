// SPDX-License-Identifier: Apache-2.0
// Frame memory: takes one frame of WORDS words of LANES bytes from the stream (LOAD), then is
// `full`: refuses bytes and can be read (RUN) until `free` is pulsed.
// Byte n of the frame is lane n % LANES (bits 8*lane +: 8) of word n / LANES.
// data = word[address] one clock after `read`; `empty`: no byte of the next frame has come yet.
`default_nettype none
module tb_store #(
    parameter integer WORDS = 16,
    parameter integer LANES = 1
) (
    input  wire clk,
    input  wire rst,
    // stream in
    input  wire [7:0] s_axis_tdata,
    input  wire s_axis_tvalid,
    output wire s_axis_tready,
    // memory
    output reg  empty,
    output reg  full,
    input  wire free,
    input  wire read,
    input  wire [((WORDS > 1) ? $clog2(WORDS) : 1)-1:0] address,
    output wire [8*LANES-1:0] data
);
    localparam integer ADDRESS_W = (WORDS > 1) ? $clog2(WORDS) : 1;
    localparam integer LANE_W = (LANES > 1) ? $clog2(LANES) : 1;

    wire [ADDRESS_W-1:0] word;
    wire [LANE_W-1:0] lane;
    wire word_last, lane_last;
    wire write = s_axis_tvalid && !full;

    assign s_axis_tready = !full;

    tb_count #(.COUNT(LANES)) lanes (.clk(clk), .rst(rst), .step(write), .value(lane), .last(lane_last));
    tb_count #(.COUNT(WORDS)) words (
        .clk(clk), .rst(rst), .step(write && lane_last), .value(word), .last(word_last));

    always @(posedge clk)
        if (rst || free) begin
            empty <= 1'b1;
            full <= 1'b0;
        end else if (write) begin
            empty <= 1'b0;
            full <= word_last && lane_last;
        end

    genvar i;
    generate
        for (i = 0; i < LANES; i = i + 1) begin : memory
            reg [7:0] ram [0:WORDS-1];
            reg [7:0] out;
            always @(posedge clk) begin
                if (write && lane == i[LANE_W-1:0]) ram[word] <= s_axis_tdata;
                if (read) out <= ram[address];
            end
            assign data[8*i +: 8] = out;
        end
    endgenerate
endmodule
`default_nettype wire
