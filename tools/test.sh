#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds everything and runs all tests. The last line counts them.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh build
ninja -C build
log=build/meson-logs/tests.txt
mkdir -p build/meson-logs
status=0
meson test -C build --no-rebuild --print-errorlogs >"$log" 2>&1 || status=$?
cat "$log"
passed=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$log")
failed=$(sed -n 's/^\(Fail\|Timeout\|Unexpected Pass\): *\([0-9]*\).*/\2/p' "$log" | awk '{s += $1} END {print s + 0}')
skipped=$(sed -n 's/^Skipped: *\([0-9]*\).*/\1/p' "$log")
echo "${passed:-0} passed, ${failed:-0} failed, ${skipped:-0} skipped"
exit "$status"
