// SPDX-License-Identifier: Apache-2.0
// Arithmetic of the virtual GPU: every micro-kernel of the calibration with full and partial masks,
// and most of them against plain C: integers of 128 bits, and floats rounded once from exact sums.
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/vgpu/micro.h"

__extension__ typedef unsigned __int128 u128;
__extension__ typedef __int128 s128;

// ---- floats by integers
// ---------------------------------------------------------------------------

typedef struct {
    unsigned bits, m;
    int bias;
    uint64_t nan;
} format;
static const format F16 = {16, 10, 15, 0x7fff}, BF16 = {16, 7, 127, 0x7fff},
                    F32 = {32, 23, 127, 0x7fffffff}, F64 = {64, 52, 1023, 0x7ff8000000000000};

/// (-1)^neg * sig * 2^exp, a little more if `sticky`.
typedef struct {
    enum { ZERO, FINITE, INF, NOT } kind;
    bool neg, sticky;
    u128 sig;
    int exp;
} real;

static real take(const format *f, uint64_t u, bool ftz) {
    const uint64_t frac = u & (((uint64_t)1 << f->m) - 1),
                   all = ((uint64_t)1 << (f->bits - 1 - f->m)) - 1;
    const uint64_t ex = u >> f->m & all;
    real r = {FINITE, u >> (f->bits - 1) & 1, false, frac,
              (int)(ex ? ex : 1) - f->bias - (int)f->m};
    if (ex == all)
        r.kind = frac ? NOT : INF;
    else if (ex)
        r.sig |= (uint64_t)1 << f->m;
    if (r.kind == FINITE && (!r.sig || (ftz && !ex))) r.kind = ZERO;
    return r;
}

static int top_of(u128 x) {
    const uint64_t hi = (uint64_t)(x >> 64), lo = (uint64_t)x;
    return hi ? 127 - __builtin_clzll(hi) : lo ? 63 - __builtin_clzll(lo) : -1;
}

enum { TO_NEAREST, TO_ZERO, TO_DOWN, TO_UP, TO_AWAY };
enum { FTZ = 1, SAT = 2, RELU = 4 };

static bool up(int mode, bool neg, bool odd, bool any, int half) {
    return mode == TO_NEAREST ? half > 0 || (half == 0 && odd)
           : mode == TO_AWAY  ? half >= 0
           : mode == TO_ZERO  ? false
                              : any && neg == (mode == TO_DOWN);
}

/// The whole number next to x by `mode`; sticky is part of the fraction.
static u128 to_grid(real x, int grid, int mode) {
    const int shift = grid - x.exp;
    if (shift <= 0) return x.sig << -shift;
    const u128 q = shift > 127 ? 0 : x.sig >> shift,
               rest = shift > 127 ? x.sig : x.sig & (((u128)1 << shift) - 1);
    const u128 half = shift > 127 ? 0 : (u128)1 << (shift - 1);
    const int cmp = shift > 127                                 ? -1
                    : rest > half || (rest == half && x.sticky) ? 1
                    : rest == half                              ? 0
                                                                : -1;
    return q + up(mode, x.neg, q & 1, rest || x.sticky, cmp);
}

static uint64_t give(const format *f, real x, int mode, unsigned flags) {
    const uint64_t sign = (uint64_t)1 << (f->bits - 1),
                   inf = (((uint64_t)1 << (f->bits - 1 - f->m)) - 1) << f->m;
    const uint64_t one = (uint64_t)f->bias << f->m;
    uint64_t mag;
    if (x.kind == NOT) return flags & SAT ? 0 : f->nan;
    if (x.kind == INF)
        mag = inf;
    else if (x.kind == ZERO)
        mag = 0;
    else {
        const int e = top_of(x.sig) + x.exp, least = 1 - f->bias;
        const int grid = (e > least ? e : least) - (int)f->m;
        const u128 n = to_grid(x, grid, mode);
        const uint64_t biased = (uint64_t)(grid + (int)f->m + f->bias - 1);
        const bool over = grid + (int)f->m > f->bias || (biased << f->m) + (uint64_t)n >= inf;
        const bool inward = mode == TO_ZERO || mode == (x.neg ? TO_UP : TO_DOWN);
        mag = over ? (inward ? inf - 1 : inf) : (biased << f->m) + (uint64_t)n;
        if ((flags & FTZ) && mag < (uint64_t)1 << f->m) mag = 0;
    }
    if (flags & SAT) return x.neg ? 0 : mag > one ? one : mag;
    if ((flags & RELU) && x.neg) return 0;
    return mag | (x.neg ? sign : 0);
}

