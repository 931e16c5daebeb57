/* SPDX-License-Identifier: Apache-2.0
 * Kernels whose inputs or outputs have 16 bits, for the types of a layer: those of tb_kernels.h otherwise.
 * SUM is int32_t where the compiler saw that no partial sum needs more, else int64_t; no product of a sum
 * and its multiplier reaches 2^62.
 */
#ifndef TB_INT16_H
#define TB_INT16_H

#include "tb_products_16.h"

/* As tb_round, with outputs of any word. */
static inline int32_t tb_limit(int64_t v, const tb_scaling *r, uint8_t s)
{
  int64_t more = tb_half_even(v, s) + (r->zero - r->lo);
  more &= ~(more >> 63);
  int64_t less = (r->hi - r->lo) - more;
  less &= ~(less >> 63);
  return r->hi - (int32_t)less;
}

/* The output for a sum of 32 or of 64 bits. */
static inline int32_t tb_scale_int32_t(int32_t acc, const tb_scaling *r, int32_t channel)
{
  const int32_t at = r->step ? channel : 0;
#ifdef TB_SHIFTS_ONLY
  return tb_limit(acc, r, r->shift[at]);
#else
  return tb_limit(r->multiplier ? tb_product(acc, r->multiplier[at]) : acc, r, r->shift[at]);
#endif
}

static inline int32_t tb_scale_int64_t(int64_t acc, const tb_scaling *r, int32_t channel)
{
  const int32_t at = r->step ? channel : 0;
#ifdef TB_SHIFTS_ONLY
  return tb_limit(acc, r, r->shift[at]);
#else
  return tb_limit(r->multiplier ? tb_long_product(acc, r->multiplier[at]) : acc, r, r->shift[at]);
#endif
}

/* Of an average, whose halves may have to be made exact first, as tb_otherwise does. */
static inline int32_t tb_mean(int64_t v, const tb_scaling *r)
{
  const uint8_t s = *r->shift;
#ifdef TB_ROUNDINGS
  if (r->roundings) {
    return tb_limit((v + (((int64_t)1 << s) >> 16)) >> (s - 15u), r, 15u);
  }
#endif
  return tb_limit(v, r, s);
}

static inline int32_t tb_mean_int32_t(int32_t acc, const tb_scaling *r)
{
#ifdef TB_SHIFTS_ONLY
  return tb_mean(acc, r);
#else
  return tb_mean(r->multiplier ? tb_product(acc, *r->multiplier) : acc, r);
#endif
}

static inline int32_t tb_mean_int64_t(int64_t acc, const tb_scaling *r)
{
#ifdef TB_SHIFTS_ONLY
  return tb_mean(acc, r);
#else
  return tb_mean(r->multiplier ? tb_long_product(acc, *r->multiplier) : acc, r);
#endif
}

