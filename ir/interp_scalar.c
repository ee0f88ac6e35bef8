// SPDX-License-Identifier: Apache-2.0
// The vm executor: scalar instructions. Codes of the common integer types are computed in place, all
// else by the machine's own meaning (vm_eval), so that the two can never disagree on numbers.
#include "ir/interp.h"

#define R(k) (s->r[i->k])
#define H(name) static const ins *name(mach *m, strand *s, const ins *i)
#define SIMPLE(name, expr)                                                                         \
    H(name) {                                                                                      \
        (void)m;                                                                                   \
        R(d) = (uint64_t)(expr);                                                                   \
        return i + 1;                                                                              \
    }
#define A32 ((uint32_t)R(a))
#define B32 ((uint32_t)R(b))
#define SA32 ((int32_t)(uint32_t)R(a))
#define SB32 ((int32_t)(uint32_t)R(b))

SIMPLE(add32, A32 + B32)
SIMPLE(sub32, A32 - B32)
SIMPLE(mul32, A32 *B32)
SIMPLE(add64, R(a) + R(b))
SIMPLE(sub64, R(a) - R(b))
SIMPLE(mul64, R(a) * R(b))
SIMPLE(and_any, R(a) & R(b))
SIMPLE(or_any, R(a) | R(b))
SIMPLE(xor_any, R(a) ^ R(b))
SIMPLE(shl32, B32 < 32 ? A32 << B32 : 0)
SIMPLE(shl64, R(b) < 64 ? R(a) << R(b) : 0)
SIMPLE(shru32, B32 < 32 ? A32 >> B32 : 0)
SIMPLE(shru64, R(b) < 64 ? R(a) >> R(b) : 0)
SIMPLE(shri32, (uint32_t)(SA32 >> (B32 < 32 ? B32 : 31)))
SIMPLE(minu32, A32 < B32 ? A32 : B32)
SIMPLE(maxu32, A32 > B32 ? A32 : B32)
SIMPLE(mini32, (uint32_t)(SA32 < SB32 ? SA32 : SB32))
SIMPLE(maxi32, (uint32_t)(SA32 > SB32 ? SA32 : SB32))
SIMPLE(divu32, B32 ? A32 / B32 : UINT32_MAX)
SIMPLE(remu32, B32 ? A32 % B32 : A32)
SIMPLE(divi32, SB32 == 0 ? UINT32_MAX : (uint32_t)((int64_t)SA32 / SB32))
SIMPLE(remi32, SB32 == 0 ? A32 : (uint32_t)((int64_t)SA32 % SB32))
SIMPLE(eq_any, R(a) == R(b))
SIMPLE(ne_any, R(a) != R(b))
SIMPLE(ltu, R(a) < R(b))
SIMPLE(leu, R(a) <= R(b))
SIMPLE(gtu, R(a) > R(b))
SIMPLE(geu, R(a) >= R(b))
SIMPLE(lti32, SA32 < SB32)
SIMPLE(lei32, SA32 <= SB32)
SIMPLE(gti32, SA32 > SB32)
SIMPLE(gei32, SA32 >= SB32)
SIMPLE(lti64, (int64_t)R(a) < (int64_t)R(b))
SIMPLE(lei64, (int64_t)R(a) <= (int64_t)R(b))
SIMPLE(gti64, (int64_t)R(a) > (int64_t)R(b))
SIMPLE(gei64, (int64_t)R(a) >= (int64_t)R(b))
SIMPLE(select_any, R(a) & 1 ? R(b) : R(c))
SIMPLE(not_bool, ~R(a) & 1)
SIMPLE(not32, ~A32)
SIMPLE(not64, ~R(a))
SIMPLE(copy_code, R(a))
SIMPLE(trunc_code, R(a) & i->n)
SIMPLE(sext32, (int64_t)SA32)

/// An amount of another integer type: below zero or too large becomes all ones, which is too large.
H(amount) {
    (void)m;
    const int64_t k = as_int((vm_dtype)i->n, R(a));
    R(d) = k < 0 || k >= (int64_t)vm_bits((vm_dtype)i->b) ? mask_of((vm_dtype)i->b) : (uint64_t)k;
    return i + 1;
}
H(eval_any) {
    (void)m;
    uint64_t args[3] = {R(a), R(b), R(c)};
    R(d) = vm_eval((vm_inst)i->op->inst, (vm_dtype)i->n, args);
    return i + 1;
}
H(cast_any) {
    (void)m;
    const vm_rounding *r = i->x;
    R(d) = vm_cast((vm_dtype)(i->n & 0xff), (vm_dtype)(i->n >> 8), R(a), *r);
    return i + 1;
}

