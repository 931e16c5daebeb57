/* SPDX-License-Identifier: Apache-2.0
 * Kernels without windows: element by element, moves, softmax. Read by tb_kernels.h, whose types they use.
 */
#ifndef TB_ELEMENTS_H
#define TB_ELEMENTS_H

/* Element-wise kernels. `channels` is the innermost extent, `count` the number of elements. */
TB_INLINE void tb_rescale(const int8_t *in, int8_t *out, int32_t count, int32_t channels, int32_t zero,
                              const tb_scaling *r)
{
  int32_t c = 0;
  for (int32_t i = 0; i < count; i++) {
    out[i] = tb_requantise(in[i] - zero, r, c);
    c = (c + 1 == channels) ? 0 : c + 1;
  }
}

TB_INLINE void tb_add(const int8_t *a, const int8_t *b, int8_t *out, int32_t count, int32_t ma,
                          int32_t mb, int32_t za, int32_t zb, const tb_scaling *r)
{
  for (int32_t i = 0; i < count; i++) {
    out[i] = tb_round(tb_product(a[i] - za, ma) + tb_product(b[i] - zb, mb), r, 0);
  }
}

TB_INLINE void tb_mul(const int8_t *a, const int8_t *b, int8_t *out, int32_t count, int32_t za, int32_t zb,
                          const tb_scaling *r)
{
  for (int32_t i = 0; i < count; i++) {
    out[i] = tb_requantise((a[i] - za) * (b[i] - zb), r, 0);
  }
}

/* Dot products of the rows of a and b, group by group. Of b the zero point is taken off beforehand, for a
 * whole row of a: zb times the sum of that. */
TB_KERNEL void tb_mat_mul(const int8_t *a, const int8_t *b, int8_t *out, int32_t groups, int32_t rows,
                          int32_t columns, int32_t depth, int32_t za, int32_t zb, const tb_scaling *r)
{
  for (int32_t group = 0; group < groups; group++, b += columns * depth) {
    for (int32_t row = 0; row < rows; row++, a += depth) {
      int32_t less = 0;
      for (int32_t k = 0; k < depth; k++) {
        less += a[k] - za;
      }
      less *= zb;
      const int8_t *factor = b;
      for (int32_t column = 0; column < columns; column++, factor += depth) {
        int32_t acc = -less;
        for (int32_t k = 0; k < depth; k++) {
          acc += TB_TIMES(a[k] - za, factor[k]);
        }
        *out++ = tb_requantise(acc, r, 0);
      }
    }
  }
}

TB_INLINE void tb_table(const int8_t *in, int8_t *out, int32_t count, const int8_t *entries)
{
  for (int32_t i = 0; i < count; i++) {
    out[i] = entries[in[i] + 128];
  }
}

/* Positions in 16 bits, or in 32 for maps of more than 65,535 elements; the largest one reads `pad`. */
#define TB_REORDER(bits)                                                                             \
  TB_INLINE void tb_reorder##bits(const int8_t *in, int8_t *out, int32_t count,                  \
                                      const uint##bits##_t *from, int8_t pad)                        \
  {                                                                                                  \
    for (int32_t i = 0; i < count; i++) {                                                            \
      out[i] = (from[i] == UINT##bits##_MAX) ? pad : in[from[i]];                                    \
    }                                                                                                \
  }

TB_REORDER(16)
TB_REORDER(32)

/* The same with positions rows[i] + columns[j] + lanes[k], where lanes follow the columns; -1 reads `pad`. */
TB_INLINE void tb_take(const int8_t *in, int8_t *out, const int32_t *rows, const int32_t *columns,
                           int32_t height, int32_t width, int32_t depth, int8_t pad)
{
  const int32_t *lanes = columns + width;
  int whole = 1; /* no lane reads `pad` */
  for (int32_t k = 0; k < depth; k++) {
    whole = whole && (lanes[k] >= 0);
  }
  for (int32_t i = 0; i < height; i++) {
    const int32_t row = rows[i]; /* read once: what is written might be the table, for all that C knows */
    for (int32_t j = 0; j < width; j++) {
      const int32_t column = columns[j];
      const int inside = (row >= 0) && (column >= 0);
      const int8_t *from = in + (inside ? row + column : 0);
      if (inside && whole) {
        for (int32_t k = 0; k < depth; k++) {
          *out++ = from[lanes[k]];
        }
      } else {
        for (int32_t k = 0; k < depth; k++) {
          *out++ = (inside && (lanes[k] >= 0)) ? from[lanes[k]] : pad;
        }
      }
    }
  }
}

/* One operand of a concatenation: `count` times `chunk` elements, the next ones `stride` further on. */
TB_INLINE void tb_concat(const int8_t *in, int8_t *out, int32_t count, int32_t chunk, int32_t stride)
{
  for (int32_t i = 0; i < count; i++) {
    for (int32_t k = 0; k < chunk; k++) {
      out[k] = *in++;
    }
    out += stride;
  }
}

/* p = min(rhe(2^bits * e / d) + zero, hi) with e = table[max - q], and d the sum of e, larger by extra / 2^24. */
TB_INLINE void tb_softmax(const int8_t *in, int8_t *out, int32_t rows, int32_t count, const uint16_t *table,
                          int32_t bits, int32_t extra, int32_t zero, int32_t hi)
{
  for (int32_t row = 0; row < rows; row++, in += count, out += count) {
    int32_t top = INT8_MIN;
    int32_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
      top = tb_max(in[i], top);
    }
    for (int32_t i = 0; i < count; i++) {
      sum += table[top - in[i]];
    }
    sum += (int32_t)(((int64_t)extra * sum + ((int32_t)1 << 23)) >> 24);
    for (int32_t i = 0; i < count; i++) {
      /* 2^bits e / sum, bit by bit: not every core divides, and none in the same time every time. */
      int32_t rest = table[top - in[i]], q = 0;
      for (int32_t bit = 0; bit <= bits; bit++) {
        const int32_t less = rest - sum, taken = ~(less >> 31);
        rest = (rest - (sum & taken)) << 1;
        q = 2 * q - taken;
      }
      q += ((sum - rest - (q & 1)) >> 31) & 1;
      out[i] = (int8_t)tb_min(q + zero, hi);
    }
  }
}

/* Place of the largest of `count` elements, for each row; of equal ones the first, or the last if `last`. */
TB_INLINE void tb_argmax(const int8_t *in, int8_t *out, int32_t rows, int32_t count, int32_t last,
                         int32_t offset)
{
  for (int32_t row = 0; row < rows; row++, in += count) {
    int32_t best = 0, top = in[0];
    for (int32_t i = 1; i < count; i++) {
      const int32_t taken = ~((in[i] - top - 1 + last) >> 31); /* no branch on data */
      best ^= (best ^ i) & taken;
      top ^= (top ^ in[i]) & taken;
    }
    out[row] = (int8_t)(best + offset);
  }
}

#endif
