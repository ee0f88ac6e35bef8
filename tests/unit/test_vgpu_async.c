// SPDX-License-Identifier: Apache-2.0
// cp.async and mbarriers on the virtual GPU: data, groups, phases, rings between warps under many
// schedules, and what misuse and deadlocks are told.
#include "tests/unit/vgpu_run.h"

#define KERNEL(body)                                                                               \
    PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out)\n{\n"                             \
             ".reg .b32 %r<40>;\n.reg .b64 %rd<40>;\n.reg .pred %p<10>;\n"                         \
             ".shared .align 1024 .b8 s[4096];\n.shared .align 8 .b64 bar[8];\n"                   \
             "ld.param.u64 %rd1, [in];\nld.param.u64 %rd2, [out];\nmov.u32 %r1, %tid.x;\nmov.u32 " \
             "%r3, s;\n"                                                                           \
             "mov.u32 %r2, bar;\nsetp.eq.u32 %p1, %r1, 0;\n" body "ret;\n}\n"

/// Each thread's 16 bytes of s: a pattern before, to out after.
#define PATTERN                                                                                    \
    "shl.b32 %r4, %r1, 4;\nadd.u32 %r5, %r3, %r4;\nmov.u32 %r6, 0x5a5a5a5a;\n"                     \
    "st.shared.v4.u32 [%r5], {%r6, %r6, %r6, %r6};\nbar.sync 0;\n"
#define RESULT                                                                                     \
    "bar.sync 0;\nld.shared.v4.u32 {%r30, %r31, %r32, %r33}, [%r5];\ncvt.u64.u32 %rd30, %r4;\n"    \
    "add.u64 %rd31, %rd2, %rd30;\nst.global.v4.u32 [%rd31], {%r30, %r31, %r32, %r33};\n"

// ---- cp.async -----------------------------------------------------------------------------------

typedef struct {
    const char *text; // copy from [%rd4] to [%r7]; %r8 is tid mod (bytes + 1)
    unsigned bytes;
    int kind; // 0 plain, 1 source size, 2 ignored by odd threads
} copy_form;

static const copy_form forms[] = {
    {"cp.async.ca.shared.global [%r7], [%rd4], 4;\n", 4, 0},
    {"cp.async.ca.shared.global [%r7], [%rd4], 8;\n", 8, 0},
    {"cp.async.ca.shared::cta.global.L2::128B [%r7], [%rd4], 16;\n", 16, 0},
    {"cp.async.cg.shared.global [%r7], [%rd4], 16;\n", 16, 0},
    {"cp.async.cg.shared.global.L2::cache_hint [%r7], [%rd4], 16, %rd9;\n", 16, 0},
    {"cp.async.ca.shared.global [%r7], [%rd4], 4, %r8;\n", 4, 1},
    {"cp.async.ca.shared.global [%r7], [%rd4], 8, %r8;\n", 8, 1},
    {"cp.async.cg.shared.global [%r7], [%rd4], 16, %r8;\n", 16, 1},
    {"cp.async.cg.shared.global.L2::cache_hint [%r7], [%rd4], 16, %r8, %rd9;\n", 16, 1},
    {"cp.async.cg.shared.global [%r7], [%rd4], 16, %p2;\n", 16, 2},
    {"cp.async.ca.shared.global.L2::256B [%r7], [%rd4], 4, %p2;\n", 4, 2},
    {"@%p3 cp.async.cg.shared.global [%r7], [%rd4], 16;\n", 16, 3},
};

