#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Products of low-bit weights, y[m,n] = x[m,k] * W[n,k]^T, for 17 tokens and more: programs/matmul_wq.tvm
beside cuBLAS (through torch). Up to m = 256 weights rotate over more than the L2 inside one CUDA graph;
above, ours and the peer alternate sample by sample at steady clocks. Random data; poisoned outputs
verified against float64 after the last run.

    LIBTILUS=build/runtime/libtilus.so python3 tools/bench/wq.py [--shapes 8192x8192] [--m 32,64,128]
        [--types u4] [--act bf16] [--only BN,RM,SPLIT,CLUSTER,BK,C;...] [--json FILE]
"""
import argparse
import json
import os
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tilus  # noqa: E402
from dense import alternate  # noqa: E402
from matmul import DTYPE, GROUP, bits_of, bitstring, cdiv, table  # noqa: E402
from w4a16 import graph_us  # noqa: E402

# BN, RM, SPLIT, CLUSTER, BK and, if not 2, C up to so many tokens
SCHEDULES = [(32, [(32, 1, 2, 1, 256), (32, 1, 2, 1, 128)]),
             (64, [(64, 1, 2, 1, 256), (64, 1, 2, 1, 128), (64, 2, 1, 2, 128), (64, 2, 1, 1, 128)]),
             (128, [(128, 1, 2, 1, 128), (128, 1, 2, 1, 64), (64, 2, 2, 1, 128)]),
             (256, [(128, 1, 1, 2, 64), (64, 2, 1, 2, 128), (128, 1, 1, 1, 128)]),
             (1 << 30, [(256, 1, 1, 2, 64), (256, 1, 1, 1, 64), (128, 2, 1, 2, 64), (128, 2, 1, 1, 64)])]


def stages_of(bn, rm, split, bk, b, c):
    """As many as shared memory holds."""
    fixed = 2048 + (bn * (64 * c * rm + 4) * 4 if split > 1 else bn * 64 * c * rm * 2)
    stage = bn * bk * 2 + 64 * c * rm * (bk * b // 8 + 2 * cdiv(bk, GROUP))
    return min(12, (227 * 1024 - fixed) // stage)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shapes", default="8192x8192")
    p.add_argument("--m", default="32,64,128,256,1024,4096")
    p.add_argument("--types", default="u4")
    p.add_argument("--act", default="bf16")
    p.add_argument("--only", help="schedules")
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--json")
    o = p.parse_args()
    torch.manual_seed(1)
    dt = DTYPE[o.act]
    t = tilus.Context()
    mod = t.module("programs/matmul_wq.tvm")
    sms = torch.cuda.get_device_properties(0).multi_processor_count
    rows = []
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    for shape in o.shapes.split(","):
        n, k = (int(v) for v in shape.split("x"))
        for q in o.types.split(","):
            b = bits_of(q)
            codes = torch.randint(0, 1 << b, (n, k), dtype=torch.uint8, device="cuda")
            if q == "f8e4m3":
                codes = torch.where((codes & 127) == 127, codes & 126, codes)
            s = (torch.rand(n, cdiv(k, GROUP), device="cuda") * 0.02 + 0.01).to(dt)
            value, dense = table(q).cuda(), torch.empty(n, k, dtype=dt, device="cuda")
            packed = bitstring(codes.view(-1), b)
            for i in range(0, n, 4096):
                w = value[codes[i:i + 4096].int()] * s[i:i + 4096].double().repeat_interleave(GROUP, 1)[:, :k]
                dense[i:i + 4096] = w.to(dt)
            del w
            many = [dense] + [dense.clone() for _ in range(int(300e6 // (n * k * 2)))]
            for m in (int(v) for v in o.m.split(",")):
                x = (torch.randn(m, k, device="cuda") + 1).to(dt)
                want = torch.empty(m, n, dtype=torch.float64, device="cuda")
                for i in range(0, n, 4096):
                    w = value[codes[i:i + 4096].int()] * s[i:i + 4096].double().repeat_interleave(GROUP, 1)[:, :k]
                    want[:, i:i + 4096] = x.double() @ w.t()
                del w
                peer = None
                if m <= 256:
                    peer = graph_us([lambda st, d=d: torch.matmul(x, d.t()) for d in many] * max(1, 8 // len(many)), 15)
                best = None
                tried = [tuple(int(v) for v in c.split(",")) for c in o.only.split(";")] if o.only else next(c for top, c in SCHEDULES if m <= top)
                for bn, rm, split, cluster, bk, *many_c in tried:
                    cons = many_c[0] if many_c else 2
                    c = dict(BN=bn, RM=rm, C=cons, SPLIT=split, CLUSTER=cluster, BK=bk, stages=stages_of(bn, rm, split, bk, b, cons), ONCE=m <= bn)
                    blocks = sms // cluster * cluster
                    try:
                        pk = t.kernel(mod, "pack", Q=q, T=o.act, RM=rm, BK=bk, C=cons)
                        kern = t.kernel(mod, "matmul", Q=q, T=o.act, **c)
                        blk = torch.zeros(cdiv(n, 64 * cons * rm) * cdiv(k, bk) * 64 * cons * rm * (bk * b // 8 + 2 * cdiv(bk, GROUP)),
                                          dtype=torch.uint8, device="cuda")
                        pk(n, k, packed, s, blk)
                        y = torch.full((m, n), float("nan"), device="cuda", dtype=dt)
                        if m <= 256:
                            copies = [blk] + [blk.clone() for _ in range(max(1, int(300e6 // blk.numel())))]
                            runs = [kern.prepare(blocks, m, n, k, x, d, y) for d in copies]
                            us, theirs = graph_us(runs * max(1, 8 // len(runs)), 15), peer
                            del runs, copies
                        else:
                            run = kern.prepare(blocks, m, n, k, x, blk, y)
                            stream = torch.cuda.current_stream().cuda_stream
                            us, theirs = alternate([lambda: run(stream), lambda: torch.matmul(x, dense.t())], 2 * m * n * k, o.seconds, False)
                        torch.cuda.synchronize()
                    except tilus.Error as e:
                        print("skipped", c, str(e).splitlines()[0], flush=True)
                        continue
                    error = ((y.double() - want).norm() / want.norm()).item()
                    i = kern.info()
                    print(f"{q} {shape} m={m} {us:8.2f} us, cuBLAS {theirs:8.2f} us, {theirs / us:.3f}x, {2 * m * n * k / us / 1e6:.0f} TFLOP/s, "
                          f"error {error:.1e}, {i.registers} registers, {i.spill_bytes} spilled, {c}", flush=True)
                    if error < (3e-3 if o.act == "bf16" else 6e-4) and (best is None or us < best["us"]):
                        best = dict(type=q, m=m, n=n, k=k, us=us, peer_us=theirs, error=error, schedule=c)
                if best:
                    rows.append(best)
            del dense, many, codes, packed
            torch.cuda.empty_cache()
    for r in rows:
        c = r["schedule"]
        print(f"| {r['type']} | {r['m']} | {r['n']} × {r['k']} | {r['us']:.1f} | {r['peer_us']:.1f} | {r['peer_us'] / r['us']:.2f} | {r['error']:.1e} | "
              f"{c['BN']}, {c['RM']}, {c['SPLIT']}, {c['CLUSTER']}, {c['BK']}, {c['stages']} |")
    if o.json:
        with open(o.json, "w") as f:
            json.dump(rows, f, indent=1)


if __name__ == "__main__":
    main()
