// SPDX-License-Identifier: Apache-2.0
// Plans of moves between register layouts. Shuffles: needs of all lanes are matched in rounds, in one
// of three orders (by slot, by xor distance, by difference of lanes), whichever costs least. Scratch
// memory: every dimension, padding and swizzle is tried and its bank conflicts counted.
#include "layout/move.h"

#include <string.h>

typedef struct {
    vm_arena *arena;
    const layout *from, *to;
    const int32_t *shape;
    unsigned bits;
    int rank, threads, warps;
    const int32_t *tf, *tt; // linear indices, -1 dead
} mover;

// ---- registers and shuffles ---------------------------------------------------------------------

/// What each lane needs: unit[l * n + u] = lane * (units of source) + unit, -1: nothing.
typedef struct {
    int per, n, nsrc;
    int32_t *want;
} needs;

/// Whether unit u of the result in thread t is unit q of thread s; dead elements fit anything.
static bool unit_is(const mover *m, int per, int t, int u, int s, int q) {
    const int32_t *x = m->tt + (int64_t)t * m->to->slots + u * per, *y = m->tf + (int64_t)s * m->from->slots + q * per;
    for (int i = 0; i < per; i++)
        if (x[i] >= 0 && x[i] != y[i]) return false;
    return true;
}

static bool dead_unit(const mover *m, int per, int t, int u) {
    const int32_t *x = m->tt + (int64_t)t * m->to->slots + u * per;
    for (int i = 0; i < per; i++)
        if (x[i] >= 0) return false;
    return true;
}

/// Where thread t of warp w finds unit u: its own slots first (slot u itself before others), then the
/// lanes by xor distance. -1: not in the warp.
static int32_t find_unit(const mover *m, const int32_t *place, const int32_t *next, int per, int w, int t, int u, int nsrc) {
    int32_t best = -1, best_key = INT32_MAX;
    const int32_t *x = m->tt + (int64_t)t * m->to->slots + u * per;
    int first = 0;
    while (x[first] < 0) first++;
    for (int32_t at = place[x[first]]; at >= 0; at = next[at]) {
        const int lane = at / m->from->slots, slot = at % m->from->slots;
        if (slot % per != first) continue;
        const int q = slot / per;
        if (!unit_is(m, per, t, u, w * BANK_LANES + lane, q)) continue;
        const int32_t key = (lane ^ (t % BANK_LANES)) * 4096 + (q == u ? 0 : q + 1);
        if (key < best_key) {
            best_key = key;
            best = lane * nsrc + q;
        }
    }
    return best;
}

static bool find_needs(const mover *m, int per, needs *out) {
    if (m->from->slots % per || m->to->slots % per) return false;
    out->per = per;
    out->n = m->to->slots / per;
    out->nsrc = m->from->slots / per;
    int64_t total = 1;
    for (int d = 0; d < m->rank; d++) total *= m->shape[d];
    const size_t count = (size_t)BANK_LANES * (size_t)out->n;
    out->want = vm_newn(m->arena, int32_t, count);
    for (size_t i = 0; i < count; i++) out->want[i] = -1;
    int32_t *place = vm_newn(m->arena, int32_t, total), *next = vm_newn(m->arena, int32_t, BANK_LANES * m->from->slots);
    for (int64_t i = 0; i < total; i++) place[i] = -1;
    for (int w = 0; w < m->warps; w++) {
        const int lanes = m->threads - w * BANK_LANES < BANK_LANES ? m->threads - w * BANK_LANES : BANK_LANES;
        const int32_t *have = m->tf + (int64_t)w * BANK_LANES * m->from->slots;
        const int32_t held = lanes * m->from->slots;
        for (int32_t i = held - 1; i >= 0; i--) {
            if (have[i] < 0) continue;
            next[i] = place[have[i]];
            place[have[i]] = i;
        }
        bool ok = true;
        for (int l = 0; l < lanes && ok; l++)
            for (int u = 0; u < out->n && ok; u++) {
                const int t = w * BANK_LANES + l;
                if (dead_unit(m, per, t, u)) continue;
                int32_t *at = &out->want[l * out->n + u];
                if (*at >= 0 && *at / out->nsrc < lanes &&
                    unit_is(m, per, t, u, w * BANK_LANES + *at / out->nsrc, *at % out->nsrc))
                    continue;
                ok = *at < 0; // all warps run the same code
                if (ok) ok = (*at = find_unit(m, place, next, per, w, t, u, out->nsrc)) >= 0;
            }
        for (int32_t i = 0; i < held; i++)
            if (have[i] >= 0) place[have[i]] = -1;
        if (!ok) return false;
    }
    return true;
}

