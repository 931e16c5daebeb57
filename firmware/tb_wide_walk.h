/* SPDX-License-Identifier: Apache-2.0
 * What tb_wide.h and tb_wide_16.h share: the walk over the positions of a map, and the frame of their inner
 * functions on cores with the DSP extension.
 */
#ifndef TB_WIDE_WALK_H
#define TB_WIDE_WALK_H

/* Calls positions(taps, records, out, &line) for as many positions of a row at once as lie inside the map, or
 * for one whose taps that lie outside read `pads`. */
#define TB_WIDE_WALK(TYPE)                                                                           \
  int32_t y0 = w->top, start = w->first;                                                             \
  for (int32_t oy = 0; oy < w->out_height; oy++) {                                                   \
    int32_t x0 = w->left, corner = start, left = w->out_width;                                       \
    while (left > 0) {                                                                               \
      const TYPE **tap = taps;                                                                       \
      int32_t y = y0, row = corner;                                                                  \
      line.count = 1;                                                                                \
      if ((y0 >= 0) && (y0 + tall < w->height) && (x0 >= 0) && (x0 + wide < w->width)) {             \
        const int32_t whole = 1 + (w->width - 1 - wide - x0) / w->stride_width;                      \
        line.count = (whole < left) ? whole : left;                                                  \
      }                                                                                              \
      for (int32_t ky = 0; ky < w->kernel_height; ky++) {                                            \
        const int inside = (y >= 0) && (y < w->height);                                              \
        int32_t x = x0;                                                                              \
        const TYPE *from = in + row;                                                                 \
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {                                           \
          *tap++ = (inside && (x >= 0) && (x < w->width)) ? from : (const TYPE *)pads;               \
          x += w->dilation_width;                                                                    \
          from += w->dilation_column;                                                                \
        }                                                                                            \
        y += w->dilation_height;                                                                     \
        row += w->dilation_row;                                                                      \
      }                                                                                              \
      positions(taps, records, out, &line);                                                          \
      out += line.count * channels;                                                                  \
      x0 += line.count * w->stride_width;                                                            \
      corner += line.count * w->stride_column;                                                       \
      left -= line.count;                                                                            \
    }                                                                                                \
    y0 += w->stride_height;                                                                          \
    start += w->stride_row;                                                                          \
  }

/* Up to the sums of four channels, which begin with their biases in r8 to r11. In the frame: the taps, then
 * records, out - at, end, round, move, count, all channels, low, high; distances are numbers of bytes. */
#define TB_WIDE_ENTER(taps)                                                                          \
  ".set tb_frame, 4 * " #taps "\n\t"                                                                 \
  "push {r4-r11, lr}\n\t"                                                                            \
  "sub sp, sp, #(tb_frame + 36)\n\t"                                                                 \
  ".set tb_at, 0\n\t"                                                                                \
  ".rept " #taps " / 2\n\t"                                                                          \
  "ldrd r4, r5, [r0], #8\n\t"                                                                        \
  "strd r4, r5, [sp, #tb_at]\n\t"                                                                    \
  ".set tb_at, tb_at + 8\n\t"                                                                        \
  ".endr\n\t"                                                                                        \
  ".if " #taps " & 1\n\t"                                                                            \
  "ldr r4, [r0]\n\t"                                                                                 \
  "str r4, [sp, #tb_at]\n\t"                                                                         \
  ".endif\n\t"                                                                                       \
  "ldm r3, {r3-r9}\n\t"                                                                              \
  "add r0, sp, #tb_frame\n\t"                                                                        \
  "stm r0, {r1-r9}\n\t"                                                                              \
  "movs r2, #0\n"                                                                                    \
  "1:\n\t"                                                                                           \
  "ldr r1, [sp, #tb_frame]\n"                                                                        \
  "2:\n\t"                                                                                           \
  "ldm r1!, {r8-r11}\n\t"

/* From the last four channels of a position to the next one, and out. */
#define TB_WIDE_LEAVE                                                                                \
  "ldrd r5, r6, [sp, #(tb_frame + 16)]\n\t"                                                          \
  "ldr r8, [sp, #(tb_frame + 4)]\n\t"                                                                \
  "ldr r7, [sp, #(tb_frame + 24)]\n\t"                                                               \
  "subs r8, r8, r5\n\t"                                                                              \
  "adds r2, r2, r5\n\t"                                                                              \
  "add r9, r2, r7\n\t"                                                                               \
  "strd r8, r9, [sp, #(tb_frame + 4)]\n\t"                                                           \
  "subs r6, r6, #1\n\t"                                                                              \
  "str r6, [sp, #(tb_frame + 20)]\n\t"                                                               \
  "bne 1b\n\t"                                                                                       \
  "add sp, sp, #(tb_frame + 36)\n\t"                                                                 \
  "pop {r4-r11, pc}"

#endif
