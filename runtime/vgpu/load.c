// SPDX-License-Identifier: Apache-2.0
// A PTX module on the virtual GPU: its variables placed and initialised, its entries decoded, each with
// the functions that it calls.
#include "runtime/vgpu/load.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_CALLEES = 4096 };

// ---- decoding -----------------------------------------------------------------------------------

static const struct {
    const char *name;
    vg_decode *decode;
} ops[] = {
#define PTX_OP(name, decoder, doc) {#name, decoder},
#include "runtime/vgpu/ops.def"
#undef PTX_OP
};
enum { NOPS = sizeof ops / sizeof *ops };

/// Index in ops by hash of the name; built at first use of a load.
typedef struct {
    uint8_t at[512];            // index + 1
} op_table;
_Static_assert(NOPS < 255, "op_table holds bytes");

static uint32_t name_hash(const char *s) {
    uint32_t h = 2166136261u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 16777619u;
    return h ^ h >> 15;
}

static void op_table_fill(op_table *t) {
    memset(t, 0, sizeof *t);
    for (uint32_t i = 0; i < NOPS; i++) {
        uint32_t h = name_hash(ops[i].name) & 511;
        while (t->at[h]) h = (h + 1) & 511;
        t->at[h] = (uint8_t)(i + 1);
    }
}

static vg_decode *op_find(const op_table *t, const char *name) {
    for (uint32_t h = name_hash(name) & 511; t->at[h]; h = (h + 1) & 511)
        if (strcmp(ops[t->at[h] - 1].name, name) == 0) return ops[t->at[h] - 1].decode;
    return NULL;
}

typedef struct {
    vg_gpu *gpu;
    vg_module *module;
    ptx_error *error;
    op_table table;
    vg_kernel *entry;           // being decoded, with what it calls
    vg_shared_map shared;
    VM_VEC(vg_kernel *) queue;
} loader;

/// Decoding finds its loader through the decoder's state.
typedef struct {
    vg_decoding d;
    loader *loader;
} decoding;

uint32_t vgd_join(const vg_decoder *d) { return d->state->joins[d->in - d->func->inst]; }

static uint64_t align_up(uint64_t at, uint64_t align) { return (at + align - 1) & ~(align - 1); }

/// Parameters of a .func, and the local variables of any function, lie in the frame's local memory.
static bool lay_locals(loader *l, vg_kernel *k) {
    ptx_func *const f = (ptx_func *)(uintptr_t)k->func; // its variables' places are ours to write
    uint64_t at = 0;
    if (!f->is_entry) {
        ptx_var *const formal[] = {f->ret, f->param};
        const uint32_t n[] = {f->nret, f->nparam};
        for (int part = 0; part < 2; part++)
            for (uint32_t i = 0; i < n[part]; i++) {
                ptx_var *const v = &formal[part][i];
                if (v->space == PTX_REG) continue;
                v->address = at = align_up(at, v->align ? v->align : 1);
                at += v->bytes;
            }
    }
    for (uint32_t i = 0; i < f->nlocal; i++) {
        ptx_var *const v = f->local[i];
        if (v->space != PTX_LOCAL && v->space != PTX_PARAM) continue;
        v->address = at = align_up(at, v->align ? v->align : 1);
        at += v->bytes;
    }
    at = align_up(at, 16);
    if (at > 512 * 1024) {
        l->error->line = f->pos.line;
        snprintf(l->error->text, sizeof l->error->text, "line %u: '%.80s' needs %llu bytes of local memory a thread; "
                 "there are 524288", (unsigned)f->pos.line, f->name, (unsigned long long)at);
        return false;
    }
    k->local_bytes = (uint32_t)at;
    return true;
}

static vg_kernel *new_kernel(loader *l, const ptx_func *f, vg_kernel *entry) {
    vg_kernel *const k = vm_new(l->module->arena, vg_kernel);
    k->module = l->module;
    k->func = f;
    k->entry = entry ? entry : k;
    k->dynamic_align = 16;
    return k;
}

const vg_kernel *vgd_callee(vg_decoder *d, const ptx_func *f) {
    loader *const l = ((decoding *)d->state)->loader;
    uint32_t n = 0;
    for (vg_kernel *k = l->entry->callees; k; k = k->next, n++)
        if (k->func == f) return k;
    if (n >= MAX_CALLEES) {
        vgd_fail(d, "an entry calls more than %d functions", MAX_CALLEES);
        return NULL;
    }
    vg_kernel *const k = new_kernel(l, f, l->entry);
    k->next = l->entry->callees;
    l->entry->callees = k;
    vm_push(l->module->arena, &l->queue, k);
    return k;
}

static enum vg_next ex_end(vg_warp *w, const vg_inst *in, uint32_t mask) {
    (void)in;
    return vg_exit_lanes(w, mask); // a .func's end is its join: it is never executed
}

