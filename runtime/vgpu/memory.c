// SPDX-License-Identifier: Apache-2.0
// Loads and stores of all spaces, and addresses: bounds and alignment are checked once a warp if its
// addresses lie in one block of memory, and lane by lane, with the culprit named, if they do not.
#include "runtime/vgpu/alu.h"
#include "runtime/vgpu/memory.h"

#include <string.h>

// ---- places -------------------------------------------------------------------------------------

uint8_t *vg_shared(vg_block *b, uint32_t a, uint32_t n, vg_block **owner) {
    const uint32_t rank = a >> VG_RANK_SHIFT, at = a & ((1u << VG_RANK_SHIFT) - 1);
    vg_block *o = b;
    if (rank) {
        if (rank - 1 >= b->cluster->nblocks) return NULL;
        o = b->cluster->block[rank - 1];
    }
    if (owner) *owner = o;
    return at <= o->shared_bytes && n <= o->shared_bytes - at ? o->shared + at : NULL;
}

static const char *use_name(int use) { return use & VG_ATOMIC ? "an atomic operation on" : use & VG_WRITE ? "a store of" : "a load of"; }

static void bounds_report(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_defect what, const char *text) {
    static const unsigned nobody[3] = {0};
    if (w->watch & VG_WATCH_SAN) vg_report_defect(w, in, lane, what, NULL, nobody, "%s", text);
}

/// What lies around an address that is nobody's.
static void near(const vg_warp *w, uint64_t a, char *out, size_t size) {
    const vg_gpu *const g = w->run->gpu;
    const vg_extent *below = NULL, *above = NULL;
    for (size_t i = 0; i < g->nextent; i++) {
        if (g->extent[i].at <= a) below = &g->extent[i];
        else if (!above) above = &g->extent[i];
    }
    if (below && !below->live && a - below->at < below->bytes)
        snprintf(out, size, "in a block of %zu bytes that has been freed", below->bytes);
    else if (below && a - below->at < below->bytes + ((uint64_t)1 << 20))
        snprintf(out, size, "%llu bytes after the end of the block of %zu bytes at 0x%llx",
                 (unsigned long long)(a - below->at >= below->bytes ? a - below->at - below->bytes : 0), below->bytes, (unsigned long long)below->at);
    else if (above && above->at - a < (uint64_t)1 << 20)
        snprintf(out, size, "%llu bytes before the block of %zu bytes at 0x%llx", (unsigned long long)(above->at - a), above->bytes,
                 (unsigned long long)above->at);
    else snprintf(out, size, "in no allocation");
}

static void fail_bounds(vg_warp *w, const vg_inst *in, uint32_t lane, uint64_t a, uint32_t n, int use, const char *why) {
    char text[300];
    snprintf(text, sizeof text, "%s %u bytes at 0x%llx: %s", use_name(use), (unsigned)n, (unsigned long long)a, why);
    bounds_report(w, in, lane, VG_D_bounds, text);
    vg_fail(w, in, lane, VG_ILLEGAL_ADDRESS, "%s", text);
}

