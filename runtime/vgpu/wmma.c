// SPDX-License-Identifier: Apache-2.0
// wmma: fragments loaded from and stored to memory, and their products. Which element a register
// holds is the implementation's: as mma's, see matrix.h.
#include "runtime/vgpu/matrix.h"

/// Registers of fragments: of A and B of a shape, by type.
static const struct {
    uint8_t type;
    uint16_t m, n, k;
    uint8_t a, b;
} fragments[] = {
    {PTX_f16, 16, 16, 16, 8, 8},  {PTX_f16, 32, 8, 16, 8, 8},  {PTX_f16, 8, 32, 16, 8, 8},
    {PTX_bf16, 16, 16, 16, 4, 4}, {PTX_bf16, 32, 8, 16, 8, 2}, {PTX_bf16, 8, 32, 16, 2, 8},
    {PTX_tf32, 16, 16, 8, 4, 4},  {PTX_f64, 8, 8, 4, 1, 1},    {PTX_u8, 16, 16, 16, 2, 2},
    {PTX_u8, 32, 8, 16, 4, 1},    {PTX_u8, 8, 32, 16, 1, 4},   {PTX_s8, 16, 16, 16, 2, 2},
    {PTX_s8, 32, 8, 16, 4, 1},    {PTX_s8, 8, 32, 16, 1, 4},   {PTX_u4, 8, 8, 32, 1, 1},
    {PTX_s4, 8, 8, 32, 1, 1},     {PTX_b1, 8, 8, 128, 1, 1},
};

static int find(int type, uint32_t m, uint32_t n, uint32_t k) {
    for (size_t i = 0; i < sizeof fragments / sizeof fragments[0]; i++)
        if (fragments[i].type == type && fragments[i].m == m && fragments[i].n == n &&
            fragments[i].k == k)
            return (int)i;
    return -1;
}
static bool shape_known(uint32_t m, uint32_t n, uint32_t k) {
    for (size_t i = 0; i < sizeof fragments / sizeof fragments[0]; i++)
        if (fragments[i].m == m && fragments[i].n == n && fragments[i].k == k) return true;
    return false;
}

// ---- loads and stores
// -----------------------------------------------------------------------------

/// A fragment's way between registers and memory: `rows` x `cols` elements; in memory `lines` of
/// `length` neighbours each. Blocks are numbered down the rows.
typedef struct {
    uint32_t rows, cols;
    bool across;        // lines are columns of the matrix
    bool store, result; // result: C or D, whose blocks are 8x8 with pairs
    uint32_t bits;      // of an element in memory
    uint32_t needed;    // registers that hold the elements; the others repeat them
    vg_row stride;
    bool wide; // the base address
} way;

/// Where an element of a lane's register lies: row and column.
static void place(const way *x, uint32_t e, uint32_t r, uint32_t lane, uint32_t i, uint32_t *row,
                  uint32_t *col) {
    const uint32_t mr = x->rows / 8;
    if (x->result) {
        const uint32_t b = e == 2 ? r : r / 2, which = e == 2 ? i : r % 2;
        *row = b % mr * 8 + lane / 4;
        *col = b / mr * 8 + lane % 4 * 2 + which;
    } else {
        *row = r % mr * 8 + lane / 4;
        *col = r / mr * 4 * e + lane % 4 * e + i;
    }
}

