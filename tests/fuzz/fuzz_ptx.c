// SPDX-License-Identifier: Apache-2.0
// Mutation fuzzing of the PTX parser: damaged PTX, ours of every program and nvcc's, must be an error with
// a line or a module whose control flow and texts can be had; it never crashes or hangs. Reproducible: same
// arguments, same inputs.
// Usage: fuzz_ptx COUNT SEED FOLDER-OF-PTX; FUZZ_ONLY=N: input N alone, written to standard output.
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/compile.h"
#include "runtime/vgpu/ptx.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILES = 128 };
typedef struct {
    char *text;
    size_t size;
} input;

static input corpus[MAX_FILES];
static size_t ncorpus;

// ---- corpus -------------------------------------------------------------------------------------

static void keep(const char *text, size_t n) {
    if (ncorpus == MAX_FILES || !n) return;
    char *const copy = malloc(n);
    if (!copy) exit(2);
    memcpy(copy, text, n);
    corpus[ncorpus++] = (input){copy, n};
}

static void add_folder(const char *path) {
    DIR *const d = opendir(path);
    if (!d) return;
    char *names[MAX_FILES];
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d)) && n < MAX_FILES;)
        if (strstr(e->d_name, ".ptx") && asprintf(&names[n], "%s/%s", path, e->d_name) > 0) n++;
    closedir(d);
    qsort(names, n, sizeof *names, by_name); // the folder's order is the machine's affair
    for (size_t i = 0; i < n; i++) {
        static char text[1 << 18];
        FILE *const f = fopen(names[i], "rb");
        if (f) {
            keep(text, fread(text, 1, sizeof text, f));
            fclose(f);
        }
        free(names[i]);
    }
}

static void add_programs(void) {
    static const char *const archs[] = {"sm_80", "sm_90a"};
    for (uint32_t i = 0; i < rt_embedded_count(); i++) {
        rt_options o = {.name = rt_embedded_name(i), .stage = RT_STAGE_PTX, .arch = vm_arch_find(archs[i % 2]), .cg = {.opt = 3}};
        o.text = rt_embedded(o.name, &o.size);
        rt_compilation *const x = rt_compilation_new(NULL, &o);
        if (!x) exit(2);
        if (rt_compile(x) == RT_OK && strstr(x->ptx, ".entry")) keep(x->ptx, strlen(x->ptx));
        rt_compilation_free(x);
    }
}

// ---- mutation -----------------------------------------------------------------------------------

static const char *const words[] = {
#define PTX_TYPE(name, bits, kind) "." #name,
#include "runtime/vgpu/types.def"
#undef PTX_TYPE
#define PTX_SPECIAL(id, name, type, meaning) name,
#include "runtime/vgpu/special.def"
#undef PTX_SPECIAL
    "{", "}", "(", ")", "[", "]", "<", ">", ",", ";", ":", "|", "@", "@!", "+", "-", "!", "~", "_", "?", "=", "/*", "*/", "//", "\"", "\n", "#",
    ".reg", ".global", ".const", ".shared", ".local", ".param", ".align 8", ".align 3", ".v2", ".v4", ".extern", ".visible", ".weak", ".common",
    ".entry", ".func", ".loc 1 2 3", ".file 1 \"a\"", ".section x {", ".pragma \"p\";", ".branchtargets A, B;", ".callprototype _ ();", ".ptr",
    ".version 8.3", ".target sm_90", ".address_size 64", ".reqntid 1, 2, 3", ".noreturn", ".alias a, b;", ".attribute(", "{ .reg .b32 %r<3>;",
    "0", "1", "-1", "8", "64", "4294967295", "4294967296", "9223372036854775808", "18446744073709551615", "0x", "0xFF(x)", "0f3F800000",
    "0d3FF0000000000000", "1.5", "1e999", "WARP_SZ", "generic(", "call", "call (", "bra", "brx.idx", "ret;", "exit;", "trap;", "%r1", "%rd1", "%p1",
    "%v.x", "$L__BB0_1", "$L__BB0_1:", "<1000000>", "[4294967295][4294967295]", "= {1, {2}, 3}", "{{{{", "((((", "[[[[", "----"};

typedef struct {
    char *at;
    size_t n, room;
} text;

/// `n` bytes at `lo` become `with`.
static void replace(text *t, size_t lo, size_t n, const char *with, size_t len) {
    if (t->n - n + len > t->room) return;
    memmove(t->at + lo + len, t->at + lo + n, t->n - lo - n);
    memcpy(t->at + lo, with, len);
    t->n = t->n - n + len;
}

static bool is_word(char c) { return isalnum((unsigned char)c) || c == '_' || c == '%' || c == '$' || c == '.'; }

