/* SPDX-License-Identifier: Apache-2.0
 * Products in layers of 16 bits.
 */
#ifndef TB_PRODUCTS_16_H
#define TB_PRODUCTS_16_H

/* The upper 32 bits. */
static inline int32_t tb_upper(int32_t a, int32_t b)
{
#ifdef TB_THUMB1
  const int32_t a0 = a & 0xffff, a1 = a >> 16, b0 = b & 0xffff, b1 = b >> 16;
  const int32_t mid = a1 * b0 + (int32_t)(((uint32_t)a0 * (uint32_t)b0) >> 16);
  return a1 * b1 + (mid >> 16) + ((a0 * b1 + (mid & 0xffff)) >> 16);
#else
  return (int32_t)(tb_product(a, b) >> 32);
#endif
}

/* Of a weight and an activation, of a difference of 17 bits and an activation, and of a sum and its multiplier:
 * an AVR's library branches on data. */
#ifdef __AVR__
#define TB_TIMES_16(weight, x) tb_times((int8_t)(weight), (int16_t)(x))
static inline int32_t tb_times(int8_t weight, int16_t x)
{
  const int16_t high = (int8_t)(x >> 8) * weight, low = (uint8_t)x * weight;
  return (int32_t)((uint32_t)(int32_t)high << 8) + low;
}

static inline int32_t tb_times_long(int16_t weight, int32_t of_16_bits)
{
  const int16_t x = (int16_t)of_16_bits;
  const uint16_t signs = (uint16_t)(weight & (x >> 15)) + (uint16_t)(x & (weight >> 15));
  return (int32_t)((uint32_t)(uint16_t)weight * (uint16_t)x - ((uint32_t)signs << 16));
}

static inline int32_t tb_times_difference(int32_t a, int16_t b)
{
  const uint16_t a0 = (uint16_t)a, a1 = (uint16_t)((uint32_t)a >> 16), b0 = (uint16_t)b;
  const uint16_t more = (uint16_t)(a1 * b0) - (uint16_t)(a0 & (uint16_t)(b >> 15));
  return (int32_t)((uint32_t)a0 * b0 + ((uint32_t)more << 16));
}

static inline int64_t tb_long_product(int64_t acc, int32_t multiplier)
{
  const int32_t low = (int32_t)acc;
  const uint32_t more = (uint32_t)(acc >> 32) * (uint32_t)multiplier + (uint32_t)(multiplier & (low >> 31));
  return tb_product(low, multiplier) + (int64_t)((uint64_t)more << 32);
}
#else
#define TB_TIMES_16(weight, x) ((weight) * (x))

static inline int32_t tb_times_long(int32_t weight, int32_t x)
{
  return weight * x;
}

static inline int32_t tb_times_difference(int32_t a, int32_t b)
{
  return a * b;
}

static inline int64_t tb_long_product(int64_t acc, int32_t multiplier)
{
  return acc * multiplier;
}
#endif

/* One weight times one activation of 16 bits, by weight code. */
static inline int32_t tb_term_16_int8(const uint8_t *row, int32_t k, int32_t x)
{
  return TB_TIMES_16(tb_weight_int8(row, k), x);
}

static inline int32_t tb_term_16_int16(const uint8_t *row, int32_t k, int32_t x)
{
  const uint16_t word = (uint16_t)(row[2 * k] | ((uint16_t)row[2 * k + 1] << 8));
  return tb_times_long((int16_t)word, (int16_t)x);
}

static inline int32_t tb_term_16_int4(const uint8_t *row, int32_t k, int32_t x)
{
  return TB_TIMES_16(tb_weight_int4(row, k), x);
}

#define tb_term_16_pot4 tb_term_pot4

#endif
