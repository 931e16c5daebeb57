/* SPDX-License-Identifier: Apache-2.0
 * Kernels of tinybound networks: integers in, the same integers as the golden model out.
 *
 * Maps are channels-last. All offsets that a kernel needs are constants in its tb_window, so that the
 * loops below only add: a network of power-of-two weights and scales runs without one multiplication.
 */
#ifndef TB_KERNELS_H
#define TB_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Assembly wants the frame's register, whatever the command line says: in all functions of a core with the
 * DSP extension, and in some on the others, where the pragma changes the code beside it. */
#if defined __GNUC__ && !defined __clang__ && defined __ARM_FEATURE_DSP
#pragma GCC optimize("omit-frame-pointer")
#define TB_FRAMELESS
#elif defined __GNUC__ && !defined __clang__ && defined __arm__
#define TB_FRAMELESS __attribute__((optimize("omit-frame-pointer")))
#else
#define TB_FRAMELESS
#endif

#if defined __GNUC__ && defined __ARM_FEATURE_DSP && defined __ARM_FEATURE_UNALIGNED && \
    defined __thumb2__ && \
  defined __OPTIMIZE__                   /* else a compiler keeps a frame, and too few registers are left */
#define TB_DSP 1                         /* two products per instruction, loads of words at any address */
#endif

#ifdef __GNUC__
#define TB_WORDS __attribute__((aligned(4)))
#define TB_INLINE static inline __attribute__((always_inline, unused))
#else
#define TB_WORDS
#define TB_INLINE static inline
#endif

#if defined __GNUC__ && (__GNUC__ >= 8 || defined __clang__)
#define TB_PRAGMA(text) _Pragma(#text)
#define TB_UNROLL(times) TB_PRAGMA(GCC unroll times)
#else
#define TB_UNROLL(times)
#endif

/* A number that the compiler must not make code for: so a tap costs the same in every layer. Windows of up to
 * 3 x 3 taps are written out. */
#ifdef __GNUC__
#define TB_UNKNOWN(number) __asm__("" : "+r"(number))
#else
#define TB_UNKNOWN(number)
#endif

/* Layers with weights share one body per kernel, the others are made for their numbers: so a layer costs
 * the same in every network. */
#if defined __GNUC__ && !defined __clang__ && __GNUC__ >= 8
#define TB_KERNEL static __attribute__((noipa, unused))
#define TB_LAYER static __attribute__((noipa, flatten, unused)) /* with all that it calls, in every network */
#elif defined __GNUC__
#define TB_KERNEL static __attribute__((noinline, unused))
#define TB_LAYER TB_KERNEL
#else
#define TB_KERNEL static inline
#define TB_LAYER TB_KERNEL
#endif

#if defined __GNUC__ && (defined __ARM_ARCH_6M__ || defined __ARM_ARCH_8M_BASE__)
#define TB_THUMB1 1                      /* low registers, no long multiplication: Cortex-M0, M0+ */
#endif

#if defined TB_DSP || defined TB_THUMB1 /* functions that are all assembly, by the calling convention alone */
#ifdef __clang__
#define TB_ASSEMBLY __attribute__((naked, noinline, unused))
#else
#define TB_ASSEMBLY __attribute__((naked, noipa, unused))
#endif
#define TB_UNUSED __attribute__((unused))
#endif

/* A sliding window over (height, width, channels); a dense layer is a 1 x 1 map with a 1 x 1 window. */
typedef struct {
  int32_t height, width, depth;          /* input map; depth = channels per group */
  int32_t out_height, out_width;         /* output map */
  int32_t groups, outputs;               /* outputs per group */
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;   /* in pixels */
  int32_t dilation_height, dilation_width;
  int32_t top, left;                     /* minus the padding: position of the first tap */
  int32_t first;                         /* offset of that tap in the input (may be negative) */
  int32_t stride_row, stride_column;     /* the same steps as offsets in the input */
  int32_t dilation_row, dilation_column;
  int32_t row_bytes;                     /* stored bytes of one output's weights, or of a pair's */
  int8_t pad;                            /* what padding reads: the zero point */
} tb_window;

