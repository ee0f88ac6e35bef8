// SPDX-License-Identifier: Apache-2.0
// tilusc build -o K.h: PTX as a C string, and for each kernel a C function with the launch checks and
// the grid, printed from the host region. The header needs nothing but the C library.
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include "tools/tool.h"

typedef struct {
    vm_text *t;
    vm_comp *c;
    const ir_func *f;
    const char *why; // it cannot be said in C
    int depth;
    VM_VEC(const ir_op *) labels;
} out;

static void region(out *o, const ir_region *r);

/// C type of a scalar; NULL: arithmetic on it cannot be printed.
static const char *c_type(vm_dtype t) {
    switch (t) {
    case T_bool: return "uint8_t";
    case T_u8: return "uint8_t";
    case T_u16: return "uint16_t";
    case T_u32: return "uint32_t";
    case T_u64: return "uint64_t";
    case T_i8: return "int8_t";
    case T_i16: return "int16_t";
    case T_i32: return "int32_t";
    case T_i64: return "int64_t";
    case T_f32: return "float";
    case T_f64: return "double";
    default: return NULL;
    }
}
/// Type of a parameter: other types are passed as their codes.
static const char *param_type(vm_dtype t) {
    const char *const s = c_type(t);
    if (s) return s;
    const unsigned n = vm_cell(t);
    return n == 1 ? "uint8_t" : n == 2 ? "uint16_t" : n == 4 ? "uint32_t" : "uint64_t";
}

static const char *param_name(const out *o, const ir_param *p) {
    static const char *const taken[] = {"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum",
        "extern", "float", "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
        "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "out", "class", "new", "template",
        "this", "bool", "true", "false", "delete", "private", "public", "operator", "namespace", "using", "try", "throw", "catch"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!strcmp(taken[i], p->name)) return vm_format(o->c->arena, "%s_", p->name);
    // v and a number is what values are called
    if (p->name[0] == 'v' && isdigit((unsigned char)p->name[1])) return vm_format(o->c->arena, "%s_", p->name);
    return p->name;
}

static bool is_const(const ir_value *v) { return v->def && v->def->inst == I_const && c_type(v->type.elem); }

static const char *const_text(const out *o, vm_dtype t, uint64_t code) {
    vm_arena *const a = o->c->arena;
    if (t == T_f32) return vm_format(a, "%af", vm_decode(t, code));
    if (t == T_f64) return vm_format(a, "%a", vm_decode(t, code));
    if (vm_dtypes[t].kind != K_INT) return vm_format(a, "%" PRIu64 "u", code);
    const int64_t x = vm_decode_int(t, code);
    if (x == INT64_MIN) return "INT64_MIN";
    return vm_format(a, "%s%" PRId64 "%s", x < 0 ? "(" : "", x, x < 0 ? ")" : "");
}

static const char *name_of(const out *o, const ir_value *v) {
    for (uint32_t i = 0; i < o->f->nparams; i++)
        if (o->f->params[i].value == v) return param_name(o, &o->f->params[i]);
    if (is_const(v)) return const_text(o, v->type.elem, (uint64_t)ir_int(v->def, AT_value, 0));
    return vm_format(o->c->arena, "v%u", v->id);
}

static void put_string(vm_text *t, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const unsigned char ch = (unsigned char)s[i];
        if (ch == '"' || ch == '\\') vm_put(t, "\\%c", ch);
        else if (ch == '\n') vm_put(t, "\\n");
        else if (ch < 32 || ch > 126 || (ch == '?' && i && s[i - 1] == '?')) vm_put(t, "\\%03o", ch);
        else vm_put(t, "%c", ch);
    }
}

static void pad(out *o) {
    for (int i = 0; i <= o->depth; i++) vm_put(o->t, "    ");
}

static void refuse(out *o, const char *message, size_t n) {
    vm_put(o->t, "{ out->error = \"");
    put_string(o->t, message, n);
    vm_put(o->t, "\"; return -1; }\n");
}

// ---- expressions --------------------------------------------------------------------------------

