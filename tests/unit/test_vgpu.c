// SPDX-License-Identifier: Apache-2.0
// The virtual GPU's core on handwritten PTX: ways through a kernel, calls, barriers, memory, atomics,
// and what goes wrong. Random data against C, under several interleavings.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/vgpu/vgpu.h"

#define HEAD ".version 8.3\n.target sm_90a\n.address_size 64\n"
// The thread's number in the grid in %r0, the address of its word of parameter `out` in %rd0.
#define THREAD                                                                                     \
    "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.s32 %r0, %r1, %r2, %r3;\n" \
    "ld.param.u64 %rd0, [out]; mul.wide.u32 %rd1, %r0, 4; add.s64 %rd0, %rd0, %rd1;\n"
#define REGS ".reg .pred %p<16>; .reg .b16 %rs<16>; .reg .b32 %r<64>; .reg .b64 %rd<32>; .reg .f32 %f<16>; .reg .f64 %fd<8>;\n"
#define KERNEL(params, body) ".visible .entry k(.param .u64 out" params ")\n{\n" REGS THREAD body "ret;\n}\n"

static uint64_t seed = 88172645463325252ull;
static uint32_t rnd(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 24);
}

static uint32_t sign(uint32_t x, unsigned bits) { return (x ^ 1u << (bits - 1)) - (1u << (bits - 1)); }

typedef struct {
    unsigned grid, block, cluster, shared;
    uint64_t schedule, max_steps;
    int threads;
    bool sanitize;
} how;

static char message[2600], printed[4096];
static size_t nprinted;

static void print(void *user, const char *text, size_t n) {
    (void)user;
    if (n > sizeof printed - 1 - nprinted) n = sizeof printed - 1 - nprinted;
    memcpy(printed + nprinted, text, n);
    nprinted += n;
    printed[nprinted] = 0;
}

/// Runs k(out, a, b, …): each array goes in, and comes back.
typedef struct {
    void *data;
    size_t bytes;
} array;

static enum vg_status run(const char *ptx, const how *h, const array *a, size_t n) {
    const vg_options o = {.schedule = h->schedule, .threads = h->threads ? h->threads : 1, .sanitize = h->sanitize,
                          .max_steps = h->max_steps ? h->max_steps : 100000000, .print = print, .memory = (size_t)64 << 20};
    vg_gpu *g = NULL;
    ptx_error e;
    nprinted = 0;
    printed[0] = message[0] = 0;
    assert_int_equal(vg_create(&o, &g), VG_OK);
    vg_module *const m = vg_load(g, ptx, strlen(ptx), &e);
    if (!m) {
        snprintf(message, sizeof message, "%s", e.text);
        vg_destroy(g);
        return VG_INVALID_PTX;
    }
    vg_kernel *const k = vg_function(m, "k");
    assert_non_null(k);
    uint64_t at[8];
    void *params[8];
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(vg_alloc(g, a[i].bytes, &at[i]), VG_OK);
        memcpy(vg_host(g, at[i], a[i].bytes, true), a[i].data, a[i].bytes);
        params[i] = &at[i];
    }
    const vg_launch_config c = {.grid = {h->grid ? h->grid : 1, 1, 1}, .block = {h->block, 1, 1}, .cluster = {h->cluster, h->cluster ? 1 : 0, h->cluster ? 1 : 0},
                                .shared = h->shared, .params = params};
    const enum vg_status s = vg_launch(g, k, &c);
    if (s != VG_OK) snprintf(message, sizeof message, "%s", vg_error(g));
    for (size_t i = 0; i < n; i++) memcpy(a[i].data, vg_host(g, at[i], a[i].bytes, false), a[i].bytes);
    vg_destroy(g);
    return s;
}

static void good(enum vg_status s) {
    if (s != VG_OK) fail_msg("status %d: %s", (int)s, message);
}
static void says(enum vg_status s, enum vg_status want, const char *text) {
    if (s != want || !strstr(message, text)) fail_msg("status %d (%d expected): '%s' does not say '%s'", (int)s, (int)want, message, text);
}

enum { BLOCK = 96, GRID = 3, N = BLOCK * GRID };
static uint32_t in_[4096], out_[4096], want_[4096];

/// `in` random below `most` at parameter `in`, `out` poisoned; runs under a few interleavings.
static void compare(const char *ptx, uint32_t most, uint32_t (*f)(uint32_t x, uint32_t t)) {
    for (uint64_t schedule = 0; schedule < 4; schedule++) {
        for (uint32_t i = 0; i < N; i++) {
            in_[i] = most ? rnd() % most : rnd();
            out_[i] = rnd();
            want_[i] = f(in_[i], i);
            if (want_[i] == 0xdeadbeef) want_[i] = out_[i]; // not written
        }
        good(run(ptx, &(how){.grid = GRID, .block = BLOCK, .schedule = schedule, .threads = schedule == 3 ? 2 : 1},
                 (array[]){{out_, N * 4}, {in_, N * 4}}, 2));
        for (uint32_t i = 0; i < N; i++)
            if (out_[i] != want_[i]) fail_msg("schedule %u, thread %u, input %u: %u instead of %u", (unsigned)schedule, i, in_[i], out_[i], want_[i]);
    }
}

#define LOAD_IN "ld.param.u64 %rd2, [in]; add.s64 %rd2, %rd2, %rd1; ld.global.u32 %r10, [%rd2];\n"
#define STORE_OUT "st.global.u32 [%rd0], %r11;\n"

// ---- ways ---------------------------------------------------------------------------------------

static uint32_t collatz(uint32_t x, uint32_t t) {
    (void)t;
    uint32_t n = 0;
    for (uint32_t v = x + 1; v != 1; n++) {
        if (v & 1) {
            v = 3 * v + 1;
            if (v > 2000) n += 7;
            else continue;
        } else v >>= 1;
        if (n > 300) break;
    }
    return n;
}

