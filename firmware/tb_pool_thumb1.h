/* SPDX-License-Identifier: Apache-2.0
 * The sums of tb_pool_sums.h for cores with eight registers that most instructions reach (Cortex-M0, M0+,
 * M23): sums lie in the others too, where an addition can reach them, and an index end in lr counts.
 */
#ifndef TB_POOL_THUMB1_H
#define TB_POOL_THUMB1_H

/* On the stack: the piece after this one, end of the pieces, `second`, `length` times four, first piece,
 * `shift`, registers of the caller, fours, sums. r0: address of a vector's products, r2: the same at the
 * second output. */
#define TB_SUMS_BEGIN                                                                                \
  ".syntax unified\n\t"                                                                              \
  "push {r2-r7, lr}\n\t"                                                                             \
  "mov r4, r8\n\tmov r5, r9\n\tmov r6, r10\n\tmov r7, r11\n\t"                                       \
  "push {r4-r7}\n\t"                                                                                 \
  "sub sp, #24\n\t"                                                                                  \
  "ldmia r0!, {r4-r7}\n\t"                                                                           \
  "lsls r4, r4, #2\n\t"                                                                              \
  "adds r4, r4, r0\n\t"                                                                              \
  "lsls r5, r5, #2\n\t"                                                                              \
  "str r4, [sp, #4]\n\t"                                                                             \
  "str r6, [sp, #8]\n\t"                                                                             \
  "str r5, [sp, #12]\n\t"                                                                            \
  "str r0, [sp, #16]\n\t"                                                                            \
  "str r7, [sp, #20]\n"                                                                              \
  "1:\n\t"                                                                                           \
  "ldr r3, [sp, #16]\n\t"                                                                            \
  "movs r4, #0\n\tmovs r5, #0\n\tmovs r6, #0\n\tmovs r7, #0\n\t"                                     \
  "mov r8, r5\n\tmov r9, r5\n\tmov r10, r5\n\tmov r11, r5\n\tmov r12, r5\n"

/* `begin`: what else a piece needs; `both`: two vectors and the addresses after them; `one`: a vector. */
#define TB_SUMS_PIECE(begin, both, one)                                                              \
  "2:\n\t"                                                                                           \
  "ldmia r3!, {r0}\n\t"                                                                              \
  "str r3, [sp]\n\t" begin                                                                           \
  "ldr r3, [sp, #12]\n\t"                                                                            \
  "lsrs r3, r3, #3\n\t"                                                                              \
  "lsls r3, r3, #3\n\t"                                                                              \
  "beq 4f\n\t"                                                                                       \
  "adds r3, r3, r1\n\t"                                                                              \
  "mov lr, r3\n"                                                                                     \
  "3:\n\t" both                                                                                      \
  "adds r1, #8\n\t"                                                                                  \
  "cmp r1, lr\n\t"                                                                                   \
  "bne 3b\n"                                                                                         \
  "4:\n\t"                                                                                           \
  "ldr r3, [sp, #12]\n\t"                                                                            \
  "lsls r3, r3, #29\n\t"                                                                             \
  "bpl 5f\n\t" one                                                                                   \
  "adds r1, #4\n"                                                                                    \
  "5:\n\t"                                                                                           \
  "ldr r3, [sp, #4]\n\t"                                                                             \
  "mov lr, r3\n\t"                                                                                   \
  "ldr r3, [sp]\n\t"                                                                                 \
  "cmp r3, lr\n\t"                                                                                   \
  "bne 2b\n\t"                                                                                       \
  "ldr r3, [sp, #20]\n\t"                                                                            \
  "ldr r0, [sp, #44]\n\t"

#define TB_SUMS_END                                                                                  \
  "str r0, [sp, #44]\n\t"                                                                            \
  "ldr r2, [sp, #40]\n\t"                                                                            \
  "subs r2, #1\n\t"                                                                                  \
  "str r2, [sp, #40]\n\t"                                                                            \
  "beq 6f\n\t"                                                                                       \
  "b 1b\n"                                                                                           \
  "6:\n\t"                                                                                           \
  "movs r0, r1\n\t"                                                                                  \
  "add sp, #24\n\t"                                                                                  \
  "pop {r4-r7}\n\t"                                                                                  \
  "mov r8, r4\n\tmov r9, r5\n\tmov r10, r6\n\tmov r11, r7\n\t"                                       \
  "add sp, #8\n\t"                                                                                   \
  "pop {r4-r7, pc}"

