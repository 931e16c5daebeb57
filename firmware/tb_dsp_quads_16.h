/* SPDX-License-Identifier: Apache-2.0
 * tb_quads_16.h for cores with the DSP extension: two filters at two positions, or four at one.
 */
#ifndef TB_DSP_QUADS_16_H
#define TB_DSP_QUADS_16_H

#include "tb_dsp_bounds_16.h"

/* What the functions below find in memory, at offsets of four bytes each, and move on in it. `round` is 2
 * zero + 1; next: bytes to the second position's output; turn: bytes from behind a pair of filters to the
 * next two, and to those after; skip: bytes of code that the first of the blocks of eight times four taps
 * leaves out; end: of the biases; stop: of the columns; low, high: bounds twice. */
typedef struct {
  const int32_t *multiplier;
  const uint8_t *shift;
  int32_t round;
  int16_t *out;
  int32_t next, turn[2], skip;
  const int32_t *end;
  const int16_t *stop;
  uint32_t low, high;
} tb_quads;

/* Four taps of two filters at two positions: sums in r10 (first filter), r11 (second position), r12 and
 * lr. */
#define TB_QUADS_TWO                                                                                 \
  "ldrd r2, r3, [r0], #16\n\t"                                                                       \
  "ldmia.w r1!, {r6, r7, r8, r9}\n\t"                                                                \
  "sxtb16 r4, r2\n\t"                                                                                \
  "sxtb16 r2, r2, ror #8\n\t"                                                                        \
  "sxtb16 r5, r3\n\t"                                                                                \
  "sxtb16 r3, r3, ror #8\n\t"                                                                        \
  "smlad r10, r4, r6, r10\n\t"                                                                       \
  "smlad r11, r4, r8, r11\n\t"                                                                       \
  "smlad r12, r5, r6, r12\n\t"                                                                       \
  "smlad lr, r5, r8, lr\n\t"                                                                         \
  "smlad r10, r2, r7, r10\n\t"                                                                       \
  "smlad r11, r2, r9, r11\n\t"                                                                       \
  "smlad r12, r3, r7, r12\n\t"                                                                       \
  "smlad lr, r3, r9, lr\n\t"

/* Four taps of a filter at one position. */
#define TB_QUADS_FILTER(w, sum)                                                                      \
  "sxtb16 r6, " w "\n\t"                                                                             \
  "sxtb16 " w ", " w ", ror #8\n\t"                                                                  \
  "smlad " sum ", r6, r7, " sum "\n\t"                                                               \
  "smlad " sum ", " w ", r12, " sum "\n\t"

#define TB_QUADS_ONE                                                                                 \
  "ldmia.w r0!, {r2, r3, r4, r5}\n\t"                                                                \
  "ldmia.w r1!, {r7, r12}\n\t" TB_QUADS_FILTER("r2", "r8") TB_QUADS_FILTER("r3", "r9")               \
  TB_QUADS_FILTER("r4", "r10") TB_QUADS_FILTER("r5", "r11")

/* Blocks of eight, from within the first on; r6 is free. */
#define TB_QUADS_BLOCKS(code, stop)                                                                  \
  "add pc, r6\n\t" /* to `skip` bytes behind the next instruction */                                 \
  "nop\n"                                                                                            \
  "2:\n\t"                                                                                           \
  ".rept 8\n\t" code                                                                                 \
  ".endr\n\t"                                                                                        \
  "ldr r6, [sp, #" stop "]\n\t"                                                                      \
  "cmp r1, r6\n\t"                                                                                   \
  "bne 2b\n\t"

/* Other bounds of q, in r3, to where TB_CLAMP wants them. */
#define TB_QUADS_BOUNDS(bounds)                                                                      \
  ".if " #bounds " == 2\n\t"                                                                         \
  "ldrd r4, r5, [r3, #40]\n\t"                                                                       \
  ".endif\n\t"

