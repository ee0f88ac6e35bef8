// SPDX-License-Identifier: Apache-2.0
// Pictures of layouts as SVG. Every panel is a grid of cells; colours depend on thread, or bank, only.
#include "layout/svg.h"

#include <math.h>
#include <string.h>

#include "layout/move.h"

enum { MAX_CELLS = 1 << 16, MARGIN = 24, HEADER = 52 };

typedef struct {
    vm_text text;
    vm_arena *arena;
} picture;

/// Text of a node or an attribute.
static const char *escaped(vm_arena *a, const char *s) {
    vm_text t = {.arena = a};
    for (; *s; s++) {
        switch (*s) {
        case '&': vm_put(&t, "&amp;"); break;
        case '<': vm_put(&t, "&lt;"); break;
        case '>': vm_put(&t, "&gt;"); break;
        case '"': vm_put(&t, "&quot;"); break;
        default:
            if ((unsigned char)*s >= 32) vm_putn(&t, s, 1); // XML 1.0 has no control characters
        }
    }
    return vm_text_end(&t);
}

/// Hue in degrees, saturation and lightness in [0, 1].
static uint32_t rgb(double h, double s, double l) {
    const double c = (1 - fabs(2 * l - 1)) * s, k = fmod(h / 60, 6), x = c * (1 - fabs(fmod(k, 2) - 1)), m = l - c / 2;
    const double part[6][3] = {{c, x, 0}, {x, c, 0}, {0, c, x}, {0, x, c}, {x, 0, c}, {c, 0, x}};
    const double *const p = part[(int)k];
    uint32_t out = 0;
    for (int i = 0; i < 3; i++) out = out << 8 | (uint32_t)lround((p[i] + m) * 255);
    return out;
}

/// Warps are hues by the golden angle; the 32 lanes of one are a band of neighbouring hues in eight
/// shades, so that lanes side by side differ.
static uint32_t thread_colour(int thread, int threads) {
    const int warp = thread / 32, lane = thread % 32;
    if (threads <= 32) return rgb(fmod(lane * (360.0 / 32), 360), 0.62, lane % 2 ? 0.80 : 0.70);
    return rgb(fmod(warp * 137.508 + (lane / 8) * 9, 360), 0.60, 0.86 - 0.035 * (lane % 8));
}

static uint32_t bank_colour(int bank) { return rgb(bank * (360.0 / 32), 0.60, bank % 2 ? 0.80 : 0.70); }

typedef struct {
    uint32_t *colour;
    const char **label, **tip;
} cells;

/// How large a grid is and where it begins.
typedef struct {
    int rows, cols, slices, size, width, height;
} grid;

static grid grid_of(int rank, const int32_t *shape, int label) {
    grid g = {.rows = 1, .cols = 1, .slices = 1};
    for (int d = 0; d < rank; d++) {
        if (d == rank - 1) g.cols = shape[d];
        else if (d == rank - 2) g.rows = shape[d];
        else g.slices *= shape[d];
    }
    // wide enough for its labels where the picture stays within a page, and for small ones up to 64 × 64
    const int most = g.cols > g.rows ? g.cols : g.rows, wish = label * 7 + 6;
    g.size = 1400 / (most ? most : 1);
    if (most <= 64 && g.size < label * 5 + 2) g.size = label * 5 + 2;
    if (g.size > wish) g.size = wish > 18 ? wish : 18;
    if (g.size < 6) g.size = 6;
    g.width = g.cols * g.size + 28;
    g.height = g.slices * (g.rows * g.size + 34);
    return g;
}

