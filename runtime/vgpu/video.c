// SPDX-License-Identifier: Apache-2.0
// Video instructions: arithmetic of parts of words, with saturation, a merge or a second operation.
// A thread at a time: nobody's inner loop has them any more.
#include "runtime/vgpu/alu.h"

enum { ADD, SUB, ABSDIFF, MIN, MAX, SHL, SHR, MAD, SET, AVRG };
enum { THEN_NOTHING, THEN_ADD, THEN_MIN, THEN_MAX, THEN_MERGE };
/// Parts of words as selectors name them: b0 b1 b2 b3 h0 h1; -1: the whole.
typedef struct {
    uint8_t op, then, lanes; // lanes: 1, or 2 or 4 of the SIMD forms
    int8_t part[3];          // of a, b; where the result is merged
    bool sign[3];            // of a, b; of the result
    bool negate[3];          // vmad: the product, by a or b; c
    bool saturate, wrap, plus_one;
    uint8_t shift;   // vmad
    uint8_t compare; // vset
    uint8_t mask;    // SIMD: lanes that are written
} video;

static int64_t part_of(uint32_t x, int part, bool sign) {
    if (part < 0) return sign ? (int64_t)(int32_t)x : (int64_t)x;
    const unsigned bits = part < 4 ? 8 : 16,
                   at = part < 4 ? 8 * (unsigned)part : 16 * (unsigned)(part - 4);
    const uint32_t v = x >> at & ((1u << bits) - 1);
    return sign && v >> (bits - 1) ? (int64_t)v - (1 << bits) : (int64_t)v;
}
static int64_t clamp(int64_t x, unsigned bits, bool sign) {
    const int64_t lo = sign ? -((int64_t)1 << (bits - 1)) : 0,
                  hi = ((int64_t)1 << (sign ? bits - 1 : bits)) - 1;
    return x < lo ? lo : x > hi ? hi : x;
}

static int64_t compute(const video *v, int64_t a, int64_t b, unsigned bits) {
    switch (v->op) {
    case ADD:
        return a + b;
    case SUB:
        return a - b;
    case ABSDIFF:
        return a > b ? a - b : b - a;
    case MIN:
        return a < b ? a : b;
    case MAX:
        return a > b ? a : b;
    case AVRG:
        return (a + b + (a + b >= 0)) >> 1;
    case SHL:
    case SHR: {
        const uint64_t by = v->wrap              ? (uint64_t)b & (bits - 1)
                            : (uint64_t)b > bits ? bits
                                                 : (uint64_t)b;
        return v->op == SHL ? (int64_t)((uint64_t)a << by) : a >> by;
    }
    default:
        switch (v->compare) {
        case 0:
            return a == b;
        case 1:
            return a != b;
        case 2:
            return a < b;
        case 3:
            return a <= b;
        case 4:
            return a > b;
        default:
            return a >= b;
        }
    }
}

/// vmad as GPUs make it: a signed multiply-add of 64 bits, whatever the types, then a shift. The sum
/// counts as unsigned if a, b and their signs do: it is shifted in zeros, and clamped below by its sign.
static uint32_t multiply_add(const video *v, uint32_t a, uint32_t b, uint32_t c) {
    const int64_t x = (int32_t)part_of(a, v->part[0], v->sign[0]),
                  y = (int32_t)part_of(b, v->part[1], v->sign[1]), z = (int32_t)c;
    const bool minus = v->negate[0] != v->negate[1];
    const uint64_t p = minus ? 0 - (uint64_t)(x * y) : (uint64_t)(x * y);
    const uint64_t sum = p + (v->negate[2] ? 0 - (uint64_t)z : (uint64_t)z) + v->plus_one;
    if (v->sign[0] || v->sign[1] || minus || v->negate[2]) {
        const int64_t r = (int64_t)sum >> v->shift;
        return (uint32_t)(v->saturate ? clamp(r, 32, true) : r);
    }
    const uint64_t r = sum >> v->shift;
    if (!v->saturate) return (uint32_t)r;
    return (int64_t)r < 0 ? 0 : r > UINT32_MAX ? UINT32_MAX : (uint32_t)r;
}

static uint32_t scalar(const video *v, uint32_t a, uint32_t b, uint32_t c) {
    if (v->op == MAD) return multiply_add(v, a, b, c);
    int64_t r =
        compute(v, part_of(a, v->part[0], v->sign[0]), part_of(b, v->part[1], v->sign[1]), 32);
    const int part = v->part[2];
    const unsigned bits = v->then != THEN_MERGE || part < 0 ? 32 : part < 4 ? 8 : 16;
    if (v->saturate) r = clamp(r, bits, v->sign[2]);
    const uint32_t x = (uint32_t)r;
    const bool less = v->sign[2] ? (int32_t)x < (int32_t)c : x < c;
    switch (v->then) {
    case THEN_ADD:
        return x + c;
    case THEN_MIN:
        return less ? x : c;
    case THEN_MAX:
        return less ? c : x;
    case THEN_MERGE: {
        if (part < 0) return x;
        const unsigned at = part < 4 ? 8 * (unsigned)part : 16 * (unsigned)(part - 4);
        const uint32_t m = ((1u << bits) - 1) << at;
        return (c & ~m) | ((x << at) & m);
    }
    default:
        return x;
    }
}

