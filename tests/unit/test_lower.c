// SPDX-License-Identifier: Apache-2.0
// Lowering: what the tree of a kernel becomes, and that every misuse is reported by its code and
// never makes malformed IR.
#include "ir/ir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static jmp_buf oom;

typedef struct {
    vm_comp *c;
    ir_func *f;
    char *text;
} lowered;

// The first kernel of `src` with its default meta-parameters.
static lowered lower_source(const char *src) {
    lowered r = {.c = vm_comp_new(NULL, &oom)};
    const uint32_t file = vm_source_add(r.c, "k.tvm", src, strlen(src));
    fe_eval *e = fe_eval_new(r.c, &(fe_options){0});
    fe_module *m = fe_load_main(e, file);
    for (uint32_t i = 0; m && !r.c->nerrors && i < m->tree->nkids; i++) {
        const ast *k = m->tree->kid[i];
        if (k->kind != AST_KERNEL) continue;
        fe_instance *in = fe_instantiate(e, m, k, 0, NULL, k->span, false);
        if (in && !in->excluded) r.f = ir_lower(ir_module_new(r.c, NULL), e, in);
        break;
    }
    if (r.f) r.text = ir_print_func(r.f);
    return r;
}

static void well_formed(const lowered *r, const char *src) {
    const char *why = NULL;
    if (!r->f) print_message("%s\n%s\n", src, vm_diags_text(r->c, false));
    assert_non_null(r->f);
    if (!ir_verify(r->f, &why)) print_message("%s\n%s\n%s\n", src, r->text, why);
    assert_null(why);
}

#define HEAD                                                                                        \
    "kernel k(n: i32, u: u32, s: f32, a: global f32[n], b: global f16[n, 64], w: global i32[n],\n"    \
    "         q: global u8[n])\n"                                                                     \
    "    launch { grid = cdiv(n, 128); warps = 4; }\n"
#define BODY(text) HEAD "{\n" text "\n}\n"

