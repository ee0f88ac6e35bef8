// SPDX-License-Identifier: Apache-2.0
// Atomic operations. Blocks run on several threads of the host, so the host's atomics do the work:
// a compare-and-swap loop around one function of old value and operand. 16 bytes take a lock.
#include "runtime/vgpu/alu.h"
#include "runtime/vgpu/memory.h"

#include <string.h>

enum op { OP_ADD, OP_AND, OP_OR, OP_XOR, OP_EXCH, OP_CAS, OP_INC, OP_DEC, OP_MIN, OP_MAX };
static const char *const op_names[] = {"add", "and", "or", "xor", "exch", "cas", "inc", "dec", "min", "max", NULL};

/// One cell: its operation, type, and where operands and results are (rows for each element).
typedef struct {
    uint8_t op, type;
    bool flush;                 // f32 on global memory: subnormals are zero
    bool result;
    vg_row_of d[8], b[8], c[8];
} atomics;

// ---- values -------------------------------------------------------------------------------------

static uint32_t half_op(enum op op, uint32_t x, uint32_t y, bool bf) {
    const float a = bf ? vga_bf16(x & 0xffff) : vga_f16(x & 0xffff), b = bf ? vga_bf16(y & 0xffff) : vga_f16(y & 0xffff);
    float r;
    if (op == OP_ADD) r = a + b; // exact sums of halves round once: float holds twice their bits and more
    else if (a != a) r = b;
    else if (b != b) r = a;
    else if (op == OP_MIN) r = a < b || (!(b < a) && x >> 15 & 1) ? a : b;
    else r = a > b || (!(b > a) && !(x >> 15 & 1)) ? a : b;
    if (op == OP_ADD && bf) r = vga_float_odd(vga_add_odd((double)a, (double)b)); // exponents may lie far apart
    return bf ? vga_to_bf16(r) : vga_to_f16(r);
}

static uint64_t apply(const atomics *x, uint64_t old, uint64_t b, uint64_t c) {
    const uint32_t o = (uint32_t)old, v = (uint32_t)b;
    switch ((enum op)x->op) {
    case OP_AND: return old & b;
    case OP_OR: return old | b;
    case OP_XOR: return old ^ b;
    case OP_EXCH: return b;
    case OP_CAS: return old == b ? c : old;
    case OP_INC: return o >= v ? 0 : o + 1;
    case OP_DEC: return o == 0 || o > v ? v : o - 1;
    case OP_ADD: case OP_MIN: case OP_MAX: break;
    }
    const bool least = x->op == OP_MIN;
    switch (x->type) {
    case PTX_f16: return half_op(x->op, o, v, false);
    case PTX_bf16: return half_op(x->op, o, v, true);
    case PTX_f16x2: return half_op(x->op, o, v, false) | half_op(x->op, o >> 16, v >> 16, false) << 16;
    case PTX_bf16x2: return half_op(x->op, o, v, true) | half_op(x->op, o >> 16, v >> 16, true) << 16;
    case PTX_f32: {
        const unsigned fl = x->flush ? VGA_FTZ : 0;
        return vga_out32(vga_in32(o, fl) + vga_in32(v, fl), fl);
    }
    case PTX_f64: {
        const double r = vga_d(old) + vga_d(b);
        return r != r ? 0x7ff8000000000000ull : vga_du(r);
    }
    case PTX_s32:
        if (x->op == OP_ADD) return o + v;
        return ((int32_t)o < (int32_t)v) == least ? o : v;
    case PTX_s64:
        if (x->op == OP_ADD) return old + b;
        return ((int64_t)old < (int64_t)b) == least ? old : b;
    case PTX_u64:
        if (x->op == OP_ADD) return old + b;
        return (old < b) == least ? old : b;
    default:
        if (x->op == OP_ADD) return o + v;
        return (o < v) == least ? o : v;
    }
}

#define EXCHANGE(T)                                                                                \
    do {                                                                                           \
        _Atomic T *const at = (_Atomic T *)(void *)p;                                              \
        T old = atomic_load_explicit(at, memory_order_relaxed);                                    \
        T new_value;                                                                               \
        do {                                                                                       \
            new_value = (T)apply(x, old, b, c);                                                    \
        } while (!atomic_compare_exchange_weak(at, &old, new_value));                              \
        *changed |= new_value != old;                                                              \
        return old;                                                                                \
    } while (0)

static uint64_t exchange(const atomics *x, uint32_t bytes, uintptr_t p, uint64_t b, uint64_t c, bool *changed) {
    if (bytes == 4) EXCHANGE(uint32_t);
    if (bytes == 8) EXCHANGE(uint64_t);
    EXCHANGE(uint16_t);
}

static uint64_t value(const vg_warp *w, const vg_row_of *r, uint32_t lane) {
    return r->bits == 64 ? VG_ROW64(w, r->row)[lane] : VG_ROW32(w, r->row)[lane];
}

/// cas and exch of 16 bytes.
static void wide(vg_warp *w, const atomics *x, uint32_t lane, uintptr_t p, bool *changed) {
    uint64_t old[2];
    const uint64_t *const b = VG_ROW64(w, x->b[0].row) + 2 * lane;
    const uint64_t *const v = x->op == OP_CAS ? VG_ROW64(w, x->c[0].row) + 2 * lane : b;
    vg_lock(w->run->gpu);
    memcpy(old, (void *)p, 16);
    if (x->op == OP_EXCH || (old[0] == b[0] && old[1] == b[1])) {
        *changed |= memcmp((void *)p, v, 16) != 0;
        memcpy((void *)p, v, 16);
    }
    vg_unlock(w->run->gpu);
    if (x->result && x->d[0].row != VG_NO_ROW) memcpy(VG_ROW64(w, x->d[0].row) + 2 * lane, old, 16);
}

