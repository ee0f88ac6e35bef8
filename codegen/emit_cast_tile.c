// SPDX-License-Identifier: Apache-2.0
// Number conversions of whole tiles: packed sequences for the pairs that weights and activations go
// through, slot by slot for the rest; and bitcasts. Counts of instructions are in the tables of the
// low-bit kernels; here each sequence works on one pair of results, in two 16-bit lanes.
#include "codegen/cast.h"
#include "vm/bitorder.h"

LLVMValueRef cg_prmt(cg *g, LLVMValueRef a, LLVMValueRef b, uint32_t sel) {
    LLVMValueRef x[3] = {a, b, cg_i32(g, sel)};
    return cg_call(g, "llvm.nvvm.prmt", g->t_i32, 3, x);
}

LLVMValueRef cg_mask_or(cg *g, LLVMValueRef x, uint32_t mask, uint32_t with, bool exclusive) {
    const char *text = vm_format(g->arena, "lop3.b32 $0, $1, 0x%x, 0x%x, 0x%x;", mask, with,
                                 exclusive ? 0x6au : 0xeau);
    return cg_asm(g, text, "=r,r", g->t_i32, 1, &x, false);
}

LLVMValueRef cg_pair_const(cg *g, vm_dtype t, double x) {
    LLVMValueRef c = cg_const(g, t, vm_encode(t, x, vm_default_rounding(t)));
    LLVMValueRef two[2] = {c, c};
    return LLVMConstVector(two, 2);
}

static LLVMValueRef add_pair(cg *g, vm_dtype t, LLVMValueRef bits, double x) {
    LLVMValueRef v = cg_bitcast(g, bits, cg_word_type(g, t));
    if (x == 0) return v;
    return LLVMBuildFAdd(g->b, v, cg_pair_const(g, t, x), "");
}

/// The bit string from bit `by` of word i on; by < 32.
static LLVMValueRef string_from(cg *g, LLVMValueRef const *x, uint32_t i, uint32_t words, unsigned by) {
    if (!by) return x[i];
    if (i + 1 >= words) return LLVMBuildLShr(g->b, x[i], cg_i32(g, by), "");
    LLVMValueRef f[3] = {x[i + 1], x[i], cg_i32(g, by)};
    return cg_call(g, "llvm.fshr.i32", g->t_i32, 3, f);
}

/// Slots 2w and 2w + 1 of a packed tile, in the two lanes of a word, both from bit *at on; the other bits
/// are those of neighbours. The second slot comes from the string moved down by one slot, which is made
/// once a word, so that most pairs take a PRMT and nothing else.
static LLVMValueRef lanes(cg *g, unsigned b, LLVMValueRef const *x, uint32_t w, uint32_t words, unsigned *at) {
    const uint32_t first = 2 * b * w, i = first / 32, off = first % 32;
    const bool over = off % 8 + b > 8 && off >= 24; // reaches into the next word
    const unsigned by = over ? 16 : 0;
    const uint32_t k = (off - by) / 8;
    *at = off % 8;
    LLVMValueRef lo = string_from(g, x, i, words, by);
    if (b == 8) return cg_prmt(g, lo, cg_i32(g, 0), k | 4u << 4 | (k + 1) << 8 | 4u << 12);
    LLVMValueRef hi = string_from(g, x, i, words, by + b);
    const uint32_t next = k < 3 ? k + 1 : k;
    return cg_prmt(g, lo, hi, k | next << 4 | (4 + k) << 8 | (4 + next) << 12);
}

/// The same with the codes at the top of the lanes, so that a sign is in place; of 4 and 8 bits.
static LLVMValueRef top_lanes(cg *g, unsigned b, LLVMValueRef const *x, uint32_t w, unsigned *at) {
    const uint32_t first = 2 * b * w, k = first % 32 / 8;
    LLVMValueRef v = x[first / 32];
    *at = 16 - b;
    if (b == 8) return cg_prmt(g, v, cg_i32(g, 0), 4 | k << 4 | 4u << 8 | (k + 1) << 12);
    LLVMValueRef up = LLVMBuildShl(g->b, v, cg_i32(g, 4), "");
    return cg_prmt(g, up, v, k | k << 4 | (4 + k) << 8 | (4 + k) << 12);
}

