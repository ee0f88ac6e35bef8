// SPDX-License-Identifier: Apache-2.0
// Names of PTX types, functions by name, and instructions as text for reports.
#include "runtime/vgpu/ptx.h"

#include <inttypes.h>
#include <string.h>

const ptx_type_info ptx_types[PTX_type_count_] = {
#define PTX_TYPE(name, bits, kind) [PTX_##name] = {#name, bits, kind},
#include "runtime/vgpu/types.def"
#undef PTX_TYPE
};

int ptx_type_named(const char *name, size_t n) {
    for (int i = PTX_NONE + 1; i < PTX_type_count_; i++)
        if (strlen(ptx_types[i].name) == n && memcmp(ptx_types[i].name, name, n) == 0) return i;
    return PTX_NONE;
}

ptx_func *ptx_function(const ptx_module *m, const char *name) {
    for (uint32_t i = 0; i < m->nfunc; i++)
        if (strcmp(m->func[i]->name, name) == 0) return m->func[i];
    return NULL;
}

/// Text that is cut where `out` ends.
typedef struct {
    char *at;
    size_t left;
} output;

static void put(output *o, const char *fmt, ...) VM_PRINTF(2, 3);
static void put(output *o, const char *fmt, ...) {
    if (o->left < 2) return;
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(o->at, o->left, fmt, ap);
    va_end(ap);
    const size_t took = n < 0 ? 0 : (size_t)n < o->left ? (size_t)n : o->left - 1;
    o->at += took;
    o->left -= took;
}

static void put_operand(output *o, const ptx_func *f, const ptx_opnd *x);

static void put_list(output *o, const ptx_func *f, const ptx_opnd *x, uint32_t n, const char *between) {
    for (uint32_t i = 0; i < n; i++) {
        if (i) put(o, "%s", between);
        put_operand(o, f, &x[i]);
    }
}

static void put_operand(output *o, const ptx_func *f, const ptx_opnd *x) {
    static const char *const special[] = {
#define PTX_SPECIAL(id, name, type, meaning) name,
#include "runtime/vgpu/special.def"
#undef PTX_SPECIAL
    };
    static const char *const part[] = {".b0", ".b1", ".b2", ".b3", ".h0", ".h1"};
    switch (x->kind) {
    case PTX_O_REG:
        if (x->negated) put(o, "%c", f->reg[x->reg].type == PTX_pred ? '!' : '-');
        put(o, "%s%s", f->reg[x->reg].name, x->part >= 0 ? part[x->part] : "");
        break;
    case PTX_O_INT: put(o, "%" PRId64, x->integer); break;
    case PTX_O_FLOAT:
        if (x->hex_bits == 32) put(o, "0f%08" PRIX64, (uint64_t)x->integer);
        else if (x->hex_bits == 64) put(o, "0d%016" PRIX64, (uint64_t)x->integer);
        else put(o, "%.17g", x->real);
        break;
    case PTX_O_SPECIAL: put(o, "%s", special[x->special]); break;
    case PTX_O_SYMBOL:
        put(o, "%s", x->symbol);
        if (x->integer) put(o, "%+" PRId64, x->integer);
        break;
    case PTX_O_ADDRESS:
        put(o, "[");
        if (x->reg >= 0) put(o, "%s", f->reg[x->reg].name);
        else if (x->symbol) put(o, "%s", x->symbol);
        if (x->reg < 0 && !x->symbol) put(o, "%" PRId64, x->integer);
        else if (x->integer) put(o, "%+" PRId64, x->integer);
        if (x->nlist) {
            put(o, ", {");
            put_list(o, f, x->list, x->nlist, ", ");
            put(o, "}");
        }
        put(o, "]");
        break;
    case PTX_O_LIST:
        put(o, "{");
        put_list(o, f, x->list, x->nlist, ", ");
        put(o, "}");
        break;
    case PTX_O_PAIR: put_list(o, f, x->list, x->nlist, "|"); break;
    case PTX_O_SINK: put(o, "_"); break;
    default: break;
    }
}

void ptx_inst_text(const ptx_func *f, const ptx_inst *i, char *out, size_t size) {
    output o = {out, size};
    if (size) *out = 0;
    if (i->guard >= 0) put(&o, "@%s%s ", i->guard_not ? "!" : "", f->reg[i->guard].name);
    put(&o, "%s", i->op);
    for (uint32_t k = 0; k < i->nmod; k++) put(&o, ".%s", i->mod[k]);
    const char *between = " ";
    if (i->nresult) {
        put(&o, " (");
        put_list(&o, f, i->result, i->nresult, ", ");
        put(&o, ")");
        between = ", ";
    }
    if (i->nopnd) put(&o, "%s", between);
    const uint32_t first = i->narg && i->nopnd > 1 ? 1 : i->nopnd; // a prototype stands behind the arguments
    put_list(&o, f, i->opnd, first, ", ");
    if (i->narg) {
        put(&o, ", (");
        put_list(&o, f, i->arg, i->narg, ", ");
        put(&o, ")");
    }
    if (first < i->nopnd) {
        put(&o, ", ");
        put_list(&o, f, i->opnd + first, i->nopnd - first, ", ");
    }
}
