// SPDX-License-Identifier: Apache-2.0
// Shared and global layouts: index to element offset, by mode strides and one optional xor swizzle.
// Not here: what bank conflicts or descriptors follow from a layout (code generation asks).
#include "layout/internal.h"

#include <string.h>

static const int64_t max_elements = (int64_t)1 << 48;

static bool mul_fits(int64_t x, int64_t y, int64_t *out) {
    if (x != 0 && y > max_elements / x) return false;
    *out = x * y;
    return true;
}

// Appends modes of one dimension, canonically: no extent 1, contiguous neighbours merged.
static bool put_mode(shared_layout *f, int d, int32_t extent, int64_t stride) {
    if (extent == 1) return true;
    if (f->dim_modes[d]) {
        const int last = f->nmodes - 1;
        const int64_t both = (int64_t)f->mode_shape[last] * extent;
        if (f->mode_stride[last] == stride * extent && both <= INT32_MAX) {
            f->mode_shape[last] = (int32_t)both;
            f->mode_stride[last] = stride;
            return true;
        }
    }
    if (f->nmodes == LAYOUT_MAX_MODES) return false;
    f->mode_shape[f->nmodes] = extent;
    f->mode_stride[f->nmodes++] = stride;
    f->dim_modes[d]++;
    return true;
}

const shared_layout *shared_make(vm_arena *a, int rank, const int32_t *shape, int nmodes,
                                 const int32_t *mode_shape, const int64_t *mode_stride, int sw_base,
                                 int sw_bits, int sw_shift, layout_why why) {
    if (rank < 0 || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "rank %d is not in 0..%d", rank, LAYOUT_MAX_RANK);
    if (sw_bits < 0 || sw_base < 0 || sw_shift < 0 || (sw_bits && sw_shift < sw_bits) ||
        sw_base > 40 || sw_bits > 40 || sw_shift > 40 || sw_base + sw_bits + sw_shift > 48)
        return layout_fail(a, why, "swizzle [%d, %d, %d] is not possible", sw_base, sw_bits,
                           sw_shift);
    shared_layout *f = vm_new(a, shared_layout);
    f->rank = (uint8_t)rank;
    int m = 0;
    int64_t last = 0, count = 1;
    for (int d = 0; d < rank; d++) {
        if (shape[d] < 1)
            return layout_fail(a, why, "extent %d of dimension %d is not positive", shape[d], d);
        f->shape[d] = shape[d];
        if (!mul_fits(count, shape[d], &count))
            return layout_fail(a, why, "shape %s has too many elements",
                               layout_list(a, rank, shape));
        int64_t have = 1;
        while (m < nmodes && have < shape[d]) {
            if (mode_shape[m] < 1 || mode_stride[m] < 0)
                return layout_fail(a, why, "mode %d has extent %d and stride %lld", m,
                                   mode_shape[m], (long long)mode_stride[m]);
            int64_t span;
            have *= mode_shape[m];
            if (!mul_fits(mode_shape[m] - 1, mode_stride[m], &span) ||
                (last += span) >= max_elements)
                return layout_fail(a, why, "the layout of shape %s spans too many elements",
                                   layout_list(a, rank, shape));
            if (!put_mode(f, d, mode_shape[m], mode_stride[m]))
                return layout_fail(a, why, "the layout has more than %d modes", LAYOUT_MAX_MODES);
            m++;
        }
        if (have != shape[d])
            return layout_fail(a, why, "the modes of dimension %d do not multiply to its extent %d",
                               d, shape[d]);
    }
    for (; m < nmodes; m++)
        if (mode_shape[m] != 1) return layout_fail(a, why, "mode %d belongs to no dimension", m);
    f->size = last + 1;
    if (sw_bits) {
        f->sw_base = (uint8_t)sw_base;
        f->sw_bits = (uint8_t)sw_bits;
        f->sw_shift = (uint8_t)sw_shift;
        // An xor never leaves its aligned block of 2^(base+bits), so only the last block grows.
        const int64_t block = (int64_t)1 << (sw_base + sw_bits);
        const int64_t sources = (int64_t)1 << (sw_base + sw_shift);
        if (last >= sources && f->size % block) f->size += block - f->size % block;
    }
    return f;
}

