// SPDX-License-Identifier: Apache-2.0
// The virtual GPU's sanitizer: kernels with one planted defect each, which must be found at the line
// marked HERE (either of the two where two places collide), and their sound siblings, which must give no report.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/vgpu/vgpu.h"

#define HEAD                                                                                       \
    ".version 8.6\n.target sm_90a\n.address_size 64\n"                                             \
    ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"                                      \
    ".reg .b32 %r<20>;\n.reg .b64 %rd<10>;\n.reg .pred %p<8>;\n.reg .f32 %f<80>;\n"                \
    ".shared .align 128 .b8 s[8192];\n.shared .align 8 .b64 bar[4];\n"                             \
    "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\n"                                        \
    "mov.u32 %r1, %tid.x;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, s;\nadd.u32 %r4, %r3, %r2;\n"        \
    "xor.b32 %r5, %r1, 32;\nshl.b32 %r5, %r5, 2;\nadd.u32 %r5, %r3, %r5;\n"                        \
    "xor.b32 %r6, %r1, 1;\nshl.b32 %r6, %r6, 2;\nadd.u32 %r6, %r3, %r6;\n"                         \
    "mov.u32 %r7, bar;\ncvt.u64.u32 %rd3, %r2;\nadd.u64 %rd4, %rd1, %rd3;\nadd.u64 %rd5, %rd2, %rd3;\n" \
    "setp.eq.u32 %p1, %r1, 0;\nsetp.lt.u32 %p2, %r1, 32;\n"
#define TAIL "st.global.u32 [%rd5], %r1;\nret;\n}\n"
#define WAIT_BAR                                                                                   \
    "W: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r7], 0;\n@!%p3 bra W;\n"
#define INIT_BAR                                                                                   \
    "@%p1 mbarrier.init.shared::cta.b64 [%r7], 1;\n@%p1 fence.mbarrier_init.release.cluster;\nbar.sync 0;\n"
#define SHARED_WRITE "st.shared.u32 [%r4], %r1;\n"
#define LOAD_16                                                                                    \
    "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 %rd6, [%r7], 256;\n"                           \
    "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 256, [%r7];\n"

typedef struct {
    const char *name;
    int defect;           // VG_D_…, -1: none may be found
    const char *body;
    bool fails;           // the launch itself ends with an error, too
} row;

