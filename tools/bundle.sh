#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the release bundle: tilus-VERSION-linux-x86_64.tar.xz with a static tilusc, libtilus.so and .a,
# tilus.h, tilus.pc, the programs, the man page and the test runner. It runs on any x86-64 Linux with
# glibc 2.36 or newer, with or without an NVIDIA driver. Usage: tools/bundle.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
out=${1:-build-bundle}
tools/setup.sh build
[ -f build-static/build.ninja ] || meson setup build-static -Dstatic_llvm=true -Dprefer_static=true \
    -Dprefix=/ -Dlibdir=lib -Dstrip=true \
    -Dc_link_args='-static-libgcc -Wl,--gc-sections -Wl,-rpath,$ORIGIN' >/dev/null
ninja -C build-static >/dev/null
version=$(meson introspect build-static --projectinfo | sed 's/.*"version": "\([^"]*\)".*/\1/')
name=tilus-$version-linux-x86_64
rm -rf "${out:?}/$name"
mkdir -p "$out/$name/tests"
DESTDIR=$(cd "$out/$name" && pwd) meson install -C build-static --no-rebuild --quiet
# shellcheck disable=SC2016
sed -i 's|^prefix=.*|prefix=${pcfiledir}/../..|' "$out/$name/lib/pkgconfig/tilus.pc"
for l in libsqlite3.so.0 libjansson.so.4; do cp -L "$(gcc -print-file-name=$l)" "$out/$name/lib/"; done
cp -r programs "$out/$name/programs"
find "$out/$name/programs" -name 'meson.build' -delete
cp -r tests/diff tests/gpu "$out/$name/tests/"
cp -r tools/bench "$out/$name/bench"
install -s build-static/tests/calibrate "$out/$name/tests/calibrate"
cp README.md CHANGELOG.md LICENSE "$out/$name/"
cat > "$out/$name/test" <<'END'
#!/bin/sh
# Runs the tests of the programs and of the instructions: ./test [vm|cuda|auto]
cd "$(dirname "$0")" && exec bin/tilusc test programs tests/diff --on="${1:-auto}"
END
chmod +x "$out/$name/test"
tar -C "$out" -cJf "$out/$name.tar.xz" "$name"
du -h "$out/$name.tar.xz" | cut -f1