/* `scale`: what an index byte still lacks; `next`: adds to an address what two vectors' products take. */
#define TB_TAKE_TWO(at, load, scale, x, y)                                                           \
  "ldrb r3, [r1, #" at "]\n\t" scale load " r4, [r0, r3]\n\t" load " r3, [r2, r3]\n\t"               \
  "add " x ", " x ", r4\n\tadd " y ", " y ", r3\n\t"
#define TB_FILTERS_TWO(a, b, c, d, load, scale)                                                      \
  TB_TAKE_TWO(a, load, scale, "r5", "r6") TB_TAKE_TWO(b, load, scale, "r7", "r8")                    \
  TB_TAKE_TWO(c, load, scale, "r9", "r10") TB_TAKE_TWO(d, load, scale, "r11", "r12")
#define TB_TAKE_ONE(at, load, scale, x)                                                              \
  "ldrb r3, [r1, #" at "]\n\t" scale load " r3, [r0, r3]\n\tadds " x ", " x ", r3\n\t"
#define TB_FILTERS_ONE(a, b, c, d, load, scale)                                                      \
  TB_TAKE_ONE(a, load, scale, "r4") TB_TAKE_ONE(b, load, scale, "r5")                                \
  TB_TAKE_ONE(c, load, scale, "r6") TB_TAKE_ONE(d, load, scale, "r7")
#define TB_SHIFT(x) "lsls " x ", " x ", r3\n\t"

#define TB_SUMS_NARROW_SCALE ""
#define TB_SUMS_NARROW_NEXT(x) "adds " x ", #128\n\tadds " x ", #128\n\t"
#define TB_SUMS_WIDE_SCALE "lsls r3, r3, #1\n\t"
#define TB_SUMS_WIDE_NEXT(x) "movs r3, #2\n\tlsls r3, r3, #8\n\tadds " x ", " x ", r3\n\t"

#define TB_SUMS_TWO(name, entry, factor, load, at, width)                                            \
  TB_SUMS_NAMED(name, TB_SUMS_PIECE("ldr r2, [sp, #8]\n\tadds r2, r2, r0\n\t",                       \
                TB_FILTERS_TWO("0", "1", "2", "3", load, TB_SUMS_##width##_SCALE)                    \
                TB_FILTERS_TWO("4", "5", "6", "7", load, TB_SUMS_##width##_SCALE)                    \
                TB_SUMS_##width##_NEXT("r0") TB_SUMS_##width##_NEXT("r2"),                           \
                TB_FILTERS_TWO("0", "1", "2", "3", load, TB_SUMS_##width##_SCALE))                   \
                TB_SHIFT("r5") TB_SHIFT("r6") TB_SHIFT("r7") "stmia r0!, {r5-r7}\n\t"                \
                "mov r4, r8\n\tmov r5, r9\n\tmov r6, r10\n\tmov r7, r11\n\t"                         \
                TB_SHIFT("r4") TB_SHIFT("r5") TB_SHIFT("r6") TB_SHIFT("r7")                          \
                "stmia r0!, {r4-r7}\n\tmov r4, r12\n\t" TB_SHIFT("r4") "stmia r0!, {r4}\n\t")
#define TB_SUMS_ONE(name, entry, factor, load, at, width)                                            \
  TB_SUMS_NAMED(name, TB_SUMS_PIECE("",                                                              \
                TB_FILTERS_ONE("0", "1", "2", "3", load, TB_SUMS_##width##_SCALE)                    \
                TB_FILTERS_ONE("4", "5", "6", "7", load, TB_SUMS_##width##_SCALE)                    \
                TB_SUMS_##width##_NEXT("r0"),                                                        \
                TB_FILTERS_ONE("0", "1", "2", "3", load, TB_SUMS_##width##_SCALE))                   \
                TB_SHIFT("r4") TB_SHIFT("r5") TB_SHIFT("r6") TB_SHIFT("r7") "stmia r0!, {r4-r7}\n\t")

#endif
