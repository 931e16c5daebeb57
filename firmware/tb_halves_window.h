/* SPDX-License-Identifier: Apache-2.0
 * The window of an output position as a column of 16-bit numbers, for tb_halves.h.
 */
#ifndef TB_HALVES_WINDOW_H
#define TB_HALVES_WINDOW_H

/* `count` times the padding as number `k` and on, and its sum; `gap` half words from four numbers to the
 * next. */
static inline int32_t tb_halves_pad(int16_t *column, int32_t k, int32_t gap, int8_t pad, int32_t count)
{
  int16_t *to = column + (k >> 2) * gap;
  int32_t at = k & 3;
  for (int32_t n = count; n > 0; n--) {
    to[at] = pad;
    at++;
    if (at == 4) {
      at = 0;
      to += gap;
    }
  }
  return pad * count;
}

/* Read before any output of the position is written; the sum of its activations. */
static inline int32_t tb_halves_window(int16_t *column, int32_t gap, const int8_t *in, const tb_window *w,
                                       int32_t y, int32_t x0, int32_t corner)
{
  const int32_t line = w->kernel_width * w->depth, turned = (w->depth & 3) == 0;
  const int32_t first = (x0 < 0) ? -x0 : 0, last = x0 + w->kernel_width - w->width;
  /* Without a dilation a line is taps before, in and behind the map. */
  const int32_t before = ((first < w->kernel_width) ? first : w->kernel_width) * w->depth;
  const int32_t behind = (last <= 0) ? 0 : ((last < w->kernel_width) ? last * w->depth : line - before);
  const int32_t inside = line - before - behind;
  int32_t k = 0, sum = 0;
  for (int32_t ky = 0; ky < w->kernel_height; ky++) {
    if ((y < 0) || (y >= w->height)) {
      sum += tb_halves_pad(column, k, gap, w->pad, line);
    } else if (w->dilation_width == 1) {
      if (before > 0) {
        sum += tb_halves_pad(column, k, gap, w->pad, before);
      }
      sum += tb_halves_line(column, k + before, gap, in + corner + before, inside, turned);
      if (behind > 0) {
        sum += tb_halves_pad(column, k + before + inside, gap, w->pad, behind);
      }
    } else {
      int32_t x = x0, tap = corner, at = k;
      for (int32_t kx = 0; kx < w->kernel_width; kx++) {
        if ((x >= 0) && (x < w->width)) {
          sum += tb_halves_line(column, at, gap, in + tap, w->depth, turned);
        } else {
          sum += tb_halves_pad(column, at, gap, w->pad, w->depth);
        }
        at += w->depth;
        x += w->dilation_width;
        tap += w->dilation_column;
      }
    }
    k += line;
    y += w->dilation_height;
    corner += w->dilation_row;
  }
  return sum;
}

#endif
