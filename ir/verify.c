// SPDX-License-Identifier: Apache-2.0
// The verifier's walk: dominance in structured regions, ownership of values, groups, terminators,
// control operations and values in flight. It assumes nothing but a well-linked tree, for it also
// judges parsed text.
#include "ir/verify.h"

#include <stdarg.h>
#include <string.h>

#define NEED(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) return ir_check_fail(k, op, __VA_ARGS__);                                     \
    } while (0)

bool ir_check_fail(ir_checker *k, const ir_op *op, const char *fmt, ...) {
    if (k->why) return false;
    va_list ap;
    va_start(ap, fmt);
    const char *text = vm_vformat(k->arena, fmt, ap);
    va_end(ap);
    const char *name = op && op->nres && op->res[0]->name ? op->res[0]->name : NULL;
    k->why = op ? vm_format(k->arena, "%s%s%s: %s", vm_insts[op->inst].name, name ? " of %" : "",
                            name ? name : "", text)
                : text;
    return false;
}

static const ir_op *group_of(const ir_op *op) {
    return ir_enclosing(op, I_role);
}

static bool define(ir_checker *k, const ir_op *op, const ir_value *v, const ir_op *group) {
    NEED(v->id < k->nids, "value with an id beyond the function's");
    NEED(!k->defined[v->id], "value defined twice");
    k->defined[v->id] = v;
    k->group[v->id] = group;
    return ir_check_type(k, op, &v->type);
}

static bool check_uses(ir_checker *k, const ir_op *op) {
    const ir_op *group = group_of(op), *simt = ir_enclosing(op, I_simt);
    for (uint32_t i = 0; i < op->nops; i++) {
        const ir_value *v = op->ops[i];
        NEED(v && v->id < k->nids && k->defined[v->id] == v, "operand %u is not defined here", i);
        NEED(v->type.space != IS_NONE || v->type.inflight, "operand %u has no value", i);
        if (v->type.space == IS_REG) {
            NEED(k->group[v->id] == group, "operand %u is a tile of another group", i);
            // A tile enters simt through its operands only: each thread sees its own elements.
            if (simt) {
                const ir_op *made = v->def ? ir_enclosing(v->def, I_simt) : NULL;
                if (!v->def)
                    for (const ir_op *p = v->owner->parent; p && !made; p = p->parent->parent)
                        if (p->inst == I_simt) made = p;
                NEED(made == simt, "operand %u is a tile from outside the simt block", i);
            }
        }
        if (v->type.inflight) {
            const bool acc = op->inst == I_wgmma && i == 2;
            const bool carried = op->inst == I_yield || op->inst == I_break || op->inst == I_leave ||
                                 op->inst == I_continue || op->inst == I_while ||
                                 (op->inst == I_for && i >= 3);
            NEED(acc || carried || op->inst == I_wait_value, "operand %u is in flight", i);
        }
    }
    return true;
}

static bool carried_types(ir_checker *k, const ir_op *op, ir_value *const *given, uint32_t n,
                          ir_value *const *want, uint32_t m, const char *what) {
    NEED(n == m, "%u values for %u %s", n, m, what);
    for (uint32_t i = 0; i < n; i++)
        NEED(ir_check_same(k, &given[i]->type, &want[i]->type), "type of value %u differs from that of the %s",
             i, what);
    return true;
}

// The operation that a jump ends, passing through `through` kinds only.
static const ir_op *jump_target(const ir_op *op, bool leave) {
    const ir_op *in = op;
    for (const ir_op *p = op->parent->parent; p; in = p, p = p->parent->parent) {
        if (leave) {
            if (p->inst == I_scope) return p;
            if (p->inst == I_role || p->inst == I_simt || p->inst == I_fetch) return NULL;
            continue;
        }
        if (p->inst == I_for) return p;
        if (p->inst == I_while) return in->parent == p->regions[1] ? p : NULL;
        if (p->inst != I_if && p->inst != I_scope) return NULL;
    }
    return NULL;
}

static bool check_terminator(ir_checker *k, const ir_op *op) {
    NEED(!op->next, "operations after it");
    NEED(op->nres == 0 && op->nregions == 0, "has results or regions");
    const ir_op *p = op->parent->parent;
    switch (op->inst) {
    case I_yield:
        NEED(p, "outside of any region operation");
        if (p->inst == I_while && op->parent == p->regions[0]) {
            NEED(op->nops == 1 && op->ops[0]->type.space == IS_SCALAR &&
                     op->ops[0]->type.elem == T_bool,
                 "a while condition is one bool");
            return true;
        }
        if (p->inst == I_role || p->inst == I_fetch) {
            NEED(op->nops == 0, "yields values");
            return true;
        }
        return carried_types(k, op, op->ops, op->nops, p->res, p->nres, "results");
    case I_return:
        NEED(op->nops == 0, "has operands");
        return true;
    default: {
        const ir_op *t = jump_target(op, op->inst == I_leave);
        NEED(t, "nothing here that it could leave");
        return carried_types(k, op, op->ops, op->nops, t->res, t->nres, "results of what it leaves");
    }
    }
}

static bool check_region(ir_checker *k, const ir_region *r, int depth);