/// The right side for an elementwise instruction on type t; false: not printable.
static bool expression(out *o, const ir_op *op, vm_dtype t) {
    vm_text *const x = o->t;
    const char *const a = name_of(o, op->ops[0]), *const b = op->nops > 1 ? name_of(o, op->ops[1]) : "";
    const char *const T = c_type(t);
    if (!T) return false;
    const bool flt = vm_is_float(t), sign = vm_dtypes[t].kind == K_INT;
    const unsigned w = vm_bits(t);
    const char *cmp = NULL, *arith = NULL;
    const bool safe = op->nops > 1 && is_const(op->ops[1]) && !flt && ir_int(op->ops[1]->def, AT_value, 0) > 0 && ir_int(op->ops[1]->def, AT_value, 0) <= INT8_MAX;
    switch (op->inst) {
    case I_eq: cmp = "=="; break;
    case I_ne: cmp = "!="; break;
    case I_lt: cmp = "<"; break;
    case I_le: cmp = "<="; break;
    case I_gt: cmp = ">"; break;
    case I_ge: cmp = ">="; break;
    case I_add: arith = "+"; break;
    case I_sub: arith = "-"; break;
    case I_mul: arith = "*"; break;
    case I_and: arith = "&"; break;
    case I_or: arith = "|"; break;
    case I_xor: arith = "^"; break;
    default: break;
    }
    if (cmp) vm_put(x, "(uint8_t)(%s %s %s)", a, cmp, b);
    else if (arith && flt) vm_put(x, "%s %s %s", a, arith, b);
    else if (arith) vm_put(x, "(%s)((uint64_t)%s %s (uint64_t)%s)", T, a, arith, b);
    else if (safe && op->inst == I_div) vm_put(x, "(%s)(%s / %s)", T, a, b);
    else if (safe && op->inst == I_rem) vm_put(x, "(%s)(%s %% %s)", T, a, b);
    else if (op->inst == I_div && flt) vm_put(x, "%s / %s", a, b);
    else if (op->inst == I_div && sign) vm_put(x, "(%s)(%s == 0 ? -1 : %s == -1 ? (int64_t)(0 - (uint64_t)%s) : %s / %s)", T, b, b, a, a, b);
    else if (op->inst == I_div) vm_put(x, "(%s)(%s == 0 ? UINT64_MAX : %s / %s)", T, b, a, b);
    else if (op->inst == I_rem && sign) vm_put(x, "(%s)(%s == 0 ? %s : %s == -1 ? 0 : %s %% %s)", T, b, a, b, a, b);
    else if (op->inst == I_rem && !flt) vm_put(x, "(%s)(%s == 0 ? %s : %s %% %s)", T, b, a, a, b);
    else if (op->inst == I_shl && !flt) vm_put(x, "(%s)((uint64_t)%s >= %u ? 0 : (uint64_t)%s << %s)", T, b, w, a, b);
    else if (op->inst == I_shr && sign) vm_put(x, "(%s)(%s >> ((uint64_t)%s >= %u ? %u : %s))", T, a, b, w, w - 1, b);
    else if (op->inst == I_shr && !flt) vm_put(x, "(%s)((uint64_t)%s >= %u ? 0 : %s >> %s)", T, b, w, a, b);
    else if (op->inst == I_min && !flt) vm_put(x, "%s < %s ? %s : %s", a, b, a, b);
    else if (op->inst == I_max && !flt) vm_put(x, "%s > %s ? %s : %s", a, b, a, b);
    else if (op->inst == I_neg && flt) vm_put(x, "-%s", a);
    else if (op->inst == I_neg) vm_put(x, "(%s)(0 - (uint64_t)%s)", T, a);
    else if (op->inst == I_not && t == T_bool) vm_put(x, "(uint8_t)!%s", a);
    else if (op->inst == I_not) vm_put(x, "(%s)~(uint64_t)%s", T, a);
    else if (op->inst == I_abs && sign) vm_put(x, "(%s)(%s < 0 ? 0 - (uint64_t)%s : (uint64_t)%s)", T, a, a, a);
    else if (op->inst == I_select) vm_put(x, "%s ? %s : %s", a, b, name_of(o, op->ops[2]));
    else return false;
    return true;
}

static bool cast(out *o, const ir_op *op) {
    const vm_dtype from = op->ops[0]->type.elem, to = op->res[0]->type.elem;
    if (!c_type(from) || !c_type(to) || (vm_is_float(from) && !vm_is_float(to))) return false;
    if (to == T_bool) vm_put(o->t, "(uint8_t)(%s & 1)", name_of(o, op->ops[0])); // integers wrap
    else vm_put(o->t, "(%s)%s", c_type(to), name_of(o, op->ops[0]));
    return true;
}