static real negated(real x) {
    x.neg = !x.neg;
    return x;
}
static real normal(real x, int top) {
    const int by = top - top_of(x.sig);
    if (by > 0) x.sig <<= by;
    x.exp -= by > 0 ? by : 0;
    return x;
}
static real sum(real x, real y, int mode) {
    const real not = {.kind = NOT};
    if (x.kind == NOT || y.kind == NOT || (x.kind == INF && y.kind == INF && x.neg != y.neg))
        return not ;
    if (x.kind == INF || y.kind == INF) return x.kind == INF ? x : y;
    if (x.kind == ZERO && y.kind == ZERO) {
        x.neg = x.neg == y.neg ? x.neg : mode == TO_DOWN;
        return x;
    }
    if (x.kind == ZERO || y.kind == ZERO) return x.kind == ZERO ? y : x;
    x = normal(x, 124), y = normal(y, 124);
    if (y.exp > x.exp || (y.exp == x.exp && y.sig > x.sig)) {
        const real t = x;
        x = y, y = t;
    }
    const int by = x.exp - y.exp;
    const u128 small = by > 126 ? 0 : y.sig >> by;
    const bool lost = by > 126 || (small << by) != y.sig;
    if (x.neg == y.neg) {
        x.sig += small;
        x.sticky = lost;
    } else {
        x.sig -= small + lost; // a little more than what is lost stays
        x.sticky = lost;
    }
    if (!x.sig && !x.sticky) x.kind = ZERO, x.neg = mode == TO_DOWN;
    return x;
}
static real product(real x, real y) {
    const real not = {.kind = NOT};
    if (x.kind == NOT || y.kind == NOT || (x.kind == INF && y.kind == ZERO) ||
        (x.kind == ZERO && y.kind == INF))
        return not ;
    real r = {FINITE, x.neg != y.neg, false, x.sig * y.sig, x.exp + y.exp};
    if (x.kind == INF || y.kind == INF)
        r.kind = INF;
    else if (x.kind == ZERO || y.kind == ZERO)
        r.kind = ZERO;
    return r;
}
static real quotient(real x, real y) {
    const real not = {.kind = NOT};
    real r = {FINITE, x.neg != y.neg, false, 0, 0};
    if (x.kind == NOT || y.kind == NOT || (x.kind == y.kind && x.kind != FINITE)) return not ;
    if (x.kind == INF || y.kind == ZERO)
        r.kind = INF;
    else if (x.kind == ZERO || y.kind == INF)
        r.kind = ZERO;
    else {
        x = normal(x, 126), y = normal(y, 60);
        r.sig = x.sig / y.sig, r.exp = x.exp - y.exp, r.sticky = x.sig % y.sig != 0;
    }
    return r;
}
static real root(real x) {
    const real not = {.kind = NOT};
    if (x.kind == NOT || (x.neg && x.kind != ZERO)) return not ;
    if (x.kind != FINITE) return x;
    x = normal(x, 124);
    if (x.exp & 1) x.sig <<= 1, x.exp--;
    u128 r = 0;
    for (int b = 63; b >= 0; b--) {
        const u128 t = r | (u128)1 << b;
        if (t * t <= x.sig) r = t;
    }
    return (real){FINITE, false, r * r != x.sig, r, x.exp / 2};
}

// ---- what an instruction should do
// ------------------------------------------------------------------

/// Parts of "cvt.rn.f16.f32 …": op and modifiers.
typedef struct {
    char part[12][16];
    int n;
} words;

static words split(const char *text) {
    words w = {.n = 0};
    while (w.n < 12 && *text && *text != ' ') {
        const size_t len = strcspn(text, ". ");
        snprintf(w.part[w.n++], 16, "%.*s", (int)len, text);
        text += len + (text[len] == '.');
    }
    return w;
}
static bool has(const words *w, const char *name) {
    for (int i = 1; i < w->n; i++)
        if (!strcmp(w->part[i], name)) return true;
    return false;
}
static const format *format_of(const char *t) {
    return !strcmp(t, "f16")    ? &F16
           : !strcmp(t, "bf16") ? &BF16
           : !strcmp(t, "f32")  ? &F32
           : !strcmp(t, "f64")  ? &F64
                                : NULL;
}
/// Bits of an integer type, negative if signed; 0: none.
static int int_type(const char *t) {
    const bool ok = strchr("usb", t[0]) && isdigit((unsigned char)t[1]) && !strchr(t, 'x');
    return ok ? (t[0] == 's' ? -atoi(t + 1) : atoi(t + 1)) : 0;
}
static int mode_of(const words *w) {
    return has(w, "rz") ? TO_ZERO : has(w, "rm") ? TO_DOWN : has(w, "rp") ? TO_UP : TO_NEAREST;
}
static s128 int_of(uint64_t u, int t) {
    const int bits = abs(t);
    if (bits < 64) u &= ((uint64_t)1 << bits) - 1;
    return t < 0 && u >> (bits - 1) ? (s128)u - ((s128)1 << bits) : (s128)u;
}
static uint64_t wrapped(s128 x, int t) {
    return abs(t) == 64 ? (uint64_t)x : (uint64_t)x & (((uint64_t)1 << abs(t)) - 1);
}
static s128 clamped(s128 x, int t) {
    const s128 lo = t < 0 ? -((s128)1 << (-t - 1)) : 0, hi = ((s128)1 << (t < 0 ? -t - 1 : t)) - 1;
    return x < lo ? lo : x > hi ? hi : x;
}

