/* SPDX-License-Identifier: Apache-2.0
 * Layers of powers of two as straight-line code: a weight +-2^e is one addition of an activation x << e.
 *
 * The generator writes a layer's filters as a list of these operations. Where the core adds shifted
 * registers they are assembly in fixed registers, which a compiler would have spilled; else plain C.
 * Their names begin with TBS_, so that they never are those of tb_buckets.h.
 *
 *   FOUR            the next four taps into 0, 1, 2, 3
 *   ADD(a, k, e)    a += k << e; SUB the same with minus. a may be a tap too: what several filters share
 *   SET(a, k, e)    a = k << e; ZERO(a) a = 0
 *
 * Lanes (two positions, four filters): a tap is x0 + x1 2^16. Filter q has accumulators aq and bq, for small
 * and large exponents. The low half is a number with a sign, and what is left without it is the high one; the
 * generator empties both into the filter's two sums before any input could carry one out of 16 bits.
 *
 *   FIRST(a, q, e)       sums q = halves of a << e; MORE adds them
 *   END                  no tap is needed any more
 *   ONLY(a, b, q, e)     sums q = halves of a, and of b << e; LAST adds them
 *
 * Single (one position, nine filters): whole sums c0 to c8; NINE(at) stores them `at` words after the last
 * tap.
 */
#ifndef TB_STRAIGHT_H
#define TB_STRAIGHT_H

#include "tb_walk.h"

#ifdef TB_SHIFTED_ADDS
/* A function's whole body is one statement of assembly: registers stay where they are. */
#pragma GCC diagnostic ignored "-Woverlength-strings"
#define TB_0 "r4"
#define TB_1 "r5"
#define TB_2 "r6"
#define TB_3 "r8"
#define TB_a0 "r2"
#define TB_a1 "r3"
#define TB_a2 "r9"
#define TB_a3 "r10"
#define TB_b0 "r11"
#define TB_b1 "r12"
#define TB_b2 "lr"
#define TB_b3 "r7"
#define TB_c0 "r1"
#define TB_c1 "r2"
#define TB_c2 "r3"
#define TB_c3 "r7"
#define TB_c4 "r9"
#define TB_c5 "r10"
#define TB_c6 "r11"
#define TB_c7 "r12"
#define TB_c8 "lr"
#define TBS_FOUR "ldm r0!, {r4, r5, r6, r8}\n\t"
#define TBS_ADD(a, x, e) "add " TB_##a ", " TB_##a ", " TB_##x ", lsl #" #e "\n\t"
#define TBS_SUB(a, x, e) "sub " TB_##a ", " TB_##a ", " TB_##x ", lsl #" #e "\n\t"
#define TBS_SET(a, x, e) "mov " TB_##a ", " TB_##x ", lsl #" #e "\n\t"
#define TBS_ZERO(a) "mov " TB_##a ", #0\n\t"
/* Both halves of one accumulator to their sums (FIRST: which are not there yet), or of a pair at the end. */
#define TB_PARTED(low, a) "sxth " low ", " TB_##a "\n\tsub " TB_##a ", " TB_##a ", " low "\n\t"
#define TB_ADDED(a, e)                                                                               \
  TB_PARTED("r6", a)                                                                                 \
  "add r4, r4, r6, lsl #" #e "\n\t"                                                                  \
  "add r5, r5, " TB_##a ", asr #16 - " #e "\n\t"
#define TB_STORED(q) "strd r4, r5, [r1, #8 * " #q "]\n\t"
#define TBS_FIRST(a, q, e)                                                                               \
  TB_PARTED("r4", a)                                                                                 \
  "lsl r4, r4, #" #e "\n\t"                                                                          \
  "asr r5, " TB_##a ", #16 - " #e "\n\t"                                                             \
  TB_STORED(q)
#define TBS_MORE(a, q, e) "ldrd r4, r5, [r1, #8 * " #q "]\n\t" TB_ADDED(a, e) TB_STORED(q)
#ifdef TB_DSP
/* A rounded product with 2^16 is the high half. */
#define TBS_END "mov r8, #0x10000\n\t"
#define TBS_ONLY(a, b, q, e)                                                                         \
  "sxth r4, " TB_##a "\n\t"                                                                          \
  "sxth r6, " TB_##b "\n\t"                                                                          \
  "smmulr r5, " TB_##a ", r8\n\t"                                                                    \
  "add r4, r4, r6, lsl #" #e "\n\t"                                                                  \
  "smmulr r6, " TB_##b ", r8\n\t"                                                                    \
  "add r5, r5, r6, lsl #" #e "\n\t"                                                                  \
  TB_STORED(q)
#else
#define TBS_END
#define TBS_ONLY(a, b, q, e)                                                                         \
  TB_PARTED("r4", a) "asr r5, " TB_##a ", #16\n\t" TB_ADDED(b, e) TB_STORED(q)
