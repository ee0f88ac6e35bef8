// SPDX-License-Identifier: Apache-2.0
// Copies, packing and unpacking of vectors, selection.
#include "runtime/vgpu/alu.h"

VGA_EXEC32(mov_32, a[l])
VGA_EXEC64(mov_64, a[l])

static enum vg_next mov_128(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint64_t *const a = VG_ROW64(w, in->s[0]);
    uint64_t *const d = VG_ROW64(w, in->d[0]);
    for (int l = 0; l < 32; l++)
        if (mask & vga_bit[l]) d[2 * l] = a[2 * l], d[2 * l + 1] = a[2 * l + 1];
    return VG_NEXT;
}

static enum vg_next mov_pred(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vga_set_pred(w, in->d[0], mask, VG_PRED(w, in->s[0]));
    return VG_NEXT;
}

// ---- vectors
// -------------------------------------------------------------------------------------- sub: bits
// of an element, sub2: bits of the whole; rows: the elements.

#define PACK(name, R, ROW, bits)                                                                   \
    VGA_FAST static enum vg_next pack_##name(vg_warp *w, const vg_inst *in, uint32_t mask) {       \
        R v[32] = {0};                                                                             \
        for (uint32_t i = 0; i < in->nrows; i++) {                                                 \
            const uint32_t at = i * in->sub;                                                       \
            const R keep = (R) ~(R)0 >> (bits - in->sub);                                          \
            if (in->sub == 32 && bits == 64) {                                                     \
                const uint32_t *const e = VG_ROW32(w, in->rows[i]);                                \
                for (int l = 0; l < 32; l++) v[l] |= (R)((uint64_t)e[l] << at);                    \
            } else {                                                                               \
                const uint32_t *const e = VG_ROW32(w, in->rows[i]);                                \
                for (int l = 0; l < 32; l++) v[l] |= (R)((R)(e[l] & keep) << at);                  \
            }                                                                                      \
        }                                                                                          \
        R *const d = ROW(w, in->d[0]);                                                             \
        VGA_EACH(d, mask, R, v[l]);                                                                \
        return VG_NEXT;                                                                            \
    }
PACK(32, uint32_t, VG_ROW32, 32)
PACK(64, uint64_t, VG_ROW64, 64)

#define UNPACK(name, R, ROW, bits)                                                                 \
    VGA_FAST static enum vg_next unpack_##name(vg_warp *w, const vg_inst *in, uint32_t mask) {     \
        R v[32];                                                                                   \
        memcpy(v, ROW(w, in->s[0]), sizeof v);                                                     \
        const R keep = (R) ~(R)0 >> (bits - in->sub);                                              \
        for (uint32_t i = 0; i < in->nrows; i++) {                                                 \
            if (in->rows[i] == VG_NO_ROW) continue;                                                \
            const uint32_t at = i * in->sub;                                                       \
            uint32_t *const d = VG_ROW32(w, in->rows[i]);                                          \
            VGA_EACH(d, mask, uint32_t, (v[l] >> at) & keep);                                      \
        }                                                                                          \
        return VG_NEXT;                                                                            \
    }
UNPACK(32, uint32_t, VG_ROW32, 32)
UNPACK(64, uint64_t, VG_ROW64, 64)

/// 128 bits as two of 64 or four of 32, either way.
static enum vg_next pack_128(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint64_t *const d = VG_ROW64(w, in->d[0]);
    for (int l = 0; l < 32; l++) {
        if (!(mask & vga_bit[l])) continue;
        uint64_t v[2] = {0, 0};
        for (uint32_t i = 0; i < in->nrows; i++) {
            if (in->sub == 64)
                v[i] = VG_ROW64(w, in->rows[i])[l];
            else
                v[i / 2] |= (uint64_t)VG_ROW32(w, in->rows[i])[l] << (i % 2 * 32);
        }
        d[2 * l] = v[0], d[2 * l + 1] = v[1];
    }
    return VG_NEXT;
}
static enum vg_next unpack_128(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint64_t *const s = VG_ROW64(w, in->s[0]);
    for (uint32_t l = 0; l < 32; l++) {
        if (!(mask & vga_bit[l])) continue;
        for (uint32_t i = 0; i < in->nrows; i++) {
            if (in->rows[i] == VG_NO_ROW) continue;
            if (in->sub == 64)
                VG_ROW64(w, in->rows[i])[l] = s[2 * l + i];
            else
                VG_ROW32(w, in->rows[i])[l] = (uint32_t)(s[2 * l + i / 2] >> (i % 2 * 32));
        }
    }
    return VG_NEXT;
}

static int bits_type(unsigned bits) {
    return bits == 8 ? PTX_b8 : bits == 16 ? PTX_b16 : bits == 32 ? PTX_b32 : PTX_b64;
}

