// SPDX-License-Identifier: Apache-2.0
// What emitters share: values and their words, where a thread's elements are, blocks and guards,
// intrinsics, reports; and the dispatch from a row of inst.def to its emitter.
#include "codegen/emit.h"

#include <assert.h>
#include <string.h>

// ---- types --------------------------------------------------------------------------------------

LLVMTypeRef cg_scalar_type(cg *g, vm_dtype t) {
    switch (t) {
    case T_bool: return g->t_i1;
    case T_f16: return g->t_f16;
    case T_bf16: return g->t_bf16;
    case T_f32: case T_tf32: return g->t_f32;
    case T_f64: return g->t_f64;
    default: break;
    }
    const unsigned b = vm_bits(t);
    return b <= 8 ? g->t_i8 : b == 16 ? g->t_i16 : b == 32 ? g->t_i32 : g->t_i64;
}

LLVMTypeRef cg_word_type(cg *g, vm_dtype t) {
    switch (t) {
    case T_bool: return g->t_i1;
    case T_f16: return g->t_v2f16;
    case T_bf16: return g->t_v2bf16;
    case T_f32: case T_tf32: return g->t_f32;
    case T_f64: return g->t_f64;
    case T_i64: case T_u64: return g->t_i64;
    default: return g->t_i32;
    }
}

uint32_t cg_ni32(vm_dtype t, uint32_t slots) { return (slots * vm_bits(t) + 31) / 32; }

uint32_t cg_nwords(vm_dtype t, uint32_t slots) {
    return t == T_bool || vm_bits(t) == 64 ? slots : cg_ni32(t, slots);
}

uint32_t cg_slots(const ir_type *t) { return t->reg ? (uint32_t)t->reg->slots : 0; }

// ---- values -------------------------------------------------------------------------------------

static void **place_of(cg *g, const ir_value *v) {
    while (g->values.n <= v->id) vm_push(g->arena, &g->values, NULL);
    return &g->values.at[v->id];
}

LLVMValueRef cg_scalar(cg *g, const ir_value *v) {
    LLVMValueRef x = *place_of(g, v);
    if (!x) { // its maker was refused, or it is made in no region that dominates
        assert(g->failed);
        x = LLVMGetUndef(v->type.space == IS_PTR ? g->t_p1 : cg_scalar_type(g, v->type.elem));
    }
    return x;
}

cg_tile *cg_tile_of(cg *g, const ir_value *v) {
    cg_tile *t = *place_of(g, v);
    if (!t) {
        assert(g->failed);
        t = cg_tile_new(g, v->type.elem, cg_slots(&v->type));
        for (uint32_t i = 0; i < t->nwords; i++) t->word[i] = cg_undef_word(g, t->elem);
    }
    return t;
}

void cg_set_scalar(cg *g, const ir_value *v, LLVMValueRef x) { *place_of(g, v) = x; }

void cg_set_tile(cg *g, const ir_value *v, cg_tile *t) {
    assert(t->slots == cg_slots(&v->type));
    *place_of(g, v) = t;
}

LLVMValueRef cg_const(cg *g, vm_dtype t, uint64_t code) {
    LLVMTypeRef type = cg_scalar_type(g, t);
    switch (t) {
    case T_f16: case T_bf16:
        return LLVMConstBitCast(LLVMConstInt(g->t_i16, code & 0xffff, false), type);
    case T_f32: case T_tf32:
        return LLVMConstBitCast(LLVMConstInt(g->t_i32, code & 0xffffffff, false), type);
    case T_f64: return LLVMConstBitCast(LLVMConstInt(g->t_i64, code, false), type);
    case T_bool: return cg_i1(g, code & 1);
    default:
        if (vm_bits(t) < 64) code &= (1ull << vm_bits(t)) - 1;
        return LLVMConstInt(type, code, false);
    }
}

