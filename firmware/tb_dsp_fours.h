/* SPDX-License-Identifier: Apache-2.0
 * Layers in fours of filters (tb_int4.h), for tb_dsp.h: columns as for pairs, four products per mask.
 */
#ifndef TB_DSP_FOURS_H
#define TB_DSP_FOURS_H

#include "tb_dsp.h"

/* Taps at a time: 4096 times their sum for the last filter is below 2^31. Whole blocks of the loops below. */
#define TB_FOURS_TAPS 480

/* Taps at one or two positions, and fours of filters. The assembly finds the fields at these places. */
typedef struct {
  const uint8_t *weights;                /*  0: moves on */
  int32_t skip;                          /*  4: from a four's weights to those of the next */
  const int16_t *columns;                /*  8 */
  const int16_t *blocks, *end;           /* 12, 16: end of what goes in blocks, and of all columns */
  int32_t *sums, *last;                  /* 20: moves on, 24: its end */
  uint32_t start[8];                     /* 28: takes the 8s in the weights out, per filter and position */
} tb_fours;

/* A weight word holds two taps of filters a, b, c, d from the low nibble up, d alone with its sign. Its sums
 * are those of a, b, c and d; without d; without c and d; of a: each mask takes one filter away. */
#define TB_FOURS_TWO(w, x, y)                                                                        \
  "smlad r8, " w ", " x ", r8\n\t"                                                                   \
  "smlad r9, " w ", " y ", r9\n\t"                                                                   \
  "bic " w ", " w ", #0xf000f000\n\t"                                                                \
  "smlad r6, " w ", " x ", r6\n\t"                                                                   \
  "smlad r7, " w ", " y ", r7\n\t"                                                                   \
  "uxtb16 " w ", " w "\n\t"                                                                          \
  "smlad r4, " w ", " x ", r4\n\t"                                                                   \
  "smlad r5, " w ", " y ", r5\n\t"                                                                   \
  "and " w ", " w ", #0x000f000f\n\t"                                                                \
  "smlad r2, " w ", " x ", r2\n\t"                                                                   \
  "smlad r3, " w ", " y ", r3\n\t"

#define TB_FOURS_TWO_POSITIONS                                                                       \
  "ldm r0!, {r10, r11}\n\t"                                                                          \
  "ldm r1!, {r12, lr}\n\t" TB_FOURS_TWO("r10", "r12", "lr")                                          \
  "ldm r1!, {r12, lr}\n\t" TB_FOURS_TWO("r11", "r12", "lr")

#define TB_FOURS_ONE(w, x)                                                                           \
  "smlad r5, " w ", " x ", r5\n\t"                                                                   \
  "bic " w ", " w ", #0xf000f000\n\t"                                                                \
  "smlad r4, " w ", " x ", r4\n\t"                                                                   \
  "uxtb16 " w ", " w "\n\t"                                                                          \
  "smlad r3, " w ", " x ", r3\n\t"                                                                   \
  "and " w ", " w ", #0x000f000f\n\t"                                                                \
  "smlad r2, " w ", " x ", r2\n\t"

#define TB_FOURS_EIGHT_TAPS                                                                          \
  "ldm r0!, {r6, r7, r8, r9}\n\t"                                                                    \
  "ldm r1!, {r10, r11, r12, lr}\n\t" TB_FOURS_ONE("r6", "r10") TB_FOURS_ONE("r7", "r11")             \
  TB_FOURS_ONE("r8", "r12") TB_FOURS_ONE("r9", "lr")

/* `blocks` repeats until r1 reaches field 12, `step` from there until it reaches field 16. r7 is kept here:
 * compilers may not give it away. */
#define TB_FOURS_LOOPS(start, blocks, step)                                                          \
  "push {r0, r7}\n"                                                                                  \
  "1:\n\t"                                                                                           \
  "ldr r1, [r0, #8]\n\t"                                                                             \
  "ldr r10, [r0, #12]\n\t" start                                                                      \
  "ldr r0, [r0]\n\t"                                                                                 \
  "push {r10}\n\t"                                                                                   \
  "cmp r1, r10\n\t"                                                                                  \
  "beq 3f\n"                                                                                         \
  "2:\n\t" blocks                                                                                    \
  "ldr r10, [sp]\n\t"                                                                                \
  "cmp r1, r10\n\t"                                                                                  \
  "bne 2b\n"                                                                                         \
  "3:\n\t"                                                                                           \
  "ldr r10, [sp, #4]\n\t"                                                                            \
  "ldr r10, [r10, #16]\n\t"                                                                          \
  "str r10, [sp]\n\t"                                                                                \
  "cmp r1, r10\n\t"                                                                                  \
  "beq 5f\n"                                                                                         \
  "4:\n\t" step                                                                                      \
  "ldr r10, [sp]\n\t"                                                                                \
  "cmp r1, r10\n\t"                                                                                  \
  "bne 4b\n"                                                                                         \
  "5:\n\t"                                                                                           \
  "add sp, #4\n\t"

#define TB_FOURS_STORE(registers)                                                                    \
  "mov r1, r0\n\t"                                                                                   \
  "ldr r0, [sp]\n\t"                                                                                 \
  "ldr r12, [r0, #4]\n\t"                                                                            \
  "ldr lr, [r0, #24]\n\t"                                                                            \
  "add r1, r1, r12\n\t"                                                                              \
  "ldr r12, [r0, #20]\n\t"                                                                           \
  "stm r12!, " registers "\n\t"                                                                      \
  "str r1, [r0]\n\t"                                                                                 \
  "str r12, [r0, #20]\n\t"                                                                           \
  "cmp r12, lr\n\t"                                                                                  \
  "bne 1b\n\t"                                                                                       \
  "pop {r0, r7}"

