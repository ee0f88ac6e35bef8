// SPDX-License-Identifier: Apache-2.0
// Views to addresses: resolves a view's chain, computes element addresses of global and shared memory,
// says which accesses are aligned and which need a bounds check, and accesses single elements and
// vectors.
#include <string.h>

#include "codegen/place.h"

static uint64_t gcd64(uint64_t a, uint64_t b) {
    while (b) {
        const uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static LLVMTypeRef index_type(cg *g, const cg_place *p) { return p->global ? g->t_i64 : g->t_i32; }

static LLVMValueRef index_value(cg *g, const cg_place *p, const ir_value *v) {
    return p->global ? cg_int64(g, v) : cg_int32(g, v);
}

static LLVMValueRef plus(cg *g, LLVMValueRef a, LLVMValueRef b) {
    return !a ? b : !b ? a : LLVMBuildAdd(g->b, a, b, "");
}

static LLVMValueRef constant(cg *g, const cg_place *p, int64_t x) { return LLVMConstInt(index_type(g, p), (uint64_t)x, true); }

/// Root of storage behind reshapes: they renumber dense memory and move nothing.
static const ir_op *storage(const ir_op *root) {
    while (root->inst != I_global_view && root->inst != I_alloc_shared) {
        ir_access a;
        if (!root->nops || !ir_trace(root->ops[0], &a)) return NULL;
        root = a.root;
    }
    return root;
}

/// Extents and, for row-major memory, strides of root `r`.
static void shape_of(cg *g, cg_place *p, const ir_op *r) {
    const ir_type *t = &r->res[0]->type;
    LLVMValueRef ext[LAYOUT_MAX_RANK];
    uint64_t div[LAYOUT_MAX_RANK];
    uint32_t next = r->inst == I_global_view ? 1 : 0;
    for (int d = 0; d < p->rank; d++) {
        if (t->dim[d] >= 0 || next >= r->nops) {
            ext[d] = constant(g, p, t->dim[d]);
            div[d] = (uint64_t)t->dim[d];
        } else {
            ext[d] = index_value(g, p, r->ops[next]);
            div[d] = ir_divisor(r->ops[next++]);
        }
        p->extent[d] = ext[d];
        p->extent_divisor[d] = div[d];
    }
    p->contiguous = -1;
    if (r->inst == I_global_view && ir_int(r, AT_strided, 0)) {
        const uint32_t first = r->nops - (uint32_t)p->rank;
        for (int d = 0; d < p->rank; d++) {
            int64_t s;
            const ir_value *v = r->ops[first + (uint32_t)d];
            p->stride[d] = index_value(g, p, v);
            p->stride_divisor[d] = ir_divisor(v);
            if (ir_known(v, &s) && s == 1) {
                p->stride[d] = NULL;
                p->contiguous = d;
            }
        }
        return;
    }
    LLVMValueRef s = NULL;
    uint64_t sd = 1;
    for (int d = p->rank - 1; d >= 0; d--) {
        p->stride[d] = s;
        p->stride_divisor[d] = sd;
        s = s ? LLVMBuildMul(g->b, s, ext[d], "") : ext[d];
        sd *= div[d] ? div[d] : 1;
        if (sd > 1u << 20) sd = gcd64(sd, 1u << 20);
    }
    p->contiguous = p->rank - 1;
}

typedef struct {
    cg *g;
    const ir_op *until;
    LLVMValueRef bytes;
    int64_t start;
    bool done;
} dynamic;

static void add_dynamic(ir_op *op, void *user) {
    dynamic *d = user;
    cg *g = d->g;
    if (d->done || op->inst != I_alloc_shared || !op->nops) return;
    if (op == d->until) {
        d->done = true;
        return;
    }
    const ir_type *t = &op->res[0]->type;
    LLVMValueRef n = cg_i32(g, vm_mem_bits(t->elem));
    for (int k = 0; k < t->rank; k++)
        if (t->dim[k] >= 0) n = LLVMBuildMul(g->b, n, cg_i32(g, t->dim[k]), "");
    for (uint32_t k = 0; k < op->nops; k++) n = LLVMBuildMul(g->b, n, cg_int32(g, op->ops[k]), "");
    n = LLVMBuildUDiv(g->b, LLVMBuildAdd(g->b, n, cg_i32(g, 127), ""), cg_i32(g, 128), "");
    n = LLVMBuildMul(g->b, n, cg_i32(g, 16), ""); // each starts on 16 bytes, as the host counts them
    d->bytes = d->bytes ? LLVMBuildAdd(g->b, d->bytes, n, "") : n;
    if (ir_get(op, AT_offset)) d->start = ir_int(op, AT_offset, 0);
}

static LLVMValueRef shared_offset_code(cg *g, const cg_place *p, const cg_root_index *at, int64_t *more);

/// A member of structs that lie in a tile of bytes: where the first of them is, and how far apart they are.
static bool place_member(cg *g, const ir_op *op, const ir_op *root, cg_place *p) {
    cg_place raw;
    const ir_type *x = &root->ops[0]->type, *r = &root->res[0]->type;
    if (!cg_place_of(g, op, root->ops[0], &raw)) return false;
    const cg_root_index first = cg_place_index(g, &raw, NULL, NULL);
    int64_t more = 0;
    LLVMValueRef run = raw.layout ? shared_offset_code(g, &raw, &first, &more) : NULL;
    int32_t shape[LAYOUT_MAX_RANK];
    int64_t stride[LAYOUT_MAX_RANK], walk = 1;
    for (int d = r->rank - 1; d >= 0; d--) {
        shape[d] = (int32_t)r->dim[d];
        stride[d] = walk;
        if (d >= x->rank - 1) {
            walk *= r->dim[d];
            continue;
        }
        stride[d] = 0;
        for (int k = 0, m = 0; raw.layout && k < raw.rank; m += raw.layout->dim_modes[k++])
            if (raw.view_dim[k] == d && raw.layout->dim_modes[k]) stride[d] = raw.layout->mode_stride[m + raw.layout->dim_modes[k] - 1] * 8 / (int64_t)p->bits;
    }
    p->layout = shared_strides(g->arena, r->rank, shape, stride);
    p->shared_at = raw.shared_at + more + ir_int(root, AT_offset, 0);
    p->shared_more = plus(g, run, raw.shared_more);
    p->peer = p->peer ? p->peer : raw.peer;
    if (raw.layout && p->layout) return true;
    cg_refuse(g, op, "a struct in shared memory of run-time size", "give it constant extents");
    return false;
}

bool cg_place_of(cg *g, const ir_op *op, const ir_value *view, cg_place *p) {
    ir_access a;
    *p = (cg_place){.elem = view->type.elem, .bits = vm_mem_bits(view->type.elem), .global = view->type.space == IS_GLOBAL};
    const ir_op *store = NULL;
    if (ir_trace(view, &a)) store = storage(a.root);
    if (!store) {
        cg_refuse(g, op, "a view that is not a part of one tensor", "slice the tensor itself");
        return false;
    }
    if (a.peer && op->inst != I_load && op->inst != I_store && op->inst != I_load_elem && op->inst != I_store_elem && op->inst != I_copy) {
        cg_refuse(g, op, vm_format(g->arena, "%s in another block's shared memory", vm_insts[op->inst].name), "load and store reach it, and arrive its barriers");
        return false;
    }
    p->peer = a.peer ? cg_int32(g, a.peer) : NULL;
    p->root = a.root;
    p->rank = a.rank;
    shape_of(g, p, a.root);
    p->base = p->global ? cg_scalar(g, store->ops[0]) : NULL;
    if (!p->global) {
        p->shared_at = ir_int(store, AT_offset, 0);
        if (store->nops && !ir_get(store, AT_offset)) { // behind the tiles of run-time size before it
            dynamic dyn = {.g = g, .until = store};
            ir_walk(g->func->body, add_dynamic, &dyn);
            p->shared_at = dyn.start;
            p->shared_more = dyn.bytes;
        }
        p->layout = a.root == store ? store->res[0]->type.shared : NULL;
        for (int d = 0; p->layout && d < p->rank; d++)
            if (a.root->res[0]->type.dim[d] < 0) p->layout = NULL; // run-time extents are dense
    }
    if (a.root->inst == I_member && !place_member(g, op, a.root, p)) return false;
    const ir_attr *guard = ir_get(op, AT_guard);
    for (int d = 0; d < p->rank; d++) {
        p->view_dim[d] = a.d[d].view_dim;
        p->origin_const[d] = a.d[d].constant;
        p->origin_divisor[d] = (uint64_t)(a.d[d].constant < 0 ? -a.d[d].constant : a.d[d].constant);
        for (uint32_t i = 0; i < a.d[d].n; i++) {
            p->origin[d] = plus(g, p->origin[d], index_value(g, p, a.d[d].origin[i]));
            p->origin_divisor[d] = gcd64(p->origin_divisor[d], ir_divisor(a.d[d].origin[i]));
        }
        p->guarded[d] = true;
        if (guard) {
            p->guarded[d] = false;
            for (uint32_t i = 0; i < guard->n; i++) p->guarded[d] |= guard->v[i] == d;
        }
        const bool at_start = !a.d[d].n && a.d[d].constant == 0;
        const int vd = a.d[d].view_dim;
        const int64_t width = vd >= 0 ? view->type.dim[vd] : 1, whole = a.root->res[0]->type.dim[d];
        if (width >= 0 && whole >= 0 && !a.d[d].n && a.d[d].constant >= 0 && a.d[d].constant + width <= whole) p->guarded[d] = false;
        if (vd >= 0 && at_start && width < 0) p->guarded[d] = true; // run-time extent: walked by an index
        if (a.d[d].limit) {
            LLVMValueRef l = index_value(g, p, a.d[d].limit);
            p->extent[d] = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, l, p->extent[d], ""), l, p->extent[d], "");
            p->guarded[d] = true;
            p->extent_divisor[d] = 1;
        }
    }
    if (p->layout) { // the dimension whose last mode has stride 1
        const shared_layout *l = p->layout;
        p->contiguous = -1;
        for (int d = 0, m = 0; d < l->rank; d++) {
            m += l->dim_modes[d];
            if (l->dim_modes[d] && l->mode_stride[m - 1] == 1) p->contiguous = d;
        }
    }
    const char *evict = p->global ? ir_str(op, AT_evict) : NULL;
    if (evict && strcmp(evict, "normal") != 0) {
        const unsigned readonly = LLVMGetEnumAttributeKindForName("readonly", 8);
        p->policy = cg_cache_policy(g, evict);
        p->once = !strcmp(evict, "first");
        for (unsigned i = 0; i < LLVMCountParams(g->fn); i++)
            p->constant |= LLVMGetParam(g->fn, i) == p->base && LLVMGetEnumAttributeAtIndex(g->fn, i + 1, readonly);
    }
    p->along = p->contiguous >= 0 ? p->view_dim[p->contiguous] : -1;
    p->align = (unsigned)ir_int(op, AT_align, 0);
    return true;
}

