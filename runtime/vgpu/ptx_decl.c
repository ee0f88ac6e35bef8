// SPDX-License-Identifier: Apache-2.0
// Declarations: registers, variables of the state spaces with their initialisers, parameters.
#include "runtime/vgpu/ptx_internal.h"

#include <string.h>

/// What stands before a declarator.
typedef struct {
    uint8_t space, type, vector;
    uint32_t align;       // 0: of the type
} head;

/// The space that a word names, or -1.
static int space_of(const char *word) {
    static const struct {
        const char *name;
        enum ptx_space space;
    } rows[] = {{"reg", PTX_REG}, {"const", PTX_CONST}, {"global", PTX_GLOBAL}, {"local", PTX_LOCAL},
                {"param", PTX_PARAM}, {"shared", PTX_SHARED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].name, word) == 0) return (int)rows[i].space;
    return -1;
}

bool ptx_is_space(const ptx_parser *p) { return p->tok.kind == PTX_T_DOT && space_of(p->tok.name->text) >= 0; }

static uint32_t alignment(ptx_parser *p) {
    const uint32_t a = (uint32_t)ptx_need_int(p, "an alignment", 1 << 16);
    if (!a || (a & (a - 1))) ptx_fail(p, "an alignment of %u, no power of two", a);
    return a;
}

/// `.ptr` says what a pointer parameter points to: space and alignment, both unused here.
static void pointer(ptx_parser *p) {
    for (;;) {
        if (ptx_accept_dot(p, "align")) alignment(p);
        else if (ptx_is_space(p) || ptx_is_dot(p, "generic")) ptx_next(p);
        else return;
    }
}

static head declaration_head(ptx_parser *p) {
    head h = {.space = (uint8_t)space_of(p->tok.name->text), .vector = 1};
    ptx_next(p);
    while (p->tok.kind == PTX_T_DOT) {
        if (ptx_accept_dot(p, "align")) h.align = alignment(p);
        else if (ptx_accept_dot(p, "ptr")) pointer(p);
        else if (ptx_accept_dot(p, "attribute")) ptx_skip_attribute(p);
        else if (ptx_accept_dot(p, "v2")) h.vector = 2;
        else if (ptx_accept_dot(p, "v3")) h.vector = 3;
        else if (ptx_accept_dot(p, "v4")) h.vector = 4;
        else {
            const int type = ptx_type_named(p->tok.name->text, p->tok.name->n);
            if (!type) ptx_expected(p, "a type");
            if (h.type)
                ptx_fail_here(p, "two types, .%s and .%s", ptx_types[h.type].name, ptx_types[type].name);
            h.type = (uint8_t)type;
            ptx_next(p);
        }
    }
    if (!h.type) ptx_expected(p, "a type");
    const ptx_type_info *const t = &ptx_types[h.type];
    if (h.space != PTX_REG && (t->bits < 8 || t->kind == PTX_K_PRED))
        ptx_fail(p, "a variable of type .%s", t->name);
    return h;
}

// ---- registers ----------------------------------------------------------------------------------

/// One register, or one for each element of a vector.
static int32_t declare_reg(ptx_parser *p, ptx_name *name, const head *h) {
    ptx_bind *const b = ptx_declare(p, name, PTX_B_REG);
    b->index = (int32_t)p->regs.n;
    b->vector = h->vector;
    for (unsigned i = 0; i < h->vector; i++) {
        if (++p->nregs > PTX_MAX_REGS)
            ptx_fail(p, "more than %d registers in the module", PTX_MAX_REGS);
        const char *const text = h->vector == 1 ? name->text : vm_format(p->arena, "%s.%c", name->text, "xyzw"[i]);
        vm_push(p->arena, &p->regs, ((ptx_reg){text, h->type}));
    }
    return b->index;
}

