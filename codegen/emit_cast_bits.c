// SPDX-License-Identifier: Apache-2.0
// Encoded tiles: the plan of vm/bitorder.h carried out. Each pair of results takes as many LOP3 as the
// plan has pieces, one rotation for each new place, and one arithmetic instruction. What a plan means
// is decided there; here is one rule for each of its four forms.
#include "codegen/cast.h"
#include "vm/bitorder.h"

LLVMValueRef cg_clip_pair(cg *g, LLVMValueRef y) {
    LLVMValueRef inf = cg_i32(g, 0x7c007c00);
    if (g->arch->sm >= 86) {
        LLVMValueRef a[2] = {cg_bitcast(g, y, g->t_i32), inf};
        LLVMValueRef r = cg_asm(g, "min.xorsign.abs.f16x2 $0, $1, $2;", "=r,r,r", g->t_i32, 2, a, false);
        return cg_bitcast(g, r, g->t_v2f16);
    }
    LLVMValueRef a[2] = {cg_call(g, "llvm.fabs.v2f16", g->t_v2f16, 1, &y), cg_bitcast(g, inf, g->t_v2f16)};
    LLVMValueRef m = cg_bitcast(g, cg_call(g, "llvm.minnum.v2f16", g->t_v2f16, 2, a), g->t_i32);
    LLVMValueRef s = LLVMBuildAnd(g->b, cg_bitcast(g, y, g->t_i32), cg_i32(g, 0x80008000), "");
    return cg_bitcast(g, LLVMBuildOr(g->b, m, s, ""), g->t_v2f16);
}

LLVMValueRef cg_scale_number(cg *g, LLVMValueRef bits) {
    LLVMValueRef a[2] = {cg_bitcast(g, bits, g->t_v2bf16), cg_bitcast(g, cg_i32(g, 0x00400040), g->t_v2bf16)};
    return cg_call(g, "llvm.maxnum.v2bf16", g->t_v2bf16, 2, a);
}

LLVMValueRef cg_scale_pair(cg *g, LLVMValueRef bits) {
    LLVMValueRef z = cg_bitcast(g, bits, g->t_v2bf16);
    LLVMValueRef f[3] = {z, cg_pair_const(g, T_bf16, 0), cg_scale_number(g, bits)};
    return cg_call(g, "llvm.fma.v2bf16", g->t_v2bf16, 3, f);
}

/// Bits `mask` of every byte, which have been moved up (or down) by `up` before.
static LLVMValueRef of_bytes(cg *g, LLVMValueRef x, int up, unsigned mask) {
    if (up > 0) x = LLVMBuildShl(g->b, x, cg_i32(g, up), "");
    if (up < 0) x = LLVMBuildLShr(g->b, x, cg_i32(g, -up), "");
    return LLVMBuildAnd(g->b, x, cg_i32(g, mask * 0x01010101u), "");
}

void cg_split_pairs(cg *g, vm_dtype q, bool numbers, bool encoded, LLVMValueRef x, LLVMValueRef pair[2]) {
    const vm_dtype_info *d = &vm_dtypes[q];
    const bits_split s = bits_split_of(q);
    const bool scale = d->special == SP_SCALE;
    LLVMValueRef top, next[2];
    if (scale) {
        top = of_bytes(g, x, encoded ? 0 : -1, s.top);
        next[0] = next[1] = of_bytes(g, x, encoded ? 0 : 7, s.next);
    } else {
        const unsigned low = s.top & 0x7f, keep = (unsigned)(s.next << s.up) & 0xff;
        const int up = encoded ? s.up : 7 - (int)d->m;
        top = encoded ? of_bytes(g, x, 0, s.top)
                      : LLVMBuildOr(g->b, of_bytes(g, x, 0, 0x80), of_bytes(g, x, -1 - (int)d->m, low), "");
        top = LLVMBuildAdd(g->b, top, cg_i32(g, s.add * 0x01010101u), "");
        // every other byte: those between are the zeros below
        LLVMValueRef y = LLVMBuildShl(g->b, x, cg_i32(g, up), "");
        next[0] = LLVMBuildAnd(g->b, y, cg_i32(g, keep * 0x00010001u), "");
        next[1] = LLVMBuildAnd(g->b, y, cg_i32(g, keep * 0x01000100u), "");
    }
    LLVMValueRef f[4];
    for (uint32_t k = 0; k < 4; k++) {
        // of a scale, the top byte's sign is 0; the last byte says that the exponent is odd, so that 255 is
        // a NaN, and 102, half of f16's least number, is that to the last bit
        const uint32_t zero = scale ? 8 | k : 4 + (k ^ 1), last = scale && !numbers ? 12 | k : zero;
        f[k] = cg_bitcast(g, cg_prmt(g, top, next[k % 2], k << 12 | (4 + k) << 8 | zero << 4 | last), g->t_f32);
    }
    pair[0] = cg_narrow_pair(g, T_f16, f[0], f[1]);
    pair[1] = cg_narrow_pair(g, T_f16, f[2], f[3]);
}

