// SPDX-License-Identifier: Apache-2.0
// Tensor copies: boxes of tensors of one to five dimensions, tiled or im2col, between global memory
// and swizzled shared memory. Boxes are staged as dense rows; what lies outside the tensor is
// filled or left.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/async.h"

// ---- boxes --------------------------------------------------------------------------------------

static uint64_t rows_of(const vg_tensor *t) {
    return t->total / (t->count[0] * t->bytes);
}

/// Coordinates of a row in the dimensions above the first.
static void tile_row(const vg_bulk *o, uint64_t row, int64_t g[5]) {
    const vg_tensor *t = o->tensor;
    for (uint32_t i = 1; i < t->rank; i++) {
        g[i] = o->at[i] + (int64_t)(row % t->count[i]) * t->step[i];
        row /= t->count[i];
    }
}

/// Pixels run along the bounding box, innermost spatial dimension first, and on to the next image.
static void pixel_row(const vg_bulk *o, uint64_t row, int64_t g[5]) {
    const vg_tensor *t = o->tensor;
    int64_t carry = (int64_t)row;
    for (uint32_t i = 1; i + 1 < t->rank; i++) {
        int64_t low = t->lower[i - 1], high = (int64_t)t->dim[i] - 1 + t->upper[i - 1],
                step = t->step[i];
        int64_t n = high < low ? 1 : (high - low) / step + 1;
        int64_t place = (o->at[i] - low) / step + carry;
        // a start off the grid of steps stays off it until the first wrap
        int64_t rest = place < n ? (o->at[i] - low) % step : 0;
        carry = place >= 0 ? place / n : 0;
        place = place >= 0 ? place % n : place;
        g[i] = low + place * step + rest + o->offset[i - 1];
    }
    g[t->rank - 1] = o->at[t->rank - 1] + carry;
}

vg_tensor_row vg_tensor_at(const vg_bulk *o, uint64_t row) {
    const vg_tensor *t = o->tensor;
    int64_t g[5] = {0};
    if (t->im2col)
        pixel_row(o, row, g);
    else
        tile_row(o, row, g);
    uint64_t at = t->base;
    for (uint32_t i = 1; i < t->rank; i++) {
        if (g[i] < 0 || (uint64_t)g[i] >= t->dim[i]) return (vg_tensor_row){0};
        at += (uint64_t)g[i] * t->stride[i];
    }
    int64_t first = o->at[0] < 0 ? -(int64_t)o->at[0] : 0, last = (int64_t)t->dim[0] - o->at[0];
    if (last > t->count[0]) last = t->count[0];
    if (first >= last) return (vg_tensor_row){0};
    return (vg_tensor_row){at + (uint64_t)(o->at[0] + first) * t->bytes, (uint32_t)first * t->bytes,
                           (uint32_t)(last - first) * t->bytes};
}

static void fill(const vg_tensor *t, uint8_t *to, size_t bytes) {
    if (!t->nan_fill || ptx_types[t->type].kind != PTX_K_FLOAT) {
        memset(to, 0, bytes);
        return;
    }
    memset(to, 0xff, bytes);
    for (size_t i = t->bytes - 1; i < bytes; i += t->bytes) to[i] = 0x7f;
}

static uint8_t *global_row(vg_bulk *o, const vg_tensor_row *r) {
    uint8_t *p = vg_global(o->warp->run->gpu, r->at, r->bytes);
    if (!p) {
        vg_fail(o->warp, o->in, o->lane, VG_ILLEGAL_ADDRESS,
                "the tensor map covers 0x%" PRIx64 ", %u bytes, which nobody allocated", r->at,
                r->bytes);
    }
    return p;
}

bool vg_tensor_load(vg_bulk *o) {
    const vg_tensor *t = o->tensor;
    const size_t pitch = (size_t)t->count[0] * t->bytes;
    const uint64_t n = rows_of(t);
    for (uint64_t i = 0; i < n; i++) {
        const vg_tensor_row r = vg_tensor_at(o, i);
        uint8_t *to = o->data + i * pitch;
        if (r.bytes < pitch) fill(t, to, pitch);
        if (!r.bytes) continue;
        const uint8_t *from = global_row(o, &r);
        if (!from) return false;
        memcpy(to + r.first, from, r.bytes);
    }
    return true;
}

