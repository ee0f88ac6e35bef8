// SPDX-License-Identifier: Apache-2.0
// A kernel with its meta-parameters: explicit values, defaults, points of the tuning space, and what
// `where` says about them. Clause constants are evaluated when first used, so that a `where` can guard
// the layouts that would not exist otherwise.
#include <ctype.h>
#include <string.h>
#include "frontend/eval_internal.h"

enum { MAX_POINTS = 100000 };

typedef struct {
    fe_eval *e;
    fe_module *m;
    const ast *kernel, *meta, *clauses;
    uint32_t nmeta;
    fe_value **given;    // explicit values, coerced; NULL: open
    bool *tuned;         // stands in a tune list and is open
    bool use_defaults;   // a default beats the tune list
    vm_span at;
} inst;

static const ast *tune_of(const inst *t) {
    for (uint32_t i = 0; t->clauses && i < t->clauses->nkids; i++)
        if (t->clauses->kid[i]->kind == AST_TUNE) return t->clauses->kid[i];
    return NULL;
}

static int meta_index(const inst *t, const char *name) {
    for (uint32_t i = 0; i < t->nmeta; i++)
        if (!strcmp(t->meta->kid[i]->name, name)) return (int)i;
    return -1;
}

// ---- values from outside ------------------------------------------------------------------------

/// Text of -D NAME=TEXT as a value: an expression in the kernel's module.
static fe_value *parse_define(inst *t, const char *name, const char *text) {
    fe_eval *e = t->e;
    const char *src = vm_format(e->arena, "const %s = %s;\n", name, text);
    const size_t n = strlen(src);
    char *copy = vm_newn(e->arena, char, n + 2);
    memcpy(copy, src, n);
    const uint32_t file = vm_source_add(e->comp, vm_format(e->arena, "-D %s", name), copy, n);
    const uint32_t errors = e->comp->nerrors;
    const ast *tree = fe_parse(e->comp, file);
    if (e->comp->nerrors != errors || !tree->nkids || tree->kid[0]->kind != AST_CONST) return fe_poison(e);
    return fe_expr(e, fe_kid(tree->kid[0]->kid[0], 1));
}

static const fe_type *meta_type(inst *t, const ast *p, bool *any) {
    const ast *ty = fe_bare(p->kid[0]);
    *any = ty && ty->kind == AST_ID && !strcmp(ty->name, "_");
    return *any ? NULL : fe_type_expr(t->e, ty);
}

static bool take_defines(inst *t, uint32_t n, const fe_define *defs) {
    fe_eval *e = t->e;
    bool ok = true;
    for (uint32_t i = 0; i < n; i++) {
        const int k = meta_index(t, defs[i].name);
        if (k < 0) {
            if (defs[i].value->kind == FV_STRING) continue; // -D for another kernel of the file
            VM_VEC(const char *) names = {0};
            for (uint32_t j = 0; j < t->nmeta; j++) vm_push(e->arena, &names, t->meta->kid[j]->name);
            const char *near = vm_nearest(defs[i].name, names.at, names.n);
            vm_diag *d = vm_report(e->comp, D_E0343, t->at, "'%s' has no meta-parameter '%s'", t->kernel->name, defs[i].name);
            if (near) vm_help(e->comp, d, "did you mean '%s'?", near);
            ok = false;
            continue;
        }
        const ast *p = t->meta->kid[k];
        bool any;
        const fe_type *ty = meta_type(t, p, &any);
        fe_value *v = defs[i].value;
        if (v->kind == FV_STRING && !(ty && ty->kind == FT_META && !strcmp(ty->meta, "str"))) v = parse_define(t, p->name, v->s);
        v = ty || any ? fe_coerce(e, v, ty, t->at) : fe_poison(e);
        if (v->kind == FV_POISON) ok = false;
        else if (v->kind != FV_ANY) t->given[k] = v;
    }
    return ok;
}

