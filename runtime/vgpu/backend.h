// SPDX-License-Identifier: Apache-2.0
// The virtual GPU behind the driver's table, so that the runtime runs on it as on a real one.
#pragma once
#include "runtime/runtime.h"
#include "runtime/vgpu/vgpu.h"

/// Fills d. The next device that this thread opens through d has these options (print is the
/// caller's). Handles may be used by any thread, as the driver's may; calls are synchronous.
void rt_vgpu_driver(rt_driver *d, const vg_options *o);
/// The machine behind a context that runs on it, else NULL.
vg_gpu *rt_vgpu(const tilus_context *c);
