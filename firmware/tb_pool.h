/* SPDX-License-Identifier: Apache-2.0
 * Weight pools whose dot products are computed once per input position.
 *
 * The product of a pool vector with eight activations depends on neither filter nor tap. So a ring keeps, for
 * the input rows that a window reaches over, the products of all 64 vectors with every eight channels, and a
 * weight costs one look-up and one addition per eight multiplications. They take 16 bits while the compiler's
 * bound says that they fit (always up to 6 activation bits), else 32.
 */
#ifndef TB_POOL_H
#define TB_POOL_H

#ifdef TB_DSP
#include "tb_dsp.h"
#endif
#include "tb_pool_dots.h"
#include "tb_pool_sums.h"

/* A layer's ring. Rows and positions that no tap reads, between strides, are not in it. */
typedef struct {
  int32_t rows, columns;                 /* rows that are kept, and positions in each, padding among them */
  int32_t groups;                        /* vectors of eight channels at a position */
  int32_t down, right;                   /* pixels from one row, or position, to the next */
  int32_t next_row, next;                /* rows, or positions, from one output to the next */
  int32_t tap_row, pieces, piece;        /* rows from tap to tap; pieces of a tap row, positions between */
  int32_t length;                        /* vectors of a piece */
  int32_t narrow;                        /* most activation bits whose products fit 16 bits */
} tb_ring;

/* One row of the ring from the input row at `from` (its first position that is read); NULL: all padding. */
static inline void tb_ring_row(uint8_t *row, const int8_t *from, const tb_window *w, const tb_ring *r,
                               const tb_dots *dots)
{
  const int32_t step = r->right * w->depth;
  int32_t x = w->left, count = 1;
  for (int32_t c = 0; c < r->columns; c += count) {
    const int32_t left = r->columns - c, inside = w->width - x;
    count = 1;
    if (from && (x >= 0) && (inside > 0)) {
      count = (r->right > 1) ? 1 : (left < inside) ? left : inside;
      tb_dots_of(dots, from, count * r->groups, row);
      row += count * r->groups * dots->bytes;
    } else {
      for (int32_t g = 0; g < r->groups; g++) {
        tb_dots_copy(dots, row);
        row += dots->bytes;
      }
    }
    x += count * r->right;
    from += from ? count * step : 0;
  }
}

/* The bias at this number of bits: products from the table are too large by what `less` says. */
static inline void tb_ring_bias(int32_t *to, const int32_t *bias, const int32_t *less, int32_t count,
                                const tb_dots *dots)
{
  for (int32_t o = 0; o < count; o++) {
    const uint32_t more = dots->exact ? 0u : (uint32_t)less[o];
    to[o] = (int32_t)((uint32_t)bias[o] - (more << 8) + (more << dots->shift));
  }
}

static inline void tb_ring_finish(const int32_t *sums, int8_t *out, int8_t *second, const int32_t *bias,
                                  const tb_scaling *scaling, int32_t channel, int32_t count)
{
#ifdef TB_DSP
  tb_finish(sums, out, second, bias, scaling, channel, count);
#else
#ifdef TB_THUMB1
  if (scaling->direct && scaling->step) {
    tb_direct_row(sums, second ? 8 : 4, bias, scaling, channel, out, count);
    if (second) {
      tb_direct_row(sums + 1, 8, bias, scaling, channel, second, count);
    }
    return;
  }
#endif
  for (int32_t i = 0; i < count; i++) {
    out[i] = tb_requantise((int32_t)((uint32_t)bias[i] + (uint32_t)*sums++), scaling, channel + i);
    if (second) {
      second[i] = tb_requantise((int32_t)((uint32_t)bias[i] + (uint32_t)*sums++), scaling, channel + i);
    }
  }
#endif
}

