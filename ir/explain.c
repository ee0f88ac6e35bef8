// SPDX-License-Identifier: Apache-2.0
// `--emit=layout`: every tile of a function, its layout, who decided it, and its grid.
#include "ir/infer.h"

static const char *const why_text[] = {
    [WHY_NONE] = "-",          [WHY_DEFAULT] = "default", [WHY_MEMORY] = "memory",  [WHY_VIEW] = "view",
    [WHY_CARRIED] = "derived", [WHY_TENSOR_CORE] = "tensor core", [WHY_PINNED] = "@",
};

typedef struct {
    vm_arena *arena;
    vm_comp *comp;
    vm_text text;
} printer;

static void tile(printer *p, const ir_value *v) {
    if (!is_tile(v) || !v->type.reg) return;
    vm_put(&p->text, "%s: %s", v->name ? v->name : vm_format(p->arena, "%%%u", v->id), vm_dtype_name(v->type.elem));
    for (int d = 0; d < v->type.rank; d++) vm_put(&p->text, d ? ", %lld" : "[%lld", (long long)v->type.dim[d]);
    vm_put(&p->text, "]  %s\n  by %s", layout_text(p->arena, v->type.reg), why_text[v->why]);
    if (v->reason) vm_put(&p->text, ": %s", v->reason);
    if (v->span.file) vm_put(&p->text, "  (%s)", vm_place(p->comp, v->span));
    vm_put(&p->text, "\n");
    if (v->name && v->type.rank <= 2 && ir_elems(&v->type) <= 4096) vm_put(&p->text, "%s", layout_grid(p->arena, v->type.reg));
}

static void region(printer *p, const ir_region *r) {
    for (uint32_t i = 0; i < r->nargs; i++) tile(p, r->args[i]);
    for (const ir_op *o = r->first; o; o = o->next) {
        for (uint32_t i = 0; i < o->nres; i++) {
            tile(p, o->res[i]);
            if (o->inst == I_alloc_shared && o->res[i]->type.shared)
                vm_put(&p->text, "%s: shared %s  %s\n", o->res[i]->name ? o->res[i]->name : "shared",
                       vm_dtype_name(o->res[i]->type.elem), shared_text(p->arena, o->res[i]->type.shared));
        }
        for (uint32_t g = 0; g < o->nregions; g++) region(p, o->regions[g]);
    }
}

char *ir_explain(const ir_func *f) {
    printer p = {.arena = f->comp->arena, .comp = f->comp, .text = {.arena = f->comp->arena}};
    vm_put(&p.text, "%s, %d warps\n", f->name, f->warps);
    region(&p, f->body);
    return vm_text_end(&p.text);
}