static bool start(inst *t, fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs, vm_span at) {
    *t = (inst){.e = e, .m = m, .kernel = kernel, .meta = fe_kid(kernel, 0), .clauses = fe_kid(kernel, 2), .at = at};
    if (fe_broken(kernel)) return false;
    if (!at.file) t->at = kernel->name_span.file ? kernel->name_span : kernel->span;
    t->nmeta = t->meta ? t->meta->nkids : 0;
    t->given = vm_newn(e->arena, fe_value *, t->nmeta + 1);
    t->tuned = vm_newn(e->arena, bool, t->nmeta + 1);
    e->scope = m->globals;
    e->hooks = NULL;
    e->flow.active = true;
    e->flow.jumping = false;
    e->ret_type = NULL;
    e->loop = 0;
    e->steps = 0;
    return take_defines(t, n, defs);
}

/// Scope of one point: metas in order, clause constants waiting. `pick` holds the tuned values. NULL
/// after a report.
static fe_scope *make_scope(inst *t, fe_value **pick, fe_value **out) {
    fe_eval *e = t->e;
    e->scope = t->m->globals;
    fe_scope *s = e->scope = fe_new_scope(e, t->m->globals, t->m, true);
    bool ok = true;
    for (uint32_t i = 0; i < t->nmeta; i++) {
        const ast *p = t->meta->kid[i];
        fe_value *v = t->given[i];
        if (!v && pick) v = pick[i];
        if (!v && fe_kid(p, 1)) {
            bool any;
            const fe_type *ty = meta_type(t, p, &any);
            v = fe_expr(e, p->kid[1]);
            if (ty) v = fe_coerce(e, v, ty, p->span);
        } else if (v && v != t->given[i]) {
            bool any;
            const fe_type *ty = meta_type(t, p, &any);
            v = fe_coerce(e, v, ty, p->span);
        }
        if (!v || v->kind == FV_POISON) ok = false;
        out[i] = v ? v : fe_poison(e);
        fe_bind(e, p->name, out[i], NULL, false, p->name_span.file ? p->name_span : p->span);
    }
    for (uint32_t i = 0; t->clauses && i < t->clauses->nkids; i++) {
        const ast *c = t->clauses->kid[i];
        if (c->kind != AST_CONST) continue;
        for (uint32_t k = 0; k < c->nkids; k++) {
            const ast *b = c->kid[k];
            for (uint32_t j = 0; b->kind == AST_BIND && j < b->nnames; j++) {
                fe_binding *o = fe_bind(e, b->names[j], NULL, NULL, false, b->names_span[j]);
                o->lazy = b;
            }
        }
    }
    return ok ? s : NULL;
}

// ---- conditions ---------------------------------------------------------------------------------

static bool mentions_name(inst *t, const ast *a, const char *name, int depth);

static const ast *clause_const(const inst *t, const char *name) {
    for (uint32_t i = 0; t->clauses && i < t->clauses->nkids; i++) {
        const ast *c = t->clauses->kid[i];
        for (uint32_t k = 0; c->kind == AST_CONST && k < c->nkids; k++)
            for (uint32_t j = 0; j < c->kid[k]->nnames; j++)
                if (!strcmp(c->kid[k]->names[j], name)) return c->kid[k];
    }
    return NULL;
}

static bool mentions_name(inst *t, const ast *a, const char *name, int depth) {
    if (!a || depth > 16) return false;
    if (a->kind == AST_ID) {
        if (!strcmp(a->name, name)) return true;
        const ast *b = clause_const(t, a->name);
        return b && mentions_name(t, fe_kid(b, 1), name, depth + 1);
    }
    for (uint32_t i = 0; i < a->nkids; i++)
        if (mentions_name(t, a->kid[i], name, depth)) return true;
    return false;
}

static const char *source_text(fe_eval *e, const ast *a) {
    const vm_source *s = vm_source_at(e->comp, a->span.file);
    if (!s || a->span.hi > s->size || a->span.lo > a->span.hi) return "this";
    return vm_format(e->arena, "%.*s", (int)(a->span.hi - a->span.lo), s->text + a->span.lo);
}

