// SPDX-License-Identifier: Apache-2.0
// What can be said about a file before anything is instantiated: names resolve, no name is declared
// twice in one scope, jumps have a target, attributes exist, `simt` holds no tile instructions.
#include <string.h>
#include "frontend/eval_internal.h"

typedef struct {
    fe_eval *e;
    fe_module *m;
    int loops;        // loops around, within the region
    bool simt, fetch; // inside such a region
    bool fn;          // inside a fn, kernel
} check;

static void expr(check *c, const ast *n);
static void stmt(check *c, const ast *n);

static void declare(check *c, const char *name, vm_span at) {
    if (!name || !strcmp(name, "_")) return;
    const fe_binding *b = fe_find_in(c->e->scope, name);
    if (b) {
        vm_diag *d = vm_report(c->e->comp, D_E0302, at, "'%s' is declared twice in this scope", name);
        vm_label(c->e->comp, d, b->span, "first declared here");
        return;
    }
    fe_bind(c->e, name, NULL, NULL, false, at);
}

static vm_span name_at(const ast *n) { return n->name_span.file ? n->name_span : n->span; }

// ---- expressions --------------------------------------------------------------------------------

static bool is_tile_instruction(const char *name) {
    static const char *const more[] = {"zeros", "full", "map", "row_max", "row_min", "row_sum", "row_any", "row_all", "encode", "decode"};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (!strcmp(name, more[i])) return true;
    vm_inst i;
    if (!vm_inst_find(name, &i) || vm_insts[i].vis != V_SOURCE) return false;
    switch (vm_insts[i].cls) {
    case C_TILE: case C_DOT: case C_REDUCE: case C_SCAN: return true;
    case C_MEM: return i == I_load || i == I_store || i == I_copy;
    case C_ASYNC: return true;
    default: return false;
    }
}

static void name(check *c, const ast *n) {
    if (!fe_find(c->e->scope, n->name) && !fe_is_predefined(n->name)) fe_unknown_name(c->e, n->name, n->span);
}

static void member(check *c, const ast *n) {
    expr(c, n->kid[0]);
    const ast *base = fe_bare(n->kid[0]);
    if (base->kind != AST_ID) return;
    const fe_binding *b = fe_find(c->e->scope, base->name);
    if (!b || !b->value || b->value->kind != FV_MODULE) return;
    fe_module *m = b->value->module;
    if (m && !fe_find_in(m->globals, n->name)) fe_member(c->e, b->value, n->name, name_at(n)); // reports
}

static void expr(check *c, const ast *n) {
    if (!n) return;
    switch (n->kind) {
    case AST_ID: name(c, n); return;
    case AST_MEMBER: member(c, n); return;
    case AST_CALL: {
        const ast *f = fe_bare(n->kid[0]);
        if (c->simt && f->kind == AST_ID && !fe_find(c->e->scope, f->name) && is_tile_instruction(f->name)) {
            vm_diag *d = vm_report(c->e->comp, D_E0320, f->span, "'%s' works on tiles; 'simt' is scalar code of one thread", f->name);
            vm_help(c->e->comp, d, "move it out of 'simt', or index the elements: x[t]");
        }
        break;
    }
    case AST_ARG:
        if (fe_option_word(c->e, n)) return;
        break;
    case AST_LAMBDA:
        fe_push(c->e);
        for (uint32_t i = 0; i < n->nnames; i++) declare(c, n->names[i], n->names_span[i]);
        expr(c, n->kid[0]);
        fe_pop(c->e);
        return;
    default: break;
    }
    for (uint32_t i = 0; i < n->nkids; i++) expr(c, n->kid[i]);
}

// ---- attributes ---------------------------------------------------------------------------------

