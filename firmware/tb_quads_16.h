/* SPDX-License-Identifier: Apache-2.0
 * Convolutions of one group and dense layers of int8 weights with integers of 16 bits, in two forms: plain
 * C, and assembly for cores with the DSP extension.
 *
 * Four filters side by side, four taps by four: a word has a filter's taps 0, 2, 1, 3, so that SXTB16
 * makes of it the pairs (0, 1) and (2, 3) that a map's own half words lie in. The compiler filled up
 * filters and taps to fours by zeros. Windows become columns of half words first: so padding costs nothing
 * in the sums, and outputs may lie over inputs. Sums of 64 bits are made of sums of at most TB_CHUNK fours
 * of taps, which fit 32.
 *
 * r->direct: every sum has 32 bits and none is a tie: half up does, of the upper word of a product alone.
 * Then shifts are those behind it, less one.
 */
#ifndef TB_QUADS_16_H
#define TB_QUADS_16_H

#define TB_CHUNK 120

/* The output for a sum, when r->direct. */
static inline int32_t tb_direct_16(int32_t acc, const tb_scaling *r, int32_t channel)
{
  const int32_t bits = r->shift[channel], round = (int32_t)((uint32_t)(2 * r->zero + 1) << bits);
  const int32_t high = tb_upper(acc, r->multiplier[channel]);
  return tb_min(tb_max((high + round) >> bits >> 1, r->lo), r->hi);
}

static inline void tb_pad_16(int16_t *column, int32_t k, int32_t gap, int32_t pad, int32_t count)
{
  int16_t *to = column + (k >> 2) * gap;
  for (int32_t at = k & 3; count > 0; count--) {
    to[at] = (int16_t)pad;
    at++;
    if (at == 4) {
      at = 0;
      to += gap;
    }
  }
}

/* Two halves from each of two addresses to [to], which moves on by `gap` half words. */
#ifdef TB_DSP
#define TB_MOVE_FOUR                                                                                 \
  __asm__ volatile("ldr r4, [%1], #4\n\t"                                                            \
                   "ldr r5, [%1], #4\n\t"                                                            \
                   "strd r4, r5, [%0]\n\t"                                                           \
                   "add %0, %0, %2, lsl #1"                                                          \
                   : "+r"(to), "+r"(from) : "r"(gap) : "r4", "r5", "memory")
#else
#define TB_MOVE_FOUR                                                                                 \
  do {                                                                                               \
    to[0] = from[0];                                                                                 \
    to[1] = from[1];                                                                                 \
    to[2] = from[2];                                                                                 \
    to[3] = from[3];                                                                                 \
    to += gap;                                                                                       \
    from += 4;                                                                                       \
  } while (0)
#endif

/* `count` numbers of a map as number `k` and on of a column; `gap` half words from four numbers to the
 * next four. */
static inline void tb_line_int16_t(int16_t *column, int32_t k, int32_t gap, const int16_t *from,
                                   int32_t count)
{
  int16_t *to = column + (k >> 2) * gap;
  int32_t at = k & 3;
  if (at > 0) {
    for (; (at < 4) && (count > 0); count--) {
      to[at++] = *from++;
    }
    to += gap;
  }
  for (; count >= 16; count -= 16) {
    TB_MOVE_FOUR;
    TB_MOVE_FOUR;
    TB_MOVE_FOUR;
    TB_MOVE_FOUR;
  }
  for (; count >= 4; count -= 4) {
    TB_MOVE_FOUR;
  }
  for (at = 0; at < count; at++) {
    to[at] = *from++;
  }
}

static inline void tb_line_int8_t(int16_t *column, int32_t k, int32_t gap, const int8_t *from, int32_t count)
{
  int16_t *to = column + (k >> 2) * gap;
  for (int32_t at = k & 3; count > 0; count--) {
    to[at] = *from++;
    at++;
    if (at == 4) {
      at = 0;
      to += gap;
    }
  }
}

/* The window of one position, read before any output of it is written. Without a dilation a line is taps
 * before, in and behind the map. */
