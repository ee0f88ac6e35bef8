// SPDX-License-Identifier: Apache-2.0
// Tensor copies: boxes of a tensor that the copy engine moves by a tensor map, a parameter of the kernel
// that the runtime encodes. pass_tensor has chosen the boxes; here are their coordinates and addresses.
#include <string.h>

#include "codegen/place.h"

typedef struct {
    cg *g;
    ir_op *op;
    cg_place dst, src, *global, *shared;
    const ir_attr *box, *dims;
    bool loads;
    LLVMValueRef map, barrier, policy;
} tensor;

/// Map dimension that view dimension k walks along, or -1.
static int map_dim(const tensor *t, int k) {
    for (uint32_t i = 0; i < t->dims->n; i++)
        if (t->global->view_dim[t->dims->v[i]] == k) return (int)i;
    return -1;
}

static void engine(const tensor *t, LLVMValueRef shared, LLVMValueRef const *at, unsigned rank) {
    cg *g = t->g;
    const bool reduces = t->op->inst == I_tma_reduce;
    const int64_t mask = ir_int(t->op, AT_multicast, 0);
    LLVMValueRef args[12] = {shared, t->map};
    unsigned n = 2;
    vm_text list = {.arena = g->arena}, marks = {.arena = g->arena};
    vm_put(&marks, "r,l");
    for (unsigned i = 0; i < rank; i++) {
        vm_put(&list, "%s$%u", i ? ", " : "", n);
        vm_put(&marks, ",r");
        args[n++] = at[i];
    }
    vm_text tail = {.arena = g->arena};
    vm_put(&tail, "%s", "");
    if (t->loads) {
        vm_put(&tail, ", [$%u]", n);
        vm_put(&marks, ",r");
        args[n++] = t->barrier;
        if (mask) {
            vm_put(&tail, ", $%u", n);
            vm_put(&marks, ",h");
            args[n++] = LLVMConstInt(g->t_i16, (uint64_t)mask, false);
        }
    }
    if (t->policy) {
        vm_put(&tail, ", $%u", n);
        vm_put(&marks, ",l");
        args[n++] = t->policy;
    }
    vm_put(&marks, ",~{memory}");
    const char *coords = vm_text_end(&list), *rest = vm_text_end(&tail), *hint = t->policy ? ".L2::cache_hint" : "", *text;
    if (t->loads)
        text = vm_format(g->arena, "cp.async.bulk.tensor.%ud.shared::cluster.global.tile.mbarrier::complete_tx::bytes%s%s [$0], [$1, {%s}]%s;", rank,
                         mask ? ".multicast::cluster" : "", hint, coords, rest);
    else if (reduces)
        text = vm_format(g->arena, "cp.reduce.async.bulk.tensor.%ud.global.shared::cta.%s.tile.bulk_group%s [$1, {%s}], [$0]%s;", rank,
                         ir_str(t->op, AT_op) ? ir_str(t->op, AT_op) : "add", hint, coords, rest);
    else
        text = vm_format(g->arena, "cp.async.bulk.tensor.%ud.global.shared::cta.tile.bulk_group%s [$1, {%s}], [$0]%s;", rank, hint, coords, rest);
    cg_asm(g, text, vm_text_end(&marks), g->t_void, n, args, true);
    cg_counted(g, CG_tma);
}

/// One box; at: number of the box along each view dimension.
static void one_box(const tensor *t, const int64_t *at) {
    cg *g = t->g;
    const ir_type *type = &t->op->ops[0]->type;
    int64_t more[LAYOUT_MAX_RANK] = {0};
    for (int k = 0; k < type->rank; k++) {
        const int i = map_dim(t, k);
        more[k] = at[k] * (i >= 0 ? t->box->v[i] : 1);
    }
    const cg_root_index m = cg_place_index(g, t->global, NULL, more), s = cg_place_index(g, t->shared, NULL, more);
    LLVMValueRef coord[5];
    for (uint32_t i = 0; i < t->dims->n; i++) {
        const int d = t->dims->v[i];
        LLVMValueRef x = cg_i64(g, m.plus[d]);
        if (m.run[d]) x = LLVMBuildAdd(g->b, m.run[d], x, "");
        if (i == 0 && t->global->bits < 8) x = LLVMBuildSDiv(g->b, LLVMBuildMul(g->b, x, cg_i64(g, t->global->bits), ""), cg_i64(g, 8), "");
        coord[i] = LLVMBuildTrunc(g->b, x, g->t_i32, "");
    }
    // The engine applies the swizzle to addresses itself.
    cg_place plain = *t->shared;
    shared_layout rows;
    if (plain.layout) {
        rows = *plain.layout;
        rows.sw_bits = 0;
        plain.layout = &rows;
    }
    LLVMValueRef shared = LLVMBuildPtrToInt(g->b, cg_place_address(g, &plain, &s, NULL), g->t_i32, "");
    engine(t, shared, coord, t->dims->n);
}

