// SPDX-License-Identifier: Apache-2.0
// Bulk copies: runs of memory that lie contiguously on both sides, moved by the copy engine. One
// thread of the group issues them. Into shared memory they land on an mbarrier with their bytes; out
// of it they are groups of the issuing thread, waited for by wait_stores.
#include <stdarg.h>
#include <string.h>

#include "codegen/place.h"

// ---- the issuing thread -------------------------------------------------------------------------

cg_issue cg_issue_begin(cg *g) {
    cg_issue k = {.warp = cg_guard_begin(g, NULL)};
    if (g->group->threads > 32) k.warp = cg_guard_begin(g, LLVMBuildICmp(g->b, LLVMIntEQ, cg_warp(g), cg_i32(g, 0), ""));
    LLVMTypeRef both[2] = {g->t_i32, g->t_i1};
    LLVMValueRef all = cg_i32(g, -1);
    LLVMValueRef r = cg_call(g, "llvm.nvvm.elect.sync", LLVMStructTypeInContext(g->ctx, both, 2, false), 1, &all);
    k.lane = cg_guard_begin(g, LLVMBuildExtractValue(g->b, r, 1, ""));
    return k;
}

void cg_issue_end(cg *g, cg_issue *k) {
    cg_guard_end(g, &k->lane);
    cg_guard_end(g, &k->warp);
}

void cg_expect_bytes(cg *g, LLVMValueRef barrier, LLVMValueRef bytes) {
    LLVMValueRef a[2] = {barrier, bytes};
    cg_asm(g, "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [$0], $1;", "r,r,~{memory}", g->t_void, 2, a, true);
}

LLVMValueRef cg_cache_policy(cg *g, const char *evict) {
    if (!evict || !strcmp(evict, "normal")) return NULL;
    if (g->arch->sm >= 90) // what createpolicy gives for the whole range
        return cg_i64(g, !strcmp(evict, "first") ? 0x12F0000000000000 : 0x14F0000000000000);
    return cg_asm(g, vm_format(g->arena, "createpolicy.fractional.L2::evict_%s.b64 $0, 1.0;", evict), "=l", g->t_i64, 0, NULL, false);
}

// ---- runs ---------------------------------------------------------------------------------------

enum { UNROLLED = 16, UNROLLED_GUARDED = 2, MOST_PIECES = 256 };

typedef struct {
    cg *g;
    ir_op *op;
    const ir_type *box;
    cg_place dst, src, *global, *shared;
    int first;              // a run goes over the view dimensions from this one on
    int64_t unit;           // elements of one index along it
    int64_t pieces;         // runs
    bool partial;           // bounds along `first` must be checked
    LLVMValueRef barrier, policy;
    unsigned bits;
} bulk;

static void refuse(const bulk *b, const char *help, const char *fmt, ...) VM_PRINTF(3, 4);
static void refuse(const bulk *b, const char *help, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *why = vm_vformat(b->g->arena, fmt, ap);
    va_end(ap);
    vm_diag *d = vm_report(b->g->comp, D_E0604, b->op->span, "%s", why);
    vm_help(b->g->comp, d, "%s", help);
    b->g->failed = true;
}

static const char *name_of(const cg_place *p) {
    const char *n = ir_str(p->root, AT_name);
    return n ? n : p->root->nres && p->root->res[0]->name ? p->root->res[0]->name : "a view";
}

static int root_dim(const cg_place *p, int view_dim) {
    for (int d = 0; d < p->rank; d++)
        if (p->view_dim[d] == view_dim) return d;
    return -1;
}

/// Elements between neighbours along root dimension d where the box, of extent n there, lies evenly
/// and row-major modes allow; 0: unknown.
static int64_t step_of(const cg_place *p, int d, int64_t n) {
    if (!p->layout) return !p->stride[d] ? 1 : LLVMIsConstant(p->stride[d]) ? LLVMConstIntGetSExtValue(p->stride[d]) : 0;
    const shared_layout *l = p->layout;
    int m = 0;
    for (int k = 0; k < d; k++) m += l->dim_modes[k];
    const int modes = l->dim_modes[d];
    if (modes == 0) return n == 1 ? 1 : 0;
    const int64_t inner = l->mode_shape[m + modes - 1];
    const bool within = modes == 1 || (inner % n == 0 && (p->origin_divisor[d] == 0 || p->origin_divisor[d] % (uint64_t)n == 0));
    return within ? l->mode_stride[m + modes - 1] : 0;
}

