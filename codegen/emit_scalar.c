// SPDX-License-Identifier: Apache-2.0
// Elementwise arithmetic on scalars, on packed words and on tiles; leaves; tiles made from scalars.
// What an instruction means is vm/eval.c's; here is how the target computes it.
#include <string.h>

#include "codegen/emit.h"

// ---- floats -------------------------------------------------------------------------------------

static LLVMValueRef call_typed(cg *g, const char *stem, const char *suffix, unsigned n, LLVMValueRef *x) {
    return cg_call(g, vm_format(g->arena, "%s%s", stem, suffix), LLVMTypeOf(x[0]), n, x);
}

static const char *suffix_of(const cg *g, LLVMTypeRef t) {
    if (t == g->t_f16) return ".f16";
    if (t == g->t_bf16) return ".bf16";
    if (t == g->t_f32) return ".f32";
    if (t == g->t_f64) return ".f64";
    if (t == g->t_v2f16) return ".v2f16";
    if (t == g->t_v2bf16) return ".v2bf16";
    return t == g->t_i8 ? ".i8" : t == g->t_i16 ? ".i16" : t == g->t_i32 ? ".i32" : ".i64";
}

static LLVMValueRef f32_const(cg *g, double x) { return LLVMConstReal(g->t_f32, x); }

static LLVMValueRef approx(cg *g, const char *name, LLVMValueRef x) {
    return cg_call(g, name, g->t_f32, 1, &x);
}

static LLVMValueRef fma_of(cg *g, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c) {
    LLVMValueRef x[3] = {a, b, c};
    return call_typed(g, "llvm.fma", suffix_of(g, LLVMTypeOf(a)), 3, x);
}

static LLVMValueRef fabs_of(cg *g, LLVMValueRef x) {
    return call_typed(g, "llvm.fabs", suffix_of(g, LLVMTypeOf(x)), 1, &x);
}

static LLVMValueRef exp2_of(cg *g, LLVMValueRef x) {
    return approx(g, "llvm.nvvm.ex2.approx.ftz.f32", x);
}

/// Abramowitz and Stegun 7.1.26: 1 - (a1 t + … + a5 t^5) exp(-x^2), t = 1 / (1 + p |x|);
/// absolute error 1.5e-7, and as much again from rounding.
static LLVMValueRef erf_of(cg *g, LLVMValueRef x) {
    static const double a[5] = {1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592};
    LLVMValueRef ax = fabs_of(g, x);
    LLVMValueRef t = fma_of(g, ax, f32_const(g, 0.3275911), f32_const(g, 1));
    t = approx(g, "llvm.nvvm.rcp.approx.ftz.f", t);
    LLVMValueRef p = f32_const(g, a[0]);
    for (int i = 1; i < 5; i++) p = fma_of(g, p, t, f32_const(g, a[i]));
    p = LLVMBuildFMul(g->b, p, t, "");
    LLVMValueRef sq = LLVMBuildFMul(g->b, ax, ax, "");
    LLVMValueRef e = exp2_of(g, LLVMBuildFMul(g->b, sq, f32_const(g, -1.4426950408889634), ""));
    LLVMValueRef y = fma_of(g, LLVMBuildFNeg(g->b, p, ""), e, f32_const(g, 1));
    LLVMValueRef args[2] = {y, x};
    return call_typed(g, "llvm.copysign", ".f32", 2, args);
}