#define TB_COLUMN_16(IN)                                                                             \
  static inline void tb_column_##IN(int16_t *column, int32_t gap, const IN *in, const tb_window *w,  \
                                    int32_t pad, int32_t y, int32_t x0, int32_t corner)              \
  {                                                                                                  \
    const int32_t line = w->kernel_width * w->depth, close = w->dilation_width == 1;                 \
    const int32_t step = close ? w->kernel_width : 1, width = step * w->depth;                       \
    for (int32_t k = 0, end = line; end <= w->kernel_height * line; end += line) {                   \
      const int inside = (y >= 0) && (y < w->height);                                                \
      for (int32_t x = x0, tap = corner; k < end; k += width) {                                      \
        const int32_t first = (x < 0) ? -x : 0, last = x + step - w->width;                          \
        const int32_t before = ((first < step) && inside ? first : step) * w->depth;                 \
        const int32_t behind = (last <= 0) ? 0 : (last < step) ? last * w->depth : width;            \
        const int32_t count = width - before - ((behind < width - before) ? behind : width - before); \
        if (before > 0) {                                                                            \
          tb_pad_16(column, k, gap, pad, before);                                                    \
        }                                                                                            \
        if (count > 0) {                                                                             \
          tb_line_##IN(column, k + before, gap, in + tap + before, count);                           \
        }                                                                                            \
        if (before + count < width) {                                                                \
          tb_pad_16(column, k + before + count, gap, pad, width - before - count);                   \
        }                                                                                            \
        x += w->dilation_width;                                                                      \
        tap += w->dilation_column;                                                                   \
      }                                                                                              \
      y += w->dilation_height;                                                                       \
      corner += w->dilation_row;                                                                     \
    }                                                                                                \
  }

TB_COLUMN_16(int8_t)
TB_COLUMN_16(int16_t)

#ifdef TB_DSP
#include "tb_dsp_quads_16.h"
#else
#ifdef TB_THUMB1
/* Four taps of a filter, whose sum is in a high register; the activations are in r2, r3, r6 and r7. */
#define TB_QUADS_THUMB1(at, sum)                                                                     \
  "ldr r4, [r0, #" at "]\n\t"                                                                        \
  "sxtb r5, r4\n\t"                                                                                  \
  "muls r5, r2, r5\n\t"                                                                              \
  "add " sum ", r5\n\t"                                                                              \
  "lsls r5, r4, #8\n\t"                                                                              \
  "asrs r5, r5, #24\n\t"                                                                             \
  "muls r5, r3, r5\n\t"                                                                              \
  "add " sum ", r5\n\t"                                                                              \
  "lsls r5, r4, #16\n\t"                                                                             \
  "asrs r5, r5, #24\n\t"                                                                             \
  "muls r5, r6, r5\n\t"                                                                              \
  "add " sum ", r5\n\t"                                                                              \
  "asrs r4, r4, #24\n\t"                                                                             \
  "muls r4, r7, r4\n\t"                                                                              \
  "add " sum ", r4\n\t"

