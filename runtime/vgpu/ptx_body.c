// SPDX-License-Identifier: Apache-2.0
// Bodies of functions: scopes, labels, instructions and their operands. An instruction is kept as it
// is written; only names are resolved.
#include "runtime/vgpu/ptx_internal.h"

#include <string.h>

// ---- operands -----------------------------------------------------------------------------------

static void operand(ptx_parser *p, ptx_opnd *o);

static ptx_opnd blank(enum ptx_opnd_kind kind) {
    return (ptx_opnd){.kind = (uint8_t)kind, .part = -1, .reg = -1, .label = -1};
}

/// The operands pushed since `from`, as an array of their own.
static ptx_opnd *popped(ptx_parser *p, uint32_t from, uint32_t *n) {
    *n = p->stack.n - from;
    p->stack.n = from;
    return *n ? vm_dup(p->arena, p->stack.at + from, *n * sizeof(ptx_opnd)) : NULL;
}

/// Operands up to `close`, the opening one read already.
static ptx_opnd *list(ptx_parser *p, int close, const char *what, uint32_t *n) {
    const uint32_t from = p->stack.n;
    if (p->tok.kind != close) do {
            ptx_opnd o;
            operand(p, &o);
            vm_push(p->arena, &p->stack, o);
        } while (ptx_accept(p, ','));
    ptx_need(p, close, what);
    return popped(p, from, n);
}

static const ptx_bind *reg_at(const ptx_parser *p) {
    const ptx_bind *const b = p->tok.kind == PTX_T_NAME ? p->tok.name->bind : NULL;
    return b && b->kind == PTX_B_REG ? b : NULL;
}

/// A register, an element of a vector register, all of them, or a part of one.
static ptx_opnd register_operand(ptx_parser *p) {
    const ptx_bind *const b = reg_at(p);
    ptx_next(p);
    ptx_opnd o = blank(PTX_O_REG);
    o.reg = b->index;
    if (p->tok.kind != PTX_T_DOT) {
        if (b->vector == 1) return o;
        const uint32_t from = p->stack.n;
        for (int32_t i = 0; i < b->vector; i++) {
            o.reg = b->index + i;
            vm_push(p->arena, &p->stack, o);
        }
        ptx_opnd all = blank(PTX_O_LIST);
        all.list = popped(p, from, &all.nlist);
        return all;
    }
    const char *const word = p->tok.name->text;
    if (b->vector > 1) {
        static const char names[] = "xyzwrgba";
        const char *const at = word[0] && !word[1] ? strchr(names, word[0]) : NULL;
        if (!at || (at - names) % 4 >= b->vector)
            ptx_expected(p, "an element of the vector register");
        o.reg += (int32_t)((at - names) % 4);
    } else {
        static const char *const parts[] = {"b0", "b1", "b2", "b3", "h0", "h1"};
        for (int8_t i = 0; i < 6; i++)
            if (strcmp(word, parts[i]) == 0) o.part = i;
        if (o.part < 0) ptx_expected(p, "a selector, like .b0 or .h1");
    }
    ptx_next(p);
    return o;
}

/// `%tid.x` is two tokens; NULL if it is no special register.
static const ptx_bind *special_at(ptx_parser *p) {
    if (p->tok.kind != PTX_T_NAME || p->tok.name->text[0] != '%') return NULL;
    ptx_name *name = p->tok.name;
    if (!name->bind) {
        const ptx_token *const dot = ptx_peek(p);
        char text[64];
        if (dot->kind == PTX_T_DOT && name->n + dot->n < sizeof text) {
            const int n = snprintf(text, sizeof text, "%s.%s", name->text, dot->name->text);
            name = ptx_intern(p, text, (size_t)n);
            if (name->bind && name->bind->kind == PTX_B_SPECIAL) ptx_next(p);
        }
    }
    if (!name->bind) ptx_fail_here(p, "no register is named '%.80s'", name->text);
    return name->bind->kind == PTX_B_SPECIAL ? name->bind : NULL;
}

