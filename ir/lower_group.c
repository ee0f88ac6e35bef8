// SPDX-License-Identifier: Apache-2.0
// Statements of the machine: fetch blocks, roles, and per-thread code (simt).
#include "ir/lower.h"

#include <string.h>

void lw_fetch(fe_eval *e, ast *node) {
    lower *l = lw(e);
    l->b.span = node->span;
    if (!l->loop || !l->loop->pipelined || l->fetch) {
        vm_diag *d =
            vm_report(l->c, D_E0511, node->span, "'fetch' stands outside of a pipelined loop");
        vm_help(l->c, d,
                "write '#[pipeline(3)]' before the 'for', and 'fetch' directly in its body");
        return;
    }
    uint32_t n = 0;
    const char *const *names = NULL;
    fe_assigned(e, node->kid[0], &n, &names);
    for (uint32_t i = 0; i < n; i++) {
        const fe_binding *b = fe_find(e->scope, names[i]);
        if (!b || lw_poison(b->value) || lw_is_view(b->value)) continue;
        vm_report(l->c, D_E0510, node->span,
                  "loop cannot be pipelined: 'fetch' assigns '%s', which the loop uses", b->name);
        return;
    }
    const ast *a = lw_attr(node->attrs, "pipeline");
    const int64_t stages = a ? lw_attr_int(l, a, 1) : 1;
    if (stages < 1 || stages > 64) {
        vm_report(l->c, D_E0354, a->span, "the depth of a pipeline is at least 1 and at most 64");
        return;
    }
    ir_op *op = ir_emit(&l->b, I_fetch, 0, NULL, 0, NULL);
    if (a) {
        ir_set_int(op, AT_stages, stages);
        lw_attr_copies(l, a, op);
    }
    ir_region *r = ir_region_new(l->f, op);
    ir_add_region(op, r);
    bool dead;
    const ir_builder saved = lw_enter(l, r, &dead);
    lw_loop *const loop = l->loop;
    l->loop = NULL;
    l->fetch = op;
    fe_exec_block(e, node->kid[0]);
    l->fetch = NULL;
    l->loop = loop;
    if (!l->dead) ir_emit(&l->b, I_yield, 0, NULL, 0, NULL);
    lw_leave(l, saved, dead);
}

// ---- roles --------------------------------------------------------------------------------------

static bool role_range(lower *l, ast *node, int64_t *lo, int64_t *hi, int64_t *step) {
    fe_value *r = fe_expr(l->e, node->kid[0]);
    ast *by = node->nkids > 2 ? node->kid[1] : NULL;
    if (lw_poison(r)) return false;
    if (r->kind != FV_RANGE || r->item[0]->kind != FV_INT || r->item[1]->kind != FV_INT) {
        vm_report(l->c, D_E0512, node->kid[0]->span,
                  "the warps of a role are a constant range lo..hi");
        return false;
    }
    *lo = r->item[0]->i;
    *hi = r->item[1]->i;
    *step = *hi - *lo;
    if (by && !fe_const_int(l->e, by, step)) return false;
    if (*lo >= 0 && *hi > *lo && *hi <= l->f->warps && *step > 0 && (*hi - *lo) % *step == 0)
        return true;
    vm_diag *d =
        vm_report(l->c, D_E0512, node->kid[0]->span,
                  "warps %lld..%lld step %lld are not whole groups of the block's %d warps",
                  (long long)*lo, (long long)*hi, (long long)*step, l->f->warps);
    vm_help(l->c, d, "the launch clause says how many warps there are");
    return false;
}

// Warps of one set are disjoint; setmaxnreg wants whole warpgroups and a sum that fits.
static void check_set(lower *l, const ir_op *role, vm_span at) {
    const int64_t set = ir_int(role, AT_set, -1);
    const int64_t lo = ir_int(role, AT_begin, 0), hi = ir_int(role, AT_end, 0);
    int64_t sum = 0;
    for (const ir_op *p = role; p && p->inst == I_role && ir_int(p, AT_set, -2) == set;
         p = p->prev) {
        const int64_t b = ir_int(p, AT_begin, 0), n = ir_int(p, AT_end, 0);
        sum += ir_int(p, AT_regs, 0) * (n - b) * 32;
        if (p == role || n <= lo || b >= hi) continue;
        vm_diag *d = vm_report(l->c, D_E0512, at, "two roles share warps");
        vm_label(l->c, d, p->span, "this one has warps %lld..%lld", (long long)b, (long long)n);
        return;
    }
    if (sum > 65536)
        vm_report(l->c, D_E0512, at, "the roles ask for %lld registers, an SM has 65536",
                  (long long)sum);
}