/// The first `where` condition that fails in scope s; *error: it could not be computed.
static const ast *failing(inst *t, fe_scope *s, bool *error) {
    fe_eval *e = t->e;
    *error = false;
    e->scope = s;
    for (uint32_t i = 0; t->clauses && i < t->clauses->nkids; i++) {
        const ast *c = t->clauses->kid[i];
        if (c->kind != AST_WHERE) continue;
        for (uint32_t k = 0; k < c->nkids; k++) {
            fe_value *v = fe_expr(e, c->kid[k]);
            if (v->kind == FV_BOOL && v->i) continue;
            if (v->kind != FV_BOOL && v->kind != FV_POISON)
                vm_report(e->comp, D_E0305, c->kid[k]->span, "a 'where' condition is a bool known at compile time, not %s", fe_describe(e, v));
            if (v->kind != FV_BOOL) *error = true;
            return c->kid[k];
        }
    }
    return NULL;
}

static bool force_consts(inst *t, fe_scope *s) {
    bool ok = true;
    VM_VEC(fe_binding *) all = {0};
    for (fe_binding *b = s->first; b; b = b->next) vm_push(t->e->arena, &all, b);
    for (uint32_t i = all.n; i-- > 0;)
        if (fe_force(t->e, s, all.at[i])->kind == FV_POISON) ok = false;
    return ok;
}

static bool when_holds(inst *t, fe_scope *s) {
    const ast *tune = tune_of(t);
    t->e->scope = s;
    for (uint32_t i = 0; tune && i < tune->nkids; i++) {
        if (tune->kid[i]->kind != AST_TUNE_WHEN) continue;
        fe_value *v = fe_expr(t->e, tune->kid[i]->kid[0]);
        if (v->kind != FV_BOOL || !v->i) return false;
    }
    return true;
}

// ---- quiet trials -------------------------------------------------------------------------------

typedef struct {
    vm_diag *diags, *last;
    uint32_t errors, warnings;
    uint64_t steps;
    bool exhausted;
} mark;

static mark hush(fe_eval *e) {
    vm_comp *c = e->comp;
    return (mark){c->diags, c->last_diag, c->nerrors, c->nwarnings, e->steps, e->exhausted};
}

/// Forgets what was reported since hush.
static void unhush(fe_eval *e, const mark *m) {
    vm_comp *c = e->comp;
    c->diags = m->diags;
    c->last_diag = m->last;
    if (m->last) m->last->next = NULL;
    c->nerrors = m->errors;
    c->nwarnings = m->warnings;
    e->steps = m->steps;
    e->exhausted = m->exhausted;
}

// ---- the tuning space ---------------------------------------------------------------------------

typedef struct {
    uint32_t n;         // points of this entry
    fe_value **point;   // each a value, or a tuple of nnames
    const ast *entry;
    int index[8];       // meta of each name
} axis;
typedef VM_VEC(axis) axes;

static fe_value *part(const axis *a, uint32_t point, uint32_t k) {
    return a->entry->nnames == 1 ? a->point[point] : a->point[point]->item[k];
}

