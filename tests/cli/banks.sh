# SPDX-License-Identifier: Apache-2.0
# Bank conflicts: none are left in the programs that ship, and what the compiler says of a tile is what
# the virtual GPU counts when the kernel runs.
. "$SRC/tests/cli/lib.sh"

# none FILE ARCH [OPTION…]: every shared tile of FILE is counted and without conflicts
none() {
    file=$1 arch=$2
    shift 2
    exits 0 "$TILUSC" build "$P/$file" --arch="$arch" -Rpass -o k.ptx "$@"
    grep 'shared tile' err >tiles
    checks=$((checks + 1))
    ! grep -E ' [1-9][0-9]* of [0-9]+|cannot be counted' tiles >left || { fail "conflicts: $file $arch $*"; cat left; }
}
for arch in sm_80 sm_90a; do
    for f in df11 na1d rmsnorm softmax transpose vector_add w4a16; do none $f.tvm $arch; done
    none matmul.tvm $arch
    says tiles "'sa'"
    none matmul.tvm $arch -D A_COL=true -D B_COL=true
    none transpose.tvm $arch -D T=f16
    none transpose.tvm $arch -D T=u8 -D B=64
    none transpose.tvm $arch -D T=f64
    none matmul_lowbit.tvm $arch --kernel=matmul -D Q=u3 -D TN=16 -D ZERO=true
    none matmul_lowbit.tvm $arch --kernel=matmul -D Q=i6 -D TK=32 -D TN=32 -D ENC=true
    none matmul_lowbit.tvm $arch --kernel=pack -D Q=f6e3m2
done
for f in matmul_hopper matmul_wq; do none $f.tvm sm_90a --kernel=matmul; done
for mt in 1 8; do none stream.tvm sm_90a --kernel=matvec -D MT=$mt; done
none stream.tvm sm_90a --kernel=matvec -D MT=16 -D stages=3
none stream.tvm sm_90a --kernel=pack -D Q=i5 -D T=f16

cat >tiles.tvm <<'END'
kernel turn[T: type, M: int, N: int, S: layout, W: layout, R: layout](
    a: global T[M, N], b: global T[N, M])
    launch { grid = 1; warps = 4; }
{
    let s: shared T[M, N] @ S;
    store(s, load(a[0 +: M, 0 +: N]) @ W);
    store(b[0 +: N, 0 +: M], load(s.t) @ R);
}
kernel product[S: layout, U: layout](a: global f16[64, 64], b: global f16[64, 64], c: global f32[64, 64])
    const D = mma.dot(mma.m16n8k16, warps = (2, 2), repeat = (2, 4, 4));
    launch { grid = 1; warps = 4; }
{
    let s: shared f16[64, 64] @ S, u: shared f16[64, 64] @ U;
    store(s, load(a[0 +: 64, 0 +: 64]) @ spatial(16, 8).local(4, 8));
    store(u, load(b[0 +: 64, 0 +: 64]) @ spatial(16, 8).local(4, 8));
    store(c[0 +: 64, 0 +: 64], dot(load(s) @ D.a, load(u) @ D.b, zeros(f32[64, 64]) @ D.c));
}
END
cat >compare.py <<'END'
import json, os, re, subprocess, sys
tilusc, programs = os.environ["TILUSC"], sys.argv[1]
kinds = {"st.shared": "store", "ld.shared": "load", "ldmatrix": "ldmatrix", "stmatrix": "stmatrix"}

def run(*args):
    p = subprocess.run([tilusc, *args], capture_output=True, text=True)
    assert p.returncode == 0, (args, p.stderr)
    return p

def said(path, kernel, options):
    """Conflicts and wavefronts by kind of access, as remarks."""
    sums = {}
    text = run("build", path, "--kernel=" + kernel, "--arch=sm_90a", "-Rpass", "-o", "k.ptx", *options).stderr
    for line in text.splitlines():
        for kind, conflicts, all in re.findall(r"(\w+) (\d+) of (\d+)", line.split("shared tile", 1)[1] if "shared tile" in line else ""):
            x = sums.setdefault(kind, [0, 0])
            x[0] += int(conflicts)
            x[1] += int(all)
    return sums

