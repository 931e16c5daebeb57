/* SPDX-License-Identifier: Apache-2.0 */
/* The first CMSDK timer of the MPS2 boards, at TB_TIMER: it counts down from where it starts. */
#include "tb_timer.h"

enum { CONTROL, VALUE, RELOAD, INTERRUPT };
enum { ENABLE = 1, INTERRUPT_AT_ZERO = 8 }; /* which only sets a bit to read: the core's own switch is off */

static volatile uint32_t *registers(void)
{
    return (volatile uint32_t *)TB_TIMER;
}

void tb_timer_start(void)
{
    registers()[CONTROL] = 0;
    registers()[INTERRUPT] = 1;                     /* clears it */
    registers()[RELOAD] = UINT32_MAX;
    registers()[VALUE] = UINT32_MAX;
    registers()[CONTROL] = ENABLE | INTERRUPT_AT_ZERO;
}

uint32_t tb_timer_ticks(void)
{
    uint32_t ticks = UINT32_MAX - registers()[VALUE];
    return registers()[INTERRUPT] ? TB_TIMER_TOO_LONG : ticks;
}
