// SPDX-License-Identifier: Apache-2.0
// The host region: a scalar interpreter without allocation, run at every launch. It checks pointers,
// alignment, overlap, extents against stated shapes and buffer sizes, and the contract clauses, then
// gives grid and dynamic shared memory. Reads the function only: any number of threads may run it.
#include "ir/ir.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum { SLOTS = 2048, MAX_STEPS = 1 << 20 };

typedef struct {
    const ir_value *v;
    uint64_t code;
} slot;

typedef struct {
    const ir_func *f;
    const ir_arg *args;
    ir_launch *out;
    slot slots[SLOTS]; // open-addressed by id
    uint32_t used, steps;
    bool breaks;         // the jump under way is a break
    const ir_op *target; // of a jump under way
    enum { RUN, END, JUMP, FAIL } state;
    uint64_t extent[32]; // bytes that each pointer's extents span, for the overlap check
} host;

static bool refuse(host *h, enum vm_code code, const char *fmt, ...) VM_PRINTF(3, 4);
static bool refuse(host *h, enum vm_code code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(h->out->error, sizeof h->out->error, fmt, ap);
    va_end(ap);
    h->out->code = code;
    h->state = FAIL;
    return false;
}

static bool set(host *h, const ir_value *v, uint64_t code) {
    uint32_t i = v->id * 2654435761u % SLOTS;
    while (h->slots[i].v && h->slots[i].v != v) i = (i + 1) % SLOTS;
    if (!h->slots[i].v && ++h->used > SLOTS - SLOTS / 4)
        return refuse(h, D_L0007, "the launch conditions are too large to evaluate");
    h->slots[i] = (slot){v, code};
    return true;
}

static uint64_t get(const host *h, const ir_value *v) {
    uint32_t i = v->id * 2654435761u % SLOTS;
    while (h->slots[i].v && h->slots[i].v != v) i = (i + 1) % SLOTS;
    return h->slots[i].v ? h->slots[i].code : 0;
}

static int64_t get_int(const host *h, const ir_value *v) {
    return vm_decode_int(v->type.elem, get(h, v));
}

typedef struct {
    uint32_t params;   // bit set of those mentioned
    uint32_t steps;
} mention;

static void mentioned(const host *h, const ir_value *v, mention *m, int depth) {
    if (depth > 32 || m->steps++ > 1000) return;
    if (!v->def) {
        for (uint32_t i = 0; i < h->f->nparams && i < 32; i++)
            if (h->f->params[i].value == v) m->params |= 1u << i;
        return;
    }
    for (uint32_t i = 0; i < v->def->nops; i++) mentioned(h, v->def->ops[i], m, depth + 1);
}

static void put(char *buf, size_t size, size_t *n, const char *fmt, ...) VM_PRINTF(4, 5);
static void put(char *buf, size_t size, size_t *n, const char *fmt, ...) {
    if (*n >= size) return;
    va_list ap;
    va_start(ap, fmt);
    const int k = vsnprintf(buf + *n, size - *n, fmt, ap);
    va_end(ap);
    if (k > 0) *n += (size_t)k;
}

// "k = 4100 and group = 128": the run-time parameters that v depends on.
static void put_values(const host *h, const ir_value *v, char *buf, size_t size) {
    mention m = {0};
    mentioned(h, v, &m, 0);
    size_t n = 0;
    buf[0] = 0;
    for (uint32_t i = 0; i < h->f->nparams && i < 32; i++) {
        if (!(m.params >> i & 1)) continue;
        const ir_param *p = &h->f->params[i];
        const vm_dtype t = p->value->type.elem;
        if (p->value->type.space != IS_SCALAR) continue;
        if (n) put(buf, size, &n, " and ");
        if (vm_is_float(t)) put(buf, size, &n, "%s = %g", p->name, vm_decode(t, h->args[i].code));
        else put(buf, size, &n, "%s = %" PRId64, p->name, vm_decode_int(t, h->args[i].code));
    }
}

