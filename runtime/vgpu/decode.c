// SPDX-License-Identifier: Apache-2.0
// From PTX instructions to decoded ones: what all decoders share. Rows are given to registers when an
// instruction first names them; constants, special registers and addresses get rows of their own.
#include "runtime/vgpu/load.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ROW_BYTES ((uint64_t)1 << 27)

// ---- failure and modifiers ----------------------------------------------------------------------

void vgd_fail(vg_decoder *d, const char *fmt, ...) {
    if (d->failed) return;
    d->failed = true;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    d->error->line = d->in ? d->in->pos.line : d->func->pos.line;
    snprintf(d->error->text, sizeof d->error->text, "line %u: %s%s%s", (unsigned)d->error->line, d->in ? d->in->op : "",
             d->in ? ": " : "", text);
}

bool vgd_mod(vg_decoder *d, const char *name) {
    for (uint32_t i = 0; i < d->in->nmod && i < 64; i++)
        if (strcmp(d->in->mod[i], name) == 0) {
            d->used |= (uint64_t)1 << i;
            return true;
        }
    return false;
}

int vgd_type(vg_decoder *d, int i) {
    for (uint32_t m = 0; m < d->in->nmod && m < 64; m++) {
        const int type = ptx_type_named(d->in->mod[m], strlen(d->in->mod[m]));
        if (!type || i-- > 0) continue;
        d->used |= (uint64_t)1 << m;
        return type;
    }
    return PTX_NONE;
}

int vgd_one_of(vg_decoder *d, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (vgd_mod(d, names[i])) return i;
    return -1;
}

bool vgd_count(vg_decoder *d, uint32_t least, uint32_t most) {
    if (d->in->nopnd >= least && d->in->nopnd <= most) return true;
    if (least == most) vgd_fail(d, "%u operands where %u are needed", d->in->nopnd, least);
    else vgd_fail(d, "%u operands where %u to %u are needed", d->in->nopnd, least, most);
    return false;
}

