// SPDX-License-Identifier: Apache-2.0
// The vm executor: makes a plan of a function. Slots for values, flat code for regions, parallel moves
// at their ends. What each instruction does stands in the other interp_*.c.
#include "ir/interp.h"
#include <assert.h>

uint32_t cc_new(cc *c) { return c->fd->nslots++; }

uint32_t cc_buf(cc *c, size_t bytes) {
    const uint32_t s = cc_new(c);
    vm_push(c->arena, &c->fd->bufs, ((frame_buf){s, c->fd->bytes}));
    c->fd->bytes += (bytes + 63) / 64 * 64 + 64; // vector loops may read past the end
    return s;
}

void cc_alias(cc *c, const ir_value *v, uint32_t slot) {
    c->slot[v->id] = slot + 1;
    c->home[v->id] = c->simt;
}

uint32_t cc_use(cc *c, const ir_value *v) {
    assert(c->slot[v->id] && "operand before its definition");
    const uint32_t s = c->slot[v->id] - 1;
    if (c->home[v->id] == c->simt) return s;
    if (c->cap_in[v->id] != c->simt) { // a uniform of the group: every thread gets a copy
        c->cap_in[v->id] = c->simt;
        c->cap[v->id] = cc_new(c);
        vm_push(c->arena, &c->info->captured, (uint64_t)s << 32 | c->cap[v->id]);
    }
    return c->cap[v->id];
}

size_t cc_tile_bytes(const cc *c, const ir_value *v) {
    const size_t n = elems_of(&v->type), cells = n * vm_cell(v->type.elem);
    return c->poison[v->id] ? poison_at(n, vm_cell(v->type.elem)) + (n + 7) / 8 : cells;
}

uint32_t cc_def(cc *c, const ir_value *v) {
    if (c->slot[v->id] && c->home[v->id] == c->simt) return c->slot[v->id] - 1;
    uint32_t s;
    switch (v->type.space) {
    case IS_REG: s = c->simt ? cc_new(c) : cc_buf(c, cc_tile_bytes(c, v)); break;
    case IS_SHARED:
    case IS_GLOBAL: s = cc_buf(c, sizeof(rview)); break;
    default: s = cc_new(c); break;
    }
    cc_alias(c, v, s);
    return s;
}

uint32_t cc_put(cc *c, const ir_op *op, ins_fn fn, uint32_t d, uint32_t a, uint32_t b, uint32_t n) {
    const ins i = {.fn = fn, .d = d, .a = a, .b = b, .n = n, .op = op};
    vm_push(c->arena, &c->p->code, i);
    return c->p->code.n - 1;
}
ins *cc_at(cc *c, uint32_t k) { return &c->p->code.at[k]; }
void cc_jump_to(cc *c, uint32_t from, uint32_t to) { cc_at(c, from)->jump = (int32_t)to - (int32_t)from; }
void cc_land(cc *c, uint32_t from) { cc_jump_to(c, from, c->p->code.n); }

cc_list cc_operands(cc *c, const ir_op *op, uint32_t from, uint32_t to) {
    cc_list l = {.n = to > from ? to - from : 0};
    l.slot = vm_newn(c->arena, uint32_t, l.n + 1);
    l.type = vm_newn(c->arena, uint8_t, l.n + 1);
    for (uint32_t k = 0; k < l.n; k++) {
        l.slot[k] = cc_use(c, op->ops[from + k]);
        l.type[k] = (uint8_t)op->ops[from + k]->type.elem;
    }
    return l;
}

// ---- moves --------------------------------------------------------------------------------------

static const ins *mov(mach *m, strand *s, const ins *i) {
    (void)m;
    s->r[i->d] = s->r[i->a];
    return i + 1;
}
static const ins *swap(mach *m, strand *s, const ins *i) {
    (void)m;
    const uint64_t t = s->r[i->d];
    s->r[i->d] = s->r[i->a];
    s->r[i->a] = t;
    return i + 1;
}
typedef struct { size_t bytes, fill_at, fill; } copy_size;
static const ins *copy_tile(mach *m, strand *s, const ins *i) {
    (void)m;
    const copy_size *z = i->x;
    char *d = tile_of(s->r[i->d]);
    memcpy(d, tile_of(s->r[i->a]), z->bytes);
    if (z->fill) memset(d + z->fill_at, 0xff, z->fill);
    return i + 1;
}
static void copy_value(cc *c, const ir_op *op, uint32_t d, uint32_t a, const ir_value *to, const ir_value *from) {
    const uint32_t at = cc_put(c, op, copy_tile, d, a, 0, 0);
    copy_size *z = vm_new(c->arena, copy_size);
    z->bytes = cc_tile_bytes(c, from);
    if (c->poison[to->id] && !c->poison[from->id]) {
        const size_t n = elems_of(&to->type);
        z->fill_at = poison_at(n, vm_cell(to->type.elem));
        z->fill = (n + 7) / 8;
    }
    cc_at(c, at)->x = z;
}

