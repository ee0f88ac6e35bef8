// SPDX-License-Identifier: Apache-2.0
// Scopes and calls: what a name means, how a function is inlined, how meta-parameters are bound and
// deduced. Expressions and statements themselves are in eval_expr.c and eval_stmt.c.
#include <string.h>
#include "frontend/eval_internal.h"

enum { MAX_STEPS = 10000000, MAX_INLINE = 128 };

fe_eval *fe_eval_new(vm_comp *c, const fe_options *opt) {
    fe_eval *e = vm_new(c->arena, fe_eval);
    e->comp = c;
    e->arena = c->arena;
    if (opt) e->opt = *opt;
    e->flow.active = true;
    return e;
}

fe_state fe_save(const fe_eval *e) {
    return (fe_state){e->scope, e->hooks, e->group, e->ret_type, e->loop,
                      e->flow.active, e->flow.jumping, e->flow.kind, e->flow.value};
}

void fe_restore(fe_eval *e, const fe_state *s) {
    e->scope = s->scope;
    e->hooks = s->hooks;
    e->group = s->group;
    e->ret_type = s->ret_type;
    e->loop = s->loop;
    e->flow.active = s->active;
    e->flow.jumping = s->jumping;
    e->flow.kind = s->kind;
    e->flow.value = s->value;
}

bool fe_tick(fe_eval *e, vm_span at) {
    if (e->exhausted) return false;
    if (++e->steps <= MAX_STEPS) return true;
    e->exhausted = true;
    vm_report(e->comp, D_E0702, at, "compile-time evaluation does not end within %d steps", MAX_STEPS);
    return false;
}

// ---- scopes -------------------------------------------------------------------------------------

fe_scope *fe_new_scope(fe_eval *e, fe_scope *up, fe_module *m, bool border) {
    fe_scope *s = vm_new(e->arena, fe_scope);
    s->up = up;
    s->module = m;
    s->fn_border = border;
    s->depth = e->scope ? e->scope->depth + 1 : 0;
    return s;
}

fe_scope *fe_push(fe_eval *e) {
    return e->scope = fe_new_scope(e, e->scope, e->scope ? e->scope->module : NULL, false);
}

void fe_pop(fe_eval *e) { e->scope = e->scope->up; }

fe_binding *fe_find_in(const fe_scope *s, const char *name) {
    for (fe_binding *b = s ? s->first : NULL; b; b = b->next)
        if (b->name == name || !strcmp(b->name, name)) return b;
    return NULL;
}

fe_binding *fe_find(fe_scope *s, const char *name) {
    for (; s; s = s->up) {
        fe_binding *b = fe_find_in(s, name);
        if (!b) continue;
        while (b->alias) b = b->alias;
        return b;
    }
    return NULL;
}

fe_binding *fe_bind(fe_eval *e, const char *name, fe_value *v, const fe_type *t, bool is_var, vm_span at) {
    fe_binding *b = vm_new(e->arena, fe_binding);
    if (!name) name = ""; // left by a syntax error
    // const turn = order(…): the place in the order is kept behind the name, and changes.
    is_var |= v && v->kind == FV_STRUCT && v->home && !strcmp(v->home->path, "std/order.tvm");
    *b = (fe_binding){.name = name, .value = v, .type = t, .is_var = is_var, .group = e->group,
                      .depth = e->scope->depth, .span = at, .next = e->scope->first};
    e->scope->first = b;
    return b;
}