// ---- integers to f16 and bf16 -------------------------------------------------------------------

/// The code lands in the mantissa of 1024 (f16) or 128 (bf16), which is taken off again. Signed codes
/// have their sign bit flipped: then they count from the least one.
static LLVMValueRef int_pair(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef const *x, uint32_t w,
                             uint32_t words, double kept) {
    const unsigned b = vm_bits(from);
    const bool sign = vm_dtypes[from].kind == K_INT;
    const uint32_t flip = sign ? 1u << (b - 1) : 0;
    if (b == 8 && to == T_f16) {
        const uint32_t i = w / 2, k = w % 2 * 2;
        LLVMValueRef y = sign ? LLVMBuildXor(g->b, x[i], cg_i32(g, 0x80808080), "") : x[i];
        y = cg_prmt(g, y, cg_i32(g, 0x64646464), k | 4u << 4 | (k + 1) << 8 | 4u << 12);
        return add_pair(g, to, y, (sign ? -1152 : -1024) + kept);
    }
    if (b == 8) { // seven mantissa bits: the top bit is a second number, 128 or 256
        unsigned at;
        LLVMValueRef y = lanes(g, 8, x, w, words, &at);
        LLVMValueRef low = cg_mask_or(g, y, 0x007f007f, 0x43004300, false);
        LLVMValueRef top = cg_mask_or(g, y, 0x00800080, 0x43004300, false);
        low = cg_bitcast(g, low, g->t_v2bf16);
        top = cg_bitcast(g, top, g->t_v2bf16);
        if (sign) return LLVMBuildFSub(g->b, low, top, "");
        top = LLVMBuildFAdd(g->b, top, cg_pair_const(g, to, -256), "");
        return LLVMBuildFAdd(g->b, low, top, "");
    }
    const unsigned room = to == T_f16 ? 10 : 7;
    unsigned at;
    LLVMValueRef y = lanes(g, b, x, w, words, &at);
    if (at + b > room) {
        y = LLVMBuildLShr(g->b, y, cg_i32(g, at), "");
        at = 0;
    }
    const uint32_t mask = ((1u << b) - 1) << at, with = (to == T_f16 ? 0x6400u : 0x4300u) | flip << at;
    y = cg_mask_or(g, y, mask | mask << 16, with | with << 16, sign);
    const double unit = 1u << at, least = -(double)(1 << room) / unit - flip + kept;
    if (!at) return add_pair(g, to, y, least);
    LLVMValueRef f[3] = {cg_bitcast(g, y, cg_word_type(g, to)), cg_pair_const(g, to, 1 / unit), cg_pair_const(g, to, least)};
    return cg_call(g, to == T_f16 ? "llvm.fma.v2f16" : "llvm.fma.v2bf16", cg_word_type(g, to), 3, f);
}

// ---- small floats to f16 and bf16 ---------------------------------------------------------------

/// Exponent and mantissa moved to where the wider type has them, times a power of two.
static bool float_pair_fits(vm_dtype from, vm_dtype to) {
    const vm_dtype_info *d = &vm_dtypes[from];
    if (!vm_is_float(from) || d->bits > 8) return false;
    if (to == T_f16) return d->e <= 5;
    return d->special != SP_IEEE;
}

