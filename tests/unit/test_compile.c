// SPDX-License-Identifier: Apache-2.0
// The compile path as tilusc uses it: every stage's text, options that contradict each other, which
// kernels get built, IR text fed back in, and memory running out anywhere on the way to PTX.
#include "tests/unit/runtime_util.h"

static const char text[] =
    "kernel add[B: int = 1024](n: i32, x: global f32[n], y: global f32[n], z: global f32[n])\n"
    "    launch { grid = cdiv(n, B); warps = 4; }\n"
    "{\n"
    "    let i = block.x * B;\n"
    "    store(z[i +: B], load(x[i +: B]) + load(y[i +: B]));\n"
    "}\n"
    "kernel half[N: int, M: int](a: global f32[N, M])\n"
    "    launch { grid = 1; warps = 1; }\n"
    "{ store(a[0 +: N, 0 +: M], load(a[0 +: N, 0 +: M]) * 0.5); }\n"
    "kernel tuned[T: type = f32, N: int, W: int](a: global T[N * 32])\n"
    "    tune { N in [65536, 4, 8]; W in [1, 2]; when N != 8 || W == 1; }\n"
    "    launch { grid = 1; warps = W; }\n"
    "{ let s: shared T[N * 32]; copy(s, a[0 +: N * 32]); store(a[0 +: N * 32], load(s) * 2.0); }\n"
    "kernel hopper(a: global f32[32])\n"
    "    where target.sm >= 90;\n"
    "    launch { grid = 1; warps = 1; }\n"
    "{ store(a[0 +: 32], load(a[0 +: 32])); }\n";

static rt_options options(enum rt_stage stage) {
    return (rt_options){.name = "t.tvm", .text = text, .size = sizeof text - 1, .stage = stage, .arch = vm_arch_find("sm_90a"), .cg = {.opt = 3}};
}

static void expect(const rt_options *o, enum rt_result want, const char *part) {
    rt_compilation *x = rt_compilation_new(NULL, o);
    assert_non_null(x);
    const enum rt_result r = rt_compile(x);
    if (r != want) fail_msg("result %d, not %d: %s%s", r, want, x->message, rt_diagnostics(x, false, false));
    const char *said = r == RT_OK ? x->text : r == RT_ERRORS ? rt_diagnostics(x, false, false) : x->message;
    if (!strstr(said, part)) fail_msg("no '%s' in: %s", part, said);
    rt_compilation_free(x);
}