static bool same_slots(mover *m, const needs *k, move_plan *p) {
    int32_t *slot = vm_newn(m->arena, int32_t, k->n);
    for (int u = 0; u < k->n; u++) {
        slot[u] = -1;
        for (int l = 0; l < BANK_LANES; l++) {
            const int32_t w = k->want[l * k->n + u];
            if (w < 0) continue;
            if (w / k->nsrc != l || (slot[u] >= 0 && slot[u] != w % k->nsrc)) return false;
            slot[u] = w % k->nsrc;
        }
    }
    p->slot = slot;
    return true;
}

enum { BY_SLOT, BY_XOR, BY_DIFFERENCE, ORDERS };

static int key_of(int order, int lane, int unit, int from) {
    if (order == BY_SLOT) return unit;
    return order == BY_XOR ? lane ^ from : (from - lane) & (BANK_LANES - 1);
}

typedef VM_VEC(move_round) rounds;

/// Fills rounds with all needs of one key.
static void schedule(const mover *m, const needs *k, int order, int key, bool *done, rounds *out) {
    bool any = false, local = true;
    for (int l = 0; l < BANK_LANES; l++)
        for (int u = 0; u < k->n; u++) {
            const int32_t w = k->want[l * k->n + u];
            if (w < 0 || done[l * k->n + u] || key_of(order, l, u, w / k->nsrc) != key) continue;
            any = true;
            local = local && w / k->nsrc == l;
        }
    while (any) {
        any = false;
        move_round r = {.local = local};
        memset(r.from, -1, sizeof r.from);
        memset(r.give, -1, sizeof r.give);
        memset(r.put, -1, sizeof r.put);
        for (int l = 0; l < BANK_LANES; l++)
            for (int u = 0; u < k->n; u++) {
                const int32_t w = k->want[l * k->n + u];
                if (w < 0 || done[l * k->n + u] || key_of(order, l, u, w / k->nsrc) != key) continue;
                const int from = w / k->nsrc, q = w % k->nsrc;
                if (r.put[l] >= 0 || (r.give[from] >= 0 && r.give[from] != q)) {
                    any = true;
                    continue;
                }
                r.from[l] = (int8_t)from;
                r.give[from] = (int16_t)q;
                r.put[l] = (int16_t)u;
                done[l * k->n + u] = true;
            }
        vm_push(m->arena, out, r);
    }
}

static int distinct_less_one(const int16_t *x) {
    int n = 0;
    for (int i = 0; i < BANK_LANES; i++) {
        bool seen = x[i] < 0;
        for (int j = 0; j < i && !seen; j++) seen = x[j] == x[i];
        n += !seen;
    }
    return n ? n - 1 : 0;
}

static bool same_lanes(const move_round *x, const move_round *y) {
    for (int l = 0; l < BANK_LANES; l++)
        if (x->from[l] >= 0 && y->from[l] >= 0 && x->from[l] != y->from[l]) return false;
    return true;
}

