# SPDX-License-Identifier: Apache-2.0
"""Runs the PTX of straight-line conversion kernels for one thread, on the CPU, and compares every code of
a type with the number that its description says: the packed arithmetic is checked where no GPU is. Knows
the instructions that casts use; any other is an error. A part of casts.py --check."""
import math, re, struct


def f16(bits):
    return struct.unpack("<e", struct.pack("<H", bits & 0xffff))[0]


def bf16(bits):
    return struct.unpack("<f", struct.pack("<I", (bits & 0xffff) << 16))[0]


def f32(bits):
    return struct.unpack("<f", struct.pack("<I", bits & 0xffffffff))[0]


def rounded(x, e, m):
    """Code of x (a float, exact) in a format with e and m bits, to nearest even."""
    top, bias = (1 << e) - 1, (1 << (e - 1)) - 1
    if math.isnan(x):
        return (top << m) | (1 << (m - 1))
    sign = (math.copysign(1, x) < 0) << (e + m)
    x = abs(x)
    if math.isinf(x):
        return sign | top << m
    if x == 0:
        return sign
    ex = max(math.frexp(x)[1] - 1, 1 - bias)
    n = round(math.ldexp(x, m - ex))  # Python rounds to even
    code = n + ((ex + bias - 1) << m) if ex > 1 - bias or n >= 1 << m else n
    return sign | min(code, top << m)


def to_bits(t, x):
    return rounded(x, 5, 10) if t == "f16" else rounded(x, 8, 7) if t == "bf16" else rounded(x, 8, 23)


def value(q, code, t="f32"):
    """The number of a code of q, from the description of its type, by the options of a cast to t."""
    q, *options = q.split("!")
    if "nan" in options and q == "f8e8m0" and code == 255:
        return math.inf
    if "nan" in options and q == "f8e4m3" and code & 127 == 127:
        return -480.0 if code == 255 else 480.0
    if "kept" in options and (t == "f16" or int(q[1:]) < 8):
        return value(q, code) + (1024 if t == "f16" else 128) + (1 << (int(q[1:]) - 1)) * (q[0] == "i")
    if q[0] in "ui":
        b = int(q[1:])
        return float(code - (1 << b) if q[0] == "i" and code >> (b - 1) else code)
    b, e, m = map(int, re.match(r"f(\d)e(\d)m(\d)", q).groups())
    if q == "f8e8m0":
        return math.nan if code == 255 else math.ldexp(1, code - 127)
    bias, mag = (1 << (e - 1)) - 1, code & ((1 << (e + m)) - 1)
    sign, ex, fr = -1.0 if code >> (e + m) & 1 else 1.0, mag >> m, mag & ((1 << m) - 1)
    if q == "f8e4m3" and mag == 127:
        return math.nan
    if q == "f8e5m2" and ex == 31:
        return math.nan if fr else sign * math.inf
    return sign * (math.ldexp(fr, 1 - bias - m) if ex == 0 else math.ldexp((1 << m) + fr, ex - bias - m))


def prmt(a, b, s):
    data, out = (b << 32) | a, 0
    for i in range(4):
        n = s >> 4 * i & 15
        byte = data >> 8 * (n & 7) & 255
        out |= (byte if n < 8 else 255 * (byte >> 7)) << 8 * i
    return out


def fp8x2(t, h):
    return sum(to_bits("f16", value("f8" + t, h >> 8 * i & 255)) << 16 * i for i in (0, 1))


def mul(a, b):
    return math.nan if (math.isinf(a) and b == 0) or (math.isinf(b) and a == 0) else a * b


def largest(a, b):
    return b if math.isnan(a) else a if math.isnan(b) else max(a, b)