/// The outermost view dimension from which on the box is one run in p; rank: not even the last.
static int run_from(const bulk *b, const cg_place *p) {
    int64_t have = 1;
    int from = b->box->rank;
    for (int k = b->box->rank - 1; k >= 0; k--) {
        const int64_t n = b->box->dim[k];
        const int d = root_dim(p, k);
        if (n > 1 && (d < 0 || step_of(p, d, n) != have)) break;
        have *= n;
        from = k;
    }
    return from;
}

static uint64_t times(uint64_t a, uint64_t b) { // exact as far as divisibility by 128 goes
    return (a & 0xffffffff) * (b & 0xffffffff) % 128;
}

/// Whether every run starts on 16 bytes.
static bool aligned(const bulk *b, const cg_place *p) {
    bool ok = true;
    int m = 0;
    for (int d = 0; d < p->rank; d++) {
        const int modes = p->layout ? p->layout->dim_modes[d] : 0;
        uint64_t stride = p->layout ? 0 : p->stride[d] ? p->stride_divisor[d] : 1; // extent 1 has no mode
        if (p->layout && modes) stride = (uint64_t)p->layout->mode_stride[m + modes - 1];
        ok &= times(times(p->origin_divisor[d], stride), b->bits) == 0;
        const bool walks = p->view_dim[d] >= 0 && p->view_dim[d] < b->first && b->box->dim[p->view_dim[d]] > 1;
        for (int k = 0; k < modes; k++) // digits of the outer modes come from the origin or the walk
            if (k + 1 < modes || walks) ok &= times((uint64_t)p->layout->mode_stride[m + k], b->bits) == 0;
        if (!p->layout && walks) ok &= times(stride, b->bits) == 0;
        m += modes;
    }
    return ok && (!p->global || p->align >= 16);
}

static bool plan(bulk *b) {
    cg *g = b->g;
    const ir_type *t = b->box;
    for (int k = 0; k < t->rank; k++)
        if (t->dim[k] < 0 || b->op->ops[1]->type.dim[k] < 0) {
            refuse(b, "take a window of constant extents: a[i +: W]", "a bulk copy needs constant extents");
            return false;
        }
    if (b->shared->layout && b->shared->layout->sw_bits) {
        refuse(b, "leave '@ swizzle(…)' out, or copy via = tensor", "'%s' is swizzled: a bulk copy leaves runs of memory as they are", name_of(b->shared));
        return false;
    }
    const int rs = run_from(b, b->shared), rg = run_from(b, b->global);
    b->first = rs > rg ? rs : rg;
    if (b->first == t->rank && t->rank) {
        refuse(b, "the last dimension must have stride 1 on both sides", "'%s' has no contiguous runs here", name_of(rs > rg ? b->shared : b->global));
        return false;
    }
    for (int k = b->first + 1; k < t->rank; k++) { // a bound inside of a run cuts it
        const int d = root_dim(b->global, k);
        if (t->dim[k] > 1 && d >= 0 && b->global->guarded[d]) b->first = k;
    }
    b->unit = b->pieces = 1;
    for (int k = 0; k < t->rank; k++)
        if (k < b->first) b->pieces *= t->dim[k];
        else if (k > b->first) b->unit *= t->dim[k];
    const int64_t extent = t->rank ? t->dim[b->first] : 1, bits = extent * b->unit * b->bits;
    const int d = t->rank ? root_dim(b->global, b->first) : -1;
    b->partial = d >= 0 && b->global->guarded[d];
    if (bits % 128) {
        refuse(b, "copy more at once, or choose via = cp_async", "the runs of this copy of '%s' have %lld bits: bulk copies move multiples of 16 bytes", name_of(b->global), (long long)bits);
        return false;
    }
    if (b->partial && (times(times(b->global->extent_divisor[d], (uint64_t)b->unit), b->bits) || times(times(b->global->origin_divisor[d], (uint64_t)b->unit), b->bits))) {
        const int64_t per = b->unit * b->bits % 128 ? 128 / (b->unit * b->bits & -(b->unit * b->bits)) : 1;
        refuse(b, vm_format(g->arena, "state that this extent is a multiple of %lld: 'requires … %% %lld == 0;'", (long long)per, (long long)per),
               "runs of '%s' may end inside of 16 bytes where dimension %d ends", name_of(b->global), d);
        return false;
    }
    for (int i = 0; i < 2; i++) {
        const cg_place *p = i ? b->shared : b->global;
        if (aligned(b, p)) continue;
        refuse(b, i ? "pad the rows of the shared tensor to multiples of 16 bytes" : "state by 'requires' that row lengths and origins are multiples of 16 bytes",
               "runs of '%s' are not known to start on 16 bytes", name_of(p));
        return false;
    }
    if (b->pieces > MOST_PIECES) {
        refuse(b, "copy via = tensor, or lay the tile out contiguously in memory", "this bulk copy of '%s' falls into %lld runs of %lld bytes; %d are possible", name_of(b->global),
               (long long)b->pieces, (long long)bits / 8, MOST_PIECES);
        return false;
    }
    return true;
}