static void copies(void **state) {
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (int s = 0; s < 6; s++) {
            const unsigned n = forms[f].bytes;
            char text[4096];
            vt_text(
                text, sizeof text,
                KERNEL(
                    PATTERN
                    "mul.lo.u32 %r6, %r1, 7;\nand.b32 %r6, %r6, 63;\nmul.wide.u32 %rd3, %r6, $0;\n"
                    "add.u64 %rd4, %rd1, %rd3;\nmul.lo.u32 %r7, %r1, $0;\nadd.u32 %r7, %r7, %r3;\n"
                    "rem.u32 %r8, %r1, $1;\nand.b32 %r9, %r1, 1;\nsetp.eq.u32 %p2, %r9, 1;\n"
                    "setp.lt.u32 %p3, %r1, 40;\nmov.u64 %rd9, 0x12f0000000000000;\n$2"
                    "cp.async.wait_all;\n" RESULT),
                (const char *[]){vt_number(n), vt_number(n + 1), forms[f].text});
            uint8_t in[1024], out[1024], want[1024];
            vt_fill(in, sizeof in);
            vt_fill(out, sizeof out);
            memset(want, 0x5a, sizeof want);
            for (unsigned t = 0; t < 64; t++) {
                unsigned k = forms[f].kind == 1 ? t % (n + 1) : forms[f].kind == 2 && t % 2 ? 0 : n;
                if (forms[f].kind == 3 && t >= 40) continue;
                memset(want + t * n, 0, n);
                memcpy(want + t * n, in + t * 7 % 64 * n, k);
            }
            vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
            vt_good(vt_run(text,
                           &(vt_config){.block = 64, .schedule = (uint64_t)s, .sanitize = s == 5},
                           arg, 2));
            assert_memory_equal(out, want, sizeof out);
            assert_int_equal(vt_reports, 0);
        }
}

/// Two groups; after waiting for the first, the second may or may not be there.
static void groups(void **state) {
    (void)state;
    int early = 0, late = 0;
    for (uint64_t s = 0; s < 50; s++) {
        uint8_t in[1024], out[1024];
        vt_fill(in, sizeof in);
        vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
        vt_good(vt_run(KERNEL(PATTERN "cvt.u64.u32 %rd3, %r4;\nadd.u64 %rd4, %rd1, %rd3;\n"
                                      "cp.async.ca.shared.global [%r5], [%rd4], "
                                      "4;\ncp.async.ca.shared.global [%r5+4], [%rd4+4], 4;\n"
                                      "cp.async.commit_group;\ncp.async.ca.shared.global [%r5+8], "
                                      "[%rd4+8], 8;\ncp.async.commit_group;\n"
                                      "cp.async.wait_group 1;\n" RESULT "cp.async.wait_group 0;\n"),
                       &(vt_config){.block = 64, .schedule = s}, arg, 2));
        for (int t = 0; t < 64; t++) {
            assert_memory_equal(out + t * 16, in + t * 16, 8);
            bool there = memcmp(out + t * 16 + 8, in + t * 16 + 8, 8) == 0;
            static const uint8_t old[8] = {0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a};
            if (!there) assert_memory_equal(out + t * 16 + 8, old, 8);
            if (s == 0) assert_false(there);
            early += there;
            late += !there;
        }
    }
    assert_true(early > 0 && late > 0);
}

/// Groups are counted by each lane for itself.
static void groups_of_lanes(void **state) {
    (void)state;
    uint8_t in[512], out[512];
    vt_fill(in, sizeof in);
    vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
    vt_good(vt_run(
        KERNEL(PATTERN
               "cvt.u64.u32 %rd3, %r4;\nadd.u64 %rd4, %rd1, %rd3;\nsetp.lt.u32 %p2, %r1, 16;\n"
               "cp.async.ca.shared.global [%r5], [%rd4], 8;\n@%p2 cp.async.commit_group;\n"
               "cp.async.ca.shared.global [%r5+8], [%rd4+8], 8;\ncp.async.commit_group;\n"
               "cp.async.wait_group 1;\n" RESULT),
        &(vt_config){.block = 32}, arg, 2));
    for (int t = 0; t < 32; t++) {
        const bool first = memcmp(out + t * 16, in + t * 16, 8) == 0,
                   second = memcmp(out + t * 16 + 8, in + t * 16 + 8, 8) == 0;
        assert_int_equal(first, t < 16); // the others have one group, which may stay open
        assert_false(second);
    }
}

