// SPDX-License-Identifier: Apache-2.0
// Constant expressions of PTX: 64-bit integers, floats, and addresses (a symbol and an addend).
// Unsigned if one side is, as in C; arithmetic wraps.
#include "runtime/vgpu/ptx_internal.h"

#include <string.h>

static ptx_value ternary(ptx_parser *p);
static ptx_value unary(ptx_parser *p);

static ptx_value integer(uint64_t v, bool is_unsigned) {
    return (ptx_value){.kind = PTX_V_INT, .integer = v, .is_unsigned = is_unsigned};
}

static void need_int(ptx_parser *p, const ptx_value *v) {
    if (v->kind != PTX_V_INT)
        ptx_fail(p, "%s where an integer must stand", v->kind == PTX_V_FLOAT ? "a float" : "an address");
}

static ptx_value symbol(ptx_parser *p) {
    ptx_name *const name = p->tok.name;
    ptx_next(p);
    if (p->tok.kind == '(' && strcmp(name->text, "generic") == 0) {
        ptx_next(p);
        ptx_value v = ternary(p);
        if (v.kind != PTX_V_SYMBOL) ptx_fail(p, "generic() of a number");
        v.generic = true;
        ptx_need(p, ')', "')'");
        return v;
    }
    if (strcmp(name->text, "WARP_SZ") == 0) return integer(32, false);
    return (ptx_value){.kind = PTX_V_SYMBOL, .symbol = name};
}

/// `0xFF00(symbol)`: one byte of an address.
static ptx_value masked(ptx_parser *p, uint64_t mask) {
    ptx_next(p);
    ptx_value v = ternary(p);
    ptx_need(p, ')', "')'");
    if (v.kind != PTX_V_SYMBOL) ptx_fail(p, "a mask of a number");
    for (uint8_t shift = 0; shift < 64; shift = (uint8_t)(shift + 8))
        if (mask == UINT64_C(0xff) << shift) {
            v.mask_bytes = 1;
            v.shift = shift;
            return v;
        }
    ptx_fail(p, "a mask must be one whole byte");
}

static ptx_value primary(ptx_parser *p) {
    const ptx_token t = p->tok;
    switch (t.kind) {
    case PTX_T_INT:
        ptx_next(p);
        return p->tok.kind == '(' ? masked(p, t.integer) : integer(t.integer, t.is_unsigned);
    case PTX_T_FLOAT:
        ptx_next(p);
        return (ptx_value){.kind = PTX_V_FLOAT, .real = t.real, .hex_bits = t.hex_bits, .integer = t.integer};
    case PTX_T_NAME: return symbol(p);
    case '(': {
        ptx_next(p);
        if (p->tok.kind == PTX_T_DOT && (ptx_is_dot(p, "s64") || ptx_is_dot(p, "u64"))) { // a cast
            const bool is_unsigned = ptx_is_dot(p, "u64");
            ptx_next(p);
            ptx_need(p, ')', "')'");
            ptx_enter(p);
            ptx_value v = unary(p);
            ptx_leave(p);
            need_int(p, &v);
            v.is_unsigned = is_unsigned;
            return v;
        }
        const ptx_value v = ternary(p);
        ptx_need(p, ')', "')'");
        return v;
    }
    default: ptx_expected(p, "an operand");
    }
}

static ptx_value negate(ptx_value v) {
    if (v.kind == PTX_V_INT) v.integer = 0 - v.integer;
    else {
        v.real = -v.real;
        if (v.hex_bits) v.integer ^= UINT64_C(1) << (v.hex_bits - 1);
    }
    return v;
}

static ptx_value unary(ptx_parser *p) {
    const int op = p->tok.kind;
    if (op != '-' && op != '+' && op != '~' && op != '!') return primary(p);
    ptx_next(p);
    ptx_enter(p);
    ptx_value v = unary(p);
    ptx_leave(p);
    if (v.kind != PTX_V_FLOAT || op == '~' || op == '!') need_int(p, &v);
    if (op == '-') return negate(v);
    if (op == '~') v.integer = ~v.integer;
    if (op == '!') v = integer(!v.integer, false);
    return v;
}

