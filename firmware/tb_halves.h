/* SPDX-License-Identifier: Apache-2.0
 * Layers in pairs of filters, requantised where they are summed, in two forms: plain C, and assembly for cores with
 * the DSP extension.
 *
 * A half word of weights is 256 b + a + 128 for two filters a and b, so that one UXTB16 unpacks four weights: over
 * the taps of a window, S sums half words times activations, L the same for their low bytes, X the activations. Then
 * A = L - 128 X, and 256 B = S - L. The compiler made sure that 256 B fits 32 bits, found one shift for the layer
 * (r->direct) and filled up taps to a multiple of four. Windows become columns first, so that padding costs nothing
 * in the sums. Where the channels are a multiple of four, the first and third of four taps share a word, and the
 * others: so SXTB16 leaves activations.
 */
#ifndef TB_HALVES_H
#define TB_HALVES_H

#ifdef TB_HALF_COLUMNS
#ifdef TB_DSP
typedef int16_t tb_column;
#include "tb_dsp_halves.h"
#else
typedef int8_t tb_column;

static inline int32_t tb_halves_line(int8_t *column, int32_t k, int32_t gap, const int8_t *from, int32_t count,
                                     int32_t turned)
{
  int8_t *to = column + k;
  int32_t sum = 0;
  (void)gap; /* one position: four numbers follow the four before */
  if (turned) {
    for (; count > 0; count -= 4) {
      const int8_t a = from[0], b = from[1], c = from[2], d = from[3];
      sum += a + b + c + d;
      to[0] = a;
      to[1] = c;
      to[2] = b;
      to[3] = d;
      to += 4;
      from += 4;
    }
  } else {
    for (; count > 0; count--) {
      sum += *from;
      *to++ = *from++;
    }
  }
  return sum;
}

#include "tb_halves_window.h"

/* A and B of one pair of filters, from their biases on; `less` is -128 times the sum of the activations. */
static inline void tb_halves_sums(const int16_t *weight, const int8_t *x, int32_t taps, int32_t less, int32_t *a,
                                  int32_t *b)
{
  uint32_t low = (uint32_t)(*a + less), sum = low + ((uint32_t)*b << 8);
  for (const int8_t *end = x + taps; x < end; x += 4) {
#pragma GCC unroll 4
    for (int32_t i = 0; i < 4; i++) {
      const int32_t half = *weight++, value = x[i];
      sum += (uint32_t)(half * value);
      low += (uint32_t)((uint8_t)half * value);
    }
  }
  *a = (int32_t)low;
  *b = (int32_t)(sum - low) >> 8;
}

static inline void tb_affine_halves(const int8_t *in, int8_t *out, const tb_window *w, const int16_t *weights,
                                    const int32_t *bias, const tb_scaling *r)
{
  int8_t column[TB_HALF_COLUMNS];
  const int32_t taps = w->row_bytes >> 1;
  int32_t y0 = w->top, line = w->first;
  for (int32_t k = w->kernel_height * w->kernel_width * w->depth; k < taps; k++) {
    column[k] = 0; /* taps that fill up the window */
  }
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      const int16_t *weight = weights;
      const int32_t less = -128 * tb_halves_window(column, 4, in, w, y0, x0, corner);
      for (int32_t o = 0; o < w->outputs; o += 2) {
        int32_t a = bias[o], b = bias[o + 1];
        tb_halves_sums(weight, column, taps, less, &a, &b);
        *out++ = tb_direct(a, r, o);
        *out++ = tb_direct(b, r, o + 1);
        weight += taps;
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

#endif
