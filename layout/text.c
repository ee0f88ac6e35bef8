// SPDX-License-Identifier: Apache-2.0
// Layouts for people and tools: expressions that parse.c reads back, JSON tables, and grids.
#include "layout/internal.h"

#include <string.h>

enum { MAX_DIGITS = LAYOUT_MAX_MODES * 2, GRID_LIMIT = 1 << 22 };

static void put_list32(vm_text *t, int n, const int32_t *v, const char *sep) {
    vm_put(t, "[");
    for (int i = 0; i < n; i++) vm_put(t, "%s%d", i ? sep : "", v[i]);
    vm_put(t, "]");
}

static void put_list64(vm_text *t, int n, const int64_t *v, const char *sep) {
    vm_put(t, "[");
    for (int i = 0; i < n; i++) vm_put(t, "%s%lld", i ? sep : "", (long long)v[i]);
    vm_put(t, "]");
}

// ---- register layouts ---------------------------------------------------------------------------

typedef struct {
    const char *name;
    int32_t shape[LAYOUT_MAX_RANK];
    int32_t workers;
} piece;

// Takes from the end of x[0..*n) the longest run of digits that one primitive can hold; low[d] is
// the stride that the pieces already taken leave for dimension d.
static bool peel(const layout_digit *x, int *n, bool spatial, int rank, int32_t *low, piece *out) {
    *out = (piece){.name = spatial ? "spatial" : "local"};
    for (int d = 0; d < rank; d++) out->shape[d] = 1;
    if (*n && x[*n - 1].dim < 0) {
        out->name = "replicated";
        out->workers = x[--*n].extent;
        return true;
    }
    int taken = 0, order = 0, last = 0;
    while (*n && x[*n - 1].dim >= 0 && x[*n - 1].stride == low[x[*n - 1].dim]) {
        const layout_digit *y = &x[*n - 1];
        if (taken) {
            const int way = y->dim < last ? 1 : -1;
            if (out->shape[y->dim] != 1 || (order && order != way)) break;
            order = way;
        }
        last = y->dim;
        out->shape[y->dim] = y->extent;
        taken++;
        --*n;
    }
    for (int d = 0; d < rank; d++) low[d] *= out->shape[d];
    if (order < 0) out->name = spatial ? "column_spatial" : "column_local";
    return taken > 0;
}

static bool chain_text(vm_text *t, const layout *f) {
    layout_digit x[MAX_DIGITS];
    layout_digits(f, x);
    int ns = f->nspatial, nl = f->nlocal, n = 0;
    const layout_digit *local = x + ns;
    piece pieces[MAX_DIGITS + 1];
    int32_t low[LAYOUT_MAX_RANK];
    for (int d = 0; d < f->rank; d++) low[d] = 1;
    while (ns || nl) {
        if (!peel(local, &nl, false, f->rank, low, &pieces[n]) &&
            !peel(x, &ns, true, f->rank, low, &pieces[n]))
            return false;
        n++;
    }
    if (n == 0) {
        pieces[n] = (piece){.name = "local"};
        for (int d = 0; d < f->rank; d++) pieces[n].shape[d] = 1;
        n++;
    }
    for (int i = n - 1; i >= 0; i--) {
        vm_put(t, "%s%s(", i < n - 1 ? "." : "", pieces[i].name);
        for (int d = 0; d < f->rank; d++) vm_put(t, "%s%d", d ? ", " : "", pieces[i].shape[d]);
        if (pieces[i].workers)
            vm_put(t, "%snum_workers = %d", f->rank ? ", " : "", pieces[i].workers);
        vm_put(t, ")");
    }
    return true;
}

char *layout_text(vm_arena *a, const layout *f) {
    vm_text t = {.arena = a};
    if (chain_text(&t, f)) return vm_text_end(&t);
    t = (vm_text){.arena = a};
    vm_put(&t, "layout(shape = ");
    put_list32(&t, f->rank, f->shape, ", ");
    vm_put(&t, ", modes = ");
    put_list32(&t, f->nmodes, f->mode_shape, ", ");
    vm_put(&t, ", spatial = ");
    put_list32(&t, f->nspatial, f->spatial, ", ");
    vm_put(&t, ", local = ");
    put_list32(&t, f->nlocal, f->local, ", ");
    vm_put(&t, ")");
    return vm_text_end(&t);
}

