/* SPDX-License-Identifier: Apache-2.0
 * Around straight-line code (tb_straight.h, tb_buckets.h): windows as words, a number per tap or x0 + (x1 <<
 * 16) for two positions, and outputs from sums.
 */
#ifndef TB_WALK_H
#define TB_WALK_H

#ifdef TB_DSP
#include "tb_dsp.h"
#endif

#if defined __GNUC__ && defined __thumb2__ && defined __OPTIMIZE__
#define TB_SHIFTED_ADDS 1                /* assembly of Thumb-2 */
#elif defined __GNUC__ && defined __thumb__ && !defined __thumb2__ && defined __OPTIMIZE__
#define TB_ONE_BY_ONE 1                  /* of Thumb-1 */
#endif

#ifdef __GNUC__
#define TB_APART __attribute__((noinline, unused))
#define TB_WITHIN inline __attribute__((always_inline))
#else
#define TB_APART
#define TB_WITHIN inline
#endif

/* What follows from a layer's window and would need multiplications here. */
typedef struct {
  int32_t line;                          /* taps of a row of the window */
  int32_t two;                           /* taps of two pixels */
  int32_t shared;                        /* kernel_width - 2 where positions are one pixel apart, else 0 */
  int32_t kept;                          /* taps of that many pixels */
  int32_t far_row, far_column;           /* from the first tap to the last */
} tb_span;

/* Output positions in order. */
typedef struct {
  const int8_t *in;
  int32_t y, x, line, corner, column, rows, follows;
  int8_t pads[TB_DEPTH];
} tb_walk;

static inline void tb_walk_start(tb_walk *walk, const int8_t *in, const tb_window *w)
{
  walk->in = in;
  walk->y = w->top;
  walk->x = w->left;
  walk->line = w->first;
  walk->corner = w->first;
  walk->column = 0;
  walk->rows = w->out_height;
  walk->follows = 0;
  for (int32_t c = 0; c < w->depth; c++) {
    walk->pads[c] = w->pad;
  }
}

static TB_WITHIN void tb_walk_on(tb_walk *walk, const tb_window *w)
{
  walk->column++;
  walk->x += w->stride_width;
  walk->corner += w->stride_column;
  if (walk->column == w->out_width) {
    walk->column = 0;
    walk->rows--;
    walk->x = w->left;
    walk->y += w->stride_height;
    walk->line += w->stride_row;
    walk->corner = walk->line;
  }
}

/* Four words from four activations each of two positions. */
#define TB_JOIN_FOUR                                                                                 \
  __asm__ volatile("ldrsb r4, [%1], #1\n\t"                                                          \
                   "ldrsb r9, [%2], #1\n\t"                                                          \
                   "ldrsb r5, [%1], #1\n\t"                                                          \
                   "ldrsb r10, [%2], #1\n\t"                                                         \
                   "add r4, r4, r9, lsl #16\n\t"                                                     \
                   "ldrsb r6, [%1], #1\n\t"                                                          \
                   "ldrsb r9, [%2], #1\n\t"                                                          \
                   "add r5, r5, r10, lsl #16\n\t"                                                    \
                   "ldrsb r8, [%1], #1\n\t"                                                          \
                   "ldrsb r10, [%2], #1\n\t"                                                         \
                   "add r6, r6, r9, lsl #16\n\t"                                                     \
                   "add r8, r8, r10, lsl #16\n\t"                                                    \
                   "stm %0!, {r4, r5, r6, r8}"                                                       \
                   : "+r"(to), "+r"(a), "+r"(b) : : "r4", "r5", "r6", "r8", "r9", "r10", "memory");