// ---- control ------------------------------------------------------------------------------------

/// dst = src, all at once.
static void assign(out *o, uint32_t n, ir_value *const *dst, ir_value *const *src) {
    if (!n) return;
    pad(o);
    vm_put(o->t, "{ ");
    for (uint32_t i = 0; i < n; i++) vm_put(o->t, "const %s t%u = %s; ", c_type(dst[i]->type.elem), i, name_of(o, src[i]));
    for (uint32_t i = 0; i < n; i++) vm_put(o->t, "%s = t%u; ", name_of(o, dst[i]), i);
    vm_put(o->t, "}\n");
}

static const ir_op *target(const ir_op *op) {
    const bool leave = op->inst == I_leave;
    const ir_op *p = op->parent->parent;
    while (p && (leave ? p->inst != I_scope : p->inst != I_for && p->inst != I_while)) p = p->parent->parent;
    return p;
}

/// Labels carry the number of the operation in the order of appearance.
static uint32_t number(out *o, const ir_op *op) {
    for (uint32_t i = 0; i < o->labels.n; i++)
        if (o->labels.at[i] == op) return i;
    vm_push(o->c->arena, &o->labels, op);
    return o->labels.n - 1;
}

static void loop(out *o, const ir_op *op) {
    const uint32_t k = number(o, op);
    const bool counted = op->inst == I_for;
    const ir_region *const r = op->regions[0];
    const char *const i = counted ? name_of(o, r->args[0]) : "", *const step = counted ? name_of(o, op->ops[2]) : "";
    assign(o, op->nres, op->res, op->ops + (counted ? 3 : 0));
    pad(o);
    if (counted)
        vm_put(o->t, "for (%s i%u = %s; i%u < %s; ) {\n", c_type(r->args[0]->type.elem), k, name_of(o, op->ops[0]), k, name_of(o, op->ops[1]));
    else vm_put(o->t, "for (;;) {\n");
    o->depth++;
    if (counted) {
        pad(o);
        vm_put(o->t, "%s = i%u;\n", i, k);
        assign(o, op->nres, r->args + 1, op->res);
        region(o, r);
        pad(o);
        vm_put(o->t, "if (0) goto c%u;\n", k);
        o->depth--;
        pad(o);
        vm_put(o->t, "c%u:\n", k);
        o->depth++;
        pad(o); // the end of the type is the end of the loop
        const char *const T = c_type(r->args[0]->type.elem);
        vm_put(o->t, "if ((%s)((uint64_t)i%u + (uint64_t)%s) <= i%u) break;\n", T, k, step, k);
        pad(o);
        vm_put(o->t, "i%u = (%s)((uint64_t)i%u + (uint64_t)%s);\n", k, T, k, step);
    } else {
        assign(o, op->nres, r->args, op->res);
        region(o, r);
        assign(o, op->nres, op->regions[1]->args, op->res);
        region(o, op->regions[1]);
        pad(o);
        vm_put(o->t, "if (0) goto c%u;\n", k);
        pad(o);
        vm_put(o->t, "c%u:;\n", k);
    }
    o->depth--;
    pad(o);
    vm_put(o->t, "}\n");
    pad(o);
    vm_put(o->t, "if (0) goto b%u;\n", k);
    pad(o);
    vm_put(o->t, "b%u:;\n", k);
}

static void scope(out *o, const ir_op *op) {
    const uint32_t k = number(o, op);
    region(o, op->regions[0]);
    pad(o);
    vm_put(o->t, "if (0) goto b%u;\n", k);
    pad(o);
    vm_put(o->t, "b%u:;\n", k);
}

static void branch(out *o, const ir_op *op) {
    pad(o);
    vm_put(o->t, "if (%s) {\n", name_of(o, op->ops[0]));
    o->depth++;
    region(o, op->regions[0]);
    o->depth--;
    if (op->nregions > 1 && op->regions[1]->first) {
        pad(o);
        vm_put(o->t, "} else {\n");
        o->depth++;
        region(o, op->regions[1]);
        o->depth--;
    }
    pad(o);
    vm_put(o->t, "}\n");
}