static bool float_op(const words *w, const format *f, const uint64_t *s, uint64_t *d) {
    const bool ftz = has(w, "ftz");
    const unsigned fl = (ftz ? FTZ : 0) | (has(w, "sat") ? SAT : 0) | (has(w, "relu") ? RELU : 0);
    const int mode = mode_of(w);
    const real x = take(f, s[0], ftz), y = take(f, s[1], ftz), z = take(f, s[2], ftz),
               one = {FINITE, false, false, 1, 0};
    const char *const op = w->part[0];
    real r;
    if (has(w, "approx") || has(w, "full")) return false;
    if (!strcmp(op, "add"))
        r = sum(x, y, mode);
    else if (!strcmp(op, "sub"))
        r = sum(x, negated(y), mode);
    else if (!strcmp(op, "mul"))
        r = product(x, y);
    else if (!strcmp(op, "fma"))
        r = sum(product(x, y), z, mode);
    else if (!strcmp(op, "div"))
        r = quotient(x, y);
    else if (!strcmp(op, "rcp"))
        r = quotient(one, x);
    else if (!strcmp(op, "sqrt"))
        r = root(x);
    else
        return false;
    *d = give(f, r, mode, fl);
    return true;
}

static bool int_op(const words *w, int t, const uint64_t *s, uint64_t *d) {
    const char *const op = w->part[0];
    const bool wide = has(w, "wide"), sat = has(w, "sat");
    const s128 x = int_of(s[0], t), y = int_of(s[1], t), z = int_of(s[2], wide ? 2 * t : t);
    const bool high = has(w, "hi"), mul = !strcmp(op, "mul"), mad = !strcmp(op, "mad");
    s128 r;
    if (has(w, "cc")) return false;
    if (!strcmp(op, "add"))
        r = x + y;
    else if (!strcmp(op, "sub"))
        r = x - y;
    else if (mul || mad) {
        const s128 p = t == 64 ? (s128)((u128)x * (u128)y) : x * y;
        r = high ? int_of((uint64_t)((u128)p >> abs(t)), t) : p;
        if (mad) r = high && !sat ? (s128)((u128)r + (u128)z) : (s128)((u128)r + (u128)z);
    } else if (!strcmp(op, "div"))
        r = y == 0 ? -1 : x / y;
    else if (!strcmp(op, "rem"))
        r = y == 0 ? -1 : x % y; // as on GPUs
    else if (!strcmp(op, "min"))
        r = x < y ? x : y;
    else if (!strcmp(op, "max"))
        r = x > y ? x : y;
    else if (!strcmp(op, "abs"))
        r = x < 0 ? -x : x;
    else if (!strcmp(op, "neg"))
        r = -x;
    else if (!strcmp(op, "sad"))
        r = (x > y ? x - y : y - x) + z;
    else if (!strcmp(op, "and"))
        r = x & y;
    else if (!strcmp(op, "or"))
        r = x | y;
    else if (!strcmp(op, "xor"))
        r = x ^ y;
    else if (!strcmp(op, "not"))
        r = ~x;
    else if (!strcmp(op, "cnot"))
        r = x == 0;
    else if (!strcmp(op, "shl"))
        r = (uint32_t)s[1] >= (unsigned)abs(t) ? 0 : (s128)((u128)x << (uint32_t)s[1]);
    else if (!strcmp(op, "shr"))
        r = (uint32_t)s[1] > 100 ? (x < 0 ? -1 : 0) : x >> (uint32_t)s[1];
    else
        return false;
    if (has(w, "relu") && r < 0) r = 0;
    *d = wrapped(sat ? clamped(r, t) : r, wide ? 2 * t : t);
    return true;
}

