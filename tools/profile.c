// SPDX-License-Identifier: Apache-2.0
// What the virtual GPU's profiler counted, as text, as JSON, and beside the program's lines.
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/backend.h"
#include "tools/tool.h"

/// Counts of one source line, or of one PTX line where there is no source line.
typedef struct {
    const char *file;
    uint32_t line;
    vg_counts n;
} line_counts;

typedef struct {
    line_counts *at;
    size_t n, cap;
} lines;

static void sum(vg_counts *to, const vg_counts *x) {
    to->warps += x->warps;
    to->threads += x->threads;
    to->bytes += x->bytes;
    to->sectors += x->sectors;
    to->ideal_sectors += x->ideal_sectors;
    to->wavefronts += x->wavefronts;
    to->ideal_wavefronts += x->ideal_wavefronts;
    to->divergent += x->divergent;
    to->flops += x->flops;
}

static int by_place(const void *a, const void *b) {
    const line_counts *const x = a, *const y = b;
    const int f = strcmp(x->file, y->file);
    return f ? f : (x->line > y->line) - (x->line < y->line);
}

static bool gather(const vg_profile *p, const ptx_module *m, lines *out) {
    for (uint32_t i = 0; i < p->func->ninst; i++) {
        if (!p->inst[i].warps) continue;
        const ptx_pos *const pos = &p->func->inst[i].pos;
        const bool known = pos->src_file && pos->src_file < m->nfile && m->file[pos->src_file];
        const char *const file = known ? m->file[pos->src_file] : "";
        const uint32_t line = known ? pos->src_line : 0;
        size_t k = 0;
        while (k < out->n && (out->at[k].line != line || strcmp(out->at[k].file, file) != 0)) k++;
        if (k == out->n) {
            if (k == out->cap) {
                out->cap = out->cap ? 2 * out->cap : 64;
                line_counts *const more = realloc(out->at, out->cap * sizeof *more);
                if (!more) return false;
                out->at = more;
            }
            out->at[out->n++] = (line_counts){.file = file, .line = line};
        }
        sum(&out->at[k].n, &p->inst[i]);
    }
    if (out->n) qsort(out->at, out->n, sizeof *out->at, by_place);
    return true;
}

static double part(uint64_t x, uint64_t of) { return of ? (double)x / (double)of : 0.0; }

// ---- text ---------------------------------------------------------------------------------------

static void text_summary(FILE *f, const vg_profile *p) {
    fprintf(f, "%s: %" PRIu64 " launch%s, %" PRIu64 " blocks\n", p->kernel, p->launches, p->launches == 1 ? "" : "es", p->blocks);
    fprintf(f, "  %-20s %14s %6s %14s %14s\n", "class", "warp instr.", "", "thread instr.", "bytes");
    for (int c = 0; c < VG_class_count_; c++) {
        const vg_counts *const n = &p->by_class[c];
        if (!n->warps) continue;
        fprintf(f, "  %-20s %14" PRIu64 " %5.1f%% %14" PRIu64, vg_class_names[c], n->warps, 100 * part(n->warps, p->total.warps), n->threads);
        if (n->bytes) fprintf(f, " %14" PRIu64, n->bytes);
        fputc('\n', f);
    }
    const vg_counts *const t = &p->total;
    fprintf(f, "  %-20s %14" PRIu64 " %6s %14" PRIu64 "\n", "all", t->warps, "", t->threads);
    fprintf(f, "  threads a warp instruction  %.1f of 32\n", part(t->threads, t->warps));
    if (t->sectors)
        fprintf(f, "  global memory  %" PRIu64 " bytes moved in sectors of 32, %.0f %% of them asked for\n", 32 * t->sectors,
                100 * part(t->ideal_sectors, t->sectors));
    if (t->wavefronts)
        fprintf(f, "  shared memory  %" PRIu64 " wavefronts, %.2f times the least\n", t->wavefronts, part(t->wavefronts, t->ideal_wavefronts));
    if (t->flops) fprintf(f, "  arithmetic     %" PRIu64 " operations\n", t->flops);
    if (t->divergent) fprintf(f, "  divergence     %" PRIu64 " executed branches split a warp\n", t->divergent);
}

