// SPDX-License-Identifier: Apache-2.0
// PTX that this project did not write: the kernels of tests/vgpu/cuda, compiled by nvcc, run on the
// virtual GPU under the sanitizer and several schedules, against plain C. Argument: the folder of fixtures, beside theirs.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "runtime/vgpu/vgpu.h"

static const char *folder;
static char printed[400];

static void take_print(void *user, const char *text, size_t n) {
    (void)user;
    const size_t at = strlen(printed);
    if (at + n < sizeof printed) memcpy(printed + at, text, n);
}

typedef struct {
    vg_gpu *g;
    vg_module *m;
} machine;

static machine open_module(const char *name, uint64_t schedule) {
    machine x = {0};
    memset(printed, 0, sizeof printed);
    const vg_options o = {.sm = 90, .threads = schedule ? 1 : 0, .schedule = schedule, .sanitize = true, .print = take_print};
    assert_int_equal(vg_create(&o, &x.g), VG_OK);
    char path[600];
    snprintf(path, sizeof path, "%s/../vgpu/cuda/%s.ptx", folder, name);
    FILE *const f = fopen(path, "rb");
    if (!f) fail_msg("cannot read %s", path);
    char *const text = malloc(1 << 20);
    assert_non_null(text);
    const size_t n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    ptx_error e = {0};
    x.m = vg_load(x.g, text, n, &e);
    free(text);
    if (!x.m) fail_msg("%s: %s", name, e.text);
    return x;
}

static void close_module(machine x) {
    const vg_report *r;
    const size_t n = vg_reports(x.g, &r);
    if (n) fail_msg("%zu reports, the first: %s", n, r[0].text);
    vg_unload(x.m);
    vg_destroy(x.g);
}

static uint64_t put(machine x, const void *data, size_t bytes) {
    uint64_t a = 0;
    assert_int_equal(vg_alloc(x.g, bytes, &a), VG_OK);
    if (data) memcpy(vg_host(x.g, a, bytes, true), data, bytes);
    return a;
}
/// Memory filled with 0xa5, counted as written.
static uint64_t poison(machine x, size_t bytes) {
    const uint64_t a = put(x, NULL, bytes);
    memset(vg_host(x.g, a, bytes, true), 0xa5, bytes);
    return a;
}
static uint64_t zeroed(machine x, size_t bytes) {
    const uint64_t a = put(x, NULL, bytes);
    memset(vg_host(x.g, a, bytes, true), 0, bytes);
    return a;
}

static enum vg_status go(machine x, const char *kernel, unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned shared, void **params) {
    vg_kernel *const k = vg_function(x.m, kernel);
    assert_non_null(k);
    return vg_launch(x.g, k, &(vg_launch_config){{gx, gy, 1}, {bx, by, 1}, {0, 0, 0}, shared, params, false});
}
static void launch(machine x, const char *kernel, unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned shared, void **params) {
    if (go(x, kernel, gx, gy, bx, by, shared, params) != VG_OK) fail_msg("%s: %s", kernel, vg_error(x.g));
}
#define P(...) ((void *[]){__VA_ARGS__})

static uint32_t state = 12345;
static uint32_t rnd(void) {
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}
static float real(void) { return (float)(rnd() >> 8) / (float)(1 << 24) - 0.5f; }
static const uint64_t schedules[] = {0, 1, 99};
#define SCHEDULES(s) for (size_t i_ = 0; i_ < 3; i_++) for (uint64_t s = schedules[i_], once_ = 1; once_; once_ = 0)

// ---- the kernels --------------------------------------------------------------------------------

