// SPDX-License-Identifier: Apache-2.0
// Adds two vectors, on the GPU if there is one, else on the virtual machine.
#include <stdio.h>
#include <tilus.h>

static const char source[] =
    "kernel add[B: int = 1024](n: i32, x: global f32[n], y: global f32[n], z: global f32[n])\n"
    "    launch { grid = cdiv(n, B); warps = 4; }\n"
    "{\n"
    "    let i = block.x * B;\n"
    "    store(z[i +: B], load(x[i +: B]) + load(y[i +: B]));\n"
    "}\n";
#define TRY(call) if ((call) != TILUS_OK) return fprintf(stderr, "%s\n", tilus_error(ctx)), 1

int main(void) {
    enum { N = 100003 };
    static float x[N], y[N], z[N];
    for (int i = 0; i < N; i++) x[i] = (float)i, y[i] = 0.5f * (float)i;

    tilus_context *ctx = NULL;
    tilus_module *mod;
    tilus_kernel *add;
    void *dx, *dy, *dz;
    TRY(tilus_context_create(NULL, &ctx));
    TRY(tilus_module_from_source(ctx, "add.tvm", source, sizeof source - 1, &mod));
    TRY(tilus_kernel_get(mod, "add", &(tilus_meta){"B", "512"}, 1, &add));
    TRY(tilus_alloc(ctx, sizeof x, &dx));
    TRY(tilus_alloc(ctx, sizeof y, &dy));
    TRY(tilus_alloc(ctx, sizeof z, &dz));
    TRY(tilus_upload(ctx, dx, x, sizeof x, NULL));
    TRY(tilus_upload(ctx, dy, y, sizeof y, NULL));
    const tilus_arg args[] = {tilus_int(N), tilus_pointer(dx), tilus_pointer(dy), tilus_pointer(dz)};
    TRY(tilus_launch(add, NULL, args, 4));
    TRY(tilus_download(ctx, z, dz, sizeof z, NULL));
    printf("%s: z[%d] = %g\n", tilus_device_name(ctx), N - 1, (double)z[N - 1]);
    tilus_context_destroy(ctx);
    return z[N - 1] != x[N - 1] + y[N - 1];
}