static bool defined_within(const ir_value *v, const ir_region *bound) {
    const ir_region *r = v->def ? v->def->parent : NULL;
    while (r && r != bound) r = r->parent ? r->parent->parent : NULL;
    return r != NULL;
}

void cc_transfer(cc *c, const ir_op *op, uint32_t n, ir_value *const *src, ir_value *const *dst, const ir_region *bound) {
    uint32_t *from = vm_newn(c->arena, uint32_t, n + 1);
    const ir_value **kind = vm_newn(c->arena, const ir_value *, n + 1);
    for (uint32_t k = 0; k < n; k++) {
        from[k] = cc_use(c, src[k]);
        kind[k] = src[k];
    }
    for (uint32_t k = 0; k < n; k++) { // sources that an earlier move would overwrite go aside first
        bool hit = false;
        for (uint32_t j = 0; j < n; j++) hit |= j != k && cc_def(c, dst[j]) == from[k];
        if (!hit) continue;
        const bool tile = src[k]->type.space == IS_REG && !c->simt;
        const uint32_t aside = tile ? cc_buf(c, cc_tile_bytes(c, src[k])) : cc_new(c);
        if (tile) copy_value(c, op, aside, from[k], src[k], src[k]);
        else cc_put(c, op, mov, aside, from[k], 0, 0);
        from[k] = aside;
        kind[k] = NULL; // ours: may be swapped away
    }
    for (uint32_t k = 0; k < n; k++) {
        const uint32_t d = cc_def(c, dst[k]);
        if (d == from[k]) continue;
        if (dst[k]->type.space != IS_REG || c->simt) {
            cc_put(c, op, mov, d, from[k], 0, 0);
            continue;
        }
        bool once = true;
        for (uint32_t j = 0; j < n; j++) once &= j == k || from[j] != from[k];
        const bool dies = kind[k] == NULL || (bound && defined_within(kind[k], bound));
        if (once && dies && c->poison[src[k]->id] == c->poison[dst[k]->id])
            cc_put(c, op, swap, d, from[k], 0, 0);
        else
            copy_value(c, op, d, from[k], dst[k], src[k]);
    }
}

// ---- poison -------------------------------------------------------------------------------------

typedef struct { bool *poison, changed; } poison_scan;
static void flow(poison_scan *p, const ir_value *from, const ir_value *to) {
    if (p->poison[from->id] && !p->poison[to->id]) p->poison[to->id] = p->changed = true;
}
static void flow_exit(poison_scan *p, const ir_op *t) {
    const ir_op *o = t->parent->parent;
    if (!o) return;
    const bool jump = t->inst == I_break || t->inst == I_continue, leave = t->inst == I_leave;
    if (jump) while (o && o->inst != I_for && o->inst != I_while) o = o->parent->parent;
    if (leave) while (o && o->inst != I_scope) o = o->parent->parent;
    if (!o) return;
    const bool loop = o->inst == I_for || o->inst == I_while;
    for (uint32_t k = 0; k < t->nops; k++) {
        if (o->inst == I_while && !jump && t->parent == o->regions[0]) return;
        if (k < o->nres) flow(p, t->ops[k], o->res[k]);
        const uint32_t first = o->inst == I_for ? 1 : 0;
        if (loop && k + first < o->regions[0]->nargs) flow(p, t->ops[k], o->regions[0]->args[k + first]);
    }
}
static void scan_poison(ir_op *op, void *user) {
    poison_scan *p = user;
    switch (op->inst) {
    case I_poison:
        if (op->res[0]->type.space == IS_REG && !p->poison[op->res[0]->id])
            p->poison[op->res[0]->id] = p->changed = true;
        break;
    case I_for:
        for (uint32_t k = 3; k < op->nops; k++) flow(p, op->ops[k], op->regions[0]->args[k - 2]);
        for (uint32_t k = 0; k < op->nres; k++) flow(p, op->regions[0]->args[k + 1], op->res[k]);
        break;
    case I_while:
        for (uint32_t k = 0; k < op->nops; k++) flow(p, op->ops[k], op->regions[0]->args[k]);
        for (uint32_t k = 0; k < op->nres; k++) {
            flow(p, op->regions[0]->args[k], op->res[k]);
            flow(p, op->regions[0]->args[k], op->regions[1]->args[k]);
        }
        break;
    case I_simt:
        for (uint32_t k = 0; k < op->nops; k++) {
            flow(p, op->ops[k], op->regions[0]->args[k + 1]);
            if (k < op->nres) flow(p, op->ops[k], op->res[k]);
        }
        break;
    case I_elem_set: flow(p, op->ops[0], op->res[0]); break;
    case I_yield: case I_break: case I_continue: case I_leave: flow_exit(p, op); break;
    default: break;
    }
}

