// SPDX-License-Identifier: Apache-2.0
// The host half of a kernel: the launch clause, the checks before a launch, grid and dynamic shared
// memory, as scalar code over the run-time parameters.
#include "ir/lower.h"

#include <string.h>

static const ast *entry(const ast *clauses, const char *name) {
    for (uint32_t i = 0; i < clauses->nkids; i++) {
        const ast *c = clauses->kid[i];
        if (c->kind != AST_LAUNCH) continue;
        for (uint32_t k = 0; k < c->nkids; k++)
            if (c->kid[k]->kind == AST_SET && c->kid[k]->name && strcmp(c->kid[k]->name, name) == 0)
                return c->kid[k];
    }
    return NULL;
}

/// `dependent = true;` and the tensors that no launch in front writes, `static = (b, s);`.
void lw_dependent(lower *l, const ast *clauses) {
    const ast *d = entry(clauses, "dependent"), *s = entry(clauses, "static");
    if (d) {
        const fe_value *v = fe_expr(l->e, d->kid[0]);
        if (v->kind == FV_BOOL) l->f->dependent = v->i != 0;
        else if (!lw_poison(v)) vm_report(l->c, D_E0360, d->span, "'dependent' is true or false, known at compile time");
    }
    if (!s) return;
    if (!d) vm_help(l->c, vm_report(l->c, D_E0515, s->span, "'static' without 'dependent'"), "write 'dependent = true;' beside it, or leave 'static' out");
    const ast *list = s->kid[0];
    const bool many = list->kind != AST_ID;
    for (uint32_t i = 0; i < (many ? list->nkids : 1); i++) {
        const ast *id = many ? list->kid[i] : list;
        ir_param *p = NULL;
        for (uint32_t k = 0; k < l->f->nparams && id->kind == AST_ID; k++)
            if (strcmp(l->f->params[k].name, id->name) == 0 && l->f->params[k].value->type.space == IS_PTR) p = &l->f->params[k];
        if (p) p->fixed = true;
        else vm_report(l->c, D_E0515, id->span, "'static' names global tensors among the parameters");
    }
}

/// A launch that does not wait cannot promise that nobody else writes what it writes itself.
void lw_check_static(lower *l) {
    for (uint32_t i = 0; i < l->f->nparams; i++)
        if (l->f->params[i].fixed && l->f->params[i].written)
            vm_report(l->c, D_E0515, l->f->params[i].span, "'%s' is static, but the kernel writes it", l->f->params[i].name);
}

bool lw_launch_shape(lower *l, const ast *clauses) {
    const ast *warps = entry(clauses, "warps"), *threads = entry(clauses, "threads");
    const ast *which = warps ? warps : threads;
    if (!which || (warps && threads)) {
        vm_diag *d =
            vm_report(l->c, D_E0360, l->f->span, "the launch clause of '%s' says %s", l->f->kernel,
                      which ? "both warps and threads" : "neither warps nor threads");
        vm_help(l->c, d, "write 'launch { grid = …; warps = 4; }'");
        return false;
    }
    int64_t n = 0;
    if (!fe_const_int(l->e, which->kid[0], &n)) return false;
    if (threads ? n < 32 || n > 1024 || n % 32 : n < 1 || n > 32) {
        vm_report(l->c, D_E0360, which->span,
                  "%lld %s: a block has 1 to 32 whole warps of 32 threads", (long long)n,
                  which->name);
        return false;
    }
    l->f->warps = (int)(threads ? n / 32 : n);
    const ast *cluster = entry(clauses, "cluster");
    if (!cluster) return true;
    fe_value *v = fe_expr(l->e, cluster->kid[0]);
    const uint32_t m = v->kind == FV_TUPLE ? v->n : 1;
    for (uint32_t i = 0; i < m && i < 3; i++) {
        const fe_value *x = v->kind == FV_TUPLE ? v->item[i] : v;
        if (lw_poison(x)) return false;
        if (x->kind != FV_INT || x->i < 1 || x->i > 16 || m > 3) {
            vm_report(l->c, D_E0360, cluster->span,
                      "a cluster has 1 to 16 blocks, constant, in up to 3 dimensions");
            return false;
        }
        l->f->cluster[i] = (int)x->i;
    }
    return true;
}

