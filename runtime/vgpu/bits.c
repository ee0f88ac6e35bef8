// SPDX-License-Identifier: Apache-2.0
// Bit fields, permutations, counts, and the dot products of bytes and halves.
#include "runtime/vgpu/alu.h"

// ---- funnel shifts and permutations
// ---------------------------------------------------------------

static VGA_INLINE uint64_t pair64(uint32_t lo, uint32_t hi) {
    return lo | (uint64_t)hi << 32;
}
static VGA_INLINE uint32_t least32(uint32_t x) {
    return x > 32 ? 32 : x;
}
VGA_EXEC32(shf_l_clamp, (pair64(a[l], b[l]) << least32(c[l])) >> 32)
VGA_EXEC32(shf_l_wrap, (pair64(a[l], b[l]) << (c[l] & 31)) >> 32)
VGA_EXEC32(shf_r_clamp, pair64(a[l], b[l]) >> least32(c[l]))
VGA_EXEC32(shf_r_wrap, pair64(a[l], b[l]) >> (c[l] & 31))

static VGA_INLINE uint32_t byte_of(uint64_t v, uint32_t i) {
    return (uint32_t)(v >> (8 * (i & 7))) & 0xff;
}
/// Byte that a selector's nibble picks; its top bit asks for the sign of the byte eight times.
static VGA_INLINE uint32_t picked(uint64_t v, uint32_t nibble) {
    const uint32_t x = byte_of(v, nibble);
    return nibble & 8 ? (x & 0x80 ? 0xff : 0) : x;
}
static VGA_INLINE uint32_t permute(uint32_t a, uint32_t b, uint32_t c) {
    const uint64_t v = pair64(a, b);
    return picked(v, c & 15) | picked(v, c >> 4 & 15) << 8 | picked(v, c >> 8 & 15) << 16 |
           picked(v, c >> 12 & 15) << 24;
}
#define FOUR(v, i0, i1, i2, i3)                                                                    \
    (byte_of(v, i0) | byte_of(v, i1) << 8 | byte_of(v, i2) << 16 | byte_of(v, i3) << 24)
static VGA_INLINE uint32_t larger(uint32_t x, uint32_t y) {
    return x > y ? x : y;
}
static VGA_INLINE uint32_t smaller(uint32_t x, uint32_t y) {
    return x < y ? x : y;
}
static VGA_INLINE uint32_t permute_mode(uint32_t a, uint32_t b, uint32_t c, unsigned mode) {
    const uint64_t v = pair64(a, b);
    const uint32_t n = c & 3;
    switch (mode) {
    case 0:
        return FOUR(v, n, n + 1, n + 2, n + 3); // f4e
    case 1:
        return FOUR(v, n, n - 1, n - 2, n - 3); // b4e
    case 2:
        return FOUR(v, n, n, n, n); // rc8
    case 3:
        return FOUR(v, n, larger(1, n), larger(2, n), 3); // ecl
    case 4:
        return FOUR(v, 0, smaller(1, n), smaller(2, n), n); // ecr
    default:
        return FOUR(v, (n & 1) * 2, (n & 1) * 2 + 1, (n & 1) * 2, (n & 1) * 2 + 1); // rc16
    }
}
VGA_EXEC32(prmt, permute(a[l], b[l], c[l]))
VGA_EXEC32(prmt_mode, permute_mode(a[l], b[l], c[l], sub))

// ---- fields -------------------------------------------------------------------------------------

