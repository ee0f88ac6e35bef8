// SPDX-License-Identifier: Apache-2.0
// Layouts of shared tiles: those that nobody wrote are chosen by the bank conflicts of all the accesses
// to the tile, and every tile gets a remark with what its accesses cost.
#include "ir/infer.h"
#include "ir/pass.h"
#include "layout/banks.h"

#include <string.h>

enum { MAX_USES = 24 };

typedef struct {
    ir_func *f;
    vm_arena *arena;
    ir_op *root;
    int n;
    bank_use use[MAX_USES];
    const ir_op *op[MAX_USES];
    bool dense;  // a reshape needs row-major memory
    bool tensor; // operands of tensor cores come from it
    bool other;  // accesses that are not counted
    bool runs;   // bulk copies fill or read it: rows as they are
    bool boxes;  // tensor copies do: rows, or one of the hardware's swizzles
    VM_VEC(const ir_op *) products; // wgmmas that read it as operand `which`
    VM_VEC(int) which;
} tile_uses;

static bool of_root(const tile_uses *t, const ir_value *view, ir_access *acc) {
    return view->type.space == IS_SHARED && ir_trace(view, acc) && acc->root == t->root;
}

/// The extents of the accessed box in the order of the root's dimensions; *perm: dimension of the view
/// for each of the root's last ones. False if the view is no such box.
static bool box_of(const ir_value *view, const ir_access *acc, bank_use *u, int32_t *perm) {
    const int rank = view->type.rank, lead = acc->rank - rank;
    for (int d = 0; d < acc->rank; d++) {
        const int k = acc->d[d].view_dim;
        if ((k < 0) != (d < lead)) return false;
        u->shape[d] = k < 0 ? 1 : (int32_t)view->type.dim[k];
        if (u->shape[d] < 1) return false;
        if (k >= 0) perm[d - lead] = k;
    }
    return true;
}

/// Whether code generation can move it by ldmatrix or stmatrix, from rows along the last dimension.
static bool by_matrix(const tile_uses *t, const bank_use *u, const ir_value *tile, int rank) {
    const vm_arch *arch = t->f->module->arch;
    const int lead = rank - u->reg->rank;
    int row;
    bool trans;
    if (vm_bits(tile->type.elem) != 16 || (arch && !(arch->features & (u->kind == BANK_STORE ? A_STMATRIX : A_LDMATRIX)))) return false;
    for (int d = 0; d < u->reg->rank; d++)
        if (u->reg->shape[d] != u->shape[lead + d]) return false;
    return !(u->kind == BANK_STORE && layout_replicas(u->reg) > 1) &&
           layout_fragment(t->arena, u->reg, u->reg->rank - 1, &row, &trans) && row == u->reg->rank - 2;
}

static void add_use(tile_uses *t, const ir_op *op, const ir_value *view, const ir_access *acc, const ir_value *tile, bool store) {
    bank_use u = {.kind = tile ? store ? BANK_STORE : BANK_LOAD : BANK_COPY, .threads = ir_group_threads(op)};
    int32_t perm[LAYOUT_MAX_RANK] = {0};
    if (t->n == MAX_USES || !box_of(view, acc, &u, perm)) {
        t->other = true;
        return;
    }
    if (tile) {
        const layout *l = tile->type.reg;
        u.reg = l ? layout_permute(t->arena, l, perm, NULL) : NULL;
        if (!u.reg) {
            t->other = true;
            return;
        }
        if (by_matrix(t, &u, tile, acc->rank)) u.kind = BANK_MATRIX;
    }
    t->op[t->n] = op;
    t->use[t->n++] = u;
}

static void look(ir_op *op, void *user) {
    tile_uses *t = user;
    ir_access acc;
    for (uint32_t k = 0; k < op->nops; k++) {
        const ir_value *v = op->ops[k];
        if (!of_root(t, v, &acc)) continue;
        switch (op->inst) {
        case I_slice: case I_permute: case I_peer: break;
        case I_reshape: t->dense = true; break;
        case I_load: {
            const ir_value *r = op->res[0];
            const bool matrix = r->why >= WHY_CARRIED && r->type.rank == 2;
            t->tensor |= matrix;
            if (is_tile(r)) add_use(t, op, v, &acc, r, false);
            break;
        }
        case I_store:
            if (is_tile(op->ops[1])) add_use(t, op, v, &acc, op->ops[1], true);
            break;
        case I_tma_load: case I_tma_store: case I_tma_reduce: t->boxes = true; break;
        case I_copy: case I_copy_async: {
            const char *via = ir_copy_via(op);
            t->runs |= via && !strcmp(via, "bulk");
            t->boxes |= via && !strcmp(via, "tensor");
            if (k < 2 && (!via || !strcmp(via, "cp_async"))) add_use(t, op, v, &acc, NULL, k == 0);
            break;
        }
        case I_wgmma:
            vm_push(t->arena, &t->products, op);
            vm_push(t->arena, &t->which, (int)k);
            break;
        default: t->other = true;
        }
    }
}

