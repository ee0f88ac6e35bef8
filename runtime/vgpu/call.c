// SPDX-License-Identifier: Apache-2.0
// Calls: of the module's functions, whose parameters lie in the frames' local memory, and of the few
// that a device offers (vprintf, __assertfail, malloc, free).
#include "runtime/vgpu/alu.h"
#include "runtime/vgpu/load.h"

#include <inttypes.h>
#include <string.h>

/// One value that a call passes: bytes of local memory, or a row.
typedef struct {
    bool is_row;
    vg_row row;
    uint32_t at;                // in the frame's local memory
    uint32_t bytes;             // as passed
} place;

typedef struct vg_called {
    const vg_kernel *callee;    // NULL: built in, or by address
    const vg_kernel *const *by_index; // by address: of the module's functions, NULL where none can be called
    const struct builtin *builtin;
    uint32_t narg, nres;
    place *arg, *res;           // of the caller
} called;

// ---- values -------------------------------------------------------------------------------------

static uint8_t *local_at(const vg_warp *w, uint32_t lane, uint32_t at) { return w->local + (size_t)lane * w->run->local_stride + at; }

static void read_place(const vg_warp *w, const vg_frame *f, const place *p, uint32_t lane, uint8_t *out) {
    if (!p->is_row) {
        memcpy(out, local_at(w, lane, f->local_base + p->at), p->bytes);
        return;
    }
    const uint8_t *const row = f->rows + p->row;
    if (p->bytes > 8) memcpy(out, row + 16 * lane, 16);
    else if (p->bytes > 4) memcpy(out, row + 8 * lane, 8);
    else memcpy(out, row + 4 * lane, p->bytes);
}

static void write_place(const vg_warp *w, const vg_frame *f, const place *p, uint32_t lane, const uint8_t *in) {
    if (!p->is_row) {
        memcpy(local_at(w, lane, f->local_base + p->at), in, p->bytes);
        return;
    }
    uint8_t *const row = f->rows + p->row;
    uint32_t v = 0;
    if (p->bytes > 8) memcpy(row + 16 * lane, in, 16);
    else if (p->bytes > 4) memcpy(row + 8 * lane, in, 8);
    else {
        memcpy(&v, in, p->bytes);
        memcpy(row + 4 * lane, &v, 4);
    }
}

/// The callee's formal parameter or result as a place of its frame.
static place formal(const vg_kernel *k, const ptx_var *v) {
    if (v->space == PTX_REG) return (place){true, k->reg[v->reg], 0, (uint32_t)v->bytes};
    return (place){false, VG_NO_ROW, (uint32_t)v->address, (uint32_t)v->bytes};
}

/// Copies of small values go through a buffer; larger ones are in local memory on both sides.
static void pass(const vg_warp *w, const vg_frame *from, const place *a, const vg_frame *to, const place *b, uint32_t mask) {
    uint8_t small[16];
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m);
        if (!a->is_row && !b->is_row) {
            memcpy(local_at(w, lane, to->local_base + b->at), local_at(w, lane, from->local_base + a->at), a->bytes < b->bytes ? a->bytes : b->bytes);
            continue;
        }
        memset(small, 0, sizeof small);
        read_place(w, from, a, lane, small);
        write_place(w, to, b, lane, small);
    }
}

void vg_call_results(vg_warp *w, const vg_frame *callee, const vg_split *caller, uint32_t mask) {
    const vg_inst *const in = &caller->frame->code->inst[caller->pc - 1];
    const called *const c = in->aux;
    const ptx_func *const f = callee->code->func;
    for (uint32_t i = 0; i < c->nres && i < f->nret; i++) {
        const place from = formal(callee->code, &f->ret[i]);
        pass(w, callee, &from, caller->frame, &c->res[i], mask);
    }
}

// ---- calls --------------------------------------------------------------------------------------