typedef struct {
    cg *g;
    vm_dtype q, t; // t: f16 or bf16, what the plan makes
    bits_plan plan;
    vm_rounding how;
    LLVMValueRef *word, *rotated; // 16 a word
} decoder;

static LLVMValueRef rotation(decoder *d, uint32_t w, unsigned r) {
    cg *g = d->g;
    LLVMValueRef *y = &d->rotated[w * 16 + r];
    if (*y) return *y;
    if (r) {
        LLVMValueRef f[3] = {rotation(d, w, 0), rotation(d, w, 0), cg_i32(g, r)};
        *y = cg_call(g, "llvm.fshl.i32", g->t_i32, 3, f);
    } else if (w == d->plan.words - 1 && d->plan.rest != 32) { // half of the bits into each lane
        LLVMValueRef up = LLVMBuildShl(g->b, d->word[w], cg_i32(g, 16 - d->plan.rest / 2), "");
        *y = cg_prmt(g, d->word[w], up, 0x7610);
    } else {
        *y = d->word[w];
    }
    return *y;
}

/// The pieces of a pair that belong to its first or second number, over the bits `with` of both lanes.
static LLVMValueRef gathered(decoder *d, const bits_pair *p, bool top, uint32_t with, bool exclusive) {
    cg *g = d->g;
    LLVMValueRef y = NULL;
    for (unsigned k = 0; k < p->n; k++) {
        const bits_piece *x = &p->piece[k];
        if (x->top != top) continue;
        LLVMValueRef v = rotation(d, x->word, x->rot);
        const uint32_t mask = x->mask | (uint32_t)x->mask << 16;
        if (!y && with) {
            y = cg_mask_or(g, v, mask, with | with << 16, exclusive);
            continue;
        }
        v = LLVMBuildAnd(g->b, v, cg_i32(g, mask), "");
        y = !y ? v : exclusive ? LLVMBuildXor(g->b, y, v, "") : LLVMBuildOr(g->b, y, v, "");
    }
    return y;
}

static LLVMValueRef as_pair(decoder *d, LLVMValueRef bits) {
    return cg_bitcast(d->g, bits, cg_word_type(d->g, d->t));
}

static LLVMValueRef fma_pair(decoder *d, LLVMValueRef x, double a, LLVMValueRef y) {
    LLVMValueRef f[3] = {x, cg_pair_const(d->g, d->t, a), y};
    return cg_call(d->g, d->t == T_f16 ? "llvm.fma.v2f16" : "llvm.fma.v2bf16", LLVMTypeOf(x), 3, f);
}

static double power(int n) {
    double x = 1;
    for (; n > 0; n--) x *= 2;
    for (; n < 0; n++) x /= 2;
    return x;
}

static LLVMValueRef int_pair(decoder *d, const bits_pair *p) {
    const double one = d->t == T_f16 ? 1024 : 128;
    const bool sign = vm_dtypes[d->q].kind == K_INT;
    const uint32_t flip = sign ? 1u << (vm_bits(d->q) - 1) : 0;
    const uint32_t with = (d->t == T_f16 ? 0x6400u : 0x4300u) | flip << p->shift;
    LLVMValueRef y = as_pair(d, gathered(d, p, false, with, sign));
    const double least = -one * power(-(int)p->shift) - flip + (d->how.offset ? bits_offset(d->q, d->t) : 0);
    if (least == 0 && !p->shift) return y;
    if (!p->shift) return LLVMBuildFAdd(d->g->b, y, cg_pair_const(d->g, d->t, least), "");
    return fma_pair(d, y, power(-(int)p->shift), cg_pair_const(d->g, d->t, least));
}

