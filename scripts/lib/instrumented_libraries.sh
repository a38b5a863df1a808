#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/lib/instrumented_libraries.sh
#
# Builds oneTBB and Abseil from Debian's source packages with ThreadSanitizer, in build/tsan-libraries,
# where preset tsan looks for them first. As they come from Debian, what they do between threads is not
# seen: ThreadSanitizer then reports races that are none, and suppressions for those hide real ones.
# With nothing to do it needs no network. The sources are of the versions that are installed.

# shellcheck source=scripts/lib/common.sh
source "$(dirname "$0")/common.sh"

folder=$PWD/build/tsan-libraries
[[ ! -e $folder/complete ]] || exit 0
rm -rf "$folder"
mkdir -p "$folder"/{lists/partial,source,sources.list.d}

# The package lists of sources, beside those that are there: nothing of the system is changed.
apt=(apt-get -qq -o APT::Sandbox::User=root -o Dir::State::Lists="$folder/lists"
  -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts="$folder/sources.list.d")
for file in /etc/apt/sources.list.d/*.sources; do
  [[ ! -e $file ]] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$folder/sources.list.d/${file##*/}"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [[ ! -e $file ]] || sed -n 's/^deb /deb-src /p' "$file" >>"$folder/sources.list"
done
touch "$folder/sources.list"
"${apt[@]}" update || die "cannot fetch the lists of Debian's source packages"

# build SOURCE PACKAGE OPTION...: of the version of the installed PACKAGE.
build() {
  local source=$1 version
  version=$(dpkg-query --show --showformat='${Version}' "$2") || die "$2 is not installed: scripts/setup"
  shift 2
  # A binary-only rebuild has the source of the version before its "+b1".
  (cd "$folder/source" && "${apt[@]}" source --download-only "$source=${version%+b*}" &&
    dpkg-source --no-check -x "$source"_*.dsc "$source") || die "cannot fetch the source of $source"
  cmake -G Ninja -S "$folder/source/$source" -B "$folder/build/$source" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_CXX_STANDARD=20 -DCMAKE_INSTALL_PREFIX="$folder" -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON "$@"
  cmake --build "$folder/build/$source" --target install
}

build onetbb libtbb-dev -DTBB_TEST=OFF -DTBB_STRICT=OFF -DTBB_SANITIZE=thread -DTBBMALLOC_BUILD=OFF
build abseil libabsl-dev -DCMAKE_CXX_FLAGS=-fsanitize=thread -DABSL_PROPAGATE_CXX_STD=ON
touch "$folder/complete"
