// SPDX-License-Identifier: MIT
//
// MemoryStore::check(): every invariant that memory_store.h lists, found out anew from the items.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "memory_store.h"

namespace skep::btrfs {
namespace {

template <typename... Args>
absl::Status broken(fmt::format_string<Args...> text, Args&&... args) {
  return absl::InternalError(fmt::format(text, std::forward<Args>(args)...));
}

std::string name_of(FileKey key, std::uint64_t offset) {
  return fmt::format("inode {} of root {} at {}", key.inode, key.root, offset);
}

}  // namespace

absl::Status MemoryStore::check() const {
  std::uint64_t items = 0, users = 0, dirty_bytes = 0;
  for (const auto& [root, subvolume] : subvolumes_) {
    for (const auto& [number, inode] : subvolume.inodes) {
      if (auto status = check_inode({root, number}, inode); !status.ok()) return status;
      dirty_bytes += inode.dirty.size() * block_;
      for (const auto& [offset, item] : inode.items) items += item.extent.extent_address != 0;
    }
  }
  for (const auto& [address, extent] : extents_) {
    if (auto status = check_extent(address, extent); !status.ok()) return status;
    users += extent.users.size();
  }
  // Each item is among its extent's users (check_inode), so equal numbers mean equal sets.
  if (users != items) return broken("{} file extent items, but {} references", items, users);
  if (dirty_bytes != reserved_) return broken("{} dirty, but {} reserved", dirty_bytes, reserved_);
  if (auto status = check_addresses(); !status.ok()) return status;
  return check_committed();
}

absl::Status MemoryStore::check_inode(FileKey key, const MemoryInode& inode) const {
  std::uint64_t last_end = 0;
  for (const auto& [offset, item] : inode.items) {
    const FileExtent& extent = item.extent;
    const std::string name = name_of(key, offset);
    if (extent.file_offset != offset || offset < last_end) return broken("{}: overlap", name);
    last_end = offset + extent.length;
    if (extent.type == FileExtentType::kInline) {
      if (inode.items.size() != 1 || offset != 0 || extent.length != item.inline_data.size() ||
          extent.length >= block_) {
        return broken("{}: bad inline item", name);
      }
      continue;
    }
    if (extent.length == 0 || extent.length % block_ || offset % block_ ||
        extent.extent_offset % block_) {
      return broken("{}: not aligned", name);
    }
    const auto stored = extents_.find(extent.extent_address);
    if (stored == extents_.end()) return broken("{}: extent is gone", name);
    if (extent.extent_offset + extent.length > stored->second.content.size() ||
        extent.extent_length != stored->second.length ||
        extent.compression != stored->second.compression) {
      return broken("{}: does not fit its extent", name);
    }
    if (!stored->second.users.contains({key, offset})) return broken("{}: not a user", name);
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::check_extent(std::uint64_t address, const MemoryExtent& extent) const {
  if (extent.length == 0 || extent.length % block_ || address % block_ ||
      extent.csums.size() != extent.length / block_) {
    return broken("extent {:#x}: bad length {}", address, extent.length);
  }
  for (std::size_t i = 0; i < extent.csums.size(); ++i) {
    if (extent.csums[i] && *extent.csums[i] != csum_of(extent, i)) {
      return broken("extent {:#x}: checksum of block {}", address, i);
    }
  }
  if (extent.users.empty() && !touched_.contains(address)) {
    return broken("extent {:#x}: no reference, but it outlived a commit", address);
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::check_addresses() const {
  std::map<std::uint64_t, std::uint64_t> pieces = gaps_;
  std::uint64_t used = 0;
  for (const auto& [address, extent] : extents_) {
    used += extent.length;
    if (!pieces.emplace(address, extent.length).second) {
      return broken("extent {:#x}: lies on a free gap", address);
    }
  }
  std::uint64_t at = options_.first_address;
  for (const auto& [address, length] : pieces) {
    if (address != at) return broken("addresses: {:#x} follows {:#x}", address, at);
    at += length;
  }
  if (at != end_) return broken("addresses: end at {:#x}, not at {:#x}", at, end_);
  if (used != used_) return broken("space: {} used, {} counted", used, used_);
  if (used_ > options_.capacity) return broken("space: {} used of {}", used_, options_.capacity);
  return absl::OkStatus();
}

absl::Status MemoryStore::check_committed() const {
  for (const auto& [address, extent] : committed_) {
    if (!extents_.contains(address)) return broken("extent {:#x}: committed, but gone", address);
    if (touched_.contains(address)) continue;
    const Extent now = describe(address);
    if (now.refs != extent.refs || now.generation != extent.generation ||
        now.length != extent.length) {
      return broken("extent {:#x}: {} references committed, {} counted", address, extent.refs,
                    now.refs);
    }
  }
  for (const auto& [address, extent] : extents_) {
    if (!touched_.contains(address) && !committed_.contains(address)) {
      return broken("extent {:#x}: was never committed", address);
    }
  }
  return absl::OkStatus();
}

}  // namespace skep::btrfs