/* Two words where loads of signed bytes take an index: i goes on by 2. */
#define TB_JOIN_TWO                                                                                  \
  __asm__ volatile(".syntax unified\n\t"                                                             \
                   "ldrsb r4, [%1, %3]\n\t"                                                          \
                   "ldrsb r5, [%2, %3]\n\t"                                                          \
                   "adds %3, %3, #1\n\t"                                                             \
                   "lsls r5, r5, #16\n\t"                                                            \
                   "adds r4, r4, r5\n\t"                                                             \
                   "ldrsb r5, [%1, %3]\n\t"                                                          \
                   "ldrsb r6, [%2, %3]\n\t"                                                          \
                   "adds %3, %3, #1\n\t"                                                             \
                   "lsls r6, r6, #16\n\t"                                                            \
                   "adds r5, r5, r6\n\t"                                                             \
                   "stm %0!, {r4, r5}"                                                               \
                   : "+l"(to), "+l"(a), "+l"(b), "+l"(i) : : "r4", "r5", "r6", "cc", "memory");

static TB_WITHIN void tb_join(uint32_t *to, const int8_t *a, const int8_t *b, int32_t count)
{
#ifdef TB_SHIFTED_ADDS
  for (; count >= 16; count -= 16) {
    TB_JOIN_FOUR TB_JOIN_FOUR TB_JOIN_FOUR TB_JOIN_FOUR
  }
  for (; count >= 4; count -= 4) {
    TB_JOIN_FOUR
  }
#elif defined TB_ONE_BY_ONE
  int32_t i = 0;
  for (; count >= 4; count -= 4) {
    TB_JOIN_TWO TB_JOIN_TWO
  }
  a += i;
  b += i;
#endif
  for (int32_t k = 0; k < count; k++) {
    to[k] = (uint32_t)(int32_t)a[k] + ((uint32_t)(int32_t)b[k] << 16);
  }
}

#ifdef TB_DSP
/* Four words of two pixels and four of the next two: the one between is loaded once. */
#define TB_JOIN_BOTH                                                                                 \
  __asm__ volatile("ldrsb r8, [%2, %3]\n\t"                                                          \
                   "ldrsb r12, [%2, %3, lsl #1]\n\t"                                                 \
                   "ldrsb r4, [%2], #1\n\t"                                                          \
                   "add r4, r4, r8, lsl #16\n\t"                                                     \
                   "add r8, r8, r12, lsl #16\n\t"                                                    \
                   "ldrsb r9, [%2, %3]\n\t"                                                          \
                   "ldrsb r12, [%2, %3, lsl #1]\n\t"                                                 \
                   "ldrsb r5, [%2], #1\n\t"                                                          \
                   "add r5, r5, r9, lsl #16\n\t"                                                     \
                   "add r9, r9, r12, lsl #16\n\t"                                                    \
                   "ldrsb r10, [%2, %3]\n\t"                                                         \
                   "ldrsb r12, [%2, %3, lsl #1]\n\t"                                                 \
                   "ldrsb r6, [%2], #1\n\t"                                                          \
                   "add r6, r6, r10, lsl #16\n\t"                                                    \
                   "add r10, r10, r12, lsl #16\n\t"                                                  \
                   "ldrsb lr, [%2, %3]\n\t"                                                          \
                   "ldrsb r12, [%2, %3, lsl #1]\n\t"                                                 \
                   "ldrsb r11, [%2], #1\n\t"                                                         \
                   "add r11, r11, lr, lsl #16\n\t"                                                   \
                   "add lr, lr, r12, lsl #16\n\t"                                                    \
                   "stm %0!, {r4, r5, r6, r11}\n\t"                                                  \
                   "stm %1!, {r8, r9, r10, lr}"                                                      \
                   : "+r"(to), "+r"(beside), "+r"(a) : "r"(depth)                                    \
                   : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "memory");

/* The words of three pixels side by side, `depth` of two, then of the other two. */
static TB_WITHIN void tb_join_both(uint32_t *to, const int8_t *a, int32_t depth)
{
  uint32_t *beside = to + depth;
  int32_t count = depth;
  for (; count >= 16; count -= 16) {
    TB_JOIN_BOTH TB_JOIN_BOTH TB_JOIN_BOTH TB_JOIN_BOTH
  }
  for (; count >= 4; count -= 4) {
    TB_JOIN_BOTH
  }
  for (int32_t k = 0; k < count; k++) {
    to[k] = (uint32_t)(int32_t)a[k] + ((uint32_t)(int32_t)a[k + depth] << 16);
    beside[k] = (uint32_t)(int32_t)a[k + depth] + ((uint32_t)(int32_t)a[k + 2 * depth] << 16);
  }
}
#endif

