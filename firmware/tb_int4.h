/* SPDX-License-Identifier: Apache-2.0
 * Layers of int4 weights in fours of filters, in two forms that read the same weights: for every core, and
 * with two products per instruction (tb_dsp_fours.h).
 *
 * Filters a, b, c and d stand side by side, tap by tap: a half word is
 * 4096 d + 256 (c + 8) + 16 (b + 8) + a + 8. The compiler fills up filters and taps to four by zeros.
 */
#ifndef TB_INT4_H
#define TB_INT4_H

#ifndef TB_DSP

/* Two products by one multiplication: (w0 + w1 2^16) (x1 + x0 2^16) has w0 x0 + w1 x1 in its upper half,
 * beside what w0 x1 carries there. The sums of a run of words stay that far from the ends of 16 bits. */
#define TB_RUN_WORDS 16

#ifdef __GNUC__
#define TB_NOINLINE __attribute__((noinline))
#else
#define TB_NOINLINE
#endif

/* Two taps of four filters. */
static inline uint32_t tb_eight_nibbles(const uint8_t *weights)
{
#if defined __GNUC__ && defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  typedef uint32_t __attribute__((may_alias)) word;
  return *(const word *)(const void *)weights;
#else
  return (uint32_t)weights[0] | ((uint32_t)weights[1] << 8) | ((uint32_t)weights[2] << 16) |
         ((uint32_t)weights[3] << 24);
#endif
}

/* `count` activations as number `k` and on of a window, or padding where `from` is NULL. */
static inline void tb_widen_taps(uint32_t *words, int32_t k, const int8_t *from, int8_t pad, int32_t count)
{
  uint32_t *word = words + (k >> 1);
  if ((k & 1) && (count > 0)) {
    const int32_t second = from ? *from++ : pad;
    *word++ += (uint32_t)second;
    count--;
  }
  for (; count > 1; count -= 2) {
    const int32_t first = from ? from[0] : pad, second = from ? from[1] : pad;
    *word++ = ((uint32_t)first << 16) + (uint32_t)second;
    from = from ? from + 2 : NULL;
  }
  if (count > 0) {
    const int32_t first = from ? *from : pad;
    *word = (uint32_t)first << 16;
  }
}

/* The window of a position: words of two taps, the first in the upper half; then what a run's sums start
 * with: minus 8 times the activations, and minus 1 in the upper half. */
static inline void tb_words_of(uint32_t *words, uint32_t *start, const int8_t *in, const tb_window *w,
                               int32_t y, int32_t x0, int32_t corner)
{
  const uint32_t *end = words + (w->row_bytes >> 2);
  int32_t k = 0;
  for (int32_t ky = 0; ky < w->kernel_height; ky++) {
    int32_t x = x0, tap = corner;
    for (int32_t kx = 0; kx < w->kernel_width; kx++) {
      const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
      tb_widen_taps(words, k, inside ? in + tap : NULL, w->pad, w->depth);
      k += w->depth;
      x += w->dilation_width;
      tap += w->dilation_column;
    }
    y += w->dilation_height;
    corner += w->dilation_row;
  }
  if (words + ((k + 1) >> 1) < end) {    /* weights and taps are filled up to four */
    words[(k + 1) >> 1] = 0;
  }
  while (words < end) {
    uint32_t sum = 0;
    for (int32_t i = 0; (i < TB_RUN_WORDS) && (words < end); i++) {
      sum += *words++;
    }
    *start++ = 0u - 0x00080008u * sum - 0x00010000u;
  }
}

/* The upper half of a sum, without what the lower one carried into it. */
static inline int32_t tb_upper_half(uint32_t sum)
{
  const uint32_t low = ((sum & 0xffffu) ^ 0x8000u) - 0x8000u;
  const int32_t rest = (int32_t)(sum - low);
  return (rest < 0) ? ~(~rest >> 16) : (rest >> 16);
}

/* Sums a, b, c and d of four filters from `column` to `stop`, an even number of words of two taps. Compilers
 * add products before they add them to a sum, and run out of registers; for size they take no high ones. */
#if defined __GNUC__ && defined __thumb__ && defined __OPTIMIZE__ && (__ARM_ARCH_ISA_THUMB == 2)
#define TB_ONE_WORD                                                                                  \
  "ldr r3, [%[w]], #4\n\t"                                                                           \
  "ldr r4, [%[x]], #4\n\t"                                                                           \
  "eor r3, r3, #0x80008000\n\t"                                                                      \
  "and r5, %[mask], r3\n\t"                                                                          \
  "mla %[a], r5, r4, %[a]\n\t"                                                                       \
  "and r5, %[mask], r3, lsr #4\n\t"                                                                  \
  "mla %[b], r5, r4, %[b]\n\t"                                                                       \
  "and r5, %[mask], r3, lsr #8\n\t"                                                                  \
  "mla %[c], r5, r4, %[c]\n\t"                                                                       \
  "and r5, %[mask], r3, lsr #12\n\t"                                                                 \
  "mla %[d], r5, r4, %[d]\n\t"