/// Field of `len` bits at `pos`; above the word there are copies of the sign (0 if unsigned).
static VGA_INLINE uint32_t extract(uint32_t x, bool is_signed, uint32_t pos, uint32_t len) {
    pos &= 0xff, len &= 0xff;
    const uint32_t top = smaller(pos + len - 1, 31);
    const uint32_t sign = is_signed && (x >> top & 1) ? UINT32_MAX : 0;
    const uint32_t field = len >= 32 ? UINT32_MAX : (1u << (len & 31)) - 1;
    const uint32_t take = pos >= 32 ? 0 : field & (UINT32_MAX >> (pos & 31));
    const uint32_t r = ((x >> (pos & 31)) & take) | (sign & ~take);
    return len == 0 ? 0 : r;
}
static VGA_INLINE uint64_t insert(uint64_t x, uint64_t base, uint32_t pos, uint32_t len) {
    pos &= 0xff, len &= 0xff;
    if (pos >= 32) return base;
    const uint64_t m = (len >= 64 ? UINT64_MAX : ((uint64_t)1 << len) - 1) << pos;
    return (base & ~m) | ((x << pos) & m);
}

// Fields of 64 bits are made of shifts: all of `pos` and `len` counts, and shifts by 64 or more leave
// nothing. A sign is the bit that a shift by len - 1 leaves.
static VGA_INLINE uint64_t left(uint64_t x, uint32_t by) {
    return by > 63 ? 0 : x << (by & 63);
}
static VGA_INLINE uint64_t right(uint64_t x, uint32_t by) {
    return by > 63 ? 0 : x >> (by & 63);
}
static VGA_INLINE uint64_t extract_u64(uint64_t x, uint32_t pos, uint32_t len) {
    return right(x, pos) & (left(1, len) - 1);
}
static VGA_INLINE uint64_t extract_s64(uint64_t x, uint32_t pos, uint32_t len) {
    const uint64_t m = left(1, len) - 1;
    const uint64_t field = (uint64_t)((int64_t)x >> (pos > 63 ? 63 : pos)) & m;
    return right(field, len - 1) ? field | ~m : field;
}
static VGA_INLINE uint64_t insert_64(uint64_t x, uint64_t base, uint32_t pos, uint32_t len) {
    const uint64_t m = left(1, len) - 1;
    return left(x & m, pos) | (base & ~left(m, pos));
}
VGA_EXEC32(bfe_u32, extract(a[l], false, b[l], c[l]))
VGA_EXEC32(bfe_s32, extract(a[l], true, b[l], c[l]))
#define ROW_B VG_ROW32(w, in->s[1])[l]
#define ROW_C VG_ROW32(w, in->s[2])[l]
#define ROW_D VG_ROW32(w, in->s[3])[l]
VGA_EXEC64(bfe_u64, extract_u64(a[l], ROW_B, ROW_C))
VGA_EXEC64(bfe_s64, extract_s64(a[l], ROW_B, ROW_C))
VGA_EXEC32(bfi_32, insert(a[l], b[l], c[l], ROW_D))
VGA_EXEC64(bfi_64, insert_64(a[l], b[l], ROW_C, ROW_D))

static VGA_INLINE uint32_t bit_mask(uint32_t a, uint32_t b, bool clamp) {
    const uint32_t pos = a & 31, sum = pos + (b & 31);
    const uint32_t from = clamp && a >= 32 ? 0 : UINT32_MAX << pos;
    const uint32_t to = sum >= 32 || (clamp && (a >= 32 || b >= 32)) ? 0 : UINT32_MAX << (sum & 31);
    return from & ~to;
}
VGA_EXEC32(bmsk_clamp, bit_mask(a[l], b[l], true))
VGA_EXEC32(bmsk_wrap, bit_mask(a[l], b[l], false))

static VGA_INLINE uint32_t extend(uint32_t a, uint32_t b, bool clamp, bool is_signed) {
    const uint32_t n = b & 31;
    const bool all = clamp && b >= 32;
    const uint32_t m = all ? 0 : UINT32_MAX << n;
    const bool sign = is_signed && !all && n && (a >> ((n - 1) & 31) & 1);
    return sign ? a | m : a & ~m;
}
VGA_EXEC32(szext, extend(a[l], b[l], sub, sub2))

// ---- counts -------------------------------------------------------------------------------------

