// SPDX-License-Identifier: Apache-2.0
// Bulk and tensor copies on the virtual GPU against plain loops over elements: every direction,
// number of dimensions, swizzle, edge and reduction, multicast, and the checks of tensor maps.
#include "tests/unit/vgpu_run.h"

enum { IMAGE = 16384, TENSOR = 1 << 16 };

/// 128 threads; $0: what thread 0 does once shared memory is as the image (or poisoned); the image
/// back.
#define PROLOGUE                                                                                   \
    PTX_HEAD                                                                                       \
        ".visible .entry k(.param .align 64 .b8 map[128], .param .u64 tensor, .param .u64 "        \
        "image,\n"                                                                                 \
        ".param .u32 c0, .param .u32 c1, .param .u32 c2, .param .u32 c3, .param .u32 c4)\n{\n"     \
        ".reg .b32 %r<40>;\n.reg .b16 %h<8>;\n.reg .b64 %rd<40>;\n.reg .pred %p<10>;\n"            \
        ".shared .align 1024 .b8 s[16384];\n.shared .align 8 .b64 bar[2];\n"                       \
        "mov.b64 %rd5, map;\ncvta.param.u64 %rd5, %rd5;\nld.param.u64 %rd1, "                      \
        "[tensor];\nld.param.u64 %rd2, [image];\n"                                                 \
        "ld.param.u32 %r10, [c0];\nld.param.u32 %r11, [c1];\nld.param.u32 %r12, "                  \
        "[c2];\nld.param.u32 %r13, [c3];\n"                                                        \
        "ld.param.u32 %r14, [c4];\nmov.u32 %r1, %tid.x;\nmov.u32 %r3, s;\nmov.u32 %r2, "           \
        "bar;\nsetp.eq.u32 %p1, %r1, 0;\n"                                                         \
        "mov.u32 %r20, %ctaid.x;\nmul.wide.u32 %rd6, %r20, 16384;\nadd.u64 %rd2, %rd2, %rd6;\n"    \
        "shl.b32 %r4, %r1, 4;\ncvt.u64.u32 %rd3, %r4;\nadd.u64 %rd3, %rd3, %rd2;\nadd.u32 %r4, "   \
        "%r4, %r3;\nmov.u32 %r5, 0;\n"                                                             \
        "in: ld.global.v4.u32 {%r30, %r31, %r32, %r33}, [%rd3];\nst.shared.v4.u32 [%r4], {%r30, "  \
        "%r31, %r32, %r33};\n"                                                                     \
        "add.u32 %r4, %r4, 2048;\nadd.u64 %rd3, %rd3, 2048;\nadd.u32 %r5, %r5, 1;\nsetp.lt.u32 "   \
        "%p2, %r5, 8;\n@%p2 bra in;\n"                                                             \
        "@%p1 mbarrier.init.shared.b64 [%r2], "                                                    \
        "1;\nfence.mbarrier_init.release.cluster;\nfence.proxy.async;\n" SYNC "@!%p1 bra done;\n"
#define SYNC "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\n"
#define EPILOGUE                                                                                   \
    "done:\n" SYNC "shl.b32 %r4, %r1, 4;\ncvt.u64.u32 %rd3, %r4;\nadd.u64 %rd3, %rd3, "            \
                   "%rd2;\nadd.u32 %r4, %r4, %r3;\nmov.u32 %r5, 0;\n"                              \
    "out: ld.shared.v4.u32 {%r30, %r31, %r32, %r33}, [%r4];\nst.global.v4.u32 [%rd3], {%r30, "     \
    "%r31, %r32, %r33};\n"                                                                         \
    "add.u32 %r4, %r4, 2048;\nadd.u64 %rd3, %rd3, 2048;\nadd.u32 %r5, %r5, 1;\nsetp.lt.u32 %p2, "  \
    "%r5, 8;\n@%p2 bra out;\nret;\n}\n"
#define EXPECT "mbarrier.arrive.expect_tx.shared.b64 _, [%r2], $1;\n"
#define WAIT "wait: mbarrier.try_wait.parity.shared.b64 %p3, [%r2], 0;\n@!%p3 bra wait;\n"
#define GROUP                                                                                      \
    "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;\ncp.async.bulk.wait_group 0;\n"

static const char *const coordinates[] = {"{%r10}", "{%r10, %r11}", "{%r10, %r11, %r12}",
                                          "{%r10, %r11, %r12, %r13}",
                                          "{%r10, %r11, %r12, %r13, %r14}"};

/// A tensor map and a box, as the test chose them.
typedef struct {
    int type, swizzle, oob, im2col;
    unsigned rank, bytes;
    uint64_t dim[5], stride[5]; // stride[0]: bytes
    uint32_t box[5], step[5];
    int32_t at[5];
    int lower[3], upper[3];
    uint16_t offset[3];
    uint32_t channels, pixels;
    int status;
} tensor;

