/* SPDX-License-Identifier: Apache-2.0
 * Dot products of the 64 vectors of a weight pool, and sums of them, for tb_pool.h.
 *
 * By table: a byte of bits, one plane of eight activations, selects 64 subset sums, two to a word. Each has
 * been raised by the vector's negative weights, so none is negative, and no lane reaches into the next.
 */
#ifndef TB_POOL_DOTS_H
#define TB_POOL_DOTS_H

#ifdef __GNUC__
typedef uint32_t __attribute__((may_alias)) tb_lanes;   /* memory that is read as words and as half words */
typedef uint16_t __attribute__((may_alias)) tb_lane;
#else
typedef uint32_t tb_lanes;
typedef uint16_t tb_lane;
#endif

#ifndef TB_APART
#ifdef __GNUC__
#define TB_APART __attribute__((noinline, unused))
#else
#define TB_APART
#endif
#endif

#ifndef TB_BLOCK
#define TB_BLOCK 32
#endif

#if defined __GNUC__ && defined __thumb2__ && defined __OPTIMIZE__
#define TB_THUMB2 1
#elif defined __GNUC__ && defined __thumb__ && !defined __thumb2__
#define TB_THUMB1 1
#endif

/* How this call computes products. `exact`: without what the table adds. */
typedef struct {
  const tb_lanes *table;
  const int16_t *vectors;                /* in the order of pairs that UXTB16 gives */
  const uint8_t *pads;                   /* the products of padding */
  int32_t bits, shift, bytes;            /* bytes of the 64 products */
  int wide, exact;
} tb_dots;

static inline void tb_dots_begin(tb_dots *dots, const uint16_t *table, const int16_t *vectors, int32_t bits,
                                 int wide)
{
  dots->table = (const tb_lanes *)(const void *)table;
  dots->vectors = vectors;
  dots->pads = NULL;
  dots->bits = bits;
  dots->shift = 8 - bits;
  dots->wide = wide;
  dots->bytes = wide ? 256 : 128;
#ifdef TB_DSP
  dots->exact = wide;
#else
  dots->exact = 0;
#endif
}

static inline uint32_t tb_pool_four(const int8_t *in)
{
  return (uint32_t)(uint8_t)in[0] | ((uint32_t)(uint8_t)in[1] << 8) | ((uint32_t)(uint8_t)in[2] << 16) |
         ((uint32_t)(uint8_t)in[3] << 24);
}

static inline void tb_dots_copy(const tb_dots *dots, uint8_t *to)
{
  const tb_lanes *const pads = (const tb_lanes *)(const void *)dots->pads;
  tb_lanes *const words = (tb_lanes *)(void *)to;
  for (int32_t i = 0; i < (dots->bytes >> 2); i += 4) {
    words[i] = pads[i];
    words[i + 1] = pads[i + 1];
    words[i + 2] = pads[i + 2];
    words[i + 3] = pads[i + 3];
  }
}

#ifdef TB_THUMB1                         /* addresses with constant offsets: 11 instructions instead of 14 */
#define TB_UNROLLED _Pragma("GCC unroll 32")
#else
#define TB_UNROLLED
#endif

/* Horner's rule over planes, the highest first: the first four or two, or one or two more. */
#ifdef TB_THUMB2
#define TB_FIRST(p) "ldm " p "!, {r4, r5, r6, r8}\n\t"
#define TB_PLANE(p)                                                                                  \
  "ldm " p "!, {r9, r10, r11, r12}\n\t"                                                              \
  "add r4, r9, r4, lsl #1\n\t"                                                                       \
  "add r5, r10, r5, lsl #1\n\t"                                                                      \
  "add r6, r11, r6, lsl #1\n\t"                                                                      \
  "add r8, r12, r8, lsl #1\n\t"
#define TB_STORE "stm %[to]!, {r4, r5, r6, r8}\n\t"
/* Written out, because compilers tell the length of assembly by its lines. */
#define TB_FOUR(code) code code code code
#define TB_SPOILT "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "memory"
#endif

