// SPDX-License-Identifier: MIT
//
// The checksum functions that btrfs knows, over one block of data, so that data which was read gets
// the checksum that the csum tree would hold for it (kernel: fs/btrfs/fs.c, btrfs_csums). Pure
// function, thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "skep/btrfs/types.h"

namespace skep::btrfs {

// As stored in the csum tree, the unused rest zero.
using Csum = std::array<std::byte, 32>;

Csum csum_of(CsumType type, std::span<const std::byte> block);

}  // namespace skep::btrfs
