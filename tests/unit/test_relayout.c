// SPDX-License-Identifier: Apache-2.0
// Moves between register layouts and bank conflicts: a simulator executes the plans of thousands of
// random pairs of layouts (extents that are no powers of two, replicas, tiles smaller than their
// layouts) and checks every element; conflicts against counts made by hand.
#include "layout/move.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static jmp_buf oom;
static vm_arena *arena;

static uint64_t seed = 0x853c49e6748fea9bu;
static int below(int n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed % (uint64_t)n);
}

static const layout *parsed(const char *expr) {
    const layout *f = NULL;
    const shared_layout *s = NULL;
    const char *why = "";
    size_t where = 0;
    if (!layout_parse(arena, expr, &f, &s, &why, &where)) fail_msg("%s: at %zu: %s", expr, where, why);
    assert_non_null(f);
    return f;
}

static int kinds[3], shuffled_words;

static void check(const layout *from, const layout *to, const int32_t *shape, unsigned bits) {
    const move_plan *p = layout_move_plan(arena, from, to, shape, bits);
    assert_non_null(p);
    kinds[p->kind]++;
    if (p->kind == MOVE_SHUFFLE) shuffled_words += p->per > 1;
    if (!move_plan_exact(arena, p, from, to, shape))
        fail_msg("%s -> %s (%u bits, %s) loses elements", layout_text(arena, from), layout_text(arena, to), bits, move_text(arena, p));
    if (from->slots == 1 || p->kind == MOVE_SHUFFLE) return;
    // A plan that is not right is found out: another slot, rows on top of each other.
    move_plan bad = *p;
    if (p->kind == MOVE_REGISTERS) {
        bad.slot = vm_dup(arena, p->slot, sizeof *p->slot * (size_t)to->slots);
        int k = 0;
        const int32_t *want = layout_linear_table(arena, to, shape);
        while (k < to->slots && (want[k] < 0 || p->slot[k] < 0)) k++;
        if (k == to->slots) return;
        bad.slot[k] = (bad.slot[k] + 1) % from->slots;
    } else {
        int64_t rows = 1;
        for (int d = 0; d < from->rank; d++) rows *= d == p->along ? 1 : shape[d];
        if (rows == 1) return;
        bad.pitch = 0;
    }
    assert_false(move_plan_exact(arena, &bad, from, to, shape));
}

// ---- random layouts -----------------------------------------------------------------------------

/// A layout on `threads` threads of at least `shape`, its modes dealt out at random. NULL if unlucky.
static const layout *random_layout(int threads, int rank, const int32_t *shape, bool larger) {
    layout_digit d[LAYOUT_MAX_MODES], spatial[LAYOUT_MAX_MODES], local[LAYOUT_MAX_MODES];
    int32_t full[LAYOUT_MAX_RANK];
    int ns = 0, nl = 0, left = threads;
    for (int k = 0; k < rank; k++) {
        int32_t rest = shape[k], stride = 1;
        if (larger && below(2)) rest += 1 + below(3);
        full[k] = rest;
        while (rest > 1) {
            int f = 2;
            while (rest % f) f++;
            if (below(3) == 0 && rest % (f * 2) == 0) f *= 2;
            const bool s = left % f == 0 && below(4) > 0;
            const layout_digit x = {.dim = k, .extent = f, .stride = stride, .spatial = s};
            stride *= f;
            rest /= f;
            if (s) {
                left /= f;
                spatial[ns++] = x;
            } else {
                local[nl++] = x;
            }
            if (ns + nl > LAYOUT_MAX_MODES - 10) return NULL;
        }
    }
    while (left > 1) {
        int f = 2;
        while (left % f) f++;
        left /= f;
        spatial[ns++] = (layout_digit){.dim = -1, .extent = f, .spatial = true};
    }
    int n = 0;
    for (int i = ns; i > 0; i--) {
        const int j = below(i);
        d[n++] = spatial[j];
        spatial[j] = spatial[i - 1];
    }
    for (int i = nl; i > 0; i--) {
        const int j = below(i);
        d[n++] = local[j];
        local[j] = local[i - 1];
    }
    return layout_from_digits(arena, rank, full, n, d, NULL);
}

