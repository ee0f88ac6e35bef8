# SPDX-License-Identifier: Apache-2.0
# matmul_lowbit with encoded weights of every type, f16 and bf16, becomes tensor-core code without local
# memory; where ptxas exists, it takes it and spills nothing.
. "$SRC/tests/cli/lib.sh"
ptxas=${TILUS_PTXAS:-$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)}

types=$(sed -n '/^const NARROW/,/;/p' "$SRC/tests/diff/decode.tvm" | tr -c 'a-z0-9\n' ' ' | sed 's/const//')
n=0
for q in $types; do
    for t in f16 bf16; do
        for arch in sm_80 sm_90a; do
            exits 0 "$TILUSC" build "$P/matmul_lowbit.tvm" --kernel=matmul --arch=$arch -D Q="$q" -D T=$t -D ENC=true -D TK=32 -D TN=32 -o k.ptx
            says k.ptx 'mma.sync.aligned.m16n8k16'
            checks=$((checks + 1))
            ! grep -q '__local_depot' k.ptx || fail "$q $t $arch: local memory"
            n=$((n + 1))
            [ -n "$ptxas" ] || continue
            exits 0 "$ptxas" -arch=$arch -v k.ptx -o k.cubin
            cat out err >log
            says log ' 0 bytes spill stores, 0 bytes spill loads'
            used=$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' log)
            echo "$q $t $arch: $used registers"
            checks=$((checks + 1))
            [ "${used:-999}" -le 96 ] || fail "$q $t $arch: $used registers"
        done
    done
done
ok test "$n" -ge 148
finish