uint8_t *vg_resolve(vg_warp *w, const vg_inst *in, uint32_t lane, uint64_t a, uint32_t n, uint32_t align, int use,
                    int *space, vg_block **owner) {
    vg_run *const r = w->run;
    char why[200];
    *owner = NULL;
    if (a & (align - 1)) {
        snprintf(why, sizeof why, "%s %u bytes at 0x%llx, which is no multiple of %u", use_name(use), (unsigned)n, (unsigned long long)a, (unsigned)align);
        bounds_report(w, in, lane, VG_D_misaligned, why);
        vg_fail(w, in, lane, VG_MISALIGNED, "%s", why);
        return NULL;
    }
    int s = *space;
    if (s == PTX_GENERIC || s == PTX_PARAM || s == PTX_CONST) {
        if (a - VG_WINDOW_PARAM < (uint64_t)1 << 32) {
            *space = PTX_PARAM;
            if (use == VG_READ && a - VG_WINDOW_PARAM <= r->param_bytes && n <= r->param_bytes - (a - VG_WINDOW_PARAM))
                return r->param + (a - VG_WINDOW_PARAM);
            fail_bounds(w, in, lane, a, n, use, use == VG_READ ? "beyond the kernel's parameters" : "parameters of kernels cannot be written");
            return NULL;
        }
        if (a - VG_WINDOW_SHARED < (uint64_t)1 << 32) {
            s = PTX_SHARED;
            a -= VG_WINDOW_SHARED;
        } else if (a - VG_WINDOW_LOCAL < (uint64_t)1 << 32) {
            s = PTX_LOCAL;
            a -= VG_WINDOW_LOCAL;
        } else s = PTX_GLOBAL;
    }
    if (s == PTX_SHARED || s == PTX_SHARED_CLUSTER) {
        *space = PTX_SHARED;
        uint8_t *const p = a <= UINT32_MAX ? vg_shared(w->block, (uint32_t)a, n, owner) : NULL;
        if (p && (*owner)->running) return p;
        if (p) snprintf(why, sizeof why, "the block has ended");
        else snprintf(why, sizeof why, "the block has %u bytes of shared memory", (unsigned)w->block->shared_bytes);
        fail_bounds(w, in, lane, a, n, use, why);
        return NULL;
    }
    if (s == PTX_LOCAL) {
        *space = PTX_LOCAL;
        if (a <= r->local_stride && n <= r->local_stride - a) return w->local + (size_t)lane * r->local_stride + a;
        snprintf(why, sizeof why, "the thread has %u bytes of local memory", (unsigned)r->local_stride);
        fail_bounds(w, in, lane, a, n, use, why);
        return NULL;
    }
    *space = PTX_GLOBAL;
    uint8_t *const p = vg_global(r->gpu, a, n);
    if (p) return p;
    near(w, a, why, sizeof why);
    fail_bounds(w, in, lane, a, n, use, why);
    return NULL;
}

/// Offset from addresses of `space` to the host's if all of [lo, hi) lies in one place; else false.
static bool one_place(vg_warp *w, int *space, uint64_t lo, uint64_t hi, uintptr_t *bias) {
    vg_run *const r = w->run;
    int s = *space;
    uint64_t shift = 0;
    if (s == PTX_GENERIC || s == PTX_CONST) {
        if (lo - VG_WINDOW_SHARED < (uint64_t)1 << VG_RANK_SHIFT && hi - VG_WINDOW_SHARED <= (uint64_t)1 << VG_RANK_SHIFT) {
            s = PTX_SHARED;
            shift = VG_WINDOW_SHARED;
        } else s = PTX_GLOBAL;
    }
    if (s == PTX_GLOBAL) {
        vg_worker *const k = w->block->worker;
        if (lo < k->lo || hi > k->hi) {
            if (hi < lo) return false;
            const vg_extent *const e = vg_extent_at(r->gpu, lo, hi - lo);
            if (!e) return false;
            k->lo = e->at;
            k->hi = e->at + e->bytes;
        }
        if (hi < lo) return false;
        *space = PTX_GLOBAL;
        *bias = (uintptr_t)r->gpu->base - (uintptr_t)VG_GLOBAL;
        return true;
    }
    if (s == PTX_SHARED || s == PTX_SHARED_CLUSTER) {
        if (hi < lo || hi - shift > w->block->shared_bytes) return false;
        *space = PTX_SHARED;
        *bias = (uintptr_t)w->block->shared - (uintptr_t)shift;
        return true;
    }
    return false;
}

VGA_FAST static void add_addresses(uint64_t *restrict a, const uint64_t *restrict base, uint64_t offset) {
    for (int l = 0; l < 32; l++) a[l] = base[l] + offset;
}
VGA_FAST static void add_addresses32(uint64_t *restrict a, const uint32_t *restrict base, uint32_t offset) {
    for (int l = 0; l < 32; l++) a[l] = (uint32_t)(base[l] + offset);
}
VGA_FAST static void span(const uint64_t *a, uint64_t *lo, uint64_t *hi, uint64_t *bits) {
    uint64_t least = a[0], most = a[0], any = 0;
    for (int l = 0; l < 32; l++) {
        least = a[l] < least ? a[l] : least;
        most = a[l] > most ? a[l] : most;
        any |= a[l];
    }
    *lo = least;
    *hi = most;
    *bits = any;
}
VGA_FAST static void add_bias(uintptr_t *restrict p, const uint64_t *restrict a, uintptr_t bias) {
    for (int l = 0; l < 32; l++) p[l] = (uintptr_t)a[l] + bias;
}

