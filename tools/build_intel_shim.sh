#!/usr/bin/env bash
# Builds Mesa's fake kernel driver of Intel's GPUs in a folder, which has Mesa's source as Debian packs it and unpacked
# `libraries`; tools/unpack_drivers.sh fetches both. Takes a few minutes; Meson comes from PyPI, into the same folder.
#
#   tools/build_intel_shim.sh FOLDER
set -euo pipefail
cd "$1"

for program in cc flex bison m4 pkg-config python3 xz; do
    command -v "$program" >/dev/null || {
        echo "Intel's fake kernel driver is built with $program, which is not there" >&2
        exit 1
    }
done
echo "building Intel's fake kernel driver (some minutes)" >&2
mkdir -p source
tar --extract --file mesa_*.orig.tar.xz --directory source --strip-components 1
[ -x python/bin/meson ] || {
    python3 -m venv python
    python/bin/pip install --quiet --disable-pip-version-check meson ninja mako pyyaml packaging
}
export PATH=$PWD/python/bin:$PATH

# Nothing of Mesa but its tools.
options=(--wrap-mode=nodownload -Dbuildtype=release -Dvulkan-drivers= -Dgallium-drivers= -Dplatforms= -Dvideo-codecs=
    -Dtools=intel,drm-shim -Dopengl=false)
for feature in llvm gles1 gles2 egl glx gbm valgrind libunwind zstd lmsensors intel-rt; do
    options+=("-D$feature=disabled")
done
libraries=$PWD/libraries
export PKG_CONFIG_SYSROOT_DIR=$libraries
export PKG_CONFIG_LIBDIR=$libraries/usr/lib/x86_64-linux-gnu/pkgconfig
log=$PWD/build.log
{
    meson setup build source "${options[@]}" &&
        ninja -C build src/intel/tools/libintel_noop_drm_shim.so
} >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "Intel's fake kernel driver does not build: see $log" >&2
    exit 1
}
mv build/src/intel/tools/libintel_noop_drm_shim.so .
rm -rf build source mesa_*
