# SPDX-License-Identifier: Apache-2.0
"""Just enough of libtilus through ctypes to launch kernels on torch tensors, on torch's stream."""
import ctypes as C
import os

MAX_RANK = 8


class Params(C.Structure):
    _fields_ = [("device", C.c_int), ("ordinal", C.c_int), ("alloc", C.c_void_p), ("log", C.c_void_p),
                ("log_user", C.c_void_p), ("cache_dir", C.c_char_p), ("strict_jit", C.c_int),
                ("optimize", C.c_int), ("vgpu", C.c_void_p), ("error", C.c_char_p), ("error_size", C.c_size_t),
                ("tune_db", C.c_char_p)]


class Meta(C.Structure):
    _fields_ = [("name", C.c_char_p), ("value", C.c_char_p)]


class Value(C.Union):
    _fields_ = [("i", C.c_int64), ("f", C.c_double), ("ptr", C.c_void_p)]


class Arg(C.Structure):
    _fields_ = [("kind", C.c_int), ("rank", C.c_int), ("v", Value), ("bytes", C.c_size_t),
                ("dim", C.c_int64 * MAX_RANK)]


class Info(C.Structure):
    _fields_ = [("entry", C.c_char_p), ("threads", C.c_int), ("shared_bytes", C.c_uint32),
                ("registers", C.c_int), ("spill_bytes", C.c_int), ("from_cache", C.c_int),
                ("advisory", C.c_int), ("params", C.c_size_t), ("ptx", C.c_char_p),
                ("jit_log", C.c_char_p), ("warnings", C.c_char_p)]


class Error(RuntimeError):
    pass


class Context:
    """The GPU's primary context, shared with torch."""

    def __init__(self, library=None):
        self.lib = C.CDLL(library or os.environ.get("LIBTILUS", "libtilus.so"))
        self.lib.tilus_error.restype = C.c_char_p
        for name in ("tilus_error", "tilus_module_from_file", "tilus_kernel_get", "tilus_launch",
                     "tilus_prepare", "tilus_launch_prepared", "tilus_kernel_describe"):
            getattr(self.lib, name).argtypes = None
        self.c = C.c_void_p()
        text = C.create_string_buffer(400)
        p = Params(device=1, error=C.cast(text, C.c_char_p), error_size=400)
        if self.lib.tilus_context_create(C.byref(p), C.byref(self.c)):
            raise Error(text.value.decode())

    def check(self, status):
        if status:
            raise Error(self.lib.tilus_error(self.c).decode())

    def module(self, path):
        m = C.c_void_p()
        self.check(self.lib.tilus_module_from_file(self.c, path.encode(), C.byref(m)))
        return m

    def kernel(self, module, name, **metas):
        k = C.c_void_p()
        text = {True: "true", False: "false"}
        a = (Meta * max(1, len(metas)))(*[Meta(n.encode(), (text[v] if isinstance(v, bool) else str(v)).encode())
                                         for n, v in metas.items()])
        self.check(self.lib.tilus_kernel_get(module, name.encode(), a, C.c_size_t(len(metas)), C.byref(k)))
        return Kernel(self, k)


class Kernel:
    def __init__(self, context, k):
        self.context, self.k = context, k

    def info(self):
        i = Info()
        self.context.check(self.context.lib.tilus_kernel_describe(self.k, C.byref(i)))
        return i

    def args(self, values):
        out = (Arg * max(1, len(values)))()
        for a, v in zip(out, values):
            if isinstance(v, int):
                a.kind, a.rank, a.v.i = 0, -1, v
            elif isinstance(v, float):
                a.kind, a.rank, a.v.f = 1, -1, v
            else:  # a tensor: its memory is stated, its shape is the signature's affair
                a.kind, a.rank, a.v.ptr, a.bytes = 2, -1, v.data_ptr(), v.numel() * v.element_size()
        return out

    def __call__(self, *values, stream=0):
        a = self.args(values)
        self.context.check(self.context.lib.tilus_launch(self.k, C.c_void_p(stream), a, C.c_size_t(len(values))))

    def prepare(self, *values):
        """A function of the stream that launches with these arguments."""
        a, p = self.args(values), C.c_void_p()
        self.context.check(self.context.lib.tilus_prepare(self.k, a, C.c_size_t(len(values)), C.byref(p)))
        launch, check = self.context.lib.tilus_launch_prepared, self.context.check
        return lambda stream=0, keep=values: check(launch(p, C.c_void_p(stream)))

    def resident(self, *values):
        """How many blocks the device holds at once."""
        a, p, n = self.args(values), C.c_void_p(), C.c_int64()
        self.context.check(self.context.lib.tilus_prepare(self.k, a, C.c_size_t(len(values)), C.byref(p)))
        self.context.check(self.context.lib.tilus_plan_resident(p, C.byref(n)))
        self.context.lib.tilus_plan_destroy(p)
        return n.value
