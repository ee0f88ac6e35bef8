#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Products of low-bit weights, y[m,n] = x[m,k] * W[n,k]^T, for few tokens: programs/stream.tvm against the
memory floor and cuBLAS (through torch), ceilings measured in the same run. Weights rotate over more than
the L2 inside one CUDA graph; medians of graph replays; random data; poisoned outputs verified against
float64 after the last replay.

    LIBTILUS=build/runtime/libtilus.so python3 tools/bench/matmul.py [--shapes 8192x8192,57344x8192]
        [--m 1,16] [--types u4] [--json FILE] [--most 12] [--plan FILE] [--chain]

A plan names the schedules to try instead of the model here, one a line: type m NxK RW RR KW G SPLIT offset
stages blocks. With --chain each schedule also runs as a chain of dependent launches: x of each is the
memory that the launch in front wrote.
"""
import argparse
import itertools
import json
import math
import os
import sys
import time

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tilus  # noqa: E402
from w4a16 import ceilings, graph_us  # noqa: E402

GROUP = 128
FIT = {2: 64, 4: 30, 8: 14}  # clusters of so many whole SMs that surely run at once on an H200
DTYPE = {"bf16": torch.bfloat16, "f16": torch.float16}


def cdiv(a, b):
    return (a + b - 1) // b


def bits_of(q):
    return int(q[1]) if q[0] in "ui" else int(q[1:].split("e")[0])


def table(q):
    """Value of each code of type q, in float64."""
    b = bits_of(q)
    c = torch.arange(1 << b, dtype=torch.float64)
    if q[0] == "u":
        return c
    if q[0] == "i":
        return torch.where(c >= 1 << (b - 1), c - (1 << b), c)
    e, m = (int(v) for v in q.split("e")[1].split("m"))
    code = torch.arange(1 << b)
    ex, ma, bias = (code >> m) & ((1 << e) - 1), code & ((1 << m) - 1), (1 << (e - 1)) - 1
    v = torch.where(ex > 0, (1 + ma / 2.0**m) * 2.0 ** (ex - bias).double(), ma / 2.0**m * 2.0 ** (1 - bias))
    v = torch.where(code >> (b - 1) > 0, -v, v).double()
    return v


def bitstring(codes, b):
    """Dense little-endian bit string of codes (uint8, flat)."""
    if b == 8:
        return codes
    c = codes.view(-1, 8)  # 8 codes make b bytes
    out = torch.zeros(c.shape[0], b, dtype=torch.int32, device=c.device)
    for i in range(8):
        at = i * b
        v = c[:, i].to(torch.int32) << (at % 8)
        out[:, at // 8] |= v & 255
        if at % 8 + b > 8:
            out[:, at // 8 + 1] |= v >> 8
    return out.to(torch.uint8)


def configs(n, k, m, b, most):
    """Schedules worth a try, the likeliest first: even shares, little reading of x from L2, stages of some
    24 KB, enough warps, and blocks that share k only where that saves reading x."""
    groups, mt = cdiv(k, GROUP), 1 if m == 1 else cdiv(m, 8) * 8
    floor = n * k * (b + 16 / GROUP) / 8 / 4.5e6
    out = []
    for rw, rr, kw, g, per, split in itertools.product(range(1, 17), (16, 32, 64, 80), (1, 2, 4, 7, 8, 14, 16), (1, 2, 4), (1, 2), (1, 2, 4, 8)):
        r, w = rw * rr, rw * kw
        if not 7 <= w <= 28 // per or r > n or (rr > 32 and mt == 1 and b > 3) or split * kw * g > groups:
            continue
        if r % split or (split > 1 and (per > 1 or cdiv(n, r) > FIT[split])):
            continue
        if mt > 1 and (g > 1 or per > 1 or w > 16 or (w > 14 and rr * mt > 512)):
            continue
        if mt > 16 and (w > 8 or rr > 32):
            continue
        if mt == 1 and w > 16 and rr * g > 64:
            continue
        tiles, chunks = cdiv(n, r), cdiv(groups, kw * g)
        rounds = cdiv(tiles, 132 * per // split)  # clusters of a tile each, or blocks that go on
        blocks = cdiv(tiles, rounds)
        even = tiles * split / (rounds * 132 * per) * groups / (cdiv(chunks, split) * split * kw * g)
        x = 16 * mt / (r * b)
        stage = r * kw * g * (GROUP * b // 8 + 2) + mt * (kw * g * GROUP + (32 if mt > 1 else 0)) * 2
        fixed = kw * (max(mt, 8) * (r + 4) + 8) * 4 + 512 + (max(mt, 8) * r * 4 if split > 1 else 0)
        stages = min(16, int((227 * 1024 // per - 1024 - fixed) // stage))
        if stages < 2 or stages * stage * per < 64 * 1024 or even < 0.6:
            continue
        time_ = floor * max(1, 0.75 * (1 + x)) / min(1, even / 0.96) + 4.5 + (0 if split == 1 else 0.7 if split == 2 else 5)
        taste = 0.02 * abs(math.log2(stage / 24576)) + 0.05 * abs(math.log2(w * per / (24 if b < 4 else 16 if mt == 1 else 8))) - 0.02 * (rr // 16 - 1)
        for offset in (True, False) if b == 4 and mt > 1 else (b == 4,):
            out.append((time_ * (1 + taste), dict(RW=rw, RR=rr, KW=kw, G=g, SPLIT=split, offset=offset, stages=stages, blocks=blocks)))
    out.sort(key=lambda c: c[0])
    return [c for _, c in out[:most]]


def planned(path):
    """The cases of a plan and the schedules of each."""
    out = {}
    for line in open(path):
        f = line.split("#")[0].split()
        if f:
            v = [int(a) for a in f[3:]]
            c = dict(RW=v[0], RR=v[1], KW=v[2], G=v[3], SPLIT=v[4], offset=bool(v[5]), stages=v[6], blocks=v[7])
            out.setdefault(f[2], {}).setdefault(f[0], {}).setdefault(int(f[1]), []).append(c)
    return out


def chain_us(t, mod, metas, blocks, shape, copies, codes, value, s, dt):
    """A chain of launches, each of which reads what the one in front wrote: plain, dependent, the latter's error.
    The weights' scales shrink so that the sums stay near the mean of x."""
    m, n, k = shape
    shrink = abs(value.mean().item() or 1.0) * s.double().mean().item() * k
    small = (s.double() / shrink).to(dt)
    pk = t.kernel(mod, "pack", Q=metas["Q"], T=metas["T"], **{v: metas[v] for v in ("RW", "RR", "KW", "G")})
    for d in copies:
        pk(n, k, codes, small, d)
    out = []
    for dependent in (False, True):
        kern = t.kernel(mod, "matvec", dependent=dependent, **metas)
        ring = [(torch.rand(m * max(n, k), device="cuda") + 0.5).to(dt) for _ in range(len(copies) + 1)]
        runs = [kern.prepare(m, n, k, blocks, ring[i], d, ring[i + 1]) for i, d in enumerate(copies)]
        last = kern.prepare(m, n, k, blocks, ring[-1], copies[0], ring[0])
        out.append(graph_us((runs + [last]) * max(1, 24 // (len(runs) + 1))))
    return out[0], out[1], ring[-2][:m * k].view(m, k), ring[-1][:m * n].view(m, n), small


def read_us(t, mod, bytes_):
    """Microseconds that a kernel needs that only reads so many bytes, in the same protocol."""
    x = [torch.randint(-2**31, 2**31 - 1, (int(bytes_) // 4,), dtype=torch.int32, device="cuda") for _ in range(1 + int(300e6 // bytes_))]
    y = torch.zeros(4096, dtype=torch.int32, device="cuda")
    best = 1e9
    for u in (2, 4, 8):
        k = t.kernel(mod, "read", U=u)
        for blocks in (264, 528, 1056):
            n = x[0].numel() // (256 * 4 * u) * (256 * 4 * u)
            best = min(best, graph_us([k.prepare(n, blocks, d, y) for d in x] * max(1, 12 // len(x))))
    return best


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--json")
    p.add_argument("--shapes", default="8192x8192,57344x8192")
    p.add_argument("--m", default="1,16")
    p.add_argument("--types", default="u4")
    p.add_argument("--act", default="bf16")
    p.add_argument("--most", type=int, default=6, help="schedules to try for each case")
    p.add_argument("--no-peer", action="store_true")
    p.add_argument("--plan", help="file of schedules to try")
    p.add_argument("--chain", action="store_true", help="also a chain of dependent launches")
    o = p.parse_args()
    torch.manual_seed(1)
    dt = DTYPE[o.act]
    t = tilus.Context()
    mod = t.module("programs/stream.tvm")
    reader = t.module("tools/bench/read.tvm")
    gpu = torch.cuda.get_device_name()
    out = {"gpu": gpu, "torch": torch.__version__, "cuda": torch.version.cuda, "ceilings": ceilings(t), "rows": []}
    print(f"{gpu}, torch {torch.__version__}; ceilings {out['ceilings']}")
    lines, chains = [], out.setdefault("chains", [])
    plan = planned(o.plan) if o.plan else None
    for shape in plan or o.shapes.split(","):
        n, k = (int(v) for v in shape.split("x"))
        for q in plan[shape] if plan else o.types.split(","):
            b = bits_of(q)
            codes = torch.randint(0, 1 << b, (n, k), dtype=torch.uint8, device="cuda")
            if q == "f8e4m3":
                codes = torch.where((codes & 127) == 127, codes & 126, codes)
            s = (torch.rand(n, cdiv(k, GROUP), device="cuda") * 0.02 + 0.01).to(dt)
            dense = torch.empty(n, k, dtype=dt, device="cuda")
            value = table(q).cuda()
            packed_codes = bitstring(codes.view(-1), b)
            for m in plan[shape][q] if plan else (int(v) for v in o.m.split(",")):
                x = (torch.randn(m, k, device="cuda") + 1).to(dt)
                want = torch.empty(m, n, dtype=torch.float64, device="cuda")
                for i in range(0, n, 4096):
                    w = value[codes[i:i + 4096].int()] * s[i:i + 4096].double().repeat_interleave(GROUP, 1)[:, :k]
                    dense[i:i + 4096] = w.to(dt)
                    want[:, i:i + 4096] = x.double() @ w.t()
                    del w
                bytes_ = n * k * b / 8 + n * cdiv(k, GROUP) * 2 + 2 * m * (n + k)
                floor = bytes_ / out["ceilings"]["read_TBps"] / 1e6
                best = None
                if m == 1 and not plan:
                    print(f"  reading the bytes of {q} {n}x{k} alone: {read_us(t, reader, bytes_):.2f} us", flush=True)
                for c in plan[shape][q][m] if plan else configs(n, k, m, b, o.most):
                    start = time.time()
                    c = dict(c)
                    blocks = c.pop("blocks")
                    mt = 1 if m == 1 else cdiv(m, 8) * 8
                    r, kw, g = c["RW"] * c["RR"], c["KW"], c["G"]
                    try:
                        pk = t.kernel(mod, "pack", Q=q, T=o.act, RW=c["RW"], RR=c["RR"], KW=kw, G=g)
                        kern = t.kernel(mod, "matvec", Q=q, T=o.act, MT=mt, **c)
                        size = r * kw * g * (GROUP * b // 8 + 2)
                        blk = torch.zeros(cdiv(n, r) * cdiv(k, kw * g * GROUP) * size, dtype=torch.uint8, device="cuda")
                        pk(n, k, packed_codes, s, blk)
                        copies = [blk] + [blk.clone() for _ in range(max(1, int(300e6 // blk.numel())))]
                        y = torch.full((m, n), float("nan"), device="cuda", dtype=dt)
                        runs = [kern.prepare(m, n, k, blocks, x, d, y) for d in copies]
                        us = graph_us(runs * max(1, 12 // len(runs)))
                        error = ((y.double() - want).norm() / want.norm()).item()
                        info = kern.info()
                    except tilus.Error as e:
                        print("  skipped", c, str(e).splitlines()[0])
                        continue
                    print(f"  {q} {n}x{k} m={m} {us:8.2f} us {floor / us:5.0%} err {error:.1e} regs {info.registers} spill {info.spill_bytes} "
                          f"{c} blocks={blocks} ({time.time() - start:.1f} s)", flush=True)
                    if error < (3e-3 if o.act == "bf16" else 6e-4) and (best is None or us < best[0]):
                        best = (us, dict(c, blocks=blocks), error)
                    if o.chain:
                        metas = dict(Q=q, T=o.act, MT=mt, **c)
                        plain, pdl, last, got, small = chain_us(t, mod, metas, blocks, (m, n, k), copies, packed_codes, value, s, dt)
                        worst = 0.0
                        for i in range(0, n, 8192):
                            w = value[codes[i:i + 8192].int()] * small[i:i + 8192].double().repeat_interleave(GROUP, 1)[:, :k]
                            ref = last.double() @ w.t()
                            worst = max(worst, ((got[:, i:i + 8192].double() - ref).norm() / ref.norm()).item())
                        print(f"    chain: plain {plain:.2f} us, dependent {pdl:.2f} us, error {worst:.1e}", flush=True)
                        chains.append(dict(type=q, m=m, n=n, k=k, plain_us=plain, dependent_us=pdl, error=worst, config=dict(c, blocks=blocks)))
                    del copies, runs, blk
                peer = None
                if not o.no_peer:
                    ds = [dense] + [dense.clone() for _ in range(max(1, int(300e6 // (n * k * 2))))]
                    peer = graph_us([lambda st, d=d: torch.matmul(x, d.t()) for d in ds] * max(1, 8 // len(ds)), 10)
                    del ds
                if best is None:
                    lines.append(f"{q} {n}x{k} m={m}: nothing ran")
                    continue
                out["rows"].append(dict(type=q, m=m, n=n, k=k, act=o.act, floor_us=floor, tilus_us=best[0], cublas_us=peer,
                                        config=best[1], error=best[2]))
                lines.append(f"| {q} | {m} | {n} × {k} | {floor:.1f} | {best[0]:.1f} | {floor / best[0]:.0%} | "
                             f"{peer or 0:.1f} | {best[2]:.1e} | {best[1]} |")
            del codes, dense, s, packed_codes
            torch.cuda.empty_cache()
    print("| type | m | n × k | floor µs | tilus µs | of the floor | cuBLAS µs | error | schedule |\n|---|---|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    if o.json:
        with open(o.json, "w") as f:
            json.dump(out, f, indent=1)


if __name__ == "__main__":
    main()
