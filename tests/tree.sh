#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Facts about the tree: folders include only those before them, only codegen sees LLVM, the README shows
# the example that is tested, every embedded program is listed, every target can be completed.
set -u
cd "$SRC" || exit 99
failed=0
fail() {
    echo "FAILED: $*"
    failed=1
}
before=''
for folder in vm layout frontend ir codegen runtime tools; do
    before="$before $folder"
    allowed=$(echo "$before" | sed 's/^ //; s/ /|/g')
    bad=$(grep -nE '^ *# *include "[a-z]+/' "$folder"/*.[chly] "$folder"/*/*.[chly] 2>/dev/null | grep -vE "include \"($allowed)/")
    [ -z "$bad" ] || fail "$folder includes what comes after it: $bad"
    [ "$folder" = codegen ] || ! grep -nE 'include <llvm' "$folder"/*.[chly] "$folder"/*/*.[chly] 2>/dev/null || fail "$folder includes LLVM"
done
# shellcheck disable=SC2016
sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' | cmp -s - tests/embed/embed.c || fail "README.md does not show tests/embed/embed.c"
# shellcheck disable=SC2016
[ "$(sed -n '/^```c$/,/^```$/p' README.md | wc -l)" -le 42 ] || fail "the embedding example has grown beyond 40 lines"
for p in programs/*.tvm programs/std/*.tvm; do
    grep -q "'${p#programs/}'" programs/meson.build || fail "$p is not embedded"
done
archs=$(sed -n 's/^ARCH(\([a-z0-9_]*\),.*/\1/p' vm/arch.def)
for arch in $archs; do
    for f in tools/completions/*; do
        grep -qw "$arch" "$f" || fail "$f does not offer $arch"
    done
done
for d in $(sed -n 's/^VG_DEFECT([a-z_]*, "\([a-z-]*\)".*/\1/p' runtime/vgpu/defect.def); do
    grep -q "^- \*\*$d\*\*: " docs/vgpu.md || fail "docs/vgpu.md does not explain the report '$d'"
done
exit $failed