bool vg_tensor_store(vg_bulk *o) {
    const vg_tensor *t = o->tensor;
    const size_t pitch = (size_t)t->count[0] * t->bytes;
    const uint64_t n = rows_of(t);
    for (uint64_t i = 0; i < n; i++) {
        const vg_tensor_row r = vg_tensor_at(o, i);
        if (!r.bytes) continue;
        uint8_t *to = global_row(o, &r);
        if (!to) return false;
        const uint8_t *from = o->data + i * pitch + r.first;
        if (o->red)
            vg_reduce(to, from, r.bytes, o->red, o->type);
        else
            memcpy(to, from, r.bytes);
    }
    return true;
}

/// Pieces of 16 bytes go where the swizzle of their shared address says.
void vg_tensor_place(const vg_bulk *o, uint8_t *shared, uint32_t offset) {
    const uint32_t n = (uint32_t)o->bytes, mode = o->tensor->swizzle;
    if (!mode) {
        memcpy(shared + offset, o->data, n);
        return;
    }
    for (uint32_t i = 0; i < n; i += 16)
        memcpy(shared + vg_swizzle(offset + i, mode), o->data + i, 16);
}

void vg_tensor_fetch(vg_bulk *o) {
    const uint32_t n = (uint32_t)o->bytes, mode = o->tensor->swizzle;
    const uint8_t *shared = o->src_owner->shared;
    for (uint32_t i = 0; i < n; i += 16)
        memcpy(o->data + i, shared + vg_swizzle(o->src_offset + i, mode), 16);
}

// ---- executors ----------------------------------------------------------------------------------

enum tensor_op { T_LOAD, T_STORE, T_PREFETCH };

typedef struct {
    int64_t shared, map, bar; // offsets of the addresses
    bool wide_shared, wide_map, wide_bar, multicast, im2col;
    uint8_t op, red, dims;
    vg_row at[5], offset[3], mask;
} tensor_args;

static uint64_t address(vg_warp *w, vg_row r, bool wide, int64_t offset, uint32_t lane) {
    return wide ? VG_ROW64(w, r)[lane] + (uint64_t)offset
                : (uint32_t)(VG_ROW32(w, r)[lane] + (uint64_t)offset);
}

static vg_tensor *read_map(vg_warp *w, const vg_inst *in, uint32_t lane) {
    const tensor_args *x = in->aux;
    int space = PTX_GENERIC;
    vg_block *owner = NULL;
    uint64_t a = address(w, in->s[1], x->wide_map, x->map, lane);
    const uint8_t *map = vg_resolve(w, in, lane, a, 128, 64, VG_READ, &space, &owner);
    vg_tensor *t = map ? malloc(sizeof *t) : NULL;
    if (!map) return NULL;
    if (!t) {
        vg_no_memory(w, in);
        return NULL;
    }
    const char *wrong = NULL;
    if (!vg_tensor_decode(map, t))
        wrong = "the operand is no tensor map";
    else if (t->rank != x->dims)
        wrong = "the tensor map has another number of dimensions";
    else if (x->op != T_STORE && t->im2col != x->im2col)
        wrong = "the tensor map is of the other mode (tile, im2col)";
    else if (x->red && !vg_reduces(x->red, t->type))
        wrong = "this reduction is not defined on the tensor's elements";
    if (!wrong) return t;
    vg_fail(w, in, lane, VG_ILLEGAL_INSTRUCTION, "%s", wrong);
    free(t);
    return NULL;
}

static uint8_t *box_in_shared(vg_warp *w, const vg_inst *in, uint32_t lane, const vg_tensor *t,
                              int use, vg_block **owner, uint32_t *offset) {
    const tensor_args *x = in->aux;
    int space = PTX_SHARED_CLUSTER;
    uint64_t a = address(w, in->s[0], x->wide_shared, x->shared, lane);
    *owner = NULL;
    // a swizzle of rows narrower than its span reaches into the rest of the span
    const uint32_t span = 16u << t->swizzle, n = ((uint32_t)t->total + span - 1) / span * span;
    uint8_t *p = vg_resolve(w, in, lane, a, n, 128, use, &space, owner);
    if (p && !*owner) *owner = w->block;
    if (p) *offset = (uint32_t)(p - (*owner)->shared);
    return p;
}

