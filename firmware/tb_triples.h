/* SPDX-License-Identifier: Apache-2.0
 * Layers of powers of two as straight-line code for cores with loads of several words and without shifted
 * additions.
 *
 * Buckets as in tb_buckets.h, two positions in a word. Taps come in order, so that one instruction loads
 * three of them, and each is added where it belongs: 4 instructions for 3 weights at two positions. On
 * Thumb-1 four exponents have low registers; the others have two high ones each, which only add: of
 * weights above 0 and below. Operations begin with TBT_:
 *
 *   START                 back to the first word
 *   STEP(n)               on by n words
 *   ZERO(e), MIDDLE(e)    begin a bucket, NONE(e) of weights below 0
 *   TAKE3, TAKE2, TAKE1   the next words are 1, 2 and 3
 *   PLUS(j, e), MINUS     word j to bucket e; BEGIN, LESS: it is the first
 *   JOIN(e, to, d)        bucket to += bucket e << d
 *   PART(e)               sums = halves of bucket e
 *   NEXT(e, d)            sums = (sums << d) + halves of bucket e
 *   UP(d)                 sums <<= d
 *   STORE(q), MORE(q)     sums of filter q, or added to them
 */
#ifndef TB_TRIPLES_H
#define TB_TRIPLES_H

#include "tb_walk.h"

