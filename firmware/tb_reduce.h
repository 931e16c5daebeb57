/* SPDX-License-Identifier: Apache-2.0
 * Average and maximum over windows, four channels at a time. An average takes at most 256 taps: sums of 16
 * bits.
 */
#ifndef TB_REDUCE_H
#define TB_REDUCE_H

/* Four channels over `rows` times `columns` taps: their sums, or the largest of each. */
TB_INLINE void tb_reduce(const int8_t *in, int32_t rows, int32_t columns, int32_t row, int32_t column,
                             int average, int32_t *found)
{
#ifdef TB_DSP
  uint32_t even = 0, odd = 0, most = 0x80808080u;
  for (; rows > 0; rows--) {
    const int8_t *tap = in;
    for (int32_t n = columns; n > 0; n--) {
      if (average) {
        __asm__("ldr r4, [%2]\n\t"
                "sxtab16 %0, %0, r4\n\t"
                "sxtab16 %1, %1, r4, ror #8"
                : "+r"(even), "+r"(odd) : "r"(tap) : "r4", "memory");
      } else {
        __asm__("ldr r4, [%1]\n\t"
                "ssub8 r5, %0, r4\n\t"
                "sel %0, %0, r4"
                : "+r"(most) : "r"(tap) : "r4", "r5", "cc", "memory");
      }
      tap += column;
    }
    in += row;
  }
  for (int32_t i = 0; i < 4; i++) {
    const uint32_t sum = ((i & 1) ? odd : even) >> ((i & 2) ? 16 : 0);
    found[i] = average ? (int16_t)sum : (int8_t)(most >> (8 * i));
  }
#else
  for (int32_t i = 0; i < 4; i++) {
    found[i] = average ? 0 : INT8_MIN;
  }
  for (; rows > 0; rows--) {
    const int8_t *tap = in;
    for (int32_t n = columns; n > 0; n--) {
      for (int32_t i = 0; i < 4; i++) {
        const int32_t more = tap[i] - found[i];
        found[i] = average ? found[i] + tap[i] : found[i] + (more & ~(more >> 31));
      }
      tap += column;
    }
    in += row;
  }
#endif
}

TB_INLINE void tb_pool_fours(const int8_t *in, int8_t *out, const tb_window *w, const tb_scaling *r,
                             int average)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      int32_t y = y0, x = x0, start = corner, found[4];
      const int32_t rows =
          tb_inside(&y, w->kernel_height, w->dilation_height, w->height, w->dilation_row, &start);
      const int32_t columns =
          tb_inside(&x, w->kernel_width, w->dilation_width, w->width, w->dilation_column, &start);
      const int32_t zero = average ? rows * columns * w->pad : 0;
      for (int32_t c = 0; c < w->depth; c += 4) {
        tb_reduce(in + start + c, rows, columns, w->dilation_row, w->dilation_column, average, found);
        for (int32_t i = 0; i < 4; i++) {
          *out++ = average ? tb_requantise(found[i] - zero, r, 0) : (int8_t)found[i];
        }
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

TB_INLINE void tb_average_fours(const int8_t *in, int8_t *out, const tb_window *w, const tb_scaling *r)
{
  tb_pool_fours(in, out, w, r, 1);
}

TB_INLINE void tb_max_fours(const int8_t *in, int8_t *out, const tb_window *w)
{
  tb_pool_fours(in, out, w, NULL, 0);
}

#endif