bool vg_access(vg_warp *w, const vg_inst *in, uint32_t mask, uint32_t n, uint32_t align, int use, vg_accessed *x) {
    if (in->sub & VG_M_WIDE) add_addresses(x->addr, VG_ROW64(w, in->s[0]), (uint64_t)in->imm);
    else add_addresses32(x->addr, VG_ROW32(w, in->s[0]), (uint32_t)in->imm);
    if (mask != VGA_ALL) {
        const uint64_t some = x->addr[__builtin_ctz(mask)];
        for (int l = 0; l < 32; l++) x->addr[l] = mask & vga_bit[l] ? x->addr[l] : some;
    }
    uint64_t lo, hi, bits;
    span(x->addr, &lo, &hi, &bits);
    x->space = in->space;
    uintptr_t bias = 0;
    x->one = !(bits & (align - 1)) && one_place(w, &x->space, lo, hi + n, &bias);
    if (x->one) {
        add_bias(x->host, x->addr, bias);
        return true;
    }
    for (uint32_t l = 0; l < 32; l++) {
        x->owner[l] = NULL;
        x->spaces[l] = in->space;
        if (!(mask & vga_bit[l])) continue;
        uint8_t *const p = vg_resolve(w, in, l, x->addr[l], n, align, use, &x->spaces[l], &x->owner[l]);
        if (!p) return false;
        x->host[l] = (uintptr_t)p;
        x->space = x->spaces[l];
    }
    for (uint32_t l = 0; l < 32; l++)
        if (!(mask & vga_bit[l])) x->host[l] = x->host[__builtin_ctz(mask)];
    return true;
}

void vg_access_watched(vg_warp *w, const vg_inst *in, uint32_t mask, uint32_t n, int use, vg_accessed *x) {
    // A generic access may touch several spaces: one call for each.
    static const int kinds[] = {PTX_GLOBAL, PTX_SHARED, PTX_LOCAL};
    for (int k = 0; k < 3; k++) {
        uint32_t part = 0;
        uint64_t addr[32];
        vg_block *owner[32];
        for (uint32_t l = 0; l < 32; l++) {
            const int s = x->one ? x->space : x->spaces[l];
            addr[l] = x->addr[l];
            owner[l] = w->block;
            if (!(mask & vga_bit[l]) || s != kinds[k]) continue;
            part |= vga_bit[l];
            if (s == PTX_SHARED) {
                if (!x->one && x->owner[l]) owner[l] = x->owner[l];
                addr[l] &= (1u << VG_RANK_SHIFT) - 1;
            } else if (s == PTX_LOCAL) addr[l] = (uint32_t)addr[l];
        }
        if (!part) continue;
        if (w->watch & VG_WATCH_SAN) vg_san_access(w, in, part, kinds[k], owner, addr, n, use);
        if (w->watch & VG_WATCH_PROF) vg_prof_memory(w, in, part, kinds[k], addr, n);
    }
}

// ---- loads --------------------------------------------------------------------------------------

#define AT(T, l) (*(const T *)(const void *)(x->host[l] + at))
#define EACH(body)                                                                                 \
    if (mask == VGA_ALL)                                                                           \
        for (int l = 0; l < 32; l++) body;                                                         \
    else                                                                                           \
        for (uint32_t m_ = mask; m_; m_ &= m_ - 1) {                                               \
            const int l = __builtin_ctz(m_);                                                       \
            body;                                                                                  \
        }

/// Whether lane l's bytes follow lane l-1's.
static bool in_a_row(const vg_accessed *x, uint32_t step) {
    uint64_t off = 0;
    for (uint32_t l = 0; l < 32; l++) off |= (x->host[l] - x->host[0]) ^ (uint64_t)l * step;
    return !off;
}

static uint64_t sign_extended(uint64_t v, unsigned bits) {
    const uint64_t sign = (uint64_t)1 << (bits - 1);
    return (v ^ sign) - sign;
}

static uint64_t read_cell(uintptr_t p, uint32_t bytes) {
    switch (bytes) {
    case 1: return *(const uint8_t *)(const void *)p;
    case 2: return *(const uint16_t *)(const void *)p;
    case 4: return *(const uint32_t *)(const void *)p;
    default: return *(const uint64_t *)(const void *)p;
    }
}

