/* SPDX-License-Identifier: Apache-2.0
 * The inner functions of tb_wide_16.h for cores with the DSP extension. tb_dsp_bounds_16.h makes outputs
 * of sums.
 */
#ifndef TB_DSP_WIDE_16_H
#define TB_DSP_WIDE_16_H

#include "tb_dsp_bounds_16.h"

/* r2 and r3 are where channels 0 and 2 lie from a tap's address on. */
#define TB_WIDE_16(taps, bounds)                                                                     \
  static TB_ASSEMBLY void tb_wide_16_##taps##_##bounds(                                              \
      TB_UNUSED const int16_t *const *tap, TB_UNUSED const int32_t *records, TB_UNUSED int16_t *out, \
      TB_UNUSED const tb_line_16 *line)                                                              \
  {                                                                                                  \
    __asm__(TB_WIDE_ENTER(taps)                                                                      \
            "adds r3, r2, #4\n\t"                                                                    \
            ".set tb_at, 0\n\t"                                                                      \
            ".rept " #taps " / 2\n\t" TB_TWO_TAPS_16 ".set tb_at, tb_at + 8\n\t"                     \
            ".endr\n\t"                                                                              \
            ".if " #taps " & 1\n\t" TB_LAST_TAP_16                                                   \
            ".endif\n\t"                                                                             \
            "ldm r1!, {r4-r7, r12}\n\t"                                                              \
            "ldr r0, [sp, #(tb_frame + 12)]\n\t"                                                     \
            "lsl lr, r0, r12\n\t" TB_UPPER("r8", "r4", "r12", "lr")                                  \
            "lsr r12, r12, #8\n\t"                                                                   \
            "lsl lr, r0, r12\n\t" TB_UPPER("r9", "r5", "r12", "lr")                                  \
            "lsr r12, r12, #8\n\t"                                                                   \
            "lsl lr, r0, r12\n\t" TB_UPPER("r10", "r6", "r12", "lr")                                 \
            "lsr r12, r12, #8\n\t"                                                                   \
            "lsl lr, r0, r12\n\t" TB_UPPER("r11", "r7", "r12", "lr")                                 \
            TB_BOUND(bounds, "r8") TB_BOUND(bounds, "r9")                                            \
            TB_BOUND(bounds, "r10") TB_BOUND(bounds, "r11")                                          \
            "pkhbt r8, r8, r9, lsl #16\n\t"                                                          \
            "pkhbt r10, r10, r11, lsl #16\n\t"                                                       \
            ".if " #bounds " == 2\n\t"                                                               \
            "ldrd r4, r5, [sp, #(tb_frame + 28)]\n\t"                                                \
            ".endif\n\t" TB_CLAMP(bounds, "r8") TB_CLAMP(bounds, "r10")                              \
            "ldrd r0, r7, [sp, #(tb_frame + 4)]\n\t"                                                 \
            "str r8, [r0, r2]\n\t"                                                                   \
            "str r10, [r0, r3]\n\t"                                                                  \
            "adds r2, r2, #8\n\t"                                                                    \
            "cmp r2, r7\n\t"                                                                         \
            "bne 2b\n\t" TB_WIDE_LEAVE);                                                             \
  }

#define TB_TWO_TAPS_16                                                                               \
  "ldrd r4, r5, [sp, #tb_at]\n\t"                                                                    \
  "ldm r1!, {r0, r12}\n\t"                                                                           \
  "ldr r6, [r4, r2]\n\t"                                                                             \
  "ldr r4, [r4, r3]\n\t"                                                                             \
  "ldr r7, [r5, r2]\n\t"                                                                             \
  "ldr r5, [r5, r3]\n\t"                                                                             \
  "sxtb16 lr, r0\n\t"                                                                                \
  "sxtb16 r0, r0, ror #8\n\t"                                                                        \
  "smlabb r8, r6, lr, r8\n\t"                                                                        \
  "smlatt r9, r6, lr, r9\n\t"                                                                        \
  "smlabb r8, r7, r0, r8\n\t"                                                                        \
  "smlatt r9, r7, r0, r9\n\t"                                                                        \
  "sxtb16 lr, r12\n\t"                                                                               \
  "sxtb16 r12, r12, ror #8\n\t"                                                                      \
  "smlabb r10, r4, lr, r10\n\t"                                                                      \
  "smlatt r11, r4, lr, r11\n\t"                                                                      \
  "smlabb r10, r5, r12, r10\n\t"                                                                     \
  "smlatt r11, r5, r12, r11\n\t"

#define TB_LAST_TAP_16                                                                               \
  "ldr r4, [sp, #tb_at]\n\t"                                                                         \
  "ldr r0, [r1], #4\n\t"                                                                             \
  "ldr r6, [r4, r2]\n\t"                                                                             \
  "ldr r4, [r4, r3]\n\t"                                                                             \
  "sxtb16 lr, r0\n\t"                                                                                \
  "sxtb16 r0, r0, ror #8\n\t"                                                                        \
  "smlabb r8, r6, lr, r8\n\t"                                                                        \
  "smlatt r9, r6, lr, r9\n\t"                                                                        \
  "smlabb r10, r4, r0, r10\n\t"                                                                      \
  "smlatt r11, r4, r0, r11\n\t"

#endif