static bool make_axis(inst *t, const ast *entry, axis *a) {
    fe_eval *e = t->e;
    *a = (axis){.entry = entry};
    uint32_t fixed = 0;
    for (uint32_t k = 0; k < entry->nnames; k++) {
        const int i = k < 8 ? meta_index(t, entry->names[k]) : -1;
        if (i < 0) {
            vm_report(e->comp, D_E0343, entry->names_span[k], "'%s' has no meta-parameter '%s'", t->kernel->name, entry->names[k]);
            return false;
        }
        a->index[k] = i;
        if (t->given[i] || (t->use_defaults && fe_kid(t->meta->kid[i], 1))) fixed++;
    }
    if (fixed == entry->nnames) return true; // n == 0: no choice
    fe_value *list = fe_expr(e, entry->kid[0]);
    if (list->kind == FV_POISON) return false;
    if (list->kind == FV_RANGE && list->item[0]->kind == FV_INT && list->item[1]->kind == FV_INT) {
        VM_VEC(fe_value *) v = {0};
        for (int64_t i = list->item[0]->i; i < list->item[1]->i && v.n < MAX_POINTS; i++) vm_push(e->arena, &v, fe_int(e, i));
        list = fe_list(e, FV_LIST, v.n, v.at);
    }
    if ((list->kind != FV_LIST && list->kind != FV_TUPLE) || !list->n) {
        vm_report(e->comp, D_E0304, entry->kid[0]->span, "'tune' needs a list of values, not %s", fe_describe(e, list));
        return false;
    }
    VM_VEC(fe_value *) match = {0}, all = {0};
    for (uint32_t p = 0; p < list->n; p++) {
        fe_value *v = list->item[p];
        if (entry->nnames > 1 && (v->kind != FV_TUPLE || v->n != entry->nnames)) {
            vm_report(e->comp, D_E0322, entry->kid[0]->span, "%u names cannot take %s", entry->nnames, fe_describe(e, v));
            return false;
        }
        bool same = true;
        for (uint32_t k = 0; k < entry->nnames; k++) {
            const fe_value *g = t->given[a->index[k]];
            if (g && !fe_equal(g, entry->nnames == 1 ? v : v->item[k])) same = false;
        }
        vm_push(e->arena, &all, v);
        if (same) vm_push(e->arena, &match, v);
    }
    for (uint32_t k = 0; k < entry->nnames; k++)
        if (!t->given[a->index[k]]) t->tuned[a->index[k]] = true;
    a->n = match.n ? match.n : all.n; // explicit values override the list
    a->point = match.n ? match.at : all.at;
    return true;
}

static bool make_axes(inst *t, axes *out) {
    const ast *tune = tune_of(t);
    if (!tune) return true;
    // lists may mention explicit values and defaults
    t->e->scope = fe_new_scope(t->e, t->m->globals, t->m, true);
    for (uint32_t i = 0; i < t->nmeta; i++) {
        const ast *p = t->meta->kid[i];
        fe_value *v = t->given[i] ? t->given[i] : fe_kid(p, 1) ? fe_expr(t->e, p->kid[1]) : NULL;
        if (v) fe_bind(t->e, p->name, v, NULL, false, p->span);
    }
    bool ok = true;
    for (uint32_t i = 0; i < tune->nkids; i++) {
        if (tune->kid[i]->kind != AST_TUNE_IN) continue;
        axis a;
        if (!make_axis(t, tune->kid[i], &a)) ok = false;
        else if (a.n) vm_push(t->e->arena, out, a);
    }
    return ok;
}

/// Values of point number `p` (last list fastest) into pick; false beyond the last.
static bool pick_point(const axes *x, uint64_t p, fe_value **pick) {
    for (uint32_t i = x->n; i-- > 0;) {
        const axis *a = &x->at[i];
        const uint32_t k = (uint32_t)(p % a->n);
        p /= a->n;
        for (uint32_t j = 0; j < a->entry->nnames; j++) pick[a->index[j]] = part(a, k, j);
    }
    return p == 0;
}

// ---- results ------------------------------------------------------------------------------------

static void put_name(fe_eval *e, vm_text *t, const fe_value *v) {
    if (v->kind == FV_TUPLE || v->kind == FV_LIST) {
        for (uint32_t i = 0; i < v->n; i++) {
            if (i) vm_put(t, "x");
            put_name(e, t, v->item[i]);
        }
        return;
    }
    bool gap = false;
    for (const char *s = fe_describe(e, v); *s; s++) {
        if (isalnum((unsigned char)*s)) {
            if (gap) vm_put(t, "_");
            gap = false;
            vm_putn(t, s, 1);
        } else if (*s == '-') vm_put(t, "m");
        else if (*s == '.') vm_put(t, "p");
        else gap = true;
    }
}