static void moves_of_random_layouts(void **state) {
    (void)state;
    static const int thread_counts[] = {32, 32, 32, 64, 96, 128, 16, 48};
    static const unsigned widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 16, 16, 32, 32, 64};
    int done = 0;
    for (int i = 0; i < 6000; i++) {
        arena = vm_arena_new(NULL, &oom);
        assert_non_null(arena);
        const int rank = 1 + below(3), threads = thread_counts[below(8)];
        int32_t shape[LAYOUT_MAX_RANK];
        for (int d = 0; d < rank; d++) {
            static const int extents[] = {1, 2, 3, 4, 6, 8, 12, 16, 20, 32, 48, 64};
            shape[d] = extents[below(rank == 1 ? 12 : rank == 2 ? 10 : 7)];
        }
        const bool larger = below(4) == 0;
        const layout *from = random_layout(threads, rank, shape, larger), *to = random_layout(threads, rank, shape, larger);
        if (from && to && from->slots <= 128 && to->slots <= 128) {
            check(from, to, shape, widths[below(13)]);
            done++;
        }
        vm_arena_free(arena);
    }
    assert_true(done > 4000);
    for (int k = 0; k < 3; k++) assert_true(kinds[k] > 20);
    assert_true(shuffled_words > 0);
}

// ---- known moves --------------------------------------------------------------------------------

static const move_plan *plan_of(const char *from, const char *to, unsigned bits) {
    const layout *f = parsed(from), *t = parsed(to);
    check(f, t, t->shape, bits);
    return layout_move_plan(arena, f, t, t->shape, bits);
}

static void known_moves(void **state) {
    (void)state;
    arena = vm_arena_new(NULL, &oom);
    // the same owners, other slots
    const move_plan *p = plan_of("spatial(8, 4).local(2, 2)", "spatial(8, 4).column_local(2, 2)", 32);
    assert_int_equal(p->kind, MOVE_REGISTERS);
    // lanes renamed: one shuffle a slot; two slots of f16 travel together
    p = plan_of("local(2, 1).spatial(8, 4)", "local(2, 1).column_spatial(8, 4)", 32);
    assert_int_equal(p->kind, MOVE_SHUFFLE);
    assert_int_equal(p->shuffles, 2);
    p = plan_of("spatial(8, 4).local(1, 2)", "column_spatial(8, 4).local(1, 2)", 16);
    assert_int_equal(p->kind, MOVE_SHUFFLE);
    assert_int_equal(p->shuffles, 1);
    // replicas: everybody reads what the first ones hold
    p = plan_of("spatial(8, 4)", "spatial(8, 1).replicated(1, 1, num_workers = 4).local(1, 4)", 32);
    assert_int_equal(p->kind, MOVE_SHUFFLE);
    assert_int_equal(p->shuffles, 4);
    // between warps: memory, without conflicts in either direction
    p = plan_of("spatial(4, 1).spatial(8, 4).local(1, 8)", "column_spatial(4, 1).column_spatial(8, 4).local(1, 8)", 16);
    assert_int_equal(p->kind, MOVE_SHUFFLE);
    p = plan_of("spatial(32, 4).local(1, 8)", "column_spatial(32, 4).local(1, 8)", 16);
    assert_int_equal(p->kind, MOVE_SHARED);
    assert_int_equal(p->store_vec, 8);
    assert_int_equal(p->load_vec, 8);
    assert_int_equal(p->conflicts, 0);
    p = plan_of("spatial(4, 32).local(8, 1)", "column_spatial(32, 4).local(1, 8)", 32); // a transposition needs padding
    assert_int_equal(p->kind, MOVE_SHARED);
    assert_int_equal(p->conflicts, 0);
    // low bits: a byte a pair
    p = plan_of("spatial(32, 2).local(1, 16)", "column_spatial(32, 2).local(1, 16)", 4);
    if (p->kind == MOVE_SHARED) assert_int_equal(p->pack, 2);
    vm_arena_free(arena);
}

// ---- banks --------------------------------------------------------------------------------------

