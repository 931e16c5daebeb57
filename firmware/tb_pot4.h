/* SPDX-License-Identifier: Apache-2.0
 * Layers of powers of two, two filters a and b side by side: a word is four taps, as bytes of two nibbles,
 * a's first two taps, b's first two, a's last two, b's last two. Plain C for every core; with two products
 * per instruction where there is the DSP extension: a table makes two half words of a byte. The compiler
 * fills up filters to an even number and taps to four by zeros.
 */
#ifndef TB_POT4_H
#define TB_POT4_H

#ifndef TB_DSP

static inline void tb_affine_book(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                                  const int32_t *bias, const tb_scaling *r)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      const uint8_t *row = weights;
      for (int32_t o = 0; o < w->outputs; o++) {
        int32_t acc = bias[o], k = 0, y = y0, tap_row = corner;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
          int32_t x = x0, tap = tap_row;
          for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
            for (int32_t c = 0; c < w->depth; c++) {
              acc += tb_term_pot4(row, k + (k & ~1), inside ? in[tap + c] : w->pad);
              k++;
            }
            x += w->dilation_width;
            tap += w->dilation_column;
          }
          y += w->dilation_height;
          tap_row += w->dilation_row;
        }
        *out++ = tb_requantise(acc, r, o);
        row += (o & 1) ? w->row_bytes - 1 : 1;
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

#else
#include "tb_dsp.h"

#ifdef TB_COLUMNS
/* The two weights of a byte as half words. */
#define TB_VALUE(n) ((((n) & 8) ? -1 : 1) * ((1 << ((n) & 7)) >> 1))
#define TB_HALVES(n) ((uint32_t)TB_VALUE((n) & 15) & 0xffffu) | ((uint32_t)TB_VALUE((n) >> 4) << 16)
#define TB_4(n) TB_HALVES(n), TB_HALVES((n) + 1), TB_HALVES((n) + 2), TB_HALVES((n) + 3)
#define TB_16(n) TB_4(n), TB_4((n) + 4), TB_4((n) + 8), TB_4((n) + 12)
#define TB_64(n) TB_16(n), TB_16((n) + 16), TB_16((n) + 32), TB_16((n) + 48)
static const uint32_t tb_book[256] = { TB_64(0), TB_64(64), TB_64(128), TB_64(192) };

#define TB_BOOK_TWO(byte, a0, a1, x, y)                                                              \
  byte                                                                                               \
  "ldr r5, [%[book], r5, lsl #2]\n\t"                                                                \
  "smlad %[" a0 "], r5, " x ", %[" a0 "]\n\t"                                                        \
  "smlad %[" a1 "], r5, " y ", %[" a1 "]\n\t"
#define TB_BOOK_ONE(byte, a0, x)                                                                     \
  byte                                                                                               \
  "ldr r5, [%[book], r5, lsl #2]\n\t"                                                                \
  "smlad %[" a0 "], r5, " x ", %[" a0 "]\n\t"
#define TB_BYTE0 "uxtb r5, r4\n\t"
#define TB_BYTE1 "ubfx r5, r4, #8, #8\n\t"
#define TB_BYTE2 "ubfx r5, r4, #16, #8\n\t"
#define TB_BYTE3 "lsr r5, r4, #24\n\t"

/* Four taps of two filters at two positions: 18 instructions, 16 products; at one: 14 and 8. */
#define TB_BOOK_TWO_POSITIONS                                                                        \
  "ldr r4, [%[w]], #4\n\t"                                                                           \
  "ldm %[x]!, {r6, r8, r9, r10}\n\t"                                                                 \
  TB_BOOK_TWO(TB_BYTE0, "a0", "a1", "r6", "r8") TB_BOOK_TWO(TB_BYTE1, "b0", "b1", "r6", "r8")        \
  TB_BOOK_TWO(TB_BYTE2, "a0", "a1", "r9", "r10") TB_BOOK_TWO(TB_BYTE3, "b0", "b1", "r9", "r10")
