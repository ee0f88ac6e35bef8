// SPDX-License-Identifier: Apache-2.0
// Shared layouts: offsets against their definition on random shapes, the swizzle against the
// formula on byte addresses, the operations, text, and errors.
#include "layout/layout.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena.h"

enum { CASES = 5000 };

static uint64_t seed = 0x2545f4914f6cdd1du;
static int below(int n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (int)(seed % (uint64_t)n);
}

static void fresh(void) {
    vm_arena_free(arena);
    arena = vm_arena_new(NULL, &oom);
}

static bool read_layout(const char *expr, const shared_layout **s, const char **why,
                        size_t *where) {
    const layout *f;
    return layout_parse(arena, expr, &f, s, why, where) && *s;
}

static const shared_layout *parsed(const char *expr) {
    const shared_layout *s = NULL;
    const char *why = "";
    size_t where = 0;
    if (!read_layout(expr, &s, &why, &where)) fail_msg("%s: at %zu: %s", expr, where, why);
    return s;
}

static int random_shape(int rank, int32_t *shape) {
    int n = 1;
    for (int d = 0; d < rank; d++) {
        shape[d] = 1 + below(6);
        n *= shape[d];
    }
    return n;
}

static void unravel(int rank, const int32_t *shape, int k, int32_t *x) {
    for (int d = rank - 1; d >= 0; d--) {
        x[d] = k % shape[d];
        k /= shape[d];
    }
}

// Any strides on 1..6-element modes, two for each dimension, with or without a swizzle.
static const shared_layout *random_shared(int rank) {
    int32_t shape[LAYOUT_MAX_RANK], modes[LAYOUT_MAX_MODES];
    int64_t strides[LAYOUT_MAX_MODES];
    for (int d = 0; d < rank; d++) {
        modes[2 * d] = 2 + below(3);
        modes[2 * d + 1] = 2 + below(3);
        shape[d] = modes[2 * d] * modes[2 * d + 1];
        strides[2 * d] = below(40);
        strides[2 * d + 1] = below(40);
        if (below(2)) strides[2 * d] = strides[2 * d + 1] * modes[2 * d + 1]; // mergeable
    }
    const int bits = below(3);
    return shared_make(arena, rank, shape, 2 * rank, modes, strides, below(3), bits,
                       bits + below(2), NULL);
}

static int elements(const shared_layout *f) {
    int n = 1;
    for (int d = 0; d < f->rank; d++) n *= f->shape[d];
    return n;
}

/// Proofs about layouts, against counting.
static void test_proofs(void **state) {
    (void)state;
    int shares = 0;
    for (int c = 0; c < CASES; c++, fresh()) {
        const shared_layout *f = random_shared(1 + below(3));
        if (!f) continue;
        int32_t x[LAYOUT_MAX_RANK];
        int64_t one, other;
        const int n = elements(f);
        int *seen = vm_newn(arena, int, f->size);
        bool twice = false;
        for (int k = 0; k < n; k++) {
            unravel(f->rank, f->shape, k, x);
            const int64_t at = shared_offset(f, x);
            assert_true(at >= 0 && at < f->size);
            twice = twice || seen[at];
            seen[at] = 1;
        }
        assert_true(shared_inside(f));
        assert_int_equal(shared_injective(arena, f, &one, &other), !twice);
        shares += twice;
        if (twice) {
            assert_true(one >= 0 && one < other);
            unravel(f->rank, f->shape, (int)one, x);
            const int64_t at = shared_offset(f, x);
            unravel(f->rank, f->shape, (int)other, x);
            assert_int_equal(shared_offset(f, x), at);
        }
        shared_layout bad = *f;
        bad.size = 1;
        if (n > 1 && !twice) assert_false(shared_inside(&bad));
    }
    assert_true(shares > CASES / 10 && shares < CASES * 9 / 10);
}

static void test_major(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++, fresh()) {
        const int rank = below(5);
        int32_t shape[LAYOUT_MAX_RANK], x[LAYOUT_MAX_RANK];
        const int n = random_shape(rank, shape);
        const shared_layout *row = shared_row_major(arena, rank, shape);
        const shared_layout *column = shared_column_major(arena, rank, shape);
        assert_int_equal(row->size, n);
        assert_int_equal(column->size, n);
        for (int k = 0; k < n; k++) {
            int at = 0;
            unravel(rank, shape, k, x);
            for (int d = rank - 1; d >= 0; d--) at = at * shape[d] + x[d];
            assert_int_equal(shared_offset(row, x), k);
            assert_int_equal(shared_offset(column, x), at);
        }
        assert_true(shared_equal(parsed(shared_text(arena, row)), row));
        assert_true(shared_equal(parsed(shared_text(arena, column)), column));
    }
}

