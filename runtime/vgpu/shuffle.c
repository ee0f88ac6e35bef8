// SPDX-License-Identifier: Apache-2.0
// Exchange between the lanes of a warp. The .sync forms name the lanes that take part; those that
// come along different ways wait for each other (vg_gather).
#include "runtime/vgpu/alu.h"

#define NO_MEMBERS VG_NO_ROW // forms without .sync: whoever executes it

/// Joins the named lanes, tells the sanitizer; *mask: the lanes that take part.
static enum vg_next together(vg_warp *w, const vg_inst *in, vg_row members, uint32_t *mask) {
    if (members == NO_MEMBERS) return VG_NEXT;
    const uint32_t member = VG_ROW32(w, members)[__builtin_ctz(*mask)];
    const enum vg_next n = vg_gather(w, in, mask, member);
    if (n == VG_NEXT && w->run->gpu->options.sanitize) vg_san_warp_sync(w, *mask & member);
    return n;
}

// ---- shfl ---------------------------------------------------------------------------------------

enum { UP, DOWN, BFLY, IDX };

/// Whom each lane reads, itself if that is out of range; bits of the lanes where it is not.
VGA_FAST static uint32_t partners(unsigned mode, const uint32_t *b, const uint32_t *c, uint32_t from[32]) {
    uint32_t p = 0;
#define PARTNERS(expr, within)                                                                     \
    for (int32_t l = 0; l < 32; l++) {                                                             \
        const int32_t by = (int32_t)(b[l] & 31), segment = (int32_t)(c[l] >> 8 & 31);              \
        const int32_t lo = l & segment, hi = lo | ((int32_t)(c[l] & 31) & ~segment);               \
        const int32_t j = (expr);                                                                  \
        const bool ok = j within hi;                                                               \
        from[l] = (uint32_t)(ok ? j & 31 : l);                                                     \
        p |= ok ? vga_bit[l] : 0;                                                                  \
        (void)by, (void)lo;                                                                        \
    }                                                                                              \
    break
    switch (mode) {
    case UP:
        PARTNERS(l - by, >=);
    case DOWN:
        PARTNERS(l + by, <=);
    case BFLY:
        PARTNERS(l ^ by, <=);
    default:
        PARTNERS(lo | (by & ~segment), <=);
    }
    return p;
}

VGA_FAST static enum vg_next ex_shfl(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    uint32_t a[32], from[32];
    const uint32_t p = partners(in->sub, VG_ROW32(w, in->s[1]), VG_ROW32(w, in->s[2]), from);
    memcpy(a, VG_ROW32(w, in->s[0]), sizeof a);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, a[from[l]]);
    vga_set_pred(w, in->d[1], mask, p);
    return VG_NEXT;
}

void vgd_shfl(vg_decoder *d, vg_inst *out) {
    static const char *const modes[] = {"up", "down", "bfly", "idx", NULL};
    const bool sync = vgd_mod(d, "sync");
    const int mode = vgd_one_of(d, modes), type = vgd_type(d, 0);
    const uint32_t n = sync ? 5 : 4;
    if (!vgd_count(d, n, n)) return;
    const ptx_opnd *const o = d->in->opnd;
    if (mode < 0 || ptx_types[type].bits != 32) {
        vgd_fail(d, "shfl wants up, down, bfly or idx, and a 32-bit type");
        return;
    }
    out->cls = VG_C_warp;
    out->sub = (uint8_t)mode;
    out->run = ex_shfl;
    for (uint32_t i = 0; i < 3; i++) out->s[i] = vgd_source(d, &o[1 + i], i ? PTX_u32 : type);
    out->s[3] = sync ? vgd_source(d, &o[4], PTX_u32) : NO_MEMBERS;
    const bool pair = o[0].kind == PTX_O_PAIR && o[0].nlist == 2;
    out->d[0] = vga_result(d, pair ? &o[0].list[0] : &o[0], type);
    out->d[1] = !pair || o[0].list[1].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0].list[1]);
}

// ---- vote, match, redux, elect
// --------------------------------------------------------------------

static uint32_t member_of(const vg_warp *w, const vg_inst *in, uint32_t mask) {
    if (in->s[3] == NO_MEMBERS) return mask;
    return mask & VG_ROW32(w, in->s[3])[__builtin_ctz(mask)];
}

enum { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT };

static enum vg_next ex_vote(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    const uint32_t who = member_of(w, in, mask);
    const uint32_t p = (VG_PRED(w, in->s[0]) ^ (in->sub2 ? UINT32_MAX : 0)) & who;
    if (in->sub == VOTE_BALLOT) {
        uint32_t *const d = VG_ROW32(w, in->d[0]);
        VGA_EACH(d, mask, uint32_t, p);
        return VG_NEXT;
    }
    const bool r = in->sub == VOTE_ALL   ? p == who
                   : in->sub == VOTE_ANY ? p != 0
                                         : p == 0 || p == who;
    vga_set_pred(w, in->d[0], mask, r ? UINT32_MAX : 0);
    return VG_NEXT;
}

static enum vg_next ex_match(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    const uint32_t who = member_of(w, in, mask);
    uint64_t v[32];
    for (int l = 0; l < 32; l++)
        v[l] = in->sub2 ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l];
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    uint32_t equal[32];
    bool all = true;
    for (int l = 0; l < 32; l++) {
        uint32_t m = 0;
        for (int j = 0; j < 32; j++) m |= v[j] == v[l] ? vga_bit[j] : 0;
        equal[l] = m & who;
        if ((who & vga_bit[l]) && equal[l] != who) all = false;
    }
    if (in->sub) { // all
        VGA_EACH(d, mask, uint32_t, all ? who : 0);
        vga_set_pred(w, in->d[1], mask, all ? UINT32_MAX : 0);
    } else {
        VGA_EACH(d, mask, uint32_t, equal[l]);
    }
    return VG_NEXT;
}

enum { RED_ADD, RED_MIN, RED_MAX, RED_AND, RED_OR, RED_XOR };

static enum vg_next ex_redux(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    const uint32_t who = member_of(w, in, mask);
    const uint32_t *const a = VG_ROW32(w, in->s[0]);
    uint32_t r = 0;
    bool first = true;
    for (int l = 0; l < 32; l++) {
        if (!(who & vga_bit[l])) continue;
        const uint32_t x = a[l];
        const bool less = in->sub2 ? (int32_t)x < (int32_t)r : x < r;
        if (first)
            r = x;
        else
            switch (in->sub) {
            case RED_ADD:
                r += x;
                break;
            case RED_MIN:
                r = less ? x : r;
                break;
            case RED_MAX:
                r = less ? r : x;
                break;
            case RED_AND:
                r &= x;
                break;
            case RED_OR:
                r |= x;
                break;
            default:
                r ^= x;
                break;
            }
        first = false;
    }
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, r);
    return VG_NEXT;
}

/// redux of f32: sub RED_MIN or RED_MAX, sub2: .abs, sub3: .NaN.
static enum vg_next ex_redux_f32(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    const uint32_t who = member_of(w, in, mask);
    const uint32_t *const a = VG_ROW32(w, in->s[0]);
    float r = NAN;
    bool nan = false;
    for (int l = 0; l < 32; l++) {
        if (!(who & vga_bit[l])) continue;
        const float x = vga_f(in->sub2 ? a[l] & 0x7fffffffu : a[l]);
        if (isnan(x))
            nan = true;
        else if (isnan(r))
            r = x;
        else {
            const bool below = x < r || (x == r && signbit(x));
            if (below == (in->sub == RED_MIN)) r = x;
        }
    }
    const uint32_t code = isnan(r) || (nan && in->sub3) ? VGA_NAN32 : vga_u(r);
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, code);
    return VG_NEXT;
}

static enum vg_next ex_activemask(vg_warp *w, const vg_inst *in, uint32_t mask) {
    uint32_t *const d = VG_ROW32(w, in->d[0]);
    VGA_EACH(d, mask, uint32_t, mask);
    return VG_NEXT;
}

static enum vg_next ex_elect(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const enum vg_next n = together(w, in, in->s[3], &mask);
    if (n != VG_NEXT) return n;
    const uint32_t who = member_of(w, in, mask);
    const uint32_t leader = who ? (uint32_t)__builtin_ctz(who) : 0;
    if (in->d[0] != VG_NO_ROW) {
        uint32_t *const d = VG_ROW32(w, in->d[0]);
        VGA_EACH(d, mask, uint32_t, leader);
    }
    vga_set_pred(w, in->d[1], mask, 1u << leader);
    return VG_NEXT;
}