static bool check_args(ir_checker *k, const ir_op *op, const ir_region *r) {
    const ir_op *group = op->inst == I_role ? op : group_of(op);
    for (uint32_t i = 0; i < r->nargs; i++) {
        const ir_value *v = r->args[i];
        NEED(v->owner == r && v->index == i, "region argument %u is not linked", i);
        if (!define(k, op, v, group)) return false;
    }
    return true;
}

static bool carriable(ir_checker *k, const ir_op *op) {
    for (uint32_t i = 0; i < op->nres; i++) {
        const enum ir_space s = op->res[i]->type.space;
        NEED(s == IS_SCALAR || s == IS_REG || s == IS_NONE, "result %u is memory: views are not carried", i);
    }
    return true;
}

static bool check_for(ir_checker *k, const ir_op *op) {
    NEED(op->nregions == 1 && op->nops >= 3, "needs lo, hi, step and one region");
    const ir_region *r = op->regions[0];
    for (uint32_t i = 0; i < 3; i++)
        NEED(op->ops[i]->type.space == IS_SCALAR && vm_is_int(op->ops[i]->type.elem) &&
                 op->ops[i]->type.elem == op->ops[0]->type.elem,
             "bounds and step are not integers of one type");
    NEED(r->nargs >= 1 && ir_check_same(k, &r->args[0]->type, &op->ops[0]->type),
         "index is not of the bounds' type");
    const int64_t stages = ir_int(op, AT_stages, 1), unroll = ir_int(op, AT_unroll, 1);
    NEED(stages >= 1 && stages <= 64 && unroll >= 1, "stages or unroll out of range");
    return carried_types(k, op, op->ops + 3, op->nops - 3, op->res, op->nres, "results") &&
           carried_types(k, op, r->args + 1, r->nargs - 1, op->res, op->nres, "results");
}

static bool check_role(ir_checker *k, const ir_op *op) {
    const int64_t lo = ir_int(op, AT_begin, -1), hi = ir_int(op, AT_end, -1);
    NEED(op->nregions == 1 && op->regions[0]->nargs == 0, "needs one region without arguments");
    NEED(lo >= 0 && hi > lo && hi <= k->f->warps, "warps [%lld, %lld) are not in the block",
         (long long)lo, (long long)hi);
    NEED(!group_of(op) && !ir_enclosing(op, I_simt), "inside another role or simt");
    return true;
}

static bool check_control(ir_checker *k, const ir_op *op) {
    if (!carriable(k, op)) return false;
    switch (op->inst) {
    case I_for:
        return check_for(k, op);
    case I_while: {
        NEED(op->nregions == 2, "needs two regions");
        bool ok = carried_types(k, op, op->ops, op->nops, op->res, op->nres, "results");
        for (int i = 0; i < 2 && ok; i++)
            ok = carried_types(k, op, op->regions[i]->args, op->regions[i]->nargs, op->res, op->nres,
                               "results");
        return ok;
    }
    case I_if:
        NEED(op->nregions == 2, "needs two regions");
        NEED(op->ops[0]->type.space == IS_SCALAR && op->ops[0]->type.elem == T_bool,
             "condition is not a bool");
        NEED(!op->regions[0]->nargs && !op->regions[1]->nargs, "regions have arguments");
        NEED(op->regions[1]->first || op->nres == 0, "results need a second region");
        return true;
    case I_scope:
        NEED(op->nregions == 1 && op->regions[0]->nargs == 0, "needs one region without arguments");
        return true;
    case I_fetch:
        NEED(op->nregions == 1 && op->regions[0]->nargs == 0, "needs one region without arguments");
        NEED(!ir_enclosing(op, I_fetch), "inside another fetch");
        NEED(ir_int(op, AT_stages, 1) >= 1 && ir_int(op, AT_stages, 1) <= 64, "stages out of range");
        return true;
    case I_role:
        return check_role(k, op);
    case I_simt: {
        NEED(op->nregions == 1 && op->regions[0]->nargs >= 1, "needs one region with the thread");
        const ir_region *r = op->regions[0];
        NEED(!ir_enclosing(op, I_simt), "inside another simt");
        NEED(r->args[0]->type.space == IS_SCALAR && r->args[0]->type.elem == T_i32, "thread is not i32");
        for (uint32_t i = 0; i < op->nres; i++)
            NEED(op->res[i]->type.space == IS_REG, "result %u is not a tile", i);
        for (uint32_t i = 0; i < op->nops; i++)
            NEED(op->ops[i]->type.space == IS_REG, "operand %u is not a tile", i);
        NEED(op->nres <= op->nops, "more results than tiles");
        return carried_types(k, op, op->ops, op->nops, r->args + 1, r->nargs - 1, "arguments");
    }
    default:
        return check_terminator(k, op);
    }
}

