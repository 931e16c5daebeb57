/* SPDX-License-Identifier: Apache-2.0 */
/* A QEMU plugin that counts executed instructions between the two markers of tb_count.c, exactly: QEMU calls back
 * before every guest instruction. Options: begin=ADDRESS,end=ADDRESS,out=FILE. FILE gets one line per region, the
 * number of instructions after the first one of tb_mark_begin and before the first one of tb_mark_end.
 *
 * Distributions ship QEMU with plugins enabled but without qemu-plugin.h, hence our own declarations of the few
 * functions used; they are the same in every version of the interface so far. Built for the computer, not the board. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                                   void (*callback)(unsigned cpu, void *user), int flags, void *user);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = TB_PLUGIN_VERSION;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

static uint64_t begin_address, end_address;
static uint64_t executed, at_begin;
static FILE *out;

static void count(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    executed++;
}

static void begin(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    at_begin = executed;
}

static void end(unsigned cpu, void *user)
{
    (void)cpu;
    (void)user;
    fprintf(out, "%" PRIu64 "\n", executed - at_begin);
    fflush(out);
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        void (*callback)(unsigned, void *) = address == begin_address ? begin : address == end_address ? end : count;
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, callback, 0, NULL);
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
        }
    }
    if (out == NULL) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
