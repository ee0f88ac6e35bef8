// SPDX-License-Identifier: Apache-2.0
// Control flow: branches, returns, the ends of threads and of launches.
#include "runtime/vgpu/load.h"

#include <string.h>

/// A jump back after a look at memory that changed nothing is a spinning loop: others first.
static enum vg_next jump(vg_warp *w, uint32_t pc, uint32_t target, enum vg_next how) {
    if (target > pc || !w->polled) return how;
    w->polled = false;
    w->pc--; // the loop adds one to it
    return VG_YIELD;
}

static enum vg_next ex_bra(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t pc = w->pc;
    if (mask == w->active) {
        w->pc = in->target;
        return jump(w, pc, in->target, VG_JUMPED);
    }
    const uint32_t target[2] = {in->target, pc + 1}, lanes[2] = {mask, w->active & ~mask};
    if (vg_diverge(w, in->join, 2, target, lanes) == VG_STOP) return VG_STOP;
    return jump(w, pc, in->target, VG_JUMPED);
}

static enum vg_next ex_brx(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const at = in->aux, *const index = VG_ROW32(w, in->s[0]);
    const uint32_t n = (uint32_t)in->imm;
    uint32_t target[33], lanes[33], ways = 0;
    uint32_t left = mask;
    while (left) {
        const uint32_t lane = (uint32_t)__builtin_ctz(left);
        if (index[lane] >= n)
            return vg_fail(w, in, lane, VG_ILLEGAL_INSTRUCTION, "the index %u of a branch with %u targets", (unsigned)index[lane], (unsigned)n);
        const uint32_t to = at[index[lane]];
        uint32_t same = 0;
        for (uint32_t l = lane; l < 32; l++)
            if (left >> l & 1 && index[l] < n && at[index[l]] == to) same |= 1u << l;
        target[ways] = to;
        lanes[ways++] = same;
        left &= ~same;
    }
    if (mask != w->active) {
        target[ways] = w->pc + 1;
        lanes[ways++] = w->active & ~mask;
    }
    const uint32_t pc = w->pc;
    if (ways == 1) {
        w->pc = target[0];
        return jump(w, pc, target[0], VG_JUMPED);
    }
    return vg_diverge(w, in->join, ways, target, lanes);
}

/// Of a .func; an entry's is an exit.
static enum vg_next ex_ret(vg_warp *w, const vg_inst *in, uint32_t mask) {
    if (mask == w->active) {
        w->pc = w->code->ninst;
        return VG_JUMPED;
    }
    const uint32_t target[2] = {w->code->ninst, w->pc + 1}, lanes[2] = {mask, w->active & ~mask};
    return vg_diverge(w, in->join, 2, target, lanes);
}

static enum vg_next ex_exit(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)in;
    return vg_exit_lanes(w, mask);
}

static enum vg_next ex_trap(vg_warp *w, const vg_inst *in, uint32_t mask) {
    return vg_fail(w, in, (uint32_t)__builtin_ctz(mask), VG_LAUNCH_FAILED, "a trap");
}

static enum vg_next ex_nothing(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)w, (void)in, (void)mask;
    return VG_NEXT;
}

static enum vg_next ex_sleep(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)w, (void)in, (void)mask;
    return VG_YIELD;
}

static uint32_t label_at(vg_decoder *d, const ptx_opnd *o) {
    if (o->kind == PTX_O_SYMBOL && o->label >= 0 && !o->targets) return d->func->label[o->label].at;
    vgd_fail(d, "a target that is no label");
    return 0;
}

void vgd_control(vg_decoder *d, vg_inst *out) {
    const char *const op = d->in->op;
    out->cls = VG_C_control;
    if (strcmp(op, "bra") == 0) {
        vgd_mod(d, "uni");
        if (!vgd_count(d, 1, 1)) return;
        out->target = label_at(d, d->in->opnd);
        out->join = vgd_join(d);
        out->run = ex_bra;
    } else if (strcmp(op, "brx") == 0) {
        vgd_mod(d, "uni");
        if (!vgd_mod(d, "idx")) vgd_fail(d, "a form other than .idx");
        if (!vgd_count(d, 2, 2)) return;
        out->s[0] = vgd_source(d, &d->in->opnd[0], PTX_u32);
        const ptx_opnd *const o = &d->in->opnd[1];
        if (o->kind != PTX_O_SYMBOL || o->label < 0 || !o->targets) {
            vgd_fail(d, "targets that are no .branchtargets");
            return;
        }
        const ptx_targets *const t = &d->func->targets[o->label];
        out->aux = t->at;
        out->imm = t->nlabel;
        out->join = vgd_join(d);
        out->run = ex_brx;
    } else if (strcmp(op, "ret") == 0 || strcmp(op, "exit") == 0) {
        vgd_mod(d, "uni");
        vgd_count(d, 0, 0);
        out->join = vgd_join(d);
        out->run = strcmp(op, "exit") == 0 || d->func->is_entry ? ex_exit : ex_ret;
    } else if (strcmp(op, "trap") == 0) {
        vgd_count(d, 0, 0);
        out->run = ex_trap;
    } else if (strcmp(op, "nanosleep") == 0) {
        vgd_mod(d, "u32");
        vgd_count(d, 1, 1);
        out->run = ex_sleep;
    } else { // pmevent, brkpt: nobody is there to see them
        vgd_mod(d, "mask");
        out->run = ex_nothing;
    }
}
