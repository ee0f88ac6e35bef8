// SPDX-License-Identifier: Apache-2.0
// Code generation from textual tile IR: every target gives PTX that ptxas takes (where it is found),
// and what cannot be selected is a diagnostic. Numbers are checked where the code runs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "codegen/codegen.h"

static jmp_buf oom; // set in main

typedef struct {
    vm_comp *c;
    ir_module *m;
    cg_report *report;
    char *ptx;
} job;

static job *begin(const char *text, const char *arch) {
    job *j = test_calloc(1, sizeof *j);
    j->c = vm_comp_new(NULL, &oom);
    j->c->want_remarks = true;
    const uint32_t file = vm_source_add(j->c, "test.tir", text, strlen(text));
    j->m = ir_parse(j->c, file);
    if (!j->m) fail_msg("%s", vm_diags_text(j->c, false));
    j->m->arch = vm_arch_find(arch);
    assert_non_null(j->m->arch);
    return j;
}

static job *compile(const char *text, const char *arch, const cg_options *o) {
    job *j = begin(text, arch);
    j->ptx = cg_ptx(j->c, j->m, o, &j->report);
    return j;
}

static void end(job *j) {
    vm_comp_free(j->c);
    test_free(j);
}

static bool reported(const job *j, enum vm_code code) {
    for (const vm_diag *d = j->c->diags; d; d = d->next)
        if (d->code == code) return true;
    return false;
}