static void loops(void **state) {
    (void)state;
    compare(HEAD KERNEL(", .param .u64 in", LOAD_IN
        "add.u32 %r10, %r10, 1; mov.u32 %r11, 0;\n"
        "L: setp.eq.u32 %p1, %r10, 1; @%p1 bra END;\n"
        "and.b32 %r12, %r10, 1; setp.eq.u32 %p2, %r12, 0; @%p2 bra EVEN;\n"
        "mad.lo.u32 %r10, %r10, 3, 1; setp.gt.u32 %p3, %r10, 2000; @!%p3 bra NEXT;\n"
        "add.u32 %r11, %r11, 7; bra TAIL;\n"
        "EVEN: shr.u32 %r10, %r10, 1;\n"
        "TAIL: setp.gt.u32 %p4, %r11, 300; @%p4 bra END;\n"
        "NEXT: add.u32 %r11, %r11, 1; bra L;\n"
        "END:" STORE_OUT), 1000, collatz);
}

static uint32_t nest(uint32_t x, uint32_t t) {
    uint32_t r = t;
    if (x & 1) {
        if (x & 2) {
            if (x & 4) return 0xdeadbeef; // leaves without a store
            r += 10;
        } else {
            for (uint32_t i = 0; i < (x >> 3 & 7); i++)
                for (uint32_t k = 0; k < i; k++) r = r * 3 + k;
        }
        r ^= 0x55;
    } else if (x & 8) r = ~r;
    return r + 1;
}

static void nested(void **state) {
    (void)state;
    compare(HEAD KERNEL(", .param .u64 in", LOAD_IN
        "mov.u32 %r11, %r0;\n"
        "and.b32 %r12, %r10, 1; setp.ne.u32 %p1, %r12, 0; @!%p1 bra ELSE;\n"
        "and.b32 %r12, %r10, 2; setp.ne.u32 %p2, %r12, 0; @!%p2 bra LOOPS;\n"
        "and.b32 %r12, %r10, 4; setp.ne.u32 %p3, %r12, 0; @%p3 exit;\n"
        "add.u32 %r11, %r11, 10; bra.uni JOIN;\n"
        "LOOPS: bfe.u32 %r13, %r10, 3, 3; mov.u32 %r14, 0;\n"
        "OUTER: setp.ge.u32 %p4, %r14, %r13; @%p4 bra JOIN; mov.u32 %r15, 0;\n"
        "INNER: setp.ge.u32 %p5, %r15, %r14; @%p5 bra IDONE; mad.lo.u32 %r11, %r11, 3, %r15; add.u32 %r15, %r15, 1; bra INNER;\n"
        "IDONE: add.u32 %r14, %r14, 1; bra OUTER;\n"
        "JOIN: xor.b32 %r11, %r11, 0x55; bra DONE;\n"
        "ELSE: and.b32 %r12, %r10, 8; setp.eq.u32 %p6, %r12, 0; @%p6 bra DONE; not.b32 %r11, %r11;\n"
        "DONE: add.u32 %r11, %r11, 1;\n" STORE_OUT), 0, nest);
}

static uint32_t choose(uint32_t x, uint32_t t) {
    switch (x) {
    case 0: return t * 2;
    case 1: case 4: return t + 100;
    case 2: return 0xdeadbeef;
    default: return t ^ 0xff;
    }
}

static void indexed(void **state) {
    (void)state;
    compare(HEAD KERNEL(", .param .u64 in", LOAD_IN
        "T: .branchtargets A, B, C, D, B;\n"
        "brx.idx %r10, T;\n"
        "A: shl.b32 %r11, %r0, 1; bra END;\n"
        "B: add.u32 %r11, %r0, 100; bra END;\n"
        "C: ret;\n"
        "D: xor.b32 %r11, %r0, 0xff;\n"
        "END:" STORE_OUT), 5, choose);
    in_[0] = 7;
    says(run(HEAD KERNEL(", .param .u64 in", LOAD_IN "T: .branchtargets A, A; brx.idx %r10, T; A: \n"), &(how){.block = 32},
             (array[]){{out_, 4 * N}, {in_, 4 * N}}, 2), VG_ILLEGAL_INSTRUCTION, "branch with 2 targets");
}

/// Each thread takes a lock that it may not get while others of its warp hold it.
static void spin_lock(void **state) {
    (void)state;
    static const char *const ptx = HEAD KERNEL(", .param .u64 in",
        "ld.param.u64 %rd2, [in];\n"
        "SPIN: atom.global.acquire.gpu.cas.b32 %r10, [%rd2], 0, 1; setp.ne.u32 %p1, %r10, 0; @%p1 bra SPIN;\n"
        "ld.global.u32 %r11, [%rd2+4]; add.u32 %r11, %r11, 1; st.global.u32 [%rd2+4], %r11;\n"
        "st.release.gpu.global.u32 [%rd2], 0;\n"
        "st.global.u32 [%rd0], %r11;\n");
    for (uint64_t s = 0; s < 3; s++) {
        in_[0] = in_[1] = 0;
        good(run(ptx, &(how){.grid = 2, .block = 64, .schedule = s}, (array[]){{out_, 4 * N}, {in_, 8}}, 2));
        assert_int_equal(in_[1], 128);
    }
}

/// Block i waits for block i + 1 (or i - 1), so all must be resident.
static void semaphores(void **state) {
    (void)state;
    static const char *const ptx = HEAD KERNEL(", .param .u64 in",
        "ld.param.u64 %rd2, [in]; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd3, %rd2, %rd3; mov.u32 %r12, %nctaid.x;\n"
        "add.u32 %r13, %r1, 1; setp.eq.u32 %p2, %r13, %r12; setp.ne.u32 %p3, %r3, 0; @%p2 bra GO; @%p3 bra GO;\n"
        "WAIT: ld.acquire.gpu.global.u32 %r10, [%rd3+4]; setp.eq.u32 %p1, %r10, 0; @%p1 bra WAIT;\n"
        "GO: bar.sync 0; ld.global.u32 %r10, [%rd3+4]; @%p2 mov.u32 %r10, 5; add.u32 %r11, %r10, %r1; bar.sync 0;\n"
        "@!%p3 st.release.gpu.global.u32 [%rd3], %r11;\n" STORE_OUT);
    for (int t = 1; t < 3; t++) {
        memset(in_, 0, sizeof in_);
        good(run(ptx, &(how){.grid = 60, .block = 64, .threads = t}, (array[]){{out_, sizeof out_}, {in_, sizeof in_}}, 2));
        uint32_t v = 5;
        for (uint32_t i = 60; i-- > 0;) {
            v += i;
            assert_int_equal(in_[i], v);
        }
    }
}

// ---- calls --------------------------------------------------------------------------------------