static enum vg_next ex_fragment(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const way *const x = in->aux;
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    const uint64_t base =
        (x->wide ? VG_ROW64(w, in->s[0])[lane] : VG_ROW32(w, in->s[0])[lane]) + (uint64_t)in->imm;
    const uint32_t lines = x->across ? x->cols : x->rows, length = x->across ? x->rows : x->cols;
    const uint32_t stride = x->stride == VG_NO_ROW ? length : VG_ROW32(w, x->stride)[lane];
    const uint32_t bytes = length * x->bits / 8, step = x->bits == 64 ? 8 : 4;
    const uint32_t align = bytes < 16 ? bytes & (0u - bytes) : 16;
    uint8_t *line[32];
    uint64_t addr[32];
    vg_block *owner[32];
    int space = in->space;
    for (uint32_t i = 0; i < 32; i++) {
        const uint32_t j = i < lines ? i : 0;
        addr[i] = base + (uint64_t)j * stride * x->bits / 8;
        space = in->space;
        line[i] = vg_resolve(w, in, lane, addr[i], bytes, align < step ? align : step,
                             x->store ? VG_WRITE : VG_READ, &space, &owner[i]);
        if (!line[i]) return VG_STOP;
        if (!owner[i]) owner[i] = w->block;
        if (space == PTX_SHARED) addr[i] &= (1u << VG_RANK_SHIFT) - 1;
    }
    if (w->watch) {
        const uint32_t some = lines >= 32 ? VGA_ALL : (1u << lines) - 1;
        if (w->watch & VG_WATCH_SAN)
            vg_san_access(w, in, some, space, owner, addr, bytes, x->store ? VG_WRITE : VG_READ);
        if (w->watch & VG_WATCH_PROF) vg_prof_memory(w, in, some, space, addr, bytes);
    }
    const uint32_t e = x->bits == 64 ? 1 : 32 / x->bits;
    for (uint32_t r = 0; r < in->nrows; r++) {
        if (x->store && r >= x->needed) break;
        for (uint32_t l = 0; l < 32; l++) {
            if (!(mask & vga_bit[l])) continue;
            uint64_t v = x->bits == 64 ? VG_ROW64(w, in->rows[r])[l] : VG_ROW32(w, in->rows[r])[l];
            if (!x->store) v = 0;
            for (uint32_t i = 0; i < e; i++) {
                uint32_t row, col;
                place(x, e, r % x->needed, l, i, &row, &col);
                const uint32_t at = x->across ? row : col;
                uint8_t *const p = line[x->across ? col : row] + at * x->bits / 8;
                if (x->bits < 8) {
                    const uint32_t m = (1u << x->bits) - 1, shift = at * x->bits % 8;
                    if (x->store)
                        *p = (uint8_t)((*p & ~(m << shift)) | ((v >> (i * x->bits) & m) << shift));
                    else
                        v |= (uint64_t)((uint32_t)*p >> shift & m) << (i * x->bits);
                } else if (x->store) {
                    const uint64_t one = v >> (i * x->bits % 64);
                    memcpy(p, &one, x->bits / 8);
                } else {
                    uint64_t one = 0;
                    memcpy(&one, p, x->bits / 8);
                    v |= one << (i * x->bits % 64);
                }
            }
            if (x->store) continue;
            if (x->bits == 64)
                VG_ROW64(w, in->rows[r])[l] = v;
            else
                VG_ROW32(w, in->rows[r])[l] = (uint32_t)v;
        }
    }
    return VG_NEXT;
}

static void decode_fragment(vg_decoder *d, vg_inst *out, bool store, uint32_t m, uint32_t n,
                            uint32_t k) {
    static const char *const parts[] = {"a", "b", "c", NULL}, *const stored[] = {"d", NULL};
    const int part = store ? (vgd_one_of(d, stored) < 0 ? -1 : 2) : vgd_one_of(d, parts);
    const int layout = vgm_layout(d, 0), type = vgd_type(d, 0);
    way *const x = vgd_alloc(d, sizeof *x);
    if (part < 0 || layout < 0 || !shape_known(m, n, k)) {
        vgd_fail(d, "wmma wants a matrix, a layout and a shape that there is");
        return;
    }
    if (!vgd_count(d, 2, 3)) return;
    uint32_t registers;
    x->store = store;
    if (part == 2) {
        if (type != PTX_f16 && type != PTX_f32 && type != PTX_s32 && type != PTX_f64) {
            vgd_fail(d, "wmma has no such result");
            return;
        }
        x->result = true;
        x->rows = m, x->cols = n;
        x->bits = ptx_types[type].bits;
        registers = x->needed = m * n / (type == PTX_f16 ? 64 : 32);
        x->across = layout == 1;
    } else {
        const int f = find(type, m, n, k);
        if (f < 0) {
            vgd_fail(d, "wmma has no such fragment");
            return;
        }
        // B is kept as its transpose, n x k.
        x->rows = part ? n : m, x->cols = k;
        x->across = part ? layout == 0 : layout == 1;
        x->bits = vgm_elem_of(type)->bits;
        registers = part ? fragments[f].b : fragments[f].a;
        x->needed = x->bits == 64 ? x->rows * k / 32 : x->rows * k * x->bits / 1024;
        if (x->bits < 8 && x->across) vgd_fail(d, "elements of less than a byte lie along k");
    }
    const ptx_opnd *const o = d->in->opnd;
    out->aux = x;
    out->space = (uint8_t)vgd_space(d);
    out->cls = out->space == PTX_SHARED ? (store ? VG_C_shared_store : VG_C_shared_load)
                                        : (store ? VG_C_global_store : VG_C_global_load);
    out->nrows = registers;
    out->rows = vgm_registers(d, &o[store ? 1 : 0], registers, x->bits == 64 ? 64 : 32, !store);
    out->s[0] = vgd_address(d, &o[store ? 0 : 1], &x->wide, &out->imm);
    x->stride = d->in->nopnd == 3 ? vgd_source(d, &o[2], PTX_u32) : VG_NO_ROW;
    out->bytes = (uint8_t)(x->bits < 8 ? 1 : x->bits / 8);
    out->vec = 1;
    out->run = ex_fragment;
}

