// SPDX-License-Identifier: Apache-2.0
// Runs each micro-kernel on the virtual GPU and, where there is one, on the GPU, and compares.
// calibrate [--ptx FOLDER] [SEED]: one line for each mismatch and refusal, and a count. With --ptx,
// the texts are written to files instead.
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"
#include "tests/vgpu/micro.h"

typedef struct {
    rt_driver cu;
    void *context;
    int sm;
} gpu;

static bool gpu_open(gpu *g) {
    char why[256];
    int device, major, minor;
    if (rt_driver_load(&g->cu, why, sizeof why) != TILUS_OK) {
        printf("no GPU: %s\n", why);
        return false;
    }
    if (g->cu.init(0) || g->cu.device_get(&device, 0) ||
        g->cu.primary_retain(&g->context, device) || g->cu.ctx_push(g->context) ||
        g->cu.device_attribute(&major, CU_ATTR_MAJOR, device) ||
        g->cu.device_attribute(&minor, CU_ATTR_MINOR, device)) {
        printf("no GPU: the driver has none\n");
        return false;
    }
    g->sm = 10 * major + minor;
    return true;
}

static bool gpu_run(gpu *g, const char *ptx, micro_data *x, char *why, size_t size) {
    void *module = NULL, *function = NULL;
    char log[512] = "";
    int options[] = {CU_JIT_ERROR_LOG, CU_JIT_ERROR_LOG_SIZE};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    int rc = g->cu.module_load(&module, ptx, 2, options, values);
    if (rc) {
        log[strcspn(log, "\n")] = 0;
        snprintf(why, size, "error %d: %s", rc, log);
        return false;
    }
    const size_t in = (size_t)x->ns * x->n * 8, out = (size_t)x->nd * x->n * 8;
    uint64_t a = 0, b = 0;
    unsigned n = x->n;
    void *params[] = {&a, &b, &n};
    rc = g->cu.module_function(&function, module, "k");
    if (!rc) rc = g->cu.mem_alloc(&a, in + 8);
    if (!rc) rc = g->cu.mem_alloc(&b, out);
    if (!rc) rc = g->cu.copy_h2d(a, x->in, in, NULL);
    if (!rc) rc = g->cu.copy_h2d(b, x->out, out, NULL);
    if (!rc) rc = g->cu.launch(function, x->n / 128, 1, 1, 128, 1, 1, 0, NULL, params, NULL);
    if (!rc) rc = g->cu.copy_d2h(x->out, b, out, NULL);
    if (!rc) rc = g->cu.ctx_synchronize();
    if (a) g->cu.mem_free(a);
    if (b) g->cu.mem_free(b);
    g->cu.module_unload(module);
    if (rc) snprintf(why, size, "error %d", rc);
    return !rc;
}

static int write_texts(const char *folder) {
    for (size_t i = 0; i < nmicros; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%03zu.ptx", folder, i);
        FILE *const f = fopen(path, "w");
        if (!f) return 2;
        char *const ptx = micro_ptx(&micros[i], false);
        fputs(ptx, f);
        free(ptx);
        fclose(f);
    }
    return 0;
}

static void show(const micro *m, const micro_data *x, const micro_data *y, uint32_t t, uint32_t r) {
    printf("MISMATCH %s [%s] thread %u:", m->text, m->kinds, (unsigned)t);
    for (uint32_t i = 0; i < x->ns && i < 6; i++)
        printf(" %llx", (unsigned long long)x->in[(size_t)i * x->n + t]);
    printf(" -> result %u: vgpu %llx, gpu %llx\n", (unsigned)r,
           (unsigned long long)x->out[(size_t)r * x->n + t],
           (unsigned long long)y->out[(size_t)r * x->n + t]);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "--ptx")) return write_texts(argv[2]);
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    gpu g = {0};
    const bool have = gpu_open(&g);
    vg_gpu *v;
    if (vg_create(&(vg_options){.threads = 1, .memory = 64 << 20}, &v) != VG_OK) {
        printf("no virtual GPU\n");
        return 2;
    }
    size_t failed = 0, refused = 0, wrong = 0, same = 0, ran = 0;
    for (size_t i = 0; i < nmicros; i++) {
        const micro *const m = &micros[i];
        char why[1024];
        char *const ptx = micro_ptx(m, false);
        micro_data x = micro_inputs(m, seed + i), y = micro_inputs(m, seed + i);
        if (!micro_run(v, ptx, &x, why, sizeof why)) {
            printf("FAILED %s: %s\n", m->text, why);
            failed++;
        } else if (!have || g.sm < m->sm) {
            ran++;
        } else if (!gpu_run(&g, ptx, &y, why, sizeof why)) {
            printf("REFUSED by the GPU: %s: %s\n", m->text, why);
            refused++;
        } else {
            uint32_t bad = 0, first_t = 0, first_r = 0;
            for (uint32_t r = 0; r < x.nd; r++)
                for (uint32_t t = 0; t < x.n; t++) {
                    const size_t at = (size_t)r * x.n + t;
                    if (micro_agree(m, m->kinds[r], x.out[at], y.out[at])) continue;
                    if (!bad++) first_t = t, first_r = r;
                }
            if (bad) {
                show(m, &x, &y, first_t, first_r);
                printf("    %u of %u results\n", (unsigned)bad, (unsigned)(x.nd * x.n));
                wrong++;
            } else {
                same++;
            }
        }
        free(ptx), free(x.in), free(x.out), free(y.in), free(y.out);
    }
    printf("%zu micro-kernels: %zu agree, %zu differ, %zu refused by the GPU, %zu ran on vgpu "
           "only, %zu failed\n",
           nmicros, same, wrong, refused, ran, failed);
    vg_destroy(v);
    return failed || wrong ? 1 : 0;
}