/// Functions of one f32. f16 and bf16 come through here too: those do not flush denormals.
static LLVMValueRef f32_function(cg *g, vm_inst i, LLVMValueRef x, bool exact, bool flush) {
    const char *const approximate[I_count_] = {
        [I_exp2] = flush ? "llvm.nvvm.ex2.approx.ftz.f32" : "llvm.nvvm.ex2.approx.f32",
        [I_log2] = flush ? "llvm.nvvm.lg2.approx.ftz.f" : "llvm.nvvm.lg2.approx.f",
        [I_sqrt] = flush ? "llvm.nvvm.sqrt.approx.ftz.f" : "llvm.nvvm.sqrt.approx.f",
        [I_rsqrt] = flush ? "llvm.nvvm.rsqrt.approx.ftz.f" : "llvm.nvvm.rsqrt.approx.f",
        [I_rcp] = flush ? "llvm.nvvm.rcp.approx.ftz.f" : "llvm.nvvm.rcp.rn.f",
        [I_sin] = flush ? "llvm.nvvm.sin.approx.ftz.f" : "llvm.nvvm.sin.approx.f",
        [I_cos] = flush ? "llvm.nvvm.cos.approx.ftz.f" : "llvm.nvvm.cos.approx.f",
    };
    switch (i) {
    case I_floor: return flush ? approx(g, "llvm.nvvm.floor.ftz.f", x) : call_typed(g, "llvm.floor", ".f32", 1, &x);
    case I_ceil: return flush ? approx(g, "llvm.nvvm.ceil.ftz.f", x) : call_typed(g, "llvm.ceil", ".f32", 1, &x);
    case I_exp:
        x = LLVMBuildFMul(g->b, x, f32_const(g, 1.4426950408889634), "");
        return approx(g, approximate[I_exp2], x);
    case I_log:
        x = approx(g, approximate[I_log2], x);
        return LLVMBuildFMul(g->b, x, f32_const(g, 0.6931471805599453), "");
    case I_tanh: return cg_asm(g, "tanh.approx.f32 $0, $1;", "=f,f", g->t_f32, 1, &x, false);
    case I_erf: return erf_of(g, x);
    case I_sqrt:
        if (exact) return approx(g, flush ? "llvm.nvvm.sqrt.rn.ftz.f" : "llvm.nvvm.sqrt.rn.f", x);
        break;
    case I_rcp:
        if (exact) return approx(g, flush ? "llvm.nvvm.rcp.rn.ftz.f" : "llvm.nvvm.rcp.rn.f", x);
        break;
    default: break;
    }
    return approximate[i] ? approx(g, approximate[i], x) : NULL;
}

static LLVMValueRef f64_function(cg *g, vm_inst i, LLVMValueRef x) {
    LLVMValueRef one = LLVMConstReal(g->t_f64, 1);
    switch (i) {
    case I_floor: return call_typed(g, "llvm.floor", ".f64", 1, &x);
    case I_ceil: return call_typed(g, "llvm.ceil", ".f64", 1, &x);
    case I_sqrt: return call_typed(g, "llvm.sqrt", ".f64", 1, &x);
    case I_rsqrt: return LLVMBuildFDiv(g->b, one, call_typed(g, "llvm.sqrt", ".f64", 1, &x), "");
    case I_rcp: return LLVMBuildFDiv(g->b, one, x, "");
    default: return NULL;
    }
}

/// f32 flushes denormals, the narrower types do not: an attribute of the function would do it to all
/// of them, so f32 says it instruction by instruction.
static LLVMValueRef f32_basic(cg *g, vm_inst i, LLVMValueRef const *x) {
    static const char *const name[I_count_] = {
        [I_add] = "llvm.nvvm.add.rn.ftz.f", [I_mul] = "llvm.nvvm.mul.rn.ftz.f",
        [I_fma] = "llvm.nvvm.fma.rn.ftz.f", [I_min] = "llvm.nvvm.fmin.ftz.f",
        [I_max] = "llvm.nvvm.fmax.ftz.f",
    };
    LLVMValueRef a[3] = {x[0], NULL, NULL};
    if (i == I_neg) return LLVMBuildFNeg(g->b, x[0], "");
    if (i == I_abs) return fabs_of(g, x[0]);
    if (vm_insts[i].nops > 1) a[1] = x[1];
    if (vm_insts[i].nops > 2) a[2] = x[2];
    if (i == I_sub) {
        a[1] = LLVMBuildFNeg(g->b, x[1], "");
        return cg_call(g, name[I_add], g->t_f32, 2, a);
    }
    return name[i] ? cg_call(g, name[i], g->t_f32, (unsigned)vm_insts[i].nops, a) : NULL;
}

