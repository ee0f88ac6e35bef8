// SPDX-License-Identifier: Apache-2.0
// Mutation fuzzing of scanner, parser, messages and formatter: damaged programs must neither crash
// nor hang, and what still parses must survive formatting unchanged. Reproducible: the same count,
// seed and files give the same inputs. Usage: fuzz_frontend COUNT SEED FILE-OR-FOLDER…
#include "frontend/ast.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *text;
    size_t size;
} input;

static input *corpus;
static size_t ncorpus;

static const char *const words[] = {
#define TOKEN(id, spelling, cls) spelling,
#include "frontend/tokens.def"
#undef TOKEN
    "\"",
    "//",
    "/*",
    "*/",
    "///",
    "0x",
    "1.5e3",
    "1.",
    "99999999999999999999",
    "'",
    "#",
    "\\",
    "\n",
    "x",
    "\xef\xbb\xbf",
    "\"\\q\"",
    "((((((((((((((((((((((((((((((((",
    "- - - - - - - - - - - - - -",
    "{{{{{{{{{{{{{{{{",
    "if a {} else ",
    "a[x..y step 2]",
    "|i, j| ",
    "}}}}",
    ")]})",
};

static void add_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return;
    input in = {malloc(1 << 20), 0};
    if (in.text) in.size = fread(in.text, 1, 1 << 20, f);
    fclose(f);
    corpus = realloc(corpus, (ncorpus + 1) * sizeof *corpus);
    if (!corpus || !in.text) exit(2);
    corpus[ncorpus++] = in;
}

static int tvm_only(const struct dirent *d) {
    const char *dot = strrchr(d->d_name, '.');
    return dot && strcmp(dot, ".tvm") == 0;
}

static void add(const char *path) {
    struct dirent **list;
    const int n = scandir(path, &list, tvm_only, alphasort);
    if (n < 0) add_file(path);
    for (int i = 0; i < n; i++) {
        char full[8192];
        snprintf(full, sizeof full, "%.4000s/%s", path, list[i]->d_name);
        add_file(full);
        free(list[i]);
    }
    if (n >= 0) free(list);
}

typedef struct {
    char at[1 << 17];
    size_t n;
} text;

/// Replaces `cut` bytes at `where` by n bytes of s.
static void splice(text *t, size_t where, size_t cut, const char *s, size_t n) {
    if (cut > t->n - where) cut = t->n - where;
    if (t->n - cut + n > sizeof t->at) return;
    memmove(t->at + where + n, t->at + where + cut, t->n - where - cut);
    memmove(t->at + where, s, n);
    t->n = t->n - cut + n;
}

static void mutate(text *t) {
    char tmp[512];
    const size_t where = below(t->n + 1);
    switch (below(8)) {
    case 0:
        if (t->n) t->at[below(t->n)] = (char)next();
        break;
    case 1:
        splice(t, where, 1 + below(8), "", 0);
        break;
    case 2:
    case 3: {
        const char *w = words[below(sizeof words / sizeof *words)];
        splice(t, where, below(2) ? below(6) : 0, w, strlen(w));
        break;
    }
    case 4: { // a piece of another file
        const input *o = &corpus[below(ncorpus)];
        const size_t from = below(o->size), n = below(sizeof tmp);
        splice(t, where, below(60), o->text + from, n < o->size - from ? n : o->size - from);
        break;
    }
    case 5: { // a piece of itself
        const size_t from = below(t->n), n = below(sizeof tmp);
        const size_t m = n < t->n - from ? n : t->n - from;
        memcpy(tmp, t->at + from, m);
        splice(t, where, 0, tmp, m);
        break;
    }
    case 6:
        if (below(4) == 0) t->n = where;
        break;
    default:
        if (t->n > 1) { // two bytes change places
            const size_t a = below(t->n), b = below(t->n);
            const char ch = t->at[a];
            t->at[a] = t->at[b];
            t->at[b] = ch;
        }
    }
}

static int fail(const text *t, const char *why) {
    fprintf(stderr, "%s:\n", why);
    fwrite(t->at, 1, t->n, stderr);
    return 1;
}

static int try(const text *t, size_t *clean) {
    jmp_buf oom;
    if (setjmp(oom)) return fail(t, "out of memory");
    vm_comp *c = vm_comp_new(NULL, &oom);
    if (!c) return 2;
    int rc = 0;
    const uint32_t file = vm_source_add(c, "fuzz.tvm", t->at, t->n);
    ast *a = fe_parse(c, file);
    const char *tree = fe_ast_text(c, a);
    if (memcmp(vm_source_at(c, file)->text, t->at, t->n) != 0)
        rc = fail(t, "the source was changed");
    if (c->nerrors) {
        vm_diags_text(c, false);
        if (fe_format(c, file)) rc = fail(t, "formatted in spite of errors");
    } else {
        ++*clean;
        const char *once = fe_format(c, file);
        if (!once)
            rc = fail(t, "not formatted");
        else {
            const uint32_t again = vm_source_add(c, "once.tvm", once, strlen(once));
            const char *tree2 = fe_ast_text(c, fe_parse(c, again)), *twice = fe_format(c, again);
            if (strcmp(tree, tree2) != 0)
                rc = fail(t, "formatting changed the tree");
            else if (!twice || strcmp(once, twice) != 0)
                rc = fail(t, "formatting twice differs");
        }
    }
    vm_comp_free(c);
    return rc;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const unsigned long count = strtoul(argv[1], NULL, 10);
    state = strtoull(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) add(argv[i]);
    if (!ncorpus) return 2;
    static text t;
    size_t clean = 0;
    int rc = 0;
    for (unsigned long i = 0; i < count && !rc; i++) {
        const input *in = &corpus[below(ncorpus)];
        t.n = in->size < sizeof t.at / 2 ? in->size : sizeof t.at / 2;
        memcpy(t.at, in->text, t.n);
        const size_t n = below(3) == 0 ? 1 : below(12);
        for (size_t k = 0; k < n; k++) mutate(&t);
        rc = try(&t, &clean);
    }
    printf("%lu inputs, %zu of them valid\n", count, clean);
    for (size_t i = 0; i < ncorpus; i++) free(corpus[i].text);
    free(corpus);
    return rc;
}