/// Rows of the box in global memory, neighbours merged.
static void lease_rows(vg_bulk *o, int use) {
    const uint64_t n = rows_of(o->tensor);
    uint64_t at = 0, bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        const vg_tensor_row r = vg_tensor_at(o, i);
        if (!r.bytes) continue;
        if (bytes && at + bytes == r.at)
            bytes += r.bytes;
        else {
            vg_bulk_lease(o, NULL, PTX_GLOBAL, at, bytes, use);
            at = r.at;
            bytes = r.bytes;
        }
    }
    vg_bulk_lease(o, NULL, PTX_GLOBAL, at, bytes, use);
}

static bool issue(vg_warp *w, const vg_inst *in, uint32_t l, vg_bulk *o) {
    const tensor_args *x = in->aux;
    vg_tensor *t = o->tensor = read_map(w, in, l);
    if (!t) return false;
    for (uint32_t i = 0; i < t->rank; i++) o->at[i] = (int32_t)VG_ROW32(w, x->at[i])[l];
    for (uint32_t i = 0; x->im2col && i + 2 < t->rank; i++)
        if (x->offset[i] != VG_NO_ROW)
            o->offset[i] = (int32_t)(VG_ROW32(w, x->offset[i])[l] & 0xffff);
    if (!t->im2col && (int64_t)o->at[0] * t->bytes % 16) { // measured on an H200; the ISA does not say it
        vg_fail(w, in, l, VG_ILLEGAL_INSTRUCTION, "the first coordinate, %d, does not lie on 16 bytes", o->at[0]);
        return false;
    }
    o->bytes = t->total;
    o->red = x->red;
    o->type = t->type;
    if (x->op == T_STORE) {
        o->by_group = true;
        if (!box_in_shared(w, in, l, t, VG_READ, &o->src_owner, &o->src_offset)) return false;
        if (vg_sane(w)) {
            vg_bulk_lease(o, o->src_owner, PTX_SHARED, o->src_offset, o->bytes, VG_READ);
            lease_rows(o, x->red ? VG_ATOMIC : VG_WRITE);
        }
        return true;
    }
    o->tensor_load = true;
    vg_block *to;
    int space = PTX_SHARED_CLUSTER;
    if (!box_in_shared(w, in, l, t, VG_WRITE, &to, &o->dst_offset)) return false;
    o->targets = 1u << to->rank;
    const uint8_t *bar = vg_resolve(w, in, l, address(w, in->s[2], x->wide_bar, x->bar, l), 8, 8,
                                    VG_ATOMIC, &space, &o->bar_owner);
    if (!bar) return false;
    if (!o->bar_owner) o->bar_owner = w->block;
    o->bar_offset = (uint32_t)(bar - o->bar_owner->shared);
    if (x->multicast) {
        o->targets = VG_ROW32(w, x->mask)[l] & 0xffff;
        o->bar_owner = NULL;
        if (!vg_bulk_targets(w, in, l, o->targets)) return false;
    } else if (o->bar_owner != to) {
        vg_fail(w, in, l, VG_LAUNCH_FAILED,
                "the copy and its mbarrier are in different blocks of the cluster");
        return false;
    }
    if (vg_sane(w)) {
        lease_rows(o, VG_READ);
        for (uint32_t m = o->targets; m; m &= m - 1) {
            vg_bulk_lease(o, w->block->cluster->block[__builtin_ctz(m)], PTX_SHARED, o->dst_offset,
                          o->bytes, VG_WRITE);
        }
    }
    return true;
}

static enum vg_next tensor(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        vg_bulk *o = vg_bulk_new(w, in, l);
        if (!o) return vg_no_memory(w, in);
        if (!issue(w, in, l, o)) {
            vg_bulk_drop(o);
            return VG_STOP;
        }
        vg_bulk_issue(o);
    }
    return VG_NEXT;
}

static enum vg_next prefetch(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        vg_tensor *t = read_map(w, in, (uint32_t)__builtin_ctz(m));
        if (!t) return VG_STOP;
        free(t);
    }
    return VG_NEXT;
}

// ---- decoding -----------------------------------------------------------------------------------

