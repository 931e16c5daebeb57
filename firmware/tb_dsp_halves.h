/* SPDX-License-Identifier: Apache-2.0
 * tb_halves.h for cores with the DSP extension: columns by fours of 16-bit numbers, of one position, or of
 * two by turns, and assembly that sums, requantises and writes.
 */
#ifndef TB_DSP_HALVES_H
#define TB_DSP_HALVES_H

/* Four numbers as they lie after unpacking, or in their order, to [to]; `step` bytes to the next four. */
#define TB_FOUR_TURNED(step)                                                                          \
  "ldr r4, [%1], #4\n\t"                                                                              \
  "sxtb16 r5, r4, ror #8\n\t"                                                                         \
  "sxtb16 r4, r4\n\t"                                                                                 \
  "smlad %2, r5, %3, %2\n\t"                                                                          \
  "smlad %2, r4, %3, %2\n\t"                                                                          \
  "strd r4, r5, [%0], #" step "\n\t"
#define TB_FOUR_STRAIGHT(step)                                                                        \
  "ldr r4, [%1], #4\n\t"                                                                              \
  "sxtb16 r5, r4\n\t"                                                                                 \
  "sxtb16 r4, r4, ror #8\n\t"                                                                         \
  "smlad %2, r5, %3, %2\n\t"                                                                          \
  "smlad %2, r4, %3, %2\n\t"                                                                          \
  "pkhbt r6, r5, r4, lsl #16\n\t"                                                                     \
  "pkhtb r4, r4, r5, asr #16\n\t"                                                                     \
  "strd r6, r4, [%0], #" step "\n\t"
#define TB_UNPACK(code)                                                                               \
  __asm__ volatile(code : "+r"(to), "+r"(from), "+r"(sum) : "r"(0x00010001) : "r4", "r5", "r6", "memory")
#define TB_UNPACK_ALL(four, step)                                                                     \
  do {                                                                                                \
    for (; count >= 16; count -= 16) {                                                                \
      TB_UNPACK(four(step) four(step) four(step) four(step));                                         \
    }                                                                                                 \
    for (; count >= 4; count -= 4) {                                                                  \
      TB_UNPACK(four(step));                                                                          \
    }                                                                                                 \
  } while (0)

/* `count` activations from number `k` on, and their sum; `gap` half words from four numbers to the next
 * four. */
static inline int32_t tb_halves_line(int16_t *column, int32_t k, int32_t gap, const int8_t *from,
                                     int32_t count, int32_t turned)
{
  int16_t *to = column + (k >> 2) * gap;
  int32_t sum = 0, at = k & 3;
  if (turned) {
    if (gap == 8) {
      TB_UNPACK_ALL(TB_FOUR_TURNED, "16");
    } else {
      TB_UNPACK_ALL(TB_FOUR_TURNED, "8");
    }
    return sum;
  }
  if (at > 0) {
    for (; (at < 4) && (count > 0); count--) {
      sum += *from;
      to[at++] = *from++;
    }
    to += gap;
  }
  if (gap == 8) {
    TB_UNPACK_ALL(TB_FOUR_STRAIGHT, "16");
  } else {
    TB_UNPACK_ALL(TB_FOUR_STRAIGHT, "8");
  }
  for (at = 0; at < count; at++) {
    sum += *from;
    to[at] = *from++;
  }
  return sum;
}

#include "tb_halves_window.h"

/* What the functions below keep in their frame. The taps come in blocks of eight times four: `blocks` of
 * them, of the first of which the code of the first `skip` bytes is left out. `multipliers`: bytes from
 * bias to multiplier, and `each` is -1; or the end of four equal multipliers, and `each` is 0. `next`: of
 * two positions, from an output to that of the second; of one, bytes of a row of weights. `less`: -128
 * times the sum of a position's activations, what the 128 in the weights adds to both sums. */
typedef struct {
  int32_t blocks, skip;
  const int32_t *end;
  int32_t multipliers, each, round, bits;
  int8_t *out;
  int32_t next, less[2];
} tb_halves;

/* Two filters at two positions, four taps: S in r2 and r3, A in r10 and r11. */
#define TB_HALVES_TWO                                                                                 \
  "ldmia.w r0!, {r4, r5}\n\t"                                                                         \
  "ldmia.w r1!, {r6, r7, r8, r9}\n\t"                                                                 \
  "smlad r2, r4, r6, r2\n\t"                                                                          \
  "smlad r3, r4, r8, r3\n\t"                                                                          \
  "uxtb16 r4, r4\n\t"                                                                                 \
  "smlad r2, r5, r7, r2\n\t"                                                                          \
  "smlad r3, r5, r9, r3\n\t"                                                                          \
  "uxtb16 r5, r5\n\t"                                                                                 \
  "smlad r10, r4, r6, r10\n\t"                                                                        \
  "smlad r11, r4, r8, r11\n\t"                                                                        \
  "smlad r10, r5, r7, r10\n\t"                                                                        \
  "smlad r11, r5, r9, r11\n\t"