static const row rows[] = {
    {"shared memory that nobody wrote", VG_D_uninit, "ld.shared.u32 %r8, [%r4]; // HERE\n", false},
    {"shared memory written before", -1, SHARED_WRITE "ld.shared.u32 %r8, [%r4];\n", false},
    {"part of a vector unwritten", VG_D_uninit,
     SHARED_WRITE "bar.sync 0;\nmov.u32 %r9, s;\nld.shared.v4.u32 {%r8, %r10, %r11, %r12}, [%r9+240];\n"
     "ld.shared.v4.u32 {%r8, %r10, %r11, %r12}, [%r9+256]; // HERE\n", false},
    {"global memory that nobody wrote", VG_D_uninit, "ld.global.u32 %r8, [%rd5]; // HERE\n", false},
    {"global memory that the host wrote", -1, "ld.global.u32 %r8, [%rd4];\n", false},
    {"local memory that the thread did not write", VG_D_uninit,
     ".local .align 8 .b8 l[16];\nmov.u64 %rd7, l;\nst.local.u32 [%rd7], %r1;\nld.local.u32 %r8, [%rd7+4]; // HERE\n", false},
    {"local memory written", -1, ".local .align 8 .b8 l[16];\nmov.u64 %rd7, l;\nst.local.u32 [%rd7+4], %r1;\nld.local.u32 %r8, [%rd7+4];\n", false},
    {"read of another warp's write", VG_D_race, SHARED_WRITE "ld.shared.u32 %r8, [%r5]; // HERE\n", false},
    {"the same with a barrier", -1, SHARED_WRITE "bar.sync 0;\nld.shared.u32 %r8, [%r5];\n", false},
    {"the same with a named barrier", -1, SHARED_WRITE "barrier.cta.sync.aligned 3, 64;\nld.shared.u32 %r8, [%r5];\n", false},
    {"a barrier of one warp only", VG_D_race, SHARED_WRITE "bar.warp.sync -1;\nld.shared.u32 %r8, [%r5]; // HERE\n", false},
    {"read of another lane's write", VG_D_race, SHARED_WRITE "ld.shared.u32 %r8, [%r6]; // HERE\n", false},
    {"the same with bar.warp.sync", -1, SHARED_WRITE "bar.warp.sync -1;\nld.shared.u32 %r8, [%r6];\n", false},
    {"write after another warp's read", VG_D_race,
     SHARED_WRITE "bar.sync 0;\nld.shared.u32 %r8, [%r5];\nst.shared.u32 [%r4], %r8; // HERE\n", false},
    {"two warps write one place", VG_D_race, "@!%p2 bra Z;\nst.shared.u32 [%r4], %r1;\nbra Y;\nZ: st.shared.u32 [%r5], %r1; // HERE\nY:\n", false},
    {"bytes of one word by two warps", -1, "add.u32 %r9, %r3, %r1;\nst.shared.u8 [%r9], %r1;\nbar.sync 0;\nld.shared.u8 %r8, [%r9];\n", false},
    {"atomics", -1,
     "@%p1 st.shared.u32 [%r3], 0;\nbar.sync 0;\natom.shared.add.u32 %r8, [%r3], 1;\nbar.sync 0;\nld.shared.u32 %r9, [%r3];\n", false},
    {"an atomic and a plain read", VG_D_race,
     "@%p1 st.shared.u32 [%r3], 0;\nbar.sync 0;\n@%p2 ld.shared.u32 %r9, [%r3];\n@!%p2 atom.shared.add.u32 %r8, [%r3], 1; // HERE\n", false},
    {"cp.async not waited for", VG_D_in_flight,
     "cp.async.ca.shared.global [%r4], [%rd4], 4;\ncp.async.commit_group;\nld.shared.u32 %r8, [%r4]; // HERE\ncp.async.wait_group 0;\n", false},
    {"cp.async waited for", -1,
     "cp.async.ca.shared.global [%r4], [%rd4], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.u32 %r8, [%r4];\n", false},
    {"cp.async of another warp, no barrier", VG_D_race,
     "cp.async.ca.shared.global [%r4], [%rd4], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.u32 %r8, [%r5]; // HERE\n", false},
    {"cp.async and a barrier", -1,
     "cp.async.ca.shared.global [%r4], [%rd4], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\nld.shared.u32 %r8, [%r5];\n", false},
    {"bulk copy, sound", -1, INIT_BAR LOAD_16 WAIT_BAR "ld.shared.u32 %r8, [%r4];\n", false},
    {"bulk copy not waited for", VG_D_in_flight, INIT_BAR LOAD_16 "ld.shared.u32 %r8, [%r4]; // HERE\n" WAIT_BAR, false},
    {"bulk copy over generic writes, no fence", VG_D_proxy,
     INIT_BAR SHARED_WRITE "bar.sync 0;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 %rd6, [%r7], 256;\n"
     "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 256, [%r7]; // HERE\n" WAIT_BAR, false},
    {"the same with the fence", -1,
     INIT_BAR SHARED_WRITE "fence.proxy.async.shared::cta;\nbar.sync 0;\n" LOAD_16 WAIT_BAR "ld.shared.u32 %r8, [%r4];\n", false},
    {"bulk store of generic writes, no fence", VG_D_proxy,
     SHARED_WRITE "bar.sync 0;\n@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r3], 256; // HERE\n"
     "@%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group 0;\nbar.sync 0;\n", false},
    {"source of a bulk store overwritten", VG_D_leased,
     SHARED_WRITE "fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r3], 256;\n"
     "@%p1 cp.async.bulk.commit_group;\nst.shared.u32 [%r4], %r5; // HERE\n@%p1 cp.async.bulk.wait_group 0;\nbar.sync 0;\n", false},
    {"bulk store waited for", -1,
     SHARED_WRITE "fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r3], 256;\n"
     "@%p1 cp.async.bulk.commit_group;\n@%p1 cp.async.bulk.wait_group.read 0;\nbar.sync 0;\nst.shared.u32 [%r4], %r5;\n"
     "@%p1 cp.async.bulk.wait_group 0;\nbar.sync 0;\n", false},
    {"bulk copy open at the end", VG_D_exit,
     INIT_BAR "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 %rd6, [%r7], 256;\n"
     "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 256, [%r7]; // HERE\n", false},
    {"mbarrier never initialised", VG_D_mbarrier, "mbarrier.arrive.shared::cta.b64 %rd6, [%r7]; // HERE\n", true},
    {"mbarrier used before its initialisation is known", VG_D_init,
     "@%p1 mbarrier.init.shared::cta.b64 [%r7], 2;\n@!%p2 bra Z;\nbra Y;\nZ: setp.eq.u32 %p4, %r1, 32;\n"
     "@%p4 mbarrier.arrive.shared::cta.b64 %rd6, [%r7]; // HERE\nY:\n", true},
    {"mbarrier of a bulk copy not fenced", VG_D_init,
     "@%p1 mbarrier.init.shared::cta.b64 [%r7], 1;\nbar.sync 0;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 %rd6, [%r7], 256;\n"
     "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 256, [%r7]; // HERE\n" WAIT_BAR, false},
    {"barrier in divergent code", VG_D_divergence, "setp.lt.u32 %p4, %r1, 16;\n@%p4 bar.sync 0; // HERE\n@!%p4 bar.sync 0;\n", true},
    {"barrier that nobody else reaches", VG_D_deadlock, "@!%p2 bra Y;\nbarrier.cta.sync.aligned 1, 64; // HERE\nY:\n", true},
    {"out of bounds", VG_D_bounds, "ld.global.u32 %r8, [%rd4+4096]; // HERE\n", true},
    {"misaligned", VG_D_misaligned, "ld.global.u32 %r8, [%rd4+2]; // HERE\n", true},
    {"shared memory out of bounds", VG_D_bounds, "ld.shared.u32 %r8, [%r4+65536]; // HERE\n", true},
};

