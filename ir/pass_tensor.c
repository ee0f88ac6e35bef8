// SPDX-License-Identifier: Apache-2.0
// Tensor copies: chooses for each the boxes that the copy engine moves, and writes into the host region
// the recipe of the tensor map that it needs. A box is what lies row-major and packed in the shared tile,
// in panels where the layout is swizzled; the copy takes as many of them as it needs.
#include "ir/pass.h"

#include <string.h>

typedef struct {
    ir_func *f;
    vm_comp *c;
    vm_arena *arena;
    VM_VEC(ir_op *) maps;       // host_tensor operations
    VM_VEC(const ir_op *) root; // and the global view that each describes
} maker;

enum { MAP_RANK = 5, MOST_BOX = 256, MOST_BOXES = 64 };

static const char *name_of(const ir_op *root) {
    const char *n = ir_str(root, AT_name);
    return n ? n : root->res[0]->name ? root->res[0]->name : "a view";
}

static void refuse(maker *m, const ir_op *op, const char *help, const char *fmt, ...) VM_PRINTF(4, 5);
static void refuse(maker *m, const ir_op *op, const char *help, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *why = vm_vformat(m->arena, fmt, ap);
    va_end(ap);
    vm_help(m->c, vm_report(m->c, D_E0604, op->span, "%s", why), "%s", help);
}

// ---- the box ------------------------------------------------------------------------------------

typedef struct {
    int rank;              // of the map
    int dim[MAP_RANK];     // dimension of the global root, the fastest first
    int64_t box[MAP_RANK]; // elements
    int swizzle;           // bytes, 0: none
} shape;

static int root_dim(const ir_access *a, int view_dim) {
    for (int d = 0; d < a->rank; d++)
        if (a->d[d].view_dim == view_dim) return d;
    return -1;
}

// Innermost mode of dimension d: extent and stride; false if the dimension has none (extent 1).
static bool inner_mode(const shared_layout *l, int d, int64_t *extent, int64_t *stride, bool *only) {
    int m = 0;
    for (int k = 0; k < d; k++) m += l->dim_modes[k];
    const int n = l->dim_modes[d];
    *only = n == 1;
    if (!n) return false;
    *extent = l->mode_shape[m + n - 1];
    *stride = l->mode_stride[m + n - 1];
    return true;
}

static bool multiple(const ir_access *a, int d, int64_t of) {
    if (a->d[d].constant % of) return false;
    for (uint32_t i = 0; i < a->d[d].n; i++)
        if (ir_divisor(a->d[d].origin[i]) % (uint64_t)of) return false;
    return true;
}

static bool swizzle_of(const shared_layout *l, unsigned bits, int *w) {
    *w = 0;
    if (!l->sw_bits) return true;
    int log = 0;
    while (1u << log < bits) log++;
    if (1u << log != bits || l->sw_base + log != 7 || l->sw_shift != 3 || l->sw_bits > 3) return false;
    *w = 16 << l->sw_bits;
    return true;
}

