// SPDX-License-Identifier: Apache-2.0
// wgmma on the virtual GPU: every type, operand place, major and swizzle; small integers exactly,
// random numbers within the accumulator's precision; groups under schedules; what misuse is told.
#include <math.h>

#include "tests/unit/vgpu_run.h"

enum { IMAGE = 81920, B_AT = 32768 };

/// 128 threads. $0: accumulator registers; $1: how many; $2: the instructions; $3: their loads; $4:
/// stores.
#define KERNEL                                                                                     \
    PTX_HEAD                                                                                       \
        ".extern .shared .align 1024 .b8 s[];\n"                                                   \
        ".visible .entry k(.param .u64 image, .param .u64 acc, .param .u64 out, .param .u64 "      \
        "adesc, .param .u64 bdesc, .param .u32 scale)\n{\n"                                        \
        ".reg .b32 %r<40>;\n.reg .b64 %rd<20>;\n.reg .pred %p<10>;\n.reg .$5 %d<$1>;\n.reg .b32 "  \
        "%a<4>;\n"                                                                                 \
        "ld.param.u64 %rd1, [image];\nld.param.u64 %rd2, [acc];\nld.param.u64 %rd3, "              \
        "[out];\nld.param.u64 %rd4, [adesc];\n"                                                    \
        "ld.param.u64 %rd5, [bdesc];\nld.param.u32 %r10, [scale];\nsetp.ne.u32 %p1, %r10, 0;\n"    \
        "mov.u32 %r1, %tid.x;\nmov.u32 %r3, s;\nshl.b32 %r4, %r1, 4;\ncvt.u64.u32 %rd6, "          \
        "%r4;\nadd.u64 %rd7, %rd1, %rd6;\n"                                                        \
        "add.u32 %r4, %r4, %r3;\nmov.u32 %r5, 0;\n"                                                \
        "in: ld.global.v4.u32 {%r30, %r31, %r32, %r33}, [%rd7];\nst.shared.v4.u32 [%r4], {%r30, "  \
        "%r31, %r32, %r33};\n"                                                                     \
        "add.u32 %r4, %r4, 2048;\nadd.u64 %rd7, %rd7, 2048;\nadd.u32 %r5, %r5, 1;\nsetp.lt.u32 "   \
        "%p2, %r5, 40;\n@%p2 bra in;\n"                                                            \
        "mul.wide.u32 %rd6, %r1, $6;\nadd.u64 %rd2, %rd2, %rd6;\nadd.u64 %rd3, %rd3, %rd6;\n$3"    \
        "fence.proxy.async;\nbar.sync 0;\nshr.u32 %r6, %r1, 5;\n$2$4ret;\n}\n"

typedef struct {
    const char *d, *a, *b;
    vm_dtype ta, tb;
    unsigned k; // elements of 32 bytes
    bool swaps;
} combination;

static const combination combinations[] = {
    {"f32", "f16", "f16", T_f16, T_f16, 16, true},
    {"f16", "f16", "f16", T_f16, T_f16, 16, true},
    {"f32", "bf16", "bf16", T_bf16, T_bf16, 16, true},
    {"f32", "tf32", "tf32", T_tf32, T_tf32, 8, false},
    {"f32", "e4m3", "e4m3", T_f8e4m3, T_f8e4m3, 32, false},
    {"f32", "e4m3", "e5m2", T_f8e4m3, T_f8e5m2, 32, false},
    {"f16", "e5m2", "e4m3", T_f8e5m2, T_f8e4m3, 32, false},
    {"f16", "e5m2", "e5m2", T_f8e5m2, T_f8e5m2, 32, false},
    {"s32", "s8", "s8", T_i8, T_i8, 32, false},
    {"s32", "u8", "s8", T_u8, T_i8, 32, false},
    {"s32", "s8", "u8", T_i8, T_u8, 32, false},
    {"s32", "u8", "u8", T_u8, T_u8, 32, false},
};

typedef struct {
    unsigned n, swizzle_a, swizzle_b; // 0 none, 1: 32 B, 2: 64 B, 3: 128 B
    bool rs, mn_a, mn_b, neg_a, neg_b, saturate;
    unsigned accumulate;
} form;

static unsigned below(unsigned n) {
    return (unsigned)(vt_random() >> 20) % n;
}