static uint32_t fib(uint32_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
static uint32_t calls_want(uint32_t x, uint32_t t) { return x & 8 ? fib(x & 7) + t : x * 3 + t; }

static void calls(void **state) {
    (void)state;
    compare(HEAD
        ".func (.param .b32 res) fib(.param .b32 n)\n{ .reg .b32 %r<8>; .reg .pred %p<2>;\n"
        "ld.param.b32 %r1, [n]; setp.lt.u32 %p1, %r1, 2; @%p1 bra BASE;\n"
        "sub.u32 %r2, %r1, 1;\n"
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %r2; call.uni (b), fib, (a); ld.param.b32 %r3, [b]; }\n"
        "sub.u32 %r2, %r1, 2;\n"
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %r2; call.uni (b), fib, (a); ld.param.b32 %r4, [b]; }\n"
        "add.u32 %r1, %r3, %r4;\nBASE: st.param.b32 [res], %r1; ret; }\n"
        ".func (.reg .b32 %o) triple(.reg .b32 %i)\n{ mul.lo.u32 %o, %i, 3; ret; }\n"
        KERNEL(", .param .u64 in", LOAD_IN
        "and.b32 %r12, %r10, 8; setp.eq.u32 %p1, %r12, 0; @%p1 bra OTHER;\n"
        "and.b32 %r13, %r10, 7;\n"
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a+0], %r13; call.uni (b), fib, (a); ld.param.b32 %r11, [b+0]; } bra JOIN;\n"
        "OTHER: call (%r11), triple, (%r10);\n"
        "JOIN: add.u32 %r11, %r11, %r0;\n" STORE_OUT), 0, calls_want);
}

static uint32_t address_want(uint32_t x, uint32_t t) { return x == 0 ? t + 1 : x == 1 ? t * 5 : 0xdeadbeef; }

/// Lanes of one warp call different functions by address.
static void addresses(void **state) {
    (void)state;
    static const char *const ptx = HEAD
        ".func (.param .b32 o) one(.param .b32 i)\n{ .reg .b32 %r<3>; ld.param.b32 %r1, [i]; add.u32 %r1, %r1, 1; st.param.b32 [o], %r1; ret; }\n"
        ".func (.param .b32 o) five(.param .b32 i)\n{ .reg .b32 %r<3>; ld.param.b32 %r1, [i]; mul.lo.u32 %r1, %r1, 5; st.param.b32 [o], %r1; ret; }\n"
        ".global .align 8 .u64 table[3] = {one, five, 77};\n"
        KERNEL(", .param .u64 in", LOAD_IN
        "setp.eq.u32 %p1, %r10, 2; mul.wide.u32 %rd3, %r10, 8; mov.u64 %rd4, table; add.s64 %rd4, %rd4, %rd3; ld.global.u64 %rd5, [%rd4];\n"
        "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %r0; P: .callprototype (.param .b32 _) _ (.param .b32 _); @!%p1 call (b), %rd5, (a), P; ld.param.b32 %r11, [b]; }\n"
        "@%p1 ret;\n" STORE_OUT);
    compare(ptx, 3, address_want);
    in_[0] = 2;
    char wrong[4000];
    snprintf(wrong, sizeof wrong, "%s", ptx);
    memcpy(strstr(wrong, "@!%p1 call"), "@%p1  call", 10);
    says(run(wrong, &(how){.block = 32}, (array[]){{out_, 4 * N}, {in_, 4 * N}}, 2), VG_ILLEGAL_ADDRESS, "which is no function");
}

static uint32_t record_want(uint32_t x, uint32_t t) { return (uint32_t)((int8_t)(x & 0xff) + (int)t); }

/// Records by value, addresses of parameters and of local arrays, guarded calls.
static void records(void **state) {
    (void)state;
    compare(HEAD
        ".func sum(.param .align 8 .b8 s[16], .param .b64 to)\n{ .reg .b32 %r<8>; .reg .b64 %rd<8>; .reg .b16 %rs<4>;\n"
        "ld.param.s8 %rs1, [s+3]; cvt.s32.s16 %r1, %rs1; ld.param.b32 %r2, [s+8]; add.s32 %r1, %r1, %r2;\n"
        "ld.param.b64 %rd1, [to]; st.b32 [%rd1], %r1; ret; }\n"
        KERNEL(", .param .u64 in", ".local .align 16 .b8 stack[64];\n" LOAD_IN
        "mov.u64 %rd5, stack; cvta.local.u64 %rd6, %rd5; mov.u32 %r11, 0; st.local.u32 [stack+32], %r11;\n"
        "setp.ge.u32 %p1, %r0, 0;\n"
        "{ .param .align 8 .b8 a[16]; .param .b64 b; st.param.b8 [a+3], %r10; st.param.b32 [a+8], %r0; add.s64 %rd7, %rd6, 32; st.param.b64 [b], %rd7;\n"
        "@%p1 call sum, (a, b); }\n"
        "ld.local.u32 %r11, [%rd5+32];\n" STORE_OUT), 0, record_want);
}

static void printing(void **state) {
    (void)state;
    good(run(HEAD ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 a);\n"
        ".global .align 1 .b8 fmt[40] = {37,100,32,37,53,46,50,102,124,37,115,124,37,120,32,37,108,108,100,37,37,10,0};\n" // "%d %5.2f|%s|%x %lld%%\n"
        ".global .align 1 .b8 word[4] = {97,98,99,0};\n"
        KERNEL("", ".local .align 8 .b8 buf[40];\n"
        "setp.ne.u32 %p1, %r0, 33; @%p1 bra END;\n"
        "mov.u64 %rd2, buf; cvta.local.u64 %rd3, %rd2; st.local.u32 [buf], -7; mov.f64 %fd1, 0d400C000000000000; st.local.f64 [buf+8], %fd1;\n"
        "mov.u64 %rd4, word; cvta.global.u64 %rd4, %rd4; st.local.u64 [buf+16], %rd4; st.local.u32 [buf+24], 255; st.local.u64 [buf+32], -12345678901;\n"
        "mov.u64 %rd5, fmt; cvta.global.u64 %rd5, %rd5;\n"
        "{ .param .b64 a; .param .b64 b; .param .b32 c; st.param.b64 [a], %rd5; st.param.b64 [b], %rd3; call.uni (c), vprintf, (a, b); ld.param.b32 %r5, [c]; }\n"
        "st.global.u32 [%rd0], %r5;\nEND:\n"), &(how){.block = 64}, (array[]){{out_, 4 * N}}, 1));
    assert_string_equal(printed, "-7  3.50|abc|ff -12345678901%\n");
    assert_int_equal(out_[33], strlen(printed));
    says(run(HEAD ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n"
        ".global .align 1 .b8 word[4] = {97,98,99,0};\n"
        KERNEL("", "setp.ne.u32 %p1, %r0, 40; @%p1 bra END;\n mov.u64 %rd4, word; mov.b32 %r5, 77; mov.b64 %rd5, 1;\n"
        "{ .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e; st.param.b64 [a], %rd4; st.param.b64 [b], %rd4; st.param.b32 [c], %r5;\n"
        "st.param.b64 [d], %rd4; st.param.b64 [e], %rd5; call.uni __assertfail, (a, b, c, d, e); }\nEND:\n"), &(how){.block = 64},
        (array[]){{out_, 4 * N}}, 1), VG_ASSERT, "abc:77: abc: assertion `abc' failed");
    assert_non_null(strstr(message, "thread (40,0,0)"));
}

