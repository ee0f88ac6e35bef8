#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Everything that needs a GPU: the tests of programs and instructions, the launch beside torch, the cost
# of a launch, the sanitizer, first figures. Usage: tests/gpu/run.sh TILUSC LIBTILUS.so [LAUNCH_COST]
# STEPS (default: all of them) names the steps to run.
cd "$(dirname "$0")/../.." || exit 2
tilusc=$1
export LIBTILUS="$2"
status=0
step() {
    case " ${STEPS:-$1} " in *" $1 "*) ;; *) return ;; esac
    echo "=== $1"
    shift
    timeout 300 "$@" || { echo "FAILED ($?): $*"; status=1; }
}
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
step programs "$tilusc" test programs --on=cuda
step instructions "$tilusc" test tests/diff tests/roles --on=cuda
step language "$tilusc" test tests/lang tests/golden/language --on=cuda
step tune "$tilusc" tune --on=cuda --tune-db=none programs/matmul.tvm matmul --each=m=16,500 n=1024 k=1024 \
    'a=random(f16[m, k], seed = 1)' 'b=random(f16[k, n], seed = 2)' 'c=full(f16[m, n], NAN)' \
    --check='expect_close(c, ref.matmul(a, b), rtol = 2e-3)'
step torch python3 tests/gpu/torch_launch.py
[ -z "${3:-}" ] || step launch "$3"
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck synccheck; do
        step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$tilusc" test programs --on=cuda --filter='f16'
    done
fi
step dense python3 tools/bench/dense.py --json "${OUT:-.}/dense.json"
step w4a16 python3 tools/bench/w4a16.py --json "${OUT:-.}/w4a16.json"
exit "$status"