static enum vg_next ex_atom(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const atomics *const x = in->aux;
    vg_accessed a;
    const uint32_t bytes = in->bytes, total = bytes * in->vec;
    const int use = VG_ATOMIC | VG_READ | VG_WRITE;
    if (!vg_access(w, in, mask, total, total, use, &a)) return VG_STOP;
    if (w->watch) vg_access_watched(w, in, mask, total, use, &a);
    bool changed = false;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m);
        if (!a.one && (a.spaces[lane] == PTX_LOCAL || a.spaces[lane] == PTX_PARAM))
            return vg_fail(w, in, lane, VG_ILLEGAL_ADDRESS, "an atomic operation on local memory");
        for (uint32_t i = 0; i < in->vec; i++) {
            const uintptr_t p = a.host[lane] + i * bytes;
            if (bytes == 16) {
                wide(w, x, lane, p, &changed);
                continue;
            }
            const uint64_t old = exchange(x, bytes, p, value(w, &x->b[i], lane), x->op == OP_CAS ? value(w, &x->c[i], lane) : 0, &changed);
            if (!x->result || x->d[i].row == VG_NO_ROW) continue;
            if (x->d[i].bits == 64) VG_ROW64(w, x->d[i].row)[lane] = old;
            else VG_ROW32(w, x->d[i].row)[lane] = (uint32_t)old;
        }
    }
    if (!changed) w->polled = true;
    return VG_NEXT;
}

// ---- decoding -----------------------------------------------------------------------------------

static bool type_fits(enum op op, int type, uint32_t vec) {
    switch (op) {
    case OP_AND: case OP_OR: case OP_XOR: return type == PTX_b32 || type == PTX_b64;
    case OP_EXCH: return type == PTX_b32 || type == PTX_b64 || type == PTX_b128;
    case OP_CAS: return type == PTX_b16 || type == PTX_b32 || type == PTX_b64 || type == PTX_b128;
    case OP_INC: case OP_DEC: return type == PTX_u32;
    default: break;
    }
    if (type == PTX_f16 || type == PTX_bf16 || type == PTX_f16x2 || type == PTX_bf16x2) return op == OP_ADD || vec > 1;
    if (op == OP_ADD && (type == PTX_f32 || type == PTX_f64)) return true;
    return type == PTX_u32 || type == PTX_s32 || type == PTX_u64 || type == PTX_s64;
}

static void rows_of(vg_decoder *d, const ptx_opnd *o, uint32_t n, int type, bool result, vg_row_of *out) {
    const ptx_opnd *const at = o->kind == PTX_O_LIST ? o->list : o;
    if ((o->kind == PTX_O_LIST ? o->nlist : 1) != n && !(result && o->kind == PTX_O_SINK)) {
        vgd_fail(d, "the elements of an operand are not the %u accessed", (unsigned)n);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        out[i].bits = ptx_types[type].bits;
        if (result && (o->kind == PTX_O_SINK || at[i].kind == PTX_O_SINK)) out[i].row = VG_NO_ROW;
        else out[i].row = result ? vgd_result(d, &at[i], type) : vgd_source(d, &at[i], type);
    }
}

void vgd_atom(vg_decoder *d, vg_inst *out) {
    if (strcmp(d->in->op, "red") == 0 && vgd_mod(d, "async")) {
        vgd_store_async(d, out);
        return;
    }
    atomics *const x = vgd_alloc(d, sizeof *x);
    vgd_ordering(d);
    const bool policy = vgd_has_policy(d);
    const int space = vgd_space(d), op = vgd_one_of(d, op_names), type = vgd_type(d, 0);
    vgd_mod(d, "noftz");
    out->vec = (uint8_t)vgd_vector(d);
    if (op < 0 || (space != PTX_GENERIC && space != PTX_GLOBAL && space != PTX_SHARED && space != PTX_SHARED_CLUSTER)) {
        vgd_fail(d, op < 0 ? "an unknown operation" : "an atomic operation on this space");
        return;
    }
    if (type == PTX_NONE || !type_fits((enum op)op, type, out->vec)) {
        vgd_fail(d, ".%s of .%s", op_names[op], type ? ptx_types[type].name : "no type");
        return;
    }
    out->bytes = (uint8_t)(ptx_types[type].bits / 8);
    if ((uint32_t)out->bytes * out->vec > 16) {
        vgd_fail(d, "an access of %u bytes", (unsigned)out->bytes * out->vec);
        return;
    }
    x->op = (uint8_t)op;
    x->type = (uint8_t)type;
    x->result = strcmp(d->in->op, "atom") == 0;
    x->flush = type == PTX_f32 && out->vec == 1 && space == PTX_GLOBAL;
    const uint32_t at = x->result ? 1 : 0, sources = op == OP_CAS ? 2 : 1;
    if (!vgd_count(d, at + 1 + sources, at + 1 + sources + (policy ? 1 : 0))) return;
    const ptx_opnd *const o = d->in->opnd;
    if (x->result) rows_of(d, &o[0], out->vec, type, true, x->d);
    rows_of(d, &o[at + 1], out->vec, type, false, x->b);
    if (op == OP_CAS) rows_of(d, &o[at + 2], out->vec, type, false, x->c);
    out->space = (uint8_t)space;
    out->cls = VG_C_atomic;
    out->aux = x;
    vgd_memory(d, out, &o[at]);
    out->run = ex_atom;
}