static const char *const archs[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a"};
enum { NARCHS = sizeof archs / sizeof *archs };

/// Every target and optimisation level: PTX comes out, and ptxas, if there is one, takes it as it is.
static void good(const char *text) {
    for (int a = 0; a < NARCHS; a++) {
        const cg_options o = {.opt = 3 - a % 4, .lines = a % 2 == 0};
        job *j = compile(text, archs[a], &o);
        if (!j->ptx) fail_msg("%s: %s", archs[a], vm_diags_text(j->c, false));
        assert_null(strstr(j->ptx, ", debug"));
        cg_ptxas_result r;
        assert_true(cg_ptxas(j->c, j->ptx, archs[a], true, &r));
        if (r.found) {
            if (!r.ok) fail_msg("%s: %s", archs[a], r.log);
            assert_true(r.registers > 0);
            assert_int_equal(r.spill_bytes, 0);
            assert_false(r.serialized);
            assert_true(r.cubin_size > 0);
        }
        end(j);
    }
}

static const char axpy[] =
    "func @axpy(%n: i32, %k: f32, %x: ptr f32, %y: ptr f32 {written}) warps 4 layouts {\n"
    "  %zero = const {value = 0} : i32\n"
    "  %one = const {value = 1} : i32\n"
    "  %c = const {value = 128} : i32\n"
    "  %b = block_id {dim = 0} : i32\n"
    "  %g = global_view %x, %n : global f32[?]\n"
    "  %h = global_view %y, %n : global f32[?]\n"
    "  %o = mul %b, %c : i32\n"
    "  %s = slice %g, %o {mode = [1]} : global f32[128]\n"
    "  %t = slice %h, %o {mode = [1]} : global f32[128]\n"
    "  %a = load %s : reg f32[128] @ spatial(128)\n"
    "  %d = mul %a, %k : reg f32[128] @ spatial(128)\n"
    "  %e = exp2 %d : reg f32[128] @ spatial(128)\n"
    "  %r = for %zero, %n, %one, %e : reg f32[128] @ spatial(128) {\n"
    "    (%i: i32, %acc: reg f32[128] @ spatial(128)):\n"
    "    %q = div %acc, %k : reg f32[128] @ spatial(128)\n"
    "    yield %q\n"
    "  }\n"
    "  store %t, %r\n"
    "  return\n"
    "}\n";

static const char control[] =
    "func @control(%n: i32, %flag: bool, %x: ptr f16 {written}, %y: ptr u8 {written}) warps 8 smem 64 layouts {\n"
    "  %zero = const {value = 0} : i32\n"
    "  %one = const {value = 1} : i32\n"
    "  %five = const {value = 5} : i32\n"
    "  %bars = alloc_barrier {extent = 2, count = 1, offset = 16} : barrier\n"
    "  %init = const {value = 15360} : f16\n"
    "  %acc0 = full %init : reg f16[512] @ spatial(256).local(2)\n"
    "  %p = poison : reg u8[256] @ spatial(256)\n"
    "  %acc, %k = for %zero, %n, %one, %acc0, %zero : reg f16[512] @ spatial(256).local(2), i32 {\n"
    "    (%i: i32, %a: reg f16[512] @ spatial(256).local(2), %kk: i32):\n"
    "    %stop = gt %i, %five : bool\n"
    "    if %stop {\n"
    "      break %a, %i\n"
    "    } {\n"
    "      yield\n"
    "    }\n"
    "    %two = if %flag : reg f16[512] @ spatial(256).local(2) {\n"
    "      %c = mul %a, %a : reg f16[512] @ spatial(256).local(2)\n"
    "      yield %c\n"
    "    } {\n"
    "      yield %a\n"
    "    }\n"
    "    sync\n"
    "    %k1 = add %kk, %one : i32\n"
    "    yield %two, %k1\n"
    "  }\n"
    "  %t2 = simt %p : reg u8[256] @ spatial(256) {\n"
    "    (%t: i32, %tile: reg u8[256] @ spatial(256)):\n"
    "    %t8 = cast %t : u8\n"
    "    %m = elem_set %tile, %t, %t8 : reg u8[256] @ spatial(256)\n"
    "    %g = elem_get %m, %t : u8\n"
    "    %sh = shuffle_xor %g, %one : u8\n"
    "    %bo = gt %g, %sh : bool\n"
    "    %bal = ballot %bo : u32\n"
    "    %bc = popc %bal : u32\n"
    "    %b8 = cast %bc : u8\n"
    "    %m2 = elem_set %m, %t, %b8 : reg u8[256] @ spatial(256)\n"
    "    yield %m2\n"
    "  }\n"
    "  role {begin = 0, end = 4, set = 1} {\n"
    "    sync\n"
    "    %b0 = barrier_at %bars, %zero : barrier\n"
    "    arrive %b0\n"
    "    yield\n"
    "  }\n"
    "  role {begin = 4, end = 8, set = 1} {\n"
    "    %b1 = barrier_at %bars, %zero : barrier\n"
    "    wait %b1, %zero\n"
    "    yield\n"
    "  }\n"
    "  %ok = le %k, %five : bool\n"
    "  assert %ok {message = \"k stays small\"}\n"
    "  print %k, %t2, %flag {format = \"k = {} 100% tile {} {}\"}\n"
    "  %gy = global_view %y : global u8[256]\n"
    "  store %gy, %t2\n"
    "  %gx = global_view %x : global f16[512]\n"
    "  store %gx, %acc\n"
    "  return\n"
    "}\n";

static void every_target(void **state) {
    (void)state;
    good(axpy);
    good(control);
}

static void text_shows_choices(void **state) {
    (void)state;
    job *j = compile(axpy, "sm_90a", NULL);
    assert_non_null(j->ptx);
    assert_non_null(strstr(j->ptx, ".target sm_90a"));
    assert_non_null(strstr(j->ptx, "ex2.approx.ftz.f32"));
    assert_non_null(strstr(j->ptx, "mul.rn.ftz.f32"));
    assert_non_null(strstr(j->ptx, "div.full.ftz.f32"));
    assert_non_null(strstr(j->ptx, ".reqntid 128"));
    assert_string_equal(j->report->kernel, "axpy");
    assert_int_equal(j->report->threads, 128);
    assert_true(j->report->tile_registers >= 1);
    assert_non_null(strstr(cg_report_text(j->c, j->report), "axpy: 128 threads"));
    end(j);
    const cg_options lines = {.opt = 2, .lines = true};
    j = compile(axpy, "sm_90a", &lines);
    assert_non_null(strstr(j->ptx, ".loc"));
    end(j);
}

/// The same text twice gives the same PTX.
static void deterministic(void **state) {
    (void)state;
    job *a = compile(control, "sm_89", NULL), *b = compile(control, "sm_89", NULL);
    assert_string_equal(a->ptx, b->ptx);
    end(a);
    end(b);
}

static void llvm_text(void **state) {
    (void)state;
    job *j = begin(axpy, "sm_80");
    char *s = cg_llvm(j->c, j->m, NULL, NULL);
    assert_non_null(s);
    assert_non_null(strstr(s, "define ptx_kernel void @axpy"));
    end(j);
}

/// All pairs of types, a tile each way; the interpreter's tests hold the numbers.
static void casts_of_all_pairs(void **state) {
    (void)state;
    for (int from = 0; from < T_count_; from++) {
        vm_comp *c = vm_comp_new(NULL, &oom);
        vm_text t = {.arena = c->arena};
        const char *f = vm_dtype_name((vm_dtype)from);
        vm_put(&t, "func @c(%%x: ptr %s", f);
        for (int to = 0; to < T_count_; to++)
            vm_put(&t, ", %%y%d: ptr %s {written}", to, vm_dtype_name((vm_dtype)to));
        vm_put(&t, ") warps 1 layouts {\n  %%g = global_view %%x : global %s[256]\n", f);
        vm_put(&t, "  %%v = load %%g : reg %s[256] @ spatial(32).local(8)\n", f);
        for (int to = 0; to < T_count_; to++) {
            const char *n = vm_dtype_name((vm_dtype)to);
            vm_put(&t, "  %%r%d = cast %%v : reg %s[256] @ spatial(32).local(8)\n", to, n);
            vm_put(&t, "  %%h%d = global_view %%y%d : global %s[256]\n  store %%h%d, %%r%d\n", to, to, n, to, to);
        }
        vm_put(&t, "  return\n}\n");
        const char *text = vm_text_end(&t);
        job *j = compile(text, from % 2 ? "sm_90a" : "sm_80", NULL);
        if (!j->ptx) fail_msg("%s: %s", f, vm_diags_text(j->c, false));
        end(j);
        vm_comp_free(c);
    }
}

static void refused(const char *body, const char *arch, enum vm_code code) {
    char text[2000];
    snprintf(text, sizeof text,
             "func @bad(%%n: i32, %%x: ptr f32) warps 4 layouts {\n  %%zero = const {value = 0} : i32\n"
             "  %%one = const {value = 1} : i32\n  %%p = poison : reg f32[128] @ spatial(128)\n%s  return\n}\n", body);
    job *j = compile(text, arch, NULL);
    assert_null(j->ptx);
    if (!reported(j, code)) fail_msg("expected %s:\n%s", vm_code_name(code), vm_diags_text(j->c, false));
    end(j);
}

#define SIMT(index)                                                                                \
    "  %r = simt %p : reg f32[128] @ spatial(128) {\n"                                             \
    "    (%t: i32, %a: reg f32[128] @ spatial(128)):\n" index                                      \
    "    %g = elem_get %a, %e : f32\n"                                                             \
    "    %m = elem_set %a, %t, %g : reg f32[128] @ spatial(128)\n"                                 \
    "    yield %m\n  }\n"

static void errors(void **state) {
    (void)state;
    refused(SIMT("    %e = add %t, %one : i32\n"), "sm_90a", D_E0431);
    refused(SIMT("    %e = add %t, %n : i32\n"), "sm_90a", D_E0432);
    refused("  cluster_sync\n", "sm_80", D_E0602);
    refused("  wait_previous\n", "sm_89", D_E0602);
    refused("  %r = cluster_rank : i32\n", "sm_86", D_E0602);
}

int main(void) {
    if (setjmp(oom)) return 99;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_target),       cmocka_unit_test(text_shows_choices),
        cmocka_unit_test(deterministic),      cmocka_unit_test(llvm_text),
        cmocka_unit_test(casts_of_all_pairs), cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