// ---- code ---------------------------------------------------------------------------------------

static LLVMValueRef index_of(cg *g, const cg_place *p, const cg_root_index *at, int d) {
    LLVMTypeRef t = p->global ? g->t_i64 : g->t_i32;
    LLVMValueRef c = LLVMConstInt(t, (uint64_t)at->plus[d], true);
    return at->run[d] ? LLVMBuildAdd(g->b, at->run[d], c, "") : c;
}

static LLVMValueRef least(cg *g, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, a, b, ""), a, b, ""); }
static LLVMValueRef most(cg *g, LLVMValueRef a, LLVMValueRef b) { return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSGT, a, b, ""), a, b, ""); }

static void engine(const bulk *b, LLVMValueRef shared, LLVMValueRef global, LLVMValueRef bytes) {
    cg *g = b->g;
    LLVMValueRef s = LLVMBuildPtrToInt(g->b, shared, g->t_i32, ""), m = LLVMBuildPtrToInt(g->b, global, g->t_i64, "");
    cg_counted(g, CG_bulk);
    if (b->shared == &b->src) {
        LLVMValueRef a[4] = {m, s, bytes, b->policy};
        cg_asm(g, b->policy ? "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [$0], [$1], $2, $3;"
                            : "cp.async.bulk.global.shared::cta.bulk_group [$0], [$1], $2;",
               b->policy ? "l,r,r,l,~{memory}" : "l,r,r,~{memory}", g->t_void, b->policy ? 4 : 3, a, true);
        return;
    }
    const int64_t mask = ir_int(b->op, AT_multicast, 0);
    LLVMValueRef a[6] = {s, m, bytes, b->barrier};
    unsigned n = 4;
    if (mask) a[n++] = LLVMConstInt(g->t_i16, (uint64_t)mask, false);
    if (b->policy) a[n++] = b->policy;
    const char *text = vm_format(g->arena, "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes%s%s [$0], [$1], $2, [$3]%s%s;",
                                 mask ? ".multicast::cluster" : "", b->policy ? ".L2::cache_hint" : "", mask ? ", $4" : "",
                                 !b->policy ? "" : mask ? ", $5" : ", $4");
    cg_asm(g, text, vm_format(g->arena, "r,l,r,r%s%s,~{memory}", mask ? ",h" : "", b->policy ? ",l" : ""), g->t_void, n, a, true);
}

/// Zeros to [from, to) bytes behind address at, by this thread, in steps of 16 bytes.
static void zeros(cg *g, LLVMValueRef at, LLVMValueRef from, LLVMValueRef to) {
    LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b), head = cg_block(g, "zero"), body = cg_block(g, "zero.body"), done = cg_block(g, "zero.done");
    LLVMBuildBr(g->b, head);
    cg_at(g, head);
    LLVMValueRef i = LLVMBuildPhi(g->b, g->t_i32, "i");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, i, to, ""), body, done);
    cg_at(g, body);
    LLVMValueRef a = LLVMBuildGEP2(g->b, g->t_i8, at, &i, 1, "");
    LLVMSetAlignment(LLVMBuildStore(g->b, LLVMConstNull(LLVMVectorType(g->t_i32, 4)), a), 16);
    LLVMValueRef next = LLVMBuildAdd(g->b, i, cg_i32(g, 16), "");
    LLVMBuildBr(g->b, head);
    LLVMAddIncoming(i, (LLVMValueRef[]){from, next}, (LLVMBasicBlockRef[]){before, body}, 2);
    cg_at(g, done);
}