/* Sums of four filters over `fours` times four taps. */
static TB_ASSEMBLY void tb_quad_sums(TB_UNUSED const uint8_t *weights, TB_UNUSED const int16_t *x,
                                     TB_UNUSED int32_t fours, TB_UNUSED int32_t *sums)
{
  __asm__(".syntax unified\n\t"
          "push {r4-r7, lr}\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "mov r6, r10\n\t"
          "mov r7, r11\n\t"
          "push {r3-r7}\n\t"
          "lsls r2, r2, #3\n\t"
          "adds r2, r1, r2\n\t"
          "mov r12, r2\n\t"
          "movs r2, #0\n\t"
          "mov r8, r2\n\t"
          "mov r9, r2\n\t"
          "mov r10, r2\n\t"
          "mov r11, r2\n"
          "1:\n\t"
          "ldr r3, [r1]\n\t"
          "ldr r7, [r1, #4]\n\t"
          "sxth r2, r3\n\t"
          "asrs r3, r3, #16\n\t"
          "sxth r6, r7\n\t"
          "asrs r7, r7, #16\n\t" TB_QUADS_THUMB1("0", "r8") TB_QUADS_THUMB1("4", "r9")
          TB_QUADS_THUMB1("8", "r10") TB_QUADS_THUMB1("12", "r11")
          "adds r0, #16\n\t"
          "adds r1, #8\n\t"
          "cmp r1, r12\n\t"
          "bne 1b\n\t"
          "pop {r3}\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "mov r6, r10\n\t"
          "mov r7, r11\n\t"
          "stm r3!, {r4-r7}\n\t"
          "pop {r4-r7}\n\t"
          "mov r8, r4\n\t"
          "mov r9, r5\n\t"
          "mov r10, r6\n\t"
          "mov r11, r7\n\t"
          "pop {r4-r7, pc}");
}
#else
/* Sums of four filters over `fours` times four taps. */
TB_KERNEL void tb_quad_sums(const uint8_t *weights, const int16_t *x, int32_t fours, int32_t *sums)
{
  int32_t a = 0, b = 0, c = 0, d = 0;
  const int8_t *weight = (const int8_t *)weights;
  for (const int16_t *end = x + 4 * fours; x < end; x += 4) {
    const int32_t x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
    a += TB_TIMES_16(weight[0], x0) + TB_TIMES_16(weight[2], x1)
         + TB_TIMES_16(weight[1], x2) + TB_TIMES_16(weight[3], x3);
    b += TB_TIMES_16(weight[4], x0) + TB_TIMES_16(weight[6], x1)
         + TB_TIMES_16(weight[5], x2) + TB_TIMES_16(weight[7], x3);
    c += TB_TIMES_16(weight[8], x0) + TB_TIMES_16(weight[10], x1)
         + TB_TIMES_16(weight[9], x2) + TB_TIMES_16(weight[11], x3);
    d += TB_TIMES_16(weight[12], x0) + TB_TIMES_16(weight[14], x1)
         + TB_TIMES_16(weight[13], x2) + TB_TIMES_16(weight[15], x3);
    weight += 16;
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}
#endif
#endif

/* All filters of one position, from its column. */
#define TB_FILTERS_16(name, OUT, SUM)                                                                \
  static inline void name(const int16_t *column, int32_t positions, OUT *out, const tb_window *w,    \
                          const uint8_t *weights, const SUM *bias, const tb_scaling *r)              \
  {                                                                                                  \
    (void)positions;                                                                                 \
    for (int32_t o = 0; o < w->outputs; o += 4) {                                                    \
      const int32_t left = w->outputs - o, many = (left < 4) ? left : 4;                             \
      SUM acc[4] = { bias[o], bias[o + 1], bias[o + 2], bias[o + 3] };                               \
      const int16_t *x = column;                                                                     \
      for (int32_t fours = w->row_bytes >> 4; fours > 0; fours -= TB_CHUNK) {                        \
        const int32_t some = (fours < TB_CHUNK) ? fours : TB_CHUNK;                                  \
        int32_t sums[4];                                                                             \
        tb_quad_sums(weights, x, some, sums);                                                        \
        for (int32_t i = 0; i < 4; i++) {                                                            \
          acc[i] += sums[i];                                                                         \
        }                                                                                            \
        weights += some << 4;                                                                        \
        x += some << 2;                                                                              \
      }                                                                                              \
      for (int32_t i = 0; i < many; i++) {                                                           \
        *out++ = (OUT)(r->direct ? tb_direct_16((int32_t)acc[i], r, o + i)                           \
                                 : tb_scale_##SUM(acc[i], r, o + i));                                \
      }                                                                                              \
    }                                                                                                \
  }

/* A layer: `filters` gets the columns of up to `most` positions, 1 or 2; of two by turns. */
#define TB_QUADS(name, filters, most, IN, OUT, SUM)                                                  \
  TB_KERNEL void name(const IN *in, OUT *out, const tb_window *w, const uint8_t *weights,            \
                      const SUM *bias, int32_t pad, const tb_scaling *r)                             \
  {                                                                                                  \
    TB_WORDS int16_t columns[TB_QUAD_COLUMNS];                                                       \
    int32_t y0 = w->top, line = w->first, waiting = 0, left = w->out_height * w->out_width;          \
    const int32_t side = ((most > 1) && (left > 1)) ? 8 : 4;                                         \
    const int32_t taps = w->kernel_height * w->kernel_width * w->depth;                              \
    for (int32_t i = 0; i < side; i++) {                                                             \
      columns[side * ((taps - 1) >> 2) + i] = 0; /* what fills up taps has weights of 0 */           \
    }                                                                                                \
    for (int32_t oy = 0; oy < w->out_height; oy++) {                                                 \
      int32_t x0 = w->left, corner = line;                                                           \
      for (int32_t ox = 0; ox < w->out_width; ox++) {                                                \
        left--;                                                                                      \
        const int32_t two = (most > 1) && (waiting || (left > 0));                                   \
        tb_column_##IN(columns + 4 * waiting, two ? 8 : 4, in, w, pad, y0, x0, corner);              \
        if (two && !waiting) {                                                                       \
          waiting = 1;                                                                               \
        } else {                                                                                     \
          filters(columns, 1 + waiting, out, w, weights, bias, r);                                   \
          out += waiting ? 2 * w->outputs : w->outputs;                                              \
          waiting = 0;                                                                               \
        }                                                                                            \
        x0 += w->stride_width;                                                                       \
        corner += w->stride_column;                                                                  \
      }                                                                                              \
      y0 += w->stride_height;                                                                        \
      line += w->stride_row;                                                                         \
    }                                                                                                \
  }

#define TB_QUADS_16(name, IN, OUT, SUM)                                                              \
  TB_FILTERS_16(name##_filters, OUT, SUM)                                                            \
  TB_QUADS(name, name##_filters, 1, IN, OUT, SUM)

/* Weights of half a byte, filter by filter, over the column of a position. */
#define TB_TERMS_16(name, code, IN, OUT, SUM)                                                        \
  static inline void name##_filters(const int16_t *column, int32_t positions, OUT *out,              \
                                    const tb_window *w, const uint8_t *weights, const SUM *bias,     \
                                    const tb_scaling *r)                                             \
  {                                                                                                  \
    const int32_t taps = w->kernel_height * w->kernel_width * w->depth;                              \
    const int16_t *end = column + (taps & ~1);                                                       \
    (void)positions;                                                                                 \
    for (int32_t o = 0; o < w->outputs; o++) {                                                       \
      const uint8_t *row = weights;                                                                  \
      const int16_t *x = column;                                                                     \
      SUM acc = bias[o];                                                                             \
      for (; x < end; x += 2) {                                                                      \
        acc += tb_term_16_##code(row, 0, x[0]);                                                      \
        acc += tb_term_16_##code(row, 1, x[1]);                                                      \
        row++;                                                                                       \
      }                                                                                              \
      if (taps & 1) {                                                                                \
        acc += tb_term_16_##code(row, 0, x[0]);                                                      \
      }                                                                                              \
      *out++ = (OUT)tb_scale_##SUM(acc, r, o);                                                       \
      weights += w->row_bytes;                                                                       \
    }                                                                                                \
  }                                                                                                  \
  TB_QUADS(name, name##_filters, 1, IN, OUT, SUM)

/* When r->direct, outputs of 16 bits; bounds: 0 those of int16_t, 1 none below 0, 2 others. */
#ifdef TB_DSP
#define TB_DIRECT_QUADS_16(name, IN, bounds)                                                         \
  TB_QUADS_DSP(name, bounds)                                                                         \
  TB_QUADS(name, name##_filters, 2, IN, int16_t, int32_t)
#else
#define TB_DIRECT_QUADS_16(name, IN, bounds) TB_QUADS_16(name, IN, int16_t, int32_t)
#endif

#endif
