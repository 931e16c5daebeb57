/* SPDX-License-Identifier: Apache-2.0 */
/* Semihosting: the emulator (or a debugger) serves a program's files. The operations and their argument
 * blocks are the same on ARM and RISC-V (semihost.c); only the trap differs (arm_semihost.c,
 * riscv_semihost.c). */
#ifndef TB_SEMIHOST_H
#define TB_SEMIHOST_H

#include <stdint.h>

int tb_semihost(uint32_t operation, const void *argument);

#endif
