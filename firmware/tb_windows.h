/* SPDX-License-Identifier: Apache-2.0
 * Averages and maxima over windows, for any number of channels. Read by tb_kernels.h, whose types they use.
 */
#ifndef TB_WINDOWS_H
#define TB_WINDOWS_H

/* How many of `count` taps from `at` on lie inside; those before the map are passed over in *at and
 * *offset. */
TB_INLINE int32_t tb_inside(int32_t *at, int32_t count, int32_t dilation, int32_t size, int32_t step,
                            int32_t *offset)
{
  int32_t inside = 0;
  for (; (count > 0) && (*at < 0); count--) {
    *at += dilation;
    *offset += step;
  }
  for (int32_t x = *at; (inside < count) && (x < size); x += dilation) {
    inside++;
  }
  return inside;
}

/* Window reductions per channel: depth = all channels, groups = 1. */
TB_INLINE void tb_average_pool(const int8_t *in, int8_t *out, const tb_window *w, const tb_scaling *r)
{
  int32_t y0 = w->top, line = w->first;
  const int32_t below = y0 + (w->out_height - 1) * w->stride_height + w->kernel_height;
  const int32_t right = w->left + (w->out_width - 1) * w->stride_width + w->kernel_width;
  const int whole = (y0 >= 0) && (below <= w->height) && (w->left >= 0) && (right <= w->width);
  const int few = whole && (w->kernel_height <= 3) && (w->kernel_width <= 3);
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      int32_t rows = w->kernel_height, columns = w->kernel_width, start = corner;
      if (!whole) {
        int32_t y = y0, x = x0;
        rows = tb_inside(&y, rows, 1, w->height, w->dilation_row, &start);
        columns = tb_inside(&x, columns, 1, w->width, w->dilation_column, &start);
      }
      const int32_t zero = rows * columns * w->pad;
      if (!few) {
        TB_UNKNOWN(rows);
        TB_UNKNOWN(columns);
      }
      for (int32_t c = 0; c < w->depth; c++) {
        const int8_t *row = in + start + c;
        int32_t acc = -zero;
        if (few) {
TB_UNROLL(9)
          for (int32_t t = 0; t < 9; t++) {
            const int32_t ky = t / 3, kx = t % 3;
            acc += (ky < rows && kx < columns) ? row[ky * w->dilation_row + kx * w->dilation_column] : 0;
          }
        } else {
          for (int32_t ky = 0; ky < rows; ky++) {
            const int8_t *tap = row;
            for (int32_t kx = 0; kx < columns; kx++) {
              acc += *tap;
              tap += w->dilation_column;
            }
            row += w->dilation_row;
          }
        }
        *out++ = tb_requantise(acc, r, c);
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

TB_INLINE void tb_max_pool(const int8_t *in, int8_t *out, const tb_window *w)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      for (int32_t c = 0; c < w->depth; c++) {
        int32_t y = y0, tap_row = corner;
        int32_t best = INT8_MIN;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
          int32_t x = x0, tap = tap_row;
          for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
            best = inside ? tb_max(in[tap + c], best) : best;
            x += w->dilation_width;
            tap += w->dilation_column;
          }
          y += w->dilation_height;
          tap_row += w->dilation_row;
        }
        *out++ = (int8_t)best;
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

#endif