const shared_layout *shared_strides(vm_arena *a, int rank, const int32_t *shape,
                                    const int64_t *strides) {
    return shared_make(a, rank, shape, rank, shape, strides, 0, 0, 0, NULL);
}

// Modes that are the dimensions need no grouping by products, so extents of 1 are no problem.
static const shared_layout *contiguous(vm_arena *a, int rank, const int32_t *shape, bool column) {
    if (rank < 0 || rank > LAYOUT_MAX_RANK) return NULL;
    int64_t strides[LAYOUT_MAX_RANK], s = 1;
    for (int j = 0; j < rank; j++) {
        const int d = column ? j : rank - 1 - j;
        strides[d] = s;
        if (shape[d] < 1 || !mul_fits(s, shape[d], &s)) return NULL;
    }
    return shared_strides(a, rank, shape, strides);
}

const shared_layout *shared_row_major(vm_arena *a, int rank, const int32_t *shape) {
    return contiguous(a, rank, shape, false);
}

const shared_layout *shared_column_major(vm_arena *a, int rank, const int32_t *shape) {
    return contiguous(a, rank, shape, true);
}

static int log2_of(int64_t x) { // -1: no power of two
    if (x < 1 || x & (x - 1)) return -1;
    int n = 0;
    while (x > 1) {
        x >>= 1;
        n++;
    }
    return n;
}

const shared_layout *shared_swizzle(vm_arena *a, int rank, const int32_t *shape, unsigned elem_bits,
                                    int w, layout_why why) {
    if (w != 16 && w != 32 && w != 64 && w != 128)
        return layout_fail(a, why, "swizzle(%d): the width must be 16, 32, 64 or 128 bytes", w);
    if (rank < 1 || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "swizzle(%d): rank %d is not in 1..%d", w, rank,
                           LAYOUT_MAX_RANK);
    if (log2_of(elem_bits) < 0 || elem_bits > 128)
        return layout_fail(a, why,
                           "swizzle(%d): elements of %u bits do not divide 16 bytes; use bytes", w,
                           elem_bits);
    int64_t count = 1;
    for (int d = 0; d < rank; d++)
        if (shape[d] < 1 || !mul_fits(count, shape[d], &count))
            return layout_fail(a, why, "swizzle(%d): shape %s is not possible", w,
                               layout_list(a, rank, shape));
    const int64_t row_bits = (int64_t)shape[rank - 1] * elem_bits;
    const int64_t panel_bits = layout_gcd(row_bits, (int64_t)w * 8);
    if (panel_bits < 128)
        return layout_fail(
            a, why, "swizzle(%d): a row of %d elements of %u bits is no multiple of 16 bytes", w,
            shape[rank - 1], elem_bits);
    const int32_t panel = (int32_t)(panel_bits / elem_bits), panels = shape[rank - 1] / panel;
    const int64_t rows = count / shape[rank - 1];
    int32_t mode_shape[LAYOUT_MAX_RANK + 1];
    int64_t mode_stride[LAYOUT_MAX_RANK + 1], s = panel;
    for (int d = rank - 2; d >= 0; d--) {
        mode_shape[d] = shape[d];
        mode_stride[d] = s;
        s *= shape[d];
    }
    mode_shape[rank - 1] = panels;
    mode_stride[rank - 1] = rows * panel;
    mode_shape[rank] = panel;
    mode_stride[rank] = 1;
    const int bits = log2_of(panel_bits / 128), base = log2_of(128 / elem_bits);
    return shared_make(a, rank, shape, rank + 1, mode_shape, mode_stride, base, bits, bits ? 3 : 0,
                       why);
}

