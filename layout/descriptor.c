// SPDX-License-Identifier: Apache-2.0
// Matrix descriptors from the map of a shared layout. The address of an element is a sum of one
// part a dimension (the swizzle works on the sum), so a form fits when the parts along both
// dimensions are the form's, wherever in the tile the box may begin.
#include "layout/descriptor.h"

#include "layout/internal.h"

enum { CHUNK = 16, ROWS = 8 }; // a row of a core matrix in bytes, and how many make one

/// Bytes that index x of dimension d adds to the address before the swizzle.
static int64_t part(const descriptor_box *b, int d, int64_t x) {
    const shared_layout *l = b->tile;
    int first = 0;
    for (int k = 0; k < d; k++) first += l->dim_modes[k];
    int64_t sum = 0;
    for (int m = first + l->dim_modes[d] - 1; m >= first; m--) {
        sum += x % l->mode_shape[m] * l->mode_stride[m];
        x /= l->mode_shape[m];
    }
    return sum * (int64_t)b->elem_bits / 8;
}

int64_t layout_descriptor_offset(const descriptor_box *b, int64_t mn, int64_t k) {
    return part(b, b->dim[0], mn) + part(b, b->dim[1], k);
}

/// Whether the part of origin + x is the sum of theirs for all x below `width`: no digit overflows.
static bool additive(const descriptor_box *b, int d, int64_t width) {
    const shared_layout *l = b->tile;
    const uint64_t div = b->divisor[d];
    int first = 0;
    for (int k = 0; k < d; k++) first += l->dim_modes[k];
    int64_t inner = 1;
    if (div == 0) return true;
    for (int m = first + l->dim_modes[d] - 1; m > first; m--) {
        inner *= l->mode_shape[m];
        const int64_t g = layout_gcd(
            inner, (int64_t)(div % (uint64_t)inner ? div % (uint64_t)inner : (uint64_t)inner));
        if (g != inner && width > g) return false;
    }
    return true;
}

/// Greatest common divisor of the parts of all origins that dimension d may have; 0: always 0.
static int64_t origin_parts(const descriptor_box *b, int d) {
    int64_t g = 0;
    if (b->divisor[d] == 0) return 0;
    for (uint64_t o = b->divisor[d]; o < (uint64_t)b->tile->shape[d]; o += b->divisor[d])
        g = layout_gcd(g, part(b, d, (int64_t)o));
    return g;
}

/// part(from + i) - part(from) for the indices of one instruction.
static int64_t walk(const descriptor_box *b, int which, int64_t from, int64_t i) {
    return part(b, b->dim[which], from + i) - part(b, b->dim[which], from);
}

/// Whether walk(i) = i % n * near + i / n * *far for all i of an instruction; *far is found if it
/// is -1.
static bool regular(const descriptor_box *b, int which, int64_t from, int64_t n, int64_t near,
                    int64_t *far) {
    for (int64_t i = 0; i < b->step[which] && from + i < b->extent[which]; i++) {
        const int64_t x = walk(b, which, from, i);
        if (i >= n && *far < 0) *far = x;
        if (x != i % n * near + (i >= n ? i / n * *far : 0)) return false;
    }
    return true;
}

/// Whether all instructions of the operand walk so along `which`.
static bool all_regular(const descriptor_box *b, int which, int64_t n, int64_t near, int64_t *far) {
    for (int64_t from = 0; from < b->extent[which]; from += b->step[which])
        if (!regular(b, which, from, n, near, far)) return false;
    return true;
}

static int width_of(const shared_layout *l,
                    unsigned elem_bits) { // swizzle width in bytes; -1: another swizzle
    if (!l->sw_bits) return CHUNK;
    int log = 0;
    while (8u << log < elem_bits) log++;
    return l->sw_base + log == 4 && l->sw_shift == 3 && l->sw_bits <= 3 ? CHUNK << l->sw_bits : -1;
}

/// Origins and starts of instructions keep the swizzle's phase (rows a multiple of 8) and 16 bytes.
static bool aligned(const descriptor_box *b, int along, int64_t width) {
    const int64_t period = width == CHUNK ? CHUNK : ROWS * width;
    for (int d = 0; d < b->tile->rank; d++) {
        const bool row = d == b->dim[along]; // within a row of the pattern any 16 bytes will do
        if (origin_parts(b, d) % (row ? CHUNK : period)) return false;
        for (uint64_t o = b->divisor[d]; row && o && o < (uint64_t)b->tile->shape[d];
             o += b->divisor[d])
            if (part(b, d, (int64_t)o) % period >= width) return false;
    }
    for (int w = 0; w < 2; w++)
        for (int64_t x = 0; x < b->extent[w]; x += b->step[w]) {
            const int64_t at = part(b, b->dim[w], x) % period;
            if (w == along ? at >= width || at % CHUNK : at) return false;
        }
    return true;
}