LLVMValueRef cg_undef_word(cg *g, vm_dtype t) { return LLVMGetUndef(cg_word_type(g, t)); }

LLVMValueRef cg_bitcast(cg *g, LLVMValueRef x, LLVMTypeRef to) {
    return LLVMTypeOf(x) == to ? x : LLVMBuildBitCast(g->b, x, to, "");
}

static LLVMTypeRef int_type(cg *g, unsigned bits) {
    return bits <= 8 ? g->t_i8 : bits == 16 ? g->t_i16 : bits == 32 ? g->t_i32 : g->t_i64;
}

static LLVMValueRef resize(cg *g, LLVMValueRef x, LLVMTypeRef to, bool sign) {
    const unsigned a = LLVMGetIntTypeWidth(LLVMTypeOf(x)), b = LLVMGetIntTypeWidth(to);
    if (a == b) return x;
    if (a > b) return LLVMBuildTrunc(g->b, x, to, "");
    return sign ? LLVMBuildSExt(g->b, x, to, "") : LLVMBuildZExt(g->b, x, to, "");
}

LLVMValueRef cg_code(cg *g, vm_dtype t, LLVMValueRef x, LLVMTypeRef to) {
    if (t != T_bool) x = cg_bitcast(g, x, int_type(g, vm_bits(t)));
    return resize(g, x, to, false);
}

LLVMValueRef cg_from_code(cg *g, vm_dtype t, LLVMValueRef code) {
    if (t == T_bool) return LLVMBuildTrunc(g->b, code, g->t_i1, "");
    return cg_bitcast(g, resize(g, code, int_type(g, vm_bits(t)), false), cg_scalar_type(g, t));
}

LLVMValueRef cg_widen(cg *g, vm_dtype t, LLVMValueRef x, LLVMTypeRef to) {
    const bool sign = vm_dtypes[t].kind == K_INT;
    const unsigned b = vm_bits(t);
    if (!sign || b >= 8) return resize(g, x, to, sign);
    // A code of fewer than 8 bits: its sign bit is bit b - 1.
    const unsigned w = LLVMGetIntTypeWidth(to);
    LLVMValueRef by = LLVMConstInt(to, w - b, false);
    x = LLVMBuildShl(g->b, resize(g, x, to, false), by, "");
    return LLVMBuildAShr(g->b, x, by, "");
}

LLVMValueRef cg_int64(cg *g, const ir_value *v) {
    return cg_widen(g, v->type.elem, cg_scalar(g, v), g->t_i64);
}

LLVMValueRef cg_int32(cg *g, const ir_value *v) {
    return cg_widen(g, v->type.elem, cg_scalar(g, v), g->t_i32);
}

// ---- tiles --------------------------------------------------------------------------------------

cg_tile *cg_tile_new(cg *g, vm_dtype t, uint32_t slots) {
    cg_tile *x = vm_new(g->arena, cg_tile);
    x->elem = t;
    x->slots = slots;
    x->nwords = cg_nwords(t, slots);
    x->word = vm_newn(g->arena, LLVMValueRef, x->nwords + 1);
    return x;
}

/// Bits [at, at + n) of a string of i32 words, in the low bits of an i32; n <= 32.
static LLVMValueRef bits_at(cg *g, LLVMValueRef const *w, uint32_t at, uint32_t n) {
    const uint32_t i = at / 32, off = at % 32;
    LLVMValueRef x = w[i];
    if (off) x = LLVMBuildLShr(g->b, x, cg_i32(g, off), "");
    if (off + n > 32) {
        LLVMValueRef hi = LLVMBuildShl(g->b, w[i + 1], cg_i32(g, 32 - off), "");
        x = LLVMBuildOr(g->b, x, hi, "");
    }
    if (n < 32 && off + n != 32) x = LLVMBuildAnd(g->b, x, cg_i32(g, ((int64_t)1 << n) - 1), "");
    return x;
}