static void draw(picture *p, const grid *g, const cells *c, int x0, int y0, int label, int rank, const int32_t *shape) {
    double font = label ? (g->size - 2) / (0.62 * label) : 0;
    if (font > 12) font = 12;
    if (font > g->size * 0.6) font = g->size * 0.6;
    const bool text = font >= 4.5;
    const int step = g->size >= 14 ? 1 : 8;
    int64_t n = 0;
    for (int s = 0; s < g->slices; s++) {
        const int top = y0 + s * (g->rows * g->size + 34) + 18, left = x0 + 28;
        if (rank > 2) {
            vm_put(&p->text, "<text class=\"h\" x=\"%d\" y=\"%d\">[", left, top - 14);
            int rest = s, at[LAYOUT_MAX_RANK];
            for (int d = rank - 3; d >= 0; d--) {
                at[d] = rest % shape[d];
                rest /= shape[d];
            }
            for (int d = 0; d < rank - 2; d++) vm_put(&p->text, "%d, ", at[d]);
            vm_put(&p->text, ":, :]</text>\n");
        }
        for (int j = 0; j < g->cols; j += step)
            vm_put(&p->text, "<text class=\"a\" x=\"%.1f\" y=\"%d\">%d</text>\n", left + (j + 0.5) * g->size, top - 4, j);
        for (int i = 0; i < g->rows; i += step)
            vm_put(&p->text, "<text class=\"r\" x=\"%d\" y=\"%.1f\">%d</text>\n", left - 4, top + (i + 0.5) * g->size + 3, i);
        for (int i = 0; i < g->rows; i++)
            for (int j = 0; j < g->cols; j++, n++) {
                const int x = left + j * g->size, y = top + i * g->size;
                vm_put(&p->text, "<g><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"#%06x\"/>", c->tip[n], x, y,
                       g->size, g->size, (unsigned)c->colour[n]);
                if (text)
                    vm_put(&p->text, "<text class=\"c\" font-size=\"%.1f\" x=\"%.1f\" y=\"%.1f\">%s</text>", font, x + g->size / 2.0,
                           y + g->size / 2.0 + font * 0.35, c->label[n]);
                vm_put(&p->text, "</g>\n");
            }
    }
}

static void begin(picture *p, int width, int height, const char *title) {
    vm_put(&p->text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                     "viewBox=\"0 0 %d %d\" font-family=\"ui-monospace, Menlo, Consolas, monospace\">\n", width, height, width, height);
    vm_put(&p->text, "<style>rect{stroke:#fff;stroke-width:.5}text{fill:#24292f}.t{font-size:15px;font-weight:600}.s,.h{font-size:11px}"
                     ".a{font-size:9px;text-anchor:middle}.r{font-size:9px;text-anchor:end}.c{text-anchor:middle}</style>\n");
    vm_put(&p->text, "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", width, height);
    vm_put(&p->text, "<title>%s</title>\n<text class=\"t\" x=\"%d\" y=\"26\">%s</text>\n", escaped(p->arena, title), MARGIN,
           escaped(p->arena, title));
}

static void subtitle(picture *p, int x, const char *text) {
    vm_put(&p->text, "<text class=\"s\" x=\"%d\" y=\"44\">%s</text>\n", x, escaped(p->arena, text));
}

/// Swatches with numbers from 0; at most 32.
static int legend_height(void) { return 40; }
static void legend(picture *p, int y, const char *what, int n, int threads, bool banks) {
    vm_put(&p->text, "<text class=\"s\" x=\"%d\" y=\"%d\">%s</text>\n", MARGIN, y + 12, what);
    const int shown = n > 32 ? 32 : n;
    for (int i = 0; i < shown; i++) {
        // many warps: the first lane of each
        const int k = !banks && threads > 32 ? i * 32 : i;
        const uint32_t c = banks ? bank_colour(i) : thread_colour(k, threads);
        vm_put(&p->text, "<rect x=\"%d\" y=\"%d\" width=\"18\" height=\"14\" fill=\"#%06x\"/><text class=\"a\" x=\"%d\" y=\"%d\">%d</text>\n",
               MARGIN + 60 + i * 20, y, (unsigned)c, MARGIN + 69 + i * 20, y + 26, i);
    }
}

static const char *too_large(picture *p, const char *title, int64_t n) {
    begin(p, 600, 80, title);
    subtitle(p, MARGIN, vm_format(p->arena, "%lld elements are too many to draw", (long long)n));
    vm_put(&p->text, "</svg>\n");
    return vm_text_end(&p->text);
}