// ---- texts of requirements ----------------------------------------------------------------------

static void metas_in(lower *l, const ast *n, const char **seen, uint32_t *count, vm_text *t) {
    if (!n) return;
    if (n->kind == AST_ID && n->name && *count < 8) {
        for (uint32_t i = 0; i < *count; i++)
            if (strcmp(seen[i], n->name) == 0) return;
        const fe_binding *b = fe_find(l->k->metas, n->name);
        if (b && b->value && lw_number(b->value)) {
            vm_put(t, " and %s = %s", n->name, fe_describe(l->e, b->value));
            seen[(*count)++] = n->name;
        }
    }
    for (uint32_t i = 0; i < n->nkids; i++) metas_in(l, n->kid[i], seen, count, t);
}

static const char *requirement(lower *l, const ast *n) {
    const vm_source *s = vm_source_at(l->c, n->span.file);
    vm_text t = {.arena = l->a};
    vm_put(&t, "requires ");
    if (s && n->span.hi <= s->size && n->span.lo < n->span.hi)
        vm_putn(&t, s->text + n->span.lo, n->span.hi - n->span.lo);
    vm_put(&t, ", but {}"); // the host puts the values of the parameters in
    const char *seen[8];
    uint32_t count = 0;
    metas_in(l, n, seen, &count, &t);
    uint32_t line = 0, col = 0;
    if (s) {
        vm_source_place(s, n->span.lo, &line, &col);
        vm_put(&t, " (%s:%u)", s->name, line);
    }
    return vm_text_end(&t);
}

// ---- dynamic shared memory ----------------------------------------------------------------------

// The scalar expression of v, computed in the device region, again in the host region.
static ir_value *on_host(lower *l, ir_value *v, int depth) {
    if (!v->def) return v->owner ? NULL : v;
    const uint8_t cls = vm_insts[v->def->inst].cls;
    if (depth > 64 || v->def->nregions || v->type.space != IS_SCALAR) return NULL;
    if (v->def->inst != I_const && cls != C_ELEM && cls != C_CMP && cls != C_SELECT &&
        cls != C_CAST)
        return NULL;
    ir_map *m = ir_map_new(l->f);
    for (uint32_t i = 0; i < v->def->nops; i++) {
        ir_value *x = on_host(l, v->def->ops[i], depth + 1);
        if (!x) return NULL;
        ir_map_set(m, v->def->ops[i], x);
    }
    return ir_clone(&l->b, v->def, m)->res[0];
}

static ir_value *to_i64(lower *l, ir_value *v) {
    return v->type.elem == T_i64 ? v : ir_emit1(&l->b, I_cast, 1, &v, ir_scalar(T_i64));
}

static ir_value *arith(lower *l, vm_inst i, ir_value *a, ir_value *b) {
    ir_value *ops[2] = {a, b};
    return ir_emit1(&l->b, i, 2, ops, ir_scalar(T_i64));
}

typedef struct {
    lower *l;
    ir_value *bytes;
} dynamic;

static void add_dynamic(ir_op *op, void *user) {
    dynamic *d = user;
    lower *l = d->l;
    if (op->inst != I_alloc_shared || !op->nops) return;
    const ir_type *t = &op->res[0]->type;
    int64_t fixed = (int64_t)vm_mem_bits(t->elem);
    for (int k = 0; k < t->rank; k++)
        if (t->dim[k] >= 0) fixed *= t->dim[k];
    ir_value *bits = ir_const_int(&l->b, T_i64, fixed);
    for (uint32_t k = 0; k < op->nops; k++) {
        ir_value *x = on_host(l, op->ops[k], 0);
        if (!x) {
            vm_diag *g = vm_report(
                l->c, D_E0409, op->span,
                "the size of this shared tensor must follow from the parameters of the kernel");
            vm_help(l->c, g, "the host computes it before the launch");
            return;
        }
        bits = arith(l, I_mul, bits, to_i64(l, x));
    }
    // Each allocation starts on 16 bytes.
    ir_value *units = arith(l, I_div, arith(l, I_add, bits, ir_const_int(&l->b, T_i64, 127)),
                            ir_const_int(&l->b, T_i64, 128));
    ir_value *bytes = arith(l, I_mul, units, ir_const_int(&l->b, T_i64, 16));
    d->bytes = d->bytes ? arith(l, I_add, d->bytes, bytes) : bytes;
}