static void reduce(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("reduce", s);
        int n = 10007;
        float *const v = malloc(sizeof *v * (size_t)n);
        int *const w = malloc(sizeof *w * (size_t)n);
        double want = 0;
        int most = INT32_MIN;
        for (int i = 0; i < n; i++) {
            want += (double)(v[i] = real());
            w[i] = (int)rnd();
            most = w[i] > most ? w[i] : most;
        }
        uint64_t dv = put(x, v, sizeof *v * (size_t)n), total = zeroed(x, 4), dw = put(x, w, sizeof *w * (size_t)n), out = poison(x, 4);
        launch(x, "sum", 7, 1, 256, 1, 0, P(&n, &dv, &total));
        assert_true(fabs((double)*(float *)vg_host(x.g, total, 4, false) - want) < 1e-2);
        launch(x, "max_checked", 1, 1, 128, 1, 512, P(&n, &dw, &out));
        assert_int_equal(*(int *)vg_host(x.g, out, 4, false), most);
        close_module(x);
        x = open_module("reduce", s); // a failing assertion says where
        dw = put(x, w, sizeof *w * (size_t)n);
        out = poison(x, 4);
        assert_int_equal(go(x, "max_checked", 1, 1, 48, 1, 512, P(&n, &dw, &out)), VG_ASSERT);
        assert_non_null(strstr(vg_error(x.g), "blockDim.x % 32 == 0"));
        close_module(x);
        free(v);
        free(w);
    }
}

static void scan(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("scan", s);
        int n = 500, most = 200;
        long long v[500], want[512] = {0};
        uint32_t c[500], steps[500];
        for (int i = 0; i < n; i++) {
            want[i] = v[i] = (long long)rnd() - (1ll << 31);
            uint64_t k = c[i] = rnd() % 100000 + 1;
            uint32_t m = 0;
            while (k != 1 && (int)m < most) k = k % 2 ? 3 * k + 1 : k / 2, m++;
            steps[i] = m;
        }
        for (int d = 256, step = 1; d > 0; d /= 2, step *= 2) // the two sweeps, as the kernel has them
            for (int k = 0; k < d; k++) want[step * (2 * k + 2) - 1] += want[step * (2 * k + 1) - 1];
        for (int d = 1; d < 256; d *= 2)
            for (int k = 0, step = 256 / d; k < d; k++) want[step * (2 * k + 3) / 2 - 1] += want[step * (k + 1) - 1];
        uint64_t dv = put(x, v, sizeof v), dy = poison(x, sizeof v), dc = put(x, c, sizeof c), ds = poison(x, sizeof c);
        launch(x, "scan", 1, 1, 256, 1, 0, P(&n, &dv, &dy));
        launch(x, "steps", 4, 1, 128, 1, 0, P(&n, &dc, &ds, &most));
        assert_memory_equal(vg_host(x.g, dy, sizeof v, false), want, sizeof v);
        assert_memory_equal(vg_host(x.g, ds, sizeof steps, false), steps, sizeof steps);
        close_module(x);
    }
}

static double bf16(uint16_t code) {
    union { uint32_t u; float f; } x = {(uint32_t)code << 16};
    return (double)x.f;
}
static double f16(uint16_t code) {
    const int e = code >> 10 & 31, m = code & 1023;
    const double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return code >> 15 ? -v : v;
}

static void transpose(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("transpose", s);
        int rows = 70, cols = 45, n = 100;
        float *const v = malloc(70 * 45 * 4);
        for (int i = 0; i < 70 * 45; i++) v[i] = real();
        uint64_t dv = put(x, v, 70 * 45 * 4), dy = poison(x, 70 * 45 * 4), dh = poison(x, 800), db = poison(x, 800);
        launch(x, "transpose", 2, 3, 32, 8, 0, P(&rows, &cols, &dv, &dy));
        const float *const y = vg_host(x.g, dy, 70 * 45 * 4, false);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < cols; c++) assert_true(y[c * rows + r] == v[r * cols + c]);
        launch(x, "halves", 1, 1, 128, 1, 0, P(&n, &dv, &dh, &db));
        const uint16_t *const h = vg_host(x.g, dh, 800, false), *const b = vg_host(x.g, db, 800, false);
        for (int i = 0; i < n; i++) {
            assert_true(fabs(f16(h[4 * i]) - ((double)v[4 * i] + 1)) < 2e-3 && fabs(f16(h[4 * i + 1]) - ((double)v[4 * i + 1] + 0.5)) < 2e-3);
            assert_true(fabs(f16(h[4 * i + 2]) - (double)v[4 * i + 2]) < 5e-4);
            assert_true(fabs(bf16(b[4 * i]) - (double)v[4 * i]) < 2e-3 && fabs(bf16(b[4 * i + 2]) - 3 * (double)v[4 * i + 2]) < 2e-2);
            assert_true(fabs(bf16(b[4 * i + 3]) - 0.25 * (double)v[4 * i + 3]) < 2e-3);
        }
        free(v);
        close_module(x);
    }
}