/// Where byte `byte` of an element lies: r along M or N, kb the byte along K (K-major) or k
/// (MN-major).
static unsigned where(unsigned start, unsigned lead, unsigned stride, unsigned swizzle, bool mn,
                      unsigned r, unsigned k, unsigned bytes) {
    const unsigned span = 16u << swizzle;
    unsigned at;
    if (!mn) {
        const unsigned kb = k * bytes;
        at = swizzle ? r % 8 * span + r / 8 * stride + kb
                     : r % 8 * 16 + r / 8 * stride + kb / 16 * lead + kb % 16;
    } else if (!swizzle)
        at = r % 8 * bytes + r / 8 * stride + k % 8 * 16 + k / 8 * lead;
    else
        at = r * bytes % span + r * bytes / span * lead + k % 8 * span + k / 8 * stride;
    at += start;
    static const unsigned rows[] = {1, 2, 4, 8};
    return at ^ (at / 128 % rows[swizzle]) * 16;
}

/// Writes a matrix into the image; gives its descriptor. v: rows of k codes.
static uint64_t lay(uint8_t *image, unsigned region, const uint64_t *v, unsigned rows,
                    const combination *c, unsigned swizzle, bool mn) {
    const unsigned bytes = 32 / c->k, span = 16u << swizzle;
    unsigned start = region, lead = 16, stride;
    if (!mn && !swizzle) {
        stride = 256 + 128 * below(2);
        lead = rows / 8 * stride;
        if (below(2)) lead = 128, stride = 256;
    } else if (!mn) {
        stride = span * 8;
        start += 32 * below(span / 32); // a slice of the span
    } else if (!swizzle) {
        lead = 128;
        stride = 256;
        if (below(2)) stride = 128, lead = rows / 8 * 128;
    } else {
        stride = span * 8;
        lead = 2 * stride;
    }
    for (unsigned r = 0; r < rows; r++)
        for (unsigned k = 0; k < c->k; k++)
            memcpy(image + where(start, lead, stride, swizzle, mn, r, k, bytes), &v[r * c->k + k],
                   bytes);
    return (uint64_t)(start >> 4) | (uint64_t)(lead >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
           (uint64_t)((4 - swizzle) & 3) << 62;
}

/// The accumulator's element that register i of a thread holds (f16: its first).
static void element(const combination *c, unsigned thread, unsigned i, unsigned *row,
                    unsigned *column) {
    const unsigned lane = thread % 32;
    *row = thread / 32 * 16 + lane / 4;
    if (strcmp(c->d, "f16") == 0) {
        *row += i % 2 * 8;
        *column = i / 2 * 8 + lane % 4 * 2;
    } else {
        *row += i / 2 % 2 * 8;
        *column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    }
}

static double number(vm_dtype t, uint64_t code) {
    return t == T_i8 || t == T_u8 ? (double)vm_decode_int(t, code) : vm_decode(t, code);
}

static uint64_t code(vm_dtype t, double x) {
    if (t == T_i8 || t == T_u8) return (uint64_t)(int64_t)x & 0xff;
    uint64_t c = vm_encode(t, x, (vm_rounding){.round = R_NEAREST, .saturate = true});
    return t == T_tf32 ? vm_encode(T_f32, vm_decode(t, c), (vm_rounding){.round = R_NEAREST}) : c;
}

static uint64_t va[64 * 32], vb[256 * 32];
static double na[64 * 32], nb[256 * 32];
static uint8_t image[IMAGE];
static uint32_t acc[128 * 128 + 128 * 4], out[128 * 128 + 128 * 4];

static char names[4096], load_text[32768], store_text[32768], ptx[80000], issue[16384];

/// Names of the accumulators, and the loads and stores of a thread's (and of its fragment).
static void lists(const combination *c, unsigned nacc, bool rs) {
    const char *t = strcmp(c->d, "f32") == 0 ? "f32" : "b32";
    size_t n = 0, l = 0, s = 0;
    for (unsigned i = 0; i < nacc; i++) {
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%%d%u", i ? ", " : "", i);
        l += (size_t)snprintf(load_text + l, sizeof load_text - l,
                              "ld.global.%s %%d%u, [%%rd2+%u];\n", t, i, i * 4);
        s += (size_t)snprintf(store_text + s, sizeof store_text - s,
                              "st.global.%s [%%rd3+%u], %%d%u;\n", t, i * 4, i);
    }
    for (unsigned i = 0; i < 4 && rs; i++)
        l += (size_t)snprintf(load_text + l, sizeof load_text - l,
                              "ld.global.b32 %%a%u, [%%rd2+%u];\n", i, (nacc + i) * 4);
}

/// Twice the same product, in one group. Returns the largest error relative to the sum of
/// magnitudes.
static double run(const combination *c, const form *f, bool small, uint64_t schedule,
                  bool sanitize) {
    const bool packed = strcmp(c->d, "f16") == 0, whole = strcmp(c->d, "s32") == 0;
    const unsigned nacc = f->n / (packed ? 4 : 2);
    for (unsigned i = 0; i < 64 * c->k; i++)
        va[i] = code(c->ta, small || whole ? (double)below(7) - (c->ta == T_u8 ? 0 : 3)
                                           : (double)(int64_t)vt_random() * 0x1p-63);
    for (unsigned i = 0; i < f->n * c->k; i++)
        vb[i] = code(c->tb, small || whole ? (double)below(7) - (c->tb == T_u8 ? 0 : 3)
                                           : (double)(int64_t)vt_random() * 0x1p-63);
    vt_fill(image, sizeof image);
    uint64_t a = f->rs ? 0 : lay(image, 0, va, 64, c, f->swizzle_a, f->mn_a),
             b = lay(image, B_AT, vb, f->n, c, f->swizzle_b, f->mn_b);
    for (unsigned t = 0; t < 128; t++) {
        uint32_t *to = acc + t * (nacc + 4);
        for (unsigned i = 0; i < nacc; i++) {
            const double x = small || whole ? (double)below(17) - 8
                                            : (double)(int64_t)vt_random() * 0x1p-62,
                         y = -x;
            to[i] = whole    ? (uint32_t)(int32_t)x
                    : packed ? (uint32_t)(code(T_f16, x) | code(T_f16, y) << 16)
                             : (uint32_t)code(T_f32, x);
            if (f->saturate && whole) to[i] = i % 2 ? 0x7fffffff : 0x80000000u;
        }
        for (unsigned i = 0; i < 4; i++) { // the fragment's words of 4 bytes
            const unsigned row = t / 32 * 16 + t % 32 / 4 + i % 2 * 8,
                           k = (i / 2 * 16 + t % 4 * 4) * c->k / 32;
            uint8_t *word = (uint8_t *)&to[nacc + i];
            for (unsigned e = 0; e < c->k / 8; e++)
                memcpy(word + e * (32 / c->k), &va[row * c->k + k + e], 32 / c->k);
        }
    }
    lists(c, nacc, f->rs);
    char one[6000], tail[64] = "";
    if (!whole)
        snprintf(tail, sizeof tail, ", %s, %s", f->neg_a ? "-1" : "1", f->neg_b ? "-1" : "1");
    if (c->swaps)
        snprintf(tail + strlen(tail), sizeof tail - strlen(tail), f->rs ? ", %d" : ", %d, %d",
                 f->rs ? f->mn_b : f->mn_a, f->mn_b);
    vt_text(one, sizeof one,
            "wgmma.mma_async.sync.aligned.m64n$0k$1.$2.$3.$4$5 {$6}, $7, %rd5, $8$9;\n",
            (const char *[]){vt_number(f->n), vt_number(c->k), c->d, c->a, c->b,
                             f->saturate ? ".satfinite" : "", names,
                             f->rs ? "{%a0, %a1, %a2, %a3}" : "%rd4", "p", tail});
    char *p = strstr(one, ", p");
    assert_non_null(p);
    size_t head = (size_t)(p - one);
    snprintf(issue, sizeof issue,
             "wgmma.fence.sync.aligned;\n%.*s, %%p1%s%.*s, "
             "1%swgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
             (int)head, one, p + 3, (int)head, one, p + 3);
    vt_text(ptx, sizeof ptx, KERNEL,
            (const char *[]){names, vt_number(nacc), issue, load_text, store_text,
                             strcmp(c->d, "f32") == 0 ? "f32" : "b32", vt_number((nacc + 4) * 4)});
    vt_fill(out, sizeof out);
    const size_t bytes = 128 * (nacc + 4) * 4;
    uint32_t scale = f->accumulate;
    vt_arg arg[] = {VT_BUFFER(image, IMAGE), VT_BUFFER(acc, bytes), VT_BUFFER(out, bytes),
                    VT_BYTES(&a, 8),         VT_BYTES(&b, 8),       VT_BYTES(&scale, 4)};
    vt_good(vt_run(
        ptx,
        &(vt_config){.block = 128, .shared = IMAGE, .schedule = schedule, .sanitize = sanitize},
        arg, 6));
    if (vt_reports) fail_msg("%s", vt_report);
    double worst = 0;
    for (unsigned i = 0; i < 64 * c->k; i++) na[i] = number(c->ta == T_tf32 ? T_f32 : c->ta, va[i]);
    for (unsigned i = 0; i < f->n * c->k; i++)
        nb[i] = number(c->tb == T_tf32 ? T_f32 : c->tb, vb[i]);
    for (unsigned t = 0; t < 128; t++)
        for (unsigned i = 0; i < nacc * (packed ? 2 : 1); i++) {
            unsigned row, column;
            const unsigned reg = packed ? i / 2 : i;
            element(c, t, reg, &row, &column);
            if (packed) column += i % 2;
            const uint32_t before = acc[t * (nacc + 4) + reg], after = out[t * (nacc + 4) + reg];
            double sum = 0, size = 1e-30, x, y;
            for (unsigned k = 0; k < c->k; k++) {
                const double v = na[row * c->k + k] * nb[column * c->k + k];
                sum += v;
                size += fabs(v);
            }
            if (f->neg_a != f->neg_b) sum = -sum;
            x = whole    ? (double)(int32_t)before
                : packed ? vm_decode(T_f16, i % 2 ? before >> 16 : before & 0xffff)
                         : vm_decode(T_f32, before);
            y = whole    ? (double)(int32_t)after
                : packed ? vm_decode(T_f16, i % 2 ? after >> 16 : after & 0xffff)
                         : vm_decode(T_f32, after);
            double want = f->accumulate ? x : 0;
            for (int twice = 0; twice < 2; twice++) {
                want += sum;
                if (f->saturate)
                    want = want > 2147483647.    ? 2147483647.
                           : want < -2147483648. ? -2147483648.
                                                 : want;
            }
            if (whole && !f->saturate) want = (double)(int32_t)(uint32_t)(int64_t)want;
            const double error = fabs(want - y) / (size + fabs(x));
            if ((small || whole) && want != y)
                fail_msg("%s.%s.%s n %u, %s %s%u %s%u: (%u, %u) is %g, not %g", c->d, c->a, c->b,
                         f->n, f->rs ? "RS" : "SS", f->mn_a ? "MN" : "K", f->swizzle_a,
                         f->mn_b ? "MN" : "K", f->swizzle_b, row, column, y, want);
            if (!(error <= worst)) worst = error;
        }
    return worst;
}

static void forms(void **state) {
    (void)state;
    static const unsigned ns[] = {8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 240, 256};
    unsigned k = 0;
    for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) {
        const combination *c = &combinations[i];
        for (unsigned sa = 0; sa < 4; sa++)
            for (unsigned sb = 0; sb < 4; sb++)
                for (unsigned major = 0; major < (c->swaps ? 4u : 1u); major++) {
                    form f = {.n = ns[k++ % 12],
                              .swizzle_a = sa,
                              .swizzle_b = sb,
                              .mn_a = major & 1,
                              .mn_b = major >> 1,
                              .neg_a = strcmp(c->d, "s32") && k % 3 == 0,
                              .neg_b = strcmp(c->d, "s32") && k % 5 == 0,
                              .accumulate = k % 4 != 0};
                    if (f.mn_b && f.n * (32 / c->k) % (16u << sb)) f.n = 128; // whole spans
                    const bool packed = strcmp(c->d, "f16") == 0;
                    run(c, &f, true, k % 3 ? k : 0, k % 16 == 0);
                    const double error = run(c, &f, false, 0, false);
                    if (error > (packed ? 2e-3 : 1e-6))
                        fail_msg("%s.%s: error %g", c->d, c->a, error);
                    if (f.mn_a) continue;
                    f.rs = true;
                    run(c, &f, true, k % 2 ? k : 0, false);
                }
    }
}

