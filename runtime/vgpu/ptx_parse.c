// SPDX-License-Identifier: Apache-2.0
// PTX text to a ptx_module: errors, tokens, names and scopes, and what stands at module level.
// Functions' bodies are read by ptx_body.c, variables by ptx_decl.c. The first error ends the parse.
#include "runtime/vgpu/ptx_internal.h"

#include <string.h>

// ---- errors and tokens --------------------------------------------------------------------------

void ptx_fail_at(ptx_parser *p, uint32_t line, const char *fmt, ...) {
    ptx_error *const e = p->error;
    e->line = line;
    const int n = line ? snprintf(e->text, sizeof e->text, "line %u: ", line) : 0;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text + n, sizeof e->text - (size_t)n, fmt, ap);
    va_end(ap);
    longjmp(p->failed, 1);
}

void ptx_expected(ptx_parser *p, const char *what) {
    const ptx_token *const t = &p->tok;
    if (t->kind == PTX_T_END) ptx_fail_here(p, "expected %s, found the end of the text", what);
    ptx_fail_here(p, "expected %s, found '%.*s'", what, t->n > 60 ? 60 : (int)t->n, t->text);
}

void ptx_next(ptx_parser *p) {
    p->last_line = p->tok.line;
    if (p->have_ahead) p->tok = p->ahead;
    else ptx_scan_token(p, &p->tok);
    p->have_ahead = false;
}

const ptx_token *ptx_peek(ptx_parser *p) {
    if (!p->have_ahead) ptx_scan_token(p, &p->ahead);
    p->have_ahead = true;
    return &p->ahead;
}

bool ptx_accept(ptx_parser *p, int kind) {
    if (p->tok.kind != kind) return false;
    ptx_next(p);
    return true;
}

void ptx_need(ptx_parser *p, int kind, const char *what) {
    if (!ptx_accept(p, kind)) ptx_expected(p, what);
}

bool ptx_is_dot(const ptx_parser *p, const char *word) {
    return p->tok.kind == PTX_T_DOT && strcmp(p->tok.name->text, word) == 0;
}

bool ptx_accept_dot(ptx_parser *p, const char *word) {
    if (!ptx_is_dot(p, word)) return false;
    ptx_next(p);
    return true;
}

ptx_name *ptx_need_name(ptx_parser *p, const char *what) {
    if (p->tok.kind != PTX_T_NAME) ptx_expected(p, what);
    ptx_name *const n = p->tok.name;
    ptx_next(p);
    return n;
}

uint64_t ptx_need_int(ptx_parser *p, const char *what, uint64_t most) {
    if (p->tok.kind != PTX_T_INT) ptx_expected(p, what);
    const uint64_t v = p->tok.integer;
    if (v > most)
        ptx_fail_here(p, "%s is %llu, at most %llu is possible", what, (unsigned long long)v, (unsigned long long)most);
    ptx_next(p);
    return v;
}

ptx_pos ptx_here(const ptx_parser *p) {
    return (ptx_pos){p->tok.line, p->tok.column, p->src_file, p->src_line};
}

void ptx_enter(ptx_parser *p) {
    if (++p->nest > PTX_MAX_NEST) ptx_fail_here(p, "nested more than %d deep", PTX_MAX_NEST);
}

void ptx_leave(ptx_parser *p) { p->nest--; }

// ---- names and scopes ---------------------------------------------------------------------------

static void rehash(ptx_parser *p) {
    const uint32_t n = p->nbucket ? 2 * p->nbucket : 1024;
    ptx_name **const b = vm_newn(p->arena, ptx_name *, n);
    for (uint32_t i = 0; i < p->nbucket; i++)
        for (ptx_name *x = p->bucket[i], *next; x; x = next) {
            next = x->next;
            x->next = b[x->hash & (n - 1)];
            b[x->hash & (n - 1)] = x;
        }
    p->bucket = b;
    p->nbucket = n;
}

ptx_name *ptx_intern(ptx_parser *p, const char *s, size_t n) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 16777619u;
    h ^= h >> 15;
    if (p->nname >= p->nbucket) rehash(p);
    ptx_name **const at = &p->bucket[h & (p->nbucket - 1)];
    for (ptx_name *x = *at; x; x = x->next)
        if (x->hash == h && x->n == n && memcmp(x->text, s, n) == 0) return x;
    ptx_name *const x = vm_new(p->arena, ptx_name);
    char *const text = vm_alloc(p->arena, n + 1);
    memcpy(text, s, n);
    *x = (ptx_name){.text = text, .n = (uint32_t)n, .hash = h, .next = *at};
    *at = x;
    p->nname++;
    return x;
}

