/* SPDX-License-Identifier: Apache-2.0 */
/* What a generated network calls before and after each layer when it is built with -DTB_TRACE, so that
 * tinybound can compare the layer's integers with the golden model and catch a stray write. Layers come in
 * order, 0 first.
 *
 * With -DTB_COUNT as well, the hooks become the two instruction-counting markers of tb_count.c, arguments
 * dropped: what is then counted of a layer is its own instructions and those of the markers. */
#ifndef TB_TRACE_H
#define TB_TRACE_H

#include <stddef.h>
#include <stdint.h>

#ifdef TB_COUNT

#include "tb_count.h"
#define tb_layer_begin(layer, arena, arena_bytes) tb_mark_begin()
#define tb_layer_end(layer, data, bytes, scratch, scratch_bytes, arena, arena_bytes) tb_mark_end()

#else

/* layer: its number; arena, arena_bytes: the network's working memory. */
void tb_layer_begin(unsigned layer, void *arena, size_t arena_bytes);

/* data, bytes: what the layer computed, in the arena or in the caller's output; scratch, scratch_bytes:
 * memory that it was free to spoil (NULL, 0 for none). Any other change of a watched byte ends the program
 * with exit code 3. */
void tb_layer_end(unsigned layer, const void *data, size_t bytes, const void *scratch, size_t scratch_bytes,
                  void *arena, size_t arena_bytes);

#endif

/* The bytes on either side of the arena are compared too, whatever lies there. A network that wants a zero
 * written past its arena to be noticed as well puts these known bytes there:
 *     static struct { uint8_t before[TB_GUARD]; int32_t arena[N]; uint8_t after[TB_GUARD]; }
 *         guarded = { TB_GUARD_BYTES, {0}, TB_GUARD_BYTES }; */
enum { TB_GUARD = 32 };
#define TB_GUARD_8 0xA5, 0x5A, 0xC3, 0x3C, 0x96, 0x69, 0xF0, 0x0F
#define TB_GUARD_BYTES { TB_GUARD_8, TB_GUARD_8, TB_GUARD_8, TB_GUARD_8 }

#endif
