// SPDX-License-Identifier: Apache-2.0
// Mutation fuzzing of the whole compile path: damaged programs go through lowering and all passes, with
// the verifier after each, and every few through code generation. Nothing may crash, hang or report a
// compiler error (E0802, E0690). Reproducible: same arguments, same inputs.
// Usage: fuzz_compile COUNT SEED FILE-OR-FOLDER…; FUZZ_ONLY=N: input N alone, written to standard output.
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/compile.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_FILES = 256, MAX_TOKENS = 20000 };
typedef struct {
    char *text;
    size_t size;
} input;

static input corpus[MAX_FILES];
static size_t ncorpus;

static void add(const char *path) {
    DIR *const d = opendir(path);
    if (d) {
        char *names[MAX_FILES];
        size_t n = 0;
        for (struct dirent *e; (e = readdir(d)) && n < MAX_FILES;)
            if (strstr(e->d_name, ".tvm") && asprintf(&names[n], "%s/%s", path, e->d_name) > 0) n++;
        closedir(d);
        for (size_t i = 1; i < n; i++) // the folder's order is the machine's affair
            for (size_t k = i; k > 0 && strcmp(names[k - 1], names[k]) > 0; k--) {
                char *const t = names[k];
                names[k] = names[k - 1];
                names[k - 1] = t;
            }
        for (size_t i = 0; i < n; i++) {
            add(names[i]);
            free(names[i]);
        }
        return;
    }
    FILE *const f = fopen(path, "rb");
    if (!f || ncorpus == MAX_FILES) return;
    char *const text = malloc(1 << 18);
    const size_t n = text ? fread(text, 1, 1 << 18, f) : 0;
    fclose(f);
    if (n) corpus[ncorpus++] = (input){text, n};
}

// ---- mutation -----------------------------------------------------------------------------------

static size_t token_at(const char *s, size_t n) {
    size_t k = 1;
    if (isspace((unsigned char)*s)) {
        while (k < n && isspace((unsigned char)s[k])) k++;
    } else if (isalnum((unsigned char)*s) || *s == '_') {
        while (k < n && (isalnum((unsigned char)s[k]) || s[k] == '_')) k++;
    } else if (n > 1 && s[0] == '/' && s[1] == '/') {
        while (k < n && s[k] != '\n') k++;
    } else if (*s == '"') {
        while (k < n && s[k] != '"' && s[k] != '\n') k++;
        if (k < n) k++;
    }
    return k;
}

static const char *const values[] = {"0", "1", "-1", "2", "3", "7", "16", "17", "31", "32", "33", "64", "100", "128", "1000", "1024", "65536",
    "2147483647", "2147483648", "9223372036854775807", "0.5", "1e30", "true", "f16", "bf16", "f32", "u1", "u3", "u4", "u8", "i4", "i8", "i32", "i64", "u64",
    "f6e3m2", "f8e4m3", "f64", "bool", "local(4)", "spatial(32)", "swizzle(128)", "swizzle(32)", "block.x", "grid.x", "mma.m16n8k16.a", "..",
    "load", "store", "copy", "dot", "sum", "max", "exp2", "relayout", "sync()", "cdiv", "as", "@", "+:", "fetch", "simt t", "const", "var", "reg", "shared", "global",
    "scan_inclusive", "atomic_add", "select", "map", "any", "print", "assert", "shuffle", "ballot", "popc", "while", "role p in 0..1", "break", "continue", "return",
    "permute", "reshape", "view", "broadcast", "zeros", "full", "iota", "#[pipeline(3)]", "#[strict]", "((", "))", "{", "}", ";", ",", "[", "]", ".t"};

typedef struct {
    size_t lo, n;
} token;

