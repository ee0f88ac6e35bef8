// SPDX-License-Identifier: Apache-2.0
// The evaluator on known values: constants, types, layouts, functions, structs, modules, and every
// diagnostic it can make. Cases are source text and what a constant of it is described as.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "frontend/eval.h"

typedef struct {
    jmp_buf oom;
    vm_comp *c;
    fe_eval *e;
    fe_module *m;
} world;

static const char *const library =
    "struct Ring { slot: i32; phase: u32; }\n"
    "fn ring(slots: int = 3) -> Ring { return Ring(slot = slots as i32 - 1, phase = 0); }\n"
    "fn next(r: Ring) { r.slot += 1; if r.slot == 3 { r.slot = 0; r.phase ^= 1; } }\n"
    "const fn twice(x: int) -> int { return 2 * x; }\n"
    "const LIMIT = 40 + 2;\n";

static const char *load(void *user, vm_comp *c, const char *from, const char *path, size_t *size) {
    (void)user, (void)from;
    if (strcmp(path, "std/lib.tvm") != 0) return NULL;
    *size = strlen(library);
    char *text = vm_newn(c->arena, char, *size + 2);
    memcpy(text, library, *size);
    return text;
}

static uint32_t add_source(world *w, const char *name, const char *text) {
    const size_t n = strlen(text);
    char *copy = vm_newn(w->c->arena, char, n + 2);
    memcpy(copy, text, n);
    return vm_source_add(w->c, name, copy, n);
}

static world *open_world(const char *text, const vm_arch *arch) {
    static world w;
    if (setjmp(w.oom)) fail_msg("out of memory");
    w.c = vm_comp_new(NULL, &w.oom);
    const fe_options opt = {.arch = arch, .load = load};
    w.e = fe_eval_new(w.c, &opt);
    w.m = fe_load_main(w.e, add_source(&w, "t.tvm", text));
    return &w;
}

static void close_world(world *w) { vm_comp_free(w->c); }

/// Constant `x` of the text, described.
static void expect_x(const char *text, const char *want) {
    world *w = open_world(text, NULL);
    fe_check(w->e, w->m);
    const fe_value *v = fe_lookup(w->e, vm_intern(w->c, "x"), VM_NOWHERE);
    const char *got = fe_describe(w->e, v);
    if (w->c->nerrors || strcmp(got, want) != 0) fail_msg("%s\n  is %s, not %s\n%s", text, got, want, vm_diags_text(w->c, false));
    close_world(w);
}

/// The text makes exactly one error, of this code, whose text contains `part`.
static void expect_error(const char *text, enum vm_code code, const char *part) {
    world *w = open_world(text, NULL);
    fe_check(w->e, w->m);
    if (!w->c->nerrors) fe_lookup(w->e, vm_intern(w->c, "x"), VM_NOWHERE);
    const vm_diag *d = w->c->diags;
    if (w->c->nerrors != 1 || d->code != code || !strstr(d->text, part))
        fail_msg("%s\n  wanted one %s with '%s', got\n%s", text, vm_code_name(code), part, vm_diags_text(w->c, false));
    close_world(w);
}

static void test_numbers(void **s) {
    (void)s;
    expect_x("const x = 7 * 6 - 100 / 7 % 5;", "38");
    expect_x("const x = -7 / 2;", "-3");
    expect_x("const x = 1 << 40 | 0xff;", "1099511628031");
    expect_x("const x = 250 as u8 + 10;", "4");
    expect_x("const x = (0 as u32) - 1;", "4294967295");
    expect_x("const x = 0xffffffffffffffff;", "18446744073709551615");
    expect_x("const x = ~(5 as u16);", "65530");
    expect_x("const x = (0x12345678 as u32) >> 32;", "0");
    expect_x("const x = (-5 as i8) >> 100;", "-1");
    expect_x("const x = 300.7 as u8;", "255");
    expect_x("const x = 1.0 / 4;", "0.25");
    expect_x("const x = 2.0e5 as f16;", "inf");
    expect_x("const x = 1.3 as f4e2m1;", "1.5");
    expect_x("const x = 3 < 4 && !(2 == 3) || false;", "true");
    expect_x("const x = 5 in 0..5;", "false");
    expect_x("const x = 3 in [1, 2, 3];", "true");
    expect_x("const x = u4 in [u8, u4];", "true");
    expect_x("const x = (cdiv(10, 3), gcd(48, 18), log2i(1000), bits(u3), bytes(f16), len((1, 2)));", "(4, 6, 9, 3, 2, 2)");
    expect_x("const x = (min(3, 9), max(2.5, 1), abs(-4), clamp(12, 0, 9), select(true, 4, 5));", "(3, 2.5, 4, 9, 4)");
    expect_x("const x = (is_float(f16), is_signed(u8), popc(0xf0f as u32), clz(1 as u16));", "(true, false, 8, 15)");
    expect_x("const x = exp2(3.0) + sqrt(16.0);", "12");
    expect_x("const x = cast(3.9, i32) + bitcast(1.0 as f32, i32);", "1065353219");
    expect_x("const (a, x) = (1, 2); const y = a;", "2");
    expect_x("const a = b + 1, b = 4; const x = a * b;", "20");
    expect_x("const x: u8 = 255;", "255");
    expect_x("const x = (1, 2)[1] + [7, 8, 9][0];", "9");
}