static bool convert(const words *w, const uint64_t *s, uint64_t *d) {
    const char *const to = w->part[w->n - 2], *const from = w->part[w->n - 1];
    const format *const tf = format_of(to), *const ff = format_of(from);
    const int ti = int_type(to), fi = int_type(from);
    const bool ftz = has(w, "ftz"), sat = has(w, "sat");
    const int integral = has(w, "rni")   ? TO_NEAREST
                         : has(w, "rzi") ? TO_ZERO
                         : has(w, "rmi") ? TO_DOWN
                         : has(w, "rpi") ? TO_UP
                                         : -1;
    if (fi && ti) {
        const s128 x = int_of(s[0], fi);
        *d = wrapped(sat ? clamped(x, ti) : x, ti);
    } else if (fi && tf) {
        const s128 x = int_of(s[0], fi);
        *d = give(tf, (real){x ? FINITE : ZERO, x < 0, false, (u128)(x < 0 ? -x : x), 0},
                  mode_of(w), 0);
    } else if (ff && ti) {
        const real x = take(ff, s[0], ftz);
        if (x.kind == NOT)
            *d = ff == &F64 || abs(ti) == 64 ? (uint64_t)1 << (abs(ti) - 1) : 0;
        else {
            const s128 most = (s128)1 << 100;
            const bool far = x.kind == INF || (x.kind == FINITE && top_of(x.sig) + x.exp > 90);
            const s128 n = x.kind == ZERO ? 0 : far ? most : (s128)to_grid(x, 0, integral);
            *d = wrapped(clamped(x.neg ? -n : n, ti), ti);
        }
    } else if (ff && tf) {
        real x = take(ff, s[0], ftz);
        if (x.kind == NOT && tf == &F64) return false;
        // NaNs keep the top of their payload: f64's become quiet, bf16's are shifted.
        if (x.kind == NOT && ((ff == &F64 && !sat) || (ff == &BF16 && tf == &F32))) {
            const uint64_t frac = s[0] << (64 - ff->m) >> (64 - tf->m);
            const uint64_t all = ((uint64_t)1 << (tf->bits - 1 - tf->m)) - 1;
            *d = (s[0] >> (ff->bits - 1) & 1) << (tf->bits - 1) | all << tf->m | frac |
                 (ff == &F64 ? (uint64_t)1 << (tf->m - 1) : 0);
            return true;
        }
        if (integral >= 0 && x.kind == FINITE && x.exp < 0) {
            x.sig = to_grid(x, 0, integral);
            x.exp = 0;
            if (!x.sig) x.kind = ZERO;
        }
        *d = give(tf, x, mode_of(w),
                  (ftz && tf == &F32 ? FTZ : 0) | (sat ? SAT : 0) | (has(w, "relu") ? RELU : 0));
    } else {
        return false;
    }
    // Eight-bit results fill their register with the sign.
    if (ti == -8) *d = ((*d ^ 0x80) - 0x80) & 0xffffffff;
    return true;
}

/// Pairs: each half by itself; conversions to pairs: the first source is the upper.
static bool paired(const words *w, const uint64_t *s, uint64_t *d) {
    words one = *w;
    char *const t = one.part[one.n - 1];
    if (!strcmp(w->part[0], "cvt") && !strcmp(t, "f32") && strchr(one.part[one.n - 2], 'x')) {
        *strchr(one.part[one.n - 2], 'x') = 0;
        if (!format_of(one.part[one.n - 2])) return false;
        uint64_t hi, lo;
        if (!convert(&one, &s[0], &hi) || !convert(&one, &s[1], &lo)) return false;
        *d = hi << 16 | lo;
        return true;
    }
    if (!strchr(t, 'x') || strcmp(strchr(t, 'x'), "x2") != 0) return false;
    *strchr(t, 'x') = 0;
    uint64_t r[2], h[3];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++) h[k] = s[k] >> (16 * i) & 0xffff;
        const bool ok = format_of(t) ? float_op(&one, format_of(t), h, &r[i])
                                     : int_type(t) && int_op(&one, int_type(t), h, &r[i]);
        if (!ok) return false;
    }
    *d = r[0] | r[1] << 16;
    return true;
}