static __attribute__((noinline)) void tb_fours_two(tb_fours *work)
{
  register tb_fours *at __asm__("r0") = work;
  __asm__ volatile(TB_FOURS_LOOPS("add r12, r0, #28\n\tldm r12, {r2-r9}\n\t",
                                  TB_FOURS_TWO_POSITIONS TB_FOURS_TWO_POSITIONS
                                  TB_FOURS_TWO_POSITIONS TB_FOURS_TWO_POSITIONS,
                                  TB_FOURS_TWO_POSITIONS)
                   "subs r1, r6, r4\n\t"
                   "sub r8, r8, r6\n\t"
                   "asr r6, r1, #8\n\t"
                   "asr r8, r8, #12\n\t"
                   "subs r4, r4, r2\n\t"
                   "asrs r4, r4, #4\n\t"
                   "subs r1, r7, r5\n\t"
                   "sub r9, r9, r7\n\t"
                   "asr r7, r1, #8\n\t"
                   "asr r9, r9, #12\n\t"
                   "subs r5, r5, r3\n\t"
                   "asrs r5, r5, #4\n\t" TB_FOURS_STORE("{r2-r9}")
                   : "+r"(at)
                   : : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
                       "memory");
}

static __attribute__((noinline)) void tb_fours_one(tb_fours *work)
{
  register tb_fours *at __asm__("r0") = work;
  __asm__ volatile(TB_FOURS_LOOPS("add r12, r0, #28\n\tldm r12, {r2-r5}\n\t",
                                  TB_FOURS_EIGHT_TAPS TB_FOURS_EIGHT_TAPS
                                  TB_FOURS_EIGHT_TAPS TB_FOURS_EIGHT_TAPS,
                                  "ldm r0!, {r6, r7}\n\t"
                                  "ldm r1!, {r10, r11}\n\t" TB_FOURS_ONE("r6", "r10")
                                  TB_FOURS_ONE("r7", "r11"))
                   "subs r5, r5, r4\n\t"
                   "asrs r5, r5, #12\n\t"
                   "subs r4, r4, r3\n\t"
                   "asrs r4, r4, #8\n\t"
                   "subs r3, r3, r2\n\t"
                   "asrs r3, r3, #4\n\t" TB_FOURS_STORE("{r2-r5}")
                   : "+r"(at)
                   : : "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "lr", "cc",
                       "memory");
}

/* 8, 136 and 2184 times the sum of the activations are what the 8s add; `less` is -128 times it. */
static inline void tb_fours_start(uint32_t *start, int32_t gap, int32_t less)
{
  const uint32_t eight = (uint32_t)(less >> 4), more = eight + (uint32_t)less;
  start[0] = eight;
  start[gap] = more;
  start[2 * gap] = more + ((uint32_t)less << 4);
  start[3 * gap] = start[2 * gap];
}

/* `sums` for fours of filters over all taps, TB_FOURS_TAPS at a time; less: see tb_filters_fours. */
static inline void tb_fours_sums(tb_fours *work, const int16_t *columns, int32_t positions, int32_t taps,
                                 const uint8_t *weights, const int32_t *less, int32_t *sums, int32_t count)
{
  int32_t more[2 * TB_BLOCK];
  for (int32_t first = 0; first < taps; first += TB_FOURS_TAPS) {
    const int32_t here = (taps - first < TB_FOURS_TAPS) ? taps - first : TB_FOURS_TAPS;
    work->weights = weights + 2 * first;
    work->skip = 2 * (taps - here);
    work->columns = columns + positions * first;
    work->end = work->columns + positions * here;
    work->sums = first ? more : sums;
    work->last = work->sums + count;
    tb_fours_start(work->start, positions, *less++);
    if (positions > 1) {
      tb_fours_start(work->start + 1, positions, *less++);
      work->blocks = work->columns + 2 * (here & -16);
      tb_fours_two(work);
    } else {
      work->blocks = work->columns + (here & -32);
      tb_fours_one(work);
    }
    for (int32_t i = 0; (i < count) && (first > 0); i++) {
      sums[i] += more[i];
    }
  }
}

/* All filters at the one or two positions in `columns`. */
static inline void tb_filters_fours(const int16_t *columns, int32_t positions, int8_t *out,
                                    const tb_window *w, const uint8_t *weights, const int32_t *bias,
                                    const tb_scaling *r)
{
  const int32_t taps = w->row_bytes >> 1;
  int32_t sums[2 * TB_BLOCK], part = 0;
  int32_t less[2 * TB_PARTS] = {0}; /* -128 times the activations of each part; 0: compilers warned of it */
  tb_fours work;
  for (int32_t first = 0; first < taps; first += TB_FOURS_TAPS) {
    const int32_t here = (taps - first < TB_FOURS_TAPS) ? taps - first : TB_FOURS_TAPS;
    if (positions > 1) {
      tb_less_two(columns + 2 * first, here, less + part, less + part + 1);
    } else {
      less[part] = tb_less_one(columns + first, here);
    }
    part += positions;
  }
  for (int32_t o = 0; o < w->outputs; o += TB_BLOCK) {
    const int32_t left = w->outputs - o, count = (left < TB_BLOCK) ? left : TB_BLOCK;
    const int32_t filters = (count + 3) & -4;
    tb_fours_sums(&work, columns, positions, taps, weights, less, sums, positions * filters);
    tb_finish(sums, out + o, (positions > 1) ? out + w->outputs + o : NULL, bias + o, r, o, count);
    weights += 2 * taps * filters >> 2;
  }
}

static inline void tb_affine_fours(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *weights,
                                   const int32_t *bias, const tb_scaling *r)
{
  tb_two_by_two(tb_filters_fours, in, out, w, weights, bias, r);
}

#endif