static void heap(void **state) {
    (void)state;
    static const char *const ptx = HEAD ".extern .func (.param .b64 r) malloc(.param .b64 n);\n.extern .func free(.param .b64 p);\n"
        KERNEL("", "mov.b64 %rd3, 48;\n"
        "{ .param .b64 a; .param .b64 b; st.param.b64 [a], %rd3; call.uni (b), malloc, (a); ld.param.b64 %rd4, [b]; }\n"
        "st.u32 [%rd4+44], %r0; ld.u32 %r11, [%rd4+44];\n"
        "{ .param .b64 a; st.param.b64 [a], %rd4; call.uni free, (a); }\n" STORE_OUT);
    good(run(ptx, &(how){.grid = 4, .block = 128, .threads = 2}, (array[]){{out_, sizeof out_}}, 1));
    for (uint32_t i = 0; i < 512; i++) assert_int_equal(out_[i], i);
}

// ---- barriers -----------------------------------------------------------------------------------

#define SHARED_ADDRESS "mov.u32 %r20, sh; mad.lo.u32 %r21, %r3, 4, %r20;\n"

static void reduction(void **state) {
    (void)state;
    static const char *const ptx = HEAD ".shared .align 4 .b8 sh[2048];\n" KERNEL(", .param .u64 in", LOAD_IN SHARED_ADDRESS
        "st.shared.u32 [%r21], %r10; mov.u32 %r22, 128;\n"
        "L: bar.sync 0; setp.ge.u32 %p1, %r3, %r22; @%p1 bra SKIP;\n"
        "shl.b32 %r23, %r22, 2; add.u32 %r24, %r21, %r23; ld.shared.u32 %r25, [%r24]; ld.shared.u32 %r26, [%r21]; add.u32 %r26, %r26, %r25;\n"
        "st.shared.u32 [%r21], %r26;\n"
        "SKIP: shr.u32 %r22, %r22, 1; setp.ne.u32 %p2, %r22, 0; @%p2 bra L;\n"
        "setp.ne.u32 %p3, %r3, 0; @%p3 ret; ld.shared.u32 %r11, [sh];\n" STORE_OUT);
    for (uint64_t s = 0; s < 5; s++) {
        for (int i = 0; i < 1024; i++) in_[i] = rnd(), out_[i] = rnd();
        good(run(ptx, &(how){.grid = 4, .block = 256, .schedule = s, .threads = s == 4 ? 2 : 1}, (array[]){{out_, sizeof out_}, {in_, sizeof in_}}, 2));
        for (uint32_t b = 0; b < 4; b++) {
            uint32_t sum = 0;
            for (int i = 0; i < 256; i++) sum += in_[b * 256 + (uint32_t)i];
            assert_int_equal(out_[b * 256], sum);
        }
    }
}

/// Warps 0 and 1 hand values to 2 and 3 through barriers of 128 threads; bar.red over all; some leave early.
static void named(void **state) {
    (void)state;
    static const char *const ptx = HEAD ".shared .align 4 .b8 sh[256];\n" KERNEL(", .param .u64 in", LOAD_IN SHARED_ADDRESS
        "setp.ge.u32 %p9, %r3, 128; @%p9 bra LAST;\n"
        "mov.u32 %r30, 0; mov.u32 %r11, 0; setp.ge.u32 %p1, %r3, 64; @%p1 bra CONSUME;\n"
        "P: bar.sync 2, 128; add.u32 %r10, %r10, %r30; st.shared.u32 [%r21], %r10; bar.arrive 1, 128; add.u32 %r30, %r30, 1; setp.lt.u32 %p2, %r30, 5; @%p2 bra P;\n"
        "bra LAST;\n"
        "CONSUME: bar.arrive 2, 128; bar.sync 1, 128; ld.shared.u32 %r12, [%r21+-256]; add.u32 %r11, %r11, %r12; add.u32 %r30, %r30, 1; setp.lt.u32 %p2, %r30, 5; @%p2 bra CONSUME;\n"
        "LAST: @%p9 exit; and.b32 %r13, %r10, 1; setp.ne.u32 %p3, %r13, 0; barrier.red.popc.u32 %r14, 3, 128, %p3; barrier.red.and.pred %p4, 3, 128, %p3; barrier.red.or.pred %p5, 3, 128, !%p3;\n"
        "add.u32 %r11, %r11, %r14; @%p4 add.u32 %r11, %r11, 1000; @%p5 add.u32 %r11, %r11, 2000;\n" STORE_OUT);
    for (uint64_t s = 0; s < 5; s++) {
        for (int i = 0; i < 160; i++) in_[i] = rnd() & 0xffff, out_[i] = rnd();
        good(run(ptx, &(how){.block = 160, .schedule = s}, (array[]){{out_, sizeof out_}, {in_, sizeof in_}}, 2));
        uint32_t ones = 0;
        for (int i = 0; i < 128; i++) ones += (in_[i] + (i < 64 ? 10u : 0)) & 1;
        const uint32_t red = ones + (ones == 128 ? 1000 : 0) + (ones < 128 ? 2000 : 0);
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t v = in_[i], sum = 0;
            for (uint32_t k = 0; k < 5; k++) v += k, sum += v;
            assert_int_equal(out_[i], red);
            assert_int_equal(out_[i + 64], sum + red);
        }
    }
}