/* q = clip(round(acc * m / 2^s) + zero, lo, hi); multiplier NULL means m = 1; step 1: per channel, 0: one.
 * direct: one s from 33 to 46, and no sum is a tie: half up is as good; an only m stands there four times.
 * TB_ROUNDINGS: the network has layers that round in other ways than half to even. */
typedef struct {
  const int32_t *multiplier;
  const uint8_t *shift;
  int32_t step;
  int32_t zero, lo, hi;
  int32_t direct;
#ifdef TB_ROUNDINGS
  int32_t roundings;                     /* 0: half to even */
#endif
} tb_scaling;

/* A step of a group that runs row by row: where its next row goes in its buffer, the row of the first tap
 * (or how far a table was read), and where it reads each input. */
typedef struct {
  int32_t place, top;
  int32_t first[2];
} tb_rows;

/* The window of the step's next row alone. */
static inline void tb_one_row(tb_window *row, const tb_window *w, const tb_rows *state)
{
  *row = *w;
  row->out_height = 1;
  row->top = state->top;
  row->first = state->first[0];
}

/* The oldest row of a full buffer goes, the others move up. */
static inline void tb_slide(int8_t *rows, int32_t bytes, int32_t row)
{
  for (int32_t i = row; i < bytes; i++) {
    rows[i - row] = rows[i];
  }
}

#include "tb_requantise.h"

/* One weight times one activation, by weight code: products of 16 bits where the others branch on signs. */
#ifdef __AVR__
#define TB_TIMES(a, b) ((int16_t)(a) * (int16_t)(b))
#else
#define TB_TIMES(a, b) ((a) * (b))
#endif

static inline int32_t tb_weight_int8(const uint8_t *row, int32_t k)
{
  return ((int32_t)row[k] ^ 128) - 128;
}

static inline int32_t tb_weight_int4(const uint8_t *row, int32_t k)
{
  const int32_t nibble = (row[k >> 1] >> ((k & 1) << 2)) & 15;
  return (nibble ^ 8) - 8;
}

static inline int32_t tb_term_int8(const uint8_t *row, int32_t k, int32_t x)
{
  return TB_TIMES(tb_weight_int8(row, k), x);
}

static inline int32_t tb_term_int4(const uint8_t *row, int32_t k, int32_t x)
{
  return TB_TIMES(tb_weight_int4(row, k), x);
}

static inline int32_t tb_term_pot4(const uint8_t *row, int32_t k, int32_t x)
{
  const uint32_t code = ((uint32_t)row[k >> 1] >> ((k & 1) << 2)) & 15u;
  const uint32_t exponent = code & 7u;
  const int32_t size = exponent ? (int32_t)((uint32_t)x << (exponent - 1u)) : 0;
  return (code & 8u) ? -size : size;
}

/* The body of a convolution or dense layer for a code that is read weight by weight: padding reads `padding`,
 * and scale(sum, r, channel) makes an output. Its function has the names of those below. */
