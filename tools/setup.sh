#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what building and testing need on a bare Debian 12, and configures the build folder.
# Does nothing where everything is there. Usage: tools/setup.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}

packages='gcc libc6-dev meson ninja-build pkg-config flex bison llvm-22-dev zlib1g-dev libzstd-dev
libcmocka-dev libjansson-dev libsqlite3-dev python3-numpy'
missing=''
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    root=''
    [ "$(id -u)" = 0 ] || root=sudo
    export DEBIAN_FRONTEND=noninteractive
    # LLVM 22 came to Debian 12 after its release, with the updates and security suites.
    if ! apt-cache show llvm-22-dev >/dev/null 2>&1; then
        $root apt-get update -qq
    fi
    if ! apt-cache show llvm-22-dev >/dev/null 2>&1; then
        mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p; s/^URIs: *//p' \
            /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
        $root sh -c "echo 'deb $mirror bookworm-updates main
deb $mirror-security bookworm-security main' >/etc/apt/sources.list.d/tilus-llvm.list"
        $root apt-get update -qq
    fi
    # shellcheck disable=SC2086
    $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
[ -f "$build/build.ninja" ] || meson setup "$build" >/dev/null