static void test_types(void **s) {
    (void)s;
    expect_x("const L = local(2, 1).spatial(8, 4); const x = u4[16, 8];", "u4[16, 8]");
    expect_x("const x = reg f32[16, 4] @ spatial(8, 4).local(2, 1);", "reg f32[16, 4] @ spatial(8, 4).local(2, 1)");
    expect_x("const x = shared u8[3, _];", "shared u8[3, _]");
    expect_x("const x = shared barrier[4];", "shared barrier[4]");
    expect_x("const x = inflight(reg f32[64, 64]);", "inflight(reg f32[64, 64])");
    expect_x("const x = bits(u3[5]) + bytes(shared u3[5]);", "17");
    expect_x("struct B[Q: type, N: int] { w: u8[N * bits(Q) / 8]; s: f16[N]; } const x = global B[u4, 64][2, 3];", "global B[u4, 64][2, 3]");
    expect_x("struct B[Q: type, N: int] { w: u8[N * bits(Q) / 8]; s: f16[N]; } const x = bytes(B[u4, 8]);", "32");
    expect_x("const x = shared f16[64, 64] @ swizzle(128);", "shared f16[64, 64] @ swizzle(128)");
    expect_x("const x = f16 == f16 && u4[2] != u4[3];", "true");
    expect_x("const T = u4; const x = T[2];", "u4[2]");
}

static void test_layouts(void **s) {
    (void)s;
    expect_x("const x = local(2, 1).spatial(8, 4) * local(1, 2) == local(2, 1) * spatial(8, 4).local(1, 2);", "true");
    expect_x("const x = (spatial(8, 4) * local(2, 1)) / local(2, 1) == spatial(8, 4);", "true");
    expect_x("const x = reduce(spatial(3, 4), [0]).shape;", "(4,)");
    expect_x("const x = spatial(3, 4).reduce(dims = [1], keepdims = true).shape;", "(3, 1)");
    expect_x("const x = concat(spatial(2), local(5)).shape;", "(2, 5)");
    expect_x("const x = spatial(4, 8).permute(1, 0).shape;", "(8, 4)");
    expect_x("const x = auto_local_spatial(num_threads = 128, shape = (16, 64)).threads;", "128");
    expect_x("const x = (mma.m16n8k16.a.shape, mma.m16n8k16.b.threads, mma.m16n8k16.k);", "((16, 16), 32, 16)");
    expect_x("const D = mma.dot(mma.m16n8k16, warps = (2, 4), repeat = (2, 4, 1)); const x = (D.c.shape, D.m, D.c.threads);", "((64, 128), 64, 256)");
    expect_x("const x = row_major(4, 8) == column_major(8, 4).permute(1, 0);", "true");
    expect_x("const x = replicated(4, num_workers = 8).threads;", "8");
}