/// Value of a global constant: evaluated in its module at first use, without hooks.
fe_value *fe_force(fe_eval *e, fe_scope *where, fe_binding *b) {
    if (!b->lazy) return b->value ? b->value : fe_poison(e);
    if (b->busy) {
        vm_report(e->comp, D_E0312, b->span, "constant '%s' depends on its own value", b->name);
        b->lazy = NULL;
        return b->value = fe_poison(e);
    }
    const ast *bind = b->lazy;
    const fe_state old = fe_save(e);
    e->scope = where;
    e->hooks = NULL;
    e->flow.jumping = false;
    e->flow.active = true;
    e->ret_type = NULL;
    e->group = NULL;
    e->loop = 0;
    for (fe_binding *o = where->first; o; o = o->next)
        if (o->lazy == bind) o->busy = true;
    fe_value *v = bind->nkids > 1 && bind->kid[1] ? fe_expr(e, bind->kid[1]) : fe_poison(e);
    if (bind->kid[0]) {
        const fe_type *t = fe_type_expr(e, bind->kid[0]);
        v = t ? fe_coerce(e, v, t, bind->span) : fe_poison(e);
    }
    fe_restore(e, &old);
    const bool fits = bind->nnames == 1 || (v->kind == FV_TUPLE && v->n == bind->nnames);
    if (!fits && v->kind != FV_POISON)
        vm_report(e->comp, D_E0322, bind->span, "%u names cannot take %s", bind->nnames, fe_describe(e, v));
    for (fe_binding *o = where->first; o; o = o->next) {
        if (o->lazy != bind && !(o == b)) continue;
        uint32_t k = 0;
        while (k + 1 < bind->nnames && bind->names[k] != o->name) k++;
        o->lazy = NULL;
        o->busy = false;
        if (!o->value)
            o->value = bind->nnames == 1 ? v : fits && v->kind == FV_TUPLE ? v->item[k] : fe_poison(e);
    }
    return b->value;
}

void fe_unknown_name(fe_eval *e, const char *name, vm_span at) {
    for (const vm_diag *d = e->comp->diags; d; d = d->next) { // fe_check may have said it already
        const bool same = d->span.file == at.file && d->span.lo == at.lo && d->span.hi == at.hi;
        if (!same || (d->code != D_E0301 && d->code != D_E0303)) continue;
        e->comp->nreports++;
        return;
    }
    const char *bad = fe_bad_type_name(e, name);
    if (bad) {
        vm_report(e->comp, D_E0303, at, "%s", bad);
        return;
    }
    uint32_t n = 0;
    const char **names = NULL;
    fe_predefined_names(e, &n, &names);
    VM_VEC(const char *) all = {0};
    for (const fe_scope *s = e->scope; s; s = s->up)
        for (const fe_binding *b = s->first; b; b = b->next) vm_push(e->arena, &all, b->name);
    for (uint32_t i = 0; i < n; i++) vm_push(e->arena, &all, names[i]);
    const char *near = vm_nearest(name, all.at, all.n);
    if (near) vm_report(e->comp, D_E0301, at, "unknown name '%s'; did you mean '%s'?", name, near);
    else vm_report(e->comp, D_E0301, at, "unknown name '%s'", name);
}

fe_value *fe_lookup(fe_eval *e, const char *name, vm_span at) {
    for (fe_scope *s = e->scope; s; s = s->up) {
        fe_binding *b = fe_find_in(s, name);
        if (!b) continue;
        while (b->alias) b = b->alias;
        b->used = true;
        return b->lazy || !b->value ? fe_force(e, s, b) : b->value;
    }
    fe_value *v = fe_predefined(e, name, at);
    if (v) return v;
    fe_unknown_name(e, name, at);
    return fe_poison(e);
}

// ---- meta-parameters ----------------------------------------------------------------------------

static fe_value *arg_value(fe_eval *e, const fe_arg *a) {
    if (a->form == FA_VALUE) return a->v;
    if (a->form == FA_RANGE) {
        fe_value *it[2] = {a->v, a->v2};
        return fe_list(e, FV_RANGE, 2, it);
    }
    vm_report(e->comp, D_E0309, a->span, "a window or '..' can only index");
    return fe_poison(e);
}

/// Distributes arguments over the parameters of `params`, by position, then by name. False: reported.
static bool distribute(fe_eval *e, const char *what, const char *name, const ast *params, const fe_args *args,
                       uint32_t first, fe_value **val, vm_span *spans, vm_span at) {
    const uint32_t np = params ? params->nkids : 0;
    uint32_t pos = first;
    bool ok = true;
    for (uint32_t i = 0; i < args->n; i++) {
        const fe_arg *a = &args->at[i];
        uint32_t k = pos;
        if (a->name) {
            for (k = first; k < np && strcmp(params->kid[k]->name, a->name) != 0; k++) {}
        } else pos++;
        if (k >= np) {
            if (a->name) vm_report(e->comp, D_E0309, a->span, "%s has no %s '%s'", name, what, a->name);
            else vm_report(e->comp, D_E0309, a->span, "%s takes %u %s%s, not %u", name, np - first, what,
                           np - first == 1 ? "" : "s", args->n);
            return false;
        }
        if (val[k]) {
            vm_report(e->comp, D_E0309, a->span, "%s '%s' of %s is given twice", what, params->kid[k]->name, name);
            return false;
        }
        val[k] = arg_value(e, a);
        spans[k] = a->span.file ? a->span : at;
        if (val[k]->kind == FV_POISON) ok = false;
    }
    return ok;
}