static int64_t elements(int rank, const int32_t *shape) {
    int64_t n = 1;
    for (int d = 0; d < rank && n <= MAX_CELLS; d++) n *= shape[d];
    return n;
}

/// Owners of every element: the first in colour and label, all of them (up to eight) in the tooltip.
static cells layout_cells(vm_arena *a, const layout *f, int *label) {
    const int64_t n = elements(f->rank, f->shape);
    cells c = {vm_newn(a, uint32_t, n + 1), vm_newn(a, const char *, n + 1), vm_newn(a, const char *, n + 1)};
    uint8_t *owners = vm_newn(a, uint8_t, n + 1);
    const int32_t *table = layout_linear_table(a, f, f->shape);
    *label = 3;
    for (int t = 0; t < f->threads; t++)
        for (int s = 0; s < f->slots; s++) {
            const int32_t e = table[(int64_t)t * f->slots + s];
            if (e < 0) continue;
            if (owners[e] == 0) {
                c.colour[e] = thread_colour(t, f->threads);
                c.label[e] = vm_format(a, "%d:%d", t, s);
                const int len = (int)strlen(c.label[e]);
                if (len > *label) *label = len;
                int32_t rest = e, at[LAYOUT_MAX_RANK];
                for (int d = f->rank - 1; d >= 0; d--) {
                    at[d] = rest % f->shape[d];
                    rest /= f->shape[d];
                }
                vm_text w = {.arena = a};
                vm_put(&w, "[");
                for (int d = 0; d < f->rank; d++) vm_put(&w, "%s%d", d ? ", " : "", at[d]);
                vm_put(&w, "] thread %d slot %d", t, s);
                c.tip[e] = vm_text_end(&w);
            } else if (owners[e] < 8) {
                c.tip[e] = vm_format(a, "%s, thread %d slot %d", c.tip[e], t, s);
            } else if (owners[e] == 8) {
                c.tip[e] = vm_format(a, "%s, …", c.tip[e]);
            }
            if (owners[e] < 9) owners[e]++;
        }
    for (int64_t e = 0; e < n; e++)
        if (!owners[e]) {
            c.colour[e] = 0xf6f8fa;
            c.label[e] = "";
            c.tip[e] = "nobody";
        }
    return c;
}

static void layout_legend(picture *p, int y, const layout *f) {
    const int warps = (f->threads + 31) / 32;
    legend(p, y, f->threads > 32 ? "warp" : "thread", f->threads > 32 ? warps : f->threads, f->threads, false);
}

static int at_least(int x, int least) { return x > least ? x : least; }

/// Width of text of class s.
static int text_width(const char *s) { return (int)strlen(s) * 7; }

char *layout_svg(vm_arena *a, const layout *f, const char *title) {
    picture p = {.text = {.arena = a}, .arena = a};
    const int64_t n = elements(f->rank, f->shape);
    if (n > MAX_CELLS) return (char *)too_large(&p, title, n);
    int label;
    const cells c = layout_cells(a, f, &label);
    const grid g = grid_of(f->rank, f->shape, label);
    const char *what = vm_format(a, "%s: %d threads, %d slots", layout_text(a, f), f->threads, f->slots);
    const int height = HEADER + g.height;
    begin(&p, at_least(at_least(g.width + 2 * MARGIN, 760), text_width(what) + 2 * MARGIN), height + legend_height(), title);
    subtitle(&p, MARGIN, what);
    draw(&p, &g, &c, MARGIN, HEADER, label, f->rank, f->shape);
    layout_legend(&p, height, f);
    vm_put(&p.text, "</svg>\n");
    return vm_text_end(&p.text);
}

