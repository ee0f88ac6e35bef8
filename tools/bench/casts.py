#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the SASS instructions of casts from types of up to 8 bits: a development tool.

For every (type, target, packing) a kernel is written whose body has no loop: each thread loads whole
words, converts N elements, stores them. It is compiled to PTX, assembled for sm_90a, disassembled,
and every instruction that reads, directly or through others, what was loaded is counted; the stores
are not, nor is anything that a kernel which only copies would have: loads, addresses, constants. The
count times 8 / N is the figure. Needs ptxas (as tilusc finds it) and nvdisasm ($TILUS_NVDISASM or PATH).

    tools/bench/casts.py build/tools/tilusc                      all types to f16 and bf16
    tools/bench/casts.py build/tools/tilusc --types u4,i8        some
    tools/bench/casts.py build/tools/tilusc --write docs/casts.md  and the table between its marks
    tools/bench/casts.py build/tools/tilusc --check              right for every code? needs no GPU
"""
import argparse, os, re, shutil, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor

import casts_ptx

TYPES = """u1 u2 u3 u4 u5 u6 u7 u8 i2 i3 i4 i5 i6 i7 i8 f3e1m1 f4e1m2 f4e2m1 f5e1m3 f5e2m2 f5e3m1
f6e1m4 f6e2m3 f6e3m2 f6e4m1 f7e1m5 f7e2m4 f7e3m3 f7e4m2 f7e5m1 f8e1m6 f8e2m5 f8e3m4 f8e4m3 f8e5m2
f8e6m1 f8e8m0""".split()

# Best published or best known before, SASS per 8 elements, loads excluded: peers' unpack code counted
# from their SASS (Marlin, QuantLLM, Humming), with the multiplication where one is needed.
KNOWN = {("u4", "f16"): "9 Marlin", ("i4", "f16"): "9 Marlin", ("u4", "bf16"): "11 Marlin",
         ("i4", "bf16"): "11 Marlin", ("u8", "f16"): "8 Marlin", ("u8", "bf16"): "20 Marlin",
         ("i8", "bf16"): "20 Marlin", ("f8e4m3", "bf16"): "18 Marlin (no NaN)",
         ("f4e2m1", "bf16"): "19 Marlin", ("f6e3m2", "f16"): "25.5 QuantLLM"}


def budget(q, t):
    """The figure to reach: what the best of the scatter packings was found to need."""
    named = {("u4", "f16"): 9, ("i4", "f16"): 9, ("u4", "bf16"): 11, ("i4", "bf16"): 11,
             ("u8", "f16"): 8, ("i8", "bf16"): 14, ("f8e4m3", "f16"): 4, ("f8e4m3", "bf16"): 14,
             ("f4e2m1", "bf16"): 13, ("f6e3m2", "bf16"): 15}
    return named.get((q.split("!")[0], t), 17)


# Types with options of the cast, shown in rows of their own.
OPTIONS = {"nan": "nan = false", "kept": "bias = kept"}
OPTION_ROWS = "f8e4m3!nan f8e8m0!nan u1!kept u2!kept u3!kept u4!kept u5!kept u6!kept u7!kept u8!kept " \
              "i2!kept i3!kept i4!kept i5!kept i6!kept i7!kept i8!kept".split()


def bits(q):
    return int(re.match(r"[a-z]+(\d+)", q).group(1))


def kernel(q, t, packing, n):
    """One block of 32 threads, n elements a thread in one run."""
    q, *options = q.split("!")
    how = "".join(f", {OPTIONS[o]}" for o in options)
    order = "".join(f", {OPTIONS[o]}" for o in options if o == "nan")
    head = f"kernel k(x: global XX, y: global {t}[{32 * n}]) launch {{ grid = 1; warps = 1; }} {{\n"
    lay = f"spatial(32).local({n})"
    if packing == "plain":
        return head.replace("XX", f"{q}[{32 * n}]") + \
            f"    let a: reg {q}[{32 * n}] @ {lay} = load(x[0 +: {32 * n}]);\n" \
            f"    store(y[0 +: {32 * n}], cast(a, {t}{how}));\n}}\n"
    size = n * bits(q) // 8
    if packing == "both":  # encoded and decoded by one kernel, for the check
        return head.replace("XX", f"{q}[{32 * n}]") + \
            f"    let a: reg {q}[{32 * n}] @ {lay} = load(x[0 +: {32 * n}]);\n" \
            f"    store(y[0 +: {32 * n}], decode(encode(a, {t}{order}), {q}[{32 * n}] @ {lay}, {t}{how}));\n}}\n"
    return head.replace("XX", f"u8[{32 * size}]") + \
        f"    let a: reg u8[{32 * size}] @ spatial(32).local({size}) = load(x[0 +: {32 * size}]);\n" \
        f"    store(y[0 +: {32 * n}], decode(a, {q}[{32 * n}] @ {lay}, {t}{how}));\n}}\n"


def sass(tools, text):
    """(instructions as text, ptx) of a kernel."""
    with tempfile.TemporaryDirectory() as d:
        src, out = os.path.join(d, "k.tvm"), os.path.join(d, "k")
        with open(src, "w") as f:
            f.write(text)
        subprocess.run([tools.tilusc, "build", src, "--arch=sm_90a", "-o", out + ".ptx"], check=True,
                       capture_output=True, text=True)
        subprocess.run([tools.ptxas, "-arch=sm_90a", "-O3", out + ".ptx", "-o", out + ".cubin"], check=True,
                       capture_output=True, text=True)
        r = subprocess.run([tools.nvdisasm, "-c", out + ".cubin"], capture_output=True, text=True)
        if r.returncode:
            r = subprocess.run([tools.nvdisasm, "-c", out + ".cubin"], check=True, capture_output=True, text=True)
    lines = re.findall(r"/\*[0-9a-f]{4}\*/\s+(.*?);", r.stdout)
    end = next((i for i, l in enumerate(lines) if re.search(r"\bEXIT\b", l) and not l.startswith("@")), len(lines))
    return lines[:end]


def converts(lines):
    """How many instructions work on loaded data: loads and stores, addresses and constants do not."""
    data, n = set(), 0
    for line in lines:
        guard = re.match(r"@!?(U?P\d+)\s+", line)
        op, _, rest = line[guard.end() if guard else 0:].partition(" ")
        operands = [x.strip() for x in rest.split(",")]
        dest = re.match(r"U?[RP]\d+", operands[0])
        dest = dest[0] if dest else None
        if op.startswith("STG"):
            continue
        if op.startswith("LDG"):
            wide = 4 if ".128" in op else 2 if ".64" in op else 1
            data |= {f"R{int(dest[1:]) + i}" for i in range(wide)}
            continue
        first = 2 if re.match(r"U?(ISETP|FSETP|HSETP|PLOP)", op) else 1
        read = set(re.findall(r"\bU?[RP]\d+\b", " ".join(operands[first:]))) | ({guard[1]} if guard else set())
        if read & data:
            n += 1
            if dest:
                data.add(dest)
            if first == 2 and re.match(r"U?P\d", operands[1]):
                data.add(operands[1])
        elif dest:
            data.discard(dest)
    return n


def measure(tools, q, t, packing, n):
    try:
        lines = sass(tools, kernel(q, t, packing, n))
    except subprocess.CalledProcessError as e:
        return None, (e.stderr or "").strip()
    return converts(lines), "\n".join(lines)


def checked(tools, q, t, packing, n):
    try:
        with tempfile.TemporaryDirectory() as d:
            src = os.path.join(d, "k.tvm")
            with open(src, "w") as f:
                f.write(kernel(q, t, packing, n))
            subprocess.run([tools.tilusc, "build", src, "--arch=sm_90a", "-o", src + ".ptx"], check=True,
                           capture_output=True, text=True)
            with open(src + ".ptx") as f:
                return casts_ptx.check(f.read(), q, t, n, bits(q))
    except (subprocess.CalledProcessError, ValueError) as e:
        return (getattr(e, "stderr", None) or str(e)).strip()


def check(tools):
    """Every code of every type through plain and encoded casts."""
    jobs = [(q, t, p) for q in tools.types.split(",") for t in tools.to.split(",") for p in ("plain", "both")]
    bad = 0
    for q, t, p in jobs:
        wrong = checked(tools, q, t, p, tools.n)
        bad += wrong is not None
        if wrong:
            print(f"{q} to {t}, {p}: {wrong}")
    print(f"{len(jobs) - bad} of {len(jobs)} casts right for every code")
    return 1 if bad else 0


def named(q):
    q, *options = q.split("!")
    return ", ".join([q] + [OPTIONS[o] for o in options])


def figure(x):
    return "–" if x is None else f"{x:.4g}"


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("tilusc")
    a.add_argument("--types", default=",".join(TYPES + OPTION_ROWS))
    a.add_argument("--to", default="f16,bf16")
    a.add_argument("--packing", default="plain,encoded")
    a.add_argument("-n", type=int, default=32, help="elements a thread; n * bits in whole words")
    a.add_argument("--ptxas", default=os.environ.get("TILUS_PTXAS") or shutil.which("ptxas") or "/usr/local/cuda/bin/ptxas")
    a.add_argument("--nvdisasm", default=os.environ.get("TILUS_NVDISASM") or shutil.which("nvdisasm") or "nvdisasm")
    a.add_argument("-j", type=int, default=2)
    a.add_argument("--show", action="store_true", help="print the SASS")
    a.add_argument("--check", action="store_true", help="run the PTX on the CPU instead, for every code")
    a.add_argument("--write", metavar="FILE", help="replace the table between the marks of this file")
    tools = a.parse_args()
    if tools.check:
        sys.exit(check(tools))
    targets, packings = tools.to.split(","), tools.packing.split(",")
    jobs = [(q, t, p) for q in tools.types.split(",") for t in targets for p in packings]
    with ThreadPoolExecutor(tools.j) as pool:
        found = dict(zip(jobs, pool.map(lambda j: measure(tools, *j, tools.n), jobs)))
    rows, failed = [], 0
    for q in tools.types.split(","):
        for t in targets:
            per8 = {}
            for p in packings:
                n, text = found[q, t, p]
                if tools.show or n is None:
                    print(f"-- {q} {t} {p}\n{text}", file=sys.stderr)
                per8[p] = None if n is None else n * 8 / tools.n
            best = min((x for x in per8.values() if x is not None), default=None)
            ok = best is not None and best <= budget(q, t)
            failed += not ok
            rows.append(f"| {named(q)} | {t} | " + " | ".join(figure(per8[p]) for p in packings) +
                        f" | {budget(q, t)} | {KNOWN.get((q, t), '')} | {'' if ok else 'over'} |")
    table = "| from | to | " + " | ".join(packings) + " | goal | best published | |\n" + \
            "|---|---|" + "---|" * (len(packings) + 3) + "\n" + "\n".join(rows) + "\n"
    print(table + f"{len(rows) - failed} of {len(rows)} within their goal")
    if tools.write:
        with open(tools.write) as f:
            doc = f.read()
        doc = re.sub(r"(<!-- table -->\n).*?(<!-- end -->)", lambda m: m[1] + table + m[2], doc, flags=re.S)
        with open(tools.write, "w") as f:
            f.write(doc)


main()