static uint32_t simd(const video *v, uint32_t a, uint32_t b, uint32_t c) {
    const unsigned bits = 32 / v->lanes;
    uint32_t out = v->then == THEN_ADD ? c : 0;
    for (unsigned i = 0; i < v->lanes; i++) {
        const int part = v->lanes == 4 ? (int)i : 4 + (int)i;
        const uint32_t m = ((1u << (bits - 1) << 1) - 1) << (bits * i);
        if (!(v->mask >> i & 1)) {
            if (v->then != THEN_ADD) out |= c & m;
            continue;
        }
        int64_t r = compute(v, part_of(a, part, v->sign[0]), part_of(b, part, v->sign[1]), bits);
        if (v->saturate) r = clamp(r, bits, v->sign[2]);
        if (v->then == THEN_ADD)
            out += (uint32_t)r;
        else
            out |= ((uint32_t)r << (bits * i)) & m;
    }
    return out;
}

static enum vg_next ex_video(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const video *const v = in->aux;
    const uint32_t *const a = VG_ROW32(w, in->s[0]), *const b = VG_ROW32(w, in->s[1]),
                          *const c = VG_ROW32(w, in->s[2]);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t,
             v->lanes == 1 ? scalar(v, a[l], b[l], c[l]) : simd(v, a[l], b[l], c[l]));
    return VG_NEXT;
}

/// A register with a selector: read whole, the executor takes the part.
static vg_row part_row(vg_decoder *d, const ptx_opnd *o, int8_t *part, bool *negated) {
    ptx_opnd whole = *o;
    *part = o->kind == PTX_O_REG ? o->part : -1;
    if (negated) *negated = o->negated, whole.negated = false;
    whole.part = -1;
    return vgd_source(d, &whole, PTX_u32);
}

void vgd_video(vg_decoder *d, vg_inst *out) {
    static const char *const names[] = {"vadd", "vsub", "vabsdiff", "vmin",  "vmax", "vshl",
                                        "vshr", "vmad", "vset",     "vavrg", NULL};
    static const char *const thens[] = {"add", "min", "max", NULL}, *const clamps[] = {
                                                                        "clamp", "wrap", NULL};
    static const char *const compares[] = {"eq", "ne", "lt", "le", "gt", "ge", NULL};
    video *const v = vgd_alloc(d, sizeof *v);
    const char *const op = d->in->op;
    const size_t len = strlen(op);
    v->lanes = op[len - 1] == '2' ? 2 : op[len - 1] == '4' ? 4 : 1;
    for (int i = 0; names[i]; i++)
        if (!strncmp(op, names[i], strlen(names[i])) && strlen(names[i]) == len - (v->lanes > 1))
            v->op = (uint8_t)i;
    const bool set = v->op == SET, mad = v->op == MAD, shift = v->op == SHL || v->op == SHR;
    const int types[3] = {vgd_type(d, set ? 0 : 1), vgd_type(d, set ? 1 : 2),
                          set ? PTX_u32 : vgd_type(d, 0)};
    for (int i = 0; i < 3; i++) {
        if (types[i] != PTX_u32 && types[i] != PTX_s32) {
            vgd_fail(d, "%s wants .u32 or .s32", op);
            return;
        }
        v->sign[i] = types[i] == PTX_s32;
    }
    v->saturate = !set && vgd_mod(d, "sat");
    if (shift) {
        const int how = vgd_one_of(d, clamps);
        if (how < 0) vgd_fail(d, "%s wants clamp or wrap", op);
        v->wrap = how == 1;
    }
    if (set) {
        const int c = vgd_one_of(d, compares);
        if (c < 0) vgd_fail(d, "vset wants a comparison");
        v->compare = (uint8_t)c;
    }
    if (mad) {
        v->plus_one = vgd_mod(d, "po");
        v->shift = vgd_mod(d, "shr7") ? 7 : vgd_mod(d, "shr15") ? 15 : 0;
    } else {
        v->then = (uint8_t)(vgd_one_of(d, thens) + 1);
        if (v->lanes > 1 && v->then > THEN_ADD) vgd_fail(d, "%s can only be followed by add", op);
    }
    const bool three = mad || v->then || v->lanes > 1;
    if (!vgd_count(d, three ? 4 : 3, 4)) return;
    const ptx_opnd *const o = d->in->opnd;
    ptx_opnd to = o[0];
    v->part[2] = to.kind == PTX_O_REG ? to.part : -1;
    to.part = -1;
    if (d->in->nopnd == 4 && !three) v->then = THEN_MERGE;
    v->mask = (uint8_t)((1u << v->lanes) - 1);
    out->aux = v;
    out->cls = VG_C_int;
    out->run = ex_video;
    out->s[0] = part_row(d, &o[1], &v->part[0], &v->negate[0]);
    out->s[1] = part_row(d, &o[2], &v->part[1], &v->negate[1]);
    int8_t whole;
    out->s[2] = d->in->nopnd == 4 ? part_row(d, &o[3], &whole, &v->negate[2]) : out->s[0];
    out->d[0] = vga_result(d, &to, PTX_u32);
}