LLVMValueRef cg_slot(cg *g, const cg_tile *t, uint32_t slot) {
    assert(slot < t->slots);
    if (t->nwords == t->slots) {
        LLVMValueRef w = t->word[slot];
        if (t->elem != T_f16 && t->elem != T_bf16 && vm_bits(t->elem) < 32 && t->elem != T_bool)
            return cg_from_code(g, t->elem, bits_at(g, t->word, slot * vm_bits(t->elem), vm_bits(t->elem)));
        if (t->elem != T_f16 && t->elem != T_bf16) return w;
    }
    if (t->elem == T_f16 || t->elem == T_bf16)
        return LLVMBuildExtractElement(g->b, t->word[slot / 2], cg_i32(g, slot % 2), "");
    const unsigned b = vm_bits(t->elem);
    return cg_from_code(g, t->elem, bits_at(g, t->word, slot * b, b));
}

/// Joins codes of b bits (i32, upper bits zero) into the dense string.
static void join(cg *g, uint32_t n, unsigned b, LLVMValueRef const *code, LLVMValueRef *out) {
    const uint32_t words = (n * b + 31) / 32;
    for (uint32_t i = 0; i < words; i++) out[i] = NULL;
    for (uint32_t s = 0; s < n; s++) {
        const uint32_t at = s * b, i = at / 32, off = at % 32;
        LLVMValueRef x = off ? LLVMBuildShl(g->b, code[s], cg_i32(g, off), "") : code[s];
        out[i] = out[i] ? LLVMBuildOr(g->b, out[i], x, "") : x;
        if (off + b > 32) out[i + 1] = LLVMBuildLShr(g->b, code[s], cg_i32(g, 32 - off), "");
    }
}

cg_tile *cg_tile_from_slots(cg *g, vm_dtype t, uint32_t slots, LLVMValueRef const *s) {
    cg_tile *x = cg_tile_new(g, t, slots);
    if (t == T_f16 || t == T_bf16) {
        for (uint32_t i = 0; i < x->nwords; i++) {
            LLVMValueRef w = LLVMGetUndef(cg_word_type(g, t));
            w = LLVMBuildInsertElement(g->b, w, s[2 * i], cg_i32(g, 0), "");
            LLVMValueRef hi = 2 * i + 1 < slots ? s[2 * i + 1] : LLVMConstNull(cg_scalar_type(g, t));
            x->word[i] = LLVMBuildInsertElement(g->b, w, hi, cg_i32(g, 1), "");
        }
        return x;
    }
    if (t == T_bool || vm_bits(t) >= 32) {
        for (uint32_t i = 0; i < slots; i++) x->word[i] = s[i];
        return x;
    }
    LLVMValueRef *code = vm_newn(g->arena, LLVMValueRef, slots + 1);
    for (uint32_t i = 0; i < slots; i++) code[i] = cg_code(g, t, s[i], g->t_i32);
    join(g, slots, vm_bits(t), code, x->word);
    return x;
}

void cg_tile_to_i32(cg *g, const cg_tile *t, LLVMValueRef *out) {
    if (t->elem == T_bool) {
        LLVMValueRef *code = vm_newn(g->arena, LLVMValueRef, t->slots + 1);
        for (uint32_t i = 0; i < t->slots; i++) code[i] = LLVMBuildZExt(g->b, t->word[i], g->t_i32, "");
        join(g, t->slots, 1, code, out);
        return;
    }
    if (vm_bits(t->elem) == 64) {
        for (uint32_t i = 0; i < t->slots; i++) {
            LLVMValueRef x = cg_bitcast(g, t->word[i], g->t_i64);
            out[2 * i] = LLVMBuildTrunc(g->b, x, g->t_i32, "");
            x = LLVMBuildLShr(g->b, x, cg_i64(g, 32), "");
            out[2 * i + 1] = LLVMBuildTrunc(g->b, x, g->t_i32, "");
        }
        return;
    }
    for (uint32_t i = 0; i < t->nwords; i++) out[i] = cg_bitcast(g, t->word[i], g->t_i32);
}

