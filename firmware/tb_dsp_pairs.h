/* SPDX-License-Identifier: Apache-2.0
 * Layers in pairs of filters (tb_int8.h), for tb_dsp.h: windows become columns of 16-bit numbers first.
 */
#ifndef TB_DSP_PAIRS_H
#define TB_DSP_PAIRS_H

#ifdef TB_COLUMNS
/* `count` activations as number `k` and on of one position; `gap` half words lie from a word to its next. */
static inline void tb_widen(int16_t *to, int32_t k, int32_t gap, const int8_t *from, int32_t count)
{
  int16_t *word = to + (k >> 1) * gap;
  if ((k & 1) && (count > 0)) {
    word[1] = *from++;
    word += gap;
    count--;
  }
  for (; count >= 4; count -= 4) {
    __asm__ volatile("ldr r4, [%1], #4\n\t"
                     "sxtb16 r5, r4\n\t"
                     "sxtb16 r4, r4, ror #8\n\t"
                     "pkhbt r6, r5, r4, lsl #16\n\t"
                     "pkhtb r4, r4, r5, asr #16\n\t"
                     "str r6, [%0]\n\t"
                     "str r4, [%0, %2, lsl #1]"
                     : "+r"(word), "+r"(from) : "r"(gap) : "r4", "r5", "r6", "memory");
    word += 2 * gap;
  }
  for (; count > 0; count -= 2) {
    word[0] = *from++;
    if (count > 1) {
      word[1] = *from++;
    }
    word += gap;
  }
}

/* The same for a tap outside the map. */
static inline void tb_widen_pad(int16_t *to, int32_t k, int32_t gap, int8_t pad, int32_t count)
{
  for (; count > 0; count--) {
    to[(k >> 1) * gap + (k & 1)] = pad;
    k++;
  }
}