static ins_fn pick(vm_inst k, vm_dtype t) {
    const bool w32 = t == T_i32 || t == T_u32, w64 = t == T_i64 || t == T_u64;
    const bool uns = vm_dtypes[t].kind == K_UINT || t == T_bool;
    switch (k) {
    case I_add: return w32 ? add32 : w64 ? add64 : NULL;
    case I_sub: return w32 ? sub32 : w64 ? sub64 : NULL;
    case I_mul: return w32 ? mul32 : w64 ? mul64 : NULL;
    case I_and: return and_any;
    case I_or: return or_any;
    case I_xor: return xor_any;
    case I_shl: return w32 ? shl32 : w64 ? shl64 : NULL;
    case I_shr: return t == T_u32 ? shru32 : t == T_u64 ? shru64 : t == T_i32 ? shri32 : NULL;
    case I_min: return t == T_u32 ? minu32 : t == T_i32 ? mini32 : NULL;
    case I_max: return t == T_u32 ? maxu32 : t == T_i32 ? maxi32 : NULL;
    case I_div: return t == T_u32 ? divu32 : t == T_i32 ? divi32 : NULL;
    case I_rem: return t == T_u32 ? remu32 : t == T_i32 ? remi32 : NULL;
    case I_eq: return vm_is_float(t) ? NULL : eq_any;
    case I_ne: return vm_is_float(t) ? NULL : ne_any;
    case I_lt: return uns ? ltu : t == T_i32 ? lti32 : t == T_i64 ? lti64 : NULL;
    case I_le: return uns ? leu : t == T_i32 ? lei32 : t == T_i64 ? lei64 : NULL;
    case I_gt: return uns ? gtu : t == T_i32 ? gti32 : t == T_i64 ? gti64 : NULL;
    case I_ge: return uns ? geu : t == T_i32 ? gei32 : t == T_i64 ? gei64 : NULL;
    case I_select: return select_any;
    case I_not: return t == T_bool ? not_bool : w32 ? not32 : w64 ? not64 : NULL;
    default: return NULL;
    }
}

void cc_elem_scalar(cc *c, const ir_op *op) {
    const vm_dtype t = op->ops[op->inst == I_select ? 1 : 0]->type.elem;
    uint32_t o[3] = {0};
    for (uint32_t k = 0; k < op->nops && k < 3; k++) o[k] = cc_use(c, op->ops[k]);
    if ((op->inst == I_shl || op->inst == I_shr) && op->ops[1]->type.elem != t) {
        const uint32_t k = cc_new(c);
        cc_put(c, op, amount, k, o[1], t, op->ops[1]->type.elem);
        o[1] = k;
    }
    const ins_fn fast = pick(op->inst, t);
    const uint32_t at = cc_put(c, op, fast ? fast : eval_any, cc_def(c, op->res[0]), o[0], o[1], t);
    cc_at(c, at)->c = o[2];
}

void cc_cast_scalar(cc *c, const ir_op *op, const vm_rounding *r) {
    const vm_dtype from = op->ops[0]->type.elem, to = op->res[0]->type.elem;
    const uint32_t d = cc_def(c, op->res[0]), a = cc_use(c, op->ops[0]);
    const bool ints = vm_is_int(from) && vm_is_int(to);
    if (from == to || (op->inst == I_bitcast)) {
        cc_put(c, op, copy_code, d, a, 0, 0);
    } else if (ints && (vm_bits(to) == vm_bits(from) || (vm_bits(to) > vm_bits(from) && !vm_is_signed(from)))) {
        cc_put(c, op, copy_code, d, a, 0, 0);
    } else if (ints && vm_bits(to) < vm_bits(from) && vm_bits(to) <= 32) {
        cc_put(c, op, trunc_code, d, a, 0, (uint32_t)mask_of(to));
    } else if (from == T_i32 && vm_bits(to) == 64 && ints) {
        cc_put(c, op, sext32, d, a, 0, 0);
    } else {
        const uint32_t at = cc_put(c, op, cast_any, d, a, 0, (uint32_t)from | (uint32_t)to << 8);
        cc_at(c, at)->x = r;
    }
}