// What may stand inside simt: scalar code a thread, memory cells, control.
static bool thread_code(const ir_op *op) {
    switch (op->inst) {
    case I_load:
    case I_store:
    case I_copy:
    case I_iota:
    case I_full:
    case I_broadcast:
    case I_view:
    case I_relayout:
    case I_alloc_shared:
    case I_alloc_barrier:
    case I_role:
    case I_fetch:
        return false;
    default:
        break;
    }
    const uint8_t cls = vm_insts[op->inst].cls;
    if (cls == C_DOT || cls == C_REDUCE || cls == C_SCAN) return false;
    if (cls == C_CONTROL || op->inst == I_elem_set || op->inst == I_poison) return true;
    for (uint32_t i = 0; i < op->nres; i++)
        if (op->res[i]->type.space == IS_REG) return false;
    return true;
}

static bool host_code(const ir_op *op) {
    const uint8_t cls = vm_insts[op->inst].cls;
    if (op->inst == I_role || op->inst == I_simt || op->inst == I_fetch) return false;
    if (op->inst == I_const || cls == C_CONTROL) return true;
    if (op->inst == I_host_check || op->inst == I_host_extent || op->inst == I_host_tensor || op->inst == I_host_launch)
        return true;
    return cls == C_ELEM || cls == C_CMP || cls == C_SELECT || cls == C_CAST;
}

static bool check_op(ir_checker *k, const ir_op *op, int depth) {
    NEED(op->inst < I_count_, "unknown instruction");
    const vm_inst_info *row = &vm_insts[op->inst];
    NEED(row->nops < 0 || op->nops == (uint32_t)row->nops, "needs %d operands", row->nops);
    NEED(row->nres < 0 || op->nres == (uint32_t)row->nres, "needs %d results", row->nres);
    NEED(row->cls == C_CONTROL || op->nregions == 0, "has regions");
    if (!check_uses(k, op)) return false;
    for (uint32_t i = 0; i < op->nres; i++)
        NEED(op->res[i]->def == op && op->res[i]->index == i, "result %u is not linked", i);
    if (ir_enclosing(op, I_simt)) NEED(thread_code(op), "tile instruction inside simt");
    if (k->host) NEED(host_code(op), "not in the host region");
    if (row->cls == C_CONTROL ? !check_control(k, op) : !ir_check_types(k, op)) return false;
    for (uint32_t i = 0; i < op->nregions; i++) {
        const ir_region *r = op->regions[i];
        NEED(r->parent == op, "region is not linked");
        if (op->inst == I_if && i == 1 && !r->first) continue;
        if (!check_args(k, op, r) || !check_region(k, r, depth + 1)) return false;
        NEED(ir_terminator(r), "region %u does not end with a terminator", i);
    }
    for (uint32_t i = 0; i < op->nres; i++) {
        if (!define(k, op, op->res[i], group_of(op))) return false;
        const ir_type *t = &op->res[i]->type;
        if (k->f->has_layouts) {
            NEED(t->space != IS_REG || t->reg, "tile without a layout");
            NEED(op->inst != I_alloc_shared || t->shared || ir_elems(t) < 0, "shared tile without a layout");
        }
        if (k->f->relaid && t->space == IS_REG)
            NEED(t->reg->threads == ir_group_threads(op), "layout of %d threads in a group of %d",
                 t->reg->threads, ir_group_threads(op));
    }
    return true;
}

static bool check_region(ir_checker *k, const ir_region *r, int depth) {
    const ir_op *prev = NULL;
    if (depth > IR_MAX_NESTING) return ir_check_fail(k, r->first, "regions nested too deeply");
    for (const ir_op *op = r->first; op; prev = op, op = op->next) {
        NEED(op->parent == r && op->prev == prev, "operation is not linked");
        if (!check_op(k, op, depth)) return false;
    }
    // What was defined inside is not visible outside.
    for (const ir_op *op = r->first; op; op = op->next)
        for (uint32_t i = 0; i < op->nres; i++) k->defined[op->res[i]->id] = NULL;
    for (uint32_t i = 0; i < r->nargs; i++) k->defined[r->args[i]->id] = NULL;
    return true;
}

bool ir_verify(const ir_func *f, const char **why) {
    ir_checker k = {.f = f, .arena = f->comp->arena, .nids = f->next_id};
    k.defined = vm_newn(k.arena, const ir_value *, f->next_id + 1);
    k.group = vm_newn(k.arena, const ir_op *, f->next_id + 1);
    bool ok = f->warps >= 1 && f->warps <= 32;
    if (!ok) ir_check_fail(&k, NULL, "function needs 1 to 32 warps");
    for (uint32_t i = 0; i < f->nparams && ok; i++) {
        const ir_value *v = f->params[i].value;
        if (v->type.space != IS_SCALAR && v->type.space != IS_PTR)
            ok = ir_check_fail(&k, NULL, "parameter %u is neither scalar nor pointer", i);
        else if (f->params[i].align < 1 || (f->params[i].align & (f->params[i].align - 1)))
            ok = ir_check_fail(&k, NULL, "alignment of parameter %u is no power of two", i);
        else ok = v->id < k.nids && !k.defined[v->id];
        if (ok) k.defined[v->id] = v;
    }
    ok = ok && check_region(&k, f->body, 0);
    k.host = true;
    ok = ok && check_region(&k, f->host, 0);
    if (!ok && why) *why = k.why ? k.why : "malformed";
    return ok;
}