static enum vg_next enter(vg_warp *w, const vg_inst *in, uint32_t mask, const vg_kernel *callee) {
    const called *const c = in->aux;
    const ptx_func *const f = callee->func;
    vg_frame *const from = w->split[w->current].frame;
    vg_frame *const to = vg_frame_push(w, callee, from);
    if (!to)
        return vg_fail(w, in, (uint32_t)__builtin_ctz(mask), VG_LAUNCH_FAILED, "calls nested too deeply, or no local memory left, in '%.100s'", f->name);
    for (uint32_t i = 0; i < c->narg; i++) {
        const place p = formal(callee, &f->param[i]);
        pass(w, from, &c->arg[i], to, &p, mask);
    }
    return vg_enter(w, to, mask);
}

static enum vg_next ex_call(vg_warp *w, const vg_inst *in, uint32_t mask) {
    return enter(w, in, mask, ((const called *)in->aux)->callee);
}

/// Lanes that call one function enter it together; others part and come to this instruction again.
static enum vg_next ex_call_address(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const called *const c = in->aux;
    const uint64_t *const at = VG_ROW64(w, in->s[0]);
    uint32_t target[33], lanes[33], ways = 0;
    for (uint32_t left = mask; left; left &= ~lanes[ways++]) {
        const uint32_t first = (uint32_t)__builtin_ctz(left);
        lanes[ways] = 0;
        target[ways] = w->pc;
        for (uint32_t l = first; l < 32; l++)
            if (left & vga_bit[l] && at[l] == at[first]) lanes[ways] |= vga_bit[l];
    }
    if (ways > 1) {
        if (mask != w->active) {
            target[ways] = w->pc + 1;
            lanes[ways++] = w->active & ~mask;
        }
        return vg_diverge(w, w->pc + 1, ways, target, lanes);
    }
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    const uint64_t index = (at[lane] - VG_WINDOW_CODE) / VG_CODE_STEP;
    const vg_kernel *const k = at[lane] >= VG_WINDOW_CODE && at[lane] % VG_CODE_STEP == 0 && index < (uint64_t)in->imm ? c->by_index[index] : NULL;
    if (!k || k->func->nparam != c->narg || k->func->nret < c->nres)
        return vg_fail(w, in, lane, VG_ILLEGAL_ADDRESS, "a call of 0x%" PRIx64 ", %s", at[lane],
                       k ? "a function with other parameters" : "which is no function");
    return enter(w, in, mask, k);
}

// ---- built in -----------------------------------------------------------------------------------

struct builtin {
    const char *name;
    uint32_t narg, nres;
    enum vg_next (*run)(vg_warp *w, const vg_inst *in, uint32_t mask);
};

static uint64_t argument(const vg_warp *w, const called *c, uint32_t i, uint32_t lane) {
    uint8_t b[16] = {0};
    uint64_t v;
    if (c->arg[i].bytes <= 8) read_place(w, w->split[w->current].frame, &c->arg[i], lane, b);
    memcpy(&v, b, 8);
    return v;
}

static void answer(const vg_warp *w, const called *c, uint32_t lane, uint64_t v) {
    uint8_t b[16] = {0};
    memcpy(b, &v, 8);
    if (c->nres && c->res[0].bytes <= 8) write_place(w, w->split[w->current].frame, &c->res[0], lane, b);
}

/// Text in device memory, cut at size; false after vg_fail.
static bool device_text(vg_warp *w, const vg_inst *in, uint32_t lane, uint64_t a, char *out, size_t size) {
    size_t n = 0;
    for (; n + 1 < size; n++) {
        int space = PTX_GENERIC;
        vg_block *owner;
        const uint8_t *const p = vg_resolve(w, in, lane, a + n, 1, 1, VG_READ, &space, &owner);
        if (!p) return false;
        out[n] = (char)*p;
        if (!*p) return true;
    }
    out[n] = 0;
    return true;
}