static void saturation(void **state) {
    (void)state;
    const form f = {.n = 32, .swizzle_a = 3, .swizzle_b = 2, .saturate = true, .accumulate = 1};
    run(&combinations[8], &f, true, 0, false);
    run(&combinations[11], &f, true, 0, false);
}

/// Bits: and, then count.
static void bits(void **state) {
    (void)state;
    for (unsigned i = 0; i < IMAGE; i++) image[i] = (uint8_t)vt_random();
    const combination c = {.d = "s32", .k = 32};
    for (unsigned i = 0; i < 64 * 32; i++) va[i] = (uint8_t)vt_random();
    for (unsigned i = 0; i < 16 * 32; i++) vb[i] = (uint8_t)vt_random();
    uint64_t a = lay(image, 0, va, 64, &c, 1, false), b = lay(image, B_AT, vb, 16, &c, 3, false);
    lists(&c, 8, false);
    snprintf(issue, sizeof issue,
             "wgmma.mma_async.sync.aligned.m64n16k256.s32.b1.b1.and.popc {%s}, %%rd4, %%rd5, "
             "1;\nwgmma.commit_group.sync.aligned;\n"
             "wgmma.wait_group.sync.aligned 0;\n",
             names);
    vt_text(ptx, sizeof ptx, KERNEL,
            (const char *[]){names, "8", issue, load_text, store_text, "b32", "32"});
    uint32_t one = 1;
    vt_fill(acc, 128 * 32);
    vt_arg arg[] = {VT_BUFFER(image, IMAGE), VT_BUFFER(acc, 128 * 32), VT_BUFFER(out, 128 * 32),
                    VT_BYTES(&a, 8),         VT_BYTES(&b, 8),          VT_BYTES(&one, 4)};
    vt_good(vt_run(ptx, &(vt_config){.block = 128, .shared = IMAGE}, arg, 6));
    for (unsigned t = 0; t < 128; t++)
        for (unsigned i = 0; i < 8; i++) {
            unsigned row, column, sum = acc[t * 8 + i];
            element(&c, t, i, &row, &column);
            for (unsigned k = 0; k < 32; k++)
                sum += (unsigned)__builtin_popcountll(va[row * 32 + k] & vb[column * 32 + k]);
            assert_int_equal(out[t * 8 + i], sum);
        }
}