static LLVMValueRef float_pair(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef const *x, uint32_t w,
                               uint32_t words, bool numbers) {
    const vm_dtype_info *d = &vm_dtypes[from];
    const unsigned b = d->bits, e = d->e, m = d->m;
    const unsigned room = to == T_f16 ? 10 : 7;
    unsigned at;
    if (d->special == SP_SCALE) {
        LLVMValueRef z = LLVMBuildLShr(g->b, top_lanes(g, b, x, w, &at), cg_i32(g, 1), "");
        z = LLVMBuildAnd(g->b, z, cg_i32(g, 0x7f807f80), "");
        return numbers ? cg_scale_number(g, z) : cg_scale_pair(g, z);
    }
    LLVMValueRef v = b == 4 || b == 8 ? top_lanes(g, b, x, w, &at) : lanes(g, b, x, w, words, &at);
    const unsigned to_at = room - m;
    const uint32_t mag = ((1u << (e + m)) - 1) << to_at;
    LLVMValueRef t = to_at > at ? LLVMBuildShl(g->b, v, cg_i32(g, to_at - at), "")
                     : at > to_at ? LLVMBuildLShr(g->b, v, cg_i32(g, at - to_at), "") : v;
    LLVMValueRef s = at + b < 16 ? LLVMBuildShl(g->b, v, cg_i32(g, 16 - b - at), "") : v;
    s = LLVMBuildAnd(g->b, s, cg_i32(g, 0x80008000), "");
    t = LLVMBuildAnd(g->b, t, cg_i32(g, mag | mag << 16), "");
    LLVMValueRef y = cg_bitcast(g, LLVMBuildOr(g->b, t, s, ""), cg_word_type(g, to));
    const int by = (to == T_f16 ? 15 : 127) - ((1 << (e - 1)) - 1);
    double scale = 1;
    for (int i = 0; i < by; i++) scale *= 2;
    if (by) y = LLVMBuildFMul(g->b, y, cg_pair_const(g, to, scale), "");
    else if (d->special == SP_NONE) y = cg_clip_pair(g, y);
    if (d->special == SP_NAN && !numbers) { // the code of all ones came out as one more number
        const double top = vm_decode(from, (1u << (e + m)) - 2);
        LLVMValueRef a = cg_call(g, to == T_f16 ? "llvm.fabs.v2f16" : "llvm.fabs.v2bf16",
                                 LLVMTypeOf(y), 1, &y);
        LLVMValueRef over = LLVMBuildFCmp(g->b, LLVMRealOGT, a, cg_pair_const(g, to, top), "");
        LLVMValueRef nan = cg_const(g, to, to == T_f16 ? 0x7e00 : 0x7fc0);
        LLVMValueRef two[2] = {nan, nan};
        y = LLVMBuildSelect(g->b, over, LLVMConstVector(two, 2), y, "");
    }
    return y;
}

static LLVMValueRef halfword(cg *g, LLVMValueRef x, uint32_t k) {
    if (k) x = LLVMBuildLShr(g->b, x, cg_i32(g, 16), "");
    return LLVMBuildTrunc(g->b, x, g->t_i16, "");
}

/// e4m3 and e5m2 to f16 pairs by instruction.
static LLVMValueRef native_pair(cg *g, vm_dtype from, LLVMValueRef const *x, uint32_t w) {
    LLVMValueRef h = halfword(g, x[w / 2], w % 2);
    return cg_call(g, from == T_f8e4m3 ? "llvm.nvvm.e4m3x2.to.f16x2.rn" : "llvm.nvvm.e5m2x2.to.f16x2.rn",
                   g->t_v2f16, 1, &h);
}

LLVMValueRef cg_widen_pair(cg *g, vm_dtype from, LLVMValueRef v, int k) {
    if (from == T_bf16) {
        LLVMValueRef u = cg_bitcast(g, v, g->t_i32);
        u = k ? LLVMBuildAnd(g->b, u, cg_i32(g, 0xffff0000), "") : LLVMBuildShl(g->b, u, cg_i32(g, 16), "");
        return cg_bitcast(g, u, g->t_f32);
    }
    v = LLVMBuildExtractElement(g->b, v, cg_i32(g, k), "");
    return LLVMBuildFPExt(g->b, v, g->t_f32, "");
}

LLVMValueRef cg_narrow_pair(cg *g, vm_dtype to, LLVMValueRef lo, LLVMValueRef hi) {
    LLVMValueRef v = LLVMGetUndef(LLVMVectorType(g->t_f32, 2));
    v = LLVMBuildInsertElement(g->b, v, lo, cg_i32(g, 0), "");
    v = LLVMBuildInsertElement(g->b, v, hi, cg_i32(g, 1), "");
    return LLVMBuildFPTrunc(g->b, v, cg_word_type(g, to), "");
}

