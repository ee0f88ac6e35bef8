// SPDX-License-Identifier: Apache-2.0
// Host tensors, private to tensor*.c, ref*.c and testing*.c. Tensors live in the evaluator's arena.
#pragma once
#include "frontend/eval.h"

static inline uint64_t tensor_get(const fe_tensor *t, size_t k) {
    switch (vm_cell(t->type)) {
    case 1: return ((const uint8_t *)t->cells)[k];
    case 2: return ((const uint16_t *)t->cells)[k];
    case 4: return ((const uint32_t *)t->cells)[k];
    default: return ((const uint64_t *)t->cells)[k];
    }
}
static inline void tensor_set(fe_tensor *t, size_t k, uint64_t v) {
    switch (vm_cell(t->type)) {
    case 1: ((uint8_t *)t->cells)[k] = (uint8_t)v; break;
    case 2: ((uint16_t *)t->cells)[k] = (uint16_t)v; break;
    case 4: ((uint32_t *)t->cells)[k] = (uint32_t)v; break;
    default: ((uint64_t *)t->cells)[k] = v; break;
    }
}
fe_value *tensor_value(fe_eval *e, fe_tensor *t);
fe_tensor *tensor_copy(fe_eval *e, const fe_tensor *t);
fe_tensor *tensor_like(fe_eval *e, vm_dtype t, const fe_tensor *shape);
void tensor_fill(fe_tensor *t, uint64_t code);
double *tensor_f64(fe_eval *e, const fe_tensor *t);                 // all elements
fe_tensor *tensor_from_f64(fe_eval *e, vm_dtype t, int rank, const int64_t *dim, const double *x);
fe_tensor *tensor_cast(fe_eval *e, const fe_tensor *t, vm_dtype to);
fe_tensor *tensor_permute(fe_eval *e, const fe_tensor *t, const int32_t *perm);
fe_tensor *tensor_reshape(fe_eval *e, const fe_tensor *t, int rank, const int64_t *dim); // shares cells
/// Stretches extent-1 and missing leading dimensions; t itself if the shape is that already.
fe_tensor *tensor_stretch(fe_eval *e, fe_tensor *t, int rank, const int64_t *dim);
bool tensor_join_shapes(const fe_tensor *a, const fe_tensor *b, int *rank, int64_t *dim);
fe_tensor *tensor_repeat(fe_eval *e, const fe_tensor *t, int dim, int64_t n);
char *tensor_shape_text(fe_eval *e, const fe_tensor *t);
char *tensor_index_text(fe_eval *e, const fe_tensor *t, size_t k);

/// A function of module `ref`: FV_TENSOR or tuple, NULL if there is none of that name.
fe_value *fe_ref_call(fe_eval *e, const char *name, fe_args *args, vm_span at);
bool fe_is_ref(const char *name);
void fe_ref_names(size_t *n, const char *const **names);
fe_value *ref_df11(fe_eval *e, fe_args *args, vm_span at);
fe_value *ref_fail(fe_eval *e, vm_span at, const char *fmt, ...) VM_PRINTF(3, 4);