static void output(vg_run *r, const char *text, size_t n) {
    vg_lock(r->gpu);
    if (r->gpu->options.print) r->gpu->options.print(r->gpu->options.user, text, n);
    else fwrite(text, 1, n, stdout);
    vg_unlock(r->gpu);
}

enum { PRINT_MAX = 4096 };

typedef struct {
    vg_warp *w;
    const vg_inst *in;
    uint32_t lane;
    uint64_t at;                // of the arguments, and of the next
    char *out;
    size_t n;
} printing;

static bool next_value(printing *p, uint32_t bytes, uint64_t *v) {
    p->at = (p->at + bytes - 1) & ~(uint64_t)(bytes - 1);
    int space = PTX_GENERIC;
    vg_block *owner;
    const uint8_t *const at = vg_resolve(p->w, p->in, p->lane, p->at, bytes, bytes, VG_READ, &space, &owner);
    if (!at) return false;
    *v = 0;
    memcpy(v, at, bytes);
    p->at += bytes;
    return true;
}

static void print_put(printing *p, const char *text, size_t n) {
    if (n > PRINT_MAX - 1 - p->n) n = PRINT_MAX - 1 - p->n;
    memcpy(p->out + p->n, text, n);
    p->n += n;
}

/// One conversion of a format, at '%'; the place behind it, NULL after vg_fail. Its flags, width and
/// precision are rebuilt from what was understood, so the host's printf sees nothing else.
static const char *conversion(printing *p, const char *f) {
    char spec[64] = "%", text[1200];
    size_t n = 1;
    const char *const start = f++;
    while (*f && strchr("-+ #0", *f) && n < 8) spec[n++] = *f++;
    for (int part = 0; part < 2; part++) {
        if (part && *f != '.') break;
        if (part) spec[n++] = *f++;
        uint64_t v = 0;
        if (*f == '*') {
            if (!next_value(p, 4, &v)) return NULL;
            f++;
            int32_t given = (int32_t)(uint32_t)v;
            if (given < 0 && part) n--; // as if the precision were not there
            else {
                if (given < 0) spec[n++] = '-', given = given == INT32_MIN ? 0 : -given;
                n += (size_t)snprintf(spec + n, sizeof spec - n, "%d", given > 1000 ? 1000 : given);
            }
            continue;
        }
        uint32_t number = 0;
        bool any = false;
        for (; *f >= '0' && *f <= '9'; f++, any = true) number = number < 1000 ? number * 10 + (uint32_t)(*f - '0') : 1000;
        if (any) n += (size_t)snprintf(spec + n, sizeof spec - n, "%u", (unsigned)(number > 1000 ? 1000 : number));
    }
    bool wide = false;
    for (; *f && strchr("hljztL", *f); f++) wide |= *f == 'l' || *f == 'j' || *f == 'z' || *f == 't';
    const char c = *f;
    uint64_t v = 0;
    int m;
    if (c == '%') {
        print_put(p, "%", 1);
        return f + 1;
    }
    if (c && strchr("diuxXoc", c)) {
        if (!next_value(p, wide && c != 'c' ? 8 : 4, &v)) return NULL;
        if (c == 'd' || c == 'i') {
            snprintf(spec + n, sizeof spec - n, "%s", PRId64);
            m = snprintf(text, sizeof text, spec, wide ? (int64_t)v : (int64_t)(int32_t)(uint32_t)v);
        } else if (c == 'c') {
            snprintf(spec + n, sizeof spec - n, "c");
            m = snprintf(text, sizeof text, spec, (int)(v & 255));
        } else {
            snprintf(spec + n, sizeof spec - n, "l%c", c);
            m = snprintf(text, sizeof text, spec, (unsigned long)v);
        }
    } else if (c && strchr("fFeEgGaA", c)) {
        if (!next_value(p, 8, &v)) return NULL;
        snprintf(spec + n, sizeof spec - n, "%c", c);
        m = snprintf(text, sizeof text, spec, vm_from_bits(v));
    } else if (c == 'p') {
        if (!next_value(p, 8, &v)) return NULL;
        m = snprintf(text, sizeof text, "0x%" PRIx64, v);
    } else if (c == 's') {
        char s[1024];
        if (!next_value(p, 8, &v)) return NULL;
        if (!v) snprintf(s, sizeof s, "(null)");
        else if (!device_text(p->w, p->in, p->lane, v, s, sizeof s)) return NULL;
        snprintf(spec + n, sizeof spec - n, "s");
        m = snprintf(text, sizeof text, spec, s);
    } else {
        print_put(p, start, (size_t)(f - start) + (c != 0));
        return f + (c != 0);
    }
    if (m > 0) print_put(p, text, (size_t)m < sizeof text ? (size_t)m : sizeof text - 1);
    return f + 1;
}