typedef struct {
    int type;
    unsigned bytes;
    bool real;
} element;
static const element elements[] = {{0, 1, false}, {1, 2, false}, {2, 4, false}, {3, 4, false},
                                   {4, 8, false}, {5, 8, false}, {6, 2, true},  {7, 4, true},
                                   {8, 8, true},  {9, 2, true}};

static unsigned below(unsigned n) {
    return (unsigned)(vt_random() >> 20) % n;
}

static void encode(void *user, const uint64_t *address, void **param) {
    tensor *t = user;
    void *base = (void *)(uintptr_t)address[1];
    t->status = t->im2col
                    ? vg_tensor_map_encode_im2col(param[0], t->type, t->rank, base, t->dim,
                                                  t->stride + 1, t->lower, t->upper, t->channels,
                                                  t->pixels, t->step, 0, t->swizzle, 2, t->oob)
                    : vg_tensor_map_encode(param[0], t->type, t->rank, base, t->dim, t->stride + 1,
                                           t->box, t->step, 0, t->swizzle, 2, t->oob);
}

static unsigned count(const tensor *t, unsigned i) {
    return (t->box[i] + t->step[i] - 1) / t->step[i];
}
static unsigned box_bytes(const tensor *t) {
    if (t->im2col) return t->channels * t->pixels * t->bytes;
    unsigned n = t->bytes;
    for (unsigned i = 0; i < t->rank; i++) n *= count(t, i);
    return n;
}

/// Where byte `at` of shared memory goes: 16-byte pieces by the row of 128 bytes that they are in.
static unsigned swizzled(const tensor *t, unsigned at) {
    static const unsigned rows[] = {1, 2, 4, 8};
    return at ^ (at / 128 % rows[t->swizzle]) * 16;
}

/// Offset in global memory of an element of the box, or -1: outside.
static int64_t place(const tensor *t, unsigned index) {
    int64_t g[5] = {0}, off = 0;
    if (!t->im2col) {
        for (unsigned i = 0; i < t->rank; i++) {
            g[i] = t->at[i] + (int64_t)(index % count(t, i)) * t->step[i];
            index /= count(t, i);
        }
    } else { // pixel by pixel from the start
        int64_t p[5];
        for (unsigned i = 0; i < t->rank; i++) p[i] = t->at[i];
        for (unsigned n = index / t->channels; n > 0; n--)
            for (unsigned i = 1; i < t->rank; i++) {
                p[i] += i + 1 < t->rank ? t->step[i] : 1;
                if (i + 1 == t->rank || p[i] <= (int64_t)t->dim[i] - 1 + t->upper[i - 1]) break;
                p[i] = t->lower[i - 1];
            }
        g[0] = t->at[0] + (int64_t)(index % t->channels);
        for (unsigned i = 1; i < t->rank; i++)
            g[i] = p[i] + (i + 1 < t->rank ? t->offset[i - 1] : 0);
    }
    for (unsigned i = 0; i < t->rank; i++) {
        if (g[i] < 0 || g[i] >= (int64_t)t->dim[i]) return -1;
        off += g[i] * (int64_t)t->stride[i];
    }
    return off;
}

static void draw_tensor(tensor *t, bool loads) {
    const element e = elements[below(10)];
    *t = (tensor){.type = e.type,
                  .bytes = e.bytes,
                  .rank = 1 + below(5),
                  .swizzle = (int)below(4),
                  .oob = loads && e.real && below(2)};
    const unsigned span = t->swizzle            ? 16u << t->swizzle
                          : 256 * e.bytes < 256 ? 256 * e.bytes
                                                : 256;
    t->box[0] = 16 / e.bytes * (1 + below(span / 16));
    if (t->box[0] > 256) t->box[0] = 256;
    t->step[0] = 1;
    unsigned total = t->box[0] * e.bytes, extent = 1;
    t->stride[0] = e.bytes;
    for (unsigned i = 0; i < t->rank; i++) {
        if (i) {
            t->step[i] = below(3) ? 1 : 1 + below(3);
            unsigned most = IMAGE / total;
            t->box[i] = t->step[i] * (1 + below(most < 12 ? most : 12));
            total *= count(t, i);
        }
        t->dim[i] = i ? 1 + below(i == 1 ? 24 : 5) : 1 + below(t->box[0] * 2);
        t->at[i] = (int32_t)below((unsigned)t->dim[i] + 6) - 3;
        if (i == 0) t->at[i] = t->at[i] * (int)e.bytes / 16 * 16 / (int)e.bytes; // on 16 bytes
        if (i == 0)
            extent = ((unsigned)t->dim[0] * e.bytes + 15 + 16 * below(3)) / 16 * 16;
        else {
            t->stride[i] = extent;
            extent *= (unsigned)t->dim[i];
        }
    }
    if (extent > TENSOR) draw_tensor(t, loads);
}