bool cg_place_guards(const cg_place *p) {
    for (int d = 0; d < p->rank; d++)
        if (p->guarded[d]) return true;
    return false;
}

static unsigned pow2_divisor(uint64_t x, unsigned most) { // 0 is divisible by everything
    unsigned v = 1;
    while (v < most && (x == 0 || x % (v * 2) == 0)) v *= 2;
    return v;
}

unsigned cg_place_vector(const cg_place *p, unsigned most) {
    if (p->contiguous < 0 || p->along < 0) return 1;
    unsigned v = 1;
    while (v * 2 <= most && v * 2 * p->bits <= 128) v *= 2;
    v = pow2_divisor(p->origin_divisor[p->contiguous], v);
    if (p->layout) {
        const shared_layout *l = p->layout;
        for (int d = 0, m = 0; d < l->rank; d++)
            for (int k = 0; k < l->dim_modes[d]; k++, m++) {
                if (d == p->contiguous && k == l->dim_modes[d] - 1) v = pow2_divisor((uint64_t)l->mode_shape[m], v);
                else if (l->mode_shape[m] > 1) v = pow2_divisor((uint64_t)l->mode_stride[m], v);
            }
        if (l->sw_bits)
            while (v > 1u << l->sw_base) v /= 2;
        return v;
    }
    for (int d = 0; d < p->rank; d++)
        if (d != p->contiguous) v = pow2_divisor(p->stride_divisor[d], v);
    if (p->global && p->align) // 16 elements of 5 bits are 10 bytes: accessed by 2
        while (v > 1 && ((v * p->bits) & -(v * p->bits)) > p->align * 8) v /= 2;
    return v;
}