#ifdef TB_THUMB1
#pragma GCC diagnostic ignored "-Woverlength-strings"
/* On the stack: words, sums, 0x80008000. */
#define TBT_START "ldr r0, [sp]\n\tldr r1, [sp, #8]\n\tmovs r2, #0\n\t"
#define TBT_STEP(n) "adds r0, r0, #4 * " #n "\n\t"
#define TBT_ZERO(e) TB_TZERO##e
#define TBT_MIDDLE(e) TB_TMIDDLE##e
#define TBT_PLUS(j, e) TB_TPLUS##e(j)
#define TBT_MINUS(j, e) TB_TMINUS##e(j)
#define TBT_NONE(e) TB_TNONE##e
#define TBT_BEGIN(j, e) TB_TBEGIN##e(j)
#define TBT_LESS(j, e) TB_TLESS##e(j)
#define TBT_JOIN(e, to, d) TB_TJOIN##e(TB_TADD##to, d)
#define TB_TSHIFTED(r, add, d) "lsls " r ", " r ", #" #d "\n\t" add(r)
#define TB_TZERO0 "mov r8, r2\n\t"
#define TB_TNONE0 "mov r9, r2\n\t"
#define TB_TBEGIN0(j) "mov r8, r" #j "\n\t"
#define TB_TLESS0(j) "mov r9, r" #j "\n\t"
#define TB_TMIDDLE0 "mov r8, r1\n\t"
#define TB_TPLUS0(j) "add r8, r8, r" #j "\n\t"
#define TB_TMINUS0(j) "add r9, r9, r" #j "\n\t"
#define TB_TREAD0(into) "mov " into ", r8\n\tmov r3, r9\n\tsubs " into ", " into ", r3\n\t"
#define TB_TADD0(from) "add r8, r8, " from "\n\t"
#define TB_TZERO1 "mov r10, r2\n\t"
#define TB_TNONE1 "mov r11, r2\n\t"
#define TB_TBEGIN1(j) "mov r10, r" #j "\n\t"
#define TB_TLESS1(j) "mov r11, r" #j "\n\t"
#define TB_TMIDDLE1 "mov r10, r1\n\t"
#define TB_TPLUS1(j) "add r10, r10, r" #j "\n\t"
#define TB_TMINUS1(j) "add r11, r11, r" #j "\n\t"
#define TB_TREAD1(into) "mov " into ", r10\n\tmov r3, r11\n\tsubs " into ", " into ", r3\n\t"
#define TB_TADD1(from) "add r10, r10, " from "\n\t"
#define TB_TZERO2 "mov r12, r2\n\t"
#define TB_TNONE2 "mov lr, r2\n\t"
#define TB_TBEGIN2(j) "mov r12, r" #j "\n\t"
#define TB_TLESS2(j) "mov lr, r" #j "\n\t"
#define TB_TMIDDLE2 "mov r12, r1\n\t"
#define TB_TPLUS2(j) "add r12, r12, r" #j "\n\t"
#define TB_TMINUS2(j) "add lr, lr, r" #j "\n\t"
#define TB_TREAD2(into) "mov " into ", r12\n\tmov r3, lr\n\tsubs " into ", " into ", r3\n\t"
#define TB_TADD2(from) "add r12, r12, " from "\n\t"
#define TB_TZERO3 "mov r4, r2\n\t"
#define TB_TBEGIN3(j) "mov r4, r" #j "\n\t"
#define TB_TLESS3(j) "rsbs r4, r" #j ", #0\n\t"
#define TB_TMIDDLE3 "mov r4, r1\n\t"
#define TB_TPLUS3(j) "adds r4, r4, r" #j "\n\t"
#define TB_TMINUS3(j) "subs r4, r4, r" #j "\n\t"
#define TB_TREAD3(into) "mov " into ", r4\n\t"
#define TB_TADD3(from) "adds r4, r4, " from "\n\t"
#define TB_TZERO4 "mov r5, r2\n\t"
#define TB_TBEGIN4(j) "mov r5, r" #j "\n\t"
#define TB_TLESS4(j) "rsbs r5, r" #j ", #0\n\t"
#define TB_TMIDDLE4 "mov r5, r1\n\t"
#define TB_TPLUS4(j) "adds r5, r5, r" #j "\n\t"
#define TB_TMINUS4(j) "subs r5, r5, r" #j "\n\t"
#define TB_TREAD4(into) "mov " into ", r5\n\t"
#define TB_TADD4(from) "adds r5, r5, " from "\n\t"
#define TB_TZERO5 "mov r6, r2\n\t"
#define TB_TBEGIN5(j) "mov r6, r" #j "\n\t"
#define TB_TLESS5(j) "rsbs r6, r" #j ", #0\n\t"
#define TB_TMIDDLE5 "mov r6, r1\n\t"
#define TB_TPLUS5(j) "adds r6, r6, r" #j "\n\t"
#define TB_TMINUS5(j) "subs r6, r6, r" #j "\n\t"
#define TB_TREAD5(into) "mov " into ", r6\n\t"
#define TB_TADD5(from) "adds r6, r6, " from "\n\t"
#define TB_TZERO6 "mov r7, r2\n\t"
#define TB_TBEGIN6(j) "mov r7, r" #j "\n\t"
#define TB_TLESS6(j) "rsbs r7, r" #j ", #0\n\t"
#define TB_TMIDDLE6 "mov r7, r1\n\t"
#define TB_TPLUS6(j) "adds r7, r7, r" #j "\n\t"
#define TB_TMINUS6(j) "subs r7, r7, r" #j "\n\t"
#define TB_TREAD6(into) "mov " into ", r7\n\t"
#define TB_TADD6(from) "adds r7, r7, " from "\n\t"
#define TBT_TAKE3 "ldm r0!, {r1, r2, r3}\n\t"
#define TBT_TAKE2 "ldm r0!, {r1, r2}\n\t"
#define TBT_TAKE1 "ldm r0!, {r1}\n\t"
#define TB_TJOIN1(add, d) TB_TREAD1("r2") TB_TSHIFTED("r2", add, d)
#define TB_TJOIN2(add, d) TB_TREAD2("r2") TB_TSHIFTED("r2", add, d)
#define TB_TJOIN3(add, d) TB_TSHIFTED("r4", add, d)
#define TB_TJOIN4(add, d) TB_TSHIFTED("r5", add, d)
#define TB_TJOIN5(add, d) TB_TSHIFTED("r6", add, d)
#define TB_TJOIN6(add, d) TB_TSHIFTED("r7", add, d)
#define TBT_PART(e) TB_TREAD##e("r2") "uxth r0, r2\n\tlsrs r1, r2, #16\n\t"
#define TBT_NEXT(e, d)                                                                               \
  TBT_UP(d) TB_TREAD##e("r2")                                                                        \
  "lsrs r3, r2, #16\n\t"                                                                             \
  "adds r1, r1, r3\n\t"                                                                              \
  "uxth r2, r2\n\t"                                                                                  \
  "adds r0, r0, r2\n\t"