/* Convolution and dense layer. `pad`: what padding reads, which may be longer than a tb_window's. */
#define TB_AFFINE_16(name, code, IN, OUT, SUM)                                                       \
  TB_KERNEL void name(const IN *in, OUT *out, const tb_window *w, const uint8_t *weights,            \
                      const SUM *bias, int32_t pad, const tb_scaling *r)                             \
  TB_AFFINE(16_##code, OUT, SUM, pad, tb_scale_##SUM)

/* One filter per channel, dilated or not: of each line, `before` taps lie to the left of the map, `inside`
 * in it. */
#define TB_DEPTHWISE_16(name, code, IN, OUT, SUM)                                                    \
  TB_KERNEL void name(const IN *in, OUT *out, const tb_window *w, const uint8_t *weights,            \
                      const SUM *bias, int32_t pad, const tb_scaling *r)                             \
  {                                                                                                  \
    int32_t y0 = w->top, line = w->first;                                                            \
    for (int32_t oy = 0; oy < w->out_height; oy++) {                                                 \
      int32_t x0 = w->left, corner = line;                                                           \
      for (int32_t ox = 0; ox < w->out_width; ox++) {                                                \
        int32_t before = 0, inside = 0, skip = 0;                                                    \
        for (int32_t kx = 0, x = x0; kx < w->kernel_width; kx++, x += w->dilation_width) {           \
          before += (x < 0);                                                                         \
          skip += (x < 0) ? w->dilation_column : 0;                                                  \
          inside += (x >= 0) && (x < w->width);                                                      \
        }                                                                                            \
        const int32_t after = w->kernel_width - before - inside, step = w->dilation_column;          \
        const uint8_t *row = weights;                                                                \
        for (int32_t channel = 0; channel < w->groups; channel++, row += w->row_bytes) {             \
          SUM acc = bias[channel];                                                                   \
          int32_t k = 0, y = y0, tap_row = corner + channel;                                         \
          for (int32_t ky = 0; ky < w->kernel_height; ky++) {                                        \
            if ((y >= 0) && (y < w->height)) {                                                       \
              int32_t tap = tap_row + skip;                                                          \
              for (int32_t i = before; i > 0; i--) {                                                 \
                acc += tb_term_16_##code(row, k++, pad);                                             \
              }                                                                                      \
              for (int32_t i = inside; i > 0; i--, tap += step) {                                    \
                acc += tb_term_16_##code(row, k++, in[tap]);                                         \
              }                                                                                      \
              for (int32_t i = after; i > 0; i--) {                                                  \
                acc += tb_term_16_##code(row, k++, pad);                                             \
              }                                                                                      \
            } else {                                                                                 \
              for (int32_t i = w->kernel_width; i > 0; i--) {                                        \
                acc += tb_term_16_##code(row, k++, pad);                                             \
              }                                                                                      \
            }                                                                                        \
            y += w->dilation_height;                                                                 \
            tap_row += w->dilation_row;                                                              \
          }                                                                                          \
          *out++ = (OUT)tb_scale_##SUM(acc, r, channel);                                             \
        }                                                                                            \
        x0 += w->stride_width;                                                                       \
        corner += w->stride_column;                                                                  \
      }                                                                                              \
      y0 += w->stride_height;                                                                        \
      line += w->stride_row;                                                                         \
    }                                                                                                \
  }

/* A window of one channel: `start` before its taps, `take` for each that lies inside, rows times columns
 * of them, `finish` behind. */
#define TB_WINDOW_16(start, take, finish)                                                            \
  int32_t y0 = w->top, line = w->first;                                                              \
  for (int32_t oy = 0; oy < w->out_height; oy++) {                                                   \
    int32_t x0 = w->left, corner = line;                                                             \
    for (int32_t ox = 0; ox < w->out_width; ox++) {                                                  \
      int32_t y = y0, x = x0, at = corner;                                                           \
      const int32_t rows =                                                                           \
          tb_inside(&y, w->kernel_height, w->dilation_height, w->height, w->dilation_row, &at);      \
      const int32_t columns =                                                                        \
          tb_inside(&x, w->kernel_width, w->dilation_width, w->width, w->dilation_column, &at);      \
      for (int32_t c = 0; c < w->depth; c++) {                                                       \
        int32_t row = at + c;                                                                        \
        start;                                                                                       \
        for (int32_t ky = 0; ky < rows; ky++) {                                                      \
          int32_t tap = row;                                                                         \
          TB_UNROLL(4)                                                                               \
          for (int32_t kx = 0; kx < columns; kx++) {                                                 \
            take;                                                                                    \
            tap += w->dilation_column;                                                               \
          }                                                                                          \
          row += w->dilation_row;                                                                    \
        }                                                                                            \
        finish;                                                                                      \
      }                                                                                              \
      x0 += w->stride_width;                                                                         \
      corner += w->stride_column;                                                                    \
    }                                                                                                \
    y0 += w->stride_height;                                                                          \
    line += w->stride_row;                                                                           \
  }

#define TB_AVERAGE_POOL_16(name, IN, OUT, SUM)                                                       \
  TB_KERNEL void name(const IN *in, OUT *out, const tb_window *w, int32_t zero, const tb_scaling *r) \
  {                                                                                                  \
    TB_WINDOW_16(SUM acc = -((SUM)zero * (rows * columns)), acc += in[tap],                          \
                 *out++ = (OUT)tb_mean_##SUM(acc, r))                                                \
  }

#define TB_MAX_POOL_16(name, IN, OUT)                                                                \
  TB_KERNEL void name(const IN *in, OUT *out, const tb_window *w)                                    \
  {                                                                                                  \
    TB_WINDOW_16(int32_t best = INT16_MIN, best = tb_max(in[tap], best), *out++ = (OUT)best)         \
  }

#define TB_REQUANTISE_16(name, IN, OUT)                                                              \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t count, int32_t channels, int32_t zero,         \
                      const tb_scaling *r)                                                           \
  {                                                                                                  \
    int32_t c = 0;                                                                                   \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = (OUT)tb_scale_int32_t(in[i] - zero, r, c);                                            \
      c = (c + 1 == channels) ? 0 : c + 1;                                                           \
    }                                                                                                \
  }

#define TB_ADD_16(name, A, B, OUT)                                                                   \
  TB_KERNEL void name(const A *a, const B *b, OUT *out, int32_t count, int32_t ma, int32_t mb,       \
                      int32_t za, int32_t zb, const tb_scaling *r)                                   \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      const int64_t sum = tb_product(a[i] - za, ma) + tb_product(b[i] - zb, mb);                     \
      out[i] = (OUT)tb_limit(sum, r, *r->shift);                                                     \
    }                                                                                                \
  }