static void terminator(out *o, const ir_op *op) {
    const ir_op *const parent = op->parent->parent;
    if (op->inst == I_return) {
        pad(o);
        vm_put(o->t, "return 0;\n");
        return;
    }
    if (op->inst != I_yield) {
        const ir_op *const to = target(op);
        assign(o, op->nops, to->res, op->ops);
        pad(o);
        vm_put(o->t, "goto %c%u;\n", op->inst == I_continue ? 'c' : 'b', number(o, to));
        return;
    }
    if (!parent) return;
    if (parent->inst == I_while && op->parent == parent->regions[0]) {
        pad(o);
        vm_put(o->t, "if (!%s) break;\n", name_of(o, op->ops[0]));
        return;
    }
    assign(o, op->nops, parent->res, op->ops);
}

// ---- checks -------------------------------------------------------------------------------------

static void check(out *o, const ir_op *op) {
    const char *text = ir_str(op, AT_message);
    if (!text) text = "a launch condition does not hold";
    const char *const hole = strstr(text, "{}"); // where the values of parameters would stand
    vm_text m = {.arena = o->c->arena};
    if (hole) {
        vm_putn(&m, text, (size_t)(hole - text));
        vm_put(&m, "%s", hole + (strncmp(hole, "{} and ", 7) ? 2 : 7));
        char *const s = vm_text_end(&m), *const but = strstr(s, ", but  (");
        if (but) memmove(but, but + 6, strlen(but + 6) + 1);
        else if (tool_ends(s, ", but ")) s[strlen(s) - 6] = 0;
        text = s;
    }
    pad(o);
    vm_put(o->t, "if (!%s) ", name_of(o, op->ops[0]));
    refuse(o, text, strlen(text));
}

static void extent(out *o, const ir_op *op) {
    const ir_param *const p = &o->f->params[ir_int(op, AT_param, 0)];
    for (uint32_t d = 0; d < op->nops; d++) {
        if (is_const(op->ops[d])) continue;
        const char *const m = vm_format(o->c->arena, "extent %u of '%s' is negative", d, p->name);
        pad(o);
        vm_put(o->t, "if (%s < 0) ", name_of(o, op->ops[d]));
        refuse(o, m, strlen(m));
    }
    const char *m = vm_format(o->c->arena, "'%s' is a null pointer", p->name);
    pad(o);
    vm_put(o->t, "if (!%s", param_name(o, p));
    for (uint32_t d = 0; d < op->nops; d++) vm_put(o->t, " && %s", name_of(o, op->ops[d]));
    vm_put(o->t, ") ");
    refuse(o, m, strlen(m));
    m = vm_format(o->c->arena, "'%s' is not aligned to %d bytes", p->name, p->align);
    pad(o);
    vm_put(o->t, "if ((uintptr_t)%s %% %d) ", param_name(o, p), p->align);
    refuse(o, m, strlen(m));
}

static void tensor_map(out *o, const ir_op *op) {
    const ir_param *const p = &o->f->params[ir_int(op, AT_param, 0)];
    const ir_attr *const box = ir_get(op, AT_box);
    const char *const m = vm_format(o->c->arena, "strides of '%s' are no multiples of 16 bytes, as tensor copies need", p->name);
    for (uint32_t i = 1; i < box->n; i++) {
        const char *const s = name_of(o, op->ops[box->n + i - 1]);
        pad(o);
        vm_put(o->t, "if (%s < 0 || %s %% 16) ", s, s);
        refuse(o, m, strlen(m));
    }
    pad(o);
    vm_put(o->t, "out->map[out->maps++] = (struct tilus_map){%s, %d, %u, %d, {", param_name(o, p), ir_map_type((vm_dtype)ir_int(op, AT_elem, T_u8)), box->n,
           ir_map_swizzle((int)ir_int(op, AT_swizzle, 0)));
    for (uint32_t i = 0; i < box->n; i++) {
        const char *const e = name_of(o, op->ops[i]);
        vm_put(o->t, "%s%s > 0 ? (uint64_t)%s : 1", i ? ", " : "", e, e);
    }
    vm_put(o->t, "}, {");
    for (uint32_t i = 1; i < box->n; i++) vm_put(o->t, "%s(uint64_t)%s", i > 1 ? ", " : "", name_of(o, op->ops[box->n + i - 1]));
    vm_put(o->t, "%s}, {", box->n > 1 ? "" : "0");
    for (uint32_t i = 0; i < box->n; i++) vm_put(o->t, "%s%d", i ? ", " : "", box->v[i]);
    vm_put(o->t, "}};\n");
}