static void load_element(vg_warp *w, const vg_inst *in, uint32_t mask, const vg_accessed *x, uint32_t at, const vg_row_of *to) {
    if (to->row == VG_NO_ROW) return;
    const uint32_t bytes = in->bytes;
    if (bytes == 16) {
        EACH(memcpy(w->rows + to->row + 16 * l, (const void *)(x->host[l] + at), 16))
        return;
    }
    if (in->sub & VG_M_SIGNED) {
        const uint32_t keep = to->bits >= 32 ? UINT32_MAX : ((uint32_t)1 << to->bits) - 1;
        if (to->bits == 64) EACH(VG_ROW64(w, to->row)[l] = sign_extended(read_cell(x->host[l] + at, bytes), bytes * 8))
        else EACH(VG_ROW32(w, to->row)[l] = (uint32_t)sign_extended(read_cell(x->host[l] + at, bytes), bytes * 8) & keep)
        return;
    }
    if (to->bits == 64) {
        uint64_t *const d = VG_ROW64(w, to->row);
        if (bytes == 8) EACH(d[l] = AT(uint64_t, l))
        else EACH(d[l] = read_cell(x->host[l] + at, bytes))
        return;
    }
    uint32_t *const d = VG_ROW32(w, to->row);
    if (bytes == 4) EACH(d[l] = AT(uint32_t, l))
    else if (bytes == 2) EACH(d[l] = AT(uint16_t, l))
    else EACH(d[l] = AT(uint8_t, l))
}

static enum vg_next ex_ld(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    const uint32_t total = (uint32_t)in->bytes * in->vec;
    if (!vg_access(w, in, mask, total, total, VG_READ, &x)) return VG_STOP;
    if (w->watch) vg_access_watched(w, in, mask, total, VG_READ, &x);
    const vg_row_of *const to = in->aux;
    if (mask == VGA_ALL && in->bytes == 4 && in->vec == 1 && to->bits == 32 && x.one && in_a_row(&x, 4)) {
        if (to->row != VG_NO_ROW) memcpy(VG_ROW32(w, to->row), (const void *)x.host[0], 128);
    } else
        for (uint32_t i = 0; i < in->vec; i++) load_element(w, in, mask, &x, i * in->bytes, &to[i]);
    if (in->sub & VG_M_WATCHED) {
        w->polled = true;
        atomic_thread_fence(memory_order_acquire);
    }
    return VG_NEXT;
}

/// Parameters of an entry: the same for all lanes, at a place known when decoded.
static enum vg_next ex_ld_param(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    for (int l = 0; l < 32; l++) x.host[l] = (uintptr_t)w->run->param + (uintptr_t)in->imm;
    const vg_row_of *const to = in->aux;
    for (uint32_t i = 0; i < in->vec; i++) load_element(w, in, mask, &x, i * in->bytes, &to[i]);
    return VG_NEXT;
}

// ---- stores -------------------------------------------------------------------------------------

static void store_element(vg_warp *w, const vg_inst *in, uint32_t mask, const vg_accessed *x, uint32_t at, const vg_row_of *from) {
    const uint32_t bytes = in->bytes;
    if (bytes == 16) {
        EACH(memcpy((void *)(x->host[l] + at), w->rows + from->row + 16 * l, 16))
        return;
    }
#define PUT(T, ROW) EACH(*(T *)(void *)(x->host[l] + at) = (T)ROW(w, from->row)[l])
    if (from->bits == 64) {
        if (bytes == 8) PUT(uint64_t, VG_ROW64)
        else if (bytes == 4) PUT(uint32_t, VG_ROW64)
        else if (bytes == 2) PUT(uint16_t, VG_ROW64)
        else PUT(uint8_t, VG_ROW64)
    } else {
        if (bytes == 4) PUT(uint32_t, VG_ROW32)
        else if (bytes == 2) PUT(uint16_t, VG_ROW32)
        else PUT(uint8_t, VG_ROW32)
    }
#undef PUT
}

