#!/usr/bin/env bash
# Unpacks newer Mesa drivers, Vulkan and GL in software, into a folder: that of Debian 12's backports, which is also Debian
# 13's. What else it needs, this machine must have: it is for programs of Debian 12, beside whose own lavapipe it lies.
#
#   tools/unpack_lavapipe.sh FOLDER
#
# Then VK_DRIVER_FILES=FOLDER/lavapipe.json LD_LIBRARY_PATH=FOLDER/usr/lib/x86_64-linux-gnu.
set -euo pipefail

suite=bookworm-backports
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
[ ! -e "$folder/lavapipe.json" ] || exit 0
# shellcheck disable=SC1091
[ "$(. /etc/os-release && echo "$VERSION_CODENAME")" = "${suite%-backports}" ] || {
    echo "the packages of $suite are for Debian 12" >&2
    exit 1
}
echo "unpacking mesa-vulkan-drivers of $suite" >&2

# An apt with lists of its own, which knows that suite besides.
apt=$folder/apt
mkdir -p "$apt"/{lists,archives}/partial
mirror=$("$here/debian_mirror.sh")
for release in "${suite%-backports}" "$suite"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main"
done >"$apt/sources.list"
options=(-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o Dir::Cache::Archives="$apt/archives"
    -o APT::Sandbox::User=root -o Debug::NoLocking=1 --quiet=2)
apt-get "${options[@]}" update
apt-get "${options[@]}" install --yes --download-only --no-install-recommends --target-release "$suite" \
    mesa-vulkan-drivers >/dev/null
for package in "$apt"/archives/*.deb; do
    dpkg --extract "$package" "$folder"
done
rm -rf "$apt"
# Beside this file, so that the folder may be moved.
sed 's|"[^"]*libvulkan_lvp.so"|"./usr/lib/x86_64-linux-gnu/libvulkan_lvp.so"|' \
    "$folder"/usr/share/vulkan/icd.d/lvp_icd*.json >"$folder/lavapipe.json"
