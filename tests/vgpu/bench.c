// SPDX-License-Identifier: Apache-2.0
// How fast the virtual GPU is: thread-instructions a second on one core, for loops of scalar code with
// and without divergence, memory and calls. Built with the tests, run by hand.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/vgpu/vgpu.h"

#define HEAD                                                                                       \
    ".version 8.3\n.target sm_90a\n.address_size 64\n.func (.param .b32 o) f(.param .b32 i)\n"     \
    "{ .reg .b32 %r<3>; ld.param.b32 %r1, [i]; add.u32 %r2, %r1, 3; st.param.b32 [o], %r2; ret; }\n" \
    ".visible .entry k(.param .u64 out, .param .u32 n)\n"                                          \
    "{ .reg .pred %p<4>; .reg .b32 %r<32>; .reg .b64 %rd<8>; .reg .f32 %f<16>; .shared .align 4 .b8 sh[1024];\n" \
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 256, %r1; mul.wide.u32 %rd1, %r3, 4;\n" \
    "ld.param.u64 %rd2, [out]; add.s64 %rd2, %rd2, %rd1; ld.param.u32 %r4, [n]; mov.u32 %r5, 0; mov.u32 %r6, %r1;\n" \
    "cvt.rn.f32.u32 %f1, %r1; mov.f32 %f2, 0f3f800347; mov.f32 %f3, %f1; mov.u32 %r20, sh; mad.lo.u32 %r20, %r1, 4, %r20; mov.u32 %r9, 1;\n" \
    "and.b32 %r21, %r1, 31; mul.lo.u32 %r21, %r21, 16; mov.u32 %r7, sh; add.u32 %r21, %r21, %r7; mov.u32 %r7, 0x3c003c00;\n"   \
    "L:\n"
#define TAIL                                                                                       \
    "add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, %r4; @%p1 bra L;\n"                                \
    "cvt.rn.f32.u32 %f4, %r6; add.f32 %f3, %f3, %f4; st.global.f32 [%rd2], %f3; ret; }\n"

static const struct {
    const char *name, *body;
    unsigned insts;             // a thread executes in an iteration, the loop's three included
} rows[] = {
    {"integer", "mad.lo.u32 %r6, %r6, 5, %r5; xor.b32 %r6, %r6, %r1; shl.b32 %r7, %r6, 3; add.u32 %r6, %r6, %r7; and.b32 %r7, %r6, 255; sub.u32 %r6, %r6, %r7;\n", 9},
    {"float", "fma.rn.f32 %f3, %f3, %f2, %f1; mul.f32 %f4, %f3, %f2; add.f32 %f3, %f3, %f4; min.f32 %f3, %f3, %f1; max.f32 %f3, %f3, %f2;\n", 8},
    {"address", "mul.wide.u32 %rd3, %r6, 4; add.s64 %rd4, %rd2, %rd3; cvt.u32.u64 %r7, %rd4; setp.eq.u32 %p2, %r7, 5; selp.b32 %r6, %r7, %r1, %p2;\n", 8},
    {"global load, store", "ld.global.u32 %r7, [%rd2]; add.u32 %r7, %r7, %r5; st.global.u32 [%rd2], %r7;\n", 6},
    {"shared load, store", "ld.shared.u32 %r7, [%r20]; add.u32 %r7, %r7, %r5; st.shared.u32 [%r20], %r7;\n", 6},
    {"barrier", "bar.sync 0; add.u32 %r6, %r6, %r5;\n", 5},
    {"divergent branch", "and.b32 %r7, %r1, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra A; add.u32 %r6, %r6, 1; A: xor.b32 %r6, %r6, %r5;\n", 8},
    {"call", "{ .param .b32 a; .param .b32 b; st.param.b32 [a], %r6; call (b), f, (a); ld.param.b32 %r6, [b]; }\n", 10},
    {"fma.f16x2", "fma.rn.f16x2 %r6, %r6, %r7, %r1;\n", 4},
    {"mul.f16x2", "mul.rn.f16x2 %r6, %r6, %r7;\n", 4},
    {"shfl", "shfl.sync.bfly.b32 %r6, %r6, 1, 31, -1;\n", 4},
    {"cvt.f16x2", "cvt.rn.f16x2.f32 %r6, %f3, %f2;\n", 4},
    {"prmt", "prmt.b32 %r6, %r6, %r7, %r1;\n", 4},
    {"ldmatrix.trans", "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r10, %r11, %r12, %r13}, [%r21];\n", 4},
    {"mma f16", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f5, %f6, %f7, %f8}, {%r10, %r11, %r12, %r13}, {%r6, %r7}, {%f5, %f6, %f7, %f8};\n", 4},
    {"mma bf16", "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f5, %f6, %f7, %f8}, {%r10, %r11, %r12, %r13}, {%r6, %r7}, {%f5, %f6, %f7, %f8};\n", 4},
    {"mma s8", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r14, %r15, %r16, %r17}, {%r10, %r11, %r12, %r13}, {%r6, %r7}, {%r14, %r15, %r16, %r17};\n", 4},
    {"mma e4m3", "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%f5, %f6, %f7, %f8}, {%r10, %r11, %r12, %r13}, {%r6, %r7}, {%f5, %f6, %f7, %f8};\n", 4},
    {"atomic", "atom.shared.add.u32 %r7, [%r20], %r5;\n", 4},
};

