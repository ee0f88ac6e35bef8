#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libtilus beside torch in one process: kernels on torch tensors and streams, in a captured graph, and
a launch that the contract refuses. Needs a GPU and torch."""
import os
import sys

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "bench"))
import tilus  # noqa: E402

x = torch.randn(100003, device="cuda")
t = tilus.Context()
m = t.module("vector_add.tvm")
k = t.kernel(m, "vector_add", T="f32")
y, z = torch.randn_like(x), torch.full_like(x, float("nan"))
k(x.numel(), x, y, z, stream=torch.cuda.current_stream().cuda_stream)
assert torch.equal(z, x + y), "default stream"

s = torch.cuda.Stream()
s.wait_stream(torch.cuda.current_stream())
with torch.cuda.stream(s):
    a = x * 2
    k(x.numel(), a, y, z, stream=s.cuda_stream)
    b = z - y
torch.cuda.current_stream().wait_stream(s)
torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)

launch = k.prepare(x.numel(), x, y, z)
g = torch.cuda.CUDAGraph()
with torch.cuda.graph(g):
    launch(torch.cuda.current_stream().cuda_stream)
z.fill_(float("nan"))
g.replay()
torch.cuda.synchronize()
assert torch.equal(z, x + y), "graph"

try:
    k(x.numel() + 1, x, y, z)
except tilus.Error as e:
    print("refused:", str(e).splitlines()[0])
else:
    raise AssertionError("a launch beyond the tensors' memory was not refused")
print("ok")