#define TB_MUL_16(name, A, B, OUT)                                                                   \
  TB_KERNEL void name(const A *a, const B *b, OUT *out, int32_t count, int32_t za, int32_t zb,       \
                      const tb_scaling *r)                                                           \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = (OUT)tb_scale_int64_t(tb_product(a[i] - za, b[i] - zb), r, 0);                        \
    }                                                                                                \
  }

/* Dot products of rows, as tb_mat_mul. */
#define TB_MAT_MUL_16(name, A, B, OUT, SUM)                                                          \
  TB_KERNEL void name(const A *a, const B *b, OUT *out, int32_t groups, int32_t rows,                \
                      int32_t columns, int32_t depth, int32_t za, int32_t zb, const tb_scaling *r)   \
  {                                                                                                  \
    for (int32_t group = 0; group < groups; group++, b += columns * depth) {                         \
      for (int32_t row = 0; row < rows; row++, a += depth) {                                         \
        int32_t sum = 0;                                                                             \
        for (int32_t k = 0; k < depth; k++) {                                                        \
          sum += a[k] - za;                                                                          \
        }                                                                                            \
        const B *factor = b;                                                                         \
        for (int32_t column = 0; column < columns; column++, factor += depth) {                      \
          SUM acc = -(SUM)tb_product(zb, sum);                                                       \
          for (int32_t k = 0; k < depth; k++) {                                                      \
            acc += tb_times_difference(a[k] - za, factor[k]);                                        \
          }                                                                                          \
          *out++ = (OUT)tb_scale_##SUM(acc, r, 0);                                                   \
        }                                                                                            \
      }                                                                                              \
    }                                                                                                \
  }

#define TB_TABLE_16(name, IN, OUT)                                                                   \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t count, const OUT *entries)                     \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = entries[in[i] + 128];                                                                 \
    }                                                                                                \
  }

/* Positions of `bits` bits; the largest one reads `pad`. */
#define TB_REORDER_16(name, bits, IN, OUT)                                                           \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t count, const uint##bits##_t *from, OUT pad)    \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = (from[i] == UINT##bits##_MAX) ? pad : (OUT)in[from[i]];                               \
    }                                                                                                \
  }

/* Positions rows[i] + columns[j] + lanes[k], where lanes follow the columns; -1 reads `pad`. */
#define TB_TAKE_16(name, IN, OUT)                                                                    \
  TB_KERNEL void name(const IN *in, OUT *out, const int32_t *rows, const int32_t *columns,           \
                      int32_t height, int32_t width, int32_t depth, OUT pad)                         \
  {                                                                                                  \
    const int32_t *lanes = columns + width;                                                          \
    for (int32_t i = 0; i < height; i++) {                                                           \
      for (int32_t j = 0; j < width; j++) {                                                          \
        const int inside = (rows[i] >= 0) && (columns[j] >= 0);                                      \
        const IN *from = in + (inside ? rows[i] + columns[j] : 0);                                   \
        for (int32_t k = 0; k < depth; k++) {                                                        \
          *out++ = (inside && (lanes[k] >= 0)) ? (OUT)from[lanes[k]] : pad;                          \
        }                                                                                            \
      }                                                                                              \
    }                                                                                                \
  }

/* One operand of a concatenation: `count` times `chunk` elements, the next ones `stride` further on. */
#define TB_CONCAT_16(name, IN, OUT)                                                                  \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t count, int32_t chunk, int32_t stride)          \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      for (int32_t k = 0; k < chunk; k++) {                                                          \
        out[k] = (OUT)*in++;                                                                         \
      }                                                                                              \
      out += stride;                                                                                 \
    }                                                                                                \
  }

/* Place of the largest of `count` elements, for each row; of equal ones the first, or the last if `last`. */
#define TB_ARG_MAX_16(name, IN, OUT)                                                                 \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t rows, int32_t count, int32_t last,             \
                      int32_t offset)                                                                \
  {                                                                                                  \
    for (int32_t row = 0; row < rows; row++, in += count) {                                          \
      int32_t best = 0, top = in[0];                                                                 \
      for (int32_t i = 1; i < count; i++) {                                                          \
        const int32_t taken = ~((in[i] - top - 1 + last) >> 31); /* no branch on data */             \
        best ^= (best ^ i) & taken;                                                                  \
        top ^= (top ^ in[i]) & taken;                                                                \
      }                                                                                              \
      out[row] = (OUT)(best + offset);                                                               \
    }                                                                                                \
  }

#endif
