/* SPDX-License-Identifier: Apache-2.0
 * Depthwise layers of int8 weights that lie so that they widen to two taps of one channel side by side: cores
 * with the DSP extension make two products of a channel per instruction.
 *
 * A record of four channels: their biases; per two taps a word of channels 0 and 1 and one of 2 and 3, in
 * each the bytes of the first tap, then those of the second; of a last tap that is alone the bytes of all
 * four channels; their multipliers. The compiler found one shift for all of them (r->direct). TB_WIDE(taps,
 * bits, clamped) makes the inner function of a layer.
 */
#ifndef TB_WIDE_H
#define TB_WIDE_H

#include "tb_bytes.h"
#include "tb_wide_walk.h"

#ifdef TB_TAPS
/* `count` positions in one line, whose windows move by `move` less the channels from the end of one to the
 * next; `round` is half a unit of the last place and the zero point; low and high hold the bounds four
 * times. */
typedef struct {
  int32_t channels, round, move, count, channels_again;
  uint32_t low, high;
} tb_line;

typedef void tb_wide(const int8_t *const *taps, const int32_t *record, int8_t *out, const tb_line *line);

static inline void tb_affine_wide(const int8_t *in, int8_t *out, const tb_window *w, const int32_t *records,
                                  const tb_scaling *r, tb_wide *positions)
{
  const int8_t *taps[TB_TAPS];
  uint32_t pads[TB_CHANNELS / 4];
  const uint32_t four = 0x01010101u;
  const int32_t channels = w->groups;
  const int32_t tall = (w->kernel_height - 1) * w->dilation_height;
  const int32_t wide = (w->kernel_width - 1) * w->dilation_width;
  const int32_t up = (int32_t)((uint32_t)r->zero << (*r->shift - 32));
  tb_line line = { channels, up + ((int32_t)1 << (*r->shift - 33)),
                   w->stride_column - channels, 1, channels, (uint8_t)r->lo * four, (uint8_t)r->hi * four };
  for (int32_t c = 0; 4 * c < channels; c++) {
    pads[c] = (uint8_t)w->pad * four;
  }
  TB_WIDE_WALK(int8_t)
}

#ifndef TB_DSP
/* The same in plain C, one position after the other. */
TB_INLINE void tb_wide_positions(const int8_t *const *taps, const int32_t *records, int8_t *out,
                                     const tb_line *line, int32_t count, int32_t bits)
{
  const int32_t pairs = count >> 1, round = line->round, lo = (int8_t)line->low, hi = (int8_t)line->high;
  int32_t at = 0;
  for (int32_t n = line->count; n > 0; n--) {
    const int32_t *record = records;
    for (int32_t end = at + line->channels; at < end; at += 4) {
      const int32_t *scale = record + 4 + 2 * pairs + (count & 1);
      for (int32_t i = 0; i < 4; i++) {
        const int32_t c = at + i;
        int32_t sum = record[i];
TB_UNROLL(8)
        for (int32_t t = 0; t < pairs; t++) {
          const int32_t first = 8 * t + 4 * (i >> 1) + (i & 1);
          sum += tb_byte(record + 4, first) * taps[2 * t][c];
          sum += tb_byte(record + 4, first + 2) * taps[2 * t + 1][c];
        }
        if (count & 1) {
          sum += tb_byte(record + 4, 8 * pairs + i) * taps[count - 1][c];
        }
        *out++ = (int8_t)tb_min(tb_max((tb_high(sum, scale[i]) + round) >> bits, lo), hi);
      }
      record = scale + 4;
    }
    at += line->move;
  }
}

#define TB_WIDE(taps, bits, clamped)                                                                  \
  static void tb_wide_##taps##_##bits##_##clamped(const int8_t *const *tap, const int32_t *records,   \
                                                  int8_t *out, const tb_line *line)                   \
  {                                                                                                   \
    tb_wide_positions(tap, records, out, line, taps, bits);                                           \
  }

#else

