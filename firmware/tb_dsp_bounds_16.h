/* SPDX-License-Identifier: Apache-2.0
 * Assembly for cores with the DSP extension that makes outputs of 16 bits from sums: bounds are 0 those of
 * int16_t, 1 none below 0, 2 others.
 */
#ifndef TB_DSP_BOUNDS_16_H
#define TB_DSP_BOUNDS_16_H

/* Twice the output and its rounding bit: the low byte of the register `bits` is a shift, `round` has been
 * shifted by it. */
#define TB_UPPER(sum, multiplier, bits, round)                                                       \
  "smmla " sum ", " sum ", " multiplier ", " round "\n\t"                                            \
  "asr " sum ", " sum ", " bits "\n\t"

#define TB_BOUND(bounds, sum)                                                                        \
  ".if " #bounds " == 1\n\t"                                                                         \
  "usat " sum ", #15, " sum ", asr #1\n\t"                                                           \
  ".else\n\t"                                                                                        \
  "ssat " sum ", #16, " sum ", asr #1\n\t"                                                           \
  ".endif\n\t"

/* Two outputs in a word; r4 and r5 hold the other bounds twice, r6 is spoilt. */
#define TB_CLAMP(bounds, word)                                                                       \
  ".if " #bounds " == 2\n\t"                                                                         \
  "ssub16 r6, " word ", r4\n\t"                                                                      \
  "sel " word ", " word ", r4\n\t"                                                                   \
  "ssub16 r6, " word ", r5\n\t"                                                                      \
  "sel " word ", r5, " word "\n\t"                                                                   \
  ".endif\n\t"

#endif