static enum vg_next ex_st(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_accessed x;
    const uint32_t total = (uint32_t)in->bytes * in->vec;
    if (!vg_access(w, in, mask, total, total, VG_WRITE, &x)) return VG_STOP;
    if (w->watch) vg_access_watched(w, in, mask, total, VG_WRITE, &x);
    if (in->sub & VG_M_WATCHED) atomic_thread_fence(memory_order_release);
    const vg_row_of *const from = in->aux;
    if (mask == VGA_ALL && in->bytes == 4 && in->vec == 1 && from->bits == 32 && x.one && in_a_row(&x, 4))
        memcpy((void *)x.host[0], VG_ROW32(w, from->row), 128);
    else
        for (uint32_t i = 0; i < in->vec; i++) store_element(w, in, mask, &x, i * in->bytes, &from[i]);
    return VG_NEXT;
}

// ---- decoding -----------------------------------------------------------------------------------

uint32_t vgd_vector(vg_decoder *d) {
    static const char *const names[] = {"v2", "v4", "v8", NULL};
    static const uint32_t n[] = {2, 4, 8};
    const int i = vgd_one_of(d, names);
    return i < 0 ? 1 : n[i];
}

/// Modifiers that say how an access is ordered or cached; true: others may be seen through it.
bool vgd_ordering(vg_decoder *d) {
    static const char *const order[] = {"volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", NULL};
    static const char *const quiet[] = {"weak", "nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "unified", NULL};
    static const char *const scope[] = {"cta", "cluster", "gpu", "sys", NULL};
    bool watched = false;
    for (int i = 0; order[i]; i++) watched |= vgd_mod(d, order[i]);
    for (int i = 0; quiet[i]; i++) vgd_mod(d, quiet[i]);
    vgd_one_of(d, scope);
    for (uint32_t i = 0; i < d->in->nmod && i < 64; i++) {
        const char *const m = d->in->mod[i];
        if (strncmp(m, "L1::", 4) == 0 || strncmp(m, "L2::", 4) == 0) vgd_mod(d, m);
    }
    return watched;
}

/// The cache policy behind the other operands changes nothing.
bool vgd_has_policy(vg_decoder *d) { return vgd_mod(d, "L2::cache_hint"); }

void vgd_memory(vg_decoder *d, vg_inst *out, const ptx_opnd *address) {
    bool wide;
    int64_t offset;
    out->s[0] = vgd_address(d, address, &wide, &offset);
    out->sub = (uint8_t)((out->sub & ~VG_M_WIDE) | (wide ? VG_M_WIDE : 0));
    out->imm = offset;
}

static bool entry_param(const vg_decoder *d, const ptx_var *v) {
    return v && v->space == PTX_PARAM && d->func->is_entry && v >= d->func->param && v < d->func->param + d->func->nparam;
}

static uint8_t space_class(int space, bool store) {
    switch (space) {
    case PTX_SHARED: case PTX_SHARED_CLUSTER: return store ? VG_C_shared_store : VG_C_shared_load;
    case PTX_LOCAL: return VG_C_local;
    case PTX_PARAM: case PTX_CONST: return VG_C_param;
    default: return store ? VG_C_global_store : VG_C_global_load;
    }
}

static void memory_space(vg_decoder *d, vg_inst *out, const ptx_opnd *a, bool store) {
    int space = vgd_space(d);
    out->cls = space_class(space, store);
    if (space == PTX_PARAM && a->var && a->var->space == PTX_PARAM && !entry_param(d, a->var)) space = PTX_LOCAL;
    else if (space == PTX_PARAM && !d->func->is_entry && !a->var) space = PTX_LOCAL; // a .func's, by its address
    out->space = (uint8_t)space;
}

/// One operand or a list of `n`, as rows of registers that may be wider than the access.
static void element_rows(vg_decoder *d, vg_inst *out, const ptx_opnd *o, uint32_t n, int type, bool result) {
    const ptx_opnd *const at = o->kind == PTX_O_LIST ? o->list : o;
    const uint32_t have = o->kind == PTX_O_LIST ? o->nlist : 1;
    if (have != n) {
        vgd_fail(d, "%u elements where %u are accessed", (unsigned)have, (unsigned)n);
        return;
    }
    vg_row_of *const rows = vgd_alloc(d, n * sizeof *rows);
    for (uint32_t i = 0; i < n; i++) {
        if (at[i].kind == PTX_O_SINK && result) {
            rows[i] = (vg_row_of){VG_NO_ROW, 32};
            continue;
        }
        int t = type;
        if (at[i].kind == PTX_O_REG && at[i].reg >= 0) { // registers may be wider than what is accessed
            t = d->func->reg[at[i].reg].type;
            if (ptx_types[t].kind == PTX_K_PRED || ptx_types[t].bits < ptx_types[type].bits) {
                vgd_fail(d, "%s cannot hold .%s", d->func->reg[at[i].reg].name, ptx_types[type].name);
                return;
            }
        }
        rows[i].bits = ptx_types[t].bits < 16 ? 16 : ptx_types[t].bits;
        rows[i].row = result ? vgd_result(d, &at[i], t) : vgd_source(d, &at[i], t);
    }
    out->aux = rows;
}

static bool element_type(vg_decoder *d, vg_inst *out, int *type) {
    *type = vgd_type(d, 0);
    const ptx_type_info *const t = &ptx_types[*type];
    if (*type == PTX_NONE || t->bits < 8 || t->kind == PTX_K_PRED) {
        vgd_fail(d, "no type that memory can hold");
        return false;
    }
    out->bytes = (uint8_t)(t->bits / 8);
    out->vec = (uint8_t)vgd_vector(d);
    if ((uint32_t)out->bytes * out->vec > 32) {
        vgd_fail(d, "an access of %u bytes", (unsigned)out->bytes * out->vec);
        return false;
    }
    if (t->kind == PTX_K_INT) out->sub |= VG_M_SIGNED;
    return true;
}

void vgd_ld(vg_decoder *d, vg_inst *out) {
    int type;
    const bool watched = vgd_ordering(d);
    vgd_has_policy(d);
    if (!element_type(d, out, &type) || !vgd_count(d, 2, 3)) return;
    const ptx_opnd *const a = &d->in->opnd[1];
    if (watched) out->sub |= VG_M_WATCHED;
    memory_space(d, out, a, false);
    element_rows(d, out, &d->in->opnd[0], out->vec, type, true);
    out->run = ex_ld;
    if (entry_param(d, a->var)) {
        const uint64_t at = a->var->address + (uint64_t)a->integer, n = (uint64_t)out->bytes * out->vec;
        if (a->integer < 0 || (uint64_t)a->integer > a->var->bytes || n > a->var->bytes - (uint64_t)a->integer) {
            vgd_fail(d, "a load past the end of '%.60s'", a->var->name);
            return;
        }
        if (at % n) vgd_fail(d, "a load of %u bytes that is not aligned", (unsigned)n);
        out->imm = (int64_t)at;
        out->run = ex_ld_param;
        return;
    }
    vgd_memory(d, out, a);
}

void vgd_st(vg_decoder *d, vg_inst *out) {
    int type;
    if (vgd_mod(d, "async")) {
        vgd_store_async(d, out);
        return;
    }
    const bool watched = vgd_ordering(d);
    vgd_has_policy(d);
    if (!element_type(d, out, &type) || !vgd_count(d, 2, 3)) return;
    if (watched) out->sub |= VG_M_WATCHED;
    out->sub &= (uint8_t)~VG_M_SIGNED;
    memory_space(d, out, &d->in->opnd[0], true);
    element_rows(d, out, &d->in->opnd[1], out->vec, type, false);
    vgd_memory(d, out, &d->in->opnd[0]);
    out->run = ex_st;
}

// ---- hints and addresses ------------------------------------------------------------------------

static enum vg_next ex_nothing(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)w, (void)in, (void)mask;
    return VG_NEXT;
}

