#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Kernels on files from NumPy and from a hand-written safetensors writer; results against NumPy.
. "$(dirname "$0")/lib.sh"

cat >tensors.py <<'EOF'
import json, struct
import numpy as np
def bf16_bits(x):  # round to nearest even
    b = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((b + 0x7fff + (b >> 16 & 1)) >> 16).astype(np.uint16)
def bf16_value(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)
def write(path, tensors):
    head, data = {"__metadata__": {"by": "hand"}}, b""
    for name, (dtype, shape, raw) in tensors.items():
        head[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    h = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(h)) + h + data)
def read(path):
    raw = open(path, "rb").read()
    n, = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8:8 + n])
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8, "I8": np.int8}
    out = {}
    for name, t in head.items():
        if name == "__metadata__": continue
        a, b = t["data_offsets"]
        out[name] = np.frombuffer(raw[8 + n + a:8 + n + b], dtype=kinds[t["dtype"]]).reshape(t["shape"])
    return out
EOF

# .npy in and out
python - <<'EOF'
import numpy as np
r = np.random.default_rng(1)
np.save("x.npy", r.standard_normal(1003, dtype=np.float32))
np.save("y.npy", r.standard_normal(1003, dtype=np.float32))
np.save("m.npy", r.standard_normal((37, 53), dtype=np.float32))
np.save("i.npy", r.integers(-2**31, 2**31, 77, dtype=np.int32))
np.save("fortran.npy", np.asfortranarray(r.standard_normal((37, 53), dtype=np.float32)))
EOF
exits 0 "$TILUSC" run --on=vm "$P/vector_add.tvm" vector_add n=1003 x=x.npy y=y.npy z='zeros(f32[n])' -o z=z.npy --check='expect_equal(z, x + y)'
ok python -c 'import numpy as np; assert (np.load("z.npy") == np.load("x.npy") + np.load("y.npy")).all()'
for f in m fortran; do
    exits 0 "$TILUSC" run --on=vm "$P/transpose.tvm" transpose 37 53 $f.npy 'zeros(f32[n, m])' -o b=t.npy
    ok python -c "import numpy as np; assert (np.load('t.npy') == np.load('$f.npy').T).all()"
done
exits 0 "$TILUSC" run --on=vm "$P/vector_add.tvm" vector_add -D T=i32 n=77 x=i.npy y=i.npy z='zeros(i32[n])' -o z=-
ok python -c 'import numpy as np
x = np.load("i.npy"); assert (np.array(open("out").read().split(), dtype=np.int64) == (x + x)).all()'
exits 0 "$TILUSC" run --on=vm --seed=5 "$P/softmax.tvm" softmax rows=37 n=53 x=m.npy y='zeros(f32[rows, n])' -o y=s.npy
ok python -c 'import numpy as np
x = np.load("m.npy").astype(float); e = np.exp(x - x.max(1, keepdims=True)); assert np.abs(np.load("s.npy") - e / e.sum(1, keepdims=True)).max() < 1e-5'
exits 0 "$TILUSC" run --on=vm "$P/vector_add.tvm" vector_add --let h=x.npy n=1003 x='h' y='full(f32[n], -1.5)' z='full(f32[n], NAN)' --check='expect_equal(z, h - 1.5)'

