/* SPDX-License-Identifier: Apache-2.0
 * Depthwise layers of 3 x 3 int8 weights and steps of one column: two positions side by side share their
 * weights and two of their columns, so cores with the DSP extension unpack each but once.
 *
 * A record of four channels, two and two. Of two: their biases; per column a word of its upper two weights,
 * the bytes of both channels at the first row, then at the second; a word of the last row's first two
 * weights; multipliers. Between the first word of last rows and the multipliers stand the last weights of all
 * four channels. The compiler found one shift for the layer (r->direct). TB_NEIGHBOURS(bits, clamped) makes
 * the inner function of a layer.
 */
#ifndef TB_NEIGHBOURS_H
#define TB_NEIGHBOURS_H

#include "tb_bytes.h"

#ifdef TB_SIDES
/* Two positions, and those that follow, `count` pairs in all. upper: taps of the first two rows, column by
 * column, last: of the third; rooms: for words made of them; end: of the first position's channels. round:
 * half a unit of the last place and the zero point; low and high hold the bounds four times. Assembly
 * knows the order of these. Outputs may lie over inputs, whole words before what is still read
 * (targets/layout.py): so those of four channels at two positions are over channels that both have read. */
typedef struct {
  const int8_t *last[4];
  uint32_t room[4];
  const int8_t *upper[8];
  uint32_t more_room[4];
  const int32_t *records;
  int8_t *out, *second;
  int32_t end, round, count, channels;
  uint32_t low, high;
} tb_sides;

typedef void tb_neighbours(const tb_sides *sides);

static inline void tb_affine_neighbours(const int8_t *in, int8_t *out, const tb_window *w,
                                        const int32_t *records, const tb_scaling *r, tb_neighbours *positions)
{
  uint32_t pads[TB_SIDES], none[TB_SIDES];
  const uint32_t four = 0x01010101u;
  const int32_t channels = w->groups;
  const int8_t *pad = (const int8_t *)pads;
  tb_sides sides;
  for (int32_t c = 0; 4 * c < channels; c++) {
    pads[c] = (uint8_t)w->pad * four;
  }
  sides.records = records;
  sides.end = channels;
  sides.channels = channels;
  sides.round = (int32_t)((uint32_t)r->zero << (*r->shift - 32)) + ((int32_t)1 << (*r->shift - 33));
  sides.low = (uint8_t)r->lo * four;
  sides.high = (uint8_t)r->hi * four;
  int32_t y0 = w->top, start = w->first;
  for (int32_t oy = 0; oy < w->out_height; oy++) {
    const int32_t y1 = y0 + w->dilation_height, y2 = y1 + w->dilation_height;
    const int above = (y0 >= 0) && (y0 < w->height), middle = (y1 >= 0) && (y1 < w->height);
    const int below = (y2 >= 0) && (y2 < w->height);
    int32_t x0 = w->left, left = w->out_width;
    const int8_t *corner = in + start;
    while (left > 0) {
      const int8_t *from = corner;
      for (int32_t k = 0; k < 4; k++) {
        const int inside = (x0 + k >= 0) && (x0 + k < w->width) && ((k < 3) || (left > 1));
        sides.upper[2 * k] = (inside && above) ? from : pad;
        sides.upper[2 * k + 1] = (inside && middle) ? from + w->dilation_row : pad;
        sides.last[k] = (inside && below) ? from + 2 * w->dilation_row : pad;
        from += channels;
      }
      sides.count = 1;
      if (above && middle && below && (x0 >= 0) && (x0 + 3 < w->width) && (left > 1)) {
        const int32_t whole = (w->width - x0 - 2) >> 1; /* pairs whose windows lie inside the map */
        sides.count = (whole < (left >> 1)) ? whole : (left >> 1);
      }
      sides.out = out;
      sides.second = (left > 1) ? out + channels : (int8_t *)none;
      positions(&sides);
      out += 2 * sides.count * channels;
      corner += 2 * sides.count * channels;
      x0 += 2 * sides.count;
      left -= 2 * sides.count;
      if (left < 0) {
        out -= channels;
      }
    }
    y0 += w->stride_height;
    start += w->stride_row;
  }
}

