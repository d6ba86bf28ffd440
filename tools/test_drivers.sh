#!/usr/bin/env bash
# Runs every test on every software driver that Debian packages: Mesa's lavapipe (Vulkan),
# SwiftShader (Vulkan, from the chromium package) and Mesa's llvmpipe (GL through EGL).
#
#   tools/test_drivers.sh [options of cargo test]
#
# SwiftShader is unpacked into target/drivers and not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(mesa-vulkan-drivers libegl1 libgl1-mesa-dri)
if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    echo "installing ${packages[*]}" >&2
    apt-get update --quiet=2
    apt-get install --quiet=2 --yes "${packages[@]}"
fi

drivers=$PWD/target/drivers
swiftshader=$drivers/usr/lib/chromium
if [ ! -e "$swiftshader/libvk_swiftshader.so" ]; then
    echo "unpacking SwiftShader from chromium-common" >&2
    mkdir -p "$drivers"
    (cd "$drivers" && apt-get download --quiet=2 chromium-common && dpkg -x chromium-common_*.deb .)
fi

mkdir -p "$drivers/runtime"
export NODEVICE_SELECT=1 XDG_RUNTIME_DIR=$drivers/runtime
run() {
    echo "=== $1" >&2
    shift
    env "$@"
}
run lavapipe WGPU_BACKEND=vulkan WGPU_ADAPTER_NAME=llvmpipe cargo test --workspace "$@"
run SwiftShader WGPU_BACKEND=vulkan VK_DRIVER_FILES="$swiftshader/vk_swiftshader_icd.json" \
    cargo test --workspace "$@"
run "llvmpipe through GL" WGPU_BACKEND=gl cargo test --workspace "$@"