static void draw_im2col(tensor *t) {
    const element e = elements[6 + below(4)];
    *t = (tensor){.type = e.type,
                  .bytes = e.bytes,
                  .rank = 3 + below(3),
                  .swizzle = (int)below(4),
                  .im2col = 1,
                  .oob = (int)below(2)};
    const unsigned span = t->swizzle ? 16u << t->swizzle : 128;
    t->channels = 16 / e.bytes * (1 + below(span / 16));
    t->pixels = 1 + below(40);
    uint64_t extent = 0;
    for (unsigned i = 0; i < t->rank; i++) {
        t->dim[i] = i == 0 ? t->channels + below(8) : 2 + below(6);
        t->step[i] = i && i + 1 < t->rank ? 1 + below(2) : 1;
        t->stride[i] = i == 0   ? e.bytes
                       : i == 1 ? (t->dim[0] * e.bytes + 15) / 16 * 16
                                : t->stride[i - 1] * t->dim[i - 1];
        extent = t->stride[i] * t->dim[i];
        if (i && i + 1 < t->rank) {
            t->lower[i - 1] = -(int)below(3);
            t->upper[i - 1] = -(int)below(2);
            t->offset[i - 1] = (uint16_t)below(3);
        }
        // starts on the grid of steps
        const int low = i && i + 1 < t->rank ? t->lower[i - 1] : 0,
                  high = (int)t->dim[i] - 1 + (i && i + 1 < t->rank ? t->upper[i - 1] : 0);
        t->at[i] = i ? low + (int)(below((unsigned)(high - low) / t->step[i] + 1) * t->step[i]) : 0;
    }
    if (extent > TENSOR || t->channels * t->pixels * t->bytes > IMAGE) draw_im2col(t);
}

static enum vg_status launch(const char *text, const vt_config *c, tensor *t, uint8_t *buffer,
                             uint8_t *image, size_t images) {
    vt_arg arg[8] = {VT_BYTES((uint8_t[128]){0}, 128), VT_BUFFER(buffer, TENSOR),
                     VT_BUFFER(image, images * IMAGE)};
    for (int i = 0; i < 5; i++) arg[3 + i] = VT_BYTES(&t->at[i], 4);
    enum vg_status s = vt_run_with(text, c, arg, 8, encode, t);
    if (t->status) fail_msg("the tensor map was refused: %d", t->status);
    return s;
}

static uint8_t buffer[TENSOR], before[TENSOR], image[4 * IMAGE], want[4 * IMAGE];

/// What shared memory holds after the load.
static void expect_box(const tensor *t, uint8_t *to) {
    const unsigned n = box_bytes(t) / t->bytes;
    for (unsigned i = 0; i < n; i++) {
        const int64_t from = place(t, i);
        for (unsigned b = 0; b < t->bytes; b++) {
            uint8_t v = from >= 0           ? buffer[from + b]
                        : !t->oob           ? 0
                        : b + 1 == t->bytes ? 0x7f
                                            : 0xff;
            to[swizzled(t, i * t->bytes + b)] = v;
        }
    }
}

static void loads(void **state) {
    (void)state;
    for (unsigned i = 0; i < 400; i++) {
        tensor t;
        if (i % 4 == 3)
            draw_im2col(&t);
        else
            draw_tensor(&t, true);
        vt_fill(buffer, sizeof buffer);
        vt_fill(image, sizeof image);
        memcpy(want, image, sizeof want);
        expect_box(&t, want);
        char offsets[80] = "", text[8192];
        if (t.im2col) {
            size_t n = 0;
            for (unsigned k = 0; k + 2 < t.rank; k++)
                n += (size_t)snprintf(offsets + n, sizeof offsets - n, "%s%u", k ? ", " : ", {",
                                      (unsigned)t.offset[k]);
            snprintf(offsets + n, sizeof offsets - n, "}");
        }
        vt_text(text, sizeof text,
                PROLOGUE EXPECT "cp.async.bulk.prefetch.tensor.$0d.L2.global.$4 [%rd5, $2]$3;\n"
                                "cp.async.bulk.tensor.$0d.shared::cluster.global.$4.mbarrier::"
                                "complete_tx::bytes [%r3], [%rd5, $2], [%r2]$3;\n" WAIT EPILOGUE,
                (const char *[]){vt_number(t.rank), vt_number(box_bytes(&t)),
                                 coordinates[t.rank - 1], offsets, t.im2col ? "im2col" : "tile"});
        vt_good(launch(text, &(vt_config){.block = 128, .schedule = i % 3, .sanitize = i % 8 > 5},
                       &t, buffer, image, 1));
        if (vt_reports) fail_msg("tensor %u: %s", i, vt_report);
        for (unsigned k = 0; k < IMAGE; k++)
            if (image[k] != want[k])
                fail_msg("tensor %u (rank %u, swizzle %d, im2col %d): byte %u is %02x, not %02x", i,
                         t.rank, t.swizzle, t.im2col, k, image[k], want[k]);
    }
}