#define TB_WIDE(taps, bits, clamped)                                                                  \
  static TB_ASSEMBLY void tb_wide_##taps##_##bits##_##clamped(                                        \
      TB_UNUSED const int8_t *const *tap, TB_UNUSED const int32_t *records, TB_UNUSED int8_t *out,    \
      TB_UNUSED const tb_line *line)                                                                  \
  {                                                                                                   \
    __asm__(TB_WIDE_ENTER(taps)                                                                       \
            ".set tb_at, 0\n\t"                                                                       \
            ".rept " #taps " / 2\n\t" TB_PAIR_OF_TAPS ".set tb_at, tb_at + 8\n\t"                         \
            ".endr\n\t"                                                                               \
            ".if " #taps " & 1\n\t" TB_LONE_TAP                                                       \
            ".endif\n\t"                                                                              \
            "ldm r1!, {r4-r7}\n\t"                                                                    \
            "ldr r0, [sp, #(tb_frame + 12)]\n\t"                                                      \
            "smmla r8, r8, r4, r0\n\t"                                                                \
            "smmla r9, r9, r5, r0\n\t"                                                                \
            "smmla r10, r10, r6, r0\n\t"                                                              \
            "smmla r11, r11, r7, r0\n\t"                                                              \
            "ssat r8, #8, r8, asr #" #bits "\n\t"                                                     \
            "ssat r9, #8, r9, asr #" #bits "\n\t"                                                     \
            "ssat r10, #8, r10, asr #" #bits "\n\t"                                                   \
            "ssat r11, #8, r11, asr #" #bits "\n\t"                                                   \
            "bfi r8, r9, #8, #8\n\t"                                                                  \
            "bfi r10, r11, #8, #8\n\t"                                                                \
            "pkhbt r8, r8, r10, lsl #16\n\t"                                                          \
            ".if " #clamped "\n\t"                                                                    \
            "ldrd r4, r5, [sp, #(tb_frame + 28)]\n\t"                                                 \
            "ssub8 r6, r8, r4\n\t"                                                                    \
            "sel r8, r8, r4\n\t"                                                                      \
            "ssub8 r6, r8, r5\n\t"                                                                    \
            "sel r8, r5, r8\n\t"                                                                      \
            ".endif\n\t"                                                                              \
            "ldr r0, [sp, #(tb_frame + 4)]\n\t"                                                       \
            "str r8, [r0, r2]\n\t"                                                                    \
            "adds r2, r2, #4\n\t"                                                                     \
            "ldr r0, [sp, #(tb_frame + 8)]\n\t"                                                       \
            "cmp r2, r0\n\t"                                                                          \
            "bne 2b\n\t" TB_WIDE_LEAVE);                                                              \
  }

/* Four channels: their sums in r8 to r11, their bytes of two taps become (first, second) pairs in r4 to
 * r7, and so do the weights in r0, r3, r12 and lr. */
#define TB_PAIR_OF_TAPS                                                                                   \
  "ldrd r4, r5, [sp, #tb_at]\n\t"                                                                     \
  "ldr r4, [r4, r2]\n\t"                                                                              \
  "ldr r5, [r5, r2]\n\t"                                                                              \
  "pkhtb r6, r5, r4, asr #16\n\t"                                                                     \
  "pkhbt r4, r4, r5, lsl #16\n\t"                                                                     \
  "sxtb16 r5, r4, ror #8\n\t"                                                                         \
  "sxtb16 r4, r4\n\t"                                                                                 \
  "sxtb16 r7, r6, ror #8\n\t"                                                                         \
  "sxtb16 r6, r6\n\t"                                                                                 \
  "ldm r1!, {r0, r12}\n\t"                                                                            \
  "sxtb16 r3, r0, ror #8\n\t"                                                                         \
  "sxtb16 r0, r0\n\t"                                                                                 \
  "sxtb16 lr, r12, ror #8\n\t"                                                                        \
  "sxtb16 r12, r12\n\t"                                                                               \
  "smlad r8, r4, r0, r8\n\t"                                                                          \
  "smlad r9, r5, r3, r9\n\t"                                                                          \
  "smlad r10, r6, r12, r10\n\t"                                                                       \
  "smlad r11, r7, lr, r11\n\t"

#define TB_LONE_TAP                                                                                   \
  "ldr r4, [sp, #tb_at]\n\t"                                                                          \
  "ldr r4, [r4, r2]\n\t"                                                                              \
  "ldr r0, [r1], #4\n\t"                                                                              \
  "sxtb16 r3, r0, ror #8\n\t"                                                                         \
  "sxtb16 r0, r0\n\t"                                                                                 \
  "sxtb16 r5, r4, ror #8\n\t"                                                                         \
  "sxtb16 r4, r4\n\t"                                                                                 \
  "smlabb r8, r4, r0, r8\n\t"                                                                         \
  "smlabb r9, r5, r3, r9\n\t"                                                                         \
  "smlatt r10, r4, r0, r10\n\t"                                                                       \
  "smlatt r11, r5, r3, r11\n\t"

#endif
#endif

#endif