static enum vg_next ex_vprintf(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const called *const c = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m);
        char format[2048], out[PRINT_MAX];
        if (!device_text(w, in, lane, argument(w, c, 0, lane), format, sizeof format)) return VG_STOP;
        printing p = {.w = w, .in = in, .lane = lane, .at = argument(w, c, 1, lane), .out = out};
        for (const char *f = format; *f;) {
            if (*f != '%') {
                const size_t n = strcspn(f, "%");
                print_put(&p, f, n);
                f += n;
            } else if (!(f = conversion(&p, f))) return VG_STOP;
        }
        output(w->run, out, p.n);
        answer(w, c, lane, (uint64_t)p.n);
    }
    return VG_NEXT;
}

static enum vg_next ex_assertfail(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const called *const c = in->aux;
    const uint32_t lane = (uint32_t)__builtin_ctz(mask);
    char what[300], file[300], function[200];
    if (!device_text(w, in, lane, argument(w, c, 0, lane), what, sizeof what) || !device_text(w, in, lane, argument(w, c, 1, lane), file, sizeof file) ||
        !device_text(w, in, lane, argument(w, c, 3, lane), function, sizeof function))
        return VG_STOP;
    return vg_fail(w, in, lane, VG_ASSERT, "%s:%u: %s: assertion `%s' failed", file, (unsigned)argument(w, c, 2, lane), function, what);
}

static enum vg_next ex_malloc(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const called *const c = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m);
        answer(w, c, lane, vg_heap_alloc(w->run->gpu, argument(w, c, 0, lane)));
    }
    return VG_NEXT;
}

static enum vg_next ex_free(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const called *const c = in->aux;
    for (uint32_t m = mask; m; m &= m - 1) {
        const uint32_t lane = (uint32_t)__builtin_ctz(m);
        const uint64_t a = argument(w, c, 0, lane);
        if (a && !vg_heap_free(w->run->gpu, a)) return vg_fail(w, in, lane, VG_ILLEGAL_ADDRESS, "free of 0x%" PRIx64 ", which malloc did not return", a);
    }
    return VG_NEXT;
}

static const struct builtin builtins[] = {
    {"vprintf", 2, 1, ex_vprintf},
    {"__assertfail", 5, 0, ex_assertfail},
    {"malloc", 1, 1, ex_malloc},
    {"free", 1, 0, ex_free},
};

// ---- decoding -----------------------------------------------------------------------------------