static void decode_inst(vg_decoder *d, const op_table *t, vg_inst *out) {
    const ptx_inst *const in = d->in;
    *out = (vg_inst){.guard = VG_NO_ROW, .guard_not = in->guard_not, .vec = 1, .ptx = in,
                     .d = {VG_NO_ROW, VG_NO_ROW, VG_NO_ROW, VG_NO_ROW}, .s = {VG_NO_ROW, VG_NO_ROW, VG_NO_ROW, VG_NO_ROW}};
    d->used = 0;
    if (in->guard >= 0) out->guard = vgd_pred(d, &(ptx_opnd){.kind = PTX_O_REG, .reg = in->guard, .part = -1});
    vg_decode *const decode = op_find(t, in->op);
    if (!decode) {
        vgd_fail(d, "an instruction that the virtual GPU does not know");
        return;
    }
    decode(d, out);
    for (uint32_t i = 0; i < in->nmod && !d->failed; i++)
        if (i >= 64 || !(d->used >> i & 1)) vgd_fail(d, "the modifier .%s is not known here", in->mod[i]);
    if (!d->failed && !out->run) vgd_fail(d, "no way to execute it");
    vgd_finish(d, out);
}

static bool decode_function(loader *l, vg_kernel *k) {
    const ptx_func *const f = k->func;
    vm_arena *const a = l->module->arena;
    decoding s = {.loader = l};
    s.d.shared = &l->shared;
    s.d.joins = ptx_joins(a, f);
    vg_decoder d = {.gpu = l->gpu, .module = l->module, .kernel = k, .func = f, .arena = a, .error = l->error, .state = &s.d};
    if (!lay_locals(l, k)) return false;
    k->ninst = f->ninst;
    k->inst = vm_newn(a, vg_inst, (size_t)f->ninst + 1);
    k->reg = vm_newn(a, vg_row, f->nreg ? f->nreg : 1);
    for (uint32_t i = 0; i < f->nreg; i++) k->reg[i] = VG_NO_ROW;
    // Row 0 is nobody's: decoders that fail may hand it out.
    k->row_bytes = 512;
    for (uint32_t i = 0; i < f->ninst && !d.failed; i++) {
        d.in = &f->inst[i];
        decode_inst(&d, &l->table, &k->inst[i]);
    }
    k->inst[f->ninst] = (vg_inst){.run = ex_end, .guard = VG_NO_ROW, .cls = VG_C_control,
                                  .ptx = f->ninst ? &f->inst[f->ninst - 1] : vm_new(a, ptx_inst)};
    d.in = NULL;
    for (uint32_t i = 0; i < f->nret + f->nparam && !d.failed; i++) { // register parameters need rows
        const ptx_var *const v = i < f->nret ? &f->ret[i] : &f->param[i - f->nret];
        if (v->space == PTX_REG && v->reg >= 0)
            vgd_source(&d, &(ptx_opnd){.kind = PTX_O_REG, .reg = v->reg, .part = -1}, f->reg[v->reg].type);
    }
    k->fill = s.d.fill.at;
    k->nfill = s.d.fill.n;
    return !d.failed;
}

/// Local memory of the deepest chain of calls; recursion gets a fixed multiple.
static uint64_t local_total(const vg_kernel *entry) {
    uint64_t sum = entry->local_bytes;
    bool allocates = entry->allocates;
    for (const vg_kernel *k = entry->callees; k; k = k->next) {
        sum += k->local_bytes;
        allocates |= k->allocates;
    }
    const uint64_t own = sum - entry->local_bytes;
    if (own) sum += own * 15 > 65536 ? 65536 : own * 15; // frames of recursive calls
    return sum + (allocates ? 65536 : 0);
}

static bool load_entry(loader *l, const ptx_func *f) {
    vg_kernel *const k = new_kernel(l, f, NULL);
    l->entry = k;
    l->shared = (vg_shared_map){0};
    l->queue.n = 0;
    if (!decode_function(l, k)) return false;
    for (uint32_t i = 0; i < l->queue.n; i++)
        if (!decode_function(l, l->queue.at[i])) return false;
    k->local_total = (uint32_t)local_total(k);
    k->next = l->module->kernels;
    l->module->kernels = k;
    return true;
}

// ---- variables ----------------------------------------------------------------------------------

static bool variable_fail(ptx_error *e, const ptx_var *v, const char *why) {
    e->line = v->pos.line;
    snprintf(e->text, sizeof e->text, "line %u: '%.80s' %.200s", (unsigned)v->pos.line, v->name, why);
    return false;
}

uint64_t vg_code_address(const ptx_module *m, const ptx_func *f) {
    for (int i = 0; f->alias && i < 64; i++) f = f->alias;
    if (f->is_extern || f->is_entry) return 0;
    for (uint32_t i = 0; i < m->nfunc; i++)
        if (m->func[i] == f) return VG_WINDOW_CODE + (uint64_t)i * VG_CODE_STEP;
    return 0;
}