# mistakes
add="$TILUSC run --on=vm $P/vector_add.tvm vector_add"
exits 1 "$TILUSC" run --on=vm "$P/vector_add.tvm" vector_ad 1
says err "did you mean 'vector_add'?"
exits 2 $add n=1003 x=x.npy y=y.npy
says err "no value for parameter 'z'"
exits 2 $add 1003 x.npy y.npy x.npy 5
says err 'too many arguments'
exits 2 $add n=1003 n=4
says err 'given twice'
exits 2 $add nn=1003
says err "has no parameter 'nn'"
exits 1 $add n=1004 x=x.npy y=y.npy z='zeros(f32[n])'
says err "extent 0 of 'x' is 1003"
exits 1 $add n=77 x=i.npy y=i.npy z='zeros(f32[n])'
exits 1 $add n=1003 x=x.npy y=y.npy z='zeroes(f32[n])'
says err "did you mean 'zeros'?"
exits 1 $add n=1003 x=x.npy y=y.npy z='zeros(f32[n])' --check='expect_equal(z, x)'
exits 2 $add n=1003 x=nothing.npy y=y.npy z='zeros(f32[n])'
exits 2 $add n=1003 x=. y=. z=.npy
exits 2 $add n=1003 x=x.npy y=y.npy z='zeros(f32[n])' -o q=z.npy
exits 2 $add n=1003 x=x.npy y=y.npy z='zeros(f32[n])' -o z=z.txt
exits 2 $add n=1003 x=x.npy y=y.npy z='zeros(f32[n])' -o z=no/such/z.npy
exits 1 $add n=4000000000 x=x.npy y=y.npy z='zeros(f32[4])'
exits 1 $add -D B=100 n=1003 x=x.npy y=y.npy z='zeros(f32[n])'
says err '100 % 128 is 100'
exits 1 $add -D NOPE=1 n=1003 x=x.npy y=y.npy z='zeros(f32[n])'
head -c 500 x.npy >short.npy
head -c 3 x.npy >tiny.npy
: >none.npy
head -c 4000 /dev/urandom >noise.npy
for f in short tiny none noise; do exits 2 $add n=1003 x=$f.npy y=y.npy z='zeros(f32[n])'; done

# safetensors by another hand
python - <<'EOF'
import numpy as np
from tensors import *
r = np.random.default_rng(2)
w = bf16_bits(0.02 * r.standard_normal((96, 256), dtype=np.float32))      # [n, k], as linear layers are
x = bf16_bits(r.standard_normal((19, 256), dtype=np.float32))
pad = np.arange(3, dtype=np.uint8)                                        # the next tensor is not aligned
write("model.safetensors", {"pad": ("U8", (3,), pad.tobytes()), "layer.weight": ("BF16", w.shape, w.tobytes()),
                            "x": ("BF16", x.shape, x.tobytes())})
EOF
exits 0 "$TILUSC" quantize --on=vm model.safetensors:layer.weight --transpose --group=64 --pack --name=l -o q.safetensors
exits 0 "$TILUSC" quantize --on=vm model.safetensors:layer.weight --transpose --group=64 -o codes.npy
exits 0 "$TILUSC" run --on=vm "$P/matmul_lowbit.tvm" matmul -D Q=u4 -D T=bf16 -D ZERO=true -D group=64 m=19 n=96 k=256 \
    a=model.safetensors:x b=q.safetensors:l.packed s=q.safetensors:l.scales z=q.safetensors:l.zeros c='zeros(bf16[m, n])' -o c=c.safetensors
python - <<'EOF' || fail 'u4 product of a bf16 weight against NumPy'
import numpy as np
from tensors import *
m, q = read("model.safetensors"), read("q.safetensors")
w, x = bf16_value(m["layer.weight"]).T.astype(float), bf16_value(m["x"]).astype(float)
s, z = bf16_value(q["l.scales"]).astype(float), bf16_value(q["l.zeros"]).astype(float)
codes = np.load("codes.npy")
assert codes.shape == (256, 96) and codes.dtype == np.uint8 and codes.max() <= 15
assert (bf16_bits(bf16_value(np.load("codes.scales.npy").view(np.uint16))) == q["l.scales"]).all()
rep = lambda t: np.repeat(t, 64, axis=0)
back = (codes - rep(z)) * rep(s)
step = rep(s)
assert (np.abs(back - w) <= 1.05 * step).all()      # half a step, and half a step of the zero point at the ends
c = bf16_value(read("c.safetensors")["c"]).astype(float)
want = x @ back
error = np.linalg.norm(c - want) / np.linalg.norm(want)
print("relative error", error)
assert error < 1e-2
full = np.linalg.norm(c - x @ w) / np.linalg.norm(x @ w)
assert full < 0.15, full
EOF
checks=$((checks + 1))
# the packed bytes are those of the kernel on the same codes
exits 0 "$TILUSC" run --on=vm "$P/matmul_lowbit.tvm" pack -D Q=u4 k=256 n=96 src='codes.npy as u4' dst='zeros(u8[16, 12, 64])' -o dst=packed.npy
ok python -c 'import numpy as np
from tensors import *
assert (np.load("packed.npy") == read("q.safetensors")["l.packed"]).all()'
# encoded weights give the same product
exits 0 "$TILUSC" quantize --on=vm model.safetensors:layer.weight --transpose --group=64 --encode=bf16 --name=l -o e.safetensors
exits 0 "$TILUSC" run --on=vm "$P/matmul_lowbit.tvm" matmul -D Q=u4 -D T=bf16 -D ZERO=true -D group=64 -D ENC=true -D TK=32 -D TN=32 \
    m=19 n=96 k=256 a=model.safetensors:x b=e.safetensors:l.packed s=e.safetensors:l.scales z=e.safetensors:l.zeros \
    c='zeros(bf16[m, n])' -o c=ce.safetensors