#define FROM64(name, expr) VGA_EXEC(name, uint32_t, VG_ROW32, uint64_t, VG_ROW64, expr)
static VGA_INLINE uint32_t leading(uint64_t x, unsigned bits) {
    return x ? (uint32_t)__builtin_clzll(x) - (64 - bits) : bits;
}
static VGA_INLINE uint64_t reversed(uint64_t x) {
    x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
    x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(x);
}
/// Highest bit that differs from the sign, or how far to shift it to the top; none: all ones.
static VGA_INLINE uint32_t find(uint64_t x, unsigned bits, bool is_signed, bool amount) {
    const uint64_t all = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
    if (is_signed && (x >> (bits - 1) & 1)) x = ~x & all;
    const uint32_t z = leading(x, bits);
    return x == 0 ? UINT32_MAX : amount ? z : bits - 1 - z;
}
VGA_EXEC32(popc_32, (uint32_t)__builtin_popcount(a[l]))
FROM64(popc_64, (uint32_t)__builtin_popcountll(a[l]))
VGA_EXEC32(clz_32, leading(a[l], 32))
FROM64(clz_64, leading(a[l], 64))
VGA_EXEC32(brev_32, reversed(a[l]) >> 32)
VGA_EXEC64(brev_64, reversed(a[l]))
VGA_EXEC32(bfind_32, find(a[l], 32, sub, sub2))
FROM64(bfind_64, find(a[l], 64, sub, sub2))

/// The |offset|-th set bit from base upwards or downwards.
static VGA_INLINE uint32_t nth_set(uint32_t m, uint32_t base, int32_t offset) {
    if (base > 31) return UINT32_MAX;
    if (offset == 0) return m >> base & 1 ? base : UINT32_MAX;
    uint32_t count = offset < 0 ? 0u - (uint32_t)offset : (uint32_t)offset;
    for (int32_t i = (int32_t)base; i >= 0 && i<32; i += offset> 0 ? 1 : -1)
        if ((m >> i & 1) && --count == 0) return (uint32_t)i;
    return UINT32_MAX;
}
VGA_EXEC32(fns_32, nth_set(a[l], b[l], (int32_t)c[l]))

// ---- dot products -------------------------------------------------------------------------------
// sub: a is signed, sub2: b is signed, sub3: upper half of b.

static VGA_INLINE uint32_t at8(uint32_t x, unsigned i, unsigned is_signed) {
    const uint32_t v = x >> (8 * i) & 0xff;
    return is_signed ? (uint32_t)(int32_t)(int8_t)v : v;
}
static VGA_INLINE uint32_t at16(uint32_t x, unsigned i, unsigned is_signed) {
    const uint32_t v = x >> (16 * i) & 0xffff;
    return is_signed ? (uint32_t)(int32_t)(int16_t)v : v;
}
#define BYTES(i) (at8(a[l], i, sub) * at8(b[l], i, sub2))
VGA_EXEC32(dp4a, c[l] + BYTES(0) + BYTES(1) + BYTES(2) + BYTES(3))
#define MIXED(i) (at16(a[l], i, sub) * at8(b[l], (i) + 2 * sub3, sub2))
VGA_EXEC32(dp2a, c[l] + MIXED(0) + MIXED(1))

// ---- decoding -----------------------------------------------------------------------------------