// ---- mbarriers ----------------------------------------------------------------------------------

#define PUT(n, p) "selp.u32 %r20, 1, 0, " p ";\nst.global.u32 [%rd2+" #n "], %r20;\n"
#define TEST(n, token) "mbarrier.test_wait.shared.b64 %p3, [%r2], " token ";\n" PUT(n, "%p3")
#define PARITY(n, token)                                                                           \
    "mbarrier.test_wait.parity.acquire.cta.shared::cta.b64 %p3, [%r2], " token ";\n" PUT(n, "%p3")

static void phases(void **state) {
    (void)state;
    uint32_t in[4] = {0}, out[32];
    vt_fill(out, sizeof out);
    vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
    vt_good(vt_run(
        KERNEL("mbarrier.init.shared::cta.b64 [%r2], 3;\n"
               "mbarrier.arrive.shared.b64 %rd3, [%r2];\n"
               "mbarrier.pending_count.b64 %r4, %rd3;\nst.global.u32 [%rd2], %r4;\n" TEST(4, "%rd3")
                   PARITY(8, "0") PARITY(
                       12,
                       "1") "mbarrier.arrive.noComplete.shared.b64 %rd4, [%r2], 1;\n"
                            "mbarrier.pending_count.b64 %r4, %rd4;\nst.global.u32 [%rd2+16], %r4;\n"
                            "mbarrier.arrive.release.cta.shared::cta.b64 %rd4, [%r2];\n" TEST(
                                20, "%rd3") PARITY(24, "0") PARITY(28, "1")
               // phase 1: one drops out
               "mbarrier.arrive_drop.shared.b64 %rd3, [%r2];\nmbarrier.arrive.shared.b64 _, [%r2], "
               "2;\n" TEST(32, "%rd3") PARITY(36, "1")
               // phase 2: two arrivals, 48 bytes
               "mbarrier.arrive.expect_tx.shared.b64 %rd3, [%r2], 48;\n"
               "mbarrier.arrive.shared.b64 _, [%r2];\n" TEST(40, "%rd3") "mbarrier.complete_tx."
                                                                         "shared.b64 [%r2], "
                                                                         "32;\n" TEST(
                                                                             44,
                                                                             "%rd3") "mbarrier."
                                                                                     "expect_tx."
                                                                                     "relaxed.cta."
                                                                                     "shared::cta."
                                                                                     "b64 [%r2], "
                                                                                     "16;"
                                                                                     "\nmbarrier."
                                                                                     "complete_tx."
                                                                                     "shared.b64 "
                                                                                     "[%r2], "
                                                                                     "32;\n" TEST(48,
                                                                                                  "%rd3")
               // generic addresses
               "cvt.u64.u32 %rd5, %r2;\ncvta.shared.u64 %rd6, %rd5;\nmbarrier.arrive.b64 %rd7, "
               "[%rd6], 2;\n"
               "mbarrier.test_wait.b64 %p3, [%rd6], %rd7;\n" PUT(52, "%p3") "mbarrier.try_wait."
                                                                            "shared.b64 %p3, "
                                                                            "[%r2], %rd7, "
                                                                            "20;\n" PUT(56, "%p3") "mbarrier.try_wait.parity.relaxed.cta.shared::cta.b64 %p3, [%r2], 0;\n" PUT(
                                                                                60,
                                                                                "%p3") "mbarrier."
                                                                                       "inval."
                                                                                       "shared.b64 "
                                                                                       "[%r2];"
                                                                                       "\nmbarrier."
                                                                                       "init."
                                                                                       "shared.b64 "
                                                                                       "[%r2], "
                                                                                       "1;"
                                                                                       "\n" PARITY(64,
                                                                                                   "1")),
        &(vt_config){.block = 1}, arg, 2));
    static const uint32_t want[] = {3, 0, 0, 1, 2, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (out[i] != want[i]) fail_msg("result %zu is %u, not %u", i, out[i], want[i]);
}

/// Warp 0 fills a ring of three stages, warps 1 and 2 empty it; 12 chunks of 256 bytes.
#define RING(fill)                                                                                 \
    KERNEL("@!%p1 bra ready;\n"                                                                    \
           "mbarrier.init.shared.b64 [%r2], $0;\nmbarrier.init.shared.b64 [%r2+8], $0;\n"          \
           "mbarrier.init.shared.b64 [%r2+16], $0;\nmbarrier.init.shared.b64 [%r2+24], 64;\n"      \
           "mbarrier.init.shared.b64 [%r2+32], 64;\nmbarrier.init.shared.b64 [%r2+40], 64;\n"      \
           "fence.mbarrier_init.release.cluster;\nready:\nbar.sync 0;\n"                           \
           "mov.u32 %r4, 0;\nmov.u32 %r5, 0;\nmov.u32 %r6, 0;\n" /* chunk, stage, parity */        \
           "setp.lt.u32 %p2, %r1, 32;\n@!%p2 bra consumer;\n"                                      \
           "producer:\nshl.b32 %r7, %r5, 3;\nadd.u32 %r7, %r7, %r2;\nxor.b32 %r8, %r6, 1;\n"       \
           "empty: mbarrier.try_wait.parity.shared.b64 %p3, [%r7+24], %r8;\n@%p3 bra got;\nbra "   \
           "empty;\ngot:\n"                                                                        \
           "shl.b32 %r9, %r5, 8;\nadd.u32 %r9, %r9, %r3;\nmul.wide.u32 %rd3, %r4, 256;\nadd.u64 "  \
           "%rd3, %rd3, %rd1;\n" fill                                                              \
           "add.u32 %r4, %r4, 1;\nadd.u32 %r5, %r5, 1;\nsetp.eq.u32 %p4, %r5, 3;\n"                \
           "@%p4 mov.u32 %r5, 0;\n@%p4 xor.b32 %r6, %r6, 1;\nsetp.lt.u32 %p4, %r4, 12;\n@%p4 bra " \
           "producer;\nret;\n"                                                                     \
           "consumer:\nshl.b32 %r7, %r5, 3;\nadd.u32 %r7, %r7, %r2;\n"                             \
           "full: mbarrier.try_wait.parity.shared.b64 %p3, [%r7], %r6;\n@!%p3 bra full;\n"         \
           "shl.b32 %r9, %r5, 8;\nadd.u32 %r9, %r9, %r3;\nsub.u32 %r10, %r1, 32;\nshl.b32 %r10, "  \
           "%r10, 2;\n"                                                                            \
           "add.u32 %r9, %r9, %r10;\nld.shared.u32 %r11, [%r9];\n"                                 \
           "mbarrier.arrive.shared.b64 _, [%r7+24];\n"                                             \
           "mul.wide.u32 %rd3, %r4, 256;\nadd.u64 %rd3, %rd3, %rd2;\ncvt.u64.u32 %rd4, "           \
           "%r10;\nadd.u64 %rd3, %rd3, %rd4;\n"                                                    \
           "st.global.u32 [%rd3], %r11;\n"                                                         \
           "add.u32 %r4, %r4, 1;\nadd.u32 %r5, %r5, 1;\nsetp.eq.u32 %p4, %r5, 3;\n"                \
           "@%p4 mov.u32 %r5, 0;\n@%p4 xor.b32 %r6, %r6, 1;\nsetp.lt.u32 %p4, %r4, 12;\n@%p4 bra " \
           "consumer;\n")

static void ring(const char *text, const char *full) {
    char ptx[8192];
    vt_text(ptx, sizeof ptx, text, &full);
    for (uint64_t s = 0; s < 50; s++) {
        uint8_t in[12 * 256], out[12 * 256];
        vt_fill(in, sizeof in);
        vt_fill(out, sizeof out);
        vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
        vt_good(
            vt_run(ptx, &(vt_config){.block = 96, .schedule = s, .sanitize = s % 10 == 0}, arg, 2));
        assert_memory_equal(out, in, sizeof in);
        if (vt_reports) fail_msg("schedule %u: %s", (unsigned)s, vt_report);
    }
}

static void bulk_ring(void **state) {
    (void)state;
    ring(RING("@!%p1 bra next;\nmbarrier.arrive.expect_tx.shared.b64 _, [%r7], 256;\n"
              "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r9], [%rd3], "
              "256, [%r7];\nnext:\n"),
         "1");
}

static void copy_ring(void **state) {
    (void)state;
#define LANE                                                                                       \
    "shl.b32 %r12, %r1, 3;\nadd.u32 %r9, %r9, %r12;\ncvt.u64.u32 %rd4, %r12;\nadd.u64 %rd3, "      \
    "%rd3, %rd4;\n"                                                                                \
    "cp.async.ca.shared.global [%r9], [%rd3], 8;\n"
    ring(RING(LANE "cp.async.mbarrier.arrive.noinc.shared.b64 [%r7];\n"), "32");
    // without noinc the phase waits for one arrival more from each lane
    ring(RING(LANE
              "cp.async.mbarrier.arrive.shared.b64 [%r7];\nmbarrier.arrive.shared.b64 _, [%r7];\n"),
         "32");
}

// ---- errors -------------------------------------------------------------------------------------

typedef struct {
    const char *says, *body;
    unsigned block;
} mistake;

#define INIT(n) "@%p1 mbarrier.init.shared.b64 [%r2], " #n ";\nbar.sync 0;\n"
#define SPIN(parity)                                                                               \
    "spin: mbarrier.try_wait.parity.shared.b64 %p3, [%r2], " parity ";\n@!%p3 bra spin;\n"

static const mistake mistakes[] = {
    {"not initialised", "mbarrier.arrive.shared.b64 _, [%r2];\n", 1},
    {"not initialised",
     INIT(1) "mbarrier.inval.shared.b64 [%r2];\nmbarrier.arrive.shared.b64 _, [%r2];\n", 1},
    {"count must be 1 to 1048575", "mbarrier.init.shared.b64 [%r2], 0;\n", 1},
    {"4 arrivals on a phase that misses 3 of 3",
     INIT(3) "mbarrier.arrive.shared.b64 _, [%r2], 4;\n", 1},
    {".noComplete completes", INIT(1) "mbarrier.arrive.noComplete.shared.b64 %rd3, [%r2], 1;\n", 1},
    {"transaction count overflows",
     INIT(1) "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r2], 1048576;\n", 1},
    {"transaction count underflows", INIT(1) "mbarrier.complete_tx.shared.b64 [%r2], 1048576;\n",
     1},
    {"more bytes arrived",
     INIT(1) "mbarrier.complete_tx.shared.b64 [%r2], 64;\nmbarrier.arrive.shared.b64 _, [%r2];\n",
     1},
    {"overwritten", INIT(1) "st.shared.u64 [%r2], %rd1;\nmbarrier.arrive.shared.b64 _, [%r2];\n",
     1},
    {"parity is 0 or 1", INIT(1) "mbarrier.test_wait.parity.shared.b64 %p3, [%r2], 2;\n", 1},
    {"two phases behind",
     INIT(1) "mbarrier.arrive.shared.b64 %rd3, [%r2];\nmbarrier.arrive.shared.b64 _, "
             "[%r2];\nmbarrier.test_wait.shared.b64 %p3, [%r2], %rd3;\n",
     1},
    {"two phases behind", // the waiter sleeps through a phase
     INIT(1) "setp.ge.u32 %p2, %r1, 32;\n@%p2 bra waiter;\nnanosleep.u32 100;\nnanosleep.u32 "
             "100;\nmbarrier.arrive.shared.b64 _, [%r2];\n"
             "mbarrier.arrive.shared.b64 _, [%r2];\nret;\nwaiter: "
             "mbarrier.try_wait.parity.shared.b64 %p3, [%r2], 0;\n@!%p3 bra waiter;\n",
     33},
    {"mbarrier at 0x1000, phase 0: 2 of 3 arrivals missing",
     INIT(3) "mbarrier.arrive.shared.b64 _, [%r2];\n" SPIN("0"), 1},
    {"phase 1: 1 of 1 arrival and 64 bytes missing",
     INIT(1) "mbarrier.arrive.shared.b64 _, [%r2];\nmbarrier.expect_tx.relaxed.cta.shared.b64 "
             "[%r2], 64;\n" SPIN("1"),
     1},
    {"phase 0: 32 bytes missing",
     INIT(1) "mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 288;\n"
             "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], "
             "256, [%r2];\n" SPIN("0"),
     1},
    {"reads 5 bytes to write 4",
     "mov.u32 %r4, 5;\ncp.async.ca.shared.global [%r3], [%rd1], 4, %r4;\n", 1},
    {"no multiple of 16", "cp.async.cg.shared.global [%r3], [%rd1+8], 16;\n", 1},
    {"no multiple of 16", "cp.async.cg.shared.global [%r3+4], [%rd1], 16;\n", 1},
    {"after the end", "cp.async.cg.shared.global [%r3], [%rd1+65536], 16;\n", 1},
    {"bytes of shared memory", "cp.async.cg.shared.global [%r3+262144], [%rd1], 16;\n", 1},
    {"multiple of 16",
     INIT(1) "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 24, "
             "[%r2];\n",
     1},
    {"multiple of 16", "cp.async.bulk.prefetch.L2.global [%rd1], 24;\n", 1},
    {"no multiple of 16",
     INIT(1) "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3+8], [%rd1], "
             "32, [%r2];\n",
     1},
    // refused when loaded
    {"cp.async.cg copies 16 bytes", "cp.async.cg.shared.global [%r3], [%rd1], 8;\n", 1},
    {"copies 4, 8 or 16", "cp.async.ca.shared.global [%r3], [%rd1], 2;\n", 1},
    {"count of groups", "cp.async.wait_group %r1;\n", 1},
    {"mbarrier.foo", "mbarrier.foo.shared.b64 [%r2];\n", 1},
    {"lacks its count", "mbarrier.arrive.expect_tx.shared.b64 _, [%r2];\n", 1},
    {"PTX does not have",
     "cp.async.bulk.shared::cta.shared::cta.mbarrier::complete_tx::bytes [%r3], [%r3], 16, "
     "[%r2];\n",
     1},
    {"needs its scope", "fence.acq_rel;\n", 1},
    {"multiple of 8", "setmaxnreg.inc.sync.aligned.u32 41;\n", 32},
};

static void errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        for (int sanitize = 0; sanitize < 2; sanitize++) {
            char text[8192];
            vt_text(text, sizeof text, KERNEL("$0"), &mistakes[i].body);
            uint8_t in[1024], out[1024];
            vt_fill(in, sizeof in);
            vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
            enum vg_status s = vt_run(
                text, &(vt_config){.block = mistakes[i].block, .sanitize = sanitize}, arg, 2);
            if (s == VG_OK || !strstr(vt_message, mistakes[i].says))
                fail_msg("row %zu, status %d: '%s' does not say '%s'", i, (int)s, vt_message,
                         mistakes[i].says);
        }
}