static void deadlocks(void **state) {
    (void)state;
    const array a[] = {{out_, sizeof out_}};
    says(run(HEAD KERNEL("", "setp.lt.u32 %p1, %r3, 64; @%p1 bra A; bar.sync 1, 128; bra B;\nA: bar.sync 2, 128;\nB:\n"), &(how){.block = 128}, a, 1),
         VG_LAUNCH_TIMEOUT, "deadlock");
    assert_non_null(strstr(message, "barrier 2, phase 0: 64 of 128 threads have arrived"));
    assert_non_null(strstr(message, "PTX line"));
    says(run(HEAD KERNEL("", "setp.lt.u32 %p1, %r3, 64; @%p1 bra A; bar.sync 1, 96; bra B;\nA: bar.sync 1, 128;\nB:\n"), &(how){.block = 128}, a, 1),
         VG_LAUNCH_FAILED, "is used for");
    says(run(HEAD KERNEL("", "bar.sync 1, 64;\n"), &(how){.block = 96}, a, 1), VG_LAUNCH_TIMEOUT, "barrier 1, phase 1: 32 of 64 threads");
    says(run(HEAD KERNEL("", "bar.sync 16;\n"), &(how){.block = 32}, a, 1), VG_ILLEGAL_INSTRUCTION, "barrier 16");
    says(run(HEAD KERNEL("", "bar.sync 1, 33;\n"), &(how){.block = 32}, a, 1), VG_ILLEGAL_INSTRUCTION, "33 threads");
    says(run(HEAD KERNEL("", "setp.lt.u32 %p1, %r3, 7; @%p1 bra A; exit; A: setp.lt.u32 %p2, %r3, 3; @%p2 bra B; bar.warp.sync 0x1f; B: barrier.sync 1, 64;\n"),
             &(how){.block = 32}, a, 1), VG_LAUNCH_TIMEOUT, "lanes 0x00000007 of the warp");
    // A block whose other warps have ended needs nobody else.
    good(run(HEAD KERNEL("", "setp.lt.u32 %p1, %r3, 64; @%p1 exit; bar.sync 0; st.global.u32 [%rd0], 9;\n"), &(how){.block = 128}, a, 1));
    assert_int_equal(out_[100], 9);
    // Lanes come to a barrier one way after the other.
    good(run(HEAD KERNEL("", "and.b32 %r5, %r3, 1; setp.eq.u32 %p1, %r5, 0; @%p1 bra A; barrier.sync 0; bra B;\nA: barrier.sync 0;\nB: st.global.u32 [%rd0], 4;\n"),
             &(how){.block = 128}, a, 1));
    assert_int_equal(out_[127], 4);
    says(run(HEAD KERNEL(", .param .u64 in", "ld.param.u64 %rd2, [in]; L: ld.volatile.global.u32 %r5, [%rd2]; setp.ne.u32 %p1, %r5, 12345; @%p1 bra L;\n"),
             &(how){.block = 32, .max_steps = 1000000}, (array[]){{out_, sizeof out_}, {in_, 4}}, 2), VG_LAUNCH_TIMEOUT, "does not end");
}

/// Neighbours of a cluster read each other's shared memory between barriers of the cluster.
static void clusters(void **state) {
    (void)state;
    static const char *const ptx = HEAD ".shared .align 4 .b8 sh[256];\n" KERNEL("", SHARED_ADDRESS
        "mov.u32 %r30, %cluster_ctarank; mov.u32 %r31, %cluster_nctarank;\n"
        "mul.lo.u32 %r32, %r30, 1000; add.u32 %r32, %r32, %r3; st.shared.u32 [%r21], %r32;\n"
        "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;\n"
        "add.u32 %r33, %r30, 1; rem.u32 %r33, %r33, %r31; mapa.shared::cluster.u32 %r34, %r21, %r33; ld.shared::cluster.u32 %r11, [%r34];\n"
        "barrier.cluster.arrive; barrier.cluster.wait;\n" STORE_OUT);
    for (uint64_t s = 0; s < 3; s++) {
        good(run(ptx, &(how){.grid = 8, .block = 64, .cluster = 4, .schedule = s, .threads = 2}, (array[]){{out_, sizeof out_}}, 1));
        for (uint32_t i = 0; i < 512; i++) assert_int_equal(out_[i], (i / 64 + 1) % 4 * 1000 + i % 64);
    }
    says(run(HEAD KERNEL("", "mov.u32 %r30, %cluster_ctarank; setp.eq.u32 %p1, %r30, 1; @%p1 bra A; barrier.cluster.arrive; barrier.cluster.wait; A: bar.sync 1, 64;\n"),
             &(how){.grid = 2, .block = 32, .cluster = 2}, (array[]){{out_, sizeof out_}}, 1), VG_LAUNCH_TIMEOUT, "the cluster's barrier");
}

// ---- memory -------------------------------------------------------------------------------------

static uint32_t spaces_want(uint32_t x, uint32_t t) {
    (void)t;
    static const uint32_t table[4] = {11, 22, 33, 44};
    return table[x & 3] + sign(x >> 16, 16) + (x & 0xff) + 5 + x;
}

static void spaces(void **state) {
    (void)state;
    compare(HEAD ".const .align 4 .u32 table[4] = {11, 22, 33, 44};\n.global .align 8 .u64 where = generic(table)+4;\n.global .align 4 .u32 five = 5;\n"
        ".shared .align 16 .b8 sh[1536];\n"
        KERNEL(", .param .u64 in", ".local .align 8 .b8 loc[32];\n" LOAD_IN
        "and.b32 %r12, %r10, 3; mul.wide.u32 %rd3, %r12, 4; mov.u64 %rd4, table; add.s64 %rd4, %rd4, %rd3; ld.const.u32 %r11, [%rd4];\n"
        "st.local.v2.u32 [loc+8], {%r10, %r0}; ld.local.s16 %r13, [loc+10]; add.u32 %r11, %r11, %r13; ld.local.u8 %r14, [loc+8]; add.u32 %r11, %r11, %r14;\n"
        "ld.global.u32 %r15, [five]; add.u32 %r11, %r11, %r15;\n"
        "mov.u32 %r16, sh; mad.lo.u32 %r16, %r3, 16, %r16; st.shared.v4.u32 [%r16], {%r0, %r10, %r3, %r12}; bar.warp.sync -1;\n"
        "cvt.u64.u32 %rd5, %r16; cvta.shared.u64 %rd5, %rd5; ld.v2.u32 {_, %r17}, [%rd5]; add.u32 %r11, %r11, %r17;\n"
        "ld.global.u64 %rd6, [where]; ld.u32 %r18, [%rd6]; setp.ne.u32 %p1, %r18, 22; @%p1 trap;\n"
        "isspacep.shared %p2, %rd5; @!%p2 trap; isspacep.global %p3, %rd5; @%p3 trap; isspacep.global %p4, %rd0; @!%p4 trap;\n"
        "mov.b64 %rd7, in; cvta.param.u64 %rd7, %rd7; ld.u64 %rd8, [%rd7]; add.s64 %rd8, %rd8, %rd1; setp.ne.u64 %p5, %rd8, %rd2; @%p5 trap;\n"
        STORE_OUT), 0, spaces_want);
}