static void test_functions(void **s) {
    (void)s;
    expect_x("const fn fib(n: int) -> int { var a = 0, b = 1; for i in 0..n { let t = a + b; a = b; b = t; } return a; }\n"
             "const x = fib(50);", "12586269025");
    expect_x("const fn f(n: int) -> int { var i = 0; while true { i += 1; if i % 2 == 1 { continue; } if i > n { break; } } return i; }\n"
             "const x = f(9);", "10");
    expect_x("const fn pick(n: int) -> int { if n > 2 { return 1; } else { if n == 1 { return 7; } } return 3; }\n"
             "const x = (pick(5), pick(1), pick(2));", "(1, 7, 3)");
    expect_x("fn f[T: type, n: int](v: T) -> T { return v + n as T; } const x = f[u8, 5](7);", "12");
    expect_x("fn f[T: type](v: T) -> T { return v + v; } const x = f(200 as u8);", "144");
    expect_x("fn f(a: int, b: int = a * 2, c: int = 1) -> int { return a + b * 10 + c * 100; } const x = f(1, c = 3);", "321");
    expect_x("fn two() -> (int, int) { return (4, 5); } const (a, b) = two(); const x = a * b;", "20");
    expect_x("const fn apply(f: _, n: int) -> int { return f(f(n)); } const k = 3; const x = apply(|v| v * k, 2);", "18");
    expect_x("const fn f() -> int { var s = 0; const for i in (3, 5, 9) { s += i; } for i in 0..10 step 4 { s += 100 * i; } return s; }\n"
             "const x = f();", "1217");
    expect_x("const fn f() -> int { var l = [1, 2, 3]; l[1] = 9; return l[0] + l[1]; } const x = f();", "10");
    expect_x("const fn flat(bytes: int) -> layout { const vec = gcd(bytes / 32, 16); return local(bytes / 32 / vec).spatial(32).local(vec); }\n"
             "const x = flat(64 * 4).slots;", "8");
    expect_x("fn f[n: int](v: int) -> int where n > 2; { return n * v; } const x = f[3](5);", "15");
}

static void test_structs_and_modules(void **s) {
    (void)s;
    expect_x("import \"std/lib.tvm\"; const x = lib.twice(lib.LIMIT);", "84");
    expect_x("import \"std/lib.tvm\" as l;\n"
             "const fn f() -> (i32, u32) { var r = l.ring(); r.next(); r.next(); return (r.slot, r.phase); }\n"
             "const x = f();", "(1, 1)");
    expect_x("struct P { a: int; b: int; } const fn f() -> int { var p = P(b = 2, a = 1); p.a += 40; p.b = p.a + p.b; return p.b; } const x = f();", "43");
    expect_x("struct P { a: int; } fn max(p: P) -> int { return max(p.a, 9); } const p = P(a = 4); const x = p.max() + max(1, 2);", "11");
    expect_x("const x = target.sm >= 80 && target.has(\"wgmma\");", "true");
}

static void test_errors(void **s) {
    (void)s;
    expect_error("const count = 1; const x = cuont + 1;", D_E0301, "did you mean 'count'");
    expect_error("fn f() { let a = 1; let a = 2; }", D_E0302, "twice");
    expect_error("const a = 1; fn a() {} ", D_E0302, "twice");
    expect_error("const x = f6e3m3;", D_E0303, "no type 'f6e3m3': 1 + 3 + 3 bits make 7, not 6; did you mean 'f6e3m2' or 'f7e3m3'?");
    expect_error("const x = u9;", D_E0303, "no type 'u9'");
    expect_error("const x: 5 = 3;", D_E0304, "expected a type");
    expect_error("const x = (1 as u8) + (1 as u16);", D_E0305, "u8 and u16");
    expect_error("const x: u8 = 256;", D_E0306, "256 does not fit u8");
    expect_error("const x: u64 = -1;", D_E0306, "-1 does not fit u64");
    expect_error("const x = 0x7fffffffffffffff + 1;", D_E0307, "does not fit 64 bits");
    expect_error("const x = 1 / (2 - 2);", D_E0307, "division by zero");
    expect_error("const fn f(a: int) -> int { return a; } const x = f();", D_E0309, "parameter 'a'");
    expect_error("const fn f(a: int) -> int { return a; } const x = f(1, 2);", D_E0309, "takes 1");
    expect_error("import \"std/lib.tvm\"; const x = lib.twize(1);", D_E0310, "twize");
    expect_error("fn f(a: int) -> int { return f(a - 1); } const x = f(5);", D_E0311, "recursion");
    expect_error("const x = y + 1; const y = x * 2;", D_E0312, "its own value");
    expect_error("import \"nowhere.tvm\"; const x = 1;", D_E0313, "nowhere.tvm");
    expect_error("const fn f() -> int { let a = 1; a = 2; return a; } const x = f();", D_E0314, "'a'");
    expect_error("const x = (3 as u4) * 2;", D_E0315, "u4");
    expect_error("const x = \"a\" - 1;", D_E0315, "'-'");
    expect_error("const fn f() -> int { assert(1 > 2, \"order\"); return 1; } const x = f();", D_E0316, "order");
    expect_error("fn f() { break; }", D_E0317, "break");
    expect_error("fn f() { #[pipelin(3)] for i in 0..3 { } }", D_E0319, "pipelin");
    expect_error("fn f(a: global f16[64]) { simt t { let y = load(a); } }", D_E0320, "load");
    expect_error("const x = (1, 2)[2];", D_E0321, "index 2");
    expect_error("const (x, y) = (1, 2, 3);", D_E0322, "2 names");
    expect_error("const x = 5(1);", D_E0323, "cannot be called");
    expect_error("const x = block.x;", D_E0324, "block.x");
    expect_error("fn f[n: int]() -> int { return n; } const x = f();", D_E0325, "'n'");
    expect_error("fn f(a: int) -> int { if a > 1 { return 1; } } const x = f(0);", D_E0326, "'f'");
    expect_error("fn f[n: int]() -> int where n > 2; { return n; } const x = f[1]();", D_E0327, "'f'");
    expect_error("const fn f() -> int { for i in 5 { } return 1; } const x = f();", D_E0328, "range");
    expect_error("const x = local(6) / local(4);", D_E0330, "divide");
    expect_error("const x = swizzle(100);", D_E0330, "swizzle");
    expect_error("const fn f() -> int { while true { } return 1; } const x = f();", D_E0702, "steps");
    expect_error("const fn f() -> int { const for i in 0..1000000 { } return 1; } const x = f();", D_E0703, "100000");
}