static fe_instance *finish(inst *t, fe_scope *s, fe_value **meta) {
    fe_eval *e = t->e;
    fe_instance *r = vm_new(e->arena, fe_instance);
    r->module = t->m;
    r->node = t->kernel;
    r->metas = s;
    r->nmeta = t->nmeta;
    r->meta = meta;
    r->tuned = t->tuned;
    r->meta_name = vm_newn(e->arena, const char *, t->nmeta + 1);
    vm_text name = {.arena = e->arena};
    vm_put(&name, "%s", t->kernel->name);
    bool first = true;
    for (uint32_t i = 0; i < t->nmeta; i++) {
        r->meta_name[i] = t->meta->kid[i]->name;
        if (!t->given[i] && !t->tuned[i]) continue;
        vm_put(&name, first ? "__%s_" : "_%s_", r->meta_name[i]);
        put_name(e, &name, meta[i]);
        first = false;
    }
    r->entry = vm_text_end(&name);
    return r;
}

static bool missing(inst *t, fe_value **pick) {
    vm_text names = {.arena = t->e->arena};
    int n = 0;
    for (uint32_t i = 0; i < t->nmeta; i++)
        if (!t->given[i] && !pick[i] && !fe_kid(t->meta->kid[i], 1)) vm_put(&names, n++ ? ", %s" : "%s", t->meta->kid[i]->name);
    if (!n) return false;
    vm_diag *d = vm_report(t->e->comp, D_E0341, t->at, "'%s' needs %s for %s", t->kernel->name, n > 1 ? "values" : "a value", vm_text_end(&names));
    vm_help(t->e->comp, d, "give -D NAME=VALUE, or %s[NAME = value] behind 'run'", t->kernel->name);
    return true;
}

static const char *substituted(inst *t, const ast *cond) {
    fe_eval *e = t->e;
    const ast *c = fe_bare(cond);
    while (c->kind == AST_BINARY && c->op == OP_LAND) {
        const fe_value *l = fe_expr(e, c->kid[0]);
        c = fe_bare(l->kind == FV_BOOL && l->i ? c->kid[1] : c->kid[0]);
    }
    if (c->kind != AST_BINARY || c->op < OP_EQ || c->op > OP_IN) return "this is false";
    const ast *l = fe_bare(c->kid[0]);
    const char *val = fe_describe(e, fe_expr(e, l));
    if (l->kind == AST_BINARY)
        return vm_format(e->arena, "%s %s %s is %s", fe_describe(e, fe_expr(e, l->kid[0])), ast_op_text(l->op),
                         fe_describe(e, fe_expr(e, l->kid[1])), val);
    return vm_format(e->arena, "%s is %s", source_text(e, l), val);
}

static void help_values(inst *t, vm_diag *d, const ast *cond, fe_value **meta) {
    fe_eval *e = t->e;
    for (int all = 1; all >= 0; all--)
        for (uint32_t i = 0; i < t->nmeta; i++) {
            if (meta[i]->kind != FV_INT || meta[i]->i <= 0 || meta[i]->i > 1 << 24 || !mentions_name(t, cond, t->meta->kid[i]->name, 0)) continue;
            const int64_t v = meta[i]->i;
            int64_t cand[32];
            int n = 0;
            for (int k = 2; k <= 8; k *= 2) cand[n++] = v * k;
            for (int k = 2; k <= 8; k *= 2)
                if (v % k == 0) cand[n++] = v / k;
            for (int k = 3; k <= 8; k++) cand[n++] = v * k;
            for (int64_t p = 1; p <= 256; p *= 2) cand[n++] = p;
            fe_value *old = t->given[i];
            for (int k = 0; k < n; k++) {
                const mark m = hush(e);
                t->given[i] = fe_int(e, cand[k]);
                fe_value **out = vm_newn(e->arena, fe_value *, t->nmeta + 1);
                fe_scope *s = make_scope(t, meta, out);
                bool err, ok = false;
                if (s && all) ok = !failing(t, s, &err);
                else if (s) {
                    const fe_value *r = fe_expr(e, cond);
                    ok = r->kind == FV_BOOL && r->i;
                }
                t->given[i] = old;
                unhush(e, &m);
                if (!ok) continue;
                vm_help(e->comp, d, "%s = %lld satisfies it", t->meta->kid[i]->name, (long long)cand[k]);
                return;
            }
        }
}

