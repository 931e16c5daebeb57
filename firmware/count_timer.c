/* SPDX-License-Identifier: Apache-2.0 */
/* The markers of tb_count.h where the emulator takes no plugin: under -icount every instruction takes the
 * same virtual time, and the board's own timer measures it. Each region's ticks, uint32, go to counts.bin.
 * What the two functions themselves take is in every region alike, the empty one that the driver marks
 * first included. */
#include "tb_count.h"
#include "tb_driver.h"
#include "tb_timer.h"

/* Behind all other variables (this file is linked last): on RISC-V one among the small ones could move
 * others out of reach of the global pointer, which costs them instructions. */
static int opened __attribute__((section(".bss.counts")));  /* the file's number and 1 */

static void keep(uint32_t ticks)
{
    if (opened == 0) {
        opened = tb_open("counts.bin", TB_WRITE) + 1;
    }
    if (opened <= 0 || tb_write(opened - 1, &ticks, sizeof ticks)) {
        tb_fail("counts.bin cannot be written\n", TB_BAD_FILE);
    }
}

void tb_mark_begin(void)
{
    tb_timer_start();
}

void tb_mark_end(void)
{
    keep(tb_timer_ticks());
}
