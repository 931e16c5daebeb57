/* SPDX-License-Identifier: Apache-2.0 */
/* Cycles by two timers of 16 bits: one counts them all and wraps, one counts every 1024th and tells how
 * often. */
#include "tb_timer.h"

#include <avr/io.h>

void tb_timer_start(void)
{
    TCCR1B = TCCR3B = 0;
    TCNT1 = TCNT3 = 0;
    TIFR3 = 1 << TOV3;                                  /* clears it */
    TCCR3B = 1 << CS32 | 1 << CS30;
    TCCR1B = 1 << CS10;
}

uint32_t tb_timer_ticks(void)
{
    const uint32_t low = TCNT1;
    const uint32_t about = (uint32_t)TCNT3 << 10;
    const uint32_t wraps = (about - low + 0x8000u) >> 16;
    return TIFR3 & (1 << TOV3) ? TB_TIMER_TOO_LONG : (wraps << 16) + low;
}
