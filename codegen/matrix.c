// SPDX-License-Identifier: Apache-2.0
// ldmatrix and stmatrix: recognised from the tables of layouts. A register of a tile of 16-bit
// elements is a fragment when lane l holds elements (l/4, 2(l%4)+{0,1}) of an 8x8 matrix (or their
// transpose), in every warp, wherever the matrix lies.
#include <string.h>

#include "codegen/place.h"

typedef struct {
    int row, col;     // view dimensions: col lies along contiguous memory
    bool trans;       // a lane's pair goes along row
    uint32_t words;
} pattern;

static bool match(cg *g, const cg_place *p, const ir_type *t, pattern *m) {
    const layout *l = t->reg;
    if (p->global || p->bits != 16 || vm_bits(t->elem) != 16 || p->along < 0 || l->slots % 2 || l->threads % 32) return false;
    if (cg_place_guards(p) || cg_place_vector(p, 8) != 8) return false;
    for (int d = 0; d < t->rank; d++)
        if (l->shape[d] != t->dim[d]) return false;
    m->col = p->along;
    if (!layout_fragment(g->arena, l, m->col, &m->row, &m->trans)) return false;
    m->words = (uint32_t)l->slots / 2;
    return true;
}

/// Index of (first thread of this thread's warp, slot 0) along dim: the part that moves with the warp.
static LLVMValueRef warp_part(cg *g, const layout *l, int dim) {
    layout_digit d[LAYOUT_MAX_MODES * 2];
    const int n = layout_digits(l, d);
    LLVMValueRef t = LLVMBuildAnd(g->b, cg_tid(g), cg_i32(g, ~31), ""), sum = NULL;
    for (int i = 0; i < n; i++) {
        if (!d[i].spatial || d[i].dim != dim || d[i].div * d[i].extent <= 32) continue;
        LLVMValueRef x = LLVMBuildURem(g->b, LLVMBuildUDiv(g->b, t, cg_i32(g, d[i].div), ""), cg_i32(g, d[i].extent), "");
        x = LLVMBuildMul(g->b, x, cg_i32(g, d[i].stride), "");
        sum = sum ? LLVMBuildAdd(g->b, sum, x, "") : x;
    }
    return sum;
}

/// Constant c[lane / 8]: sums of bits where they are affine, selects otherwise.
static LLVMValueRef by_matrix(cg *g, const int32_t *c, unsigned n) {
    bool same = true;
    for (unsigned i = 1; i < n; i++) same &= c[i] == c[0];
    if (same) return c[0] ? cg_i32(g, c[0]) : NULL;
    LLVMValueRef j = LLVMBuildLShr(g->b, cg_lane(g), cg_i32(g, 3), "");
    LLVMValueRef b0 = LLVMBuildAnd(g->b, j, cg_i32(g, 1), ""), b1 = LLVMBuildLShr(g->b, j, cg_i32(g, 1), "");
    if (n == 2) b1 = NULL;
    if (n == 2 || c[3] - c[2] == c[1] - c[0]) {
        LLVMValueRef s = cg_i32(g, c[0]);
        if (c[1] != c[0]) s = LLVMBuildAdd(g->b, s, LLVMBuildMul(g->b, b0, cg_i32(g, c[1] - c[0]), ""), "");
        if (b1 && c[2] != c[0]) s = LLVMBuildAdd(g->b, s, LLVMBuildMul(g->b, b1, cg_i32(g, c[2] - c[0]), ""), "");
        return s;
    }
    LLVMValueRef s = cg_i32(g, c[0]);
    for (unsigned i = 1; i < n; i++)
        s = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntEQ, j, cg_i32(g, i), ""), cg_i32(g, c[i]), s, "");
    return s;
}

/// Address of the row that this lane names for the matrices of words [w, w + n).
static LLVMValueRef row_address(cg *g, const cg_place *p, const ir_type *t, const pattern *m, uint32_t w, unsigned n) {
    LLVMValueRef run[LAYOUT_MAX_RANK] = {NULL};
    int64_t more[LAYOUT_MAX_RANK] = {0};
    for (int d = 0; d < t->rank; d++) {
        int32_t c[4];
        for (unsigned i = 0; i < n; i++) c[i] = cg_index_slot(t->reg, 2 * (w + i), d);
        const int32_t base = c[0];
        for (unsigned i = 0; i < n; i++) c[i] -= base; // the common part stays constant
        more[d] = base;
        LLVMValueRef parts[3] = {warp_part(g, t->reg, d), by_matrix(g, c, n), NULL};
        if (d == m->row) parts[2] = LLVMBuildAnd(g->b, cg_lane(g), cg_i32(g, 7), "");
        for (int i = 0; i < 3; i++)
            if (parts[i]) run[d] = run[d] ? LLVMBuildAdd(g->b, run[d], parts[i], "") : parts[i];
    }
    const cg_root_index at = cg_place_index(g, p, run, more);
    return cg_place_address(g, p, &at, NULL);
}