/// Gathers, partial masks, every width, registers wider than the access.
static void widths(void **state) {
    (void)state;
    for (uint64_t s = 0; s < 2; s++) {
        for (uint32_t i = 0; i < N; i++) in_[i] = rnd(), out_[i] = rnd();
        uint32_t copy[N];
        memcpy(copy, out_, sizeof copy);
        good(run(HEAD KERNEL(", .param .u64 in",
            "ld.param.u64 %rd2, [in]; mul.lo.u32 %r4, %r0, 7; rem.u32 %r4, %r4, 288; mul.wide.u32 %rd3, %r4, 4; add.s64 %rd3, %rd2, %rd3;\n"
            "and.b32 %r5, %r0, 3; setp.eq.u32 %p1, %r5, 1;\n"
            "@%p1 ld.global.u8 %rd4, [%rd3+1]; @%p1 ld.global.s8 %r6, [%rd3+2]; @%p1 ld.global.s16 %rd5, [%rd3]; @%p1 ld.global.b16 %rs1, [%rd3+2];\n"
            "@%p1 cvt.u32.u64 %r7, %rd4; @%p1 add.u32 %r6, %r6, %r7; @%p1 cvt.u32.u64 %r7, %rd5; @%p1 add.u32 %r6, %r6, %r7; @%p1 cvt.u32.u16 %r7, %rs1; @%p1 xor.b32 %r6, %r6, %r7;\n"
            "cvt.u64.u32 %rd6, %r6; @%p1 st.global.b16 [%rd0], %rd6; @%p1 st.global.b8 [%rd0+3], %rs1;\n"), &(how){.grid = GRID, .block = BLOCK},
            (array[]){{out_, N * 4}, {in_, N * 4}}, 2));
        for (uint32_t i = 0; i < N; i++) {
            uint32_t want = copy[i];
            if ((i & 3) == 1) {
                const uint32_t x = in_[i * 7 % N];
                const uint32_t v = ((x >> 8 & 0xff) + sign(x >> 16 & 0xff, 8) + sign(x & 0xffff, 16)) ^ (x >> 16);
                want = (want & 0x00ff0000) | (v & 0xffff) | (x >> 16 & 0xff) << 24;
            }
            assert_int_equal(out_[i], want);
        }
    }
}

