// SPDX-License-Identifier: Apache-2.0
// Bitwise operations and shifts, of words and of predicates.
#include "runtime/vgpu/alu.h"

#define WIDTHS(OP)                                                                                 \
    OP(16, uint16_t, int16_t, uint32_t, VG_ROW32)                                                  \
    OP(32, uint32_t, int32_t, uint32_t, VG_ROW32)                                                  \
    OP(64, uint64_t, int64_t, uint64_t, VG_ROW64)

/// Shifts by 32-bit amounts; what is shifted beyond the width is gone.
#define SHIFT(name, R, ROW, expr)                                                                  \
    VGA_FAST static enum vg_next name(vg_warp *w, const vg_inst *in, uint32_t mask) {              \
        const R *const a = ROW(w, in->s[0]);                                                       \
        const uint32_t *const b = VG_ROW32(w, in->s[1]);                                           \
        R *const d = ROW(w, in->d[0]);                                                             \
        VGA_EACH(d, mask, R, expr);                                                                \
        return VG_NEXT;                                                                            \
    }

#define W_OPS(bits, U, S, R, ROW)                                                                  \
    VGA_EXEC(and_##bits, R, ROW, R, ROW, a[l] & b[l])                                              \
    VGA_EXEC(or_##bits, R, ROW, R, ROW, a[l] | b[l])                                               \
    VGA_EXEC(xor_##bits, R, ROW, R, ROW, a[l] ^ b[l])                                              \
    VGA_EXEC(not_##bits, R, ROW, R, ROW, (U)~a[l])                                                 \
    VGA_EXEC(cnot_##bits, R, ROW, R, ROW, a[l] == 0)                                               \
    SHIFT(shl_##bits, R, ROW, b[l] >= bits ? 0 : (U)(a[l] << (b[l] & (bits - 1))))                 \
    SHIFT(shru_##bits, R, ROW, b[l] >= bits ? 0 : (U)a[l] >> (b[l] & (bits - 1)))                  \
    SHIFT(shrs_##bits, R, ROW, (U)((S)(U)a[l] >> (b[l] >= bits ? bits - 1 : b[l])))
WIDTHS(W_OPS)

#define PREDICATE(name, expr)                                                                      \
    static enum vg_next name##_pred(vg_warp *w, const vg_inst *in, uint32_t mask) {                \
        const uint32_t a = VG_PRED(w, in->s[0]), b = VG_PRED(w, in->s[1]);                         \
        (void)b;                                                                                   \
        vga_set_pred(w, in->d[0], mask, expr);                                                     \
        return VG_NEXT;                                                                            \
    }
PREDICATE(and, a &b)
PREDICATE(or, a | b)
PREDICATE(xor, a ^ b)
PREDICATE(not, ~a)

/// Bit i of the table in `sub` is the result of the bits 4a + 2b + c = i.
VGA_FAST static enum vg_next ex_lop3(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t *const a = VG_ROW32(w, in->s[0]), *const b = VG_ROW32(w, in->s[1]);
    const uint32_t *const c = VG_ROW32(w, in->s[2]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    uint32_t m[8];
    for (int i = 0; i < 8; i++) m[i] = 0u - (in->sub >> i & 1u);
#define HALF(o, y, z)                                                                              \
    ((~(z) & ((~(y)&m[o]) | ((y)&m[(o) + 2]))) | ((z) & ((~(y)&m[(o) + 1]) | ((y)&m[(o) + 3]))))
    VGA_EACH(d, mask, uint32_t, (~a[l] & HALF(0, b[l], c[l])) | (a[l] & HALF(4, b[l], c[l])));
#undef HALF
    return VG_NEXT;
}

/// lop3 with a predicate result: (d != 0) and or or `s[3]`.
static enum vg_next ex_lop3_bool(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t q = VG_PRED(w, in->s[3]) ^ (in->sub3 ? UINT32_MAX : 0);
    ex_lop3(w, in, mask);
    const uint32_t *const d = VG_ROW32(w, in->d[0]);
    uint32_t p = 0;
    for (int l = 0; l < 32; l++) p |= d[l] ? vga_bit[l] : 0;
    vga_set_pred(w, in->d[1], mask, in->sub2 ? p | q : p & q);
    return VG_NEXT;
}

static const struct {
    const char *op;
    uint8_t sources;
    bool shift;
    vg_exec *pred, *w16, *w32, *w64;
} ops[] = {
    {"and", 2, false, and_pred, and_16, and_32, and_64},
    {"or", 2, false, or_pred, or_16, or_32, or_64},
    {"xor", 2, false, xor_pred, xor_16, xor_32, xor_64},
    {"not", 1, false, not_pred, not_16, not_32, not_64},
    {"cnot", 1, false, NULL, cnot_16, cnot_32, cnot_64},
    {"shl", 2, true, NULL, shl_16, shl_32, shl_64},
    {"shr", 2, true, NULL, shru_16, shru_32, shru_64},
    {"shr.s", 2, true, NULL, shrs_16, shrs_32, shrs_64},
};

static void decode_lop3(vg_decoder *d, vg_inst *out, int type) {
    static const char *const bools[] = {"and", "or", NULL};
    const int with = vgd_one_of(d, bools);
    if (!vgd_count(d, with < 0 ? 5 : 6, with < 0 ? 5 : 6)) return;
    const ptx_opnd *const o = d->in->opnd;
    if (type != PTX_b32 || o[4].kind != PTX_O_INT) {
        vgd_fail(d, "lop3 wants .b32 and a constant table");
        return;
    }
    out->sub = (uint8_t)o[4].integer;
    out->run = with < 0 ? ex_lop3 : ex_lop3_bool;
    vga_sources(d, out, 1, 3, type);
    if (with < 0) {
        out->d[0] = vga_result(d, &o[0], type);
        return;
    }
    bool negated;
    out->s[3] = vga_pred_source(d, &o[5], &negated);
    out->sub2 = with == 1;
    out->sub3 = negated;
    if (o[0].kind != PTX_O_PAIR) {
        vgd_fail(d, "lop3 with a predicate wants d|p");
        return;
    }
    out->d[0] = vga_result(d, &o[0].list[0], type);
    out->d[1] = o[0].list[1].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0].list[1]);
}

void vgd_logic(vg_decoder *d, vg_inst *out) {
    const int type = vgd_type(d, 0);
    out->cls = VG_C_int;
    if (vga_is(d, "lop3")) {
        decode_lop3(d, out, type);
        return;
    }
    const bool arithmetic = vga_is(d, "shr") && ptx_types[type].kind == PTX_K_INT;
    const char *const op = arithmetic ? "shr.s" : d->in->op;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].op, op)) continue;
        const uint8_t kind = ptx_types[type].kind;
        const bool word = kind == PTX_K_BITS || (kind == PTX_K_UINT && ops[i].shift) || arithmetic;
        const unsigned bits = ptx_types[type].bits;
        out->run = type == PTX_pred ? ops[i].pred
                   : !word          ? NULL
                   : bits == 16     ? ops[i].w16
                   : bits == 32     ? ops[i].w32
                   : bits == 64     ? ops[i].w64
                                    : NULL;
        if (!out->run) break;
        if (!vgd_count(d, ops[i].sources + 1u, ops[i].sources + 1u)) return;
        const ptx_opnd *const o = d->in->opnd;
        if (type == PTX_pred) {
            out->s[0] = vga_pred_source(d, &o[1], NULL);
            out->s[1] = ops[i].sources == 2 ? vga_pred_source(d, &o[2], NULL) : out->s[0];
            out->d[0] = o[0].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0]);
            return;
        }
        vga_sources(d, out, 1, ops[i].shift ? 1 : ops[i].sources, type);
        if (ops[i].shift) out->s[1] = vgd_source(d, &o[2], PTX_u32);
        out->d[0] = vga_result(d, &o[0], type);
        return;
    }
    vgd_fail(d, "%s has no form for this type", d->in->op);
}
