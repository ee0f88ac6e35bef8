// SPDX-License-Identifier: Apache-2.0
// Counts bank conflicts of warp-wide accesses to shared memory, and finds the layout of a shared tile in
// which a given set of accesses has fewest.
#include "layout/banks.h"

#include <string.h>

void bank_access(const int64_t address[BANK_LANES], int bytes, bank_count *sum) {
    const int phases = bytes > 8 ? 4 : bytes > 4 ? 2 : 1, lanes = BANK_LANES / phases;
    bool any = false;
    for (int p = 0; p < phases; p++) {
        int64_t word[BANK_LANES * 2];
        int n = 0, most = 0, in_bank[32] = {0};
        for (int l = p * lanes; l < (p + 1) * lanes; l++) {
            if (address[l] < 0) continue;
            for (int64_t w = address[l] / 4; w <= (address[l] + bytes - 1) / 4; w++) {
                bool seen = false; // lanes that want the same word share it
                for (int i = n - 1; i >= 0 && !seen; i--) seen = word[i] == w;
                if (seen) continue;
                if (n < BANK_LANES * 2) word[n++] = w;
                const int k = ++in_bank[w % 32];
                if (k > most) most = k;
            }
        }
        sum->wavefronts += most;
        sum->conflicts += most > 1 ? most - 1 : 0;
        any = any || most;
    }
    sum->accesses += any;
}

/// Byte address of an element; -1 if it does not begin a byte.
static int64_t byte_of(const shared_layout *sh, const int32_t *index, unsigned bits) {
    const int64_t bit = shared_offset(sh, index) * bits;
    return bit % 8 ? -1 : bit / 8;
}

/// Index in the shared tile of element `at` of a tile of `rank` dimensions, right-aligned.
static void root_index(const shared_layout *sh, const int32_t *origin, int rank, const int32_t *at, int32_t *index) {
    for (int d = 0; d < sh->rank; d++) {
        const int k = d - (sh->rank - rank);
        index[d] = (origin ? origin[d] : 0) + (k >= 0 ? at[k] : 0);
    }
}

static bool inside(const layout *reg, const int32_t *shape, const shared_layout *sh, const int32_t *origin, const int32_t *at) {
    for (int d = 0; d < reg->rank; d++) {
        const int k = sh->rank - reg->rank + d;
        if (at[d] >= (shape ? shape[d] : reg->shape[d])) return false;
        if (k >= 0 && at[d] + (origin ? origin[k] : 0) >= sh->shape[k]) return false;
    }
    return true;
}

bool bank_tile(vm_arena *a, const layout *reg, const int32_t *shape, const shared_layout *sh, const int32_t *origin,
               unsigned elem_bits, int vec, bool store, bank_count *sum) {
    const int64_t bytes = ((int64_t)vec * elem_bits + 7) / 8;
    if (reg->rank > sh->rank || bytes > 16 || reg->slots % vec || ((unsigned)vec * elem_bits % 8 && vec > 1)) return false;
    const int32_t *table = layout_table(a, reg);
    const int first = layout_replicas(reg) > 1 && store;
    bool *seen = first ? vm_newn(a, bool, sh->size + 1) : NULL;
    bank_count c = {0};
    for (int w = 0; w < reg->threads; w += BANK_LANES)
        for (int s = 0; s < reg->slots; s += vec) {
            int64_t at[BANK_LANES];
            for (int l = 0; l < BANK_LANES; l++) {
                at[l] = -1;
                if (w + l >= reg->threads) continue;
                const int32_t *x = table + ((int64_t)(w + l) * reg->slots + s) * reg->rank;
                int32_t index[LAYOUT_MAX_RANK];
                if (!inside(reg, shape, sh, origin, x)) continue;
                root_index(sh, origin, reg->rank, x, index);
                const int64_t element = shared_offset(sh, index);
                if (vec > 1 && element % vec) return false;
                for (int j = 1; j < vec; j++) {
                    if (!inside(reg, shape, sh, origin, x + j * reg->rank)) return false;
                    root_index(sh, origin, reg->rank, x + j * reg->rank, index);
                    if (shared_offset(sh, index) != element + j) return false;
                }
                if (seen && seen[element]) continue;
                if (seen) seen[element] = true;
                at[l] = element * elem_bits / 8;
            }
            bank_access(at, (int)bytes, &c);
        }
    sum->accesses += c.accesses;
    sum->wavefronts += c.wavefronts;
    sum->conflicts += c.conflicts;
    return true;
}