char *layout_json(vm_arena *a, const layout *f) {
    vm_text t = {.arena = a};
    vm_put(&t, "{\"shape\":");
    put_list32(&t, f->rank, f->shape, ",");
    vm_put(&t, ",\"threads\":%d,\"locals\":%d,\"map\":[", f->threads, f->slots);
    const int32_t *at = layout_table(a, f);
    for (int k = 0; k < f->threads; k++) {
        vm_put(&t, "%s[", k ? "," : "");
        for (int i = 0; i < f->slots; i++, at += f->rank) {
            if (i) vm_put(&t, ",");
            put_list32(&t, f->rank, at, ",");
        }
        vm_put(&t, "]");
    }
    vm_put(&t, "]}");
    return vm_text_end(&t);
}

// ---- shared layouts -----------------------------------------------------------------------------

char *shared_text(vm_arena *a, const shared_layout *f) {
    vm_text t = {.arena = a};
    const shared_layout *rows = shared_row_major(a, f->rank, f->shape);
    const shared_layout *columns = shared_column_major(a, f->rank, f->shape);
    bool dims = !f->sw_bits; // one mode a dimension: strides
    for (int d = 0; d < f->rank; d++) dims = dims && f->dim_modes[d] <= 1;
    if (!f->sw_bits && (shared_equal(f, rows) || shared_equal(f, columns))) {
        vm_put(&t, "%s(", shared_equal(f, rows) ? "row_major" : "column_major");
        put_list32(&t, f->rank, f->shape, ", ");
        vm_put(&t, ")");
        return vm_text_end(&t);
    }
    if (dims) {
        int64_t strides[LAYOUT_MAX_RANK] = {0};
        for (int d = 0, m = 0; d < f->rank; d++)
            if (f->dim_modes[d]) strides[d] = f->mode_stride[m++];
        vm_put(&t, "strides(");
        put_list32(&t, f->rank, f->shape, ", ");
        vm_put(&t, ", ");
        put_list64(&t, f->rank, strides, ", ");
        vm_put(&t, ")");
        return vm_text_end(&t);
    }
    if (f->sw_bits && f->sw_bits <= 3 && f->sw_shift == 3 && f->sw_base <= 7) {
        const unsigned bits = 128u >> f->sw_base;
        for (int w = 32; w <= 128; w *= 2) {
            const shared_layout *s = shared_swizzle(a, f->rank, f->shape, bits, w, NULL);
            if (s && s->sw_bits == f->sw_bits && s->size == f->size && shared_equal(s, f)) {
                vm_put(&t, "swizzle(%d, shape = ", w);
                put_list32(&t, f->rank, f->shape, ", ");
                vm_put(&t, ", bits = %u)", bits);
                return vm_text_end(&t);
            }
        }
    }
    vm_put(&t, "shared_layout(shape = ");
    put_list32(&t, f->rank, f->shape, ", ");
    vm_put(&t, ", modes = ");
    put_list32(&t, f->nmodes, f->mode_shape, ", ");
    vm_put(&t, ", strides = ");
    put_list64(&t, f->nmodes, f->mode_stride, ", ");
    if (f->sw_bits) vm_put(&t, ", swizzle = [%d, %d, %d]", f->sw_base, f->sw_bits, f->sw_shift);
    vm_put(&t, ")");
    return vm_text_end(&t);
}

static int64_t elements(int rank, const int32_t *shape) {
    int64_t n = 1;
    for (int d = 0; d < rank && n <= GRID_LIMIT; d++) n *= shape[d];
    return n;
}

static void next(int rank, const int32_t *shape, int32_t *index) {
    for (int d = rank - 1; d >= 0 && ++index[d] == shape[d]; d--) index[d] = 0;
}

char *shared_json(vm_arena *a, const shared_layout *f) {
    vm_text t = {.arena = a};
    vm_put(&t, "{\"shape\":");
    put_list32(&t, f->rank, f->shape, ",");
    vm_put(&t, ",\"size\":%lld,\"offsets\":", (long long)f->size);
    const int64_t n = elements(f->rank, f->shape);
    if (n > GRID_LIMIT) { // too long a table to be of use to anyone
        vm_put(&t, "null}");
        return vm_text_end(&t);
    }
    vm_put(&t, "[");
    int32_t index[LAYOUT_MAX_RANK] = {0};
    for (int64_t i = 0; i < n; i++, next(f->rank, f->shape, index))
        vm_put(&t, "%s%lld", i ? "," : "", (long long)shared_offset(f, index));
    vm_put(&t, "]}");
    return vm_text_end(&t);
}