/// A consumer takes registers that a producer gives up; nobody gives, and it is a deadlock.
static void register_budget(void **state) {
    (void)state;
    uint32_t in[4] = {0}, out[4] = {0};
    vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
#define BUDGET(dec)                                                                                \
    KERNEL("shr.u32 %r4, %r1, 7;\nsetp.eq.u32 %p2, %r4, 0;\n@%p2 bra "                             \
           "give;\nsetmaxnreg.inc.sync.aligned.u32 240;\nret;\n"                                   \
           "give:\n" dec)
    for (uint64_t s = 0; s < 10; s++)
        vt_good(vt_run(BUDGET("setmaxnreg.dec.sync.aligned.u32 24;\n"),
                       &(vt_config){.block = 384, .schedule = s}, arg, 2));
    vt_says(vt_run(BUDGET(""), &(vt_config){.block = 384}, arg, 2), "registers that no other warp");
}

/// Two blocks of a cluster: each tells the other, after writing into its shared memory.
static void remote_arrivals(void **state) {
    (void)state;
    for (uint64_t s = 0; s < 20; s++) {
        uint32_t in[64], out[64];
        vt_fill(in, sizeof in);
        vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
        vt_good(vt_run(
            KERNEL("@%p1 mbarrier.init.shared::cta.b64 [%r2], "
                   "33;\nfence.mbarrier_init.release.cluster;\n"
                   "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n"
                   "mov.u32 %r10, %cluster_ctarank;\nxor.b32 %r11, %r10, 1;\nshl.b32 %r12, %r1, "
                   "2;\nshl.b32 %r13, %r10, 7;\n"
                   "add.u32 %r13, %r13, %r12;\ncvt.u64.u32 %rd3, %r13;\nadd.u64 %rd4, %rd1, "
                   "%rd3;\nld.global.u32 %r14, [%rd4];\n"
                   "add.u32 %r15, %r3, %r12;\nmapa.shared::cluster.u32 %r16, %r15, "
                   "%r11;\nst.shared::cluster.u32 [%r16], %r14;\n"
                   "mapa.shared::cluster.u32 %r17, %r2, %r11;\ngetctarank.shared::cluster.u32 "
                   "%r18, %r17;\nsetp.ne.u32 %p4, %r18, %r11;\n"
                   "@%p4 trap;\nmbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r17];\n"
                   "@%p1 mbarrier.arrive.expect_tx.release.cluster.shared::cta.b64 _, [%r2], 16;\n"
                   "@%p1 mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%r17], 16;\n"
                   "wait: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p3, [%r2], "
                   "0;\n@!%p3 bra wait;\n"
                   "ld.shared.u32 %r19, [%r15];\nadd.u64 %rd5, %rd2, %rd3;\nst.global.u32 [%rd5], "
                   "%r19;\n"
                   "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n"),
            &(vt_config){
                .block = 32, .grid = 2, .cluster = 2, .schedule = s, .sanitize = s % 4 == 3},
            arg, 2));
        for (int i = 0; i < 64; i++) assert_int_equal(out[i], in[i ^ 32]);
        if (vt_reports) fail_msg("schedule %u: %s", (unsigned)s, vt_report);
    }
}

