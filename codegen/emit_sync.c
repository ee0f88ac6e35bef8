// SPDX-License-Identifier: Apache-2.0
// Barriers of groups, mbarriers, fences, groups of asynchronous copies, waiting on memory.
// One arrival of a group is one arrival on the mbarrier: the group meets first, then one thread arrives.
#include <string.h>

#include "codegen/place.h"

// ---- hardware barriers --------------------------------------------------------------------------

static void call0(cg *g, const char *name) { cg_call(g, name, g->t_void, 0, NULL); }

void cg_sync_warp(cg *g) {
    LLVMValueRef all = cg_i32(g, -1);
    cg_call(g, "llvm.nvvm.bar.warp.sync", g->t_void, 1, &all);
}

static void named_sync(cg *g, int id, int threads) {
    LLVMValueRef a[2] = {cg_i32(g, id), cg_i32(g, threads)};
    cg_call(g, "llvm.nvvm.barrier.cta.sync.aligned.count", g->t_void, 2, a);
}

void cg_sync(cg *g) {
    cg_counted(g, CG_barrier);
    LLVMValueRef zero = cg_i32(g, 0);
    if (g->group->threads <= 32) cg_sync_warp(g);
    else if (g->group->role) named_sync(g, g->group->barrier, g->group->threads);
    else cg_call(g, "llvm.nvvm.barrier.cta.sync.aligned.all", g->t_void, 1, &zero);
}

void emit_sync(cg *g, ir_op *op) {
    const int64_t id = ir_int(op, AT_barrier, -1);
    if (id > 0 && id < 16 && g->group->threads > 32) named_sync(g, (int)id, g->group->threads);
    else cg_sync(g);
}

void emit_fence(cg *g, ir_op *op) {
    const char *scope = ir_str(op, AT_scope);
    if (scope && !strcmp(scope, "block") && ir_int(op, AT_proxy, 0) && !ir_get(op, AT_order)) { // a barrier does the rest
        if (cg_need(g, op, A_TMA, "fence across proxies", 90)) call0(g, "llvm.nvvm.fence.proxy.async.shared_cta");
        return;
    }
    const char *name = !scope || !strcmp(scope, "gpu")  ? "llvm.nvvm.membar.gl"
                       : !strcmp(scope, "system")       ? "llvm.nvvm.membar.sys"
                                                        : "llvm.nvvm.membar.cta";
    call0(g, name);
    if (ir_int(op, AT_proxy, 0) && cg_need(g, op, A_TMA, "fence across proxies", 90))
        call0(g, "llvm.nvvm.fence.proxy.async");
}

void emit_commit_group(cg *g, ir_op *op) {
    (void)op;
    call0(g, "llvm.nvvm.cp.async.commit.group");
}

void emit_wait_group(cg *g, ir_op *op) {
    const char *of = ir_str(op, AT_of);
    if (of && !strcmp(of, "wgmma")) return cg_wgmma_wait(g, op);
    LLVMValueRef n = cg_i32(g, ir_int(op, AT_count, 0));
    cg_call(g, "llvm.nvvm.cp.async.wait.group", g->t_void, 1, &n);
}

// ---- mbarriers ----------------------------------------------------------------------------------

enum { BARRIER_BYTES = 8 };

/// Shared address of the first barrier that v names, and as a 32-bit number for PTX.
static LLVMValueRef barrier_address(cg *g, const ir_value *v) {
    LLVMValueRef at = NULL;
    for (; v->def && (v->def->inst == I_barrier_at || v->def->inst == I_peer); v = v->def->ops[0]) {
        if (v->def->inst == I_peer) continue;
        LLVMValueRef k = LLVMBuildMul(g->b, cg_int32(g, v->def->ops[1]), cg_i32(g, BARRIER_BYTES), "");
        at = at ? LLVMBuildAdd(g->b, at, k, "") : k;
    }
    return cg_shared(g, at, v->def ? ir_int(v->def, AT_offset, 0) : 0);
}