static bool bit_op(const char *text, const words *w, const uint64_t *s, uint64_t *d) {
    const char *const op = w->part[0];
    const int t = int_type(w->part[w->n - 1]);
    const unsigned bits = (unsigned)abs(t);
    const uint64_t x = s[0];
    uint64_t r = 0;
    if (!strcmp(op, "lop3")) {
        const unsigned lut = (unsigned)strtoul(strrchr(text, ',') + 1, NULL, 0);
        for (int i = 0; i < 32; i++)
            r |=
                (uint64_t)(lut >> ((s[0] >> i & 1) * 4 + (s[1] >> i & 1) * 2 + (s[2] >> i & 1)) & 1)
                << i;
    } else if (!strcmp(op, "bfe")) {
        // Of 64 bits, all of the position and the length counts, and no sign is longer than that.
        const uint64_t low = bits == 64 ? 0xffffffff : 0xff, pos = s[1] & low, len = s[2] & low;
        const uint64_t msb = bits - 1, at = pos + len - 1 < msb ? pos + len - 1 : msb;
        const uint64_t sign = t > 0 || len == 0 ? 0 : x >> at & 1;
        for (unsigned i = 0; i <= msb; i++)
            r |= (i < len && pos + i <= msb ? x >> (pos + i) & 1 : sign) << i;
    } else if (!strcmp(op, "bfi")) {
        const uint64_t low = bits == 64 ? 0xffffffff : 0xff, pos = s[2] & low, len = s[3] & low;
        r = s[1];
        for (unsigned i = 0; i < len && pos + i < bits; i++)
            r = (r & ~((uint64_t)1 << (pos + i))) | (x >> i & 1) << (pos + i);
        if (bits == 32) r &= 0xffffffff;
    } else if (!strcmp(op, "popc")) {
        for (unsigned i = 0; i < bits; i++) r += x >> i & 1;
    } else if (!strcmp(op, "clz")) {
        for (unsigned i = bits; i-- > 0 && !(x >> i & 1);) r++;
    } else if (!strcmp(op, "brev")) {
        for (unsigned i = 0; i < bits; i++) r |= (x >> i & 1) << (bits - 1 - i);
    } else if (!strcmp(op, "bfind")) {
        const bool flip = t < 0 && x >> (bits - 1) & 1;
        int at = (int)bits - 1;
        while (at >= 0 && (x >> at & 1) == flip) at--;
        r = at < 0 ? 0xffffffff : has(w, "shiftamt") ? bits - 1 - (unsigned)at : (unsigned)at;
    } else if (!strcmp(op, "shf")) {
        const uint32_t c = (uint32_t)s[2], n = has(w, "wrap") ? c & 31 : c < 32 ? c : 32;
        const u128 v = (u128)(s[1] & 0xffffffff) << 32 | (x & 0xffffffff);
        r = (uint32_t)(has(w, "l") ? v << n >> 32 : v >> n);
    } else if (!strcmp(op, "prmt") && w->n == 2) {
        const uint64_t v = (x & 0xffffffff) | s[1] << 32;
        for (int i = 0; i < 4; i++) {
            const unsigned c = s[2] >> (4 * i) & 15;
            const uint8_t b = (uint8_t)(v >> (8 * (c & 7)));
            r |= (uint64_t)(c & 8 ? (b & 0x80 ? 0xff : 0) : b) << (8 * i);
        }
    } else if (!strcmp(op, "dp4a")) {
        s128 z = (int32_t)s[2];
        for (int i = 0; i < 4; i++)
            z += int_of(x >> (8 * i), w->part[1][0] == 's' ? -8 : 8) *
                 int_of(s[1] >> (8 * i), w->part[2][0] == 's' ? -8 : 8);
        r = (uint32_t)z;
    } else {
        return false;
    }
    *d = r;
    return true;
}

/// cvt.pack: two numbers clamped, the second below the first, both below the third source.
static bool packed(const words *w, const uint64_t *s, uint64_t *d) {
    const int t = int_type(w->part[3]), bits = abs(t);
    const uint64_t hi = wrapped(clamped((int32_t)s[0], t), t), lo = wrapped(clamped((int32_t)s[1], t), t);
    *d = (uint32_t)(lo | hi << bits | (bits < 16 ? s[2] << (2 * bits) : 0));
    return true;
}

static bool expected(const micro *m, const uint64_t *s, uint64_t *d) {
    if (strchr(m->text, ';') || strstr(m->text, "sync")) return false;
    const words w = split(m->text);
    if (w.n < 2) return false;
    const char *const t = w.part[w.n - 1];
    if (bit_op(m->text, &w, s, d)) return true;
    if (has(&w, "pack")) return packed(&w, s, d);
    if (!strcmp(w.part[0], "cvt")) return convert(&w, s, d) || paired(&w, s, d);
    if (!strcmp(w.part[0], "setp") || !strcmp(w.part[0], "set") || !strcmp(w.part[0], "mov"))
        return false;
    if (format_of(t)) return float_op(&w, format_of(t), s, d);
    if (int_type(t)) return int_op(&w, int_type(t), s, d);
    return paired(&w, s, d);
}

// ---- tests
// ----------------------------------------------------------------------------------------

static vg_gpu *gpu;

static void against_c(void **state) {
    (void)state;
    size_t checked = 0, bad = 0;
    for (size_t i = 0; i < nmicros; i++) {
        const micro *const m = &micros[i];
        char why[1024];
        char *const ptx = micro_ptx(m, false);
        micro_data x = micro_inputs(m, 100 + i);
        if (!micro_run(gpu, ptx, &x, why, sizeof why)) fail_msg("%s: %s", m->text, why);
        uint32_t wrong = 0;
        bool has_reference = false;
        for (uint32_t t = 0; t < x.n; t++) {
            uint64_t s[MICRO_MOST] = {0}, d = 0;
            for (uint32_t k = 0; k < x.ns; k++) s[k] = x.in[(size_t)k * x.n + t];
            if (!expected(m, s, &d)) continue;
            has_reference = true;
            if (micro_agree(m, m->kinds[0], d, x.out[t]) || wrong++) continue;
            print_message("# %s: %llx %llx %llx gives %llx, not %llx\n", m->text,
                          (unsigned long long)s[0], (unsigned long long)s[1],
                          (unsigned long long)s[2], (unsigned long long)x.out[t],
                          (unsigned long long)d);
        }
        checked += has_reference;
        bad += wrong > 0;
        free(ptx), free(x.in), free(x.out);
    }
    print_message("# %zu of %zu micro-kernels have a reference\n", checked, nmicros);
    assert_int_equal(bad, 0);
    assert_true(checked > 400);
}

