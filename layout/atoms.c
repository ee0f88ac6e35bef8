// SPDX-License-Identifier: Apache-2.0
// Tensor-core operand layouts: the rows of atoms.def, and the operands of a whole block of warps
// made from them by composition.
#include "layout/internal.h"

#include <assert.h>
#include <string.h>

typedef struct {
    mma_atom atom;
    const char *a, *b, *c;
} atom_row;

static const atom_row rows[] = {
#define ATOM(name, m, n, k, bits, a, b, c) {{#name, m, n, k, bits, NULL, NULL, NULL}, a, b, c},
#include "layout/atoms.def"
#undef ATOM
};

static const char *const names[] = {
#define ATOM(name, m, n, k, bits, a, b, c) #name,
#include "layout/atoms.def"
#undef ATOM
};

size_t mma_atom_names(const char *const **out) {
    *out = names;
    return sizeof names / sizeof *names;
}

static const layout *row_layout(vm_arena *ar, const char *text) {
    const layout *f = NULL;
    const shared_layout *s = NULL;
    const bool ok = layout_parse(ar, text, &f, &s, NULL, NULL);
    assert(ok && f);
    (void)ok;
    return f;
}

const mma_atom *mma_atom_find(vm_arena *ar, const char *name) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].atom.name, name) != 0) continue;
        mma_atom *x = vm_dup(ar, &rows[i].atom, sizeof *x);
        x->a = row_layout(ar, rows[i].a);
        x->b = row_layout(ar, rows[i].b);
        x->c = row_layout(ar, rows[i].c);
        return x;
    }
    return NULL;
}

static const layout *repeated(vm_arena *ar, const layout *warps, int r0, int r1, const layout *atom,
                              layout_why why) {
    const int32_t shape[2] = {r0, r1};
    const layout *slots = layout_local(ar, 2, shape, why);
    const layout *f = slots ? layout_compose(ar, warps, slots, why) : NULL;
    return f ? layout_compose(ar, f, atom, why) : NULL;
}

const mma_dot *mma_dot_make(vm_arena *ar, const mma_atom *atom, int wm, int wn, int rm, int rn,
                            int rk, layout_why why) {
    if (wm < 1 || wn < 1 || rm < 1 || rn < 1 || rk < 1)
        return layout_fail(ar, why,
                           "mma.dot: warps (%d, %d) and repeat (%d, %d, %d) must be positive", wm,
                           wn, rm, rn, rk);
    if (wm > LAYOUT_MAX_THREADS / 32 || wn > LAYOUT_MAX_THREADS / 32 ||
        wm * wn * 32 > LAYOUT_MAX_THREADS)
        return layout_fail(ar, why, "mma.dot: %d x %d warps are more than %d threads", wm, wn,
                           LAYOUT_MAX_THREADS);
    mma_dot *x = vm_new(ar, mma_dot);
    *x = (mma_dot){.atom = atom, .wm = wm, .wn = wn, .rm = rm, .rn = rn, .rk = rk};
    // Warp (wm, wn) is number wm*WN + wn: the digit of the dimension that an operand lacks becomes
    // a replica in place.
    const layout_digit m = {0, wm, 1, 0, true}, n = {1, wn, 1, 0, true};
    const layout_digit no_m = {-1, wm, 0, 0, true}, no_n = {-1, wn, 0, 0, true};
    const int32_t as[2] = {wm, 1}, bs[2] = {1, wn}, cs[2] = {wm, wn};
    x->a_warps = layout_from_digits(ar, 2, as, 2, (layout_digit[]){m, no_n}, why);
    x->b_warps = layout_from_digits(ar, 2, bs, 2, (layout_digit[]){no_m, n}, why);
    x->c_warps = layout_from_digits(ar, 2, cs, 2, (layout_digit[]){m, n}, why);
    if (!x->a_warps || !x->b_warps || !x->c_warps) return NULL;
    x->a = repeated(ar, x->a_warps, rm, rk, atom->a, why);
    x->b = x->a ? repeated(ar, x->b_warps, rk, rn, atom->b, why) : NULL;
    x->c = x->b ? repeated(ar, x->c_warps, rm, rn, atom->c, why) : NULL;
    return x->c ? x : NULL;
}