static bool check(host *h, const ir_op *op) {
    if (get(h, op->ops[0])) return true;
    const char *text = ir_str(op, AT_message);
    if (!text) text = "a launch condition does not hold";
    char values[200];
    put_values(h, op->ops[0], values, sizeof values);
    const char *hole = strstr(text, "{}");
    if (hole) {
        const char *rest = hole + 2;
        if (!*values && strncmp(rest, " and ", 5) == 0) rest += 5;
        return refuse(h, D_L0002, "%.*s%s%s", (int)(hole - text), text, values, rest);
    }
    char place[120] = "";
    const vm_source *s = op->span.file ? vm_source_at(h->f->comp, op->span.file) : NULL;
    if (s) {
        uint32_t line, col;
        vm_source_place(s, op->span.lo, &line, &col);
        snprintf(place, sizeof place, " (%s:%u)", s->name, line);
    }
    return refuse(h, D_L0002, "%s%s%s%s", text, *values ? ", but " : "", values, place);
}

static bool extents(host *h, const ir_op *op) {
    const int64_t p = ir_int(op, AT_param, 0);
    if (p >= h->f->nparams) return true;
    const ir_param *q = &h->f->params[p];
    const ir_arg *a = &h->args[p];
    uint64_t n = vm_mem_bits(q->value->type.elem);
    for (uint32_t d = 0; d < op->nops; d++) {
        const int64_t e = get_int(h, op->ops[d]);
        if (e < 0) return refuse(h, D_L0001, "extent %u of '%s' is %" PRId64, d, q->name, e);
        if (a->rank >= 0 && (uint32_t)a->rank == op->nops && a->dim[d] != e)
            return refuse(h, D_L0001, "extent %u of '%s' is %" PRId64 ", but the kernel needs %" PRId64, d,
                          q->name, a->dim[d], e);
        if (__builtin_mul_overflow(n, (uint64_t)e, &n))
            return refuse(h, D_L0001, "'%s' is too large", q->name);
    }
    if (a->rank >= 0 && (uint32_t)a->rank != op->nops)
        return refuse(h, D_L0001, "'%s' has %d dimensions, but the kernel needs %u", q->name, a->rank, op->nops);
    const uint64_t bytes = n / 8 + (n % 8 != 0);
    if (a->bytes != (size_t)-1 && a->bytes < bytes)
        return refuse(h, D_L0001, "'%s' has %zu bytes, but the kernel needs %" PRIu64, q->name, a->bytes, bytes);
    if (bytes && !a->ptr) return refuse(h, D_L0003, "'%s' is a null pointer", q->name);
    if (p < 32) h->extent[p] = bytes;
    return true;
}

/// CUtensorMapDataType: it decides the element's size and how reductions add.
int ir_map_type(vm_dtype t) {
    switch (t) {
    case T_f16: return 6;
    case T_bf16: return 9;
    case T_f32: case T_tf32: return 7;
    case T_f64: return 8;
    case T_u32: return 2;
    case T_i32: return 3;
    case T_u64: return 4;
    case T_i64: return 5;
    default: return vm_mem_bits(t) <= 8 ? 0 : vm_mem_bits(t) == 16 ? 1 : 2;
    }
}

int ir_map_swizzle(int bytes) { return bytes == 128 ? 3 : bytes == 64 ? 2 : bytes == 32 ? 1 : 0; }

static bool tensor(host *h, const ir_op *op) {
    const ir_attr *box = ir_get(op, AT_box);
    const ir_param *p = &h->f->params[ir_int(op, AT_param, 0)];
    if (h->out->maps == IR_MAX_MAPS) return refuse(h, D_L0007, "the launch needs too many tensor maps");
    ir_tensor_map *m = &h->out->map[h->out->maps++];
    memset(m, 0, sizeof *m); // compared as bytes
    m->base = h->args[ir_int(op, AT_param, 0)].ptr;
    m->elem = (vm_dtype)ir_int(op, AT_elem, T_u8);
    m->rank = (int)box->n;
    m->swizzle = (int)ir_int(op, AT_swizzle, 0);
    for (uint32_t i = 0; i < box->n; i++) {
        const int64_t e = get_int(h, op->ops[i]), s = i ? get_int(h, op->ops[box->n + i - 1]) : 0;
        if (e > (int64_t)1 << 32) return refuse(h, D_L0008, "'%s' has an extent of %" PRId64 ", which tensor copies cannot reach", p->name, e);
        if (s % 16 || s < 0 || s >= (int64_t)1 << 40)
            return refuse(h, D_L0008, "'%s' has a stride of %" PRId64 " bytes: tensor copies need multiples of 16 below 2^40", p->name, s);
        m->extent[i] = e > 0 ? (uint64_t)e : 1; // an empty tensor is never asked for anything
        m->stride[i] = (uint64_t)s;
        m->box[i] = (uint32_t)box->v[i];
    }
    return true;
}

