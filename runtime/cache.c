// SPDX-License-Identifier: Apache-2.0
// Compiled kernels on disk: one SQLite database, shared by all processes of the user. Whatever goes
// wrong with it costs a compilation and never an error.
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "runtime/runtime.h"
#include "runtime/tune.h"

enum { MAX_ROWS = 4096, BUSY_MS = 2000 };

struct rt_cache {
    tilus_context *ctx;
    sqlite3 *db;
    sqlite3_stmt *get, *put, *touch;
};

// ---- the place ----------------------------------------------------------------------------------

bool rt_make_folders(char *path) {
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p) continue;
        const char old = *p;
        *p = 0;
        const bool ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        *p = old;
        if (!ok) return false;
        if (!old) return true;
    }
}

bool rt_cache_folder(const char *dir, char *out, size_t size) {
    const char *env = getenv("TILUS_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (*dir) n = snprintf(out, size, "%s", dir);
    else if (env && *env) n = snprintf(out, size, "%s", env);
    else if (xdg && *xdg) n = snprintf(out, size, "%s/tilus", xdg);
    else if (home && *home) n = snprintf(out, size, "%s/.cache/tilus", home);
    else return false;
    return n > 0 && (size_t)n < size;
}

// ---- opening ------------------------------------------------------------------------------------

static void warn(rt_cache *k, const char *what) {
    rt_log(k->ctx, TILUS_LOG_WARNING, "kernel cache: %s: %s", what, k->db ? sqlite3_errmsg(k->db) : "no memory");
}

static void give_up(rt_cache *k) {
    sqlite3_finalize(k->get);
    sqlite3_finalize(k->put);
    sqlite3_finalize(k->touch);
    sqlite3_close(k->db);
    k->get = k->put = k->touch = NULL;
    k->db = NULL;
}

static bool prepare(rt_cache *k, const char *sql, sqlite3_stmt **out) {
    return sqlite3_prepare_v3(k->db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL) == SQLITE_OK;
}

rt_cache *rt_cache_open(tilus_context *c, const char *dir) {
    char path[4096];
    if (!rt_cache_folder(dir, path, sizeof path - 32)) {
        rt_log(c, TILUS_LOG_WARNING, "kernel cache: there is no folder for it");
        return NULL;
    }
    if (!rt_make_folders(path)) {
        rt_log(c, TILUS_LOG_WARNING, "kernel cache: cannot make '%s': %s", path, strerror(errno));
        return NULL;
    }
    rt_cache *k = rt_alloc(c, sizeof *k);
    if (!k) return NULL;
    k->ctx = c;
    strcat(path, "/kernels.sqlite");
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    bool ok = sqlite3_open_v2(path, &k->db, flags, NULL) == SQLITE_OK;
    if (ok) sqlite3_busy_timeout(k->db, BUSY_MS);
    ok = ok && sqlite3_exec(k->db,
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                            "CREATE TABLE IF NOT EXISTS kernels (key BLOB PRIMARY KEY, entry TEXT NOT NULL, ptx TEXT NOT NULL,"
                            " host TEXT NOT NULL, warnings TEXT NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID",
                            NULL, NULL, NULL) == SQLITE_OK;
    ok = ok && prepare(k, "SELECT entry, ptx, host, warnings FROM kernels WHERE key = ?1", &k->get) &&
         prepare(k, "INSERT OR REPLACE INTO kernels VALUES (?1, ?2, ?3, ?4, ?5, unixepoch())", &k->put) &&
         prepare(k, "UPDATE kernels SET used = unixepoch() WHERE key = ?1 AND used < unixepoch() - 86400", &k->touch);
    if (ok) return k;
    warn(k, path);
    give_up(k);
    rt_free(c, k, sizeof *k);
    return NULL;
}

void rt_cache_close(rt_cache *k) {
    if (!k) return;
    give_up(k);
    rt_free(k->ctx, k, sizeof *k);
}

// ---- reading and writing ------------------------------------------------------------------------

void rt_cached_free(tilus_context *c, rt_cached *x) {
    rt_free(c, x->entry, x->size); // all four lie in one block
    *x = (rt_cached){0};
}

static bool copy_row(rt_cache *k, rt_cached *out) {
    const char *text[4];
    size_t size[4], all = 0;
    for (int i = 0; i < 4; i++) {
        text[i] = (const char *)sqlite3_column_text(k->get, i);
        size[i] = text[i] ? strlen(text[i]) + 1 : 0;
        if (!text[i]) return false;
        all += size[i];
    }
    char *p = rt_alloc(k->ctx, all);
    if (!p) return false;
    char **to[4] = {&out->entry, &out->ptx, &out->host, &out->warnings};
    out->size = all;
    for (int i = 0; i < 4; i++) {
        *to[i] = memcpy(p, text[i], size[i]);
        p += size[i];
    }
    return true;
}

bool rt_cache_get(rt_cache *k, const uint8_t key[32], rt_cached *out) {
    *out = (rt_cached){0};
    if (!k || !k->db) return false;
    sqlite3_bind_blob(k->get, 1, key, 32, SQLITE_STATIC);
    const int rc = sqlite3_step(k->get);
    const bool hit = rc == SQLITE_ROW && copy_row(k, out);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) warn(k, "reading");
    sqlite3_reset(k->get);
    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) give_up(k);
    if (hit) {
        sqlite3_bind_blob(k->touch, 1, key, 32, SQLITE_STATIC);
        sqlite3_step(k->touch); // a read-only database is good enough for reading
        sqlite3_reset(k->touch);
    }
    return hit;
}