static TB_WITHIN void tb_widen_words(uint32_t *to, const int8_t *from, int32_t count)
{
#ifdef TB_SHIFTED_ADDS
  for (; count >= 8; count -= 8) {
    __asm__ volatile("ldrsb r4, [%1], #1\n\t"
                     "ldrsb r5, [%1], #1\n\t"
                     "ldrsb r6, [%1], #1\n\t"
                     "ldrsb r8, [%1], #1\n\t"
                     "stm %0!, {r4, r5, r6, r8}\n\t"
                     "ldrsb r4, [%1], #1\n\t"
                     "ldrsb r5, [%1], #1\n\t"
                     "ldrsb r6, [%1], #1\n\t"
                     "ldrsb r8, [%1], #1\n\t"
                     "stm %0!, {r4, r5, r6, r8}"
                     : "+r"(to), "+r"(from) : : "r4", "r5", "r6", "r8", "memory");
  }
#endif
  for (int32_t i = 0; i < count; i++) {
    to[i] = (uint32_t)(int32_t)from[i];
  }
}

static TB_WITHIN void tb_move_words(uint32_t *to, const uint32_t *from, int32_t count)
{
#ifdef TB_DSP
  for (; count >= 16; count -= 16) {
    __asm__ volatile("ldm %1!, {r4, r5, r6, r8, r9, r10, r11, r12}\n\t"
                     "stm %0!, {r4, r5, r6, r8, r9, r10, r11, r12}\n\t"
                     "ldm %1!, {r4, r5, r6, r8, r9, r10, r11, r12}\n\t"
                     "stm %0!, {r4, r5, r6, r8, r9, r10, r11, r12}"
                     : "+r"(to), "+r"(from)
                     : : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "memory");
  }
#endif
#ifdef TB_SHIFTED_ADDS
  for (; count >= 8; count -= 8) {
    __asm__ volatile("ldm %1!, {r4, r5, r6, r8}\n\t"
                     "stm %0!, {r4, r5, r6, r8}\n\t"
                     "ldm %1!, {r4, r5, r6, r8}\n\t"
                     "stm %0!, {r4, r5, r6, r8}"
                     : "+r"(to), "+r"(from) : : "r4", "r5", "r6", "r8", "memory");
  }
#elif defined TB_ONE_BY_ONE
  for (; count >= 6; count -= 6) {
    __asm__ volatile(".syntax unified\n\t"
                     "ldm %1!, {r4, r5, r6}\n\t"
                     "stm %0!, {r4, r5, r6}\n\t"
                     "ldm %1!, {r4, r5, r6}\n\t"
                     "stm %0!, {r4, r5, r6}"
                     : "+l"(to), "+l"(from) : : "r4", "r5", "r6", "memory");
  }
#endif
  for (int32_t i = 0; i < count; i++) {
    to[i] = from[i];
  }
}

/* A row of taps at corners c0 and c1, from the `first` on, where not all of them are known to be inside. */
static TB_APART void tb_edge(uint32_t *to, const tb_walk *walk, const tb_window *w, int in0, int in1,
                             int32_t c0, int32_t c1, int32_t x0, int32_t x1, int32_t first)
{
  for (int32_t kx = 0; kx < w->kernel_width; kx++) {
    if (kx >= first) {
      tb_join(to, (in0 && (x0 >= 0) && (x0 < w->width)) ? walk->in + c0 : walk->pads,
              (in1 && (x1 >= 0) && (x1 < w->width)) ? walk->in + c1 : walk->pads, w->depth);
    }
    to += w->depth;
    c0 += w->dilation_column;
    c1 += w->dilation_column;
    x0 += w->dilation_width;
    x1 += w->dilation_width;
  }
}

/* The words of the next two positions' windows, or of the last one twice; how many that are, 0 at the end.
 * Where a pair continues its row, the pixels that it shares with the one before only move. w and s are the
 * layer's: constants, once this is part of the layer's code. */
