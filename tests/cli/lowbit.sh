# SPDX-License-Identifier: Apache-2.0
# matmul_lowbit with encoded weights of every type, f16 and bf16: ptxas takes it and spills nothing.
. "$SRC/tests/cli/lib.sh"
ptxas=${TILUS_PTXAS:-$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)}
[ -n "$ptxas" ] || { echo 'skipped: no ptxas'; exit 77; }

types=$(sed -n '/^const NARROW/,/;/p' "$SRC/tests/diff/decode.tvm" | tr -c 'a-z0-9\n' ' ' | sed 's/const//')
n=0
for q in $types; do
    for t in f16 bf16; do
        for arch in sm_80 sm_90a; do
            exits 0 "$TILUSC" build "$P/matmul_lowbit.tvm" --kernel=matmul --arch=$arch -D Q="$q" -D T=$t -D ENC=true -D TK=32 -D TN=32 -o k.ptx
            exits 0 "$ptxas" -arch=$arch -v k.ptx -o k.cubin
            cat out err >log
            says log ' 0 bytes spill stores, 0 bytes spill loads'
            used=$(sed -n 's/.*Used \([0-9]*\) registers.*/\1/p' log)
            echo "$q $t $arch: $used registers"
            checks=$((checks + 1))
            [ "${used:-999}" -le 96 ] || fail "$q $t $arch: $used registers"
            n=$((n + 1))
        done
    done
done
ok test "$n" -ge 148
finish
