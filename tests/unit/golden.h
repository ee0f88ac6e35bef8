// SPDX-License-Identifier: Apache-2.0
// Reading fixture files and comparing with golden ones. With TILUS_BLESS set in the environment the
// golden file is written instead of compared.
#pragma once
#include "vm/vm.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline char *read_text(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = malloc(1 << 22);
    assert_non_null(text);
    const size_t n = fread(text, 1, (1 << 22) - 1, f);
    text[n] = 0;
    if (size) *size = n;
    fclose(f);
    return text;
}

static inline void compare_golden(const char *path, const char *text) {
    if (getenv("TILUS_BLESS")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs(text, f);
        fclose(f);
        return;
    }
    char *want = read_text(path, NULL);
    if (!want) fail_msg("no golden file %s", path);
    if (strcmp(want, text) != 0) {
        size_t i = 0, line = 1;
        for (; want[i] && want[i] == text[i]; i++) line += want[i] == '\n';
        fail_msg("%s:%zu: differs from '%.60s'", path, line, text + i);
    }
    free(want);
}

static inline int ends_in_tvm(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".tvm") == 0;
}

/// Calls `each` for every .tvm file of a folder, in alphabetical order; returns how many.
static inline int each_program(const char *folder, void (*each)(const char *path)) {
    struct dirent **list;
    const int n = scandir(folder, &list, ends_in_tvm, alphasort);
    for (int i = 0; i < n; i++) {
        char path[8192];
        snprintf(path, sizeof path, "%.4000s/%s", folder, list[i]->d_name);
        each(path);
        free(list[i]);
    }
    if (n >= 0) free(list);
    return n;
}