cg_tile *cg_tile_from_i32(cg *g, vm_dtype t, uint32_t slots, LLVMValueRef const *w) {
    cg_tile *x = cg_tile_new(g, t, slots);
    for (uint32_t i = 0; i < x->nwords; i++) {
        if (t == T_bool) {
            x->word[i] = LLVMBuildTrunc(g->b, bits_at(g, w, i, 1), g->t_i1, "");
        } else if (vm_bits(t) == 64) {
            LLVMValueRef hi = LLVMBuildZExt(g->b, w[2 * i + 1], g->t_i64, "");
            hi = LLVMBuildShl(g->b, hi, cg_i64(g, 32), "");
            LLVMValueRef lo = LLVMBuildZExt(g->b, w[2 * i], g->t_i64, "");
            x->word[i] = cg_bitcast(g, LLVMBuildOr(g->b, lo, hi, ""), cg_word_type(g, t));
        } else {
            x->word[i] = cg_bitcast(g, w[i], cg_word_type(g, t));
        }
    }
    return x;
}

// ---- where elements are -------------------------------------------------------------------------

struct cg_cache {
    const layout *lay;
    int dim; // -1: first replica
    LLVMValueRef x;
    struct cg_cache *next;
};

LLVMValueRef cg_tid(cg *g) { return g->group->tid; }

LLVMValueRef cg_lane(cg *g) {
    return LLVMBuildAnd(g->b, g->group->tid, cg_i32(g, 31), "lane");
}

LLVMValueRef cg_elected(cg *g) {
    return LLVMBuildICmp(g->b, LLVMIntEQ, g->group->tid, cg_i32(g, 0), "");
}

static LLVMValueRef digit(cg *g, LLVMValueRef t, int threads, const layout_digit *d) {
    if (d->div > 1) t = LLVMBuildUDiv(g->b, t, cg_i32(g, d->div), "");
    if ((int64_t)d->div * d->extent < threads) t = LLVMBuildURem(g->b, t, cg_i32(g, d->extent), "");
    return t;
}

/// Emits at the end of the group's prologue, so that the value may be used anywhere in the group.
static LLVMValueRef cached(cg *g, const layout *l, int dim) {
    for (struct cg_cache *c = g->group->cache; c; c = c->next)
        if (c->lay == l && c->dim == dim) return c->x;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
    LLVMMetadataRef loc = LLVMGetCurrentDebugLocation2(g->b);
    LLVMPositionBuilderBefore(g->b, LLVMGetBasicBlockTerminator(g->group->prologue));
    LLVMSetCurrentDebugLocation2(g->b, NULL);
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    LLVMValueRef x = NULL;
    for (int i = 0; i < n; i++) {
        if (!d[i].spatial || d[i].dim != dim || d[i].extent == 1) continue;
        LLVMValueRef y = digit(g, g->group->tid, g->group->threads, &d[i]);
        if (dim < 0) {
            y = LLVMBuildICmp(g->b, LLVMIntEQ, y, cg_i32(g, 0), "");
            x = cg_and(g, x, y);
            continue;
        }
        if (d[i].stride != 1) y = LLVMBuildMul(g->b, y, cg_i32(g, d[i].stride), "");
        x = x ? LLVMBuildAdd(g->b, x, y, "") : y;
    }
    LLVMPositionBuilderAtEnd(g->b, here);
    LLVMSetCurrentDebugLocation2(g->b, loc);
    struct cg_cache *c = vm_new(g->arena, struct cg_cache);
    *c = (struct cg_cache){l, dim, x, g->group->cache};
    g->group->cache = c;
    return x;
}

