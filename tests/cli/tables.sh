#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# layout, type and explain against vectors and against a second definition of the number formats.
. "$(dirname "$0")/lib.sh"

python - "$TILUSC" "$SRC/tests/fixtures/layouts.json" <<'EOF' || fail 'layout vectors'
import json, subprocess, sys
tilusc, fixture = sys.argv[1:]
vectors = json.load(open(fixture))
def layout(expr):
    return json.loads(subprocess.run([tilusc, "layout", expr, "--json"], capture_output=True, check=True, text=True).stdout)
for v in vectors["register"]:
    got = layout(v["expr"])
    assert got["shape"] == v["shape"] and got["threads"] == v["threads"] and got["locals"] == v["locals"], v["expr"]
    assert got["map"] == v.get("map_t_i_to_index", got["map"]), v["expr"]
for v in vectors["shared"]:
    got = layout(v["expr"])
    assert got["shape"] == v["shape"] and got["size"] == v["size"] and got["offsets"] == v["offsets"], v["expr"]
print(len(vectors["register"]) + len(vectors["shared"]), "layouts")
EOF
checks=$((checks + 1))

python - "$TILUSC" <<'EOF' || fail 'values of types'
import json, subprocess, sys
import numpy as np
tilusc = sys.argv[1]
def values(name):
    r = subprocess.run([tilusc, "type", name, "--json"], capture_output=True, text=True)
    assert r.returncode == 0, name
    return json.loads(r.stdout)
def number(x):
    return float(x) if isinstance(x, str) else x
def check(name, want):
    d = values(name)
    assert d["name"] == name and 1 << d["bits"] == len(want), name
    got = np.array([number(x) for x in d["values"]], dtype=np.float64)
    want = np.array(want, dtype=np.float64)
    assert ((got == want) | (np.isnan(got) & np.isnan(want))).all(), name
    assert (np.signbit(got) == np.signbit(want))[~np.isnan(want)].all(), name
def minifloat(e, m, special):
    out = []
    bias = 0 if e == 1 else 2 ** (e - 1) - 1
    for code in range(1 << (1 + e + m)):
        sign = -1.0 if code >> (e + m) else 1.0
        exp, man = code >> m & (1 << e) - 1, code & (1 << m) - 1
        if special == "ieee" and exp == (1 << e) - 1:
            out.append(sign * np.inf if man == 0 else np.nan)
        elif special == "nan" and exp == (1 << e) - 1 and man == (1 << m) - 1:
            out.append(np.nan)
        elif exp == 0:
            out.append(sign * man * 2.0 ** ((0 if e == 1 else 1 - bias) - m + (1 if e == 1 else 0)))
        else:
            out.append(sign * ((1 << m) + man) * 2.0 ** (exp - bias - m))
    return out
for b in range(1, 9):
    check(f"u{b}", range(1 << b))
    if b > 1:
        check(f"i{b}", [x - (1 << b) if x >> (b - 1) else x for x in range(1 << b)])
n = 0
for bits in range(3, 9):
    for e in range(2, bits - 1):
        m = bits - 1 - e
        if m < 1: continue
        check(f"f{bits}e{e}m{m}", minifloat(e, m, {"f8e4m3": "nan", "f8e5m2": "ieee"}.get(f"f{bits}e{e}m{m}")))
        n += 1
    check(f"f{bits}e1m{bits - 2}", minifloat(1, bits - 2, None))
    n += 1
check("f16", np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float64))
check("bf16", (np.arange(65536, dtype=np.uint32) << 16).view(np.float32).astype(np.float64))
check("f8e8m0", [2.0 ** (c - 127) for c in range(255)] + [np.nan])
check("f3e1m1", [0, 1, 2, 3, -0.0, -1, -2, -3])
wide = values("f32")
assert wide["bits"] == 32 and wide["kind"] == "float" and "values" not in wide
print(n, "small floats")
EOF
checks=$((checks + 1))

exits 1 "$TILUSC" type f6e3m3
says err 'did you mean'
exits 1 "$TILUSC" layout 'spatial(2,'
exits 1 "$TILUSC" layout 'spatal(2, 3)'
says err "did you mean 'spatial'?"
exits 1 "$TILUSC" layout 'local(2) / local(3)'
exits 0 "$TILUSC" layout 'mma.m16n8k16.b'
says out '32 threads'
for l in 'mma.m16n8k16.a' 'spatial(2, 3).local(4, 5)' 'swizzle(128)' 'row_major(8, 64)'; do
    "$TILUSC" layout "$l" --svg picture.svg 2>/dev/null || continue
    ok python -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse("picture.svg")'
done
exits 0 "$TILUSC" layout 'spatial(8, 4)' 'column_spatial(8, 4)' --svg pair.svg
ok python -c 'import xml.dom.minidom; assert "1 shuffle" in xml.dom.minidom.parse("pair.svg").toxml()'
exits 2 "$TILUSC" layout 'spatial(8, 4)' 'column_spatial(8, 4)'
exits 1 "$TILUSC" layout 'spatial(8, 4)' 'row_major(8, 4)' --svg pair.svg
exits 2 "$TILUSC" layout 'row_major(8, 4)' --bits 0
exits 0 "$TILUSC" explain E0402
says out 'bits'
exits 0 "$TILUSC" explain E0402 --json
ok python -m json.tool out /dev/null
exits 1 "$TILUSC" explain E9999
exits 0 "$TILUSC" explain all
while read -r code title; do
    "$TILUSC" explain "$code" >chapter || fail "explain $code ($title)"
    [ "$(wc -w <chapter)" -ge 6 ] || fail "chapter of $code is too short"
done <out
finish
