/* SPDX-License-Identifier: Apache-2.0 */
#include "tb_count.h"

/* Naked: no prologue, so that the symbol is the first instruction executed. The nop keeps the two bodies
 * from being merged with other functions that only return. */
__attribute__((naked, noinline)) void tb_mark_begin(void)
{
#ifdef __riscv
    __asm__("nop\n\tret");
#else
    __asm__("nop\n\tbx lr");
#endif
}

__attribute__((naked, noinline)) void tb_mark_end(void)
{
#ifdef __riscv
    __asm__("nop\n\tnop\n\tret");
#else
    __asm__("nop\n\tnop\n\tbx lr");
#endif
}
