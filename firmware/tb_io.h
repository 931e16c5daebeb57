/* SPDX-License-Identifier: Apache-2.0 */
/* Files, messages and the end of the program: host.c, arm_semihost.c and riscv_semihost.c provide them. */
#ifndef TB_IO_H
#define TB_IO_H

#include <stdint.h>

typedef enum { TB_READ, TB_WRITE } tb_mode;

/* Every function returns a negative number (tb_open) or non-zero (the others) on failure. A name is
 * relative to the folder in which the program, or the emulator, was started. */
int tb_open(const char *name, tb_mode mode);
int tb_read(int file, void *data, uint32_t bytes);
int tb_write(int file, const void *data, uint32_t bytes);
int tb_close(int file);

void tb_say(const char *text);                      /* to standard error */
void tb_exit(int code) __attribute__((noreturn));

void tb_say_number(int32_t value);                  /* tb_text.c: no printf on the targets */
void tb_say_hex(uint32_t value);

/* Exit codes. */
enum { TB_OK = 0, TB_BAD_FILE = 2, TB_VIOLATION = 3, TB_RUN_FAILED = 4, TB_FAULT = 99 };

#endif