/// A value that the call names: a .param variable of the body, a register or a constant. `to`: the
/// formal, NULL in calls by address.
static place actual(vg_decoder *d, const ptx_opnd *o, const ptx_var *to, bool result) {
    if (o->kind == PTX_O_SYMBOL && o->var && o->var->space == PTX_PARAM) {
        const uint32_t want = (uint32_t)(to ? to->bytes : o->var->bytes);
        if (d->func->is_entry && o->var >= d->func->param && o->var < d->func->param + d->func->nparam)
            vgd_fail(d, "a parameter of the kernel passed on");
        if (o->var->bytes < want) vgd_fail(d, "'%.60s' is passed for %u bytes and has fewer", o->symbol, (unsigned)want);
        return (place){false, VG_NO_ROW, (uint32_t)o->var->address, want};
    }
    int type = to ? to->type : o->kind == PTX_O_REG && o->reg >= 0 ? d->func->reg[o->reg].type : PTX_b32;
    const uint32_t want = to ? (uint32_t)to->bytes : ptx_types[type].bits / 8u;
    if (ptx_types[type].kind == PTX_K_PRED) type = PTX_b32;
    if (want > 16) vgd_fail(d, "a register passed for %u bytes", (unsigned)want);
    if (result) return (place){true, vga_result(d, o, type), 0, want};
    return (place){true, vgd_source(d, o, type), 0, want};
}

/// Any function of the module with as many parameters can be meant.
static void call_address(vg_decoder *d, vg_inst *out, called *c) {
    const ptx_module *const m = d->module->ptx;
    const vg_kernel **const by = vgd_alloc(d, m->nfunc * sizeof *by);
    for (uint32_t i = 0; i < m->nfunc && !d->failed; i++) {
        const ptx_func *const f = m->func[i];
        if (!f->is_entry && !f->is_extern && !f->alias && f->nparam == c->narg && f->nret >= c->nres) by[i] = vgd_callee(d, f);
    }
    c->by_index = by;
    out->imm = m->nfunc;
    out->s[0] = vgd_source(d, &d->in->opnd[0], PTX_u64);
    out->run = ex_call_address;
}

void vgd_call(vg_decoder *d, vg_inst *out) {
    const ptx_inst *const in = d->in;
    vgd_mod(d, "uni");
    out->cls = VG_C_control;
    const ptx_func *f = in->nopnd ? in->opnd[0].func : NULL;
    for (int i = 0; f && f->alias && i < 64; i++) f = f->alias;
    called *const c = vgd_alloc(d, sizeof *c);
    out->aux = c;
    if (!f) {
        if (!in->nopnd || in->opnd[0].kind != PTX_O_REG) {
            vgd_fail(d, "a call of neither a function nor a register");
            return;
        }
        c->narg = in->narg;
        c->nres = in->nresult;
        c->arg = vgd_alloc(d, c->narg * sizeof(place));
        c->res = vgd_alloc(d, c->nres * sizeof(place));
        for (uint32_t i = 0; i < c->narg; i++) c->arg[i] = actual(d, &in->arg[i], NULL, false);
        for (uint32_t i = 0; i < c->nres; i++) c->res[i] = actual(d, &in->result[i], NULL, true);
        call_address(d, out, c);
        return;
    }
    for (size_t i = 0; f->is_extern && i < sizeof builtins / sizeof *builtins; i++)
        if (strcmp(builtins[i].name, f->name) == 0) c->builtin = &builtins[i];
    if (f->is_entry || (f->is_extern && !c->builtin)) {
        vgd_fail(d, "'%.100s' has no body", f->name);
        return;
    }
    if (in->narg != f->nparam || in->nresult > f->nret ||
        (c->builtin && (in->narg != c->builtin->narg || f->nret != c->builtin->nres))) {
        vgd_fail(d, "'%.100s' has %u parameters and %u results", f->name, (unsigned)f->nparam, (unsigned)f->nret);
        return;
    }
    c->narg = in->narg;
    c->nres = in->nresult;
    c->arg = vgd_alloc(d, c->narg * sizeof(place));
    c->res = vgd_alloc(d, c->nres * sizeof(place));
    for (uint32_t i = 0; i < c->narg; i++) c->arg[i] = actual(d, &in->arg[i], &f->param[i], false);
    for (uint32_t i = 0; i < c->nres; i++) c->res[i] = actual(d, &in->result[i], &f->ret[i], true);
    if (c->builtin) {
        out->run = c->builtin->run;
        if (c->builtin->run == ex_malloc && !vg_heap_reserve(d->gpu)) vgd_fail(d, "no memory for the device's heap");
        return;
    }
    c->callee = vgd_callee(d, f);
    out->run = ex_call;
}