static void decode_vote(vg_decoder *d, vg_inst *out) {
    static const char *const modes[] = {"all", "any", "uni", "ballot", NULL};
    const bool sync = vgd_mod(d, "sync");
    const int mode = vgd_one_of(d, modes), type = vgd_type(d, 0);
    const uint32_t n = sync ? 3 : 2;
    if (!vgd_count(d, n, n)) return;
    if (mode < 0 || type != (mode == VOTE_BALLOT ? PTX_b32 : PTX_pred)) {
        vgd_fail(d, "vote wants all, any or uni of .pred, or ballot of .b32");
        return;
    }
    const ptx_opnd *const o = d->in->opnd;
    bool negated;
    out->sub = (uint8_t)mode;
    out->run = ex_vote;
    out->s[0] = vga_pred_source(d, &o[1], &negated);
    out->sub2 = negated;
    out->s[3] = sync ? vgd_source(d, &o[2], PTX_u32) : NO_MEMBERS;
    out->d[0] = mode == VOTE_BALLOT       ? vga_result(d, &o[0], type)
                : o[0].kind == PTX_O_SINK ? VG_NO_ROW
                                          : vgd_pred(d, &o[0]);
}

/// match.any, match.all, redux: a value, and the lanes that take part.
static void decode_values(vg_decoder *d, vg_inst *out) {
    static const char *const matches[] = {"any", "all", NULL};
    static const char *const reductions[] = {"add", "min", "max", "and", "or", "xor", NULL};
    const bool match = vga_is(d, "match");
    const int how = vgd_one_of(d, match ? matches : reductions), type = vgd_type(d, 0);
    if (!vgd_mod(d, "sync") || how < 0) {
        vgd_fail(d, "%s wants sync and an operation", d->in->op);
        return;
    }
    if (!vgd_count(d, 3, 3)) return;
    const ptx_opnd *const o = d->in->opnd;
    const bool pair = match && how == 1 && o[0].kind == PTX_O_PAIR && o[0].nlist == 2;
    out->sub = (uint8_t)how;
    if (match) {
        if (type != PTX_b32 && type != PTX_b64) vgd_fail(d, "match wants .b32 or .b64");
        out->sub2 = type == PTX_b64;
        out->run = ex_match;
    } else if (type == PTX_f32 && (how == RED_MIN || how == RED_MAX)) {
        out->sub2 = vgd_mod(d, "abs");
        out->sub3 = vgd_mod(d, "NaN");
        out->run = ex_redux_f32;
    } else {
        const bool bits = type == PTX_b32;
        if (bits != (how >= RED_AND) || (!bits && type != PTX_u32 && type != PTX_s32))
            vgd_fail(d, "redux has no form for this type");
        out->sub2 = type == PTX_s32;
        out->run = ex_redux;
    }
    out->s[0] = vgd_source(d, &o[1], type);
    out->s[3] = vgd_source(d, &o[2], PTX_u32);
    out->d[0] = vga_result(d, pair ? &o[0].list[0] : &o[0], match ? PTX_b32 : type);
    out->d[1] = pair && o[0].list[1].kind != PTX_O_SINK ? vgd_pred(d, &o[0].list[1]) : VG_NO_ROW;
}

void vgd_vote(vg_decoder *d, vg_inst *out) {
    const ptx_opnd *const o = d->in->opnd;
    out->cls = VG_C_warp;
    if (vga_is(d, "vote")) {
        decode_vote(d, out);
    } else if (vga_is(d, "activemask")) {
        vgd_type(d, 0);
        if (!vgd_count(d, 1, 1)) return;
        out->run = ex_activemask;
        out->d[0] = vga_result(d, &o[0], PTX_b32);
    } else if (vga_is(d, "elect")) {
        vgd_mod(d, "sync");
        if (!vgd_count(d, 2, 2)) return;
        if (o[0].kind != PTX_O_PAIR || o[0].nlist != 2) {
            vgd_fail(d, "elect wants d|p");
            return;
        }
        out->run = ex_elect;
        out->s[3] = vgd_source(d, &o[1], PTX_u32);
        out->d[0] = vgd_result(d, &o[0].list[0], PTX_b32);
        out->d[1] = o[0].list[1].kind == PTX_O_SINK ? VG_NO_ROW : vgd_pred(d, &o[0].list[1]);
    } else {
        decode_values(d, out);
    }
}
