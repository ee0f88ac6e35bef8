// SPDX-License-Identifier: Apache-2.0
// Lowering of one kernel instance: parameters, clauses, body, host region. Expressions and
// statements are lowered by the hooks of lower_*.c while the evaluator walks the tree.
#include "ir/lower.h"

#include <string.h>

const fe_hooks lw_hooks = {
    .unary = lw_unary,
    .binary = lw_binary,
    .logic = lw_logic,
    .cast = lw_cast,
    .at = lw_at,
    .call = lw_call,
    .member = lw_member,
    .index = lw_index_hook,
    .store_index = lw_store_index,
    .declare = lw_declare,
    .coerce = lw_coerce,
    .type_of = lw_type_of,
    .if_ = lw_if,
    .for_ = lw_for,
    .while_ = lw_while,
    .fetch = lw_fetch,
    .role = lw_role,
    .simt = lw_simt,
    .jump = lw_jump,
    .return_ = lw_return,
    .enter_fn = lw_enter_fn,
    .leave_fn = lw_leave_fn,
};

fe_value *lw_rt(lower *l, ir_value *v) {
    fe_value *x = fe_rt(l->e, v);
    x->typed = true;
    x->dtype = v->type.elem;
    x->span = l->b.span;
    return x;
}

ir_value *lw_emit(lower *l, vm_inst i, uint32_t n, ir_value *const *ops, ir_type t) {
    ir_value *v = ir_emit1(&l->b, i, n, ops, t);
    if (l->lift && t.space == IS_REG) v->tmp = l->lift;
    if (l->exact && vm_insts[i].cls == C_ELEM && vm_is_float(t.elem))
        ir_set_int(v->def, AT_exact, 1);
    return v;
}

const ast *lw_attr(const ast *attrs, const char *name) {
    for (const ast *a = attrs; a; a = a->next) {
        const ast *id = a->kind == AST_CALL && a->nkids ? a->kid[0] : a;
        if (id->name && strcmp(id->name, name) == 0) return a;
    }
    return NULL;
}

int64_t lw_attr_int(lower *l, const ast *attr, int64_t otherwise) {
    const ast *v = attr->kind == AST_CALL && attr->nkids > 1 ? attr->kid[1]
                   : attr->kind == AST_ARG && attr->nkids    ? attr->kid[0]
                                                             : NULL;
    int64_t n = otherwise;
    if (!v) {
        vm_report(l->c, D_E0354, attr->span, "this attribute needs an integer, as in '%s(2)'",
                  attr->name ? attr->name : "name");
        return otherwise;
    }
    return fe_const_int(l->e, v, &n) ? n : otherwise;
}

void lw_attr_copies(lower *l, const ast *attr, ir_op *op) {
    for (uint32_t i = 1; attr->kind == AST_CALL && i < attr->nkids; i++) {
        const ast *a = attr->kid[i];
        if (a->kind != AST_ARG || !a->nkids || !a->name) continue;
        const char *word =
            a->kid[0]->kind == AST_ID || a->kid[0]->kind == AST_STRING ? a->kid[0]->name : "";
        const bool via = strcmp(a->name, "via") == 0, evict = strcmp(a->name, "evict") == 0;
        if (via && (!strcmp(word, "cp_async") || !strcmp(word, "bulk") || !strcmp(word, "tensor")))
            ir_set_str(op, AT_via, word);
        else if (evict && (!strcmp(word, "first") || !strcmp(word, "last") || !strcmp(word, "normal")))
            ir_set_str(op, AT_evict, word);
        else
            vm_report(
                l->c, D_E0354, a->span,
                "#[pipeline(n)] knows via = cp_async, bulk or tensor, and evict = first, last or normal");
    }
}

void lw_dead(lower *l) {
    l->dead = true;
    l->b.region = ir_region_new(l->f, NULL);
    l->b.before = NULL;
}

ir_builder lw_enter(lower *l, ir_region *r, bool *dead) {
    const ir_builder saved = l->b;
    *dead = l->dead;
    l->dead = false;
    l->b.region = r;
    l->b.before = NULL;
    return saved;
}

void lw_leave(lower *l, ir_builder saved, bool dead) {
    const vm_span at = l->b.span;
    l->b = saved;
    l->b.span = at;
    l->dead = dead;
}

// ---- parameters ---------------------------------------------------------------------------------

