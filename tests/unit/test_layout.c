// SPDX-License-Identifier: Apache-2.0
// Layouts: the shared vectors, the laws of the algebra on random layouts (extents that are no
// powers of two included), tensor-core fragments against the formulas of the PTX ISA, text, and
// errors. Here the register layouts; shared layouts are in test_shared_layout.c.
#include "layout/layout.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/arena.h"

static const char *fixtures = "tests/fixtures";

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint64_t bits(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
static int below(int n) {
    return (int)(bits() % (uint64_t)n);
}

static const layout *parsed(const char *expr) {
    const layout *f = NULL;
    const shared_layout *s = NULL;
    const char *why = "";
    size_t where = 0;
    if (!layout_parse(arena, expr, &f, &s, &why, &where))
        fail_msg("%s: at %zu: %s", expr, where, why);
    assert_non_null(f);
    return f;
}

// ---- vectors ------------------------------------------------------------------------------------

// The JSON value of `key` in a line of the fixture, as text.
static char *json_value(const char *line, const char *key) {
    const char *at = strstr(line, vm_format(arena, "\"%s\":", key));
    if (!at) return NULL;
    at = strchr(at, ':') + 1;
    const char *end = at;
    if (*at == '"') {
        end = strchr(++at, '"');
    } else {
        for (int depth = 0; *end && (depth || (*end != ',' && *end != '}')); end++) {
            if (*end == '[') depth++;
            if (*end == ']') depth--;
        }
    }
    return vm_format(arena, "%.*s", (int)(end - at), at);
}

static char *json_list(int n, const int32_t *v) {
    vm_text t = {.arena = arena};
    vm_put(&t, "[");
    for (int i = 0; i < n; i++) vm_put(&t, "%s%d", i ? "," : "", v[i]);
    vm_put(&t, "]");
    return vm_text_end(&t);
}

static void test_vectors(void **state) {
    (void)state;
    FILE *in = fopen(vm_format(arena, "%s/layouts.json", fixtures), "r");
    assert_non_null(in);
    static char line[1 << 20];
    int nreg = 0, nshared = 0;
    while (fgets(line, sizeof line, in)) {
        const char *expr = json_value(line, "expr");
        if (!expr) continue;
        const layout *f;
        const shared_layout *s;
        const char *why = "";
        size_t where = 0;
        if (!layout_parse(arena, expr, &f, &s, &why, &where))
            fail_msg("%s: at %zu: %s", expr, where, why);
        if (f) {
            nreg++;
            assert_string_equal(json_list(f->rank, f->shape), json_value(line, "shape"));
            assert_string_equal(json_list(f->nmodes, f->mode_shape),
                                json_value(line, "mode_shape"));
            assert_string_equal(json_list(f->nspatial, f->spatial),
                                json_value(line, "spatial_modes"));
            assert_string_equal(json_list(f->nlocal, f->local), json_value(line, "local_modes"));
            assert_int_equal(f->threads, atoi(json_value(line, "threads")));
            assert_int_equal(f->slots, atoi(json_value(line, "locals")));
            const char *map = json_value(line, "map_t_i_to_index");
            if (map) assert_string_equal(json_value(layout_json(arena, f), "map"), map);
            assert_true(layout_equal(parsed(layout_text(arena, f)), f));
        } else {
            nshared++;
            assert_string_equal(json_list(s->rank, s->shape), json_value(line, "shape"));
            assert_string_equal(json_list(s->nmodes, s->mode_shape),
                                json_value(line, "mode_shape"));
            int32_t strides[LAYOUT_MAX_MODES];
            for (int m = 0; m < s->nmodes; m++) strides[m] = (int32_t)s->mode_stride[m];
            assert_string_equal(json_list(s->nmodes, strides), json_value(line, "mode_strides"));
            const int32_t sw[3] = {s->sw_base, s->sw_bits, s->sw_shift};
            assert_string_equal(s->sw_bits ? json_list(3, sw) : "null",
                                json_value(line, "swizzle"));
            assert_int_equal(s->size, atoi(json_value(line, "size")));
            assert_string_equal(json_value(shared_json(arena, s), "offsets"),
                                json_value(line, "offsets"));
        }
    }
    fclose(in);
    assert_int_equal(nreg, 25);
    assert_int_equal(nshared, 9);
}

// Expressions with equal maps, written in every spelling.
static void test_spellings(void **state) {
    (void)state;
    static const char *const same[][2] = {
        {"reduce(spatial(3,4),[0])", "spatial(3, 4).reduce(dims = [0], keepdims = false)"},
        {"reduce(spatial(3,4),0)", "replicated(1, num_workers = 3).spatial(4)"},
        {"reduce(f = spatial(3,4), dims = [0], keepdims = true)",
         "unsqueeze(reduce(spatial(3,4),[0]),[0])"},
        {"divide(column_local(2,2).spatial(8,4).local(1,2), spatial(8,4).local(1,2))",
         "column_local(2,2)"},
        {"divide(mma.m16n8k16.c, spatial(8,4).local(1,2))", "local(2,1)"},
        {"mma.m16n8k16.a / spatial(8,4).local(1,2)", "column_local([2, 2])"},
        {"divide(spatial(2,4).local(2,1), spatial(1,2).local(2,1))", "spatial((2,2))"},
        {"left_divide(spatial(2,12).local(2,3), spatial(2,1).local(2,1))",
         "spatial(1,12).local(1,3)"},
        {"local(2,1).left_divide(local(2,1))", "local(1,1)"},
        {"local(8).divide(local(4))", "local(2)"},
        {"left_divide(local(8), local(4))", "local(2)"},
        {"compose(spatial(2,3), local(2,2))", "spatial(2,3).compose(local(2,2))"},
        {"spatial(2,3) * local(2,2)", "spatial(2,3).local(2,2)"},
        {"concat(spatial(4), local(3))", "spatial(4).concat(local(3))"},
        {"concat(spatial(4), local(3))", "spatial(4,1).local(1,3)"},
        {"permute(spatial(2,4),[1,0])", "spatial(2,4).permute([1,0])"},
        {"permute(spatial(2,4),[1,0])", "spatial(4,2,ranks=[1,0])"},
        {"column_spatial(2,3,4)", "spatial(2,3,4,ranks=(2,1,0))"},
        {"flatten(spatial(4,8))", "spatial(32)"},
        {"spatial(4,8).flatten()", "reshape(spatial(4,8), [32])"},
        {"squeeze(spatial(1,4),[0])", "spatial(1,4,1).squeeze()"},
        {"unsqueeze(spatial(4),[-1])", "spatial(4,1)"},
        {"auto_local_spatial(num_threads=128,shape=[64,64])", "local(32,1).spatial(2,64)"},
        {"auto_local_spatial(96, [5, 24])",
         "replicated(1,1,num_workers=4).local(5,1).spatial(1,24)"},
        {"replicated(2,2,num_workers=4)", "reduce(spatial(4,1,1), [0]).local(2,2)"},
        {"layout(shape=[4,6],modes=[2,1,2,6],spatial=[3,0],local=[2])",
         "column_spatial(2,6) * local(2,1)"},
        {"layout([1,1],[],[],[])", "layout(shape=[1,1],modes=[1,1,1],spatial=[],local=[1])"},
        {"mma.dot(mma.m16n8k16, warps=(2,2), repeat=(1,2,1)).c",
         "spatial(2,2).local(1,2) * mma.m16n8k16.c"},
        {"mma.dot(atom = mma.m16n8k8, warps=(2,3)).a_warps", "reduce(spatial(2,1,3), dims = [2])"},
        {"local(2*3, 8/4)", "local(6,2,)"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (!layout_equal(parsed(same[i][0]), parsed(same[i][1])))
            fail_msg("%s is %s\n%s is %s", same[i][0], layout_text(arena, parsed(same[i][0])),
                     same[i][1], layout_text(arena, parsed(same[i][1])));
    }
}

// ---- random layouts -----------------------------------------------------------------------------

typedef struct {
    int rank, nmodes, nspatial, nlocal;
    int32_t shape[LAYOUT_MAX_RANK], mode_shape[LAYOUT_MAX_MODES];
    int32_t spatial[LAYOUT_MAX_MODES], local[LAYOUT_MAX_MODES];
    uint8_t dim_modes[LAYOUT_MAX_RANK];
} raw;

static void shuffle(int n, int32_t *v) {
    for (int i = n - 1; i > 0; i--) {
        const int j = below(i + 1);
        const int32_t x = v[i];
        v[i] = v[j];
        v[j] = x;
    }
}

// At most `cap` threads and `cap` slots, extents 1..7.
static raw random_raw(int rank, int cap) {
    raw r = {.rank = rank};
    int threads = 1, slots = 1;
    if (below(4) == 0) {
        const int x = 2 + below(2);
        r.spatial[r.nspatial++] = -x;
        threads *= x;
    }
    for (int d = 0; d < rank; d++) {
        r.shape[d] = 1;
        for (int k = below(4); k > 0; k--) {
            const int x = 1 + below(7);
            const bool spatial = bits() & 1;
            if ((spatial ? threads : slots) * x > cap) continue;
            *(spatial ? &threads : &slots) *= x;
            r.shape[d] *= x;
            r.mode_shape[r.nmodes] = x;
            r.dim_modes[d]++;
            if (spatial)
                r.spatial[r.nspatial++] = r.nmodes++;
            else
                r.local[r.nlocal++] = r.nmodes++;
        }
    }
    shuffle(r.nspatial, r.spatial);
    shuffle(r.nlocal, r.local);
    return r;
}

static const layout *make(const raw *r) {
    const char *why = "";
    const layout *f = layout_make(arena, r->rank, r->shape, r->dim_modes, r->mode_shape,
                                  r->nspatial, r->spatial, r->nlocal, r->local, &why);
    if (!f) fail_msg("%s", why);
    return f;
}

// The definition: unravel thread and slot over their modes, ravel the modes of each dimension.
static void raw_index(const raw *r, int t, int i, int32_t *index) {
    int32_t digit[LAYOUT_MAX_MODES] = {0};
    for (int k = r->nspatial - 1; k >= 0; k--) {
        const int32_t m = r->spatial[k], e = m < 0 ? -m : r->mode_shape[m];
        if (m >= 0) digit[m] = t % e;
        t /= e;
    }
    for (int k = r->nlocal - 1; k >= 0; k--) {
        digit[r->local[k]] = i % r->mode_shape[r->local[k]];
        i /= r->mode_shape[r->local[k]];
    }
    for (int d = 0, m = 0; d < r->rank; d++) {
        index[d] = 0;
        for (int j = 0; j < r->dim_modes[d]; j++, m++)
            index[d] = index[d] * r->mode_shape[m] + digit[m];
    }
}

static const layout *random_layout(int rank, int cap) {
    const raw r = random_raw(rank, cap);
    return make(&r);
}

static void same_index(const layout *f, int t, int i, const int32_t *want) {
    int32_t got[LAYOUT_MAX_RANK];
    layout_index(f, t, i, got);
    if (memcmp(got, want, sizeof(int32_t) * f->rank) != 0)
        fail_msg("%s: (%d, %d) gives %s, not %s", layout_text(arena, f), t, i,
                 json_list(f->rank, got), json_list(f->rank, want));
}

static void same(const layout *f, const layout *g) {
    assert_non_null(f);
    assert_non_null(g);
    if (!layout_equal(f, g)) fail_msg("%s\n%s", layout_text(arena, f), layout_text(arena, g));
}

enum { CASES = 100000, BATCH = 500 };
// One batch of cases at a time, so that the arena stays small.
#define FOR_CASES(n)                                                                               \
    for (int case_ = 0; case_ < (n); case_++,                                                      \
             case_ % BATCH == 0 ? (vm_arena_free(arena), (void)(arena = vm_arena_new(NULL, &oom))) \
                                : (void)0)

static void test_definition(void **state) {
    (void)state;
    FOR_CASES(CASES) {
        const raw r = random_raw(below(5), 24);
        const layout *f = make(&r);
        layout_digit x[LAYOUT_MAX_MODES * 2];
        const int n = layout_digits(f, x);
        for (int k = 0; k < 6; k++) {
            const int t = below(f->threads), i = below(f->slots);
            int32_t want[LAYOUT_MAX_RANK], sum[LAYOUT_MAX_RANK] = {0};
            raw_index(&r, t, i, want);
            same_index(f, t, i, want);
            for (int j = 0; j < n; j++) {
                assert_true(x[j].extent > 1);
                if (x[j].dim >= 0)
                    sum[x[j].dim] += (x[j].spatial ? t : i) / x[j].div % x[j].extent * x[j].stride;
            }
            assert_memory_equal(sum, want, sizeof(int32_t) * f->rank);
        }
        same(layout_from_digits(arena, f->rank, f->shape, n, x, NULL), f);
        same(parsed(layout_text(arena, f)), f);
    }
}

static void test_compose(void **state) {
    (void)state;
    FOR_CASES(CASES) {
        const int rank = 1 + below(3);
        const layout *f = random_layout(rank, 10), *g = random_layout(rank, 10),
                     *h = random_layout(rank, 10);
        const layout *fg = layout_compose(arena, f, g, NULL),
                     *gh = layout_compose(arena, g, h, NULL);
        assert_int_equal(fg->threads, f->threads * g->threads);
        assert_int_equal(fg->slots, f->slots * g->slots);
        for (int k = 0; k < 4; k++) {
            const int t = below(fg->threads), i = below(fg->slots);
            int32_t x[LAYOUT_MAX_RANK], y[LAYOUT_MAX_RANK];
            layout_index(f, t / g->threads, i / g->slots, x);
            layout_index(g, t % g->threads, i % g->slots, y);
            for (int d = 0; d < rank; d++) x[d] = x[d] * g->shape[d] + y[d];
            same_index(fg, t, i, x);
        }
        same(layout_compose(arena, fg, h, NULL), layout_compose(arena, f, gh, NULL));
        same(layout_divide(arena, fg, g, NULL), f);
        same(layout_left_divide(arena, fg, f, NULL), g);
        if (case_ % 50 == 0)
            same(parsed(
                     vm_format(arena, "(%s) * (%s)", layout_text(arena, f), layout_text(arena, g))),
                 fg);
    }
}

// A division that succeeds on unrelated layouts must be right as well.
static void test_divide_any(void **state) {
    (void)state;
    int done = 0;
    FOR_CASES(CASES) {
        const int rh = 1 + below(2), rg = 1 + below(2);
        const layout *h = random_layout(rh, 12), *g = random_layout(rg, 4);
        const char *why = NULL;
        const layout *f = layout_divide(arena, h, g, &why);
        assert_true((f == NULL) == (why != NULL));
        const int32_t front = 0;
        const layout *hh =
            rh < rg ? layout_unsqueeze(arena, h, 1, &front, NULL) : h; // as left-padded
        if (f) same(layout_compose(arena, f, g, NULL), hh);
        done += f && g->threads * g->slots > 1;
        why = NULL;
        f = layout_left_divide(arena, h, g, &why);
        assert_true((f == NULL) == (why != NULL));
        if (f) same(layout_compose(arena, g, f, NULL), hh);
    }
    assert_true(done > 1000);
}

static void test_permute_concat(void **state) {
    (void)state;
    FOR_CASES(CASES) {
        const layout *f = random_layout(1 + below(4), 24), *g = random_layout(below(4), 12);
        int32_t perm[LAYOUT_MAX_RANK], inverse[LAYOUT_MAX_RANK], x[LAYOUT_MAX_RANK],
            y[LAYOUT_MAX_RANK];
        for (int d = 0; d < f->rank; d++) perm[d] = d;
        shuffle(f->rank, perm);
        for (int d = 0; d < f->rank; d++) inverse[perm[d]] = d;
        const layout *p = layout_permute(arena, f, perm, NULL);
        const int t = below(f->threads), i = below(f->slots);
        layout_index(f, t, i, x);
        for (int d = 0; d < f->rank; d++) y[d] = x[perm[d]];
        same_index(p, t, i, y);
        same(layout_permute(arena, p, inverse, NULL), f);

        const layout *c = layout_concat(arena, f, g, NULL);
        const int t2 = below(g->threads), i2 = below(g->slots);
        layout_index(g, t2, i2, x + f->rank);
        same_index(c, t * g->threads + t2, i * g->slots + i2, x);
    }
}

static void test_reduce(void **state) {
    (void)state;
    FOR_CASES(CASES) {
        const layout *f = random_layout(1 + below(3), 16);
        int32_t dims[LAYOUT_MAX_RANK];
        bool drop[LAYOUT_MAX_RANK] = {false};
        for (int d = 0; d < f->rank; d++) dims[d] = d;
        shuffle(f->rank, dims);
        const int n = below(f->rank + 1);
        for (int k = 0; k < n; k++) drop[dims[k]] = true;
        const layout *r = layout_reduce(arena, f, n, dims, false, NULL);
        assert_int_equal(r->threads, f->threads);
        assert_int_equal(r->rank, f->rank - n);
        // Slot by slot, what is left of the indices, each at its first occurrence.
        const int t = below(f->threads);
        int next = 0;
        for (int i = 0; i < f->slots; i++) {
            int32_t x[LAYOUT_MAX_RANK], y[LAYOUT_MAX_RANK];
            int k = 0;
            layout_index(f, t, i, x);
            for (int d = 0; d < f->rank; d++)
                if (!drop[d]) x[k++] = x[d];
            bool seen = false;
            for (int j = 0; j < next && !seen; j++) {
                layout_index(r, t, j, y);
                seen = memcmp(x, y, sizeof(int32_t) * (size_t)k) == 0;
            }
            if (!seen) same_index(r, t, next++, x);
        }
        assert_int_equal(next, r->slots);
        const layout *kept = layout_reduce(arena, f, n, dims, true, NULL);
        assert_int_equal(kept->rank, f->rank);
        same(layout_squeeze(arena, kept, n, dims, NULL), r);
        same(layout_unsqueeze(arena, r, n, dims, NULL), kept);
        // Stretching is the inverse, with and without the dimensions of extent 1.
        int32_t wide[LAYOUT_MAX_RANK];
        for (int d = 0; d < f->rank; d++) wide[d] = drop[d] ? 2 + below(4) : f->shape[d];
        int32_t at[LAYOUT_MAX_RANK];
        for (int d = 0, k = 0; d < f->rank; d++)
            if (!drop[d]) at[k++] = d;
        const layout *s = layout_stretch(arena, r, f->rank, wide, at, NULL);
        assert_memory_equal(s->shape, wide, sizeof(int32_t) * f->rank);
        same(layout_reduce(arena, s, n, dims, false, NULL), r);
        same(layout_stretch(arena, kept, f->rank, wide, NULL, NULL), s);
    }
}

static void test_reshape(void **state) {
    (void)state;
    FOR_CASES(CASES / 2) {
        const layout *f = random_layout(1 + below(3), 16), *flat = layout_flatten(arena, f, NULL);
        assert_non_null(flat);
        for (int k = 0; k < 4; k++) {
            const int t = below(f->threads), i = below(f->slots);
            int32_t x[LAYOUT_MAX_RANK], at = 0;
            layout_index(f, t, i, x);
            for (int d = 0; d < f->rank; d++) at = at * f->shape[d] + x[d];
            same_index(flat, t, i, &at);
        }
        same(layout_reshape(arena, flat, f->rank, f->shape, NULL), f);
        // Some other shape: refused, or right.
        int32_t shape[2] = {1 + below(8), 0};
        if (flat->shape[0] % shape[0]) continue;
        shape[1] = flat->shape[0] / shape[0];
        const char *why = NULL;
        const layout *g = layout_reshape(arena, f, 2, shape, &why);
        assert_true((g == NULL) == (why != NULL));
        if (g) same(layout_flatten(arena, g, NULL), flat);
    }
}

static bool equal_tables(const layout *f, const layout *g) {
    if (f->threads != g->threads || f->slots != g->slots || f->rank != g->rank) return false;
    if (memcmp(f->shape, g->shape, sizeof f->shape) != 0) return false;
    return memcmp(layout_table(arena, f), layout_table(arena, g),
                  sizeof(int32_t) * (size_t)f->threads * (size_t)f->slots * f->rank) == 0;
}

static void test_equality(void **state) {
    (void)state;
    int equals = 0, owners = 0;
    FOR_CASES(CASES) {
        const raw r = random_raw(1 + below(2), 6);
        raw q = r; // the same modes in another order, or something else
        shuffle(q.nlocal, q.local);
        if (below(2)) shuffle(q.nspatial, q.spatial);
        if (below(3) == 0) q = random_raw(r.rank, 6);
        const layout *f = make(&r), *g = make(&q);
        const bool want = equal_tables(f, g);
        equals += want;
        assert_int_equal(layout_equal(f, g), want);
        // The same owners: each thread has the same set of indices.
        bool sets = f->threads == g->threads && f->slots == g->slots &&
                    memcmp(f->shape, g->shape, sizeof f->shape) == 0;
        for (int t = 0; sets && t < f->threads; t++)
            for (int i = 0; sets && i < f->slots; i++) {
                int32_t x[LAYOUT_MAX_RANK], y[LAYOUT_MAX_RANK];
                bool found = false;
                layout_index(f, t, i, x);
                for (int j = 0; j < g->slots && !found; j++) {
                    layout_index(g, t, j, y);
                    found = memcmp(x, y, sizeof(int32_t) * f->rank) == 0;
                }
                sets = found;
            }
        owners += sets && !want;
        assert_int_equal(layout_same_owners(arena, f, g), sets);
    }
    assert_true(equals > 100);
    assert_true(owners > 100);
}

static void test_questions(void **state) {
    (void)state;
    FOR_CASES(CASES / 10) {
        const layout *f = random_layout(1 + below(3), 24);
        int32_t shape[LAYOUT_MAX_RANK], total = 1;
        for (int d = 0; d < f->rank; d++) shape[d] = 1 + below(f->shape[d]);
        for (int d = 0; d < f->rank; d++) total *= f->shape[d];
        const int32_t *table = layout_table(arena, f),
                      *all = layout_linear_table(arena, f, f->shape);
        const int32_t *part = layout_linear_table(arena, f, shape);
        int *count = vm_newn(arena, int, total);
        for (int k = 0; k < f->threads * f->slots; k++) {
            int32_t at = 0, want = 0;
            for (int d = 0; d < f->rank; d++) {
                const int32_t x = table[k * f->rank + d];
                at = at * f->shape[d] + x;
                want = want < 0 || x >= shape[d] ? -1 : want * shape[d] + x;
            }
            same_index(f, k / f->slots, k % f->slots, table + k * f->rank);
            assert_int_equal(all[k], at);
            assert_int_equal(part[k], want);
            count[at]++;
        }
        for (int k = 0; k < total; k++) assert_int_equal(count[k], layout_replicas(f));
        assert_true(layout_covers(arena, f));
        if (f->nlocal && f->nspatial && f->spatial[0] >= 0) { // a digit that nothing or two things give
            layout bad = *f;
            bad.nlocal--;
            assert_false(layout_covers(arena, &bad));
            bad = *f;
            bad.local[0] = f->spatial[0];
            assert_false(layout_covers(arena, &bad));
            bad = *f;
            bad.shape[0]++;
            assert_false(layout_covers(arena, &bad));
            bad = *f;
            bad.slots++;
            assert_false(layout_covers(arena, &bad));
        }
        assert_int_equal(layout_injective(arena, f), layout_replicas(f) == 1);
        for (int d = 0; d < f->rank; d++) {
            int best = 1;
            for (int v = 2; v <= f->slots; v *= 2) {
                bool runs = f->slots % v == 0;
                for (int k = 0; runs && k < f->threads * f->slots; k++)
                    for (int e = 0; runs && e < f->rank; e++) {
                        const int32_t *base = &table[(k - k % f->slots % v) * f->rank];
                        const int32_t off = e == d ? k % f->slots % v : 0;
                        runs =
                            table[k * f->rank + e] == base[e] + off && (e != d || base[e] % v == 0);
                    }
                if (!runs) break;
                best = v;
            }
            assert_int_equal(layout_run(f, d), best);
        }
    }
}

// ---- constructors -------------------------------------------------------------------------------

static void test_constructors(void **state) {
    (void)state;
    FOR_CASES(CASES / 10) {
        const int rank = 1 + below(4);
        int32_t shape[LAYOUT_MAX_RANK], order[LAYOUT_MAX_RANK], x[LAYOUT_MAX_RANK],
            y[LAYOUT_MAX_RANK];
        int total = 1;
        for (int d = 0; d < rank; d++) {
            shape[d] = 1 + below(5);
            order[d] = d;
            total *= shape[d];
        }
        shuffle(rank, order);
        const int k = below(total), n = 1 + below(5), t = below(n);
        int rest = k;
        for (int d = rank - 1; d >= 0; d--) x[d] = rest % shape[d], rest /= shape[d];
        rest = k;
        for (int d = 0; d < rank; d++) y[d] = rest % shape[d], rest /= shape[d];
        same_index(layout_local(arena, rank, shape, NULL), 0, k, x);
        same_index(layout_spatial(arena, rank, shape, NULL, NULL), k, 0, x);
        same_index(layout_column_local(arena, rank, shape, NULL), 0, k, y);
        same_index(layout_column_spatial(arena, rank, shape, NULL), k, 0, y);
        same_index(layout_replicated(arena, rank, shape, n, NULL), t, k, x);
        // ranks: dimension d has rank order[d], 0 the most significant.
        int at = 0;
        for (int j = 0; j < rank; j++)
            for (int d = 0; d < rank; d++)
                if (order[d] == j) at = at * shape[d] + x[d];
        same_index(layout_spatial(arena, rank, shape, order, NULL), at, 0, x);

        const int threads = 1 + below(48);
        const layout *f = layout_auto_local_spatial(arena, threads, rank, shape, NULL);
        assert_int_equal(f->threads, threads);
        assert_memory_equal(f->shape, shape, sizeof(int32_t) * (size_t)rank);
        assert_int_equal(f->slots * threads, total * layout_replicas(f));
    }
}

// ---- tensor cores -------------------------------------------------------------------------------

// Row and column of register element i of lane t, from "Matrix Fragments for mma" of the PTX ISA.
static void fragment(const char *name, char operand, int t, int i, int32_t *x) {
    const int group = t / 4, tig = t % 4;
    const bool bytes = strcmp(name, "m16n8k32") == 0, k8 = strcmp(name, "m16n8k8") == 0;
    const bool words = strcmp(name, "m16n8k8x32") == 0;
    if (words && operand == 'a') {
        x[0] = i % 2 == 0 ? group : group + 8;
        x[1] = tig + (i < 2 ? 0 : 4);
    } else if (words && operand == 'b') {
        x[0] = tig + 4 * i;
        x[1] = group;
    } else if (operand == 'c') {
        x[0] = i < 2 ? group : group + 8;
        x[1] = tig * 2 + (i & 1);
    } else if (operand == 'a' && bytes) {
        x[0] = (i >= 0 && i < 4) || (i >= 8 && i < 12) ? group : group + 8;
        x[1] = tig * 4 + (i & 3) + (i < 8 ? 0 : 16);
    } else if (operand == 'a' && k8) {
        x[0] = i < 2 ? group : group + 8;
        x[1] = tig * 2 + (i & 1);
    } else if (operand == 'a') {
        x[0] = (i >= 0 && i < 2) || (i >= 4 && i < 6) ? group : group + 8;
        x[1] = tig * 2 + (i & 1) + (i < 4 ? 0 : 8);
    } else if (bytes) {
        x[0] = tig * 4 + (i & 3) + (i < 4 ? 0 : 16);
        x[1] = group;
    } else {
        x[0] = tig * 2 + (i & 1) + (i < 2 ? 0 : 8);
        x[1] = group;
    }
}

static void test_atoms(void **state) {
    (void)state;
    const char *const *names;
    const size_t n = mma_atom_names(&names);
    assert_int_equal(n, 4);
    for (size_t k = 0; k < n; k++) {
        const mma_atom *atom = mma_atom_find(arena, names[k]);
        assert_non_null(atom);
        const layout *const f[3] = {atom->a, atom->b, atom->c};
        const int shape[3][2] = {{atom->m, atom->k}, {atom->k, atom->n}, {atom->m, atom->n}};
        for (int o = 0; o < 3; o++) {
            assert_int_equal(f[o]->rank, 2);
            assert_int_equal(f[o]->shape[0], shape[o][0]);
            assert_int_equal(f[o]->shape[1], shape[o][1]);
            assert_int_equal(f[o]->threads, 32);
            for (int t = 0; t < 32; t++)
                for (int i = 0; i < f[o]->slots; i++) {
                    int32_t want[2];
                    fragment(names[k], (char)('a' + o), t, i, want);
                    same_index(f[o], t, i, want);
                }
        }
    }
    assert_null(mma_atom_find(arena, "m16n8k17"));
}

static void test_dot(void **state) {
    (void)state;
    const char *const *names;
    const int natoms = (int)mma_atom_names(&names);
    FOR_CASES(1000) {
        const mma_atom *atom = mma_atom_find(arena, names[below(natoms)]);
        const int wm = 1 + below(4), wn = 1 + below(4), rm = 1 + below(3), rn = 1 + below(4),
                  rk = 1 + below(3);
        const mma_dot *dot = mma_dot_make(arena, atom, wm, wn, rm, rn, rk, NULL);
        const layout *const f[3] = {dot->a, dot->b, dot->c}, *const one[3] = {atom->a, atom->b,
                                                                              atom->c};
        const layout *const warps[3] = {dot->a_warps, dot->b_warps, dot->c_warps};
        for (int o = 0; o < 3; o++) {
            const int cols = o == 0 ? rk : rn, rows = o == 1 ? rk : rm;
            assert_int_equal(f[o]->threads, 32 * wm * wn);
            assert_int_equal(f[o]->slots, one[o]->slots * rows * cols);
            assert_int_equal(layout_replicas(f[o]), o == 0 ? wn : o == 1 ? wm : 1);
            const int t = below(f[o]->threads), i = below(f[o]->slots);
            const int w = t / 32, rep = i / one[o]->slots;
            int32_t x[2];
            layout_index(one[o], t % 32, i % one[o]->slots, x);
            const int wr = o == 1 ? 0 : w / wn, wc = o == 0 ? 0 : w % wn;
            x[0] += one[o]->shape[0] * (wr * rows + rep / cols);
            x[1] += one[o]->shape[1] * (wc * cols + rep % cols);
            same_index(f[o], t, i, x);
            same_index(warps[o], w, 0, (int32_t[2]){wr, wc});
        }
    }
}

// ---- pictures and errors ------------------------------------------------------------------------

static void test_pictures(void **state) {
    (void)state;
    assert_string_equal(
        layout_json(arena, parsed("column_spatial(1,2).local(2,1)")),
        "{\"shape\":[2,2],\"threads\":2,\"locals\":2,\"map\":[[[0,0],[1,0]],[[0,1],[1,1]]]}");
    assert_string_equal(layout_json(arena, parsed("reduce(spatial(2),[0])")),
                        "{\"shape\":[],\"threads\":2,\"locals\":1,\"map\":[[[]],[[]]]}");
    assert_string_equal(layout_grid(arena, parsed("spatial(2,2).local(1,2)")),
                        "shape [2, 4], 4 threads, 2 slots; cells are thread:slot\n\n"
                        "     0    1    2    3\n"
                        "0  0:0  0:1  1:0  1:1\n"
                        "1  2:0  2:1  3:0  3:1\n");
    assert_string_equal(
        layout_grid(arena, parsed("replicated(1,num_workers=2).spatial(3)")),
        "shape [3], 6 threads, 1 slot; cells are thread:slot, the first of 2 threads that hold "
        "the element\n\n"
        "  0    1    2\n"
        "0:0  1:0  2:0\n");
    assert_string_equal(
        layout_grid(arena, parsed("local(2,1,2)")),
        "shape [2, 1, 2], 1 thread, 4 slots; cells are thread:slot\n\n"
        "[0, .., ..]\n     0    1\n0  0:0  0:1\n\n[1, .., ..]\n     0    1\n0  0:2  0:3\n");
    assert_string_equal(layout_grid(arena, parsed("local()")),
                        "shape [], 1 thread, 1 slot; cells are thread:slot\n\n0:0\n");
    assert_string_equal(layout_text(arena, parsed("mma.m16n8k16.a")),
                        "column_local(2, 2).spatial(8, 4).local(1, 2)");
    assert_string_equal(layout_text(arena, parsed("local(1,1)")), "local(1, 1)");
    assert_string_equal(layout_text(arena, parsed("reduce(spatial(3,4),[0])")),
                        "replicated(1, num_workers = 3).spatial(4)");
    assert_string_equal(layout_text(arena, parsed("layout([4],[2,2],[],[1,0])")),
                        "layout(shape = [4], modes = [2, 2], spatial = [], local = [1, 0])");
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *expr;
        size_t where;
        const char *why;
    } bad[] = {
        {"", 0, "expected a layout, found the end"},
        {"local(2", 7, "expected ',', found the end"},
        {"local(2,3))", 10, "expected the end of the layout, found ')'"},
        {"local(2) $", 9, "found '$'"},
        {"local(2).\x01", 9, "strange character"},
        {"locl(2)", 0, "did you mean 'local'"},
        {"local", 0, "there is no layout 'local'"},
        {"42", 0, "a number is not a layout"},
        {"[1,2]", 0, "a list is not a layout"},
        {"mma", 0, "mma is not a layout"},
        {"mma.m16n8k16", 4, "name an operand"},
        {"mma.m16n8k4.a", 4, "there is no mma atom 'm16n8k4'; did you mean"},
        {"mma.m16n8k16.d", 13, "there is no mma operand 'd'"},
        {"local(2).shape", 9, "a register layout has no member 'shape'"},
        {"mma.dot(local(2)).a", 8, "'atom' must be an atom, not a register layout"},
        {"mma.dot(mma.m16n8k16, warps=(2,2,2)).a", 28, "more than 2 entries"},
        {"mma.dot(mma.m16n8k16, warps=[2]).a", 28, "'warps' must be (WM, WN)"},
        {"mma.dot(mma.m16n8k16, repeat=[2]).a", 29, "'repeat' must be (RM, RN, RK)"},
        {"mma.dot(mma.m16n8k16, warps=(8,8)).a", 4, "8 x 8 warps are more than 1024 threads"},
        {"mma.dot(mma.m16n8k16, warps=(0,8)).a", 4, "must be positive"},
        {"mma.dot(mma.m16n8k16, repeat=(64,64,64)).a", 4, "more than"},
        {"local(0)", 0, "extent 0 of dimension 0 is not positive"},
        {"local(4, -2)", 0, "extent -2 of dimension 1 is not positive"},
        {"local(2000)", 0, "more than 1024 slots"},
        {"spatial(64,64)", 0, "more than 1024 threads"},
        {"local(99999999999999999999)", 6, "too large"},
        {"local(9999999999)", 6, "does not fit 32 bits"},
        {"local(65536,65536)", 0, "has more than"},
        {"local(1,1,1,1,1,1,1,1,1)", 22, "the rank is more than 8"},
        {"local([1,2],3)", 12, "the shape is given twice"},
        {"local(3,[1,2])", 8, "the shape is given twice"},
        {"local(2, ranks=[0])", 15, "local has no argument 'ranks'"},
        {"flatten(local(2), 3)", 18, "flatten: too many arguments"},
        {"spatial(2,2,ranks=[0])", 18, "1 ranks for a shape of 2"},
        {"spatial(2,2,ranks=[0,0])", 0, "not a permutation"},
        {"spatial(2,2,ranks=[0,2])", 0, "not a permutation"},
        {"replicated(2)", 0, "argument 'num_workers' is missing"},
        {"replicated(2,num_workers=0)", 0, "not positive"},
        {"replicated(2,num_workers=2000)", 0, "more than 1024 threads"},
        {"auto_local_spatial(0,[4])", 0, "0 threads are not in 1..1024"},
        {"auto_local_spatial(1,[4000])", 0, "more than 1024 slots"},
        {"local(1024)*local(2)", 11, "more than 1024 slots"},
        {"local(2).column_local(600)", 9, "more than 1024 slots"},
        {"divide(spatial(2,6), spatial(1,4))", 0,
         "spatial(1, 4) does not divide spatial(2, 6): dimension 1 has extent 6, not a multiple of "
         "4"},
        {"local(4)/spatial(2)", 8, "it has more thread digits"},
        {"local(4,2)/column_local(4,2)", 10,
         "the slot digit with extent 4 at stride 1 of dimension 0 does not match"},
        {"left_divide(local(2), 3)", 22, "'f' must be a register layout, not a number"},
        {"concat(local(1,1,1,1,1),local(1,1,1,1))", 0, "rank 9 is more than 8"},
        {"reduce(local(2,2),[2])", 0, "there is no dimension 2 in rank 2"},
        {"reduce(local(2,2),[0,0])", 0, "given twice"},
        {"reduce(local(2,2),[0],keepdims=1)", 31, "'keepdims' must be a truth value"},
        {"reduce(local(2,2))", 0, "argument 'dims' is missing"},
        {"reduce(local(2,2),[0],dims=[1])", 27, "argument 'dims' is given twice"},
        {"permute(local(2,2),[0])", 0, "1 dimensions given for rank 2"},
        {"permute(local(2,2),[0,0])", 0, "given twice"},
        {"permute(3,[0])", 8, "'f' must be a register layout"},
        {"reshape(local(4),[3])", 0, "different numbers of elements"},
        {"reshape(local(4),[0])", 0, "not positive"},
        {"reshape(column_local(2,3),[3,2])", 0, "in two"},
        {"squeeze(local(2,1),[0])", 0, "dimension 0 has extent 2, not 1"},
        {"unsqueeze(local(2),[5])", 0, "there is no dimension 5"},
        {"layout(shape=[4],modes=[2],spatial=[],local=[0])", 0, "do not multiply to its extent 4"},
        {"layout(shape=[4],modes=[2,2],spatial=[],local=[0])", 0,
         "mode 1 is neither spatial nor local"},
        {"layout(shape=[4],modes=[2,2],spatial=[0],local=[0,1])", 0, "mode 0 is given twice"},
        {"layout(shape=[4],modes=[4],spatial=[],local=[3])", 0, "there is no mode 3"},
        {"layout(shape=[4],modes=[4],spatial=[-2000],local=[0])", 0, "replicas"},
        {"layout(shape=[4],modes=[-4],spatial=[],local=[0])", 0, "not positive"},
        {"local(2)*3", 8, "do not compose"},
        {"local(2)/3", 9, "'g' must be a register layout"},
        {"local(4/0)", 7, "division by zero"},
        {"local(-x)", 7, "expected a number after '-'"},
        {"local((local(2),3))", 7, "lists hold numbers"},
        {"local([local(2)])", 7, "lists hold numbers"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const layout *f;
        const shared_layout *s;
        const char *why = "";
        size_t where = 999;
        if (layout_parse(arena, bad[i].expr, &f, &s, &why, &where))
            fail_msg("%s is accepted", bad[i].expr);
        if (!strstr(why, bad[i].why) || where != bad[i].where)
            fail_msg("%s: at %zu, %s\nwanted at %zu, %s", bad[i].expr, where, why, bad[i].where,
                     bad[i].why);
        assert_null(f);
        assert_null(s);
        assert_false(layout_parse(arena, bad[i].expr, &f, &s, NULL, NULL)); // nobody asks why
    }
}

static void test_bad_arguments(void **state) {
    (void)state;
    const layout *f = parsed("spatial(4,2)");
    const char *why = NULL;
    assert_null(layout_stretch(arena, f, 1, (int32_t[]){4}, NULL, &why));
    assert_non_null(strstr(why, "rank 2 cannot be broadcast to rank 1"));
    assert_null(layout_stretch(arena, f, 2, (int32_t[]){4, 3}, NULL, &why));
    assert_non_null(strstr(why, "dimension 1 has extent 2, not 1 or 3"));
    assert_null(layout_stretch(arena, f, 3, (int32_t[]){4, 2, 0}, (int32_t[]){0, 1}, &why));
    assert_null(layout_stretch(arena, f, 3, (int32_t[]){4, 2, 2}, (int32_t[]){3, 1}, &why));
    same(layout_stretch(arena, f, 3, (int32_t[]){3, 4, 2}, NULL, NULL),
         parsed("local(3,1,1).spatial(1,4,2)"));
    same(layout_stretch(arena, f, 3, (int32_t[]){2, 3, 4}, (int32_t[]){2, 0}, NULL),
         parsed("local(1,3,1).spatial(2,1,4,ranks=[1,2,0])"));
    assert_null(layout_local(arena, 9, (int32_t[9]){1}, &why));
    assert_null(layout_local(arena, -1, NULL, &why));
    assert_null(layout_make(arena, 1, (int32_t[]){2}, (uint8_t[]){40}, (int32_t[40]){1}, 0, NULL, 0,
                            NULL, &why));
    const layout_digit gap[2] = {{0, 2, 1, 0, true}, {0, 2, 1, 0, false}};
    assert_null(layout_from_digits(arena, 1, (int32_t[]){4}, 2, gap, &why));
    assert_non_null(strstr(why, "dimension 0"));
    const layout_digit stray = {3, 2, 1, 0, true};
    assert_null(layout_from_digits(arena, 1, (int32_t[]){1}, 1, &stray, &why));
    assert_null(layout_from_digits(arena, 0, NULL, 1, &(layout_digit){-1, 2, 0, 0, false}, &why));

    // Deep nesting and random text end in an error, never in a crash.
    vm_text t = {.arena = arena};
    for (int i = 0; i < 100000; i++) vm_put(&t, "(");
    const shared_layout *s;
    assert_false(layout_parse(arena, vm_text_end(&t), &f, &s, &why, NULL));
    assert_non_null(strstr(why, "nested more than 256 deep"));
    static const char *const words[] = {
        "local",    "spatial", "(", ")",      "[",         "]",     ",",       "2",
        "3",        ".",       "*", "/",      "=",         "dims",  "reduce",  "mma",
        "m16n8k16", "dot",     "a", "-",      "permute",   "shape", "swizzle", "row_major",
        "reshape",  "1",       "0", "concat", "4294967296"};
    FOR_CASES(CASES / 2) {
        vm_text x = {.arena = arena};
        for (int k = 1 + below(16); k > 0; k--)
            vm_put(&x, "%s", words[below((int)(sizeof words / sizeof *words))]);
        why = NULL;
        size_t where = 0;
        const char *text = vm_text_end(&x);
        if (!layout_parse(arena, text, &f, &s, &why, &where)) {
            assert_non_null(why);
            assert_true(where <= strlen(text));
        }
    }
}

// What ldmatrix and stmatrix can move: operands of tensor cores and the like, not their neighbours.
static void test_fragment(void **state) {
    (void)state;
    static const struct { const char *expr; int col, row; bool is, trans; } cases[] = {
        {"mma.m16n8k16.a", 1, 0, true, false},
        {"mma.m16n8k16.b", 0, 1, true, false},
        {"mma.m16n8k16.b", 1, 0, true, true},
        {"mma.m16n8k16.c", 1, 0, true, false},
        {"spatial(2, 2).local(2, 3) * mma.m16n8k16.a", 1, 0, true, false},
        {"local(3, 1, 1).spatial(1, 8, 4).local(1, 1, 2)", 2, 1, true, false},
        {"column_spatial(4, 8).local(2, 1)", 1, 0, true, true},
        {"spatial(4, 8).local(2, 1)", 1, 0, false, false},
        {"spatial(8, 4).local(1, 4)", 1, 0, false, false},
        {"spatial(4, 8).local(1, 2)", 1, 0, false, false},
        {"spatial(8, 4)", 1, 0, false, false},
        {"spatial(8, 2).local(1, 2)", 1, 0, false, false},
        {"spatial(32).local(2)", 0, 0, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int row = -1;
        bool trans = false;
        const bool is = layout_fragment(arena, parsed(cases[i].expr), cases[i].col, &row, &trans);
        if (is != cases[i].is) fail_msg("%s along %d: %d", cases[i].expr, cases[i].col, is);
        if (is && (row != cases[i].row || trans != cases[i].trans)) fail_msg("%s: row %d, transposed %d", cases[i].expr, row, trans);
    }
    assert_false(layout_fragment(arena, parsed("mma.m16n8k16.a"), -1, &(int){0}, &(bool){false}));
}

int main(int argc, char **argv) {
    if (argc > 1) fixtures = argv[1];
    if (setjmp(oom)) return 99;
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(vectors),    TEST(spellings),      TEST(definition),   TEST(compose),
        TEST(divide_any), TEST(permute_concat), TEST(reduce),       TEST(reshape),
        TEST(equality),   TEST(questions),      TEST(constructors), TEST(atoms),
        TEST(dot),        TEST(pictures),       TEST(errors),       TEST(bad_arguments),
        TEST(fragment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
