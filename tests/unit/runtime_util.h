// SPDX-License-Identifier: Apache-2.0
// Shared by the tests of the runtime: memory that counts and fails on demand, a log that remembers,
// random bytes, folders of their own.
#pragma once
#include "runtime/runtime.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    long left;       // allocations until one fails, negative: never
    size_t live;     // bytes
    size_t calls;
} counter;

static inline void *count_alloc(void *user, size_t size) {
    counter *k = user;
    k->calls++;
    if (k->left == 0) return NULL;
    if (k->left > 0) k->left--;
    void *p = malloc(size);
    if (p) {
        memset(p, 0xa5, size);
        k->live += size;
    }
    return p;
}

static inline void count_release(void *user, void *p, size_t size) {
    counter *k = user;
    assert_true(k->live >= size);
    k->live -= size;
    free(p);
}

typedef struct {
    char text[8192];
    int warnings;
} journal;

static inline void take_log(void *user, tilus_log_level level, const char *text) {
    journal *j = user;
    j->warnings += level == TILUS_LOG_WARNING;
    const size_t n = strlen(j->text);
    snprintf(j->text + n, sizeof j->text - n, "%s\n", text);
}

static uint64_t rng_state = 0x9e3779b97f4a7c15;
static inline uint64_t rng(void) {
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    return rng_state ^= rng_state << 17;
}
static inline float rng_float(void) { return (float)(int32_t)rng() / 65536.0f; }

static inline void temp_folder(char out[64]) {
    strcpy(out, "/tmp/tilus-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static inline void put_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

static inline void remove_folder(const char *path) {
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", path);
    assert_int_equal(system(cmd), 0);
}