ptx_bind *ptx_declare(ptx_parser *p, ptx_name *name, enum ptx_bind_kind kind) {
    if (name->bind && name->bind->depth == p->depth)
        ptx_fail(p, "'%.80s' is declared twice", name->text);
    ptx_bind *const b = vm_new(p->arena, ptx_bind);
    *b = (ptx_bind){.kind = (uint8_t)kind, .depth = p->depth, .name = name, .outer = name->bind};
    name->bind = b;
    vm_push(p->arena, &p->bound, b);
    return b;
}

void ptx_scope_open(ptx_parser *p) {
    p->depth++;
    if (p->depth > PTX_MAX_NEST) ptx_fail_here(p, "nested more than %d deep", PTX_MAX_NEST);
}

/// Labels may be used before they stand: what this scope knows is resolved, the rest left to the
/// scope around it.
void ptx_scope_close(ptx_parser *p, size_t bound, size_t pending) {
    size_t kept = pending;
    for (size_t i = pending; i < p->pending.n; i++) {
        const ptx_pending *const x = &p->pending.at[i];
        const ptx_bind *const b = x->name->bind;
        if (!b || b->depth != p->depth || b->kind < PTX_B_LABEL) {
            p->pending.at[kept++] = *x;
            continue;
        }
        if (x->at) {
            if (b->kind != PTX_B_LABEL)
                ptx_fail_at(p, x->pos.line, "'%.80s' is no label", x->name->text);
            *x->at = p->labels.at[b->index].at;
        } else if (b->kind == PTX_B_PROTO) {
            p->insts.at[x->inst_at].noreturn |= b->noreturn;
        } else {
            x->opnd->label = b->index;
            x->opnd->targets = b->kind == PTX_B_TARGETS;
        }
    }
    p->pending.n = (uint32_t)kept;
    while (p->bound.n > bound) {
        ptx_bind *const b = p->bound.at[--p->bound.n];
        b->name->bind = b->outer;
    }
    p->depth--;
}