LLVMValueRef cg_barrier_pointer(cg *g, const ir_value *v) { return barrier_address(g, v); }

static LLVMValueRef barrier_number(cg *g, const ir_value *v) {
    return LLVMBuildPtrToInt(g->b, barrier_address(g, v), g->t_i32, "");
}

typedef struct {
    const ir_op *alloc;
    int warps; // of the groups that arrive: 0: nobody yet, -1: they differ
} arrivals;

static const ir_op *barrier_root(const ir_value *v) {
    while (v->def && (v->def->inst == I_barrier_at || v->def->inst == I_peer)) v = v->def->ops[0];
    return v->def;
}

static void count_arrival(ir_op *op, void *user) {
    arrivals *a = user;
    if ((op->inst != I_arrive && op->inst != I_expect) || barrier_root(op->ops[0]) != a->alloc) return;
    const bool one = op->inst == I_expect || ir_int(op, AT_uniform, 0);
    const int warps = ir_enclosing(op, I_simt) ? -1 : one ? 1 : ir_group_threads(op) / 32;
    a->warps = a->warps == 0 || a->warps == warps ? warps : -1;
}

/// Where all groups that arrive have equally many warps, each warp arrives for itself and the count is
/// scaled, so that no group needs to meet before.
void emit_alloc_barrier(cg *g, ir_op *op) {
    arrivals each = {.alloc = op};
    ir_walk(g->func->body, count_arrival, &each);
    const bool by_warp = each.warps > 1;
    if (by_warp) ir_set_int(op, AT_warps, each.warps);
    const int64_t n = ir_int(op, AT_extent, 1), count = ir_int(op, AT_count, 1) * (by_warp ? each.warps : 1);
    const int64_t at = ir_int(op, AT_offset, 0);
    cg_guard k = cg_guard_begin(g, cg_elected(g));
    for (int64_t i = 0; i < n; i++) {
        LLVMValueRef a[2] = {cg_shared(g, NULL, at + i * BARRIER_BYTES), cg_i32(g, count)};
        cg_call(g, "llvm.nvvm.mbarrier.init.shared", g->t_void, 2, a);
    }
    if (g->arch->features & A_CLUSTER) call0(g, "llvm.nvvm.fence.mbarrier_init.release.cluster");
    cg_guard_end(g, &k);
    cg_sync(g);
}

/// The block of the cluster that the barrier belongs to; NULL: this one.
static LLVMValueRef barrier_peer(cg *g, const ir_value *v) {
    for (; v->def && (v->def->inst == I_barrier_at || v->def->inst == I_peer); v = v->def->ops[0])
        if (v->def->inst == I_peer) return cg_int32(g, v->def->ops[1]);
    return NULL;
}

static void one_arrival(cg *g, const ir_op *op) {
    LLVMValueRef a[2] = {barrier_number(g, op->ops[0]), barrier_peer(g, op->ops[0])};
    if (a[1] && ir_int(op, AT_reads, 0)) // reads are over by then: no fence of the whole GPU
        cg_asm(g, "{ .reg .b32 a; mapa.shared::cluster.u32 a, $0, $1; mbarrier.arrive.shared::cluster.b64 _, [a]; }", "r,r,~{memory}",
               g->t_void, 2, a, true);
    else if (a[1]) // with what this block has done before for the other one to see
        cg_asm(g, "{ .reg .b32 a; mapa.shared::cluster.u32 a, $0, $1; mbarrier.arrive.release.cluster.shared::cluster.b64 _, [a]; }", "r,r,~{memory}",
               g->t_void, 2, a, true);
    else cg_asm(g, "{ .reg .b64 s; mbarrier.arrive.shared.b64 s, [$0]; }", "r,~{memory}", g->t_void, 1, a, true);
}

/// The threads of a group have done what the arrival announces before one of them arrives for all.
static cg_guard arrival_begin(cg *g) {
    if (g->simt) return cg_guard_begin(g, NULL);
    cg_sync(g);
    return cg_guard_begin(g, cg_elected(g));
}