static void test_strides_and_modes(void **state) {
    (void)state;
    for (int c = 0; c < CASES; c++, fresh()) {
        const int rank = 1 + below(3);
        int32_t shape[LAYOUT_MAX_RANK], x[LAYOUT_MAX_RANK];
        int64_t strides[LAYOUT_MAX_RANK], most = 0;
        const int n = random_shape(rank, shape);
        for (int d = 0; d < rank; d++) strides[d] = below(1000);
        const shared_layout *s = shared_strides(arena, rank, shape, strides);
        for (int k = 0; k < n; k++) {
            int64_t at = 0;
            unravel(rank, shape, k, x);
            for (int d = 0; d < rank; d++) at += x[d] * strides[d];
            assert_int_equal(shared_offset(s, x), at);
            most = at > most ? at : most;
        }
        assert_int_equal(s->size, most + 1);
        assert_true(shared_equal(parsed(shared_text(arena, s)), s));

        // Equality is that of the map, and no offset is beyond the size.
        const shared_layout *f = random_shared(1 + below(2)), *g = random_shared(f->rank);
        bool same = memcmp(f->shape, g->shape, sizeof f->shape) == 0;
        for (int k = 0; k < elements(f); k++) {
            unravel(f->rank, f->shape, k, x);
            assert_true(shared_offset(f, x) < f->size);
            same = same && shared_offset(f, x) == shared_offset(g, x);
        }
        assert_int_equal(shared_equal(f, g), same);
        const shared_layout *again = parsed(shared_text(arena, f));
        assert_true(shared_equal(again, f));
        assert_int_equal(again->size, f->size);
    }
}

static void test_swizzle(void **state) {
    (void)state;
    int swizzled = 0;
    for (int c = 0; c < CASES / 2; c++, fresh()) {
        const int rank = 1 + below(3), w = 16 << below(4);
        const unsigned bits = 1u << below(7);
        int32_t shape[3], x[3];
        random_shape(rank, shape);
        shape[rank - 1] = (1 + below(24)) * (int32_t)(bits > 128 ? 1 : 128 / bits);
        int rows = 1;
        for (int d = 0; d < rank - 1; d++) rows *= shape[d];
        const shared_layout *s = shared_swizzle(arena, rank, shape, bits, w, NULL);
        assert_non_null(s);
        const int row_bits = shape[rank - 1] * (int)bits;
        int p = w; // gcd with a power of two
        while (row_bits / 8 % p) p /= 2;
        const int n = elements(s), panel = p * 8 / (int)bits;
        assert_int_equal(s->size, n);
        bool *hit = vm_newn(arena, bool, n);
        for (int k = 0; k < n; k++) {
            unravel(rank, shape, k, x);
            const int row = k / shape[rank - 1], col = x[rank - 1];
            const int plain = (col / panel * rows + row) * panel + col % panel;
            const int byte = plain * (int)bits / 8;
            int want = byte ^ ((byte >> 7 & (p / 16 - 1)) << 4);
            const int64_t got = shared_offset(s, x);
            assert_int_equal(got * (int)bits / 8, want);
            assert_int_equal(got * (int)bits % 8, plain * (int)bits % 8);
            assert_false(hit[got]);
            hit[got] = true;
        }
        swizzled += s->sw_bits != 0;
        const shared_layout *again = parsed(shared_text(arena, s));
        assert_true(shared_equal(again, s));
        assert_int_equal(again->sw_bits, s->sw_bits);
        // Stages start on whole periods of the swizzle.
        const shared_layout *stages = shared_prepend(arena, s, 3);
        int32_t y[4] = {2};
        unravel(rank, shape, below(n), x);
        memcpy(y + 1, x, sizeof(int32_t) * (size_t)rank);
        const int64_t stride = shared_offset(stages, (int32_t[4]){1});
        assert_true(stride >= s->size);
        assert_int_equal(stride % (s->sw_bits ? 1 << (s->sw_base + s->sw_bits + s->sw_shift) : 1),
                         0);
        assert_int_equal(shared_offset(stages, y), 2 * stride + shared_offset(s, x));
        assert_true(shared_offset(stages, y) < stages->size);
    }
    assert_true(swizzled > 500);
}