static LLVMValueRef f32_compare(cg *g, vm_inst i, LLVMValueRef const *x) {
    static const char *const how[I_count_] = {[I_eq] = "eq", [I_ne] = "neu", [I_lt] = "lt",
                                              [I_le] = "le", [I_gt] = "gt", [I_ge] = "ge"};
    LLVMValueRef a[2] = {x[0], x[1]};
    return cg_asm(g, vm_format(g->arena, "setp.%s.ftz.f32 $0, $1, $2;", how[i]), "=b,f,f", g->t_i1, 2, a, false);
}

/// One instruction each on every float type and on pairs; NULL if it is none of these.
static LLVMValueRef float_basic(cg *g, vm_inst i, LLVMValueRef const *x) {
    if (LLVMTypeOf(x[0]) == g->t_f32) return f32_basic(g, i, x);
    const char *s = suffix_of(g, LLVMTypeOf(x[0]));
    LLVMValueRef two[2] = {x[0], NULL};
    switch (i) {
    case I_add: return LLVMBuildFAdd(g->b, x[0], x[1], "");
    case I_sub: return LLVMBuildFSub(g->b, x[0], x[1], "");
    case I_mul: return LLVMBuildFMul(g->b, x[0], x[1], "");
    case I_neg: return LLVMBuildFNeg(g->b, x[0], "");
    case I_abs: return fabs_of(g, x[0]);
    case I_fma: return fma_of(g, x[0], x[1], x[2]);
    case I_min: two[1] = x[1]; return call_typed(g, "llvm.minnum", s, 2, two);
    case I_max: two[1] = x[1]; return call_typed(g, "llvm.maxnum", s, 2, two);
    default: return NULL;
    }
}

static LLVMRealPredicate real_predicate(vm_inst i) {
    switch (i) {
    case I_eq: return LLVMRealOEQ;
    case I_ne: return LLVMRealUNE;
    case I_lt: return LLVMRealOLT;
    case I_le: return LLVMRealOLE;
    case I_gt: return LLVMRealOGT;
    default: return LLVMRealOGE;
    }
}

static LLVMValueRef float_elem(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x, bool exact) {
    const vm_rounding near = {.round = R_NEAREST};
    if (vm_insts[i].cls == C_CMP) {
        if (t == T_f32) return f32_compare(g, i, x);
        // sm_80 has no comparison of bf16; as f32 it costs two shifts.
        const vm_dtype in = t == T_bf16 ? T_f32 : t;
        return LLVMBuildFCmp(g->b, real_predicate(i), cg_cast(g, t, in, x[0], near),
                             cg_cast(g, t, in, x[1], near), "");
    }
    LLVMValueRef y = float_basic(g, i, x);
    if (y) return y;
    if (t == T_f64) return i == I_div ? LLVMBuildFDiv(g->b, x[0], x[1], "") : f64_function(g, i, x[0]);
    LLVMValueRef a = cg_cast(g, t, T_f32, x[0], near);
    if (i == I_div) {
        LLVMValueRef args[2] = {a, cg_cast(g, t, T_f32, x[1], near)};
        const char *name = t == T_f32 ? (exact ? "llvm.nvvm.div.rn.ftz.f" : "llvm.nvvm.div.full.ftz")
                                      : (exact ? "llvm.nvvm.div.rn.f" : "llvm.nvvm.div.full");
        y = cg_call(g, name, g->t_f32, 2, args);
    } else {
        y = f32_function(g, i, a, exact, t == T_f32);
    }
    return y ? cg_cast(g, T_f32, t, y, near) : NULL;
}

// ---- integers -----------------------------------------------------------------------------------

