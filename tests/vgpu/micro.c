// SPDX-License-Identifier: Apache-2.0
// See micro.h.
#include "tests/vgpu/micro.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define EXACT MICRO_EXACT
#define ANYNAN MICRO_ANYNAN
#define ULP(n) n
#define ABS MICRO_ABS
#define LOG MICRO_LOG
#define INTS MICRO_INTS
#define CAL(sm, how, kinds, text) {sm, how, kinds, text},
const micro micros[] = {
#include "tests/vgpu/calibrate.def"
};
const size_t nmicros = sizeof micros / sizeof micros[0];

uint64_t micro_random(uint64_t *s) {
    *s += 0x9e3779b97f4a7c15ull;
    uint64_t z = *s;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// ---- text ---------------------------------------------------------------------------------------

static const char *bits_of(char k) {
    if (strchr("heb", k)) return "b16";
    if (strchr("ld", k)) return "b64";
    return k == 'p' ? "pred" : "b32";
}

char *micro_ptx(const micro *m, bool guarded) {
    char *text = NULL;
    size_t size;
    FILE *const o = open_memstream(&text, &size);
    const char *const colon = strchr(m->kinds, ':');
    const int nd = (int)(colon - m->kinds), n = (int)strlen(m->kinds) - 1;
    fprintf(o,
            ".version 8.4\n.target sm_%d\n.address_size 64\n\n"
            ".visible .entry k(.param .u64 in, .param .u64 out, .param .u32 n)\n{\n"
            "    .shared .align 128 .b8 sm[4096];\n    .reg .b32 %%t<8>, %%sa, %%sw, %%x<8>, "
            "%%y<8>, %%z<8>;\n"
            "    .reg .b64 %%a<8>;\n    .reg .pred %%q<4>;\n",
            m->sm);
    for (int i = 0; i < n; i++) {
        const char k = m->kinds[i < nd ? i : i + 1];
        fprintf(o, "    .reg .%s %%v%d;\n", bits_of(k), i);
    }
    fputs(
        "    mov.u32 %t0, %tid.x;\n    mov.u32 %t1, %ctaid.x;\n    mad.lo.s32 %t2, %t1, 128, %t0;\n"
        "    ld.param.u64 %a0, [in];\n    ld.param.u64 %a1, [out];\n    ld.param.u32 %t3, [n];\n"
        "    mul.wide.u32 %a2, %t2, 8;\n    mul.wide.u32 %a3, %t3, 8;\n"
        "    cvta.to.global.u64 %a0, %a0;\n    cvta.to.global.u64 %a1, %a1;\n"
        "    add.s64 %a0, %a0, %a2;\n    add.s64 %a1, %a1, %a2;\n"
        "    mov.u32 %sa, sm;\n    mad.lo.s32 %sa, %t0, 32, %sa;\n"
        "    and.b32 %sw, %t0, 31;\n    mul.lo.s32 %sw, %sw, 32;\n    sub.s32 %sw, %sa, %sw;\n",
        o);
    // Results first get what lies in `out`, so that lanes that do nothing leave it alone.
    fputs("    mov.b64 %a4, %a1;\n", o);
    for (int i = 0; i < n; i++) {
        const char k = m->kinds[i < nd ? i : i + 1];
        const char *const from = i < nd ? "%a4" : "%a0";
        if (k == 'p')
            fprintf(o, "    ld.global.b32 %%t4, [%s];\n    setp.ne.b32 %%v%d, %%t4, 0;\n", from, i);
        else
            fprintf(o, "    ld.global.%s %%v%d, [%s];\n", bits_of(k), i, from);
        fprintf(o, "    add.s64 %s, %s, %%a3;\n", from, from);
    }
    if (guarded)
        fprintf(o,
                "    mov.u32 %%t5, %%laneid;\n    shr.u32 %%t5, 0x%xU, %%t5;\n    and.b32 %%t5, "
                "%%t5, 1;\n"
                "    setp.eq.b32 %%q0, %%t5, 1;\n",
                MICRO_LANES);
    const char *s = m->text;
    while (*s) {
        while (*s == ' ') s++;
        const size_t len = strcspn(s, ";");
        fputs(guarded ? "    @%q0 " : "    ", o);
        for (size_t i = 0; i < len; i++) {
            if (s[i] == '$')
                fputs("%v", o);
            else
                fputc(s[i], o);
        }
        fputs(";\n", o);
        s += len + (s[len] == ';');
    }
    for (int i = 0; i < nd; i++) {
        if (m->kinds[i] == 'p')
            fprintf(o, "    selp.b32 %%t4, 1, 0, %%v%d;\n    st.global.b32 [%%a1], %%t4;\n", i);
        else
            fprintf(o, "    st.global.%s [%%a1], %%v%d;\n", bits_of(m->kinds[i]), i);
        fputs("    add.s64 %a1, %a1, %a3;\n", o);
    }
    fputs("    ret;\n}\n", o);
    fclose(o);
    return text;
}

// ---- inputs -------------------------------------------------------------------------------------

static uint32_t f32_code(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static uint64_t f64_code(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static uint64_t edge(char k, uint64_t r) {
    static const uint32_t f32[] = {
        0,          0x80000000, 1,          0x80000001, 0x7fffff,   0x807fffff, 0x800000,
        0x80800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000,
        0x7fc00000, 0xffc00001, 0x7f800001, 0x3effffff, 0x3f000000, 0x3fc00000, 0x40200000,
        0x4f000000, 0xcf000000, 0x4f800000, 0x5f000000, 0x5f800000, 0x477fe000, 0x477fefff,
        0x477ff000, 0x33000000, 0x33000001, 0x387fc000, 0x43e00000, 0x43e80000, 0x47600000,
        0x3fffffff, 0x7effffff};
    static const uint64_t f64[] = {0,
                                   1,
                                   0xfffffffffffffull,
                                   0x10000000000000ull,
                                   0x3ff0000000000000ull,
                                   0x7fefffffffffffffull,
                                   0x7ff0000000000000ull,
                                   0x7ff8000000000000ull,
                                   0x7ff0000000000001ull,
                                   0x3fe0000000000000ull,
                                   0x3ff8000000000000ull,
                                   0x41dfffffffc00000ull,
                                   0x41e0000000000000ull,
                                   0x41efffffffe00000ull,
                                   0x43e0000000000000ull,
                                   0x43f0000000000000ull,
                                   0x47efffffe0000000ull,
                                   0x47efffffefffffffull,
                                   0x47effffff0000000ull,
                                   0x36a0000000000000ull,
                                   0x40effc0000000000ull,
                                   0x40effe0000000000ull,
                                   0x3e70000000000000ull,
                                   0x3ff0000010000000ull,
                                   0x3ff0000030000000ull};
    static const uint64_t ints[] = {0,
                                    1,
                                    2,
                                    3,
                                    7,
                                    0x7f,
                                    0x80,
                                    0xff,
                                    0x100,
                                    0x7fff,
                                    0x8000,
                                    0xffff,
                                    0x10000,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    0x100000000,
                                    0x7fffffffffffffff,
                                    0x8000000000000000,
                                    0xffffffffffffffff,
                                    0xfffffffffffffffe,
                                    0xffffff80,
                                    0xffffff7f,
                                    0x1000001,
                                    0x1000003,
                                    0x20000000000001,
                                    0x20000000000003};
    static const uint32_t f16[] = {0,      0x8000, 1,      0x8001, 0x3ff,  0x83ff, 0x400,
                                   0x8400, 0x3c00, 0xbc00, 0x7bff, 0xfbff, 0x7c00, 0xfc00,
                                   0x7e00, 0xfe01, 0x7c01, 0x3800, 0x3e00, 0x4100};
    static const uint32_t bf16[] = {0,      0x8000, 1,      0x8001, 0x7f,   0x807f, 0x80,
                                    0x8080, 0x3f80, 0xbf80, 0x7f7f, 0xff7f, 0x7f80, 0xff80,
                                    0x7fc0, 0xffc1, 0x7f81, 0x3f00, 0x3fc0, 0x4020};
#define ONE_OF(t) t[(r >> 8) % (sizeof t / sizeof t[0])]
    switch (k) {
    case 'f':
        return ONE_OF(f32);
    case 'd':
        return ONE_OF(f64) | (r & 1) << 63;
    case 'e':
        return ONE_OF(f16);
    case 'b':
        return ONE_OF(bf16);
    case 'E':
        return ONE_OF(f16) | f16[(r >> 24) % 20] << 16;
    case 'B':
        return ONE_OF(bf16) | bf16[(r >> 24) % 20] << 16;
    default:
        return ONE_OF(ints);
    }
}

/// Whole numbers of at most four bits in the type of k.
static uint64_t whole(char k, uint64_t r) {
    static const uint8_t e4m3[] = {0, 0x38, 0x40, 0x44, 0xb8, 0xc0, 0xc4, 0x48};
    static const uint8_t e5m2[] = {0, 0x3c, 0x40, 0x42, 0xbc, 0xc0, 0xc2, 0x44};
    static const uint16_t f16[] = {0, 0x3c00, 0x4000, 0x4200, 0xbc00, 0xc000, 0xc200, 0x4400};
    const int v = (int)(r % 9) - 4;
    uint64_t x = 0;
    switch (k) {
    case 'f':
        return f32_code((float)v);
    case 'd':
        return f64_code((double)v);
    case 'E':
        return f16[r % 8] | (uint64_t)f16[r >> 8 & 7] << 16;
    case 'B':
        return f32_code((float)v) >> 16 |
               (uint64_t)(f32_code((float)((int)(r >> 8) % 5)) & 0xffff0000u);
    case 'Q':
        for (int i = 0; i < 4; i++) x |= (uint64_t)e4m3[r >> (8 * i) & 7] << (8 * i);
        return x;
    case 'U':
        for (int i = 0; i < 4; i++) x |= (uint64_t)e5m2[r >> (8 * i) & 7] << (8 * i);
        return x;
    default:
        return r;
    }
}

static uint64_t source(const micro *m, char k, uint64_t *seed) {
    static const uint32_t clamps[] = {0x1f, 0, 0x1c1f, 0x181f, 0x101f, 0x0707, 0x1e01, 0x1c00};
    const uint64_t r = micro_random(seed), q = micro_random(seed);
    switch (k) {
    case 'p':
        return r & 1;
    case 'n':
        return r % 8 ? r % 71 : q & 0xffffffff;
    case 'j':
        return r & 31;
    case 'z':
        return (uint32_t)((int32_t)(r % 17) - 8);
    case 'c':
        return clamps[(r >> 20) % 8];
    case 'r':
        return f32_code((float)((double)(int64_t)q * (3.14159 / 0x1p63)));
    case 'g':
        return (q & 0x807fffff) | (uint32_t)(100 + r % 56) << 23;
    default:
        break;
    }
    if (m->how == MICRO_INTS) return whole(k, r);
    if (r % 4 == 0) return edge(k, q);
    if (r % 4 == 1) return q;
    switch (k) { // neighbours of one: sums, ties and cancellations
    case 'f':
        return (q & 0x807fffff) | (uint32_t)(112 + (r >> 8) % 32) << 23;
    case 'd':
        return (q & 0x800fffffffffffffull) | (1007 + (r >> 8) % 64) << 52;
    case 'w':
        return r & 4 ? q & 0xffff : q;
    case 'l':
        return r & 4 ? q & 0xffffffff : q;
    default:
        return q;
    }
}

micro_data micro_inputs(const micro *m, uint64_t seed) {
    const char *const kinds = strchr(m->kinds, ':') + 1;
    micro_data x = {.nd = (uint32_t)(kinds - m->kinds - 1), .ns = (uint32_t)strlen(kinds)};
    const bool all = x.ns == 1 && strchr("hebB", kinds[0]) && m->how != MICRO_INTS;
    x.n = all ? 65536 : 4096;
    x.in = malloc((x.ns + 1) * (size_t)x.n * 8);
    x.out = malloc(x.nd * (size_t)x.n * 8);
    for (uint32_t i = 0; i < x.ns; i++)
        for (uint32_t t = 0; t < x.n; t++) {
            const uint64_t v =
                all ? (kinds[0] == 'B' ? t * 65537ull ^ 0x10000 : t) : source(m, kinds[i], &seed);
            x.in[(size_t)i * x.n + t] = v;
        }
    memset(x.out, 0xa5, x.nd * (size_t)x.n * 8);
    return x;
}

// ---- execution ----------------------------------------------------------------------------------

bool micro_run(vg_gpu *g, const char *ptx, micro_data *x, char *why, size_t size) {
    ptx_error e = {0};
    vg_module *const m = vg_load(g, ptx, strlen(ptx), &e);
    if (!m) {
        snprintf(why, size, "%s", e.text);
        return false;
    }
    const size_t in = (size_t)x->ns * x->n * 8, out = (size_t)x->nd * x->n * 8;
    uint64_t a = 0, b = 0;
    unsigned n = x->n;
    bool ok = false;
    if (!vg_alloc(g, in + 8, &a) && !vg_alloc(g, out, &b)) {
        memcpy(vg_host(g, a, in, true), x->in, in);
        memcpy(vg_host(g, b, out, true), x->out, out);
        void *params[] = {&a, &b, &n};
        const vg_launch_config c = {
            .grid = {x->n / 128, 1, 1}, .block = {128, 1, 1}, .params = params};
        ok = vg_launch(g, vg_function(m, "k"), &c) == VG_OK;
        if (ok) memcpy(x->out, vg_host(g, b, out, false), out);
    }
    if (!ok) snprintf(why, size, "%s", vg_error(g));
    if (a) vg_free(g, a);
    if (b) vg_free(g, b);
    vg_unload(m);
    return ok;
}

// ---- comparison ---------------------------------------------------------------------------------

typedef struct {
    double value;
    double ulp;
} number;

static number of_float(uint64_t code, vm_dtype t, int mantissa, int least) {
    number n = {vm_decode(t, code), 0};
    int e;
    frexp(n.value, &e);
    n.ulp = ldexp(1, (e - 1 < least ? least : e - 1) - mantissa);
    return n;
}

static bool near(const micro *m, uint64_t x, uint64_t y, vm_dtype t, int mantissa, int least) {
    if (x == y) return true;
    const number a = of_float(x, t, mantissa, least), b = of_float(y, t, mantissa, least);
    if (isnan(a.value) || isnan(b.value))
        return m->how != MICRO_EXACT && isnan(a.value) && isnan(b.value);
    if (m->how == MICRO_EXACT || m->how == MICRO_ANYNAN) return false;
    if (m->how == MICRO_INTS) return a.value == b.value;
    const double d = fabs(a.value - b.value);
    if (m->how == MICRO_ABS) return d <= 0x1p-20;
    const double u = a.ulp > b.ulp ? a.ulp : b.ulp;
    if (m->how == MICRO_LOG) return d <= 0x1p-21 || d <= 4 * u;
    return d <= m->how * u;
}

bool micro_agree(const micro *m, char k, uint64_t x, uint64_t y) {
    switch (k) {
    case 'h':
        return (uint16_t)x == (uint16_t)y;
    case 'l':
        return x == y;
    case 'p':
    case 'w':
        return (uint32_t)x == (uint32_t)y;
    case 'f':
    case 'g':
    case 'r':
        return near(m, x & 0xffffffff, y & 0xffffffff, T_f32, 23, -126);
    case 'd':
        return near(m, x, y, T_f64, 52, -1022);
    case 'e':
        return near(m, x & 0xffff, y & 0xffff, T_f16, 10, -14);
    case 'b':
        return near(m, x & 0xffff, y & 0xffff, T_bf16, 7, -126);
    case 'E':
        return micro_agree(m, 'e', x, y) && micro_agree(m, 'e', x >> 16, y >> 16);
    case 'B':
        return micro_agree(m, 'b', x, y) && micro_agree(m, 'b', x >> 16, y >> 16);
    default:
        return (uint32_t)x == (uint32_t)y;
    }
}
