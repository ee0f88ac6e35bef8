#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""First figures of w4a16: y[m,n] = x[m,k] * dequantised u4 weights, against cuBLAS f16 (through torch)
and the ceilings, all in one run. Weights rotate over more than the L2 inside one CUDA graph; medians of
graph replays; random data; outputs verified against float32 products of the dequantised weights.

    LIBTILUS=build/runtime/libtilus.so python3 tools/bench/w4a16.py [--json FILE]
"""
import argparse
import json
import os
import statistics
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tilus  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = 128


def graph_us(launches, replays=20):
    """Median microseconds a launch of a CUDA graph that holds all of them."""
    torch.cuda.synchronize()  # what the other stream touches first may be memory still in use by this one
    s = torch.cuda.Stream()
    with torch.cuda.stream(s):
        for f in launches:
            f(s.cuda_stream)
    torch.cuda.synchronize()
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g, stream=s):
        for f in launches:
            f(torch.cuda.current_stream().cuda_stream)
    for _ in range(3):
        g.replay()
    times = []
    for _ in range(replays):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        g.replay()
        b.record()
        torch.cuda.synchronize()
        times.append(a.elapsed_time(b) * 1000 / len(launches))
    return statistics.median(times)


def pack(w):
    """u4[k, n] (one byte a code) to its dense bit string, element 0 in the low bits."""
    return (w[:, 0::2] | (w[:, 1::2] << 4)).contiguous()


def ceilings(t):
    n = 1 << 28  # 1 GiB
    x = torch.randint(-2**31, 2**31 - 1, (n,), dtype=torch.int32, device="cuda")
    y = torch.zeros(4096, dtype=torch.int32, device="cuda")
    best = 0.0
    m = t.module(os.path.join(HERE, "read.tvm"))
    for u in (2, 4, 8):
        k = t.kernel(m, "read", U=u)
        for blocks in (132 * 4, 132 * 8):
            us = graph_us([k.prepare(n, blocks, x, y)] * 4)
            best = max(best, n * 4 / us / 1e6)
    z = torch.empty_like(x)
    copy = graph_us([lambda s: z.copy_(x)] * 4)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    flops = 2 * 8192**3 / graph_us([lambda s: torch.matmul(a, a)] * 4, 5) / 1e6
    return {"read_TBps": best, "memcpy_TBps": 2 * n * 4 / copy / 1e6, "f16_TFLOPs": flops}


def configs(m):
    for wn, rn, rk, stages in [(4, 1, 8, 4), (4, 2, 8, 3), (4, 1, 4, 6), (4, 4, 4, 4), (2, 2, 8, 4), (8, 1, 8, 4), (8, 2, 4, 4)]:
        yield dict(WM=1, WN=wn, RM=1, RN=rn, RK=rk, stages=stages)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--json")
    o = p.parse_args()
    torch.manual_seed(1)
    t = tilus.Context()
    mod = t.module("w4a16.tvm")
    gpu = torch.cuda.get_device_name()
    out = {"gpu": gpu, "torch": torch.__version__, "cuda": torch.version.cuda, "ceilings": ceilings(t), "rows": []}
    print(f"{gpu}, torch {torch.__version__}; ceilings {out['ceilings']}")
    print(f"{'m':>4} {'k x n':>14} {'floor us':>9} {'tilus us':>9} {'of floor':>8} {'cuBLAS f16':>10} {'error':>9}  configuration")
    for k, n in ((8192, 8192), (8192, 57344)):
        copies = 8 if n == 8192 else 2
        packer = t.kernel(mod, "pack", Q="u4")
        weights, scales, dense = [], [], []
        for i in range(copies):
            w = torch.randint(0, 16, (k, n), dtype=torch.uint8, device="cuda")
            b = torch.empty(k // 16, n // 8, 64, dtype=torch.uint8, device="cuda")
            packer(k, n, pack(w), b)
            s = (torch.rand(k // GROUP, n, device="cuda") * 0.02 + 0.01).half()
            weights.append(b)
            scales.append(s)
            if i == 0:
                exact = w.float() * s.float().repeat_interleave(GROUP, 0)
            dense.append((w.half() * s.repeat_interleave(GROUP, 0)) if i < (8 if n == 8192 else 2) else dense[-1])
            del w
        for m in (1, 16):
            x = torch.randn(m, k, device="cuda", dtype=torch.float16)
            want = x.float() @ exact
            best = None
            for c in configs(m):
                try:
                    kern = t.kernel(mod, "matmul", **c)
                except tilus.Error as e:
                    print("skipped", c, str(e).splitlines()[0])
                    continue
                y = torch.full((m, n), float("nan"), device="cuda", dtype=torch.float16)
                kern(m, n, k, x, weights[0], scales[0], y)
                torch.cuda.synchronize()
                error = ((y.float() - want).norm() / want.norm()).item()
                if not error < 2e-3:
                    print("WRONG", c, error)
                    continue
                us = graph_us([kern.prepare(m, n, k, x, b, s, y) for b, s in zip(weights, scales)])
                if best is None or us < best[0]:
                    best = (us, c, error)
            peer = graph_us([lambda s, d=d: torch.matmul(x, d) for d in dense])
            bytes_ = k * n / 2 + k // GROUP * n * 2 + 2 * m * (n + k)
            floor = bytes_ / out["ceilings"]["read_TBps"] / 1e6
            if best is None:
                print(m, k, n, "no configuration ran")
                continue
            row = dict(m=m, k=k, n=n, floor_us=floor, tilus_us=best[0], cublas_us=peer, config=best[1], error=best[2])
            out["rows"].append(row)
            print(f"{m:>4} {k:>6} x {n:<6} {floor:>9.1f} {best[0]:>9.1f} {floor / best[0]:>7.0%} {peer:>10.1f} {best[2]:>9.1e}  {best[1]}")
        del weights, scales, dense, exact
    if o.json:
        with open(o.json, "w") as f:
            json.dump(out, f, indent=1)


if __name__ == "__main__":
    main()