static int level(int op) {
    switch (op) {
    case PTX_T_OR: return 1;
    case PTX_T_AND: return 2;
    case '|': return 3;
    case '^': return 4;
    case '&': return 5;
    case PTX_T_EQ:
    case PTX_T_NE: return 6;
    case '<':
    case '>':
    case PTX_T_LE:
    case PTX_T_GE: return 7;
    case PTX_T_SHL:
    case PTX_T_SHR: return 8;
    case '+':
    case '-': return 9;
    case '*':
    case '/':
    case '%': return 10;
    default: return 0;
    }
}

static bool less(uint64_t a, uint64_t b, bool is_unsigned) { return is_unsigned ? a < b : (int64_t)a < (int64_t)b; }

static uint64_t divide(ptx_parser *p, uint64_t a, uint64_t b, bool is_unsigned, bool rest) {
    if (!b) ptx_fail(p, "division by zero");
    if (is_unsigned) return rest ? a % b : a / b;
    if (b == UINT64_MAX) return rest ? 0 : 0 - a;
    return (uint64_t)(rest ? (int64_t)a % (int64_t)b : (int64_t)a / (int64_t)b);
}

static uint64_t shift(uint64_t a, uint64_t by, bool left, bool is_unsigned) {
    if (left) return by > 63 ? 0 : a << by;
    if (is_unsigned) return by > 63 ? 0 : a >> by;
    return (uint64_t)((int64_t)a >> (by > 63 ? 63 : by));
}

static ptx_value combine(ptx_parser *p, int op, ptx_value a, ptx_value b) {
    if (a.kind == PTX_V_SYMBOL && (op == '+' || op == '-')) {
        need_int(p, &b);
        a.integer = op == '+' ? a.integer + b.integer : a.integer - b.integer;
        return a;
    }
    if (b.kind == PTX_V_SYMBOL && op == '+') return combine(p, op, b, a);
    if (a.kind == PTX_V_FLOAT && b.kind == PTX_V_FLOAT && level(op) >= 9 && op != '%') {
        const double x = a.real, y = b.real;
        return (ptx_value){.kind = PTX_V_FLOAT, .real = op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : x / y};
    }
    need_int(p, &a);
    need_int(p, &b);
    const uint64_t x = a.integer, y = b.integer;
    const bool u = a.is_unsigned || b.is_unsigned;
    switch (op) {
    case PTX_T_OR: return integer(x || y, false);
    case PTX_T_AND: return integer(x && y, false);
    case '|': return integer(x | y, u);
    case '^': return integer(x ^ y, u);
    case '&': return integer(x & y, u);
    case PTX_T_EQ: return integer(x == y, false);
    case PTX_T_NE: return integer(x != y, false);
    case '<': return integer(less(x, y, u), false);
    case '>': return integer(less(y, x, u), false);
    case PTX_T_LE: return integer(!less(y, x, u), false);
    case PTX_T_GE: return integer(!less(x, y, u), false);
    case PTX_T_SHL: return integer(shift(x, y, true, a.is_unsigned), a.is_unsigned);
    case PTX_T_SHR: return integer(shift(x, y, false, a.is_unsigned), a.is_unsigned);
    case '+': return integer(x + y, u);
    case '-': return integer(x - y, u);
    case '*': return integer(x * y, u);
    default: return integer(divide(p, x, y, u, op == '%'), u);
    }
}

static ptx_value binary(ptx_parser *p, int least) {
    ptx_value a = unary(p);
    for (int op = p->tok.kind; level(op) >= least; op = p->tok.kind) {
        ptx_next(p);
        const ptx_value b = binary(p, level(op) + 1); // at most ten deep: each level is higher
        a = combine(p, op, a, b);
    }
    return a;
}

static ptx_value ternary(ptx_parser *p) {
    ptx_enter(p);
    ptx_value c = binary(p, 1);
    if (ptx_accept(p, '?')) {
        need_int(p, &c);
        const ptx_value a = ternary(p);
        ptx_need(p, ':', "':'");
        const ptx_value b = ternary(p);
        c = c.integer ? a : b;
    }
    ptx_leave(p);
    return c;
}

ptx_value ptx_expression(ptx_parser *p) { return ternary(p); }

uint64_t ptx_constant(ptx_parser *p, const char *what, uint64_t most) {
    const ptx_value v = ternary(p);
    need_int(p, &v);
    if (v.integer > most) {
        if (!v.is_unsigned && (int64_t)v.integer < 0) ptx_fail(p, "%s is negative", what);
        ptx_fail(p, "%s is %llu, at most %llu is possible", what, (unsigned long long)v.integer, (unsigned long long)most);
    }
    return v.integer;
}