static bool choose(maker *m, const ir_op *op, const ir_value *sv, const ir_access *s, const ir_access *g, const shared_layout *l, shape *x) {
    const unsigned bits = vm_mem_bits(sv->type.elem);
    const int rank = sv->type.rank;
    bool used[LAYOUT_MAX_RANK] = {false}, open = true;
    *x = (shape){0};
    if (!swizzle_of(l, bits, &x->swizzle)) {
        refuse(m, op, "write '@ swizzle(128)', or leave the layout to the compiler", "the layout of '%s' is none that a tensor copy can write", name_of(s->root));
        return false;
    }
    int64_t have = 1, boxes = 1;
    while (open) {
        int k = 0;
        int64_t extent = 0, stride = 0;
        bool only = true;
        for (; k < rank; k++)
            if (!used[k] && sv->type.dim[k] > 1 && inner_mode(l, root_dim(s, k), &extent, &stride, &only) && stride == have) break;
        if (k == rank) break;
        const int d = root_dim(s, k);
        const int64_t n = sv->type.dim[k];
        int64_t b = n < extent ? n : extent;
        if (!only && (n % b || extent % b || !multiple(s, d, b))) break;
        int64_t most = MOST_BOX;
        if (x->rank == 0) {
            if (bits < 8) most = most * 8 / bits; // counted in bytes
            if (x->swizzle && x->swizzle * 8 / (int64_t)bits < most) most = x->swizzle * 8 / (int64_t)bits;
        }
        const int64_t full = b;
        while (b > most || n % b) b--;
        open = b == full && (b == extent || only) && x->rank < MAP_RANK;
        used[k] = true;
        x->box[x->rank] = b;
        x->dim[x->rank++] = root_dim(g, k);
        boxes *= n / b;
        have *= b;
        if (only && b == n && n < extent) have = extent * (have / b); // a window: the next rows are further apart
    }
    const int64_t row = x->rank ? x->box[0] * (int64_t)bits : 0;
    if (!x->rank || row % 128) {
        refuse(m, op, "the dimension of stride 1 must be the same on both sides, and the box a multiple of 16 bytes along it",
               "rows of %lld bits of '%s' cannot be copied as boxes", (long long)row, name_of(s->root));
        return false;
    }
    for (int k = 0; k < rank; k++)
        if (!used[k]) boxes *= sv->type.dim[k];
    if (boxes > MOST_BOXES) {
        refuse(m, op, "write '@ swizzle(128)' or a row-major tile of whole rows", "this tensor copy falls into %lld boxes; %d are possible", (long long)boxes, MOST_BOXES);
        return false;
    }
    for (int d = g->rank - 1; d >= 0; d--) {
        bool in = false;
        for (int i = 0; i < x->rank; i++) in |= x->dim[i] == d;
        const int64_t whole = g->root->res[0]->type.dim[d];
        if (in || (whole == 1 && g->rank > MAP_RANK)) continue;
        if (x->rank == MAP_RANK) {
            refuse(m, op, "give the tensor fewer dimensions", "'%s' has more than %d dimensions, the most of a tensor copy", name_of(g->root), MAP_RANK);
            return false;
        }
        x->box[x->rank] = 1;
        x->dim[x->rank++] = d;
    }
    return true;
}

// ---- the recipe ---------------------------------------------------------------------------------

// The scalar v, which the device computes, on the host; NULL if it does not follow from parameters.
static ir_value *on_host(maker *m, ir_builder *b, ir_value *v, int depth) {
    if (!v->def) return v->owner ? NULL : v;
    if (v->def->parent && !v->def->parent->parent && v->def->parent == m->f->host) return v;
    const uint8_t cls = vm_insts[v->def->inst].cls;
    if (depth > 64 || v->def->nregions || v->type.space != IS_SCALAR) return NULL;
    if (v->def->inst != I_const && cls != C_ELEM && cls != C_CMP && cls != C_SELECT && cls != C_CAST) return NULL;
    ir_map *map = ir_map_new(m->f);
    for (uint32_t i = 0; i < v->def->nops; i++) {
        ir_value *x = on_host(m, b, v->def->ops[i], depth + 1);
        if (!x) return NULL;
        ir_map_set(map, v->def->ops[i], x);
    }
    return ir_clone(b, v->def, map)->res[0];
}

static ir_value *wide(maker *m, ir_builder *b, ir_value *v) {
    ir_value *x = on_host(m, b, v, 0);
    return !x || x->type.elem == T_i64 ? x : ir_emit1(b, I_cast, 1, &x, ir_scalar(T_i64));
}

static ir_value *scaled(ir_builder *b, ir_value *x, vm_inst i, int64_t by) {
    int64_t c;
    if (ir_known(x, &c)) return ir_const_int(b, T_i64, i == I_mul ? c * by : c / by);
    ir_value *ops[2] = {x, ir_const_int(b, T_i64, by)};
    return by == 1 ? x : ir_emit1(b, i, 2, ops, ir_scalar(T_i64));
}

