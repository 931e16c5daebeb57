/* SPDX-License-Identifier: Apache-2.0
 * Outputs of a row of sums on cores without long multiplication, in assembly: read by tb_requantise.h.
 */
#ifndef TB_DIRECT_THUMB1_H
#define TB_DIRECT_THUMB1_H

/* to: one less than where an output would be if biases lay at 0, four bytes each; until: end of the biases;
 * factors: from a bias to its multiplier. */
typedef struct {
  int32_t gap;
  uint32_t to;
  int32_t round, bits;
  const int32_t *until;
  int32_t range, hi;
  const void *sums;
  const int32_t *bias;
  uint32_t factors;
} tb_direct_sums;

/* r0 sums, r1 biases, r2 factors; r8 gap, r9 to, r10 round, r11 bits, r12 until, lr range, on the stack
 * hi. The upper word of a product is made of four products of 16 bits, as tb_high does. */
static TB_ASSEMBLY void tb_direct_each(TB_UNUSED const tb_direct_sums *sums)
{
  __asm__(".syntax unified\n\t"
          "push {r4-r7, lr}\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "mov r6, r10\n\t"
          "mov r7, r11\n\t"
          "push {r4-r7}\n\t"
          "ldm r0!, {r1-r7}\n\t"
          "mov r8, r1\n\t"
          "mov r9, r2\n\t"
          "mov r10, r3\n\t"
          "mov r11, r4\n\t"
          "mov r12, r5\n\t"
          "mov lr, r6\n\t"
          "push {r7}\n\t"
          "ldr r1, [r0, #4]\n\t"
          "ldr r2, [r0, #8]\n\t"
          "ldr r0, [r0]\n"
          "1:\n\t"
          "ldr r3, [r0]\n\t"
          "add r0, r0, r8\n\t"
          "ldr r4, [r1, r2]\n\t"
          "ldm r1!, {r5}\n\t"
          "adds r3, r3, r5\n\t"
          "uxth r5, r3\n\t"
          "asrs r3, r3, #16\n\t"
          "uxth r6, r4\n\t"
          "lsrs r4, r4, #16\n\t"
          "movs r7, r5\n\t"
          "muls r7, r6\n\t"
          "lsrs r7, r7, #16\n\t"
          "muls r5, r4\n\t"
          "adds r7, r7, r5\n\t"
          "muls r6, r3\n\t"
          "adds r7, r7, r6\n\t"
          "asrs r7, r7, #16\n\t"
          "muls r3, r4\n\t"
          "adds r3, r3, r7\n\t"
          "add r3, r3, r10\n\t"
          "mov r5, r11\n\t"
          "asrs r3, r5\n\t"
          "asrs r5, r3, #31\n\t"
          "bics r3, r5\n\t"
          "mov r5, lr\n\t"
          "subs r3, r5, r3\n\t"
          "asrs r5, r3, #31\n\t"
          "bics r3, r5\n\t"
          "ldr r5, [sp]\n\t"
          "subs r3, r5, r3\n\t"
          "lsrs r5, r1, #2\n\t"
          "add r5, r5, r9\n\t"
          "strb r3, [r5]\n\t"
          "cmp r1, r12\n\t"
          "bne 1b\n\t"
          "pop {r3-r7}\n\t"
          "mov r8, r4\n\t"
          "mov r9, r5\n\t"
          "mov r10, r6\n\t"
          "mov r11, r7\n\t"
          "pop {r4-r7, pc}");
}

/* Outputs of `count` sums, `gap` bytes apart, of channels from `channel` on, whose biases begin at `bias`. */
static inline void tb_direct_row(const void *sums, int32_t gap, const int32_t *bias, const tb_scaling *r,
                                 int32_t channel, int8_t *out, int32_t count)
{
  const int32_t bits = *r->shift - 32;
  const uint32_t half = (uint32_t)1 << (bits - 1), up = (uint32_t)(r->zero - r->lo) << bits;
  const tb_direct_sums all = {
    gap, (uint32_t)(uintptr_t)out - ((uint32_t)(uintptr_t)bias >> 2) - 1, (int32_t)(half + up), bits,
    bias + count, r->hi - r->lo, r->hi, sums, bias,
    (uint32_t)(uintptr_t)(r->multiplier + channel) - (uint32_t)(uintptr_t)bias };
  tb_direct_each(&all);
}

#endif
