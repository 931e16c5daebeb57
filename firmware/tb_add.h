/* SPDX-License-Identifier: Apache-2.0
 * Sums of two maps whose factors are split into halves, so that nothing takes more than 32 bits: a ma + b mb
 * + c = 2^16 (a ma' + b mb' + c') + (a ma" + b mb" + c"), with |m"| <= 2^15 and 0 <= c" < 2^16. The constant
 * holds zero points and half a unit of the last place: the compiler saw that no two inputs make a tie.
 */
#ifndef TB_ADD_H
#define TB_ADD_H

typedef struct {
  int32_t upper_a, upper_b, upper, lower_a, lower_b, lower, bits, lo, hi;
} tb_split;

#ifdef TB_DSP
/* `sum`: fours of elements, upper factors, upper constant, lower ones, bits. */
static TB_ASSEMBLY void tb_add_words(TB_UNUSED const int8_t *a, TB_UNUSED const int8_t *b,
                                     TB_UNUSED int8_t *out,
                                     TB_UNUSED const uint32_t *sum)
{
#define TB_ADD_ONE(x)                                                                                 \
  "smlad r8, " x ", r11, r12\n\t"                                                                     \
  "smlad " x ", " x ", r9, r10\n\t"                                                                   \
  "add " x ", " x ", r8, asr #16\n\t"                                                                 \
  "asr " x ", " x ", lr\n\t"                                                                          \
  "ssat " x ", #8, " x "\n\t"
  __asm__("push {r4-r11, lr}\n\t"
          "ldm r3, {r3, r9-r12, lr}\n"
          "1:\n\t"
          "ldr r4, [r0], #4\n\t"
          "ldr r5, [r1], #4\n\t"
          "pkhbt r6, r4, r5, lsl #16\n\t"
          "pkhtb r4, r5, r4, asr #16\n\t"
          "sxtb16 r5, r6, ror #8\n\t"
          "sxtb16 r6, r6\n\t"
          "sxtb16 r7, r4, ror #8\n\t"
          "sxtb16 r4, r4\n\t"
          TB_ADD_ONE("r6") TB_ADD_ONE("r5") TB_ADD_ONE("r4") TB_ADD_ONE("r7")
          "bfi r6, r5, #8, #8\n\t"
          "bfi r4, r7, #8, #8\n\t"
          "pkhbt r6, r6, r4, lsl #16\n\t"
          "str r6, [r2], #4\n\t"
          "subs r3, r3, #1\n\t"
          "bne 1b\n\t"
          "pop {r4-r11, pc}");
}
#endif

TB_KERNEL void tb_add_split(const int8_t *a, const int8_t *b, int8_t *out, int32_t count, const tb_split *s)
{
  int32_t i = 0;
#ifdef TB_DSP
  if ((count >= 4) && (s->lo == -128) && (s->hi == 127)) {
    const uint32_t sum[] = { (uint32_t)count >> 2, ((uint32_t)s->upper_b << 16) | (uint16_t)s->upper_a,
                             (uint32_t)s->upper, ((uint32_t)s->lower_b << 16) | (uint16_t)s->lower_a,
                             (uint32_t)s->lower, (uint32_t)s->bits };
    tb_add_words(a, b, out, sum);
    i = count & ~3;
  }
#endif
  for (; i < count; i++) {
    const int32_t upper = a[i] * s->upper_a + b[i] * s->upper_b + s->upper;
    const int32_t lower = a[i] * s->lower_a + b[i] * s->lower_b + s->lower;
    out[i] = (int8_t)tb_min(tb_max((upper + (lower >> 16)) >> s->bits, s->lo), s->hi);
  }
}

#endif
