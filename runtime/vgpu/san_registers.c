// SPDX-License-Identifier: Apache-2.0
// Registers of open wgmmas: accumulators are in flight, a fragment of A is leased, until the wait.
// Called for each instruction of a warp that has some open; names registers by their PTX operands.
#include <string.h>
#include "runtime/vgpu/exec.h"

static bool among(const vg_row *row, uint32_t n, vg_row r) {
    bool found = false;
    for (uint32_t i = 0; i < n; i++) found |= row[i] == r;
    return found;
}

/// `accumulates`: another wgmma adds to it, which the hardware keeps in order.
static void touch(vg_warp *w, const vg_inst *in, uint32_t mask, int32_t reg, bool writes,
                  bool accumulates) {
    if (reg < 0 || (uint32_t)reg >= w->code->func->nreg) return;
    const vg_row row = w->code->reg[reg];
    const char *const name = w->code->func->reg[reg].name;
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    static const unsigned anyone[3] = {0};
    vg_open_wgmma o;
    for (uint32_t i = 0; vg_async_open_wgmma(w, i, &o); i++) {
        if (!accumulates && among(o.acc, o.nacc, row)) {
            vg_report_defect(
                w, in, lane, VG_D_in_flight, o.in, anyone,
                "%s of register %s, an accumulator that an open wgmma will still write",
                writes ? "write" : "read", name);
            return;
        }
        if (writes && among(o.a, o.na, row)) {
            vg_report_defect(w, in, lane, VG_D_leased, o.in, anyone,
                             "write of register %s, a part of A that an open wgmma still reads",
                             name);
            return;
        }
    }
}

static void walk(vg_warp *w, const vg_inst *in, uint32_t mask, const ptx_opnd *o, bool writes,
                 bool accumulates) {
    if (o->kind == PTX_O_REG) touch(w, in, mask, o->reg, writes, accumulates);
    if (o->kind == PTX_O_ADDRESS) touch(w, in, mask, o->reg, false, false);
    for (uint32_t i = 0; i < o->nlist; i++)
        walk(w, in, mask, &o->list[i], writes && o->kind != PTX_O_ADDRESS, accumulates);
}

/// Whether the first operand is a result. Stores and the like have an address there.
static bool has_result(const ptx_inst *p) {
    static const char *const none[] = {"bar",          "barrier", "nanosleep", "brx",
                                       "stackrestore", "pmevent", "setmaxnreg"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (strcmp(p->op, none[i]) == 0) return false;
    return true;
}

void vg_san_registers(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const ptx_inst *const p = in->ptx;
    if (!p || !mask) return;
    const bool matrix = strcmp(p->op, "wgmma") == 0, result = has_result(p);
    for (uint32_t i = 0; i < p->nopnd; i++)
        walk(w, in, mask, &p->opnd[i], i == 0 && result, i == 0 && matrix);
    for (uint32_t i = 0; i < p->nresult; i++) walk(w, in, mask, &p->result[i], true, false);
    for (uint32_t i = 0; i < p->narg; i++) walk(w, in, mask, &p->arg[i], false, false);
}