// ---- time ---------------------------------------------------------------------------------------

#define SHAPE "m64n8k16.f32.f16.f16"
#define MMA(acc) "wgmma.mma_async.sync.aligned." SHAPE " {" acc "}, %rd4, %rd5, 1, 1, 1, 0, 0;\n"
#define COMMIT "wgmma.commit_group.sync.aligned;\n"
#define WAIT(n) "wgmma.wait_group.sync.aligned " #n ";\n"

/// Runs `text` with 8 accumulators a thread: two tiles of m64n8.
static bool sanitize;

static enum vg_status small_run(const char *text, uint64_t schedule, unsigned block, uint64_t a,
                                uint64_t b) {
    const combination c = combinations[0];
    lists(&c, 8, false);
    vt_text(ptx, sizeof ptx, KERNEL,
            (const char *[]){names, "8", text, load_text, store_text, "f32", "32"});
    uint32_t one = 1;
    vt_arg arg[] = {VT_BUFFER(image, IMAGE), VT_BUFFER(acc, 128 * 32), VT_BUFFER(out, 128 * 32),
                    VT_BYTES(&a, 8),         VT_BYTES(&b, 8),          VT_BYTES(&one, 4)};
    return vt_run(
        ptx,
        &(vt_config){.block = block, .shared = IMAGE, .schedule = schedule, .sanitize = sanitize},
        arg, 6);
}