static LLVMIntPredicate int_predicate(vm_inst i, bool sign) {
    switch (i) {
    case I_eq: return LLVMIntEQ;
    case I_ne: return LLVMIntNE;
    case I_lt: return sign ? LLVMIntSLT : LLVMIntULT;
    case I_le: return sign ? LLVMIntSLE : LLVMIntULE;
    case I_gt: return sign ? LLVMIntSGT : LLVMIntUGT;
    default: return sign ? LLVMIntSGE : LLVMIntUGE;
    }
}

/// x / 0 is all ones, x % 0 is x, and the least integer over -1 is itself: selects around a division
/// by something harmless, none of them when the divisor is known.
static LLVMValueRef divide(cg *g, vm_inst i, bool sign, LLVMValueRef x, LLVMValueRef y) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef zero = LLVMConstNull(t), one = LLVMConstInt(t, 1, false), ones = LLVMConstAllOnes(t);
    const bool rem = i == I_rem;
    LLVMValueRef is_zero = NULL, is_neg = NULL, by = y;
    if (LLVMIsConstant(y)) {
        const bool nought = LLVMIsNull(y);
        if (nought) return rem ? x : ones;
        if (sign && LLVMConstIntGetSExtValue(y) == -1) return rem ? zero : LLVMBuildNeg(g->b, x, "");
    } else {
        is_zero = LLVMBuildICmp(g->b, LLVMIntEQ, y, zero, "");
        by = LLVMBuildSelect(g->b, is_zero, one, y, "");
        if (sign) {
            is_neg = LLVMBuildICmp(g->b, LLVMIntEQ, y, ones, "");
            by = LLVMBuildSelect(g->b, is_neg, one, by, "");
        }
    }
    LLVMValueRef q = rem ? (sign ? LLVMBuildSRem(g->b, x, by, "") : LLVMBuildURem(g->b, x, by, ""))
                         : (sign ? LLVMBuildSDiv(g->b, x, by, "") : LLVMBuildUDiv(g->b, x, by, ""));
    if (is_neg && !rem) q = LLVMBuildSelect(g->b, is_neg, LLVMBuildNeg(g->b, x, ""), q, "");
    if (is_zero) q = LLVMBuildSelect(g->b, is_zero, rem ? x : ones, q, "");
    return q;
}

/// Amounts are read as unsigned, so that a negative one is too large.
static LLVMValueRef shift(cg *g, vm_inst i, bool sign, LLVMValueRef x, LLVMValueRef by) {
    LLVMTypeRef t = LLVMTypeOf(x);
    const unsigned b = LLVMGetIntTypeWidth(t);
    if (i == I_shr && sign) {
        LLVMValueRef most = LLVMConstInt(t, b - 1, false);
        LLVMValueRef ok = LLVMBuildICmp(g->b, LLVMIntULT, by, most, "");
        return LLVMBuildAShr(g->b, x, LLVMBuildSelect(g->b, ok, by, most, ""), "");
    }
    if (b == 64) { // PTX takes 32 bits of the amount, and LLVM 22 relies on its clamping: cut it before
        LLVMValueRef many = LLVMBuildICmp(g->b, LLVMIntUGT, by, LLVMConstInt(t, b, false), "");
        by = LLVMBuildSelect(g->b, many, LLVMConstInt(t, b, false), by, "");
    }
    LLVMValueRef ok = LLVMBuildICmp(g->b, LLVMIntULT, by, LLVMConstInt(t, b, false), "");
    LLVMValueRef y = i == I_shl ? LLVMBuildShl(g->b, x, by, "") : LLVMBuildLShr(g->b, x, by, "");
    return LLVMBuildSelect(g->b, ok, y, LLVMConstNull(t), "");
}