static void launch(out *o, const ir_op *op) {
    for (uint32_t d = 0; d < 3; d++) {
        const char *const v = name_of(o, op->ops[d]), *const most = d ? "65535" : "2147483647";
        const char *const m = vm_format(o->c->arena, "grid.%c is beyond the limit %s", "xyz"[d], most);
        if (!is_const(op->ops[d]) || ir_int(op->ops[d]->def, AT_value, 0) < 0 || ir_int(op->ops[d]->def, AT_value, 0) > 65535) {
            pad(o);
            vm_put(o->t, "if (%s < 0 || %s > %s) ", v, v, most);
            refuse(o, m, strlen(m));
        }
        pad(o);
        vm_put(o->t, "out->grid[%u] = (unsigned)%s;\n", d, v);
    }
    if (op->nops < 4 || (is_const(op->ops[3]) && !ir_int(op->ops[3]->def, AT_value, 0))) return;
    const char *const v = name_of(o, op->ops[3]), *const m = "the block needs more shared memory than there is";
    const uint32_t limit = o->f->module->arch ? o->f->module->arch->shared_bytes : 232448;
    pad(o);
    vm_put(o->t, "if (%s < 0 || %s > %u) ", v, v, limit - (o->f->shared_bytes < limit ? o->f->shared_bytes : limit));
    refuse(o, m, strlen(m));
    pad(o);
    vm_put(o->t, "out->shared_bytes += (unsigned)%s;\n", v);
}

static void step(out *o, const ir_op *op) {
    const uint8_t cls = vm_insts[op->inst].cls;
    bool ok = true;
    switch (op->inst) {
    case I_if: branch(o, op); return;
    case I_scope: scope(o, op); return;
    case I_for: case I_while: loop(o, op); return;
    case I_yield: case I_return: case I_break: case I_continue: case I_leave: terminator(o, op); return;
    case I_host_check: check(o, op); return;
    case I_host_extent: extent(o, op); return;
    case I_host_tensor: tensor_map(o, op); return;
    case I_host_launch: launch(o, op); return;
    default: break;
    }
    if (!op->nres || is_const(op->res[0])) return;
    pad(o);
    vm_put(o->t, "%s = ", name_of(o, op->res[0]));
    if (op->inst == I_cast) ok = cast(o, op);
    else ok = (cls == C_ELEM || cls == C_CMP || cls == C_SELECT) && expression(o, op, op->ops[cls == C_SELECT ? 1 : 0]->type.elem);
    if (!ok && !o->why)
        o->why = vm_format(o->c->arena, "the launch conditions of '%s' use '%s' on %s", o->f->name, vm_insts[op->inst].name, vm_dtype_name(op->res[0]->type.elem));
    vm_put(o->t, ";\n");
}

static void region(out *o, const ir_region *r) {
    for (const ir_op *op = r->first; op; op = op->next) step(o, op);
}

// ---- the file -----------------------------------------------------------------------------------

static void declare(out *o, const ir_value *v) {
    if (v->type.space != IS_SCALAR || is_const(v)) return;
    const char *const T = c_type(v->type.elem);
    if (!T && !o->why) o->why = vm_format(o->c->arena, "the launch conditions of '%s' compute with %s", o->f->name, vm_dtype_name(v->type.elem));
    vm_put(o->t, "    %s v%u = 0; (void)v%u;\n", T ? T : "int", v->id, v->id);
}

static void declare_op(ir_op *op, void *user) {
    for (uint32_t i = 0; i < op->nres; i++) declare(user, op->res[i]);
    for (uint32_t k = 0; k < op->nregions; k++)
        for (uint32_t i = 0; i < op->regions[k]->nargs; i++) declare(user, op->regions[k]->args[i]);
}

