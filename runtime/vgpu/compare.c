// SPDX-License-Identifier: Apache-2.0
// Comparisons: a type has one function from two rows to 32 bits; set and setp make results of them.
#include "runtime/vgpu/alu.h"

/// What is computed; the other comparisons are complements (sub2: complement).
enum base { B_EQ, B_LT, B_LE, B_GT, B_GE, B_LTGT, B_NUM };
static const struct {
    const char *name;
    uint8_t base;
    bool not ;
    char who; // a: all, u: unsigned and bits, f: floats
} comparisons[] = {
    {"eq", B_EQ, false, 'a'},  {"ne", B_EQ, true, 'i'},  {"ne", B_LTGT, false, 'f'},
    {"lt", B_LT, false, 'a'},  {"le", B_LE, false, 'a'}, {"gt", B_GT, false, 'a'},
    {"ge", B_GE, false, 'a'},  {"lo", B_LT, false, 'u'}, {"ls", B_LE, false, 'u'},
    {"hi", B_GT, false, 'u'},  {"hs", B_GE, false, 'u'}, {"equ", B_LTGT, true, 'f'},
    {"neu", B_EQ, true, 'f'},  {"ltu", B_GE, true, 'f'}, {"leu", B_GT, true, 'f'},
    {"gtu", B_LE, true, 'f'},  {"geu", B_LT, true, 'f'}, {"num", B_NUM, false, 'f'},
    {"nan", B_NUM, true, 'f'},
};

/// Bits of the lanes where the comparison `base` of the two rows holds.
typedef uint32_t compare(vg_warp *w, vg_row ra, vg_row rb, unsigned base, unsigned fl);

#define BITS(cond)                                                                                 \
    do {                                                                                           \
        uint32_t r_ = 0;                                                                           \
        for (int l = 0; l < 32; l++) r_ |= (cond) ? vga_bit[l] : 0;                                \
        return r_;                                                                                 \
    } while (0)
#define COMPARE(name, R, ROW, X, Y)                                                                \
    VGA_FAST static uint32_t name(vg_warp *w, vg_row ra, vg_row rb, unsigned base, unsigned fl) {  \
        const R *const a = ROW(w, ra), *const b = ROW(w, rb);                                      \
        (void)fl;                                                                                  \
        switch (base) {                                                                            \
        case B_EQ:                                                                                 \
            BITS(X == Y);                                                                          \
        case B_LT:                                                                                 \
            BITS(X < Y);                                                                           \
        case B_LE:                                                                                 \
            BITS(X <= Y);                                                                          \
        case B_GT:                                                                                 \
            BITS(X > Y);                                                                           \
        case B_GE:                                                                                 \
            BITS(X >= Y);                                                                          \
        case B_LTGT:                                                                               \
            BITS(X<Y || X> Y);                                                                     \
        default:                                                                                   \
            BITS(X == X && Y == Y);                                                                \
        }                                                                                          \
    }
#define INTEGER(name, R, ROW, T) COMPARE(name, R, ROW, ((T)a[l]), ((T)b[l]))
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtautological-compare"
#endif
INTEGER(cmp_u16, uint32_t, VG_ROW32, uint16_t)
INTEGER(cmp_s16, uint32_t, VG_ROW32, int16_t)
INTEGER(cmp_u32, uint32_t, VG_ROW32, uint32_t)
INTEGER(cmp_s32, uint32_t, VG_ROW32, int32_t)
INTEGER(cmp_u64, uint64_t, VG_ROW64, uint64_t)
INTEGER(cmp_s64, uint64_t, VG_ROW64, int64_t)
COMPARE(cmp_f32, uint32_t, VG_ROW32, vga_in32(a[l], fl), vga_in32(b[l], fl))
COMPARE(cmp_f64, uint64_t, VG_ROW64, vga_d(a[l]), vga_d(b[l]))
static VGA_INLINE float half(uint32_t h, unsigned fl) {
    h &= 0xffff;
    return vga_f16((fl & VGA_FTZ) && !(h & 0x7c00) ? h & 0x8000 : h);
}
COMPARE(cmp_f16, uint32_t, VG_ROW32, half(a[l], fl), half(b[l], fl))
COMPARE(cmp_f16_hi, uint32_t, VG_ROW32, half(a[l] >> 16, fl), half(b[l] >> 16, fl))
COMPARE(cmp_bf16, uint32_t, VG_ROW32, vga_f(a[l] << 16), vga_f(b[l] << 16))
COMPARE(cmp_bf16_hi, uint32_t, VG_ROW32, vga_f(a[l] & 0xffff0000u), vga_f(b[l] & 0xffff0000u))
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

static const struct {
    uint8_t type;
    char who;
    compare *low, *high; // high: of packed types
} types[] = {
    {PTX_b16, 'b', cmp_u16, NULL},
    {PTX_b32, 'b', cmp_u32, NULL},
    {PTX_b64, 'b', cmp_u64, NULL},
    {PTX_u16, 'u', cmp_u16, NULL},
    {PTX_u32, 'u', cmp_u32, NULL},
    {PTX_u64, 'u', cmp_u64, NULL},
    {PTX_s16, 's', cmp_s16, NULL},
    {PTX_s32, 's', cmp_s32, NULL},
    {PTX_s64, 's', cmp_s64, NULL},
    {PTX_f32, 'f', cmp_f32, NULL},
    {PTX_f64, 'f', cmp_f64, NULL},
    {PTX_f16, 'f', cmp_f16, NULL},
    {PTX_f16x2, 'f', cmp_f16, cmp_f16_hi},
    {PTX_bf16, 'f', cmp_bf16, NULL},
    {PTX_bf16x2, 'f', cmp_bf16, cmp_bf16_hi},
};