// ---- run time behind hooks that know nothing ----------------------------------------------------

static fe_value *opaque(fe_eval *e) { return fe_rt(e, NULL); }
static fe_value *h_binary(fe_eval *e, enum ast_op op, fe_value *x, fe_value *y, vm_span at) {
    (void)op, (void)x, (void)y, (void)at;
    return opaque(e);
}
static fe_value *h_coerce(fe_eval *e, fe_value *v, const fe_type *t, vm_span at) {
    (void)e, (void)t, (void)at;
    return v;
}
static fe_value *h_declare(fe_eval *e, const char *name, const fe_type *t, fe_value *v, bool is_var, ast *attrs, vm_span at) {
    (void)name, (void)t, (void)v, (void)is_var, (void)attrs, (void)at;
    return opaque(e);
}
static void h_if(fe_eval *e, fe_value *cond, ast *n) {
    (void)cond;
    fe_exec_block(e, n->kid[1]);
    if (n->nkids > 2 && n->kid[2]) fe_exec_stmt(e, n->kid[2]);
}
static void h_for(fe_eval *e, fe_value *lo, fe_value *hi, fe_value *step, ast *n) {
    (void)lo, (void)hi, (void)step;
    fe_push(e);
    fe_bind(e, n->name, opaque(e), NULL, false, n->name_span);
    fe_exec_block(e, n->kid[2]);
    fe_pop(e);
}
static int entered, returned;
static void h_return(fe_eval *e, fe_value *v, ast *n) { (void)e, (void)v, (void)n, returned++; }
static void h_enter(fe_eval *e, const ast *fn) { (void)e, (void)fn, entered++; }
static fe_value *h_leave(fe_eval *e, const ast *fn) {
    (void)fn;
    return opaque(e);
}
static const fe_hooks hooks = {.binary = h_binary, .coerce = h_coerce, .declare = h_declare, .if_ = h_if, .for_ = h_for,
                               .return_ = h_return, .enter_fn = h_enter, .leave_fn = h_leave};

/// Runs the body of `fn f(n)` with a run-time n; the first diagnostic must be `code` (D_count_: none).
static void run_f(const char *text, enum vm_code code, int enters) {
    world *w = open_world(text, NULL);
    fe_check(w->e, w->m);
    w->e->hooks = &hooks;
    entered = returned = 0;
    fe_arg a = {.form = FA_VALUE, .v = opaque(w->e)};
    fe_call(w->e, fe_lookup(w->e, vm_intern(w->c, "f"), VM_NOWHERE), &(fe_args){1, &a}, VM_NOWHERE);
    const enum vm_code got = w->c->diags ? w->c->diags->code : D_count_;
    if (got != code || w->c->nerrors > 1 || entered != enters) fail_msg("%s\n  entered %d\n%s", text, entered, vm_diags_text(w->c, false));
    close_world(w);
}