// Extents in elements and strides in bytes of the root's dimensions, on the host.
static bool geometry(maker *m, ir_builder *b, const ir_op *root, ir_value **extent, ir_value **stride) {
    const ir_type *t = &root->res[0]->type;
    const int64_t bits = vm_mem_bits(t->elem);
    uint32_t next = 1;
    for (int d = 0; d < t->rank; d++)
        if (!(extent[d] = t->dim[d] >= 0 ? ir_const_int(b, T_i64, t->dim[d]) : wide(m, b, root->ops[next++]))) return false;
    const bool strided = ir_int(root, AT_strided, 0) != 0;
    ir_value *walk = ir_const_int(b, T_i64, bits);
    for (int d = t->rank - 1; d >= 0; d--) {
        ir_value *own = strided ? wide(m, b, root->ops[root->nops - (uint32_t)(t->rank - d)]) : NULL;
        if (strided && !own) return false;
        stride[d] = scaled(b, own ? scaled(b, own, I_mul, bits) : walk, I_div, 8);
        int64_t c, e;
        if (strided) continue;
        ir_value *ops[2] = {walk, extent[d]};
        walk = ir_known(walk, &c) && ir_known(extent[d], &e) ? ir_const_int(b, T_i64, c * e) : ir_emit1(b, I_mul, 2, ops, ir_scalar(T_i64));
    }
    return true;
}

static bool same_ints(const ir_attr *a, const ir_attr *b) { return a && b && a->n == b->n && !memcmp(a->v, b->v, a->n * sizeof *a->v); }

static int64_t recipe(maker *m, const ir_op *op, const ir_op *root, const shape *x) {
    int32_t box[MAP_RANK], dims[MAP_RANK];
    const unsigned bits = vm_mem_bits(root->res[0]->type.elem);
    for (int i = 0; i < x->rank; i++) {
        box[i] = (int32_t)(i == 0 && bits < 8 ? x->box[0] * bits / 8 : x->box[i]);
        dims[i] = x->dim[i];
    }
    ir_builder b = {m->f, m->f->host, NULL, op->span};
    ir_op *const last = m->f->host->last;
    if (last && (last->inst == I_return || last->inst == I_yield)) b.before = last;
    ir_op *probe = ir_emit(&b, I_host_tensor, 0, NULL, 0, NULL);
    ir_set_ints(probe, AT_box, (uint32_t)x->rank, box);
    ir_set_ints(probe, AT_dims, (uint32_t)x->rank, dims);
    ir_set_int(probe, AT_swizzle, x->swizzle);
    for (uint32_t i = 0; i < m->maps.n; i++) {
        const ir_op *q = m->maps.at[i];
        if (m->root.at[i] != root || ir_int(q, AT_swizzle, 0) != x->swizzle || !same_ints(ir_get(q, AT_box), ir_get(probe, AT_box)) ||
            !same_ints(ir_get(q, AT_dims), ir_get(probe, AT_dims)))
            continue;
        ir_remove(probe);
        return i;
    }
    ir_value *extent[LAYOUT_MAX_RANK], *stride[LAYOUT_MAX_RANK];
    ir_builder before = b;
    before.before = probe;
    if (!geometry(m, &before, root, extent, stride)) {
        refuse(m, op, "extents and strides must follow from the kernel's parameters", "the shape of '%s' is not known at launch", name_of(root));
        return -1;
    }
    int64_t c;
    if (!ir_known(stride[x->dim[0]], &c) || (c != 1 && c * 8 != bits)) {
        refuse(m, op, "make this dimension the one of stride 1 in both", "the box of '%s' does not walk along memory", name_of(root));
        return -1;
    }
    for (int i = 0; i < x->rank; i++) ir_add_operand(probe, i == 0 && bits < 8 ? scaled(&before, scaled(&before, extent[x->dim[0]], I_mul, bits), I_div, 8) : extent[x->dim[i]]);
    for (int i = 1; i < x->rank; i++) {
        if (ir_known(stride[x->dim[i]], &c) && c % 16) {
            refuse(m, op, "pad the rows to multiples of 16 bytes", "dimension %d of '%s' has a stride of %lld bytes: tensor copies need multiples of 16", x->dim[i], name_of(root), (long long)c);
            return -1;
        }
        ir_add_operand(probe, stride[x->dim[i]]);
    }
    for (uint32_t i = 0; i < m->f->nparams; i++)
        if (m->f->params[i].value == root->ops[0]) {
            ir_set_int(probe, AT_param, i);
            if (m->f->params[i].align < 16) refuse(m, op, "leave #[align] out", "'%s' may not start on 16 bytes: tensor copies need that", m->f->params[i].name);
        }
    ir_set_int(probe, AT_elem, root->res[0]->type.elem);
    vm_push(m->arena, &m->maps, probe);
    vm_push(m->arena, &m->root, root);
    return m->maps.n - 1;
}

