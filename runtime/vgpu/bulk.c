// SPDX-License-Identifier: Apache-2.0
// Bulk copies: cp.async.bulk and cp.reduce.async.bulk between global and shared memory of the
// cluster, bulk groups, and what tensor copies (tma.c) share with them: queue, completion,
// reductions.
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/async.h"
#include "runtime/vgpu/memory.h"

struct vg_ticket {
    uint64_t id;
    vg_block *owner; // destination's block, which has the mbarrier
    bool reads;
};

// ---- reductions ---------------------------------------------------------------------------------

static uint64_t combine_int(uint64_t x, uint64_t y, int red, unsigned bits, bool is_signed) {
    const uint64_t mask = bits == 64 ? UINT64_MAX : (1ull << bits) - 1,
                   sign = is_signed ? 1ull << (bits - 1) : 0;
    switch (red) {
    case VG_RED_ADD:
        return (x + y) & mask;
    case VG_RED_MIN:
        return (x ^ sign) < (y ^ sign) ? x : y;
    case VG_RED_MAX:
        return (x ^ sign) > (y ^ sign) ? x : y;
    case VG_RED_INC:
        return x >= y ? 0 : x + 1;
    case VG_RED_DEC:
        return x == 0 || x > y ? y : x - 1;
    case VG_RED_AND:
        return x & y;
    case VG_RED_OR:
        return x | y;
    case VG_RED_XOR:
        return x ^ y;
    default:
        return y;
    }
}

static double combine_float(double x, double y, int red) {
    if (red == VG_RED_ADD) return x + y;
    if (x != x) return y;
    if (y != y) return x;
    return (red == VG_RED_MIN) == (x < y) ? x : y;
}

static uint64_t combine(uint64_t x, uint64_t y, int red, int type) {
    union {
        uint32_t u;
        float f;
    } a = {(uint32_t)x}, b = {(uint32_t)y};
    union {
        uint64_t u;
        double d;
    } p = {x}, q = {y};
    switch (type) {
    case PTX_f16:
        return vg_to_f16((float)combine_float(vg_f16(a.u), vg_f16(b.u), red), (vm_rounding){0}) &
               0xffff;
    case PTX_bf16:
        return vg_to_bf16((float)combine_float(vg_bf16(a.u), vg_bf16(b.u), red), (vm_rounding){0}) &
               0xffff;
    case PTX_f32:
        if (red == VG_RED_ADD)
            a.f += b.f;
        else
            a.f = (float)combine_float(a.f, b.f, red);
        return a.u;
    case PTX_f64:
        p.d = combine_float(p.d, q.d, red);
        return p.u;
    default:
        return combine_int(x, y, red, ptx_types[type].bits, ptx_types[type].kind == PTX_K_INT);
    }
}

/// Element by element and atomically: other blocks may reduce into the same memory.
#define REDUCE(T)                                                                                  \
    do {                                                                                           \
        T *d = (T *)(void *)dst;                                                                   \
        for (size_t i = 0; i < bytes / sizeof(T); i++) {                                           \
            T y, old = __atomic_load_n(&d[i], __ATOMIC_RELAXED), made;                             \
            memcpy(&y, src + i * sizeof(T), sizeof(T));                                            \
            do made = (T)combine(old, y, red, type);                                               \
            while (!__atomic_compare_exchange_n(&d[i], &old, made, false, __ATOMIC_RELAXED,        \
                                                __ATOMIC_RELAXED));                                \
        }                                                                                          \
    } while (0)

void vg_reduce(uint8_t *dst, const uint8_t *src, size_t bytes, int red, int type) {
    switch (ptx_types[type].bits) {
    case 8:
        REDUCE(uint8_t);
        break;
    case 16:
        REDUCE(uint16_t);
        break;
    case 32:
        REDUCE(uint32_t);
        break;
    default:
        REDUCE(uint64_t);
        break;
    }
}

// ---- queue and completion
// -------------------------------------------------------------------------

vg_bulk *vg_bulk_new(vg_warp *w, const vg_inst *in, uint32_t lane) {
    vg_bulk *o = vg_issuer_of(w) ? calloc(1, sizeof *o) : NULL;
    if (!o) return NULL;
    o->warp = w;
    o->in = in;
    o->lane = lane;
    return o;
}