/// Rounds that read from the same lanes share a word.
static void join_rounds(rounds *r, int per_word) {
    for (uint32_t i = 0; i < r->n;) {
        if (r->at[i].local) {
            i++;
            continue;
        }
        uint32_t last = i;
        for (uint32_t j = i + 1; j < r->n && last - i + 1 < (uint32_t)per_word; j++) {
            bool fits = !r->at[j].local;
            for (uint32_t q = i; q <= last && fits; q++) fits = same_lanes(&r->at[q], &r->at[j]);
            if (!fits) continue;
            const move_round moved = r->at[j];
            memmove(&r->at[last + 2], &r->at[last + 1], (j - last - 1) * sizeof moved);
            r->at[++last] = moved;
            r->at[last].joined = true;
        }
        for (uint32_t q = i; q <= last; q++) // all read by the union of their lanes
            for (uint32_t o = i; o <= last; o++)
                for (int l = 0; l < BANK_LANES; l++)
                    if (r->at[q].from[l] < 0) r->at[q].from[l] = r->at[o].from[l];
        i = last + 1;
    }
}

/// Shuffles and selects of a schedule; `unit_bits` of a unit.
static int count_rounds(const rounds *r, int units, unsigned unit_bits, int *shuffles, int *selects) {
    *shuffles = *selects = 0;
    const int words = unit_bits > 32 ? 2 : 1, split = unit_bits < 32 ? 1 : 0;
    uint32_t puts[MOVE_MAX_UNITS] = {0}; // rounds that fill a unit
    for (uint32_t i = 0; i < r->n; i++) {
        const move_round *x = &r->at[i];
        if (!x->local && !x->joined) {
            *shuffles += words;
            bool moves = false; // lanes are computed unless they are a constant distance away
            int distance = -1;
            for (int l = 0; l < BANK_LANES; l++) {
                if (x->from[l] < 0) continue;
                moves = moves || (distance >= 0 && distance != (x->from[l] ^ l));
                distance = x->from[l] ^ l;
            }
            *selects += moves ? 2 : 0;
        }
        *selects += distinct_less_one(x->give) * words * 2 + split + (x->joined ? split : 0);
        bool seen[MOVE_MAX_UNITS] = {false};
        for (int l = 0; l < BANK_LANES; l++)
            if (x->put[l] >= 0 && !seen[x->put[l]]) {
                seen[x->put[l]] = true;
                puts[x->put[l]]++;
            }
    }
    for (int u = 0; u < units; u++) *selects += puts[u] ? (int)(puts[u] - 1) * words * 2 + split : 0;
    return *shuffles * MOVE_COST_SHUFFLE + *selects * MOVE_COST_SELECT;
}

static void plan_rounds(mover *m, const needs *k, move_plan *p) {
    if (k->n > MOVE_MAX_UNITS || k->nsrc > MOVE_MAX_UNITS) return;
    const unsigned unit_bits = (unsigned)k->per * m->bits;
    for (int order = 0; order < ORDERS; order++) {
        rounds r = {0};
        bool *done = vm_newn(m->arena, bool, BANK_LANES * k->n);
        const int keys = order == BY_SLOT ? k->n : BANK_LANES;
        for (int key = 0; key < keys && r.n < 512; key++) schedule(m, k, order, key, done, &r);
        if (r.n >= 512) continue;
        if (unit_bits < 32) join_rounds(&r, (int)(32 / unit_bits));
        int shuffles, selects;
        const int cost = count_rounds(&r, k->n, unit_bits, &shuffles, &selects);
        if (p->cost_shuffle >= 0 && cost >= p->cost_shuffle) continue;
        p->cost_shuffle = cost;
        p->per = k->per;
        p->round = r.at;
        p->nrounds = (int)r.n;
        p->shuffles = shuffles;
        p->selects = selects;
    }
}

// ---- scratch memory -----------------------------------------------------------------------------

int64_t move_cell(const move_plan *p, int rank, const int32_t *shape, const int32_t *index) {
    int64_t row = 0;
    for (int d = 0; d < rank; d++)
        if (d != p->along) row = row * shape[d] + index[d];
    int64_t c = row * p->pitch + (rank ? index[p->along] / p->pack : 0);
    if (p->sw_bits) c ^= (c >> p->sw_shift) & (((1ll << p->sw_bits) - 1) << p->sw_base);
    return c;
}