static inline void tb_planes_four(tb_lanes *to, const tb_lanes *a, const tb_lanes *b, const tb_lanes *c,
                                    const tb_lanes *d)
{
#ifdef TB_THUMB2
TB_UNROLL(2)
  for (int32_t half = 0; half < 2; half++) {
    __asm__ volatile(TB_FOUR(TB_FIRST("%[a]") TB_PLANE("%[b]") TB_PLANE("%[c]") TB_PLANE("%[d]") TB_STORE)
                     : [to] "+r"(to), [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d) : : TB_SPOILT);
  }
#else
  TB_UNROLLED
  for (int32_t i = 0; i < 32; i++) {
    to[i] = (((((a[i] << 1) + b[i]) << 1) + c[i]) << 1) + d[i];
  }
#endif
}

static inline void tb_planes_two(tb_lanes *to, const tb_lanes *a, const tb_lanes *b)
{
#ifdef TB_THUMB2
TB_UNROLL(2)
  for (int32_t half = 0; half < 2; half++) {
    __asm__ volatile(TB_FOUR(TB_FIRST("%[a]") TB_PLANE("%[b]") TB_STORE)
                     : [to] "+r"(to), [a] "+r"(a), [b] "+r"(b) : : TB_SPOILT);
  }
#else
  for (int32_t i = 0; i < 32; i++) {
    to[i] = (a[i] << 1) + b[i];
  }
#endif
}

static inline void tb_planes_two_more(tb_lanes *to, const tb_lanes *a, const tb_lanes *b)
{
#ifdef TB_THUMB2
TB_UNROLL(2)
  for (int32_t half = 0; half < 2; half++) {
    __asm__ volatile(TB_FOUR("ldm %[to], {r4, r5, r6, r8}\n\t" TB_PLANE("%[a]") TB_PLANE("%[b]") TB_STORE)
                     : [to] "+r"(to), [a] "+r"(a), [b] "+r"(b) : : TB_SPOILT);
  }
#else
  for (int32_t i = 0; i < 32; i++) {
    to[i] = (((to[i] << 1) + a[i]) << 1) + b[i];
  }
#endif
}

static inline void tb_planes_one_more(tb_lanes *to, const tb_lanes *a)
{
#ifdef TB_THUMB2
TB_UNROLL(2)
  for (int32_t half = 0; half < 2; half++) {
    __asm__ volatile(TB_FOUR("ldm %[to], {r4, r5, r6, r8}\n\t" TB_PLANE("%[a]") TB_STORE)
                     : [to] "+r"(to), [a] "+r"(a) : : TB_SPOILT);
  }
#else
  for (int32_t i = 0; i < 32; i++) {
    to[i] = (to[i] << 1) + a[i];
  }
#endif
}

#ifdef TB_DSP
/* The same by products, exactly, in 32 bits: two vectors at a time. */
static TB_APART void tb_dots_dsp(const int16_t *vectors, uint32_t a, uint32_t b, uint8_t *to)
{
  uint32_t a2, b2;
  __asm__("uxtb16 %0, %2, ror #8\n\tuxtb16 %1, %3, ror #8\n\tuxtb16 %2, %2\n\tuxtb16 %3, %3"
          : "=&r"(a2), "=&r"(b2), "+r"(a), "+r"(b));
  for (int32_t i = 0; i < 8; i++) {
    __asm__ volatile(TB_FOUR("ldm %[v]!, {r4, r5, r6, r8}\n\t"
                             "smuad r9, r4, %[a]\n\t"
                             "smlad r9, r5, %[a2], r9\n\t"
                             "smlad r9, r6, %[b], r9\n\t"
                             "smlad r9, r8, %[b2], r9\n\t"
                             "ldm %[v]!, {r4, r5, r6, r8}\n\t"
                             "smuad r10, r4, %[a]\n\t"
                             "smlad r10, r5, %[a2], r10\n\t"
                             "smlad r10, r6, %[b], r10\n\t"
                             "smlad r10, r8, %[b2], r10\n\t"
                             "strd r9, r10, [%[to]], #8\n\t")
                     : [v] "+r"(vectors), [to] "+r"(to) : [a] "r"(a), [a2] "r"(a2), [b] "r"(b), [b2] "r"(b2)
                     : "r4", "r5", "r6", "r8", "r9", "r10", "memory");
  }
}
#endif

#define TB_ROW(word, byte) (dots->table + ((((word) >> (8 * (byte))) & 255u) << 5))

/* Four planes of eight activations, two nibbles to a byte (activation i and i + 4): byte p has plane p,
 * bit i of it is activation i. */
