// SPDX-License-Identifier: Apache-2.0
// mbarriers: phase, pending arrivals and transaction bytes, kept beside shared memory; the 8 bytes
// there hold a copy, by which a barrier that somebody overwrote is noticed.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/vgpu/async.h"

#define MAX_COUNT ((1u << 20) - 1)
#define PATIENCE 64u   // failed polls before open operations are pushed
#define SPINNING 4096u // failed polls before the warp counts as waiting

enum { A_EXPECT = 1, A_DROP = 2, A_NO_COMPLETE = 4, A_STATE = 8 };

typedef struct {
    int64_t offset;
    bool wide, parity, acquire, spin;
    uint8_t space, flags;
} bar_args;

// ---- table --------------------------------------------------------------------------------------

static vg_mbar *slot(vg_agents *g, uint32_t at) {
    uint32_t m = g->cap_bar - 1, i = at / 8 * 2654435761u >> 7 & m;
    while (g->bar[i].word && g->bar[i].at != at) i = (i + 1) & m;
    return &g->bar[i];
}

static bool grow(vg_agents *g) {
    uint32_t cap = g->cap_bar ? 2 * g->cap_bar : 32, old = g->cap_bar;
    vg_mbar *from = g->bar, *to = calloc(cap, sizeof *to);
    if (!to) return false;
    g->bar = to;
    g->cap_bar = cap;
    for (uint32_t i = 0; i < old; i++)
        if (from[i].word) *slot(g, from[i].at) = from[i];
    free(from);
    return true;
}

vg_mbar *vg_mbar_find(vg_block *owner, uint32_t at) {
    vg_agents *g = owner->async;
    if (!g || !g->cap_bar) return NULL;
    vg_mbar *b = slot(g, at);
    return b->valid ? b : NULL;
}

/// What mbarrier.arrive returns: the phase, the arrivals pending and expected. Never 0.
static uint64_t state_of(const vg_mbar *b) {
    return (b->phase & 0xffffff) << 40 | (uint64_t)b->pending << 20 | b->expected;
}

static void publish(vg_block *owner, vg_mbar *b) {
    b->word = state_of(b) | (uint64_t)(b->tx != 0) << 63;
    memcpy(owner->shared + b->at, &b->word, 8);
}

static enum vg_next misuse(vg_warp *w, const vg_inst *in, uint32_t lane, uint32_t at,
                           const char *what) {
    if (vg_sane(w)) {
        vg_report_defect(w, in, lane, VG_D_mbarrier, NULL, NULL,
                         "mbarrier at shared address 0x%x: %s", at, what);
    }
    return vg_fail(w, in, lane, VG_LAUNCH_FAILED, "mbarrier at shared address 0x%x: %s", at, what);
}

/// The barrier there, or NULL after an error.
static vg_mbar *valid(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at) {
    vg_mbar *b = vg_mbar_find(owner, at);
    if (!b) {
        misuse(w, in, lane, at, "not initialised");
        return NULL;
    }
    uint64_t there;
    memcpy(&there, owner->shared + at, 8);
    if (there != b->word) {
        misuse(w, in, lane, at, "overwritten by something that is no mbarrier operation");
        return NULL;
    }
    return b;
}

// ---- what operations do -------------------------------------------------------------------------

static bool settle(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, vg_mbar *b) {
    if (b->pending == 0 && b->tx < 0) {
        misuse(w, in, lane, b->at, "more bytes arrived than this phase expects");
        return false;
    }
    if (b->pending == 0 && b->tx == 0) {
        b->phase++;
        b->pending = b->expected;
    }
    publish(owner, b);
    return true;
}

static bool arrive(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at,
                   uint32_t count, int64_t expect, uint8_t flags, uint64_t *state) {
    vg_mbar *b = valid(w, in, lane, owner, at);
    if (!b) return false;
    if (state) *state = state_of(b);
    char text[120];
    if (count > b->pending) {
        snprintf(text, sizeof text, "%u arrivals on a phase that misses %u of %u", count,
                 b->pending, b->expected);
        misuse(w, in, lane, at, text);
        return false;
    }
    b->tx += expect;
    if (b->tx > MAX_COUNT) {
        misuse(w, in, lane, at, "transaction count overflows");
        return false;
    }
    b->pending -= count;
    if (flags & A_DROP) b->expected -= count;
    if (flags & A_NO_COMPLETE && b->pending == 0 && b->tx == 0) {
        misuse(w, in, lane, at, "an arrival with .noComplete completes the phase");
        return false;
    }
    return settle(w, in, lane, owner, b);
}

