/* SPDX-License-Identifier: Apache-2.0
 * Sums of two maps of 16 bits: (a * ma + b * mb + constant) / 2^shift, rounded down. The constant holds
 * zero points and half a unit, so that what has no fraction was a tie, which goes to the even one: the
 * output's zero point is even. The compiler saw that no sum reaches 2^47. TB_SUM_16 makes a function;
 * bounds as in tb_dsp_bounds_16.h.
 */
#ifndef TB_ADD_16_H
#define TB_ADD_16_H

/* upper, lower: 2^16 times the constant; shift: less 17; low, high: bounds twice. */
typedef struct {
  int32_t ma, mb;
  uint32_t lower;
  int32_t upper, shift;
  uint32_t low, high;
} tb_sum_16;

/* One output; on a core with the DSP extension the last of an odd number. */
static inline int16_t tb_sum_one_16(int16_t a, int16_t b, const tb_sum_16 *s)
{
  const int64_t constant = (int64_t)s->upper * 65536 + (s->lower >> 16);
  const int64_t sum = tb_product(a, s->ma) + tb_product(b, s->mb) + constant;
  const uint64_t fraction = (uint64_t)sum << (47 - s->shift);
  const uint32_t some = (uint32_t)fraction | (uint32_t)(fraction >> 32);
  const int32_t tie = (int32_t)(1u ^ ((some | (0u - some)) >> 31)), q = (int32_t)(sum >> (s->shift + 17));
  return (int16_t)tb_min(tb_max(q - (q & tie), (int16_t)s->low), (int16_t)s->high);
}

#ifdef TB_DSP
#include "tb_dsp_bounds_16.h"

/* The sum in r11 and r12, from inputs times 2^16 that `a` and `b` leave in registers x and y; r3 takes its
 * fraction. */
#define TB_SUM_HALVES(a, x, b, y, target)                                                            \
  "mov r11, r6\n\t"                                                                                  \
  "mov r12, r7\n\t" a " #16\n\t"                                                                     \
  "smlal r11, r12, " x ", r4\n\t" b " #16\n\t"                                                       \
  "smlal r11, r12, " y ", r5\n\t"                                                                    \
  "ldr r3, [sp, #12]\n\t"                                                                            \
  "asr " target ", r12, r8\n\t"                                                                      \
  "lsl r3, r12, r3\n\t"                                                                              \
  "orrs r3, r3, r11\n\t"                                                                             \
  "it eq\n\t"                                                                                        \
  "biceq " target ", " target ", #2\n\t"

#define TB_SUM_16(name, bounds)                                                                      \
  static TB_ASSEMBLY void name##_pairs(TB_UNUSED const int16_t *a, TB_UNUSED const int16_t *b,       \
                                       TB_UNUSED int16_t *out, TB_UNUSED const tb_sum_16 *s,         \
                                       TB_UNUSED const int16_t *end)                                 \
  {                                                                                                  \
    __asm__("push {r4-r11, lr}\n\t"                                                                  \
            "ldr r12, [sp, #36]\n\t"                                                                 \
            "ldm r3, {r4-r10}\n\t"                                                                   \
            "rsb lr, r8, #31\n\t"                                                                    \
            "push {r9, r10, r12, lr}\n" /* sp: low, high, end, 48 - shift */                         \
            "1:\n\t"                                                                                 \
            "ldr r9, [r0], #4\n\t"                                                                   \
            "ldr r10, [r1], #4\n\t"                                                                  \
            TB_SUM_HALVES("lsl r3, r9,", "r3", "lsl r3, r10,", "r3", "lr")                           \
            TB_SUM_HALVES("bfc r9, #0,", "r9", "bfc r10, #0,", "r10", "r9")                          \
            TB_BOUND(bounds, "lr") TB_BOUND(bounds, "r9")                                            \
            "pkhbt r9, lr, r9, lsl #16\n\t"                                                          \
            ".if " #bounds " == 2\n\t"                                                               \
            "ldrd r10, r11, [sp]\n\t"                                                                \
            "ssub16 r12, r9, r10\n\t"                                                                \
            "sel r9, r9, r10\n\t"                                                                    \
            "ssub16 r12, r9, r11\n\t"                                                                \
            "sel r9, r11, r9\n\t"                                                                    \
            ".endif\n\t"                                                                             \
            "str r9, [r2], #4\n\t"                                                                   \
            "ldr r3, [sp, #8]\n\t"                                                                   \
            "cmp r2, r3\n\t"                                                                         \
            "bne 1b\n\t"                                                                             \
            "add sp, sp, #16\n\t"                                                                    \
            "pop {r4-r11, pc}");                                                                     \
  }                                                                                                  \
                                                                                                     \
  TB_KERNEL void name(const int16_t *a, const int16_t *b, int16_t *out, int32_t count,               \
                      const tb_sum_16 *s)                                                            \
  {                                                                                                  \
    const int32_t last = count - 1;                                                                  \
    if (last > 0) {                                                                                  \
      name##_pairs(a, b, out, s, out + (count & ~1));                                                \
    }                                                                                                \
    if (count & 1) {                                                                                 \
      out[last] = tb_sum_one_16(a[last], b[last], s);                                                \
    }                                                                                                \
  }
#else
#define TB_SUM_16(name, bounds)                                                                      \
  TB_KERNEL void name(const int16_t *a, const int16_t *b, int16_t *out, int32_t count,               \
                      const tb_sum_16 *s)                                                            \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = tb_sum_one_16(a[i], b[i], s);                                                         \
    }                                                                                                \
  }
#endif

#endif