static void decode_vector(vg_decoder *d, vg_inst *out, int type) {
    const ptx_opnd *const o = d->in->opnd;
    const bool unpack = o[0].kind == PTX_O_LIST;
    const ptx_opnd *const list = unpack ? &o[0] : &o[1];
    const unsigned bits = ptx_types[type].bits;
    const unsigned each = list->nlist ? bits / list->nlist : 0;
    if ((list->nlist != 2 && list->nlist != 4) || each < 8 || bits < 16 ||
        (bits == 16 && list->nlist != 2) || o[unpack].kind == PTX_O_LIST) {
        vgd_fail(d, "a vector of this size does not fit the type");
        return;
    }
    out->sub = (uint8_t)each;
    vg_row *const rows = vgd_alloc(d, list->nlist * sizeof *rows);
    for (uint32_t i = 0; i < list->nlist; i++)
        rows[i] = unpack ? vgd_result(d, &list->list[i], bits_type(each))
                         : vgd_source(d, &list->list[i], bits_type(each));
    out->rows = rows;
    out->nrows = list->nlist;
    if (unpack) {
        out->s[0] = vgd_source(d, &o[1], type);
        out->run = bits == 128 ? unpack_128 : bits == 64 ? unpack_64 : unpack_32;
    } else {
        out->d[0] = vga_result(d, &o[0], type);
        out->run = bits == 128 ? pack_128 : bits == 64 ? pack_64 : pack_32;
    }
}

void vgd_mov(vg_decoder *d, vg_inst *out) {
    const int type = vgd_type(d, 0);
    if (!vgd_count(d, 2, 2)) return;
    const ptx_opnd *const o = d->in->opnd;
    const unsigned bits = ptx_types[type].bits;
    out->cls = VG_C_move;
    if (type == PTX_pred) {
        out->run = mov_pred;
        out->s[0] = vga_pred_source(d, &o[1], NULL);
        out->d[0] = o[0].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0]);
        return;
    }
    if (bits < 16) {
        vgd_fail(d, "mov has no form for this type");
        return;
    }
    if (o[0].kind == PTX_O_LIST || o[1].kind == PTX_O_LIST) {
        decode_vector(d, out, type);
        return;
    }
    out->d[0] = vga_result(d, &o[0], type);
    out->run = bits == 128 ? mov_128 : bits == 64 ? mov_64 : mov_32;
    vga_sources(d, out, 1, 1, type);
}

// ---- selection
// ------------------------------------------------------------------------------------

#define SELP(name, R, ROW)                                                                         \
    VGA_FAST static enum vg_next name(vg_warp *w, const vg_inst *in, uint32_t mask) {              \
        const R *const a = ROW(w, in->s[0]), *const b = ROW(w, in->s[1]);                          \
        const uint32_t p = VG_PRED(w, in->s[2]) ^ (in->sub ? UINT32_MAX : 0);                      \
        R *const d = ROW(w, in->d[0]);                                                             \
        VGA_EACH(d, mask, R, p &vga_bit[l] ? a[l] : b[l]);                                         \
        return VG_NEXT;                                                                            \
    }
SELP(selp_32, uint32_t, VG_ROW32)
SELP(selp_64, uint64_t, VG_ROW64)

#define ZI ((int32_t)VG_ROW32(w, in->s[2])[l] >= 0)
#define ZF (vga_in32(VG_ROW32(w, in->s[2])[l], sub) >= 0)
VGA_EXEC32(slct_s_32, ZI ? a[l] : b[l])
VGA_EXEC64(slct_s_64, ZI ? a[l] : b[l])
VGA_EXEC32(slct_f_32, ZF ? a[l] : b[l])
VGA_EXEC64(slct_f_64, ZF ? a[l] : b[l])

void vgd_select(vg_decoder *d, vg_inst *out) {
    const int type = vgd_type(d, 0);
    if (!vgd_count(d, 4, 4)) return;
    const ptx_opnd *const o = d->in->opnd;
    const unsigned bits = ptx_types[type].bits;
    if (bits != 16 && bits != 32 && bits != 64) {
        vgd_fail(d, "%s has no form for this type", d->in->op);
        return;
    }
    out->cls = VG_C_move;
    vga_sources(d, out, 1, 2, type);
    if (vga_is(d, "selp")) {
        bool negated;
        out->s[2] = vga_pred_source(d, &o[3], &negated);
        out->sub = negated;
        out->run = bits == 64 ? selp_64 : selp_32;
    } else {
        const int by = vgd_type(d, 1);
        if (by != PTX_s32 && by != PTX_f32) vgd_fail(d, "slct wants .s32 or .f32 to select by");
        out->s[2] = vgd_source(d, &o[3], by);
        if (by == PTX_f32 && vgd_mod(d, "ftz")) out->sub = VGA_FTZ;
        out->run = by == PTX_s32 ? (bits == 64 ? slct_s_64 : slct_s_32)
                                 : (bits == 64 ? slct_f_64 : slct_f_32);
    }
    out->d[0] = vga_result(d, &o[0], type);
}