def run(ptx, words, size):
    """Words that thread 0 stores, given those that it loads."""
    reg, out = {}, bytearray(size)
    mem = struct.pack(f"<{len(words)}I", *words)
    BASE = {"k_param_0": 1 << 32, "k_param_1": 2 << 32}
    M = 0xffffffff
    body = re.sub(r"//[^\n]*", "", ptx[ptx.index("{\n"):])

    def get(x):
        x = x.strip().rstrip("U")
        if x == "%tid.x":
            return 0
        return reg[x] if x in reg else int(x, 0) & 0xffffffffffffffff

    def lanes(t, f, *v):
        d = f16 if t == "f16x2" else bf16
        return sum(to_bits(t[:-2], f(*(d(x >> 16 * i) for x in v))) << 16 * i for i in (0, 1))

    def xorsign(a, b):
        m = min((abs(x) for x in (a, b) if not math.isnan(x)), default=math.nan)
        return math.copysign(m, math.copysign(1, a) * math.copysign(1, b))

    for op, rest in re.findall(r"^\s+([a-z][\w.]*)\s+([^;]*);", body, re.M):
        p = op.split(".")
        lists = re.findall(r"\{([^}]*)\}", rest)
        address = re.search(r"\[([^\]+]+)(?:\+(\d+))?\]", rest)
        if address:
            a, plus = address[1], int(address[2] or 0)
            width = int(p[-1][1:]) // 8
            if p[1] == "param":
                reg[rest.split(",")[0].strip()] = BASE[a]
                continue
            at = get(a) + plus & 0xffffffff
            if p[0] == "ld":
                names = lists[0].split(",") if lists else [rest.split(",")[0]]
                for i, n in enumerate(names):
                    reg[n.strip()] = int.from_bytes(mem[at + i * width:at + (i + 1) * width], "little")
            else:
                for i, n in enumerate(lists[0].split(",") if lists else [rest.split(",")[-1]]):
                    out[at + i * width:at + (i + 1) * width] = (get(n) & ((1 << 8 * width) - 1)).to_bytes(width, "little")
            continue
        if p[0] == "mov" and lists:
            if rest.strip().startswith("{"):
                v = get(rest.split("}")[1].split(",")[1])
                for i, n in enumerate(lists[0].split(",")):
                    reg[n.strip()] = v >> 16 * i & 0xffff
            else:
                v = [get(n) & 0xffff for n in lists[0].split(",")]
                reg[rest.split(",")[0].strip()] = v[0] | v[1] << 16
            continue
        dst, *src = [x.strip() for x in rest.split(",")]
        v = [get(x) for x in src]
        t = p[-1]
        if p[0] == "mov": r = v[0]
        elif op in ("and.b32", "and.b16"): r = v[0] & v[1]
        elif op in ("or.b32", "or.b16"): r = v[0] | v[1]
        elif op in ("xor.b32", "xor.b16"): r = v[0] ^ v[1]
        elif op == "not.b32": r = ~v[0] & M
        elif op == "shl.b32": r = v[0] << v[1] & M
        elif op == "shr.u32": r = (v[0] & M) >> v[1]
        elif op == "shr.u64": r = v[0] >> v[1]
        elif op == "shr.u16": r = (v[0] & 0xffff) >> v[1]
        elif op == "mul.wide.u32": r = v[0] * v[1]
        elif op in ("add.s64", "add.s32"): r = v[0] + v[1]
        elif op in ("cvt.u64.u32", "cvt.u32.u16", "cvt.u32.u8"): r = v[0] & ((1 << int(t[1:])) - 1)
        elif op in ("cvt.u16.u32",): r = v[0] & 0xffff
        elif op == "shf.l.wrap.b32": r = ((v[1] & M) << 32 | v[0] & M) << (v[2] & 31) >> 32 & M
        elif op == "shf.r.wrap.b32": r = ((v[1] & M) << 32 | v[0] & M) >> (v[2] & 31) & M
        elif op == "bfe.u32": r = v[0] >> v[1] & ((1 << v[2]) - 1)
        elif op == "mul.wide.u16": r = (v[0] & 0xffff) * (v[1] & 0xffff)
        elif op == "prmt.b32": r = prmt(v[0] & M, v[1] & M, v[2])
        elif op == "lop3.b32":
            r = 0
            for k in range(8):
                if v[3] >> k & 1:
                    r |= (v[0] if k & 4 else ~v[0]) & (v[1] if k & 2 else ~v[1]) & (v[2] if k & 1 else ~v[2]) & M
        elif t in ("f16x2", "bf16x2") and p[0] == "add": r = lanes(t, lambda a, b: a + b, *v)
        elif t in ("f16x2", "bf16x2") and p[0] == "sub": r = lanes(t, lambda a, b: a - b, *v)
        elif t in ("f16x2", "bf16x2") and p[0] == "mul": r = lanes(t, mul, *v)
        elif t in ("f16x2", "bf16x2") and p[0] == "fma": r = lanes(t, lambda a, b, c: mul(a, b) + c, *v)
        elif op == "max.bf16x2": r = lanes(t, largest, *v)
        elif op == "min.xorsign.abs.f16x2": r = lanes(t, xorsign, *v)
        elif op == "cvt.f32.f16": r = to_bits("f32", f16(v[0]))
        elif op in ("cvt.rn.f16x2.f32", "cvt.rn.bf16x2.f32"):
            r = to_bits(p[2][:-2], f32(v[0])) << 16 | to_bits(p[2][:-2], f32(v[1]))
        elif op in ("cvt.rn.f16x2.e4m3x2", "cvt.rn.f16x2.e5m2x2"): r = fp8x2(t[:-2], v[0])
        else: raise ValueError(f"unknown instruction {op} {rest}")
        reg[dst] = r
    return bytes(out)


def check(ptx, q, t, n, bits):
    """None, or what is wrong, over every code of q in kernels that convert n elements a thread."""
    width = 4 if t == "f32" else 2
    for first in range(0, 256, n):
        codes = [(first + i) * (1 if first % 64 else 37) % (1 << bits) for i in range(n)] if bits < 8 \
            else [first + i for i in range(n)]
        string = sum(c << bits * i for i, c in enumerate(codes))
        words = [string >> 32 * i & 0xffffffff for i in range(n * bits // 32)]
        got = run(ptx, words, n * width)
        for i, c in enumerate(codes):
            is_ = int.from_bytes(got[width * i:width * (i + 1)], "little")
            want = to_bits(t, value(q, c, t))
            number = {"f16": f16, "bf16": bf16, "f32": f32}[t]
            if is_ != want and not (math.isnan(number(is_)) and math.isnan(number(want))):
                return f"code {c} in slot {i} gives 0x{is_:x}, not 0x{want:x}"
    return None