static void declare_special(ptx_parser *p) {
    static const char *const names[] = {
#define PTX_SPECIAL(id, name, type, meaning) name,
#include "runtime/vgpu/special.def"
#undef PTX_SPECIAL
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ptx_declare(p, ptx_intern(p, names[i], strlen(names[i])), PTX_B_SPECIAL)->index = (int32_t)i;
}

// ---- directives of any place --------------------------------------------------------------------

/// `.loc FILE LINE COLUMN [, function_name LABEL [+ N], inlined_at FILE LINE COLUMN]`, without end.
static void loc(ptx_parser *p) {
    p->src_file = (uint32_t)ptx_need_int(p, "the number of a file", UINT32_MAX);
    p->src_line = (uint32_t)ptx_need_int(p, "a line", UINT32_MAX);
    ptx_need_int(p, "a column", UINT32_MAX);
    while (ptx_accept(p, ',')) {
        const ptx_name *const word = ptx_need_name(p, "'function_name' or 'inlined_at'");
        if (strcmp(word->text, "function_name") == 0) {
            ptx_need_name(p, "a label");
            if (ptx_accept(p, '+')) ptx_need_int(p, "an offset", UINT32_MAX);
        } else if (strcmp(word->text, "inlined_at") == 0) {
            for (int i = 0; i < 3; i++) ptx_need_int(p, "file, line and column", UINT32_MAX);
        } else ptx_fail(p, "expected 'function_name' or 'inlined_at', found '%.60s'", word->text);
    }
}

static void file(ptx_parser *p) {
    const uint32_t at = (uint32_t)ptx_need_int(p, "the number of a file", UINT16_MAX);
    if (p->tok.kind != PTX_T_STRING) ptx_expected(p, "the name of a file");
    char *const name = vm_alloc(p->arena, p->tok.n);
    memcpy(name, p->tok.text + 1, p->tok.n - 2);
    ptx_next(p);
    while (p->files.n <= at) vm_push(p->arena, &p->files, NULL);
    if (at) p->files.at[at] = name;
    for (int i = 0; i < 2 && ptx_accept(p, ','); i++) ptx_need_int(p, "time or size of a file", UINT64_MAX);
}

/// Debugging sections are data for others: skipped to the brace that closes them.
static void section(ptx_parser *p) {
    while (p->tok.kind != '{' && p->tok.kind != PTX_T_END) ptx_next(p);
    ptx_need(p, '{', "'{'");
    for (uint32_t open = 1; open;) {
        if (p->tok.kind == PTX_T_END) ptx_expected(p, "'}' of a section");
        if (p->tok.kind == '{') open++;
        if (p->tok.kind == '}') open--;
        ptx_next(p);
    }
}

bool ptx_common_directive(ptx_parser *p) {
    if (ptx_accept_dot(p, "loc")) loc(p);
    else if (ptx_accept_dot(p, "file")) file(p);
    else if (ptx_accept_dot(p, "section")) section(p);
    else if (ptx_accept_dot(p, "pragma")) {
        do ptx_need(p, PTX_T_STRING, "a string");
        while (ptx_accept(p, ','));
        ptx_need(p, ';', "';'");
    } else return false;
    return true;
}

void ptx_skip_attribute(ptx_parser *p) {
    ptx_need(p, '(', "'('");
    for (uint32_t open = 1; open; ptx_next(p)) {
        if (p->tok.kind == PTX_T_END) ptx_expected(p, "')'");
        if (p->tok.kind == '(') open++;
        if (p->tok.kind == ')') open--;
    }
}

// ---- functions ----------------------------------------------------------------------------------

/// One to three numbers; those not given are 1.
static void extents(ptx_parser *p, uint32_t out[3]) {
    for (int i = 0; i < 3; i++) out[i] = 1;
    int n = 0;
    do {
        if (n == 3) ptx_fail(p, "at most three extents");
        out[n] = (uint32_t)ptx_need_int(p, "an extent", INT32_MAX);
        if (!out[n++]) ptx_fail(p, "an extent of 0");
    } while (ptx_accept(p, ','));
}

/// What stands between a function's parameters and its body.
static bool function_directive(ptx_parser *p, ptx_func *f) {
    if (ptx_accept_dot(p, "reqntid")) extents(p, f->reqntid);
    else if (ptx_accept_dot(p, "maxntid")) extents(p, f->maxntid);
    else if (ptx_accept_dot(p, "reqnctapercluster")) extents(p, f->cluster);
    else if (ptx_accept_dot(p, "maxnreg"))
        f->maxnreg = (uint32_t)ptx_need_int(p, "a number of registers", UINT16_MAX);
    else if (ptx_accept_dot(p, "minnctapersm"))
        f->minnctapersm = (uint32_t)ptx_need_int(p, "a number of blocks", UINT16_MAX);
    else if (ptx_accept_dot(p, "maxnctapersm") || ptx_accept_dot(p, "maxclusterrank") || ptx_accept_dot(p, "abi_preserve") ||
             ptx_accept_dot(p, "abi_preserve_control"))
        ptx_need_int(p, "a number", UINT32_MAX);
    else if (ptx_accept_dot(p, "explicitcluster")) f->explicit_cluster = true;
    else if (ptx_accept_dot(p, "blocksareclusters")) f->explicit_cluster = true;
    else if (ptx_accept_dot(p, "noreturn")) f->noreturn = true;
    else return ptx_common_directive(p);
    return true;
}

/// Behind `.entry` or `.func`. A function may be declared any number of times before its body.
static void function(ptx_parser *p, bool is_entry) {
    const ptx_pos pos = ptx_here(p);
    p->src_file = p->src_line = 0;
    if (!is_entry && ptx_accept_dot(p, "attribute")) ptx_skip_attribute(p);
    ptx_var *ret = NULL, *param = NULL;
    uint32_t nret = 0, nparam = 0;
    if (!is_entry && p->tok.kind == '(') ret = ptx_params(p, &nret);
    if (p->tok.kind != PTX_T_NAME) ptx_expected(p, "the name of a function");
    ptx_name *const name = p->tok.name;
    ptx_func *f;
    if (name->bind) {
        if (name->bind->kind != PTX_B_FUNC || name->bind->func->is_entry != is_entry || !name->bind->func->is_extern)
            ptx_fail_here(p, "'%.80s' is declared twice", name->text);
        f = name->bind->func;
    } else {
        f = vm_new(p->arena, ptx_func);
        *f = (ptx_func){.name = name->text, .is_entry = is_entry, .is_extern = true};
        ptx_declare(p, name, PTX_B_FUNC)->func = f;
        vm_push(p->arena, &p->funcs, f);
    }
    ptx_next(p);
    if (p->tok.kind == '(') param = ptx_params(p, &nparam);
    f->pos = pos;
    f->param = param;
    f->nparam = nparam;
    f->ret = ret;
    f->nret = nret;
    f->param_bytes = ptx_lay_params(p, param, nparam);
    ptx_lay_params(p, ret, nret);
    while (function_directive(p, f)) continue;
    if (p->tok.kind == '{') ptx_body(p, f);
    else ptx_need(p, ';', "'{' or ';'");
}

// ---- the module ---------------------------------------------------------------------------------

static void version(ptx_parser *p) {
    if (p->tok.kind != PTX_T_FLOAT || p->tok.hex_bits) ptx_expected(p, "a version, like 8.3");
    const double v = p->tok.real * 10 + 0.5;
    if (!(v >= 10 && v < 1000)) ptx_expected(p, "a version, like 8.3");
    p->module->version = (uint32_t)v;
    ptx_next(p);
}

static void module_statement(ptx_parser *p) {
    if (ptx_common_directive(p) || ptx_accept(p, ';')) return;
    if (ptx_accept_dot(p, "version")) {
        version(p);
        return;
    }
    if (ptx_accept_dot(p, "target")) {
        p->module->target = ptx_need_name(p, "a target, like sm_90a")->text;
        while (ptx_accept(p, ',')) ptx_need_name(p, "an option of the target");
        return;
    }
    if (ptx_accept_dot(p, "address_size")) {
        p->module->address_size = (uint32_t)ptx_need_int(p, "the size of addresses", 64);
        if (p->module->address_size != 64)
            ptx_fail(p, "addresses of %u bits; only 64 are known", p->module->address_size);
        return;
    }
    if (ptx_accept_dot(p, "alias")) {
        ptx_name *const name = ptx_need_name(p, "the alias");
        ptx_need(p, ',', "','");
        const ptx_name *const of = ptx_need_name(p, "a function");
        if (!of->bind || of->bind->kind != PTX_B_FUNC)
            ptx_fail(p, "'%.80s' is no function", of->text);
        if (name->bind && name->bind->kind == PTX_B_FUNC) name->bind->func->alias = of->bind->func;
        else ptx_fail(p, "the alias '%.80s' is not declared", name->text);
        ptx_need(p, ';', "';'");
        return;
    }
    unsigned linkage = 0;
    for (;;) {
        if (ptx_accept_dot(p, "extern")) linkage |= PTX_L_EXTERN;
        else if (ptx_accept_dot(p, "visible")) linkage |= PTX_L_VISIBLE;
        else if (ptx_accept_dot(p, "weak")) linkage |= PTX_L_WEAK;
        else if (ptx_accept_dot(p, "common")) linkage |= PTX_L_COMMON;
        else break;
    }
    if (ptx_accept_dot(p, "entry")) function(p, true);
    else if (ptx_accept_dot(p, "func")) function(p, false);
    else if (ptx_is_space(p)) ptx_declaration(p, linkage);
    else ptx_expected(p, "a directive, a variable or a function");
}

/// Initialisers may name what comes later.
static void resolve_initialisers(ptx_parser *p, ptx_var *const *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < v[i]->nreloc; k++) {
            struct ptx_reloc *const r = &v[i]->reloc[k];
            if (r->var || r->func) continue;
            const ptx_bind *const b = ptx_intern(p, r->symbol, strlen(r->symbol))->bind;
            if (b && b->kind == PTX_B_VAR) r->var = b->var;
            else if (b && b->kind == PTX_B_FUNC) r->func = b->func;
            else
                ptx_fail_at(p, v[i]->pos.line, "nothing is named '%.80s', in the initialiser of '%.80s'", r->symbol, v[i]->name);
        }
}

