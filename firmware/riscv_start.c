/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up for the emulated RISC-V board. The emulator loads .data where it runs, so only .bss needs work. */
#include "tb_io.h"

extern uint32_t tb_bss_start[], tb_bss_end[];

int main(void);
void tb_start(void);
void tb_reset(void) __attribute__((noreturn, used));
void tb_fault(void) __attribute__((noreturn, used, aligned(4)));

void tb_reset(void)
{
    for (uint32_t *to = tb_bss_start; to != tb_bss_end; to++) {
        *to = 0;
    }
    tb_exit(main());
}

/* The control registers are no part of rv32imc by that name, hence the extra .option. */
void tb_fault(void)
{
    uint32_t cause;
    uint32_t address;
    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     "csrr %0, mcause\n\t"
                     "csrr %1, mepc\n\t"
                     ".option pop"
                     : "=r"(cause), "=r"(address));
    tb_say("FAULT: cause ");
    tb_say_number((int32_t)cause);
    tb_say(" at ");
    tb_say_hex(address);
    tb_say("\n");
    tb_exit(TB_FAULT);
}

__attribute__((naked, section(".vectors"))) void tb_start(void)
{
    __asm__(".option push\n\t"
            ".option norelax\n\t"
            ".option arch, +zicsr\n\t"
            "la gp, __global_pointer$\n\t"
            "la sp, tb_stack_top\n\t"
            "la t0, tb_fault\n\t"
            "csrw mtvec, t0\n\t"
            "j tb_reset\n\t"
            ".option pop");
}