static char *mutate(size_t *size) {
    static token tok[MAX_TOKENS];
    static char word[64];
    const input *const in = &corpus[below(ncorpus)];
    char *text = malloc(2 * in->size + 4096);
    if (!text) exit(2);
    memcpy(text, in->text, in->size);
    size_t n = in->size;
    const size_t room = 2 * in->size + 4096;
    for (size_t edits = 1 + below(3); edits; edits--) {
        size_t ntok = 0, at = 0;
        while (at < n && ntok < MAX_TOKENS) {
            const size_t k = token_at(text + at, n - at);
            if (!isspace((unsigned char)text[at])) tok[ntok++] = (token){at, k};
            at += k;
        }
        if (!ntok) break;
        const size_t pick = below(100);
        token t = tok[below(ntok)];
        const char *with = "";
        size_t len = 0;
        if (pick < 45) { // another word of the vocabulary or a value; numbers are nudged
            with = values[below(sizeof values / sizeof *values)];
            for (size_t tries = 0; tries < 8 && !isalnum((unsigned char)text[t.lo]); tries++) t = tok[below(ntok)];
            if (isdigit((unsigned char)text[t.lo]) && below(2)) {
                snprintf(word, sizeof word, "%lld", (long long)(strtoull(text + t.lo, NULL, 0) + below(9) - 4));
                with = word;
            }
            len = strlen(with);
        } else if (pick < 75) { // another token of the same program
            const token u = tok[below(ntok)];
            len = u.n < sizeof word ? u.n : sizeof word - 1;
            memcpy(word, text + u.lo, len);
            with = word;
            if (pick < 55) t.n = 0; // inserted
        } else if (pick < 85) { // removed
        } else if (pick < 92) { // a stretch is repeated
            const size_t stretch = 1 + below(200), from = t.lo, many = from + stretch < n ? stretch : n - from;
            if (n + many >= room) continue;
            memmove(text + from + many, text + from, n - from);
            n += many;
            continue;
        } else { // a byte
            text[below(n)] = (char)below(256);
            continue;
        }
        if (n - t.n + len + 2 >= room) continue;
        memmove(text + t.lo + len, text + t.lo + t.n, n - t.lo - t.n);
        memcpy(text + t.lo, with, len);
        n = n - t.n + len;
    }
    *size = n;
    return text;
}

// ---- one input ----------------------------------------------------------------------------------

static bool has(const char *text, size_t n, const char *what) { return memmem(text, n, what, strlen(what)) != NULL; }

static bool one(unsigned long number, bool show) {
    size_t n;
    char *const text = mutate(&n);
    const uint64_t choice = next();
    if (show) {
        fwrite(text, 1, n, stdout);
        fflush(stdout);
    }
    const char *define[4];
    uint32_t ndefine = 0;
    if (has(text, n, "Q: type")) define[ndefine++] = choice & 1 ? "Q=u4" : "Q=f6e3m2";
    static const char *const archs[] = {"sm_80", "sm_90a", "sm_89"};
    rt_options o = {.name = "fuzz.tvm", .text = text, .size = n, .define = define, .ndefine = ndefine, .verify = true, .perf = true, .remarks = true};
    o.cg.opt = choice >> 8 & 3;
    o.arch = choice >> 4 & 3 ? vm_arch_find(archs[choice >> 16 & 1 ? 1 : (choice >> 17) % 3]) : NULL;
    o.stage = o.arch && number % 4 == 0 ? RT_STAGE_PTX : number % 8 == 1 ? RT_STAGE_LAYOUT : RT_STAGE_IR;
    bool good = true;
    alarm(HANG_SECONDS);
    rt_compilation *const x = rt_compilation_new(NULL, &o);
    if (x) {
        const enum rt_result r = rt_compile(x);
        if (r == RT_NO_MEMORY) fprintf(stderr, "input %lu: out of memory\n", number);
        for (const vm_diag *d = x->comp->diags; d; d = d->next)
            if (d->code == D_E0802 || d->code == D_E0690) good = false;
        const char *const said = rt_diagnostics(x, number % 2, false);
        if (!good) fprintf(stderr, "input %lu: the compiler's error:\n%.3000s\n", number, said);
        rt_compilation_free(x);
    }
    alarm(0);
    free(text);
    return good;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: %s COUNT SEED FILE-OR-FOLDER…\n", argv[0]);
        return 2;
    }
    for (int i = 3; i < argc; i++) add(argv[i]);
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
        if (!one(i, only != NULL)) bad++;
    }
    printf("%lu inputs of %zu programs, %u compiler errors\n", count, ncorpus, bad);
    return bad ? 1 : 0;
}