static void report_where(inst *t, fe_scope *s, const ast *cond, fe_value **meta) {
    fe_eval *e = t->e;
    vm_text with = {.arena = e->arena};
    int n = 0;
    for (uint32_t i = 0; i < t->nmeta; i++)
        if (mentions_name(t, cond, t->meta->kid[i]->name, 0))
            vm_put(&with, "%s%s = %s", n++ ? ", " : " with ", t->meta->kid[i]->name, fe_describe(e, meta[i]));
    vm_diag *d = vm_report(e->comp, D_E0340, t->at, "%s cannot be instantiated%s", t->kernel->name, n ? vm_text_end(&with) : "");
    e->scope = s;
    vm_label(e->comp, d, cond->span, "%s", substituted(t, cond));
    for (uint32_t i = 0; i < t->clauses->nkids; i++) {
        const ast *c = t->clauses->kid[i];
        for (uint32_t k = 0; c->kind == AST_CONST && k < c->nkids; k++) {
            const ast *b = c->kid[k];
            if (b->nnames != 1 || !fe_kid(b, 1) || !mentions_name(t, cond, b->names[0], 0)) continue;
            const vm_source *src = vm_source_at(e->comp, b->span.file);
            uint32_t line = 0, col;
            if (src) vm_source_place(src, b->span.lo, &line, &col);
            e->scope = s;
            const char *val = fe_describe(e, fe_lookup(e, b->names[0], b->span)), *text = source_text(e, b->kid[1]);
            if (!strcmp(text, val)) vm_note(e->comp, d, "%s = %s (line %u)", b->names[0], val, line);
            else vm_note(e->comp, d, "%s = %s = %s (line %u)", b->names[0], text, val, line);
        }
    }
    help_values(t, d, cond, meta);
}

static fe_instance *excluded(inst *t, fe_scope *s, fe_value **meta, const ast *cond) {
    fe_instance *r = finish(t, s, meta);
    r->excluded = true;
    r->why = vm_format(t->e->arena, "'where %s' does not hold on %s", source_text(t->e, cond), t->e->opt.arch ? t->e->opt.arch->name : "the VM");
    return r;
}

/// Whether the target can hold a block of this many threads is checked by lowering; here only clauses.
fe_instance *fe_instantiate(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs, vm_span at, bool quiet_exclude) {
    const fe_state old = fe_save(e);
    inst t;
    axes x = {0};
    fe_instance *r = NULL;
    if (!start(&t, e, m, kernel, n, defs, at)) goto out;
    t.use_defaults = true;
    if (!make_axes(&t, &x)) goto out;
    fe_value **pick = vm_newn(e->arena, fe_value *, t.nmeta + 1), **meta = NULL;
    pick_point(&x, 0, pick);
    if (missing(&t, pick)) goto out;
    fe_scope *s = NULL;
    bool err = false;
    for (uint64_t p = 0; x.n && p < MAX_POINTS && pick_point(&x, p, pick); p++) {
        const mark k = hush(e);
        meta = vm_newn(e->arena, fe_value *, t.nmeta + 1);
        s = make_scope(&t, pick, meta);
        const bool good = s && when_holds(&t, s) && !failing(&t, s, &err) && force_consts(&t, s);
        unhush(e, &k);
        if (good) goto found;
    }
    // no choice, or no point fits: the first one says why
    pick_point(&x, 0, pick);
    meta = vm_newn(e->arena, fe_value *, t.nmeta + 1);
    s = make_scope(&t, pick, meta);
    if (!s) goto out;
    const ast *bad = failing(&t, s, &err);
    if (bad && !err && mentions_name(&t, bad, "target", 0)) {
        r = excluded(&t, s, meta, bad);
        if (!quiet_exclude) {
            vm_report(e->comp, D_E0340, t.at, "%s: %s", kernel->name, r->why);
            r = NULL;
        }
        goto out;
    }
    if (bad) {
        if (!err) report_where(&t, s, bad, meta);
        goto out;
    }
    if (!force_consts(&t, s)) goto out;
    if (x.n) {
        vm_report(e->comp, D_E0342, t.at, "no point of the tuning space of '%s' satisfies 'when' and 'where'", kernel->name);
        goto out;
    }
found:
    r = finish(&t, s, meta);
out:
    fe_restore(e, &old);
    return r;
}