static void test_runtime(void **s) {
    (void)s;
    run_f("fn f(n: i32) { const c = n + 1; }", D_E0308, 0);
    run_f("fn f(n: i32) { const if n > 1 { } }", D_E0308, 0);
    run_f("fn f(n: i32) { const for i in 0..n { } }", D_E0308, 0);
    run_f("fn f(n: i32) { let t = f32[n]; let d = local(n); }", D_E0308, 0);
    run_f("fn f(n: i32) { const for i in 0..3 { if n > i { break; } } }", D_E0318, 0);
    run_f("fn f(n: i32) { for i in 0..n { if i > 3 { break; } } }", D_count_, 0);
    run_f("fn f(n: i32) -> i32 { if n > 3 { return 1; } return 2; }", D_count_, 1);
    assert_int_equal(returned, 2);
    run_f("fn f(n: i32) -> i32 { if bits(u4) == 4 { return n; } return 2; }", D_count_, 0);
    run_f("fn g(k: int, n: i32) -> i32 { if k == 1 { return n; } return n + 1; } fn f(n: i32) -> i32 { return g(1, n); }", D_count_, 0);
    run_f("const fn g(n: int) -> int { var i = 0; while i < n { i += 1; } return i; }\n"
          "fn f(n: i32) { const c = g(10); let t = (1, 2, 3)[c - 8]; }", D_count_, 0);
    run_f("fn f(n: i32) { let a = n + undefined; }", D_E0301, 0);
    run_f("fn f(n: i32) { var a = 1, b = 2; for i in 0..n { let a = 5; b += a; } a = n; }", D_count_, 0);
}

static void test_assigned(void **s) {
    (void)s;
    world *w = open_world("struct R { s: int; } fn next(r: R) { r.s += 1; }\n"
                          "fn f() { { let a = 1; b = a; var c = 2; c = 3; d += 1; b = 2; r.next(); e[b] = 4; for d in 0..2 { d = 1; } } }", NULL);
    fe_push(w->e);
    const char *const vars[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++) fe_bind(w->e, vm_intern(w->c, vars[i]), fe_int(w->e, 0), NULL, true, VM_NOWHERE);
    fe_value *r = fe_int(w->e, 0);
    r->kind = FV_STRUCT;
    r->n = 0;
    fe_bind(w->e, vm_intern(w->c, "r"), r, NULL, true, VM_NOWHERE);
    uint32_t n;
    const char *const *names;
    fe_assigned(w->e, w->m->tree->kid[2]->kid[4], &n, &names);
    assert_int_equal(n, 4);
    const char *const want[] = {"b", "d", "r", "e"};
    for (size_t i = 0; i < 4; i++) assert_string_equal(names[i], want[i]);
    close_world(w);
}

// ---- instantiation ------------------------------------------------------------------------------

static const char *const kernel_text =
    "const fn flat(bytes: int) -> layout { const vec = gcd(bytes / 32, 16); return local(bytes / 32 / vec).spatial(32).local(vec); }\n"
    "kernel pack[Q: type, TK: int = 16, TN: int = 8](k: i32, n: i32, src: global Q[k, n])\n"
    "    const BYTES = TK * TN * bits(Q) / 8;\n"
    "    const L = flat(BYTES);\n"
    "    where BYTES % 32 == 0;\n"
    "    launch { grid = 1; warps = 1; }\n"
    "{ }\n"
    "kernel tuned[T: type = f16, WM: int, WN: int, stages: int](a: global T[64])\n"
    "    where T == f16 || WM == 1;\n"
    "    tune { (WM, WN) in [(1, 4), (1, 8), (2, 4)]; stages in [3, 4]; when WM * WN * stages != 12; }\n"
    "{ }\n"
    "kernel hopper(a: global f16[64]) where target.has(\"wgmma\"); { }\n";

static const ast *kernel_named(world *w, const char *name) {
    for (uint32_t i = 0; i < w->m->tree->nkids; i++)
        if (w->m->tree->kid[i]->name && !strcmp(w->m->tree->kid[i]->name, name)) return w->m->tree->kid[i];
    fail_msg("no kernel %s", name);
    return NULL;
}

