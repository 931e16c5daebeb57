/* SPDX-License-Identifier: Apache-2.0 */
/* Two functions that do nothing, at addresses that the counting plugin of the emulator knows: instructions executed
 * between tb_mark_begin and tb_mark_end are counted. Of the markers themselves that includes two: the return from
 * tb_mark_begin and the call of tb_mark_end. */
#ifndef TB_COUNT_H
#define TB_COUNT_H

enum { TB_MARKER_OVERHEAD = 2 };

void tb_mark_begin(void);
void tb_mark_end(void);

#endif
