// SPDX-License-Identifier: Apache-2.0
// Results of tuning on disk: one SQLite database of the user, shared by all processes. What goes
// wrong with it is a warning: tuning then keeps nothing, and choices are made without it.
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/runtime.h"
#include "runtime/tune.h"

enum { VERSION = 1, BUSY_MS = 3000 };

struct rt_tuner {
    vm_allocator alloc;
    rt_tune_target target;
    void (*warn)(void *user, const char *text);
    void *user;
    char compiler[64];
    char path[4096];      // "": no database
    bool none;            // not even the library's rows
    bool opened, writing; // tried; made for writing
    sqlite3 *db;
};

static void warn(rt_tuner *t, const char *what) {
    char text[4500];
    const char *const why =
        t->db && sqlite3_errcode(t->db) != SQLITE_OK ? sqlite3_errmsg(t->db) : "";
    snprintf(text, sizeof text, "tuning database '%s' %s%s%s", t->path, what, *why ? ": " : "",
             why);
    if (t->warn) t->warn(t->user, text);
}

rt_tuner *rt_tuner_new(const vm_allocator *a, const char *where, const rt_tune_target *target,
                       void (*tell)(void *user, const char *text), void *user) {
    const vm_allocator mem = a ? *a : vm_malloc;
    rt_tuner *t = mem.alloc(mem.user, sizeof *t);
    if (!t) return NULL;
    memset(t, 0, sizeof *t);
    t->alloc = mem;
    t->target = *target;
    t->warn = tell;
    t->user = user;
    char llvm[32];
    snprintf(t->compiler, sizeof t->compiler, "%s, %s", tilus_version(), cg_version(llvm));
    if (where && !*where) {
        const char *const env = getenv("TILUS_TUNE_DB");
        if (env && *env) where = env;
    }
    if (where && !strcmp(where, "none"))
        t->none = true;
    else if (where && *where)
        snprintf(t->path, sizeof t->path, "%s", where);
    else if (where && rt_cache_folder("", t->path, sizeof t->path - 32))
        strcat(t->path, "/tune.sqlite");
    return t;
}

static void give_up(rt_tuner *t) {
    sqlite3_close_v2(t->db);
    t->db = NULL;
}

void rt_tuner_free(rt_tuner *t) {
    if (!t) return;
    give_up(t);
    const vm_allocator mem = t->alloc;
    mem.release(mem.user, t, sizeof *t);
}

const rt_tune_target *rt_tuner_target(const rt_tuner *t) {
    return &t->target;
}
const char *rt_tuner_compiler(const rt_tuner *t) {
    return t->compiler;
}
const char *rt_tuner_path(const rt_tuner *t) {
    return t->path;
}
bool rt_tuner_is_none(const rt_tuner *t) {
    return t->none;
}

// ---- opening ------------------------------------------------------------------------------------