void vgd_hint(vg_decoder *d, vg_inst *out) {
    vgd_space(d);
    for (uint32_t i = 0; i < d->in->nmod && i < 64; i++) {
        const char *const m = d->in->mod[i];
        if (strcmp(m, "L1") == 0 || strcmp(m, "L2") == 0 || strncmp(m, "L2::", 4) == 0 || strcmp(m, "tensormap") == 0) vgd_mod(d, m);
    }
    out->cls = VG_C_control;
    out->run = ex_nothing;
}

static enum vg_next ex_fill64(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint64_t *const d = VG_ROW64(w, in->d[0]);
    const uint64_t v = (uint64_t)in->imm;
    VGA_EACH(d, mask, uint64_t, v);
    return VG_NEXT;
}

void vgd_policy(vg_decoder *d, vg_inst *out) {
    vgd_space(d);
    for (uint32_t i = 0; i < d->in->nmod && i < 64; i++) {
        const char *const m = d->in->mod[i];
        if (strcmp(m, "fractional") == 0 || strcmp(m, "range") == 0 || strcmp(m, "cvt") == 0 || strcmp(m, "L2") == 0 ||
            strncmp(m, "L2::", 4) == 0 || strcmp(m, "b64") == 0)
            vgd_mod(d, m);
    }
    if (!vgd_count(d, 1, 4)) return;
    out->cls = VG_C_control;
    out->d[0] = vgd_result(d, &d->in->opnd[0], PTX_b64);
    out->imm = 0x10f0000000000000;
    out->run = ex_fill64;
}