fe_value *fe_bind_metas(fe_eval *e, fe_value *fn, fe_args *args, vm_span at) {
    const ast *meta = fe_kid(fn->node, 0);
    const uint32_t n = meta ? meta->nkids : 0;
    fe_value **val = vm_newn(e->arena, fe_value *, n + 1);
    vm_span *spans = vm_newn(e->arena, vm_span, n + 1);
    if (!distribute(e, "meta-parameter", fn->node->name, meta, args, 0, val, spans, at)) return fe_poison(e);
    fe_value *r = vm_dup(e->arena, fn, sizeof *fn);
    const fe_state old = fe_save(e);
    e->scope = r->scope = fe_new_scope(e, fn->module->globals, fn->module, true);
    for (uint32_t i = 0; i < n; i++) {
        const ast *p = meta->kid[i];
        if (!val[i]) continue;
        if (val[i]->kind == FV_ANY) continue; // `_`: to be deduced
        const ast *ty = fe_bare(p->kid[0]);
        const fe_type *t = ty && ty->kind == AST_ID && !strcmp(ty->name, "_") ? NULL : fe_type_expr(e, ty);
        val[i] = fe_coerce(e, val[i], t, spans[i]);
        fe_bind(e, p->name, val[i], t, false, spans[i]);
    }
    fe_restore(e, &old);
    return r;
}

static bool unbound_meta(const ast *meta, const fe_scope *s, const char *name) {
    for (uint32_t i = 0; meta && i < meta->nkids; i++)
        if (!strcmp(meta->kid[i]->name, name)) return !fe_find_in(s, name);
    return false;
}

static void bind_in(fe_eval *e, fe_scope *s, const char *name, fe_value *v, vm_span at) {
    fe_scope *old = e->scope;
    e->scope = s;
    fe_bind(e, name, v, NULL, false, at);
    e->scope = old;
}

void fe_match_type(fe_eval *e, const ast *meta, fe_scope *s, const ast *p, const fe_type *t) {
    p = fe_bare(p);
    if (!p || !t) return;
    switch (p->kind) {
    case AST_AT: {
        fe_match_type(e, meta, s, p->kid[0], t);
        const ast *l = fe_bare(p->kid[1]);
        if (t->layout && l->kind == AST_ID && unbound_meta(meta, s, l->name))
            bind_in(e, s, l->name, t->layout, p->span);
        break;
    }
    case AST_SPACE: fe_match_type(e, meta, s, p->kid[0], t); break;
    case AST_CALL:
        if (p->nkids == 2) fe_match_type(e, meta, s, p->kid[1], t);
        break;
    case AST_ID: {
        if (!unbound_meta(meta, s, p->name)) break;
        fe_value *v = t->kind == FT_STRUCT ? t->strukt
                      : t->kind == FT_TENSOR && t->space == FS_NONE
                          ? fe_type_value(e, fe_scalar_type(e, t->elem)) : fe_type_value(e, t);
        bind_in(e, s, p->name, v, p->span);
        break;
    }
    case AST_INDEX: {
        const ast *base = fe_bare(p->kid[0]);
        if (t->kind == FT_STRUCT && t->strukt->scope && (base->kind == AST_ID || base->kind == AST_MEMBER)) {
            const ast *sm = fe_kid(t->strukt->node, 0);
            for (uint32_t i = 0; sm && i < sm->nkids && i + 1 < p->nkids; i++) {
                const ast *a = fe_bare(p->kid[i + 1]);
                const fe_binding *b = fe_find_in(t->strukt->scope, sm->kid[i]->name);
                if (b && a->kind == AST_ID && unbound_meta(meta, s, a->name))
                    bind_in(e, s, a->name, b->value, a->span);
            }
            break;
        }
        if (t->kind == FT_TENSOR) fe_match_type(e, meta, s, base, fe_scalar_type(e, t->elem));
        else if (t->kind == FT_STRUCT) {
            fe_type *bare = vm_new(e->arena, fe_type);
            bare->kind = FT_STRUCT;
            bare->strukt = t->strukt;
            fe_match_type(e, meta, s, base, bare);
        }
        for (uint32_t i = 1; i < p->nkids && (int)i <= t->rank; i++) {
            const ast *a = fe_bare(p->kid[i]);
            fe_value *d = t->dim[i - 1];
            if (a->kind == AST_ID && d->kind == FV_INT && unbound_meta(meta, s, a->name))
                bind_in(e, s, a->name, fe_int(e, d->i), a->span);
        }
        break;
    }
    default: break;
    }
}

