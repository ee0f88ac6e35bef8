// SPDX-License-Identifier: Apache-2.0
// What went wrong: the sink of diagnostics, their text with snippets, and their JSON form.
// Texts are shown as terminals can show them: tabs widened, broken UTF-8 and controls replaced.
#include "vm/vm.h"

#include <string.h>

static const struct {
    const char *id, *title, *chapter;
    enum vm_severity sev;
} rows[D_count_] = {
#define DIAG(code, sev, title, chapter) {#code, title, chapter, sev},
#include "vm/diag.def"
#undef DIAG
};

static const char *const severities[] = {"error", "warning", "remark", "note", "help"};

/// Wperf and Rpass are flags, spelled without their letter; all others are codes.
static bool is_flag(enum vm_code c) {
    const char *id = rows[c].id;
    return (id[0] == 'W' || id[0] == 'R') && id[1] >= 'a' && id[1] <= 'z';
}

const char *vm_code_name(enum vm_code c) { return rows[c].id + is_flag(c); }
const char *vm_code_title(enum vm_code c) { return rows[c].title; }
const char *vm_code_chapter(enum vm_code c) { return rows[c].chapter; }

bool vm_code_find(const char *name, enum vm_code *out) {
    for (unsigned i = 0; i < D_count_; i++) {
        if (strcmp(rows[i].id, name) != 0 && strcmp(vm_code_name((enum vm_code)i), name) != 0)
            continue;
        *out = (enum vm_code)i;
        return true;
    }
    return false;
}

// ---- the sink -----------------------------------------------------------------------------------

static bool wanted(const vm_comp *c, enum vm_code code) {
    if (rows[code].sev == VM_REMARK) return c->want_remarks;
    return code != D_Wperf || c->want_perf;
}

static bool same_span(vm_span a, vm_span b) {
    return a.file == b.file && a.lo == b.lo && a.hi == b.hi;
}

static bool seen(const vm_comp *c, const vm_diag *d) {
    for (const vm_diag *o = c->diags; o; o = o->next)
        if (o->code == d->code && same_span(o->span, d->span) && strcmp(o->text, d->text) == 0)
            return true;
    return false;
}

vm_diag *vm_report(vm_comp *c, enum vm_code code, vm_span at, const char *fmt, ...) {
    vm_diag *d = vm_new(c->arena, vm_diag);
    va_list ap;
    va_start(ap, fmt);
    d->text = vm_vformat(c->arena, fmt, ap);
    va_end(ap);
    d->code = code;
    d->span = at;
    d->sev = rows[code].sev;
    if (d->sev == VM_WARNING && c->werror) d->sev = VM_ERROR;
    if (!wanted(c, code)) return d;
    c->nreports += d->sev == VM_ERROR;
    if (seen(c, d)) return d; // notes hang on it unseen
    if (d->sev == VM_ERROR && c->nerrors++ >= c->max_errors) return d;
    if (d->sev == VM_WARNING) c->nwarnings++;
    if (c->last_diag) c->last_diag->next = d;
    else c->diags = d;
    c->last_diag = d;
    return d;
}

static vm_diag *add_child(vm_comp *c, vm_diag *d, enum vm_severity sev, vm_span at) {
    vm_diag *n = vm_new(c->arena, vm_diag);
    n->sev = sev;
    n->code = d->code;
    n->span = at;
    if (d->last_child) d->last_child->next = n;
    else d->child = n;
    return d->last_child = n;
}

#define CHILD(sev, at, lab)                                                                        \
    do {                                                                                           \
        vm_diag *n_ = add_child(c, d, sev, at);                                                    \
        va_list ap;                                                                                \
        va_start(ap, fmt);                                                                         \
        n_->text = vm_vformat(c->arena, fmt, ap);                                                  \
        va_end(ap);                                                                                \
        n_->label = lab;                                                                           \
        return d;                                                                                  \
    } while (0)

vm_diag *vm_label(vm_comp *c, vm_diag *d, vm_span at, const char *fmt, ...) {
    CHILD(VM_NOTE, at, true);
}
vm_diag *vm_note(vm_comp *c, vm_diag *d, const char *fmt, ...) {
    CHILD(VM_NOTE, VM_NOWHERE, false);
}
vm_diag *vm_help(vm_comp *c, vm_diag *d, const char *fmt, ...) {
    CHILD(VM_HELP, VM_NOWHERE, false);
}