#define TB_BOOK_ONE_POSITION                                                                         \
  "ldr r4, [%[w]], #4\n\t"                                                                           \
  "ldm %[x]!, {r6, r8}\n\t"                                                                          \
  TB_BOOK_ONE(TB_BYTE0, "a0", "r6") TB_BOOK_ONE(TB_BYTE1, "b0", "r6")                                \
  TB_BOOK_ONE(TB_BYTE2, "a0", "r8") TB_BOOK_ONE(TB_BYTE3, "b0", "r8")

/* Sums of two filters over `fours` times four taps at one position or two. */
static __attribute__((noinline)) void tb_book_one(const int16_t *x, int32_t fours, const uint8_t *weights,
                                                  int32_t *sums)
{
  int32_t a0 = 0, b0 = 0;
  for (; fours >= 4; fours -= 4) {
    __asm__ volatile(TB_BOOK_ONE_POSITION TB_BOOK_ONE_POSITION TB_BOOK_ONE_POSITION TB_BOOK_ONE_POSITION
                     : [w] "+r"(weights), [x] "+r"(x), [a0] "+r"(a0), [b0] "+r"(b0)
                     : [book] "r"(tb_book) : "r4", "r5", "r6", "r8", "memory");
  }
  for (; fours > 0; fours--) {
    __asm__ volatile(TB_BOOK_ONE_POSITION
                     : [w] "+r"(weights), [x] "+r"(x), [a0] "+r"(a0), [b0] "+r"(b0)
                     : [book] "r"(tb_book) : "r4", "r5", "r6", "r8", "memory");
  }
  sums[0] = a0;
  sums[1] = b0;
}

static __attribute__((noinline)) void tb_book_two(const int16_t *x, int32_t fours, const uint8_t *weights,
                                                  int32_t *sums)
{
  int32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;
  for (; fours >= 4; fours -= 4) {
    __asm__ volatile(TB_BOOK_TWO_POSITIONS TB_BOOK_TWO_POSITIONS TB_BOOK_TWO_POSITIONS TB_BOOK_TWO_POSITIONS
                     : [w] "+r"(weights), [x] "+r"(x), [a0] "+r"(a0), [a1] "+r"(a1), [b0] "+r"(b0),
                       [b1] "+r"(b1)
                     : [book] "r"(tb_book) : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
  }
  for (; fours > 0; fours--) {
    __asm__ volatile(TB_BOOK_TWO_POSITIONS
                     : [w] "+r"(weights), [x] "+r"(x), [a0] "+r"(a0), [a1] "+r"(a1), [b0] "+r"(b0),
                       [b1] "+r"(b1)
                     : [book] "r"(tb_book) : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
  }
  sums[0] = a0;
  sums[1] = a1;
  sums[2] = b0;
  sums[3] = b1;
}

/* All filters at the one or two positions in `columns`. */
static inline void tb_book_filters(const int16_t *columns, int32_t positions, int8_t *out, const tb_window *w,
                                   const uint8_t *weights, const int32_t *bias, const tb_scaling *r)
{
  int32_t sums[2 * TB_BLOCK];
  const int32_t fours = w->row_bytes >> 2;
  for (int32_t o = 0; o < w->outputs; o += TB_BLOCK) {
    const int32_t left = w->outputs - o, count = (left < TB_BLOCK) ? left : TB_BLOCK;
    int32_t *sum = sums;
    for (int32_t i = 0; i < count; i += 2) {
      if (positions > 1) {
        tb_book_two(columns, fours, weights, sum);
        sum += 4;
      } else {
        tb_book_one(columns, fours, weights, sum);
        sum += 2;
      }
      weights += w->row_bytes;
    }
    tb_finish(sums, out + o, (positions > 1) ? out + w->outputs + o : NULL, bias + o, r, o, count);
  }
}

static inline void tb_affine_book(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                                  const int32_t *bias, const tb_scaling *r)
{
  tb_two_by_two(tb_book_filters, in, out, w, weights, bias, r);
}

#endif
#endif

#endif