unsigned cg_place_whole_bytes(const cg_place *p, unsigned v) {
    const int c = p->contiguous;
    if (p->bits >= 8 || c < 0 || !p->guarded[c]) return v;
    return pow2_divisor(p->extent_divisor[c], pow2_divisor(p->origin_divisor[c], v));
}

cg_root_index cg_place_index(cg *g, const cg_place *p, LLVMValueRef const *index, const int64_t *more) {
    cg_root_index r = {0};
    for (int d = 0; d < p->rank; d++) {
        const int k = p->view_dim[d];
        r.run[d] = p->origin[d];
        r.plus[d] = p->origin_const[d];
        if (k < 0) continue;
        if (index && index[k]) {
            LLVMValueRef x = index[k];
            if (LLVMTypeOf(x) != index_type(g, p)) x = LLVMBuildSExtOrBitCast(g->b, x, index_type(g, p), "");
            r.run[d] = plus(g, r.run[d], x);
        }
        if (more) r.plus[d] += more[k];
    }
    return r;
}

static LLVMValueRef whole(cg *g, const cg_place *p, const cg_root_index *at, int d) {
    if (!at->run[d]) return constant(g, p, at->plus[d]);
    return at->plus[d] ? LLVMBuildAdd(g->b, at->run[d], constant(g, p, at->plus[d]), "") : at->run[d];
}