static TB_ASSEMBLY void tb_halves_two(TB_UNUSED const int16_t *weights, TB_UNUSED const int16_t *columns,
                                      TB_UNUSED const int32_t *bias, TB_UNUSED const tb_halves *h)
{
  __asm__("push {r4-r11, lr}\n\t"
          "ldm r3, {r4-r12}\n\t"
          "push {r4-r12}\n\t"
          "ldrd r4, r5, [r3, #36]\n\t"
          "push {r1}\n\t"
          /* sp: less, columns, blocks, skip, end, multipliers, each, round, bits, out, next */
          "push {r4, r5}\n\t"
          "mov lr, r2\n"
          "1:\n\t"
          "ldm lr!, {r4, r5}\n\t"
          "ldrd r10, r11, [sp]\n\t"
          "ldrd r1, r12, [sp, #8]\n\t"
          "ldr r6, [sp, #16]\n\t"
          "add r10, r10, r4\n\t"
          "add r11, r11, r4\n\t"
          "add r2, r10, r5, lsl #8\n\t"
          "add r3, r11, r5, lsl #8\n\t"
          "add pc, r6\n\t" /* to `skip` bytes behind the next instruction */
          "nop\n"
          "2:\n\t"
          ".rept 8\n\t" TB_HALVES_TWO
          ".endr\n\t"
          "subs r12, r12, #1\n\t"
          "bne 2b\n\t"
          "ldrd r6, r7, [sp, #24]\n\t"
          "subs r2, r2, r10\n\t"
          "subs r3, r3, r11\n\t"
          "and r7, r7, lr\n\t"
          "add r6, r6, r7\n\t"
          "ldrd r4, r5, [r6, #-8]\n\t"
          "ldrd r6, r7, [sp, #32]\n\t"
          "ldrd r8, r9, [sp, #40]\n\t"
          "smmla r10, r10, r4, r6\n\t"
          "smmla r11, r11, r4, r6\n\t"
          "lsls r6, r6, #8\n\t"
          "smmla r2, r2, r5, r6\n\t"
          "smmla r3, r3, r5, r6\n\t"
          "asr r10, r10, r7\n\t"
          "asr r11, r11, r7\n\t"
          "asr r2, r2, r7\n\t"
          "asr r3, r3, r7\n\t"
          "ssat r10, #8, r10\n\t"
          "ssat r11, #8, r11\n\t"
          "ssat r2, #8, r2, asr #8\n\t"
          "ssat r3, #8, r3, asr #8\n\t"
          "strb r11, [r8, r9]\n\t"
          "strb r10, [r8], #1\n\t"
          "strb r3, [r8, r9]\n\t"
          "strb r2, [r8], #1\n\t"
          "str r8, [sp, #40]\n\t"
          "ldr r6, [sp, #20]\n\t"
          "cmp lr, r6\n\t"
          "bne 1b\n\t"
          "add sp, sp, #48\n\t"
          "pop {r4-r11, pc}");
}

/* Four filters at one position, four taps: S in r8 and r10, A in r9 and r11. */
#define TB_HALVES_FOUR                                                                                \
  "ldmia.w r2!, {r3, r12}\n\t"                                                                        \
  "ldmia.w r0!, {r4, r5}\n\t"                                                                         \
  "ldmia.w r1!, {r6, r7}\n\t"                                                                         \
  "smlad r8, r4, r3, r8\n\t"                                                                          \
  "smlad r10, r6, r3, r10\n\t"                                                                        \
  "uxtb16 r4, r4\n\t"                                                                                 \
  "uxtb16 r6, r6\n\t"                                                                                 \
  "smlad r8, r5, r12, r8\n\t"                                                                         \
  "smlad r10, r7, r12, r10\n\t"                                                                       \
  "uxtb16 r5, r5\n\t"                                                                                 \
  "uxtb16 r7, r7\n\t"                                                                                 \
  "smlad r9, r4, r3, r9\n\t"                                                                          \
  "smlad r11, r6, r3, r11\n\t"                                                                        \
  "smlad r9, r5, r12, r9\n\t"                                                                         \
  "smlad r11, r7, r12, r11\n\t"

