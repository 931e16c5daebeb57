/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions executed between tb_mark_begin and tb_mark_end are counted. In tb_count.c the two do
 * nothing, at addresses that whatever counts knows (count_plugin.c in QEMU, unicorn): of the markers
 * themselves that includes two, the return from tb_mark_begin and the call of tb_mark_end; unicorn, which
 * counts whole blocks, sees the call alone. In count_timer.c they read a timer. */
#ifndef TB_COUNT_H
#define TB_COUNT_H

void tb_mark_begin(void);
void tb_mark_end(void);

#endif
