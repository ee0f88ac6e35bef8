// SPDX-License-Identifier: Apache-2.0
// Warpgroup products: which types have one, how its register operands are laid out, and what
// descriptors its shared operands have. Inference, the passes and code generation ask here.
#include "ir/infer.h"

const char *infer_wgmma_type(vm_dtype t) {
    switch (t) {
    case T_f16:
        return "f16";
    case T_bf16:
        return "bf16";
    case T_tf32:
        return "tf32";
    case T_f32:
        return "f32";
    case T_f8e4m3:
        return "e4m3";
    case T_f8e5m2:
        return "e5m2";
    case T_i8:
        return "s8";
    case T_u8:
        return "u8";
    case T_i32:
        return "s32";
    default:
        return NULL;
    }
}

int infer_wgmma_columns(vm_dtype a, int64_t left) {
    const bool whole = vm_is_int(a); // integers: multiples of 16 beyond 32
    const int n = left > 256 ? 256 : (int)left / 8 * 8;
    return whole && n > 32 ? n / 16 * 16 : n;
}

bool infer_wgmma_fresh(const ir_op *op) {
    const ir_op *full = op->ops[2]->def,
                *x = full && full->inst == I_full ? full->ops[0]->def : NULL;
    return x && x->inst == I_const && ir_int(x, AT_value, 1) == 0;
}

/// f32 * f32 has no instruction: its operands would lose bits without notice.
static bool types(const ir_op *op) {
    const vm_dtype a = op->ops[0]->type.elem, b = op->ops[1]->type.elem, c = op->res[0]->type.elem;
    if (!infer_wgmma_type(a) || !infer_wgmma_type(b) || a == T_f32 || vm_bits(a) != vm_bits(b))
        return false;
    if (vm_is_int(a)) return vm_is_int(b) && vm_bits(a) == 8 && c == T_i32;
    if (vm_bits(a) == 8) return vm_is_float(b) && c == T_f32;
    return a == b && (c == T_f32 || (a == T_f16 && c == T_f16));
}

static const layout *chain(vm_arena *ar, const layout *f, const layout *g) {
    return f && g ? layout_compose(ar, f, g, NULL) : NULL;
}

bool infer_wgmma(vm_arena *ar, const ir_op *op, int threads, const layout *ka,
                 infer_dot_choice *out, const char **why) {
    const ir_type *a = &op->ops[0]->type, *c = &op->res[0]->type;
    const int64_t m = c->dim[0], n = c->dim[1], k = a->dim[1];
    const char *ignored;
    if (!why) why = &ignored;
    if (!types(op)) {
        *why = vm_format(ar,
                         "no instruction multiplies %s by %s into %s: f16 into f16 or f32; bf16, "
                         "tf32 and 8-bit floats e4m3, e5m2 "
                         "into f32; i8, u8 into i32",
                         vm_dtype_name(a->elem), vm_dtype_name(op->ops[1]->type.elem),
                         vm_dtype_name(c->elem));
        return false;
    }
    const int depth = 256 / (int)vm_bits(a->elem);
    if (threads % 128 || m % (threads / 2) || n % 8 || k % depth ||
        (int64_t)m / (threads / 2) * n * 2 > LAYOUT_MAX_SLOTS) {
        *why = vm_format(ar,
                         "it needs whole warpgroups (4 warps), 64 rows for each of them, n a "
                         "multiple of 8 and k of %d; "
                         "this is %lld x %lld x %lld on %d threads",
                         depth, (long long)m, (long long)n, (long long)k, threads);
        return false;
    }
    // Warp w of a group of W owns rows 16w … of every 16W; within them the registers are those of
    // mma.sync, its columns one after the other.
    const mma_atom *atom = mma_atom_find(ar, depth == 16   ? "m16n8k16"
                                             : depth == 32 ? "m16n8k32"
                                                           : "m16n8k8x32");
    const int32_t warps[2] = {threads / 32, 1}, cs[2] = {1, (int32_t)(n / 8)},
                  as[2] = {1, (int32_t)(k / depth)}, reps[2] = {(int32_t)(m / (threads / 2)), 1};
    const layout *rows =
        chain(ar, layout_local(ar, 2, reps, NULL), layout_spatial(ar, 2, warps, NULL, NULL));
    const layout *l = chain(ar, chain(ar, rows, layout_local(ar, 2, cs, NULL)), atom->c);
    const layout *want = is_tile(op->ops[0])
                             ? chain(ar, chain(ar, rows, layout_local(ar, 2, as, NULL)), atom->a)
                             : NULL;
    if (!l || (is_tile(op->ops[0]) && !want)) {
        *why = "a thread would hold more than 1024 elements of an operand";
        return false;
    }
    *out =
        (infer_dot_choice){.a = want && ka && infer_same_owners(ar, ka, want) ? ka : want, .c = l};
    return true;
}

bool infer_descriptor(vm_arena *ar, const ir_op *op, int k, const shared_layout *sh, bool facts,
                      descriptor_box *box, descriptor *out, const char **why) {
    const ir_value *v = op->ops[k];
    ir_access acc;
    if (v->type.space != IS_SHARED || !ir_trace(v, &acc)) {
        if (why) *why = "the operand is not a part of one shared tile";
        return false;
    }
    const ir_type *t = &acc.root->res[0]->type;
    int32_t shape[LAYOUT_MAX_RANK];
    for (int d = 0; d < t->rank; d++) {
        if (t->dim[d] < 0) {
            if (why) *why = "its tile has a run-time size";
            return false;
        }
        shape[d] = (int32_t)t->dim[d];
    }
    if (!sh) sh = acc.root->inst == I_alloc_shared ? t->shared : NULL;
    if (!sh) sh = shared_row_major(ar, t->rank, shape);
    const int depth = 256 / (int)vm_bits(v->type.elem), across = k == 0 ? 0 : 1;
    *box = (descriptor_box){.tile = sh, .elem_bits = vm_bits(v->type.elem)};
    box->extent[0] = v->type.dim[across];
    box->extent[1] = v->type.dim[1 - across];
    box->step[0] = k == 0 ? 64 : infer_wgmma_columns(v->type.elem, v->type.dim[across]);
    box->step[1] = depth;
    box->dim[0] = box->dim[1] = -1;
    for (int d = 0; d < acc.rank; d++) {
        if (acc.d[d].limit) {
            if (why) *why = "a range of run-time extent is cut out of its tile";
            return false;
        }
        if (acc.d[d].view_dim == across) box->dim[0] = d;
        if (acc.d[d].view_dim == 1 - across) box->dim[1] = d;
        uint64_t div = (uint64_t)(acc.d[d].constant < 0 ? -acc.d[d].constant : acc.d[d].constant);
        for (uint32_t i = 0; i < acc.d[d].n; i++) {
            uint64_t x = facts ? ir_divisor(acc.d[d].origin[i]) : 0,
                     y = div; // without facts: well aligned
            while (x) {
                const uint64_t r = y % x;
                y = x;
                x = r;
            }
            div = y;
        }
        box->divisor[d] = div;
    }
    if (box->dim[0] < 0 || box->dim[1] < 0) {
        if (why) *why = "a dimension of the operand does not walk along its tile";
        return false;
    }
    return layout_descriptor(ar, box, out, why);
}
