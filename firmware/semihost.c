/* SPDX-License-Identifier: Apache-2.0 */
/* tb_io.h over semihosting. */
#include "tb_io.h"
#include "tb_semihost.h"

#include <string.h>

enum {
    SYS_OPEN = 0x01,
    SYS_CLOSE = 0x02,
    SYS_WRITE0 = 0x04,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_EXIT_EXTENDED = 0x20,
    ADP_STOPPED_APPLICATION_EXIT = 0x20026,
    OPEN_RB = 1,
    OPEN_WB = 5
};

static uint32_t word(const void *pointer)
{
    return (uint32_t)(uintptr_t)pointer;
}

int tb_open(const char *name, tb_mode mode)
{
    uint32_t block[3] = {word(name), mode == TB_READ ? OPEN_RB : OPEN_WB, (uint32_t)strlen(name)};
    return tb_semihost(SYS_OPEN, block);
}

/* SYS_READ and SYS_WRITE return the number of bytes they did NOT transfer. */
int tb_read(int file, void *data, uint32_t bytes)
{
    uint32_t block[3] = {(uint32_t)file, word(data), bytes};
    return bytes != 0 && tb_semihost(SYS_READ, block) != 0;
}

int tb_write(int file, const void *data, uint32_t bytes)
{
    uint32_t block[3] = {(uint32_t)file, word(data), bytes};
    return bytes != 0 && tb_semihost(SYS_WRITE, block) != 0;
}

int tb_close(int file)
{
    uint32_t block[1] = {(uint32_t)file};
    return tb_semihost(SYS_CLOSE, block) != 0;
}

void tb_say(const char *text)
{
    (void)tb_semihost(SYS_WRITE0, text);
}

void tb_exit(int code)
{
    uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, (uint32_t)code};
    (void)tb_semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}