static bank_count strided(int64_t stride, int bytes) {
    int64_t at[BANK_LANES];
    bank_count c = {0};
    for (int l = 0; l < BANK_LANES; l++) at[l] = l * stride;
    bank_access(at, bytes, &c);
    return c;
}

static void counts_of_strides(void **state) {
    (void)state;
    assert_int_equal(strided(4, 4).conflicts, 0);
    assert_int_equal(strided(0, 4).wavefronts, 1); // broadcast
    assert_int_equal(strided(2, 2).wavefronts, 1); // halves of a word
    assert_int_equal(strided(8, 4).conflicts, 1);
    assert_int_equal(strided(128, 4).conflicts, 31);
    assert_int_equal(strided(132, 4).conflicts, 0);
    assert_int_equal(strided(8, 8).wavefronts, 2);
    assert_int_equal(strided(16, 16).wavefronts, 4);
    assert_int_equal(strided(16, 16).conflicts, 0);
    assert_int_equal(strided(128, 16).wavefronts, 32);
    assert_int_equal(strided(128, 16).conflicts, 28);
    assert_int_equal(strided(144, 16).conflicts, 0);
    int64_t none[BANK_LANES];
    memset(none, -1, sizeof none);
    bank_count c = {0};
    bank_access(none, 4, &c);
    assert_int_equal(c.accesses, 0);
}

static void swizzles(void **state) {
    (void)state;
    arena = vm_arena_new(NULL, &oom);
    static const int32_t shapes[][2] = {{64, 64}, {128, 32}, {64, 16}, {16, 128}, {32, 256}, {64, 96}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int32_t *s = shapes[i];
        bank_use use[2] = {{.kind = BANK_COPY, .shape = {s[0], s[1]}, .threads = 128},
                           {.kind = BANK_MATRIX, .shape = {s[0], s[1]}}};
        bank_count left;
        const shared_layout *rows = shared_row_major(arena, 2, s), *f = shared_find_swizzle(arena, 2, s, 16, 2, use, &left);
        bank_count plain = {0};
        for (int k = 0; k < 2; k++) assert_true(bank_use_count(arena, &use[k], rows, 16, &plain));
        assert_non_null(f);
        assert_int_equal(left.conflicts, 0);
        assert_true(left.conflicts <= plain.conflicts);
        // still one place an element
        bool *seen = vm_newn(arena, bool, f->size);
        for (int32_t r = 0; r < s[0]; r++)
            for (int32_t c = 0; c < s[1]; c++) {
                const int64_t at = shared_offset(f, (int32_t[]){r, c});
                assert_true(at >= 0 && at < f->size && !seen[at]);
                seen[at] = true;
            }
    }
    // written by rows, read by columns
    const int32_t square[2] = {32, 32};
    bank_use use[2] = {{.kind = BANK_STORE, .reg = parsed("local(32, 1).spatial(1, 32)"), .shape = {32, 32}},
                       {.kind = BANK_LOAD, .reg = parsed("spatial(32, 1).local(1, 32)"), .shape = {32, 32}}};
    bank_count left, plain = {0};
    for (int k = 0; k < 2; k++) bank_use_count(arena, &use[k], shared_row_major(arena, 2, square), 32, &plain);
    shared_find_swizzle(arena, 2, square, 32, 2, use, &left);
    assert_true(left.conflicts < plain.conflicts);
    // halves of rows side by side: bits of the row and of the column
    const int32_t tile[2] = {64, 64};
    bank_use halves[2] = {{.kind = BANK_STORE, .reg = parsed("local(8, 1).spatial(8, 16).local(1, 4)"), .shape = {64, 64}},
                          {.kind = BANK_LOAD, .reg = parsed("spatial(64, 2).local(1, 32)"), .shape = {64, 64}}};
    shared_find_swizzle(arena, 2, tile, 32, 2, halves, &left);
    assert_int_equal(left.conflicts, 0);
    vm_arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moves_of_random_layouts),
        cmocka_unit_test(known_moves),
        cmocka_unit_test(counts_of_strides),
        cmocka_unit_test(swizzles),
    };
    if (setjmp(oom)) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