static void faults(void **state) {
    (void)state;
    const array a[] = {{out_, 4 * 32}, {in_, 64}};
    const how h = {.block = 32};
    says(run(HEAD KERNEL("", "st.global.u32 [%rd0+4], %r0;\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "after the end of the block of 128 bytes");
    assert_non_null(strstr(message, "thread (31,0,0)"));
    says(run(HEAD KERNEL("", "st.global.u32 [%rd0+2], %r0;\n"), &h, a, 1), VG_MISALIGNED, "no multiple of 4");
    says(run(HEAD KERNEL("", "mov.u64 %rd3, 0; ld.global.u32 %r5, [%rd3];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "in no allocation");
    says(run(HEAD KERNEL("", "mov.u64 %rd3, -8; ld.u64 %rd4, [%rd3];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "load of 8 bytes");
    says(run(HEAD KERNEL("", "mov.u64 %rd3, -8; st.v2.u64 [%rd3+-8], {%rd4, %rd4};\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "store of 16 bytes");
    says(run(HEAD ".shared .align 4 .b8 sh[64];\n" KERNEL("", SHARED_ADDRESS "ld.shared.u32 %r5, [%r21];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "64 bytes of shared memory");
    says(run(HEAD KERNEL("", ".local .align 4 .b8 loc[16]; mov.u64 %rd3, loc; ld.local.u32 %r5, [%rd3+16];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "16 bytes of local memory");
    says(run(HEAD KERNEL("", "mov.b64 %rd3, out; cvta.param.u64 %rd3, %rd3; st.u32 [%rd3], %r0;\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "cannot be written");
    says(run(HEAD KERNEL("", "mov.b64 %rd3, out; cvta.param.u64 %rd3, %rd3; ld.u32 %r5, [%rd3+8];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "beyond the kernel's parameters");
    says(run(HEAD KERNEL("", "mov.u64 %rd3, 0x010005000000; ld.u32 %r5, [%rd3];\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "shared memory");
    says(run(HEAD KERNEL("", "atom.global.add.u32 %r5, [%rd0+200], 1;\n"), &h, a, 1), VG_ILLEGAL_ADDRESS, "an atomic operation on 4 bytes");
    says(run(HEAD KERNEL("", "setp.eq.u32 %p1, %r0, 9; @%p1 trap;\n"), &h, a, 1), VG_LAUNCH_FAILED, "thread (9,0,0)");
    says(run(HEAD KERNEL("", "L: bra L;\n"), &(how){.block = 32, .max_steps = 100000}, a, 1), VG_LAUNCH_TIMEOUT, "does not end");
    says(run(HEAD ".func f()\n{ call f; ret; }\n" KERNEL("", "call f;\n"), &h, a, 1), VG_LAUNCH_FAILED, "nested too deeply");
    says(run(HEAD KERNEL("", "ld.param.u32 %r5, [out+8];\n"), &h, a, 1), VG_INVALID_PTX, "past the end of 'out'");
    says(run(HEAD KERNEL("", "frobnicate.u32 %r5, %r6;\n"), &h, a, 1), VG_INVALID_PTX, "does not know");
    says(run(HEAD KERNEL("", "ld.global.sideways.u32 %r5, [%rd0];\n"), &h, a, 1), VG_INVALID_PTX, "the modifier .sideways");
    says(run(HEAD KERNEL("", "ld.global.u64 %r5, [%rd0];\n"), &h, a, 1), VG_INVALID_PTX, "%r5 cannot hold .u64");
    says(run(HEAD KERNEL("", "ld.global.v2.u32 %r5, [%rd0];\n"), &h, a, 1), VG_INVALID_PTX, "1 elements where 2");
    says(run(HEAD KERNEL("", "atom.global.xor.f32 %f5, [%rd0], %f6;\n"), &h, a, 1), VG_INVALID_PTX, ".xor of .f32");
    says(run(HEAD ".extern .func g();\n" KERNEL("", "call g;\n"), &h, a, 1), VG_INVALID_PTX, "'g' has no body");
    says(run(".version 8.3\n.target sm_100\n.address_size 64\n" KERNEL("", ""), &h, a, 1), VG_INVALID_PTX, "sm_100");
    says(run(HEAD KERNEL("", ""), &(how){.block = 2000}, a, 1), VG_INVALID_VALUE, "2000");
    says(run(HEAD KERNEL("", ""), &(how){.block = 32, .shared = 300 << 10}, a, 1), VG_INVALID_VALUE, "shared memory");
    says(run(HEAD KERNEL("", ""), &(how){.block = 32, .grid = 3, .cluster = 2}, a, 1), VG_INVALID_VALUE, "clusters");
    says(run(HEAD ".visible .entry k(.param .u64 out) .reqntid 64 { ret; }\n", &h, a, 1), VG_INVALID_VALUE, "requires 64");
    // An absurd grid starts, and ends with the first failure.
    says(run(HEAD KERNEL("", "mov.u32 %r5, %ctaid.x; setp.eq.u32 %p1, %r5, 1000; @%p1 trap;\n"), &(how){.block = 32, .grid = 0x7fffffff, .threads = 2},
             (array[]){{out_, 4 * 32}}, 1), VG_LAUNCH_FAILED, "block (1000,0,0)");
}

/// What the host asks of memory.
static void device_memory(void **state) {
    (void)state;
    vg_gpu *g;
    uint64_t a, b, c;
    assert_int_equal(vg_create(&(vg_options){.memory = 1 << 20}, &g), VG_OK);
    assert_int_equal(vg_alloc(g, 1000, &a), VG_OK);
    assert_int_equal(vg_alloc(g, 1000, &b), VG_OK);
    assert_int_equal(a % 256, 0);
    assert_true(b > a + 1000);
    assert_non_null(vg_host(g, a, 1000, true));
    assert_null(vg_host(g, a, 1001, false));
    assert_null(vg_host(g, a + 1000, 1, false));
    assert_null(vg_host(g, a - 1, 1, false));
    assert_null(vg_host(g, a + 1, SIZE_MAX, false));
    assert_int_equal(vg_alloc(g, 1 << 20, &c), VG_OUT_OF_MEMORY);
    assert_int_equal(vg_alloc(g, 0, &c), VG_INVALID_VALUE);
    assert_int_equal(vg_free(g, a + 8), VG_INVALID_VALUE);
    assert_int_equal(vg_free(g, a), VG_OK);
    assert_int_equal(vg_free(g, a), VG_INVALID_VALUE);
    assert_non_null(strstr(vg_error(g), "freed already"));
    assert_null(vg_host(g, a, 1, false));
    for (int i = 0; i < 20000; i++) { // far more than the range of addresses: what is free comes again
        assert_int_equal(vg_alloc(g, (1 << 19) + (rnd() & 0xffff), &c), VG_OK);
        *(uint8_t *)vg_host(g, c, 1, true) = 1;
        assert_int_equal(vg_free(g, c), VG_OK);
    }
    assert_non_null(vg_host(g, b, 1000, false));
    vg_destroy(g);
}

// ---- atomics ------------------------------------------------------------------------------------

/// Many threads of many blocks on few words; what each op leaves does not depend on the order.
static void atomics_many(void **state) {
    (void)state;
    static const char *const ptx = HEAD KERNEL(", .param .u64 in", LOAD_IN
        "ld.param.u64 %rd3, [out]; atom.global.add.u32 %r20, [%rd3], %r10; red.global.max.s32 [%rd3+4], %r10; red.global.min.u32 [%rd3+8], %r10;\n"
        "red.global.xor.b32 [%rd3+12], %r10; red.relaxed.gpu.global.or.b32 [%rd3+16], %r10; atom.global.inc.u32 %r21, [%rd3+20], 99; cvt.u64.u32 %rd5, %r10;\n"
        "red.global.add.u64 [%rd3+24], %rd5; add.u64 %rd6, %rd3, 32; atom.add.u32 %r22, [%rd6], 1; cvt.rn.f32.u32 %f1, 1; red.global.add.f32 [%rd3+36], %f1;\n"
        "mov.b32 %r23, 0x3c004000; red.global.add.noftz.f16x2 [%rd3+40], %r23; atom.global.dec.u32 %r24, [%rd3+44], 1000; red.global.and.b32 [%rd3+48], %r10;\n");
    enum { THREADS = 2048 };
    for (int t = 1; t < 3; t++) {
        uint32_t sum = 0, least = UINT32_MAX, mixed = 0, any = 0, all = UINT32_MAX;
        int32_t most = INT32_MIN;
        uint64_t wide = 0;
        for (int i = 0; i < THREADS; i++) {
            in_[i] = rnd();
            sum += in_[i], mixed ^= in_[i], any |= in_[i], all &= in_[i], wide += in_[i];
            if (in_[i] < least) least = in_[i];
            if ((int32_t)in_[i] > most) most = (int32_t)in_[i];
        }
        memset(out_, 0, sizeof out_);
        out_[1] = 0x80000000u, out_[2] = out_[12] = UINT32_MAX;
        good(run(ptx, &(how){.grid = 16, .block = 128, .threads = t}, (array[]){{out_, sizeof out_}, {in_, sizeof in_}}, 2));
        assert_int_equal(out_[0], sum);
        assert_int_equal(out_[1], (uint32_t)most);
        assert_int_equal(out_[2], least);
        assert_int_equal(out_[3], mixed);
        assert_int_equal(out_[4], any);
        assert_int_equal(out_[5], THREADS % 100);
        assert_int_equal(out_[6] | (uint64_t)out_[7] << 32, wide);
        assert_int_equal(out_[8], THREADS);
        float f;
        memcpy(&f, &out_[9], 4);
        assert_true(f == THREADS);
        assert_int_equal(out_[10], 0x68006c00); // 2048 and 4096 in halves
        assert_int_equal(out_[11], 955); // 1000 below zero wraps to 1000, 2048 = 2 * 1001 + 46
        assert_int_equal(out_[12], all);
    }
}

/// Old values and results of one thread's operations.
static void atomics_one(void **state) {
    (void)state;
    static const struct {
        const char *op, *b, *c;
        uint64_t old, want;
        unsigned bits;
    } rows[] = {
        {"cas.b16", "7", "9", 0x00057, 0x57, 16}, {"cas.b16", "0x57", "9", 0x57, 9, 16},
        {"cas.b64", "0x1234567890", "-1", 0x1234567890, UINT64_MAX, 64}, {"exch.b64", "77", NULL, 5, 77, 64},
        {"min.s64", "-5", NULL, 3, (uint64_t)-5, 64}, {"max.u64", "-5", NULL, 3, (uint64_t)-5, 64},
        {"min.s32", "-5", NULL, 3, 0xfffffffb, 32}, {"max.u32", "-5", NULL, 3, 0xfffffffb, 32},
        {"inc.u32", "3", NULL, 3, 0, 32}, {"dec.u32", "3", NULL, 9, 3, 32}, {"dec.u32", "3", NULL, 2, 1, 32},
        {"add.f64", "0d3FF8000000000000", NULL, 0x3ff0000000000000, 0x4004000000000000, 64},
        {"add.f32", "0f00000001", NULL, 0x00000001, 0, 32}, // global: subnormals are zero
        {"add.noftz.bf16x2", "0x3f803f80", NULL, 0x3f804000, 0x40004040, 32},
        {"and.b64", "0xff00ff00ff", NULL, 0x0ff00ff00f, 0x0f000f000f, 64}, {"exch.b32", "77", NULL, 5, 77, 32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char ptx[4000], body[600], third[80] = "", name[8] = "";
        const unsigned bits = rows[i].bits;
        const char *const reg = bits == 16 ? "%rs" : bits == 64 ? "%rd" : "%r";
        if (rows[i].c) {
            snprintf(third, sizeof third, "mov.b%u %s10, %s;", bits, reg, rows[i].c);
            snprintf(name, sizeof name, ", %s10", reg);
        }
        snprintf(body, sizeof body, "mov.b%u %s9, %s; %s atom.global.%s %s8, [%%rd2], %s9%s; st.global.b%u [%%rd0], %s8;\n", bits, reg, rows[i].b, third, rows[i].op,
                 reg, reg, name, bits, reg);
        snprintf(ptx, sizeof ptx, "%s%s%s", HEAD ".visible .entry k(.param .u64 out, .param .u64 in)\n{\n" REGS THREAD
                 "ld.param.u64 %rd2, [in]; setp.ne.u32 %p1, %r0, 0; @%p1 ret;\n", body, "ret;\n}\n");
        uint64_t cell = rows[i].old, got = 0xaaaaaaaaaaaaaaaa;
        good(run(ptx, &(how){.block = 32}, (array[]){{&got, 8}, {&cell, 8}}, 2));
        const uint64_t keep = rows[i].bits == 64 ? UINT64_MAX : ((uint64_t)1 << rows[i].bits) - 1;
        if ((cell & keep) != rows[i].want || (got & keep) != (rows[i].old & keep))
            fail_msg("%s: %llx and old %llx", rows[i].op, (unsigned long long)cell, (unsigned long long)got);
    }
}

/// Wide cells: 128-bit compare-and-swap, vectors of floats; shared memory keeps subnormals.
static void atomics_wide(void **state) {
    (void)state;
    float cells[4] = {1, 2, 3, 4};
    uint64_t big[2] = {5, 6};
    good(run(HEAD ".shared .align 4 .b8 sh[4];\n" KERNEL(", .param .u64 in, .param .u64 big",
        ".reg .b128 %q<4>; ld.param.u64 %rd2, [in]; ld.param.u64 %rd3, [big]; mov.b32 %f1, 0f3f800000; mov.b32 %f2, 0f40000000; mov.b32 %r9, 0;\n"
        "red.global.add.v4.f32 [%rd2], {%f1, %f2, %f1, %f2};\n"
        "setp.ne.u32 %p1, %r0, 0; @%p1 ret; mov.b64 %rd4, 5; mov.b64 %rd5, 6; mov.b64 %rd6, 70; mov.b128 %q1, {%rd4, %rd5}; mov.b128 %q2, {%rd6, %rd4};\n"
        "atom.global.cas.b128 %q3, [%rd3], %q1, %q2; mov.b128 {%rd7, %rd8}, %q3; cvt.u32.u64 %r5, %rd8; st.global.u32 [%rd0], %r5;\n"
        "st.shared.u32 [sh], 1; mov.b32 %f3, 0f00000001; atom.shared.add.f32 %f4, [sh], %f3; ld.shared.u32 %r6, [sh]; st.global.u32 [%rd0+4], %r6;\n"),
        &(how){.block = 32}, (array[]){{out_, sizeof out_}, {cells, 16}, {big, 16}}, 3));
    assert_true(cells[0] == 33 && cells[1] == 66 && cells[2] == 35 && cells[3] == 68);
    assert_true(big[0] == 70 && big[1] == 5);
    assert_int_equal(out_[0], 6);
    assert_int_equal(out_[1], 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops), cmocka_unit_test(nested), cmocka_unit_test(indexed), cmocka_unit_test(spin_lock), cmocka_unit_test(semaphores),
        cmocka_unit_test(calls), cmocka_unit_test(addresses), cmocka_unit_test(records), cmocka_unit_test(printing), cmocka_unit_test(heap),
        cmocka_unit_test(reduction), cmocka_unit_test(named), cmocka_unit_test(deadlocks), cmocka_unit_test(clusters),
        cmocka_unit_test(spaces), cmocka_unit_test(widths), cmocka_unit_test(faults), cmocka_unit_test(device_memory),
        cmocka_unit_test(atomics_many), cmocka_unit_test(atomics_one), cmocka_unit_test(atomics_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
