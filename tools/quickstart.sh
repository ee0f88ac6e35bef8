#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds tilus and multiplies with packed 4-bit weights on the machine at hand: on the GPU if there
# is one, else on the built-in VM. The result is verified against float64.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh build
ninja -C build tools/tilusc
exec build/tools/tilusc test programs/w4a16.tvm --on=auto
