// SPDX-License-Identifier: Apache-2.0
// The resource report as text, and ptxas as a judge of PTX: registers, spills, advisories.
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/codegen.h"

const char *const cg_count_names[CG_count_] = {
#define X(name, doc) #name,
    CG_COUNTS(X)
#undef X
};
const char *const cg_count_docs[CG_count_] = {
#define X(name, doc) doc,
    CG_COUNTS(X)
#undef X
};

char *cg_report_text(vm_comp *c, const cg_report *r) {
    vm_text t = {.arena = c->arena};
    for (; r; r = r->next) {
        vm_put(&t, "%s: %d threads, %u bytes of shared memory, about %u registers of tiles\n", r->kernel,
               r->threads, r->shared_bytes, r->tile_registers);
        for (int i = 0; i < CG_count_; i++)
            if (r->count[i]) vm_put(&t, "  %6u %s\n", r->count[i], cg_count_docs[i]);
        for (const cg_remark_list *m = r->remarks; m; m = m->next)
            vm_put(&t, "  %s: %s\n", vm_place(c, m->span), m->text);
    }
    return vm_text_end(&t);
}

// ---- ptxas --------------------------------------------------------------------------------------

extern char **environ;

static const char *find_ptxas(vm_comp *c) {
    const char *own = getenv("TILUS_PTXAS");
    if (own && *own) return access(own, X_OK) ? NULL : own;
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        const size_t n = strcspn(p, ":");
        const char *file = vm_format(c->arena, "%.*s/ptxas", (int)n, p);
        if (!access(file, X_OK)) return file;
        p += n + (p[n] == ':');
    }
    static const char usual[] = "/usr/local/cuda/bin/ptxas";
    return access(usual, X_OK) ? NULL : usual;
}

static char *slurp(vm_comp *c, const char *file, size_t *size) {
    FILE *f = fopen(file, "rb");
    if (!f) return NULL;
    vm_text t = {.arena = c->arena};
    char buf[4096];
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) vm_putn(&t, buf, n);
    fclose(f);
    if (size) *size = t.n;
    return vm_text_end(&t);
}

static bool write_all(int fd, const char *s, size_t n) {
    while (n) {
        const ssize_t k = write(fd, s, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        s += k;
        n -= (size_t)k;
    }
    return true;
}

static int most(const char *log, const char *after, const char *before) {
    int best = -1;
    for (const char *p = log; (p = strstr(p, before)) != NULL; p += strlen(before)) {
        const char *q = p;
        while (q > log && (q[-1] == ' ')) q--;
        const char *end = q;
        while (q > log && q[-1] >= '0' && q[-1] <= '9') q--;
        if (q == end) continue;
        if (after && (q - log < (long)strlen(after) || memcmp(q - strlen(after), after, strlen(after)))) continue;
        const int n = atoi(q);
        if (n > best) best = n;
    }
    return best;
}

static bool advisory(const char *log) {
    for (const char *p = log; (p = strstr(p, "C75")) != NULL; p += 3)
        if (p[3] >= '0' && p[3] <= '9' && p[4] >= '0' && p[4] <= '9') return true;
    return false;
}

static bool run_ptxas(vm_comp *c, const char *exe, const char *arch, char *ptx, char *cubin, char *log,
                      cg_ptxas_result *out) {
    char *flag = vm_format(c->arena, "-arch=%s", arch);
    char *const argv[] = {vm_strdup(c->arena, exe), flag, vm_strdup(c->arena, "-v"), ptx,
                          vm_strdup(c->arena, "-o"), cubin, NULL};
    posix_spawn_file_actions_t fa;
    if (posix_spawn_file_actions_init(&fa)) return false;
    posix_spawn_file_actions_addopen(&fa, 1, log, O_WRONLY | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&fa, 1, 2);
    pid_t pid;
    const int e = posix_spawn(&pid, exe, &fa, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&fa);
    if (e) return out->log = vm_format(c->arena, "cannot start %s: %s", exe, strerror(e)), false;
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return out->log = "waiting for ptxas failed", false;
    out->ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return true;
}

bool cg_ptxas(vm_comp *c, const char *ptx, const char *arch, bool want_cubin, cg_ptxas_result *out) {
    *out = (cg_ptxas_result){.registers = -1, .spill_bytes = -1, .shared_bytes = -1, .log = ""};
    const char *exe = find_ptxas(c);
    if (!exe) {
        out->log = "ptxas not found";
        return true;
    }
    out->found = true;
    const char *dir = getenv("TMPDIR");
    if (!dir || !*dir) dir = "/tmp";
    enum { PTX, CUBIN, LOG, FILES };
    char *file[FILES];
    bool ok = true;
    int made = 0;
    for (; made < FILES && ok; made++) {
        file[made] = vm_format(c->arena, "%s/tilus-XXXXXX", dir);
        const int fd = mkstemp(file[made]);
        if (fd < 0) {
            out->log = vm_format(c->arena, "no temporary file in %s: %s", dir, strerror(errno));
            ok = false;
            break;
        }
        if (made == PTX && !write_all(fd, ptx, strlen(ptx))) {
            out->log = vm_format(c->arena, "cannot write %s: %s", file[made], strerror(errno));
            ok = false;
        }
        close(fd);
    }
    if (ok) ok = run_ptxas(c, exe, arch, file[PTX], file[CUBIN], file[LOG], out);
    if (ok) {
        const char *log = slurp(c, file[LOG], NULL);
        out->log = log ? log : "";
        out->registers = most(out->log, NULL, "registers");
        out->spill_bytes = most(out->log, NULL, "bytes spill stores");
        out->shared_bytes = most(out->log, NULL, "bytes smem");
        out->serialized = advisory(out->log);
        if (want_cubin && out->ok) out->cubin = slurp(c, file[CUBIN], &out->cubin_size);
    }
    for (int i = 0; i < made; i++) unlink(file[i]);
    return ok;
}