#define TB_AFFINE(code, OUT, SUM, padding, scale)                                                    \
  {                                                                                                  \
    int32_t y0 = w->top, line = w->first;                                                            \
    for (int32_t oy = 0; oy < w->out_height; oy++) {                                                 \
      int32_t x0 = w->left, corner = line;                                                           \
      for (int32_t ox = 0; ox < w->out_width; ox++) {                                                \
        const uint8_t *row = weights;                                                                \
        int32_t channel = 0, start = corner;                                                         \
        for (int32_t g = 0; g < w->groups; g++) {                                                    \
          for (int32_t o = 0; o < w->outputs; o++) {                                                 \
            SUM acc = bias[channel];                                                                 \
            int32_t k = 0, y = y0, tap_row = start;                                                  \
            for (int32_t ky = 0; ky < w->kernel_height; ky++) {                                      \
              int32_t x = x0, tap = tap_row;                                                         \
              for (int32_t kx = 0; kx < w->kernel_width; kx++) {                                     \
                const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);        \
                for (int32_t c = 0; c < w->depth; c++) {                                             \
                  acc += tb_term_##code(row, k, inside ? in[tap + c] : (padding));                   \
                  k++;                                                                               \
                }                                                                                    \
                x += w->dilation_width;                                                              \
                tap += w->dilation_column;                                                           \
              }                                                                                      \
              y += w->dilation_height;                                                               \
              tap_row += w->dilation_row;                                                            \
            }                                                                                        \
            *out++ = (OUT)scale(acc, r, channel);                                                    \
            row += w->row_bytes;                                                                     \
            channel++;                                                                               \
          }                                                                                          \
          start += w->depth;                                                                         \
        }                                                                                            \
        x0 += w->stride_width;                                                                       \
        corner += w->stride_column;                                                                  \
      }                                                                                              \
      y0 += w->stride_height;                                                                        \
      line += w->stride_row;                                                                         \
    }                                                                                                \
  }

#define TB_AFFINE_8(code)                                                                            \
  TB_KERNEL void tb_affine_##code(const int8_t *in, int8_t *out, const tb_window *w,                 \
                                  const uint8_t *weights, const int32_t *bias,                       \
                                  const tb_scaling *r)                                               \
  TB_AFFINE(code, int8_t, int32_t, w->pad, tb_requantise)

TB_AFFINE_8(int8)
TB_AFFINE_8(int4)
TB_AFFINE_8(pot4)

/* The eight bit planes of eight unsigned activations u = q + 128: bit i of planes[p] is bit p of u[i]. */
static inline void tb_planes(const int8_t *in, int8_t pad, uint8_t *planes)
{
  for (int32_t p = 0; p < 8; p++) {
    planes[p] = 0;
  }
  for (int32_t i = 0; i < 8; i++) {
    const uint32_t u = (uint32_t)(uint8_t)(in ? in[i] : pad) ^ 128u;
    for (int32_t p = 0; p < 8; p++) {
      planes[p] = (uint8_t)(planes[p] | (((u >> p) & 1u) << i));
    }
  }
}

/* Weight pool: table[byte][index] << plane, from the top plane down to plane 8 - bits. `less`: how much
 * the vectors of a filter are raised in the table, in all. */
TB_KERNEL void tb_affine_pool64(const int8_t *in, int8_t *out, const tb_window *w,
                                const uint8_t *indices, const int32_t *bias, const tb_scaling *r,
                                const int32_t *less, const uint16_t *table, uint8_t *planes, int32_t bits)
{
  int32_t y0 = w->top, line = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      uint8_t *next = planes;
      int32_t y = y0, tap_row = corner;
      for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        int32_t x = x0, tap = tap_row;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
          const int inside = (y >= 0) && (y < w->height) && (x >= 0) && (x < w->width);
          for (int32_t c = 0; c < w->depth; c += 8) {
            tb_planes(inside ? in + tap + c : NULL, w->pad, next);
            next += 8;
          }
          x += w->dilation_width;
          tap += w->dilation_column;
        }
        y += w->dilation_height;
        tap_row += w->dilation_row;
      }
      const uint8_t *index = indices;
      for (int32_t o = 0; o < w->outputs; o++) {
        uint32_t acc = (uint32_t)bias[o] - ((uint32_t)less[o] << 8) + ((uint32_t)less[o] << (8 - bits));
        const uint8_t *plane = planes;
        for (int32_t g = 0; g < w->row_bytes; g++) {
          const uint16_t *column = table + *index++;
          for (int32_t p = 7; p >= 8 - bits; p--) {
            acc += (uint32_t)column[(int32_t)plane[p] << 6] << p;
          }
          plane += 8;
        }
        *out++ = tb_requantise((int32_t)acc, r, o);
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

#include "tb_windows.h"
#include "tb_elements.h"

#endif
