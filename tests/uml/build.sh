#!/bin/bash
# Builds the User-Mode Linux kernel of kernel.config from Debian's kernel source. It takes about five minutes on two cores.
# usage: build.sh FILE     e.g. build.sh ~/.cache/uml/linux
# UML_SOURCE names another source package (linux-source-6.1), for proof on an older kernel.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
file=$(realpath -m "$1")
source=${UML_SOURCE:-linux-source-6.12}
archive=/usr/src/$source.tar.xz

packages() { # what is not installed of what a build needs
  local missing="" pair
  for pair in make:make gcc:gcc flex:flex bison:bison bc:bc xz:xz-utils; do
    command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
  done
  [ -e /usr/include/errno.h ] || missing="$missing libc6-dev"
  [ -e "$archive" ] || missing="$missing $source"
  echo $missing
}

missing=$(packages)
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing what the build needs: $missing" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
  missing=$(packages)
fi
if [ -n "$missing" ]; then
  echo "not installed: $missing; install them:  sudo apt-get install $missing" >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar xf "$archive" -C "$work"
cd "$work/$source"
make -s ARCH=um defconfig >/dev/null
scripts/kconfig/merge_config.sh -m .config "$here/kernel.config" >/dev/null
make -s ARCH=um olddefconfig

# A setting may be turned down silently, for want of another one. Those of the legacy tables came with 6.17.
while read -r line; do
  case $line in "" | "#"* | *_LEGACY=y | *=n) continue ;; esac
  grep -qx "$line" .config || { echo "$source does not take $line" >&2; exit 1; }
done <"$here/kernel.config"

make -s -j"$(nproc)" ARCH=um linux
strip -o "$work/built" linux
# In one step, so that a kernel in the cache is always a whole one.
mkdir -p "$(dirname "$file")"
cp "$work/built" "$file.$$"
mv "$file.$$" "$file"