// ---- calls --------------------------------------------------------------------------------------

static bool mentions(const ast *a, const ast *fn, fe_scope *s);

/// Whether the value of a condition may depend on run time, seen from the callee before it runs: it
/// mentions a parameter bound to a run-time value, or a local variable.
static bool mentions(const ast *a, const ast *fn, fe_scope *s) {
    if (!a) return false;
    if (a->kind == AST_ID) {
        const fe_binding *b = fe_find_in(s, a->name);
        if (b) return b->value && !fe_all_known(b->value);
        const fe_binding *g = fe_find(s->up, a->name);
        return !g && !fe_is_predefined(a->name); // a local of the function
    }
    for (uint32_t i = 0; i < a->nkids; i++)
        if (mentions(a->kid[i], fn, s)) return true;
    return false;
}

/// Whether a return may stand under control flow of run time.
static bool loose_return(const ast *a, const ast *fn, fe_scope *s, bool runtime) {
    if (!a) return false;
    switch (a->kind) {
    case AST_RETURN: return runtime;
    case AST_IF: runtime |= !a->flag && mentions(a->kid[0], fn, s); break;
    case AST_FOR: runtime |= !a->flag; break;
    case AST_WHILE: case AST_FETCH: case AST_ROLE: case AST_SIMT: runtime = true; break;
    case AST_BLOCK: break;
    default: return false;
    }
    for (uint32_t i = 0; i < a->nkids; i++)
        if (loose_return(a->kid[i], fn, s, runtime)) return true;
    return false;
}

static bool recursive(fe_eval *e, const ast *fn, vm_span at) {
    for (uint32_t i = 0; i < e->calls.n; i++) {
        if (e->calls.at[i] != fn) continue;
        vm_diag *d = vm_report(e->comp, D_E0311, at, "recursion: '%s' is being inlined already", fn->name);
        for (uint32_t k = i + 1; k < e->calls.n; k++)
            vm_label(e->comp, d, e->call_spans.at[k], "'%s' calls '%s' here", e->calls.at[k - 1]->name, e->calls.at[k]->name);
        return true;
    }
    if (e->calls.n >= MAX_INLINE) {
        vm_report(e->comp, D_E0311, at, "calls are nested more than %d deep", MAX_INLINE);
        return true;
    }
    return false;
}

static bool any_type(const ast *t) {
    t = fe_bare(t);
    return !t || (t->kind == AST_ID && !strcmp(t->name, "_"));
}

static bool bind_params(fe_eval *e, fe_value *fn, fe_value **val, vm_span *spans, fe_binding *receiver, vm_span at) {
    const ast *meta = fe_kid(fn->node, 0), *params = fe_kid(fn->node, 1);
    fe_scope *s = e->scope;
    bool ok = true;
    if (fn->scope) {
        for (uint32_t i = 0; meta && i < meta->nkids; i++) {
            fe_binding *b = fe_find_in(fn->scope, meta->kid[i]->name);
            if (b) fe_bind(e, b->name, b->value, b->type, false, b->span);
        }
    }
    for (uint32_t i = 0; params && i < params->nkids; i++)
        if (val[i]) fe_match_type(e, meta, s, params->kid[i]->kid[0], fe_type_of_value(e, val[i]));
    for (uint32_t i = 0; meta && i < meta->nkids; i++) {
        const ast *p = meta->kid[i];
        if (fe_find_in(s, p->name)) continue;
        fe_value *v;
        if (fe_kid(p, 1)) {
            v = fe_expr(e, p->kid[1]);
            if (!any_type(p->kid[0])) v = fe_coerce(e, v, fe_type_expr(e, p->kid[0]), p->span);
        } else {
            vm_report(e->comp, D_E0325, at, "meta-parameter '%s' of '%s' does not follow from the arguments", p->name,
                      fn->node->name);
            return false;
        }
        fe_bind(e, p->name, v, NULL, false, p->span);
    }
    for (uint32_t i = 0; params && i < params->nkids; i++) {
        const ast *p = params->kid[i];
        const fe_type *t = NULL;
        if (!any_type(p->kid[0])) {
            t = fe_type_expr(e, p->kid[0]);
            if (!t) ok = false;
        }
        fe_value *v = val[i];
        if (!v && fe_kid(p, 1)) v = fe_expr(e, p->kid[1]);
        if (!v) {
            vm_report(e->comp, D_E0309, at, "'%s' needs a value for parameter '%s'", fn->node->name, p->name);
            return false;
        }
        if (v->kind == FV_POISON) ok = false;
        v = ok ? fe_coerce(e, v, t, spans[i].file ? spans[i] : p->span) : fe_poison(e);
        if (v->kind == FV_POISON) ok = false;
        fe_binding *b = fe_bind(e, p->name, v, t, false, p->span);
        if (i == 0 && receiver) b->alias = receiver;
    }
    return ok;
}