ok python -c 'from tensors import *
assert (read("c.safetensors")["c"] == read("ce.safetensors")["c"]).all()
assert sorted(read("e.safetensors")["l.packed"].ravel()) != sorted(read("q.safetensors")["l.packed"].ravel())'
exits 2 "$TILUSC" quantize --on=vm m.npy --encode=f32 -o no.npy
for t in u1 u2 u3 u5 u8 i2 i4 i7 i8 f4e2m1 f6e3m2 f8e4m3 f3e1m1; do
    exits 0 "$TILUSC" quantize --on=vm model.safetensors:layer.weight --type=$t --group=32 --pack -o $t.safetensors
done
exits 0 "$TILUSC" quantize --on=vm m.npy --type=i4 --zero-points --scales=f32 --group=10 -o i4.npy
python - <<'EOF' || fail 'i4 with zero points'
import numpy as np
w, q = np.load("m.npy").astype(float), np.load("i4.npy").astype(float)
s, z = (np.repeat(np.load(f"i4.{n}.npy").astype(float), 10, axis=0)[:37] for n in ("scales", "zeros"))
assert np.load("i4.npy").dtype == np.int8 and q.min() >= -8 and q.max() <= 7
assert (np.abs((q - z) * s - w) <= 1.05 * s).all()
EOF
checks=$((checks + 1))

# files that are cut or lie
python - <<'EOF'
import struct, json
raw = open("model.safetensors", "rb").read()
n, = struct.unpack("<Q", raw[:8])
head, data = json.loads(raw[8:8 + n]), raw[8 + n:]
def put(name, h, d=data, size=None):
    h = h if isinstance(h, bytes) else json.dumps(h).encode()
    open(name + ".safetensors", "wb").write(struct.pack("<Q", len(h) if size is None else size) + h + d)
def change(**k):
    h = json.loads(json.dumps(head)); h["layer.weight"].update(k); return h
for k in (0, 1, 7, 8, 9, 8 + n // 2, 8 + n, len(raw) // 2, len(raw) - 1):
    open(f"bad_cut{k}.safetensors", "wb").write(raw[:k])
put("bad_size", head, size=1 << 62)
put("bad_size2", head, size=2**64 - 1)
put("bad_json", b"{" * 1000)
put("bad_offsets", change(data_offsets=[0, 1 << 60]))
put("bad_negative", change(data_offsets=[-8, 49144]))
put("bad_order", change(data_offsets=[49155, 3]))
put("bad_shape", change(shape=[96, 257]))
put("bad_shape2", change(shape=[1 << 40, 1 << 40]))
put("bad_dtype", change(dtype="F13"))
put("bad_rank", change(shape=[1] * 50 + [96, 256]))
put("bad_type", change(shape="wide"))
put("bad_utf8", b'{"layer.weight\xff": 3}')
EOF
for f in bad_*.safetensors; do exits 2 "$TILUSC" quantize --on=vm "$f:layer.weight" -o no.npy; done
exits 2 "$TILUSC" quantize --on=vm model.safetensors:layer.weigth -o no.npy
says err "did you mean 'layer.weight'?"
exits 2 "$TILUSC" quantize --on=vm model.safetensors:pad -o no.npy
exits 2 "$TILUSC" quantize --on=vm model.safetensors -o no.npy
exits 2 "$TILUSC" quantize --on=vm m.npy --type=u16 -o no.npy
exits 2 "$TILUSC" quantize --on=vm m.npy --group=0 -o no.npy
exits 2 "$TILUSC" quantize --on=vm m.npy
ok test ! -e no.npy
finish
