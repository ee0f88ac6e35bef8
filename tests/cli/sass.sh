# SPDX-License-Identifier: Apache-2.0
# What the w4a16 kernel becomes: 16-byte cp.async, ldmatrix and mma.sync in its PTX on every target, and
# in its machine code, without spills, where ptxas and a disassembler exist.
. "$SRC/tests/cli/lib.sh"

for arch in sm_80 sm_86 sm_89 sm_90 sm_90a; do
    exits 0 "$TILUSC" build "$P/w4a16.tvm" --kernel=matmul --arch=$arch -o k.ptx
    says k.ptx 'cp.async.cg.shared.global'
    says k.ptx ', 16;'
    says k.ptx 'ldmatrix.sync.aligned.m8n8.x4'
    says k.ptx 'mma.sync.aligned.m16n8k16'
done

ptxas=${TILUS_PTXAS:-$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)}
disasm=${TILUS_NVDISASM:-$(command -v nvdisasm || true)}
if [ -n "$ptxas" ]; then
    exits 0 "$ptxas" -arch=sm_90a -v k.ptx -o k.cubin
    cat out err >log
    says log ' 0 bytes spill stores, 0 bytes spill loads'
    checks=$((checks + 1))
    ! grep -qE 'C75[0-9][0-9]' log || fail "ptxas advises: $(grep -E 'C75' log)"
    if [ -n "$disasm" ]; then
        exits 0 "$disasm" -c k.cubin
        says out 'LDGSTS.E.BYPASS.128'
        says out 'LDSM.16.M88.4'
        says out 'HMMA.16816.F32'
        checks=$((checks + 1))
        ! grep -qE '\b(LDL|STL)\b' out || fail 'local memory is used'
    fi
fi
finish
