// SPDX-License-Identifier: Apache-2.0
// Stands in for the virtual GPU's core while that is being put in place: there is no machine.
#include "runtime/vgpu/vgpu.h"
enum vg_status vg_create(const vg_options *o, vg_gpu **out) { (void)o; *out = NULL; return VG_OUT_OF_MEMORY; }
void vg_destroy(vg_gpu *g) { (void)g; }
enum vg_status vg_alloc(vg_gpu *g, size_t n, uint64_t *a) { (void)g; (void)n; *a = 0; return VG_OUT_OF_MEMORY; }
enum vg_status vg_free(vg_gpu *g, uint64_t a) { (void)g; (void)a; return VG_OK; }
void *vg_host(vg_gpu *g, uint64_t a, size_t n, bool w) { (void)g; (void)a; (void)n; (void)w; return NULL; }
vg_module *vg_load(vg_gpu *g, const char *p, size_t n, ptx_error *e) { (void)g; (void)p; (void)n; (void)e; return NULL; }
void vg_unload(vg_module *m) { (void)m; }
vg_kernel *vg_function(vg_module *m, const char *name) { (void)m; (void)name; return NULL; }
enum vg_status vg_launch(vg_gpu *g, vg_kernel *k, const vg_launch_config *c) { (void)g; (void)k; (void)c; return VG_LAUNCH_FAILED; }
const char *vg_error(const vg_gpu *g) { (void)g; return ""; }
size_t vg_reports(const vg_gpu *g, const vg_report **out) { (void)g; *out = NULL; return 0; }
void vg_reports_clear(vg_gpu *g) { (void)g; }
const char *const vg_class_names[VG_class_count_] = {
#define VG_CLASS(id, name) name,
#include "runtime/vgpu/class.def"
#undef VG_CLASS
};
size_t vg_profiles(vg_gpu *g, const vg_profile **out) { (void)g; *out = NULL; return 0; }
