#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stages, outputs, dependency files, C headers, and every program through ptxas for every target.
. "$(dirname "$0")/lib.sh"

for e in tokens ast ir layout llvm ptx check; do exits 0 "$TILUSC" build "$P/softmax.tvm" --emit=$e; done
exits 0 "$TILUSC" build "$P/w4a16.tvm" --emit=ir -D Q=u4
"$TILUSC" build "$P/w4a16.tvm" -D Q=u4 >a.ptx
"$TILUSC" build "$P/w4a16.tvm" -D Q=u4 >b.ptx
ok cmp -s a.ptx b.ptx
says a.ptx '.entry pack__Q_u4'

# skipped kernels are a note; asked for by name they are an error
exits 0 "$TILUSC" build "$P/w4a16.tvm"
says err "kernel 'pack' is skipped: no value for Q"
exits 1 "$TILUSC" build "$P/w4a16.tvm" --kernel=pack
exits 0 "$TILUSC" build "$P/vector_add.tvm" --entry=my_entry
says out '.entry my_entry'

# tile IR goes in again
exits 0 "$TILUSC" build "$P/softmax.tvm" --emit=ir --after=lower -o s.tir
exits 0 "$TILUSC" build s.tir --emit=ir --after=lower
ok cmp -s s.tir out
exits 0 "$TILUSC" build s.tir --arch=sm_90 -o s.ptx
says s.ptx '.target sm_90'
for p in lower fold infer relayout pipeline hoist smem barrier divides contract dce; do
    exits 0 "$TILUSC" build "$P/matmul.tvm" --emit=ir --after=$p --verify
done

# imports and -MD
mkdir -p lib
echo 'fn twice(x: i32) -> i32 { return x * 2; }' >lib/my.tvm
cat >use.tvm <<'EOF'
import "my.tvm";
kernel k(n: i32, a: global i32[n]) launch { grid = my.twice(n); warps = 1; }
{ store(a[block.x * 32 +: 32], load(a[block.x * 32 +: 32]) + 1); }
EOF
exits 1 "$TILUSC" build use.tvm
exits 0 "$TILUSC" build use.tvm -I lib -MD -o use.ptx
says use.ptx.d 'use.ptx: use.tvm lib/my.tvm'
says use.ptx.d 'lib/my.tvm:'

# -Werror
exits 0 "$TILUSC" build "$P/vector_add.tvm" -Wperf
cp err perf
if grep -q 'Wperf' perf; then exits 1 "$TILUSC" build "$P/vector_add.tvm" -Wperf -Werror; fi
exits 0 "$TILUSC" build "$P/matmul.tvm" --time-passes
says err 'llvm'

# the header: C99 and the same launch as the host region
exits 0 "$TILUSC" build "$P/w4a16.tvm" -D Q=u4 --kernel=pack -o pack.h
cat >pack.c <<'EOF'
#include "pack.h"
#include <stdio.h>
#include <string.h>
static char mem[256] __attribute__((aligned(16)));
int main(void) {
    struct tilus_launch l;
    if (pack__Q_u4_launch(&l, 256, 64, mem, mem + 128)) { puts(l.error); return 1; }
    if (l.grid[0] != 16 || l.grid[1] != 8 || l.grid[2] != 1 || l.block[0] != 32 || strcmp(l.entry, "pack__Q_u4")) return 2;
    if (pack__Q_u4_launch(&l, 257, 64, mem, mem + 128) != -1 || !strstr(l.error, "k % TK == 0")) return 3;
    if (pack__Q_u4_launch(&l, 256, 64, 0, mem) != -1 || !strstr(l.error, "null")) return 4;
    if (pack__Q_u4_launch(&l, 256, 64, mem + 1, mem) != -1 || !strstr(l.error, "aligned")) return 5;
    return strstr(pack_ptx, ".entry pack__Q_u4") ? 0 : 6;
}
EOF
ok gcc -std=c99 -Wall -Wextra -Werror -D_GNU_SOURCE pack.c -o pack
ok ./pack
for f in "$P"/*.tvm; do
    name=$(basename "$f" .tvm)
    exits 0 "$TILUSC" build "$f" -o "$name.h"
    printf '#include "%s.h"\nint main(void) { return 0; }\n' "$name" >h.c
    ok gcc -std=c99 -Wall -Wextra -Werror h.c -o h
done

# time of one build
python - "$TILUSC" "$P/w4a16.tvm" <<'EOF' || fail 'build of w4a16 takes too long'
import subprocess, sys, time
best = 9
for _ in range(5):
    t = time.time()
    subprocess.run([sys.argv[1], "build", sys.argv[2], "-D", "Q=u4", "-o", "t.ptx"], check=True)
    best = min(best, time.time() - t)
print(f"w4a16 builds in {best:.3f} s")
sys.exit(best > 0.5)
EOF
checks=$((checks + 1))

# ptxas: accepted, no spills, no advisories
ptxas=${TILUS_PTXAS:-$(command -v ptxas || echo /usr/local/cuda/bin/ptxas)}
if [ -x "$ptxas" ]; then
    for f in "$P"/*.tvm; do
        for arch in sm_80 sm_86 sm_89 sm_90 sm_90a; do
            q=
            grep -q 'Q: type' "$f" && q='-D Q=u4'
            exits 0 "$TILUSC" build "$f" --arch=$arch $q -o k.ptx
            checks=$((checks + 1))
            "$ptxas" -v -arch=$arch k.ptx -o k.cubin >log 2>&1 || { fail "ptxas $arch $f"; head -n 5 log; }
            if grep -E 'C75[0-9][0-9]|[1-9][0-9]* bytes spill' log; then fail "ptxas $arch $f"; fi
        done
    done
    exits 0 "$TILUSC" build "$P/transpose.tvm" -o t.cubin
    ok test -s t.cubin
else
    echo 'no ptxas: machine code is not checked'
fi
finish