static bool along_k(const descriptor_box *b, int width, descriptor *out) {
    const int64_t n = CHUNK * 8 / b->elem_bits, byte = b->elem_bits / 8;
    int64_t far = -1, next = width == CHUNK ? -1 : CHUNK;
    if (!all_regular(b, 1, n, byte, &next) || !all_regular(b, 0, ROWS, width, &far) ||
        !aligned(b, 1, width))
        return false;
    *out = (descriptor){.swizzle = width == CHUNK ? 0 : width,
                        .leading = width == CHUNK ? next : CHUNK,
                        .stride = far < 0 ? ROWS * (int64_t)width : far};
    return true;
}

static bool along_mn(const descriptor_box *b, int width, descriptor *out) {
    const int64_t n = (int64_t)width * 8 / b->elem_bits, byte = b->elem_bits / 8;
    int64_t panel = -1, group = -1;
    if (b->elem_bits != 16 || !all_regular(b, 0, n, byte, &panel) ||
        !all_regular(b, 1, ROWS, width, &group) || !aligned(b, 0, width))
        return false;
    if (panel < 0) panel = ROWS * (int64_t)width; // never stepped over
    if (group < 0) group = ROWS * (int64_t)width;
    *out = (descriptor){.swizzle = width == CHUNK ? 0 : width,
                        .across = true,
                        .leading = width == CHUNK ? group : panel,
                        .stride = width == CHUNK ? panel : group};
    return true;
}

bool layout_descriptor(vm_arena *a, const descriptor_box *b, descriptor *out, layout_why why) {
    const shared_layout *l = b->tile;
    const int width = width_of(l, b->elem_bits);
    const bool k_first = walk(b, 1, 0, b->extent[1] > 1) * 8 == b->elem_bits; // contiguous along k
    if (b->elem_bits != 8 && b->elem_bits != 16 && b->elem_bits != 32)
        return layout_fail(a, why, "elements of %u bits have no matrix descriptor", b->elem_bits),
               false;
    if (b->extent[1] % b->step[1])
        return layout_fail(a, why, "k = %lld is no multiple of %lld", (long long)b->extent[1],
                           (long long)b->step[1]),
               false;
    for (int w = 0; w < 2; w++)
        if (!additive(b, b->dim[w], b->extent[w]))
            return layout_fail(a, why,
                               "the part begins anywhere in dimension %d of its tile: its offset "
                               "there must be a multiple of its extent",
                               b->dim[w]),
                   false;
    if (width > 0 && (along_k(b, width, out) || along_mn(b, width, out)))
        if (out->leading % CHUNK == 0 && out->stride % CHUNK == 0 && out->leading < 1 << 18 &&
            out->stride < 1 << 18)
            return true;
    if (!k_first && b->elem_bits != 16)
        return layout_fail(a, why,
                           "operands of %u bits must be contiguous along k: keep the tile as [n, "
                           "k] (or [m, k]) and use its transpose",
                           b->elem_bits),
               false;
    const int64_t row = (int64_t)l->shape[l->rank - 1] * b->elem_bits / 8;
    const int best = row % 128 == 0 ? 128 : row % 64 == 0 ? 64 : row % 32 == 0 ? 32 : 16;
    const shared_layout *want =
        row % CHUNK == 0 ? shared_swizzle(a, l->rank, l->shape, b->elem_bits, best, NULL) : NULL;
    if (want && !shared_equal(want, l)) {
        const descriptor_box other = {want,
                                      {b->dim[0], b->dim[1]},
                                      {b->extent[0], b->extent[1]},
                                      {b->step[0], b->step[1]},
                                      {0},
                                      b->elem_bits};
        descriptor ignored;
        if (along_k(&other, best, &ignored) || along_mn(&other, best, &ignored))
            return layout_fail(a, why,
                               "no matrix descriptor walks its layout; '@ swizzle(%d)' would do",
                               best),
                   false;
    }
    return layout_fail(a, why,
                       "no matrix descriptor walks its layout: offsets must be multiples of 8 rows "
                       "and 16 bytes, and rows of at least 16 bytes "
                       "lie in a tile '@ swizzle(128)', (64), (32) or (16)"),
           false;
}

uint64_t descriptor_bits(const descriptor *d) {
    const uint64_t mode = d->swizzle == 128 ? 1 : d->swizzle == 64 ? 2 : d->swizzle == 32 ? 3 : 0;
    return (uint64_t)(d->leading / CHUNK) << 16 | (uint64_t)(d->stride / CHUNK) << 32 | mode << 62;
}