static bool run_clauses(fe_eval *e, const ast *fn, vm_span at) {
    const ast *cl = fe_kid(fn, 3);
    for (uint32_t i = 0; cl && i < cl->nkids; i++) {
        const ast *c = cl->kid[i];
        if (c->kind == AST_CONST) fe_exec_const(e, c);
        if (c->kind != AST_WHERE) continue;
        for (uint32_t k = 0; k < c->nkids; k++) {
            fe_value *v = fe_expr(e, c->kid[k]);
            if (v->kind == FV_POISON) return false;
            if (v->kind == FV_BOOL && v->i) continue;
            vm_diag *d = vm_report(e->comp, D_E0327, at, "'%s' does not accept these arguments", fn->name);
            vm_label(e->comp, d, c->kid[k]->span, "this is %s", fe_describe(e, v));
            return false;
        }
    }
    return true;
}

fe_value *fe_call_fn(fe_eval *e, fe_value *fn, fe_args *args, fe_binding *receiver, vm_span at) {
    const ast *node = fn->node, *params = fe_kid(node, 1), *body = fe_kid(node, 4);
    const uint32_t np = params ? params->nkids : 0;
    fe_value **val = vm_newn(e->arena, fe_value *, np + 1);
    vm_span *spans = vm_newn(e->arena, vm_span, np + 1);
    if (!distribute(e, "parameter", node->name, params, args, 0, val, spans, at)) return fe_poison(e);
    if (recursive(e, node, at)) return fe_poison(e);

    const fe_state old = fe_save(e);
    bool all_known = true;
    for (uint32_t i = 0; i < np; i++)
        if (val[i] && !fe_all_known(val[i])) all_known = false;
    fe_scope *s = fe_new_scope(e, fn->module->globals, fn->module, true);
    vm_push(e->arena, &e->calls, node);
    vm_push(e->arena, &e->call_spans, at);
    e->scope = s;
    e->flow.jumping = false;
    e->flow.value = NULL;
    e->loop = 0;
    e->ret_type = NULL;
    if (all_known && node->flag) e->hooks = NULL;
    fe_value *r = fe_poison(e);
    if (!bind_params(e, fn, val, spans, receiver, at) || !run_clauses(e, node, at)) goto out;
    const ast *res = fe_kid(node, 2);
    if (res && !any_type(res)) {
        const fe_type *t = fe_type_expr(e, res);
        if (!t) goto out;
        e->ret_type = fe_type_value(e, t);
    }
    if (e->hooks && e->hooks->enter_fn && e->hooks->leave_fn && e->hooks->return_ && loose_return(body, node, s, false)) {
        e->flow.active = false;
        e->hooks->enter_fn(e, node);
        fe_exec_block(e, body);
        r = e->hooks->leave_fn(e, node);
        if (!r) r = fe_none(e);
    } else {
        const uint32_t errors = e->comp->nerrors;
        e->flow.active = true;
        fe_exec_stmts(e, body);
        if (e->flow.jumping && e->flow.kind == AST_RETURN) r = e->flow.value;
        else if (e->exhausted) r = fe_poison(e);
        else if (res) {
            if (e->comp->nerrors == errors)
                vm_report(e->comp, D_E0326, node->name_span.file ? node->name_span : node->span,
                          "'%s' can end without returning a value", node->name);
        } else r = fe_none(e);
    }
out:
    e->calls.n--;
    e->call_spans.n--;
    fe_restore(e, &old);
    return r;
}