static void all_boxes(const tensor *t) {
    const ir_type *type = &t->op->ops[0]->type;
    int64_t at[LAYOUT_MAX_RANK] = {0}, n[LAYOUT_MAX_RANK];
    for (int k = 0; k < type->rank; k++) {
        const int i = map_dim(t, k);
        n[k] = type->dim[k] / (i >= 0 ? t->box->v[i] : 1);
    }
    for (;;) {
        one_box(t, at);
        int k = type->rank - 1;
        while (k >= 0 && ++at[k] == n[k]) at[k--] = 0;
        if (k < 0) return;
    }
}

static bool byte_aligned(const cg_place *p) { // boxes start on 128 bytes of shared memory
    uint64_t ok = 1;
    for (int d = 0, m = 0; p->layout && d < p->rank; d++) {
        for (int k = 0; k < p->layout->dim_modes[d]; k++, m++)
            if (p->view_dim[d] < 0) ok &= (p->origin_divisor[d] & 0xffffff) * ((uint64_t)p->layout->mode_stride[m] & 0xffffff) * p->bits % 1024 == 0;
            else if (k + 1 == p->layout->dim_modes[d])
                ok &= (p->origin_divisor[d] & 0xffffff) * ((uint64_t)p->layout->mode_stride[m] & 0xffffff) * p->bits % 1024 == 0;
    }
    return ok;
}

static void move(cg *g, ir_op *op, const char *what) {
    if (!cg_need(g, op, A_TMA, what, 90)) return;
    tensor t = {.g = g, .op = op, .box = ir_get(op, AT_box), .dims = ir_get(op, AT_dims)};
    if (!ir_get(op, AT_map) || !cg_place_of(g, op, op->ops[0], &t.dst) || !cg_place_of(g, op, op->ops[1], &t.src)) return;
    t.loads = !t.dst.global;
    t.global = t.loads ? &t.src : &t.dst;
    t.shared = t.loads ? &t.dst : &t.src;
    const char *name = ir_str(t.global->root, AT_name);
    if (!byte_aligned(t.shared)) {
        vm_diag *d = vm_report(g->comp, D_E0604, op->span, "the part of the shared tile is not known to start on 128 bytes");
        vm_help(g->comp, d, "make its rows, and the tile before it, multiples of 128 bytes");
        g->failed = true;
        return;
    }
    const ir_type *type = &op->ops[0]->type;
    t.map = LLVMBuildPtrToInt(g->b, LLVMGetParam(g->fn, g->func->nparams + (unsigned)ir_int(op, AT_map, 0)), g->t_i64, "");
    t.policy = cg_cache_policy(g, ir_str(op, AT_evict));
    if (t.loads) t.barrier = LLVMBuildPtrToInt(g->b, cg_barrier_pointer(g, op->ops[2]), g->t_i32, "");
    cg_remark(g, op, "tensor copy of %s", name ? name : "a view");
    cg_issue k = cg_issue_begin(g);
    const int64_t mask = ir_int(op, AT_multicast, 0), bytes = ir_elems(type) * (int64_t)t.global->bits / 8;
    if (t.loads && op->inst == I_copy_async) // of a multicast every block of the mask takes part, each with its own box
        cg_expect_bytes(g, t.barrier, cg_i32(g, bytes * (mask ? __builtin_popcountll((uint64_t)mask) : 1)));
    all_boxes(&t);
    if (!t.loads) cg_call(g, "llvm.nvvm.cp.async.bulk.commit.group", g->t_void, 0, NULL);
    cg_issue_end(g, &k);
}

void cg_tensor_copy(cg *g, ir_op *op) { move(g, op, "copy_async(…, via = tensor)"); }
void emit_tma_load(cg *g, ir_op *op) { move(g, op, "tma_load"); }
void emit_tma_store(cg *g, ir_op *op) { move(g, op, "tma_store"); }
void emit_tma_reduce(cg *g, ir_op *op) { move(g, op, "tma_reduce"); }

void cg_prefetch_maps(cg *g, uint32_t n) {
    if (!n) return;
    cg_issue k = cg_issue_begin(g);
    for (uint32_t i = 0; i < n; i++) {
        LLVMValueRef a = LLVMBuildPtrToInt(g->b, LLVMGetParam(g->fn, g->func->nparams + i), g->t_i64, "");
        cg_asm(g, "prefetch.tensormap [$0];", "l,~{memory}", g->t_void, 1, &a, true);
    }
    cg_issue_end(g, &k);
}