static LLVMValueRef int_elem(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x) {
    const bool sign = vm_dtypes[t].kind == K_INT;
    LLVMTypeRef type = LLVMTypeOf(x[0]);
    const char *s = suffix_of(g, type);
    LLVMValueRef a[3] = {x[0]};
    switch (i) {
    case I_add: return LLVMBuildAdd(g->b, x[0], x[1], "");
    case I_sub: return LLVMBuildSub(g->b, x[0], x[1], "");
    case I_mul: return LLVMBuildMul(g->b, x[0], x[1], "");
    case I_fma: return LLVMBuildAdd(g->b, LLVMBuildMul(g->b, x[0], x[1], ""), x[2], "");
    case I_div: case I_rem: return divide(g, i, sign, x[0], x[1]);
    case I_and: return LLVMBuildAnd(g->b, x[0], x[1], "");
    case I_or: return LLVMBuildOr(g->b, x[0], x[1], "");
    case I_xor: return LLVMBuildXor(g->b, x[0], x[1], "");
    case I_not: return LLVMBuildNot(g->b, x[0], "");
    case I_neg: return LLVMBuildNeg(g->b, x[0], "");
    case I_shl: case I_shr: return shift(g, i, sign, x[0], x[1]);
    case I_min: case I_max:
        a[0] = cg_widen(g, t, x[0], type);
        a[1] = cg_widen(g, t, x[1], type);
        if (vm_bits(t) >= 8)
            return call_typed(g, i == I_min ? (sign ? "llvm.smin" : "llvm.umin")
                                            : (sign ? "llvm.smax" : "llvm.umax"), s, 2, a);
        a[2] = LLVMBuildICmp(g->b, int_predicate(i == I_min ? I_lt : I_gt, sign), a[0], a[1], "");
        return LLVMBuildSelect(g->b, a[2], x[0], x[1], "");
    case I_abs:
        if (!sign) return x[0];
        a[1] = cg_i1(g, false);
        return call_typed(g, "llvm.abs", s, 2, a);
    case I_popc: return call_typed(g, "llvm.ctpop", s, 1, a);
    case I_clz: a[1] = cg_i1(g, false); return call_typed(g, "llvm.ctlz", s, 2, a);
    case I_brev: return call_typed(g, "llvm.bitreverse", s, 1, a);
    case I_bswap: return vm_bits(t) <= 8 ? x[0] : call_typed(g, "llvm.bswap", s, 1, a);
    case I_prmt: a[1] = x[1], a[2] = x[2]; return cg_call(g, "llvm.nvvm.prmt", g->t_i32, 3, a);
    case I_fshl: a[1] = x[1], a[2] = x[2]; return call_typed(g, "llvm.fshl", s, 3, a);
    default: break;
    }
    if (vm_insts[i].cls == C_CMP)
        return LLVMBuildICmp(g->b, int_predicate(i, sign), cg_widen(g, t, x[0], type),
                             cg_widen(g, t, x[1], type), "");
    return NULL;
}

static LLVMValueRef bool_elem(cg *g, vm_inst i, LLVMValueRef const *x) {
    switch (i) {
    case I_and: return LLVMBuildAnd(g->b, x[0], x[1], "");
    case I_or: return LLVMBuildOr(g->b, x[0], x[1], "");
    case I_xor: case I_ne: return LLVMBuildXor(g->b, x[0], x[1], "");
    case I_eq: return LLVMBuildNot(g->b, LLVMBuildXor(g->b, x[0], x[1], ""), "");
    case I_not: return LLVMBuildNot(g->b, x[0], "");
    default: return NULL;
    }
}

LLVMValueRef cg_elem(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x, bool exact) {
    if (i == I_select) return LLVMBuildSelect(g->b, x[0], x[1], x[2], "");
    LLVMValueRef y = t == T_bool        ? bool_elem(g, i, x)
                     : vm_is_float(t) ? float_elem(g, i, t, x, exact)
                                      : int_elem(g, i, t, x);
    return y ? y : LLVMGetUndef(vm_insts[i].cls == C_CMP ? g->t_i1 : cg_scalar_type(g, t));
}