int bank_vector(vm_arena *a, const layout *reg, const int32_t *shape, const shared_layout *sh, const int32_t *origin,
                unsigned elem_bits) {
    int run = 1;
    for (int d = 0; d < reg->rank; d++) {
        const int r = layout_run(reg, d);
        if (r > run) run = r;
    }
    while (run > 1 && (int64_t)run * elem_bits > 128) run /= 2;
    for (; run > 1; run /= 2) {
        bank_count none = {0};
        if (bank_tile(a, reg, shape, sh, origin, elem_bits, run, false, &none)) break;
    }
    return run;
}

bool bank_matrix(vm_arena *a, const shared_layout *sh, int rows, int cols, unsigned elem_bits, bank_count *sum) {
    (void)a;
    const int step = (int)(128 / elem_bits);
    if (sh->rank < 2 || rows % 8 || cols % step) return false;
    bank_count c = {0};
    for (int r = 0; r < rows; r += 8)
        for (int k = 0; k < cols; k += step) {
            int64_t at[BANK_LANES];
            memset(at, -1, sizeof at);
            for (int i = 0; i < 8; i++) {
                int32_t index[LAYOUT_MAX_RANK] = {0};
                index[sh->rank - 2] = r + i;
                for (int j = 0; j < step; j++) {
                    index[sh->rank - 1] = k + j;
                    const int64_t b = shared_offset(sh, index);
                    if (j == 0) {
                        at[i] = byte_of(sh, index, elem_bits);
                        if (at[i] < 0 || at[i] % 16) return false;
                    } else if (b * elem_bits / 8 != at[i] + (int64_t)j * elem_bits / 8) return false;
                }
            }
            bank_access(at, 16, &c);
        }
    sum->accesses += c.accesses;
    sum->wavefronts += c.wavefronts;
    sum->conflicts += c.conflicts;
    return true;
}

static bool copy_box(const shared_layout *sh, const int32_t *shape, int threads, unsigned elem_bits, bank_count *sum) {
    const int last = sh->rank - 1;
    if (last < 0) return false;
    int v = 1;
    while (v * 2 * (int)elem_bits <= 128 && shape[last] % (v * 2) == 0) v *= 2;
    for (; v > 1; v /= 2) { // as wide as pieces stay whole
        bool whole = true;
        for (int32_t x = 0; x < shape[last] && whole; x++) {
            int32_t index[LAYOUT_MAX_RANK] = {0};
            index[last] = x - x % v;
            const int64_t at = shared_offset(sh, index);
            index[last] = x;
            whole = at % v == 0 && shared_offset(sh, index) == at + x % v;
        }
        if (whole) break;
    }
    const unsigned piece = (unsigned)v * elem_bits;
    if (piece % 8) return false;
    int64_t n = 1;
    for (int d = 0; d <= last; d++) n *= d == last ? shape[d] / v : shape[d];
    if (n > 1 << 16) n = 1 << 16; // a sample will do
    for (int64_t first = 0; first < n; first += threads)
        for (int w = 0; w < threads; w += BANK_LANES) {
            int64_t at[BANK_LANES];
            for (int l = 0; l < BANK_LANES; l++) {
                int64_t id = first + w + l;
                at[l] = -1;
                if (w + l >= threads || id >= n) continue;
                int32_t index[LAYOUT_MAX_RANK];
                for (int d = last; d >= 0; d--) {
                    const int32_t extent = d == last ? shape[d] / v : shape[d];
                    index[d] = (int32_t)(id % extent) * (d == last ? v : 1);
                    id /= extent;
                }
                at[l] = byte_of(sh, index, elem_bits);
                if (at[l] < 0) return false;
            }
            bank_access(at, (int)(piece / 8), sum);
        }
    return true;
}