int vgd_space(vg_decoder *d) {
    static const struct {
        const char *name;
        int space;
    } rows[] = {{"global", PTX_GLOBAL}, {"shared", PTX_SHARED}, {"shared::cta", PTX_SHARED},
                {"shared::cluster", PTX_SHARED_CLUSTER}, {"local", PTX_LOCAL}, {"const", PTX_CONST},
                {"param", PTX_PARAM}, {"param::entry", PTX_PARAM}, {"param::func", PTX_PARAM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (vgd_mod(d, rows[i].name)) return rows[i].space;
    return PTX_GENERIC;
}

void *vgd_alloc(vg_decoder *d, size_t n) { return vm_alloc(d->arena, n ? n : 1); }

// ---- rows ---------------------------------------------------------------------------------------

static vg_row new_row(vg_decoder *d, unsigned bits) {
    vg_kernel *const k = d->kernel;
    vg_decoding *const s = d->state;
    if (bits == 1) { // predicates: sixteen a line
        if (!s->pred_left) {
            s->pred_at = (uint32_t)new_row(d, 2);
            s->pred_left = 32;
        }
        return (vg_row)(s->pred_at + 4 * (32 - s->pred_left--));
    }
    const uint32_t bytes = bits <= 32 ? 128 : bits <= 64 ? 256 : 512;
    if (k->row_bytes + bytes > MAX_ROW_BYTES) {
        vgd_fail(d, "the function needs too many registers");
        return 0;
    }
    const vg_row r = (vg_row)k->row_bytes;
    k->row_bytes += bytes;
    return r;
}

vg_row vgd_scratch(vg_decoder *d, bool wide) { return new_row(d, wide ? 64 : 32); }

static unsigned reg_bits(const vg_decoder *d, int32_t reg) {
    const ptx_type_info *const t = &ptx_types[d->func->reg[reg].type];
    return t->kind == PTX_K_PRED ? 1 : t->bits <= 32 ? 32 : t->bits;
}

static vg_row reg_row(vg_decoder *d, int32_t reg) {
    vg_row *const at = &d->kernel->reg[reg];
    if (*at == VG_NO_ROW) *at = new_row(d, reg_bits(d, reg));
    return *at;
}

static unsigned row_bits(int type) {
    const ptx_type_info *const t = &ptx_types[type];
    return t->kind == PTX_K_PRED ? 1 : t->bits <= 32 ? 32 : t->bits;
}

/// The row that `f` fills: one for each distinct filling.
static vg_row fill_row(vg_decoder *d, vg_fill_row f, unsigned bits) {
    vg_decoding *const s = d->state;
    if (s->nfill * 2 >= s->cap_index) {
        const uint32_t cap = s->cap_index ? 2 * s->cap_index : 64;
        uint32_t *const grown = vm_newn(d->arena, uint32_t, cap);
        for (uint32_t i = 0; i < s->nfill; i++) {
            uint32_t at = (uint32_t)vgd_fill_hash(&s->fill.at[i]) & (cap - 1);
            while (grown[at]) at = (at + 1) & (cap - 1);
            grown[at] = i + 1;
        }
        s->index = grown;
        s->cap_index = cap;
    }
    uint32_t at = (uint32_t)vgd_fill_hash(&f) & (s->cap_index - 1);
    for (; s->index[at]; at = (at + 1) & (s->cap_index - 1)) {
        const vg_fill_row *const x = &s->fill.at[s->index[at] - 1];
        if (x->kind == f.kind && x->wide == f.wide && x->special == f.special && x->value == f.value) return x->row;
    }
    f.row = new_row(d, bits);
    vm_push(d->arena, &s->fill, f);
    s->nfill = s->fill.n;
    s->index[at] = s->nfill;
    return f.row;
}

vg_row vgd_constant(vg_decoder *d, uint64_t value, bool wide) {
    return fill_row(d, (vg_fill_row){.kind = VG_FILL_CONST, .wide = wide, .value = wide ? value : (uint32_t)value},
                    wide ? 64 : 32);
}

// ---- rows made before an instruction, and widened after it ------------------------------------------

static void add_step(vg_decoder *d, vg_wrap_step step, bool after) {
    vg_decoding *const s = d->state;
    step.after = after;
    vm_push(d->arena, &s->step, step);
}

static enum vg_next ex_wrapped(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const vg_wrap *const x = in->wrap;
    for (uint32_t i = 0; i < x->n; i++) {
        const vg_wrap_step *const s = &x->step[i];
        if (s->after) continue;
        if (s->kind == VG_STEP_NARROW) {
            const uint64_t *const from = VG_ROW64(w, s->from);
            for (int l = 0; l < 32; l++) VG_ROW32(w, s->to)[l] = (uint32_t)from[l] & s->keep;
        } else if (s->kind == VG_STEP_SPECIAL) {
            for (uint32_t l = 0; l < 32; l++) {
                const uint64_t v = vg_special(w, s->special, l);
                if (s->wide) VG_ROW64(w, s->to)[l] = v;
                else VG_ROW32(w, s->to)[l] = (uint32_t)v & s->keep;
            }
        }
    }
    const enum vg_next n = x->run(w, in, mask);
    if (n != VG_NEXT && n != VG_YIELD) return n;
    for (uint32_t i = 0; i < x->n; i++) {
        const vg_wrap_step *const s = &x->step[i];
        if (!s->after) continue;
        for (uint32_t l = 0; l < 32; l++) {
            if (!(mask >> l & 1)) continue;
            const uint32_t v = VG_ROW32(w, s->from)[l];
            const uint32_t sign = s->sign_bits ? (uint32_t)1 << (s->sign_bits - 1) : 0;
            VG_ROW64(w, s->to)[l] = (uint64_t)(int64_t)(int32_t)((v ^ sign) - sign) & (sign ? UINT64_MAX : UINT32_MAX);
        }
    }
    return n;
}

void vgd_finish(vg_decoder *d, vg_inst *out) {
    vg_decoding *const s = d->state;
    if (!s->step.n) return;
    vg_wrap *const x = vm_new(d->arena, vg_wrap);
    x->run = out->run;
    x->n = s->step.n;
    x->step = vm_dup(d->arena, s->step.at, s->step.n * sizeof *s->step.at);
    s->step.n = 0;
    out->wrap = x;
    out->run = ex_wrapped;
}

// ---- operands -----------------------------------------------------------------------------------

static bool is_counter(int special) {
    switch (special) {
    case PTX_S_clock: case PTX_S_clock_hi: case PTX_S_clock64:
    case PTX_S_globaltimer: case PTX_S_globaltimer_lo: case PTX_S_globaltimer_hi: return true;
    default: return false;
    }
}

static uint32_t keep_of(int type) {
    const unsigned bits = ptx_types[type].bits;
    return bits >= 32 || bits == 0 ? UINT32_MAX : ((uint32_t)1 << bits) - 1;
}

static vg_row special_row(vg_decoder *d, int special, int type) {
    const bool wide = row_bits(type) >= 64;
    if (special < 0 || special >= PTX_special_count_) {
        vgd_fail(d, "an unknown special register");
        return 0;
    }
    if (is_counter(special)) {
        const vg_row r = vgd_scratch(d, wide);
        add_step(d, (vg_wrap_step){.kind = VG_STEP_SPECIAL, .to = r, .special = special, .wide = wide, .keep = keep_of(type)},
                 false);
        return r;
    }
    return fill_row(d, (vg_fill_row){.kind = VG_FILL_SPECIAL, .wide = wide, .special = special, .value = wide ? 0 : keep_of(type)},
                    wide ? 64 : 32);
}

static bool of_entry(const ptx_func *f, const ptx_var *v) {
    return f->is_entry && v >= f->param && v < f->param + f->nparam;
}

/// Offset of a shared variable in the entry's shared memory: placed when first named.
static uint64_t shared_offset(vg_decoder *d, const ptx_var *v) {
    vg_decoding *const s = d->state;
    vg_kernel *const entry = d->kernel->entry;
    for (uint32_t i = 0; i < s->shared->n; i++)
        if (s->shared->at[i].var == v) return s->shared->at[i].offset;
    const uint64_t at = (entry->static_shared + (uint64_t)v->align - 1) & ~((uint64_t)v->align - 1);
    if (at + v->bytes > 1u << VG_RANK_SHIFT) {
        vgd_fail(d, "more shared memory than there can be");
        return 0;
    }
    entry->static_shared = (uint32_t)(at + v->bytes);
    vm_push(d->arena, s->shared, ((vg_shared_at){v, (uint32_t)at}));
    return at;
}

static vg_row symbol_row(vg_decoder *d, const ptx_opnd *o, int64_t addend, bool wide) {
    const ptx_var *const v = o->var;
    const uint64_t code = o->func ? vg_code_address(d->module->ptx, o->func) : 0;
    if (code) return vgd_constant(d, code + (uint64_t)addend, wide);
    if (!v) {
        vgd_fail(d, "the address of '%.60s', which is no variable", o->symbol ? o->symbol : "?");
        return 0;
    }
    vg_fill_row f = {.kind = VG_FILL_CONST, .wide = wide};
    switch (v->space) {
    case PTX_SHARED:
        if (v->is_extern || v->unsized) {
            f.kind = VG_FILL_DYNAMIC;
            if (v->align > d->kernel->entry->dynamic_align) d->kernel->entry->dynamic_align = v->align;
        } else f.value = shared_offset(d, v);
        break;
    case PTX_LOCAL:
        f.kind = VG_FILL_LOCAL;
        f.value = v->address;
        break;
    case PTX_PARAM:
        if (of_entry(d->func, v)) f.value = VG_WINDOW_PARAM + v->address;
        else {
            f.kind = VG_FILL_LOCAL;
            f.value = v->address;
        }
        break;
    default:
        if (!v->address) vgd_fail(d, "'%.60s' is declared, but nowhere defined", v->name);
        f.value = v->address;
    }
    f.value += (uint64_t)addend;
    if (!wide) f.value = (uint32_t)f.value;
    return fill_row(d, f, wide ? 64 : 32);
}

static uint64_t float_code(vg_decoder *d, const ptx_opnd *o, int type) {
    const unsigned bits = ptx_types[type].bits;
    if (o->hex_bits && o->hex_bits == bits) return (uint64_t)o->integer;
    if (bits == 64) return vm_bits_of(o->real);
    if (bits == 32) {
        union { float f; uint32_t u; } x = {(float)o->real};
        return x.u;
    }
    vgd_fail(d, "a float constant for .%s", ptx_types[type].name);
    return 0;
}

vg_row vgd_source(vg_decoder *d, const ptx_opnd *o, int type) {
    const unsigned bits = row_bits(type);
    if (bits == 1) return vgd_pred(d, o);
    const bool wide = bits >= 64;
    switch (o->kind) {
    case PTX_O_REG: {
        const unsigned have = reg_bits(d, o->reg);
        if (o->negated || o->part >= 0) vgd_fail(d, "a modified operand where none can be");
        if (have == 1) vgd_fail(d, "a predicate where .%s is read", ptx_types[type].name);
        else if (have < bits) vgd_fail(d, "%s is too narrow for .%s", d->func->reg[o->reg].name, ptx_types[type].name);
        else if (have > bits && have > 64) vgd_fail(d, "%s is too wide for .%s", d->func->reg[o->reg].name, ptx_types[type].name);
        const vg_row r = reg_row(d, o->reg);
        if (have <= bits || d->failed) {
            const unsigned own = ptx_types[d->func->reg[o->reg].type].bits, need = ptx_types[type].bits;
            if (own < need && need <= 32) vgd_fail(d, "%s is too narrow for .%s", d->func->reg[o->reg].name, ptx_types[type].name);
            return r;
        }
        const vg_row narrow = vgd_scratch(d, false);
        add_step(d, (vg_wrap_step){.kind = VG_STEP_NARROW, .from = r, .to = narrow, .keep = UINT32_MAX}, false);
        return narrow;
    }
    case PTX_O_INT: {
        uint64_t v = (uint64_t)o->integer;
        if (ptx_types[type].kind == PTX_K_FLOAT && ptx_types[type].bits >= 32)
            v = float_code(d, &(ptx_opnd){.real = (double)o->integer}, type);
        if (bits > 64) break;
        return vgd_constant(d, wide ? v : v & keep_of(type), wide);
    }
    case PTX_O_FLOAT:
        if (bits > 64) break;
        return vgd_constant(d, float_code(d, o, type), wide);
    case PTX_O_SPECIAL:
        if (bits > 64) break;
        return special_row(d, o->special, type);
    case PTX_O_SYMBOL:
        if (bits > 64) break;
        return symbol_row(d, o, o->integer, wide);
    default: break;
    }
    vgd_fail(d, "an operand that cannot be read as .%s", ptx_types[type].name);
    return 0;
}

vg_row vgd_result(vg_decoder *d, const ptx_opnd *o, int type) {
    if (o->kind == PTX_O_SINK) return VG_NO_ROW;
    const unsigned bits = row_bits(type);
    if (o->kind != PTX_O_REG || o->negated || o->part >= 0) {
        vgd_fail(d, "a result that is no register");
        return 0;
    }
    const unsigned have = reg_bits(d, o->reg);
    const unsigned own = ptx_types[d->func->reg[o->reg].type].bits;
    if ((have == 1) != (bits == 1)) {
        vgd_fail(d, "%s cannot hold .%s", d->func->reg[o->reg].name, ptx_types[type].name);
        return 0;
    }
    const vg_row r = reg_row(d, o->reg);
    if (bits != 1 && (have < bits || own < ptx_types[type].bits)) {
        vgd_fail(d, "%s is too narrow for .%s", d->func->reg[o->reg].name, ptx_types[type].name);
        return 0;
    }
    if (have == bits) return r;
    if (have > 64) {
        vgd_fail(d, "%s is too wide for .%s", d->func->reg[o->reg].name, ptx_types[type].name);
        return 0;
    }
    const vg_row narrow = vgd_scratch(d, false);
    const bool sign = ptx_types[type].kind == PTX_K_INT;
    add_step(d, (vg_wrap_step){.kind = VG_STEP_WIDEN, .from = narrow, .to = r,
                               .sign_bits = sign ? (uint8_t)ptx_types[type].bits : 0}, true);
    return narrow;
}

vg_row vgd_pred(vg_decoder *d, const ptx_opnd *o) {
    if (o->kind == PTX_O_REG && reg_bits(d, o->reg) == 1) return reg_row(d, o->reg);
    if (o->kind == PTX_O_INT) return vgd_constant(d, o->integer ? UINT32_MAX : 0, false);
    if (o->kind == PTX_O_SPECIAL && o->special == PTX_S_is_explicit_cluster) // all lanes' bits are equal
        return fill_row(d, (vg_fill_row){.kind = VG_FILL_SPECIAL, .special = o->special, .value = UINT32_MAX}, 32);
    vgd_fail(d, "an operand that is no predicate");
    return 0;
}

vg_row vgd_address(vg_decoder *d, const ptx_opnd *o, bool *wide, int64_t *offset) {
    *wide = true;
    *offset = 0;
    if (o->kind != PTX_O_ADDRESS) {
        vgd_fail(d, "an operand that is no address");
        return 0;
    }
    if (o->reg >= 0) {
        const unsigned own = ptx_types[d->func->reg[o->reg].type].bits;
        if (own != 32 && own != 64) vgd_fail(d, "%s cannot hold an address", d->func->reg[o->reg].name);
        *wide = own == 64;
        *offset = o->integer;
        return reg_row(d, o->reg);
    }
    if (o->symbol) {
        *offset = o->integer;
        return symbol_row(d, o, 0, true);
    }
    return vgd_constant(d, (uint64_t)o->integer, true);
}

uint64_t vgd_fill_hash(const vg_fill_row *f) {
    uint64_t h = f->value * 0x9e3779b97f4a7c15ull;
    h ^= (uint64_t)f->kind << 40 ^ (uint64_t)f->wide << 44 ^ (uint64_t)(uint32_t)f->special << 48;
    h *= 0xbf58476d1ce4e5b9ull;
    return h ^ h >> 29;
}