static int vector_of(const mover *m, const move_plan *p, const layout *l) {
    if (m->rank == 0) return 1;
    int v = layout_run(l, p->along) / p->pack;
    if (v < 1) v = 1;
    const int64_t row = m->shape[p->along] / p->pack;
    while (v > 1 && (v * p->cell_bytes > 16 || row % v || p->pitch % v || (p->sw_bits && v > 1 << p->sw_base))) v /= 2;
    return v;
}

static int counted_warps(const mover *m) {
    const int most = m->from->slots > 128 || m->to->slots > 128 ? 1 : 4;
    return m->warps < most ? m->warps : most;
}

/// Accesses of one warp and conflicts of all counted ones.
static void count_side(const mover *m, const move_plan *p, const layout *l, const int32_t *linear, bool store, int vec,
                       int *accesses, bank_count *sum) {
    const int step = vec * p->pack, warps = counted_warps(m);
    *accesses = l->slots / step;
    bool *seen = NULL;
    if (store) {
        int64_t total = 1;
        for (int d = 0; d < m->rank; d++) total *= m->shape[d];
        seen = vm_newn(m->arena, bool, total);
    }
    for (int w = 0; w < warps; w++)
        for (int s = 0; s < l->slots; s += step) {
            int64_t at[BANK_LANES];
            for (int k = 0; k < BANK_LANES; k++) {
                const int t = w * BANK_LANES + k;
                const int32_t x = t < m->threads ? linear[(int64_t)t * l->slots + s] : -1;
                at[k] = -1;
                if (x < 0 || (seen && seen[x])) continue;
                if (seen) seen[x] = true; // replicas do not write
                int32_t index[LAYOUT_MAX_RANK], rest = x;
                for (int d = m->rank - 1; d >= 0; d--) {
                    index[d] = rest % m->shape[d];
                    rest /= m->shape[d];
                }
                at[k] = move_cell(p, m->rank, m->shape, index) * p->cell_bytes;
            }
            bank_access(at, vec * p->cell_bytes, sum);
        }
}

static void consider(const mover *m, move_plan *p, const move_plan *try_it) {
    move_plan x = *try_it;
    x.store_vec = vector_of(m, &x, m->from);
    x.load_vec = vector_of(m, &x, m->to);
    int64_t rows = 1;
    for (int d = 0; d < m->rank; d++)
        if (d != x.along) rows *= m->shape[d];
    int64_t cells = rows * x.pitch;
    if (x.sw_bits) { // the xor permutes whole blocks
        const int64_t block = INT64_C(1) << (x.sw_base + x.sw_bits);
        cells = (cells + block - 1) / block * block;
    }
    x.bytes = (cells * x.cell_bytes + 15) / 16 * 16;
    bank_count sum = {0};
    count_side(m, &x, m->from, m->tf, true, x.store_vec, &x.stores, &sum);
    count_side(m, &x, m->to, m->tt, false, x.load_vec, &x.loads, &sum);
    const int warps = counted_warps(m);
    x.conflicts = (int)((sum.conflicts + warps - 1) / warps);
    const int64_t wavefronts = (sum.wavefronts + warps - 1) / warps;
    // The swizzle costs an instruction for each access: its addresses are no longer constants apart.
    const int extra = x.sw_bits ? x.stores + x.loads : 0;
    x.cost_shared = (x.stores + x.loads) * MOVE_COST_ACCESS + (int)wavefronts * MOVE_COST_ACCESS + extra + 2 * MOVE_COST_BARRIER;
    if (p->cost_shared >= 0 && (x.cost_shared > p->cost_shared || (x.cost_shared == p->cost_shared && x.bytes >= p->bytes))) return;
    x.kind = p->kind;
    *p = x;
}

