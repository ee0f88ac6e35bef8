// SPDX-License-Identifier: Apache-2.0
// tilusc test: runs the test blocks of files and folders, each in a compilation of its own. On a GPU
// the tests run in a worker process: after a fault no kernel can run in it, so the next one goes on.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tools/tool.h"

enum { KEY_FILTER = 1000, KEY_LIST, KEY_TIMEOUT };
/// What a worker leaves to its successor; in shared memory.
typedef struct {
    size_t file;             // where to go on
    unsigned at;
    bool done, started;      // everything; test `at` has begun
    unsigned passed, failed, skipped;
    int code;
    char device[128];
} score;
typedef struct {
    tool_options o;
    const char *filter;
    bool list, oom, worker;
    unsigned limit;          // seconds a test may take, in a worker
    char **files;
    size_t n, cap;
    tool_exec *exec;
    score *s;
    int code;                // of the command line
} tests;

static void add_file(tests *t, const char *path) {
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 64;
        char **const more = realloc(t->files, t->cap * sizeof *more);
        if (!more) {
            t->oom = true;
            return;
        }
        t->files = more;
    }
    if ((t->files[t->n] = strdup(path))) t->n++;
    else t->oom = true;
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

/// Files given by name are always tested; in folders, those whose names end in .tvm.
static void add_path(tests *t, const char *path, bool named, int depth) {
    struct stat st;
    if (!strcmp(path, "-")) {
        add_file(t, path);
        return;
    }
    if (stat(path, &st) != 0) {
        if (!named) return;
        size_t size;
        if (rt_embedded(path, &size)) add_file(t, path);
        else t->code = tool_usage("cannot read '%s': %s", path, strerror(errno));
        return;
    }
    if (!S_ISDIR(st.st_mode)) {
        if (named || tool_ends(path, ".tvm")) add_file(t, path);
        return;
    }
    struct dirent **names;
    const int n = depth > 32 ? -1 : scandir(path, &names, NULL, by_name);
    if (n < 0) {
        t->code = tool_usage("cannot read folder '%s': %s", path, strerror(depth > 32 ? ELOOP : errno));
        return;
    }
    for (int i = 0; i < n; i++) {
        const char *const name = names[i]->d_name;
        char *sub = NULL;
        if (name[0] != '.' && asprintf(&sub, "%s%s%s", path, tool_ends(path, "/") ? "" : "/", name) > 0) {
            add_path(t, sub, false, depth + 1);
            free(sub);
        }
        free(names[i]);
    }
    free(names);
}

static rt_compilation *load(tests *t, const char *path, const char *text, size_t size) {
    rt_options opt = t->o.rt;
    opt.name = path;
    opt.arch = tool_exec_arch(t->exec);
    opt.stage = RT_STAGE_CHECK;
    opt.text = text;
    opt.size = size;
    struct stat st;
    if (!text && strcmp(path, "-") != 0 && stat(path, &st) != 0) opt.text = rt_embedded(path, &opt.size);
    return rt_compilation_new(NULL, &opt);
}

static void one(tests *t, rt_compilation *x, const ast *test) {
    fe_test_result r = {0};
    const fe_executor hooks = tool_exec_hooks(t->exec);
    tool_exec_bind(t->exec, x);
    vm_diag *const last = x->comp->last_diag;
    tool_progress("%u passed, %u failed: %s", t->s->passed, t->s->failed, test->name);
    t->s->started = true;
    if (t->worker) alarm(t->limit); // a kernel that hangs ends the worker
    fe_run_test(x->eval, x->module, test, &hooks, &r);
    alarm(0);
    tool_progress(NULL);
    char time[32];
    tool_seconds(time, r.seconds);
    const char *const message = r.message ? r.message : "";
    const bool skipped = r.passed && !strncmp(message, "skipped", 7);
    t->s->started = false;
    if (skipped) t->s->skipped++;
    else if (r.passed) t->s->passed++;
    else t->s->failed++;
    printf("%s \"%s\"", r.passed ? skipped ? "skipped" : "ok" : "FAILED", r.title);
    if (*message) printf(": %s", skipped && message[7] == ':' ? message + 9 : message);
    printf(" (%s)\n", time);
    const size_t reports = tool_exec_reports(t->exec);
    if (r.passed && reports) {
        t->s->passed -= !skipped;
        t->s->skipped -= skipped;
        t->s->failed++;
        printf("FAILED \"%s\": %zu report%s of the sanitizer\n", r.title, reports, reports > 1 ? "s" : "");
    }
    if (r.passed) return;
    fflush(stdout);
    if (tool_exec_diagnostics(t->exec)) fputs(tool_exec_diagnostics(t->exec), stderr);
    if (last ? last->next != NULL : x->comp->diags != NULL) {
        if (last) x->comp->diags = last->next; // what the load reported has been shown
        fputs(rt_diagnostics(x, t->o.json, t->o.color), stderr);
    }
}

