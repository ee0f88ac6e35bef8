#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The unit, error and fuzz tests under AddressSanitizer and UndefinedBehaviorSanitizer.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh build
[ -f build-san/build.ninja ] || meson setup build-san -Dbuildtype=debugoptimized -Dwerror=false \
    -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
ninja -C build-san
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 meson test -C build-san --no-rebuild --print-errorlogs \
    --timeout-multiplier 5 --no-suite slow