static bool launch(host *h, const ir_op *op) {
    static const char axis[3] = {'x', 'y', 'z'};
    for (int d = 0; d < 3; d++) {
        const int64_t n = get_int(h, op->ops[d]), most = d ? 65535 : INT32_MAX;
        char values[200];
        put_values(h, op->ops[d], values, sizeof values);
        if (n < 0 || n > most) // an empty grid is the runtime's affair: nothing is launched
            return refuse(h, D_L0005, "grid.%c is %" PRId64 ", the limit is %" PRId64 "%s%s", axis[d], n, most,
                          *values ? "; " : "", values);
        if (n % h->f->cluster[d])
            return refuse(h, D_L0005, "grid.%c is %" PRId64 ", no multiple of the cluster's %d blocks%s%s", axis[d], n, h->f->cluster[d],
                          *values ? "; " : "", values);
        h->out->grid[d] = n;
    }
    if (op->nops > 3) {
        const int64_t bytes = get_int(h, op->ops[3]);
        const uint64_t limit = h->f->module->arch ? h->f->module->arch->shared_bytes : 227 * 1024;
        if (bytes < 0 || (uint64_t)bytes > limit || h->f->shared_bytes + (uint64_t)bytes > limit)
            return refuse(h, D_L0006, "the block needs %" PRId64 " bytes of shared memory, the limit is %" PRIu64,
                          (int64_t)h->f->shared_bytes + bytes, limit);
        h->out->dynamic_shared = (uint64_t)bytes;
    }
    return true;
}

static void region(host *h, const ir_region *r);

static void assign(host *h, uint32_t n, ir_value *const *to, ir_value *const *from) {
    uint64_t tmp[16];
    for (uint32_t i = 0; i < n && i < 16; i++) tmp[i] = get(h, from[i]);
    for (uint32_t i = 0; i < n && i < 16; i++) set(h, to[i], tmp[i]);
    if (n > 16) refuse(h, D_L0007, "the launch conditions are too large to evaluate");
}

static const ir_op *enclosing(const ir_op *op, bool scope) {
    for (const ir_op *p = op->parent->parent; p; p = p->parent->parent)
        if (scope ? p->inst == I_scope : p->inst == I_for || p->inst == I_while) return p;
    return NULL;
}

// Whether the jump under way ends at `op`; then it is over.
static bool arrives(host *h, const ir_op *op) {
    if (h->state != JUMP || h->target != op) return false;
    h->state = RUN;
    return true;
}

static void run_for(host *h, const ir_op *op) {
    const ir_region *r = op->regions[0];
    const vm_dtype t = op->ops[0]->type.elem;
    uint64_t i = get(h, op->ops[0]);
    assign(h, op->nres, op->res, op->ops + 3);
    while (h->state == RUN) {
        const uint64_t bounds[2] = {i, get(h, op->ops[1])}, sum[2] = {i, get(h, op->ops[2])};
        if (!vm_eval(I_lt, t, bounds)) return;
        set(h, r->args[0], i);
        assign(h, op->nres, r->args + 1, op->res);
        region(h, r);
        if (h->state == FAIL || h->state == END) return;
        if (h->state == JUMP && (!arrives(h, op) || h->breaks)) return;
        const uint64_t next = vm_eval(I_add, t, sum), order[2] = {i, next};
        if (!vm_eval(I_lt, t, order)) return; // step not positive, or past the type's end
        i = next;
    }
}

static void run_while(host *h, const ir_op *op) {
    assign(h, op->nres, op->res, op->ops);
    while (h->state == RUN) {
        const ir_region *r = op->regions[0];
        assign(h, op->nres, r->args, op->res);
        region(h, r);
        if (h->state != RUN || !get(h, ir_terminator(r)->ops[0])) return;
        assign(h, op->nres, op->regions[1]->args, op->res);
        region(h, op->regions[1]);
        if (h->state == JUMP && (!arrives(h, op) || h->breaks)) return;
    }
}

