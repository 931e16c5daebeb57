/* SPDX-License-Identifier: Apache-2.0
 * Weights whose bytes lie in words, for plain C.
 */
#ifndef TB_BYTES_H
#define TB_BYTES_H

#ifndef TB_DSP
/* Byte i of words, the lowest of a word first. */
TB_INLINE int32_t tb_byte(const int32_t *words, int32_t i)
{
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  return ((const int8_t *)words)[i];
#else
  return (int8_t)(words[i >> 2] >> (8 * (i & 3)));
#endif
}
#endif

#endif
