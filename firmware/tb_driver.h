/* SPDX-License-Identifier: Apache-2.0 */
/* What driver.c and the checks of trace.c share. The network's names arrive as macros on the compiler's
 * command line:
 *   TB_HEADER "NAME.h", TB_RUN NAME_run, TB_INPUT_T NAME_input_t, TB_OUTPUT_T NAME_output_t, TB_INPUT_SIZE,
 *   TB_OUTPUT_SIZE, TB_ARENA_SIZE the header's macros; TB_RUN_BITS NAME_run_bits where run-time bits exist;
 *   TB_CALL(in, out) where the call is another one (more inputs or outputs); TB_BEFORE(in) and
 *   TB_AFTER(out) where inputs and outputs are the network's own memory and are copied there and back,
 *   outside of what is counted. */
#ifndef TB_DRIVER_H
#define TB_DRIVER_H

#include TB_HEADER
#include "tb_io.h"
#include "tb_trace.h"

/* A buffer lies between two guard zones. The sanitizer keeps better ones of its own, which see reads as
 * well. */
#ifdef __SANITIZE_ADDRESS__
enum { TB_MARGIN = 0 };
#else
enum { TB_MARGIN = TB_GUARD };
#endif

/* In trace builds buffers start at an odd address, of longer integers at an odd multiple of their size: a
 * network may not assume that its caller aligned more than C does. */
#if defined(TB_TRACE) && !defined(TB_COUNT)
#define TB_CHECK 1
#define TB_LARGER(a, b) (sizeof(a) > sizeof(b) ? sizeof(a) : sizeof(b))
enum { TB_OFFSET = TB_MARGIN + TB_LARGER(TB_INPUT_T, TB_OUTPUT_T) };
#else
#define TB_CHECK 0
enum { TB_OFFSET = TB_MARGIN };
#endif

enum {
    TB_INPUT_BYTES = TB_INPUT_SIZE * sizeof(TB_INPUT_T),
    TB_OUTPUT_BYTES = TB_OUTPUT_SIZE * sizeof(TB_OUTPUT_T)
};

extern uint8_t tb_input[TB_OFFSET + TB_INPUT_BYTES + TB_MARGIN];
extern uint8_t tb_output[TB_OFFSET + TB_OUTPUT_BYTES + TB_MARGIN];

#if TB_CHECK
/* trace.c. Round 0 writes no trace: it learns where the arena is. Round n + 1 traces vector n. */
void tb_trace_open(void);
void tb_trace_vector(uint32_t round);
void tb_trace_vector_end(void);
void tb_trace_close(void);
#endif

void tb_fail(const char *text, int code) __attribute__((noreturn));

#endif