bool vg_mbar_arrive(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at,
                    uint32_t count, int64_t expect, uint64_t *state) {
    return arrive(w, in, lane, owner, at, count, expect, 0, state);
}

bool vg_mbar_bytes(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner, uint32_t at,
                   int64_t bytes) {
    vg_mbar *b = valid(w, in, lane, owner, at);
    if (!b) return false;
    b->tx += bytes;
    if (b->tx > MAX_COUNT || b->tx < -(int64_t)MAX_COUNT) {
        misuse(w, in, lane, at,
               b->tx > 0 ? "transaction count overflows" : "transaction count underflows");
        return false;
    }
    return settle(w, in, lane, owner, b);
}

bool vg_mbar_pending_add(vg_warp *w, const vg_inst *in, uint32_t lane, vg_block *owner,
                         uint32_t at) {
    vg_mbar *b = valid(w, in, lane, owner, at);
    if (!b) return false;
    if (b->pending == MAX_COUNT) {
        misuse(w, in, lane, at, "count of pending arrivals overflows");
        return false;
    }
    b->pending++;
    publish(owner, b);
    return true;
}

void vg_mbar_force(vg_block *owner, uint32_t at) {
    for (uint32_t r = 0; r < owner->cluster->nblocks; r++) {
        vg_block *issuer = owner->cluster->block[r];
        vg_agents *g = issuer ? issuer->async : NULL;
        for (vg_bulk *o = g ? g->bulk : NULL, *after; o; o = after) {
            after = o->next;
            bool here = o->bar_owner ? o->bar_owner == owner : (o->targets >> owner->rank & 1) != 0;
            if (!o->done && !o->by_group && here && o->bar_offset == at) vg_bulk_write(o);
        }
    }
    vg_agents *g = owner->async;
    for (uint32_t i = 0; g && g->arrivals && i < owner->nwarps; i++) {
        vg_issuer *is = owner->warp[i].async;
        for (vg_copy *c = is ? is->copy : NULL; c; c = c->next) {
            if (c->bytes || c->done) continue;
            for (uint32_t m = c->mask; m; m &= m - 1)
                if (c->bar[__builtin_ctz(m)] == at) {
                    vg_copy_force(&owner->warp[i], c);
                    break;
                }
        }
    }
}

// ---- executors ----------------------------------------------------------------------------------

static bool place(vg_warp *w, const vg_inst *in, uint32_t lane, int use, vg_block **owner,
                  uint32_t *at) {
    const bar_args *x = in->aux;
    uint64_t a = x->wide ? VG_ROW64(w, in->s[0])[lane] + (uint64_t)x->offset
                         : (uint32_t)(VG_ROW32(w, in->s[0])[lane] + (uint64_t)x->offset);
    int space = x->space;
    *owner = NULL;
    uint8_t *p = vg_resolve(w, in, lane, a, 8, 8, use, &space, owner);
    if (!p) return false;
    if (space != PTX_SHARED && space != PTX_SHARED_CLUSTER) {
        vg_fail(w, in, lane, VG_ILLEGAL_ADDRESS,
                "an mbarrier lies in shared memory, and 0x%" PRIx64 " does not", a);
        return false;
    }
    if (!*owner) *owner = w->block;
    *at = (uint32_t)(p - (*owner)->shared);
    if (use == VG_ATOMIC && vg_sane(w)) vg_san_mbarrier_use(w, in, lane, *owner, *at, false);
    return true;
}

static enum vg_next init(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), at, count = VG_ROW32(w, in->s[1])[l];
        vg_block *owner;
        if (!place(w, in, l, VG_WRITE, &owner, &at)) return VG_STOP;
        if (owner != w->block) return misuse(w, in, l, at, "initialised by another block");
        if (count == 0 || count > MAX_COUNT)
            return misuse(w, in, l, at, "its count must be 1 to 1048575");
        vg_agents *g = vg_agents_of(owner);
        if (!g || (2 * g->nbar >= g->cap_bar && !grow(g))) return vg_no_memory(w, in);
        vg_mbar *b = slot(g, at);
        if (!b->word) g->nbar++;
        *b = (vg_mbar){.at = at, .valid = true, .expected = count, .pending = count};
        publish(owner, b);
        if (vg_sane(w)) vg_san_mbarrier_init(w, in, owner, at);
    }
    return VG_NEXT;
}