/// One run; index: of the outer dimensions (run[k] NULL: plus[k] alone). What of it is out of bounds is
/// neither read nor written in global memory and becomes zero in shared memory.
static void piece(const bulk *b, LLVMValueRef *run, int64_t *more) {
    cg *g = b->g;
    const int64_t extent = b->box->rank ? b->box->dim[b->first] : 1, unit = b->unit * b->bits / 8, whole = extent * b->unit * b->bits / 8;
    cg_root_index m = cg_place_index(g, b->global, run, more), s = cg_place_index(g, b->shared, run, more);
    cg_place outer = *b->global;
    const int d = b->box->rank ? root_dim(b->global, b->first) : -1;
    if (b->partial) outer.guarded[d] = false;
    outer.contiguous = -1;
    LLVMValueRef in = cg_place_inside(g, &outer, &m, 1), shared = cg_place_address(g, b->shared, &s, NULL);
    const bool loads = b->shared == &b->dst;
    if (!in && !b->partial) {
        engine(b, shared, cg_place_address(g, b->global, &m, NULL), cg_i32(g, whole));
        return;
    }
    LLVMValueRef lo = cg_i64(g, 0), hi = cg_i64(g, extent), none = lo;
    if (b->partial) {
        LLVMValueRef x = index_of(g, b->global, &m, d);
        lo = least(g, most(g, LLVMBuildNeg(g->b, x, ""), none), hi);
        hi = most(g, least(g, LLVMBuildSub(g->b, b->global->extent[d], x, ""), hi), lo);
    }
    if (in) hi = LLVMBuildSelect(g->b, in, hi, lo, "");
    LLVMValueRef from = LLVMBuildTrunc(g->b, LLVMBuildMul(g->b, lo, cg_i64(g, unit), ""), g->t_i32, "");
    LLVMValueRef to = LLVMBuildTrunc(g->b, LLVMBuildMul(g->b, hi, cg_i64(g, unit), ""), g->t_i32, "");
    LLVMValueRef bytes = LLVMBuildSub(g->b, to, from, "");
    cg_guard some = cg_guard_begin(g, LLVMBuildICmp(g->b, LLVMIntSGT, bytes, cg_i32(g, 0), ""));
    if (b->partial) {
        LLVMValueRef skip[LAYOUT_MAX_RANK];
        memcpy(skip, run, sizeof skip);
        skip[b->first] = lo;
        m = cg_place_index(g, b->global, skip, more);
    }
    if (loads) cg_expect_bytes(g, b->barrier, bytes);
    engine(b, LLVMBuildGEP2(g->b, g->t_i8, shared, &from, 1, ""), cg_place_address(g, b->global, &m, NULL), bytes);
    cg_guard_end(g, &some);
    if (!loads) return;
    cg_guard rest = cg_guard_begin(g, LLVMBuildICmp(g->b, LLVMIntNE, bytes, cg_i32(g, whole), ""));
    zeros(g, shared, cg_i32(g, 0), from);
    zeros(g, shared, to, cg_i32(g, whole));
    cg_call(g, "llvm.nvvm.fence.proxy.async.shared_cta", g->t_void, 0, NULL); // the engine may write there next
    cg_guard_end(g, &rest);
}