static int version_of(rt_tuner *t) {
    sqlite3_stmt *q = NULL;
    int v = -1;
    if (sqlite3_prepare_v2(t->db, "PRAGMA user_version", -1, &q, NULL) == SQLITE_OK &&
        sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int(q, 0);
    sqlite3_finalize(q);
    return v;
}

static bool open_as(rt_tuner *t, int flags) {
    if (sqlite3_open_v2(t->path, &t->db, flags | SQLITE_OPEN_NOMUTEX, NULL) == SQLITE_OK) {
        sqlite3_busy_timeout(t->db, BUSY_MS);
        return true;
    }
    warn(t, "cannot be opened");
    give_up(t);
    return false;
}

/// For reading: a file that is not there yet is no reason for a warning.
static bool readable(rt_tuner *t) {
    if (t->opened) return t->db != NULL;
    t->opened = true;
    if (!*t->path || access(t->path, F_OK) != 0 || !open_as(t, SQLITE_OPEN_READONLY)) return false;
    const int v = version_of(t);
    if (v == VERSION) return true;
    if (v != 0) warn(t, v < 0 ? "cannot be read" : "is of another version, and not used");
    give_up(t);
    return false;
}

bool rt_tuner_write(rt_tuner *t) {
    static const char schema[] = "BEGIN IMMEDIATE;"
                                 "CREATE TABLE IF NOT EXISTS tuned (id INTEGER PRIMARY KEY, "
                                 "program TEXT NOT NULL, kernel TEXT NOT NULL,"
                                 " source TEXT NOT NULL, metas TEXT NOT NULL, shape TEXT NOT NULL, "
                                 "gpu TEXT NOT NULL, arch TEXT NOT NULL,"
                                 " sms INTEGER NOT NULL, driver INTEGER NOT NULL, compiler TEXT "
                                 "NOT NULL, unit TEXT NOT NULL, best TEXT, cost REAL,"
                                 " at INTEGER NOT NULL, UNIQUE (kernel, source, metas, shape, gpu, "
                                 "arch, sms, driver, compiler));"
                                 "CREATE TABLE IF NOT EXISTS points (tuned INTEGER NOT NULL "
                                 "REFERENCES tuned (id), point TEXT NOT NULL, cost REAL,"
                                 " registers INTEGER NOT NULL, spill INTEGER NOT NULL, note TEXT "
                                 "NOT NULL, PRIMARY KEY (tuned, point)) WITHOUT ROWID;"
                                 "PRAGMA user_version = 1; COMMIT";
    if (t->writing) return t->db != NULL;
    if (!*t->path) return false;
    give_up(t);
    t->opened = t->writing = true;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", t->path);
    char *const slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = 0;
        if (!rt_make_folders(folder)) {
            warn(t, "cannot be made: its folder cannot");
            return false;
        }
    }
    if (!open_as(t, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) return false;
    const int v = version_of(t);
    bool ok = v == VERSION;
    if (v == 0) ok = sqlite3_exec(t->db, schema, NULL, NULL, NULL) == SQLITE_OK;
    // a database that can only be read is found out now, not after the first point
    else if (ok)
        ok = sqlite3_exec(t->db, "BEGIN IMMEDIATE; COMMIT", NULL, NULL, NULL) == SQLITE_OK;
    if (ok) return true;
    warn(t, v > VERSION ? "is of another version, and not used"
                        : "cannot be written; results will not be kept");
    give_up(t);
    return false;
}

// ---- reading and writing ------------------------------------------------------------------------

static sqlite3_stmt *prepare(rt_tuner *t, const char *sql) {
    sqlite3_stmt *q = NULL;
    if (!t->db) return NULL;
    if (sqlite3_prepare_v2(t->db, sql, -1, &q, NULL) == SQLITE_OK) return q;
    warn(t, "cannot be used");
    give_up(t);
    return NULL;
}

static void text(sqlite3_stmt *q, int i, const char *s) {
    sqlite3_bind_text(q, i, s ? s : "", -1, SQLITE_STATIC);
}

/// Ends a statement that is to be done once. False after a warning.
static bool finish(rt_tuner *t, sqlite3_stmt *q, const char *what) {
    if (!q) return false;
    const int rc = sqlite3_step(q);
    if (rc != SQLITE_DONE && rc != SQLITE_ROW) warn(t, what);
    sqlite3_finalize(q);
    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) give_up(t);
    return rc == SQLITE_DONE || rc == SQLITE_ROW;
}

static void bind_key(sqlite3_stmt *q, const rt_tune_row *k) {
    const char *const all[] = {k->kernel, k->source, k->metas,   k->shape,
                               k->gpu,    k->arch,   k->compiler};
    for (int i = 0; i < 7; i++) text(q, i + 1, all[i]);
    sqlite3_bind_int(q, 8, k->sms);
    sqlite3_bind_int(q, 9, k->driver);
}

int64_t rt_tuner_key(rt_tuner *t, const rt_tune_row *key) {
    sqlite3_stmt *q =
        prepare(t, "INSERT OR IGNORE INTO tuned (kernel, source, metas, shape, gpu, arch, "
                   "compiler, sms, driver, program, unit, at)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, unixepoch())");
    if (!q) return 0;
    bind_key(q, key);
    text(q, 10, key->program);
    text(q, 11, key->unit);
    if (!finish(t, q, "cannot be written")) return 0;
    q = prepare(t, "SELECT id FROM tuned WHERE kernel = ?1 AND source = ?2 AND metas = ?3 AND "
                   "shape = ?4 AND gpu = ?5 AND arch = ?6"
                   " AND compiler = ?7 AND sms = ?8 AND driver = ?9");
    if (!q) return 0;
    bind_key(q, key);
    const int64_t id = sqlite3_step(q) == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
    sqlite3_finalize(q);
    return id;
}