static enum vg_next inval(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), at;
        vg_block *owner;
        if (!place(w, in, l, VG_WRITE, &owner, &at)) return VG_STOP;
        vg_mbar *b = valid(w, in, l, owner, at);
        if (!b) return VG_STOP;
        b->valid = false;
    }
    return VG_NEXT;
}

static enum vg_next do_arrive(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const bar_args *x = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), at, count = 1;
        int64_t expect = 0;
        uint64_t state = 0;
        vg_block *owner;
        if (!place(w, in, l, VG_ATOMIC, &owner, &at)) return VG_STOP;
        if (x->flags & A_EXPECT)
            expect = VG_ROW32(w, in->s[1])[l];
        else if (in->s[1] != VG_NO_ROW)
            count = VG_ROW32(w, in->s[1])[l];
        if (count == 0) return misuse(w, in, l, at, "an arrival of count 0");
        if (vg_sane(w)) vg_san_mbarrier(w, owner, at, true, false);
        if (!arrive(w, in, l, owner, at, count, expect, x->flags, &state)) return VG_STOP;
        if (in->d[0] != VG_NO_ROW) VG_ROW64(w, in->d[0])[l] = state;
    }
    return VG_NEXT;
}

/// expect_tx, and complete_tx (sub 1).
static enum vg_next do_bytes(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), at;
        int64_t n = VG_ROW32(w, in->s[1])[l];
        vg_block *owner;
        if (!place(w, in, l, VG_ATOMIC, &owner, &at)) return VG_STOP;
        if (vg_sane(w)) vg_san_mbarrier(w, owner, at, true, false);
        if (!vg_mbar_bytes(w, in, l, owner, at, in->sub ? -n : n)) return VG_STOP;
    }
    return VG_NEXT;
}

static enum vg_next pending_count(vg_warp *w, const vg_inst *in, uint32_t mask) {
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m);
        VG_ROW32(w, in->d[0])[l] = (uint32_t)(VG_ROW64(w, in->s[1])[l] >> 20) & MAX_COUNT;
    }
    return VG_NEXT;
}

/// The place where a split of the warp notes what it waits for.
static vg_park *park_of(vg_issuer *i, uint32_t mask) {
    return &i->park[__builtin_ctz(mask) / 8];
}

/// Whether the phase that a lane waits for is over; *behind: for so long that its token is void.
static bool is_over(const bar_args *x, const vg_mbar *b, uint64_t token, bool *behind) {
    if (x->parity) return ((b->phase ^ token) & 1) != 0;
    uint64_t ago = (b->phase - (token >> 40)) & 0xffffff;
    *behind = ago > 1;
    return ago != 0;
}

static enum vg_next do_wait(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const bar_args *x = in->aux;
    vg_issuer *is = vg_issuer_of(w);
    if (!is) return vg_no_memory(w, in);
    vg_park *park = park_of(is, mask);
    bool again = park->owner && park->pc == w->pc && park->mask == mask;
    bool push = !w->run->gpu->options.schedule || (again && park->polls >= PATIENCE);
    uint32_t over = 0, last_at = 0;
    vg_block *last_owner = NULL;
    vg_mbar *missing = NULL;
    bool last_over = false;
    uint64_t last_token = 0;
    for (uint32_t m = mask; m; m &= m - 1) {
        uint32_t l = (uint32_t)__builtin_ctz(m), at;
        vg_block *owner;
        uint64_t token = x->parity ? VG_ROW32(w, in->s[1])[l] : VG_ROW64(w, in->s[1])[l];
        if (!place(w, in, l, VG_ATOMIC, &owner, &at)) return VG_STOP;
        if (last_owner == owner && last_at == at && last_token == token) { // as the lane before
            over |= (uint32_t)last_over << l;
            continue;
        }
        if (owner != w->block) return misuse(w, in, l, at, "waited for by another block");
        if (x->parity && token > 1) return misuse(w, in, l, at, "a phase's parity is 0 or 1");
        vg_mbar *b = valid(w, in, l, owner, at);
        if (!b) return VG_STOP;
        bool behind = false, done = is_over(x, b, token, &behind);
        if (!done && push) {
            vg_mbar_force(owner, at);
            if (atomic_load(&w->run->stop)) return VG_STOP;
            if (!(b = valid(w, in, l, owner, at))) return VG_STOP;
            done = is_over(x, b, token, &behind);
        }
        if (again && park->parked && park->at == at && b->phase >= park->phase + 2) behind = true;
        if (behind) {
            return misuse(w, in, l, at,
                          "the wait is two phases behind: its phase and the one after it are over");
        }
        over |= (uint32_t)done << l;
        if (!done) missing = b;
        last_owner = owner;
        last_at = at;
        last_token = token;
        last_over = done;
        if (done && x->acquire && vg_sane(w)) vg_san_mbarrier(w, owner, at, false, true);
    }
    uint32_t *p = &VG_PRED(w, in->d[0]);
    if (!missing) {
        park->owner = NULL;
        *p |= over;
        return VG_NEXT;
    }
    if (!again || park->at != missing->at || park->phase != missing->phase) {
        *park = (vg_park){.pc = w->pc,
                          .mask = mask,
                          .at = missing->at,
                          .owner = w->block,
                          .phase = missing->phase};
    }
    if (park->polls < SPINNING) park->polls++;
    if (!over && (x->spin || park->polls >= SPINNING)) {
        park->parked = true;
        w->why = VG_W_MBARRIER;
        w->why_id = missing->at;
        return VG_BLOCKED;
    }
    *p = (*p & ~mask) | over;
    return VG_YIELD;
}

