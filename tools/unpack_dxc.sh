#!/usr/bin/env bash
# Puts Microsoft's shader compiler for DX12 into a folder, as libdxcompiler.so: PyPI's compushady carries it.
#
#   tools/unpack_dxc.sh FOLDER
set -euo pipefail

[ ! -e "$1/libdxcompiler.so" ] || exit 0
mkdir -p "$1"
cd "$1"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    compushady==0.17.5
tar --extract --file compushady-0.17.5.tar.gz --strip-components 3 --wildcards "*/libdxcompiler_$(uname -m).so.*"
rm compushady-0.17.5.tar.gz
mv libdxcompiler_*.so.* libdxcompiler.so
