// SPDX-License-Identifier: Apache-2.0
// Reports of the sanitizer: equal ones are counted, each has its text.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/san.h"

enum { MOST = 1000 };  // reports kept
const char *const vg_defect_names[VG_defect_count_] = {
#define VG_DEFECT(id, name, doc) name,
#include "runtime/vgpu/defect.def"
#undef VG_DEFECT
};

typedef struct {
    vg_report *at;
    size_t n, cap;
} list;

static void release(vg_report *r) {
    free((void *)(uintptr_t)r->text);
    free((void *)(uintptr_t)r->kernel);
    free((void *)(uintptr_t)r->source);
}

static bool same(const vg_report *r, enum vg_defect what, const char *kernel, const ptx_pos *pos, const ptx_pos *other) {
    return r->what == what && !strcmp(r->kernel, kernel) && r->pos.line == pos->line && r->other.line == (other ? other->line : 0);
}

static const char *file_of(const vg_warp *w, const ptx_pos *p) {
    const ptx_module *const m = w->code->module->ptx;
    return p->src_file && p->src_file < m->nfile ? m->file[p->src_file] : NULL;
}

/// "line 45, a.tvm:12: st.shared.b32 [%r1], %r2;"
static void place(FILE *f, const vg_warp *w, const vg_inst *in) {
    char text[200];
    ptx_inst_text(w->code->func, in->ptx, text, sizeof text);
    const char *const file = file_of(w, &in->ptx->pos);
    fprintf(f, "line %u", in->ptx->pos.line);
    if (file) fprintf(f, ", %s:%u", file, in->ptx->pos.src_line);
    fprintf(f, ": %s\n", text);
}

static void add(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_defect what, const vg_inst *other,
                const unsigned other_thread[3], const char *message, list *l) {
    const char *const kernel = w->run->kernel->func->name;
    const ptx_pos *const pos = &in->ptx->pos, *const opos = other && other->ptx ? &other->ptx->pos : NULL;
    for (size_t i = 0; i < l->n; i++)
        if (same(&l->at[i], what, kernel, pos, opos)) {
            l->at[i].count++;
            return;
        }
    if (l->n == MOST) return;
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 16;
        vg_report *const more = realloc(l->at, cap * sizeof *more);
        if (!more) return;
        l->at = more;
        l->cap = cap;
    }
    char *text = NULL;
    size_t size = 0;
    FILE *const f = open_memstream(&text, &size);
    if (!f) return;
    vg_report r = {.what = what, .pos = *pos, .count = 1};
    san_thread(w, lane, r.thread);
    memcpy(r.block, w->block->id, sizeof r.block);
    const char *const file = file_of(w, pos);
    fprintf(f, "%s: %s\n  kernel %s, block (%u, %u, %u), thread (%u, %u, %u), ", vg_defect_names[what], message, kernel,
            r.block[0], r.block[1], r.block[2], r.thread[0], r.thread[1], r.thread[2]);
    place(f, w, in);
    if (opos) {
        r.other = *opos;
        fputs("  the other: ", f);
        if (other_thread) {
            memcpy(r.other_thread, other_thread, sizeof r.other_thread);
            fprintf(f, "thread (%u, %u, %u), ", other_thread[0], other_thread[1], other_thread[2]);
        }
        place(f, w, other);
    }
    const bool bad = fclose(f) != 0;
    r.text = text;
    r.kernel = strdup(kernel);
    r.source = file ? strdup(file) : NULL;
    if (bad || !r.text || !r.kernel) release(&r);
    else l->at[l->n++] = r;
}

static list *list_of(vg_gpu *g) {
    if (!g->reports) g->reports = calloc(1, sizeof(list));
    return g->reports;
}

void vg_report_defect(vg_warp *w, const vg_inst *in, uint32_t lane, enum vg_defect what, const vg_inst *other,
                      const unsigned other_thread[3], const char *fmt, ...) {
    char message[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    vg_gpu *const g = w->run->gpu;
    vg_lock(g);
    list *const l = list_of(g);
    if (l && in->ptx) add(w, in, lane, what, other, other_thread, message, l);
    vg_unlock(g);
}

size_t vg_reports(const vg_gpu *g, const vg_report **out) {
    const list *const l = g->reports;
    *out = l ? l->at : NULL;
    return l ? l->n : 0;
}

void vg_reports_clear(vg_gpu *g) {
    list *const l = g->reports;
    if (!l) return;
    for (size_t i = 0; i < l->n; i++) release(&l->at[i]);
    free(l->at);
    free(l);
    g->reports = NULL;
}

size_t vg_check_leaks(vg_gpu *g) {
    size_t n = 0;
    list *const l = list_of(g);
    for (size_t i = 0; l && i < g->nextent; i++) {
        const vg_extent *const e = &g->extent[i];
        if (!e->live || e->module || l->n == MOST) continue;
        if (l->n == l->cap) {
            const size_t cap = l->cap ? 2 * l->cap : 16;
            vg_report *const more = realloc(l->at, cap * sizeof *more);
            if (!more) return n;
            l->at = more;
            l->cap = cap;
        }
        char *text = NULL;
        if (asprintf(&text, "leak: %zu bytes at 0x%llx were never freed\n", e->bytes, (unsigned long long)e->at) < 0) return n;
        l->at[l->n++] = (vg_report){.what = VG_D_leak, .kernel = strdup(""), .count = 1, .text = text};
        n++;
    }
    return n;
}