/* `straight`: the sums of all filters at one output by code of their own, or NULL. */
static TB_APART void tb_ring_run(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *indices,
                               const int32_t *bias, const tb_scaling *scaling, const int32_t *less,
                               const uint16_t *table, uint8_t *scratch, int32_t bits, const tb_ring *r,
                               const int16_t *vectors, tb_straight_sums *straight)
{
  tb_pieces p;
  tb_dots dots;
  int32_t sums[TB_SUMS];
  int32_t *const start = (int32_t *)(void *)scratch;
  uint8_t *const pads = (uint8_t *)(start + w->outputs);
  const int8_t pad[8] = {w->pad, w->pad, w->pad, w->pad, w->pad, w->pad, w->pad, w->pad};
  tb_dots_begin(&dots, table, vectors, bits, bits > r->narrow);
  tb_ring_bias(start, bias, less, w->outputs, &dots);
  tb_dots_of(&dots, pad, 1, pads);
  dots.pads = pads;
  uint8_t *const ring = pads + dots.bytes;
  const int32_t position = r->groups * dots.bytes, line = r->columns * position, size = r->rows * line;
  const int32_t next = r->next * position;
  int32_t made = 0, first = 0, y = w->top, slot = 0, from = w->first;
  p.length = r->length;
  p.shift = dots.shift;
  p.second = next;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    const int32_t end = first + (w->kernel_height - 1) * r->tap_row + 1;
    for (; made < end; made++) {
      if (made >= first) {
        tb_ring_row(ring + slot, ((y >= 0) && (y < w->height)) ? in + from : NULL, w, r, &dots);
      }
      slot += line;
      slot -= (slot == size) ? size : 0;
      y += r->down;
      from += r->down * w->width * w->depth;
    }
    /* `slot` follows the last row; the first row of the window is so many rows before it. */
    int32_t at = slot - (end - first) * line;
    at += (at < 0) ? size : 0;
    p.count = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
      for (int32_t k = 0; k < r->pieces; k++) {
        p.piece[p.count++] = ring + at + k * r->piece * position;
      }
      at += r->tap_row * line;
      at -= (at >= size) ? size : 0;
    }
    first += r->next_row;
    for (int32_t ox = 0; straight && !dots.wide && (ox < w->out_width); ox++) {
      straight(&p, ox * next, sums);
      tb_ring_finish(sums, out, NULL, start, scaling, 0, w->outputs);
      out += w->outputs;
    }
    for (int32_t ox = (straight && !dots.wide) ? w->out_width : 0; ox < w->out_width; ox += 2) {
      const int two = ox + 1 < w->out_width;
      const uint8_t *index = indices;
      for (int32_t o = 0; o < w->outputs; o += TB_BLOCK) {
        const int32_t left = w->outputs - o, count = (left < TB_BLOCK) ? left : TB_BLOCK;
        index = tb_sums(&p, index, (count + 3) >> 2, sums, two, dots.wide);
        tb_ring_finish(sums, out + o, two ? out + w->outputs + o : NULL, start + o, scaling, o, count);
      }
      for (int32_t k = 0; k < p.count; k++) {
        p.piece[k] += 2 * next;
      }
      out += two ? 2 * w->outputs : w->outputs;
    }
  }
}

static inline void tb_affine_ring(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *indices,
                                  const int32_t *bias, const tb_scaling *scaling, const int32_t *less,
                                  const uint16_t *table, uint8_t *scratch, int32_t bits, const tb_ring *r,
                                  const int16_t *vectors)
{
  tb_ring_run(in, out, w, indices, bias, scaling, less, table, scratch, bits, r, vectors, NULL);
}

/* The same, with the indices in code up to the number of bits whose products fit 16 bits. */
static inline void tb_affine_baked(const int8_t *in, int8_t *out, const tb_window *w, const uint8_t *indices,
                                   const int32_t *bias, const tb_scaling *scaling, const int32_t *less,
                                   const uint16_t *table, uint8_t *scratch, int32_t bits, const tb_ring *r,
                                   const int16_t *vectors, tb_straight_sums *straight)
{
  tb_ring_run(in, out, w, indices, bias, scaling, less, table, scratch, bits, r, vectors, straight);
}

#endif