static uint64_t window_of(int space) {
    switch (space) {
    case PTX_SHARED: case PTX_SHARED_CLUSTER: return VG_WINDOW_SHARED;
    case PTX_LOCAL: return VG_WINDOW_LOCAL;
    default: return 0;
    }
}

static enum vg_next ex_add64(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint64_t *const d = VG_ROW64(w, in->d[0]);
    const uint64_t *const a = VG_ROW64(w, in->s[0]), by = (uint64_t)in->imm;
    VGA_EACH(d, mask, uint64_t, a[l] + by);
    return VG_NEXT;
}
static enum vg_next ex_add32(vg_warp *w, const vg_inst *in, uint32_t mask) { // 32-bit space addresses
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    const uint32_t *const a = VG_ROW32(w, in->s[0]), by = (uint32_t)in->imm;
    VGA_EACH(d, mask, uint32_t, a[l] + by);
    return VG_NEXT;
}

static enum vg_next ex_isspacep(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint64_t *const a = VG_ROW64(w, in->s[0]);
    uint32_t bits = 0;
    for (uint32_t l = 0; l < 32; l++) {
        const bool shared = a[l] - VG_WINDOW_SHARED < (uint64_t)1 << 32;
        const uint32_t rank = (uint32_t)((a[l] - VG_WINDOW_SHARED) >> VG_RANK_SHIFT);
        bool is = false;
        switch (in->sub) {
        case PTX_SHARED: is = shared && (rank == 0 || rank - 1 == w->block->rank); break;
        case PTX_SHARED_CLUSTER: is = shared && rank <= w->block->cluster->nblocks; break;
        case PTX_LOCAL: is = a[l] - VG_WINDOW_LOCAL < (uint64_t)1 << 32; break;
        case PTX_PARAM: is = a[l] - VG_WINDOW_PARAM < (uint64_t)1 << 32; break;
        case PTX_GLOBAL: is = a[l] >= VG_GLOBAL; break;
        default: { // .const: variables of the module
            const ptx_module *const m = w->run->kernel->module->ptx;
            for (uint32_t i = 0; i < m->nvar && !is; i++)
                is = m->var[i]->space == PTX_CONST && m->var[i]->address && a[l] - m->var[i]->address < m->var[i]->bytes;
        }
        }
        bits |= (uint32_t)is << l;
    }
    vga_set_pred(w, in->d[0], mask, bits);
    return VG_NEXT;
}

void vgd_cvta(vg_decoder *d, vg_inst *out) {
    out->cls = VG_C_move;
    if (!vgd_count(d, 2, 2)) return;
    const ptx_opnd *const o = d->in->opnd;
    const int space = vgd_space(d);
    if (strcmp(d->in->op, "isspacep") == 0) {
        out->d[0] = vgd_result(d, &o[0], PTX_pred);
        out->s[0] = vgd_source(d, &o[1], PTX_u64);
        out->sub = (uint8_t)space;
        out->run = ex_isspacep;
        return;
    }
    const bool to = vgd_mod(d, "to");
    const int type = vgd_type(d, 0);
    const uint64_t window = window_of(space);
    if (type == PTX_u32) {
        out->d[0] = vgd_result(d, &o[0], PTX_u32);
        out->s[0] = vgd_source(d, &o[1], PTX_u32);
        out->run = ex_add32;
        if (window && !to) vgd_fail(d, "generic addresses have 64 bits");
        return;
    }
    if (type != PTX_u64) vgd_fail(d, "a type other than .u64");
    out->d[0] = vgd_result(d, &o[0], PTX_u64);
    out->s[0] = vgd_source(d, &o[1], PTX_u64);
    out->imm = (int64_t)(to ? 0 - window : window);
    out->run = ex_add64;
}