/// Element offset in shared memory of a laid-out tile: digits of the modes, then the swizzle.
static LLVMValueRef shared_offset_code(cg *g, const cg_place *p, const cg_root_index *at, int64_t *more) {
    const shared_layout *l = p->layout;
    LLVMValueRef sum = NULL;
    *more = 0;
    for (int d = 0, m = 0; d < l->rank; m += l->dim_modes[d], d++) {
        const int n = l->dim_modes[d];
        if (n == 0) continue;
        if (n == 1 && !l->sw_bits) { // constants stay apart and fold into the access
            *more += at->plus[d] * l->mode_stride[m];
            if (at->run[d]) sum = plus(g, sum, LLVMBuildMul(g->b, at->run[d], cg_i32(g, l->mode_stride[m]), ""));
            continue;
        }
        LLVMValueRef x = whole(g, p, at, d);
        int64_t inner = 1;
        for (int k = n - 1; k >= 0; k--) {
            LLVMValueRef digit = inner > 1 ? LLVMBuildUDiv(g->b, x, cg_i32(g, inner), "") : x;
            if (k > 0) digit = LLVMBuildURem(g->b, digit, cg_i32(g, l->mode_shape[m + k]), "");
            sum = plus(g, sum, LLVMBuildMul(g->b, digit, cg_i32(g, l->mode_stride[m + k]), ""));
            inner *= l->mode_shape[m + k];
        }
    }
    if (!sum) sum = cg_i32(g, 0);
    if (l->sw_bits) {
        const int64_t mask = ((1ll << l->sw_bits) - 1) << (l->sw_base + l->sw_shift);
        LLVMValueRef hi = LLVMBuildAnd(g->b, sum, cg_i32(g, mask), "");
        sum = LLVMBuildXor(g->b, sum, LLVMBuildLShr(g->b, hi, cg_i32(g, l->sw_shift), ""), "");
    }
    return sum;
}