static void stores(void **state) {
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        tensor t;
        draw_tensor(&t, false);
        vt_fill(buffer, sizeof buffer);
        memcpy(before, buffer, sizeof before);
        vt_fill(image, sizeof image);
        char text[8192];
        vt_text(
            text, sizeof text,
            PROLOGUE
            "cp.async.bulk.tensor.$0d.global.shared::cta.tile.bulk_group [%rd5, $1], [%r3];\n" GROUP
                EPILOGUE,
            (const char *[]){vt_number(t.rank), coordinates[t.rank - 1]});
        vt_good(launch(text, &(vt_config){.block = 128, .schedule = i % 3, .sanitize = i % 8 > 5},
                       &t, buffer, image, 1));
        if (vt_reports) fail_msg("tensor %u: %s", i, vt_report);
        const unsigned n = box_bytes(&t) / t.bytes;
        for (unsigned k = 0; k < n; k++) {
            const int64_t to = place(&t, k);
            for (unsigned b = 0; b < t.bytes && to >= 0; b++)
                before[to + b] = image[swizzled(&t, k * t.bytes + b)];
        }
        if (memcmp(before, buffer, sizeof before))
            fail_msg("tensor %u (rank %u, swizzle %d)", i, t.rank, t.swizzle);
    }
}

// ---- reductions ---------------------------------------------------------------------------------

typedef struct {
    const char *op, *type;
    int map_type; // of a tensor, -1: bulk copies only
    unsigned bytes;
    uint64_t (*apply)(uint64_t x, uint64_t y);
} reduction;

static float as_float(uint64_t x) {
    union {
        uint32_t u;
        float f;
    } b = {(uint32_t)x};
    return b.f;
}
static uint64_t add32(uint64_t x, uint64_t y) {
    return (uint32_t)(x + y);
}
static uint64_t add64(uint64_t x, uint64_t y) {
    return x + y;
}
static uint64_t min_u32(uint64_t x, uint64_t y) {
    return x < y ? x : y;
}
static uint64_t max_s32(uint64_t x, uint64_t y) {
    return (int32_t)x > (int32_t)y ? x : y;
}
static uint64_t min_s64(uint64_t x, uint64_t y) {
    return (int64_t)x < (int64_t)y ? x : y;
}
static uint64_t inc32(uint64_t x, uint64_t y) {
    return x >= y ? 0 : x + 1;
}
static uint64_t dec32(uint64_t x, uint64_t y) {
    return x == 0 || x > y ? y : x - 1;
}
static uint64_t and_(uint64_t x, uint64_t y) {
    return x & y;
}
static uint64_t or_(uint64_t x, uint64_t y) {
    return x | y;
}
static uint64_t xor_(uint64_t x, uint64_t y) {
    return x ^ y;
}
static uint64_t addf(uint64_t x, uint64_t y) {
    union {
        float f;
        uint32_t u;
    } b = {as_float(x) + as_float(y)};
    return b.u;
}
static uint64_t addd(uint64_t x, uint64_t y) {
    union {
        uint64_t u;
        double d;
    } a = {x}, b = {y};
    a.d += b.d;
    return a.u;
}
static uint64_t addh(uint64_t x, uint64_t y) {
    return vm_encode(T_f16, vm_decode(T_f16, x) + vm_decode(T_f16, y),
                     (vm_rounding){.round = R_NEAREST});
}
static uint64_t addb(uint64_t x, uint64_t y) {
    return vm_encode(T_bf16, vm_decode(T_bf16, x) + vm_decode(T_bf16, y),
                     (vm_rounding){.round = R_NEAREST});
}
static uint64_t maxh(uint64_t x, uint64_t y) {
    return vm_decode(T_f16, x) > vm_decode(T_f16, y) ? x : y;
}