/// Wall time of launches that do next to nothing, with a worker for each processor.
static bool launches(unsigned grid) {
    vg_gpu *g;
    if (vg_create(&(vg_options){.threads = 0}, &g) != VG_OK) return false;
    char text[4000];
    snprintf(text, sizeof text, "%s%s", HEAD, TAIL);
    ptx_error e;
    vg_module *const m = vg_load(g, text, strlen(text), &e);
    uint64_t out;
    if (!m || vg_alloc(g, grid * 256 * 4, &out) != VG_OK) return false;
    unsigned one = 1;
    void *params[] = {&out, &one};
    const int n = 1000;
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < n; i++)
        vg_launch(g, vg_function(m, "k"), &(vg_launch_config){.grid = {grid, 1, 1}, .block = {256, 1, 1}, .params = params});
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("a launch of %2u blocks %8.1f us\n", grid, ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / n / 1000);
    vg_destroy(g);
    return true;
}

int main(int argc, char **argv) {
    const unsigned grid = 8, block = 256, n = argc > 1 ? (unsigned)atoi(argv[1]) : 2000;
    const bool sanitize = argc > 2 && strcmp(argv[2], "sanitize") == 0, profile = argc > 2 && strcmp(argv[2], "profile") == 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vg_gpu *g;
        if (vg_create(&(vg_options){.threads = 1, .sanitize = sanitize, .profile = profile}, &g) != VG_OK) return 1;
        char text[4000];
        snprintf(text, sizeof text, "%s%s%s", HEAD, rows[i].body, TAIL);
        ptx_error e;
        vg_module *const m = vg_load(g, text, strlen(text), &e);
        uint64_t out;
        if (!m || vg_alloc(g, grid * block * 4, &out) != VG_OK) {
            fprintf(stderr, "%s: %s\n", rows[i].name, e.text);
            return 1;
        }
        memset(vg_host(g, out, grid * block * 4, true), 1, grid * block * 4);
        unsigned iterations = n;
        void *params[] = {&out, &iterations};
        struct timespec a, b;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        const enum vg_status s = vg_launch(g, vg_function(m, "k"), &(vg_launch_config){.grid = {grid, 1, 1}, .block = {block, 1, 1}, .params = params});
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        if (s != VG_OK) fprintf(stderr, "%s: %s\n", rows[i].name, vg_error(g));
        const double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
        printf("%-20s %8.0f million thread-instructions/s, %6.0f ns a warp's iteration\n", rows[i].name,
               1e-6 * grid * block * (double)n * rows[i].insts / seconds, 1e9 * seconds * 32 / ((double)grid * block * n));
        vg_destroy(g);
    }
    for (unsigned blocks = 1; blocks <= 16; blocks *= 4)
        if (!launches(blocks)) return 1;
    return 0;
}
