/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text without printf, which would be larger than most networks' code. */
#include "tb_io.h"

static void say_digits(uint32_t value, uint32_t base)
{
    char text[11];
    char *first = &text[10];
    *first = '\0';
    do {
        *--first = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    tb_say(first);
}

void tb_say_number(int32_t value)
{
    if (value < 0) {
        tb_say("-");
    }
    say_digits(value < 0 ? 0u - (uint32_t)value : (uint32_t)value, 10);
}

void tb_say_hex(uint32_t value)
{
    tb_say("0x");
    say_digits(value, 16);
}