static inline uint32_t tb_pool_turn(uint32_t nibbles)
{
  uint32_t mask = 0x0000CCCCu;
#ifdef TB_THUMB2
  __asm__("" : "+r"(mask));              /* or two instructions more would make it anew */
#endif
  uint32_t t = (nibbles ^ (nibbles >> 7)) & 0x00AA00AAu;
  nibbles ^= t ^ (t << 7);
  t = (nibbles ^ (nibbles >> 14)) & mask;
  return nibbles ^ t ^ (t << 14);
}

/* One to four planes more, the highest in the upper byte. */
static inline void tb_planes_more(const tb_dots *dots, uint32_t planes, int32_t count, tb_lanes *to)
{
  for (; count >= 2; count -= 2) {
    tb_planes_two_more(to, TB_ROW(planes, 3), TB_ROW(planes, 2));
    planes <<= 16;
  }
  if (count) {
    tb_planes_one_more(to, TB_ROW(planes, 3));
  }
}

/* The upper `count` of four planes (2 and more). */
static inline void tb_planes_of(const tb_dots *dots, uint32_t planes, int32_t count, tb_lanes *to)
{
  if (count >= 4) {
    tb_planes_four(to, TB_ROW(planes, 3), TB_ROW(planes, 2), TB_ROW(planes, 1), TB_ROW(planes, 0));
  } else {
    tb_planes_two(to, TB_ROW(planes, 3), TB_ROW(planes, 2));
    tb_planes_more(dots, planes << 16, count - 2, to);
  }
}

#ifndef TB_DSP
/* The sum of more planes than 16 bits hold, in 32: of the upper four, and of the 3 or 4 others. */
static TB_APART void tb_dots_halves(const tb_dots *dots, uint32_t low, uint32_t high, tb_lanes *to)
{
  tb_lanes upper[32], lower[32];
  const tb_lane *const u = (const tb_lane *)upper, *const l = (const tb_lane *)lower;
  const int32_t rest = dots->bits - 4;
  tb_planes_of(dots, high, 4, upper);
  tb_planes_of(dots, low, rest, lower);
  for (int32_t i = 0; i < 64; i++) {
    to[i] = ((uint32_t)u[i] << rest) + l[i];
  }
}
#endif

/* Four planes of eight activations q + 128, the upper ones, or the lower ones. */
static inline uint32_t tb_pool_upper(const int8_t *from)
{
  const uint32_t nibbles = ((tb_pool_four(from) >> 4) & 0x0F0F0F0Fu) | (tb_pool_four(from + 4) & 0xF0F0F0F0u);
  return tb_pool_turn(nibbles ^ 0x88888888u);
}

static inline uint32_t tb_pool_lower(const int8_t *from)
{
  return tb_pool_turn((tb_pool_four(from) & 0x0F0F0F0Fu) | ((tb_pool_four(from + 4) << 4) & 0xF0F0F0F0u));
}

/* Products with every vector of the activations from `from` to `end`, eight by eight. */
static TB_APART void tb_dots_narrow(const tb_dots *dots, const int8_t *from, const int8_t *end, uint8_t *to)
{
  const int32_t bits = dots->bits;
  for (; from < end; from += 8) {
    tb_planes_of(dots, tb_pool_upper(from), bits, (tb_lanes *)(void *)to);
    if (bits > 4) {
      tb_planes_more(dots, tb_pool_lower(from), bits - 4, (tb_lanes *)(void *)to);
    }
    to += 128;
  }
}

static TB_APART void tb_dots_wide(const tb_dots *dots, const int8_t *from, const int8_t *end, uint8_t *to)
{
  for (; from < end; from += 8) {
#ifdef TB_DSP
    const uint32_t kept = (255u >> dots->shift) * 0x01010101u;
    tb_dots_dsp(dots->vectors, ((tb_pool_four(from) ^ 0x80808080u) >> dots->shift) & kept,
                ((tb_pool_four(from + 4) ^ 0x80808080u) >> dots->shift) & kept, to);
#else
    tb_dots_halves(dots, tb_pool_lower(from), tb_pool_upper(from), (tb_lanes *)(void *)to);
#endif
    to += 256;
  }
}

static inline void tb_dots_of(const tb_dots *dots, const int8_t *from, int32_t count, uint8_t *to)
{
  if (dots->wide) {
    tb_dots_wide(dots, from, from + 8 * count, to);
  } else {
    tb_dots_narrow(dots, from, from + 8 * count, to);
  }
}

#endif