#define TBT_UP(d) "lsls r0, r0, #" #d "\n\tlsls r1, r1, #" #d "\n\t"
#define TBT_STORE(q) "ldr r2, [sp, #4]\n\tstr r0, [r2, #8 * " #q "]\n\tstr r1, [r2, #8 * " #q " + 4]\n\t"
#define TBT_MORE(q)                                                                                  \
  "ldr r2, [sp, #4]\n\t"                                                                             \
  "ldr r3, [r2, #8 * " #q "]\n\t"                                                                    \
  "adds r0, r0, r3\n\t"                                                                              \
  "ldr r3, [r2, #8 * " #q " + 4]\n\t"                                                                \
  "adds r1, r1, r3\n\t" TBT_STORE(q)
#define TB_TRIPLES(name, code)                                                                       \
  static TB_ASSEMBLY void name(TB_UNUSED const uint32_t *x, TB_UNUSED uint32_t *sums)                \
  {                                                                                                  \
    __asm__(".syntax unified\n\t"                                                                    \
            "push {r4-r7, lr}\n\t"                                                                   \
            "mov r4, r8\n\t"                                                                         \
            "mov r5, r9\n\t"                                                                         \
            "mov r6, r10\n\t"                                                                        \
            "mov r7, r11\n\t"                                                                        \
            "movs r2, #128\n\t"                                                                      \
            "lsls r2, r2, #8\n\t"                                                                    \
            "lsls r3, r2, #16\n\t"                                                                   \
            "adds r2, r2, r3\n\t"                                                                    \
            "push {r0-r2, r4-r7}\n\t" code                                                           \
            "pop {r0-r2, r4-r7}\n\t"                                                                 \
            "mov r8, r4\n\t"                                                                         \
            "mov r9, r5\n\t"                                                                         \
            "mov r10, r6\n\t"                                                                        \
            "mov r11, r7\n\t"                                                                        \
            "pop {r4-r7, pc}");                                                                      \
  }
#else
#define TBT_START                                                                                    \
  x = first;                                                                                         \
  b0 = b1 = b2 = b3 = b4 = b5 = b6 = 0;
#define TBT_STEP(n) x += n;
#define TBT_ZERO(e)
#define TBT_MIDDLE(e) b##e += 0x80008000u;
#define TBT_TAKE1 t1 = *x++;
#define TBT_TAKE2 TBT_TAKE1 t2 = *x++;
#define TBT_TAKE3 TBT_TAKE2 t3 = *x++;
#define TBT_NONE(e)
#define TBT_PLUS(j, e) b##e += t##j;
#define TBT_MINUS(j, e) b##e -= t##j;
#define TBT_BEGIN(j, e) TBT_PLUS(j, e)
#define TBT_LESS(j, e) TBT_MINUS(j, e)
#define TBT_JOIN(e, to, d) b##to += b##e << d;
#define TBT_PART(e)                                                                                  \
  s0 = b##e & 0xffffu;                                                                               \
  s1 = b##e >> 16;
#define TBT_NEXT(e, d)                                                                               \
  s0 = (s0 << d) + (b##e & 0xffffu);                                                                 \
  s1 = (s1 << d) + (b##e >> 16);
#define TBT_UP(d)                                                                                    \
  s0 <<= d;                                                                                          \
  s1 <<= d;
#define TBT_STORE(q)                                                                                 \
  sums[2 * q] = s0;                                                                                  \
  sums[2 * q + 1] = s1;
#define TBT_MORE(q)                                                                                  \
  sums[2 * q] += s0;                                                                                 \
  sums[2 * q + 1] += s1;
#define TB_TRIPLES(name, code)                                                                       \
  static TB_APART void name(const uint32_t *first, uint32_t *sums)                                   \
  {                                                                                                  \
    const uint32_t *x = first;                                                                       \
    uint32_t b0, b1, b2, b3, b4, b5, b6, t1 = 0, t2 = 0, t3 = 0, s0, s1;                             \
    code                                                                                             \
    (void)x, (void)b0, (void)b1, (void)b2, (void)b3, (void)b4, (void)b5, (void)b6;                   \
    (void)t1, (void)t2, (void)t3;                                                                    \
  }
#endif

#endif