static LLVMValueRef wide_int_pair(decoder *d, const bits_pair *p) {
    cg *g = d->g;
    LLVMValueRef low = as_pair(d, gathered(d, p, false, 0x4300, false)); // 128 + low seven bits
    if (vm_dtypes[d->q].kind == K_INT) // less 128, or 256
        return LLVMBuildFSub(g->b, low, as_pair(d, gathered(d, p, true, 0x4300, false)), "");
    // less 128 unless the top bit, one of an exponent, is set: its complement is some power of two
    const bits_piece *x = p->piece;
    while (!x->top) x++;
    LLVMValueRef v = rotation(d, x->word, x->rot);
    const char *text = vm_format(g->arena, "lop3.b32 $0, $1, 0x%x, 0, 0x0c;", x->mask | (uint32_t)x->mask << 16);
    v = as_pair(d, cg_asm(g, text, "=r,r", g->t_i32, 1, &v, false));
    return fma_pair(d, v, -128 / vm_decode(T_bf16, x->mask), low);
}

static LLVMValueRef float_pair(decoder *d, const bits_pair *p) {
    cg *g = d->g;
    const vm_dtype_info *i = &vm_dtypes[d->q];
    LLVMValueRef y = as_pair(d, gathered(d, p, false, 0, false));
    const int by = (d->t == T_f16 ? 15 : 127) - ((1 << (i->e - 1)) - 1);
    if (by) return LLVMBuildFMul(g->b, y, cg_pair_const(g, d->t, power(by)), "");
    return cg_clip_pair(g, y);
}

static cg_tile *decode(cg *g, vm_dtype q, vm_dtype to, uint32_t slots, vm_rounding how, LLVMValueRef *word) {
    decoder d = {.g = g, .q = q, .t = bits_target(q, to), .how = how, .word = word};
    d.plan = bits_plan_make(g->arena, q, to, slots, how.numbers);
    if (d.plan.form == BITS_NONE) return NULL;
    d.rotated = vm_newn(g->arena, LLVMValueRef, d.plan.words * 16);
    cg_tile *r = cg_tile_new(g, to, slots);
    if (d.plan.form == BITS_SPLIT) {
        for (uint32_t i = 0; i < d.plan.words; i++) {
            LLVMValueRef pair[2];
            cg_split_pairs(g, q, how.numbers, true, word[i], pair);
            for (uint32_t k = 2 * i; k < r->nwords && k < 2 * i + 2; k++) r->word[k] = pair[k % 2];
        }
        return r;
    }
    for (uint32_t i = 0; i < d.plan.pairs; i++) {
        const bits_pair *p = &d.plan.pair[i];
        LLVMValueRef y = d.plan.form == BITS_INT ? int_pair(&d, p)
                         : d.plan.form == BITS_WIDE_INT ? wide_int_pair(&d, p)
                         : d.plan.form == BITS_SCALE ? (how.numbers ? cg_scale_number : cg_scale_pair)(g, gathered(&d, p, false, 0, false))
                                                     : float_pair(&d, p);
        if (to == d.t) {
            r->word[i] = y;
            continue;
        }
        LLVMValueRef lo = cg_widen_pair(g, d.t, y, 0), hi = cg_widen_pair(g, d.t, y, 1);
        if (to == T_f32) r->word[2 * i] = lo, r->word[2 * i + 1] = hi;
        else r->word[i] = cg_narrow_pair(g, to, lo, hi);
    }
    return r;
}

// ---- operations ---------------------------------------------------------------------------------

static bool usual_rounding(const ir_op *op) {
    const char *how = ir_str(op, AT_round);
    return (!how || how[0] != 'z') && !ir_get(op, AT_saturate);
}

