// SPDX-License-Identifier: Apache-2.0
// What the grammar of IR text builds: functions, values by name, operations, types. Reading ends at
// the first error; a function that reads well is then judged by the verifier.
#include "ir/text.h"
#include "text_gen.h"

#include <stdarg.h>
#include <string.h>

int ir_text_error(ir_text *p, vm_span at, const char *fmt, ...) {
    if (p->failed) return 0;
    va_list ap;
    va_start(ap, fmt);
    vm_report(p->comp, D_E0801, at, "%s", vm_vformat(p->arena, fmt, ap));
    va_end(ap);
    p->failed = true;
    return 0;
}

// Names are interned: equal names are equal pointers. The hash is of the text, to be the same always.
static uint32_t hash(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static ir_text_sym *find(ir_text *p, const char *name) {
    uint32_t i = hash(name) & (p->cap - 1);
    while (p->syms[i].name && p->syms[i].name != name) i = (i + 1) & (p->cap - 1);
    return &p->syms[i];
}

static int define(ir_text *p, vm_span at, const char *name, ir_value *v) {
    if (p->used * 2 >= p->cap) {
        ir_text_sym *old = p->syms;
        const uint32_t n = p->cap;
        p->cap = n ? n * 2 : 64;
        p->syms = vm_newn(p->arena, ir_text_sym, p->cap);
        for (uint32_t i = 0; i < n; i++)
            if (old[i].name) *find(p, old[i].name) = old[i];
    }
    ir_text_sym *s = find(p, name);
    if (s->name) return ir_text_error(p, at, "value %%%s is defined twice", name);
    *s = (ir_text_sym){name, v};
    p->used++;
    v->span = at;
    const char *dot = strchr(name, '.');
    if (!(name[0] >= '0' && name[0] <= '9'))
        v->name = dot ? vm_internn(p->comp, name, (size_t)(dot - name)) : name;
    return 1;
}

int ir_text_func(ir_text *p, vm_span at, const char *name) {
    p->func = ir_func_new(p->module, name, at);
    p->region = p->func->body;
    p->op = NULL;
    p->depth = 0;
    p->cap = p->used = 0;
    p->syms = NULL;
    return 1;
}

int ir_text_option(ir_text *p, vm_span at, const char *name, char kind, int64_t i, const char *s) {
    ir_func *f = p->func;
    const bool number = kind == 'i' && i >= 0 && i <= INT32_MAX;
    if (strcmp(name, "warps") == 0 && number) f->warps = (int)i;
    else if (strcmp(name, "regs") == 0 && number) f->regs = (int)i;
    else if (strcmp(name, "smem") == 0 && number) f->shared_bytes = (uint32_t)i;
    else if (strcmp(name, "kernel") == 0 && kind == 's') f->kernel = s;
    else if (strcmp(name, "layouts") == 0 && kind == 'n') f->has_layouts = true;
    else if (strcmp(name, "relaid") == 0 && kind == 'n') f->relaid = true;
    else if (strcmp(name, "dependent") == 0 && kind == 'n') f->dependent = true;
    else if (strcmp(name, "cluster") == 0 && kind == 'v' && p->ints.n == 3) {
        for (int d = 0; d < 3; d++) {
            if (p->ints.at[d] < 1 || p->ints.at[d] > 1024)
                return ir_text_error(p, at, "cluster extent out of range");
            f->cluster[d] = (int)p->ints.at[d];
        }
    } else return ir_text_error(p, at, "unknown function attribute '%s'", name);
    return 1;
}

int ir_text_param(ir_text *p, vm_span at, const char *name, const ir_type *t) {
    const char *dot = strchr(name, '.');
    ir_value *v = ir_param_add(p->func, dot ? vm_internn(p->comp, name, (size_t)(dot - name)) : name, *t, at);
    if (t->space != IS_SCALAR && t->space != IS_PTR)
        return ir_text_error(p, at, "a parameter is a scalar or a pointer");
    return define(p, at, name, v);
}

int ir_text_param_option(ir_text *p, vm_span at, const char *name, int64_t i, const char *s) {
    ir_param *q = &p->func->params[p->func->nparams - 1];
    if (strcmp(name, "align") == 0 && i >= 1 && i <= 1 << 20) q->align = (int)i;
    else if (strcmp(name, "written") == 0 && !s) q->written = true;
    else if (strcmp(name, "alias") == 0 && !s) q->alias = true;
    else if (strcmp(name, "static") == 0 && !s) q->fixed = true;
    else if (strcmp(name, "name") == 0 && s) q->name = q->value->name = s;
    else return ir_text_error(p, at, "unknown parameter attribute '%s'", name);
    return 1;
}

int ir_text_host(ir_text *p, vm_span at, const char *word) {
    if (strcmp(word, "host") != 0) return ir_text_error(p, at, "expected 'host' or 'func'");
    p->region = p->func->host;
    p->op = NULL;
    return 1;
}

int ir_text_operand(ir_text *p, vm_span at, const char *name) {
    const ir_text_sym *s = p->cap ? find(p, name) : NULL;
    if (!s || !s->name) return ir_text_error(p, at, "value %%%s is not defined", name);
    vm_push(p->arena, &p->operands, s->value);
    return 1;
}

int ir_text_attr(ir_text *p, vm_span at, const char *name, char kind, int64_t i, const char *s) {
    int key = 0;
    while (key < AT_count_ && strcmp(ir_attrs[key].name, name) != 0) key++;
    if (key == AT_count_) return ir_text_error(p, at, "unknown attribute '%s'", name);
    ir_attr *a = vm_new(p->arena, ir_attr);
    a->key = (enum ir_attr_key)key;
    const enum ir_attr_kind want = ir_attrs[key].kind;
    vm_dtype t;
    if (want == AK_INT && kind == 'i') a->i = i;
    else if (want == AK_STR && kind == 's') a->s = s;
    else if (want == AK_DTYPE && kind == 'd' && vm_dtype_find(s, &t)) a->i = t;
    else if (want == AK_INTS && kind == 'v') {
        int32_t *v = vm_newn(p->arena, int32_t, p->ints.n + 1);
        for (uint32_t k = 0; k < p->ints.n; k++) {
            if (p->ints.at[k] < INT32_MIN || p->ints.at[k] > INT32_MAX)
                return ir_text_error(p, at, "number does not fit 32 bits");
            v[k] = (int32_t)p->ints.at[k];
        }
        a->n = p->ints.n;
        a->v = v;
    } else if (want == AK_LAYOUT && kind == 's') {
        const layout *l = NULL;
        const shared_layout *sh = NULL;
        const char *why = "malformed";
        size_t where = 0;
        if (!layout_parse(p->arena, s, &l, &sh, &why, &where) || !l)
            return ir_text_error(p, at, "layout: %s", why);
        a->lay = l;
    } else return ir_text_error(p, at, "attribute '%s' has a value of another kind", name);
    ir_attr **q = &p->attrs;
    while (*q && (*q)->key < a->key) q = &(*q)->next;
    if (*q && (*q)->key == a->key) return ir_text_error(p, at, "attribute '%s' stands twice", name);
    a->next = *q;
    *q = a;
    return 1;
}

int ir_text_op(ir_text *p, vm_span at, const char *name) {
    vm_inst inst;
    if (!vm_inst_find(name, &inst)) return ir_text_error(p, at, "unknown instruction '%s'", name);
    if (p->names.n != p->types.n)
        return ir_text_error(p, at, "%u results, but %u types", p->names.n, p->types.n);
    ir_builder b = {p->func, p->region, NULL, at};
    ir_op *op = ir_emit(&b, inst, p->operands.n, p->operands.at, p->types.n, p->types.at);
    op->attrs = p->attrs;
    for (uint32_t i = 0; i < p->names.n; i++) {
        op->res[i]->pinned = p->pinned.at[i];
        if (p->pinned.at[i]) op->res[i]->why = WHY_PINNED;
        if (!define(p, at, p->names.at[i], op->res[i])) return 0;
    }
    p->names.n = p->operands.n = p->types.n = p->pinned.n = 0;
    p->attrs = NULL;
    p->op = op;
    return 1;
}

int ir_text_open(ir_text *p, vm_span at) {
    if (++p->depth > IR_MAX_NESTING) return ir_text_error(p, at, "regions nested too deeply");
    ir_region *r = ir_region_new(p->func, p->op);
    ir_add_region(p->op, r);
    p->region = r;
    return 1;
}

void ir_text_close(ir_text *p) {
    p->depth--;
    p->op = p->region->parent;
    p->region = p->op->parent;
}

int ir_text_arg(ir_text *p, vm_span at, const char *name, const ir_type *t, bool pinned) {
    ir_value *v = ir_region_arg(p->region, *t, NULL);
    v->pinned = pinned;
    if (pinned) v->why = WHY_PINNED;
    return define(p, at, name, v);
}

int ir_text_type(ir_text *p, vm_span at, ir_type *t, enum ir_space s, const char *elem, bool tile,
                 const char *text) {
    *t = (ir_type){.space = s};
    if (elem && !vm_dtype_find(elem, &t->elem)) return ir_text_error(p, at, "no type '%s'", elem);
    if (!tile) return 1;
    if (p->ints.n > LAYOUT_MAX_RANK) return ir_text_error(p, at, "more than 8 dimensions");
    t->rank = (uint8_t)p->ints.n;
    for (uint32_t d = 0; d < p->ints.n; d++) t->dim[d] = p->ints.at[d];
    if (!text) return 1;
    const layout *l = NULL;
    const shared_layout *sh = NULL;
    const char *why = "malformed";
    size_t where = 0;
    if (!layout_parse(p->arena, text, &l, &sh, &why, &where))
        return ir_text_error(p, at, "layout: %s", why);
    if (s == IS_REG && l) t->reg = l;
    else if (s == IS_SHARED && sh) t->shared = sh;
    else return ir_text_error(p, at, "a layout of the other kind");
    return 1;
}

int ir_text_yyparse(ir_text *p);

ir_module *ir_parse(vm_comp *c, uint32_t file) {
    ir_text p = {.comp = c, .arena = c->arena, .src = vm_source_at(c, file), .file = file};
    if (!p.src) return NULL;
    p.module = ir_module_new(c, NULL);
    if (ir_text_yyparse(&p) != 0 || p.failed) {
        ir_text_error(&p, VM_NOWHERE, "the text cannot be read");
        return NULL;
    }
    for (uint32_t i = 0; i < p.module->funcs.n; i++) {
        const char *why = "";
        if (ir_verify(p.module->funcs.at[i], &why)) continue;
        vm_report(c, D_E0801, p.module->funcs.at[i]->span, "function @%s: %s",
                  p.module->funcs.at[i]->name, why);
        return NULL;
    }
    return p.module;
}
