/* SPDX-License-Identifier: Apache-2.0
 * Layers of powers of two as straight-line code for cores without shifted additions.
 *
 * A filter has a bucket per exponent 0 to 6; a weight adds its activation to a bucket, and shifts come at
 * the end. Two positions share a word, x0 + (x1 << 16). Buckets are joined while no input can carry their
 * sum out of a half word (which began in its middle, MIDDLE), and only then parted into both positions'
 * sums. The generator writes filters as a list of these operations: assembly in fixed registers on
 * RISC-V, else plain C. Their names begin with TBB_, so that they never are those of tb_straight.h.
 *
 *   REWIND, STEP(n)       back to the first word; on by n words
 *   ZERO(e), MIDDLE(e)    begin a bucket
 *   PLUS(k, e), MINUS     word k to bucket e
 *   JOIN(e, to, d)        bucket to += bucket e << d
 *   PART(e)               sums = halves of bucket e
 *   NEXT(e, d)            sums = (sums << d) + halves of bucket e
 *   UP(d)                 sums <<= d
 *   STORE(q), MORE(q)     sums of filter q, or added to them
 *
 * Words in front of these: PAIR(i, j) writes taps i and j, TWINS(i, j) their sum and their difference too,
 * for filters whose two weights are equal but for the sign.
 */
#ifndef TB_BUCKETS_H
#define TB_BUCKETS_H

#include "tb_walk.h"

#if defined __GNUC__ && defined __riscv && (__riscv_xlen == 32) && !defined __riscv_32e
#pragma GCC diagnostic ignored "-Woverlength-strings"
#define TB_B0 "a2"
#define TB_B1 "a3"
#define TB_B2 "a4"
#define TB_B3 "t6"
#define TB_B4 "a6"
#define TB_B5 "a7"
#define TB_B6 "t0"
#define TBB_REWIND "mv a0, t5\n\t"
#define TBB_STEP(n) "addi a0, a0, 4 * " #n "\n\t"
#define TBB_ZERO(e) "li " TB_B##e ", 0\n\t"
#define TBB_MIDDLE(e) "mv " TB_B##e ", t4\n\t"
#define TBB_PLUS(k, e) "lw a5, 4 * " #k "(a0)\n\tadd " TB_B##e ", " TB_B##e ", a5\n\t"
#define TBB_MINUS(k, e) "lw a5, 4 * " #k "(a0)\n\tsub " TB_B##e ", " TB_B##e ", a5\n\t"
#define TBB_JOIN(e, to, d)                                                                               \
  "slli " TB_B##e ", " TB_B##e ", " #d "\n\tadd " TB_B##to ", " TB_B##to ", " TB_B##e "\n\t"
#define TBB_PART(e) "slli t1, " TB_B##e ", 16\n\tsrli t1, t1, 16\n\tsrli t2, " TB_B##e ", 16\n\t"
#define TBB_NEXT(e, d)                                                                                   \
  TBB_UP(d)                                                                                              \
  "slli t3, " TB_B##e ", 16\n\t"                                                                     \
  "srli t3, t3, 16\n\t"                                                                              \
  "add t1, t1, t3\n\t"                                                                               \
  "srli t3, " TB_B##e ", 16\n\t"                                                                     \
  "add t2, t2, t3\n\t"
#define TBB_UP(d) "slli t1, t1, " #d "\n\tslli t2, t2, " #d "\n\t"
#define TBB_STORE(q) "sw t1, 8 * " #q "(a1)\n\tsw t2, 8 * " #q " + 4(a1)\n\t"
#define TBB_MORE(q)                                                                                      \
  "lw t3, 8 * " #q "(a1)\n\t"                                                                        \
  "add t1, t1, t3\n\t"                                                                               \
  "lw t3, 8 * " #q " + 4(a1)\n\t"                                                                    \
  "add t2, t2, t3\n\t" TBB_STORE(q)
