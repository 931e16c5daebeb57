/* SPDX-License-Identifier: Apache-2.0
 * Functions and softmax of 16-bit integers: for the types of a layer, without branches on data. The law is
 * docs/semantics.md, Curve and Softmax.
 */
#ifndef TB_CURVES16_H
#define TB_CURVES16_H

#include "tb_products_16.h"

/* A function, in pieces of 2^bits integers. From each knee on, places are counted `gap` further: knees and
 * gaps take turns. No sum leaves 32 bits, which the compiler checks; `bends` is NULL where every piece is
 * straight. */
#define TB_CURVE_16(name, IN, OUT, bits, knees)                                                      \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t count, const int32_t *knots, const int16_t *bends, \
                      const int32_t *knee, int32_t parity, int32_t lo, int32_t hi)                   \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      int32_t place = in[i] + 32768;                                                                 \
      for (int32_t j = 0; j < (knees); j++) {                                                        \
        place += knee[2 * j + 1] & ~((in[i] - knee[2 * j]) >> 31);                                   \
      }                                                                                              \
      const int32_t k = place >> (bits), r = place & ((1 << (bits)) - 1);                            \
      int32_t v = knots[k] * (1 << (bits)) + (knots[k + 1] - knots[k]) * r;                          \
      if (bends) {                                                                                   \
        v += tb_times_long(bends[k], r * ((1 << (bits)) - r)) >> (2 * (bits) - 8);                   \
      }                                                                                              \
      v = (v + 8191 + ((v >> 14) & 1)) >> 14;                                                        \
      out[i] = (OUT)tb_min(tb_max(v + parity, lo), hi);                                              \
    }                                                                                                \
  }

/* exp of minus `below` steps, 2^24 for 0: one factor for the upper byte, one for the lower. */
static inline int32_t tb_exp_16(int32_t below, const int32_t *factors)
{
  return tb_high(factors[below >> 8], factors[256 + (below & 255)]);
}

/* As tb_softmax. SUM is int32_t where that holds twice the sum, else int64_t. */
#define TB_SOFTMAX_16(name, IN, OUT, SUM)                                                            \
  TB_KERNEL void name(const IN *in, OUT *out, int32_t rows, int32_t count, const int32_t *factors,   \
                      int32_t bits, int32_t extra, int32_t zero, int32_t hi)                         \
  {                                                                                                  \
    for (int32_t row = 0; row < rows; row++, in += count, out += count) {                            \
      int32_t top = INT16_MIN;                                                                       \
      SUM sum = 0;                                                                                   \
      for (int32_t i = 0; i < count; i++) {                                                          \
        top = tb_max(in[i], top);                                                                    \
      }                                                                                              \
      for (int32_t i = 0; i < count; i++) {                                                          \
        sum += tb_exp_16(top - in[i], factors);                                                      \
      }                                                                                              \
      sum += (SUM)(((int64_t)extra * sum + ((int32_t)1 << 23)) >> 24);                               \
      for (int32_t i = 0; i < count; i++) {                                                          \
        SUM rest = tb_exp_16(top - in[i], factors);                                                  \
        int32_t q = 0;                                                                               \
        for (int32_t bit = 0; bit <= bits; bit++) {                                                  \
          const SUM taken = ~((rest - sum) >> (8 * sizeof(SUM) - 1));                                \
          rest = (rest - (sum & taken)) << 1;                                                        \
          q = 2 * q - (int32_t)taken;                                                                \
        }                                                                                            \
        q += (int32_t)((sum - rest - (q & 1)) >> (8 * sizeof(SUM) - 1)) & 1;                         \
        out[i] = (OUT)tb_min(q + zero, hi);                                                          \
      }                                                                                              \
    }                                                                                                \
  }

#endif