static void registers(ptx_parser *p, const head *h) {
    if (!p->func) ptx_fail(p, "registers belong into functions");
    do {
        const ptx_name *const name = p->tok.name;
        ptx_name *const whole = ptx_need_name(p, "the name of a register");
        if (!ptx_accept(p, '<')) {
            declare_reg(p, whole, h);
            continue;
        }
        const uint32_t n = (uint32_t)ptx_need_int(p, "the number of registers", PTX_MAX_REGS);
        ptx_need(p, '>', "'>'");
        char *const text = vm_alloc(p->arena, name->n + 12);
        for (uint32_t i = 0; i < n; i++) {
            const int len = snprintf(text, name->n + 12, "%s%u", name->text, i);
            declare_reg(p, ptx_intern(p, text, (size_t)len), h);
        }
    } while (ptx_accept(p, ','));
}

// ---- initialisers -------------------------------------------------------------------------------

typedef struct {
    ptx_parser *p;
    const head *h;
    uint64_t dim[PTX_MAX_DIMS + 1]; // elements of each extent, the vector's last
    unsigned ndim;
    bool open;            // the first extent is counted from the initialiser
    uint8_t *bytes;
    uint64_t room, end;
    VM_VEC(struct ptx_reloc) reloc;
} init;

static uint64_t elements(const init *x, unsigned from) {
    uint64_t n = 1;
    for (unsigned i = from; i < x->ndim; i++) n *= x->dim[i];
    return n;
}