LLVMValueRef cg_place_address(cg *g, const cg_place *p, const cg_root_index *at, LLVMValueRef *bit) {
    LLVMValueRef run = NULL;
    int64_t more = 0;
    if (p->layout) {
        run = shared_offset_code(g, p, at, &more);
    } else {
        for (int d = 0; d < p->rank; d++) {
            if (!p->stride[d]) {
                run = plus(g, run, at->run[d]);
                more += at->plus[d];
            } else if (LLVMIsConstant(p->stride[d])) {
                const int64_t s = LLVMConstIntGetSExtValue(p->stride[d]);
                more += at->plus[d] * s;
                if (at->run[d]) run = plus(g, run, LLVMBuildMul(g->b, at->run[d], p->stride[d], ""));
            } else {
                // two products: the one of the run-time part is shared by all slots
                if (at->run[d]) run = plus(g, run, LLVMBuildMul(g->b, at->run[d], p->stride[d], ""));
                if (at->plus[d]) run = plus(g, run, LLVMBuildMul(g->b, constant(g, p, at->plus[d]), p->stride[d], ""));
            }
        }
    }
    const unsigned bytes = p->bits / 8;
    if (p->bits % 8) { // sub-byte: bit addresses
        LLVMValueRef bits = run ? LLVMBuildMul(g->b, run, constant(g, p, p->bits), "") : constant(g, p, 0);
        bits = plus(g, bits, constant(g, p, more * p->bits));
        if (bit) *bit = LLVMBuildAnd(g->b, bits, constant(g, p, 7), "");
        run = LLVMBuildLShr(g->b, bits, constant(g, p, 3), "");
        if (p->global) run = LLVMBuildAShr(g->b, bits, constant(g, p, 3), "");
        more = 0;
    } else if (run && bytes > 1) {
        run = LLVMBuildMul(g->b, run, constant(g, p, bytes), "");
        more *= bytes;
    } else {
        more *= bytes;
    }
    if (p->peer) return cg_shared_of(g, p->peer, plus(g, run, p->shared_more), p->shared_at + more);
    if (!p->global) return cg_shared(g, plus(g, run, p->shared_more), p->shared_at + more);
    LLVMValueRef a = p->base;
    if (run) a = LLVMBuildGEP2(g->b, g->t_i8, a, &run, 1, "");
    if (more) {
        LLVMValueRef c = cg_i64(g, more);
        a = LLVMBuildGEP2(g->b, g->t_i8, a, &c, 1, "");
    }
    return a;
}

static LLVMValueRef dimension_inside(cg *g, const cg_place *p, const cg_root_index *at, int d, unsigned n) {
    LLVMValueRef x = whole(g, p, at, d), in = LLVMBuildICmp(g->b, LLVMIntULT, x, p->extent[d], "");
    if (n > 1) {
        cg_root_index last = *at;
        last.plus[d] += n - 1;
        in = cg_and(g, in, LLVMBuildICmp(g->b, LLVMIntULT, whole(g, p, &last, d), p->extent[d], ""));
    }
    return in;
}

LLVMValueRef cg_place_inside_but(cg *g, const cg_place *p, const cg_root_index *at) {
    LLVMValueRef all = NULL;
    for (int d = 0; d < p->rank; d++)
        if (p->guarded[d] && d != p->contiguous) all = cg_and(g, all, dimension_inside(g, p, at, d, 1));
    return all;
}

LLVMValueRef cg_place_inside(cg *g, const cg_place *p, const cg_root_index *at, unsigned n) {
    LLVMValueRef all = cg_place_inside_but(g, p, at);
    const int c = p->contiguous;
    return c >= 0 && p->guarded[c] ? cg_and(g, all, dimension_inside(g, p, at, c, n)) : all;
}

LLVMValueRef cg_place_remaining(cg *g, const cg_place *p, const cg_root_index *at, unsigned n) {
    const int c = p->contiguous;
    if (c < 0 || !p->guarded[c]) return cg_i32(g, n);
    LLVMValueRef x = whole(g, p, at, c), left = LLVMBuildSub(g->b, p->extent[c], x, ""), most = constant(g, p, n), zero = constant(g, p, 0);
    left = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, left, most, ""), left, most, "");
    left = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, left, zero, ""), zero, left, "");
    left = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, x, zero, ""), zero, left, "");
    return p->global ? LLVMBuildTrunc(g->b, left, g->t_i32, "") : left;
}

// ---- accesses -----------------------------------------------------------------------------------

static void count(cg *g, const cg_place *p, bool store, unsigned bytes) {
    static const enum cg_count kinds[2][2][4] = {
        {{CG_ld_shared_16, CG_ld_shared_8, CG_ld_shared_4, CG_ld_shared_small}, {CG_st_shared_16, CG_st_shared_8, CG_st_shared_4, CG_st_shared_small}},
        {{CG_ld_global_16, CG_ld_global_8, CG_ld_global_4, CG_ld_global_small}, {CG_st_global_16, CG_st_global_8, CG_st_global_4, CG_st_global_small}}};
    cg_counted(g, kinds[p->global][store][bytes >= 16 ? 0 : bytes == 8 ? 1 : bytes == 4 ? 2 : 3]);
}