void emit_arrive(cg *g, ir_op *op) {
    if (ir_int(op, AT_uniform, 0)) {
        cg_issue one = cg_issue_begin(g);
        one_arrival(g, op);
        cg_issue_end(g, &one);
        return;
    }
    const ir_op *root = barrier_root(op->ops[0]);
    cg_guard k;
    if (root && ir_get(root, AT_warps)) {
        cg_sync_warp(g);
        k = cg_guard_begin(g, LLVMBuildICmp(g->b, LLVMIntEQ, cg_lane(g), cg_i32(g, 0), ""));
    } else k = arrival_begin(g);
    one_arrival(g, op);
    cg_guard_end(g, &k);
}

void emit_expect(cg *g, ir_op *op) {
    if (!cg_need(g, op, A_TMA, "expect", 90)) return;
    cg_guard k = arrival_begin(g);
    LLVMValueRef a[2] = {barrier_number(g, op->ops[0]), cg_int32(g, op->ops[1])};
    cg_asm(g, "{ .reg .b64 s; mbarrier.arrive.expect_tx.shared::cta.b64 s, [$0], $1; }", "r,r,~{memory}",
           g->t_void, 2, a, true);
    cg_guard_end(g, &k);
}

typedef struct {
    const ir_op *alloc;
    bool found;
} announced;

/// Another block announces there what it has written.
static void find_announced(ir_op *op, void *user) {
    announced *a = user;
    if (op->inst != I_arrive || ir_int(op, AT_reads, 0) || !a->alloc || barrier_root(op->ops[0]) != a->alloc) return;
    for (const ir_value *v = op->ops[0]; v->def && (v->def->inst == I_barrier_at || v->def->inst == I_peer); v = v->def->ops[0])
        a->found |= v->def->inst == I_peer;
}

void emit_wait(cg *g, ir_op *op) {
    if (barrier_peer(g, op->ops[0])) {
        cg_refuse(g, op, "waiting on another block's barrier", "let the other block arrive on a barrier of this one");
        return;
    }
    LLVMValueRef a[2] = {barrier_number(g, op->ops[0]), NULL};
    a[1] = LLVMBuildAnd(g->b, cg_int32(g, op->ops[1]), cg_i32(g, 1), "");
    LLVMBasicBlockRef poll = cg_block(g, "poll"), done = cg_block(g, "arrived");
    LLVMBuildBr(g->b, poll);
    cg_at(g, poll);
    const bool suspends = g->arch->sm >= 90;
    const int *cl = g->func->cluster;
    announced others = {.alloc = barrier_root(op->ops[0])};
    others.found = !others.alloc;
    if (cl[0] * cl[1] * cl[2] > 1) ir_walk(g->func->body, find_announced, &others);
    const bool cluster = suspends && cl[0] * cl[1] * cl[2] > 1 && others.found;
    LLVMValueRef ok = cg_asm(g, cluster  ? "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 $0, [$1], $2;"
                                : suspends ? "mbarrier.try_wait.parity.shared::cta.b64 $0, [$1], $2;"
                                         : "mbarrier.test_wait.parity.shared.b64 $0, [$1], $2;",
                             "=b,r,r,~{memory}", g->t_i1, 2, a, true);
    LLVMBuildCondBr(g->b, ok, done, poll);
    cg_at(g, done);
    cg_sync_warp(g);
}

// ---- waiting on memory --------------------------------------------------------------------------

static LLVMValueRef cell_address(cg *g, const ir_op *op, cg_place *p) {
    if (!cg_place_of(g, op, op->ops[0], p)) return NULL;
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL};
    for (uint32_t i = 1; i + 1 < op->nops && i <= LAYOUT_MAX_RANK; i++)
        run[i - 1] = p->global ? cg_int64(g, op->ops[i]) : cg_int32(g, op->ops[i]);
    const cg_root_index at = cg_place_index(g, p, run, NULL);
    if (p->bits == 32 || p->bits == 64) return cg_place_address(g, p, &at, NULL);
    cg_refuse(g, op, "waiting on a cell that is not of 32 or 64 bits", "use u32 or u64 cells");
    return NULL;
}

