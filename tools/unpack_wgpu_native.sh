#!/usr/bin/env bash
# Puts wgpu-native, WebGPU for C and C++, into a folder, as include/webgpu/webgpu.h and libwgpu_native.so: PyPI's wgpu
# carries it.
#
#   tools/unpack_wgpu_native.sh FOLDER
set -euo pipefail

[ ! -e "$1/libwgpu_native.so" ] || exit 0
mkdir -p "$1/include/webgpu"
cd "$1"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: wgpu==0.32.0
python3 -m zipfile --extract wgpu-*.whl wheel
mv wheel/wgpu/resources/webgpu.h include/webgpu/
mv wheel/wgpu/resources/libwgpu_native-release.so libwgpu_native.so
rm -r wheel wgpu-*.whl