static LLVMTypeRef unit(cg *g, unsigned bytes) {
    return bytes == 1 ? g->t_i8 : bytes == 2 ? g->t_i16 : bytes == 4 ? g->t_i32 : bytes == 8 ? LLVMVectorType(g->t_i32, 2) : LLVMVectorType(g->t_i32, 4);
}

/// Bytes of the pieces of an access of `bytes`: the greatest power of two that divides it.
static unsigned piece_of(unsigned bytes) {
    unsigned p = 1;
    while (p < 16 && bytes % (p * 2) == 0) p *= 2;
    return p;
}

static LLVMValueRef piece_address(cg *g, const cg_place *p, LLVMValueRef a, unsigned off) {
    if (!off) return a;
    LLVMValueRef c = p->global ? cg_i64(g, off) : cg_i32(g, off);
    return LLVMBuildGEP2(g->b, g->t_i8, a, &c, 1, "");
}

/// "ld.global.nc.L1::no_allocate.L2::cache_hint.v4.b32 {$0, …}, [$4], $5;" and the store's like, for a
/// piece of 4 to 16 bytes. A load of what nobody writes is as free to move as a plain one.
static void hinted(cg *g, const cg_place *p, LLVMValueRef a, unsigned bytes, LLVMValueRef *words, bool store) {
    const unsigned n = bytes / 4;
    vm_text list = {.arena = g->arena}, marks = {.arena = g->arena};
    const unsigned first = store ? 2 : 0;
    for (unsigned i = 0; i < n; i++) {
        vm_put(&list, "%s$%u", i ? ", " : "", first + i);
        vm_put(&marks, "%s%s%s", i || store ? "," : "", store ? "" : "=", "r");
    }
    const bool free = !store && p->constant;
    const char *regs = vm_text_end(&list), *vector = n == 4 ? ".v4" : n == 2 ? ".v2" : "";
    const char *open = n > 1 ? "{" : "", *close = n > 1 ? "}" : "", *l1 = p->once ? ".L1::no_allocate" : "";
    LLVMValueRef args[6] = {LLVMBuildPtrToInt(g->b, a, g->t_i64, ""), p->policy};
    LLVMTypeRef types[4] = {g->t_i32, g->t_i32, g->t_i32, g->t_i32};
    if (store) {
        for (unsigned i = 0; i < n; i++) args[2 + i] = words[i];
        cg_asm(g, vm_format(g->arena, "st.global%s.L2::cache_hint%s.b32 [$0], %s%s%s, $1;", l1, vector, open, regs, close),
               vm_format(g->arena, "l,l%s,~{memory}", vm_text_end(&marks)), g->t_void, 2 + n, args, true);
        return;
    }
    LLVMValueRef r = cg_asm(g, vm_format(g->arena, "ld.global%s%s.L2::cache_hint%s.b32 %s%s%s, [$%u], $%u;", free ? ".nc" : "", l1, vector,
                                         open, regs, close, n, n + 1),
                            vm_format(g->arena, "%s,l,l%s", vm_text_end(&marks), free ? "" : ",~{memory}"),
                            n == 1 ? g->t_i32 : LLVMStructTypeInContext(g->ctx, types, n, false), 2, args, !free);
    for (unsigned i = 0; i < n; i++) words[i] = n == 1 ? r : LLVMBuildExtractValue(g->b, r, i, "");
}

void cg_vector_load(cg *g, const cg_place *p, const cg_root_index *at, unsigned n, LLVMValueRef *words) {
    const unsigned bytes = n * p->bits / 8, piece = piece_of(bytes);
    LLVMValueRef a = cg_place_address(g, p, at, NULL);
    for (unsigned i = 0; i < (bytes + 3) / 4; i++) words[i] = NULL;
    for (unsigned off = 0; off < bytes; off += piece) {
        if (p->policy && piece >= 4) {
            hinted(g, p, piece_address(g, p, a, off), piece, words + off / 4, false);
            count(g, p, false, piece);
            continue;
        }
        LLVMValueRef v = LLVMBuildLoad2(g->b, unit(g, piece), piece_address(g, p, a, off), "");
        LLVMSetAlignment(v, piece);
        count(g, p, false, piece);
        if (piece > 4) {
            for (unsigned i = 0; i < piece / 4; i++) words[off / 4 + i] = LLVMBuildExtractElement(g->b, v, cg_i32(g, i), "");
            continue;
        }
        if (piece < 4) v = LLVMBuildZExt(g->b, v, g->t_i32, "");
        if (off % 4) v = LLVMBuildShl(g->b, v, cg_i32(g, off % 4 * 8), "");
        words[off / 4] = words[off / 4] ? LLVMBuildOr(g->b, words[off / 4], v, "") : v;
    }
}