#define TB_SUM_UP(sum) "+r"(sum)
#define TB_END "r"
#define TB_FLIP
#elif defined __GNUC__ && defined __thumb__ && defined __OPTIMIZE__ && !defined __OPTIMIZE_SIZE__
#define TB_ONE_WORD                                                                                  \
  "ldm %[w]!, {r3}\n\t"                                                                              \
  "ldm %[x]!, {r4}\n\t"                                                                              \
  "eors r3, %[flip]\n\t"                                                                             \
  "movs r5, r3\n\t"                                                                                  \
  "ands r5, %[mask]\n\t"                                                                             \
  "muls r5, r4\n\t"                                                                                  \
  "add %[a], r5\n\t"                                                                                 \
  "lsrs r5, r3, #4\n\t"                                                                              \
  "ands r5, %[mask]\n\t"                                                                             \
  "muls r5, r4\n\t"                                                                                  \
  "add %[b], r5\n\t"                                                                                 \
  "lsrs r5, r3, #8\n\t"                                                                              \
  "ands r5, %[mask]\n\t"                                                                             \
  "muls r5, r4\n\t"                                                                                  \
  "add %[c], r5\n\t"                                                                                 \
  "lsrs r3, r3, #12\n\t"                                                                             \
  "ands r3, %[mask]\n\t"                                                                             \
  "muls r3, r4\n\t"                                                                                  \
  "add %[d], r3\n\t"
#define TB_SUM_UP(sum) "+h"(sum)
#define TB_END "h"
#define TB_FLIP , [flip] "l"(0x80008000u)
#endif
#ifdef TB_ONE_WORD
#define TB_TO(stop)                                                                                  \
  __asm__ volatile(".syntax unified\n"                                                               \
                   "1:\n\t" TB_ONE_WORD TB_ONE_WORD                                                  \
                   "cmp %[x], %[end]\n\t"                                                            \
                   "bne 1b"                                                                          \
                   : [w] "+l"(weights), [x] "+l"(column), [a] TB_SUM_UP(a), [b] TB_SUM_UP(b),        \
                     [c] TB_SUM_UP(c), [d] TB_SUM_UP(d)                                              \
                   : [mask] "l"(0x000f000fu), [end] TB_END(stop) TB_FLIP                                \
                   : "r3", "r4", "r5", "cc", "memory");
#else
#define TB_ONE_WORD(at)                                                                              \
  eight = tb_eight_nibbles(weights + 4 * (at)) ^ 0x80008000u;                                        \
  a += (eight & 0x000f000fu) * column[at];                                                           \
  b += ((eight >> 4) & 0x000f000fu) * column[at];                                                    \
  c += ((eight >> 8) & 0x000f000fu) * column[at];                                                    \
  d += ((eight >> 12) & 0x000f000fu) * column[at]
#define TB_TO(stop)                                                                                  \
  for (uint32_t eight; column < (stop); column += 2) {                                               \
    TB_ONE_WORD(0);                                                                                  \
    TB_ONE_WORD(1);                                                                                  \
    weights += 8;                                                                                    \
  }
#endif

/* Four filters over `words` (an even number) of two taps. Sums of a run, 32 products of -8 ... 7 and
 * -128 ... 127, are -32512 ... 32768: one less than that is a number of 16 bits. */
static TB_NOINLINE void tb_four_filters(const uint32_t *column, const uint32_t *start, int32_t words,
                                        const uint8_t *weights, int32_t *sums)
{
  sums[0] = sums[1] = sums[2] = sums[3] = (words + TB_RUN_WORDS - 1) / TB_RUN_WORDS;
  for (int32_t left = words; left > 0; left -= TB_RUN_WORDS) {
    const uint32_t *stop = column + ((left < TB_RUN_WORDS) ? left : TB_RUN_WORDS);
    uint32_t a = *start++, b = a, c = a, d = a;
    TB_TO(stop)
    sums[0] += tb_upper_half(a);
    sums[1] += tb_upper_half(b);
    sums[2] += tb_upper_half(c);
    sums[3] += tb_upper_half(d);
  }
}

static inline void tb_affine_fours(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                                   const int32_t *bias, const tb_scaling *r)
{
  uint32_t words[TB_WINDOW / 2], start[(TB_WINDOW + 2 * TB_RUN_WORDS - 1) / (2 * TB_RUN_WORDS)];
  int32_t sums[4], y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      const uint8_t *row = weights;
      tb_words_of(words, start, in, w, y0, x0, corner);
      for (int32_t o = 0; o < w->outputs; o++) {
        if ((o & 3) == 0) {
          tb_four_filters(words, start, w->row_bytes >> 2, row, sums);
          row += w->row_bytes;
        }
        *out++ = tb_requantise(bias[o] + sums[o & 3], r, o);
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

#else
#include "tb_dsp_fours.h"
#endif

#endif