// ---- the stack ----------------------------------------------------------------------------------

/// alloca gives all lanes the same place: the most that one of them asks for is taken.
static enum vg_next ex_alloca(vg_warp *w, const vg_inst *in, uint32_t mask) {
    vg_frame *const f = w->split[w->current].frame;
    const uint64_t *const n = VG_ROW64(w, in->s[0]);
    uint64_t most = 0;
    for (int l = 0; l < 32; l++)
        if (mask & vga_bit[l] && n[l] > most) most = n[l];
    const uint64_t align = in->imm > 16 ? (uint64_t)in->imm : 16;
    uint64_t at = (uint64_t)f->local_base + f->code->local_bytes + f->alloca_bytes;
    at = (at + align - 1) & ~(align - 1);
    if (most > w->run->local_stride || at + most > w->run->local_stride)
        return vg_fail(w, in, (uint32_t)__builtin_ctz(mask), VG_ILLEGAL_ADDRESS, "alloca of %" PRIu64 " bytes; local memory ends", most);
    f->alloca_bytes = (uint32_t)(((at + most + 15) & ~15ull) - f->local_base - f->code->local_bytes);
    uint64_t *const d = VG_ROW64(w, in->d[0]);
    VGA_EACH(d, mask, uint64_t, at);
    return VG_NEXT;
}

static enum vg_next ex_stacksave(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t v = w->split[w->current].frame->alloca_bytes;
    if (in->sub) {
        uint64_t *const d = VG_ROW64(w, in->d[0]);
        VGA_EACH(d, mask, uint64_t, v);
    } else {
        uint32_t *const d = VG_ROW32(w, in->d[0]);
        VGA_EACH(d, mask, uint32_t, v);
    }
    return VG_NEXT;
}

static enum vg_next ex_stackrestore(vg_warp *w, const vg_inst *in, uint32_t mask) {
    const uint32_t l = (uint32_t)__builtin_ctz(mask);
    const uint64_t v = in->sub ? VG_ROW64(w, in->s[0])[l] : VG_ROW32(w, in->s[0])[l];
    vg_frame *const f = w->split[w->current].frame;
    if (w->parts == 1 && v <= f->alloca_bytes) f->alloca_bytes = (uint32_t)v; // else others may still use it
    return VG_NEXT;
}

void vgd_stack(vg_decoder *d, vg_inst *out) {
    const ptx_opnd *const o = d->in->opnd;
    const int type = vgd_type(d, 0);
    out->cls = VG_C_local;
    d->kernel->allocates = true;
    if (type != PTX_u64 && type != PTX_u32) vgd_fail(d, "a type other than .u32 and .u64");
    out->sub = type == PTX_u64;
    if (strcmp(d->in->op, "alloca") == 0) {
        if (!vgd_count(d, 2, 3)) return;
        if (!out->sub) vgd_fail(d, "addresses have 64 bits");
        out->d[0] = vga_result(d, &o[0], type);
        out->s[0] = vgd_source(d, &o[1], type);
        if (d->in->nopnd == 3) {
            if (o[2].kind != PTX_O_INT || o[2].integer < 1 || o[2].integer > 1024 || (o[2].integer & (o[2].integer - 1)))
                vgd_fail(d, "an alignment that is no power of two up to 1024");
            out->imm = o[2].integer;
        }
        out->run = ex_alloca;
        return;
    }
    if (!vgd_count(d, 1, 1)) return;
    if (strcmp(d->in->op, "stacksave") == 0) {
        out->d[0] = vga_result(d, &o[0], type);
        out->run = ex_stacksave;
    } else {
        out->s[0] = vgd_source(d, &o[0], type);
        out->run = ex_stackrestore;
    }
}
