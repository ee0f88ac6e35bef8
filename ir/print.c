// SPDX-License-Identifier: Apache-2.0
// The text form of tile IR. Values are numbered in order of appearance; a name hint is printed bare
// at its first use in a function and with the number after it when another value has it too, so that
// reading the text gives the hints back and printing again gives the same text.
#include "ir/ir.h"

#include <inttypes.h>
#include <string.h>

typedef struct {
    vm_text t;
    vm_arena *arena;
    const char **name;      // by value id: text after %
    uint32_t nnames, count; // count: values seen
    const char **taken;     // open-addressed set of bare names
    uint32_t cap, used;
} printer;

static uint32_t hash(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static bool take(printer *p, const char *name) { // false: taken already
    if (p->used * 2 >= p->cap) {
        const char **old = p->taken;
        const uint32_t n = p->cap;
        p->cap = n ? n * 2 : 64;
        p->taken = vm_newn(p->arena, const char *, p->cap);
        p->used = 0;
        for (uint32_t i = 0; i < n; i++)
            if (old[i]) take(p, old[i]);
    }
    uint32_t i = hash(name) & (p->cap - 1);
    for (; p->taken[i]; i = (i + 1) & (p->cap - 1))
        if (strcmp(p->taken[i], name) == 0) return false;
    p->taken[i] = name;
    p->used++;
    return true;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static const char *clean(printer *p, const char *hint) {
    if (!hint || !*hint) return NULL;
    char *s = vm_format(p->arena, "%s%s", is_letter(*hint) ? "" : "_", hint);
    for (char *c = s; *c; c++)
        if (!is_letter(*c) && !(*c >= '0' && *c <= '9')) *c = '_';
    return s;
}

static void define(printer *p, const ir_value *v) {
    const uint32_t number = p->count++;
    if (v->id >= p->nnames || p->name[v->id]) return;
    const char *hint = clean(p, v->name);
    p->name[v->id] = !hint          ? vm_format(p->arena, "%u", number)
                     : take(p, hint) ? hint
                                     : vm_format(p->arena, "%s.%u", hint, number);
}

static const char *name_of(const printer *p, const ir_value *v) {
    return v && v->id < p->nnames && p->name[v->id] ? p->name[v->id] : "undefined";
}

static void put_dims(vm_text *t, const ir_type *y) {
    vm_put(t, "[");
    for (int d = 0; d < y->rank; d++) {
        if (y->dim[d] < 0) vm_put(t, "%s?", d ? ", " : "");
        else vm_put(t, "%s%" PRId64, d ? ", " : "", y->dim[d]);
    }
    vm_put(t, "]");
}

static void put_type(vm_text *t, const ir_type *y) {
    if (y->inflight) vm_put(t, "inflight ");
    switch (y->space) {
    case IS_NONE:
        vm_put(t, "none");
        return;
    case IS_SCALAR:
        vm_put(t, "%s", vm_dtype_name(y->elem));
        return;
    case IS_PTR:
        vm_put(t, "ptr %s", vm_dtype_name(y->elem));
        return;
    case IS_BARRIER:
        vm_put(t, "barrier");
        if (y->rank) put_dims(t, y);
        return;
    case IS_REG:
        vm_put(t, "reg ");
        break;
    case IS_SHARED:
        vm_put(t, "shared ");
        break;
    case IS_GLOBAL:
        vm_put(t, "global ");
        break;
    }
    vm_put(t, "%s", vm_dtype_name(y->elem));
    put_dims(t, y);
    if (y->space == IS_REG && y->reg) vm_put(t, " @ %s", layout_text(t->arena, y->reg));
    if (y->space == IS_SHARED && y->shared) vm_put(t, " @ %s", shared_text(t->arena, y->shared));
}

char *ir_type_text(vm_arena *a, const ir_type *t) {
    vm_text x = {.arena = a};
    put_type(&x, t);
    return vm_text_end(&x);
}

static void put_string(vm_text *t, const char *s) {
    vm_put(t, "\"");
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') vm_put(t, "\\%c", c);
        else if (c == '\n') vm_put(t, "\\n");
        else if (c == '\t') vm_put(t, "\\t");
        else if (c < 32 || c == 127) vm_put(t, "\\x%02x", c);
        else vm_put(t, "%c", c);
    }
    vm_put(t, "\"");
}

static void put_attr(printer *p, const ir_op *op, const ir_attr *a) {
    vm_text *t = &p->t;
    vm_put(t, "%s = ", ir_attrs[a->key].name);
    switch (ir_attrs[a->key].kind) {
    case AK_INT:
        if (a->key == AT_value && op->nres && vm_is_float(op->res[0]->type.elem))
            vm_put(t, "0x%" PRIx64, (uint64_t)a->i);
        else vm_put(t, "%" PRId64, a->i);
        break;
    case AK_DTYPE:
        vm_put(t, "%s", a->i >= 0 && a->i < T_count_ ? vm_dtype_name((vm_dtype)a->i) : "bool");
        break;
    case AK_STR:
        put_string(t, a->s);
        break;
    case AK_INTS:
        vm_put(t, "[");
        for (uint32_t i = 0; i < a->n; i++) vm_put(t, "%s%d", i ? ", " : "", a->v[i]);
        vm_put(t, "]");
        break;
    case AK_LAYOUT:
        put_string(t, layout_text(p->arena, a->lay));
        break;
    }
}

static void put_indent(printer *p, int n) {
    vm_put(&p->t, "%*s", 2 * n, "");
}

static void put_region(printer *p, const ir_region *r, int depth);

static void put_op(printer *p, const ir_op *op, int depth) {
    vm_text *t = &p->t;
    put_indent(p, depth);
    for (uint32_t i = 0; i < op->nres; i++) {
        define(p, op->res[i]);
        vm_put(t, "%s%%%s", i ? ", " : "", name_of(p, op->res[i]));
    }
    vm_put(t, "%s%s", op->nres ? " = " : "", vm_insts[op->inst].name);
    for (uint32_t i = 0; i < op->nops; i++)
        vm_put(t, "%s%%%s", i ? ", " : " ", name_of(p, op->ops[i]));
    for (const ir_attr *a = op->attrs; a; a = a->next) {
        vm_put(t, "%s", a == op->attrs ? " {" : ", ");
        put_attr(p, op, a);
    }
    if (op->attrs) vm_put(t, "}");
    for (uint32_t i = 0; i < op->nres; i++) {
        vm_put(t, "%s", i ? ", " : " : ");
        put_type(t, &op->res[i]->type);
        if (op->res[i]->pinned) vm_put(t, " !pinned");
    }
    for (uint32_t i = 0; i < op->nregions; i++) {
        vm_put(t, " ");
        put_region(p, op->regions[i], depth);
    }
    vm_put(t, "\n");
}

static void put_region(printer *p, const ir_region *r, int depth) {
    vm_put(&p->t, "{\n");
    if (r->nargs) {
        put_indent(p, depth + 1);
        for (uint32_t i = 0; i < r->nargs; i++) {
            define(p, r->args[i]);
            vm_put(&p->t, "%s%%%s: ", i ? ", " : "(", name_of(p, r->args[i]));
            put_type(&p->t, &r->args[i]->type);
            if (r->args[i]->pinned) vm_put(&p->t, " !pinned");
        }
        vm_put(&p->t, "):\n");
    }
    for (const ir_op *op = r->first; op; op = op->next) put_op(p, op, depth + 1);
    put_indent(p, depth);
    vm_put(&p->t, "}");
}

static void put_func(printer *p, const ir_func *f) {
    p->nnames = f->next_id;
    p->name = vm_newn(p->arena, const char *, f->next_id + 1);
    p->taken = NULL;
    p->count = p->cap = p->used = 0;
    vm_text *t = &p->t;
    vm_put(t, "func @%s(", f->name);
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_param *q = &f->params[i];
        define(p, q->value);
        vm_put(t, "%s%%%s: ", i ? ", " : "", name_of(p, q->value));
        put_type(t, &q->value->type);
        const char *sep = " {";
        if (q->value->type.space == IS_PTR) {
            vm_put(t, "%salign = %d", sep, q->align);
            sep = ", ";
        }
        if (q->written) {
            vm_put(t, "%swritten", sep);
            sep = ", ";
        }
        if (q->fixed) {
            vm_put(t, "%sstatic", sep);
            sep = ", ";
        }
        if (q->alias) {
            vm_put(t, "%salias", sep);
            sep = ", ";
        }
        const char *shown = clean(p, q->name);
        if (!shown || strcmp(shown, name_of(p, q->value)) != 0) {
            vm_put(t, "%sname ", sep);
            put_string(t, q->name);
            sep = ", ";
        }
        if (*sep == ',') vm_put(t, "}");
    }
    vm_put(t, ")");
    if (strcmp(f->kernel, f->name) != 0) {
        vm_put(t, " kernel ");
        put_string(t, f->kernel);
    }
    vm_put(t, " warps %d", f->warps);
    if (f->regs) vm_put(t, " regs %d", f->regs);
    if (f->dependent) vm_put(t, " dependent");
    if (f->cluster[0] != 1 || f->cluster[1] != 1 || f->cluster[2] != 1)
        vm_put(t, " cluster [%d, %d, %d]", f->cluster[0], f->cluster[1], f->cluster[2]);
    if (f->shared_bytes) vm_put(t, " smem %u", f->shared_bytes);
    if (f->has_layouts) vm_put(t, " layouts");
    if (f->relaid) vm_put(t, " relaid");
    vm_put(t, " ");
    put_region(p, f->body, 0);
    if (f->host->first) {
        vm_put(t, " host ");
        put_region(p, f->host, 0);
    }
    vm_put(t, "\n");
}

static printer printer_new(const vm_comp *c) {
    return (printer){.t = {.arena = c->arena}, .arena = c->arena};
}

char *ir_print_func(const ir_func *f) {
    printer p = printer_new(f->comp);
    put_func(&p, f);
    return vm_text_end(&p.t);
}

char *ir_print(const ir_module *m) {
    printer p = printer_new(m->comp);
    for (uint32_t i = 0; i < m->funcs.n; i++) {
        if (i) vm_put(&p.t, "\n");
        put_func(&p, m->funcs.at[i]);
    }
    return vm_text_end(&p.t);
}