static void module(ptx_parser *p) {
    declare_special(p);
    p->depth = 1;
    vm_push(p->arena, &p->files, NULL);
    ptx_next(p);
    while (p->tok.kind != PTX_T_END) module_statement(p);
    ptx_module *const m = p->module;
    if (!m->version) ptx_fail_here(p, "there is no .version");
    if (!m->target) ptx_fail_here(p, "there is no .target");
    resolve_initialisers(p, p->vars.at, p->vars.n);
    for (uint32_t i = 0; i < p->funcs.n; i++) resolve_initialisers(p, p->funcs.at[i]->local, p->funcs.at[i]->nlocal);
    m->var = p->vars.at;
    m->nvar = p->vars.n;
    m->func = p->funcs.at;
    m->nfunc = p->funcs.n;
    m->file = p->files.at;
    m->nfile = p->files.n;
}

ptx_module *ptx_parse(vm_arena *a, const char *text, size_t size, ptx_error *e) {
    *e = (ptx_error){0};
    ptx_parser *const p = vm_new(a, ptx_parser);
    p->arena = a;
    p->error = e;
    p->line = 1;
    if (setjmp(p->failed)) return NULL;
    if (size >= UINT32_MAX / 2) ptx_fail_at(p, 0, "the text is larger than 2 GiB");
    p->text = vm_alloc(a, size + 2); // flex wants two NUL behind it, and writes into it
    memcpy(p->text, text, size);
    p->size = size;
    p->module = vm_new(a, ptx_module);
    *p->module = (ptx_module){.address_size = 64, .arena = a};
    ptx_scan_open(p);
    module(p);
    return p->module;
}
