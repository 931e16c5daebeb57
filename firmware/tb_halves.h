/* SPDX-License-Identifier: Apache-2.0
 * Layers in pairs of filters, requantised where they are summed, in two forms: plain C, and assembly for
 * cores with the DSP extension.
 *
 * A half word of weights is 256 b + a + 128 for two filters a and b, so that one UXTB16 unpacks four weights:
 * over the taps of a window, S sums half words times activations, L the same for their low bytes, X the
 * activations. Then A = L - 128 X, and 256 B = S - L. The compiler made sure that 256 B fits 32 bits, found
 * one shift for the layer (r->direct) and filled up taps to a multiple of four. Windows become columns first,
 * so that padding costs nothing in the sums. Where the channels are a multiple of four, the first and third
 * of four taps share a word, and the others: so SXTB16 leaves activations.
 */
#ifndef TB_HALVES_H
#define TB_HALVES_H

#ifdef TB_HALF_COLUMNS
#ifdef TB_DSP
#include "tb_dsp_halves.h"
#else

static inline int32_t tb_halves_line(int16_t *column, int32_t k, int32_t gap, const int8_t *from,
                                     int32_t count, int32_t turned)
{
  int16_t *to = column + k;
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

/* L and S of two pairs of filters, `taps` apart, added to `sums`; taps are a multiple of four. */
#ifdef TB_THUMB1
static TB_ASSEMBLY void tb_halves_sums(TB_UNUSED const int16_t *weights, TB_UNUSED const int16_t *x,
                                       TB_UNUSED int32_t taps, TB_UNUSED uint32_t *sums)
{
  __asm__(".syntax unified\n\t"
          "push {r4-r7, lr}\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "mov r6, r10\n\t"
          "mov r7, r11\n\t"
          "push {r4-r7}\n\t"
          "mov r12, r3\n\t"
          "ldm r3!, {r4-r7}\n\t"
          "mov r8, r4\n\t"
          "mov r9, r5\n\t"
          "mov r10, r6\n\t"
          "mov r11, r7\n\t"
          "lsls r2, r2, #1\n\t"
          "adds r0, r0, r2\n\t"
          "adds r1, r1, r2\n\t"
          "adds r6, r0, r2\n\t"
          "rsbs r2, r2, #0\n"
          "1:\n\t"
          ".rept 4\n\t"
          "ldrsh r3, [r1, r2]\n\t"
          "ldrsh r4, [r0, r2]\n\t"
          "ldrsh r5, [r6, r2]\n\t"
          "uxtb r7, r4\n\t"
          "muls r7, r3, r7\n\t"
          "add r8, r7\n\t"
          "muls r4, r3, r4\n\t"
          "add r9, r4\n\t"
          "uxtb r7, r5\n\t"
          "muls r7, r3, r7\n\t"
          "add r10, r7\n\t"
          "muls r5, r3, r5\n\t"
          "add r11, r5\n\t"
          "adds r2, r2, #2\n\t"
          ".endr\n\t"
          "bmi 1b\n\t"
          "mov r0, r12\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "mov r6, r10\n\t"
          "mov r7, r11\n\t"
          "stm r0!, {r4-r7}\n\t"
          "pop {r4-r7}\n\t"
          "mov r8, r4\n\t"
          "mov r9, r5\n\t"
          "mov r10, r6\n\t"
          "mov r11, r7\n\t"
          "pop {r4-r7, pc}");
}
#else
static inline void tb_halves_sums(const int16_t *weights, const int16_t *x, int32_t taps, uint32_t *sums)
{
  const int16_t *first = weights, *second = weights + taps;
  uint32_t a = sums[0], s = sums[1], c = sums[2], t = sums[3];
  for (const int16_t *end = x + taps; x < end; x += 4) {
TB_UNROLL(4)
    for (int32_t i = 0; i < 4; i++) {
      const int32_t value = x[i];
      a += (uint32_t)((uint8_t)first[i] * value);
      s += (uint32_t)(first[i] * value);
      c += (uint32_t)((uint8_t)second[i] * value);
      t += (uint32_t)(second[i] * value);
    }
    first += 4;
    second += 4;
  }
  sums[0] = a;
  sums[1] = s;
  sums[2] = c;
  sums[3] = t;
}
#endif

/* The outputs of four filters from the `at`th on. Unless taps are so few that compilers write them out it
 * is a function of its own, whose registers no layer takes: so a tap costs the same in every network. */
#if defined TB_THUMB1 || TB_HALF_TAPS <= 16
static inline
#else
TB_KERNEL
#endif
void tb_halves_four(const int16_t *weights, const int16_t *x, int32_t taps, const int32_t *bias, int32_t less,
                    const tb_scaling *r, int32_t at, int8_t *out)
{
  tb_scaling own = *r;
  uint32_t sums[4];
  own.lo = -128; /* no other bounds come here: numbers in the code instead of loads */
  own.hi = 127;
TB_UNROLL(2)
  for (int32_t i = 0; i < 4; i += 2) {
    sums[i] = (uint32_t)(bias[at + i] + less);
    sums[i + 1] = sums[i] + ((uint32_t)bias[at + i + 1] << 8);
  }
  tb_halves_sums(weights, x, taps, sums);
TB_UNROLL(2)
  for (int32_t i = 0; i < 4; i += 2) {
    out[i] = tb_direct((int32_t)sums[i], &own, (at + i) * r->step);
    out[i + 1] = tb_direct((int32_t)(sums[i + 1] - sums[i]) >> 8, &own, (at + i + 1) * r->step);
  }
}

static inline void tb_affine_halves(const int8_t *in, int8_t *out, const tb_window *w, const int16_t *weights,
                                    const int32_t *bias, const tb_scaling *r)
{
  int16_t column[TB_HALF_TAPS];
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
      for (int32_t o = 0; o < w->outputs; o += 4) {
        tb_halves_four(weight, column, taps, bias, less, r, o, out);
        out += 4;
        weight += 2 * taps;
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