static bool decodes(const ir_op *view, const ir_op *cast) {
    if (cast->inst != I_cast) return false;
    const ir_type *t = &cast->res[0]->type;
    return t->space == IS_REG && usual_rounding(cast) &&
           (t->elem == T_f16 || t->elem == T_bf16 || t->elem == T_f32) &&
           (!vm_has_numbers(view->res[0]->type.elem) || ir_int(cast, AT_nan, 1) == ir_int(view, AT_nan, 1)) &&
           bits_target(view->res[0]->type.elem, t->elem) ==
               bits_target(view->res[0]->type.elem, (vm_dtype)ir_get(view, AT_decode)->i);
}

cg_tile *cg_decode_cast(cg *g, const ir_op *cast, vm_dtype to) {
    const ir_value *x = cast->ops[0];
    const ir_op *view = x->def;
    if (!view || view->inst != I_view || !ir_get(view, AT_decode) || !decodes(view, cast)) return NULL;
    const cg_tile *bytes = cg_tile_of(g, view->ops[0]);
    const uint32_t slots = cg_slots(&x->type), have = cg_ni32(bytes->elem, bytes->slots);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, have + 1);
    cg_tile_to_i32(g, bytes, w);
    return decode(g, x->type.elem, to, slots, ir_rounding(cast), w);
}

/// Whether every user of v is a cast as above.
static bool only_decoded(const ir_op *view, const ir_region *r) {
    for (const ir_op *op = r->first; op; op = op->next) {
        for (uint32_t k = 0; k < op->nops; k++)
            if (op->ops[k] == view->res[0] && !decodes(view, op)) return false;
        for (uint32_t k = 0; k < op->nregions; k++)
            if (!only_decoded(view, op->regions[k])) return false;
    }
    return true;
}

void cg_reorder_view(cg *g, ir_op *op) {
    const bool in = ir_get(op, AT_encode) != NULL;
    const cg_tile *x = cg_tile_of(g, op->ops[0]);
    const ir_type *t = &op->res[0]->type, *plain = in ? &op->ops[0]->type : t;
    const vm_dtype to = (vm_dtype)ir_get(op, in ? AT_encode : AT_decode)->i;
    const bool numbers = !ir_int(op, AT_nan, 1);
    const uint32_t slots = cg_slots(plain), n = slots * vm_bits(plain->elem), words = (n + 31) / 32;
    const uint32_t have = cg_ni32(x->elem, x->slots);
    LLVMValueRef *w = vm_newn(g->arena, LLVMValueRef, have + words + 1), *y = vm_newn(g->arena, LLVMValueRef, words + 1);
    cg_tile_to_i32(g, x, w);
    const bool needed = in || bits_plan_make(g->arena, plain->elem, to, slots, numbers).form == BITS_NONE || !only_decoded(op, op->parent);
    uint32_t *order = vm_newn(g->arena, uint32_t, n + 1), *from = vm_newn(g->arena, uint32_t, n + 1);
    bits_order(g->arena, plain->elem, to, slots, numbers, order);
    for (uint32_t k = 0; k < n; k++) from[in ? k : order[k]] = in ? order[k] : k;
    for (uint32_t i = 0; i < words; i++) {
        y[i] = needed ? NULL : LLVMGetUndef(g->t_i32);
        for (uint32_t done = 0; needed && done != UINT32_MAX;) { // bits that one rotation of a word gives
            uint32_t mask = 0, word = 0, rot = 0;
            for (uint32_t k = 0; k < 32; k++) {
                if (done >> k & 1) continue;
                const uint32_t bit = 32 * i + k < n ? from[32 * i + k] : UINT32_MAX;
                if (bit == UINT32_MAX) {
                    done |= 1u << k;
                    continue;
                }
                if (!mask) word = bit / 32, rot = (k - bit) & 31;
                if (bit / 32 != word || ((k - bit) & 31) != rot) continue;
                mask |= 1u << k;
                done |= 1u << k;
            }
            if (!mask) break;
            LLVMValueRef f[3] = {w[word], w[word], cg_i32(g, rot)};
            LLVMValueRef v = rot ? cg_call(g, "llvm.fshl.i32", g->t_i32, 3, f) : w[word];
            v = LLVMBuildAnd(g->b, v, cg_i32(g, mask), "");
            y[i] = y[i] ? LLVMBuildOr(g->b, y[i], v, "") : v;
        }
    }
    cg_set_tile(g, op->res[0], cg_tile_from_i32(g, t->elem, cg_slots(t), y));
}