static void attributes(lower *l, ir_param *p, const ast *param, const ast *kernel) {
    const ast *align = lw_attr(param->attrs, "align");
    if (align) {
        const int64_t n = lw_attr_int(l, align, 16);
        if (n < 1 || n > 4096 || (n & (n - 1)))
            vm_report(l->c, D_E0354, align->span, "alignment %lld is not a power of two up to 4096",
                      (long long)n);
        else
            p->align = (int)n;
    }
    p->alias = lw_attr(param->attrs, "alias") || lw_attr(kernel->attrs, "alias");
}

// Tensor types may name earlier parameters only, so one pass in order is enough.
static void parameters(lower *l, const ast *params, const ast *kernel) {
    for (uint32_t i = 0; i < params->nkids; i++) {
        const ast *p = params->kid[i];
        if (p->kind != AST_PARAM || !p->nkids || !p->kid[0]) continue;
        l->b.span = p->span;
        const fe_type *t = fe_type_expr(l->e, p->kid[0]);
        fe_value *v = fe_poison(l->e);
        if (t && t->kind == FT_SCALAR) {
            ir_value *x = ir_param_add(l->f, p->name, ir_scalar(t->elem), p->span);
            v = lw_rt(l, x);
        } else if (t && t->kind == FT_TENSOR && (t->space == FS_GLOBAL || t->space == FS_NONE)) {
            const ir_type ptr = {.space = IS_PTR, .elem = t->elem};
            ir_value *x = ir_param_add(l->f, p->name, ptr, p->span);
            attributes(l, &l->f->params[l->f->nparams - 1], p, kernel);
            v = lw_global_view(l, x, t, p->name, p->span);
        } else if (t && t->kind == FT_STRUCT && t->space == FS_GLOBAL) {
            const ir_type ptr = {.space = IS_PTR, .elem = T_u8};
            ir_value *x = ir_param_add(l->f, p->name, ptr, p->span);
            attributes(l, &l->f->params[l->f->nparams - 1], p, kernel);
            v = lw_struct_global(l, x, t, p->name, p->span);
        } else if (t) {
            vm_diag *d =
                vm_report(l->c, D_E0359, p->span,
                          "parameter '%s' of type %s: kernels take scalars and global tensors",
                          p->name, fe_type_text(l->e, t));
            vm_help(l->c, d, "write '%s: global T[…]', or make it a meta-parameter in […]",
                    p->name);
        }
        fe_bind(l->e, p->name, v, t, false, p->name_span);
    }
}

static void requirements(lower *l, const ast *clauses) {
    for (uint32_t i = 0; i < clauses->nkids; i++) {
        const ast *r = clauses->kid[i];
        if (r->kind != AST_REQUIRES) continue;
        for (uint32_t k = 0; k < r->nkids; k++) {
            l->b.span = r->kid[k]->span;
            fe_value *v = fe_expr(l->e, r->kid[k]);
            if (lw_poison(v)) continue;
            if (v->kind == FV_BOOL) {
                if (!v->i)
                    vm_report(l->c, D_E0362, r->kid[k]->span,
                              "this requirement never holds for this instance");
                continue;
            }
            ir_value *x = lw_scalar(l, v, T_bool, r->kid[k]->span);
            if (x) ir_emit(&l->b, I_assume, 1, &x, 0, NULL);
        }
    }
}

// ---- facts about the finished function ----------------------------------------------------------

static ir_param *param_of(ir_func *f, const ir_value *view) {
    while (view->def && view->def->nops && view->def->inst != I_global_view)
        view = view->def->ops[0];
    if (!view->def || view->def->inst != I_global_view) return NULL;
    for (uint32_t i = 0; i < f->nparams; i++)
        if (f->params[i].value == view->def->ops[0]) return &f->params[i];
    return NULL;
}

static void mark_written(ir_op *op, void *user) {
    ir_func *f = user;
    if (!(vm_insts[op->inst].fx & FX_WRITE) || !op->nops) return;
    const enum ir_space s = op->ops[0]->type.space;
    ir_param *p = s == IS_GLOBAL ? param_of(f, op->ops[0]) : NULL;
    if (p) p->written = true;
}

static void clear_marks(ir_op *op, void *user) {
    (void)user;
    for (uint32_t i = 0; i < op->nres; i++) op->res[i]->tmp = NULL;
    for (uint32_t i = 0; i < op->nregions; i++)
        for (uint32_t k = 0; k < op->regions[i]->nargs; k++) op->regions[i]->args[k]->tmp = NULL;
}

