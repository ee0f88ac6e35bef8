// SPDX-License-Identifier: Apache-2.0
// Divisibility: a divisor of every integer scalar, from constants, loop steps and what is promised
// (assume x % c == 0). Integers are taken not to overflow, as extents are checked on the host. The
// bounds that follow are proven in pass_bounds.c.
#include "ir/pass.h"

static uint64_t gcd64(uint64_t a, uint64_t b) { // 0 is divisible by everything
    while (b) {
        const uint64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

static uint64_t times(uint64_t a, uint64_t b) {
    uint64_t r;
    if (!__builtin_mul_overflow(a, b, &r) && r < 1ull << 40) return r;
    return gcd64(a, 1ull << 20) > gcd64(b, 1ull << 20) ? gcd64(a, 1ull << 20) : gcd64(b, 1ull << 20);
}

uint64_t ir_divisor(const ir_value *v) {
    int64_t c;
    if (ir_known(v, &c)) return c < 0 ? 0 - (uint64_t)c : (uint64_t)c;
    return v->divided ? v->divisor : 1;
}

static void put(ir_value *v, uint64_t d) {
    // A promise made about the value stays.
    if (v->promised > 1 && d) d = times(d / gcd64(d, v->promised), v->promised);
    v->divisor = d;
    v->divided = true;
}

static void lower_to(ir_value *v, uint64_t d) {
    put(v, v->divided ? gcd64(v->divisor, d) : d);
}

static uint64_t of(const ir_op *op) {
    const uint64_t a = op->nops > 0 ? ir_divisor(op->ops[0]) : 1, b = op->nops > 1 ? ir_divisor(op->ops[1]) : 1;
    int64_t c;
    const bool known = op->nops > 1 && ir_known(op->ops[1], &c);
    switch (op->inst) {
    case I_add:
    case I_sub:
    case I_min:
    case I_max:
        return gcd64(a, b);
    case I_mul:
        return times(a, b);
    case I_shl:
        return known && c >= 0 && c < 40 ? times(a, 1ull << c) : a;
    case I_div:
        return known && c > 0 && a % (uint64_t)c == 0 ? a / (uint64_t)c : 1;
    case I_shr:
        return known && c >= 0 && c < 40 && a % (1ull << c) == 0 ? a >> c : 1;
    case I_rem:
        return known && c > 0 ? gcd64(a, (uint64_t)c) : 1;
    case I_and:
        return known ? gcd64((uint64_t)c & (0 - (uint64_t)c), 1ull << 40) : 1;
    case I_select:
        return gcd64(ir_divisor(op->ops[1]), ir_divisor(op->ops[2]));
    case I_neg:
    case I_abs:
        return a;
    case I_cast: {
        const vm_dtype from = op->ops[0]->type.elem, to = op->res[0]->type.elem;
        if (!vm_is_int(from) || !vm_is_int(to)) return 1;
        return vm_bits(to) >= vm_bits(from) ? a : gcd64(a, 1ull << (vm_bits(to) - 1));
    }
    default:
        return 1;
    }
}

static bool integer(const ir_value *v) {
    return v->type.space == IS_SCALAR && vm_is_int(v->type.elem);
}

// What a yield or jump carries lowers the results, and the arguments of the loop that it feeds.
static void carry(const ir_op *jump, const ir_op *to) {
    for (uint32_t i = 0; i < jump->nops && i < to->nres; i++) {
        if (!integer(to->res[i])) continue;
        const uint64_t d = ir_divisor(jump->ops[i]);
        lower_to(to->res[i], d);
        if (jump->inst == I_break || jump->inst == I_leave) continue;
        if (to->inst == I_for) lower_to(to->regions[0]->args[1 + i], d);
        if (to->inst == I_while)
            for (int r = 0; r < 2; r++) lower_to(to->regions[r]->args[i], d);
    }
}

static void scan(ir_region *r);

static uint64_t fingerprint(const ir_op *op) {
    uint64_t h = 0;
    for (uint32_t r = 0; r < op->nregions; r++)
        for (uint32_t i = 0; i < op->regions[r]->nargs; i++) h = h * 31 + op->regions[r]->args[i]->divisor;
    return h;
}

static void scan_op(ir_op *op) {
    for (uint32_t i = 0; i < op->nres; i++) {
        ir_value *v = op->res[i];
        if (!integer(v)) continue;
        if (op->nregions == 0) put(v, of(op));
        else v->divided = false;
    }
    if (op->inst == I_for || op->inst == I_while) {
        const uint32_t first = op->inst == I_for ? 3 : 0;
        if (op->inst == I_for)
            put(op->regions[0]->args[0], gcd64(ir_divisor(op->ops[0]), ir_divisor(op->ops[2])));
        for (uint32_t i = 0; i < op->nres; i++) {
            if (!integer(op->res[i])) continue;
            const uint64_t d = ir_divisor(op->ops[first + i]);
            put(op->res[i], d);
            for (uint32_t r = 0; r < op->nregions; r++) put(op->regions[r]->args[(first ? 1 : 0) + i], d);
        }
        // Divisors only fall, so this ends.
        for (uint64_t before = 0, now = ~before; before != now; now = fingerprint(op)) {
            before = fingerprint(op);
            for (uint32_t r = 0; r < op->nregions; r++) scan(op->regions[r]);
        }
        return;
    }
    for (uint32_t r = 0; r < op->nregions; r++) scan(op->regions[r]);
}

static void scan(ir_region *r) {
    for (ir_op *op = r->first; op; op = op->next) {
        const ir_op *to = NULL;
        if (op->inst == I_yield && r->parent && !(r->parent->inst == I_while && r == r->parent->regions[0]))
            to = r->parent;
        if (op->inst == I_leave) to = ir_enclosing(op, I_scope);
        if (op->inst == I_break || op->inst == I_continue)
            for (to = r->parent; to && to->inst != I_for && to->inst != I_while;) to = to->parent->parent;
        if (to) carry(op, to);
        else scan_op(op);
    }
}

// x % c == 0, alone or joined by `and`.
static void promise(const ir_value *cond) {
    const ir_op *op = cond->def;
    if (!op) return;
    if (op->inst == I_and) {
        promise(op->ops[0]);
        promise(op->ops[1]);
        return;
    }
    int64_t zero, c;
    if (op->inst != I_eq || !ir_known(op->ops[1], &zero) || zero != 0) return;
    const ir_op *rem = op->ops[0]->def;
    if (!rem || rem->inst != I_rem || !ir_known(rem->ops[1], &c) || c <= 0) return;
    ir_value *x = rem->ops[0];
    while (x->def && x->def->inst == I_cast && integer(x) && integer(x->def->ops[0]) &&
           vm_bits(x->type.elem) >= vm_bits(x->def->ops[0]->type.elem)) { // said of a wider copy
        const uint64_t g = x->promised > 1 ? x->promised : 1;
        x->promised = times(g / gcd64(g, (uint64_t)c), (uint64_t)c);
        x = x->def->ops[0];
    }
    const uint64_t g = x->promised > 1 ? x->promised : 1;
    x->promised = times(g / gcd64(g, (uint64_t)c), (uint64_t)c);
    if (!x->def) put(x, 1);
}

void ir_pass_divides(ir_func *f) {
    for (uint32_t i = 0; i < f->nparams; i++) f->params[i].value->divided = false;
    for (ir_op *op = f->body->first; op; op = op->next)
        if (op->inst == I_assume) promise(op->ops[0]);
    for (ir_op *op = f->host->first; op; op = op->next)
        if (op->inst == I_host_check) promise(op->ops[0]);
    scan(f->body);
    scan(f->host);
    ir_prove_bounds(f);
}