/// Registers sent to the other block of a cluster, words added up there; its mbarrier counts bytes.
static void stores_to_peers(void **state) {
    (void)state;
    for (uint64_t s = 0; s < 20; s++) {
        uint32_t in[128], out[130];
        vt_fill(in, sizeof in);
        vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
        vt_good(vt_run(
            KERNEL("@%p1 mbarrier.init.shared::cta.b64 [%r2], 1;\nmov.u32 %r20, 0;\n"
                   "@%p1 st.shared.u32 [%r3+1024], %r20;\nfence.mbarrier_init.release.cluster;\n"
                   "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 384;\n"
                   "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n"
                   "mov.u32 %r10, %cluster_ctarank;\nxor.b32 %r11, %r10, 1;\n"
                   "shl.b32 %r12, %r1, 3;\nshl.b32 %r13, %r10, 8;\nadd.u32 %r13, %r13, %r12;\n"
                   "cvt.u64.u32 %rd3, %r13;\nadd.u64 %rd4, %rd1, %rd3;\n"
                   "ld.global.v2.u32 {%r14, %r15}, [%rd4];\nadd.u32 %r16, %r3, %r12;\n"
                   "mapa.shared::cluster.u32 %r17, %r16, %r11;\n"
                   "mapa.shared::cluster.u32 %r18, %r2, %r11;\n"
                   "mapa.shared::cluster.u32 %r19, %r3, %r11;\n"
                   "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%r17], "
                   "{%r14, %r15}, [%r18];\n"
                   "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 "
                   "[%r19+1024], %r14, [%r18];\n"
                   "wait: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p3, [%r2], "
                   "0;\n@!%p3 bra wait;\n"
                   "ld.shared.v2.u32 {%r21, %r22}, [%r16];\nadd.u64 %rd5, %rd2, %rd3;\n"
                   "st.global.v2.u32 [%rd5], {%r21, %r22};\nld.shared.u32 %r23, [%r3+1024];\n"
                   "mul.wide.u32 %rd6, %r10, 4;\nadd.u64 %rd7, %rd2, %rd6;\n"
                   "@%p1 st.global.u32 [%rd7+512], %r23;\n"
                   "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n"),
            &(vt_config){
                .block = 32, .grid = 2, .cluster = 2, .schedule = s, .sanitize = s % 4 == 3},
            arg, 2));
        uint32_t sum[2] = {0, 0};
        for (int i = 0; i < 128; i++) {
            assert_int_equal(out[i], in[i ^ 64]);
            if (i % 2 == 0) sum[i / 64] += in[i];
        }
        assert_int_equal(out[128], sum[1]);
        assert_int_equal(out[129], sum[0]);
        if (vt_reports) fail_msg("schedule %u: %s", (unsigned)s, vt_report);
    }
}