// ---- tiles --------------------------------------------------------------------------------------

static bool is_fp8(vm_dtype t) { return t == T_f8e4m3 || t == T_f8e5m2; }
static bool is_pair(vm_dtype t) { return t == T_f16 || t == T_bf16; }

static cg_tile *to_pairs(cg *g, const cg_tile *x, vm_dtype to, vm_rounding how) {
    const vm_dtype from = x->elem;
    const bool split = to == T_f16 && vm_bits(from) <= 8 && vm_dtypes[from].e > 5; // beyond its range
    const bool native = is_fp8(from) && (g->arch->features & A_FP8_CVT) && !(how.numbers && vm_has_numbers(from));
    const bool ints = vm_is_int(from) && vm_bits(from) <= 8;
    if (!native && !ints && !split && !float_pair_fits(from, to) && from != T_f32 && !is_pair(from)) return NULL;
    cg_tile *r = cg_tile_new(g, to, x->slots);
    LLVMValueRef four[2] = {0};
    for (uint32_t w = 0; w < r->nwords; w++) {
        LLVMValueRef y;
        if (split) {
            if (w % 2 == 0) cg_split_pairs(g, from, how.numbers, false, x->word[w / 2], four);
            y = four[w % 2];
        } else if (from == T_f32) {
            LLVMValueRef hi = 2 * w + 1 < x->slots ? x->word[2 * w + 1] : LLVMConstNull(g->t_f32);
            y = cg_narrow_pair(g, to, x->word[2 * w], hi);
        } else if (is_pair(from)) {
            y = cg_narrow_pair(g, to, cg_widen_pair(g, from, x->word[w], 0), cg_widen_pair(g, from, x->word[w], 1));
        } else if (native) {
            y = native_pair(g, from, x->word, w);
            if (to == T_bf16) y = cg_narrow_pair(g, to, cg_widen_pair(g, T_f16, y, 0), cg_widen_pair(g, T_f16, y, 1));
        } else if (ints) {
            y = int_pair(g, from, to, x->word, w, x->nwords, how.offset ? bits_offset(from, to) : 0);
        } else {
            y = float_pair(g, from, to, x->word, w, x->nwords, how.numbers);
        }
        r->word[w] = y;
    }
    return r;
}

static cg_tile *to_f32_tile(cg *g, const cg_tile *x, vm_rounding how) {
    const bool native = is_fp8(x->elem) && (g->arch->features & A_FP8_CVT);
    cg_tile *half = x->elem == T_bool || vm_bits(x->elem) > 8 ? NULL : to_pairs(g, x, native ? T_f16 : T_bf16, how);
    if (!half && !is_pair(x->elem)) return NULL;
    const cg_tile *p = half ? half : x;
    cg_tile *r = cg_tile_new(g, T_f32, x->slots);
    for (uint32_t s = 0; s < x->slots; s++) r->word[s] = cg_widen_pair(g, p->elem, p->word[s / 2], (int)(s % 2));
    return r;
}