/// [map, {coordinates}]
static bool decode_map(vg_decoder *d, vg_inst *out, tensor_args *x, const ptx_opnd *o) {
    const ptx_opnd *at = o->list;
    uint32_t n = o->nlist;
    if (n == 1 && at[0].kind == PTX_O_LIST) {
        n = at[0].nlist;
        at = at[0].list;
    }
    if (o->kind != PTX_O_ADDRESS || n != x->dims) {
        vgd_fail(d, "a tensor of %u dimensions takes as many coordinates", x->dims);
        return false;
    }
    out->s[1] = vgd_address(d, o, &x->wide_map, &x->map);
    for (uint32_t i = 0; i < n; i++) x->at[i] = vgd_source(d, &at[i], PTX_s32);
    return true;
}

static void decode_offsets(vg_decoder *d, tensor_args *x, const ptx_opnd *o) {
    if (o->kind != PTX_O_LIST || o->nlist + 2u != x->dims) {
        vgd_fail(d, "im2col of %u dimensions takes %u offsets", x->dims, x->dims - 2u);
        return;
    }
    for (uint32_t i = 0; i < o->nlist; i++) x->offset[i] = vgd_source(d, &o->list[i], PTX_u16);
}

void vgd_tensor(vg_decoder *d, vg_inst *out) {
    static const char *const ranks[] = {"1d", "2d", "3d", "4d", "5d", NULL};
    static const char *const spaces[] = {"shared::cluster", "shared::cta", NULL};
    const ptx_opnd *o = d->in->opnd;
    tensor_args *x = vgd_alloc(d, sizeof *x);
    memset(x->offset, 0xff, sizeof x->offset);
    out->cls = VG_C_async;
    out->aux = x;
    bool reduces = vgd_mod(d, "reduce"), prefetches = vgd_mod(d, "prefetch");
    int rank = vgd_one_of(d, ranks);
    if (rank < 0) {
        vgd_fail(d, "a tensor copy needs .1d to .5d");
        return;
    }
    x->dims = (uint8_t)(rank + 1);
    vgd_mod(d, "tile");
    bool no_offsets = vgd_mod(d, "im2col_no_offs");
    x->im2col = vgd_mod(d, "im2col") || no_offsets;
    if (x->im2col && x->dims < 3) vgd_fail(d, "im2col needs 3 to 5 dimensions");
    bool offsets = x->im2col && !no_offsets;
    bool global = vgd_mod(d, "global"), shared = vgd_one_of(d, spaces) >= 0;
    uint32_t policy = vgd_mod(d, "L2::cache_hint");
    if (prefetches) {
        vgd_mod(d, "L2");
        if (!vgd_count(d, 1u + offsets + policy, 1u + offsets + policy) ||
            !decode_map(d, out, x, &o[0]))
            return;
        x->op = T_PREFETCH;
        if (offsets) decode_offsets(d, x, &o[1]);
        out->run = prefetch;
        return;
    }
    if (!global || !shared) {
        vgd_fail(d, "tensor copies go between .global and .shared");
        return;
    }
    if (vgd_mod(d, "bulk_group")) {
        x->op = T_STORE;
        if (reduces) x->red = (uint8_t)vgd_reduction(d);
        if (!vgd_count(d, 2 + policy, 2 + policy) || !decode_map(d, out, x, &o[0])) return;
        out->s[0] = vgd_address(d, &o[1], &x->wide_shared, &x->shared);
        out->run = tensor;
        return;
    }
    if (reduces || !vgd_mod(d, "mbarrier::complete_tx::bytes")) {
        vgd_fail(d, "a tensor copy needs .bulk_group or .mbarrier::complete_tx::bytes");
        return;
    }
    x->multicast = vgd_mod(d, "multicast::cluster");
    uint32_t n = 3u + offsets + x->multicast + policy;
    if (!vgd_count(d, n, n) || !decode_map(d, out, x, &o[1])) return;
    out->s[0] = vgd_address(d, &o[0], &x->wide_shared, &x->shared);
    out->s[2] = vgd_address(d, &o[2], &x->wide_bar, &x->bar);
    if (offsets) decode_offsets(d, x, &o[3]);
    if (x->multicast) x->mask = vgd_source(d, &o[3 + offsets], PTX_u16);
    out->run = tensor;
}