void vg_bulk_drop(vg_bulk *o) {
    free(o->data);
    free(o->ticket);
    free(o->tensor);
    free(o);
}

void vg_bulk_unlink(vg_agents *g, vg_bulk *o) {
    vg_bulk **p = &g->bulk;
    while (*p != o) p = &(*p)->next;
    *p = o->next;
    if (g->bulk_end == &o->next) g->bulk_end = p;
    vg_bulk_drop(o);
}

void vg_bulk_lease(vg_bulk *o, vg_block *owner, int space, uint64_t at, uint64_t bytes, int use) {
    if (!vg_sane(o->warp) || !bytes) return;
    if (o->nticket == o->cap_ticket) {
        uint32_t cap = o->cap_ticket ? 2 * o->cap_ticket : 8;
        struct vg_ticket *t = realloc(o->ticket, cap * sizeof *t);
        if (!t) return;
        o->ticket = t;
        o->cap_ticket = cap;
    }
    uint64_t id = vg_san_async(o->warp, o->in, owner, space, at, bytes, use,
                               o->tensor ? "tensor copy" : "bulk copy");
    o->ticket[o->nticket++] = (struct vg_ticket){id, owner, use == VG_READ};
}

/// Ends leases of sources, or everything.
static void end_leases(vg_bulk *o, bool writes_too) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->nticket; i++) {
        const struct vg_ticket t = o->ticket[i];
        if (!t.reads && !writes_too)
            o->ticket[kept++] = t;
        else {
            vg_block *bar = o->bar_owner ? o->bar_owner : t.reads ? o->warp->block : t.owner;
            vg_san_async_end(o->warp, t.id, !o->by_group, o->by_group ? NULL : bar, o->bar_offset);
        }
    }
    o->nticket = kept;
}

void vg_bulk_issue(vg_bulk *o) {
    vg_block *b = o->warp->block;
    vg_agents *g = b->async;
    if (vg_sane(o->warp) && !o->by_group) {
        if (o->bar_owner)
            vg_san_mbarrier_use(o->warp, o->in, o->lane, o->bar_owner, o->bar_offset, true);
        for (uint32_t m = o->bar_owner ? 0 : o->targets; m; m &= m - 1) {
            vg_san_mbarrier_use(o->warp, o->in, o->lane, b->cluster->block[__builtin_ctz(m)],
                                o->bar_offset, true);
        }
    }
    if (o->by_group) o->group = ((vg_issuer *)o->warp->async)->bulk_group[o->lane];
    vg_draw(b, &o->due);
    *g->bulk_end = o;
    g->bulk_end = &o->next;
}

static uint8_t *staging(vg_bulk *o) {
    if (!o->data) o->data = malloc(o->bytes ? o->bytes : 1);
    if (!o->data) vg_no_memory(o->warp, o->in);
    return o->data;
}

void vg_bulk_read(vg_bulk *o) {
    if (o->has_read || !staging(o)) return;
    o->has_read = true;
    if (!o->tensor)
        memcpy(o->data, o->src, o->bytes);
    else if (o->tensor_load)
        vg_tensor_load(o);
    else
        vg_tensor_fetch(o);
}

static void put(vg_bulk *o, uint8_t *dst, const uint8_t *from) {
    if (o->red)
        vg_reduce(dst, from, o->bytes, o->red, o->type);
    else
        memmove(dst, from, o->bytes);
}