static unsigned matrices(uint32_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/// Issues the ldmatrix that brings word w and its neighbours.
static void load_group(cg *g, const cg_place *p, const ir_type *t, const pattern *m, uint32_t w, LLVMValueRef *words) {
    w -= w % 4;
    for (const uint32_t end = w + 4 < m->words ? w + 4 : m->words; w < end;) {
        const unsigned n = matrices(end - w);
        LLVMValueRef a = row_address(g, p, t, m, w, n);
        LLVMTypeRef each[4] = {g->t_i32, g->t_i32, g->t_i32, g->t_i32};
        LLVMTypeRef ret = n == 1 ? g->t_i32 : LLVMStructTypeInContext(g->ctx, each, n, false);
        LLVMValueRef r = cg_call(g, vm_format(g->arena, "llvm.nvvm.ldmatrix.sync.aligned.m8n8.x%u%s.b16.p3", n, m->trans ? ".trans" : ""), ret, 1, &a);
        for (unsigned i = 0; i < n; i++) words[w + i] = n == 1 ? r : LLVMBuildExtractValue(g->b, r, i, "");
        cg_counted(g, CG_ldmatrix);
        w += n;
    }
}

bool cg_matrix_load(cg *g, ir_op *op, const cg_place *p, const ir_type *t, LLVMValueRef *words) {
    if (p->peer) return false;
    pattern m;
    if (!(g->arch->features & A_LDMATRIX) || !match(g, p, t, &m)) return false;
    for (uint32_t w = 0; w < m.words; w += 4) load_group(g, p, t, &m, w, words);
    cg_remark(g, op, "load by ldmatrix%s", m.trans ? ".trans" : "");
    return true;
}

struct cg_lazy {
    cg_place place;
    pattern m;
    const ir_type *type;
    LLVMValueRef *words;
};

typedef struct {
    const ir_value *v;
    const ir_op *user;
    int uses;
} use_count;

static void count_use(ir_op *op, void *user) {
    use_count *c = user;
    for (uint32_t k = 0; k < op->nops; k++)
        if (op->ops[k] == c->v) {
            c->uses++;
            c->user = op;
        }
}

bool cg_is_lazy(cg *g, const ir_op *load) {
    use_count c = {.v = load->res[0]};
    if (!(g->arch->features & A_LDMATRIX) || load->ops[0]->type.space != IS_SHARED) return false;
    ir_walk(load->parent, count_use, &c);
    if (c.uses != 1 || c.user->inst != I_dot || c.user->parent != load->parent || c.user->ops[2] == c.v) return false;
    for (const ir_op *o = load->next; o != c.user; o = o->next)
        if (!o || o->nregions || (vm_insts[o->inst].fx & (FX_WRITE | FX_SYNC | FX_IO | FX_ASYNC | FX_CTL)) || ir_get(o, AT_scratch)) return false;
    cg_place p;
    pattern m;
    return cg_place_of(g, load, load->ops[0], &p) && !p.peer && match(g, &p, &load->res[0]->type, &m);
}

cg_lazy *cg_lazy_new(cg *g, ir_op *load) {
    if (!load || load->inst != I_load || !cg_is_lazy(g, load)) return NULL;
    cg_lazy *z = vm_new(g->arena, cg_lazy);
    z->type = &load->res[0]->type;
    if (!cg_place_of(g, load, load->ops[0], &z->place) || !match(g, &z->place, z->type, &z->m)) return NULL;
    z->words = vm_newn(g->arena, LLVMValueRef, z->m.words);
    cg_remark(g, load, "load by ldmatrix%s, where the dot wants it", z->m.trans ? ".trans" : "");
    return z;
}

LLVMValueRef cg_lazy_word(cg *g, cg_lazy *z, uint32_t word) {
    if (!z->words[word]) load_group(g, &z->place, z->type, &z->m, word, z->words);
    return z->words[word];
}

bool cg_matrix_store(cg *g, ir_op *op, const cg_place *p, const ir_type *t, LLVMValueRef const *words) {
    if (p->peer) return false;
    pattern m;
    if (!(g->arch->features & A_STMATRIX) || cg_first_replica(g, t->reg) || !match(g, p, t, &m)) return false;
    unsigned n;
    for (uint32_t w = 0; w < m.words; w += n) {
        n = matrices(m.words - w);
        LLVMValueRef args[5] = {row_address(g, p, t, &m, w, n)};
        for (unsigned i = 0; i < n; i++) args[1 + i] = words[w + i];
        cg_call(g, vm_format(g->arena, "llvm.nvvm.stmatrix.sync.aligned.m8n8.x%u%s.b16.p3", n, m.trans ? ".trans" : ""), g->t_void, 1 + n, args);
        cg_counted(g, CG_stmatrix);
    }
    cg_remark(g, op, "store by stmatrix%s", m.trans ? ".trans" : "");
    return true;
}
