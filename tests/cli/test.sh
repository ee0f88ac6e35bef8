#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The test and fmt commands.
. "$(dirname "$0")/lib.sh"

exits 0 "$TILUSC" test --on=vm "$P"
says out ' 0 failed'
ok test "$(grep -c '^ok ' out)" -ge 20
exits 0 "$TILUSC" test --on=vm --filter='integers wrap' "$P/vector_add.tvm"
says out '1 passed, 0 failed'
exits 0 "$TILUSC" test --on=vm --list "$P/softmax.tvm"
exits 0 "$TILUSC" test --on=vm vector_add.tvm # one of the library

mkdir -p d/e
cat >d/mixed.tvm <<'EOF'
kernel inc(n: i32, a: global i32[n])
    requires n % 32 == 0;
    launch { grid = n / 32; warps = 1; }
{
    store(a[block.x * 32 +: 32], load(a[block.x * 32 +: 32]) + 1);
}
test "right" {
    let x = random(i32[64], seed = 1);
    var a = x + 0;
    run inc(64, a);
    expect_equal(a, x + 1);
}
test "wrong" {
    let x = random(i32[64], seed = 1);
    var a = x + 0;
    run inc(64, a);
    expect_equal(a, x);
}
test "refused" {
    var a = zeros(i32[63]);
    run inc(63, a);
}
test "after the failures" {
    var a = zeros(i32[32]);
    run inc(32, a);
    expect_equal(a, full(i32[32], 1));
}
EOF
echo 'fn unused(x: i32) -> i32 { return x; }' >d/e/none.tvm
echo 'this is no program' >d/e/readme.txt
exits 1 "$TILUSC" test --on=vm d
says out '2 passed, 2 failed'
says out 'FAILED "wrong"'
says out 'FAILED "refused"'
says out 'requires n % 32 == 0, but n = 63'
exits 0 "$TILUSC" test --on=vm --filter=right d
exits 1 sh -c '"$0" test --on=vm - <d/mixed.tvm' "$TILUSC"
says out '2 passed, 2 failed'
echo 'kernel k(' >d/e/broken.tvm
exits 1 "$TILUSC" test --on=vm d --filter=right
says out '1 passed'
exits 2 "$TILUSC" test --on=gpu d
exits 0 "$TILUSC" test --on=auto --filter=right d/mixed.tvm

# fmt: the programs are formatted; formatting is a fixed point, and nothing else changes
exits 0 "$TILUSC" fmt --check "$P"/*.tvm "$P"/std/*.tvm
for f in "$P"/*.tvm "$P"/std/*.tvm "$SRC"/tests/golden/ast/*.tvm; do
    n=$(basename "$f")
    cp "$f" "$n"
    checks=$((checks + 1))
    "$TILUSC" fmt "$n" 2>err || continue # golden files with syntax errors
    exits 0 "$TILUSC" fmt --check "$n"
    "$TILUSC" build "$f" --emit=tokens 2>err | sed 's/^[^ ]* *//' >t1
    "$TILUSC" build "$n" --emit=tokens 2>err | sed 's/^[^ ]* *//' >t2
    cmp -s t1 t2 || { diff t1 t2 | head -n 5; fail "fmt changes the tokens of $n"; }
done
printf 'kernel   k( )launch{grid=1;warps=1;}{}' >ugly.tvm
exits 1 "$TILUSC" fmt --check ugly.tvm
says out 'ugly.tvm: not formatted'
ok test "$(wc -l <ugly.tvm)" = 0
exits 0 "$TILUSC" fmt ugly.tvm
exits 0 "$TILUSC" fmt --check ugly.tvm
echo 'kernel k(' >broken.tvm
exits 1 "$TILUSC" fmt broken.tvm
ok test "$(cat broken.tvm)" = 'kernel k('
exits 2 "$TILUSC" fmt no-such.tvm
finish