uint32_t fe_tune_points(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs, fe_instance ***out) {
    const fe_state old = fe_save(e);
    VM_VEC(fe_instance *) found = {0};
    inst t;
    axes x = {0};
    *out = NULL;
    if (!start(&t, e, m, kernel, n, defs, VM_NOWHERE) || !make_axes(&t, &x)) goto out;
    fe_value **pick = vm_newn(e->arena, fe_value *, t.nmeta + 1);
    pick_point(&x, 0, pick);
    if (missing(&t, pick)) goto out;
    for (uint64_t p = 0; p < MAX_POINTS && pick_point(&x, p, pick); p++) {
        const mark k = hush(e);
        fe_value **meta = vm_newn(e->arena, fe_value *, t.nmeta + 1);
        fe_scope *s = make_scope(&t, pick, meta);
        bool err;
        const bool good = s && when_holds(&t, s) && !failing(&t, s, &err) && force_consts(&t, s);
        unhush(e, &k);
        if (good) vm_push(e->arena, &found, finish(&t, s, meta));
    }
out:
    fe_restore(e, &old);
    *out = found.at;
    return found.n;
}

uint64_t fe_tune_product(fe_eval *e, fe_module *m, const ast *kernel, uint32_t n, const fe_define *defs) {
    const fe_state old = fe_save(e);
    inst t;
    axes x = {0};
    uint64_t all = 0;
    if (start(&t, e, m, kernel, n, defs, VM_NOWHERE) && make_axes(&t, &x)) {
        all = 1;
        for (uint32_t i = 0; i < x.n && all < MAX_POINTS; i++) all *= x.at[i].n;
    }
    fe_restore(e, &old);
    return all < MAX_POINTS ? all : MAX_POINTS;
}

bool fe_deduce(fe_eval *e, const ast *kernel, const fe_args *args, uint32_t *n, fe_define **defs, vm_span at) {
    const ast *meta = fe_kid(kernel, 0), *params = fe_kid(kernel, 1);
    fe_scope *old = e->scope;
    e->scope = NULL;
    fe_scope *s = e->scope = fe_new_scope(e, NULL, NULL, true);
    uint32_t given = 0; // `_` is none
    for (uint32_t i = 0; i < *n; i++)
        if ((*defs)[i].value->kind != FV_ANY) (*defs)[given++] = (*defs)[i];
    *n = given;
    for (uint32_t i = 0; i < *n; i++) fe_bind(e, (*defs)[i].name, (*defs)[i].value, NULL, false, at);
    uint32_t pos = 0;
    for (uint32_t i = 0; i < args->n; i++) {
        const fe_arg *a = &args->at[i];
        uint32_t k = pos;
        if (a->name)
            for (k = 0; params && k < params->nkids && strcmp(params->kid[k]->name, a->name) != 0; k++) {}
        else pos++;
        if (a->form != FA_VALUE || !params || k >= params->nkids) continue;
        fe_match_type(e, meta, s, params->kid[k]->kid[0], fe_type_of_value(e, a->v));
    }
    VM_VEC(fe_define) all = {0};
    for (uint32_t i = 0; i < *n; i++) vm_push(e->arena, &all, (*defs)[i]);
    for (uint32_t i = 0; meta && i < meta->nkids; i++) {
        const char *name = meta->kid[i]->name;
        bool had = false;
        for (uint32_t k = 0; k < *n; k++) had |= !strcmp((*defs)[k].name, name);
        const fe_binding *b = had ? NULL : fe_find_in(s, name);
        if (b) vm_push(e->arena, &all, ((fe_define){name, b->value}));
    }
    e->scope = old;
    *n = all.n;
    *defs = all.at;
    return true;
}