void vg_bulk_write(vg_bulk *o) {
    vg_agents *g = o->warp->block->async;
    if (o->tensor && !o->has_read) vg_bulk_read(o);
    o->done = true;
    if (o->tensor && !o->data) { // no memory: the launch has failed
        vg_bulk_unlink(g, o);
        return;
    }
    const uint8_t *from = o->has_read ? o->data : o->src;
    vg_cluster *c = o->warp->block->cluster;
    if (!o->targets) {
        if (o->tensor)
            vg_tensor_store(o);
        else
            put(o, o->dst, from);
    }
    for (uint32_t m = o->targets; m; m &= m - 1) {
        vg_block *to = c->block[__builtin_ctz(m)];
        if (!to) continue;
        if (o->tensor)
            vg_tensor_place(o, to->shared, o->dst_offset);
        else
            put(o, to->shared + o->dst_offset, from);
    }
    o->has_read = true;
    if (o->by_group) {
        if (!o->nticket) vg_bulk_unlink(g, o);
        return;
    }
    // A phase that completes may let the program reuse everything: the leases end first.
    end_leases(o, true);
    if (o->bar_owner)
        vg_mbar_bytes(o->warp, o->in, o->lane, o->bar_owner, o->bar_offset, -(int64_t)o->bytes);
    else {
        for (uint32_t m = o->targets; m; m &= m - 1) {
            vg_block *to = c->block[__builtin_ctz(m)];
            if (to &&
                !vg_mbar_bytes(o->warp, o->in, o->lane, to, o->bar_offset, -(int64_t)o->bytes))
                break;
        }
    }
    vg_bulk_unlink(g, o);
}

// ---- executors ----------------------------------------------------------------------------------

static enum vg_next commit(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_issuer *i = vg_issuer_of(w);
    if (!i) return vg_no_memory(w, in);
    for (uint32_t m = mask; m; m &= m - 1) i->bulk_group[__builtin_ctz(m)]++;
    return VG_NEXT;
}

/// sub: .read, the sources only.
static enum vg_next wait(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_issuer *i = w->async;
    vg_agents *g = w->block->async;
    for (vg_bulk *o = i && g ? g->bulk : NULL, *after; o; o = after) {
        after = o->next;
        if (!o->by_group || o->warp != w || !(mask >> o->lane & 1)) continue;
        if (o->group + (uint64_t)in->imm >= i->bulk_group[o->lane]) continue;
        if (in->sub) {
            vg_bulk_read(o);
            end_leases(o, false);
            if (o->done && !o->nticket) vg_bulk_unlink(g, o);
            continue;
        }
        bool kept = o->nticket != 0;
        if (!o->done) vg_bulk_write(o);
        if (kept) {
            end_leases(o, true);
            vg_bulk_unlink(g, o);
        }
    }
    return VG_NEXT;
}

typedef struct {
    int64_t dst, src, bar; // offsets of the addresses
    bool wide_dst, wide_src, wide_bar;
    bool to_global, from_shared, multicast;
    uint8_t red, type;
} bulk_args;

static uint64_t address(vg_warp *w, vg_row r, bool wide, int64_t offset, uint32_t lane) {
    return wide ? VG_ROW64(w, r)[lane] + (uint64_t)offset
                : (uint32_t)(VG_ROW32(w, r)[lane] + (uint64_t)offset);
}

/// Host address in shared memory; its block and offset there.
static uint8_t *shared_at(vg_warp *w, const vg_inst *in, uint32_t lane, uint64_t a, uint32_t n,
                          uint32_t align, int use, vg_block **owner, uint32_t *offset) {
    int space = PTX_SHARED_CLUSTER;
    *owner = NULL;
    uint8_t *p = vg_resolve(w, in, lane, a, n, align, use, &space, owner);
    if (p && !*owner) *owner = w->block;
    if (p) *offset = (uint32_t)(p - (*owner)->shared);
    return p;
}

bool vg_bulk_targets(vg_warp *w, const vg_inst *in, uint32_t lane, uint32_t mask) {
    vg_cluster *c = w->block->cluster;
    bool fits = mask != 0 && (c->nblocks >= 32 || mask >> c->nblocks == 0);
    for (uint32_t m = fits ? mask : 0; m; m &= m - 1) fits &= c->block[__builtin_ctz(m)] != NULL;
    if (!fits)
        vg_fail(w, in, lane, VG_LAUNCH_FAILED,
                "multicast mask 0x%x names blocks that the cluster of %u lacks", mask, c->nblocks);
    return fits;
}

