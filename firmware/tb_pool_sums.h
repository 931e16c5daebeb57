/* SPDX-License-Identifier: Apache-2.0
 * Sums of products out of the ring of tb_pool.h: four filters at two outputs, or at one.
 *
 * An index byte is twice the number of a vector, and 128 more for every other vector of a piece: products of
 * both follow each other, so the address moves once per two.
 */
#ifndef TB_POOL_SUMS_H
#define TB_POOL_SUMS_H

/* What a window reads of the ring: `count` pieces of `length` vectors at one output, `second` bytes
 * further on at the next. Sums are shifted by `shift`, for the activation bits that were dropped. */
typedef struct {
  int32_t count, length, second, shift;
  const uint8_t *piece[TB_PIECES];
} tb_pieces;

/* The sums of pieces in straight-line code. */
typedef void tb_straight_sums(const tb_pieces *pieces, int32_t at, int32_t *sums);

/* Functions of assembly alone: eight sums, three addresses and a counter leave no register to a compiler. */
#define TB_SUMS_NAMED(name, code)                                                                    \
  static __attribute__((naked, noinline, unused)) const uint8_t *name(                               \
    const tb_pieces *p __attribute__((unused)), const uint8_t *index __attribute__((unused)),        \
    int32_t fours __attribute__((unused)), int32_t *sums __attribute__((unused)))                    \
  {                                                                                                  \
    __asm__(TB_SUMS_BEGIN code TB_SUMS_END);                                                         \
  }

#if defined TB_THUMB1
#include "tb_pool_thumb1.h"
#elif defined TB_THUMB2
/* r0: address of a vector's products, r2: the same at the second output, r1: indices, lr: counts vectors.
 * On the stack: the piece after this one, end of the pieces, `second`, `length`, first piece, `shift`,
 * fours, sums. */
#define TB_SUMS_BEGIN                                                                                \
  "push {r2-r11, lr}\n\t"                                                                            \
  "sub sp, #24\n\t"                                                                                  \
  "ldm r0!, {r4-r7}\n\t"                                                                             \
  "add r4, r0, r4, lsl #2\n\t"                                                                       \
  "str r4, [sp, #4]\n\t"                                                                             \
  "strd r6, r5, [sp, #8]\n\t"                                                                        \
  "strd r0, r7, [sp, #16]\n"                                                                         \
  "1:\n\t"                                                                                           \
  "ldr r12, [sp, #16]\n\t"

#define TB_SUMS_PIECE(both, one)                                                                     \
  "2:\n\t"                                                                                           \
  "ldr r0, [r12], #4\n\t"                                                                            \
  "str r12, [sp]\n\t"                                                                                \
  "ldrd r2, lr, [sp, #8]\n\t"                                                                        \
  "add r2, r2, r0\n\t"                                                                               \
  "lsrs lr, lr, #1\n\t"                                                                              \
  "beq 4f\n"                                                                                         \
  "3:\n\t" both                                                                                      \
  "subs lr, lr, #1\n\t"                                                                              \
  "bne 3b\n"                                                                                         \
  "4:\n\t"                                                                                           \
  "ldr r3, [sp, #12]\n\t"                                                                            \
  "lsls r3, r3, #31\n\t"                                                                             \
  "beq 5f\n\t" one                                                                                   \
  "5:\n\t"                                                                                           \
  "ldrd r12, r3, [sp]\n\t"                                                                           \
  "cmp r12, r3\n\t"                                                                                  \
  "bne 2b\n\t"                                                                                       \
  "ldr r3, [sp, #20]\n\t"                                                                            \
  "ldrd r2, r0, [sp, #24]\n\t"

#define TB_SUMS_END                                                                                  \
  "subs r2, r2, #1\n\t"                                                                              \
  "strd r2, r0, [sp, #24]\n\t"                                                                       \
  "bne 1b\n\t"                                                                                       \
  "mov r0, r1\n\t"                                                                                   \
  "add sp, #32\n\t"                                                                                  \
  "pop {r4-r11, pc}"

#define TB_TAKE_TWO(load, at, x, y)                                                                  \
  "ldrb r3, [r1], #1\n\t" load " r12, [r0, r3" at "]\n\t" load " r3, [r2, r3" at "]\n\t"             \
  "add " x ", " x ", r12\n\t"                                                                        \
  "add " y ", " y ", r3\n\t"
#define TB_FILTERS_TWO(load, at)                                                                     \
  TB_TAKE_TWO(load, at, "r4", "r5") TB_TAKE_TWO(load, at, "r6", "r7")                                \
  TB_TAKE_TWO(load, at, "r8", "r9") TB_TAKE_TWO(load, at, "r10", "r11")
#define TB_TAKE_ONE(load, at, x)                                                                     \
  "ldrb r3, [r1], #1\n\t" load " r3, [r0, r3" at "]\n\tadd " x ", " x ", r3\n\t"
#define TB_FILTERS_ONE(load, at)                                                                     \
  TB_TAKE_ONE(load, at, "r4") TB_TAKE_ONE(load, at, "r5")                                            \
  TB_TAKE_ONE(load, at, "r6") TB_TAKE_ONE(load, at, "r7")
#define TB_SUMS_NARROW "#256"
#define TB_SUMS_WIDE "#512"
#define TB_NONE(x) "mov " x ", #0\n\t"
#define TB_SHIFT(x) "lsl " x ", " x ", r3\n\t"