const shared_layout *shared_compose(vm_arena *a, const shared_layout *f, const shared_layout *g,
                                    layout_why why) {
    const int rank = f->rank > g->rank ? f->rank : g->rank;
    int32_t shape[LAYOUT_MAX_RANK], mode_shape[LAYOUT_MAX_MODES * 2];
    int64_t mode_stride[LAYOUT_MAX_MODES * 2];
    int n = 0, mf = 0, mg = 0;
    int64_t extent, size;
    if (!mul_fits(f->size, g->size, &size))
        return layout_fail(a, why, "compose: %lld times %lld elements are too many",
                           (long long)f->size, (long long)g->size);
    for (int d = 0; d < rank; d++) {
        const int df = d - (rank - f->rank), dg = d - (rank - g->rank);
        extent = (int64_t)(df < 0 ? 1 : f->shape[df]) * (dg < 0 ? 1 : g->shape[dg]);
        if (extent > INT32_MAX) return layout_fail(a, why, "compose: dimension %d is too large", d);
        shape[d] = (int32_t)extent;
        for (int j = 0; df >= 0 && j < f->dim_modes[df]; j++, mf++, n++) {
            mode_shape[n] = f->mode_shape[mf];
            mode_stride[n] = f->mode_stride[mf] * g->size;
        }
        for (int j = 0; dg >= 0 && j < g->dim_modes[dg]; j++, mg++, n++) {
            mode_shape[n] = g->mode_shape[mg];
            mode_stride[n] = g->mode_stride[mg];
        }
    }
    int base = 0, bits = 0, shift = 0;
    if (f->sw_bits && g->sw_bits) return layout_fail(a, why, "compose: both layouts are swizzled");
    if (f->sw_bits) {
        const int k = log2_of(g->size);
        if (k < 0)
            return layout_fail(a, why, "compose: %lld elements under a swizzle are no power of two",
                               (long long)g->size);
        base = f->sw_base + k, bits = f->sw_bits, shift = f->sw_shift;
    } else if (g->sw_bits) {
        base = g->sw_base, bits = g->sw_bits, shift = g->sw_shift;
        if (f->size > 1 && g->size % ((int64_t)1 << (base + bits + shift)))
            return layout_fail(a, why,
                               "compose: %lld elements are no multiple of the swizzle's period",
                               (long long)g->size);
    }
    return shared_make(a, rank, shape, n, mode_shape, mode_stride, base, bits, shift, why);
}

const shared_layout *shared_permute(vm_arena *a, const shared_layout *f, const int32_t *perm) {
    int32_t pos[LAYOUT_MAX_RANK];
    if (!layout_positions(a, "permute", f->rank, perm, f->rank, pos, NULL)) return NULL;
    int first[LAYOUT_MAX_RANK] = {0};
    for (int d = 1; d < f->rank; d++) first[d] = first[d - 1] + f->dim_modes[d - 1];
    shared_layout *g = vm_dup(a, f, sizeof *f);
    for (int d = 0, m = 0; d < f->rank; d++) {
        g->shape[d] = f->shape[pos[d]];
        g->dim_modes[d] = f->dim_modes[pos[d]];
        for (int j = 0; j < g->dim_modes[d]; j++, m++) {
            g->mode_shape[m] = f->mode_shape[first[pos[d]] + j];
            g->mode_stride[m] = f->mode_stride[first[pos[d]] + j];
        }
    }
    return g;
}