char *layout_svg_pair(vm_arena *a, const layout *f, const layout *g, const char *title) {
    picture p = {.text = {.arena = a}, .arena = a};
    const int64_t nf = elements(f->rank, f->shape), ng = elements(g->rank, g->shape);
    if (nf > MAX_CELLS || ng > MAX_CELLS) return (char *)too_large(&p, title, nf > ng ? nf : ng);
    int lf, lg;
    const cells cf = layout_cells(a, f, &lf), cg = layout_cells(a, g, &lg);
    const grid gf = grid_of(f->rank, f->shape, lf), gg = grid_of(g->rank, g->shape, lg);
    const char *tf = layout_text(a, f), *tg = layout_text(a, g), *how = "no relayout: shapes or threads differ";
    if (f->rank == g->rank && f->threads == g->threads && !memcmp(f->shape, g->shape, sizeof(int32_t) * f->rank) &&
        layout_covers(a, f))
        how = vm_format(a, "relayout of 32-bit elements by %s", move_text(a, layout_move_plan(a, f, g, g->shape, 32)));
    const int second = MARGIN + at_least(gf.width, text_width(tf)) + 60, height = HEADER + (gf.height > gg.height ? gf.height : gg.height);
    const int width = second + at_least(gg.width, text_width(tg)) + MARGIN;
    begin(&p, at_least(at_least(width, 760), text_width(how) + 2 * MARGIN), height + legend_height() + 20, title);
    subtitle(&p, MARGIN, tf);
    subtitle(&p, second, tg);
    draw(&p, &gf, &cf, MARGIN, HEADER, lf, f->rank, f->shape);
    draw(&p, &gg, &cg, second, HEADER, lg, g->rank, g->shape);
    vm_put(&p.text, "<path d=\"M%d %d h28 m-8 -6 l8 6 l-8 6\" fill=\"none\" stroke=\"#57606a\" stroke-width=\"2\"/>\n", second - 44, HEADER + 40);
    layout_legend(&p, height, f->threads > g->threads ? f : g);
    vm_put(&p.text, "<text class=\"s\" x=\"%d\" y=\"%d\">%s</text>\n</svg>\n", MARGIN, height + legend_height() + 8, escaped(a, how));
    return vm_text_end(&p.text);
}

char *shared_svg(vm_arena *a, const shared_layout *f, unsigned elem_bits, const char *title) {
    picture p = {.text = {.arena = a}, .arena = a};
    const int64_t n = elements(f->rank, f->shape);
    if (n > MAX_CELLS) return (char *)too_large(&p, title, n);
    cells c = {vm_newn(a, uint32_t, n + 1), vm_newn(a, const char *, n + 1), vm_newn(a, const char *, n + 1)};
    int label = 2;
    for (int64_t e = 0; e < n; e++) {
        int32_t at[LAYOUT_MAX_RANK];
        int64_t rest = e;
        for (int d = f->rank - 1; d >= 0; d--) {
            at[d] = (int32_t)(rest % f->shape[d]);
            rest /= f->shape[d];
        }
        const int64_t offset = shared_offset(f, at), byte = offset * elem_bits / 8;
        const int bank = (int)(byte / 4 % 32);
        c.colour[e] = bank_colour(bank);
        c.label[e] = vm_format(a, "%lld", (long long)offset);
        const int len = (int)strlen(c.label[e]);
        if (len > label) label = len;
        vm_text w = {.arena = a};
        vm_put(&w, "[");
        for (int d = 0; d < f->rank; d++) vm_put(&w, "%s%d", d ? ", " : "", at[d]);
        vm_put(&w, "] offset %lld byte %lld bank %d", (long long)offset, (long long)byte, bank);
        c.tip[e] = vm_text_end(&w);
    }
    const grid g = grid_of(f->rank, f->shape, label);
    const char *what = vm_format(a, "%s: %u-bit elements, %lld spanned", shared_text(a, f), elem_bits, (long long)f->size);
    const int height = HEADER + g.height;
    begin(&p, at_least(at_least(g.width + 2 * MARGIN, 760), text_width(what) + 2 * MARGIN), height + legend_height(), title);
    subtitle(&p, MARGIN, what);
    draw(&p, &g, &c, MARGIN, HEADER, label, f->rank, f->shape);
    legend(&p, height, "bank", 32, 0, true);
    vm_put(&p.text, "</svg>\n");
    return vm_text_end(&p.text);
}