// ---- grids --------------------------------------------------------------------------------------

static int digits_of(int64_t x) {
    int n = 1;
    while (x >= 10) {
        x /= 10;
        n++;
    }
    return n;
}

typedef struct {
    int32_t thread, slot;
} owner;

// The last two dimensions as rows and columns, slice after slice. `own` (registers) or `sh` is set.
static void put_grid(vm_text *t, int rank, const int32_t *shape, int width, const owner *own,
                     const shared_layout *sh) {
    const int columns = rank ? shape[rank - 1] : 1, rows = rank > 1 ? shape[rank - 2] : 1;
    const int64_t slices = elements(rank, shape) / ((int64_t)rows * columns);
    if (width < digits_of(columns - 1)) width = digits_of(columns - 1);
    const int head = rank > 1 ? digits_of(rows - 1) : 0;
    int32_t index[LAYOUT_MAX_RANK] = {0};
    int64_t at = 0;
    for (int64_t s = 0; s < slices; s++) {
        if (rank > 2) {
            vm_put(t, "%s[", s ? "\n" : "");
            for (int d = 0; d < rank - 2; d++) vm_put(t, "%d, ", index[d]);
            vm_put(t, ".., ..]\n");
        }
        if (rank) {
            vm_put(t, "%*s", head, "");
            for (int j = 0; j < columns; j++) vm_put(t, "%s%*d", head || j ? "  " : "", width, j);
            vm_put(t, "\n");
        }
        for (int i = 0; i < rows; i++) {
            if (head) vm_put(t, "%*d", head, i);
            for (int j = 0; j < columns; j++, at++) {
                char cell[48];
                if (own)
                    snprintf(cell, sizeof cell, "%d:%d", own[at].thread, own[at].slot);
                else
                    snprintf(cell, sizeof cell, "%lld", (long long)shared_offset(sh, index));
                vm_put(t, "%s%*s", head || j ? "  " : "", width, cell);
                next(rank, shape, index);
            }
            vm_put(t, "\n");
        }
    }
}

char *layout_grid(vm_arena *a, const layout *f) {
    vm_text t = {.arena = a};
    vm_put(&t, "shape ");
    put_list32(&t, f->rank, f->shape, ", ");
    vm_put(&t, ", %d thread%s, %d slot%s; cells are thread:slot", f->threads,
           f->threads == 1 ? "" : "s", f->slots, f->slots == 1 ? "" : "s");
    if (layout_replicas(f) > 1)
        vm_put(&t, ", the first of %d threads that hold the element", layout_replicas(f));
    vm_put(&t, "\n\n");
    owner *own = vm_newn(a, owner, elements(f->rank, f->shape));
    const int32_t *table = layout_linear_table(a, f, f->shape);
    for (int k = f->threads - 1; k >= 0; k--) // backwards: the first owner stays
        for (int i = 0; i < f->slots; i++) own[table[k * f->slots + i]] = (owner){k, i};
    put_grid(&t, f->rank, f->shape, digits_of(f->threads - 1) + 1 + digits_of(f->slots - 1), own,
             NULL);
    return vm_text_end(&t);
}

char *shared_grid(vm_arena *a, const shared_layout *f) {
    vm_text t = {.arena = a};
    vm_put(&t, "shape ");
    put_list32(&t, f->rank, f->shape, ", ");
    vm_put(&t, ", %lld elements; cells are element offsets", (long long)f->size);
    if (f->sw_bits)
        vm_put(&t, ", bits [%d, %d) xor bits [%d, %d)", f->sw_base, f->sw_base + f->sw_bits,
               f->sw_base + f->sw_shift, f->sw_base + f->sw_shift + f->sw_bits);
    vm_put(&t, "\n\n");
    if (elements(f->rank, f->shape) > GRID_LIMIT)
        vm_put(&t, "(too large to draw)\n");
    else
        put_grid(&t, f->rank, f->shape, digits_of(f->size - 1), NULL, f);
    return vm_text_end(&t);
}