#define TB_QUADS_DSP(name, bounds)                                                                   \
  static TB_ASSEMBLY void name##_two(TB_UNUSED const uint8_t *weights,                               \
                                     TB_UNUSED const int16_t *columns,                               \
                                     TB_UNUSED const int32_t *bias, TB_UNUSED tb_quads *q)           \
  {                                                                                                  \
    __asm__("push {r4-r11, lr}\n\t"                                                                  \
            "ldr r4, [r3, #36]\n\t"                                                                  \
            "push {r1, r2, r3, r4}\n" /* sp: columns, bias, q, stop */                               \
            "1:\n\t"                                                                                 \
            "ldrd r2, r3, [sp, #4]\n\t"                                                              \
            "ldrd r10, r12, [r2], #8\n\t"                                                            \
            "str r2, [sp, #4]\n\t"                                                                   \
            "ldr r1, [sp]\n\t"                                                                       \
            "ldr r6, [r3, #28]\n\t"                                                                  \
            "mov r11, r10\n\t"                                                                       \
            "mov lr, r12\n\t" TB_QUADS_BLOCKS(TB_QUADS_TWO, "12")                                    \
            "ldr r3, [sp, #8]\n\t"                                                                   \
            "ldm r3, {r2, r4, r5, r6, r7}\n\t"                                                       \
            "ldrd r8, r9, [r2], #8\n\t"                                                              \
            "ldrh r1, [r4], #2\n\t"                                                                  \
            "strd r2, r4, [r3]\n\t"                                                                  \
            "lsl r2, r5, r1\n\t" TB_UPPER("r10", "r8", "r1", "r2")                                   \
            TB_UPPER("r11", "r8", "r1", "r2")                                                        \
            "lsr r1, r1, #8\n\t"                                                                     \
            "lsl r2, r5, r1\n\t" TB_UPPER("r12", "r9", "r1", "r2")                                   \
            TB_UPPER("lr", "r9", "r1", "r2")                                                         \
            TB_BOUND(bounds, "r10") TB_BOUND(bounds, "r11")                                          \
            TB_BOUND(bounds, "r12") TB_BOUND(bounds, "lr")                                           \
            "pkhbt r10, r10, r12, lsl #16\n\t"                                                       \
            "pkhbt r11, r11, lr, lsl #16\n\t"                                                        \
            "mov r8, r6\n\t" TB_QUADS_BOUNDS(bounds) TB_CLAMP(bounds, "r10")                         \
            TB_CLAMP(bounds, "r11")                                                                  \
            "str r11, [r8, r7]\n\t"                                                                  \
            "str r10, [r8], #4\n\t"                                                                  \
            "str r8, [r3, #12]\n\t"                                                                  \
            "ldrd r8, r9, [r3, #20]\n\t"                                                             \
            "add r0, r0, r8\n\t"                                                                     \
            "strd r9, r8, [r3, #20]\n\t"                                                             \
            "ldr r1, [sp, #4]\n\t"                                                                   \
            "ldr r2, [r3, #32]\n\t"                                                                  \
            "cmp r1, r2\n\t"                                                                         \
            "bne 1b\n\t"                                                                             \
            "add sp, sp, #16\n\t"                                                                    \
            "pop {r4-r11, pc}");                                                                     \
  }                                                                                                  \
                                                                                                     \
  static TB_ASSEMBLY void name##_one(TB_UNUSED const uint8_t *weights,                               \
                                     TB_UNUSED const int16_t *columns,                               \
                                     TB_UNUSED const int32_t *bias, TB_UNUSED tb_quads *q)           \
  {                                                                                                  \
    __asm__("push {r4-r11, lr}\n\t"                                                                  \
            "ldr r4, [r3, #36]\n\t"                                                                  \
            "push {r1, r3, r4}\n\t" /* sp: columns, q, stop */                                       \
            "mov lr, r2\n"                                                                           \
            "1:\n\t"                                                                                 \
            "ldrd r1, r3, [sp]\n\t"                                                                  \
            "ldm lr!, {r8, r9, r10, r11}\n\t"                                                        \
            "ldr r6, [r3, #28]\n\t" TB_QUADS_BLOCKS(TB_QUADS_ONE, "8")                               \
            "ldr r3, [sp, #4]\n\t"                                                                   \
            "ldm r3, {r2, r4, r5}\n\t"                                                               \
            "ldr r1, [r4], #4\n\t"                                                                   \
            "ldrd r7, r12, [r2], #8\n\t"                                                             \
            "lsl r6, r5, r1\n\t" TB_UPPER("r8", "r7", "r1", "r6")                                    \
            "lsr r1, r1, #8\n\t"                                                                     \
            "lsl r6, r5, r1\n\t" TB_UPPER("r9", "r12", "r1", "r6")                                   \
            "ldrd r7, r12, [r2], #8\n\t"                                                             \
            "lsr r1, r1, #8\n\t"                                                                     \
            "lsl r6, r5, r1\n\t" TB_UPPER("r10", "r7", "r1", "r6")                                   \
            "lsr r1, r1, #8\n\t"                                                                     \
            "lsl r6, r5, r1\n\t" TB_UPPER("r11", "r12", "r1", "r6")                                  \
            "strd r2, r4, [r3]\n\t"                                                                  \
            TB_BOUND(bounds, "r8") TB_BOUND(bounds, "r9")                                            \
            TB_BOUND(bounds, "r10") TB_BOUND(bounds, "r11")                                          \
            "ldr r7, [r3, #12]\n\t"                                                                  \
            "ldr r2, [r3, #32]\n\t"                                                                  \
            "pkhbt r8, r8, r9, lsl #16\n\t"                                                          \
            "pkhbt r10, r10, r11, lsl #16\n\t" TB_QUADS_BOUNDS(bounds)                               \
            TB_CLAMP(bounds, "r8") TB_CLAMP(bounds, "r10")                                           \
            "str r8, [r7], #4\n\t"                                                                   \
            "str r10, [r7], #4\n\t"                                                                  \
            "str r7, [r3, #12]\n\t"                                                                  \
            "cmp lr, r2\n\t"                                                                         \
            "bne 1b\n\t"                                                                             \
            "add sp, sp, #12\n\t"                                                                    \
            "pop {r4-r11, pc}");                                                                     \
  }                                                                                                  \
                                                                                                     \
  static inline void name##_filters(const int16_t *columns, int32_t positions, int16_t *out,         \
                                    const tb_window *w, const uint8_t *weights, const int32_t *bias, \
                                    const tb_scaling *r)                                             \
  {                                                                                                  \
    tb_quads_at(name##_two, name##_one, columns, positions, out, w, weights, bias, r);               \
  }

typedef void tb_quads_code(const uint8_t *weights, const int16_t *columns, const int32_t *bias, tb_quads *q);

/* All filters at the one or two positions of the columns. */
TB_INLINE void tb_quads_at(tb_quads_code *two, tb_quads_code *one, const int16_t *columns, int32_t positions,
                           int16_t *out, const tb_window *w, const uint8_t *weights, const int32_t *bias,
                           const tb_scaling *r)
{
  const int32_t fours = w->row_bytes >> 4, skipped = -fours & 7, whole = w->outputs & ~3;
  const int32_t skip = skipped * ((positions > 1) ? 56 : 72), behind = 4 * fours * positions;
  tb_quads q = { r->multiplier, r->shift, 2 * r->zero + 1, out, 2 * w->outputs, { 8 - w->row_bytes, -8 },
                 skip, bias + whole, columns + behind, (uint16_t)r->lo * 0x10001u,
                 (uint16_t)r->hi * 0x10001u };
  int16_t rest[8];
  for (int32_t times = 0; times < 2; times++) {
    if (q.end > bias) {
      if (positions > 1) {
        two(weights, columns, bias, &q);
      } else {
        one(weights, columns, bias, &q);
      }
    }
    if (times || (whole == w->outputs)) {
      break;
    }
    weights += (whole >> 2) * w->row_bytes;
    bias = q.end;
    q.end += 4;
    q.out = rest;
    q.next = 8;
  }
  for (int32_t i = whole; i < w->outputs; i++) {
    out[i] = rest[i - whole];
    if (positions > 1) {
      out[w->outputs + i] = rest[4 + i - whole];
    }
  }
}

/* Sums of four filters over `fours` times four taps. */
static TB_ASSEMBLY void tb_quad_sums(TB_UNUSED const uint8_t *weights, TB_UNUSED const int16_t *x,
                                     TB_UNUSED int32_t fours, TB_UNUSED int32_t *sums)
{
  __asm__("push {r3-r11, lr}\n\t"
          "add r4, r1, r2, lsl #3\n\t"
          "rsb r6, r2, #0\n\t"
          "and r6, r6, #7\n\t"
          "push {r4, r5}\n\t" /* sp: the end of x */
          "movs r7, #72\n\t"
          "muls r6, r7, r6\n\t"
          "movs r2, #0\n\t"
          "mov r8, r2\n\t"
          "mov r9, r2\n\t"
          "mov r10, r2\n\t"
          "mov r11, r2\n\t" TB_QUADS_BLOCKS(TB_QUADS_ONE, "0")
          "ldr r3, [sp, #8]\n\t"
          "stm r3, {r8, r9, r10, r11}\n\t"
          "add sp, sp, #12\n\t"
          "pop {r4-r11, pc}");
}

#endif