/// Two open groups; only the older one is waited for before its results are stored.
static void open_groups(void **state) {
    (void)state;
    const combination *c = &combinations[0];
    unsigned early = 0, late = 0, poisoned = 0;
    for (uint64_t s = 0; s < 40; s++) {
        for (unsigned i = 0; i < 64 * 16; i++) va[i] = code(T_f16, (double)below(7) - 3);
        for (unsigned i = 0; i < 8 * 16; i++) vb[i] = code(T_f16, (double)below(7) - 3);
        vt_fill(image, sizeof image);
        uint64_t a = lay(image, 0, va, 64, c, 3, false), b = lay(image, B_AT, vb, 8, c, 3, false);
        for (unsigned i = 0; i < 128 * 8; i++)
            acc[i] = (uint32_t)code(T_f32, (double)below(9) + 100);
        vt_good(small_run(
            "wgmma.fence.sync.aligned;\n" MMA("%d0, %d1, %d2, %d3") COMMIT MMA("%d4, %d5, %d6, %d7")
                COMMIT WAIT(
                    1) "st.global.f32 [%rd3], %d0;\nst.global.f32 [%rd3+4], %d1;\nst.global.f32 "
                       "[%rd3+8], %d2;\nst.global.f32 [%rd3+12], %d3;\n"
                       "st.global.f32 [%rd3+16], %d4;\nst.global.f32 [%rd3+20], "
                       "%d5;\nst.global.f32 [%rd3+24], %d6;\nst.global.f32 [%rd3+28], %d7;\n" WAIT(
                           0) "ret;\n",
            s, 128, a, b));
        for (unsigned t = 0; t < 128; t++)
            for (unsigned i = 0; i < 8; i++) {
                unsigned row, column;
                element(c, t, i % 4, &row, &column);
                double sum = vm_decode(T_f32, acc[t * 8 + i]);
                for (unsigned k = 0; k < 16; k++)
                    sum +=
                        vm_decode(T_f16, va[row * 16 + k]) * vm_decode(T_f16, vb[column * 16 + k]);
                const bool there = vm_decode(T_f32, out[t * 8 + i]) == sum,
                           same = out[t * 8 + i] == acc[t * 8 + i];
                if (i < 4)
                    assert_true(there);
                else if (there && !same)
                    early++;
                else if (same && !there)
                    late++;
                else if (!there)
                    poisoned++;
            }
    }
    assert_true(early > 0 && late > 0 && poisoned > 0);
}