#define TB_SUMS_TWO(name, entry, scale, load, at, width)                                              \
  TB_SUMS_NAMED(name, TB_NONE("r4") TB_NONE("r5") TB_NONE("r6") TB_NONE("r7")                        \
                TB_NONE("r8") TB_NONE("r9") TB_NONE("r10") TB_NONE("r11")                            \
                TB_SUMS_PIECE(TB_FILTERS_TWO(load, at) TB_FILTERS_TWO(load, at)                      \
                              "add r0, r0, " TB_SUMS_##width "\n\tadd r2, r2, " TB_SUMS_##width "\n\t",    \
                              TB_FILTERS_TWO(load, at))                                              \
                TB_SHIFT("r4") TB_SHIFT("r5") TB_SHIFT("r6") TB_SHIFT("r7")                          \
                TB_SHIFT("r8") TB_SHIFT("r9") TB_SHIFT("r10") TB_SHIFT("r11")                        \
                "stm r0!, {r4-r11}\n\t")
#define TB_SUMS_ONE(name, entry, scale, load, at, width)                                              \
  TB_SUMS_NAMED(name, TB_NONE("r4") TB_NONE("r5") TB_NONE("r6") TB_NONE("r7")                        \
                TB_SUMS_PIECE(TB_FILTERS_ONE(load, at) TB_FILTERS_ONE(load, at)                      \
                              "add r0, r0, " TB_SUMS_##width "\n\t", TB_FILTERS_ONE(load, at))       \
                TB_SHIFT("r4") TB_SHIFT("r5") TB_SHIFT("r6") TB_SHIFT("r7")                          \
                "stm r0!, {r4-r7}\n\t")

#else

#define TB_PRODUCT(entry, from, scale) (*(const entry *)(const void *)((from) + *index * (scale)))
#define TB_TAKE_TWO(entry, scale, x, y)                                                              \
  x += TB_PRODUCT(entry, d, scale);                                                                  \
  y += TB_PRODUCT(entry, e, scale);                                                                  \
  index++;
#define TB_SUMS_TWO(name, entry, scale, load, at, width)                                              \
  static TB_APART const uint8_t *name(const tb_pieces *p, const uint8_t *index, int32_t fours,         \
                                      int32_t *sums)                                                 \
  {                                                                                                  \
    for (int32_t i = 0; i < 2 * fours; i++) {                                                        \
      const uint8_t *start = index;                                                                  \
      uint32_t a0 = 0, a1 = 0, b0 = 0, b1 = 0;                                                       \
      for (int32_t k = 0; k < p->count; k++) {                                                       \
        const uint8_t *d = p->piece[k], *e = d + p->second;                                          \
        for (int32_t n = 0; n < p->length; n++) {                                                    \
          TB_TAKE_TWO(entry, scale, a0, b0)                                                          \
          TB_TAKE_TWO(entry, scale, a1, b1)                                                          \
          index += 2;                                                                                \
          d += (n & 1) * 256 * scale;                                                                \
          e += (n & 1) * 256 * scale;                                                                \
        }                                                                                            \
      }                                                                                              \
      index = (i & 1) ? index - 2 : start + 2;                                                       \
      *sums++ = (int32_t)(a0 << p->shift);                                                           \
      *sums++ = (int32_t)(b0 << p->shift);                                                           \
      *sums++ = (int32_t)(a1 << p->shift);                                                           \
      *sums++ = (int32_t)(b1 << p->shift);                                                           \
    }                                                                                                \
    return index;                                                                                    \
  }
#define TB_SUMS_ONE(name, entry, scale, load, at, width)                                              \
  static TB_APART const uint8_t *name(const tb_pieces *p, const uint8_t *index, int32_t fours,         \
                                      int32_t *sums)                                                 \
  {                                                                                                  \
    for (const int32_t *end = sums + 4 * fours; sums < end; sums += 4) {                             \
      uint32_t a0 = 0, a1 = 0, a2 = 0, a3 = 0;                                                       \
      for (int32_t k = 0; k < p->count; k++) {                                                       \
        const uint8_t *d = p->piece[k];                                                              \
        for (int32_t n = 0; n < p->length; n++) {                                                    \
          a0 += TB_PRODUCT(entry, d, scale); index++;                                                \
          a1 += TB_PRODUCT(entry, d, scale); index++;                                                \
          a2 += TB_PRODUCT(entry, d, scale); index++;                                                \
          a3 += TB_PRODUCT(entry, d, scale); index++;                                                \
          d += (n & 1) * 256 * scale;                                                                \
        }                                                                                            \
      }                                                                                              \
      sums[0] = (int32_t)(a0 << p->shift);                                                           \
      sums[1] = (int32_t)(a1 << p->shift);                                                           \
      sums[2] = (int32_t)(a2 << p->shift);                                                           \
      sums[3] = (int32_t)(a3 << p->shift);                                                           \
    }                                                                                                \
    return index;                                                                                    \
  }
#endif

TB_SUMS_TWO(tb_sums_two, tb_lane, 1u, "ldrh", "", NARROW)
TB_SUMS_ONE(tb_sums_one, tb_lane, 1u, "ldrh", "", NARROW)
TB_SUMS_TWO(tb_sums_two_wide, uint32_t, 2u, "ldr", ", lsl #1", WIDE)
TB_SUMS_ONE(tb_sums_one_wide, uint32_t, 2u, "ldr", ", lsl #1", WIDE)

static inline const uint8_t *tb_sums(const tb_pieces *p, const uint8_t *index, int32_t fours, int32_t *sums,
                                     int two, int wide)
{
  if (wide) {
    return two ? tb_sums_two_wide(p, index, fours, sums) : tb_sums_one_wide(p, index, fours, sums);
  }
  return two ? tb_sums_two(p, index, fours, sums) : tb_sums_one(p, index, fours, sums);
}

#endif