/// The data goes to one block, its mbarrier lies in the other.
static void store_beside_its_mbarrier(void **state) {
    (void)state;
    uint32_t in[4] = {0}, out[4] = {0};
    vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
    const enum vg_status s = vt_run(
        KERNEL("mapa.shared::cluster.u32 %r17, %r2, 0;\nmapa.shared::cluster.u32 %r18, %r3, 1;\n"
               "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r18], %r1, "
               "[%r17];\n"),
        &(vt_config){.block = 1, .grid = 2, .cluster = 2}, arg, 2);
    assert_int_not_equal(s, VG_OK);
    if (!strstr(vt_message, "in different blocks of the cluster")) fail_msg("%s", vt_message);
}

/// Copies that nobody waits for when the block ends are told; those to global memory still arrive.
static void open_at_exit(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "cp.async.cg.shared.global [%r3], [%rd1], 16;\ncp.async.commit_group;\n",
        "mbarrier.init.shared.b64 [%r2], "
        "1;\nfence.mbarrier_init.release.cluster;\nmbarrier.arrive.expect_tx.shared.b64 _, [%r2], "
        "64;\n"
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd1], 64, "
        "[%r2];\n",
        "ld.global.v4.u32 {%r30, %r31, %r32, %r33}, [%rd1];\nst.shared.v4.u32 [%r3], {%r30, %r31, "
        "%r32, %r33};\nfence.proxy.async;\n"
        "cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r3], "
        "16;\ncp.async.bulk.commit_group;\n",
    };
    for (int i = 0; i < 3; i++) {
        char text[8192];
        uint8_t in[256], out[256];
        vt_fill(in, sizeof in);
        vt_fill(out, sizeof out);
        vt_text(text, sizeof text, KERNEL("$0"), &bodies[i]);
        vt_arg arg[] = {VT_BUFFER(in, sizeof in), VT_BUFFER(out, sizeof out)};
        vt_good(vt_run(text, &(vt_config){.block = 1, .sanitize = true}, arg, 2));
        if (!vt_reports || !strstr(vt_report, "exit-in-flight"))
            fail_msg("%zu reports: %s", vt_reports, vt_report);
        if (i == 2) assert_memory_equal(out, in, 16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies),          cmocka_unit_test(groups),
        cmocka_unit_test(groups_of_lanes), cmocka_unit_test(phases),
        cmocka_unit_test(bulk_ring),       cmocka_unit_test(copy_ring),
        cmocka_unit_test(errors),          cmocka_unit_test(register_budget),
        cmocka_unit_test(remote_arrivals), cmocka_unit_test(stores_to_peers),
        cmocka_unit_test(store_beside_its_mbarrier), cmocka_unit_test(open_at_exit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
