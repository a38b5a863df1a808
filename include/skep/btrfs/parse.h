// SPDX-License-Identifier: MIT
//
// Parsers of what TREE_SEARCH_V2 returns. They take bytes and never read past them, whatever the
// bytes say: a length that does not fit ends the parse with DATA_LOSS or an empty optional.
// Layouts: uapi/linux/btrfs_tree.h, all little-endian. Pure functions, thread-safe.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "skep/btrfs/types.h"

namespace skep::btrfs {

struct Key {
  std::uint64_t objectid = 0;
  std::uint8_t type = 0;
  std::uint64_t offset = 0;
  auto operator<=>(const Key&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct Item {
  std::uint64_t transid = 0;  // generation of the leaf that holds it
  Key key;
  std::span<const std::byte> data;
};

// Calls `visit` for each of `count` items in a search buffer; false from it ends the walk early.
absl::Status parse_search_items(std::span<const std::byte> buffer, std::uint32_t count,
                                absl::FunctionRef<bool(const Item&)> visit);

// Empty for tree blocks and for items too short to be what their key says.
std::optional<Extent> parse_extent_item(const Item& item);
std::optional<FileExtent> parse_file_extent(const Item& item);
std::optional<Inode> parse_inode_item(const Item& item);
std::optional<Subvolume> parse_root_item(const Item& item);
// The generation of the root that a ROOT_ITEM names, whatever root it is.
std::optional<std::uint64_t> parse_root_generation(const Item& item);
// Calls `visit` for each name in an INODE_REF or INODE_EXTREF; other items have none. Ends where a
// length does not fit.
void parse_names(const Item& item, absl::FunctionRef<void(FileName)> visit);
// The place of the subvolume whose number is the item's objectid, from a ROOT_BACKREF; its key's
// offset is the subvolume that holds it.
std::optional<FileName> parse_root_backref(const Item& item);

}  // namespace skep::btrfs