void cg_vector_store(cg *g, const cg_place *p, const cg_root_index *at, unsigned n, LLVMValueRef const *words) {
    const unsigned bytes = n * p->bits / 8, piece = piece_of(bytes);
    LLVMValueRef a = cg_place_address(g, p, at, NULL);
    for (unsigned off = 0; off < bytes; off += piece) {
        LLVMValueRef v = words[off / 4];
        if (p->policy && piece >= 4) {
            hinted(g, p, piece_address(g, p, a, off), piece, (LLVMValueRef *)&words[off / 4], true);
            count(g, p, true, piece);
            continue;
        }
        if (piece > 4) {
            v = LLVMGetUndef(unit(g, piece));
            for (unsigned i = 0; i < piece / 4; i++) v = LLVMBuildInsertElement(g->b, v, words[off / 4 + i], cg_i32(g, i), "");
        } else if (piece < 4) {
            if (off % 4) v = LLVMBuildLShr(g->b, v, cg_i32(g, off % 4 * 8), "");
            v = LLVMBuildTrunc(g->b, v, unit(g, piece), "");
        }
        LLVMSetAlignment(LLVMBuildStore(g->b, v, piece_address(g, p, a, off)), piece);
        count(g, p, true, piece);
    }
}

LLVMValueRef cg_element_load(cg *g, const cg_place *p, const cg_root_index *at) {
    LLVMValueRef bit = NULL, a = cg_place_address(g, p, at, &bit);
    if (p->bits % 8 == 0) {
        const unsigned bytes = p->bits / 8;
        LLVMTypeRef t = bytes == 8 ? g->t_i64 : unit(g, bytes);
        LLVMValueRef v = LLVMBuildLoad2(g->b, t, a, "");
        LLVMSetAlignment(v, bytes);
        count(g, p, false, bytes);
        return bytes < 4 ? LLVMBuildZExt(g->b, v, g->t_i32, "") : v;
    }
    // up to 7 bits from any bit: its byte, and the next one where it reaches over
    LLVMValueRef lo = LLVMBuildLoad2(g->b, g->t_i8, a, "");
    LLVMSetAlignment(lo, 1);
    count(g, p, false, 1);
    LLVMValueRef w = LLVMBuildZExt(g->b, lo, g->t_i32, ""), b32 = LLVMBuildTruncOrBitCast(g->b, bit, g->t_i32, "");
    if (8 % p->bits) {
        LLVMValueRef over = LLVMBuildICmp(g->b, LLVMIntUGT, b32, cg_i32(g, 8 - (int)p->bits), "");
        cg_guard k = cg_guard_begin(g, over);
        LLVMValueRef one = cg_i64(g, 1), next = LLVMBuildLoad2(g->b, g->t_i8, LLVMBuildGEP2(g->b, g->t_i8, a, &one, 1, ""), "");
        LLVMSetAlignment(next, 1);
        next = LLVMBuildShl(g->b, LLVMBuildZExt(g->b, next, g->t_i32, ""), cg_i32(g, 8), "");
        cg_guard_end(g, &k);
        w = LLVMBuildOr(g->b, w, cg_guard_value(g, &k, next, cg_i32(g, 0)), "");
    }
    return LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, w, b32, ""), cg_i32(g, (1 << p->bits) - 1), "");
}

void cg_element_store(cg *g, const cg_place *p, const cg_root_index *at, LLVMValueRef code) {
    const unsigned bytes = p->bits / 8;
    LLVMTypeRef t = bytes == 8 ? g->t_i64 : unit(g, bytes);
    if (LLVMTypeOf(code) != t) code = LLVMBuildTrunc(g->b, code, t, "");
    LLVMSetAlignment(LLVMBuildStore(g->b, code, cg_place_address(g, p, at, NULL)), bytes);
    count(g, p, true, bytes);
}