static TB_ASSEMBLY void tb_halves_one(TB_UNUSED const int16_t *weights, TB_UNUSED const int16_t *columns,
                                      TB_UNUSED const int32_t *bias, TB_UNUSED const tb_halves *h)
{
  __asm__("push {r4-r11, lr}\n\t"
          "ldr r4, [r3, #36]\n\t"
          "push {r4}\n\t"
          "ldm r3, {r4-r12}\n\t"
          "push {r4-r12}\n\t"
          /* sp: columns, bias, blocks, skip, end, multipliers, each, round, bits, out, next, less */
          "push {r1, r2}\n\t"
          "1:\n\t"
          "ldrd r2, r3, [sp]\n\t"
          "ldm r3!, {r4-r7}\n\t"
          "str r3, [sp, #4]\n\t"
          "ldr r1, [sp, #40]\n\t"
          "ldr r12, [sp, #44]\n\t"
          "add r9, r4, r12\n\t"
          "add r11, r6, r12\n\t"
          "add r8, r9, r5, lsl #8\n\t"
          "add r10, r11, r7, lsl #8\n\t"
          "add r1, r0\n\t"
          "ldrd lr, r12, [sp, #8]\n\t"
          "add pc, r12\n\t" /* to `skip` bytes behind the next instruction */
          "nop\n"
          "2:\n\t"
          ".rept 8\n\t" TB_HALVES_FOUR
          ".endr\n\t"
          "subs lr, lr, #1\n\t"
          "bne 2b\n\t"
          "mov r0, r1\n\t"
          "subs r8, r8, r9\n\t"
          "subs r10, r10, r11\n\t"
          "ldr r1, [sp, #4]\n\t"
          "ldrd r2, r3, [sp, #20]\n\t"
          "ands r3, r3, r1\n\t"
          "add r2, r3\n\t"
          "ldmdb r2, {r4-r7}\n\t"
          "ldr r3, [sp, #28]\n\t"
          "lsl lr, r3, #8\n\t"
          "smmla r9, r9, r4, r3\n\t"
          "smmla r8, r8, r5, lr\n\t"
          "smmla r11, r11, r6, r3\n\t"
          "smmla r10, r10, r7, lr\n\t"
          "ldrd r3, r12, [sp, #32]\n\t"
          "asr r9, r9, r3\n\t"
          "asr r8, r8, r3\n\t"
          "asr r11, r11, r3\n\t"
          "asr r10, r10, r3\n\t"
          "ssat r9, #8, r9\n\t"
          "ssat r8, #8, r8, asr #8\n\t"
          "ssat r11, #8, r11\n\t"
          "ssat r10, #8, r10, asr #8\n\t"
          "bfi r9, r8, #8, #8\n\t"
          "bfi r11, r10, #8, #8\n\t"
          "pkhbt r9, r9, r11, lsl #16\n\t"
          "str r9, [r12], #4\n\t"
          "str r12, [sp, #36]\n\t"
          "ldr r12, [sp, #16]\n\t"
          "cmp r1, r12\n\t"
          "bne 1b\n\t"
          "add sp, sp, #48\n\t"
          "pop {r4-r11, pc}");
}

static inline void tb_affine_halves(const int8_t *in, int8_t *out, const tb_window *w, const int16_t *weights,
                                    const int32_t *bias, const tb_scaling *r)
{
  int16_t columns[TB_HALF_COLUMNS] __attribute__((aligned(4)));
  const int32_t fours = w->row_bytes >> 3, blocks = (fours + 7) >> 3, skipped = 8 * blocks - fours;
  const int32_t bits = *r->shift - 32, round = (int32_t)((uint32_t)r->zero << bits) + (1 << (bits - 1));
  const uintptr_t many = (uintptr_t)r->multiplier - (uintptr_t)bias, alone = (uintptr_t)(r->multiplier + 4);
  const int32_t multipliers = (int32_t)(r->step ? many : alone);
  tb_halves two = { blocks, 48 * skipped, bias + w->outputs, multipliers, -r->step, round, bits, out,
                    w->outputs, { 0, 0 } };
  int32_t y0 = w->top, line = w->first, waiting = 0, left = w->out_height * w->out_width;
  const int32_t side = (left > 1) ? 8 : 4;
  for (int32_t i = 0; i < side; i++) {
    columns[side * (fours - 1) + i] = 0; /* taps that fill up a window have weights of 0, but are read */
  }
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    int32_t x0 = w->left, corner = line;
    for (int32_t ox = 0; ox < w->out_width; ox++) {
      left--;
      if (waiting) {
        two.less[1] = -128 * tb_halves_window(columns + 4, 8, in, w, y0, x0, corner);
        tb_halves_two(weights, columns, bias, &two);
        two.out += 2 * w->outputs;
        waiting = 0;
      } else if (left > 0) {
        two.less[0] = -128 * tb_halves_window(columns, 8, in, w, y0, x0, corner);
        waiting = 1;
      } else {
        const int32_t less = -128 * tb_halves_window(columns, 4, in, w, y0, x0, corner);
        const tb_halves one = { blocks, 60 * skipped, two.end, multipliers, -r->step, round, bits, two.out,
                                w->row_bytes, { less, 0 } };
        tb_halves_one(weights, columns, bias, &one);
      }
      x0 += w->stride_width;
      corner += w->stride_column;
    }
    y0 += w->stride_height;
    line += w->stride_row;
  }
}

#endif
