/* SPDX-License-Identifier: Apache-2.0 */
/* The semihosting trap of Cortex-M: `bkpt 0xAB` with the operation in r0 and its argument in r1. */
#include "tb_semihost.h"

int tb_semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return (int)r0;
}