/// Line `line` of the compilation's source that the name ends in; NULL: not to be had.
static const char *source_line(vm_comp *c, const char *file, uint32_t line, int *size) {
    const char *const base = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
    for (uint32_t i = 1; vm_source_at(c, i); i++) {
        const vm_source *const s = vm_source_at(c, i);
        const char *const name = strrchr(s->name, '/') ? strrchr(s->name, '/') + 1 : s->name;
        if (strcmp(name, base) != 0) continue;
        const char *at = s->text, *const end = s->text + s->size;
        for (uint32_t k = 1; k < line && at < end; k++) {
            const char *const nl = memchr(at, '\n', (size_t)(end - at));
            at = nl ? nl + 1 : end;
        }
        const char *const nl = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        *size = (int)((nl ? nl : end) - at);
        return at;
    }
    return NULL;
}

static void text_lines(FILE *f, const vg_profile *p, const lines *l, vm_comp *c) {
    const char *file = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const line_counts *const x = &l->at[i];
        if (!file || strcmp(file, x->file) != 0) {
            file = x->file;
            fprintf(f, "\n  %s\n  %12s %6s %9s %9s\n", *file ? file : "(no source line)", "warp instr.", "", "sectors", "conflicts");
        }
        fprintf(f, "  %12" PRIu64 " %5.1f%%", x->n.warps, 100 * part(x->n.warps, p->total.warps));
        if (x->n.sectors) fprintf(f, " %8.0f%%", 100 * part(x->n.ideal_sectors, x->n.sectors));
        else fprintf(f, " %9s", "");
        if (x->n.wavefronts) fprintf(f, " %8.2fx", part(x->n.wavefronts, x->n.ideal_wavefronts));
        else fprintf(f, " %9s", "");
        int size = 0;
        const char *const text = x->line ? source_line(c, x->file, x->line, &size) : NULL;
        if (x->line) fprintf(f, " %5u | %.*s", x->line, size, text ? text : "");
        fputc('\n', f);
    }
}

// ---- JSON ---------------------------------------------------------------------------------------

static json_t *json_counts(const vg_counts *n) {
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "warps", (json_int_t)n->warps, "threads", (json_int_t)n->threads,
                     "bytes", (json_int_t)n->bytes, "sectors", (json_int_t)n->sectors, "ideal_sectors", (json_int_t)n->ideal_sectors,
                     "wavefronts", (json_int_t)n->wavefronts, "ideal_wavefronts", (json_int_t)n->ideal_wavefronts,
                     "divergent", (json_int_t)n->divergent, "flops", (json_int_t)n->flops);
}

static json_t *json_profile(const vg_profile *p, const lines *l) {
    json_t *const classes = json_object(), *const places = json_array(), *const insts = json_array();
    for (int c = 0; c < VG_class_count_; c++)
        if (p->by_class[c].warps) json_object_set_new(classes, vg_class_names[c], json_counts(&p->by_class[c]));
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(places, json_pack("{s:s,s:i,s:o}", "file", l->at[i].file, "line", (int)l->at[i].line, "counts", json_counts(&l->at[i].n)));
    for (uint32_t i = 0; i < p->func->ninst; i++) {
        char text[200];
        if (!p->inst[i].warps) continue;
        ptx_inst_text(p->func, &p->func->inst[i], text, sizeof text);
        json_array_append_new(insts, json_pack("{s:i,s:s,s:s,s:o}", "ptx_line", (int)p->func->inst[i].pos.line, "text", text, "class",
                                               vg_class_names[p->cls[i]], "counts", json_counts(&p->inst[i])));
    }
    return json_pack("{s:s,s:I,s:I,s:o,s:o,s:o,s:o}", "kernel", p->kernel, "launches", (json_int_t)p->launches, "blocks",
                     (json_int_t)p->blocks, "total", json_counts(&p->total), "classes", classes, "lines", places, "instructions", insts);
}

int tool_profile_show(tool_exec *x, vm_comp *c, bool json) {
    vg_gpu *const g = rt_vgpu(tool_exec_context(x));
    const vg_profile *p = NULL;
    const size_t n = g ? vg_profiles(g, &p) : 0;
    json_t *const all = json ? json_array() : NULL;
    bool ok = !json || all;
    for (size_t i = 0; ok && i < n; i++) {
        lines l = {0};
        ok = gather(&p[i], p[i].module, &l);
        if (ok && json) ok = json_array_append_new(all, json_profile(&p[i], &l)) == 0;
        else if (ok) {
            text_summary(stdout, &p[i]);
            text_lines(stdout, &p[i], &l, c);
        }
        free(l.at);
    }
    if (ok && json) {
        ok = json_dumpf(all, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER) == 0;
        putchar('\n');
    }
    json_decref(all);
    return ok ? TOOL_OK : tool_usage("out of memory");
}
