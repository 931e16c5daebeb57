/* SPDX-License-Identifier: Apache-2.0
 * Layers of int8 weights that were ordered for cores with the DSP extension (Cortex-M4, M7, M33), in two
 * forms: plain C for every core, and with two products per instruction. Both read the same weights.
 *
 * Pairs: filters a and b side by side, tap by tap, so that a half word is 256 b + (a + 128). From a sum over
 * whole half words and one over their low bytes follow A and B: one UXTB16 unpacks four weights. The compiler
 * makes sure that 256 B fits 32 bits, and fills up filters to an even number and taps to four by zeros.
 * Depthwise: four channels side by side, tap by tap.
 */
#ifndef TB_INT8_H
#define TB_INT8_H

#ifndef TB_DSP

TB_KERNEL void tb_affine_pairs(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                                   const int32_t *bias, const tb_scaling *r)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      const uint8_t *row = weights;
      for (int32_t o = 0; o < w->outputs; o += 2) {
        const uint8_t *weight = row;
        int32_t a = bias[o], b = bias[o + 1], y = y0, tap_row = corner;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
          int32_t x = x0, tap = tap_row;
          for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
            for (int32_t c = 0; c < w->depth; c++) {
              const int32_t value = inside ? in[tap + c] : w->pad;
              a += (weight[0] - 128) * value;
              b += ((weight[1] ^ 128) - 128) * value;
              weight += 2;
            }
            x += w->dilation_width;
            tap += w->dilation_column;
          }
          y += w->dilation_height;
          tap_row += w->dilation_row;
        }
        *out++ = tb_requantise(a, r, o);
        if (o + 1 < w->outputs) {
          *out++ = tb_requantise(b, r, o + 1);
        }
        row += w->row_bytes;
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

static inline void tb_affine_depthwise(const int8_t *in, int8_t *out, const tb_window *w,
                                       const uint8_t *weights, const int32_t *bias, const tb_scaling *r)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      const uint8_t *row = weights;
      for (int32_t channel = 0; channel < w->groups; channel++) {
        const uint8_t *weight = row + (channel & 3);
        int32_t acc = bias[channel], y = y0, tap_row = corner + channel;
        for (int32_t ky = 0; ky < w->kernel_height; ky++) {
          int32_t x = x0, tap = tap_row;
          for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
            acc += ((*weight ^ 128) - 128) * (inside ? in[tap] : w->pad);
            weight += 4;
            x += w->dilation_width;
            tap += w->dilation_column;
          }
          y += w->dilation_height;
          tap_row += w->dilation_row;
        }
        *out++ = tb_requantise(acc, r, channel);
        row += ((channel & 3) == 3) ? w->row_bytes : 0;
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
#endif

#endif
