// SPDX-License-Identifier: Apache-2.0
// What the decoders of arithmetic share: operands, rounding modes of the host.
#include "runtime/vgpu/alu.h"

#include <fenv.h>

bool vga_is(const vg_decoder *d, const char *op) {
    return strcmp(d->in->op, op) == 0;
}

void vga_sources(vg_decoder *d, vg_inst *out, uint32_t first, uint32_t n, int type) {
    for (uint32_t i = 0; i < 4; i++) {
        if (i < n && first + i < d->in->nopnd) {
            out->s[i] = vgd_source(d, &d->in->opnd[first + i], type);
        } else {
            out->s[i] = out->s[0];
        }
    }
}

vg_row vga_result(vg_decoder *d, const ptx_opnd *o, int type) {
    const vg_row r = vgd_result(d, o, type);
    return r == VG_NO_ROW && !d->failed ? vgd_scratch(d, ptx_types[type].bits > 32) : r;
}

vg_row vga_pred_source(vg_decoder *d, const ptx_opnd *o, bool *negated) {
    if (negated) *negated = false;
    if (o->kind == PTX_O_INT) return vgd_constant(d, o->integer ? UINT32_MAX : 0, false);
    if (o->kind == PTX_O_SPECIAL) return vgd_source(d, o, PTX_pred);
    if (o->negated) {
        if (negated)
            *negated = true;
        else
            vgd_fail(d, "this predicate cannot be negated");
    }
    return vgd_pred(d, o);
}

int vga_rounding(vg_decoder *d) {
    static const char *const names[] = {"rn", "rz", "rm", "rp", NULL};
    return vgd_one_of(d, names);
}

// ---- numbers for the other executors
// ----------------------------------------------------------------

float vg_f16(uint32_t code) {
    return vga_f16(code & 0xffff);
}
float vg_bf16(uint32_t code) {
    return vga_bf16(code);
}

uint32_t vg_to_f16(float x, vm_rounding r) {
    if (r.round == R_NEAREST && !r.saturate) return vga_to_f16(x);
    return isnan(x) ? VGA_NAN16 : (uint32_t)vm_encode(T_f16, (double)x, r);
}
uint32_t vg_to_bf16(float x, vm_rounding r) {
    if (r.round == R_NEAREST && !r.saturate) return vga_to_bf16(x);
    return isnan(x) ? VGA_NAN16 : (uint32_t)vm_encode(T_bf16, (double)x, r);
}

// ---- rounding
// -----------------------------------------------------------------------------------------

typedef struct {
    vg_exec *run;
    int mode;
} directed;

static enum vg_next ex_directed(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const directed *x = in->aux;
    fesetround(x->mode);
    const enum vg_next n = x->run(w, in, mask);
    fesetround(FE_TONEAREST);
    return n;
}

void vga_directed(vg_decoder *d, vg_inst *out, int rounding) {
    static const int modes[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    if (rounding <= 0) return;
    directed *x = vgd_alloc(d, sizeof *x);
    *x = (directed){out->run, modes[rounding]};
    out->aux = x;
    out->run = ex_directed;
}
