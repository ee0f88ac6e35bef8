#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The virtual GPU as a device of run, test and profile: its options, its reports, its counts.
. "$(dirname "$0")/lib.sh"

exits 0 "$TILUSC" test --on=vgpu "$P/softmax.tvm" "$P/vector_add.tvm"
says out 'on vgpu'
says out ' 0 failed'
exits 0 "$TILUSC" test --on=vgpu --arch=sm_80 --sanitize --schedule=3 "$P/transpose.tvm"
exits 2 "$TILUSC" test --on=vgpu --arch=sm_75 "$P/softmax.tvm"
says err 'sm_80'
exits 0 env TILUS_DEVICE=vgpu "$TILUSC" test "$P/vector_add.tvm"
says out 'on vgpu'
exits 2 env TILUS_DEVICE=gpu "$TILUSC" test "$P/vector_add.tvm"
says err 'TILUS_DEVICE is auto, cuda, vm or vgpu'

# the same bits as the VM
for on in vm vgpu; do
    exits 0 "$TILUSC" run --on=$on "$P/vector_add.tvm" vector_add n=1000 x='random(f32[n], seed = 1)' \
        y='random(f32[n], seed = 2)' z='full(f32[n], NAN)' -o z=$on.npy
done
ok cmp vm.npy vgpu.npy

# a race that only the sanitizer sees: the place in the program is named
cat >race.tvm <<'END'
kernel swap(a: global i32[64])
    launch { grid = 1; warps = 2; }
{
    let s: shared i32[64];
    simt t {
        s[t] = a[t];
        a[t] = s[63 - t];
    }
}
test "swap" {
    let x = random(i32[64], seed = 1);
    var a = x + 0;
    run swap(a);
}
END
exits 1 "$TILUSC" test --on=vgpu --sanitize race.tvm
says out 'race: '
says out 'race.tvm:7'
says out 'race.tvm:6'
says out '0 passed, 1 failed'
exits 0 "$TILUSC" test --on=vgpu race.tvm

# a print and a failing assertion
cat >assert.tvm <<'END'
kernel k(n: i32, a: global i32[n])
    launch { grid = 1; warps = 1; }
{
    print("n is {}", n);
    assert(n < 10, "n is small");
    store(a[0 +: 32], full(i32[32], 1));
}
END
exits 0 "$TILUSC" run --on=vgpu assert.tvm k n=5 a='zeros(i32[n])'
says out 'n is 5'
exits 1 "$TILUSC" run --on=vgpu assert.tvm k n=50 a='zeros(i32[n])'
says err 'n is small'

# counts: by class, by line, as JSON
exits 0 "$TILUSC" profile "$P/transpose.tvm" transpose m=64 n=64 a='random(f32[m, n], seed = 1)' b='zeros(f32[n, m])'
says out 'global load'
says out 'wavefronts'
says out 'transpose.tvm'
exits 0 "$TILUSC" profile --json "$P/transpose.tvm" transpose m=64 n=64 a='random(f32[m, n], seed = 1)' b='zeros(f32[n, m])'
cp out p.json
ok python -c '
import json
p, = json.load(open("p.json"))
c = p["classes"]
assert p["launches"] == 1 and p["blocks"] == 4, p
assert c["global load"]["bytes"] == c["global store"]["bytes"] == 64 * 64 * 4, c
assert c["global load"]["sectors"] == c["global load"]["ideal_sectors"] == 64 * 64 * 4 // 32, c
assert p["total"]["warps"] == sum(x["warps"] for x in c.values()) == sum(x["counts"]["warps"] for x in p["lines"])
assert all(i["ptx_line"] > 0 and i["text"] for i in p["instructions"])'
finish