static uint64_t float_bits(ptx_parser *p, const ptx_value *v, unsigned bits) {
    if (bits == 64) {
        if (v->hex_bits == 64) return v->integer;
        uint64_t u;
        memcpy(&u, &v->real, 8);
        return u;
    }
    if (bits != 32)
        ptx_fail(p, "a float in an initialiser of %u bits; its bits must be written as an integer", bits);
    if (v->hex_bits == 32) return v->integer;
    const float f = (float)v->real;
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static void one_value(init *x, uint64_t at) {
    ptx_parser *const p = x->p;
    const ptx_value v = ptx_expression(p);
    const unsigned bits = ptx_types[x->h->type].bits, size = bits / 8;
    if (at + size > PTX_MAX_INIT) ptx_fail(p, "an initialiser beyond %d bytes", PTX_MAX_INIT);
    if (at + size > x->room) {
        const uint64_t room = at + size > 2 * x->room ? at + size + 64 : 2 * x->room;
        uint8_t *const b = vm_alloc(p->arena, room);
        if (x->room) memcpy(b, x->bytes, x->room);
        x->bytes = b;
        x->room = room;
    }
    if (at + size > x->end) x->end = at + size;
    if (v.kind == PTX_V_SYMBOL) {
        const unsigned bytes = v.mask_bytes ? v.mask_bytes : size;
        if (bytes != size || (size != 8 && size != 4 && size != 1) || (size == 1 && !v.mask_bytes))
            ptx_fail(p, "an address in an initialiser of type .%s", ptx_types[x->h->type].name);
        vm_push(p->arena, &x->reloc,
                ((struct ptx_reloc){.at = at, .symbol = v.symbol->text, .addend = (int64_t)v.integer, .generic = v.generic,
                                    .bytes = (uint8_t)bytes, .shift = v.shift}));
        return;
    }
    uint64_t u = v.integer;
    if (v.kind == PTX_V_FLOAT) u = float_bits(p, &v, bits);
    else if (ptx_types[x->h->type].kind == PTX_K_FLOAT && bits >= 32) { // an integer for a float: its value
        const ptx_value f = {.real = v.is_unsigned ? (double)v.integer : (double)(int64_t)v.integer};
        u = float_bits(p, &f, bits);
    }
    memcpy(x->bytes + at, &u, size < 8 ? size : 8); // the host is little-endian, as the device is
}

/// Values of extent `d` and those inside it, from byte `at`; braces of inner extents may be left out.
static void values(init *x, unsigned d, uint64_t at) {
    ptx_parser *const p = x->p;
    const uint64_t size = ptx_types[x->h->type].bits / 8;
    ptx_need(p, '{', "'{'");
    ptx_enter(p);
    uint64_t n = 0; // elements written or passed over
    const uint64_t inner = d + 1 < x->ndim ? elements(x, d + 1) : 1;
    while (p->tok.kind != '}') {
        if (!(d == 0 && x->open) && n >= x->dim[d] * inner)
            ptx_fail(p, "more values than elements");
        if (p->tok.kind == '{') {
            if (d + 1 >= x->ndim) ptx_fail(p, "more braces than extents");
            n = (n + inner - 1) / inner * inner;
            if (n > PTX_MAX_INIT) ptx_fail(p, "an initialiser beyond %d bytes", PTX_MAX_INIT);
            if (!(d == 0 && x->open) && n >= x->dim[d] * inner)
                ptx_fail(p, "more values than elements");
            values(x, d + 1, at + n * size);
            n += inner;
        } else {
            one_value(x, at + n * size);
            n++;
        }
        if (!ptx_accept(p, ',')) break;
    }
    ptx_need(p, '}', "'}'");
    ptx_leave(p);
    if (d == 0 && x->open) x->dim[0] = (n + inner - 1) / inner;
}

// ---- variables ----------------------------------------------------------------------------------

/// Extents behind the name, then the size; leaves `x->open` if the first is open.
static void shape(init *x, ptx_var *v) {
    ptx_parser *const p = x->p;
    while (ptx_accept(p, '[')) {
        if (x->ndim == PTX_MAX_DIMS) ptx_fail(p, "more than %d extents", PTX_MAX_DIMS);
        if (p->tok.kind == ']') {
            if (x->ndim) ptx_fail(p, "only the first extent may be open");
            x->open = true;
            x->dim[x->ndim++] = 0;
        } else {
            x->dim[x->ndim] = ptx_constant(p, "an extent", UINT32_MAX);
            if (x->ndim && !x->dim[x->ndim]) ptx_fail(p, "an extent of 0");
            x->ndim++;
        }
        ptx_need(p, ']', "']'");
    }
    if (x->h->vector > 1) x->dim[x->ndim++] = x->h->vector == 3 ? 4 : x->h->vector;
    v->unsized = x->open;
}

static void extent(init *x, ptx_var *v) {
    uint64_t n = ptx_types[v->type].bits / 8;
    for (unsigned i = 0; i < x->ndim; i++) {
        n *= i == 0 && !x->dim[0] ? 1 : x->dim[i]; // both below 2^33
        if (n > UINT32_MAX) ptx_fail(x->p, "'%.80s' is larger than 4 GiB", v->name);
    }
    v->bytes = x->ndim && !x->dim[0] ? 0 : n;
}

static ptx_var *variable(ptx_parser *p, ptx_var *v, const head *h, const char *name, bool may_init) {
    *v = (ptx_var){.name = name, .space = h->space, .type = h->type, .pos = ptx_here(p), .reg = -1};
    const unsigned vector = h->vector == 3 ? 4 : h->vector;
    v->align = h->align ? h->align : (uint32_t)ptx_types[h->type].bits / 8 * vector;
    init x = {.p = p, .h = h};
    shape(&x, v);
    extent(&x, v);
    if (may_init && ptx_accept(p, '=')) {
        if (h->space != PTX_GLOBAL && h->space != PTX_CONST)
            ptx_fail(p, "'%.80s' cannot have an initialiser", name);
        if (x.ndim) values(&x, 0, 0);
        else one_value(&x, 0);
        v->unsized = false;
        extent(&x, v);
        v->init = x.bytes;
        v->ninit = x.end;
        v->reloc = x.reloc.at;
        v->nreloc = x.reloc.n;
    }
    return v;
}

static void bind_variable(ptx_parser *p, ptx_name *name, const ptx_var *v, unsigned linkage) {
    ptx_bind *const had = name->bind;
    if (!p->func && had && had->kind == PTX_B_VAR && had->depth == p->depth) {
        // Declared before, or common or weak in several places: what has a body stays.
        if (!had->var->is_extern && !v->is_extern && !(linkage & (PTX_L_COMMON | PTX_L_WEAK)))
            ptx_fail(p, "'%.80s' is declared twice", name->text);
        if (had->var->space != v->space)
            ptx_fail(p, "'%.80s' was declared in another space", name->text);
        if (had->var->is_extern) *had->var = *v;
        return;
    }
    ptx_var *const kept = vm_dup(p->arena, v, sizeof *v);
    ptx_declare(p, name, PTX_B_VAR)->var = kept;
    if (p->func) vm_push(p->arena, &p->locals, kept);
    else vm_push(p->arena, &p->vars, kept);
}

void ptx_declaration(ptx_parser *p, unsigned linkage) {
    const head h = declaration_head(p);
    if (h.space == PTX_REG) {
        registers(p, &h);
        ptx_need(p, ';', "';'");
        return;
    }
    if (!p->func && (h.space == PTX_PARAM || h.space == PTX_LOCAL))
        ptx_fail(p, "a .%s variable outside of a function", h.space == PTX_PARAM ? "param" : "local");
    do {
        ptx_name *const name = ptx_need_name(p, "the name of a variable");
        ptx_var v;
        uint64_t times = 0;
        const bool many = p->tok.kind == '<';
        if (many) {
            ptx_next(p);
            times = ptx_need_int(p, "the number of variables", 1 << 12);
            ptx_need(p, '>', "'>'");
        }
        variable(p, &v, &h, name->text, !many);
        v.is_extern = linkage & PTX_L_EXTERN;
        if (v.unsized && !v.is_extern && v.space != PTX_PARAM)
            ptx_fail(p, "'%.80s' has no size", name->text);
        if (!many) bind_variable(p, name, &v, linkage);
        for (uint64_t i = 0; i < times; i++) {
            ptx_var copy = v;
            copy.name = vm_format(p->arena, "%s%llu", name->text, (unsigned long long)i);
            bind_variable(p, ptx_intern(p, copy.name, strlen(copy.name)), &copy, linkage);
        }
    } while (ptx_accept(p, ','));
    ptx_need(p, ';', "';'");
}

// ---- parameters ---------------------------------------------------------------------------------

ptx_var *ptx_params(ptx_parser *p, uint32_t *n) {
    VM_VEC(ptx_var) all = {0};
    ptx_need(p, '(', "'('");
    for (bool more = p->tok.kind != ')'; more; more = ptx_accept(p, ',')) {
        if (!ptx_is_space(p)) ptx_expected(p, "a parameter");
        const head h = declaration_head(p);
        if (h.space != PTX_PARAM && h.space != PTX_REG)
            ptx_fail(p, "a parameter is .param or .reg");
        const ptx_name *const name = ptx_need_name(p, "the name of a parameter");
        ptx_var v;
        if (h.space == PTX_REG) {
            if (h.vector > 1) ptx_fail(p, "a vector register as parameter");
            v = (ptx_var){.name = name->text, .space = PTX_REG, .type = h.type, .pos = ptx_here(p), .reg = -1};
            v.bytes = (ptx_types[h.type].bits + 7u) / 8;
            v.align = (uint32_t)v.bytes;
        } else variable(p, &v, &h, name->text, false);
        vm_push(p->arena, &all, v);
    }
    ptx_need(p, ')', "')'");
    *n = all.n;
    return all.at;
}

uint32_t ptx_lay_params(ptx_parser *p, ptx_var *v, uint32_t n) {
    uint64_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        at = (at + v[i].align - 1) & ~(uint64_t)(v[i].align - 1);
        v[i].address = at;
        at += v[i].bytes;
        if (at > UINT32_MAX) ptx_fail(p, "parameters of more than 4 GiB");
    }
    return (uint32_t)at;
}

void ptx_bind_params(ptx_parser *p, ptx_var *v, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(v[i].name, "_") == 0) continue;
        ptx_name *const name = ptx_intern(p, v[i].name, strlen(v[i].name));
        if (v[i].space == PTX_REG) v[i].reg = declare_reg(p, name, &(head){.type = v[i].type, .vector = 1});
        else ptx_declare(p, name, PTX_B_VAR)->var = &v[i];
    }
}