/// Showing diagnostics has used x->oom, so it is set anew.
static void guarded(tests *t, rt_compilation *x, const ast *test) {
    if (!setjmp(x->oom)) {
        one(t, x, test);
        return;
    }
    t->s->started = false;
    t->s->failed++;
    printf("FAILED \"%s\": out of memory\n", test->name);
}

typedef struct {
    const char *path, *text; // text: of standard input, which can be read once only
    char *copy;
    size_t size;
    unsigned at, ntests;     // the test to run, of how many
    bool named;              // the file's name has been printed
} input;

/// Finds and runs test number in->at. False: no more of this file.
static bool step(tests *t, input *in, rt_compilation *x) {
    if (setjmp(x->oom)) {
        t->s->code = tool_usage("out of memory");
        return false;
    }
    enum rt_result r = rt_load(x);
    if (r == RT_OK && x->comp->nerrors) r = RT_ERRORS;
    if (in->at == 0 && (r != RT_OK || x->comp->diags)) {
        const int code = tool_report(x, &t->o, r);
        if (code > t->s->code) t->s->code = code;
    }
    if (r != RT_OK || !x->module) return false;
    if (in->at == 0 && !strcmp(in->path, "-")) {
        const vm_source *const s = vm_source_at(x->comp, x->file);
        in->copy = malloc(s->size + 1);
        if (in->copy) in->text = memcpy(in->copy, s->text, s->size);
        in->size = s->size;
    }
    const ast *const tree = x->module->tree, *test = NULL;
    in->ntests = 0;
    for (uint32_t i = 0; i < tree->nkids; i++)
        if (tree->kid[i]->kind == AST_TEST && in->ntests++ == in->at) test = tree->kid[i];
    if (!test || (t->filter && !strstr(test->name, t->filter))) return true;
    if (!in->named) printf("%s\n", in->path);
    in->named = true;
    if (t->list) printf("\"%s\"\n", test->name);
    else guarded(t, x, test);
    fflush(stdout);
    return true;
}

/// The tests of one file from number `at` on. False: the GPU is lost, another process must go on.
static bool file(tests *t, const char *path, unsigned at) {
    input in = {.path = path, .at = at, .ntests = at + 1, .named = at > 0};
    bool sound = true;
    for (bool more = true; more && sound && in.at < in.ntests; in.at++) {
        t->s->at = in.at;
        rt_compilation *const x = load(t, path, in.text, in.size);
        if (!x) {
            t->s->code = tool_usage("out of memory");
            break;
        }
        more = step(t, &in, x);
        sound = !tool_exec_is_lost(t->exec);
        if (sound) tool_exec_bind(t->exec, NULL);
        rt_compilation_free(x);
    }
    t->s->at = in.at;
    free(in.copy);
    return sound;
}

/// Runs what is left. False: the executor could not be made.
static bool work(tests *t) {
    if (!(t->exec = tool_exec_new(&t->o))) return false;
    score *const s = t->s;
    snprintf(s->device, sizeof s->device, "%s", tool_exec_device(t->exec));
    for (; s->file < t->n; s->file++, s->at = 0)
        if (!file(t, t->files[s->file], s->at)) return true; // its end ends what the process holds of the GPU
    s->done = true;
    tool_exec_free(t->exec);
    return true;
}