static int classify(int v) {
    static const int fold[16] = {0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0};
    uint32_t r = 0;
    switch (v & 15) {
    case 0: return v * 3;
    case 1: return v - 7;
    case 2: return v ^ 85;
    case 3: return __builtin_popcount((unsigned)v);
    case 4: return v ? __builtin_clz((unsigned)v) : 32;
    case 5:
        for (int i = 0; i < 32; i++) r |= ((uint32_t)v >> i & 1) << (31 - i);
        return (int)(r >> 24);
    case 6: { // bytes 4 and above are those of the second operand
        const uint8_t bytes[8] = {(uint8_t)v, 0, 0, 0, 4, 3, 2, 1};
        static const int pick[4] = {2, 1, 0, 4};
        for (int i = 0; i < 4; i++) r |= (uint32_t)bytes[pick[i]] << 8 * i;
        return (int)r;
    }
    case 7: return v / 5;
    case 8: return v % 11;
    default: return fold[v & 15];
    }
}

static void histogram(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("histogram", s);
        int n = 5003;
        uint8_t v[5003];
        uint32_t want[256] = {0}, odd[160] = {0};
        int *const y = malloc(5003 * sizeof *y);
        for (int i = 0; i < n; i++) {
            want[v[i] = (uint8_t)rnd()]++;
            y[i] = classify(v[i]);
            odd[i / 128] |= (uint32_t)(v[i] & 1) << i % 32;
        }
        uint64_t dv = put(x, v, sizeof v), count = zeroed(x, sizeof want), dy = poison(x, sizeof *y * 5003), dodd = zeroed(x, sizeof odd);
        launch(x, "histogram", 9, 1, 160, 1, 0, P(&n, &dv, &count));
        assert_memory_equal(vg_host(x.g, count, sizeof want, false), want, sizeof want);
        uint64_t at;
        size_t bytes;
        assert_true(vg_variable(x.m, "seen", &at, &bytes) && bytes == 4);
        assert_int_equal(*(uint32_t *)vg_host(x.g, at, 4, false), 9);
        launch(x, "classes", 40, 1, 128, 1, 0, P(&n, &dv, &dy, &dodd));
        assert_memory_equal(vg_host(x.g, dy, sizeof *y * 5003, false), y, sizeof *y * 5003);
        assert_memory_equal(vg_host(x.g, dodd, sizeof odd, false), odd, sizeof odd);
        free(y);
        close_module(x);
    }
}

static void wmma(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("wmma", s);
        int m = 32, n = 48, k = 64;
        uint16_t a[32 * 64], b[48 * 64];
        for (int i = 0; i < m * k; i++) a[i] = (uint16_t)(0x3800 + (rnd() & 0x87ff)); // ±0.5 to 2 with all mantissas
        for (int i = 0; i < n * k; i++) b[i] = (uint16_t)(0x3800 + (rnd() & 0x87ff));
        uint64_t da = put(x, a, sizeof a), db = put(x, b, sizeof b), dc = poison(x, 32 * 48 * 4);
        launch(x, "matmul", 2, 2, 64, 1, 0, P(&m, &n, &k, &da, &db, &dc));
        const float *const c = vg_host(x.g, dc, 32 * 48 * 4, false);
        double err = 0, norm = 0;
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                double want = 0;
                for (int l = 0; l < k; l++) want += f16(a[i * k + l]) * f16(b[j * k + l]);
                err += ((double)c[i * n + j] - want) * ((double)c[i * n + j] - want);
                norm += want * want;
            }
        assert_true(sqrt(err / norm) < 1e-6);
        close_module(x);
    }
}

static void pipeline(void **s_) {
    (void)s_;
    SCHEDULES(s)
        for (int chunks = 1; chunks < 7; chunks += 2) {
            machine x = open_module("pipeline", s);
            const size_t n = (size_t)chunks * 512 * 3;
            float *const v = malloc(n * 4);
            for (size_t i = 0; i < n; i++) v[i] = real();
            uint64_t dv = put(x, v, n * 4), dy = poison(x, 12);
            launch(x, "row_squares", 3, 1, 128, 1, 0, P(&chunks, &dv, &dy));
            const float *const y = vg_host(x.g, dy, 12, false);
            for (int r = 0; r < 3; r++) {
                double want = 0;
                for (int i = 0; i < chunks * 512; i++) want += (double)v[r * chunks * 512 + i] * (double)v[r * chunks * 512 + i];
                assert_true(fabs((double)y[r] - sqrt(want)) < 1e-4);
            }
            free(v);
            close_module(x);
        }
}