void rt_cache_put(rt_cache *k, const uint8_t key[32], const rt_cached *in) {
    if (!k || !k->db) return;
    const char *const text[4] = {in->entry, in->ptx, in->host, in->warnings};
    sqlite3_bind_blob(k->put, 1, key, 32, SQLITE_STATIC);
    for (int i = 0; i < 4; i++) sqlite3_bind_text(k->put, i + 2, text[i], -1, SQLITE_STATIC);
    const int rc = sqlite3_step(k->put);
    if (rc != SQLITE_DONE) warn(k, "writing");
    sqlite3_reset(k->put);
    sqlite3_clear_bindings(k->put);
    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_FULL) {
        give_up(k);
        return;
    }
    char sql[160];
    snprintf(sql, sizeof sql, "DELETE FROM kernels WHERE key IN (SELECT key FROM kernels ORDER BY used DESC LIMIT -1 OFFSET %d)", MAX_ROWS);
    if (rc == SQLITE_DONE) sqlite3_exec(k->db, sql, NULL, NULL, NULL);
}

// ---- keys ---------------------------------------------------------------------------------------

typedef struct {
    cg_piece id;
    uintptr_t code; // an address of ours
} own;

/// The linker's build id of the object (program or library) that this code is in.
static int find_id(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size;
    own *o = user;
    bool mine = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && o->code - (info->dlpi_addr + p->p_vaddr) < p->p_memsz) mine = true;
    }
    for (int i = 0; mine && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_NOTE) continue;
        const char *at = (const char *)(info->dlpi_addr + p->p_vaddr), *end = at + p->p_memsz;
        while (end - at >= (ptrdiff_t)sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) n;
            memcpy(&n, at, sizeof n);
            const char *desc = at + sizeof n + (n.n_namesz + 3) / 4 * 4;
            if (n.n_type == NT_GNU_BUILD_ID && desc + n.n_descsz <= end) {
                o->id = (cg_piece){desc, n.n_descsz};
                return 1;
            }
            at = desc + (n.n_descsz + 3) / 4 * 4;
        }
    }
    return mine;
}

static const char *some(const char *s) { return s ? s : ""; }

void rt_cache_key(rt_compilation *x, uint8_t key[32]) {
    const rt_options *o = &x->opt;
    const vm_comp *c = x->comp;
    VM_VEC(cg_piece) all = {0};
#define PIECE(p, n) vm_push(c->arena, &all, ((cg_piece){(p), (n)}))
#define TEXT(s) PIECE(some(s), strlen(some(s)) + 1)
    char llvm[32];
    own self = {{"", 0}, (uintptr_t)rt_cache_key};
    dl_iterate_phdr(find_id, &self);
    TEXT("tilus kernel 1");
    TEXT(tilus_version());
    TEXT(cg_version(llvm));
    PIECE(self.id.data, self.id.size);
    TEXT(o->arch ? o->arch->name : NULL);
    PIECE(&o->cg.opt, sizeof o->cg.opt);
    PIECE(&o->cg.lines, sizeof o->cg.lines);
    TEXT(o->cg.ptx);
    TEXT(o->kernel);
    TEXT(o->entry);
    TEXT(rt_choice_text(x));
    PIECE(&o->ndefine, sizeof o->ndefine);
    for (uint32_t i = 0; i < o->ndefine; i++) TEXT(o->define[i]);
    for (uint32_t i = 0; i < c->sources.n; i++) {
        TEXT(c->sources.at[i]->name); // it stands in the texts of traps
        PIECE(c->sources.at[i]->text, c->sources.at[i]->size);
    }
#undef TEXT
#undef PIECE
    cg_hash(all.at, all.n, key);
}