static enum vg_next bulk(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const bulk_args *x = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), n = VG_ROW32(w, in->s[2])[l];
        uint64_t dst = address(w, in->s[0], x->wide_dst, x->dst, l),
                 src = address(w, in->s[1], x->wide_src, x->src, l);
        if (n % 16)
            return vg_fail(w, in, l, VG_MISALIGNED, "a bulk copy of %u bytes, not a multiple of 16",
                           n);
        if (n == 0) continue;
        vg_bulk *o = vg_bulk_new(w, in, l);
        if (!o) return vg_no_memory(w, in);
        o->bytes = n;
        o->red = x->red;
        o->type = x->type;
        vg_block *to = NULL, *owner = NULL;
        int space = PTX_GLOBAL;
        if (x->from_shared)
            o->src = shared_at(w, in, l, src, n, 16, VG_READ, &o->src_owner, &o->src_offset);
        else
            o->src = vg_resolve(w, in, l, src, n, 16, VG_READ, &space, &owner);
        space = PTX_GLOBAL;
        if (o->src && x->to_global)
            o->dst = vg_resolve(w, in, l, dst, n, 16, VG_WRITE, &space, &owner);
        else if (o->src)
            o->dst = shared_at(w, in, l, dst, n, 16, VG_WRITE, &to, &o->dst_offset);
        bool good = o->src && o->dst;
        if (good && x->to_global)
            o->by_group = true;
        else if (good) {
            uint64_t bar = address(w, in->s[3], x->wide_bar, x->bar, l);
            good = shared_at(w, in, l, bar, 8, 8, VG_ATOMIC, &o->bar_owner, &o->bar_offset) != NULL;
            o->targets = 1u << to->rank;
            if (good && o->bar_owner != to) {
                vg_fail(w, in, l, VG_LAUNCH_FAILED,
                        "the copy and its mbarrier are in different blocks of the cluster");
                good = false;
            }
            if (good && x->multicast) {
                o->targets = VG_ROW32(w, in->rows[0])[l] & 0xffff;
                o->bar_owner = NULL;
                good = vg_bulk_targets(w, in, l, o->targets);
            }
        }
        if (!good) {
            vg_bulk_drop(o);
            return VG_STOP;
        }
        if (vg_sane(w)) {
            if (x->from_shared)
                vg_bulk_lease(o, o->src_owner, PTX_SHARED, o->src_offset, n, VG_READ);
            else
                vg_bulk_lease(o, NULL, PTX_GLOBAL, src, n, VG_READ);
            if (x->to_global)
                vg_bulk_lease(o, NULL, PTX_GLOBAL, dst, n, x->red ? VG_ATOMIC : VG_WRITE);
            for (uint32_t t = o->targets; t; t &= t - 1) {
                vg_bulk_lease(o, w->block->cluster->block[__builtin_ctz(t)], PTX_SHARED,
                              o->dst_offset, n, x->red ? VG_ATOMIC : VG_WRITE);
            }
        }
        vg_bulk_issue(o);
    }
    return VG_NEXT;
}

static enum vg_next prefetch(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const bulk_args *x = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), n = VG_ROW32(w, in->s[2])[l];
        int space = PTX_GLOBAL;
        vg_block *owner = NULL;
        if (n % 16)
            return vg_fail(w, in, l, VG_MISALIGNED,
                           "a bulk prefetch of %u bytes, not a multiple of 16", n);
        if (n && !vg_resolve(w, in, l, address(w, in->s[1], x->wide_src, x->src, l), n, 16, VG_READ,
                             &space, &owner)) {
            return VG_STOP;
        }
    }
    return VG_NEXT;
}