static uint32_t line_of(const char *text) {
    const char *const here = strstr(text, "HERE");
    uint32_t n = 1;
    for (const char *at = text; here && at < here; at++) n += *at == '\n';
    return here ? n : 0;
}

static void check(const row *r, uint64_t schedule) {
    vg_gpu *g = NULL;
    const vg_options o = {.sm = 90, .threads = 1, .sanitize = true, .schedule = schedule, .max_steps = 1000000};
    assert_int_equal(vg_create(&o, &g), VG_OK);
    uint64_t in = 0, out = 0;
    assert_int_equal(vg_alloc(g, 256, &in), VG_OK);
    assert_int_equal(vg_alloc(g, 256, &out), VG_OK);
    uint8_t *const data = vg_host(g, in, 256, true);
    for (int i = 0; i < 256; i++) data[i] = (uint8_t)(i * 37 + 11);
    char text[6000];
    snprintf(text, sizeof text, "%s%s%s", HEAD, r->body, TAIL);
    ptx_error e = {0};
    vg_module *const m = vg_load(g, text, strlen(text), &e);
    if (!m) fail_msg("%s: %s", r->name, e.text);
    const vg_launch_config c = {.grid = {1, 1, 1}, .block = {64, 1, 1}, .params = (void *[]){&in, &out}};
    const enum vg_status s = vg_launch(g, vg_function(m, "k"), &c);
    const vg_report *reports;
    const size_t n = vg_reports(g, &reports);
    if (s != VG_OK && !r->fails) fail_msg("%s: %s", r->name, vg_error(g));
    if (r->fails && s == VG_OK && !n) fail_msg("%s: nothing was noticed", r->name);
    char line[32];
    snprintf(line, sizeof line, "PTX line %u:", line_of(text));
    bool found = (r->defect < 0 && n == 0) || (r->defect == VG_D_init && s != VG_OK && strstr(vg_error(g), line)); // came too early altogether
    for (size_t i = 0; i < n; i++)
        found |= (int)reports[i].what == r->defect && (reports[i].pos.line == line_of(text) || reports[i].other.line == line_of(text)) && strstr(reports[i].text, "kernel k");
    for (size_t i = 0; !found && i < n; i++) print_message("%s", reports[i].text);
    if (!found) fail_msg("%s (schedule %llu): expected %s at line %u, got %zu reports; %s", r->name, (unsigned long long)schedule,
                         r->defect < 0 ? "nothing" : vg_defect_names[r->defect], line_of(text), n, s ? vg_error(g) : "no error");
    vg_unload(m);
    vg_destroy(g);
}

