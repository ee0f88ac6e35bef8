// SPDX-License-Identifier: Apache-2.0
// Contraction: x * y + z becomes fma(x, y, z) where the product has no other use. It is done here, not
// by the code generator, so that the interpreter computes the same bits. `exact` forbids it.
#include "ir/pass.h"

typedef struct {
    ir_func *f;
    uint32_t *uses;
} state;

static void contract(ir_op *op, void *user) {
    state *s = user;
    if (op->inst != I_add || ir_int(op, AT_exact, 0)) return;
    const vm_dtype t = op->res[0]->type.elem;
    if (t != T_f32 && t != T_f16 && t != T_bf16) return;
    for (uint32_t i = 0; i < 2; i++) {
        ir_op *mul = op->ops[i]->def;
        if (!mul || mul->inst != I_mul || mul->parent != op->parent || ir_int(mul, AT_exact, 0) ||
            s->uses[op->ops[i]->id] != 1)
            continue;
        ir_value *ops[3] = {mul->ops[0], mul->ops[1], op->ops[1 - i]};
        op->inst = I_fma;
        op->nops = 0;
        op->ops = NULL;
        for (int k = 0; k < 3; k++) ir_add_operand(op, ops[k]);
        ir_remove(mul);
        return;
    }
}

void ir_pass_contract(ir_func *f) {
    state s = {f, ir_count_uses(f)};
    ir_walk(f->body, contract, &s);
}
