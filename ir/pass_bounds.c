// SPDX-License-Identifier: Apache-2.0
// Bounds: proves for each dimension of a memory access that origin + width <= extent, and sets
// `guard` to the dimensions where it cannot; sets `align` from the divisors of origins and strides.
// An upper bound has the form  x + slack <= sym * p / q  (sym absent: a constant), exact in rationals:
// a loop's index stays a step below its end, a block's index one below its extent of the grid.
#include "ir/infer.h"
#include "ir/pass.h"

typedef struct {
    bool ok;
    const ir_value *sym;
    int64_t p, q, slack;
} bound;

typedef struct {
    ir_func *f;
    const ir_op *launch;
    const ir_op *at;    // access in question: conditions around it hold
} prover;

enum { MAX_DEPTH = 24, BIG = 1 << 30 };

static int64_t gcd_of(int64_t a, int64_t b) {
    while (b) {
        const int64_t t = a % b;
        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

static bound reduced(bound b) {
    const int64_t g = gcd_of(b.p, b.q);
    if (b.sym && g > 1) {
        b.p /= g;
        b.q /= g;
    }
    if (b.p > (int64_t)BIG * BIG || b.p < -(int64_t)BIG * BIG || b.q > BIG || b.slack > BIG || b.slack < -BIG)
        b.ok = false;
    return b;
}

static const ir_value *strip(const ir_value *v) {
    while (v->def && v->def->inst == I_cast && vm_is_int(v->type.elem) &&
           v->def->ops[0]->type.space == IS_SCALAR && vm_is_int(v->def->ops[0]->type.elem) &&
           vm_bits(v->type.elem) >= vm_bits(v->def->ops[0]->type.elem))
        v = v->def->ops[0];
    return v;
}

static bool divides(const ir_value *sym, int64_t p, int64_t q) {
    const uint64_t d = ir_divisor(sym);
    return d == 0 || (d < BIG && ((int64_t)d * p) % q == 0);
}

// v as sym * p / q, exactly.
static bound normal(const ir_value *v, int depth) {
    v = strip(v);
    int64_t c;
    if (ir_known(v, &c)) return (bound){.ok = true, .p = c, .q = 1};
    const bound self = {.ok = true, .sym = v, .p = 1, .q = 1};
    if (!v->def || depth > MAX_DEPTH) return self;
    const ir_op *op = v->def;
    if (op->inst == I_mul) {
        const int k = ir_known(op->ops[1], &c) ? 0 : ir_known(op->ops[0], &c) ? 1 : -1;
        if (k < 0 || c <= 0 || c > BIG) return self;
        bound b = normal(op->ops[k], depth + 1);
        if (!b.ok || b.p > BIG) return self;
        b.p *= c;
        return reduced(b);
    }
    if (op->inst != I_div || !ir_known(op->ops[1], &c) || c <= 0 || c > BIG) return self;
    // (x + k) / c with c | x and 0 <= k < c: rounding up or down is the same.
    const ir_value *x = strip(op->ops[0]);
    int64_t k = 0, one;
    for (int i = 0; i < 8 && x->def; i++) {
        if (x->def->inst == I_add && ir_known(x->def->ops[1], &one)) {
            k += one;
            x = strip(x->def->ops[0]);
        } else if (x->def->inst == I_add && ir_known(x->def->ops[0], &one)) {
            k += one;
            x = strip(x->def->ops[1]);
        } else if (x->def->inst == I_sub && ir_known(x->def->ops[1], &one)) {
            k -= one;
            x = strip(x->def->ops[0]);
        } else break;
    }
    if (k < 0 || k >= c) return self;
    bound b = normal(x, depth + 1);
    if (!b.ok || !b.sym || b.q > BIG / c || !divides(b.sym, b.p, b.q * c)) return self;
    b.q *= c;
    return reduced(b);
}

// Counters that walk round a ring: carried by loops (nested ones hand them on), from constants, next =
// select(v + 1 == n, 0, v + 1) or unchanged. `value` holds the loops' arguments met so far.
typedef struct {
    const ir_value *value[16];
    uint32_t count;
    int64_t n, highest, lowest; // n 0: no step met yet; of the constants
} ring_counter;

static void note_break(ir_op *op, void *user) { *(bool *)user |= op->inst == I_break; }

static bool note_constant(ring_counter *r, int64_t c) {
    if (c > r->highest) r->highest = c;
    if (c < r->lowest) r->lowest = c;
    return true;
}

static bool walks_round(ring_counter *r, const ir_value *v, int depth) {
    int64_t c, n;
    v = strip(v);
    if (ir_known(v, &c)) return note_constant(r, c);
    if (depth > MAX_DEPTH) return false;
    if (!v->def || v->def->inst == I_for) { // an argument, or what it is at the end
        const ir_op *loop = v->def ? v->def : v->owner ? v->owner->parent : NULL;
        const uint32_t k = v->def ? v->index : v->index - 1;
        bool breaks = false;
        if (!loop || loop->inst != I_for || (!v->def && v->index == 0)) return false;
        const ir_value *arg = loop->regions[0]->args[k + 1];
        for (uint32_t i = 0; i < r->count; i++)
            if (r->value[i] == arg) return true;
        ir_walk(loop->regions[0], note_break, &breaks);
        const ir_op *end = ir_terminator(loop->regions[0]);
        if (breaks || r->count == 16 || !end || end->inst != I_yield || k >= end->nops) return false;
        r->value[r->count++] = arg;
        return walks_round(r, loop->ops[3 + k], depth + 1) && walks_round(r, end->ops[k], depth + 1);
    }
    if (v->def->inst != I_select) return false;
    const ir_op *eq = v->def->ops[0]->def, *inc = v->def->ops[2]->def;
    if (!eq || !inc || eq->inst != I_eq || inc->inst != I_add || !ir_known(inc->ops[1], &c) || c != 1 || eq->ops[0] != v->def->ops[2] ||
        !ir_known(eq->ops[1], &n) || (r->n && r->n != n))
        return false;
    r->n = n;
    return walks_round(r, v->def->ops[1], depth + 1) && walks_round(r, inc->ops[0], depth + 1);
}

/// Whether 0 <= v < *n by such steps.
static bool in_ring(const ir_value *v, int64_t *n) {
    ring_counter r = {0};
    if (!walks_round(&r, v, 0) || !r.n || r.lowest < 0 || r.highest >= r.n) return false;
    *n = r.n;
    return true;
}

static bool nonnegative(const prover *k, const ir_value *v, int depth) {
    v = strip(v);
    int64_t c;
    if (ir_known(v, &c)) return c >= 0;
    if (vm_dtypes[v->type.elem].kind == K_UINT) return true;
    if (depth > MAX_DEPTH) return false;
    if (!v->def) {
        const ir_op *loop = v->owner ? v->owner->parent : NULL;
        if (loop && loop->inst == I_simt) return true;
        if (!loop || loop->inst != I_for) return false;
        if (v->index == 0) return nonnegative(k, loop->ops[0], depth + 1) && nonnegative(k, loop->ops[2], depth + 1);
        return in_ring(v, &c);
    }
    const ir_op *op = v->def;
    switch (op->inst) {
    case I_block_id:
    case I_grid_dim:
    case I_thread_id:
    case I_cluster_rank:
        return true;
    case I_add:
    case I_mul:
    case I_div:
    case I_min:
        return nonnegative(k, op->ops[0], depth + 1) && nonnegative(k, op->ops[1], depth + 1);
    case I_max:
    case I_and:
        return nonnegative(k, op->ops[0], depth + 1) || nonnegative(k, op->ops[1], depth + 1);
    case I_rem:
    case I_shr:
        return nonnegative(k, op->ops[0], depth + 1);
    case I_for:
        return in_ring(v, &c);
    case I_select: {
        const ir_op *eq = op->ops[0]->def, *sub = op->ops[2]->def;
        if (!nonnegative(k, op->ops[1], depth + 1)) return false;
        // select(x == 0, c, x - 1)
        if (eq && sub && eq->inst == I_eq && sub->inst == I_sub && eq->ops[0] == sub->ops[0] &&
            ir_known(eq->ops[1], &c) && c == 0 && ir_known(sub->ops[1], &c) && c == 1)
            return nonnegative(k, sub->ops[0], depth + 1);
        return nonnegative(k, op->ops[2], depth + 1);
    }
    default:
        return false;
    }
}

static bound constant(int64_t c) {
    return (bound){.ok = true, .p = c, .q = 1};
}

static bound upper(const prover *k, const ir_value *v, int depth);

static bool upper_constant(const prover *k, const ir_value *v, int depth, int64_t *out) {
    const bound b = upper(k, v, depth);
    if (!b.ok || b.sym || b.q != 1) return false;
    *out = b.p - b.slack;
    return true;
}

static bound upper_div(const prover *k, const ir_value *x, int64_t c, int depth) {
    bound b = upper(k, x, depth);
    if (!b.ok || c <= 0 || c > BIG || b.q > BIG / c) return (bound){0};
    if (!b.sym) {
        const int64_t top = b.p - b.slack;
        return top >= 0 ? constant(top / c) : (bound){0};
    }
    b.q *= c;
    const bool exact = divides(b.sym, b.p, b.q);
    b.slack = b.slack >= 0 ? (b.slack + (exact ? c - 1 : 0)) / c : -((-b.slack + c - 1) / c);
    return reduced(b);
}

// Calls of next_fact give the comparisons x < y that hold at the access, innermost first.
static const ir_op *next_fact(const ir_op **op) {
    while ((*op)->parent->parent) {
        const ir_op *in = *op, *out = in->parent->parent;
        const bool then = out->inst == I_if && in->parent == out->regions[0];
        *op = out;
        if (then && out->ops[0]->def && out->ops[0]->def->inst == I_lt) return out->ops[0]->def;
    }
    return NULL;
}

// if (v < y): with d dividing both, v + d <= y.
static bound from_condition(const prover *k, const ir_value *v) {
    const ir_op *op = k->at;
    for (const ir_op *lt; (lt = next_fact(&op)) != NULL;) {
        if (strip(lt->ops[0]) != v) continue;
        bound b = normal(lt->ops[1], 0);
        const uint64_t x = ir_divisor(v), y = ir_divisor(lt->ops[1]);
        const uint64_t d = x && y ? (uint64_t)gcd_of((int64_t)(x % (1ull << 40)), (int64_t)(y % (1ull << 40))) : x | y;
        b.slack = d && d < BIG ? (int64_t)d : 1;
        return reduced(b);
    }
    return (bound){0};
}

// The least value of sym that conditions with constants leave: if (c < sym), sym a multiple of d.
static int64_t least(const prover *k, const ir_value *sym) {
    const ir_op *op = k->at;
    int64_t most = INT64_MIN, c;
    for (const ir_op *lt; (lt = next_fact(&op)) != NULL;) {
        if (strip(lt->ops[1]) != sym || !ir_known(lt->ops[0], &c) || c < 0 || c > BIG) continue;
        const uint64_t d = ir_divisor(sym);
        const int64_t x = d && d < BIG ? (c / (int64_t)d + 1) * (int64_t)d : c + 1;
        if (x > most) most = x;
    }
    return most;
}

static bound upper(const prover *k, const ir_value *v, int depth) {
    const bound none = {0};
    v = strip(v);
    int64_t c, d;
    if (ir_known(v, &c)) return constant(c);
    if (depth > MAX_DEPTH) return none;
    const bound said = from_condition(k, v);
    if (said.ok) return said;
    if (!v->def) {
        const ir_op *loop = v->owner ? v->owner->parent : NULL;
        if (loop && loop->inst == I_simt && v->index == 0) return constant(ir_group_threads(loop) - 1);
        if (!loop || loop->inst != I_for) return none;
        if (v->index > 0) return in_ring(v, &c) ? constant(c - 1) : none;
        if (!ir_known(loop->ops[2], &c)) c = 1; // below the end all the same
        if (c <= 0 || c > BIG) return none;
        bound b = normal(loop->ops[1], depth + 1);
        const uint64_t lo = ir_divisor(loop->ops[0]), hi = ir_divisor(loop->ops[1]);
        b.slack = lo % (uint64_t)c == 0 && hi % (uint64_t)c == 0 ? c : 1;
        return b;
    }
    const ir_op *op = v->def;
    switch (op->inst) {
    case I_block_id: {
        const int64_t dim = ir_int(op, AT_dim, 0);
        if (!k->launch || dim > 2) return none;
        bound b = normal(k->launch->ops[dim], depth + 1);
        b.slack = 1;
        return b;
    }
    case I_thread_id:
        return constant(ir_group_threads(op) - 1);
    case I_cluster_rank:
        return constant(k->f->cluster[0] * k->f->cluster[1] * k->f->cluster[2] - 1);
    case I_mul:
    case I_shl: {
        const ir_value *x = op->ops[0];
        if (!ir_known(op->ops[1], &c)) {
            if (op->inst == I_shl || !ir_known(op->ops[0], &c)) return none;
            x = op->ops[1];
        } else if (op->inst == I_shl) {
            if (c < 0 || c > 30) return none;
            c = (int64_t)1 << c;
        }
        bound b = upper(k, x, depth + 1);
        if (!b.ok || c <= 0 || c > BIG || b.p > BIG || b.slack > BIG / c || b.slack < -BIG / c) return none;
        b.p *= c;
        b.slack *= c;
        return reduced(b);
    }
    case I_div:
        return ir_known(op->ops[1], &c) ? upper_div(k, op->ops[0], c, depth + 1) : none;
    case I_shr:
        return ir_known(op->ops[1], &c) && c >= 0 && c < 30 ? upper_div(k, op->ops[0], (int64_t)1 << c, depth + 1) : none;
    case I_add:
        for (int i = 0; i < 2; i++) {
            if (!upper_constant(k, op->ops[i], depth + 1, &c)) continue;
            bound b = upper(k, op->ops[1 - i], depth + 1);
            b.slack -= c;
            return b.ok ? reduced(b) : none;
        }
        return none;
    case I_sub: {
        bound b = upper(k, op->ops[0], depth + 1);
        if (ir_known(op->ops[1], &c)) b.slack += c;
        else if (!nonnegative(k, op->ops[1], depth + 1)) return none;
        return b.ok ? reduced(b) : none;
    }
    case I_min: {
        const bound b = upper(k, op->ops[0], depth + 1);
        return b.ok ? b : upper(k, op->ops[1], depth + 1);
    }
    case I_max:
        return upper_constant(k, op->ops[0], depth + 1, &c) && upper_constant(k, op->ops[1], depth + 1, &d)
                   ? constant(c > d ? c : d) : none;
    case I_for:
        return in_ring(v, &c) ? constant(c - 1) : none;
    case I_select:
        return upper_constant(k, op->ops[1], depth + 1, &c) && upper_constant(k, op->ops[2], depth + 1, &d)
                   ? constant(c > d ? c : d) : none;
    case I_rem:
        return ir_known(op->ops[1], &c) && c > 0 ? constant(c - 1) : none;
    case I_and:
        return ir_known(op->ops[1], &c) && c >= 0 ? constant(c) : none;
    default:
        return none;
    }
}

static bound extent_of(const ir_op *root, int d) {
    const ir_type *t = &root->res[0]->type;
    if (t->dim[d] >= 0) return constant(t->dim[d]);
    uint32_t next = root->inst == I_global_view ? 1 : 0;
    for (int i = 0; i < d; i++) next += t->dim[i] < 0;
    return next < root->nops ? normal(root->ops[next], 0) : (bound){0};
}

static bool inside(const prover *k, const ir_value *view, const ir_access *a, int d) {
    if (a->d[d].limit || a->d[d].constant < 0 || a->d[d].constant > BIG) return false;
    const int vd = a->d[d].view_dim;
    const int64_t width = vd < 0 ? 1 : view->type.dim[vd];
    const bound e = extent_of(a->root, d);
    if (width < 0 || !e.ok) return false;
    bound x = {0};
    int64_t need = a->d[d].constant + width, c;
    for (uint32_t i = 0; i < a->d[d].n; i++) {
        const ir_value *v = a->d[d].origin[i];
        if (!nonnegative(k, v, 0)) return false;
        if (upper_constant(k, v, 0, &c)) need += c;
        else if (x.ok) return false;
        else if (!(x = upper(k, v, 0)).ok) return false;
    }
    if (!x.ok && e.sym) {
        const int64_t m = least(k, e.sym);
        return m > 0 && m < BIG && e.p > 0 && e.p < BIG && need <= m * e.p / e.q;
    }
    if (!x.ok) return e.q == 1 && need <= e.p;
    return x.sym == e.sym && x.p * e.q == e.p * x.q && need <= x.slack;
}

static uint64_t root_divisor(const ir_op *root, int d) {
    const ir_type *t = &root->res[0]->type;
    if (t->dim[d] >= 0) return (uint64_t)t->dim[d];
    uint32_t next = root->inst == I_global_view ? 1 : 0;
    for (int i = 0; i < d; i++) next += t->dim[i] < 0;
    return next < root->nops ? ir_divisor(root->ops[next]) : 1;
}

static uint64_t low_bit(uint64_t x) {
    return x ? x & (0 - x) : 128;
}

// Bytes (at most 16) that divide the address of every row's start and of the origin.
static int64_t alignment(const prover *k, const ir_value *view, const ir_access *a) {
    const uint64_t bits = vm_mem_bits(view->type.elem);
    const ir_value *base = ir_memory_of(view);
    uint64_t m = 128;
    for (uint32_t i = 0; i < k->f->nparams; i++)
        if (k->f->params[i].value == base && (uint64_t)k->f->params[i].align * 8 < m) m = (uint64_t)k->f->params[i].align * 8;
    const bool strided = a->root->inst == I_global_view && ir_get(a->root, AT_strided);
    if (a->root->inst == I_reshape && a->root->ops[0]->def && a->root->ops[0]->def->inst == I_slice) m = 8;
    uint64_t stride = bits;
    for (int d = a->rank - 1; d >= 0; d--) {
        if (strided) stride = low_bit(ir_divisor(a->root->ops[a->root->nops - (uint32_t)(a->rank - d)])) * bits;
        int64_t one;
        const bool contiguous = strided ? ir_known(a->root->ops[a->root->nops - (uint32_t)(a->rank - d)], &one) && one == 1
                                        : d == a->rank - 1;
        uint64_t unit = low_bit(stride);
        uint64_t at = low_bit((uint64_t)a->d[d].constant);
        for (uint32_t i = 0; i < a->d[d].n; i++) {
            const uint64_t o = low_bit(ir_divisor(a->d[d].origin[i]));
            if (o < at) at = o;
        }
        const bool moves = a->d[d].view_dim >= 0 && !contiguous; // any row of it
        const uint64_t here = moves ? unit : unit * at;
        if (here < m) m = here;
        if (!strided) {
            const uint64_t e = low_bit(root_divisor(a->root, d));
            stride = unit * e > 1 << 20 ? 1 << 20 : unit * e;
        }
    }
    return m >= 8 ? (int64_t)(m / 8) : 1;
}

// ---- elements that share bytes ------------------------------------------------------------------

/// What a store or copy of elements of fewer than 8 bits must fulfil on every executor, so that no byte is
/// written by two threads or in part. More than that, such as paddings of shared memory, the code
/// generator asks for. False after a report.
static bool whole_bytes(const ir_op *op, const ir_value *view, const bool *guarded) {
    const unsigned bits = vm_mem_bits(view->type.elem);
    if (bits >= 8) return true;
    uint64_t unit = 8;
    while (unit > 1 && unit / 2 * bits % 8 == 0) unit /= 2;
    ir_access a;
    const int along = infer_contiguous_dim(view);
    if (along < 0 || !ir_trace(view, &a) || a.root->inst == I_reshape) return true;
    int c = 0;
    while (c < a.rank && a.d[c].view_dim != along) c++;
    const ir_type *root = &a.root->res[0]->type;
    const shared_layout *sh = root->shared;
    if (c == a.rank || (sh && (c != a.rank - 1 || !sh->nmodes || sh->mode_stride[sh->nmodes - 1] != 1))) return true;
    bool ok = a.d[c].constant % (int64_t)unit == 0;
    for (uint32_t i = 0; i < a.d[c].n; i++) ok = ok && ir_divisor(a.d[c].origin[i]) % unit == 0;
    const bool store = op->inst == I_store;
    if (store) {
        const ir_type *t = &op->ops[1]->type;
        ok = ok && t->dim[along] % (int64_t)unit == 0 && (!t->reg || layout_run(t->reg, along) % (int)unit == 0);
    }
    if (guarded[c] && view->type.space == IS_GLOBAL) { // what hangs over the end is not written
        uint32_t open = 1;
        for (int d = 0; d < c; d++) open += root->dim[d] < 0;
        ok = ok && (root->dim[c] < 0 ? ir_divisor(a.root->ops[open]) : (uint64_t)root->dim[c]) % unit == 0;
    }
    if (ok) return true;
    vm_comp *comp = op->parent->func->comp;
    vm_diag *d = vm_report(comp, D_E0410, op->span, "this %s of %s does not begin and end on whole bytes%s", store ? "store" : "copy",
                           vm_dtype_name(view->type.elem), store ? " for each thread" : "");
    vm_help(comp, d, "make offsets and extents multiples of %u elements, and say so by 'requires'", (unsigned)unit);
    return false;
}

static void visit(ir_op *op, void *user) {
    prover *k = user;
    k->at = op;
    ir_value *views[2] = {NULL, NULL};
    switch (op->inst) {
    case I_copy:
    case I_copy_async:
    case I_tma_load:
    case I_tma_store:
    case I_tma_reduce:
        views[1] = op->ops[1];
        views[0] = op->ops[0];
        break;
    case I_load:
    case I_store:
    case I_load_elem:
    case I_store_elem:
    case I_atomic_add:
    case I_atomic_min:
    case I_atomic_max:
    case I_atomic_exch:
    case I_atomic_cas:
    case I_prefetch:
        views[0] = op->ops[0];
        break;
    default:
        return;
    }
    // Accesses by index come with indices of their own: nothing is proven about those.
    const bool cell = vm_insts[op->inst].nops < 0 && vm_insts[op->inst].cls == C_MEM;
    bool need[LAYOUT_MAX_RANK] = {false};
    int64_t align = 16;
    bool global = false;
    for (int i = 0; i < 2 && views[i]; i++) {
        ir_access a;
        if (!ir_trace(views[i], &a)) return;
        if (a.root->inst != I_global_view && a.root->inst != I_alloc_shared && a.root->inst != I_reshape && a.root->inst != I_member) return;
        // The copy engine and cp.async write the whole shared tile.
        const bool tile = vm_insts[op->inst].cls == C_ASYNC && views[i]->type.space == IS_SHARED && ir_elems(&views[i]->type) >= 0;
        for (int d = 0; d < a.rank && !tile; d++) need[d] = need[d] || cell || !inside(k, views[i], &a, d);
        if (views[i]->type.space != IS_GLOBAL) continue;
        global = true;
        const int64_t m = alignment(k, views[i], &a);
        if (m < align) align = m;
    }
    if (op->inst == I_store || op->inst == I_copy || vm_insts[op->inst].cls == C_ASYNC)
        for (int i = 0; i < 2 && views[i] && (i == 0 || op->inst != I_store); i++)
            if (!whole_bytes(op, views[i], need)) break;
    int32_t dims[LAYOUT_MAX_RANK];
    uint32_t n = 0;
    for (int d = 0; d < LAYOUT_MAX_RANK; d++)
        if (need[d]) dims[n++] = d;
    if (!cell) ir_set_ints(op, AT_guard, n, dims);
    if (global && !cell) ir_set_int(op, AT_align, align);
}

void ir_prove_bounds(ir_func *f) {
    prover k = {.f = f};
    for (const ir_op *op = f->host->first; op; op = op->next)
        if (op->inst == I_host_launch) k.launch = op;
    ir_walk(f->body, visit, &k);
}