static bool tile_inside(const fe_value *v) {
    if (v->kind == FV_TUPLE || v->kind == FV_STRUCT)
        for (uint32_t i = 0; i < v->n; i++)
            if (tile_inside(v->item[i])) return true;
    return lw_in_space(v, IS_REG);
}

void lw_role(fe_eval *e, ast *node) {
    lower *l = lw(e);
    l->b.span = node->span;
    int64_t lo, hi, step, regs = 0;
    if (l->role || l->simt || l->loop || l->fetch || (l->frame && !l->frame->fn)) {
        vm_report(l->c, D_E0512, node->span,
                  "roles stand in the kernel itself, not in loops, roles or simt");
        return;
    }
    if (!role_range(l, node, &lo, &hi, &step)) return;
    const ast *a = lw_attr(node->attrs, "regs");
    if (a) {
        regs = lw_attr_int(l, a, 0);
        if (regs < 24 || regs > 256 || regs % 8 || lo % 4 || step % 4) {
            vm_diag *d =
                vm_report(l->c, D_E0512, a->span, "#[regs(%lld)] on warps %lld..%lld step %lld",
                          (long long)regs, (long long)lo, (long long)hi, (long long)step);
            vm_help(l->c, d, "24 to 256 registers, a multiple of 8, on warp ranges aligned to 4");
            return;
        }
    }
    const ir_op *before = l->b.region->last;
    const int64_t set =
        before && before->inst == I_role ? ir_int(before, AT_set, 0) : l->next_set++;
    const ast *body = node->kid[node->nkids - 1];
    // Each copy starts from the outer variables and changes its own.
    uint32_t n = 0;
    const char *const *names = NULL;
    fe_assigned(e, body, &n, &names);
    lw_loop *const loop = l->loop;
    lw_frame *const frame = l->frame;
    const int threads = l->threads;
    for (int64_t w = lo; w < hi; w += step) {
        ir_op *op = ir_emit(&l->b, I_role, 0, NULL, 0, NULL);
        op->span = node->span;
        ir_set_int(op, AT_begin, w);
        ir_set_int(op, AT_end, w + step);
        ir_set_int(op, AT_step, step);
        ir_set_int(op, AT_index, (w - lo) / step);
        ir_set_int(op, AT_set, set);
        ir_set_str(op, AT_name, node->name);
        if (regs) ir_set_int(op, AT_regs, regs);
        check_set(l, op, node->span);
        ir_region *r = ir_region_new(l->f, op);
        ir_add_region(op, r);
        fe_value **old = vm_newn(l->a, fe_value *, n + 1);
        fe_binding **var = vm_newn(l->a, fe_binding *, n + 1);
        uint32_t k = 0;
        for (uint32_t i = 0; i < n; i++) {
            fe_binding *b = fe_find(e->scope, names[i]);
            if (!b || !b->value || tile_inside(b->value)) continue;
            var[k] = b;
            old[k++] = b->value;
        }
        bool dead;
        const ir_builder saved = lw_enter(l, r, &dead);
        l->role = op;
        l->threads = (int)step * 32;
        l->loop = NULL;
        l->frame = NULL;
        fe_push(e);
        if (node->name2)
            fe_bind(e, node->name2, fe_int_of(e, T_i32, (w - lo) / step), fe_scalar_type(e, T_i32),
                    false, node->span);
        for (uint32_t i = 0; i < k; i++) var[i]->value = lw_copy(l, old[i]);
        if (lw_returns(body, false))
            lw_exec_scope(l, body);
        else
            fe_exec_block(e, body);
        fe_pop(e);
        if (!l->dead) ir_emit(&l->b, I_yield, 0, NULL, 0, NULL);
        l->role = NULL;
        l->threads = threads;
        l->loop = loop;
        l->frame = frame;
        lw_leave(l, saved, dead);
        for (uint32_t i = 0; i < k; i++) var[i]->value = old[i];
    }
}

// ---- simt ---------------------------------------------------------------------------------------

typedef VM_VEC(fe_binding *) bindings;