static void symbol(ptx_parser *p, ptx_opnd *o, const ptx_value *v, bool may_come) {
    if (v->mask_bytes) ptx_fail(p, "a mask outside of an initialiser");
    const ptx_bind *const b = v->symbol->bind;
    o->symbol = v->symbol->text;
    o->integer = (int64_t)v->integer;
    if (b && b->kind == PTX_B_VAR) o->var = b->var;
    else if (b && b->kind == PTX_B_FUNC) o->func = b->func;
    else if (b && (b->kind == PTX_B_REG || b->kind == PTX_B_SPECIAL))
        ptx_fail(p, "register '%.80s' in a constant expression", o->symbol);
    else if (!may_come) ptx_fail(p, "no variable is named '%.80s'", o->symbol);
}

static ptx_opnd constant(ptx_parser *p) {
    const ptx_value v = ptx_expression(p);
    if (v.kind == PTX_V_SYMBOL) {
        ptx_opnd o = blank(PTX_O_SYMBOL);
        symbol(p, &o, &v, true);
        return o;
    }
    ptx_opnd o = blank(v.kind == PTX_V_INT ? PTX_O_INT : PTX_O_FLOAT);
    o.integer = (int64_t)v.integer;
    o.real = v.real;
    o.hex_bits = v.hex_bits;
    return o;
}

/// `[base + offset, {coordinates}]`
static ptx_opnd address(ptx_parser *p) {
    ptx_opnd o = blank(PTX_O_ADDRESS);
    ptx_next(p);
    if (reg_at(p)) {
        const ptx_opnd base = register_operand(p);
        if (base.kind != PTX_O_REG || base.part >= 0) ptx_fail(p, "a vector as address");
        o.reg = base.reg;
        if (p->tok.kind == '+' || p->tok.kind == '-') {
            if (p->tok.kind == '+') ptx_next(p); // a minus is the expression's sign
            const ptx_value v = ptx_expression(p);
            if (v.kind != PTX_V_INT) ptx_fail(p, "the offset of an address is no integer");
            o.integer = (int64_t)v.integer;
        }
    } else {
        const ptx_value v = ptx_expression(p);
        if (v.kind == PTX_V_FLOAT) ptx_fail(p, "a float as address");
        if (v.kind == PTX_V_SYMBOL) symbol(p, &o, &v, false);
        o.integer = (int64_t)v.integer;
    }
    if (ptx_accept(p, ',')) {
        uint32_t n;
        ptx_opnd *const at = list(p, ']', "']'", &n);
        const bool braced = n == 1 && at->kind == PTX_O_LIST;
        o.list = braced ? at->list : at;
        o.nlist = braced ? at->nlist : n;
    } else ptx_need(p, ']', "',' or ']'");
    return o;
}

static ptx_opnd simple(ptx_parser *p) {
    const int sign = p->tok.kind;
    if (sign == '!' || sign == '-') {
        const ptx_bind *const b = ptx_peek(p)->kind == PTX_T_NAME ? p->ahead.name->bind : NULL;
        if (!b || b->kind != PTX_B_REG) return constant(p);
        ptx_next(p);
        ptx_opnd o = register_operand(p);
        if (o.kind != PTX_O_REG) ptx_fail(p, "a negated vector");
        o.negated = true;
        return o;
    }
    if (p->tok.kind != PTX_T_NAME) return constant(p);
    if (strcmp(p->tok.name->text, "_") == 0) {
        ptx_next(p);
        return blank(PTX_O_SINK);
    }
    if (reg_at(p)) return register_operand(p);
    const ptx_bind *const special = special_at(p);
    if (!special) return constant(p);
    ptx_next(p);
    ptx_opnd o = blank(PTX_O_SPECIAL);
    o.special = special->index;
    return o;
}

static void operand(ptx_parser *p, ptx_opnd *o) {
    ptx_enter(p);
    if (p->tok.kind == '[') *o = address(p);
    else if (ptx_accept(p, '{')) {
        *o = blank(PTX_O_LIST);
        o->list = list(p, '}', "',' or '}'", &o->nlist);
    } else {
        *o = simple(p);
        if (p->tok.kind == '|' && (o->kind == PTX_O_REG || o->kind == PTX_O_SINK)) {
            ptx_next(p);
            ptx_opnd *const two = vm_newn(p->arena, ptx_opnd, 2);
            two[0] = *o;
            two[1] = simple(p);
            *o = blank(PTX_O_PAIR);
            o->list = two;
            o->nlist = 2;
        }
    }
    ptx_leave(p);
}

// ---- instructions -------------------------------------------------------------------------------