// Each: a body, and texts that its IR contains, separated by '|'.
static const struct {
    const char *body, *has;
} good[] = {
    {"let i = block.x * 128; store(a[i +: 128], load(a[i +: 128]) * 2);",
     "= load %|f32[128]|store %|written|block_id {dim = 0}|mode = [1]"},
    {"let x = load(a[0 +: 128]) + s; store(a[0 +: 128], x);", "add %"},
    {"let x = load(b[0 +: 16, ..]) as f32; store(a[0 +: 64], sum(x, dim = 0));", "sum %|{dim = 0}|mode = [1, 2]"},
    {"let x = load(b[3]) as f32; store(a[0 +: 64], x);", "mode = [0, 2]"},
    {"let x = load(b[0 +: 16]) as f32; let r = row_max(x); store(a[0 +: 16], r);", "max_of"},
    {"let x = load(b[0 +: 16, ..]) as f32; print(\"{}\", max(x));", "max_of|print"},
    {"let x = full(f32[16, 64], 1.0) + full(f32[64], 2); print(\"{}\", x);", "broadcast %|dims = [1]"},
    {"var t = 0; for i in 0..n { t += w[i]; } w[0] = t;", "for %|load_elem|yield|store_elem"},
    {"var t = 0; for i in 0..n { if w[i] > 3 { break; } if w[i] < 0 { continue; } t += 1; } w[0] = t;",
     "break %|continue %|if %"},
    {"var t = 1; while t < n { t = t * 2; } w[0] = t;", "while %|lt %"},
    {"if n > 3 { w[0] = 1; } else { w[1] = 2; }", "if %|store_elem"},
    {"var x = 1; if n > 3 { x = n; } else if n > 1 { x = 5; } w[0] = x;", "if %|yield %"},
    {"if n < 7 { return; } w[0] = n;", "return"},
    {"let i = iota(64).map(|i, e| select(e in 3..n, e, i * 2)); store(w[0 +: 64], i);", "iota|select|ge %|lt %|and %"},
    {"let c = load(a[0 +: 16]); let x = load(b[0 +: 16, ..]) as f32;"
     " store(a[0 +: 16], sum(x.map(|i, j, e| e * c[i]), dim = 1));", "broadcast %|dims = [0]"},
    {"let x = load(b[0 +: 16, ..]); store(b[0 +: 16, ..], x @ spatial(16, 8).local(1, 8));", "!pinned"},
    {"let x = load(b[0 +: 16, ..]) @ spatial(16, 8).local(1, 8);"
     " store(b[0 +: 16, ..], x @ local(1, 8).spatial(16, 8));", "relayout|strict"},
    {"let x = load(b[0 +: 16, ..]); store(b[0 +: 16, ..], relayout(x, spatial(16, 8).local(1, 8)));", "relayout"},
    {"let x = load(b[0 +: 64, ..]); let y = load(b[64 +: 64, ..].t);"
     " let z = dot(x, y, 0.0); print(\"{}\", z);", "dot %|permute|f32[64, 64]"},
    {"let p: shared f16[64, 64] @ swizzle(128); copy(p, b[0 +: 64, ..]); let x = load(p.t); print(\"{}\", x);",
     "alloc_shared|swizzle|copy %"},
    {"let p: shared f32[n]; copy(p[0..n], a[0..n]); copy(a[1..n], p[1..n]);", "alloc_shared %|mode = [3]|mul %|host_launch"},
    {"var x: reg i32[128] @ spatial(128); simt t { x[t] = t; if t > 5 { x[t] += 1; } } store(w[0 +: 128], x);",
     "poison|simt|elem_set|elem_get"},
    {"var x: reg i32[128] @ spatial(128) = 0; simt t { if t > n { return; } x[t] = t; } store(w[0 +: 128], x);",
     "scope|leave %"},
    {"simt t { let y = shuffle_xor(t, 1), m = ballot(t > 3); w[t] = y + popc(m) as i32; }", "shuffle_xor|ballot|popc"},
    {"simt t { w[t] = load_be(u16, q, 2 * t) as i32; }", "load_be"},
    {"let y = scan_exclusive(load(w[0 +: 64])); store(w[0 +: 64], y);", "scan_exclusive"},
    {"atomic_add(w, 3, n); atomic_max(w[4], n); let o = atomic_cas(w[1], 0, 1); print(\"{}\", o);",
     "atomic_add|atomic_max|atomic_cas"},
    {"assert(n > 3, \"small\"); assume(n < 100); print(\"n = {}\", n);", "assert %|message = \"small\"|assume|print"},
    {"let e = exp2(s) + sqrt(s); a[0] = e;", "exp2|sqrt"},
    {"w[0] = clamp(n, 0, 7) + abs(n) - min(n, 3);", "max %|min %|abs"},
    {"w[0] = (u >> n) as i32;", "shr"},
    {"w[0] = (u as u64 << n) as i32; w[1] = n << (u as u64);", "shl|min"},
    {"if n > 3 && (n < 7 || !(n == 5)) { w[0] = 0; }", "and %|or %|not %"},
    {"a[0] = bitcast(n, f32); w[1] = cast(s, i32, round = \"zero\");", "bitcast|round = \"zero\""},
    {"let x = load(q[0 +: 512]) @ spatial(128).local(4); let y = x.view(u4[1024] @ spatial(128).local(8));"
     " store(w[0 +: 1024], y as i32);", "view %"},
    {"let x = load(a[0 +: 64]).reshape(8, 8); print(\"{}\", x.t.permute(1, 0).flatten(0..2));", "reshape|permute"},
    {"let p: shared f32[2, 64];\n#[pipeline(2)] for i in 0..n { fetch { copy(p, a[0 +: 128].reshape(2, 64)); }"
     " let x = load(p[0]); store(a[0 +: 64], x); }", NULL},
    {"let p: shared f32[128]; var t: reg f32[128] = 0.0;\n"
     "#[pipeline(3)] for i in 0..n step 128 { fetch { copy(p, a[i +: 128]); } t += load(p); }\n store(a[0 +: 128], t);",
     "stages = 3|fetch {|copy %"},
    {"let p: shared f32[128];\n#[pipeline(3, via = bulk)] for i in 0..n step 128 { fetch { copy(p, a[i +: 128]); }"
     " store(a[i +: 128], load(p) * 2); }", "via = \"bulk\""},
    {"#[strict] for i in 0..n { a[i] = s * s + s; }", "exact = 1"},
    {"#[unroll(4)] for i in 0..n { w[i] = i; }", "unroll = 4"},
    {"const for i in 0..3 { w[i] = i; }", "store_elem"},
    {"let f: shared barrier[2] = 1; arrive(f[0]); expect(f[1], 64); wait(f[0], 0);", "alloc_barrier|barrier_at|arrive|expect|wait %"},
    {"let f: shared barrier[2] = 1; let p: shared f32[64]; copy_async(p, a[0 +: 64], f[0], via = bulk);",
     "copy_async|via = \"bulk\""},
    {"role r in 0..2 { w[0] = n; } role c[g] in 2..4 step 1 { w[g] = n; }", "role|begin = 2|index = 1|set = 0"},
    {"var z = 1; role r in 0..2 { z += 1; w[0] = z; } role c in 2..4 { z += 2; w[1] = z; } w[2] = z;", "role"},
    {"sync(); fence(scope = \"gpu\"); w[0] = threads + warps + grid.x;", "sync|fence|grid_dim"},
    {"let x = ptx(\"mov.u32 {0}, %laneid;\", u32); w[0] = x as i32;", "ptx"},
    {"let (x, y) = (n + 1, n + 2); w[x] = y;", "store_elem"},
    {"w[0] = n as i64 as i32; a[1] = n as f32;", "cast"},
};