bool bank_copy(vm_arena *a, const shared_layout *sh, int threads, unsigned elem_bits, bank_count *sum) {
    (void)a;
    return copy_box(sh, sh->shape, threads, elem_bits, sum);
}

bool bank_use_count(vm_arena *a, const bank_use *u, const shared_layout *sh, unsigned elem_bits, bank_count *sum) {
    const int32_t *s = u->shape;
    switch (u->kind) {
    case BANK_COPY: return copy_box(sh, s, u->threads, elem_bits, sum);
    case BANK_MATRIX: // rows that are not 16 aligned bytes go as any others
        if (bank_matrix(a, sh, s[sh->rank - 2], s[sh->rank - 1], elem_bits, sum)) return true;
        break;
    default: break;
    }
    if (!u->reg || u->reg->rank > sh->rank) return false;
    const int32_t *shape = s + (sh->rank - u->reg->rank);
    const int vec = bank_vector(a, u->reg, shape, sh, NULL, elem_bits);
    return bank_tile(a, u->reg, shape, sh, NULL, elem_bits, vec, u->kind == BANK_STORE, sum);
}

enum { MAX_CANDIDATES = 48 };

const shared_layout *shared_find_swizzle(vm_arena *a, int rank, const int32_t *shape, unsigned elem_bits, int n,
                                         const bank_use *uses, bank_count *left) {
    const shared_layout *best = NULL, *candidate[MAX_CANDIDATES];
    int count = 0;
    candidate[count++] = shared_row_major(a, rank, shape);
    for (int w = 128; w >= 32 && rank >= 2; w /= 2) {
        const shared_layout *s = shared_swizzle(a, rank, shape, elem_bits, w, NULL);
        if (s) candidate[count++] = s;
    }
    if (rank >= 2 && elem_bits >= 8 && !(elem_bits & (elem_bits - 1))) { // chunks of 4, 8 or 16 bytes xored with bits of the row
        int32_t modes[LAYOUT_MAX_RANK];
        int64_t stride[LAYOUT_MAX_RANK], s = 1;
        for (int d = rank - 1; d >= 0; d--) {
            modes[d] = shape[d];
            stride[d] = s;
            s *= shape[d];
        }
        int cell = 0, row = 0;
        while (8u << cell < elem_bits) cell++;
        while (1ll << (row + 1) <= shape[rank - 1]) row++;
        for (int less = 0; less <= 2; less++) // bits of the row alone, or with the highest bits of the column
            for (int base = 4; base >= 2; base--)
                for (int bits = 7 - base; bits >= 1; bits--) {
                    const int shift = row - (base - cell) - less;
                    if (base < cell || shift < bits || s % (1ll << (base - cell + bits)) || count >= MAX_CANDIDATES) continue;
                    const shared_layout *f = shared_make(a, rank, shape, rank, modes, stride, base - cell, bits, shift, NULL);
                    if (f) candidate[count++] = f;
                }
    }
    for (int i = 0; i < count; i++) {
        bank_count sum = {0};
        bool ok = true;
        for (int k = 0; k < n && ok; k++) ok = bank_use_count(a, &uses[k], candidate[i], elem_bits, &sum);
        if (i == 0 && !ok) { // what cannot be counted in order stays as it is
            *left = (bank_count){-1, -1, -1};
            return candidate[0];
        }
        // Narrower accesses cost as much as conflicts: both are wavefronts or accesses.
        if (!ok || (best && sum.wavefronts + sum.accesses >= left->wavefronts + left->accesses)) continue;
        best = candidate[i];
        *left = sum;
        if (sum.conflicts == 0) break;
    }
    return best;
}