static TB_WITHIN int32_t tb_next_two(tb_walk *walk, const tb_window *w, const tb_span *s, uint32_t *words)
{
  if (walk->rows == 0) {
    return 0;
  }
  const int32_t x0 = walk->x, goes_on = walk->follows;
  int32_t y0 = walk->y, c0 = walk->corner, y1 = y0, x1 = x0, c1 = c0, found = 1;
  tb_walk_on(walk, w);
  const int32_t same_row = walk->column > 0;
  if (walk->rows > 0) {
    y1 = walk->y;
    x1 = walk->x;
    c1 = walk->corner;
    found = 2;
    tb_walk_on(walk, w);
  }
  walk->follows = same_row && (walk->column > 0);
  const int32_t first = (goes_on && same_row) ? s->shared : 0, kept = first ? s->kept : 0;
  const int inside = (y0 >= 0) && (y1 + s->far_row < w->height) && (x0 + first >= 0) && (x1 >= 0) &&
                     (x0 + s->far_column < w->width) && (x1 + s->far_column < w->width) &&
                     (w->dilation_width == 1);
  for (int32_t ky = 0; ky < w->kernel_height; ky++) {
    if (first) {
      tb_move_words(words, words + s->two, s->kept);
    }
    if (!inside) {
      const int in0 = (y0 >= 0) && (y0 < w->height), in1 = (y1 >= 0) && (y1 < w->height);
      tb_edge(words, walk, w, in0, in1, c0, c1, x0, x1, first);
      y0 += w->dilation_height;
      y1 += w->dilation_height;
    } else if (first) {
#ifdef TB_DSP
      tb_join_both(words + s->kept, walk->in + c0 + kept, w->depth);
#else
      tb_join(words + s->kept, walk->in + c0 + kept, walk->in + c1 + kept, s->two);
#endif
    } else {
      tb_join(words, walk->in + c0, walk->in + c1, s->line);
    }
    words += s->line;
    c0 += w->dilation_row;
    c1 += w->dilation_row;
  }
  return found;
}

/* The only position's window, a word per activation. */
static TB_WITHIN void tb_only_one(const tb_walk *walk, const tb_window *w, uint32_t *words)
{
  int32_t y = walk->y, line = walk->corner;
  for (int32_t ky = 0; ky < w->kernel_height; ky++) {
    int32_t x = walk->x, tap = line;
    for (int32_t kx = 0; kx < w->kernel_width; kx++) {
      const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
      tb_widen_words(words, inside ? walk->in + tap : walk->pads, w->depth);
      words += w->depth;
      x += w->dilation_width;
      tap += w->dilation_column;
    }
    y += w->dilation_height;
    line += w->dilation_row;
  }
}

/* Outputs of `count` sums from `channel` on, `gap` words apart, of two positions by turns or of one (`second`
 * NULL). */
static TB_APART void tb_finish_words(uint32_t *sums, int32_t gap, int8_t *out, int8_t *second,
                                     const int32_t *bias, const tb_scaling *r, int32_t channel,
                                     int32_t count)
{
#ifdef TB_DSP
  if (!second && (gap > 1)) {
    for (int32_t i = 0; i < count; i++) {
      sums[i] = sums[i << 1];
    }
  }
  tb_finish((const int32_t *)sums, out, second, bias + channel, r, channel, count);
#else
#if defined TB_THUMB1 && !defined TB_SHIFTS_ONLY
  if (r->direct && r->step) {
    tb_direct_row(sums, 4 * gap, bias + channel, r, channel, out, count);
    if (second) {
      tb_direct_row(sums + 1, 4 * gap, bias + channel, r, channel, second, count);
    }
    return;
  }
#endif
  for (int32_t i = 0; i < count; i++) {
    const uint32_t b = (uint32_t)bias[channel + i];
    out[i] = tb_requantise((int32_t)(sums[0] + b), r, channel + i);
    if (second) {
      second[i] = tb_requantise((int32_t)(sums[1] + b), r, channel + i);
    }
    sums += gap;
  }
#endif
}

#endif