static void test_operations(void **state) {
    (void)state;
    int composed = 0, reshaped = 0;
    for (int c = 0; c < CASES; c++, fresh()) {
        const shared_layout *f = random_shared(1 + below(3)), *g = random_shared(1 + below(2));
        int32_t x[LAYOUT_MAX_RANK], y[LAYOUT_MAX_RANK], z[LAYOUT_MAX_RANK];
        int32_t perm[LAYOUT_MAX_RANK] = {0, 1, 2};
        for (int d = f->rank - 1; d > 0; d--) {
            const int j = below(d + 1);
            const int32_t t = perm[d];
            perm[d] = perm[j];
            perm[j] = t;
        }
        const shared_layout *p = shared_permute(arena, f, perm);
        unravel(f->rank, f->shape, below(elements(f)), x);
        for (int d = 0; d < f->rank; d++) y[d] = x[perm[d]];
        assert_int_equal(shared_offset(p, y), shared_offset(f, x));

        const char *why = NULL;
        const shared_layout *fg = shared_compose(arena, f, g, &why);
        assert_true((fg == NULL) == (why != NULL));
        if (fg) {
            const int rank = fg->rank;
            for (int k = 0; k < 4; k++) {
                unravel(rank, fg->shape, below(elements(fg)), z);
                for (int d = 0; d < rank; d++) {
                    const int df = d - rank + f->rank, dg = d - rank + g->rank;
                    const int32_t inner = dg < 0 ? 1 : g->shape[dg];
                    if (df >= 0) x[df] = z[d] / inner;
                    if (dg >= 0) y[dg] = z[d] % inner;
                }
                assert_int_equal(shared_offset(fg, z),
                                 shared_offset(f, x) * g->size + shared_offset(g, y));
            }
            composed++;
        }
        const int32_t flat = elements(f);
        const int32_t two[2] = {1 + below(12), 1};
        why = NULL;
        const shared_layout *line = shared_reshape(arena, f, 1, &flat, &why);
        const int k = below(flat);
        unravel(f->rank, f->shape, k, x);
        assert_int_equal(shared_offset(line, &k), shared_offset(f, x));
        assert_true(shared_equal(shared_reshape(arena, line, f->rank, f->shape, NULL), f));
        if (flat % two[0]) continue;
        const int32_t shape[2] = {two[0], flat / two[0]};
        const shared_layout *r = shared_reshape(arena, f, 2, shape, &why);
        assert_true((r == NULL) == (why != NULL));
        if (!r) continue;
        unravel(2, shape, k, y);
        assert_int_equal(shared_offset(r, y), shared_offset(f, x));
        reshaped++;
    }
    assert_true(composed > 500);
    assert_true(reshaped > 500);
}