// ---- the region ---------------------------------------------------------------------------------

static ir_value *extent(lower *l, const fe_value *v, vm_span at) {
    if (v->kind == FV_INT && !v->typed) return ir_const_int(&l->b, T_i64, v->i);
    ir_value *x = lw_index(l, v, at);
    return x ? to_i64(l, x) : NULL;
}

static void extents(lower *l, const ast *params) {
    uint32_t index = 0;
    for (uint32_t i = 0; i < params->nkids && index < l->f->nparams; i++) {
        const ast *p = params->kid[i];
        ir_param *q = &l->f->params[index];
        if (p->kind != AST_PARAM || strcmp(q->name, p->name) != 0) continue;
        index++;
        if (q->value->type.space == IS_SCALAR) continue;
        l->b.span = p->span;
        const fe_type *t = fe_type_expr(l->e, p->kid[0]);
        ir_value *ops[LAYOUT_MAX_RANK];
        bool ok = t != NULL;
        for (int d = 0; ok && d < t->rank; d++)
            ok = !lw_poison(t->dim[d]) && (ops[d] = extent(l, t->dim[d], p->span)) != NULL;
        uint32_t rank = ok ? (uint32_t)t->rank : 0;
        if (ok && t->kind == FT_STRUCT) // the bytes of one are the last dimension
            ops[rank++] = ir_const_int(&l->b, T_i64, lw_struct_bytes(l, t, p->span));
        if (!ok) continue;
        ir_op *op = ir_emit(&l->b, I_host_extent, rank, ops, 0, NULL);
        ir_set_int(op, AT_param, index - 1);
    }
}

static void checks(lower *l, const ast *clauses) {
    for (uint32_t i = 0; i < clauses->nkids; i++) {
        const ast *r = clauses->kid[i];
        for (uint32_t k = 0; r->kind == AST_REQUIRES && k < r->nkids; k++) {
            l->b.span = r->kid[k]->span;
            fe_value *v = fe_expr(l->e, r->kid[k]);
            if (v->kind != FV_RT || v->rt->type.elem != T_bool || v->rt->type.space != IS_SCALAR)
                continue;
            ir_op *op = ir_emit(&l->b, I_host_check, 1, &v->rt, 0, NULL);
            ir_set_str(op, AT_message, requirement(l, r->kid[k]));
        }
    }
}

void lw_host(lower *l, const ast *params, const ast *clauses) {
    const ast *grid = entry(clauses, "grid");
    if (!grid) {
        vm_diag *d = vm_report(l->c, D_E0360, l->f->span, "the launch clause of '%s' has no grid",
                               l->f->kernel);
        vm_help(l->c, d, "write 'launch { grid = (cdiv(m, BM), 1, 1); warps = …; }'");
        return;
    }
    bool dead;
    const ir_builder saved = lw_enter(l, l->f->host, &dead);
    l->host = true;
    extents(l, params);
    checks(l, clauses);
    l->b.span = grid->span;
    const fe_value *v = fe_expr(l->e, grid->kid[0]);
    const uint32_t n = v->kind == FV_TUPLE ? v->n : 1;
    ir_value *ops[4] = {NULL};
    if (n > 3) vm_report(l->c, D_E0360, grid->span, "a grid has up to 3 dimensions");
    for (uint32_t i = 0; i < 3 && n <= 3; i++) {
        const fe_value *x = i >= n ? NULL : v->kind == FV_TUPLE ? v->item[i] : v;
        if (x && lw_poison(x)) break;
        ops[i] = x ? extent(l, x, grid->span) : ir_const_int(&l->b, T_i64, 1);
        if (!ops[i]) break;
    }
    dynamic d = {l, NULL};
    ir_walk(l->f->body, add_dynamic, &d);
    ops[3] = d.bytes ? d.bytes : ir_const_int(&l->b, T_i64, 0);
    if (ops[0] && ops[1] && ops[2]) ir_emit(&l->b, I_host_launch, 4, ops, 0, NULL);
    l->host = false;
    lw_leave(l, saved, dead);
}
