/* SPDX-License-Identifier: Apache-2.0 */
/* The hooks of tb_trace.h. They write trace.bin (for each vector, for each layer: uint32 layer, uint32
 * bytes, bytes) and compare memory before and after each layer: of the arena, the caller's input and
 * output and the guard zones around the three, only the layer's own output and scratch may change.
 *
 * Before every vector all of this but the input is filled with a pattern that depends on the vector, so
 * that a network that reads memory it never wrote gives an answer that changes, and stray zeros show. */
#include "tb_driver.h"

#include <string.h>

typedef struct {
    const char *name;
    uint8_t *start;                                 /* guard zone, contents, guard zone */
    size_t before, bytes, after;                    /* their sizes */
    uint8_t *copy;                                  /* all three as they were */
} zone;

enum { ARENA_BYTES = TB_ARENA_SIZE > 0 ? TB_ARENA_SIZE : 1 };     /* C has no empty arrays */

static uint8_t arena_copy[TB_MARGIN + ARENA_BYTES + TB_MARGIN];
static uint8_t input_copy[sizeof tb_input];
static uint8_t output_copy[sizeof tb_output];

enum { ARENA, INPUT, OUTPUT, ZONES };
static zone zones[ZONES] = {
    {"arena", NULL, TB_MARGIN, 0, TB_MARGIN, arena_copy},   /* address and size come with the first hook */
    {"input", tb_input, TB_OFFSET, TB_INPUT_BYTES, TB_MARGIN, input_copy},
    {"output", tb_output, TB_OFFSET, TB_OUTPUT_BYTES, TB_MARGIN, output_copy},
};

static int file;
static uint32_t round_now;
static unsigned last_layer;

/* Patterns: never constant, and different from one vector to the next. */
static void fill(uint8_t *data, size_t bytes, uint32_t seed)
{
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)((i + 1) * 0x6Du + seed * 0x35u + 0x51u);
    }
}

static size_t size(const zone *z)
{
    return z->before + z->bytes + z->after;
}

static void remember(const zone *z)
{
    if (z->start != NULL) {
        memcpy(z->copy, z->start, size(z));
    }
}

/* Bytes [from, to) of the zone must be as they were. */
static void same(const zone *z, size_t from, size_t to)
{
    if (from >= to || memcmp(z->start + from, z->copy + from, to - from) == 0) {
        return;
    }
    while (z->start[from] == z->copy[from]) {
        from++;
    }
    tb_say("layer ");
    tb_say_number((int32_t)last_layer);
    tb_say(" changed byte ");
    tb_say_number((int32_t)from - (int32_t)z->before);
    tb_say(" of the ");
    tb_say(z->name);
    tb_say(", which has ");
    tb_say_number((int32_t)z->bytes);
    tb_say(" bytes: it is outside the layer's output and scratch\n");
    tb_exit(TB_VIOLATION);
}

typedef struct {
    size_t from, to;
} span;

/* The part of [data, data + bytes) inside the zone's contents, as offsets from the zone's start; never a
 * guard. */
static span part(const zone *z, const void *data, size_t bytes)
{
    uintptr_t low = (uintptr_t)z->start + z->before;
    uintptr_t high = low + z->bytes;
    uintptr_t from = (uintptr_t)data;
    uintptr_t to = from + bytes;
    span s = {0, 0};
    if (bytes != 0 && from < high && to > low) {
        s.from = (from > low ? from : low) - (uintptr_t)z->start;
        s.to = (to < high ? to : high) - (uintptr_t)z->start;
    }
    return s;
}

static void same_but(const zone *z, span a, span b)
{
    if (z->start == NULL) {
        return;
    }
    if (a.from > b.from) {
        span swap = a;
        a = b;
        b = swap;
    }
    same(z, 0, a.from);
    same(z, a.to, b.from);
    same(z, a.to > b.to ? a.to : b.to, size(z));
}

void tb_layer_begin(unsigned layer, void *arena, size_t arena_bytes)
{
    last_layer = layer;
    if (arena_bytes > ARENA_BYTES) {
        tb_fail("the arena is larger than its macro says\n", TB_VIOLATION);
    }
    if (arena != NULL && arena_bytes != 0) {
        zones[ARENA].start = (uint8_t *)arena - TB_MARGIN;
        zones[ARENA].bytes = arena_bytes;
    }
    for (int i = 0; i < ZONES; i++) {
        remember(&zones[i]);
    }
}

static void write(const void *data, size_t bytes)
{
    if (tb_write(file, data, (uint32_t)bytes)) {
        tb_fail("trace.bin cannot be written\n", TB_BAD_FILE);
    }
}

void tb_layer_end(unsigned layer, const void *data, size_t bytes, const void *scratch, size_t scratch_bytes,
                  void *arena, size_t arena_bytes)
{
    (void)arena;
    (void)arena_bytes;
    for (int i = 0; i < ZONES; i++) {
        const span none = {0, 0};
        const zone *z = &zones[i];
        if (i == INPUT) {
            same_but(z, none, none);                /* a layer may hand its input on, but not change it */
        } else {
            same_but(z, part(z, data, bytes), part(z, scratch, scratch_bytes));
        }
    }
    if (round_now != 0) {
        uint32_t head[2] = {layer, (uint32_t)bytes};
        write(head, sizeof head);
        write(data, bytes);
    }
}

void tb_trace_open(void)
{
    file = tb_open("trace.bin", TB_WRITE);
    if (file < 0) {
        tb_fail("trace.bin cannot be written\n", TB_BAD_FILE);
    }
}

void tb_trace_vector(uint32_t round)
{
    round_now = round;
    fill(tb_input, TB_OFFSET, round);
    fill(tb_input + TB_OFFSET + TB_INPUT_BYTES, TB_MARGIN, round);
    fill(tb_output, sizeof tb_output, round);
    if (zones[ARENA].start != NULL) {
        fill(zones[ARENA].start + TB_MARGIN, zones[ARENA].bytes, round);
    }
    remember(&zones[INPUT]);
    remember(&zones[OUTPUT]);
}

/* After the last layer: nothing but the output itself may differ from what the last hook, or the filling,
 * left. */
void tb_trace_vector_end(void)
{
    const span none = {0, 0};
    const zone *out = &zones[OUTPUT];
    span contents = {out->before, out->before + out->bytes};
    same_but(&zones[INPUT], none, none);
    same_but(out, contents, none);
}

void tb_trace_close(void)
{
    if (tb_close(file)) {
        tb_fail("trace.bin cannot be written\n", TB_BAD_FILE);
    }
}