#define TB_TAPS_OF(i, j)                                                                             \
  "lw t1, 4 * " #i "(a0)\n\tlw t2, 4 * " #j "(a0)\n\tsw t1, 0(a1)\n\tsw t2, 4(a1)\n\t"
#define TBB_PAIR(i, j) TB_TAPS_OF(i, j) "addi a1, a1, 8\n\t"
#define TBB_TWINS(i, j)                                                                                  \
  TB_TAPS_OF(i, j)                                                                                   \
  "add t3, t1, t2\n\t"                                                                               \
  "sub t4, t1, t2\n\t"                                                                               \
  "sw t3, 8(a1)\n\t"                                                                                 \
  "sw t4, 12(a1)\n\t"                                                                                \
  "addi a1, a1, 16\n\t"
#define TB_BODY(name, begin, code)                                                                   \
  static TB_APART void name(const uint32_t *x, uint32_t *sums)                                       \
  {                                                                                                  \
    register const uint32_t *from __asm__("a0") = x;                                                 \
    register uint32_t *to __asm__("a1") = sums;                                                      \
    __asm__ volatile(begin code                                                                      \
                     : "+r"(from), "+r"(to) : : "a2", "a3", "a4", "a5", "a6", "a7", "t0", "t1", "t2",  \
                       "t3", "t4", "t5", "t6", "memory");                                            \
  }
#define TB_FILTERS(name, code) TB_BODY(name, "mv t5, a0\n\tli t4, 0x80008000\n\t", code)
#define TB_PAIRED(name, code) TB_BODY(name, "", code)
#else
#define TBB_REWIND x = first;
#define TBB_STEP(n) x += n;
#define TBB_ZERO(e) b##e = 0;
#define TBB_MIDDLE(e) b##e = 0x80008000u;
#define TBB_PLUS(k, e) b##e += x[k];
#define TBB_MINUS(k, e) b##e -= x[k];
#define TBB_JOIN(e, to, d) b##to += b##e << d;
#define TBB_PART(e)                                                                                      \
  s0 = b##e & 0xffffu;                                                                               \
  s1 = b##e >> 16;
#define TBB_NEXT(e, d)                                                                                   \
  s0 = (s0 << d) + (b##e & 0xffffu);                                                                 \
  s1 = (s1 << d) + (b##e >> 16);
#define TBB_UP(d)                                                                                        \
  s0 <<= d;                                                                                          \
  s1 <<= d;
#define TBB_STORE(q)                                                                                     \
  sums[2 * q] = s0;                                                                                  \
  sums[2 * q + 1] = s1;
#define TBB_MORE(q)                                                                                      \
  sums[2 * q] += s0;                                                                                 \
  sums[2 * q + 1] += s1;
#define TBB_PAIR(i, j)                                                                                   \
  words[0] = x[i];                                                                                   \
  words[1] = x[j];                                                                                   \
  words += 2;
#define TBB_TWINS(i, j)                                                                                  \
  s0 = x[i];                                                                                         \
  s1 = x[j];                                                                                         \
  words[0] = s0;                                                                                     \
  words[1] = s1;                                                                                     \
  words[2] = s0 + s1;                                                                                \
  words[3] = s0 - s1;                                                                                \
  words += 4;
#define TB_FILTERS(name, code)                                                                       \
  static TB_APART void name(const uint32_t *first, uint32_t *sums)                                   \
  {                                                                                                  \
    const uint32_t *x = first;                                                                       \
    uint32_t b0 = 0, b1 = 0, b2 = 0, b3 = 0, b4 = 0, b5 = 0, b6 = 0, s0, s1;                         \
    code                                                                                             \
    (void)x, (void)b0, (void)b1, (void)b2, (void)b3, (void)b4, (void)b5, (void)b6;                   \
  }
#define TB_PAIRED(name, code)                                                                        \
  static TB_APART void name(const uint32_t *x, uint32_t *words)                                      \
  {                                                                                                  \
    uint32_t s0, s1;                                                                                 \
    code                                                                                             \
    (void)s0, (void)s1;                                                                              \
  }
#endif

#endif
