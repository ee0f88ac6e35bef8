// SPDX-License-Identifier: Apache-2.0
// Mutation fuzzing of the virtual GPU: damaged PTX that still loads is executed, with random parameters,
// and ends with a status and a message; it never crashes the host or hangs. Reproducible: same
// arguments, same inputs.
// Usage: fuzz_vgpu COUNT SEED FOLDER-OF-PTX
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/vgpu/vgpu.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILES = 64, MAX_PARAMS = 32, PARAM_BYTES = 512, BUFFER = 65536 };
static char *text[MAX_FILES];
static size_t size[MAX_FILES], files;

static void read_folder(const char *path) {
    DIR *const d = opendir(path);
    char *names[MAX_FILES];
    size_t n = 0;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d)) && n < MAX_FILES;)
        if (strstr(e->d_name, ".ptx") && asprintf(&names[n], "%s/%s", path, e->d_name) > 0) n++;
    closedir(d);
    qsort(names, n, sizeof *names, by_name); // the folder's order is the machine's affair
    for (size_t i = 0; i < n; i++) {
        FILE *const f = fopen(names[i], "rb");
        text[files] = malloc(1 << 20);
        if (!f || !text[files]) exit(2);
        size[files] = fread(text[files], 1, 1 << 20, f);
        files++;
        fclose(f);
        free(names[i]);
    }
}

static bool word(char c) { return c == '_' || c == '%' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// A word or a whole line of the text replaced by another one of it, or a character by a likely one.
static char *mutate(char *t, size_t *n) {
    const size_t what = below(8);
    if (what == 0) {
        t[below(*n)] = "0123456789.%rdpfsu,[]{}-+;@!"[below(28)];
        return t;
    }
    const bool line = what < 3;
    size_t at[2], len[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        at[i] = below(*n);
        while (at[i] < *n && !line && !word(t[at[i]])) at[i]++;
        while (at[i] > 0 && (line ? t[at[i] - 1] != '\n' : word(t[at[i] - 1]))) at[i]--;
        while (at[i] + len[i] < *n && (line ? t[at[i] + len[i]] != '\n' : word(t[at[i] + len[i]]))) len[i]++;
    }
    if (!len[0] || !len[1]) return t;
    char *const out = malloc(*n + len[1] + 1);
    if (!out) exit(2);
    memcpy(out, t, at[0]);
    memcpy(out + at[0], t + at[1], len[1]);
    memcpy(out + at[0] + len[1], t + at[0] + len[0], *n - at[0] - len[0]);
    *n = *n - len[0] + len[1];
    out[*n] = 0;
    free(t);
    return out;
}

static void quiet(void *user, const char *s, size_t n) { (void)user, (void)s, (void)n; }

static bool launch(vg_gpu *g, vg_kernel *k) {
    const ptx_func *const f = vg_ptx(k);
    static uint64_t value[MAX_PARAMS][PARAM_BYTES / 8];
    void *params[MAX_PARAMS];
    if (f->nparam > MAX_PARAMS) return false;
    for (uint32_t i = 0; i < f->nparam; i++) {
        if (f->param[i].bytes > PARAM_BYTES) return false;
        params[i] = value[i];
        value[i][0] = below(200);
        for (size_t w = 1; w < PARAM_BYTES / 8; w++) value[i][w] = next() & 0xffff;
        if (f->param[i].bytes != 8 || vg_alloc(g, BUFFER, &value[i][0]) != VG_OK) continue;
        uint32_t *const at = vg_host(g, value[i][0], BUFFER, true);
        for (size_t w = 0; w < BUFFER / 4; w++) at[w] = (uint32_t)next() & (w % 5 ? 255 : UINT32_MAX);
    }
    vg_launch_config c = {.grid = {4, 1, 1}, .block = {128, 1, 1}, .shared = 16384, .params = params};
    for (int i = 0; i < 3; i++)
        if (f->reqntid[0]) c.block[i] = f->reqntid[i] ? f->reqntid[i] : 1;
    return vg_launch(g, k, &c) == VG_OK || vg_error(g)[0];
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    state = strtoull(argv[2], NULL, 10);
    read_folder(argv[3]);
    if (!files) return 2;
    watch();
    unsigned long loaded = 0, launched = 0;
    const unsigned long count = strtoul(argv[1], NULL, 10);
    for (current = 0; current < count; current++) {
        alarm(HANG_SECONDS);
        const size_t from = below(files);
        size_t n = size[from];
        char *t = malloc(n + 1);
        if (!t) return 2;
        memcpy(t, text[from], n);
        t[n] = 0;
        for (size_t m = below(3); m != SIZE_MAX; m--) t = mutate(t, &n);
        const size_t watch = below(6);
        vg_gpu *g = NULL;
        const vg_options o = {.threads = 1 + (int)below(2), .schedule = below(3), .sanitize = watch == 0, .profile = watch == 1,
                              .max_steps = 100000, .memory = 1 << 26, .print = quiet};
        ptx_error e;
        if (vg_create(&o, &g) != VG_OK) return 2;
        vg_module *const m = vg_load(g, t, n, &e);
        if (!m && !e.text[0]) return 1; // an error says something
        loaded += m != NULL;
        for (const char *p = t; m && (p = strstr(p, ".entry ")); p++) {
            char name[200];
            if (sscanf(p + 7, "%199[A-Za-z0-9_$]", name) != 1) continue;
            vg_kernel *const k = vg_function(m, name);
            if (k) launched += launch(g, k);
        }
        vg_destroy(g);
        free(t);
    }
    printf("%lu inputs, %lu loaded, %lu launches\n", count, loaded, launched);
    return loaded ? 0 : 1;
}