/// Kinds of the operands of a row: t as the instruction's type, w a 32-bit word.
static const struct {
    const char *op;
    uint8_t type;
    const char *operands; // result, then sources
    vg_exec *run;
} ops[] = {
    {"bfe", PTX_u32, "ttww", bfe_u32},    {"bfe", PTX_s32, "ttww", bfe_s32},
    {"bfe", PTX_u64, "ttww", bfe_u64},    {"bfe", PTX_s64, "ttww", bfe_s64},
    {"bfi", PTX_b32, "tttww", bfi_32},    {"bfi", PTX_b64, "tttww", bfi_64},
    {"bmsk", PTX_b32, "tww", bmsk_clamp}, {"szext", PTX_u32, "ttw", szext},
    {"szext", PTX_s32, "ttw", szext},     {"popc", PTX_b32, "wt", popc_32},
    {"popc", PTX_b64, "wt", popc_64},     {"clz", PTX_b32, "wt", clz_32},
    {"clz", PTX_b64, "wt", clz_64},       {"brev", PTX_b32, "tt", brev_32},
    {"brev", PTX_b64, "tt", brev_64},     {"bfind", PTX_u32, "wt", bfind_32},
    {"bfind", PTX_s32, "wt", bfind_32},   {"bfind", PTX_u64, "wt", bfind_64},
    {"bfind", PTX_s64, "wt", bfind_64},   {"fns", PTX_b32, "twww", fns_32},
    {"shf", PTX_b32, "tttw", NULL},       {"prmt", PTX_b32, "tttw", prmt},
    {"dp4a", PTX_u32, "wwww", dp4a},      {"dp4a", PTX_s32, "wwww", dp4a},
    {"dp2a", PTX_u32, "wwww", dp2a},      {"dp2a", PTX_s32, "wwww", dp2a},
};

static void variant(vg_decoder *d, vg_inst *out, int type) {
    static const char *const clamps[] = {"clamp", "wrap", NULL}, *const sides[] = {"l", "r", NULL};
    static const char *const modes[] = {"f4e", "b4e", "rc8", "ecl", "ecr", "rc16", NULL};
    static const char *const halves[] = {"lo", "hi", NULL};
    static vg_exec *const shf[2][2] = {{shf_l_clamp, shf_l_wrap}, {shf_r_clamp, shf_r_wrap}};
    const char *const op = d->in->op;
    const bool is_signed = ptx_types[type].kind == PTX_K_INT;
    if (!strcmp(op, "prmt")) {
        const int m = vgd_one_of(d, modes);
        if (m >= 0) out->run = prmt_mode, out->sub = (uint8_t)m;
    } else if (!strcmp(op, "shf")) {
        const int side = vgd_one_of(d, sides), how = vgd_one_of(d, clamps);
        if (side < 0 || how < 0)
            vgd_fail(d, "shf wants l or r, and clamp or wrap");
        else
            out->run = shf[side][how];
    } else if (!strcmp(op, "bmsk") || !strcmp(op, "szext")) {
        const int how = vgd_one_of(d, clamps);
        if (how < 0) vgd_fail(d, "%s wants clamp or wrap", op);
        if (op[0] == 'b' && how == 1) out->run = bmsk_wrap;
        out->sub = how == 0;
        out->sub2 = is_signed;
    } else if (!strcmp(op, "bfind")) {
        out->sub = is_signed;
        out->sub2 = vgd_mod(d, "shiftamt");
    } else if (op[0] == 'd') {
        const int second = vgd_type(d, 1);
        out->sub = is_signed;
        out->sub2 = ptx_types[second].kind == PTX_K_INT;
        if (second != PTX_u32 && second != PTX_s32) vgd_fail(d, "%s wants two types", op);
        if (op[2] == '2') {
            const int half = vgd_one_of(d, halves);
            if (half < 0) vgd_fail(d, "dp2a wants lo or hi");
            out->sub3 = half == 1;
        }
    }
}

void vgd_bits(vg_decoder *d, vg_inst *out) {
    const int type = vgd_type(d, 0);
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (ops[i].type != type || strcmp(ops[i].op, d->in->op)) continue;
        const char *const kinds = ops[i].operands;
        const uint32_t n = (uint32_t)strlen(kinds);
        if (!vgd_count(d, n, n)) return;
        out->cls = VG_C_int;
        out->run = ops[i].run;
        variant(d, out, type);
        if (d->failed) return;
        for (uint32_t k = 1; k < 5; k++)
            out->s[k - 1] = k < n ? vgd_source(d, &d->in->opnd[k], kinds[k] == 't' ? type : PTX_u32)
                                  : out->s[0];
        out->d[0] = vga_result(d, &d->in->opnd[0], kinds[0] == 't' ? type : PTX_u32);
        return;
    }
    vgd_fail(d, "%s has no form for this type", d->in->op);
}