/// What an H200 gave where PTX says little, or hardware and PTX differ.
static void observed(void **state) {
    (void)state;
    static const struct {
        micro m;
        uint64_t s[4], d;
    } rows[] = {
#define SEEN(kinds, text, d, ...) {{90, MICRO_EXACT, kinds, text}, {__VA_ARGS__}, d},
#include "tests/vgpu/observed.def"
#undef SEEN
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char why[1024];
        char *const ptx = micro_ptx(&rows[i].m, false);
        micro_data x = micro_inputs(&rows[i].m, i);
        for (uint32_t k = 0; k < x.ns; k++)
            for (uint32_t t = 0; t < x.n; t++) x.in[(size_t)k * x.n + t] = rows[i].s[k];
        if (!micro_run(gpu, ptx, &x, why, sizeof why)) fail_msg("%s: %s", rows[i].m.text, why);
        for (uint32_t t = 0; t < x.n; t++)
            if (!micro_agree(&rows[i].m, rows[i].m.kinds[0], x.out[t], rows[i].d))
                fail_msg("%s: %llx gives %llx, not %llx", rows[i].m.text,
                         (unsigned long long)rows[i].s[0], (unsigned long long)x.out[t],
                         (unsigned long long)rows[i].d);
        free(ptx), free(x.in), free(x.out);
    }
}

/// Lanes that a guard turns off keep their results; the others have those of the unguarded kernel.
static void masks(void **state) {
    (void)state;
    for (size_t i = 0; i < nmicros; i++) {
        const micro *const m = &micros[i];
        if (strstr(m->text, "sync") || strstr(m->text, "activemask")) continue;
        char why[1024];
        char *const full = micro_ptx(m, false), *const part = micro_ptx(m, true);
        micro_data x = micro_inputs(m, i), y = micro_inputs(m, i), z = micro_inputs(m, i);
        if (!micro_run(gpu, full, &x, why, sizeof why) ||
            !micro_run(gpu, part, &y, why, sizeof why))
            fail_msg("%s: %s", m->text, why);
        for (uint32_t r = 0; r < x.nd; r++)
            for (uint32_t t = 0; t < x.n; t++) {
                const size_t at = (size_t)r * x.n + t;
                const bool on = MICRO_LANES >> (t % 32) & 1;
                const uint64_t want = on                   ? x.out[at]
                                      : m->kinds[r] == 'p' ? (z.out[at] & 0xffffffff00000000ull) | 1
                                                           : z.out[at];
                if (y.out[at] != want)
                    fail_msg("%s: thread %u has %llx, not %llx", m->text, (unsigned)t,
                             (unsigned long long)y.out[at], (unsigned long long)want);
            }
        free(full), free(part), free(x.in), free(x.out), free(y.in), free(y.out), free(z.in),
            free(z.out);
    }
}

// ---- matrix fragments, as the ISA's text gives them
// ---------------------------------------------------