static const reduction reductions[] = {
    {"add", "u32", 2, 4, add32},       {"add", "s32", 3, 4, add32},
    {"add", "u64", 4, 8, add64},       {"add", "f32", 7, 4, addf},
    {"add", "f64", 8, 8, addd},        {"min", "u32", 2, 4, min_u32},
    {"max", "s32", 3, 4, max_s32},     {"min", "s64", 5, 8, min_s64},
    {"inc", "u32", 2, 4, inc32},       {"dec", "u32", 2, 4, dec32},
    {"and", "b32", 2, 4, and_},        {"or", "b64", 4, 8, or_},
    {"xor", "b32", 2, 4, xor_},        {"add", "noftz.f16", 6, 2, addh},
    {"add", "noftz.bf16", 9, 2, addb}, {"max", "f16", 6, 2, maxh},
};

/// Finite numbers of modest size, of an element type's width.
static void fill_numbers(uint8_t *p, size_t n, const reduction *r) {
    vt_fill(p, n);
    for (size_t i = 0; i < n; i += r->bytes) {
        if (strstr(r->type, "bf16"))
            p[i + 1] = (uint8_t)((p[i + 1] & 0x81) | 0x3e);
        else if (strstr(r->type, "f16"))
            p[i + 1] = (uint8_t)((p[i + 1] & 0x87) | 0x38);
        else if (strstr(r->type, "f32"))
            p[i + 3] = (uint8_t)((p[i + 3] & 0x81) | 0x3e);
        else if (strstr(r->type, "f64"))
            p[i + 7] = (uint8_t)((p[i + 7] & 0x80) | 0x40);
    }
}

static void expect_reduced(const reduction *r, const uint8_t *x, const uint8_t *y,
                           const uint8_t *got) {
    uint64_t a = 0, b = 0, c = 0;
    memcpy(&a, x, r->bytes);
    memcpy(&b, y, r->bytes);
    memcpy(&c, got, r->bytes);
    if (r->apply(a, b) != c)
        fail_msg("%s.%s of %llx and %llx is %llx, not %llx", r->op, r->type, (unsigned long long)a,
                 (unsigned long long)b, (unsigned long long)c, (unsigned long long)r->apply(a, b));
}

static void reductions_to_global(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++) {
        const reduction *r = &reductions[i];
        char text[8192];
        tensor t = {.rank = 1, .type = 0, .bytes = 1, .dim = {16}, .box = {16}, .step = {1}};
        fill_numbers(buffer, sizeof buffer, r);
        fill_numbers(image, sizeof image, r);
        memcpy(before, buffer, sizeof before);
        vt_text(text, sizeof text,
                PROLOGUE "cp.reduce.async.bulk.global.shared::cta.bulk_group.$0.$1 [%rd1+32], "
                         "[%r3], 1024;\n" GROUP EPILOGUE,
                (const char *[]){r->op, r->type});
        vt_good(launch(text, &(vt_config){.block = 128, .schedule = i % 3}, &t, buffer, image, 1));
        for (unsigned k = 0; k < 1024; k += r->bytes)
            expect_reduced(r, before + 32 + k, image + k, buffer + 32 + k);
        memcpy(before + 32, buffer + 32, 1024);
        assert_memory_equal(before, buffer, sizeof before);
        // and by a tensor map, past its end too
        t = (tensor){.type = r->map_type,
                     .bytes = r->bytes,
                     .rank = 2,
                     .swizzle = 2,
                     .dim = {64 / r->bytes, 8},
                     .stride = {r->bytes, 64},
                     .box = {64 / r->bytes, 4},
                     .step = {1, 1},
                     .at = {-16 / (int)r->bytes, 6}};
        vt_text(text, sizeof text,
                PROLOGUE "cp.reduce.async.bulk.tensor.2d.global.shared::cta.$0.tile.bulk_group "
                         "[%rd5, {%r10, %r11}], [%r3];\n" GROUP EPILOGUE,
                (const char *[]){r->op});
        vt_good(launch(text, &(vt_config){.block = 128, .schedule = i % 3}, &t, buffer, image, 1));
        for (unsigned k = 0; k < box_bytes(&t) / t.bytes; k++) {
            const int64_t to = place(&t, k);
            if (to < 0) continue;
            expect_reduced(r, before + to, image + swizzled(&t, k * t.bytes), buffer + to);
            memcpy(before + to, buffer + to, t.bytes);
        }
        assert_memory_equal(before, buffer, sizeof before);
    }
}

// ---- clusters -----------------------------------------------------------------------------------