def counted(path, kernel, options, args):
    sums = {}
    for p in json.loads(run("profile", path, kernel, "--json", *options, *args).stdout):
        for i in p["instructions"]:
            kind = next((k for t, k in kinds.items() if t in i["text"]), None)
            if not kind: continue
            x, n = sums.setdefault(kind, [0, 0]), i["counts"]
            x[0] += n["wavefronts"] - n["ideal_wavefronts"]
            x[1] += n["wavefronts"]
    return sums

failed = 0
def compare(path, kernel, options, args, exact):
    global failed
    a, b = said(path, kernel, options), counted(path, kernel, options, args)
    for kind in kinds.values():
        x, y = a.get(kind, [0, 0]), b.get(kind, [0, 0])
        # a tile that several warps read, or many blocks, is moved a whole number of times
        good = x == y if exact else x[0] * y[1] == y[0] * x[1]
        print(f"{'ok' if good else 'FAILED'}: {kernel} {' '.join(options)}: {kind}: said {x}, counted {y}")
        failed += not good

met = 0
for T, m, n in [("f32", 32, 32), ("f16", 64, 64), ("u8", 64, 64), ("f64", 32, 32), ("f32", 16, 64)]:
    for S in [f"row_major({m}, {n})", f"strides({n} + 1, 1)" if m == n else f"strides({n} + 4, 1)", "swizzle(64)", "swizzle(128)"]:
        for W, R in [("local({0}).spatial(16, 8).local(1, {1})", "local({0}).spatial(16, 8).local(1, {1})"),
                     ("spatial(4, 32).local({0})", "spatial(32, 4).local({0})")]:
            w = W.format(f"{m // 16}, 1" if "{1}" in W else f"{m // 4}, {n // 32}", n // 8)
            r = R.format(f"{n // 16}, 1" if "{1}" in R else f"{n // 32}, {m // 4}", m // 8)
            o = [x for d in (f"T={T}", f"M={m}", f"N={n}", f"S={S}", f"W={w}", f"R={r}") for x in ("-D", d)]
            compare("tiles.tvm", "turn", o, [f"a=random({T}[{m}, {n}], seed = 1)", f"b=zeros({T}[{n}, {m}])"], True)
            met += any(c for c, _ in said("tiles.tvm", "turn", o).values())
assert met > 8, f"only {met} cases have conflicts"
for S in ["row_major(64, 64)", "swizzle(32)", "swizzle(64)", "swizzle(128)", "strides(72, 1)", "strides(80, 1)"]:
    compare("tiles.tvm", "product", ["-D", f"S={S}", "-D", f"U={S}"],
            ["a=random(f16[64, 64], seed = 1)", "b=random(f16[64, 64], seed = 2)", "c=zeros(f32[64, 64])"], False)
compare(programs + "/transpose.tvm", "transpose", [], ["m=64", "n=96", "a=random(f32[m, n], seed = 1)", "b=zeros(f32[n, m])"], False)
compare(programs + "/matmul_lowbit.tvm", "matmul", ["-D", "group=64"],
        ["m=32", "n=256", "k=128", "a=random(f16[m, k], seed = 1)", "b=random(u8[8, 32, 64], seed = 2)", "s=random(f16[2, n], seed = 3)",
         "z=zeros(f16[2, n])", "c=zeros(f16[m, n])"], False)
compare(programs + "/w4a16.tvm", "matmul", [],
        ["m=32", "n=256", "k=128", "a=random(f16[m, k], seed = 1)", "b=random(u8[8, 32, 64], seed = 2)", "s=random(f16[1, n], seed = 3)",
         "c=zeros(f16[m, n])"], False)
sys.exit(failed > 0)
END
checks=$((checks + 1))
python compare.py "$P" >out 2>err || { fail "the compiler and the profiler differ"; grep FAILED out; }
finish