static bool place_variables(loader *l) {
    const ptx_module *const m = l->module->ptx;
    vg_gpu *const g = l->gpu;
    for (uint32_t i = 0; i < m->nvar; i++) {
        ptx_var *const v = m->var[i];
        if ((v->space != PTX_GLOBAL && v->space != PTX_CONST) || v->is_extern) continue;
        if (vg_alloc(g, v->bytes ? v->bytes : 1, &v->address) != VG_OK) return variable_fail(l->error, v, "does not fit into device memory");
        for (size_t k = 0; k < g->nextent; k++)
            if (g->extent[k].at == v->address && g->extent[k].live) g->extent[k].module = true;
    }
    for (uint32_t i = 0; i < m->nvar; i++) {
        const ptx_var *const v = m->var[i];
        if (!v->address || (v->space != PTX_GLOBAL && v->space != PTX_CONST)) continue;
        uint8_t *const at = vg_host(g, v->address, v->bytes ? v->bytes : 1, true);
        memset(at, 0, v->bytes);
        if (v->ninit) memcpy(at, v->init, v->ninit < v->bytes ? v->ninit : v->bytes);
        for (uint32_t r = 0; r < v->nreloc; r++) {
            const struct ptx_reloc *const x = &v->reloc[r];
            const uint64_t to = x->var ? x->var->address : x->func ? vg_code_address(m, x->func) : 0;
            if (!to) return variable_fail(l->error, v, "holds the address of what is not defined");
            const uint64_t value = (to + (uint64_t)x->addend) >> x->shift;
            if (x->at + x->bytes <= v->bytes) memcpy(at + x->at, &value, x->bytes);
        }
    }
    return true;
}

static int target_sm(const char *target) {
    return target && strncmp(target, "sm_", 3) == 0 ? atoi(target + 3) : 0;
}

static bool load(loader *l, const char *ptx, size_t size) {
    vg_module *const m = l->module;
    m->ptx = ptx_parse(m->arena, ptx, size, l->error);
    if (!m->ptx) return false;
    const int needs = target_sm(m->ptx->target);
    if (needs > l->gpu->options.sm) {
        l->error->line = 0;
        snprintf(l->error->text, sizeof l->error->text, "the module is for %.20s, and this GPU is sm_%d", m->ptx->target, l->gpu->options.sm);
        return false;
    }
    if (m->ptx->address_size != 64) {
        snprintf(l->error->text, sizeof l->error->text, "the module has addresses of %u bits; 64 are needed", (unsigned)m->ptx->address_size);
        return false;
    }
    op_table_fill(&l->table);
    if (!place_variables(l)) return false;
    for (uint32_t i = m->ptx->nfunc; i-- > 0;)
        if (m->ptx->func[i]->is_entry && !m->ptx->func[i]->is_extern && !load_entry(l, m->ptx->func[i])) return false;
    return true;
}

vg_module *vg_load(vg_gpu *g, const char *ptx, size_t size, ptx_error *e) {
    jmp_buf oom;
    *e = (ptx_error){0};
    vm_arena *const a = vm_arena_new(NULL, &oom);
    vg_module *const m = calloc(1, sizeof *m);
    if (!a || !m || setjmp(oom)) {
        snprintf(e->text, sizeof e->text, "out of host memory");
        if (m) m->ptx = NULL;
        if (a) vm_arena_free(a);
        free(m);
        return NULL;
    }
    m->gpu = g;
    m->arena = a;
    loader *const l = vm_new(a, loader);
    *l = (loader){.gpu = g, .module = m, .error = e};
    const bool ok = load(l, ptx, size);
    m->next = g->modules;
    g->modules = m;
    if (ok) return m;
    vg_unload(m);
    return NULL;
}

void vg_unload(vg_module *m) {
    if (!m) return;
    vg_gpu *const g = m->gpu;
    for (vg_module **at = &g->modules; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            break;
        }
    for (uint32_t i = 0; m->ptx && i < m->ptx->nvar; i++) {
        const ptx_var *const v = m->ptx->var[i];
        if ((v->space == PTX_GLOBAL || v->space == PTX_CONST) && v->address) vg_free(g, v->address);
    }
    // Reports and profiles name its instructions: with them it stays, as memory only.
    if (g->options.sanitize || g->options.profile) {
        m->next = g->unloaded;
        g->unloaded = m;
    } else vg_module_free(m);
}

void vg_module_free(vg_module *m) {
    vm_arena_free(m->arena);
    free(m);
}

vg_kernel *vg_function(vg_module *m, const char *name) {
    for (vg_kernel *k = m->kernels; k; k = k->next)
        if (strcmp(k->func->name, name) == 0) return k;
    vg_gpu_fail(m->gpu, VG_NOT_FOUND, "the module has no entry '%.100s'", name);
    return NULL;
}

const ptx_func *vg_ptx(const vg_kernel *k) { return k->func; }

bool vg_variable(vg_module *m, const char *name, uint64_t *address, size_t *bytes) {
    for (uint32_t i = 0; i < m->ptx->nvar; i++) {
        const ptx_var *const v = m->ptx->var[i];
        if ((v->space != PTX_GLOBAL && v->space != PTX_CONST) || !v->address || strcmp(v->name, name) != 0) continue;
        *address = v->address;
        *bytes = v->bytes;
        return true;
    }
    return false;
}
