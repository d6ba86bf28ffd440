#!/usr/bin/env bash
# Puts Mesa's Vulkan drivers of trixie-backports and fake kernel drivers into a folder, with what they are linked to. Nothing
# is installed: they run under their own loader.
#
#   tools/unpack_drivers.sh FOLDER
#
# FOLDER/amd64   the drivers; Intel's fake kernel driver, which no package has, is built from Mesa's source
# FOLDER/arm64   those of GPUs that only arm64 has, and what a program for them is linked with
# FOLDER/qemu    what runs such a program
set -euo pipefail

suite=trixie-backports
drivers=(mesa-vulkan-drivers mesa-drm-shim libvulkan1)
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$1"
folder=$(cd "$1" && pwd)

# An apt of its own, which knows those suites only, from where this machine's packages come from.
mirror=$("$here/debian_mirror.sh")
use_apt_for() { # ARCHITECTURE
    apt=$folder/apt-$1
    rm -rf "$apt"
    mkdir -p "$apt"/etc/apt/{preferences.d,apt.conf.d,sources.list.d} \
        "$apt"/var/lib/{dpkg,apt/lists/partial} "$apt"/var/cache/apt/archives/partial
    : >"$apt/var/lib/dpkg/status"
    local key=signed-by=/usr/share/keyrings/debian-archive-keyring.gpg release
    for release in trixie "$suite"; do
        echo "deb [arch=$1 $key] $mirror $release main"
    done >"$apt/etc/apt/sources.list"
    echo "deb-src [$key] $mirror trixie main" >>"$apt/etc/apt/sources.list"
    cat >"$apt/apt.conf" <<CONFIGURATION
Dir "$apt";
Dir::State::status "$apt/var/lib/dpkg/status";
Dir::Etc::trusted "/etc/apt/trusted.gpg";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Sandbox::User "root";
CONFIGURATION
    export APT_CONFIG=$apt/apt.conf
    apt-get update --quiet=2
}

# With all that they depend on.
unpack() { # FOLDER PACKAGE...
    local into=$1 package
    shift
    apt-get install --quiet=2 --yes --download-only --no-install-recommends --target-release "$suite" "$@" >/dev/null
    for package in "$apt"/var/cache/apt/archives/*.deb; do
        dpkg --extract "$package" "$into"
    done
    rm -rf "$into/usr/share/vulkan/implicit_layer.d"
}

# Without what they depend on.
unpack_alone() { # FOLDER PACKAGE...
    local into=$1 package
    shift
    mkdir -p "$apt/alone"
    (cd "$apt/alone" && rm -f ./*.deb && apt-get download --quiet=2 "$@")
    for package in "$apt"/alone/*.deb; do
        dpkg --extract "$package" "$into"
    done
}

if [ ! -e "$folder/amd64/done" ]; then
    echo "unpacking ${drivers[*]} of $suite (300 MB)" >&2
    use_apt_for amd64
    unpack "$folder/amd64" "${drivers[@]}"
    touch "$folder/amd64/done"
fi

if [ ! -e "$folder/qemu/usr/bin/qemu-aarch64" ]; then
    use_apt_for amd64
    unpack_alone "$folder/qemu" qemu-user
fi

if [ ! -e "$folder/arm64/done" ]; then
    echo "unpacking ${drivers[*]} of $suite for arm64 (300 MB)" >&2
    use_apt_for arm64
    unpack "$folder/arm64" "${drivers[@]}"
    unpack_alone "$folder/arm64" libc6-dev
    # What a linker looks for, and where libc.so and the loader's name point to.
    ln -sf libgcc_s.so.1 "$folder/arm64/usr/lib/aarch64-linux-gnu/libgcc_s.so"
    [ -e "$folder/arm64/lib" ] || ln -s usr/lib "$folder/arm64/lib"
    touch "$folder/arm64/done"
fi

libraries=$folder/amd64/usr/lib/x86_64-linux-gnu
if [ ! -e "$libraries/libintel_noop_drm_shim.so" ]; then
    use_apt_for amd64
    mkdir -p "$folder/intel"
    (cd "$folder/intel" && apt-get source --quiet=2 --download-only mesa/trixie >/dev/null)
    # Only what it is built with: a newer C library's headers would not fit this machine's.
    unpack_alone "$folder/intel/libraries" libexpat1-dev libexpat1 libdrm-dev libdrm2 zlib1g-dev zlib1g
    "$here/build_intel_shim.sh" "$folder/intel"
    mv "$folder/intel/libintel_noop_drm_shim.so" "$libraries"
    rm -rf "$folder/intel"
fi
rm -rf "$folder"/apt-*
