/* SPDX-License-Identifier: Apache-2.0 */
/* What count_timer.c needs of a board: arm_timer.c and riscv_timer.c have it. */
#ifndef TB_TIMER_H
#define TB_TIMER_H

#include <stdint.h>

#define TB_TIMER_TOO_LONG UINT32_MAX

void tb_timer_start(void);
uint32_t tb_timer_ticks(void);                      /* since the start, or TB_TIMER_TOO_LONG */

#endif