void vg_async_explain(vg_warp *w, char *out, size_t size) {
    if (!size) return;
    out[0] = 0;
    if (w->why_id >> 32) {
        snprintf(out, size, "%s",
                 w->why_id == VG_WAIT_WARPGROUP
                     ? "the other warps of its warpgroup, which have not issued the same wgmma"
                     : "registers that no other warp of the block releases");
        return;
    }
    vg_mbar *b = vg_mbar_find(w->block, (uint32_t)w->why_id);
    if (!b) {
        snprintf(out, size, "mbarrier at 0x%x, no longer valid", (unsigned)w->why_id);
        return;
    }
    int n = snprintf(out, size, "mbarrier at 0x%x, phase %" PRIu64 ":", b->at, b->phase);
    if (n > 0 && (size_t)n < size && b->pending) {
        n += snprintf(out + n, size - (size_t)n, " %u of %u arrival%s", b->pending, b->expected,
                      b->expected == 1 ? "" : "s");
    }
    if (n > 0 && (size_t)n < size && b->tx) {
        n += snprintf(out + n, size - (size_t)n, "%s %" PRId64 " bytes", b->pending ? " and" : "",
                      b->tx);
    }
    if (n > 0 && (size_t)n < size) snprintf(out + n, size - (size_t)n, " missing");
}

// ---- decoding -----------------------------------------------------------------------------------

static int label_at(const ptx_func *f, const ptx_opnd *o) {
    for (uint32_t i = 0; o->symbol && i < f->nlabel; i++)
        if (strcmp(f->label[i].name, o->symbol) == 0) return (int)f->label[i].at;
    return -1;
}

/// Whether a failed wait comes straight back to itself, over instructions that only steer: then
/// nothing but others can end the loop.
static bool comes_back(const ptx_func *f, uint32_t from, uint32_t home, int fuel) {
    static const char *const steer[] = {"setp", "selp", "mov",       "not", "xor",
                                        "and",  "or",   "nanosleep", "cvt"};
    for (uint32_t at = from; at < f->ninst && fuel > 0; at++, fuel--) {
        if (at == home) return true;
        const ptx_inst *i = &f->inst[at];
        if (strcmp(i->op, "bra") == 0) {
            int to = i->nopnd ? label_at(f, &i->opnd[0]) : -1;
            if (to < 0) return false;
            if (i->guard < 0) {
                at = (uint32_t)to - 1;
                continue;
            }
            if (comes_back(f, (uint32_t)to, home, fuel / 2)) return true;
            continue;
        }
        bool steers = false;
        for (size_t k = 0; k < sizeof steer / sizeof *steer; k++)
            steers |= strcmp(i->op, steer[k]) == 0;
        if (!steers) return false;
    }
    return false;
}

static void decode_address(vg_decoder *d, vg_inst *out, bar_args *x, const ptx_opnd *o) {
    if (vgd_mod(d, "shared::cluster"))
        x->space = PTX_SHARED_CLUSTER;
    else
        x->space = vgd_mod(d, "shared") || vgd_mod(d, "shared::cta") ? PTX_SHARED : PTX_GENERIC;
    out->s[0] = vgd_address(d, o, &x->wide, &x->offset);
}

