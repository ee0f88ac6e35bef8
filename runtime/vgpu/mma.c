// SPDX-License-Identifier: Apache-2.0
// mma.sync: the product of a warp. Floats are summed in f32, one product after the other along k
// (PTX leaves order and rounding of the sum open); integers exactly. Layouts: matrix.h.
#include "runtime/vgpu/matrix.h"

/// Shapes by bits of an element of A: m, n, k.
static const struct {
    char arith;
    uint8_t bits;
    uint16_t m, n, k;
} shapes[] = {
    {'f', 16, 16, 8, 8}, {'f', 16, 16, 8, 16}, {'f', 32, 16, 8, 4},  {'f', 32, 16, 8, 8},
    {'f', 8, 16, 8, 32}, {'f', 8, 16, 8, 16},  {'d', 64, 8, 8, 4},   {'d', 64, 16, 8, 4},
    {'d', 64, 16, 8, 8}, {'d', 64, 16, 8, 16}, {'i', 8, 8, 8, 16},   {'i', 8, 16, 8, 16},
    {'i', 8, 16, 8, 32}, {'i', 4, 8, 8, 32},   {'i', 4, 16, 8, 32},  {'i', 4, 16, 8, 64},
    {'b', 1, 8, 8, 128}, {'b', 1, 16, 8, 128}, {'b', 1, 16, 8, 256},
};

/// Whether A and B may have these types together, and C and D those.
static bool types_fit(const vgm_elem *a, const vgm_elem *b, int c, int d) {
    if (!a || !b || a->arith != b->arith || a->bits != b->bits) return false;
    switch (a->arith) {
    case 'f':
        if (a->bits >= 16 && a->type != b->type) return false;
        if (a->type == PTX_bf16 || a->type == PTX_tf32) return c == PTX_f32 && d == PTX_f32;
        return (c == PTX_f32 || c == PTX_f16) && (d == PTX_f32 || d == PTX_f16);
    case 'd':
        return c == PTX_f64 && d == PTX_f64;
    default:
        return c == PTX_s32 && d == PTX_s32;
    }
}

static uint32_t result_registers(uint32_t m, uint32_t n, int type) {
    return m * n / (type == PTX_f16 ? 64 : 32);
}

void vgd_mma(vg_decoder *d, vg_inst *out) {
    vgm_product *const p = vgd_alloc(d, sizeof *p);
    out->aux = p;
    out->cls = VG_C_matrix;
    vgd_mod(d, "sync");
    vgd_mod(d, "aligned");
    if (!vgm_shape(d, &p->m, &p->n, &p->k)) {
        vgd_fail(d, "mma without a shape");
        return;
    }
    if (vgm_layout(d, 0) != 0 || vgm_layout(d, 1) != 1) vgd_fail(d, "mma multiplies row by col");
    p->d = vgd_type(d, 0);
    p->a = vgm_elem_of(vgd_type(d, 1));
    p->b = vgm_elem_of(vgd_type(d, 2));
    p->c = vgd_type(d, 3);
    if (!types_fit(p->a, p->b, p->c, p->d)) {
        vgd_fail(d, "mma has no form for these types");
        return;
    }
    bool known = false;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        known |= shapes[i].arith == p->a->arith && shapes[i].bits == p->a->bits &&
                 shapes[i].m == p->m && shapes[i].n == p->n && shapes[i].k == p->k;
    if (!known) {
        vgd_fail(d, "mma of these types has no shape m%un%uk%u", (unsigned)p->m, (unsigned)p->n,
                 (unsigned)p->k);
        return;
    }
    if (p->a->arith == 'i') p->saturate = vgd_mod(d, "satfinite");
    if (p->a->arith == 'f' && p->a->bits == 8) vgd_mod(d, "kind::f8f6f4");
    if (p->a->arith == 'd') vgd_mod(d, "rn");
    if (p->a->arith == 'b') {
        p->bit_and = vgd_mod(d, "and");
        if (!p->bit_and && !vgd_mod(d, "xor")) vgd_fail(d, "mma of bits wants and or xor");
        if (!vgd_mod(d, "popc")) vgd_fail(d, "mma of bits wants popc");
    }
    if (!vgd_count(d, 4, 4)) return;
    const unsigned bits = p->a->arith == 'd' ? 64 : 32;
    const uint32_t per =
        bits == 64 ? 32 : 1024u / p->a->bits; // elements of a register of all lanes
    p->ra = p->m * p->k / per;
    p->rb = p->n * p->k / per;
    const ptx_opnd *const o = d->in->opnd;
    p->row[0] = vgm_registers(d, &o[0], result_registers(p->m, p->n, p->d), bits, true);
    p->row[1] = vgm_registers(d, &o[1], p->ra, bits, false);
    p->row[2] = vgm_registers(d, &o[2], p->rb, bits, false);
    p->row[3] = vgm_registers(d, &o[3], result_registers(p->m, p->n, p->c), bits, false);
    out->run = vgm_multiply;
}