static void pieces(const bulk *b) {
    cg *g = b->g;
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL};
    int64_t more[LAYOUT_MAX_RANK] = {0};
    if (b->pieces <= (cg_place_guards(b->global) ? UNROLLED_GUARDED : UNROLLED)) {
        for (int64_t i = 0; i < b->pieces; i++) {
            int64_t rest = i;
            for (int k = b->first - 1; k >= 0; k--) {
                more[k] = rest % b->box->dim[k];
                rest /= b->box->dim[k];
            }
            piece(b, run, more);
        }
        return;
    }
    LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b), body = cg_block(g, "runs"), done = cg_block(g, "runs.done");
    LLVMBuildBr(g->b, body);
    cg_at(g, body);
    LLVMValueRef i = LLVMBuildPhi(g->b, g->t_i32, "i"), rest = i;
    for (int k = b->first - 1; k >= 0; k--) {
        run[k] = k ? LLVMBuildURem(g->b, rest, cg_i32(g, b->box->dim[k]), "") : rest;
        if (k) rest = LLVMBuildUDiv(g->b, rest, cg_i32(g, b->box->dim[k]), "");
    }
    piece(b, run, more);
    LLVMValueRef next = LLVMBuildAdd(g->b, i, cg_i32(g, 1), "");
    LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntULT, next, cg_i32(g, b->pieces), ""), body, done);
    LLVMAddIncoming(i, (LLVMValueRef[]){cg_i32(g, 0), next}, (LLVMBasicBlockRef[]){from, last}, 2);
    cg_at(g, done);
}

void cg_bulk_copy(cg *g, ir_op *op) {
    if (!cg_need(g, op, A_TMA, "copy_async(…, via = bulk)", 90)) return;
    bulk b = {.g = g, .op = op, .box = &op->ops[0]->type};
    if (!cg_place_of(g, op, op->ops[0], &b.dst) || !cg_place_of(g, op, op->ops[1], &b.src)) return;
    b.bits = b.dst.bits;
    b.shared = b.dst.global ? &b.src : &b.dst;
    b.global = b.dst.global ? &b.dst : &b.src;
    if (b.shared->global || !b.global->global) {
        refuse(&b, "leave via = bulk out", "bulk copies go between global and shared memory");
        return;
    }
    const bool loads = b.shared == &b.dst;
    if (loads && op->nops < 3) {
        refuse(&b, "copy_async(dst, src, barrier, via = bulk); the barrier gets an arrival besides, and the bytes are announced on it",
               "a bulk copy into shared memory lands on a barrier");
        return;
    }
    for (int d = 0; d < b.shared->rank; d++) b.shared->guarded[d] = false; // the tile is what the box lies in
    if (!plan(&b)) return;
    const int64_t mask = ir_int(op, AT_multicast, 0), blocks = mask ? __builtin_popcountll((uint64_t)mask) : 1;
    if (mask && cg_place_guards(b.global)) {
        refuse(&b, "state by 'requires' that the tensor is whole tiles, or copy via = tensor", "a multicast of '%s' may reach out of bounds", name_of(b.global));
        return;
    }
    b.policy = cg_cache_policy(g, ir_str(op, AT_evict));
    if (loads) b.barrier = LLVMBuildPtrToInt(g->b, cg_barrier_pointer(g, op->ops[2]), g->t_i32, "");
    cg_remark(g, op, "copy of %s: %lld bulk cop%s of %lld bytes", name_of(b.global), (long long)b.pieces, b.pieces == 1 ? "y" : "ies",
              (long long)((b.box->rank ? b.box->dim[b.first] : 1) * b.unit * b.bits / 8));
    cg_issue k = cg_issue_begin(g);
    // announced at once where no run can be out of bounds, else run by run
    if (loads && !cg_place_guards(b.global)) cg_expect_bytes(g, b.barrier, cg_i32(g, blocks * ir_elems(b.box) * (int64_t)b.bits / 8));
    pieces(&b);
    if (!loads) cg_call(g, "llvm.nvvm.cp.async.bulk.commit.group", g->t_void, 0, NULL);
    cg_issue_end(g, &k);
}

void cg_wait_stores(cg *g, int64_t count, bool landed) {
    LLVMValueRef n = cg_i32(g, count);
    cg_call(g, landed ? "llvm.nvvm.cp.async.bulk.wait.group" : "llvm.nvvm.cp.async.bulk.wait.group.read", g->t_void, 1, &n);
}

/// Groups belong to the thread that issued them: for all others this is over at once.
void emit_wait_stores(cg *g, ir_op *op) {
    const bool landed = ir_int(op, AT_keep, 0) != 0;
    cg_wait_stores(g, ir_int(op, AT_count, 0), landed);
    if (landed) cg_call(g, "llvm.nvvm.fence.proxy.async.global", g->t_void, 0, NULL);
}