typedef struct {
    compare *low, *high;
    uint32_t one, one_high; // set: what true is; of packed results, of each half
    uint8_t base, flags;
    uint32_t flip;
    uint8_t bool_op; // 0 none, 1 and, 2 or, 3 xor
    uint32_t third_flip;
} how;

static VGA_INLINE uint32_t joined(const how *h, uint32_t p, uint32_t c) {
    switch (h->bool_op) {
    case 1:
        return p & c;
    case 2:
        return p | c;
    case 3:
        return p ^ c;
    default:
        return p;
    }
}

static enum vg_next ex_setp(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const how *const h = in->aux;
    const uint32_t p = h->low(w, in->s[0], in->s[1], h->base, h->flags) ^ h->flip;
    const uint32_t q = h->high ? h->high(w, in->s[0], in->s[1], h->base, h->flags) ^ h->flip : ~p;
    const uint32_t c = h->bool_op ? VG_PRED(w, in->s[2]) ^ h->third_flip : 0;
    vga_set_pred(w, in->d[0], mask, joined(h, p, c));
    vga_set_pred(w, in->d[1], mask, joined(h, q, c));
    return VG_NEXT;
}

static enum vg_next ex_set(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const how *const h = in->aux;
    const uint32_t c = h->bool_op ? VG_PRED(w, in->s[2]) ^ h->third_flip : 0;
    const uint32_t p = joined(h, h->low(w, in->s[0], in->s[1], h->base, h->flags) ^ h->flip, c);
    const uint32_t q =
        !h->high ? 0 : joined(h, h->high(w, in->s[0], in->s[1], h->base, h->flags) ^ h->flip, c);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, (p & vga_bit[l] ? h->one : 0) | (q & vga_bit[l] ? h->one_high : 0));
    return VG_NEXT;
}

/// What set writes for true in the low half (or word) of a type.
static uint32_t true_of(int type) {
    switch (type) {
    case PTX_u32:
    case PTX_s32:
    case PTX_b32:
        return UINT32_MAX;
    case PTX_u16:
    case PTX_s16:
    case PTX_b16:
        return 0xffff;
    case PTX_f32:
        return 0x3f800000;
    case PTX_f16:
    case PTX_f16x2:
        return 0x3c00;
    case PTX_bf16:
    case PTX_bf16x2:
        return 0x3f80;
    default:
        return 0;
    }
}

static bool applies(char wanted, char who) {
    switch (wanted) {
    case 'a':
        return true;
    case 'i':
        return who != 'f';
    case 'f':
        return who == 'f';
    default:
        return who == 'u' || who == 'b';
    }
}

void vgd_compare(vg_decoder *d, vg_inst *out) {
    static const char *const bools[] = {"and", "or", "xor", NULL};
    const bool set = vga_is(d, "set");
    const int to = set ? vgd_type(d, 0) : PTX_NONE, type = vgd_type(d, set ? 1 : 0);
    const ptx_opnd *const o = d->in->opnd;
    how *const h = vgd_alloc(d, sizeof *h);
    out->aux = h;
    out->cls = VG_C_int;
    char who = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].type == type)
            who = types[i].who, h->low = types[i].low, h->high = types[i].high;
    if (!who) {
        vgd_fail(d, "%s has no form for this type", d->in->op);
        return;
    }
    if (who == 'f')
        out->cls = type == PTX_f32 ? VG_C_float : type == PTX_f64 ? VG_C_double : VG_C_half;
    bool found = false;
    for (size_t i = 0; i < sizeof comparisons / sizeof comparisons[0] && !found; i++) {
        if (!applies(comparisons[i].who, who) || !vgd_mod(d, comparisons[i].name)) continue;
        found = true;
        h->base = comparisons[i].base;
        h->flip = comparisons[i].not ? UINT32_MAX : 0;
    }
    if (!found) {
        vgd_fail(d, "no comparison that this type has");
        return;
    }
    if ((type == PTX_f32 || type == PTX_f16 || type == PTX_f16x2) && vgd_mod(d, "ftz"))
        h->flags = VGA_FTZ;
    h->bool_op = (uint8_t)(vgd_one_of(d, bools) + 1);
    const uint32_t n = h->bool_op ? 4 : 3;
    if (!vgd_count(d, n, n)) return;
    vga_sources(d, out, 1, 2, type);
    if (h->bool_op) {
        bool negated;
        out->s[2] = vga_pred_source(d, &o[3], &negated);
        h->third_flip = negated ? UINT32_MAX : 0;
    }
    if (set) {
        out->run = ex_set;
        h->one = true_of(to);
        if (h->high) {
            // Packed sources: packed or, for one word, both halves.
            h->one_high = to == PTX_f16x2 || to == PTX_bf16x2 ? h->one << 16 : 0xffff0000u;
            if (to == PTX_u32 || to == PTX_s32 || to == PTX_b32) h->one = 0xffff;
        }
        if (!h->one) vgd_fail(d, "set cannot make this type");
        out->d[0] = vga_result(d, &o[0], to);
        return;
    }
    out->run = ex_setp;
    const bool pair = o[0].kind == PTX_O_PAIR && o[0].nlist == 2;
    const ptx_opnd *const p = pair ? &o[0].list[0] : &o[0];
    out->d[0] = p->kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, p);
    out->d[1] = !pair || o[0].list[1].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0].list[1]);
}