static void attributes(check *c, const ast *n) {
    static const char *const known[] = {"pipeline", "regs", "strict", "align", "alias", "unroll"};
    for (const ast *a = n->attrs; a; a = a->next) {
        const ast *f = fe_bare(a);
        if (f->kind == AST_CALL) f = fe_bare(f->kid[0]);
        const char *id = f->kind == AST_ID || f->kind == AST_ARG ? f->name : NULL;
        if (a->kind == AST_ERROR) continue;
        bool ok = false;
        for (size_t i = 0; id && i < sizeof known / sizeof *known; i++) ok |= !strcmp(id, known[i]);
        if (!ok) {
            const char *near = id ? vm_nearest(id, known, sizeof known / sizeof *known) : NULL;
            vm_diag *d = vm_report(c->e->comp, D_E0319, a->span, "unknown attribute%s%s%s", id ? " '" : "", id ? id : "", id ? "'" : "");
            if (near) vm_help(c->e->comp, d, "did you mean '%s'?", near);
            continue;
        }
        const char *where = NULL;
        if (!strcmp(id, "pipeline") && n->kind != AST_FOR && n->kind != AST_FETCH) where = "'for' loops and 'fetch' blocks";
        if (!strcmp(id, "regs") && n->kind != AST_ROLE) where = "roles";
        if (!strcmp(id, "unroll") && n->kind != AST_FOR) where = "'for' loops";
        if (where) vm_report(c->e->comp, D_E0319, a->span, "attribute '%s' belongs to %s", id, where);
        if (fe_bare(a)->kind == AST_CALL)
            for (uint32_t i = 1; i < fe_bare(a)->nkids; i++) {
                const ast *x = fe_bare(a)->kid[i];
                if (x->kind == AST_ARG && (!strcmp(x->name, "via") || !strcmp(x->name, "evict"))) continue;
                expr(c, x);
            }
    }
}

// ---- statements ---------------------------------------------------------------------------------

static void binds(check *c, const ast *n) {
    for (uint32_t i = 0; i < n->nkids; i++) {
        const ast *b = n->kid[i];
        if (b->kind != AST_BIND) continue;
        for (uint32_t k = 0; k < b->nkids; k++) expr(c, b->kid[k]);
        for (uint32_t k = 0; k < b->nnames; k++) declare(c, b->names[k], b->names_span[k]);
    }
}

static void block(check *c, const ast *n) {
    if (!n) return;
    fe_push(c->e);
    for (uint32_t i = 0; i < n->nkids; i++) stmt(c, n->kid[i]);
    fe_pop(c->e);
}

static void region(check *c, const ast *n, const char *bound, vm_span at, const ast *body, bool loop) {
    const check old = *c;
    if (loop) c->loops++;
    else c->loops = 0;
    c->simt |= n->kind == AST_SIMT;
    c->fetch |= n->kind == AST_FETCH;
    fe_push(c->e);
    if (bound) declare(c, bound, at);
    block(c, body);
    fe_pop(c->e);
    *c = old;
}

static void stmt(check *c, const ast *n) {
    if (!n) return;
    attributes(c, n);
    switch (n->kind) {
    case AST_BLOCK: block(c, n); return;
    case AST_CONST: case AST_LET: case AST_VAR: binds(c, n); return;
    case AST_IF:
        expr(c, n->kid[0]);
        stmt(c, n->kid[1]);
        stmt(c, fe_kid(n, 2));
        return;
    case AST_FOR:
        expr(c, n->kid[0]);
        expr(c, n->kid[1]);
        region(c, n, n->name, name_at(n), n->kid[2], true);
        return;
    case AST_WHILE:
        expr(c, n->kid[0]);
        region(c, n, NULL, n->span, n->kid[1], true);
        return;
    case AST_FETCH: case AST_SIMT: case AST_ROLE: {
        if (c->simt || (c->fetch && n->kind != AST_FETCH))
            vm_report(c->e->comp, c->simt ? D_E0320 : D_E0317, n->span, "'%s' cannot stand inside '%s'", ast_kind_names[n->kind],
                      c->simt ? "simt" : "fetch");
        if (n->kind == AST_ROLE) {
            expr(c, n->kid[0]);
            expr(c, n->kid[1]);
            region(c, n, n->name2, n->span, n->kid[2], false);
        } else region(c, n, n->kind == AST_SIMT ? n->name : NULL, name_at(n), n->kid[0], false);
        return;
    }
    case AST_BREAK: case AST_CONTINUE:
        if (!c->loops)
            vm_report(c->e->comp, D_E0317, n->span, "'%s' outside of a loop", n->kind == AST_BREAK ? "break" : "continue");
        return;
    case AST_RETURN:
        expr(c, fe_kid(n, 0));
        if (c->fetch) vm_report(c->e->comp, D_E0317, n->span, "'fetch' cannot be left by 'return'");
        else if (!c->fn) vm_report(c->e->comp, D_E0317, n->span, "'return' outside of a function");
        return;
    default:
        for (uint32_t i = 0; i < n->nkids; i++) expr(c, n->kid[i]);
        return;
    }
}

// ---- items --------------------------------------------------------------------------------------

static void params(check *c, const ast *p) {
    for (uint32_t i = 0; p && i < p->nkids; i++) {
        if (p->kid[i]->kind != AST_PARAM) continue;
        attributes(c, p->kid[i]);
        for (uint32_t k = 0; k < p->kid[i]->nkids; k++) expr(c, p->kid[i]->kid[k]);
        declare(c, p->kid[i]->name, name_at(p->kid[i]));
    }
}

