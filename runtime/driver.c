// SPDX-License-Identifier: Apache-2.0
// Finds the CUDA driver at run time. Nothing of the CUDA toolkit is needed to build or to run.
#include <dlfcn.h>
#include <string.h>
#include "runtime/runtime.h"

const char *const rt_driver_symbols[RT_CALL_count_] = {
#define DRIVER(name, symbol, params, needed) symbol,
#include "runtime/driver.def"
#undef DRIVER
};

static const struct {
    size_t offset;
    bool needed;
} slots[RT_CALL_count_] = {
#define DRIVER(name, symbol, params, needed) {offsetof(rt_driver, name), needed},
#include "runtime/driver.def"
#undef DRIVER
};

tilus_status rt_driver_load(rt_driver *d, char *why, size_t size) {
    memset(d, 0, sizeof *d);
    d->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!d->library) {
        const char *e = dlerror();
        snprintf(why, size, "the CUDA driver cannot be loaded: %s", e ? e : "libcuda.so.1");
        return TILUS_NO_DRIVER;
    }
    for (int i = 0; i < RT_CALL_count_; i++) {
        void *f = dlsym(d->library, rt_driver_symbols[i]);
        if (!f && slots[i].needed) {
            snprintf(why, size, "the CUDA driver lacks %s", rt_driver_symbols[i]);
            rt_driver_unload(d);
            return TILUS_DRIVER_TOO_OLD;
        }
        memcpy((char *)d + slots[i].offset, &f, sizeof f); // object to function pointer, as POSIX allows
    }
    return TILUS_OK;
}

void rt_driver_unload(rt_driver *d) {
    if (d->library) dlclose(d->library);
    memset(d, 0, sizeof *d);
}