static void plan_memory(const mover *m, move_plan *p) {
    p->cost_shared = -1;
    for (int d = m->rank - 1; d >= (m->rank ? 0 : -1); d--) {
        const int along = d < 0 ? 0 : d;
        move_plan x = *p;
        x.along = along;
        x.pack = 1;
        x.sw_base = x.sw_bits = x.sw_shift = 0;
        const int64_t extent = m->rank ? m->shape[along] : 1;
        if (m->bits < 8 && 8 % m->bits == 0 && m->rank) {
            const int pack = (int)(8 / m->bits);
            if (layout_run(m->from, along) % pack == 0 && layout_run(m->to, along) % pack == 0 && extent % pack == 0) x.pack = pack;
        }
        const unsigned bits = m->bits * (unsigned)x.pack;
        x.cell_bytes = bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
        const int64_t row = extent / x.pack;
        x.pitch = row;
        consider(m, p, &x);
        if (d < 0 || p->conflicts == 0) continue;
        const int store_vec = vector_of(m, &x, m->from), load_vec = vector_of(m, &x, m->to);
        for (int pad = 4; pad <= 64; pad *= 2) {
            if (pad % x.cell_bytes) continue;
            x.pitch = row + pad / x.cell_bytes;
            consider(m, p, &x);
        }
        x.pitch = row;
        for (int base = 2; base <= 4; base++)
            for (int bits_ = 1; bits_ <= 7 - base; bits_++)
                for (int shift = bits_; shift <= 6; shift++) {
                    if (!p->conflicts && p->store_vec >= store_vec && p->load_vec >= load_vec) continue;
                    int cell = 0;
                    while (1 << cell < x.cell_bytes) cell++;
                    if (base < cell) continue;
                    x.sw_base = base - cell;
                    x.sw_bits = bits_;
                    x.sw_shift = shift;
                    consider(m, p, &x);
                }
    }
}

// ---- the decision -------------------------------------------------------------------------------

const move_plan *layout_move_plan(vm_arena *a, const layout *from, const layout *to, const int32_t *shape, unsigned elem_bits) {
    move_plan *p = vm_new(a, move_plan);
    mover m = {.arena = a, .from = from, .to = to, .shape = shape, .bits = elem_bits, .rank = to->rank, .threads = to->threads};
    m.warps = (m.threads + BANK_LANES - 1) / BANK_LANES;
    m.tf = layout_linear_table(a, from, shape);
    m.tt = layout_linear_table(a, to, shape);
    p->cost_shuffle = p->cost_shared = -1;
    needs k;
    if (find_needs(&m, 1, &k)) {
        if (same_slots(&m, &k, p)) {
            p->kind = MOVE_REGISTERS;
            p->per = 1;
            p->cost_shuffle = 0;
            return p;
        }
        for (int per = elem_bits < 32 && 32 % elem_bits == 0 ? (int)(32 / elem_bits) : 1; per >= 1; per /= 2) {
            if (per > 1 && !find_needs(&m, per, &k)) continue;
            if (per == 1) find_needs(&m, 1, &k);
            plan_rounds(&m, &k, p);
            if (p->cost_shuffle >= 0) break; // the widest units
        }
    }
    move_plan memory = *p;
    plan_memory(&m, &memory);
    memory.round = p->round;
    *p = memory;
    p->kind = p->cost_shuffle >= 0 && p->cost_shuffle <= p->cost_shared ? MOVE_SHUFFLE : MOVE_SHARED;
    return p;
}

const char *move_text(vm_arena *a, const move_plan *p) {
    if (p->kind == MOVE_REGISTERS) return "registers only";
    if (p->kind == MOVE_SHUFFLE && p->shuffles == 0) return vm_format(a, "%d selects", p->selects);
    if (p->kind == MOVE_SHUFFLE)
        return vm_format(a, "%d shuffle%s%s", p->shuffles, p->shuffles == 1 ? "" : "s",
                         p->selects ? vm_format(a, " and %d selects", p->selects) : "");
    return vm_format(a, "shared memory: %d store%s, %d load%s, %d bank conflict%s", p->stores, p->stores == 1 ? "" : "s", p->loads,
                     p->loads == 1 ? "" : "s", p->conflicts, p->conflicts == 1 ? "" : "s");
}