static void decode_wait(vg_decoder *d, vg_inst *out, bar_args *x) {
    const ptx_opnd *o = d->in->opnd;
    bool suspends = vgd_mod(d, "try_wait");
    if (!suspends) vgd_mod(d, "test_wait");
    if (!vgd_count(d, 3, suspends ? 4 : 3)) return;
    x->parity = vgd_mod(d, "parity");
    x->acquire = !vgd_mod(d, "relaxed");
    vgd_mod(d, "acquire");
    uint32_t self = (uint32_t)(d->in - d->func->inst);
    x->spin = comes_back(d->func, self + 1, self, 24);
    out->d[0] = vgd_result(d, &o[0], PTX_pred);
    decode_address(d, out, x, &o[1]);
    out->s[1] = vgd_source(d, &o[2], x->parity ? PTX_u32 : PTX_b64);
    if (d->in->nopnd == 4) vgd_source(d, &o[3], PTX_u32); // for how long it may sleep
    out->run = do_wait;
}

static void decode_arrive(vg_decoder *d, vg_inst *out, bar_args *x, bool drop) {
    const ptx_opnd *o = d->in->opnd;
    if (drop) x->flags |= A_DROP;
    if (vgd_mod(d, "expect_tx")) x->flags |= A_EXPECT;
    if (vgd_mod(d, "noComplete")) x->flags |= A_NO_COMPLETE;
    static const char *const order[] = {"release", "relaxed", NULL};
    vgd_one_of(d, order);
    if (!vgd_count(d, 1, 3)) return;
    uint32_t first = o[0].kind == PTX_O_ADDRESS ? 0 : 1;
    out->d[0] = first ? vgd_result(d, &o[0], PTX_b64) : VG_NO_ROW;
    if (first >= d->in->nopnd || o[first].kind != PTX_O_ADDRESS) {
        vgd_fail(d, "mbarrier.arrive needs an address");
        return;
    }
    decode_address(d, out, x, &o[first]);
    if (first + 1 < d->in->nopnd)
        out->s[1] = vgd_source(d, &o[first + 1], PTX_u32);
    else if (x->flags & (A_EXPECT | A_NO_COMPLETE))
        vgd_fail(d, "mbarrier.arrive lacks its count");
    out->run = do_arrive;
}

void vgd_mbarrier(vg_decoder *d, vg_inst *out) {
    static const char *const scope[] = {"cta", "cluster", NULL};
    const ptx_opnd *o = d->in->opnd;
    bar_args *x = vgd_alloc(d, sizeof *x);
    out->cls = VG_C_sync;
    out->space = PTX_SHARED;
    out->aux = x;
    vgd_mod(d, "b64");
    vgd_one_of(d, scope);
    const char *what = d->in->nmod ? d->in->mod[0] : "";
    if (strcmp(what, "test_wait") == 0 || strcmp(what, "try_wait") == 0)
        decode_wait(d, out, x);
    else if (vgd_mod(d, "arrive"))
        decode_arrive(d, out, x, false);
    else if (vgd_mod(d, "arrive_drop"))
        decode_arrive(d, out, x, true);
    else if (vgd_mod(d, "init")) {
        if (!vgd_count(d, 2, 2)) return;
        decode_address(d, out, x, &o[0]);
        out->s[1] = vgd_source(d, &o[1], PTX_u32);
        out->run = init;
    } else if (vgd_mod(d, "inval")) {
        if (!vgd_count(d, 1, 1)) return;
        decode_address(d, out, x, &o[0]);
        out->run = inval;
    } else if (strcmp(what, "expect_tx") == 0 || strcmp(what, "complete_tx") == 0) {
        vgd_mod(d, what);
        vgd_mod(d, "relaxed");
        if (!vgd_count(d, 2, 2)) return;
        decode_address(d, out, x, &o[0]);
        out->s[1] = vgd_source(d, &o[1], PTX_u32);
        out->sub = strcmp(what, "complete_tx") == 0;
        out->run = do_bytes;
    } else if (vgd_mod(d, "pending_count")) {
        if (!vgd_count(d, 2, 2)) return;
        out->d[0] = vgd_result(d, &o[0], PTX_u32);
        out->s[1] = vgd_source(d, &o[1], PTX_b64);
        out->run = pending_count;
    } else
        vgd_fail(d, "mbarrier.%s is not known", what);
}