static void test_text(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"shared_row_major(4,6)", "row_major([4,6])"},
        {"column_major((4,6))", "strides([4,6],[1,4])"},
        {"shared_row_major_swizzle([8,64],2)", "swizzle(128, shape=[8,64], bits=16)"},
        {"shared_row_major_swizzle([16,96],2)",
         "shared_layout(shape=[16,96], modes=[16,3,32], strides=[32,512,1], swizzle=[3,2,3])"},
        {"shared_permute(shared_row_major(2,3),[1,0])", "column_major([3,2])"},
        {"row_major(2,3).permute([1,0])", "column_major([3,2])"},
        {"shared_compose(row_major(2,1), row_major(3,4))", "row_major(6,4)"},
        {"row_major(2,1) * row_major(3,4)", "row_major(2,1).row_major(3,4)"},
        {"shared_reshape(row_major(12),[3,4])", "row_major(12).reshape([3,4])"},
        {"shared_prepend(row_major(3,4), 2)", "row_major(2,3,4)"},
        {"strides([3,4],[0,1])", "shared_layout([3,4],[3,4],[0,1])"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (!shared_equal(parsed(same[i][0]), parsed(same[i][1])))
            fail_msg("%s is %s\n%s is %s", same[i][0], shared_text(arena, parsed(same[i][0])),
                     same[i][1], shared_text(arena, parsed(same[i][1])));
    assert_string_equal(shared_text(arena, parsed("shared_row_major_swizzle([8,64],2)")),
                        "swizzle(128, shape = [8, 64], bits = 16)");
    assert_string_equal(shared_text(arena, parsed("row_major(4,6)")), "row_major([4, 6])");
    assert_string_equal(shared_text(arena, parsed("strides([3,4],[8,1])")),
                        "strides([3, 4], [8, 1])");
    assert_string_equal(shared_json(arena, parsed("column_major(2,2)")),
                        "{\"shape\":[2,2],\"size\":4,\"offsets\":[0,2,1,3]}");
    assert_string_equal(shared_json(arena, parsed("row_major(4096,4096)")),
                        "{\"shape\":[4096,4096],\"size\":16777216,\"offsets\":null}");
    assert_string_equal(shared_grid(arena, parsed("column_major(2,3)")),
                        "shape [2, 3], 6 elements; cells are element offsets\n\n"
                        "   0  1  2\n"
                        "0  0  2  4\n"
                        "1  1  3  5\n");
    assert_non_null(strstr(shared_grid(arena, parsed("shared_row_major_swizzle([8,64],2)")),
                           "bits [3, 6) xor bits [6, 9)"));
    assert_non_null(
        strstr(shared_grid(arena, parsed("row_major(4096,4096)")), "too large to draw"));
    // A swizzle that moves nothing is no difference.
    assert_true(
        shared_equal(parsed("row_major(2,8)"), parsed("shared_layout([2,8],[2,8],[8,1],[3,1,3])")));
    assert_false(shared_equal(parsed("row_major(2,8)"), parsed("column_major(2,8)")));
    assert_false(shared_equal(parsed("row_major(2,8)"), parsed("row_major(16)")));
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *expr;
        size_t where;
        const char *why;
    } bad[] = {
        {"row_major(4,0)", 0, "must be positive"},
        {"row_major(2147483647,2147483647)", 0, "not too many"},
        {"strides([2,3],[1])", 14, "1 strides for 2 dimensions"},
        {"strides([2,3],[1,-1])", 0, "stride -1"},
        {"strides([3,3],[200000000000000,1])", 0, "spans too many"},
        {"strides([2,3],3)", 14, "must be a list"},
        {"swizzle(48, shape=[8,64], bits=16)", 0, "must be 16, 32, 64 or 128"},
        {"swizzle(128, shape=[8,64], bits=6)", 0, "do not divide 16 bytes"},
        {"swizzle(128, shape=[8,4], bits=16)", 0, "no multiple of 16 bytes"},
        {"swizzle(128, shape=[0,64], bits=16)", 0, "not possible"},
        {"swizzle(128, shape=[], bits=16)", 0, "rank 0 is not in 1..8"},
        {"swizzle(128, shape=[8,64], bits=0)", 0, "elements of 0 bits"},
        {"swizzle(128)", 0, "argument 'shape' is missing"},
        {"shared_row_major_swizzle([8,64],0)", 0, "elements of 0 bytes"},
        {"shared_layout([4],[2],[1])", 0, "do not multiply to its extent 4"},
        {"shared_layout([4],[4,2],[1,1])", 0, "mode 1 belongs to no dimension"},
        {"shared_layout([4],[4],[1,1])", 22, "2 strides for 1 modes"},
        {"shared_layout([4],[4],[1],[1,2])", 26, "[base, bits, shift]"},
        {"shared_layout([4],[4],[1],[0,3,1])", 0, "swizzle [0, 3, 1] is not possible"},
        {"shared_layout([4],[-4],[1])", 0, "extent -4"},
        {"shared_permute(row_major(2,3),[0])", 0, "1 dimensions given for rank 2"},
        {"shared_permute(row_major(2,3),[0,2])", 0, "there is no dimension 2"},
        {"shared_reshape(row_major(2,3),[7])", 0, "different numbers of elements"},
        {"shared_reshape(column_major(2,3),[3,2])", 0, "in two"},
        {"shared_reshape(row_major(2,3),[0])", 0, "not possible"},
        {"swizzle(128,[8,64],16)*swizzle(128,[8,64],16)", 22, "both layouts are swizzled"},
        {"swizzle(128,[8,64],16)*row_major(3)", 22, "no power of two"},
        {"row_major(2)*swizzle(128,[4,64],16)", 12, "no multiple of the swizzle's period"},
        {"row_major(2)/row_major(2)", 0, "must be a register layout"},
        {"row_major(2)*local(2)", 12, "do not compose"},
        {"shared_prepend(row_major(2),0)", 0, "must be positive"},
        {"shared_prepend(local(2),2)", 15, "'f' must be a shared layout"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const shared_layout *s = NULL;
        const char *why = "";
        size_t where = 999;
        if (read_layout(bad[i].expr, &s, &why, &where)) fail_msg("%s is accepted", bad[i].expr);
        if (!strstr(why, bad[i].why) || where != bad[i].where)
            fail_msg("%s: at %zu, %s\nwanted at %zu, %s", bad[i].expr, where, why, bad[i].where,
                     bad[i].why);
    }
    assert_null(shared_row_major(arena, 9, (int32_t[9]){1, 1, 1, 1, 1, 1, 1, 1, 1}));
    assert_null(shared_strides(arena, 1, (int32_t[]){-3}, (int64_t[]){1}));
    assert_null(shared_permute(arena, parsed("row_major(2,3)"), (int32_t[]){0, 0}));
    const shared_layout *eight = shared_row_major(arena, 8, (int32_t[8]){1, 2, 1, 1, 1, 1, 1, 1});
    assert_null(shared_prepend(arena, eight, 2));
}

int main(void) {
    if (setjmp(oom)) return 99;
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(proofs), TEST(major),  TEST(strides_and_modes), TEST(swizzle), TEST(operations), TEST(text),
        TEST(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