/* Reads the whole window of one output position before any of its outputs is written. */
static inline void tb_window_of(int16_t *to, int32_t gap, const int8_t *in, const tb_window *w, int32_t y,
                                int32_t x0, int32_t corner)
{
  const int32_t line = w->kernel_width * w->depth;
  const int32_t last = x0 + (w->kernel_width - 1) * w->dilation_width;
  const int whole = (x0 >= 0) && (last < w->width) && (w->dilation_width == 1);
  int32_t k = 0;
  __asm__("" : "+r"(to)); /* compilers warn of two positions where only one is ever in a window of theirs */
  for (int32_t ky = 0; ky < w->kernel_height; ky++) {
    const int row = (y >= 0) && (y < w->height);
    if (!row) {
      tb_widen_pad(to, k, gap, w->pad, line);
    } else if (whole) {
      tb_widen(to, k, gap, in + corner, line);
    } else {
      int32_t x = x0, tap = corner, at = k;
      for (int32_t kx = 0; kx < w->kernel_width; kx++) {
        if ((x >= 0) && (x < w->width)) {
          tb_widen(to, at, gap, in + tap, w->depth);
        } else {
          tb_widen_pad(to, at, gap, w->pad, w->depth);
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
}

/* Four taps at two positions: 256 B + A in s, A in a, if both started from -128 times the activations. */
#define TB_TWO_POSITIONS                                                                             \
  "ldm %[w]!, {r4, r5}\n\t"                                                                          \
  "ldm %[x]!, {r6, r8, r9, r10}\n\t"                                                                 \
  "smlad %[s0], r4, r6, %[s0]\n\t"                                                                   \
  "smlad %[s1], r4, r8, %[s1]\n\t"                                                                   \
  "uxtb16 r4, r4\n\t"                                                                                \
  "smlad %[s0], r5, r9, %[s0]\n\t"                                                                   \
  "smlad %[s1], r5, r10, %[s1]\n\t"                                                                  \
  "uxtb16 r5, r5\n\t"                                                                                \
  "smlad %[a0], r4, r6, %[a0]\n\t"                                                                   \
  "smlad %[a1], r4, r8, %[a1]\n\t"                                                                   \
  "smlad %[a0], r5, r9, %[a0]\n\t"                                                                   \
  "smlad %[a1], r5, r10, %[a1]\n\t"

#define TB_ONE_POSITION                                                                              \
  "ldm %[w]!, {r4, r5}\n\t"                                                                          \
  "ldm %[x]!, {r6, r8}\n\t"                                                                          \
  "smlad %[s0], r4, r6, %[s0]\n\t"                                                                   \
  "uxtb16 r4, r4\n\t"                                                                                \
  "smlad %[s0], r5, r8, %[s0]\n\t"                                                                   \
  "uxtb16 r5, r5\n\t"                                                                                \
  "smlad %[a0], r4, r6, %[a0]\n\t"                                                                   \
  "smlad %[a0], r5, r8, %[a0]\n\t"

/* -128 X, X the sum of a position's activations: what the 128 in the weights adds to both sums. */
static inline int32_t tb_less_one(const int16_t *x, int32_t taps)
{
  int32_t s0 = 0;
  for (int32_t n = taps; n > 0; n -= 4) {
    __asm__ volatile("ldm %[x]!, {r4, r5}\n\t"
                     "smlad %[s0], r4, %[one], %[s0]\n\t"
                     "smlad %[s0], r5, %[one], %[s0]"
                     : [x] "+r"(x), [s0] "+r"(s0) : [one] "r"(0x00010001) : "r4", "r5", "memory");
  }
  return -128 * s0;
}

static inline void tb_less_two(const int16_t *x, int32_t taps, int32_t *less0, int32_t *less1)
{
  int32_t s0 = 0, s1 = 0;
  for (int32_t n = taps; n > 0; n -= 4) {
    __asm__ volatile("ldm %[x]!, {r4, r5, r6, r8}\n\t"
                     "smlad %[s0], r4, %[one], %[s0]\n\t"
                     "smlad %[s1], r5, %[one], %[s1]\n\t"
                     "smlad %[s0], r6, %[one], %[s0]\n\t"
                     "smlad %[s1], r8, %[one], %[s1]"
                     : [x] "+r"(x), [s0] "+r"(s0), [s1] "+r"(s1)
                     : [one] "r"(0x00010001) : "r4", "r5", "r6", "r8", "memory");
  }
  *less0 = -128 * s0;
  *less1 = -128 * s1;
}

/* Sums of `pairs` pairs of filters over `fours` times four taps, at one position or two. */
static __attribute__((noinline)) void tb_one_position(const int16_t *columns, int32_t fours,
                                                      const uint8_t *weights, int32_t pairs, int32_t less,
                                                      int32_t *sums)
{
  for (int32_t *end = sums + 2 * pairs; sums < end; sums += 2) {
    const int16_t *x = columns;
    int32_t s0 = less, a0 = less, n = fours;
    for (; n >= 4; n -= 4) {
      __asm__ volatile(TB_ONE_POSITION TB_ONE_POSITION TB_ONE_POSITION TB_ONE_POSITION
                       : [w] "+r"(weights), [x] "+r"(x), [s0] "+r"(s0), [a0] "+r"(a0)
                       : : "r4", "r5", "r6", "r8", "memory");
    }
    for (; n > 0; n--) {
      __asm__ volatile(TB_ONE_POSITION : [w] "+r"(weights), [x] "+r"(x), [s0] "+r"(s0), [a0] "+r"(a0)
                       : : "r4", "r5", "r6", "r8", "memory");
    }
    sums[0] = a0;
    sums[1] = (s0 - a0) >> 8;
  }
}

static __attribute__((noinline)) void tb_two_positions(const int16_t *columns, int32_t fours,
                                                       const uint8_t *weights, int32_t pairs, int32_t less0,
                                                       int32_t less1, int32_t *sums)
{
  for (int32_t *end = sums + 4 * pairs; sums < end; sums += 4) {
    const int16_t *x = columns;
    int32_t s0 = less0, a0 = less0, s1 = less1, a1 = less1, n = fours;
    for (; n >= 8; n -= 8) {
      __asm__ volatile(TB_TWO_POSITIONS TB_TWO_POSITIONS TB_TWO_POSITIONS TB_TWO_POSITIONS
                       TB_TWO_POSITIONS TB_TWO_POSITIONS TB_TWO_POSITIONS TB_TWO_POSITIONS
                       : [w] "+r"(weights), [x] "+r"(x), [s0] "+r"(s0), [a0] "+r"(a0), [s1] "+r"(s1),
                         [a1] "+r"(a1)
                       : : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
    }
    for (; n > 0; n--) {
      __asm__ volatile(TB_TWO_POSITIONS
                       : [w] "+r"(weights), [x] "+r"(x), [s0] "+r"(s0), [a0] "+r"(a0), [s1] "+r"(s1),
                         [a1] "+r"(a1)
                       : : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
    }
    sums[0] = a0;
    sums[1] = a1;
    sums[2] = (s0 - a0) >> 8;
    sums[3] = (s1 - a1) >> 8;
  }
}

/* All filters at the one or two positions in `columns`. */
static inline void tb_filters(const int16_t *columns, int32_t positions, int8_t *out, const tb_window *w,
                              const uint8_t *weights, const int32_t *bias, const tb_scaling *r)
{
  const int32_t fours = w->row_bytes >> 3;
  int32_t sums[2 * TB_BLOCK], less0, less1 = 0;
  if (positions > 1) {
    tb_less_two(columns, 4 * fours, &less0, &less1);
  } else {
    less0 = tb_less_one(columns, 4 * fours);
  }
  for (int32_t o = 0; o < w->outputs; o += TB_BLOCK) {
    const int32_t left = w->outputs - o, count = (left < TB_BLOCK) ? left : TB_BLOCK;
    const int32_t pairs = (count + 1) >> 1;
    if (positions > 1) {
      tb_two_positions(columns, fours, weights, pairs, less0, less1, sums);
      tb_finish(sums, out + o, out + w->outputs + o, bias + o, r, o, count);
    } else {
      tb_one_position(columns, fours, weights, pairs, less0, sums);
      tb_finish(sums, out + o, NULL, bias + o, r, o, count);
    }
    weights += pairs * w->row_bytes;
  }
}

/* What computes all filters at the one or two positions in `columns`. */
typedef void tb_filters_at(const int16_t *columns, int32_t positions, int8_t *out, const tb_window *w,
                           const uint8_t *weights, const int32_t *bias, const tb_scaling *r);

/* Two positions at a time, the last one of an odd number alone. */
TB_INLINE void tb_two_by_two(tb_filters_at *filters, const int8_t *in, int8_t *out, const tb_window *w,
                             const uint8_t *weights, const int32_t *bias, const tb_scaling *r)
{
  /* The window of one position as 16-bit numbers, or of two, by turns: a word of each. */
  int16_t columns[TB_COLUMNS] __attribute__((aligned(4)));
  int32_t y0 = w->top, line = w->first, waiting = 0, left = w->out_height * w->out_width;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      left--;
      if (waiting) {
        tb_window_of(columns + 2, 4, in, w, y0, x0, corner);
        filters(columns, 2, out, w, weights, bias, r);
        out += 2 * w->outputs;
        waiting = 0;
      } else if (left > 0) {
        tb_window_of(columns, 4, in, w, y0, x0, corner);
        waiting = 1;
      } else {
        tb_window_of(columns, 2, in, w, y0, x0, corner);
        filters(columns, 1, out, w, weights, bias, r);
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

TB_KERNEL void tb_affine_pairs(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                               const int32_t *bias, const tb_scaling *r)
{
  tb_two_by_two(tb_filters, in, out, w, weights, bias, r);
}
#endif

#endif
