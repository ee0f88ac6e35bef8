#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Exit codes, help, and input that is no program.
. "$(dirname "$0")/lib.sh"

exits 2 "$TILUSC"
exits 0 "$TILUSC" --help
says out 'exit status'
exits 0 "$TILUSC" --version
says out 'sm_90a'
for c in build run test fmt layout type quantize explain; do
    exits 0 "$TILUSC" $c --help
    says out 'examples:'
    exits 0 "$TILUSC" help $c
    exits 2 "$TILUSC" $c --no-such-option
    exits 2 "$TILUSC" $c
done
exits 2 "$TILUSC" biuld
says err "did you mean 'build'?"

exits 2 "$TILUSC" build no-such-file.tvm
says err 'No such file'
exits 2 "$TILUSC" build .
exits 2 "$TILUSC" test no-such-folder
exits 2 "$TILUSC" build "$P/matmul.tvm" --arch=sm_91
says err "did you mean 'sm_90'?"
exits 2 "$TILUSC" build "$P/matmul.tvm" --emit=ptxx
exits 2 "$TILUSC" build "$P/matmul.tvm" --emit=ir --after=infr
says err "did you mean 'infer'?"
exits 2 "$TILUSC" build "$P/matmul.tvm" -D nothing
exits 2 "$TILUSC" build "$P/matmul.tvm" -O7
exits 2 "$TILUSC" build "$P/matmul.tvm" -Wall
exits 1 "$TILUSC" build "$P/matmul.tvm" --kernel=matmull
says err "did you mean 'matmul'?"
exits 1 "$TILUSC" build "$P/matmul.tvm" -D NOPE=1
says err E0343
exits 2 "$TILUSC" build "$P/matmul.tvm" -o no-such-folder/x.ptx
exits 2 sh -c '"$0" build "$1" >/dev/full' "$TILUSC" "$P/vector_add.tvm"
exits 2 sh -c '"$0" type u8 --json >/dev/full' "$TILUSC"
ok test ! -e no-such-folder

# garbage of several kinds
python - <<'EOF'
import random
random.seed(7)
for i in range(40):
    n = random.choice([0, 1, 7, 300, 5000])
    open(f"g{i}.tvm", "wb").write(bytes(random.randrange(256) for _ in range(n)))
open("zeros.tvm", "wb").write(bytes(5000))
open("deep.tvm", "w").write("const a = " + "(" * 100000 + ";")
open("open.tvm", "w").write("kernel k(")
EOF
for f in g*.tvm zeros.tvm; do
    rc=0
    timeout 20 "$TILUSC" build "$f" >out 2>err || rc=$?
    checks=$((checks + 1))
    [ "$rc" -le 1 ] || fail "$f: exit status $rc"
    rc=0
    timeout 20 "$TILUSC" test --on=vm "$f" >out 2>err || rc=$?
    [ "$rc" -le 1 ] || fail "$f: test: exit status $rc"
done
exits 1 "$TILUSC" build deep.tvm
says err E0701
exits 1 "$TILUSC" build open.tvm
: >empty.tvm
exits 0 "$TILUSC" build empty.tvm
says out '.target sm_80'

# diagnostics as JSON, one object a line
cat >bad.tvm <<'EOF'
kernel k(n: i32, a: global f32[n])
    launch { grid = 1; warps = 1; }
{
    let x = load(a[0 +: 32]) + nothing;
    store(a[0 +: 32], x)
}
EOF
exits 1 "$TILUSC" build bad.tvm --diagnostics=json
python -c 'import json,sys
n = 0
for l in open("err"):
    d = json.loads(l); n += 1
    assert d["message"] and "code" in d and "spans" in d, d
assert n >= 1' || fail 'JSON diagnostics'
exits 1 "$TILUSC" build bad.tvm
says err 'bad.tvm:5'
exits 1 "$TILUSC" build bad.tvm --color=always
says err "$(printf '\033[')"
exits 1 sh -c '"$0" build - <bad.tvm' "$TILUSC"
says err '<stdin>:5'
finish