/// st.async, red.async: registers to a block of the cluster, whose mbarrier counts the bytes.
static enum vg_next store_async(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const bulk_args *x = in->aux;
    const uint32_t n = (uint32_t)in->bytes * in->vec;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        vg_bulk *o = vg_bulk_new(w, in, l);
        if (!o) return vg_no_memory(w, in);
        o->bytes = n;
        o->red = x->red;
        o->type = x->type;
        if (!staging(o)) {
            vg_bulk_drop(o);
            return VG_STOP;
        }
        for (uint32_t i = 0; i < in->vec; i++) {
            const uint64_t v = in->bytes == 8 ? VG_ROW64(w, in->rows[i])[l] : VG_ROW32(w, in->rows[i])[l];
            memcpy(o->data + i * in->bytes, &v, in->bytes);
        }
        o->has_read = true;
        vg_block *to = NULL;
        const uint64_t dst = address(w, in->s[0], x->wide_dst, x->dst, l),
                       bar = address(w, in->s[3], x->wide_bar, x->bar, l);
        bool good = shared_at(w, in, l, dst, n, n, VG_WRITE, &to, &o->dst_offset) &&
                    shared_at(w, in, l, bar, 8, 8, VG_ATOMIC, &o->bar_owner, &o->bar_offset);
        if (good && o->bar_owner != to) {
            vg_fail(w, in, l, VG_LAUNCH_FAILED,
                    "the data and its mbarrier are in different blocks of the cluster");
            good = false;
        }
        if (!good) {
            vg_bulk_drop(o);
            return VG_STOP;
        }
        o->targets = 1u << to->rank;
        if (vg_sane(w))
            vg_bulk_lease(o, to, PTX_SHARED, o->dst_offset, n, x->red ? VG_ATOMIC : VG_WRITE);
        vg_bulk_issue(o);
    }
    return VG_NEXT;
}

// ---- decoding -----------------------------------------------------------------------------------

static const char *const reductions[] = {"add", "min", "max", "inc", "dec",
                                         "and", "or",  "xor", NULL};

/// The reduction among the modifiers, or none with a failure.
int vgd_reduction(vg_decoder *d) {
    int r = vgd_one_of(d, reductions);
    if (r < 0) vgd_fail(d, "cp.reduce lacks its operation");
    return r < 0 ? VG_RED_NONE : VG_RED_ADD + r;
}

bool vg_reduces(int red, int type) {
    const ptx_type_info *t = &ptx_types[type];
    switch (red) {
    case VG_RED_ADD:
        return t->bits >= 16 &&
               (t->kind == PTX_K_FLOAT || t->kind == PTX_K_UINT || t->kind == PTX_K_INT);
    case VG_RED_MIN:
    case VG_RED_MAX:
        return t->bits >= 16 && t->kind != PTX_K_BITS && type != PTX_f32 && type != PTX_f64;
    case VG_RED_INC:
    case VG_RED_DEC:
        return type == PTX_u32;
    default:
        return t->kind != PTX_K_FLOAT && t->bits >= 32;
    }
}

static void decode_prefetch(vg_decoder *d, vg_inst *out) {
    vgd_mod(d, "L2");
    vgd_mod(d, "global");
    uint32_t policy = vgd_mod(d, "L2::cache_hint");
    bulk_args *x = vgd_alloc(d, sizeof *x);
    if (!vgd_count(d, 2 + policy, 2 + policy)) return;
    out->s[1] = vgd_address(d, &d->in->opnd[0], &x->wide_src, &x->src);
    out->s[2] = vgd_source(d, &d->in->opnd[1], PTX_u32);
    out->aux = x;
    out->run = prefetch;
}

