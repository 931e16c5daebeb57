/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up for the emulated Cortex-M boards: vector table, memory, FPU; a fault says so and ends the
 * program. */
#include "tb_io.h"

#include <stddef.h>

/* The linker scripts define these; only their addresses mean anything. */
extern uint32_t tb_data_load[], tb_data_start[], tb_data_end[], tb_bss_start[], tb_bss_end[], tb_stack_top[];

int main(void);
void tb_reset(void) __attribute__((noreturn));
void tb_fault(const uint32_t *frame) __attribute__((noreturn, used));
void tb_fault_entry(void);

void tb_reset(void)
{
    const uint32_t *from = tb_data_load;
    for (uint32_t *to = tb_data_start; to != tb_data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = tb_bss_start; to != tb_bss_end; to++) {
        *to = 0;
    }
#if defined(__ARM_ARCH_6M__)
    /* A Cortex-M0+ faults on an unaligned access; the emulated Cortex-M3 that runs its code does so on
     * request: UNALIGN_TRP in the configuration and control register. */
    *(volatile uint32_t *)0xE000ED14u |= 1u << 3;
#endif
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;  /* full access to coprocessors 10 and 11, the FPU */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    tb_exit(main());
}

/* frame: the eight words that the core stacked; word 6 is the interrupted instruction. */
void tb_fault(const uint32_t *frame)
{
    uint32_t number;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    tb_say("FAULT: exception ");
    tb_say_number((int32_t)number);
    tb_say(" at ");
    tb_say_hex(frame[6]);
    tb_say("\n");
    tb_exit(TB_FAULT);
}

__attribute__((naked)) void tb_fault_entry(void)
{
    __asm__("mov r0, sp\n\tldr r1, =tb_fault\n\tbx r1\n\t.ltorg");
}

/* The hardware reads this table at the start of the code region: initial stack, reset, then 14 system
 * exceptions. */
typedef struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vector_table;

extern const vector_table tb_vectors;
__attribute__((section(".vectors"), used)) const vector_table tb_vectors = {
    tb_stack_top,
    {
        tb_reset,
        tb_fault_entry, tb_fault_entry, tb_fault_entry, tb_fault_entry, tb_fault_entry, tb_fault_entry,
        NULL, NULL, NULL,
        tb_fault_entry, tb_fault_entry,
        NULL,
        tb_fault_entry, tb_fault_entry,
    },
};