const shared_layout *shared_reshape(vm_arena *a, const shared_layout *f, int rank,
                                    const int32_t *shape, layout_why why) {
    if (rank < 0 || rank > LAYOUT_MAX_RANK)
        return layout_fail(a, why, "reshape: rank %d is not in 0..%d", rank, LAYOUT_MAX_RANK);
    int64_t was = 1, is = 1;
    for (int d = 0; d < f->rank; d++) was *= f->shape[d];
    for (int d = 0; d < rank; d++)
        if (shape[d] < 1 || !mul_fits(is, shape[d], &is))
            return layout_fail(a, why, "reshape: shape %s is not possible",
                               layout_list(a, rank, shape));
    if (was != is)
        return layout_fail(a, why, "reshape: %s and %s have different numbers of elements",
                           layout_list(a, f->rank, f->shape), layout_list(a, rank, shape));
    // From the last mode backwards, each new dimension takes what it needs of the modes of f. Modes
    // of neighbouring dimensions that lie contiguously are one mode here.
    int32_t extent[LAYOUT_MAX_MODES], out_shape[LAYOUT_MAX_MODES * 2];
    int64_t stride[LAYOUT_MAX_MODES], out_stride[LAYOUT_MAX_MODES * 2];
    int n = 0;
    for (int m = 0; m < f->nmodes; m++) {
        extent[n] = f->mode_shape[m];
        stride[n] = f->mode_stride[m];
        const int64_t both = n ? (int64_t)extent[n - 1] * extent[n] : 0;
        if (n && stride[n - 1] == stride[n] * extent[n] && both <= INT32_MAX) {
            extent[n - 1] = (int32_t)both;
            stride[n - 1] = stride[n];
        } else {
            n++;
        }
    }
    const int cap = LAYOUT_MAX_MODES * 2;
    int at = cap, m = n - 1;
    for (int d = rank - 1; d >= 0; d--) {
        int32_t need = shape[d];
        while (need > 1) {
            const int32_t take = need < extent[m] ? need : extent[m];
            if (need % take || extent[m] % take || at == 0)
                return layout_fail(a, why,
                                   "reshape: dimension %d of %s cuts a mode of extent %d in two", d,
                                   layout_list(a, rank, shape), extent[m]);
            at--;
            out_shape[at] = take;
            out_stride[at] = stride[m];
            need /= take;
            stride[m] *= take;
            extent[m] /= take;
            if (extent[m] == 1) m--;
        }
    }
    return shared_make(a, rank, shape, cap - at, out_shape + at, out_stride + at, f->sw_base,
                       f->sw_bits, f->sw_shift, why);
}

const shared_layout *shared_prepend(vm_arena *a, const shared_layout *f, int32_t extent) {
    if (f->rank == LAYOUT_MAX_RANK || extent < 1) return NULL;
    int32_t shape[LAYOUT_MAX_RANK], mode_shape[LAYOUT_MAX_MODES + 1];
    int64_t mode_stride[LAYOUT_MAX_MODES + 1];
    // Whole swizzle periods, so that each part has the same pattern.
    const int64_t period = f->sw_bits ? (int64_t)1 << (f->sw_base + f->sw_bits + f->sw_shift) : 1;
    shape[0] = mode_shape[0] = extent;
    mode_stride[0] = (f->size + period - 1) / period * period;
    for (int d = 0; d < f->rank; d++) shape[d + 1] = f->shape[d];
    for (int m = 0; m < f->nmodes; m++) {
        mode_shape[m + 1] = f->mode_shape[m];
        mode_stride[m + 1] = f->mode_stride[m];
    }
    return shared_make(a, f->rank + 1, shape, f->nmodes + 1, mode_shape, mode_stride, f->sw_base,
                       f->sw_bits, f->sw_shift, NULL);
}

int64_t shared_offset(const shared_layout *f, const int32_t *index) {
    int64_t off = 0;
    for (int d = 0, first = 0; d < f->rank; d++) {
        int64_t x = index[d];
        for (int m = first + f->dim_modes[d] - 1; m >= first; m--) {
            off += x % f->mode_shape[m] * f->mode_stride[m];
            x /= f->mode_shape[m];
        }
        first += f->dim_modes[d];
    }
    if (f->sw_bits) {
        const int64_t mask = ((int64_t)1 << f->sw_bits) - 1;
        off ^= (off >> (f->sw_base + f->sw_shift) & mask) << f->sw_base;
    }
    return off;
}

