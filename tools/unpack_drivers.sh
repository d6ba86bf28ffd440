#!/usr/bin/env bash
# Unpacks Mesa's Vulkan drivers and fake kernel drivers of trixie-backports into a folder, with what they are linked to.
# Nothing is installed: they run under their own loader.
#
#   tools/unpack_drivers.sh FOLDER
set -euo pipefail

suite=trixie-backports
packages=(mesa-vulkan-drivers mesa-drm-shim libvulkan1)

mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -e "$folder/done" ] || exit 0
echo "unpacking ${packages[*]} of $suite (300 MB)" >&2

# An apt of its own, which knows that suite only, from where this machine's packages come from.
apt=$folder/apt
mkdir -p "$apt"/etc/apt/{preferences.d,apt.conf.d,sources.list.d} "$apt"/var/lib/{dpkg,apt/lists/partial} \
    "$apt"/var/cache/apt/archives/partial
: >"$apt/var/lib/dpkg/status"
sources=(/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list)
mirror=$({ cat "${sources[@]}" 2>/dev/null || true; } |
    sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)\?\(http[^ ]*\) .*/\2/p' | head -n 1)
for release in trixie "$suite"; do
    echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main"
done >"$apt/etc/apt/sources.list"
cat >"$apt/apt.conf" <<CONFIGURATION
Dir "$apt";
Dir::State::status "$apt/var/lib/dpkg/status";
Dir::Etc::trusted "/etc/apt/trusted.gpg";
Dir::Etc::trustedparts "/etc/apt/trusted.gpg.d";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
CONFIGURATION
export APT_CONFIG=$apt/apt.conf
apt-get update --quiet=2
apt-get install --quiet=2 --yes --download-only --no-install-recommends --target-release "$suite" "${packages[@]}" \
    >/dev/null
for package in "$apt"/var/cache/apt/archives/*.deb; do
    dpkg --extract "$package" "$folder"
done
rm -rf "$apt" "$folder/usr/share/vulkan/implicit_layer.d"
touch "$folder/done"