static void bulk_directions(void **state) {
    (void)state;
    for (uint64_t s = 0; s < 12; s++) {
        char text[8192];
        tensor t = {.rank = 1, .bytes = 1, .dim = {16}, .box = {16}, .step = {1}};
        vt_fill(buffer, sizeof buffer);
        vt_fill(image, sizeof image);
        memcpy(want, image, sizeof want);
        const vt_config c = {.block = 128, .schedule = s, .grid = 2, .cluster = 2};
        // global to own shared memory, 48 bytes from an odd place; then back somewhere else
        memcpy(want + 64, buffer + 160, 48);
        memcpy(want + IMAGE + 64, buffer + 160, 48);
        memcpy(before, buffer, sizeof before);
        memcpy(before + 8192, want, 256);
        vt_text(
            text, sizeof text,
            PROLOGUE EXPECT
            "cp.async.bulk.prefetch.L2.global [%rd1], 64;\n"
            "cp.async.bulk.shared::$0.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r3+64], "
            "[%rd1+160], 48, [%r2], %rd1;\n" WAIT
            "setp.ne.u32 %p4, %r20, 0;\n@%p4 bra "
            "done;\ncp.async.bulk.global.shared::cta.bulk_group [%rd1+8192], [%r3], 256;\n" GROUP
                EPILOGUE,
            (const char *[]){s % 2 ? "cta" : "cluster", "48"});
        vt_good(launch(text, &c, &t, buffer, image, 2));
        assert_memory_equal(image, want, 2 * IMAGE);
        assert_memory_equal(before, buffer, sizeof before);
        // each block to the other, whose mbarrier is told; one of them adds
        vt_text(text, sizeof text,
                PROLOGUE EXPECT
                "xor.b32 %r21, %r20, 1;\nadd.u32 %r22, %r3, 4096;\nmapa.shared::cluster.u32 %r23, "
                "%r22, %r21;\n"
                "mapa.shared::cluster.u32 %r24, %r2, %r21;\nsetp.eq.u32 %p4, %r20, 1;\n"
                "@%p4 "
                "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add."
                "u32 [%r23], [%r3], 512, [%r24];\n"
                "@!%p4 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
                "[%r23], [%r3], 512, [%r24];\n" WAIT EPILOGUE,
                (const char *[]){"", "512"});
        memcpy(want + IMAGE + 4096, want, 512);
        for (unsigned k = 0; k < 512; k += 4) {
            uint32_t x, y;
            memcpy(&x, want + 4096 + k, 4);
            memcpy(&y, want + IMAGE + k, 4);
            x += y;
            memcpy(want + 4096 + k, &x, 4);
        }
        vt_good(launch(text, &c, &t, buffer, image, 2));
        assert_memory_equal(image, want, 2 * IMAGE);
    }
}

/// Four blocks; each loads its quarter of a tile into some of them, by tensor and by bulk copies.
static void multicast(void **state) {
    (void)state;
    for (uint64_t s = 0; s < 12; s++)
        for (int by_tensor = 0; by_tensor < 2; by_tensor++) {
            char text[8192];
            tensor t = {.type = 9,
                        .rank = 2,
                        .bytes = 2,
                        .swizzle = 3,
                        .dim = {64, 32},
                        .stride = {2, 128},
                        .box = {64, 8},
                        .step = {1, 1}};
            vt_fill(buffer, sizeof buffer);
            vt_fill(image, sizeof image);
            memcpy(want, image, sizeof want);
            // block b sends 1024 bytes to the blocks of mask 0b1111, 0b0101, 0b1010, 0b0001
            static const unsigned mask[4] = {15, 5, 10, 1};
            for (unsigned b = 0; b < 4; b++)
                for (unsigned r = 0; r < 4; r++)
                    for (unsigned k = 0; mask[b] >> r & 1 && k < 1024; k++) {
                        const unsigned at = by_tensor ? swizzled(&t, b * 1024 + k) : b * 1024 + k;
                        want[r * IMAGE + at] = buffer[b * 1024 + k];
                    }
            vt_text(text, sizeof text,
                    PROLOGUE
                    "mov.u32 %r25, 0x01000a00;\nmov.u32 %r25, 0x010a050f;\nshl.b32 %r26, %r20, "
                    "3;\nshr.u32 %r25, %r25, %r26;\n"
                    "and.b32 %r25, %r25, 15;\ncvt.u16.u32 %h1, %r25;\n"
                    // bytes that come to each: 3, 2, 2, 2 pieces
                    "mov.u32 %r27, 2048;\nsetp.eq.u32 %p4, %r20, 0;\n@%p4 mov.u32 %r27, 3072;\n"
                    "mbarrier.arrive.expect_tx.shared.b64 _, [%r2], %r27;\n"
                    "shl.b32 %r28, %r20, 10;\nadd.u32 %r28, %r28, %r3;\nmul.wide.u32 %rd7, %r20, "
                    "1024;\nadd.u64 %rd7, %rd7, %rd1;\n"
                    "shl.b32 %r29, %r20, 3;\n$0" WAIT EPILOGUE,
                    (const char *[]){by_tensor
                                         ? "cp.async.bulk.tensor.2d.shared::cluster.global.tile."
                                           "mbarrier::complete_tx::bytes.multicast::cluster"
                                           " [%r28], [%rd5, {%r10, %r29}], [%r2], %h1;\n"
                                         : "cp.async.bulk.shared::cluster.global.mbarrier::"
                                           "complete_tx::bytes.multicast::cluster"
                                           " [%r28], [%rd7], 1024, [%r2], %h1;\n"});
            vt_good(launch(
                text,
                &(vt_config){
                    .block = 128, .schedule = s, .grid = 4, .cluster = 4, .sanitize = s == 11},
                &t, buffer, image, 4));
            for (unsigned r = 0; r < 4; r++)
                assert_memory_equal(image + r * IMAGE, want + r * IMAGE, IMAGE);
            if (vt_reports) fail_msg("%s", vt_report);
        }
}