bool shared_equal(const shared_layout *f, const shared_layout *g) {
    if (f == g) return true;
    if (!f || !g || f->rank != g->rank || memcmp(f->shape, g->shape, sizeof f->shape) != 0)
        return false;
    if (f->nmodes == g->nmodes && memcmp(f->dim_modes, g->dim_modes, sizeof f->dim_modes) == 0 &&
        memcmp(f->mode_shape, g->mode_shape, sizeof f->mode_shape) == 0 &&
        memcmp(f->mode_stride, g->mode_stride, sizeof f->mode_stride) == 0 &&
        f->sw_bits == g->sw_bits &&
        (!f->sw_bits || (f->sw_base == g->sw_base && f->sw_shift == g->sw_shift)))
        return true;
    if (!f->sw_bits && !g->sw_bits) return false; // canonical modes decide
    // A swizzle may have no effect, or be written otherwise: ask the map.
    int64_t n = 1;
    for (int d = 0; d < f->rank; d++) n *= f->shape[d];
    if (n > 1 << 22) return false;
    int32_t index[LAYOUT_MAX_RANK] = {0};
    for (int64_t i = 0; i < n; i++) {
        if (shared_offset(f, index) != shared_offset(g, index)) return false;
        for (int d = f->rank - 1; d >= 0 && ++index[d] == f->shape[d]; d--) index[d] = 0;
    }
    return true;
}

// ---- proofs -------------------------------------------------------------------------------------

/// Modes by stride; true if each steps over all that the smaller ones reach.
static bool strides_nest(const shared_layout *f) {
    uint8_t by[LAYOUT_MAX_MODES];
    int n = 0;
    for (int m = 0; m < f->nmodes; m++) {
        if (f->mode_shape[m] == 1) continue;
        int at = n++;
        for (; at && f->mode_stride[by[at - 1]] > f->mode_stride[m]; at--) by[at] = by[at - 1];
        by[at] = (uint8_t)m;
    }
    int64_t reach = 0;
    for (int i = 0; i < n; i++) {
        if (f->mode_stride[by[i]] <= reach) return false;
        reach += (f->mode_shape[by[i]] - 1) * f->mode_stride[by[i]];
    }
    return true;
}

/// The xor takes bits from above those that it changes, so it undoes itself: a bijection.
static bool swizzle_undoes_itself(const shared_layout *f) { return !f->sw_bits || f->sw_shift >= f->sw_bits; }

static int64_t offset_of(const shared_layout *f, int64_t linear) {
    int32_t index[LAYOUT_MAX_RANK] = {0};
    for (int d = f->rank - 1; d >= 0; d--) {
        index[d] = (int32_t)(linear % f->shape[d]);
        linear /= f->shape[d];
    }
    return shared_offset(f, index);
}

bool shared_injective(vm_arena *a, const shared_layout *f, int64_t *one, int64_t *other) {
    if (one) *one = *other = -1;
    if (!swizzle_undoes_itself(f)) return false;
    if (strides_nest(f)) return true;
    int64_t n = 1;
    for (int d = 0; d < f->rank; d++) n *= f->shape[d];
    if (n > 1 << 24 || f->size > 1 << 26) return false;
    uint8_t *seen = vm_newn(a, uint8_t, f->size / 8 + 1);
    for (int64_t i = 0; i < n; i++) {
        const int64_t at = offset_of(f, i);
        if (seen[at / 8] >> at % 8 & 1) {
            if (!one) return false;
            *other = i;
            for (*one = 0; offset_of(f, *one) != at;) ++*one;
            return false;
        }
        seen[at / 8] |= (uint8_t)(1 << at % 8);
    }
    return true;
}

bool shared_inside(const shared_layout *f) {
    int64_t last = 0;
    for (int m = 0; m < f->nmodes; m++) last += (f->mode_shape[m] - 1) * f->mode_stride[m];
    if (last >= f->size) return false;
    const int64_t block = (int64_t)1 << (f->sw_base + f->sw_bits), sources = (int64_t)1 << (f->sw_base + f->sw_shift);
    return !f->sw_bits || last < sources || f->size % block == 0; // an xor stays in its aligned block
}
