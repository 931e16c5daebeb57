/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU plugin that counts executed instructions between the two markers of tb_count.c, exactly: QEMU
 * calls back before every guest instruction. Options: begin=ADDRESS,end=ADDRESS,out=FILE. FILE gets one
 * line per region, the number of instructions after the first one of tb_mark_begin and before the first
 * one of tb_mark_end.
 *
 * With profile=FILE,line=BYTES,lines=NUMBER as well, that file gets per region a line per instruction that
 * was executed: its address, how often it was, how often what followed was not the next instruction. Then
 * `fetched` and how often an instruction's flash line was in none of the last NUMBER lines: the least
 * recently used one goes.
 *
 * Distributions ship QEMU with plugins enabled but without qemu-plugin.h, hence our own declarations of
 * the few functions used; they are the same in every version of the interface so far. Built for the
 * computer, not the board. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void tb_translated(qemu_plugin_id_t, struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_translated *callback);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                                   void (*callback)(unsigned cpu, void *user), int flags,
                                                   void *user);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = TB_PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

typedef struct place {
    uint64_t address, next, executed, taken;
    struct place *later;
} place;

enum { BUCKETS = 1 << 16, MOST_LINES = 1024 };
static uint64_t begin_address, end_address;
static uint64_t executed, at_begin;
static FILE *out, *profile;
static place *places[BUCKETS], *previous;
static uint64_t line_bytes = 16, lines = 1, fetched;
static uint64_t held[MOST_LINES];                       /* the most recently used line first; 0: none */

/* QEMU translates a block again when it wants to: one record per address all the same. */
static place *place_of(uint64_t address, uint64_t size)
{
    place **bucket = &places[(address >> 1) % BUCKETS];
    for (place *p = *bucket; p; p = p->later) {
        if (p->address == address) {
            return p;
        }
    }
    place *made = calloc(1, sizeof *made);
    made->address = address;
    made->next = address + size;
    made->later = *bucket;
    *bucket = made;
    return made;
}

static void fetch(uint64_t line)
{
    uint64_t i = 0;
    if (held[0] == line) {
        return;
    }
    while (i < lines - 1 && held[i] != line) {
        i++;
    }
    fetched += held[i] != line;
    memmove(held + 1, held, i * sizeof *held);
    held[0] = line;
}

static void count(unsigned cpu, void *user)
{
    place *p = user;
    (void)cpu;
    executed++;
    if (profile) {
        p->executed++;
        if (previous && previous->next != p->address) {
            previous->taken++;
        }
        previous = p;
        fetch(p->address / line_bytes + 1);
        fetch((p->next - 1) / line_bytes + 1);
    }
}

static void begin(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    at_begin = executed;
    for (size_t i = 0; profile && i < BUCKETS; i++) {
        for (place *p = places[i]; p; p = p->later) {
            p->executed = p->taken = 0;
        }
    }
    memset(held, 0, sizeof held);
    fetched = 0;
    previous = NULL;
}

static void end(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    fprintf(out, "%" PRIu64 "\n", executed - at_begin);
    fflush(out);
    for (size_t i = 0; profile && i < BUCKETS; i++) {
        for (const place *p = places[i]; p; p = p->later) {
            if (p->executed) {
                fprintf(profile, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p->address, p->executed, p->taken);
            }
        }
    }
    if (profile) {
        fprintf(profile, "fetched %" PRIu64 "\n", fetched);
        fflush(profile);
    }
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        void (*callback)(unsigned, void *) = count;
        if (address == begin_address || address == end_address) {
            callback = address == begin_address ? begin : end;
        }
        place *p = place_of(address, qemu_plugin_insn_size(instruction));
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, 0, p);
    }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "begin=", 6) == 0) {
            begin_address = strtoull(argv[i] + 6, NULL, 0);
        } else if (strncmp(argv[i], "end=", 4) == 0) {
            end_address = strtoull(argv[i] + 4, NULL, 0);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = fopen(argv[i] + 4, "w");
        } else if (strncmp(argv[i], "profile=", 8) == 0) {
            profile = fopen(argv[i] + 8, "w");
        } else if (strncmp(argv[i], "line=", 5) == 0) {
            line_bytes = strtoull(argv[i] + 5, NULL, 0);
        } else if (strncmp(argv[i], "lines=", 6) == 0) {
            lines = strtoull(argv[i] + 6, NULL, 0);
        }
    }
    if (out == NULL || line_bytes == 0 || lines == 0 || lines > MOST_LINES) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