// ---- refusals -----------------------------------------------------------------------------------

static void maps(void **state) {
    (void)state;
    _Alignas(64) uint8_t map[192];
    const uint64_t dim[5] = {64, 64, 4, 4, 4}, stride[4] = {128, 8192, 32768, 131072};
    const uint32_t box[5] = {64, 64, 1, 1, 1}, step[5] = {1, 1, 1, 1, 1};
    void *a = (void *)(uintptr_t)0x700000000100ull, *odd = (void *)(uintptr_t)0x700000000108ull;
#define TRY(want_, ...) assert_int_equal(vg_tensor_map_encode(__VA_ARGS__), want_)
    TRY(0, map, 9, 5, a, dim, stride, box, step, 0, 3, 3, 1);
    TRY(1, NULL, 9, 2, a, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map + 16, 9, 2, a, dim, stride, box, step, 0, 3, 0, 0); // the map itself
    TRY(1, map, 9, 2, NULL, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, odd, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 0, a, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 6, a, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 13, 2, a, dim, stride, box, step, 0, 3, 0, 0); // a type of later machines
    TRY(1, map, -1, 2, a, dim, stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, box, step, 0, 4, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, box, step, 0, 3, 4, 0);
    TRY(1, map, 9, 2, a, dim, stride, box, step, 0, 3, 0, 2);
    TRY(1, map, 1, 2, a, dim, stride, box, step, 0, 3, 0, 1); // NaN of integers
    TRY(1, map, 9, 2, a, dim, stride, box, step, 0, 2, 0, 0); // 128 bytes in a span of 64
    TRY(1, map, 9, 2, a, dim, stride, box, step, 1, 0, 0, 0); // interleaved, but 2 dimensions
    TRY(1, map, 9, 3, a, dim, stride, box, step, 2, 3, 0, 0); // 32 B interleave, other swizzle
    TRY(801, map, 9, 3, a, dim, stride, box, step, 2, 1, 0, 0);
    TRY(801, map, 9, 3, a, dim, stride, box, step, 1, 0, 0, 0);
    TRY(1, map, 9, 2, a, ((uint64_t[]){0, 64}), stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, ((uint64_t[]){64, (1ull << 32) + 1}), stride, box, step, 0, 3, 0, 0);
    TRY(0, map, 9, 2, a, ((uint64_t[]){64, 1ull << 32}), stride, box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, ((uint64_t[]){136}), box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, ((uint64_t[]){1ull << 40}), box, step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, ((uint32_t[]){64, 0}), step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, ((uint32_t[]){64, 257}), step, 0, 3, 0, 0);
    TRY(0, map, 9, 2, a, dim, stride, ((uint32_t[]){64, 256}), step, 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, ((uint32_t[]){63, 8}), step, 0, 3, 0,
        0); // not whole 16 bytes
    TRY(1, map, 9, 2, a, dim, stride, box, ((uint32_t[]){1, 9}), 0, 3, 0, 0);
    TRY(1, map, 9, 2, a, dim, stride, box, ((uint32_t[]){1, 0}), 0, 3, 0, 0);
    const int low[3] = {-1, -1, -1}, far[3] = {-17, 0, 0};
    assert_int_equal(
        vg_tensor_map_encode_im2col(map, 9, 4, a, dim, stride, low, low, 64, 64, step, 0, 3, 0, 0),
        0);
    assert_int_equal(
        vg_tensor_map_encode_im2col(map, 9, 2, a, dim, stride, low, low, 64, 64, step, 0, 3, 0, 0),
        1);
    assert_int_equal(
        vg_tensor_map_encode_im2col(map, 9, 5, a, dim, stride, far, low, 64, 64, step, 0, 3, 0, 0),
        1);
    assert_int_equal(
        vg_tensor_map_encode_im2col(map, 9, 4, a, dim, stride, low, low, 257, 64, step, 0, 3, 0, 0),
        1);
    assert_int_equal(vg_tensor_map_encode_im2col(map, 9, 4, a, dim, stride, low, low, 64, 1025,
                                                 step, 0, 3, 0, 0),
                     1);
}