static bool inside(const ir_region *r, const ir_op *op) {
    for (; r; r = r->parent ? r->parent->parent : NULL)
        if (r->parent == op) return true;
    return false;
}

static const ir_region *home(const ir_value *v) {
    return v->def ? v->def->parent : v->owner;
}

// A tile belongs to the group that made it; a fetch block runs before the iteration that it serves.
static void check_groups(ir_op *op, void *user) {
    lower *l = user;
    const ir_op *role = ir_enclosing(op, I_role), *fetch = ir_enclosing(op, I_fetch);
    const ir_op *loop = fetch ? ir_enclosing(fetch, I_for) : NULL;
    for (uint32_t i = 0; i < op->nops; i++) {
        const ir_value *v = op->ops[i];
        const char *name = v->name ? v->name : "a value";
        if (role && v->type.space == IS_REG && home(v) && !inside(home(v), role)) {
            vm_diag *d = vm_report(l->c, D_E0434, op->span,
                                   "tile '%s' belongs to another group than this role", name);
            vm_label(l->c, d, v->span, "made here");
            vm_help(l->c, d, "declare the tile inside the role, or hand it over in shared memory");
        }
        if (!loop || !home(v) || inside(home(v), fetch) || !inside(home(v), loop)) continue;
        if (v->owner == loop->regions[0] && v->index == 0) continue;
        vm_diag *d = vm_report(
            l->c, D_E0510, op->span,
            "loop cannot be pipelined: 'fetch' reads '%s', computed by the same iteration", name);
        if (v->span.file) vm_label(l->c, d, v->span, "computed here");
        vm_help(l->c, d, "compute it inside the fetch block, from the loop index");
    }
}

static bool holds_role(const ast *n) {
    if (!n) return false;
    if (n->kind == AST_ROLE) return true;
    for (uint32_t i = 0; i < n->nkids; i++)
        if (holds_role(n->kid[i])) return true;
    return false;
}

ir_func *ir_lower(ir_module *m, fe_eval *e, const fe_instance *k) {
    const uint32_t errors = m->comp->nreports;
    const ast *n = k->node;
    if (n->nkids < 4 || !n->kid[1] || !n->kid[2] || !n->kid[3]) return NULL;
    ir_func *f = ir_func_new(m, k->entry, n->name_span.file ? n->name_span : n->span);
    f->kernel = n->name;
    lower l = {.e = e, .c = m->comp, .a = m->comp->arena, .f = f, .k = k};
    l.b = (ir_builder){f, f->body, NULL, n->span};

    fe_scope *const scope = e->scope;
    const fe_hooks *const hooks = e->hooks;
    void *const user = e->user;
    e->scope = k->metas;
    e->hooks = &lw_hooks;
    e->user = &l;
    e->flow.active = true;
    e->flow.jumping = false;
    e->ret_type = NULL;
    e->loop = 0;
    fe_push(e);
    const bool shaped = lw_launch_shape(&l, n->kid[2]);
    l.threads = f->warps * 32;
    l.exact = lw_attr(n->attrs, "strict") != NULL;
    const ast *regs = lw_attr(n->attrs, "regs");
    if (regs) f->regs = (int)lw_attr_int(&l, regs, 0);
    parameters(&l, n->kid[1], n);
    lw_dependent(&l, n->kid[2]);
    requirements(&l, n->kid[2]);
    if (shaped) {
        // Roles stand outside of scopes: with them `return` leaves no loop of the kernel itself.
        if (!holds_role(n->kid[3]) && lw_returns(n->kid[3], true))
            lw_exec_scope(&l, n->kid[3]);
        else
            fe_exec_block(e, n->kid[3]);
        if (!l.dead) ir_emit(&l.b, I_return, 0, NULL, 0, NULL);
        lw_host(&l, n->kid[1], n->kid[2]);
        ir_walk(f->body, mark_written, f);
        lw_check_static(&l);
        ir_walk(f->body, check_groups, &l);
        ir_walk(f->body, clear_marks, NULL);
    }
    fe_pop(e);
    e->scope = scope;
    e->hooks = hooks;
    e->user = user;
    if (m->comp->nreports == errors) return f;
    if (m->funcs.n && m->funcs.at[m->funcs.n - 1] == f) m->funcs.n--;
    return NULL;
}