static void function(out *o) {
    const ir_func *const f = o->f;
    vm_text *const t = o->t;
    vm_put(t, "\n/// Entry \"%s\" of the PTX. Its parameters, in the order of cuLaunchKernel's, are those after `out`.\n", f->name);
    vm_put(t, "/// 0: *out is how to launch it (an empty grid: not at all). -1: out->error says which condition fails.\n");
    vm_put(t, "static inline int %s_launch(struct tilus_launch *out", f->name);
    for (uint32_t i = 0; i < f->nparams; i++) {
        const ir_param *const p = &f->params[i];
        if (p->value->type.space == IS_PTR) vm_put(t, ", const void *%s", param_name(o, p));
        else vm_put(t, ", %s %s", param_type(p->value->type.elem), param_name(o, p));
    }
    vm_put(t, ") {\n");
    ir_walk(f->host, declare_op, o);
    for (uint32_t i = 0; i < f->nparams; i++) vm_put(t, "    (void)%s;\n", param_name(o, &f->params[i]));
    const int *const cl = f->cluster;
    vm_put(t, "    *out = (struct tilus_launch){{1, 1, 1}, {%d, 1, 1}, {%d, %d, %d}, %u, \"%s\", 0, %d, 0, {{0}}};\n", f->warps * 32,
           cl[0] > 0 ? cl[0] : 1, cl[1] > 0 ? cl[1] : 1, cl[2] > 0 ? cl[2] : 1, f->shared_bytes, f->name, f->dependent);
    region(o, f->host);
    vm_put(t, "    return 0;\n}\n");
}

char *tool_header(rt_compilation *x, const char *path) {
    vm_arena *const a = x->comp->arena;
    vm_text t = {.arena = a};
    const char *base = path ? path : x->opt.name;
    if (strrchr(base, '/')) base = strrchr(base, '/') + 1;
    char *const id = vm_format(a, "%.*s", (int)strcspn(base, "."), base);
    for (char *s = id; *s; s++)
        if (!isalnum((unsigned char)*s)) *s = '_';
    const char *const name = isdigit((unsigned char)*id) || !*id ? vm_format(a, "k%s", id) : id;
    const char *source = strrchr(x->opt.name, '/');
    source = source ? source + 1 : x->opt.name;
    vm_put(&t, "// Made by tilusc %d.%d.%d from %s for %s. Needs the C library only; the PTX is for the CUDA driver.\n"
           "// Allow more than 48 KiB of shared memory by CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.\n"
           "#pragma once\n#include <stdint.h>\n\n#ifndef TILUS_LAUNCH\n#define TILUS_LAUNCH\n"
           "struct tilus_launch {\n    unsigned grid[3], block[3], cluster[3], shared_bytes; // shared: dynamic, all of it\n"
           "    const char *entry, *error;\n"
           "    int dependent; // begin before the launch in front has ended: PROGRAMMATIC_STREAM_SERIALIZATION\n"
           "    // Tensor maps for cuTensorMapEncodeTiled(…, type, rank, base, extent, stride, box, ones, 0, swizzle, 2, 0);\n"
           "    // each is a parameter of its own of 128 bytes, behind the others.\n"
           "    unsigned maps;\n    struct tilus_map {\n        const void *base;\n        int type;\n        unsigned rank;\n        int swizzle;\n"
           "        uint64_t extent[5], stride[4];\n        uint32_t box[5];\n    } map[%d];\n};\n#endif\n\nstatic const char %s_ptx[] =\n",
           TILUS_VERSION_MAJOR, TILUS_VERSION_MINOR, TILUS_VERSION_PATCH, source, x->opt.arch->name, IR_MAX_MAPS, name);
    for (const char *s = x->ptx; *s;) { // a line of PTX a line
        const size_t n = strcspn(s, "\n") + 1, left = strlen(s);
        vm_put(&t, "    \"");
        put_string(&t, s, n < left ? n : left);
        vm_put(&t, "\"\n");
        s += n < left ? n : left;
    }
    vm_put(&t, "    ;\n");
    for (uint32_t i = 0; i < x->kernels.n; i++) {
        if (!x->kernels.at[i].func) continue;
        out o = {.t = &t, .c = x->comp, .f = x->kernels.at[i].func};
        function(&o);
        if (o.why) {
            tool_error("no header: %s, which C cannot say; use --emit=ptx", o.why);
            return NULL;
        }
    }
    return vm_text_end(&t);
}