LLVMValueRef cg_warp(cg *g) {
    if (g->group->warp) return g->group->warp;
    LLVMBasicBlockRef here = LLVMGetInsertBlock(g->b);
    LLVMMetadataRef loc = LLVMGetCurrentDebugLocation2(g->b);
    LLVMPositionBuilderBefore(g->b, LLVMGetBasicBlockTerminator(g->group->prologue));
    LLVMSetCurrentDebugLocation2(g->b, NULL);
    // Through a shuffle, so that ptxas knows it to be uniform.
    LLVMValueRef a[4] = {cg_i32(g, -1), LLVMBuildLShr(g->b, g->group->tid, cg_i32(g, 5), ""), cg_i32(g, 0), cg_i32(g, 31)};
    g->group->warp = cg_call(g, "llvm.nvvm.shfl.sync.idx.i32", g->t_i32, 4, a);
    LLVMPositionBuilderAtEnd(g->b, here);
    LLVMSetCurrentDebugLocation2(g->b, loc);
    return g->group->warp;
}

LLVMValueRef cg_index_thread(cg *g, const layout *l, int dim) { return cached(g, l, dim); }

int32_t cg_index_slot(const layout *l, uint32_t slot, int dim) {
    int32_t at[LAYOUT_MAX_RANK];
    layout_index(l, 0, (int)slot, at);
    return at[dim];
}

LLVMValueRef cg_index(cg *g, const layout *l, uint32_t slot, int dim) {
    LLVMValueRef x = cg_index_thread(g, l, dim);
    const int32_t c = cg_index_slot(l, slot, dim);
    if (!x) return cg_i32(g, c);
    return c ? LLVMBuildAdd(g->b, x, cg_i32(g, c), "") : x;
}

LLVMValueRef cg_live(cg *g, const ir_type *tile, uint32_t slot) {
    const layout *l = tile->reg;
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    LLVMValueRef all = NULL;
    for (int k = 0; k < tile->rank; k++) {
        if (l->shape[k] <= tile->dim[k]) continue;
        const int64_t at = cg_index_slot(l, slot, k);
        int64_t most = at;
        for (int i = 0; i < n; i++)
            if (d[i].spatial && d[i].dim == k) most += (int64_t)(d[i].extent - 1) * d[i].stride;
        if (at >= tile->dim[k]) return cg_i1(g, false);
        if (most < tile->dim[k]) continue;
        LLVMValueRef x = cg_index(g, l, slot, k);
        x = LLVMBuildICmp(g->b, LLVMIntULT, x, cg_i32(g, tile->dim[k]), "");
        all = cg_and(g, all, x);
    }
    return all;
}

LLVMValueRef cg_first_replica(cg *g, const layout *l) { return cached(g, l, -1); }

bool cg_first_slot(const layout *l, uint32_t slot) {
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    for (int i = 0; i < n; i++)
        if (!d[i].spatial && d[i].dim < 0 && (int)slot / d[i].div % d[i].extent) return false;
    return true;
}

// ---- code ---------------------------------------------------------------------------------------

LLVMBasicBlockRef cg_block(cg *g, const char *name) {
    return LLVMAppendBasicBlockInContext(g->ctx, g->fn, name);
}

void cg_at(cg *g, LLVMBasicBlockRef bb) { LLVMPositionBuilderAtEnd(g->b, bb); }

cg_guard cg_guard_begin(cg *g, LLVMValueRef cond) {
    cg_guard k = {0};
    if (!cond) return k;
    k.from = LLVMGetInsertBlock(g->b);
    k.then = cg_block(g, "then");
    k.join = cg_block(g, "join");
    LLVMBuildCondBr(g->b, cond, k.then, k.join);
    cg_at(g, k.then);
    return k;
}

void cg_guard_end(cg *g, cg_guard *k) {
    if (!k->join) return;
    k->last = LLVMGetInsertBlock(g->b);
    LLVMBuildBr(g->b, k->join);
    cg_at(g, k->join);
}

