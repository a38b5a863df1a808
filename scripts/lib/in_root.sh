#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: in_root.sh CACHE LAYERS SCRATCH BUILD COMMAND...
#
# For scripts/test-debian, in mount and process namespaces of their own: runs the command in this repository below
# a root that is made of LAYERS (as overlay's lowerdir), with BUILD as its build folder. What it writes goes to
# SCRATCH. Nothing else that is mounted outside is there.
set -euo pipefail

source=$(realpath "$(dirname "$0")/../..")
cache=$1
layers=$2
scratch=$3
build=$4
shift 4

root=$scratch/root
mount -t overlay -o "lowerdir=$layers,upperdir=$scratch/upper,workdir=$scratch/work" skep-test "$root" || {
  printf 'cannot mount an overlay; SKEP_TEST_CACHE names another folder than %s\n' "$cache" >&2
  exit 3
}
mount -t overlay -o "lowerdir=$source,upperdir=$scratch/source,workdir=$scratch/source-work" skep-test "$root/skep"
mkdir -p "$root/skep/build"
mount --bind "$build" "$root/skep/build"
# For a scripts/test-debian in there: an overlay cannot be on an overlay.
mount --bind "$cache" "$root/var/cache/skep-test"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mkdir -m 1777 "$root/run/lock"
rm -f "$root/etc/resolv.conf"
cp /etc/resolv.conf "$root/etc/resolv.conf"

cd "$root"
pivot_root . .outside
umount --lazy .outside
cd /skep

environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
for name in CI TERM DEBFULLNAME DEBEMAIL http_proxy https_proxy no_proxy; do
  [[ ! -v $name ]] || environment+=("$name=${!name}")
done
status=0
# Not as process 1, which no signal ends.
env -i "${environment[@]}" "$@" || status=$?
exit "$status"