void vgd_bulk(vg_decoder *d, vg_inst *out) {
    const ptx_opnd *opnd = d->in->opnd;
    out->cls = VG_C_async;
    if (vgd_mod(d, "tensor")) {
        vgd_tensor(d, out);
        return;
    }
    if (vgd_mod(d, "commit_group")) {
        if (vgd_count(d, 0, 0)) out->run = commit;
        return;
    }
    if (vgd_mod(d, "wait_group")) {
        out->sub = vgd_mod(d, "read");
        if (!vgd_count(d, 1, 1)) return;
        if (opnd[0].kind != PTX_O_INT || opnd[0].integer < 0)
            vgd_fail(d, "wait_group takes a count of groups");
        out->imm = opnd[0].integer;
        out->run = wait;
        return;
    }
    if (vgd_mod(d, "prefetch")) {
        decode_prefetch(d, out);
        return;
    }
    bulk_args *x = vgd_alloc(d, sizeof *x);
    bool reduces = vgd_mod(d, "reduce"), global = vgd_mod(d, "global"),
         cluster = vgd_mod(d, "shared::cluster");
    bool cta = vgd_mod(d, "shared::cta");
    x->from_shared = cta && (global || cluster);
    // global is the source when it comes after a shared space, else the destination
    const char *first = NULL;
    for (uint32_t i = 0; i < d->in->nmod && !first; i++) {
        const char *s = d->in->mod[i];
        if (strcmp(s, "global") == 0 || strncmp(s, "shared::", 8) == 0) first = s;
    }
    x->to_global = first && strcmp(first, "global") == 0;
    if (global && !x->to_global) x->from_shared = false;
    bool known = x->to_global ? cta && vgd_mod(d, "bulk_group")
                              : (cta || cluster) && vgd_mod(d, "mbarrier::complete_tx::bytes");
    if (!known || (reduces && !x->from_shared) || (!x->to_global && !global && !(cta && cluster))) {
        vgd_fail(d, "bulk copy between spaces, or completed, in a way that PTX does not have");
        return;
    }
    x->multicast = !x->to_global && !x->from_shared && vgd_mod(d, "multicast::cluster");
    uint32_t policy = vgd_mod(d, "L2::cache_hint"),
             n = (x->to_global ? 3u : 4u) + x->multicast + policy;
    if (reduces) {
        x->red = (uint8_t)vgd_reduction(d);
        vgd_mod(d, "noftz");
        int t = vgd_type(d, 0);
        x->type = (uint8_t)t;
        if (!d->failed && !vg_reduces(x->red, t))
            vgd_fail(d, "this reduction is not defined on .%s", ptx_types[t].name);
    }
    if (!vgd_count(d, n, n)) return;
    out->s[0] = vgd_address(d, &opnd[0], &x->wide_dst, &x->dst);
    out->s[1] = vgd_address(d, &opnd[1], &x->wide_src, &x->src);
    out->s[2] = vgd_source(d, &opnd[2], PTX_u32);
    if (!x->to_global) out->s[3] = vgd_address(d, &opnd[3], &x->wide_bar, &x->bar);
    if (x->multicast) {
        vg_row *rows = vgd_alloc(d, sizeof *rows);
        rows[0] = vgd_source(d, &opnd[4], PTX_u16);
        out->rows = rows;
        out->nrows = 1;
    }
    out->aux = x;
    out->run = bulk;
}

void vgd_store_async(vg_decoder *d, vg_inst *out) {
    const ptx_opnd *const o = d->in->opnd;
    const bool reduces = d->in->op[0] == 'r';
    bulk_args *x = vgd_alloc(d, sizeof *x);
    vgd_ordering(d);
    if (vgd_space(d) != PTX_SHARED_CLUSTER || !vgd_mod(d, "mbarrier::complete_tx::bytes")) {
        vgd_fail(d, "%s.async goes to .shared::cluster and completes bytes of an mbarrier", d->in->op);
        return;
    }
    const int type = vgd_type(d, 0);
    out->vec = (uint8_t)(reduces ? 1 : vgd_vector(d));
    x->type = (uint8_t)type;
    out->bytes = (uint8_t)(ptx_types[type].bits / 8);
    if (reduces) x->red = (uint8_t)vgd_reduction(d);
    if (d->failed || !vgd_count(d, 3, 3)) return;
    const bool whole = out->bytes == 4 || out->bytes == 8;
    if (!whole || (uint32_t)out->bytes * out->vec > 16 ||
        (reduces && (ptx_types[type].kind == PTX_K_FLOAT || !vg_reduces(x->red, type)))) {
        vgd_fail(d, "%s.async has no form for .%s", d->in->op, ptx_types[type].name);
        return;
    }
    const ptx_opnd *const list = o[1].kind == PTX_O_LIST ? o[1].list : &o[1];
    if ((o[1].kind == PTX_O_LIST ? o[1].nlist : 1) != out->vec) {
        vgd_fail(d, "%s.async of %u elements", d->in->op, (unsigned)out->vec);
        return;
    }
    vg_row *const rows = vgd_alloc(d, out->vec * sizeof *rows);
    for (uint32_t i = 0; i < out->vec; i++) rows[i] = vgd_source(d, &list[i], type);
    out->rows = rows;
    out->nrows = out->vec;
    out->s[0] = vgd_address(d, &o[0], &x->wide_dst, &x->dst);
    out->s[3] = vgd_address(d, &o[2], &x->wide_bar, &x->bar);
    out->aux = x;
    out->cls = VG_C_async;
    out->run = store_async;
}