/// Runs everything in worker processes.
static int supervise(tests *t) {
    while (!t->s->done) {
        fflush(stdout);
        const pid_t pid = fork();
        if (pid < 0) return tool_usage("cannot start a process: %s", strerror(errno));
        if (pid == 0) {
            t->worker = true;
            const bool ok = work(t);
            fflush(stdout);
            _exit(ok ? TOOL_OK : TOOL_USAGE);
        }
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
        if (WIFEXITED(status) && WEXITSTATUS(status)) return TOOL_USAGE;
        if (!WIFSIGNALED(status)) continue;
        const char *const where = t->s->file < t->n ? t->files[t->s->file] : "";
        if (WTERMSIG(status) == SIGALRM) printf("FAILED %s: test %u does not end within %u s\n", where, t->s->at + 1, t->limit);
        else printf("FAILED %s: test %u: the process died: %s\n", where, t->s->at + 1, strsignal(WTERMSIG(status)));
        if (!t->s->started) return TOOL_USAGE;
        t->s->started = false;
        t->s->failed++;
        t->s->at++;
    }
    return TOOL_OK;
}

static error_t parse(int key, char *arg, struct argp_state *s) {
    tests *const t = s->input;
    switch (key) {
    case ARGP_KEY_INIT:
        s->child_inputs[0] = &t->o;
        s->child_inputs[1] = &t->o;
        return 0;
    case KEY_FILTER: t->filter = arg; return 0;
    case KEY_TIMEOUT: {
        char *end;
        const long n = strtol(arg, &end, 10);
        if (*end || n < 1 || n > 86400) argp_error(s, "--timeout takes seconds, not '%.50s'", arg);
        t->limit = (unsigned)n;
        return 0;
    }
    case KEY_LIST: t->list = true; return 0;
    case ARGP_KEY_ARG: add_path(t, arg, true, 0); return 0;
    case ARGP_KEY_NO_ARGS: argp_error(s, "no files are given"); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int tool_test(int argc, char **argv) {
    static const struct argp_option options[] = {
        {"filter", KEY_FILTER, "TEXT", 0, "Only tests whose titles contain TEXT", 1},
        {"timeout", KEY_TIMEOUT, "SECONDS", 0, "On a GPU: most seconds that a test may take (default 120)", 1},
        {"list", KEY_LIST, NULL, 0, "List the tests, run none", 1}, {0}};
    static const struct argp_child children[] = {{&tool_on_argp, 0, NULL, 2}, {&tool_common_argp, 0, "Shared options:", 10}, {0}};
    static const struct argp a = {options, parse, "FILE|DIR…",
        "Runs test blocks. Folders are searched for *.tvm. A line a test: ok, FAILED or skipped, title, measured "
        "error, time. Exit status 1 if a test fails.\vexamples:\n"
        "  tilusc test programs\n  tilusc test --on=cuda --filter='zero points' programs/matmul_lowbit.tvm\n", children, NULL, NULL};
    tests t = {.limit = 120};
    tool_options_init(&t.o);
    int code = tool_argp(&a, "test", argc, argv, &t);
    if (!code && t.oom) code = tool_usage("out of memory");
    t.s = mmap(NULL, sizeof *t.s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (t.s == MAP_FAILED) return tool_usage("out of memory");
    const double start = tool_now();
    if (!code && (t.o.on == ON_VM || t.o.on == ON_VGPU)) code = work(&t) ? TOOL_OK : TOOL_USAGE;
    else if (!code) code = supervise(&t);
    const score *const s = t.s;
    if (!code && !t.list && (t.code != TOOL_USAGE || s->passed + s->failed)) {
        char time[32];
        printf("%u passed, %u failed", s->passed, s->failed);
        if (s->skipped) printf(", %u skipped", s->skipped);
        printf(" on %s in %s\n", s->device, tool_seconds(time, tool_now() - start));
    }
    if (s->failed && code < TOOL_FAILED) code = TOOL_FAILED;
    if (s->code > code) code = s->code;
    if (t.code > code) code = t.code;
    munmap(t.s, sizeof *t.s);
    for (size_t i = 0; i < t.n; i++) free(t.files[i]);
    free(t.files);
    return code;
}