#ifndef TB_DSP
/* The same in plain C, one position after the other. */
TB_INLINE void tb_neighbours_pairs(const tb_sides *p, int32_t bits)
{
  const int32_t lo = (int8_t)p->low, hi = (int8_t)p->high;
  int32_t at = 0;
  for (int32_t n = 0; n < p->count; n++) {
    for (int32_t side = 0; side < 2; side++) {
      const int8_t *const *upper = p->upper + 2 * side, *const *last = p->last + side;
      const int32_t *record = p->records;
      int8_t *out = (side ? p->second : p->out) + at;
      for (int32_t c = at; c < at + p->channels; c++) {
        const int32_t i = c & 1, *two = record + ((c & 2) ? 9 : 0);
        int32_t sum = two[i];
        for (int32_t k = 0; k < 3; k++) {
          sum += tb_byte(two + 2 + k, i) * upper[2 * k][c];
          sum += tb_byte(two + 2 + k, i + 2) * upper[2 * k + 1][c];
        }
        sum += tb_byte(two + 5, i) * last[0][c] + tb_byte(two + 5, i + 2) * last[1][c];
        sum += tb_byte(record + 6, c & 3) * last[2][c];
        sum = (tb_high(sum, two[((c & 2) ? 6 : 7) + i]) + p->round) >> bits;
        *out++ = (int8_t)tb_min(tb_max(sum, lo), hi);
        record += ((c & 3) == 3) ? 17 : 0;
      }
    }
    at += 2 * p->channels;
  }
}

#define TB_NEIGHBOURS(bits, clamped)                                                                  \
  static void tb_neighbours_##bits##_##clamped(const tb_sides *sides)                                 \
  {                                                                                                   \
    tb_neighbours_pairs(sides, bits);                                                                 \
  }

#else

/* Words of four channels: of the last row's taps, two columns each; of the upper two rows, column by
 * column. */
#define TB_SIDES_WORDS                                                                               \
  "mov r0, sp\n\t"                                                                                   \
  "ldm r0!, {r3-r6}\n\t"                                                                             \
  "ldr r3, [r3, r2]\n\t"                                                                             \
  "ldr r4, [r4, r2]\n\t"                                                                             \
  "ldr r5, [r5, r2]\n\t"                                                                             \
  "ldr r6, [r6, r2]\n\t"                                                                             \
  "pkhtb r9, r4, r3, asr #16\n\t"                                                                    \
  "pkhbt r7, r3, r4, lsl #16\n\t"                                                                    \
  "pkhtb r10, r6, r5, asr #16\n\t"                                                                   \
  "pkhbt r8, r5, r6, lsl #16\n\t"                                                                    \
  "stm r0!, {r7-r10}\n\t"                                                                            \
  "ldm r0!, {r3-r6}\n\t"                                                                             \
  "ldr r3, [r3, r2]\n\t"                                                                             \
  "ldr r4, [r4, r2]\n\t"                                                                             \
  "ldr r5, [r5, r2]\n\t"                                                                             \
  "ldr r6, [r6, r2]\n\t"                                                                             \
  "pkhtb r8, r4, r3, asr #16\n\t"                                                                    \
  "pkhbt r4, r3, r4, lsl #16\n\t"                                                                    \
  "pkhtb r9, r6, r5, asr #16\n\t"                                                                    \
  "pkhbt r5, r5, r6, lsl #16\n\t"                                                                    \
  "ldm r0!, {r3, r6, r7, r12}\n\t"                                                                   \
  "ldr r3, [r3, r2]\n\t"                                                                             \
  "ldr r6, [r6, r2]\n\t"                                                                             \
  "ldr r7, [r7, r2]\n\t"                                                                             \
  "ldr r12, [r12, r2]\n\t"                                                                           \
  "pkhtb r10, r6, r3, asr #16\n\t"                                                                   \
  "pkhbt r6, r3, r6, lsl #16\n\t"                                                                    \
  "pkhtb r11, r12, r7, asr #16\n\t"                                                                  \
  "pkhbt r7, r7, r12, lsl #16\n\t"                                                                   \
  "stm r0, {r8-r11}\n\t"