/// The token around a random place.
static size_t token(const text *t, size_t *n) {
    size_t lo = below(t->n), hi = lo + 1;
    if (is_word(t->at[lo])) {
        while (lo && is_word(t->at[lo - 1])) lo--;
        while (hi < t->n && is_word(t->at[hi])) hi++;
    }
    *n = hi - lo;
    return lo;
}

static size_t line(const text *t, size_t *n) {
    size_t lo = below(t->n), hi = lo;
    while (lo && t->at[lo - 1] != '\n') lo--;
    while (hi < t->n && t->at[hi] != '\n') hi++;
    *n = (hi < t->n ? hi + 1 : hi) - lo;
    return lo;
}

static void edit(text *t) {
    static char buf[4096];
    size_t n, m;
    const size_t pick = below(100), lo = pick < 60 ? token(t, &n) : line(t, &n);
    if (pick < 30) { // another word
        const char *const w = words[below(sizeof words / sizeof *words)];
        replace(t, lo, below(3) ? n : 0, w, strlen(w));
    } else if (pick < 45) { // a token of this text
        const size_t from = token(t, &m);
        m = m < sizeof buf ? m : sizeof buf;
        memcpy(buf, t->at + from, m);
        replace(t, lo, below(3) ? n : 0, buf, m);
    } else if (pick < 52) replace(t, lo, n, "", 0);
    else if (pick < 60) t->at[below(t->n)] = (char)below(256);
    else if (pick < 72) replace(t, lo, n, "", 0); // a line goes,
    else { // is copied elsewhere, or two change places
        n = n < sizeof buf ? n : sizeof buf;
        memcpy(buf, t->at + lo, n);
        if (pick > 86) replace(t, lo, n, "", 0);
        if (!t->n) return;
        const size_t to = line(t, &m);
        replace(t, to, 0, buf, n);
    }
}

static char *mutate(size_t *size) {
    const input *const in = &corpus[below(ncorpus)];
    text t = {.n = in->size, .room = 2 * in->size + 4096};
    t.at = malloc(t.room);
    if (!t.at) exit(2);
    memcpy(t.at, in->text, in->size);
    for (size_t edits = 1 + below(4); edits && t.n; edits--) edit(&t);
    if (t.n && below(20) == 0) t.n = below(t.n);
    char *const exact = malloc(t.n ? t.n : 1); // a read behind it shows
    if (!exact) exit(2);
    memcpy(exact, t.at, t.n);
    free(t.at);
    *size = t.n;
    return exact;
}

// ---- one input ----------------------------------------------------------------------------------

static unsigned parsed;

static bool one(bool show) {
    size_t n;
    char *const t = mutate(&n);
    if (show) {
        fwrite(t, 1, n, stdout);
        fflush(stdout);
    }
    jmp_buf oom;
    if (setjmp(oom)) exit(2);
    vm_arena *const a = vm_arena_new(NULL, &oom);
    if (!a) exit(2);
    bool good = true;
    alarm(HANG_SECONDS);
    ptx_error e;
    const ptx_module *const m = ptx_parse(a, t, n, &e);
    if (!m) good = e.text[0] && e.line;
    else {
        parsed++;
        for (uint32_t k = 0; k < m->nfunc; k++) {
            const ptx_func *const f = m->func[k];
            const uint32_t *const join = ptx_joins(a, f);
            for (uint32_t i = 0; i < f->ninst; i++) {
                char out[120];
                ptx_inst_text(f, &f->inst[i], out, sizeof out);
                if (join[i] > f->ninst || !out[0]) good = false;
            }
        }
    }
    alarm(0);
    vm_arena_free(a);
    free(t);
    return good;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s COUNT SEED FOLDER-OF-PTX\n", argv[0]);
        return 2;
    }
    add_folder(argv[3]);
    add_programs();
    if (!ncorpus) {
        fprintf(stderr, "no inputs\n");
        return 2;
    }
    watch();
    const unsigned long count = strtoul(argv[1], NULL, 0), seed = strtoul(argv[2], NULL, 0);
    const char *const only = getenv("FUZZ_ONLY");
    unsigned bad = 0;
    for (unsigned long i = 0; i < count; i++) {
        current = i;
        state = (seed << 32) + i;
        if (only && strtoul(only, NULL, 0) != i) continue;
        if (one(only != NULL)) continue;
        fprintf(stderr, "input %lu: neither an error with its line nor a sound module\n", i);
        bad++;
    }
    printf("%lu inputs of %zu texts, %u parsed, %u wrong\n", count, ncorpus, parsed, bad);
    return bad ? 1 : 0;
}
