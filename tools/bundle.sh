#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The release bundle: tilus-VERSION-x86_64.tar.xz with tilusc (LLVM inside), libtilus, header,
# pkg-config file, programs and man page. Needs glibc 2.36 or later; a GPU only to run on one.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh build
[ -f build-bundle/build.ninja ] || meson setup build-bundle -Dstatic_llvm=true -Dprefer_static=true \
    -Dstrip=true --prefix=/ --libdir=lib >/dev/null
ninja -C build-bundle
version=$(sed -n "s/^project.*version: '\([0-9.]*\)'.*/\1/p" meson.build)
name=tilus-$version-x86_64
rm -rf "build-bundle/$name"
DESTDIR="$PWD/build-bundle/$name" meson install -C build-bundle --no-rebuild --strip >/dev/null
cp LICENSE "build-bundle/$name/"
tar -C build-bundle --sort=name --owner=0 --group=0 --mtime=@0 -cJf "build-bundle/$name.tar.xz" "$name"
"build-bundle/$name/bin/tilusc" test --on=vm "build-bundle/$name/share/tilus/programs"
ls -l "build-bundle/$name.tar.xz"