/// f32, f16 and, by way of f32, bf16 to e4m3 and e5m2 by instruction: it saturates, as `as` does.
static cg_tile *to_fp8(cg *g, const cg_tile *x, vm_dtype to) {
    if (!(g->arch->features & A_FP8_CVT) || (x->elem != T_f32 && !is_pair(x->elem))) return NULL;
    cg_tile *r = cg_tile_new(g, to, x->slots);
    const bool e4 = to == T_f8e4m3;
    for (uint32_t w = 0; w < r->nwords; w++) {
        LLVMValueRef half[2] = {cg_i32(g, 0), cg_i32(g, 0)};
        for (uint32_t k = 0; k < 2; k++) {
            const uint32_t s = 4 * w + 2 * k;
            if (s >= x->slots) break;
            LLVMValueRef p;
            if (x->elem == T_f16) {
                p = cg_call(g, e4 ? "llvm.nvvm.f16x2.to.e4m3x2.rn" : "llvm.nvvm.f16x2.to.e5m2x2.rn",
                            g->t_i16, 1, &x->word[s / 2]);
            } else {
                const bool wide = x->elem == T_f32;
                LLVMValueRef lo = wide ? x->word[s] : cg_widen_pair(g, T_bf16, x->word[s / 2], 0);
                LLVMValueRef hi = !wide ? cg_widen_pair(g, T_bf16, x->word[s / 2], 1)
                                  : s + 1 < x->slots ? x->word[s + 1] : LLVMConstNull(g->t_f32);
                LLVMValueRef a[2] = {hi, lo};
                p = cg_call(g, e4 ? "llvm.nvvm.ff.to.e4m3x2.rn" : "llvm.nvvm.ff.to.e5m2x2.rn", g->t_i16, 2, a);
            }
            half[k] = LLVMBuildZExt(g->b, p, g->t_i32, "");
        }
        LLVMValueRef hi = LLVMBuildShl(g->b, half[1], cg_i32(g, 16), "");
        r->word[w] = LLVMBuildOr(g->b, half[0], hi, "");
    }
    return r;
}

/// Between integers of one width the codes stay.
static cg_tile *same_codes(cg *g, const cg_tile *x, vm_dtype to) {
    if (!vm_is_int(x->elem) || !vm_is_int(to) || vm_bits(x->elem) != vm_bits(to)) return NULL;
    cg_tile *r = cg_tile_new(g, to, x->slots);
    for (uint32_t i = 0; i < r->nwords; i++) r->word[i] = x->word[i];
    return r;
}

cg_tile *cg_cast_tile(cg *g, const cg_tile *x, vm_dtype to, vm_rounding r) {
    const vm_rounding usual = vm_default_rounding(to);
    cg_tile *y = same_codes(g, x, to);
    if (!y && r.round == usual.round && r.saturate == usual.saturate) {
        if (is_pair(to) && x->elem != to) y = to_pairs(g, x, to, r);
        else if (to == T_f32) y = to_f32_tile(g, x, r);
        else if (is_fp8(to)) y = to_fp8(g, x, to);
    }
    if (y) return y;
    LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, x->slots + 1);
    for (uint32_t i = 0; i < x->slots; i++) s[i] = cg_cast(g, x->elem, to, cg_slot(g, x, i), r);
    return cg_tile_from_slots(g, to, x->slots, s);
}

// ---- emitters -----------------------------------------------------------------------------------

void emit_cast(cg *g, ir_op *op) {
    const ir_value *r = op->res[0], *x = op->ops[0];
    const vm_dtype to = r->type.elem;
    const vm_rounding how = ir_rounding(op);
    cg_tile *decoded = cg_is_tile(r) ? cg_decode_cast(g, op, to) : NULL;
    if (decoded) cg_set_tile(g, r, decoded);
    else if (cg_is_tile(r)) cg_set_tile(g, r, cg_cast_tile(g, cg_tile_of(g, x), to, how));
    else cg_set_scalar(g, r, cg_cast(g, x->type.elem, to, cg_scalar(g, x), how));
}

void emit_bitcast(cg *g, ir_op *op) {
    const ir_value *r = op->res[0], *x = op->ops[0];
    const vm_dtype from = x->type.elem, to = r->type.elem;
    if (!cg_is_tile(r)) {
        LLVMTypeRef wide = vm_bits(from) > 32 ? g->t_i64 : g->t_i32;
        cg_set_scalar(g, r, cg_from_code(g, to, cg_code(g, from, cg_scalar(g, x), wide)));
        return;
    }
    const cg_tile *t = cg_tile_of(g, x);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, cg_ni32(from, t->slots) + 1);
    cg_tile_to_i32(g, t, w);
    cg_set_tile(g, r, cg_tile_from_i32(g, to, t->slots, w));
}
