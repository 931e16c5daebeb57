/* SPDX-License-Identifier: Apache-2.0 */
/* The count of retired instructions, which is one under -icount shift=0 (and the host's time without). */
#include "tb_timer.h"

#define WRITE(name, value) \
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrw " name ", %0\n\t.option pop" ::"r"(value))
#define READ(name, value) \
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrr %0, " name "\n\t.option pop" : "=r"(value))

void tb_timer_start(void)
{
    WRITE("minstreth", 0);
    WRITE("minstret", 0);
}

uint32_t tb_timer_ticks(void)
{
    uint32_t low;
    uint32_t high;
    READ("minstret", low);
    READ("minstreth", high);
    return high != 0 ? TB_TIMER_TOO_LONG : low;
}