fe_value *fe_struct_literal(fe_eval *e, fe_value *type, fe_args *args, vm_span at) {
    const ast *node = type->node, *meta = fe_kid(node, 0);
    const uint32_t nf = node->nkids - 1;
    fe_value **val = vm_newn(e->arena, fe_value *, nf + 1);
    vm_span *spans = vm_newn(e->arena, vm_span, nf + 1);
    ast fields = {.nkids = nf, .kid = node->kid + 1};
    if (!distribute(e, "field", node->name, &fields, args, 0, val, spans, at)) return fe_poison(e);
    const fe_state old = fe_save(e);
    fe_scope *s = e->scope = fe_new_scope(e, type->module->globals, type->module, true);
    for (uint32_t i = 0; meta && i < meta->nkids; i++) {
        fe_binding *b = type->scope ? fe_find_in(type->scope, meta->kid[i]->name) : NULL;
        if (b) fe_bind(e, b->name, b->value, b->type, false, b->span);
    }
    for (uint32_t i = 0; i < nf; i++)
        if (val[i]) fe_match_type(e, meta, s, fields.kid[i]->kid[0], fe_type_of_value(e, val[i]));
    fe_value *r = fe_poison(e);
    for (uint32_t i = 0; i < nf; i++) {
        if (!val[i]) {
            vm_report(e->comp, D_E0309, at, "field '%s' of %s has no value", fields.kid[i]->name, node->name);
            goto out;
        }
        if (any_type(fields.kid[i]->kid[0])) continue;
        const fe_type *t = fe_type_expr(e, fields.kid[i]->kid[0]);
        val[i] = t ? fe_coerce(e, val[i], t, spans[i]) : fe_poison(e);
    }
    r = fe_list(e, FV_STRUCT, nf, val);
    if (r->kind != FV_STRUCT) goto out;
    r->decl = node;
    r->home = type->module;
    r->metas = meta && meta->nkids ? s : NULL;
out:
    fe_restore(e, &old);
    return r;
}

fe_value *fe_call(fe_eval *e, fe_value *fn, fe_args *args, vm_span at) {
    if (!fe_tick(e, at)) return fe_poison(e);
    for (uint32_t i = 0; i < args->n; i++)
        if ((args->at[i].v && args->at[i].v->kind == FV_POISON) || (args->at[i].v2 && args->at[i].v2->kind == FV_POISON))
            return fe_poison(e);
    switch (fn->kind) {
    case FV_POISON: return fn;
    case FV_FN: return fe_call_fn(e, fn, args, NULL, at);
    case FV_STRUCT_TYPE: return fe_struct_literal(e, fn, args, at);
    case FV_LAMBDA: {
        const ast *l = fn->node;
        if (args->n != l->nnames) {
            vm_report(e->comp, D_E0309, at, "this lambda takes %u values, not %u", l->nnames, args->n);
            return fe_poison(e);
        }
        fe_scope *old = e->scope;
        const int depth = old->depth;
        e->scope = fe_new_scope(e, fn->scope, fn->module, false);
        e->scope->depth = depth + 1;
        for (uint32_t i = 0; i < args->n; i++)
            if (strcmp(l->names[i], "_") != 0)
                fe_bind(e, l->names[i], arg_value(e, &args->at[i]), NULL, false, l->names_span[i]);
        fe_value *r = fe_expr(e, l->kid[0]);
        e->scope = old;
        return r;
    }
    case FV_BUILTIN: {
        fe_value *r = fe_builtin(e, fn->s, args, at);
        if (r) return r;
        if (e->hooks && e->hooks->call) return e->hooks->call(e, fn->s, args, at);
        vm_report(e->comp, D_E0324, at, "'%s' cannot be computed at compile time here", fn->s);
        return fe_poison(e);
    }
    case FV_KERNEL:
        vm_report(e->comp, D_E0323, at, "kernel '%s' is started with 'run'", fn->node->name);
        return fe_poison(e);
    default:
        vm_report(e->comp, D_E0323, at, "%s cannot be called", fe_describe(e, fn));
        return fe_poison(e);
    }
}
