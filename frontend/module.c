// SPDX-License-Identifier: Apache-2.0
// Files and what they declare. A file is parsed once however often it is imported; import cycles are
// harmless because globals are evaluated when first used.
#include <string.h>
#include "frontend/eval_internal.h"

static const char *basename_of(fe_eval *e, const char *path) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const size_t n = strlen(base);
    return vm_internn(e->comp, base, n > 4 && !strcmp(base + n - 4, ".tvm") ? n - 4 : n);
}

bool fe_broken(const ast *a) {
    if (!a) return false;
    if (a->kind == AST_ERROR) return true;
    for (uint32_t i = 0; i < a->nkids; i++)
        if (fe_broken(a->kid[i])) return true;
    for (const ast *x = a->attrs; x; x = x->next)
        if (fe_broken(x)) return true;
    return false;
}

static void item(fe_eval *e, fe_module *m, const ast *n, enum fe_kind k) {
    if (!n->name) return;
    fe_value *v = fe_new_value(e, fe_broken(n) ? FV_POISON : k);
    v->node = n;
    v->module = m;
    v->span = n->name_span;
    fe_bind(e, n->name, v, NULL, false, n->name_span.file ? n->name_span : n->span);
}

static fe_module *load(fe_eval *e, const ast *imp, const fe_module *from);

static void declare(fe_eval *e, fe_module *m) {
    fe_scope *old = e->scope;
    m->globals = vm_new(e->arena, fe_scope);
    m->globals->module = m;
    e->scope = m->globals;
    for (uint32_t i = 0; i < m->tree->nkids; i++) {
        ast *n = m->tree->kid[i];
        switch (n->kind) {
        case AST_IMPORT: {
            fe_module *to = load(e, n, m);
            fe_value *v = to ? fe_new_value(e, FV_MODULE) : fe_poison(e);
            v->module = to;
            fe_bind(e, n->name2 ? n->name2 : basename_of(e, n->name), v, NULL, false, n->span);
            break;
        }
        case AST_CONST:
            for (uint32_t k = 0; k < n->nkids; k++) {
                const ast *b = n->kid[k];
                for (uint32_t j = 0; b->kind == AST_BIND && j < b->nnames; j++) {
                    fe_binding *g = fe_bind(e, b->names[j], NULL, NULL, false, b->names_span[j]);
                    if (fe_broken(b)) g->value = fe_poison(e);
                    else g->lazy = b;
                }
            }
            break;
        case AST_FN: item(e, m, n, FV_FN); break;
        case AST_STRUCT: item(e, m, n, FV_STRUCT_TYPE); break;
        case AST_KERNEL: item(e, m, n, FV_KERNEL); break;
        default: break;
        }
    }
    e->scope = old;
}

static fe_module *add(fe_eval *e, uint32_t file, const char *path) {
    fe_module *m = vm_new(e->arena, fe_module);
    m->file = file;
    m->path = path;
    m->tree = fe_parse(e->comp, file);
    vm_push(e->arena, &e->modules, m);
    declare(e, m);
    return m;
}

static fe_module *load(fe_eval *e, const ast *imp, const fe_module *from) {
    for (uint32_t i = 0; i < e->modules.n; i++)
        if (!strcmp(e->modules.at[i]->path, imp->name)) return e->modules.at[i];
    size_t size = 0;
    const char *text = e->opt.load ? e->opt.load(e->opt.load_user, e->comp, from->path, imp->name, &size) : NULL;
    if (!text) {
        vm_report(e->comp, D_E0313, imp->span, "cannot find '%s'", imp->name);
        return NULL;
    }
    return add(e, vm_source_add(e->comp, imp->name, text, size), imp->name);
}

fe_module *fe_import(fe_eval *e, const char *path, vm_span at) {
    const ast imp = {.name = path, .span = at};
    return load(e, &imp, e->modules.at[0]);
}

fe_module *fe_load_main(fe_eval *e, uint32_t file) {
    const vm_source *s = vm_source_at(e->comp, file);
    fe_module *m = add(e, file, s ? s->name : "");
    e->scope = m->globals;
    return m;
}
