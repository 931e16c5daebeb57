/* SPDX-License-Identifier: Apache-2.0
 * From sums to outputs: read by tb_kernels.h, whose types it uses.
 */
#ifndef TB_REQUANTISE_H
#define TB_REQUANTISE_H

/* What follows shifts negative numbers to the right, and takes no branch on data: the same instructions
 * every time. */
typedef char tb_shifts_keep_the_sign[((-1 >> 1) == -1) ? 1 : -1];

/* The larger and the smaller of two numbers less than 2^31 apart. */
static inline int32_t tb_max(int32_t a, int32_t b)
{
  const int32_t more = a - b;
  return b + (more & ~(more >> 31));
}

static inline int32_t tb_min(int32_t a, int32_t b)
{
  const int32_t more = a - b;
  return b + (more & (more >> 31));
}

/* Round half to even of v / 2^s, 0 <= s <= 62, |v| < 2^62. */
static inline int64_t tb_half_even(int64_t v, uint8_t s)
{
  const int64_t half = ((int64_t)1 << s) >> 1, some = (s != 0u);
  return (v + half - some + ((v >> s) & some)) >> s;
}

#ifdef TB_ROUNDINGS
/* v / 2^s rounded half up; or, of an average, half away from zero; or, of a mean, half to even after a
 * first rounding to 15 bits of a fraction, which makes its halves exact; or twice, by 31 bits half up and by the
 * rest half away from zero: one shift does it, because the first rounding moves the second one's tie by
 * half of its unit, towards zero. */
static inline int64_t tb_otherwise(int64_t v, uint8_t s, int32_t roundings)
{
  const int64_t half = ((int64_t)1 << s) >> 1;
  if (roundings == 4) {
    return tb_half_even((v + (half >> 15)) >> (s - 15u), 15u);
  }
  const int64_t carry = ((roundings == 2) && (s > 31u)) ? (int64_t)1 << 30 : 0;
  const int64_t down = ((roundings == 3) && (s != 0u)) ? (v >> 63) : 0;
  const int64_t sign = (v + carry) >> 63;
  return (v + half + down + ((carry ^ sign) - sign)) >> s;
}
#endif

#ifdef __AVR__
/* Its library branches on signs, and on carries of longer products; this takes always the same time. */
static inline int64_t tb_product(int32_t a, int32_t b)
{
  const uint16_t a0 = (uint16_t)a, a1 = (uint16_t)((uint32_t)a >> 16);
  const uint16_t b0 = (uint16_t)b, b1 = (uint16_t)((uint32_t)b >> 16);
  const uint32_t low = (uint32_t)a0 * b0, mid = (uint32_t)a1 * b0 + (low >> 16);
  const uint32_t more = (uint32_t)a0 * b1 + (uint16_t)mid;
  const uint32_t signs = (uint32_t)(b & (a >> 31)) + (uint32_t)(a & (b >> 31));
  const uint32_t high = (uint32_t)a1 * b1 + (mid >> 16) + (more >> 16) - signs;
  return (int64_t)(((uint64_t)high << 32) | (more << 16) | (uint16_t)low);
}
#else
static inline int64_t tb_product(int32_t a, int32_t b)
{
#ifdef TB_THUMB1 /* the library's 64-bit product branches on carries */
  const int32_t a0 = a & 0xffff, a1 = a >> 16, b0 = b & 0xffff, b1 = b >> 16;
  const int32_t mid = a1 * b0 + (int32_t)(((uint32_t)a0 * (uint32_t)b0) >> 16);
  const int32_t high = a1 * b1 + (mid >> 16) + ((a0 * b1 + (mid & 0xffff)) >> 16);
  return (int64_t)high * ((int64_t)1 << 32) + (uint32_t)a * (uint32_t)b;
#else
  return (int64_t)a * b;
#endif
}
#endif

/* The upper 32 bits of a product: |a| up to 2^29, 0 <= b < 2^30, so that the middle of it fits 32 bits. */
static inline int32_t tb_high(int32_t a, int32_t b)
{
#ifdef TB_THUMB1
  const int32_t a0 = a & 0xffff, a1 = a >> 16, b0 = b & 0xffff, b1 = b >> 16;
  const int32_t mid = a1 * b0 + (int32_t)(((uint32_t)a0 * (uint32_t)b0) >> 16) + a0 * b1;
  return a1 * b1 + (mid >> 16);
#else
  return (int32_t)(tb_product(a, b) >> 32);
#endif
}

#ifdef TB_THUMB1
#include "tb_direct_thumb1.h"
#endif

/* The output for a sum, when r->direct. */
static inline int8_t tb_direct(int32_t acc, const tb_scaling *r, int32_t at)
{
  const int32_t bits = *r->shift - 32;
  const int32_t q = (tb_high(acc, r->multiplier[at]) + ((int32_t)1 << (bits - 1))) >> bits;
  return (int8_t)tb_min(tb_max(q + r->zero, r->lo), r->hi);
}

/* The output for v = acc * m, |v| < 2^62. */
static inline int8_t tb_round(int64_t v, const tb_scaling *r, int32_t at)
{
#ifdef TB_ROUNDINGS
  const int64_t rounded = r->roundings ? tb_otherwise(v, r->shift[at], r->roundings)
                                       : tb_half_even(v, r->shift[at]);
#else
  const int64_t rounded = tb_half_even(v, r->shift[at]);
#endif
  int64_t more = rounded + (r->zero - r->lo);
  more &= ~(more >> 63);
  int64_t less = (r->hi - r->lo) - more;
  less &= ~(less >> 63);
  return (int8_t)(r->hi - (int32_t)less);
}

static inline int8_t tb_requantise(int32_t acc, const tb_scaling *r, int32_t channel)
{
  const int32_t at = r->step ? channel : 0;
#ifdef TB_SHIFTS_ONLY /* every multiplier of the network is 1: not even code for a multiplication is left */
  return tb_round(acc, r, at);
#else
  if (r->direct) {
    return tb_direct(acc, r, at);
  }
  return tb_round(r->multiplier ? tb_product(acc, r->multiplier[at]) : acc, r, at);
#endif
}

#endif
