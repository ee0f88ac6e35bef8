# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of tilusc. Meson sets TILUSC and SRC. Every test works in a folder of its own.
set -u
export LC_ALL=C TILUS_CACHE_DIR= TILUS_TUNE_DB=none
P=$SRC/programs
W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
cd "$W" || exit 99
checks=0
failed=0

fail() {
    echo "FAILED: $*"
    [ -s err ] && head -n 20 err
    failed=$((failed + 1))
}
# exits CODE COMMAND…: output in ./out and ./err
exits() {
    want=$1
    shift
    checks=$((checks + 1))
    rc=0
    timeout 120 "$@" >out 2>err </dev/null || rc=$?
    [ "$rc" = "$want" ] || fail "exit status $rc, not $want: $*"
}
# says FILE TEXT
says() {
    checks=$((checks + 1))
    grep -qF -- "$2" "$1" || { fail "'$2' is not in $1:"; head -n 20 "$1"; }
}
ok() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
python() {
    if [ -z "${PY:-}" ]; then
        for PY in python3 /usr/bin/python3; do
            "$PY" -c 'import numpy' 2>/dev/null && break
            PY=
        done
        [ -n "$PY" ] || { echo "FAILED: no python3 with numpy"; exit 1; }
    fi
    "$PY" "$@"
}
finish() {
    echo "$checks checks, $failed failed"
    [ "$failed" = 0 ]
    exit
}
