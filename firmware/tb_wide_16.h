/* SPDX-License-Identifier: Apache-2.0
 * Depthwise layers of int8 weights on maps of 16 bits: a word of a map is two channels, and cores with the
 * DSP extension multiply either half of it by either half of a word of weights.
 *
 * A record of four channels: their biases; per two taps a word of channels 0 and 1 and one of 2 and 3,
 * whose bytes are (0, first tap), (0, second), (1, first), (1, second), so that SXTB16 makes the weights
 * of one tap; of a last tap that is alone the bytes of channels 0, 2, 1 and 3; their multipliers; their
 * shifts, a byte each. Outputs are those of tb_quads_16.h when r->direct. TB_WIDE_16(taps, bounds) makes
 * the inner function of a layer, with bounds as there.
 */
#ifndef TB_WIDE_16_H
#define TB_WIDE_16_H

#include "tb_bytes.h"
#include "tb_wide_walk.h"

#ifdef TB_WIDE_TAPS
/* `count` positions in one line, whose windows move by `move` bytes less those of all channels; `round` is
 * 2 zero + 1; bytes: of all channels; low and high: bounds twice. */
typedef struct {
  int32_t bytes, round, move, count, bytes_again;
  uint32_t low, high;
} tb_line_16;

typedef void tb_wide_16(const int16_t *const *taps, const int32_t *records, int16_t *out,
                        const tb_line_16 *line);

TB_KERNEL void tb_affine_wide_16(const int16_t *in, int16_t *out, const tb_window *w, const int32_t *records,
                                 int32_t pad, const tb_scaling *r, tb_wide_16 *positions)
{
  const int16_t *taps[TB_WIDE_TAPS];
  TB_WORDS int16_t pads[TB_WIDE_CHANNELS];
  const int32_t tall = (w->kernel_height - 1) * w->dilation_height;
  const int32_t wide = (w->kernel_width - 1) * w->dilation_width, channels = w->groups;
  tb_line_16 line = { 2 * channels, 2 * r->zero + 1, 2 * (w->stride_column - channels), 1, 2 * channels,
                      (uint16_t)r->lo * 0x10001u, (uint16_t)r->hi * 0x10001u };
  for (int32_t c = 0; c < channels; c++) {
    pads[c] = (int16_t)pad;
  }
  TB_WIDE_WALK(int16_t)
}

#ifndef TB_DSP
/* The same in plain C, one channel after the other. */
TB_INLINE void tb_wide_positions_16(const int16_t *const *taps, const int32_t *records, int16_t *out,
                                    const tb_line_16 *line, int32_t count)
{
  const int32_t pairs = count >> 1, lo = (int16_t)line->low, hi = (int16_t)line->high;
  int32_t at = 0;
  for (int32_t n = line->count; n > 0; n--) {
    const int32_t *record = records;
    for (int32_t end = at + (line->bytes >> 1); at < end; at += 4) {
      const int32_t *scale = record + 4 + 2 * pairs + (count & 1);
      for (int32_t i = 0; i < 4; i++) {
        const int32_t c = at + i, bits = tb_byte(scale + 4, i);
        int32_t sum = record[i];
TB_UNROLL(8)
        for (int32_t t = 0; t < pairs; t++) {
          sum += TB_TIMES_16(tb_byte(record + 4, 8 * t + 2 * i), taps[2 * t][c]);
          sum += TB_TIMES_16(tb_byte(record + 4, 8 * t + 2 * i + 1), taps[2 * t + 1][c]);
        }
        if (count & 1) {
          sum += TB_TIMES_16(tb_byte(record + 4 + 2 * pairs, (i >> 1) | ((i & 1) << 1)), taps[count - 1][c]);
        }
        const int32_t high = tb_upper(sum, scale[i]);
        const int32_t round = (int32_t)((uint32_t)line->round << bits);
        *out++ = (int16_t)tb_min(tb_max((high + round) >> bits >> 1, lo), hi);
      }
      record = scale + 5;
    }
    at += line->move / 2;
  }
}

#define TB_WIDE_16(taps, bounds)                                                                     \
  static void tb_wide_16_##taps##_##bounds(const int16_t *const *tap, const int32_t *records,        \
                                           int16_t *out, const tb_line_16 *line)                     \
  {                                                                                                  \
    tb_wide_positions_16(tap, records, out, line, taps);                                             \
  }
#else
#include "tb_dsp_wide_16.h"
#endif
#endif

#endif