typedef struct { uint32_t at, n; } poison_bits;
static const ins *check_poison(mach *m, strand *s, const ins *i) {
    const poison_bits *z = i->x;
    const uint8_t *bits = (const uint8_t *)tile_of(s->r[i->a]) + z->at;
    for (uint32_t k = 0; k < z->n; k++)
        if (!(bits[k / 8] >> (k % 8) & 1))
            return vm_trap(m, s, i, "%s reads element %u of a tile before it was written",
                           vm_insts[i->op->inst].name, k);
    return i + 1;
}
static const ins *fill_poison(mach *m, strand *s, const ins *i) {
    (void)m;
    const poison_bits *z = i->x;
    memset((char *)tile_of(s->r[i->d]) + z->at, 0, (z->n + 7) / 8);
    return i + 1;
}
static const poison_bits *bits_of(cc *c, const ir_value *v) {
    poison_bits *z = vm_new(c->arena, poison_bits);
    z->n = (uint32_t)elems_of(&v->type);
    z->at = (uint32_t)poison_at(z->n, vm_cell(v->type.elem));
    return z;
}
void cc_poison(cc *c, const ir_op *op) {
    const ir_value *v = op->res[0];
    const uint32_t d = cc_def(c, v);
    if (v->type.space != IS_REG) return;
    const uint32_t at = cc_put(c, op, fill_poison, d, 0, 0, 0);
    cc_at(c, at)->x = bits_of(c, v);
}
static bool carries_poison(vm_inst k) {
    return vm_insts[k].cls == C_CONTROL || k == I_elem_get || k == I_elem_set || k == I_poison;
}

// ---- regions ------------------------------------------------------------------------------------

typedef void (*compile_fn)(cc *c, const ir_op *op);
static const compile_fn compile[I_count_] = {
#define INST_ELEM(name, ...) [I_##name] = cc_elem,
#define INST(name, ...) [I_##name] = cc_##name,
#include "vm/inst.def"
#undef INST
#undef INST_ELEM
};

void cc_region(cc *c, const ir_region *r) {
    for (const ir_op *op = r->first; op; op = op->next) {
        if (op->inst == I_role && op->prev && op->prev->inst == I_role &&
            ir_int(op, AT_set, 0) == ir_int(op->prev, AT_set, 0))
            continue; // compiled with the first of its set
        for (uint32_t k = 0; !carries_poison(op->inst) && k < op->nops; k++) {
            if (!c->poison[op->ops[k]->id]) continue;
            const uint32_t at = cc_put(c, op, check_poison, 0, cc_use(c, op->ops[k]), 0, 0);
            cc_at(c, at)->x = bits_of(c, op->ops[k]);
        }
        compile[op->inst](c, op);
    }
}

void cc_const(cc *c, const ir_op *op) {
    const uint32_t d = cc_def(c, op->res[0]);
    const uint64_t code = (uint64_t)ir_int(op, AT_value, 0) & mask_of(op->res[0]->type.elem);
    vm_push(c->arena, &c->fd->consts, ((frame_const){d, code}));
}

static void look(ir_op *op, void *user) {
    ir_plan *p = user;
    if (op->inst == I_wait_for || op->inst == I_wait_until || op->inst == I_cluster_sync) p->across = true;
    if (op->inst == I_wait_group) p->late = true;
}

static const ins *end_block(mach *m, strand *s, const ins *i) {
    (void)m;
    s->pc = i;
    s->stop = STOP_END;
    return NULL;
}

ir_plan *ir_plan_new(const ir_func *f) {
    vm_arena *a = f->comp->arena;
    ir_plan *p = vm_new(a, ir_plan);
    p->func = f;
    cc c = {.p = p, .f = f, .arena = a, .fd = &p->frame};
    c.slot = vm_newn(a, uint32_t, f->next_id + 1);
    c.home = vm_newn(a, uint32_t, f->next_id + 1);
    c.cap = vm_newn(a, uint32_t, f->next_id + 1);
    c.cap_in = vm_newn(a, uint32_t, f->next_id + 1);
    c.poison = vm_newn(a, bool, f->next_id + 1);
    poison_scan scan = {c.poison, true};
    while (scan.changed) {
        scan.changed = false;
        ir_walk(f->body, scan_poison, &scan);
    }
    ir_walk(f->body, look, p);
    for (uint32_t k = 0; k < f->nparams; k++) cc_alias(&c, f->params[k].value, cc_new(&c));
    cc_region(&c, f->body);
    const ir_op *last = f->body->last;
    cc_put(&c, last, end_block, 0, 0, 0, 0);
    return p;
}
