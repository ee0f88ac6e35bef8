#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tunes the matrix products of programs/ for the shapes of a 70B model's layers and prints the rows for
# programs/tuned.csv. What the database knows is not timed again, so the script can be interrupted.
#   tools/bench/tune.sh [TILUSC OPTIONS…] > tuned.csv      SHAPES, TOKENS, TYPES: others than these
set -u
here=$(dirname "$0")/../..
: "${TILUSC:=tilusc}"
: "${SHAPES:=57344:8192,8192:28672,8192:8192,10240:8192,3584:4096}"
: "${TOKENS:=1,16,64,256,1024}"
: "${TYPES:=u4,u8,f8e4m3,u2}"
: "${TUNE_OPTIONS:=}"
code=0

# tune PROGRAM KERNEL ARGUMENTS…
tune() {
    program=$1
    kernel=$2
    shift 2
    # shellcheck disable=SC2086
    "$TILUSC" tune "$here/programs/$program.tvm" "$kernel" $TUNE_OPTIONS "$@" >&2
    rc=$?
    [ $rc = 130 ] && exit 130
    [ $rc = 0 ] || code=1
}

# y = x * w for every low-bit type; the bytes of w are random, their scales are not
tune matmul_lowbit matmul --each=Q="$TYPES" --each=n,k="$SHAPES" --each=m="$TOKENS" -D T=bf16 "$@" \
    'a=random(bf16[m, k], seed = 1)' 'b=random(u8[cdiv(k, 16), cdiv(n, 8), 16 * bits(Q)], seed = 2)' \
    's=random(bf16[cdiv(k, 128), n], seed = 3)' 'z=zeros(bf16[cdiv(k, 128), n])' 'c=full(bf16[m, n], NAN)'
# dense
tune matmul matmul --each=n,k="$SHAPES" --each=m="$TOKENS" -D T=bf16 "$@" \
    'a=random(bf16[m, k], seed = 1)' 'b=random(bf16[k, n], seed = 2)' 'c=full(bf16[m, n], NAN)'
tune matmul_hopper matmul --each=n,k="$SHAPES,8192:8192,4096:4096" --each=m="256,1024,4096,8192" "$@" \
    blocks=132 'a=random(bf16[m, k], seed = 1)' 'b=random(bf16[n, k], seed = 2)' 'c=full(bf16[m, n], NAN)'
"$TILUSC" tune --export || code=1
exit $code