// ---- products
// -------------------------------------------------------------------------------------

static void decode_product(vg_decoder *d, vg_inst *out, uint32_t m, uint32_t n, uint32_t k) {
    vgm_product *const p = vgd_alloc(d, sizeof *p);
    out->aux = p;
    out->cls = VG_C_matrix;
    p->m = m, p->n = n, p->k = k;
    if (vgm_layout(d, 0) < 0 || vgm_layout(d, 1) < 0) vgd_fail(d, "wmma.mma wants two layouts");
    p->d = vgd_type(d, 0);
    // Two types: of the results of f16 products.
    const int second = vgd_type(d, 1), third = vgd_type(d, 2), fourth = vgd_type(d, 3);
    p->c = fourth ? fourth : second;
    const int a = fourth ? second : PTX_f16, b = fourth ? third : PTX_f16;
    const int fa = find(a, m, n, k), fb = find(b, m, n, k);
    p->a = vgm_elem_of(a), p->b = vgm_elem_of(b);
    if (fa < 0 || fb < 0 || p->a->arith != p->b->arith || p->a->bits != p->b->bits) {
        vgd_fail(d, "wmma.mma has no form for these types and this shape");
        return;
    }
    const bool fits = p->a->arith == 'f'
                          ? (p->c == PTX_f32 || (p->c == PTX_f16 && a == PTX_f16)) &&
                                (p->d == PTX_f32 || (p->d == PTX_f16 && a == PTX_f16))
                      : p->a->arith == 'd' ? p->c == PTX_f64 && p->d == PTX_f64
                                           : p->c == PTX_s32 && p->d == PTX_s32;
    if (!fits) vgd_fail(d, "wmma.mma has no such result");
    if (p->a->arith == 'i' || a == PTX_f16) p->saturate = vgd_mod(d, "satfinite");
    if (p->a->arith == 'd') vgd_mod(d, "rn");
    if (p->a->arith == 'b') {
        p->bit_and = vgd_mod(d, "and");
        if ((!p->bit_and && !vgd_mod(d, "xor")) || !vgd_mod(d, "popc"))
            vgd_fail(d, "wmma of bits wants and or xor, and popc");
    }
    if (!vgd_count(d, 4, 4)) return;
    const unsigned bits = p->a->arith == 'd' ? 64 : 32;
    const uint32_t per = bits == 64 ? 32 : 1024u / p->a->bits;
    p->ra = m * k / per;
    p->rb = n * k / per;
    const ptx_opnd *const o = d->in->opnd;
    p->row[0] = vgm_registers(d, &o[0], m * n / (p->d == PTX_f16 ? 64 : 32), bits, true);
    p->row[1] = vgm_registers(d, &o[1], fragments[fa].a, bits, false);
    p->row[2] = vgm_registers(d, &o[2], fragments[fb].b, bits, false);
    p->row[3] = vgm_registers(d, &o[3], m * n / (p->c == PTX_f16 ? 64 : 32), bits, false);
    out->run = vgm_multiply;
}

void vgd_wmma(vg_decoder *d, vg_inst *out) {
    static const char *const whats[] = {"load", "store", "mma", NULL};
    const int what = vgd_one_of(d, whats);
    uint32_t m, n, k;
    vgd_mod(d, "sync");
    vgd_mod(d, "aligned");
    if (what < 0 || !vgm_shape(d, &m, &n, &k)) {
        vgd_fail(d, "wmma wants load, store or mma, and a shape");
        return;
    }
    if (what == 2)
        decode_product(d, out, m, n, k);
    else
        decode_fragment(d, out, what == 1, m, n, k);
}