static void lowers_programs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const size_t n = strlen(HEAD) + strlen(good[i].body) + 16;
        char *src = malloc(n);
        snprintf(src, n, HEAD "{\n%s\n}\n", good[i].body);
        lowered r = lower_source(src);
        if (!good[i].has) { // reported, or fine: but never malformed
            assert_true(r.f || r.c->nerrors);
        } else {
            well_formed(&r, src);
            char *has = strdup(good[i].has);
            for (char *p = strtok(has, "|"); p; p = strtok(NULL, "|")) {
                if (!strstr(r.text, p)) print_message("no '%s' in\n%s\n%s\n", p, src, r.text);
                assert_non_null(strstr(r.text, p));
            }
            free(has);
        }
        vm_comp_free(r.c);
        free(src);
    }
}

static const struct {
    const char *body, *code;
} bad[] = {
    {"w[0] = n + s;", "E0350"},
    {"w[0] = n + u;", "E0350"},
    {"w[0] = s;", "E0350"},
    {"w[0] = n + 1.5;", "E0350"},
    {"store(a[0 +: 64], load(b[0]));", "E0350"},
    {"let x = load(q[0 +: 64]) as u4; print(\"{}\", x + x);", "E0351"},
    {"w[0] = exp2(n);", "E0351"},
    {"a[0] = s % s << s;", "E0351"},
    {"w[0] = (u & 1) as i32 + (u + 5000000000) as i32;", "E0352"},
    {"w[0] = n + a;", "E0420"},
    {"let x = a + 1;", "E0420"},
    {"let x = load(n);", NULL},
    {"store(n, n);", "E0353"},
    {"let x = dot(n, n, 0.0);", "E0353"},
    {"let x = load(a[0 +: 4], 3, 4);", "E0354"},
    {"let x = clamp(n, 1);", "E0354"},
    {"copy_async(a[0 +: 4], a[4 +: 4], via = \"fish\");", "E0354"},
    {"#[pipeline(0)] for i in 0..n { w[i] = 0; }", "E0354"},
    {"if n { w[0] = 1; }", NULL},
    {"if load(w[0 +: 64]) > 3 { w[0] = 1; }", "E0355"},
    {"w[0] = select(n && n > 3, 1, 2);", "E0355"},
    {"let x = load(a[0 +: 64]) + load(a[0 +: 63]);", "E0356"},
    {"copy(a[0 +: 64], a[0 +: 65]);", "E0356"},
    {"let x = dot(load(b[0 +: 64]), load(b[0 +: 32]), 0.0);", "E0356"},
    {"let x = dot(zeros(f16[2, 16, 16]), zeros(f16[3, 16, 8]), 0.0);", "E0356"},
    {"let x = dot(zeros(f16[16]), zeros(f16[16, 8]), 0.0);", "E0354"},
    {"let x = broadcast(load(a[0 +: 64]), 65);", "E0356"},
    {"let x = broadcast(load(a[0 +: 64]), 2, 64, 1);", "E0356"},
    {"let x = broadcast(load(a[0 +: 64]), n);", "E0358"},
    {"let x = broadcast();", "E0354"},
    {"var x = (1, n); if n > 3 { x = (n, n); } w[0] = x;", NULL},
    {"let x = full(f32[n], 0.0);", "E0358"},
    {"let x = sum(load(a[0 +: 64]), dim = n);", "E0358"},
    {"let x = zeros(reg f32[64] @ 7);", NULL},
    {"return 3;", "E0363"},
    {"w[0] = n.foo;", "E0364"},
    {"w[0] = n.foo();", "E0364"},
    {"w[0] = w[1, 2, 3];", "E0401"},
    {"w[0] = n[1];", "E0401"},
    {"let x = load(q[0 +: 512]) @ spatial(128).local(4); let y = x.view(u4[512] @ spatial(128).local(4));", "E0402"},
    {"let x = load(a[0 +: 64]) @ spatial(64);", "E0406"},
    {"let x = load(a[0 +: 256]) @ spatial(128);", "E0406"},
    {"let x = load(a[0 +: 128]) @ swizzle(128);", "E0421"},
    {"let p: shared f32[3, 3] @ swizzle(128);", "E0405"},
    {"let p: shared f32[128] @ spatial(128);", "E0421"},
    {"let x = load(a[n +: n]);", "E0422"},
    {"let x = load(a[0..n]);", "E0408"},
    {"let p: shared f32[w[0]];", "E0409"},
    {"let x = load(a[0 +: 64]).reshape(3, 3);", "E0411"},
    {"let x = load(b[0 +: 8]).permute(0, 0);", "E0411"},
    {"let x = load(a[0 +: 64]); let y = x.map(|i, e| e + x[i + 1]);", "E0423"},
    {"let x = load(a[0 +: 64]); let y = x.map(|e| e + x);", NULL},
    {"let x = load(a[0 +: 64]); let y = x.map(|i, e| e + sum(x));", "E0423"},
    {"let x = load(w[0 +: 64]); let y = x.map(|i, e| w[e]);", "E0423"},
    {"simt t { let x = load(a[0 +: 64]); }", "E0430"},
    {"let x = load(a[0 +: 128]); simt t { w[t] = select(x < 1.0, 1, 2); }", "E0430"},
    {"let x = zeros(f32[0]);", "E0358"},
    {"simt t { let p: shared f32[64]; }", "E0430"},
    {"let x = load(a[0 +: 64]); a[0] = x[3];", "E0433"},
    {"let x = load(a[0 +: 64]); role r in 0..2 { print(\"{}\", x); }", "E0434"},
    {"w[0] = shuffle(n, 1);", "E0435"},
    {"var z = 0; simt t { z = t; } w[0] = z;", "E0436"},
    {"var t = n;\nlet p: shared f32[64];\n#[pipeline(2)] for i in 0..n { t += 1; fetch { copy(p, a[t +: 64]); } store(a[0 +: 64], load(p)); }",
     "E0510"},
    {"let p: shared f32[64];\n#[pipeline(2)] for i in 0..n { let j = i * 64; fetch { copy(p, a[j +: 64]); } store(a[0 +: 64], load(p)); }",
     "E0510"},
    {"let p: shared f32[64]; for i in 0..n { fetch { copy(p, a[i +: 64]); } }", "E0511"},
    {"fetch { w[0] = 1; }", "E0511"},
    {"role r in 0..7 { w[0] = 1; }", "E0512"},
    {"role r in 0..2 { w[0] = 1; } role s in 1..3 { w[1] = 1; }", "E0512"},
    {"#[regs(23)] role r in 0..4 { w[0] = 1; }", "E0512"},
    {"let f: shared barrier[n] = 1;", "E0358"},
    {"let f: shared barrier[2] = 1; arrive(f);", "E0513"},
};