static void stages(void **s) {
    (void)s;
    const struct {
        const char *name, *part;
    } rows[] = {{"tokens", "kernel"}, {"ast", "kernel"}, {"check", ""}, {"ir", "func @add("}, {"layout", "add"},
                {"llvm", "define"}, {"ptx", ".entry add"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum rt_stage stage;
        assert_true(rt_stage_find(rows[i].name, &stage));
        const rt_options o = options(stage);
        expect(&o, RT_OK, rows[i].part);
    }
    enum rt_stage none;
    assert_false(rt_stage_find("tree", &none));
    rt_options o = options(RT_STAGE_IR);
    o.kernel = "add";
    o.after = "lower";
    expect(&o, RT_OK, "func @add(");
#define PASS(pass, doc)                                                                            \
    o.after = #pass;                                                                               \
    expect(&o, RT_OK, "func @add(");
#include "ir/pass.def"
#undef PASS
    o.arch = NULL; // the VM
    expect(&o, RT_OK, "func @add(");
}

static void bad_options(void **s) {
    (void)s;
    rt_options o = options(RT_STAGE_IR);
    o.after = "relayot";
    expect(&o, RT_BAD_OPTION, "did you mean 'relayout'");
    o = options(RT_STAGE_PTX);
    o.after = "dce";
    expect(&o, RT_BAD_OPTION, "ir and layout");
    o = options(RT_STAGE_PTX);
    o.arch = NULL;
    expect(&o, RT_BAD_OPTION, "architecture");
    o = options(RT_STAGE_PTX);
    o.define = (const char *const[]){"B"};
    o.ndefine = 1;
    expect(&o, RT_BAD_OPTION, "NAME=VALUE");
    o.define = (const char *const[]){"Z=1"};
    expect(&o, RT_ERRORS, "'Z'");
    o = options(RT_STAGE_PTX);
    o.kernel = "hlf";
    expect(&o, RT_NO_KERNEL, "did you mean 'half'");
    o = options(RT_STAGE_PTX);
    o.entry = "x";
    expect(&o, RT_BAD_OPTION, "one kernel");
    o.kernel = "add";
    expect(&o, RT_OK, ".entry x");
    o = options(RT_STAGE_PTX);
    o.text = NULL;
    o.name = "/nowhere/k.tvm";
    expect(&o, RT_NO_FILE, "/nowhere/k.tvm");
}

static void what_gets_built(void **s) {
    (void)s;
    rt_options o = options(RT_STAGE_PTX);
    o.arch = vm_arch_find("sm_80");
    o.time = true;
    rt_compilation *x = rt_compilation_new(NULL, &o);
    const enum rt_result r = rt_compile(x);
    if (r != RT_OK) fail_msg("%s%s", x->message, rt_diagnostics(x, false, false));
    assert_int_equal(x->kernels.n, 4);
    const rt_kernel *k = x->kernels.at;
    assert_string_equal(k[0].entry, "add");
    assert_non_null(k[0].func);
    assert_string_equal(k[1].skipped, "no value for N, M");
    assert_non_null(k[2].func);
    assert_string_equal(k[2].entry, "tuned__N_4_W_1"); // the first points need too much shared memory
    assert_null(k[3].func);
    assert_non_null(strstr(k[3].skipped, "target.sm >= 90"));
    assert_int_equal(x->ir->funcs.n, 2);
    assert_true(x->times.n > 5);
    rt_compilation_free(x);

    o = options(RT_STAGE_IR);
    o.kernel = "half";
    expect(&o, RT_ERRORS, "E0341");
    o.define = (const char *const[]){"N=4", "M=2 * 16"};
    o.ndefine = 2;
    expect(&o, RT_OK, "func @half__N_4_M_32(");
    o = options(RT_STAGE_IR);
    o.kernel = "tuned";
    o.points = true;
    o.define = (const char *const[]){"N=4"};
    o.ndefine = 1;
    expect(&o, RT_OK, "func @tuned__N_4_W_2(");
    const char skipped[] = "kernel f[N: int](a: global f32[N]) launch { grid = 1; warps = 1; } { }";
    o = options(RT_STAGE_PTX);
    o.text = skipped;
    o.size = sizeof skipped - 1;
    expect(&o, RT_OK, ".version");
}

static void errors_are_rendered(void **s) {
    (void)s;
    const char bad[] = "kernel f(a: global f32[8]) launch { grid = 1; warps = 1; } { let q = lod(a[0 +: 8]); }";
    rt_options o = options(RT_STAGE_PTX);
    o.text = bad;
    o.size = sizeof bad - 1;
    rt_compilation *x = rt_compilation_new(NULL, &o);
    assert_int_equal(rt_compile(x), RT_ERRORS);
    assert_non_null(strstr(rt_diagnostics(x, false, false), "E0301"));
    assert_int_equal(rt_diagnostics(x, true, false)[0], '{');
    assert_non_null(strstr(rt_diagnostics(x, false, true), "\x1b["));
    assert_null(x->ptx);
    rt_compilation_free(x);
}

/// The text of the IR, fed back in, gives the same PTX.
static void ir_round_trip(void **s) {
    (void)s;
    rt_options o = options(RT_STAGE_PTX);
    o.kernel = "add";
    rt_compilation *x = rt_compilation_new(NULL, &o);
    assert_int_equal(rt_compile(x), RT_OK);
    o.stage = RT_STAGE_IR;
    o.after = "relayout";
    rt_compilation *y = rt_compilation_new(NULL, &o);
    assert_int_equal(rt_compile(y), RT_OK);
    rt_options p = {.name = "t.tir", .text = y->text, .size = strlen(y->text), .stage = RT_STAGE_PTX, .arch = o.arch, .cg = o.cg};
    rt_compilation *z = rt_compilation_new(NULL, &p);
    if (rt_compile(z) != RT_OK) fail_msg("%s%s", z->message, rt_diagnostics(z, false, false));
    assert_string_equal(x->ptx, z->ptx);
    rt_compilation_free(x);
    rt_compilation_free(y);
    rt_compilation_free(z);
    p.text = "func @f() warps";
    p.size = strlen(p.text);
    expect(&p, RT_ERRORS, "E0801");
}

static void embedded(void **s) {
    (void)s;
    assert_true(rt_embedded_count() > 3);
    size_t size;
    for (uint32_t i = 0; i < rt_embedded_count(); i++) {
        const char *t = rt_embedded(rt_embedded_name(i), &size);
        assert_non_null(t);
        assert_int_equal(strlen(t), size);
        assert_int_equal(t[size + 1], 0);
    }
    assert_null(rt_embedded("std/none.tvm", &size));
    assert_null(rt_embedded_name(rt_embedded_count()));
}

static void machine_code(void **s) {
    (void)s;
    rt_options o = options(RT_STAGE_CUBIN);
    o.kernel = "add";
    rt_compilation *x = rt_compilation_new(NULL, &o);
    const enum rt_result r = rt_compile(x);
    if (r == RT_OK) assert_memory_equal(x->cubin, "\x7f" "ELF", 4);
    else {
        assert_int_equal(r, RT_NO_TOOL);
        assert_false(x->ptxas.found);
        assert_non_null(strstr(x->message, "ptxas"));
    }
    assert_non_null(x->ptx);
    rt_compilation_free(x);
}

static void no_memory(void **s) {
    (void)s;
    bool done = false;
    for (long left = 0; !done; left++) {
        counter k = {.left = left};
        const vm_allocator a = {count_alloc, count_release, &k};
        const rt_options o = options(RT_STAGE_PTX);
        rt_compilation *x = rt_compilation_new(&a, &o);
        if (x) {
            const enum rt_result r = rt_compile(x);
            if (r != RT_OK) assert_int_equal(r, RT_NO_MEMORY);
            done = r == RT_OK;
            rt_compilation_free(x);
        }
        assert_int_equal(k.live, 0);
        assert_true(left < 10000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages),    cmocka_unit_test(bad_options),         cmocka_unit_test(what_gets_built),
        cmocka_unit_test(embedded),  cmocka_unit_test(errors_are_rendered), cmocka_unit_test(ir_round_trip),
        cmocka_unit_test(no_memory), cmocka_unit_test(machine_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
