// SPDX-License-Identifier: Apache-2.0
// The vm executor, through the whole front: kernels as source or as IR text, run on random data and
// held against plain C loops here (or against laws that any right answer obeys); every trap once.
#include "ir/ir.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static jmp_buf oom;
static vm_comp *comp;
static fe_eval *eval;
static char error[1000];
static vm_span where;
static char printed[4096];

static int setup(void **state) {
    (void)state;
    comp = vm_comp_new(NULL, &oom);
    const fe_options o = {0};
    eval = comp ? fe_eval_new(comp, &o) : NULL;
    printed[0] = 0;
    return eval ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    vm_comp_free(comp);
    return 0;
}

static uint64_t seed = 88172645463325252u;
static uint64_t bits(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
static float real(void) { return (float)((double)(bits() >> 40) / (1 << 23) - 1.0); }

static void collect(void *user, const char *text, size_t n) {
    (void)user;
    strncat(printed, text, n < sizeof printed - strlen(printed) - 1 ? n : sizeof printed - strlen(printed) - 1);
}

/// Lowers the only kernel of the source; passes up to `pass` (NULL: none).
static ir_func *lower(const char *source, const char *pass) {
    const size_t n = strlen(source);
    char *text = vm_alloc(comp->arena, n + 2);
    memcpy(text, source, n);
    fe_module *m = fe_load_main(eval, vm_source_add(comp, "t.tvm", text, n));
    if (!m || comp->nerrors) fail_msg("%s", vm_diags_text(comp, false));
    const ast *k = NULL;
    for (uint32_t i = 0; i < m->tree->nkids; i++)
        if (m->tree->kid[i]->kind == AST_KERNEL) k = m->tree->kid[i];
    assert_non_null(k);
    fe_instance *x = fe_instantiate(eval, m, k, 0, NULL, k->span, false);
    ir_func *f = x ? ir_lower(ir_module_new(comp, NULL), eval, x) : NULL;
    if (!f) fail_msg("%s", vm_diags_text(comp, false));
    if (pass) {
        const ir_pass_options o = {.stop_after = pass, .verify = true};
        if (!ir_run_passes(f, &o)) fail_msg("%s", vm_diags_text(comp, false));
    }
    return f;
}
static ir_func *parse(const char *source) {
    const size_t n = strlen(source);
    char *text = vm_alloc(comp->arena, n + 2);
    memcpy(text, source, n);
    ir_module *m = ir_parse(comp, vm_source_add(comp, "t.tir", text, n));
    if (!m || !m->funcs.n) fail_msg("%s", vm_diags_text(comp, false));
    return m->funcs.at[0];
}
static bool run(const ir_func *f, int64_t grid, const ir_arg *args) {
    const ir_run r = {.args = args, .grid = {grid, 1, 1}, .print = collect};
    return ir_interp_run(ir_plan_new(f), &r, error, &where);
}
static bool run_grid(const ir_func *f, int64_t x, int64_t y, const ir_arg *args, uint64_t order) {
    const ir_run r = {.args = args, .grid = {x, y, 1}, .print = collect, .seed = order};
    return ir_interp_run(ir_plan_new(f), &r, error, &where);
}
#define INT(x) {.code = (uint32_t)(x), .rank = -1}
#define BUF(a) {.ptr = (a), .bytes = sizeof(a), .rank = -1}
static void must(bool ok) {
    if (!ok) fail_msg("%s", error);
}

// ---- tiles and memory ---------------------------------------------------------------------------

static void edges_read_zero_and_drop_writes(void **state) {
    (void)state;
    enum { M = 37, N = 53 };
    static float a[M * N], c[M * N];
    for (int i = 0; i < M * N; i++) a[i] = real(), c[i] = -5;
    ir_func *f = lower("kernel k(m: i32, n: i32, a: global f32[m, n], c: global f32[m, n])\n"
                       "launch { grid = (cdiv(m, 16), cdiv(n, 32)); warps = 1; }\n"
                       "{ let x = load(a[block.x * 16 +: 16, block.y * 32 +: 32]);\n"
                       "  let s = x * 2.0 + 1.0;\n"
                       "  store(c[block.x * 16 +: 16, block.y * 32 +: 32], select(x < 0.0, s, max(s, x))); }\n", NULL);
    const ir_arg args[] = {INT(M), INT(N), BUF(a), BUF(c)};
    must(run_grid(f, 3, 2, args, 0));
    for (int i = 0; i < M * N; i++) {
        const float s = a[i] * 2.0f + 1.0f;
        assert_true(c[i] == (a[i] < 0 || s > a[i] ? s : a[i]));
    }
}

static void loops_carry_and_swap(void **state) { // y = 3 rounds of (p, q) = (q + x, p)
    (void)state;
    static float a[64], c[64];
    for (int i = 0; i < 64; i++) a[i] = real();
    ir_func *f = lower("kernel k(n: i32, a: global f32[64], c: global f32[64]) launch { grid = 1; warps = 1; } {\n"
                       "  let x = load(a[0 +: 64]); var p: reg f32[64] = 1.0, q: reg f32[64] = 2.0;\n"
                       "  for i in 0..n { let old = p; p = q + x; q = old; if i == 4 { continue; } if i == 6 { break; } p = p + 1.0; }\n"
                       "  store(c[0 +: 64], p * 16.0 + q); }\n", NULL);
    for (int n = 0; n < 10; n++) {
        const ir_arg args[] = {INT(n), BUF(a), BUF(c)};
        must(run(f, 1, args));
        for (int e = 0; e < 64; e++) {
            float p = 1, q = 2;
            for (int i = 0; i < n; i++) {
                const float old = p;
                p = q + a[e];
                q = old;
                if (i == 4) continue;
                if (i == 6) break;
                p = p + 1.0f;
            }
            assert_true(c[e] == p * 16.0f + q);
        }
    }
}

static void shared_memory_transposes(void **state) {
    (void)state;
    static uint16_t a[24 * 40], c[40 * 24];
    for (int i = 0; i < 24 * 40; i++) a[i] = (uint16_t)bits();
    ir_func *f = lower("kernel k(a: global u16[24, 40], c: global u16[40, 24]) launch { grid = 1; warps = 1; } {\n"
                       "  let s: shared u16[24, 40]; copy(s, a[.., ..]); store(c[.., ..], load(s.t)); }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(c)};
    must(run(f, 1, args));
    for (int i = 0; i < 24; i++)
        for (int j = 0; j < 40; j++) assert_int_equal(c[j * 24 + i], a[i * 40 + j]);
}

static void narrow_elements_keep_their_neighbours(void **state) {
    (void)state;
    static uint8_t a[3 * 32], c[3 * 32 + 4];
    for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)bits();
    memset(c, 0xa5, sizeof c);
    ir_func *f = lower("kernel k(a: global u3[256], c: global u3[264]) launch { grid = 8; warps = 1; }\n"
                       "{ store(c[block.x * 32 +: 32], load(a[block.x * 32 +: 32])); }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(c)};
    must(run(f, 8, args));
    assert_memory_equal(a, c, sizeof a);
    for (size_t i = sizeof a; i < sizeof c; i++) assert_int_equal(c[i], 0xa5);
}

static void views_reread_the_bits_of_a_thread(void **state) {
    (void)state;
    static uint8_t a[16 * 8 / 2], c[64];
    for (size_t i = 0; i < sizeof a; i++) a[i] = (uint8_t)bits();
    ir_func *f = lower("kernel k(a: global u4[16, 8], c: global u8[64]) launch { grid = 1; warps = 1; } {\n"
                       "  let w = load(a[.., ..]) @ mma.m16n8k16.b;\n"
                       "  store(c[..], w.view(u8[64] @ local(1).spatial(32).local(2))); }\n", "relayout");
    const ir_arg args[] = {BUF(a), BUF(c)};
    must(run(f, 1, args));
    // PTX ISA: fragment b of m16n8k16 holds rows 2 * (lane % 4) + {0, 1, 8, 9} of column lane / 4
    static const int row[4] = {0, 1, 8, 9};
    for (int lane = 0; lane < 32; lane++)
        for (int b = 0; b < 2; b++) {
            unsigned byte = 0;
            for (int h = 0; h < 2; h++) {
                const int e = (2 * (lane % 4) + row[2 * b + h]) * 8 + lane / 4;
                byte |= (unsigned)(a[e / 2] >> (e % 2 * 4) & 15) << 4 * h;
            }
            assert_int_equal(c[lane * 2 + b], byte);
        }
}

static void products_reductions_and_scans(void **state) {
    (void)state;
    static float a[16 * 32], b[32 * 8], c[16 * 8], s[16], t[32], u[32];
    for (int i = 0; i < 16 * 32; i++) a[i] = real();
    for (int i = 0; i < 32 * 8; i++) b[i] = real();
    ir_func *f = lower("kernel k(a: global f32[16, 32], b: global f32[32, 8], c: global f32[16, 8], s: global f32[16],\n"
                       "  t: global f32[32], u: global i32[32]) launch { grid = 1; warps = 1; } {\n"
                       "  let x = load(a[.., ..]); var z: reg f32[16, 8] = 0.5;\n"
                       "  store(c[.., ..], dot(x, load(b[.., ..]), z)); store(s[..], max(x, dim = 1));\n"
                       "  store(t[..], sum(x, dim = 0)); store(u[..], scan_exclusive(iota(32) * 3)); }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(b), BUF(c), BUF(s), BUF(t), BUF(u)};
    must(run(f, 1, args));
    for (int i = 0; i < 16; i++) {
        float top = a[i * 32];
        for (int k = 0; k < 32; k++) top = a[i * 32 + k] > top ? a[i * 32 + k] : top;
        assert_true(s[i] == top);
        for (int j = 0; j < 8; j++) {
            double sum = 0.5;
            for (int k = 0; k < 32; k++) sum += (double)a[i * 32 + k] * (double)b[k * 8 + j];
            assert_float_equal((float)sum, c[i * 8 + j], 1e-4f);
        }
    }
    int before = 0;
    for (int k = 0; k < 32; k++) {
        double sum = 0;
        int got;
        for (int i = 0; i < 16; i++) sum += (double)a[i * 32 + k];
        assert_float_equal((float)sum, t[k], 1e-4f);
        memcpy(&got, &u[k], 4);
        assert_int_equal(got, before);
        before += 3 * k;
    }
}

// ---- threads ------------------------------------------------------------------------------------

static void threads_own_elements_and_branch(void **state) {
    (void)state;
    static uint32_t a[256], c[256];
    for (int i = 0; i < 256; i++) a[i] = (uint32_t)bits();
    ir_func *f = lower("kernel k(a: global u32[256], c: global u32[256]) launch { grid = 2; threads = 128; } {\n"
                       "  var x: reg u32[128] @ spatial(128);\n"
                       "  simt t { var v = a[block.x * 128 + t], k = 0 as u32;\n"
                       "    while v != 1 && k < 300 { if (v & 1) == 0 { v = v >> 1; } else { v = v * 3 + 1; } k += 1; }\n"
                       "    x[t] = k; }\n"
                       "  store(c[block.x * 128 +: 128], x); }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(c)};
    must(run(f, 2, args));
    for (int i = 0; i < 256; i++) {
        uint32_t v = a[i], k = 0;
        while (v != 1 && k < 300) v = (v & 1) == 0 ? v >> 1 : v * 3 + 1, k++;
        assert_int_equal(c[i], k);
    }
}

static void warps_exchange(void **state) {
    (void)state;
    static uint32_t a[64], c[64], d[64];
    for (int i = 0; i < 64; i++) a[i] = (uint32_t)bits() & 0xffff;
    ir_func *f = lower("kernel k(a: global u32[64], c: global u32[64], d: global u32[64]) launch { grid = 1; threads = 64; } {\n"
                       "  let s: shared u32[64];\n"
                       "  simt t { var x = a[t];\n"
                       "    const for o in [16, 8, 4, 2, 1] { x += shuffle_xor(x, o); }\n"
                       "    s[63 - t] = a[t]; sync();\n"
                       "    c[t] = x + s[t]; d[t] = ballot((a[t] & 1) == 1) ^ shuffle_up(a[t], 3); } }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(c), BUF(d)};
    must(run(f, 1, args));
    for (int w = 0; w < 2; w++) {
        uint32_t sum = 0, vote = 0;
        for (int l = 0; l < 32; l++) sum += a[w * 32 + l], vote |= (a[w * 32 + l] & 1) << l;
        for (int l = 0; l < 32; l++) {
            assert_int_equal(c[w * 32 + l], sum + a[63 - (w * 32 + l)]);
            assert_int_equal(d[w * 32 + l], vote ^ a[w * 32 + (l < 3 ? l : l - 3)]);
        }
    }
}

static void atomics_count(void **state) {
    (void)state;
    static uint32_t a[1024], bins[16];
    uint32_t want[16] = {0};
    for (int i = 0; i < 1024; i++) a[i] = (uint32_t)bits() & 15, want[a[i]]++;
    ir_func *f = lower("kernel k(a: global u32[1024], c: global u32[16]) launch { grid = 8; threads = 128; }\n"
                       "{ simt t { atomic_add(c, a[block.x * 128 + t], 1 as u32); } }\n", NULL);
    const ir_arg args[] = {BUF(a), BUF(bins)};
    must(run(f, 8, args));
    assert_memory_equal(bins, want, sizeof want);
}

// ---- roles and blocks that wait -----------------------------------------------------------------

#define RING(ARRIVE) \
    "kernel k(n: i32, a: global f32[640], out: global f32[640]) launch { grid = 1; warps = 8; } {\n" \
    "  let buf: shared f32[2, 64]; let full: shared barrier[2] = 1; let empty: shared barrier[2] = 1;\n" \
    "  role producer in 0..4 { for i in 0..n / 64 { wait(empty[i % 2], (i / 2 + 1) & 1);\n" \
    "    store(buf[i % 2, ..], load(a[i * 64 +: 64]));" ARRIVE " } }\n" \
    "  role consumer in 4..8 { var s: reg f32[64] = 0.0; for i in 0..n / 64 { wait(full[i % 2], (i / 2) & 1);\n" \
    "    s += load(buf[i % 2, ..]); store(out[i * 64 +: 64], s); arrive(empty[i % 2]); } } }\n"

static void roles_take_turns(void **state) {
    (void)state;
    static float a[640], c[640];
    for (int i = 0; i < 640; i++) a[i] = real();
    ir_func *f = lower(RING("arrive(full[i % 2]);"), NULL);
    const ir_arg args[] = {INT(640), BUF(a), BUF(c)};
    for (uint64_t order = 0; order < 5; order++) {
        must(run_grid(f, 1, 1, args, order));
        for (int e = 0; e < 64; e++) {
            float s = 0;
            for (int i = 0; i < 10; i++) {
                s += a[i * 64 + e];
                assert_true(c[i * 64 + e] == s);
            }
        }
    }
}
static void deadlock_names_the_waiters(void **state) {
    (void)state;
    static float a[640], c[640];
    ir_func *f = lower(RING(""), NULL);
    const ir_arg args[] = {INT(640), BUF(a), BUF(c)};
    assert_false(run(f, 1, args));
    assert_non_null(strstr(error, "deadlock"));
    assert_non_null(strstr(error, "1 of 1 arrivals missing"));
    assert_non_null(strstr(error, "t.tvm:3:"));
    assert_non_null(strstr(error, "t.tvm:5:"));
    assert_true(where.file != 0);
}
static void blocks_wait_for_later_blocks(void **state) { // block b waits for block b + 1: all are resident
    (void)state;
    static uint32_t sem[9], c[8];
    ir_func *f = lower("kernel k(s: global u32[9], c: global u32[8]) launch { grid = 8; warps = 1; } {\n"
                       "  if block.x < 7 { wait_for(s[block.x + 1], 1); c[block.x] = c[block.x + 1] + 1; }\n"
                       "  else { c[7] = 100 as u32; }\n"
                       "  signal(s[block.x], 1); }\n", NULL);
    const ir_arg args[] = {BUF(sem), BUF(c)};
    must(run(f, 8, args));
    for (uint32_t b = 0; b < 8; b++) assert_int_equal(c[b], 107 - b);
    memset(sem, 0, sizeof sem);
    assert_false(run(f, 7, args)); // the last block is missing
    assert_non_null(strstr(error, "deadlock"));
}

// ---- traps --------------------------------------------------------------------------------------

static void traps(void **state) {
    (void)state;
    static float a[64];
    static const struct { const char *source, *text; size_t bytes; } cases[] = {
        {"kernel k(a: global f32[64]) launch { grid = 1; warps = 1; } { store(a[..], load(a[..]) + 1.0); }", "beyond the end", 64},
        {"kernel k(a: global f32[64]) launch { grid = 1; warps = 1; } { assert(a[3] > 100.0, \"too small\"); }", "assertion failed: too small", 256},
        {"kernel k(a: global f32[64]) launch { grid = 1; threads = 64; } { var x: reg f32[64] @ spatial(64);\n"
         " simt t { if t != 5 { x[t] = 1.0; } } store(a[..], x); }", "element 5 of a tile before it was written", 256},
        {"kernel k(a: global f32[64]) launch { grid = 1; threads = 64; } {\n"
         " simt t { var x = a[t]; if t < 7 { x = shuffle_xor(x, 1); } a[t] = x; } }", "needs all threads of the warp", 256},
        {"kernel k(a: global f32[64]) launch { grid = 1; threads = 64; } {\n"
         " simt t { if t < 40 { sync(); } a[t] = 1.0; } }", "of 64 threads", 256},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        void *unused = NULL;
        teardown(&unused);
        setup(&unused);
        const ir_arg args[] = {{.ptr = a, .bytes = cases[k].bytes, .rank = -1}};
        memset(a, 0, sizeof a);
        assert_false(run(lower(cases[k].source, NULL), 1, args));
        if (!strstr(error, cases[k].text)) fail_msg("'%s' is not in '%s'", cases[k].text, error);
    }
}
static void text_traps(void **state) {
    (void)state;
    ir_func *f = parse("func @k(%n: i32) warps 1 {\n  %0 = const {value = 0} : i32\n"
                       "  for %0, %n, %0 {\n    (%i: i32):\n    yield\n  }\n  return\n}\n");
    const ir_arg args[] = {INT(3)};
    assert_false(run(f, 1, args));
    assert_non_null(strstr(error, "step of a loop is 0"));
}
static void printing_is_in_index_order(void **state) {
    (void)state;
    ir_func *f = lower("kernel k(n: i32) launch { grid = 1; warps = 1; } { print(\"n = {}, x = {}.\", n, iota(4) * 2); }\n", NULL);
    const ir_arg args[] = {INT(-7)};
    must(run(f, 1, args));
    assert_string_equal(printed, "n = -7, x = [0, 2, 4, 6].\n");
}

/// Fails from the n-th request on.
static void *take(void *user, size_t size) {
    int *left = user;
    return (*left)-- > 0 ? malloc(size) : NULL;
}
static void give(void *user, void *p, size_t size) {
    (void)user, (void)size;
    free(p);
}
static void memory_runs_out(void **state) {
    (void)state;
    static uint32_t a[64], c[64];
    ir_func *f = lower("kernel k(n: i32, a: global u32[n], c: global u32[64]) launch { grid = 1; threads = 64; } {\n"
                       "  let s: shared u32[n]; copy(s, a[..]);\n"
                       "  simt t { c[t] = shuffle_xor(s[t], 1); } }\n", NULL);
    const ir_arg args[] = {INT(64), BUF(a), BUF(c)};
    const ir_plan *p = ir_plan_new(f);
    int need = 0;
    for (bool ok = false; !ok; need++) {
        int left = need;
        const vm_allocator memory = {take, give, &left};
        const ir_run r = {.args = args, .grid = {1, 1, 1}, .alloc = &memory};
        ok = ir_interp_run(p, &r, error, &where);
        if (!ok) assert_non_null(strstr(error, "out of memory"));
    }
    assert_true(need > 5);
}

/// Whatever a kernel indexes, the interpreter stays inside the buffers.
static void wild_indices_are_harmless(void **state) {
    (void)state;
    static uint32_t a[256], c[256];
    ir_func *f = lower("kernel k(x: i64, y: i64, a: global u32[16, 16], c: global u32[256]) launch { grid = 1; warps = 1; } {\n"
                       "  let s: shared u32[16, 16]; copy(s, a[x +: 16, y +: 16]);\n"
                       "  store(c[y +: 256], load(a[y +: 4, x +: 64]).reshape(256)); c[x] = a[x, y] + s[y, x] + load(s[x, 0 +: 4]).sum(); }\n", NULL);
    for (int k = 0; k < 300; k++) {
        const unsigned down = (unsigned)(bits() % 64);
        const int64_t x = (int64_t)bits() >> down, y = (int64_t)bits() >> (63 - down);
        const ir_arg args[] = {{.code = (uint64_t)x, .rank = -1}, {.code = (uint64_t)y, .rank = -1}, BUF(a), BUF(c)};
        must(run(f, 1, args));
    }
}

static void every_pass_keeps_the_meaning(void **state) {
    (void)state;
    static const char *const passes[] = {
#define PASS(name, doc) #name,
#include "ir/pass.def"
#undef PASS
    };
    static uint16_t a[64 * 64], b[64 * 32];
    static float first[64 * 32], c[64 * 32];
    for (int i = 0; i < 64 * 64; i++) a[i] = (uint16_t)vm_encode(T_f16, (double)real(), vm_default_rounding(T_f16));
    for (int i = 0; i < 64 * 32; i++) b[i] = (uint16_t)vm_encode(T_f16, (double)real(), vm_default_rounding(T_f16));
    for (size_t k = 0; k <= sizeof passes / sizeof *passes; k++) {
        void *unused = NULL;
        teardown(&unused);
        setup(&unused);
        ir_func *f = lower("kernel k(k: i32, a: global f16[64, k], b: global f16[k, 32], c: global f32[64, 32])\n"
                           "requires k % 16 == 0; launch { grid = 1; warps = 4; } {\n"
                           "  const D = mma.dot(mma.m16n8k16, warps = (4, 1), repeat = (1, 4, 1));\n"
                           "  let sa: shared f16[64, 16]; let sb: shared f16[16, 32];\n"
                           "  var acc: reg f32[64, 32] @ D.c = 0.0;\n"
                           "  #[pipeline(3)] for k0 in 0..k step 16 {\n"
                           "    fetch { copy(sa, a[.., k0 +: 16]); copy(sb, b[k0 +: 16, ..]); }\n"
                           "    acc = dot(load(sa) @ D.a, load(sb), acc); }\n"
                           "  store(c[.., ..], acc); }\n", k ? passes[k - 1] : NULL);
        const ir_arg args[] = {INT(64), BUF(a), BUF(b), BUF(c)};
        memset(c, 0xff, sizeof c);
        must(run(f, 1, args));
        if (k == 0) memcpy(first, c, sizeof c);
        for (int i = 0; i < 64 * 32; i++)
            if (!(first[i] - c[i] < 1e-4f && c[i] - first[i] < 1e-4f)) fail_msg("after pass %s", k ? passes[k - 1] : "none");
    }
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(edges_read_zero_and_drop_writes), T(loops_carry_and_swap), T(shared_memory_transposes),
        T(narrow_elements_keep_their_neighbours), T(views_reread_the_bits_of_a_thread), T(products_reductions_and_scans),
        T(threads_own_elements_and_branch), T(warps_exchange), T(atomics_count), T(roles_take_turns),
        T(deadlock_names_the_waiters), T(blocks_wait_for_later_blocks), T(traps), T(text_traps),
        T(printing_is_in_index_order), T(memory_runs_out), T(wild_indices_are_harmless),
        T(every_pass_keeps_the_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