static void tune(check *c, const ast *n, const ast *meta) {
    for (uint32_t i = 0; i < n->nkids; i++) {
        const ast *x = n->kid[i];
        for (uint32_t k = 0; k < x->nkids; k++) expr(c, x->kid[k]);
        for (uint32_t k = 0; x->kind == AST_TUNE_IN && k < x->nnames; k++) {
            bool ok = false;
            for (uint32_t j = 0; meta && j < meta->nkids; j++) ok |= !strcmp(meta->kid[j]->name, x->names[k]);
            if (!ok) vm_report(c->e->comp, D_E0343, x->names_span[k], "'%s' is no meta-parameter of this kernel", x->names[k]);
        }
    }
}

static void clauses(check *c, const ast *n, const ast *meta) {
    for (uint32_t i = 0; n && i < n->nkids; i++) {
        const ast *x = n->kid[i];
        if (x->kind == AST_CONST) binds(c, x);
        else if (x->kind == AST_TUNE) tune(c, x, meta);
        else if (x->kind == AST_LAUNCH) {
            static const char *const known[] = {"grid", "warps", "threads", "cluster", "dependent", "static"};
            for (uint32_t k = 0; k < x->nkids; k++) {
                const ast *s = x->kid[k];
                bool ok = s->kind != AST_SET;
                for (size_t j = 0; !ok && j < sizeof known / sizeof *known; j++) ok = !strcmp(s->name, known[j]);
                if (!ok) {
                    vm_diag *d = vm_report(c->e->comp, D_E0310, name_at(s), "'launch' has no entry '%s'", s->name);
                    const char *near = vm_nearest(s->name, known, sizeof known / sizeof *known);
                    if (near) vm_help(c->e->comp, d, "did you mean '%s'?", near);
                }
                for (uint32_t j = 0; j < s->nkids; j++) expr(c, s->kid[j]);
            }
        } else
            for (uint32_t k = 0; k < x->nkids; k++) expr(c, x->kid[k]);
    }
}

static void item(check *c, const ast *n) {
    fe_eval *e = c->e;
    attributes(c, n);
    e->scope = c->m->globals;
    switch (n->kind) {
    case AST_CONST:
        for (uint32_t i = 0; i < n->nkids; i++)
            for (uint32_t k = 0; n->kid[i]->kind == AST_BIND && k < n->kid[i]->nkids; k++) expr(c, n->kid[i]->kid[k]);
        break;
    case AST_FN: case AST_KERNEL: {
        const uint32_t cl = n->kind == AST_FN ? 3 : 2;
        fe_push(e);
        params(c, fe_kid(n, 0));
        params(c, fe_kid(n, 1));
        if (n->kind == AST_FN) expr(c, fe_kid(n, 2));
        clauses(c, fe_kid(n, cl), fe_kid(n, 0));
        c->fn = true;
        block(c, fe_kid(n, cl + 1));
        c->fn = false;
        break;
    }
    case AST_STRUCT:
        fe_push(e);
        params(c, fe_kid(n, 0));
        for (uint32_t i = 1; i < n->nkids; i++) {
            expr(c, n->kid[i]->kid[0]);
            for (uint32_t k = 1; k < i; k++)
                if (!strcmp(n->kid[k]->name, n->kid[i]->name))
                    vm_report(e->comp, D_E0302, name_at(n->kid[i]), "field '%s' is declared twice", n->kid[i]->name);
        }
        break;
    case AST_TEST: block(c, fe_kid(n, 0)); break;
    default: break;
    }
}

static void duplicates(check *c) {
    for (const fe_binding *b = c->m->globals->first; b; b = b->next)
        for (const fe_binding *o = b->next; o; o = o->next) {
            if (strcmp(b->name, o->name) != 0) continue;
            vm_diag *d = vm_report(c->e->comp, D_E0302, b->span, "'%s' is declared twice in this file", b->name);
            vm_label(c->e->comp, d, o->span, "first declared here");
            break;
        }
}

void fe_check(fe_eval *e, fe_module *m) {
    const fe_state old = fe_save(e);
    check c = {.e = e, .m = m};
    duplicates(&c);
    for (uint32_t i = 0; i < m->tree->nkids; i++)
        if (!fe_broken(m->tree->kid[i])) item(&c, m->tree->kid[i]);
    fe_restore(e, &old);
}