static void make(ir_op *op, void *user) {
    maker *m = user;
    const char *via = ir_str(op, AT_via);
    if (!ir_by_engine(op) || (op->inst == I_copy_async && strcmp(via, "tensor") != 0)) return;
    const int g = op->ops[0]->type.space == IS_GLOBAL ? 0 : 1;
    const ir_value *gv = op->ops[g], *sv = op->ops[1 - g];
    if (gv->type.space != IS_GLOBAL || sv->type.space != IS_SHARED) {
        refuse(m, op, "use copy(dst, src)", "tensor copies go between global and shared memory");
        return;
    }
    if (op->inst == I_copy_async && g == 1 && op->nops < 3) {
        refuse(m, op, "copy_async(dst, src, barrier, via = tensor); the barrier gets an arrival besides, and the bytes are announced on it",
               "a tensor copy into shared memory lands on a barrier");
        return;
    }
    ir_access ga, sa;
    if (!ir_trace(gv, &ga) || !ir_trace(sv, &sa) || ga.root->inst != I_global_view || sa.root->inst != I_alloc_shared || !sa.root->res[0]->type.shared) {
        refuse(m, op, "slice the tensor itself", "a reshaped view or one of run-time size cannot be copied via = tensor");
        return;
    }
    for (int d = 0; d < ga.rank; d++)
        if (ga.d[d].limit) {
            refuse(m, op, "take a window: a[i +: W]", "a range is no box of a tensor copy");
            return;
        }
    shape x;
    if (!choose(m, op, sv, &sa, &ga, sa.root->res[0]->type.shared, &x)) return;
    const int64_t unit = 128 / (int64_t)vm_mem_bits(gv->type.elem);
    if (!multiple(&ga, x.dim[0], unit)) { // the H200 takes nothing else
        refuse(m, op, vm_format(m->arena, "add 'requires' or 'assume' that it is a multiple of %lld", (long long)unit),
               "dimension %d of the box of '%s' may not begin on 16 bytes: tensor copies need that", x.dim[0], name_of(ga.root));
        return;
    }
    const int64_t map = recipe(m, op, ga.root, &x);
    if (map < 0) return;
    int32_t box[MAP_RANK], dims[MAP_RANK];
    for (int i = 0; i < x.rank; i++) {
        box[i] = (int32_t)x.box[i];
        dims[i] = x.dim[i];
    }
    ir_set_int(op, AT_map, map);
    ir_set_ints(op, AT_box, (uint32_t)x.rank, box); // elements, also where the map counts bytes
    ir_set_ints(op, AT_dims, (uint32_t)x.rank, dims);
}

static void find_maps(maker *m) {
    for (ir_op *op = m->f->host->first; op; op = op->next)
        if (op->inst == I_host_tensor) {
            vm_push(m->arena, &m->maps, op);
            vm_push(m->arena, &m->root, NULL);
        }
}

void ir_pass_tensor(ir_func *f) {
    maker m = {.f = f, .c = f->comp, .arena = f->comp->arena};
    if (!f->module->arch || !(f->module->arch->features & A_TMA)) return; // the VM copies views as they are
    find_maps(&m);
    ir_walk(f->body, make, &m);
    if (m.maps.n > IR_MAX_MAPS) {
        vm_diag *d = vm_report(f->comp, D_E0604, f->span, "the kernel needs %u tensor maps; %d are possible", m.maps.n, IR_MAX_MAPS);
        vm_help(f->comp, d, "copies of boxes of the same shape share a map");
    }
}

uint32_t ir_map_count(const ir_func *f) {
    uint32_t n = 0;
    for (const ir_op *op = f->host->first; op; op = op->next) n += op->inst == I_host_tensor;
    return n;
}