static void pend(ptx_parser *p, ptx_name *name, ptx_pos pos, uint32_t inst_at, ptx_opnd *o, uint32_t *at) {
    vm_push(p->arena, &p->pending, ((ptx_pending){.name = name, .pos = pos, .inst_at = inst_at, .opnd = o, .at = at}));
}

/// Operand arrays may name labels, which the end of a scope resolves.
static void pend_all(ptx_parser *p, ptx_inst *i, ptx_opnd *o, uint32_t n) {
    for (uint32_t k = 0; k < n; k++)
        if (o[k].kind == PTX_O_SYMBOL && !o[k].var && !o[k].func)
            pend(p, ptx_intern(p, o[k].symbol, strlen(o[k].symbol)), i->pos, p->insts.n, &o[k], NULL);
        else if (o[k].kind == PTX_O_LIST)
            pend_all(p, i, o[k].list, o[k].nlist);
}

/// `call (results), callee, (arguments), prototype`, each part but the callee optional.
static void call(ptx_parser *p, ptx_inst *i) {
    if (ptx_accept(p, '(')) {
        i->result = list(p, ')', "',' or ')'", &i->nresult);
        ptx_need(p, ',', "','");
    }
    const uint32_t from = p->stack.n;
    ptx_opnd callee = simple(p);
    if (callee.kind == PTX_O_SYMBOL && !callee.func)
        ptx_fail(p, "function '%.80s' is not declared", callee.symbol);
    if (callee.kind != PTX_O_SYMBOL && callee.kind != PTX_O_REG)
        ptx_fail(p, "a call of neither a function nor a register");
    if (callee.func) i->noreturn = callee.func->noreturn;
    vm_push(p->arena, &p->stack, callee);
    bool more = ptx_accept(p, ',');
    if (more && ptx_accept(p, '(')) {
        i->arg = list(p, ')', "',' or ')'", &i->narg);
        more = ptx_accept(p, ',');
    }
    if (more) vm_push(p->arena, &p->stack, simple(p));
    i->opnd = popped(p, from, &i->nopnd);
}

static void guard(ptx_parser *p, ptx_inst *i) {
    i->guard_not = ptx_accept(p, '!');
    if (!reg_at(p)) ptx_expected(p, "a predicate register");
    const ptx_opnd o = register_operand(p);
    if (o.kind != PTX_O_REG || p->regs.at[o.reg].type != PTX_pred)
        ptx_fail(p, "the guard is no predicate register");
    i->guard = o.reg;
}

static void instruction(ptx_parser *p) {
    ptx_inst i = {.guard = -1, .pos = ptx_here(p)};
    if (ptx_accept(p, '@')) guard(p, &i);
    i.op = ptx_need_name(p, "an instruction, a label or a directive")->text;
    const char *mods[64];
    while (p->tok.kind == PTX_T_DOT) {
        if (i.nmod == sizeof mods / sizeof *mods)
            ptx_fail_here(p, "more than %u modifiers", i.nmod);
        mods[i.nmod++] = p->tok.name->text;
        ptx_next(p);
    }
    i.mod = vm_dup(p->arena, mods, i.nmod * sizeof *mods);
    if (strcmp(i.op, "call") == 0) {
        call(p, &i);
        ptx_need(p, ';', "';'");
    } else i.opnd = list(p, ';', "',' or ';'", &i.nopnd);
    if (strcmp(i.op, "bra") == 0 || strcmp(i.op, "brx") == 0)
        for (uint32_t k = 0; k < i.nopnd; k++) { // a label may be named as something outside is
            i.opnd[k].var = NULL;
            i.opnd[k].func = NULL;
        }
    pend_all(p, &i, i.opnd, i.nopnd);
    pend_all(p, &i, i.arg, i.narg);
    if (p->insts.n == INT32_MAX) ptx_fail(p, "too many instructions");
    vm_push(p->arena, &p->insts, i);
}

// ---- labels and scopes --------------------------------------------------------------------------

/// `name: .branchtargets A, B;`
static void branch_targets(ptx_parser *p, ptx_name *name) {
    VM_VEC(ptx_name *) all = {0};
    do vm_push(p->arena, &all, ptx_need_name(p, "a label"));
    while (ptx_accept(p, ','));
    const ptx_pos pos = ptx_here(p);
    ptx_need(p, ';', "';'");
    ptx_targets t = {.name = name->text, .nlabel = all.n};
    t.label = vm_newn(p->arena, const char *, all.n);
    t.at = vm_newn(p->arena, uint32_t, all.n);
    for (uint32_t i = 0; i < all.n; i++) {
        t.label[i] = all.at[i]->text;
        pend(p, all.at[i], pos, p->insts.n, NULL, &t.at[i]);
    }
    ptx_declare(p, name, PTX_B_TARGETS)->index = (int32_t)p->targets.n;
    vm_push(p->arena, &p->targets, t);
}