static void planted(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (uint64_t schedule = 0; schedule < 4; schedule++) check(&rows[i], schedule * 7919);
}

static void leaks(void **state) {
    (void)state;
    vg_gpu *g = NULL;
    assert_int_equal(vg_create(&(vg_options){.sanitize = true}, &g), VG_OK);
    uint64_t a, b;
    assert_int_equal(vg_alloc(g, 1000, &a), VG_OK);
    assert_int_equal(vg_alloc(g, 2000, &b), VG_OK);
    assert_int_equal(vg_free(g, a), VG_OK);
    assert_int_equal(vg_check_leaks(g), 1);
    const vg_report *r;
    assert_int_equal(vg_reports(g, &r), 1);
    assert_int_equal(r->what, VG_D_leak);
    assert_non_null(strstr(r->text, "2000 bytes"));
    vg_reports_clear(g);
    assert_int_equal(vg_reports(g, &r), 0);
    vg_destroy(g);
}

static enum vg_status launch_dependent(vg_gpu *g, vg_module *m, const char *name, uint64_t p, bool dependent) {
    const vg_launch_config c = {.grid = {1, 1, 1}, .block = {32, 1, 1}, .params = (void *[]){&p}, .dependent = dependent};
    return vg_launch(g, vg_function(m, name), &c);
}

/// What the launch before has written may be touched after griddepcontrol.wait only.
static void dependent(void **state) {
    (void)state;
    static const char text[] =
        ".version 8.6\n.target sm_90a\n.address_size 64\n"
        ".visible .entry first(.param .u64 p)\n{\n.reg .b64 %rd<2>;\n.reg .b32 %r<3>;\nld.param.u64 %rd1, [p];\n"
        "mov.u32 %r1, %tid.x;\nst.global.u32 [%rd1], %r1;\nret;\n}\n"
        ".visible .entry late(.param .u64 p)\n{\n.reg .b64 %rd<2>;\n.reg .b32 %r<3>;\nld.param.u64 %rd1, [p];\n"
        "griddepcontrol.wait;\nld.global.u32 %r1, [%rd1];\nst.global.u32 [%rd1+64], %r1;\nret;\n}\n"
        ".visible .entry early(.param .u64 p)\n{\n.reg .b64 %rd<2>;\n.reg .b32 %r<3>;\nld.param.u64 %rd1, [p];\n"
        "ld.global.u32 %r1, [%rd1]; // HERE\ngriddepcontrol.wait;\nst.global.u32 [%rd1+64], %r1;\nret;\n}\n";
    vg_gpu *g = NULL;
    assert_int_equal(vg_create(&(vg_options){.sm = 90, .threads = 1, .sanitize = true}, &g), VG_OK);
    uint64_t p;
    assert_int_equal(vg_alloc(g, 256, &p), VG_OK);
    ptx_error e = {0};
    vg_module *const m = vg_load(g, text, sizeof text - 1, &e);
    if (!m) fail_msg("%s", e.text);
    const vg_report *r;
    assert_int_equal(launch_dependent(g, m, "first", p, false), VG_OK);
    assert_int_equal(launch_dependent(g, m, "late", p, true), VG_OK);
    assert_int_equal(vg_reports(g, &r), 0);
    assert_int_equal(launch_dependent(g, m, "first", p, false), VG_OK);
    assert_int_equal(launch_dependent(g, m, "early", p, true), VG_OK);
    assert_int_equal(vg_reports(g, &r), 1);
    assert_int_equal(r->what, VG_D_dependent);
    assert_int_equal(r->pos.line, line_of(text));
    vg_unload(m);
    vg_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(planted), cmocka_unit_test(leaks), cmocka_unit_test(dependent)};
    return cmocka_run_group_tests_name("vgpu_san", tests, NULL, NULL);
}