/// Row and column of element i of a lane in A, B and C of m16n8k16 (16 bits), m16n8k8 (tf32),
/// m16n8k32 (8 bits), m16n8k64 (4 bits): formulas of the PTX ISA, chapter "Matrix fragments".
typedef struct {
    int row, col;
} place;
static place a_place(int bits, int lane, int i) {
    const int g = lane >> 2, t = lane % 4;
    switch (bits) {
    case 16:
        return (place){i < 2 || (i >= 4 && i < 6) ? g : g + 8,
                       i < 4 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8};
    case 32:
        return (place){i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
    case 8:
        return (place){i < 4 || (i >= 8 && i < 12) ? g : g + 8,
                       i < 8 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16};
    default:
        return (place){i < 8 || (i >= 16 && i < 24) ? g : g + 8,
                       i < 16 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32};
    }
}
static place b_place(int bits, int lane, int i) {
    const int g = lane >> 2, t = lane % 4;
    switch (bits) {
    case 16:
        return (place){i < 2 ? t * 2 + (i & 1) : t * 2 + (i & 1) + 8, g};
    case 32:
        return (place){i == 0 ? t : t + 4, g};
    case 8:
        return (place){i < 4 ? t * 4 + (i & 3) : t * 4 + (i & 3) + 16, g};
    default:
        return (place){i < 8 ? t * 8 + (i & 7) : t * 8 + (i & 7) + 32, g};
    }
}

static double element(const micro_data *x, uint32_t operand, int warp, int lane, int i, int bits,
                      const char *type) {
    const int per = 32 / bits;
    const uint64_t word =
        x->in[(size_t)(operand + (uint32_t)(i / per)) * x->n + (size_t)warp * 32 + (size_t)lane];
    const uint64_t code = word >> (i % per * bits) & ((((uint64_t)1 << (bits - 1)) << 1) - 1);
    if (!strcmp(type, "f16")) return vm_decode(T_f16, code);
    if (!strcmp(type, "bf16")) return vm_decode(T_bf16, code);
    if (!strcmp(type, "tf32")) return vm_decode(T_f32, code);
    if (!strcmp(type, "e4m3")) return vm_decode(T_f8e4m3, code);
    if (!strcmp(type, "e5m2")) return vm_decode(T_f8e5m2, code);
    return (double)int_of(code, type[0] == 's' ? -bits : bits);
}

static void products(void **state) {
    (void)state;
    static const struct {
        const char *shape;
        int bits, k;
    } shapes[] = {
        {"m16n8k16", 16, 16}, {"m16n8k8", 32, 8}, {"m16n8k32", 8, 32}, {"m16n8k64", 4, 64}};
    size_t checked = 0;
    for (size_t i = 0; i < nmicros; i++) {
        const micro *const m = &micros[i];
        if (strncmp(m->text, "mma.", 4) != 0) continue;
        const words w = split(m->text);
        const char *const at = w.part[w.n - 3], *const bt = w.part[w.n - 2];
        const int bits = strchr("sue", at[0])           ? (at[1] == '4' && at[0] != 'e' ? 4 : 8)
                         : at[0] == 't'                 ? 32
                         : at[0] == 'f' && at[1] == '6' ? 64
                                                        : 16;
        int k = 0;
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
            if (has(&w, shapes[s].shape) && shapes[s].bits == bits) k = shapes[s].k;
        if (!k || !strcmp(w.part[w.n - 4], "f16")) continue;
        char why[1024];
        char *const ptx = micro_ptx(m, false);
        micro_data x = micro_inputs(m, 500 + i);
        if (!micro_run(gpu, ptx, &x, why, sizeof why)) fail_msg("%s: %s", m->text, why);
        const uint32_t na = 4;
        for (int warp = 0; warp < (int)x.n / 32; warp++) {
            double a[16][64], b[64][8];
            for (int lane = 0; lane < 32; lane++) {
                for (int e = 0; e < 4 * 32 / bits; e++) {
                    const place p = a_place(bits, lane, e);
                    a[p.row][p.col] = element(&x, 0, warp, lane, e, bits, at);
                }
                for (int e = 0; e < 2 * 32 / bits; e++) {
                    const place p = b_place(bits, lane, e);
                    b[p.row][p.col] = element(&x, na, warp, lane, e, bits, bt);
                }
            }
            for (int lane = 0; lane < 32; lane++)
                for (int e = 0; e < 4; e++) {
                    const size_t t = (size_t)warp * 32 + (size_t)lane;
                    const int row = (lane >> 2) + (e < 2 ? 0 : 8), col = lane % 4 * 2 + (e & 1);
                    const uint64_t c = x.in[(na + 2 + (uint32_t)e) * (size_t)x.n + t],
                                   d = x.out[(size_t)e * x.n + t] & 0xffffffff;
                    const bool whole = at[0] == 's' || at[0] == 'u';
                    double want = whole ? (double)(int32_t)c : vm_decode(T_f32, c);
                    for (int j = 0; j < k; j++) want += a[row][j] * b[j][col];
                    if (has(&w, "satfinite"))
                        want = want > INT32_MAX ? INT32_MAX : want < INT32_MIN ? INT32_MIN : want;
                    const bool good = whole ? (uint32_t)d == (uint32_t)(int64_t)want
                                            : vm_decode(T_f32, d) == want;
                    if (!good)
                        fail_msg("%s: lane %d, element %d: %llx, not %g", m->text, lane, e,
                                 (unsigned long long)d, want);
                }
        }
        checked++;
        free(ptx), free(x.in), free(x.out);
    }
    assert_int_equal(checked, 13);
}

/// wmma: what is stored is the product of what was loaded, whatever the fragments.
static void tiles(void **state) {
    (void)state;
    static const struct {
        const char *shape;
        int m, n;
    } shapes[] = {{"m16n16k16", 16, 16}, {"m32n8k16", 32, 8}, {"m8n32k16", 8, 32}};
    size_t checked = 0;
    for (size_t i = 0; i < nmicros; i++) {
        const micro *const m = &micros[i];
        const char *const la = strstr(m->text, "load.a.sync.aligned."), *const lb = strstr(
                                                                            m->text,
                                                                            "load.b.sync.aligned.");
        if (!la || !lb) continue;
        int rows = 0, cols = 0;
        for (size_t s = 0; s < 3; s++)
            if (strstr(m->text, shapes[s].shape)) rows = shapes[s].m, cols = shapes[s].n;
        const int sa = atoi(strstr(la, "[%sw], ") + 7), sb = atoi(strstr(lb, "[%sw], ") + 7);
        const bool ca = la[20] == 'c', cb = lb[20] == 'c';
        char why[1024];
        char *const ptx = micro_ptx(m, false);
        micro_data x = micro_inputs(m, 900 + i);
        if (!micro_run(gpu, ptx, &x, why, sizeof why)) fail_msg("%s: %s", m->text, why);
        for (size_t warp = 0; warp < x.n / 32; warp++) {
            double mem[512], out[256];
            for (size_t lane = 0; lane < 32; lane++)
                for (size_t r = 0; r < 8; r++) {
                    const uint64_t v = x.in[r * x.n + warp * 32 + lane];
                    mem[lane * 16 + r * 2] = vm_decode(T_f16, v & 0xffff);
                    mem[lane * 16 + r * 2 + 1] = vm_decode(T_f16, v >> 16 & 0xffff);
                    out[lane * 8 + r] =
                        vm_decode(T_f32, x.out[r * x.n + warp * 32 + lane] & 0xffffffff);
                }
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < cols; c++) {
                    double want = 0;
                    for (int k = 0; k < 16; k++)
                        want +=
                            mem[ca ? k * sa + r : r * sa + k] * mem[cb ? c * sb + k : k * sb + c];
                    if (out[r * cols + c] != want)
                        fail_msg("%s: (%d, %d): %g, not %g", m->text, r, c, out[r * cols + c],
                                 want);
                }
        }
        checked++;
        free(ptx), free(x.in), free(x.out);
    }
    assert_int_equal(checked, 4);
}