/// `name: .callprototype (results) _ (parameters) .noreturn;`
static void prototype(ptx_parser *p, ptx_name *name) {
    uint32_t n;
    if (p->tok.kind == '(') ptx_params(p, &n);
    ptx_need_name(p, "'_'");
    if (p->tok.kind == '(') ptx_params(p, &n);
    ptx_bind *const b = ptx_declare(p, name, PTX_B_PROTO);
    while (p->tok.kind == PTX_T_DOT) {
        if (ptx_accept_dot(p, "noreturn")) b->noreturn = true;
        else if (ptx_accept_dot(p, "abi_preserve") || ptx_accept_dot(p, "abi_preserve_control"))
            ptx_need_int(p, "a number", UINT32_MAX);
        else ptx_expected(p, "';'");
    }
    ptx_need(p, ';', "';'");
}

static void label(ptx_parser *p) {
    ptx_name *const name = p->tok.name;
    ptx_next(p);
    ptx_next(p);
    if (ptx_accept_dot(p, "branchtargets")) branch_targets(p, name);
    else if (ptx_accept_dot(p, "callprototype")) prototype(p, name);
    else if (ptx_accept_dot(p, "calltargets")) {
        do ptx_need_name(p, "a function");
        while (ptx_accept(p, ','));
        ptx_need(p, ';', "';'");
        ptx_declare(p, name, PTX_B_PROTO);
    } else {
        ptx_declare(p, name, PTX_B_LABEL)->index = (int32_t)p->labels.n;
        vm_push(p->arena, &p->labels, ((ptx_label){name->text, p->insts.n}));
    }
}

static void scope(ptx_parser *p);

static void statement(ptx_parser *p) {
    if (ptx_accept(p, ';')) return;
    if (p->tok.kind == '{') {
        const size_t bound = p->bound.n, pending = p->pending.n;
        ptx_scope_open(p);
        scope(p);
        ptx_scope_close(p, bound, pending);
    } else if (p->tok.kind == PTX_T_DOT) {
        unsigned linkage = 0;
        if (ptx_common_directive(p)) return;
        if (ptx_accept_dot(p, "extern")) linkage = PTX_L_EXTERN;
        if (!ptx_is_space(p)) ptx_expected(p, "a declaration or an instruction");
        ptx_declaration(p, linkage);
    } else if (p->tok.kind == PTX_T_NAME && ptx_peek(p)->kind == ':') label(p);
    else if (p->tok.kind == PTX_T_NAME || p->tok.kind == '@') instruction(p);
    else ptx_expected(p, "an instruction, a label or '}'");
}

static void scope(ptx_parser *p) {
    ptx_need(p, '{', "'{'");
    while (p->tok.kind != '}') statement(p);
    ptx_next(p);
}

void ptx_body(ptx_parser *p, ptx_func *f) {
    p->func = f;
    f->is_extern = false;
    memset(&p->regs, 0, sizeof p->regs);
    memset(&p->locals, 0, sizeof p->locals);
    memset(&p->insts, 0, sizeof p->insts);
    memset(&p->labels, 0, sizeof p->labels);
    memset(&p->targets, 0, sizeof p->targets);
    const size_t bound = p->bound.n;
    ptx_scope_open(p);
    ptx_bind_params(p, f->ret, f->nret);
    ptx_bind_params(p, f->param, f->nparam);
    scope(p);
    ptx_scope_close(p, bound, 0);
    if (p->pending.n)
        ptx_fail_at(p, p->pending.at->pos.line, "nothing is named '%.80s'", p->pending.at->name->text);
    f->reg = p->regs.at;
    f->nreg = p->regs.n;
    f->local = p->locals.at;
    f->nlocal = p->locals.n;
    f->inst = p->insts.at;
    f->ninst = p->insts.n;
    f->label = p->labels.at;
    f->nlabel = p->labels.n;
    f->targets = p->targets.at;
    f->ntargets = p->targets.n;
    p->func = NULL;
    p->src_file = p->src_line = 0;
}