static void test_instances(void **s) {
    (void)s;
    world *w = open_world(kernel_text, vm_arch_find("sm_80"));
    fe_define d[3] = {{"Q", fe_string(w->e, "u4")}};
    fe_instance *k = fe_instantiate(w->e, w->m, kernel_named(w, "pack"), 1, d, VM_NOWHERE, true);
    assert_non_null(k);
    assert_string_equal(k->entry, "pack__Q_u4");
    assert_int_equal(fe_find(k->metas, vm_intern(w->c, "BYTES"))->value->i, 64);
    k = fe_instantiate(w->e, w->m, kernel_named(w, "tuned"), 0, NULL, VM_NOWHERE, true);
    assert_non_null(k);
    assert_string_equal(k->entry, "tuned__WM_1_WN_4_stages_4");
    fe_instance **pts;
    assert_int_equal(fe_tune_points(w->e, w->m, kernel_named(w, "tuned"), 0, NULL, &pts), 5);
    assert_string_equal(pts[4]->entry, "tuned__WM_2_WN_4_stages_4");
    d[0] = (fe_define){"T", fe_string(w->e, "bf16")};
    assert_int_equal(fe_tune_points(w->e, w->m, kernel_named(w, "tuned"), 1, d, &pts), 3);
    d[0] = (fe_define){"WM", fe_string(w->e, "2")};
    k = fe_instantiate(w->e, w->m, kernel_named(w, "tuned"), 1, d, VM_NOWHERE, true);
    assert_string_equal(k->entry, "tuned__WM_2_WN_4_stages_3");
    d[0] = (fe_define){"WN", fe_int(w->e, 2)}; // overrides the list
    k = fe_instantiate(w->e, w->m, kernel_named(w, "tuned"), 1, d, VM_NOWHERE, true);
    assert_string_equal(k->entry, "tuned__WM_1_WN_2_stages_3");
    k = fe_instantiate(w->e, w->m, kernel_named(w, "hopper"), 0, NULL, VM_NOWHERE, true);
    assert_true(k && k->excluded && strstr(k->why, "sm_80"));
    assert_int_equal(w->c->nerrors, 0);

    d[0] = (fe_define){"Q", fe_type_value(w->e, fe_scalar_type(w->e, T_u3))};
    assert_null(fe_instantiate(w->e, w->m, kernel_named(w, "pack"), 1, d, VM_NOWHERE, true));
    assert_int_equal(w->c->diags->code, D_E0340);
    const char *text = vm_diags_text(w->c, false);
    const char *const parts[] = {"pack cannot be instantiated with Q = u3, TK = 16, TN = 8", "48 % 32 is 16",
                                 "BYTES = TK * TN * bits(Q) / 8 = 48 (line 3)", "TK = 32 satisfies it"};
    for (size_t i = 0; i < 4; i++)
        if (!strstr(text, parts[i])) fail_msg("no '%s' in\n%s", parts[i], text);
    assert_null(fe_instantiate(w->e, w->m, kernel_named(w, "pack"), 0, NULL, VM_NOWHERE, true));
    assert_int_equal(w->c->last_diag->code, D_E0341);
    d[0] = (fe_define){"R", fe_int(w->e, 1)};
    assert_null(fe_instantiate(w->e, w->m, kernel_named(w, "pack"), 1, d, VM_NOWHERE, true));
    assert_int_equal(w->c->last_diag->code, D_E0343);
    d[0] = (fe_define){"WM", fe_int(w->e, 3)};
    d[1] = (fe_define){"WN", fe_int(w->e, 4)};
    d[2] = (fe_define){"stages", fe_int(w->e, 1)};
    k = fe_instantiate(w->e, w->m, kernel_named(w, "tuned"), 3, d, VM_NOWHERE, true);
    assert_non_null(k); // `when` prunes lists, it does not forbid explicit values
    close_world(w);
}

static void test_deduction(void **s) {
    (void)s;
    world *w = open_world(kernel_text, NULL);
    fe_tensor t = {.type = T_u6, .rank = 2, .dim = {32, 16}};
    fe_value *v = fe_int(w->e, 0);
    v->kind = FV_TENSOR;
    v->tensor = &t;
    fe_arg at[3] = {{.form = FA_VALUE, .v = fe_int(w->e, 32)}, {.form = FA_VALUE, .v = fe_int(w->e, 16)}, {.form = FA_VALUE, .v = v}};
    fe_args args = {3, at};
    uint32_t n = 0;
    fe_define *defs = NULL;
    assert_true(fe_deduce(w->e, kernel_named(w, "pack"), &args, &n, &defs, VM_NOWHERE));
    assert_int_equal(n, 1);
    assert_string_equal(defs[0].name, "Q");
    assert_string_equal(fe_describe(w->e, defs[0].value), "u6");
    close_world(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_types), cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_functions), cmocka_unit_test(test_structs_and_modules), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_runtime), cmocka_unit_test(test_assigned),
        cmocka_unit_test(test_instances), cmocka_unit_test(test_deduction)};
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