static void step(host *h, const ir_op *op) {
    uint64_t a[3];
    const uint8_t cls = vm_insts[op->inst].cls;
    if (h->steps++ > MAX_STEPS) {
        refuse(h, D_L0007, "the launch conditions take too long to evaluate");
        return;
    }
    switch (op->inst) {
    case I_const:
        set(h, op->res[0], (uint64_t)ir_int(op, AT_value, 0));
        return;
    case I_host_check:
        check(h, op);
        return;
    case I_host_extent:
        extents(h, op);
        return;
    case I_host_tensor:
        tensor(h, op);
        return;
    case I_host_launch:
        launch(h, op);
        return;
    case I_if: {
        const ir_region *r = op->regions[get(h, op->ops[0]) ? 0 : 1];
        region(h, r);
        return;
    }
    case I_scope:
        region(h, op->regions[0]);
        arrives(h, op);
        return;
    case I_for:
        run_for(h, op);
        return;
    case I_while:
        run_while(h, op);
        return;
    case I_cast: {
        const vm_dtype to = op->res[0]->type.elem;
        set(h, op->res[0], vm_cast(op->ops[0]->type.elem, to, get(h, op->ops[0]), ir_rounding(op)));
        return;
    }
    case I_bitcast:
        set(h, op->res[0], get(h, op->ops[0]));
        return;
    default:
        break;
    }
    if ((cls != C_ELEM && cls != C_CMP && cls != C_SELECT) || op->nops > 3) return;
    for (uint32_t i = 0; i < op->nops; i++) a[i] = get(h, op->ops[i]);
    set(h, op->res[0], vm_eval(op->inst, op->ops[cls == C_SELECT ? 1 : 0]->type.elem, a));
}

static void region(host *h, const ir_region *r) {
    for (const ir_op *op = r->first; op && h->state == RUN; op = op->next) {
        switch (op->inst) {
        case I_yield:
            if (r->parent->inst != I_while || r == r->parent->regions[1])
                assign(h, op->nops, r->parent->res, op->ops);
            return;
        case I_return:
            h->state = END;
            return;
        case I_break:
        case I_continue:
        case I_leave:
            h->target = enclosing(op, op->inst == I_leave);
            assign(h, op->nops, h->target->res, op->ops);
            if (h->state == RUN) h->state = JUMP;
            h->breaks = op->inst == I_break;
            return;
        default:
            step(h, op);
            break;
        }
    }
}

static bool check_pointers(host *h) {
    for (uint32_t i = 0; i < h->f->nparams; i++) {
        const ir_param *p = &h->f->params[i];
        if (p->value->type.space != IS_PTR) continue;
        if ((uintptr_t)h->args[i].ptr % (unsigned)p->align)
            return refuse(h, D_L0003, "'%s' is not aligned to %d bytes", p->name, p->align);
    }
    for (uint32_t i = 0; i < h->f->nparams && i < 32; i++)
        for (uint32_t k = 0; k < h->f->nparams && k < 32; k++) {
            const ir_param *p = &h->f->params[i], *q = &h->f->params[k];
            if (i == k || !p->written || p->alias || q->alias || !h->extent[i] || !h->extent[k]) continue;
            const uintptr_t a = (uintptr_t)h->args[i].ptr, b = (uintptr_t)h->args[k].ptr;
            if (a < b + h->extent[k] && b < a + h->extent[i])
                return refuse(h, D_L0004, "'%s' is written and overlaps '%s'; #[alias] allows it", p->name, q->name);
        }
    return true;
}

bool ir_host_eval(const ir_func *f, const ir_arg *args, ir_launch *out) {
    host h;
    memset(&h, 0, sizeof h);
    h.f = f;
    h.args = args;
    h.out = out;
    memset(out, 0, offsetof(ir_launch, map));
    out->grid[0] = out->grid[1] = out->grid[2] = 1;
    for (uint32_t i = 0; i < f->nparams; i++)
        if (f->params[i].value->type.space == IS_SCALAR) set(&h, f->params[i].value, args[i].code);
    if (h.state == RUN) region(&h, f->host);
    if (h.state != FAIL) check_pointers(&h);
    return h.state != FAIL;
}
