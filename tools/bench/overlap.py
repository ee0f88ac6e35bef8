#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the pieces of a low-bit product cost on one multiprocessor: HMMA.16816 (bf16) alone, and beside the
instructions that make one fragment of 16 x 16 weights of 4 bits: 4 LOP3, 3 shifts, 4 packed additions.
Costs that add up do not overlap. Clocks of a quarter at the boost clock that --mhz names.

    python3 tools/bench/overlap.py [--mhz 1980]
"""
import argparse
import ctypes as C

import torch

LOOP, UNROLL = 512, 8
HEAD = """.version 8.0
.target sm_90a
.address_size 64
.visible .entry k(.param .u64 p) .maxntid {threads} {{
.reg .b32 q<8>, t<4>, a<4>, b<6>, magic, bias, i;
.reg .f32 c<64>, s;
.reg .pred more;
.reg .b64 to;
ld.param.u64 to, [p];
mov.u32 i, %tid.x;
mov.u32 magic, 0x43004300;
mov.u32 bias, 0xc300c300;
"""


def fragment(i, products, shifts, adds, decode):
    out = [f"add.u32 q{i}, q{i}, 77;"] if decode else []
    for j in range(4 if decode else 0):
        source, mask = f"q{i}", 0xF000F << (0 if shifts else j)
        if shifts and j:
            out.append(f"shf.l.wrap.b32 t{j}, q{i}, q{i}, {4 * j};")
            source = f"t{j}"
        out.append(f"lop3.b32 a{j}, {source}, {mask}, magic, 0xea;")
        if adds:
            out.append(f"add.rn.bf16x2 a{j}, a{j}, bias;")
    for h in range(products):
        c = i % 4 * 4 + 16 * h
        r = f"{{c{c}, c{c + 1}, c{c + 2}, c{c + 3}}}"
        out.append(f"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {r}, {{a0, a1, a2, a3}}, {{b{h}, b{h + 1}}}, {r};")
    return "\n".join(out)


def clocks(cuda, warps, mhz, **mix):
    ptx = HEAD.format(threads=warps * 32)
    ptx += "".join(f"add.u32 q{j}, i, {j * 77};" for j in range(8)) + "".join(f"add.u32 b{j}, i, {j};" for j in range(6))
    ptx += "".join(f"mov.u32 a{j}, q{j};" for j in range(4)) + "".join(f"mov.f32 c{j}, 0f00000000;" for j in range(64))
    ptx += "mov.u32 i, 0;\nL: " + "\n".join(fragment(i, **mix) for i in range(UNROLL))
    ptx += f"\nadd.u32 i, i, 1; setp.lt.u32 more, i, {LOOP}; @more bra L;\nmov.f32 s, 0f00000000;"
    ptx += "".join(f"add.f32 s, s, c{j};" for j in range(64)) + "st.global.f32 [to], s; ret; }"
    module, kernel, y = C.c_void_p(), C.c_void_p(), torch.zeros(4, device="cuda")
    if cuda.cuModuleLoadData(C.byref(module), ptx.encode()) or cuda.cuModuleGetFunction(C.byref(kernel), module, b"k"):
        raise RuntimeError("the driver refused the kernel")
    p = C.c_void_p(y.data_ptr())
    args = (C.c_void_p * 1)(C.cast(C.pointer(p), C.c_void_p))
    sms = torch.cuda.get_device_properties(0).multi_processor_count
    best = 1e9
    for _ in range(6):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        cuda.cuLaunchKernel(kernel, sms, 1, 1, warps * 32, 1, 1, 0, C.c_void_p(torch.cuda.current_stream().cuda_stream), args, None)
        b.record()
        torch.cuda.synchronize()
        best = min(best, a.elapsed_time(b) * 1000 - 4)  # a launch takes some 4 us
    return best * mhz / LOOP / UNROLL / (warps / 4)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mhz", type=float, default=1980)
    o = p.parse_args()
    torch.zeros(1, device="cuda")
    cuda = C.CDLL("libcuda.so.1")
    print("clocks for a fragment and quarter, with 1, 2 and 3 products of it")
    for warps in (8, 16):
        for name, decode, shifts, adds in (("products alone", 0, 0, 0), ("4 LOP3", 1, 0, 0), ("4 LOP3, 4 additions", 1, 0, 1),
                                           ("4 LOP3, 3 shifts", 1, 1, 0), ("4 LOP3, 3 shifts, 4 additions", 1, 1, 1)):
            row = [clocks(cuda, warps, o.mhz, products=h, shifts=shifts, adds=adds, decode=decode) for h in (1, 2, 3)]
            print(f"{warps:2} warps, {name:32}" + "".join(f"{c:8.1f}" for c in row), flush=True)


if __name__ == "__main__":
    main()
