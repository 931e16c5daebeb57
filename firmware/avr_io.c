/* SPDX-License-Identifier: Apache-2.0 */
/* tb_io.h on an AVR in a simulator: in.bin lies in flash, all else leaves through the serial port as lines
 * of text.
 *   o0123ab...   bytes of out.bin in hexadecimal; t: of trace.bin, c: of counts.bin
 *   #...         a message
 *   X2           the end, with the exit code in decimal */
#include "tb_io.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>

extern const uint8_t tb_vectors[], tb_vectors_end[];    /* in.bin, linked in before the run */

static const uint8_t *place;

void exit(int code) __attribute__((noreturn));          /* where the start-up code goes after main */

void exit(int code)
{
    tb_exit(code);
}

static void put(uint8_t byte)
{
    UCSR0B = 1 << TXEN0;
    while ((UCSR0A & (1 << UDRE0)) == 0) {
    }
    UDR0 = byte;
}

static void put_hex(uint8_t nibble)
{
    put((uint8_t)(nibble + (nibble < 10 ? '0' : 'a' - 10)));
}

/* A file's number is the first letter of its name. */
int tb_open(const char *name, tb_mode mode)
{
    if (mode == TB_READ) {
        place = tb_vectors;
    }
    return name[0];
}

int tb_read(int file, void *data, uint32_t bytes)
{
    uint8_t *to = data;
    (void)file;
    for (; bytes != 0; bytes--) {
        if (place == tb_vectors_end) {
            return 1;
        }
        *to++ = pgm_read_byte(place++);
    }
    return 0;
}

int tb_write(int file, const void *data, uint32_t bytes)
{
    const uint8_t *from = data;
    for (uint32_t i = 0; i < bytes; i++) {
        if (i % 64 == 0) {                              /* the simulator shows short lines whole */
            put('\n');
            put((uint8_t)file);
        }
        put_hex(from[i] >> 4);
        put_hex(from[i] & 15);
    }
    return 0;
}

int tb_close(int file)
{
    (void)file;
    return 0;
}

void tb_say(const char *text)
{
    put('\n');
    put('#');
    while (*text != '\0') {
        put((uint8_t)*text++);
    }
}

void tb_exit(int code)
{
    put('\n');
    put('X');
    put_hex((uint8_t)(code / 10));
    put_hex((uint8_t)(code % 10));
    put('\n');
    cli();
    sleep_mode();                                       /* without interrupts: the simulator ends */
    for (;;) {
    }
}