static uint32_t brev(uint32_t v) {
    uint32_t r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i);
    return r;
}

static void interpreter(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("machine", s);
        int n = 300, steps = 37;
        uint8_t code[37];
        uint32_t v[300], want[300];
        for (int i = 0; i < steps; i++) code[i] = (uint8_t)(rnd() % 11);
        code[29] = 11;
        for (int i = 0; i < n; i++) {
            v[i] = rnd();
            want[i] = 0xa5a5a5a5u;
            uint32_t a = v[i], b = (uint32_t)i, c = 1;
            bool left = false;
            for (int t = 0; t < steps && !left; t++)
                switch (code[(i + t) % steps]) {
                case 0: a += b; break;
                case 1: a ^= b << 5; break;
                case 2: b = brev(a); break;
                case 3: c = a * b + c; break;
                case 4: a = c / (b | 1); break;
                case 5: b -= (uint32_t)__builtin_popcount(c); break;
                case 6: a = want[i] = a + c; break;
                case 7: c = (uint32_t)((uint64_t)a * b >> 32); break;
                case 8: b = c % (a | 3); break;
                case 9: if (a > b) c++; break;
                case 10: a = (uint32_t)((((uint64_t)b << 32 | a) << (c & 31)) >> 32); break;
                case 11: left = true; break;
                }
            if (!left) want[i] = a ^ b ^ c;
        }
        uint64_t dc = put(x, code, sizeof code), dv = put(x, v, sizeof v), dy = poison(x, sizeof v);
        launch(x, "machine", 5, 1, 64, 1, 0, P(&n, &steps, &dc, &dv, &dy));
        assert_memory_equal(vg_host(x.g, dy, sizeof want, false), want, sizeof want);
        close_module(x);
    }
}

static void print(void **s_) {
    (void)s_;
    machine x = open_module("print", 0);
    int n = 20, which = 1;
    double v[20];
    for (int i = 0; i < n; i++) v[i] = (double)real() * 100;
    v[0] = 2.5;
    uint64_t dv = put(x, v, sizeof v), dy = poison(x, sizeof v);
    launch(x, "print", 1, 1, 32, 1, 0, P(&n, &dv, &dy, &which));
    const double *const y = vg_host(x.g, dy, sizeof v, false);
    for (int i = 0; i < n; i++) assert_true(y[i] == ((which + i) & 1 ? v[i] / 2 : v[i] * 2));
    assert_string_equal(printed, "0 of print: 1.250000, 85899345920\n");
    v[3] = -1.5e300;
    dv = put(x, v, sizeof v);
    assert_int_not_equal(go(x, "print", 1, 1, 32, 1, 0, P(&n, &dv, &dy, &which)), VG_OK);
    assert_non_null(strstr(vg_error(x.g), "trap"));
    close_module(x);
}

static void cluster(void **s_) {
    (void)s_;
    SCHEDULES(s) {
        machine x = open_module("cluster", s);
        int n = 3001;
        uint8_t v[3001];
        uint32_t want[256] = {0};
        for (int i = 0; i < n; i++) want[v[i] = (uint8_t)rnd()]++;
        uint64_t dv = put(x, v, sizeof v), count = zeroed(x, sizeof want);
        launch(x, "spread", 6, 1, 96, 1, 0, P(&n, &dv, &count));
        assert_memory_equal(vg_host(x.g, count, sizeof want, false), want, sizeof want);
        close_module(x);
    }
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/fixtures";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reduce), cmocka_unit_test(scan), cmocka_unit_test(transpose), cmocka_unit_test(histogram),
        cmocka_unit_test(wmma), cmocka_unit_test(pipeline), cmocka_unit_test(interpreter), cmocka_unit_test(print),
        cmocka_unit_test(cluster)};
    return cmocka_run_group_tests_name("vgpu_cuda", tests, NULL, NULL);
}