static void tiles_named(lower *l, const ast *node, bindings *out) {
    if (!node) return;
    if (node->kind == AST_ID && node->name) {
        fe_binding *b = fe_find(l->e->scope, node->name);
        if (b && b->value && lw_in_space(b->value, IS_REG) && !b->value->rt->type.inflight) {
            for (uint32_t i = 0; i < out->n; i++)
                if (out->at[i] == b) return;
            vm_push(l->a, out, b);
        }
    }
    for (uint32_t i = 0; i < node->nkids; i++) tiles_named(l, node->kid[i], out);
}

static bool contains(const ast *node, enum ast_kind k) {
    if (!node) return false;
    if (node->kind == k) return true;
    for (uint32_t i = 0; i < node->nkids; i++)
        if (contains(node->kid[i], k)) return true;
    return false;
}

// Per-thread values cannot come back as uniform ones.
static bool scalars_assigned(lower *l, const ast *body) {
    uint32_t n = 0;
    const char *const *names = NULL;
    fe_assigned(l->e, body, &n, &names);
    for (uint32_t i = 0; i < n; i++) {
        const fe_binding *b = fe_find(l->e->scope, names[i]);
        if (!b || !b->value || !b->is_var || lw_poison(b->value)) continue;
        if (b->value->kind == FV_RT && b->value->rt->type.space != IS_SCALAR) continue;
        vm_diag *d = vm_report(l->c, D_E0436, body->span,
                               "'%s' is assigned in simt, but belongs to the whole group", b->name);
        vm_label(l->c, d, b->span, "declared here");
        vm_help(l->c, d, "make it a tile: 'var %s: reg …[threads]', and write %s[t]", b->name,
                b->name);
        return true;
    }
    return false;
}

void lw_simt(fe_eval *e, ast *node) {
    lower *l = lw(e);
    l->b.span = node->span;
    const ast *body = node->kid[node->nkids - 1];
    if (l->simt || l->fetch) {
        vm_report(l->c, D_E0430, node->span, "simt stands in code of the group, not in %s",
                  l->simt ? "simt" : "fetch");
        return;
    }
    if (scalars_assigned(l, body)) return;
    bindings tiles = {0};
    tiles_named(l, body, &tiles);
    lw_carry *c = lw_carry_make(l, tiles.n, tiles.at, node->span);
    // The threads see each tile in the layout that it has.
    for (uint32_t i = 0; i < c->nleaf; i++) {
        c->pinned[i] = c->leaf[i]->pinned;
        c->type[i] = c->leaf[i]->type;
    }
    ir_op *op = ir_emit(&l->b, I_simt, c->nleaf, c->leaf, c->nleaf, c->type);
    lw_carry_pins(c, op->res);
    ir_region *r = ir_region_new(l->f, op);
    ir_add_region(op, r);
    ir_value *t = ir_region_arg(r, ir_scalar(T_i32), node->name);
    t->span = node->name_span;
    ir_value **args = lw_carry_args(l, r, c);
    bool dead;
    const ir_builder saved = lw_enter(l, r, &dead);
    lw_loop *const loop = l->loop;
    lw_frame *const frame = l->frame;
    l->loop = NULL;
    l->frame = NULL;
    l->simt = op;
    lw_carry_bind(l, c, args);
    fe_push(e);
    fe_bind(e, node->name, lw_rt(l, t), fe_scalar_type(e, T_i32), false, node->name_span);
    if (contains(body, AST_RETURN)) {
        // A thread that returns early still hands over its elements: `return` leaves a scope.
        lw_frame f = {.carry = c};
        f.scope = ir_emit(&l->b, I_scope, 0, NULL, c->nleaf, c->type);
        lw_carry_pins(c, f.scope->res);
        ir_region *in = ir_region_new(l->f, f.scope);
        ir_add_region(f.scope, in);
        f.saved = lw_enter(l, in, &f.saved_dead);
        l->frame = &f;
        fe_exec_block(e, body);
        if (!l->dead) lw_carry_out(l, c, I_yield, node->span);
        lw_leave(l, f.saved, f.saved_dead);
        l->frame = NULL;
        lw_carry_bind(l, c, f.scope->res);
    } else
        fe_exec_block(e, body);
    fe_pop(e);
    if (!l->dead) lw_carry_out(l, c, I_yield, node->span);
    l->simt = NULL;
    l->loop = loop;
    l->frame = frame;
    lw_leave(l, saved, dead);
    lw_carry_bind(l, c, op->res);
}