#endif
#define TBS_LAST(a, b, q, e)                                                                             \
  "ldrd r4, r5, [r1, #8 * " #q "]\n\t" TB_ADDED(a, 0) TB_ADDED(b, e) TB_STORED(q)
#define TBS_NINE(at) "add r0, r0, #4 * " #at "\n\tstm r0, {r1, r2, r3, r7, r9, r10, r11, r12, lr}\n\t"
#define TB_LANES(name, code)                                                                         \
  TB_FRAMELESS static TB_APART void name(const uint32_t *x, uint32_t *sums)                          \
  {                                                                                                  \
    register const uint32_t *from __asm__("r0") = x;                                                 \
    register uint32_t *to __asm__("r1") = sums;                                                      \
    __asm__ volatile(code : "+r"(from) : "r"(to) : "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9",   \
                     "r10", "r11", "r12", "lr", "memory");                                           \
  }
#define TB_SINGLE(name, code)                                                                        \
  TB_FRAMELESS static TB_APART void name(uint32_t *x)                                                \
  {                                                                                                  \
    register uint32_t *from __asm__("r0") = x;                                                       \
    __asm__ volatile(code : "+r"(from) : : "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9",     \
                     "r10", "r11", "r12", "lr", "memory");                                           \
  }
#else
typedef struct {
  uint32_t tap[4];
} tb_taps;
#define TBS_FOUR                                                                                         \
  four = *(const tb_taps *)(const void *)x;                                                          \
  v0 = four.tap[0];                                                                                  \
  v1 = four.tap[1];                                                                                  \
  v2 = four.tap[2];                                                                                  \
  v3 = four.tap[3];                                                                                  \
  x += 4;
#define TBS_ADD(a, x, e) TB_##a += TB_##x << e;
#define TBS_SUB(a, x, e) TB_##a -= TB_##x << e;
#define TBS_SET(a, x, e) TB_##a = TB_##x << e;
#define TBS_ZERO(a) TB_##a = 0;
#define TB_LOW(a) ((((a) & 0xffffu) ^ 0x8000u) - 0x8000u)
#define TB_HIGH(a) (((((a) + 0x8000u) >> 16) ^ 0x8000u) - 0x8000u)
#define TBS_FIRST(a, q, e)                                                                               \
  sums[2 * q] = TB_LOW(TB_##a) << e;                                                                 \
  sums[2 * q + 1] = TB_HIGH(TB_##a) << e;
#define TBS_MORE(a, q, e)                                                                                \
  sums[2 * q] += TB_LOW(TB_##a) << e;                                                                \
  sums[2 * q + 1] += TB_HIGH(TB_##a) << e;
#define TBS_END
#define TBS_ONLY(a, b, q, e) TBS_FIRST(a, q, 0) TBS_MORE(b, q, e)
#define TBS_LAST(a, b, q, e) TBS_MORE(a, q, 0) TBS_MORE(b, q, e)
#define TBS_NINE(at)                                                                                     \
  x[at] = c0; x[at + 1] = c1; x[at + 2] = c2; x[at + 3] = c3; x[at + 4] = c4; x[at + 5] = c5;        \
  x[at + 6] = c6; x[at + 7] = c7; x[at + 8] = c8;
#define TB_0 v0
#define TB_1 v1
#define TB_2 v2
#define TB_3 v3
#define TB_a0 a0
#define TB_a1 a1
#define TB_a2 a2
#define TB_a3 a3
#define TB_b0 b0
#define TB_b1 b1
#define TB_b2 b2
#define TB_b3 b3
#define TB_c0 c0
#define TB_c1 c1
#define TB_c2 c2
#define TB_c3 c3
#define TB_c4 c4
#define TB_c5 c5
#define TB_c6 c6
#define TB_c7 c7
#define TB_c8 c8
#define TB_LANES(name, code)                                                                         \
  static TB_APART void name(const uint32_t *x, uint32_t *sums)                                       \
  {                                                                                                  \
    tb_taps four;                                                                                    \
    uint32_t v0, v1, v2, v3, a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;         \
    code                                                                                             \
    (void)v0, (void)v1, (void)v2, (void)v3, (void)a0, (void)a1, (void)a2, (void)a3, (void)b0,        \
      (void)b1, (void)b2, (void)b3;                                                                  \
  }
#define TB_SINGLE(name, code)                                                                        \
  static TB_APART void name(uint32_t *x)                                                             \
  {                                                                                                  \
    tb_taps four;                                                                                    \
    uint32_t v0, v1, v2, v3, c0 = 0, c1 = 0, c2 = 0, c3 = 0, c4 = 0, c5 = 0, c6 = 0, c7 = 0, c8 = 0; \
    code                                                                                             \
    (void)v0, (void)v1, (void)v2, (void)v3;                                                          \
  }
#endif

#endif