LLVMValueRef cg_elem_word(cg *g, vm_inst i, vm_dtype t, LLVMValueRef const *x) {
    if (t == T_f16 || t == T_bf16) return float_basic(g, i, x);
    if (t == T_bool || vm_is_float(t)) return NULL;
    switch (i) {
    case I_and: return LLVMBuildAnd(g->b, x[0], x[1], "");
    case I_or: return LLVMBuildOr(g->b, x[0], x[1], "");
    case I_xor: return LLVMBuildXor(g->b, x[0], x[1], "");
    case I_not: return LLVMBuildNot(g->b, x[0], "");
    default: return NULL;
    }
}

bool cg_op_named(const char *name, vm_inst *out) {
    static const vm_inst ops[] = {I_add, I_mul, I_min, I_max, I_and, I_or, I_xor};
    for (size_t i = 0; name && i < sizeof ops / sizeof *ops; i++)
        if (!strcmp(name, vm_insts[ops[i]].name)) return *out = ops[i], true;
    return false;
}

// ---- tiles --------------------------------------------------------------------------------------

/// The word every slot of which is x, or NULL if slots straddle words.
static LLVMValueRef splat(cg *g, vm_dtype t, LLVMValueRef x) {
    if (t == T_f16 || t == T_bf16) {
        LLVMValueRef w = LLVMGetUndef(cg_word_type(g, t));
        w = LLVMBuildInsertElement(g->b, w, x, cg_i32(g, 0), "");
        return LLVMBuildInsertElement(g->b, w, x, cg_i32(g, 1), "");
    }
    const unsigned b = vm_bits(t);
    if (t == T_bool || b >= 32) return x;
    if (32 % b) return NULL;
    uint32_t ones = 0;
    for (unsigned at = 0; at < 32; at += b) ones |= 1u << at;
    return LLVMBuildMul(g->b, cg_code(g, t, x, g->t_i32), cg_i32(g, ones), "");
}

/// A shift amount of another integer type, cut so that too large stays too large.
static LLVMValueRef amount(cg *g, vm_dtype from, vm_dtype to, LLVMValueRef x) {
    if (from == to) return x;
    LLVMTypeRef type = cg_scalar_type(g, to);
    if (vm_bits(from) > vm_bits(to)) {
        LLVMTypeRef wide = LLVMTypeOf(x);
        LLVMValueRef most = LLVMConstInt(wide, 127, false);
        LLVMValueRef ok = LLVMBuildICmp(g->b, LLVMIntULT, x, most, "");
        x = LLVMBuildSelect(g->b, ok, x, most, "");
        return LLVMBuildTrunc(g->b, x, type, "");
    }
    return cg_widen(g, from, x, type);
}

typedef struct {
    const cg_tile *tile; // NULL: scalar
    LLVMValueRef scalar;
    vm_dtype elem;
} operand;

static LLVMValueRef operand_slot(cg *g, const operand *o, uint32_t s) {
    return o->tile ? cg_slot(g, o->tile, s) : o->scalar;
}

/// By words where the type has packed code, or where one scalar condition selects for all.
static cg_tile *by_words(cg *g, const ir_op *op, vm_dtype t, const operand *o, uint32_t slots) {
    const vm_inst i = op->inst;
    const vm_dtype to = op->res[0]->type.elem;
    const bool chosen = i == I_select && !o[0].tile;
    if (vm_insts[i].cls == C_CMP || (i == I_select && !chosen)) return NULL;
    LLVMValueRef fixed[3] = {NULL};
    for (uint32_t k = 0; k < op->nops; k++) {
        if (o[k].tile) continue;
        fixed[k] = chosen && k == 0 ? o[k].scalar : splat(g, t, o[k].scalar);
        if (!fixed[k]) return NULL;
    }
    cg_tile *r = cg_tile_new(g, to, slots);
    for (uint32_t w = 0; w < r->nwords; w++) {
        LLVMValueRef x[3];
        for (uint32_t k = 0; k < op->nops; k++) x[k] = o[k].tile ? o[k].tile->word[w] : fixed[k];
        r->word[w] = chosen ? LLVMBuildSelect(g->b, x[0], x[1], x[2], "") : cg_elem_word(g, i, t, x);
        if (!r->word[w]) return NULL;
    }
    return r;
}