typedef struct {
    const char *says, *body;
} mistake;
static const mistake mistakes[] = {
    {"another number of dimensions", "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group "
                                     "[%rd5, {%r10, %r11, %r12}], [%r3];\n" GROUP},
    {"the other mode",
     "cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%rd5, {%r10, "
     "%r11}];\ncp.async.bulk.tensor.3d.shared::cluster.global.im2col"
     ".mbarrier::complete_tx::bytes [%r3], [%rd5, {%r10, %r11, %r12}], [%r2], {1};\n"},
    {"no tensor map", "cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%rd1, {%r10, %r11}];\n"},
    {"no multiple of 128", "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, "
                           "{%r10, %r11}], [%r3+64];\n" GROUP},
    {"shared memory", "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r10, "
                      "%r11}], [%r3+15488];\n" GROUP},
    {"this reduction", "cp.reduce.async.bulk.tensor.2d.global.shared::cta.inc.tile.bulk_group "
                       "[%rd5, {%r10, %r11}], [%r3];\n" GROUP},
    {"which nobody allocated",
     "mov.u32 %r11, 4000;\ncp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, "
     "{%r10, %r11}], [%r3];\n" GROUP},
    {"names blocks", "mov.u16 %h1, "
                     "2;\ncp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_"
                     "tx::bytes.multicast::cluster"
                     " [%r3], [%rd5, {%r10, %r11}], [%r2], %h1;\n"},
    {"does not lie on 16 bytes", "mov.u32 %r10, 1;\ncp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group "
                                 "[%rd5, {%r10, %r11}], [%r3];\n" GROUP},
    {"as many coordinates", "cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%rd5, {%r10}];\n"},
    {"im2col needs 3", "cp.async.bulk.prefetch.tensor.2d.L2.global.im2col [%rd5, {%r10, %r11}];\n"},
    {"takes 1 offset",
     "cp.async.bulk.prefetch.tensor.3d.L2.global.im2col [%rd5, {%r10, %r11, %r12}], {%h1, %h2};\n"},
    {"not defined on .b32",
     "cp.reduce.async.bulk.global.shared::cta.bulk_group.min.b32 [%rd1], [%r3], 64;\n"},
    {".1d to .5d",
     "cp.async.bulk.tensor.global.shared::cta.tile.bulk_group [%rd5, {%r10}], [%r3];\n"},
    {"block 3 of a cluster of 1", "mov.u32 %r21, 3;\nmapa.shared::cluster.u32 %r22, %r3, %r21;\n"},
};

static void errors(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        char text[8192];
        tensor t = {.type = 9,
                    .rank = 2,
                    .bytes = 2,
                    .swizzle = 3,
                    .dim = {64, 5000},
                    .stride = {2, 128},
                    .box = {64, 8},
                    .step = {1, 1}};
        if (strstr(mistakes[i].says, "other mode"))
            t = (tensor){.type = 9,
                         .rank = 3,
                         .bytes = 2,
                         .dim = {64, 4, 4},
                         .stride = {2, 128, 512},
                         .box = {64, 1, 1},
                         .step = {1, 1, 1}};
        if (strstr(mistakes[i].says, "other mode")) {
            vt_text(text, sizeof text, PROLOGUE "$0" EPILOGUE,
                    (const char *[]){strchr(mistakes[i].body, '\n') + 1});
        } else
            vt_text(text, sizeof text, PROLOGUE "$0" EPILOGUE, &mistakes[i].body);
        vt_fill(buffer, sizeof buffer);
        vt_fill(image, sizeof image);
        vt_arg arg[8] = {VT_BYTES((uint8_t[128]){0}, 128), VT_BUFFER(buffer, TENSOR),
                         VT_BUFFER(image, IMAGE)};
        for (int k = 0; k < 5; k++) arg[3 + k] = VT_BYTES(&t.at[k], 4);
        enum vg_status s = vt_run_with(text, &(vt_config){.block = 128}, arg, 8, encode, &t);
        if (s == VG_OK || !strstr(vt_message, mistakes[i].says))
            fail_msg("row %zu, status %d: '%s' does not say '%s'", i, (int)s, vt_message,
                     mistakes[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads),
        cmocka_unit_test(stores),
        cmocka_unit_test(reductions_to_global),
        cmocka_unit_test(bulk_directions),
        cmocka_unit_test(multicast),
        cmocka_unit_test(maps),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