static LLVMValueRef acquire_load(cg *g, LLVMTypeRef t, LLVMValueRef at) {
    LLVMValueRef x = LLVMBuildLoad2(g->b, t, at, "");
    LLVMSetAlignment(x, LLVMGetIntTypeWidth(t) / 8);
    LLVMSetOrdering(x, LLVMAtomicOrderingAcquire);
    LLVMSetAtomicSyncScopeID(x, LLVMGetSyncScopeID(g->ctx, "device", 6));
    return x;
}

static void poll_cell(cg *g, ir_op *op, vm_inst cmp, bool elected) {
    cg_place p;
    LLVMValueRef at = cell_address(g, op, &p);
    if (!at) return;
    const vm_dtype t = p.elem;
    LLVMValueRef want = cg_scalar(g, op->ops[op->nops - 1]);
    cg_guard k = cg_guard_begin(g, elected && !g->simt ? cg_elected(g) : NULL);
    LLVMBasicBlockRef poll = cg_block(g, "poll"), done = cg_block(g, "seen");
    LLVMBuildBr(g->b, poll);
    cg_at(g, poll);
    LLVMValueRef x = acquire_load(g, p.bits == 64 ? g->t_i64 : g->t_i32, at);
    LLVMValueRef args[2] = {cg_from_code(g, t, x), want};
    LLVMBuildCondBr(g->b, cg_elem(g, cmp, t, args, false), done, poll);
    cg_at(g, done);
    cg_guard_end(g, &k);
    if (!g->simt) cg_sync(g);
}

void emit_wait_until(cg *g, ir_op *op) {
    vm_inst cmp;
    const char *name = ir_str(op, AT_cmp);
    poll_cell(g, op, name && vm_inst_find(name, &cmp) && vm_insts[cmp].cls == C_CMP ? cmp : I_eq, true);
}

void emit_wait_for(cg *g, ir_op *op) { poll_cell(g, op, I_ge, true); }

void emit_signal(cg *g, ir_op *op) {
    cg_place p;
    LLVMValueRef at = cell_address(g, op, &p);
    if (!at) return;
    const ir_value *v = op->ops[op->nops - 1];
    LLVMTypeRef t = p.bits == 64 ? g->t_i64 : g->t_i32;
    LLVMValueRef x = cg_code(g, v->type.elem, cg_scalar(g, v), t);
    if (g->engine_stores && !g->simt) { // what the engine has written comes before, too
        cg_wait_stores(g, 0, true);
        call0(g, "llvm.nvvm.fence.proxy.async.global");
    }
    cg_guard k = arrival_begin(g);
    call0(g, "llvm.nvvm.membar.gl");
    LLVMValueRef s = LLVMBuildStore(g->b, x, at);
    LLVMSetAlignment(s, p.bits / 8);
    LLVMSetOrdering(s, LLVMAtomicOrderingRelease);
    LLVMSetAtomicSyncScopeID(s, LLVMGetSyncScopeID(g->ctx, "device", 6));
    cg_guard_end(g, &k);
}

// ---- launches and clusters ----------------------------------------------------------------------

void emit_wait_previous(cg *g, ir_op *op) {
    if (cg_need(g, op, A_PDL, "wait_previous", 90)) call0(g, "llvm.nvvm.griddepcontrol.wait");
}

void emit_launch_next(cg *g, ir_op *op) {
    if (cg_need(g, op, A_PDL, "launch_next", 90)) call0(g, "llvm.nvvm.griddepcontrol.launch.dependents");
}

void emit_cluster_sync(cg *g, ir_op *op) {
    if (!cg_need(g, op, A_CLUSTER, "cluster.sync", 90)) return;
    call0(g, "llvm.nvvm.barrier.cluster.arrive.aligned");
    call0(g, "llvm.nvvm.barrier.cluster.wait.aligned");
}