static bool counts(const tile_uses *t, const shared_layout *l, unsigned bits, bank_count *sum) {
    *sum = (bank_count){0};
    for (int i = 0; i < t->n; i++)
        if (!bank_use_count(t->arena, &t->use[i], l, bits, sum)) return false;
    return true;
}

static void place(tile_uses *t, ir_type *type, const int32_t *shape, bool fixed) {
    const unsigned bits = vm_mem_bits(type->elem);
    const int64_t row = type->rank ? (int64_t)shape[type->rank - 1] * bits / 8 : 0;
    const shared_layout *rows = shared_row_major(t->arena, type->rank, shape);
    type->shared = rows;
    if (t->dense || t->runs || !fixed || type->rank < 2) return;
    for (int w = 128; w >= 16 && t->products.n; w /= 2) { // the widest pattern that all its products can walk
        const shared_layout *s = shared_swizzle(t->arena, type->rank, shape, bits, w, NULL);
        bool all = s != NULL;
        for (uint32_t i = 0; i < t->products.n && all; i++) {
            descriptor_box box;
            descriptor d;
            all = infer_descriptor(t->arena, t->products.at[i], t->which.at[i], s, false, &box, &d, NULL);
        }
        if (!all) continue;
        type->shared = s;
        return;
    }
    bank_count sum;
    if (t->boxes) { // the widest of the least conflicts
        int64_t least = INT64_MAX;
        for (int w = 128; w >= 16; w /= 2) {
            const shared_layout *s = w == 16 ? rows : row % w == 0 ? shared_swizzle(t->arena, type->rank, shape, bits, w, NULL) : NULL;
            if (!s || !counts(t, s, bits, &sum) || (int64_t)sum.conflicts >= least) continue;
            least = (int64_t)sum.conflicts;
            type->shared = s;
        }
        return;
    }
    if (t->tensor && vm_bits(type->elem) == 16 && row % 32 == 0) {
        const shared_layout *s = shared_swizzle(t->arena, type->rank, shape, bits, 128, NULL);
        if (s && (t->other || !counts(t, s, bits, &sum) || sum.conflicts == 0)) { // what the hardware's own formats are
            type->shared = s;
            return;
        }
    }
    if (t->other || t->n < 1 || ir_elems(type) > 1 << 18) return;
    const shared_layout *best = shared_find_swizzle(t->arena, type->rank, shape, bits, t->n, t->use, &sum);
    if (best) type->shared = best;
}

static void remark(tile_uses *t, const ir_type *type) {
    const unsigned bits = vm_mem_bits(type->elem);
    vm_text s = {.arena = t->arena};
    const char *name = ir_str(t->root, AT_name);
    if (!name) name = t->root->res[0]->name;
    vm_put(&s, "shared tile '%s' in %s:", name ? name : "unnamed", shared_text(t->arena, type->shared));
    bool counted = false;
    const char *comma = "";
    for (int i = 0; i < t->n; i++, comma = ",") {
        static const char *const kind[] = {"load", "store", "ldmatrix", "copy"};
        const bool store = t->use[i].kind == BANK_MATRIX && t->op[i]->inst == I_store;
        bank_count c = {0};
        vm_put(&s, "%s %s ", comma, store ? "stmatrix" : kind[t->use[i].kind]);
        if (bank_use_count(t->arena, &t->use[i], type->shared, bits, &c)) vm_put(&s, "%lld of %lld", (long long)c.conflicts, (long long)c.wavefronts);
        else vm_put(&s, "not counted");
        counted = counted || c.wavefronts;
    }
    if (counted) vm_put(&s, " wavefronts are bank conflicts");
    const struct { bool is; const char *what; } more[] = {{t->products.n > 0, "read by wgmma"}, {t->runs, "bulk copies"}, {t->boxes, "tensor copies"},
                                                          {t->other, "accesses that cannot be counted"}};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        if (!more[i].is) continue;
        vm_put(&s, "%s %s", comma, more[i].what);
        comma = ",";
    }
    if (!*comma) vm_put(&s, " not used");
    vm_report(t->f->comp, D_Rpass, t->root->span, "%s", vm_text_end(&s));
}

static void each(ir_op *op, void *user) {
    ir_func *f = user;
    if (op->inst != I_alloc_shared) return;
    ir_type *type = &op->res[0]->type;
    int32_t shape[LAYOUT_MAX_RANK];
    bool fixed = true;
    for (int d = 0; d < type->rank; d++) {
        fixed = fixed && type->dim[d] >= 0;
        shape[d] = type->dim[d] < 0 ? 1 : (int32_t)type->dim[d];
    }
    const bool written = type->shared != NULL;
    if (written && !f->comp->want_remarks) return;
    tile_uses t = {.f = f, .arena = f->comp->arena, .root = op};
    ir_walk(f->body, look, &t);
    if (!written) place(&t, type, shape, fixed);
    if (f->comp->want_remarks && fixed && type->rank > 0) remark(&t, type);
}

void infer_shared(ir_func *f) { ir_walk(f->body, each, f); }
