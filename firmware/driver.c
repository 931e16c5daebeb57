/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a generated network on vectors from a file, on a computer and on every emulated board alike.
 *   in.bin   uint32 number of vectors, uint32 activation bits, then the vectors
 *   out.bin  the outputs
 * Integers are little-endian. Built with -DTB_TRACE it also writes trace.bin and watches memory: see
 * trace.c. */
#include "tb_driver.h"

#ifdef TB_COUNT
#include "tb_count.h"
#endif

#ifdef TB_BEFORE
#include <string.h>                                 /* they copy */
#else
#define TB_BEFORE(in) ((void)(in))
#define TB_AFTER(out) ((void)(out))
#endif

#ifndef TB_CALL
#ifdef TB_RUN_BITS
#define TB_CALL(in, out) TB_RUN_BITS(in, out, bits)
#else
#define TB_CALL(in, out) TB_RUN(in, out)
#endif
#endif

uint8_t tb_input[TB_OFFSET + TB_INPUT_BYTES + TB_MARGIN] __attribute__((aligned(8)));
uint8_t tb_output[TB_OFFSET + TB_OUTPUT_BYTES + TB_MARGIN] __attribute__((aligned(8)));

void tb_fail(const char *text, int code)
{
    tb_say(text);
    tb_exit(code);
}

static void run(int bits)
{
    const TB_INPUT_T *in = (const TB_INPUT_T *)(tb_input + TB_OFFSET);
    TB_OUTPUT_T *out = (TB_OUTPUT_T *)(tb_output + TB_OFFSET);
    int failed;
    (void)bits;
    TB_BEFORE(in);
#if defined(TB_COUNT) && !defined(TB_TRACE)
    tb_mark_begin();
    failed = TB_CALL(in, out);
    tb_mark_end();
#else
    failed = TB_CALL(in, out);
#endif
    if (failed != 0) {
        tb_fail("the network's run function did not return 0\n", TB_RUN_FAILED);
    }
    TB_AFTER(out);
}

int main(void)
{
    uint32_t header[2];                             /* number of vectors, bits */
    int input = tb_open("in.bin", TB_READ);
    int output = tb_open("out.bin", TB_WRITE);

    if (input < 0 || output < 0 || tb_read(input, header, sizeof header)) {
        tb_fail("in.bin cannot be read or out.bin cannot be written\n", TB_BAD_FILE);
    }
#if defined(TB_COUNT)
    tb_mark_begin();                          /* an empty region first: the host subtracts what it measures */
    tb_mark_end();
#endif
#if TB_CHECK
    tb_trace_open();
#endif
    for (uint32_t vector = 0; vector < header[0]; vector++) {
        if (tb_read(input, tb_input + TB_OFFSET, TB_INPUT_BYTES)) {
            tb_fail("in.bin is too short\n", TB_BAD_FILE);
        }
#if TB_CHECK
        if (vector == 0) {
            tb_trace_vector(0);
            run((int)header[1]);
        }
        tb_trace_vector(vector + 1);
        run((int)header[1]);
        tb_trace_vector_end();
#else
        run((int)header[1]);
#endif
        if (tb_write(output, tb_output + TB_OFFSET, TB_OUTPUT_BYTES)) {
            tb_fail("out.bin cannot be written\n", TB_BAD_FILE);
        }
    }
    if (tb_read(input, header, 1) == 0) {
        tb_fail("in.bin is too long\n", TB_BAD_FILE);
    }
#if TB_CHECK
    tb_trace_close();
#endif
    (void)tb_close(input);
    return tb_close(output) ? TB_BAD_FILE : TB_OK;
}
