// SPDX-License-Identifier: Apache-2.0
// What a prepared launch costs over a bare cuLaunchKernel of the same kernel, both with the same grid.
// Needs a GPU. Prints nanoseconds a launch; exits 1 if the difference is 2 microseconds or more.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "runtime/tilus.h"

typedef int (*launch_fn)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(void) {
    enum { ROUNDS = 41, LAUNCHES = 500 };
    tilus_context *c;
    tilus_module *m, *p;
    tilus_kernel *k, *raw;
    tilus_plan *plan;
    tilus_kernel_info info;
    void *x;
    char error[400] = "";
    const tilus_context_params params = {.device = TILUS_DEVICE_CUDA, .error = error, .error_size = sizeof error};
    if (tilus_context_create(&params, &c)) return printf("%s\n", error), 2;
    static const char text[] = "kernel bump(n: i32, x: global i32[n]) requires n % 4 == 0; launch { grid = 1; warps = 1; }\n"
                               "{ simt t { if t == 0 { x[0] = x[0] + 1; } } }\n";
    if (tilus_module_from_source(c, "bump.tvm", text, sizeof text - 1, &m) || tilus_kernel_get(m, "bump", NULL, 0, &k) ||
        tilus_alloc(c, 64, &x) || tilus_fill(c, x, 0, 64, NULL))
        return printf("%s\n", tilus_error(c)), 2;
    const tilus_arg args[] = {tilus_int(16), tilus_pointer(x)};
    if (tilus_prepare(k, args, 2, &plan) || tilus_kernel_describe(k, &info)) return printf("%s\n", tilus_error(c)), 2;
    if (tilus_module_from_ptx(c, info.ptx, &p) || tilus_kernel_get(p, info.entry, NULL, 0, &raw)) return printf("%s\n", tilus_error(c)), 2;
    // the bare launch: the driver's own entry, on a function loaded by the driver
    void *lib = dlopen("libcuda.so.1", RTLD_NOW);
    int (*load)(void **, const void *) = NULL;
    int (*get)(void **, void *, const char *) = NULL;
    int (*retain)(void **, int) = NULL, (*set)(void *) = NULL;
    launch_fn launch = NULL;
    *(void **)&load = dlsym(lib, "cuModuleLoadData");
    *(void **)&get = dlsym(lib, "cuModuleGetFunction");
    *(void **)&retain = dlsym(lib, "cuDevicePrimaryCtxRetain");
    *(void **)&set = dlsym(lib, "cuCtxSetCurrent");
    *(void **)&launch = dlsym(lib, "cuLaunchKernel");
    void *ctx, *mod, *fn;
    if (retain(&ctx, 0) || set(ctx) || load(&mod, info.ptx) || get(&fn, mod, info.entry)) return puts("driver"), 2;
    int n = 16;
    void *list[] = {&n, &x};
    double bare[ROUNDS], ours[ROUNDS], checked[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        tilus_synchronize(c, NULL);
        double t = now();
        for (int i = 0; i < LAUNCHES; i++) launch(fn, 1, 1, 1, 32, 1, 1, 0, NULL, list, NULL);
        bare[r] = (now() - t) / LAUNCHES;
        tilus_synchronize(c, NULL);
        t = now();
        for (int i = 0; i < LAUNCHES; i++) tilus_launch_prepared(plan, NULL);
        ours[r] = (now() - t) / LAUNCHES;
        tilus_synchronize(c, NULL);
        t = now();
        for (int i = 0; i < LAUNCHES; i++) tilus_launch(k, NULL, args, 2);
        checked[r] = (now() - t) / LAUNCHES;
    }
    int count = 0;
    if (tilus_download(c, &count, x, 4, NULL)) return printf("%s\n", tilus_error(c)), 2;
    qsort(bare, ROUNDS, sizeof *bare, compare);
    qsort(ours, ROUNDS, sizeof *ours, compare);
    qsort(checked, ROUNDS, sizeof *checked, compare);
    printf("cuLaunchKernel %.0f ns, prepared %.0f ns (+%.0f), with checks %.0f ns (+%.0f); %d launches counted\n", bare[ROUNDS / 2],
           ours[ROUNDS / 2], ours[ROUNDS / 2] - bare[ROUNDS / 2], checked[ROUNDS / 2], checked[ROUNDS / 2] - bare[ROUNDS / 2], count);
    const int ok = count == 3 * ROUNDS * LAUNCHES && ours[ROUNDS / 2] - bare[ROUNDS / 2] < 2000;
    tilus_context_destroy(c);
    return !ok;
}
