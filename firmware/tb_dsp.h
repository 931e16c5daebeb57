/* SPDX-License-Identifier: Apache-2.0
 * The kernels of tb_int8.h for cores with the DSP extension, two products per instruction.
 *
 * The inner loops are written in assembly where a compiler would not load several words at once or would
 * unpack again what is unpacked. They leave r7 to compilers that keep a frame in it. Windows are read before
 * any output of their position is written: outputs may lie over inputs as far as the plain kernels allow it.
 */
#ifndef TB_DSP_H
#define TB_DSP_H

#define TB_BLOCK 32                      /* channels whose sums wait for tb_finish */

/* When r->direct: `round` is half a unit of the last place and the zero point. */
static inline int8_t tb_scale(int32_t acc, int32_t multiplier, int32_t bits, int32_t round)
{
  int32_t q;
  __asm__("smmla %0, %1, %2, %4\n\t"
          "asr %0, %0, %3\n\t"
          "ssat %0, #8, %0"
          : "=&r"(q) : "r"(acc), "r"(multiplier), "r"(bits), "r"(round));
  return (int8_t)q;
}

/* `count` channels from `channel` on, at one position or two (`second` not NULL, sums of both by turns). */
static __attribute__((noinline, unused)) void tb_finish(const int32_t *acc, int8_t *out, int8_t *second,
                                                        const int32_t *bias, const tb_scaling *r,
                                                        int32_t channel, int32_t count)
{
  if (!r->direct) {
    for (int32_t i = 0; i < count; i++) {
      out[i] = tb_requantise(bias[i] + *acc++, r, channel + i);
      if (second) {
        second[i] = tb_requantise(bias[i] + *acc++, r, channel + i);
      }
    }
    return;
  }
  const int32_t bits = *r->shift - 32, round = (int32_t)((uint32_t)r->zero << bits) + (1 << (bits - 1));
  const int32_t *multiplier = r->step ? r->multiplier + channel : r->multiplier;
  if (second) {
TB_UNROLL(4)
    for (int32_t i = 0; i < count; i++) {
      out[i] = tb_scale(bias[i] + acc[2 * i], multiplier[i * r->step], bits, round);
      second[i] = tb_scale(bias[i] + acc[2 * i + 1], multiplier[i * r->step], bits, round);
    }
  } else {
TB_UNROLL(4)
    for (int32_t i = 0; i < count; i++) {
      out[i] = tb_scale(bias[i] + acc[i], multiplier[i * r->step], bits, round);
    }
  }
  if ((r->lo > -128) || (r->hi < 127)) {
    for (int8_t *row = out; row; row = (row == out) ? second : NULL) {
      for (int32_t i = 0; i < count; i++) {
        row[i] = (int8_t)tb_min(tb_max(row[i], r->lo), r->hi);
      }
    }
  }
}

#include "tb_dsp_pairs.h"

#ifdef TB_TAPS
#define TB_TAP(x, w)                                                                                 \
  "sxtb16 r9, " x "\n\t"                                                                             \
  "sxtb16 r10, " w "\n\t"                                                                            \
  "sxtb16 " x ", " x ", ror #8\n\t"                                                                  \
  "sxtb16 " w ", " w ", ror #8\n\t"                                                                  \
  "smlabb %[a], r9, r10, %[a]\n\t"                                                                   \
  "smlatt %[c], r9, r10, %[c]\n\t"                                                                   \
  "smlabb %[b], " x ", " w ", %[b]\n\t"                                                              \
  "smlatt %[d], " x ", " w ", %[d]\n\t"

#define TB_TWO_TAPS                                                                                  \
  "ldm %[taps]!, {r4, r5}\n\t"                                                                       \
  "ldm %[w]!, {r6, r8}\n\t"                                                                          \
  "ldr r4, [r4, %[at]]\n\t"                                                                          \
  "ldr r5, [r5, %[at]]\n\t" TB_TAP("r4", "r6") TB_TAP("r5", "r8")

#define TB_ONE_TAP                                                                                   \
  "ldr r4, [%[taps]], #4\n\t"                                                                        \
  "ldr r6, [%[w]], #4\n\t"                                                                           \
  "ldr r4, [r4, %[at]]\n\t" TB_TAP("r4", "r6")

#define TB_FOUR_CHANNELS(code)                                                                       \
  __asm__ volatile(code                                                                              \
                   : [taps] "+r"(tap), [w] "+r"(weights), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c),     \
                     [d] "+r"(d)                                                                     \
                   : [at] "r"(at) : "r4", "r5", "r6", "r8", "r9", "r10", "memory")

/* Sums of `fours` times four channels from `at` on, at one position, whose window is at `taps`. */
static __attribute__((noinline)) void tb_channels(const int8_t *const *taps, int32_t count,
                                                  const uint8_t *weights, int32_t at, int32_t fours,
                                                  int32_t *sums)
{
  for (int32_t *end = sums + 4 * fours; sums < end; sums += 4) {
    const int8_t *const *tap = taps;
    int32_t a = 0, b = 0, c = 0, d = 0, n = count;
    for (; n >= 8; n -= 8) {
      TB_FOUR_CHANNELS(TB_TWO_TAPS TB_TWO_TAPS TB_TWO_TAPS TB_TWO_TAPS);
    }
    for (; n >= 2; n -= 2) {
      TB_FOUR_CHANNELS(TB_TWO_TAPS);
    }
    if (n > 0) {
      TB_FOUR_CHANNELS(TB_ONE_TAP);
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
    at += 4;
  }
}

static inline void tb_affine_depthwise(const int8_t *in, int8_t *out, const tb_window *w,
                                       const uint8_t *weights, const int32_t *bias, const tb_scaling *r)
{
  const int8_t *taps[TB_TAPS];
  int8_t pads[TB_CHANNELS];
  int32_t sums[TB_BLOCK];
  for (int32_t c = 0; c < w->groups; c++) {
    pads[c] = w->pad;
  }
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      int32_t y = y0, tap_row = corner, count = 0;
      for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int row = (y >= 0) && (y < w->height);
        int32_t x = x0, tap = tap_row;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
          taps[count++] = (row && (x >= 0) && (x < w->width)) ? in + tap : pads;
          x += w->dilation_width;
          tap += w->dilation_column;
        }
        y += w->dilation_height;
        tap_row += w->dilation_row;
      }
      for (int32_t c = 0; c < w->groups; c += TB_BLOCK) {
        const int32_t left = w->groups - c, channels = (left < TB_BLOCK) ? left : TB_BLOCK;
        tb_channels(taps, count, weights + c * count, c, channels >> 2, sums);
        tb_finish(sums, out, NULL, bias + c, r, c, channels);
        out += channels;
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}
#endif

#endif