typedef struct {
    const char *says, *body;
    unsigned block;
    uint64_t a;
} mistake;

static const mistake mistakes[] = {
    {"fewer than 4 warps", MMA("%d0, %d1, %d2, %d3"), 96, 0},
    {"by a part of a warp", "setp.ne.u32 %p3, %r1, 5;\n@%p3 " MMA("%d0, %d1, %d2, %d3"), 128, 0},
    {"different descriptors",
     "cvt.u64.u32 %rd9, %r1;\nadd.u64 %rd4, %rd4, %rd9;\n" MMA("%d0, %d1, %d2, %d3"), 128, 0},
    {"descriptors or scale-d differ",
     "cvt.u64.u32 %rd9, %r6;\nadd.u64 %rd4, %rd4, %rd9;\n" MMA("%d0, %d1, %d2, %d3") COMMIT WAIT(0),
     128, 0},
    {"issue different wgmmas",
     "setp.eq.u32 %p3, %r6, 2;\n@%p3 bra other;\n" MMA("%d0, %d1, %d2, %d3")
         COMMIT WAIT(0) "ret;\nother:\n" MMA("%d4, %d5, %d6, %d7") COMMIT WAIT(0),
     128, 0},
    {"which have not issued the same wgmma",
     "setp.eq.u32 %p3, %r6, 2;\n@%p3 bra over;\n" MMA("%d0, %d1, %d2, %d3")
         COMMIT WAIT(0) "over:\n",
     128, 0},
    {"the descriptor is wrong", MMA("%d0, %d1, %d2, %d3") COMMIT WAIT(0), 128, 0x3fff},
    {"has 4 accumulator registers", MMA("%d0, %d1, %d2"), 128, 0},
    {"no such shape",
     "wgmma.mma_async.sync.aligned.m64n12k16.f32.f16.f16 {%d0}, %rd4, %rd5, 1, 1, 1, 0, 0;\n", 128,
     0},
    {"no such shape", "wgmma.mma_async.sync.aligned.m64n40k32.s32.s8.s8 {%d0}, %rd4, %rd5, 1;\n",
     128, 0},
    {"does not combine",
     "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 {%d0}, %rd4, %rd5, 1, 1, 1, 0, 0;\n", 128,
     0},
    {"is 1 or -1",
     "wgmma.mma_async.sync.aligned." SHAPE " {%d0, %d1, %d2, %d3}, %rd4, %rd5, 1, 2, 1, 0, 0;\n",
     128, 0},
    {"is 0 or 1",
     "wgmma.mma_async.sync.aligned." SHAPE " {%d0, %d1, %d2, %d3}, %rd4, %rd5, 1, 1, 1, 0, 3;\n",
     128, 0},
    {"count of groups", "wgmma.wait_group.sync.aligned %r1;\n", 128, 0},
    {"not known", "wgmma.foo.sync.aligned;\n", 128, 0},
};

