// SPDX-License-Identifier: MIT
//
// How `skep find-new` tells of a change. Pure functions.
#pragma once

#include <cstdint>
#include <string>

#include "skep/btrfs/types.h"

namespace skep::cli {

// In the words of `btrfs subvolume find-new`, without what ends the line.
std::string change_text(std::uint64_t inode, const std::string& path,
                        const btrfs::FileExtent& extent);
// A JSON object. A path that is not UTF-8 comes with its bytes in hexadecimal digits as well.
std::string change_json(std::uint64_t inode, const std::string& path,
                        const btrfs::FileExtent& extent);

}  // namespace skep::cli