void emit_elem(cg *g, ir_op *op) {
    const vm_inst i = op->inst;
    const bool exact = ir_int(op, AT_exact, 0) != 0;
    const vm_dtype t = op->ops[i == I_select ? 1 : 0]->type.elem;
    const bool shifts = i == I_shl || i == I_shr || i == I_fshl;
    const ir_value *res = op->res[0];
    operand o[3];
    for (uint32_t k = 0; k < op->nops && k < 3; k++) {
        const ir_value *v = op->ops[k];
        o[k] = (operand){.elem = v->type.elem};
        if (cg_is_tile(v)) o[k].tile = cg_tile_of(g, v);
        else o[k].scalar = cg_scalar(g, v);
    }
    const uint32_t last = op->nops - 1;
    if (!cg_is_tile(res)) {
        LLVMValueRef x[3];
        for (uint32_t k = 0; k < op->nops; k++) x[k] = o[k].scalar;
        if (shifts) x[last] = amount(g, o[last].elem, t, x[last]);
        cg_set_scalar(g, res, cg_elem(g, i, t, x, exact));
        return;
    }
    const uint32_t slots = cg_slots(&res->type);
    cg_tile *r = by_words(g, op, t, o, slots);
    if (!r) {
        LLVMValueRef *s = vm_newn(g->arena, LLVMValueRef, slots + 1);
        for (uint32_t k = 0; k < slots; k++) {
            LLVMValueRef x[3];
            for (uint32_t j = 0; j < op->nops; j++) x[j] = operand_slot(g, &o[j], k);
            if (shifts) x[last] = amount(g, o[last].elem, t, x[last]);
            s[k] = cg_elem(g, i, t, x, exact);
        }
        r = cg_tile_from_slots(g, res->type.elem, slots, s);
    }
    cg_set_tile(g, res, r);
}

// ---- leaves -------------------------------------------------------------------------------------

void emit_const(cg *g, ir_op *op) {
    const ir_value *r = op->res[0];
    cg_set_scalar(g, r, cg_const(g, r->type.elem, (uint64_t)ir_int(op, AT_value, 0)));
}

static void special(cg *g, ir_op *op, const char *stem) {
    static const char axis[3] = {'x', 'y', 'z'};
    const int64_t d = ir_int(op, AT_dim, 0);
    const char *name = vm_format(g->arena, "llvm.nvvm.read.ptx.sreg.%s.%c", stem, axis[d > 0 && d < 3 ? d : 0]);
    cg_set_scalar(g, op->res[0], cg_call(g, name, g->t_i32, 0, NULL));
}

void emit_block_id(cg *g, ir_op *op) { special(g, op, "ctaid"); }
void emit_grid_dim(cg *g, ir_op *op) { special(g, op, "nctaid"); }
void emit_thread_id(cg *g, ir_op *op) { cg_set_scalar(g, op->res[0], cg_tid(g)); }

void emit_cluster_rank(cg *g, ir_op *op) {
    if (!cg_need(g, op, A_CLUSTER, "cluster.rank", 90)) return cg_undef_results(g, op);
    cg_set_scalar(g, op->res[0],
                  cg_call(g, "llvm.nvvm.read.ptx.sreg.cluster.ctarank", g->t_i32, 0, NULL));
}

void emit_poison(cg *g, ir_op *op) { cg_undef_results(g, op); }

/// Facts have been used by the passes on tile IR; LLVM's are not asked.
void emit_assume(cg *g, ir_op *op) { (void)g, (void)op; }