LLVMValueRef cg_guard_value(cg *g, const cg_guard *k, LLVMValueRef inside, LLVMValueRef outside) {
    if (!k->join) return inside;
    LLVMValueRef phi = LLVMBuildPhi(g->b, LLVMTypeOf(inside), "");
    LLVMAddIncoming(phi, (LLVMValueRef[]){inside, outside}, (LLVMBasicBlockRef[]){k->last, k->from}, 2);
    return phi;
}

LLVMValueRef cg_and(cg *g, LLVMValueRef a, LLVMValueRef b) {
    return !a ? b : !b ? a : LLVMBuildAnd(g->b, a, b, "");
}

static void mark_convergent(cg *g, LLVMValueRef call) {
    const unsigned k = LLVMGetEnumAttributeKindForName("convergent", 10);
    LLVMAddCallSiteAttribute(call, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(g->ctx, k, 0));
}

LLVMValueRef cg_call(cg *g, const char *name, LLVMTypeRef ret, unsigned n, LLVMValueRef *args) {
    LLVMTypeRef *t = vm_newn(g->arena, LLVMTypeRef, n + 1);
    for (unsigned i = 0; i < n; i++) t[i] = LLVMTypeOf(args[i]);
    LLVMTypeRef type = LLVMFunctionType(ret, t, n, false);
    LLVMValueRef f = LLVMGetNamedFunction(g->m, name);
    if (!f) f = LLVMAddFunction(g->m, name, type);
    return LLVMBuildCall2(g->b, type, f, args, n, "");
}

LLVMValueRef cg_asm(cg *g, const char *text, const char *constraints, LLVMTypeRef ret, unsigned n,
                    LLVMValueRef *args, bool side_effect) {
    LLVMTypeRef *t = vm_newn(g->arena, LLVMTypeRef, n + 1);
    for (unsigned i = 0; i < n; i++) t[i] = LLVMTypeOf(args[i]);
    LLVMTypeRef type = LLVMFunctionType(ret, t, n, false);
    LLVMValueRef f = LLVMGetInlineAsm(type, text, strlen(text), constraints, strlen(constraints),
                                      side_effect, false, LLVMInlineAsmDialectATT, false);
    LLVMValueRef call = LLVMBuildCall2(g->b, type, f, args, n, "");
    if (side_effect) mark_convergent(g, call);
    return call;
}

LLVMValueRef cg_shared(cg *g, LLVMValueRef dyn, int64_t offset) {
    LLVMValueRef p = g->smem;
    if (dyn) p = LLVMBuildGEP2(g->b, g->t_i8, p, &dyn, 1, "");
    LLVMValueRef c = cg_i32(g, offset);
    return offset ? LLVMBuildGEP2(g->b, g->t_i8, p, &c, 1, "") : p;
}

LLVMValueRef cg_shared_of(cg *g, LLVMValueRef rank, LLVMValueRef dyn, int64_t offset) {
    LLVMTypeRef p7 = LLVMPointerTypeInContext(g->ctx, 7);
    LLVMValueRef a[2] = {g->smem, rank}, p = cg_call(g, "llvm.nvvm.mapa.shared.cluster", p7, 2, a);
    if (dyn) p = LLVMBuildGEP2(g->b, g->t_i8, p, &dyn, 1, "");
    LLVMValueRef c = cg_i32(g, offset);
    return offset ? LLVMBuildGEP2(g->b, g->t_i8, p, &c, 1, "") : p;
}

// ---- reports ------------------------------------------------------------------------------------

void cg_remark(cg *g, const ir_op *op, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = vm_vformat(g->arena, fmt, ap);
    va_end(ap);
    cg_remark_list *r = vm_new(g->arena, cg_remark_list), **at = &g->report->remarks;
    while (*at) at = &(*at)->next;
    *r = (cg_remark_list){op->span, text, NULL};
    *at = r;
    vm_report(g->comp, D_Rpass, op->span, "%s", text);
}