void rt_tuner_put(rt_tuner *t, int64_t key, const rt_tune_known *p) {
    if (!key || !t->db) return;
    bool ok = sqlite3_exec(t->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;
    if (!ok) {
        warn(t, "cannot be written");
        return;
    }
    sqlite3_stmt *q = prepare(t, "INSERT OR REPLACE INTO points VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    if (!q) return;
    sqlite3_bind_int64(q, 1, key);
    text(q, 2, p->values);
    if (p->cost >= 0) sqlite3_bind_double(q, 3, p->cost);
    sqlite3_bind_int(q, 4, p->registers);
    sqlite3_bind_int(q, 5, p->spill);
    text(q, 6, p->note);
    ok = finish(t, q, "cannot be written");
    q = ok ? prepare(t, "UPDATE tuned SET (best, cost) = (SELECT point, cost FROM points WHERE "
                        "tuned = ?1 AND cost IS NOT NULL"
                        " ORDER BY cost, point LIMIT 1), at = unixepoch() WHERE id = ?1")
           : NULL;
    if (q) sqlite3_bind_int64(q, 1, key);
    ok = finish(t, q, "cannot be written") && ok;
    if (t->db) sqlite3_exec(t->db, ok ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
}

void rt_tuner_forget(rt_tuner *t, int64_t key) {
    sqlite3_stmt *q = key ? prepare(t, "DELETE FROM points WHERE tuned = ?1") : NULL;
    if (!q) return;
    sqlite3_bind_int64(q, 1, key);
    finish(t, q, "cannot be written");
}

static const char *column(sqlite3_stmt *q, int i, vm_arena *a) {
    const char *const s = (const char *)sqlite3_column_text(q, i);
    return s ? vm_strdup(a, s) : "";
}

/// Steps a query whose rows go into an arena: the statement is finalised on the way out of memory
/// too.
static void each(rt_tuner *t, sqlite3_stmt *q, vm_comp *c,
                 void (*take)(sqlite3_stmt *q, vm_arena *a, void *out), void *out) {
    jmp_buf here, *const outer = c->oom;
    if (setjmp(here)) {
        vm_arena_set_oom(c->arena, outer);
        sqlite3_finalize(q);
        longjmp(*outer, 1);
    }
    vm_arena_set_oom(c->arena, &here);
    int rc;
    while ((rc = sqlite3_step(q)) == SQLITE_ROW) take(q, c->arena, out);
    vm_arena_set_oom(c->arena, outer);
    if (rc != SQLITE_DONE) warn(t, "cannot be read");
    sqlite3_finalize(q);
    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) give_up(t);
}

static void take_point(sqlite3_stmt *q, vm_arena *a, void *out) {
    rt_tune_knowns *const all = out;
    const bool timed = sqlite3_column_type(q, 1) != SQLITE_NULL;
    const rt_tune_known p = {.values = column(q, 0, a),
                             .cost = timed ? sqlite3_column_double(q, 1) : -1,
                             .registers = sqlite3_column_int(q, 2),
                             .spill = sqlite3_column_int(q, 3),
                             .note = column(q, 4, a)};
    vm_push(a, all, p);
}

void rt_tuner_points(rt_tuner *t, int64_t key, vm_comp *c, rt_tune_knowns *out) {
    sqlite3_stmt *const q =
        key ? prepare(t, "SELECT point, cost, registers, spill, note FROM points WHERE tuned = ?1")
            : NULL;
    if (!q) return;
    sqlite3_bind_int64(q, 1, key);
    each(t, q, c, take_point, out);
}

static void take_row(sqlite3_stmt *q, vm_arena *a, void *out) {
    rt_tune_rows *const all = out;
    const rt_tune_row r = {.program = column(q, 0, a),
                           .kernel = column(q, 1, a),
                           .source = column(q, 2, a),
                           .metas = column(q, 3, a),
                           .shape = column(q, 4, a),
                           .gpu = column(q, 5, a),
                           .arch = column(q, 6, a),
                           .compiler = column(q, 7, a),
                           .unit = column(q, 8, a),
                           .best = column(q, 9, a),
                           .sms = sqlite3_column_int(q, 10),
                           .driver = sqlite3_column_int(q, 11),
                           .cost = sqlite3_column_double(q, 12)};
    vm_push(a, all, r);
}

void rt_tuner_user_rows(rt_tuner *t, const char *kernel, vm_comp *c, rt_tune_rows *out) {
    if (!readable(t)) return;
    sqlite3_stmt *const q =
        prepare(t, "SELECT program, kernel, source, metas, shape, gpu, arch, compiler, unit, best, "
                   "sms, driver, cost"
                   " FROM tuned WHERE best IS NOT NULL AND (?1 IS NULL OR kernel = ?1)"
                   " ORDER BY program, kernel, metas, gpu, id");
    if (!q) return;
    if (kernel) text(q, 1, kernel);
    each(t, q, c, take_row, out);
}
