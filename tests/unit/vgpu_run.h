// SPDX-License-Identifier: Apache-2.0
// Runs handwritten PTX on the virtual GPU: one machine a call, buffers of random bytes, and the
// message of what failed.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/vgpu/vgpu.h"

#define PTX_HEAD ".version 8.3\n.target sm_90a\n.address_size 64\n"

typedef struct {
    uint64_t schedule;
    bool sanitize;
    unsigned grid, block, cluster, shared;
} vt_config;

/// A parameter: a buffer (copied in, and back), or bytes.
typedef struct {
    void *data;
    size_t bytes;
    bool buffer;
    size_t align; // of a buffer's first byte, past 256-byte alignment
} vt_arg;

#define VT_BUFFER(p, n) ((vt_arg){.data = (p), .bytes = (n), .buffer = true})
#define VT_BYTES(p, n) ((vt_arg){.data = (p), .bytes = (n)})

static char vt_message[4096];
static size_t vt_reports;
static char vt_report[2048];

static uint64_t vt_seed = 88172645463325252ull;
static inline uint64_t vt_random(void) {
    vt_seed ^= vt_seed << 13;
    vt_seed ^= vt_seed >> 7;
    vt_seed ^= vt_seed << 17;
    return vt_seed;
}
static inline void vt_fill(void *p, size_t n) {
    for (size_t i = 0; i < n; i++) ((uint8_t *)p)[i] = (uint8_t)(vt_random() >> 32);
}

/// `prepare` may change bytes of parameters once the buffers' addresses are known (tensor maps).
typedef void vt_prepare(void *user, const uint64_t *address, void **param);

static inline enum vg_status vt_run_with(const char *ptx, const vt_config *c, const vt_arg *arg,
                                         size_t n, vt_prepare *prepare, void *user) {
    vg_options o = {
        .schedule = c->schedule, .sanitize = c->sanitize, .threads = 1, .max_steps = 50000000};
    vg_gpu *g = NULL;
    vt_message[0] = vt_report[0] = 0;
    vt_reports = 0;
    assert_int_equal(vg_create(&o, &g), VG_OK);
    ptx_error e = {0};
    vg_module *m = vg_load(g, ptx, strlen(ptx), &e);
    if (!m) {
        snprintf(vt_message, sizeof vt_message, "%s", e.text);
        vg_destroy(g);
        return VG_INVALID_PTX;
    }
    vg_kernel *k = vg_function(m, "k");
    assert_non_null(k);
    uint64_t address[8] = {0};
    void *param[8] = {0};
    uint8_t bytes[8][128] __attribute__((aligned(64)));
    for (size_t i = 0; i < n; i++) {
        if (arg[i].buffer) {
            assert_int_equal(vg_alloc(g, arg[i].bytes + arg[i].align, &address[i]), VG_OK);
            address[i] += arg[i].align;
            memcpy(vg_host(g, address[i], arg[i].bytes, true), arg[i].data, arg[i].bytes);
            param[i] = &address[i];
        } else {
            memcpy(bytes[i], arg[i].data, arg[i].bytes);
            param[i] = bytes[i];
        }
    }
    if (prepare) prepare(user, address, param);
    vg_launch_config lc = {.grid = {c->grid ? c->grid : 1, 1, 1},
                           .block = {c->block, 1, 1},
                           .cluster = {c->cluster, c->cluster ? 1 : 0, c->cluster ? 1 : 0},
                           .shared = c->shared,
                           .params = param};
    enum vg_status s = vg_launch(g, k, &lc);
    if (s != VG_OK) snprintf(vt_message, sizeof vt_message, "%s", vg_error(g));
    for (size_t i = 0; i < n; i++)
        if (arg[i].buffer)
            memcpy(arg[i].data, vg_host(g, address[i], arg[i].bytes, false), arg[i].bytes);
    const vg_report *r;
    vt_reports = vg_reports(g, &r);
    if (vt_reports) snprintf(vt_report, sizeof vt_report, "%s", r[0].text ? r[0].text : "");
    vg_unload(m);
    vg_destroy(g);
    return s;
}

static inline enum vg_status vt_run(const char *ptx, const vt_config *c, const vt_arg *arg,
                                    size_t n) {
    return vt_run_with(ptx, c, arg, n, NULL, NULL);
}

/// text with $0 to $9 replaced.
static inline void vt_text(char *out, size_t size, const char *text, const char *const *value) {
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        const bool key = *p == '$' && p[1] >= '0' && p[1] <= '9';
        const char *s = key ? value[p[1] - '0'] : p;
        const size_t k = key ? strlen(s) : 1;
        assert_true(n + k < size);
        memcpy(out + n, s, k);
        n += k;
        p += key;
    }
    out[n] = 0;
}

/// Decimal text that lasts until sixteen more are made.
static inline const char *vt_number(unsigned x) {
    static char text[16][12];
    static unsigned at;
    char *s = text[at++ % 16];
    snprintf(s, sizeof text[0], "%u", x);
    return s;
}

static inline void vt_good(enum vg_status s) {
    if (s != VG_OK) fail_msg("status %d: %s", (int)s, vt_message);
}

static inline void vt_says(enum vg_status s, const char *text) {
    if (s == VG_OK || !strstr(vt_message, text))
        fail_msg("status %d: '%s' does not say '%s'", (int)s, vt_message, text);
}