static void errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        vt_fill(acc, 128 * 32);
        vt_fill(image, sizeof image);
        enum vg_status s =
            small_run(mistakes[i].body, 0, mistakes[i].block, mistakes[i].a, B_AT >> 4);
        if (s == VG_OK || !strstr(vt_message, mistakes[i].says))
            fail_msg("row %zu, status %d: '%s' does not say '%s'", i, (int)s, vt_message,
                     mistakes[i].says);
    }
}

/// Registers and shared memory of open wgmmas are not to be touched.
static void open_registers(void **state) {
    (void)state;
#define RS                                                                                         \
    "wgmma.mma_async.sync.aligned." SHAPE                                                          \
    " {%d0, %d1, %d2, %d3}, {%a0, %a1, %a2, %a3}, %rd5, 1, 1, 1, 0;\n"
#define SET                                                                                        \
    "mov.b32 %a0, %r1;\nmov.b32 %a1, %r1;\nmov.b32 %a2, %r1;\nmov.b32 %a3, "                       \
    "%r1;\nwgmma.fence.sync.aligned;\n"
    static const struct {
        const char *body, *says;
    } rows[] = {
        {SET RS RS COMMIT WAIT(0) "mov.b32 %a1, %r2;\n", NULL},
        {SET RS COMMIT "mov.b32 %r20, %a1;\n" WAIT(0), NULL},
        {SET RS COMMIT "mov.b32 %a1, %r1;\n" WAIT(0), "leased: write of register %a1"},
        {SET RS COMMIT "ld.shared.v2.u32 {%r20, %a2}, [%r3];\n" WAIT(0),
         "leased: write of register %a2"},
        {SET RS COMMIT RS COMMIT WAIT(1) "add.u32 %a0, %a0, 1;\n" WAIT(0),
         "leased: write of register %a0"},
        {SET MMA("%d0, %d1, %d2, %d3") COMMIT "add.f32 %d4, %d5, %d3;\n" WAIT(0),
         "in-flight: read of register %d3"},
        {SET MMA("%d0, %d1, %d2, %d3") COMMIT MMA("%d4, %d5, %d6, %d7")
             COMMIT WAIT(1) "add.f32 %d0, %d0, %d0;\n" WAIT(0),
         NULL},
        {SET MMA("%d0, %d1, %d2, %d3") COMMIT MMA("%d4, %d5, %d6, %d7")
             COMMIT WAIT(1) "st.global.f32 [%rd3], %d7;\n" WAIT(0),
         "in-flight: read of register %d7"},
        {SET MMA("%d0, %d1, %d2, %d3") COMMIT
         "setp.eq.u32 %p3, %r1, 127;\n@%p3 st.shared.u32 [%r3], %r1;\n" WAIT(0),
         "leased: write of 4 bytes of shared memory"},
        {"setp.eq.u32 %p3, %r1, 9;\n@%p3 st.shared.u32 [%r3], %r1;\nbar.sync "
         "0;\nwgmma.fence.sync.aligned;\n" MMA("%d0, %d1, %d2, %d3") COMMIT WAIT(0),
         "proxy"},
    };
    sanitize = true;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vt_fill(acc, 128 * 32);
        vt_fill(image, sizeof image);
        uint64_t a = (uint64_t)16 << 16 | (uint64_t)32 << 32 | 1ull << 62;
        vt_good(small_run(rows[i].body, 0, 128, a, a | B_AT >> 4));
        if (rows[i].says ? !strstr(vt_report, rows[i].says) : vt_reports != 0)
            fail_msg("row %zu: %zu reports: %s", i, vt_reports, vt_report);
    }
    sanitize = false;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms),       cmocka_unit_test(saturation),     cmocka_unit_test(bits),
        cmocka_unit_test(open_groups), cmocka_unit_test(open_registers), cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