vm_diag *vm_fix(vm_comp *c, vm_diag *d, vm_span at, const char *replacement) {
    vm_diag *n = add_child(c, d, VM_HELP, at);
    n->replace = vm_strdup(c->arena, replacement);
    const vm_source *s = vm_source_at(c, at.file);
    if (!s || at.lo >= at.hi || at.hi > s->size)
        n->text = vm_format(c->arena, "insert '%s'", replacement);
    else if (!*replacement)
        n->text = vm_format(c->arena, "remove '%.*s'", (int)(at.hi - at.lo), s->text + at.lo);
    else
        n->text = vm_format(c->arena, "write '%s' instead of '%.*s'", replacement,
                            (int)(at.hi - at.lo), s->text + at.lo);
    return d;
}

// ---- text ---------------------------------------------------------------------------------------

typedef struct {
    vm_text out;
    bool color;
    unsigned gutter; // digits of the largest line number shown
} page;

static const char *paint(const page *p, const char *code) { return p->color ? code : ""; }
#define BOLD "\033[1m"
#define BLUE "\033[1;34m"
#define PLAIN "\033[0m"
static const char *const hues[] = {"\033[1;31m", "\033[1;33m", "\033[1;36m", "\033[1m",
                                   "\033[1;32m"};

/// Length of the well-formed UTF-8 character at s, 0 if broken. No overlong forms, no surrogates.
static unsigned utf8(const uint8_t *s, size_t left) {
    if (s[0] < 0x80) return 1;
    const unsigned n = s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                       : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                       : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    for (unsigned i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
        return 0;
    return n;
}

enum { TAB = 4, WIDE = 160 };

/// One character of a line as shown: its bytes, its columns; returns the source bytes it took.
static unsigned shown(const char *s, size_t left, const char **bytes, unsigned *len,
                      unsigned *cols) {
    const unsigned n = utf8((const uint8_t *)s, left);
    const uint8_t ch = (uint8_t)*s;
    *cols = 1;
    if (ch == '\t') {
        *bytes = "    ";
        *len = *cols = TAB;
    } else if (n == 0 || ch < 0x20 || ch == 0x7f) {
        *bytes = "\xef\xbf\xbd";
        *len = 3;
    } else {
        *bytes = s;
        *len = n;
    }
    return n ? n : 1;
}

/// A text in a message: one line, whatever is in it.
static void put_clean(vm_text *t, const char *s) {
    for (size_t left = strlen(s); left;) {
        const char *bytes;
        unsigned len, cols;
        const unsigned n = shown(s, left, &bytes, &len, &cols);
        if (*s == '\n') vm_putn(t, "\n", 1);
        else vm_putn(t, bytes, len);
        s += n;
        left -= n;
    }
}

static void put_many(vm_text *t, char ch, unsigned n) {
    while (n--) vm_putn(t, &ch, 1);
}

static uint32_t line_end(const vm_source *s, uint32_t line) { // without its newline
    uint32_t end = line < s->nlines ? s->line[line] - 1 : s->size;
    if (end > s->line[line - 1] && s->text[end - 1] == '\r') end--;
    return end;
}

/// The source line of `at` (unless just shown) and marks under the part of `at` in it.
static void snippet(page *p, const vm_source *s, vm_span at, uint32_t *last, const char *hue,
                    char first, char rest, const char *label) {
    uint32_t line;
    vm_source_place(s, at.lo, &line, NULL);
    const uint32_t begin = s->line[line - 1], end = line_end(s, line);
    const uint32_t lo = at.lo > end ? end : at.lo;
    uint32_t hi = at.hi > end ? end : at.hi;
    if (hi < lo) hi = lo;

    unsigned col = 0, lo_col = 0, hi_col = 0, total = 0;
    const char *bytes;
    unsigned len, cols;
    for (uint32_t i = begin; i < end; i += shown(s->text + i, end - i, &bytes, &len, &cols)) {
        shown(s->text + i, end - i, &bytes, &len, &cols);
        if (i <= lo) lo_col = col;
        if (i < hi) hi_col = col + cols;
        col += cols;
    }
    total = col;
    if (lo >= end) lo_col = total;
    if (hi_col <= lo_col) hi_col = lo_col + 1;

    // A long line is cut to a window that shows the start of the span.
    unsigned from = 0, to = total;
    if (total > WIDE) {
        from = lo_col > WIDE / 2 ? lo_col - WIDE / 2 : 0;
        if (from + WIDE > total && lo_col <= total) from = total - WIDE;
        to = from + WIDE;
        if (hi_col > to + 1) hi_col = to + 1;
    }
    const unsigned lead = from ? 3 : 0;
    if (*last != line || total > WIDE) {
        vm_put(&p->out, "%s%*u |%s", paint(p, BLUE), (int)p->gutter, line, paint(p, PLAIN));
        if (to > from) vm_put(&p->out, " %s", from ? "..." : "");
        col = 0;
        for (uint32_t i = begin; i < end && col < to;) {
            i += shown(s->text + i, end - i, &bytes, &len, &cols);
            if (col >= from && col + cols <= to) vm_putn(&p->out, bytes, len);
            else if (col < to && col + cols > from) // a tab cut by the window's edge
                put_many(&p->out, ' ',
                         (col + cols < to ? col + cols : to) - (col > from ? col : from));
            col += cols;
        }
        vm_put(&p->out, "%s\n", to < total ? "..." : "");
    }
    *last = line;
    vm_put(&p->out, "%s%*s |%s %s", paint(p, BLUE), (int)p->gutter, "", paint(p, PLAIN),
           paint(p, hue));
    put_many(&p->out, ' ', lo_col - from + lead);
    put_many(&p->out, first, 1);
    put_many(&p->out, rest, hi_col - lo_col - 1);
    if (label && *label) {
        vm_putn(&p->out, " ", 1);
        put_clean(&p->out, label);
    }
    vm_put(&p->out, "%s\n", paint(p, PLAIN));
}

static unsigned digits_at(const vm_comp *c, vm_span at) {
    const vm_source *s = vm_source_at(c, at.file);
    if (!s) return 0;
    uint32_t line, n = 0;
    vm_source_place(s, at.lo, &line, NULL);
    for (; line; line /= 10) n++;
    return n;
}

static void put_diag(page *p, vm_comp *c, const vm_diag *d) {
    const vm_source *s = vm_source_at(c, d->span.file);
    p->gutter = digits_at(c, d->span);
    for (const vm_diag *k = d->child; k; k = k->next) {
        const unsigned n = k->label ? digits_at(c, k->span) : 0;
        if (n > p->gutter) p->gutter = n;
    }
    if (s) {
        vm_put(&p->out, "%s", paint(p, BOLD));
        put_clean(&p->out, vm_place(c, d->span));
        vm_put(&p->out, ": %s", paint(p, PLAIN));
    }
    vm_put(&p->out, "%s%s[", paint(p, hues[d->sev]), severities[d->sev]);
    if (is_flag(d->code)) vm_put(&p->out, "-%c", rows[d->code].id[0]);
    vm_put(&p->out, "%s]%s: %s", vm_code_name(d->code), paint(p, PLAIN), paint(p, BOLD));
    put_clean(&p->out, d->text);
    vm_put(&p->out, "%s\n", paint(p, PLAIN));

    uint32_t last = 0, file = d->span.file;
    const vm_diag *own = NULL; // a label on the very span stands behind its marks
    for (const vm_diag *k = d->child; k && !own; k = k->next)
        if (k->label && same_span(k->span, d->span)) own = k;
    if (s) snippet(p, s, d->span, &last, hues[d->sev], '^', '~', own ? own->text : NULL);
    for (const vm_diag *k = d->child; k; k = k->next) {
        const vm_source *ks = k->label ? vm_source_at(c, k->span.file) : NULL;
        if (!ks || k == own) continue;
        if (k->span.file != file) {
            vm_put(&p->out, "%s%*s:::%s ", paint(p, BLUE), (int)p->gutter, "", paint(p, PLAIN));
            put_clean(&p->out, vm_place(c, k->span));
            vm_putn(&p->out, "\n", 1);
            last = 0;
        }
        file = k->span.file;
        snippet(p, ks, k->span, &last, BLUE, '-', '-', k->text);
    }
    for (const vm_diag *k = d->child; k; k = k->next) {
        if (k->label && vm_source_at(c, k->span.file)) continue;
        vm_put(&p->out, "%*s %s= %s%s: ", (int)p->gutter, "", paint(p, BLUE), severities[k->sev],
               paint(p, PLAIN));
        put_clean(&p->out, k->text);
        vm_putn(&p->out, "\n", 1);
    }
}

char *vm_diags_text(vm_comp *c, bool color) {
    page p = {.out = {.arena = c->arena}, .color = color};
    for (const vm_diag *d = c->diags; d; d = d->next) {
        put_diag(&p, c, d);
        if (d->next) vm_putn(&p.out, "\n", 1);
    }
    if (c->nerrors > c->max_errors)
        vm_put(&p.out, "\n%serror%s: %u more errors are not shown\n", paint(&p, hues[VM_ERROR]),
               paint(&p, PLAIN), c->nerrors - c->max_errors);
    return vm_text_end(&p.out);
}

// ---- JSON ---------------------------------------------------------------------------------------

static void json_n(vm_text *t, const char *s, size_t left) {
    vm_putn(t, "\"", 1);
    while (left) {
        const unsigned n = utf8((const uint8_t *)s, left);
        const uint8_t ch = (uint8_t)*s;
        if (n == 0) vm_put(t, "\\ufffd");
        else if (ch == '"' || ch == '\\') vm_put(t, "\\%c", ch);
        else if (ch < 0x20 || ch == 0x7f) vm_put(t, "\\u%04x", ch);
        else vm_putn(t, s, n);
        s += n ? n : 1;
        left -= n ? n : 1;
    }
    vm_putn(t, "\"", 1);
}

static void json_str(vm_text *t, const char *s) {
    if (s) json_n(t, s, strlen(s));
    else vm_put(t, "null");
}

static void json_span(vm_text *t, vm_comp *c, vm_span at, bool primary, const char *label,
                      const char *replace) {
    const vm_source *s = vm_source_at(c, at.file);
    if (!s) return;
    if (at.hi < at.lo) at.hi = at.lo;
    uint32_t l0, c0, l1, c1;
    vm_source_place(s, at.lo, &l0, &c0);
    vm_source_place(s, at.hi, &l1, &c1);
    if (t->at[t->n - 1] != '[') vm_put(t, ",");
    vm_put(t, "{\"file_name\":");
    json_str(t, s->name);
    vm_put(t, ",\"byte_start\":%u,\"byte_end\":%u,\"line_start\":%u,\"line_end\":%u,"
              "\"column_start\":%u,\"column_end\":%u,\"is_primary\":%s,\"text\":[{\"text\":",
           at.lo, at.hi, l0, l1, c0, c1, primary ? "true" : "false");
    json_n(t, s->text + s->line[l0 - 1], line_end(s, l0) - s->line[l0 - 1]);
    const uint32_t hl = l1 == l0 ? c1 : c0;
    vm_put(t, ",\"highlight_start\":%u,\"highlight_end\":%u}],\"label\":", c0, hl);
    json_str(t, label);
    vm_put(t, ",\"suggested_replacement\":");
    json_str(t, replace);
    vm_put(t, ",\"suggestion_applicability\":%s,\"expansion\":null}",
           replace ? "\"MaybeIncorrect\"" : "null");
}

char *vm_diags_json(vm_comp *c) {
    vm_text t = {.arena = c->arena};
    for (const vm_diag *d = c->diags; d; d = d->next) {
        vm_put(&t, "{\"$message_type\":\"diagnostic\",\"message\":");
        json_str(&t, d->text);
        vm_put(&t, ",\"code\":{\"code\":\"%s\",\"explanation\":", vm_code_name(d->code));
        json_str(&t, vm_code_chapter(d->code));
        vm_put(&t, "},\"level\":\"%s\",\"spans\":[", severities[d->sev]);
        const char *own = NULL;
        for (const vm_diag *k = d->child; k && !own; k = k->next)
            if (k->label && same_span(k->span, d->span)) own = k->text;
        json_span(&t, c, d->span, true, own, NULL);
        for (const vm_diag *k = d->child; k; k = k->next)
            if (k->label && !same_span(k->span, d->span))
                json_span(&t, c, k->span, false, k->text, NULL);
        vm_put(&t, "],\"children\":[");
        for (const vm_diag *k = d->child; k; k = k->next) {
            if (k->label) continue;
            if (t.at[t.n - 1] != '[') vm_put(&t, ",");
            vm_put(&t, "{\"message\":");
            json_str(&t, k->text);
            vm_put(&t, ",\"code\":null,\"level\":\"%s\",\"spans\":[", severities[k->sev]);
            json_span(&t, c, k->span, true, NULL, k->replace);
            vm_put(&t, "],\"children\":[],\"rendered\":null}");
        }
        vm_put(&t, "],\"rendered\":");
        page p = {.out = {.arena = c->arena}};
        put_diag(&p, c, d);
        json_str(&t, vm_text_end(&p.out));
        vm_put(&t, "}\n");
    }
    return vm_text_end(&t);
}
