/* SPDX-License-Identifier: Apache-2.0 */
/* tb_io.h on a computer, over stdio. */
#include "tb_io.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *files[4];                              /* in.bin, out.bin, trace.bin and one to spare */

int tb_open(const char *name, tb_mode mode)
{
    for (int file = 0; file < 4; file++) {
        if (files[file] == NULL) {
            files[file] = fopen(name, mode == TB_READ ? "rb" : "wb");
            return files[file] == NULL ? -1 : file;
        }
    }
    return -1;
}

int tb_read(int file, void *data, uint32_t bytes)
{
    return fread(data, 1, bytes, files[file]) != bytes;
}

int tb_write(int file, const void *data, uint32_t bytes)
{
    return fwrite(data, 1, bytes, files[file]) != bytes;
}

int tb_close(int file)
{
    int failed = fclose(files[file]);
    files[file] = NULL;
    return failed;
}

void tb_say(const char *text)
{
    fputs(text, stderr);
}

void tb_exit(int code)
{
    exit(code);
}