/// Text that is no PTX fails to load with its line, and never runs.
static void refusals(void **state) {
    (void)state;
    static const char *const texts[] = {
        "add.ftz.s32 $0, $1, $2",
        "add.rn.s32 $0, $1, $2",
        "mul.s32 $0, $1, $2",
        "add.f99 $0, $1, $2",
        "lop3.b32 $0, $1, $2, $2, $1",
        "shf.l.b32 $0, $1, $2, $2",
        "cvt.s32.f32 $0, $1",
        "cvt.rni.s32.u32 $0, $1",
        "cvt.rna.f16.f32 $0, $1",
        "cvt.pack.u8.s32.b32 $0, $1, $2, $2",
        "cvt.pack.sat.u8.s32 $0, $1, $2",
        "cvt.pack.sat.f16.s32 $0, $1, $2",
        "sqrt.f32 $0, $1",
        "sqrt.approx.rn.f32 $0, $1",
        "shfl.sync.b32 $0, $1, $2, 31, -1",
        "vote.sync.all.b32 $0, $1, -1",
        "redux.sync.and.u32 $0, $1, -1",
        "setp.lo.s32 $0, $1, $2",
        "prmt.b32.xyz $0, $1, $2, $2",
        "bfind.b32 $0, $1",
        "testp.odd.f32 $0, $1",
        "movmatrix.sync.aligned.m8n8.b16 $0, $1",
        "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {$0}, {$0}, {$0}, {$0}",
        "mma.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {$0}, {$0}, {$0}, {$0}",
        "dp4a.u32 $0, $1, $2, $2",
        "slct.b32.u32 $0, $1, $2, $2",
        "wmma.load.a.sync.aligned.row.m16n16k4.f16 {$0}, [%a0]",
        "ldmatrix.sync.aligned.m8n8.x3.shared.b16 {$0}, [%sa]",
        "st.async.weak.shared::cta.mbarrier::complete_tx::bytes.u32 [%sa], $1, [%sa]",
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u16 [%sa], $1, [%sa]",
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%sa], {$1}, [%sa]",
        "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.f32 [%sa], $1, "
        "[%sa]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const micro m = {80, MICRO_EXACT, "w:ww", texts[i]};
        char *const ptx = micro_ptx(&m, false);
        ptx_error e = {0};
        if (vg_load(gpu, ptx, strlen(ptx), &e)) fail_msg("%s: is taken", texts[i]);
        if (!strstr(e.text, "line ") || e.line < 10) fail_msg("%s: %s", texts[i], e.text);
        free(ptx);
    }
}

static int start(void **state) {
    (void)state;
    return vg_create(&(vg_options){.threads = 1, .memory = 64 << 20}, &gpu);
}
static int stop(void **state) {
    (void)state;
    vg_destroy(gpu);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_c), cmocka_unit_test(observed),
                                       cmocka_unit_test(masks),
                                       cmocka_unit_test(products), cmocka_unit_test(tiles),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, start, stop);
}
