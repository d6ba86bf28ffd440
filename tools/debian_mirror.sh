#!/usr/bin/env bash
# Prints where this machine's Debian packages come from.
set -euo pipefail

sources=(/etc/apt/sources.list.d/debian.sources /etc/apt/sources.list)
mirror=$({ cat "${sources[@]}" 2>/dev/null || true; } |
    sed -n 's/^URIs: *//p; s/^deb \(\[.*\] \)\?\(http[^ ]*\) .*/\2/p' | head -n 1)
[ -n "$mirror" ] || {
    echo "expected a mirror of Debian's in ${sources[*]}, found none" >&2
    exit 1
}
echo "$mirror"