bool cg_need(cg *g, const ir_op *op, uint32_t feature, const char *what, int sm) {
    if (g->arch->features & feature) return true;
    g->failed = true;
    vm_diag *d = vm_report(g->comp, D_E0602, op->span, "'%s' needs sm_%d%s", what, sm, feature & (A_WGMMA | A_SETMAXNREG) ? "a" : "");
    vm_note(g->comp, d, "the target is %s", g->arch->name);
    return false;
}

void cg_undef_results(cg *g, const ir_op *op) {
    for (uint32_t i = 0; i < op->nres; i++) {
        const ir_value *v = op->res[i];
        if (cg_is_tile(v)) {
            cg_tile *t = cg_tile_new(g, v->type.elem, cg_slots(&v->type));
            for (uint32_t w = 0; w < t->nwords; w++) t->word[w] = cg_undef_word(g, t->elem);
            cg_set_tile(g, v, t);
        } else if (v->type.space == IS_SCALAR) {
            cg_set_scalar(g, v, LLVMGetUndef(cg_scalar_type(g, v->type.elem)));
        }
    }
}

void cg_refuse(cg *g, const ir_op *op, const char *what, const char *instead) {
    g->failed = true;
    vm_diag *d = vm_report(g->comp, D_E0603, op->span, "no code is generated for %s on %s", what,
                           g->arch->name);
    if (instead) vm_help(g->comp, d, "%s", instead);
    cg_undef_results(g, op);
}

// ---- dispatch -----------------------------------------------------------------------------------

static void (*const emitters[I_count_])(cg *, ir_op *) = {
#define INST_ELEM(name, cls, nops, nres, fx, vis, sm, doc) [I_##name] = emit_elem,
#define INST(name, cls, nops, nres, fx, vis, sm, doc) [I_##name] = emit_##name,
#include "vm/inst.def"
#undef INST
#undef INST_ELEM
};

/// Views are traced by their users; nothing happens where they are made.
void emit_global_view(cg *g, ir_op *op) { (void)g, (void)op; }
void emit_alloc_shared(cg *g, ir_op *op) { (void)g, (void)op; }
void emit_slice(cg *g, ir_op *op) { (void)g, (void)op; }
void emit_barrier_at(cg *g, ir_op *op) { (void)g, (void)op; }

/// The host region is interpreted by the runtime and never emitted.
void emit_host_check(cg *g, ir_op *op) { (void)g, (void)op, assert(0 && "host operation in a body"); }
void emit_host_extent(cg *g, ir_op *op) { (void)g, (void)op, assert(0 && "host operation in a body"); }
void emit_host_tensor(cg *g, ir_op *op) { (void)g, (void)op, assert(0 && "host operation in a body"); }
void emit_host_launch(cg *g, ir_op *op) { (void)g, (void)op, assert(0 && "host operation in a body"); }

static void place_line(cg *g, const ir_op *op) {
    if (!g->di_scope || !op->span.file) return;
    const vm_source *s = vm_source_at(g->comp, op->span.file);
    if (!s) return;
    uint32_t line, col;
    vm_source_place(s, op->span.lo, &line, &col);
    LLVMMetadataRef scope = g->di_scope;
    if (op->span.file != g->func->span.file) {
        LLVMMetadataRef file = LLVMDIBuilderCreateFile(g->di, s->name, strlen(s->name), "", 0);
        scope = LLVMDIBuilderCreateLexicalBlockFile(g->di, scope, file, 0);
    }
    LLVMSetCurrentDebugLocation2(g->b, LLVMDIBuilderCreateDebugLocation(g->ctx, line, col, scope, NULL));
}

void cg_op(cg *g, ir_op *op) {
    place_line(g, op);
    assert(emitters[op->inst]);
    emitters[op->inst](g, op);
}

void cg_region(cg *g, ir_region *r) {
    for (ir_op *op = r->first; op; op = op->next) cg_op(g, op);
}