static void reports_errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const size_t n = strlen(HEAD) + strlen(bad[i].body) + 16;
        char *src = malloc(n);
        snprintf(src, n, HEAD "{\n%s\n}\n", bad[i].body);
        lowered r = lower_source(src);
        char *text = vm_diags_text(r.c, false);
        if (bad[i].code && (r.f || !strstr(text, bad[i].code))) print_message("no %s for\n%s\n%s\n", bad[i].code, src, text);
        if (bad[i].code) {
            assert_null(r.f);
            assert_non_null(strstr(text, bad[i].code));
        }
        vm_comp_free(r.c);
        free(src);
    }
}

// Whole kernels: clauses, parameters, functions, structs.
static const struct {
    const char *src, *has, *code; // has: as above, code: the error instead
} whole[] = {
    {"fn pick(x: i32) -> i32 { if x > 3 { return 7; } return x; }\n"
     "kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; } { w[0] = pick(n) + pick(2); }\n",
     "scope : i32|leave %", NULL},
    {"fn find(w: global i32[_], n: i32) -> i32 { for i in 0..n { if w[i] == 5 { return i; } } return -1; }\n"
     "kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; } { w[0] = find(w, n); }\n",
     "scope : i32|leave %|for %", NULL},
    {"struct R { slot: i32; depth: int; }\n"
     "kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; }\n"
     "{ var r = R(slot = 0, depth = 4); for i in 0..n { r.slot = (r.slot + 1) % r.depth; w[i] = r.slot; } }\n",
     "for %|rem %", NULL},
    {"struct R { slot: i32; phase: i32; }\n"
     "fn next(r: R) { r.slot = r.slot + 1; if r.slot == 4 { r.slot = 0; r.phase = r.phase ^ 1; } }\n"
     "kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; }\n"
     "{ var r = R(slot = 0, phase = 0); for i in 0..n { w[i] = r.slot; r.next(); } }\n",
     "for %|if %|xor %", NULL},
    {"kernel k(m: i32, ld: i32, a: global f32[m, 32] @ strides(ld, 1), #[align(4)] b: global f32[m])\n"
     "requires m % 4 == 0; launch { grid = (m / 4, 2); threads = 64; }\n"
     "{ store(b[0 +: 4], load(a[block.x * 4 +: 4, 0])); }\n",
     NULL, NULL},
    {"kernel k[G: int = 128](m: i32, ld: i32, a: global f32[m, 32] @ strides(ld, 1), b: global f32[m])\n"
     "requires m % G == 0; launch { grid = (m / 4, 2); threads = 64; cluster = (2, 1); }\n"
     "{ store(b[0 +: 4], load(a[block.x * 4 +: 4, 0])); }\n",
     "strided = 1|warps 2|host_check|requires m % G == 0, but {} and G = 128 (k.tvm:2)|host_launch|assume", NULL},
    {"kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 33; } { w[0] = 1; }\n", NULL, "E0360"},
    {"kernel k(n: i32, w: global i32[n]) launch { grid = n; threads = 100; } { w[0] = 1; }\n", NULL, "E0360"},
    {"kernel k(n: i32, w: global i32[n]) launch { warps = 1; } { w[0] = 1; }\n", NULL, "E0360"},
    {"kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; static = w; } { w[0] = 1; }\n", NULL, "E0515"},
    {"kernel k(n: i32, w: global i32[n]) launch { grid = n; } { w[0] = 1; }\n", NULL, "E0360"},
    {"kernel k(n: i32, w: global i32[n]) launch { grid = block.x; warps = 1; } { w[0] = 1; }\n", NULL, "E0359"},
    {"kernel k(n: i32, w: reg i32[8]) launch { grid = n; warps = 1; } { }\n", NULL, "E0359"},
    {"kernel k[B: int = 3](n: i32) requires B == 4; launch { grid = n; warps = 1; } { }\n", NULL, "E0362"},
    {"fn f(x: f32) -> f32 { return x; }\n"
     "kernel k(n: i32, w: global i32[n]) launch { grid = n; warps = 1; } { w[0] = f(n); }\n", NULL, "E0350"},
    {"kernel k(n: i32, a: global f16[n, 64], c: global f32[n, 64]) launch { grid = n; warps = 4; }\n"
     "{ let sa: shared f16[64, 64] @ swizzle(128); let sb: shared f16[64, 64] @ swizzle(128);\n"
     "  var acc: inflight(reg f32[64, 64]) = 0.0;\n"
     "  for i in 0..n { acc = wgmma(sa, sb, acc); }\n"
     "  store(c[0 +: 64, ..], wait(acc)); }\n",
     "wgmma|wait_value|inflight", NULL},
};

static void lowers_whole_kernels(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        lowered r = lower_source(whole[i].src);
        char *text = vm_diags_text(r.c, false);
        if (whole[i].code) {
            if (r.f || !strstr(text, whole[i].code)) print_message("no %s for\n%s\n%s\n", whole[i].code, whole[i].src, text);
            assert_null(r.f);
            assert_non_null(strstr(text, whole[i].code));
        } else if (whole[i].has) {
            well_formed(&r, whole[i].src);
            char *has = strdup(whole[i].has);
            for (char *p = strtok(has, "|"); p; p = strtok(NULL, "|")) {
                if (!strstr(r.text, p)) print_message("no '%s' in\n%s\n%s\n", p, whole[i].src, r.text);
                assert_non_null(strstr(r.text, p));
            }
            free(has);
        }
        vm_comp_free(r.c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowers_programs),
        cmocka_unit_test(reports_errors),
        cmocka_unit_test(lowers_whole_kernels),
    };
    return cmocka_run_group_tests_name("lower", tests, NULL, NULL);
}