/* Two channels: a word of each column's upper taps in r4 to r7. Sums: r8, r9 of this position, r10, r11 of
 * the next. */
#define TB_SIDES_COLUMNS                                                                             \
  "ldm r1!, {r8, r9, r12}\n\t"                                                                       \
  "sxtb16 lr, r12, ror #8\n\t"                                                                       \
  "sxtb16 r12, r12\n\t"                                                                              \
  "sxtb16 r0, r4, ror #8\n\t"                                                                        \
  "sxtb16 r4, r4\n\t"                                                                                \
  "sxtb16 r3, r5, ror #8\n\t"                                                                        \
  "sxtb16 r5, r5\n\t"                                                                                \
  "smlad r10, r5, r12, r8\n\t"                                                                       \
  "smlad r11, r3, lr, r9\n\t"                                                                        \
  "smlad r8, r4, r12, r8\n\t"                                                                        \
  "smlad r9, r0, lr, r9\n\t"                                                                         \
  "ldm r1!, {r4, r12}\n\t"                                                                           \
  "sxtb16 lr, r4, ror #8\n\t"                                                                        \
  "sxtb16 r4, r4\n\t"                                                                                \
  "sxtb16 r0, r6, ror #8\n\t"                                                                        \
  "sxtb16 r6, r6\n\t"                                                                                \
  "smlad r8, r5, r4, r8\n\t"                                                                         \
  "smlad r9, r3, lr, r9\n\t"                                                                         \
  "smlad r10, r6, r4, r10\n\t"                                                                       \
  "smlad r11, r0, lr, r11\n\t"                                                                       \
  "sxtb16 lr, r12, ror #8\n\t"                                                                       \
  "sxtb16 r12, r12\n\t"                                                                              \
  "sxtb16 r3, r7, ror #8\n\t"                                                                        \
  "sxtb16 r7, r7\n\t"                                                                                \
  "smlad r8, r6, r12, r8\n\t"                                                                        \
  "smlad r9, r0, lr, r9\n\t"                                                                         \
  "smlad r10, r7, r12, r10\n\t"                                                                      \
  "smlad r11, r3, lr, r11\n\t"

/* Their last row in r4 and r5, its weights in r6, r12 and lr; multipliers follow. */
#define TB_SIDES_LAST                                                                                \
  "sxtb16 r0, r4, ror #8\n\t"                                                                        \
  "sxtb16 r4, r4\n\t"                                                                                \
  "sxtb16 r3, r5, ror #8\n\t"                                                                        \
  "sxtb16 r5, r5\n\t"                                                                                \
  "sxtb16 r7, r6, ror #8\n\t"                                                                        \
  "sxtb16 r6, r6\n\t"                                                                                \
  "smlad r8, r4, r6, r8\n\t"                                                                         \
  "smlad r9, r0, r7, r9\n\t"                                                                         \
  "smlatb r10, r4, r6, r10\n\t"                                                                      \
  "smlatb r11, r0, r7, r11\n\t"                                                                      \
  "smlabt r10, r5, r6, r10\n\t"                                                                      \
  "smlabt r11, r3, r7, r11\n\t"                                                                      \
  "smlabb r8, r5, r12, r8\n\t"                                                                       \
  "smlabb r9, r3, lr, r9\n\t"                                                                        \
  "smlatb r10, r5, r12, r10\n\t"                                                                     \
  "smlatb r11, r3, lr, r11\n\t"                                                                      \
  "ldm r1!, {r4, r5}\n\t"                                                                            \
  "ldr r0, [sp, #96]\n\t"                                                                            \
  "smmla r8, r8, r4, r0\n\t"                                                                         \
  "smmla r9, r9, r5, r0\n\t"                                                                         \
  "smmla r10, r10, r4, r0\n\t"                                                                       \
  "smmla r11, r11, r5, r0\n\t"

#define TB_SIDES_STORE(bits, clamped)                                                                \
  "ssat r8, #8, r8, asr #" #bits "\n\t"                                                              \
  "ssat r9, #8, r9, asr #" #bits "\n\t"                                                              \
  "ssat r10, #8, r10, asr #" #bits "\n\t"                                                            \
  "ssat r11, #8, r11, asr #" #bits "\n\t"                                                            \
  "bfi r8, r9, #8, #8\n\t"                                                                           \
  "bfi r10, r11, #8, #8\n\t"                                                                         \
  ".if " #clamped "\n\t"                                                                             \
  "pkhbt r8, r8, r10, lsl #16\n\t"                                                                   \
  "ldrd r4, r5, [sp, #108]\n\t"                                                                      \
  "ssub8 r6, r8, r4\n\t"                                                                             \
  "sel r8, r8, r4\n\t"                                                                               \
  "ssub8 r6, r8, r5\n\t"                                                                             \
  "sel r8, r5, r8\n\t"                                                                               \
  "lsr r10, r8, #16\n\t"                                                                             \
  ".endif\n\t"                                                                                       \
  "ldrd r4, r5, [sp, #84]\n\t"                                                                       \
  "strh r8, [r4, r2]\n\t"                                                                            \
  "strh r10, [r5, r2]\n\t"                                                                           \
  "adds r2, r2, #2\n\t"

#define TB_NEIGHBOURS(bits, clamped)                                                                 \
  static TB_ASSEMBLY void tb_neighbours_##bits##_##clamped(TB_UNUSED const tb_sides *sides)          \
  {                                                                                                  \
    __asm__("push {r4-r11, lr}\n\t"                                                                  \
            "sub sp, sp, #116\n\t"                                                                   \
            "mov r1, sp\n\t"                                                                         \
            ".rept 3\n\t"                                                                            \
            "ldm r0!, {r4-r11}\n\t"                                                                  \
            "stm r1!, {r4-r11}\n\t"                                                                  \
            ".endr\n\t"                                                                              \
            "ldm r0!, {r4-r8}\n\t"                                                                   \
            "stm r1!, {r4-r8}\n\t"                                                                   \
            "movs r2, #0\n"                                                                          \
            "1:\n\t"                                                                                 \
            "ldr r1, [sp, #80]\n"                                                                    \
            "2:\n\t" TB_SIDES_WORDS TB_SIDES_COLUMNS                                                 \
            "ldrd r4, r5, [sp, #16]\n\t"                                                             \
            "ldm r1!, {r6, r12}\n\t"                                                                 \
            "sxtb lr, r12, ror #8\n\t"                                                               \
            "sxtb r12, r12\n\t" TB_SIDES_LAST TB_SIDES_STORE(bits, clamped)                          \
            "add r0, sp, #64\n\t"                                                                    \
            "ldm r0, {r4-r7}\n\t" TB_SIDES_COLUMNS                                                   \
            "ldrd r4, r5, [sp, #24]\n\t"                                                             \
            "ldr r6, [r1], #4\n\t"                                                                   \
            "ldr r12, [r1, #-36]\n\t"                                                                \
            "sxtb lr, r12, ror #24\n\t"                                                              \
            "sxtb r12, r12, ror #16\n\t" TB_SIDES_LAST TB_SIDES_STORE(bits, clamped)                 \
            "ldr r0, [sp, #92]\n\t"                                                                  \
            "cmp r2, r0\n\t"                                                                         \
            "bne 2b\n\t"                                                                             \
            "ldr r3, [sp, #104]\n\t"                                                                 \
            "add r2, r2, r3\n\t"                                                                     \
            "add r0, r0, r3, lsl #1\n\t"                                                             \
            "str r0, [sp, #92]\n\t"                                                                  \
            "ldr r6, [sp, #100]\n\t"                                                                 \
            "subs r6, r6, #1\n\t"                                                                    \
            "str r6, [sp, #100]\n\t"                                                                 \
            "bne 1b\n\t"                                                                             \
            "add sp, sp, #116\n\t"                                                                   \
            "pop {r4-r11, pc}");                                                                     \
  }

#endif
#endif

#endif
