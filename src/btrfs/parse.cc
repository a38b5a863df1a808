// SPDX-License-Identifier: MIT
#include "skep/btrfs/parse.h"

#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>

#include <string>
#include <utility>

#include "bytes.h"

namespace skep::btrfs {
namespace {

// Since Linux 6.7, for simple quotas; not in older headers.
constexpr std::uint8_t kExtentOwnerRef = 172;

// Bytes that follow the type byte of an inline reference; 0 for a type nobody knows.
std::size_t inline_ref_size(std::uint8_t type) {
  switch (type) {
    case kExtentOwnerRef:
    case BTRFS_TREE_BLOCK_REF_KEY:
    case BTRFS_SHARED_BLOCK_REF_KEY:
      return 8;
    case BTRFS_EXTENT_DATA_REF_KEY:
      return sizeof(btrfs_extent_data_ref);
    case BTRFS_SHARED_DATA_REF_KEY:
      return 8 + sizeof(btrfs_shared_data_ref);
    default:
      return 0;
  }
}

void parse_inline_refs(std::span<const std::byte> bytes, Extent& extent) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const auto type = load<std::uint8_t>(bytes, at++);
    const std::size_t size = inline_ref_size(type);
    if (size == 0 || bytes.size() - at < size) return;
    if (type == BTRFS_EXTENT_DATA_REF_KEY) {
      const auto ref = load<btrfs_extent_data_ref>(bytes, at);
      extent.data_refs.push_back({ref.root, ref.objectid, ref.offset, ref.count});
    } else if (type == BTRFS_SHARED_DATA_REF_KEY) {
      extent.shared_refs = true;
    }
    at += size;
  }
}

// The name of `length` bytes at `at`; empty, which no name is, when it does not fit.
std::string name_at(std::span<const std::byte> bytes, std::size_t at, std::size_t length) {
  if (at > bytes.size() || bytes.size() - at < length) return {};
  return {reinterpret_cast<const char*>(bytes.data()) + at, length};
}

}  // namespace

bool Extent::refs_all_inline() const {
  std::uint64_t named = 0;
  for (const DataRef& ref : data_refs) named += ref.count;
  return !shared_refs && named == refs;
}

absl::Status parse_search_items(std::span<const std::byte> buffer, std::uint32_t count,
                                absl::FunctionRef<bool(const Item&)> visit) {
  std::size_t at = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (buffer.size() - at < sizeof(btrfs_ioctl_search_header)) {
      return absl::DataLossError("tree search: the buffer ends inside an item header");
    }
    const auto header = load<btrfs_ioctl_search_header>(buffer, at);
    at += sizeof header;
    if (buffer.size() - at < header.len) {
      return absl::DataLossError("tree search: the buffer ends inside an item");
    }
    const Item item{header.transid,
                    {header.objectid, static_cast<std::uint8_t>(header.type), header.offset},
                    buffer.subspan(at, header.len)};
    at += header.len;
    if (!visit(item)) return absl::OkStatus();
  }
  return absl::OkStatus();
}

std::optional<Extent> parse_extent_item(const Item& item) {
  if (item.key.type != BTRFS_EXTENT_ITEM_KEY) return std::nullopt;
  if (item.data.size() < sizeof(btrfs_extent_item)) return std::nullopt;
  const auto raw = load<btrfs_extent_item>(item.data, 0);
  if (!(raw.flags & BTRFS_EXTENT_FLAG_DATA)) return std::nullopt;
  if (item.key.offset == 0 || item.key.objectid + item.key.offset < item.key.objectid) {
    return std::nullopt;
  }
  Extent extent;
  extent.address = item.key.objectid;
  extent.length = item.key.offset;
  extent.generation = raw.generation;
  extent.refs = raw.refs;
  parse_inline_refs(item.data.subspan(sizeof raw), extent);
  return extent;
}

std::optional<FileExtent> parse_file_extent(const Item& item) {
  constexpr std::size_t kInlineHeader = offsetof(btrfs_file_extent_item, disk_bytenr);
  if (item.key.type != BTRFS_EXTENT_DATA_KEY || item.data.size() < kInlineHeader) {
    return std::nullopt;
  }
  const auto raw = load<btrfs_file_extent_item>(item.data, 0);
  const auto type = load<std::uint8_t>(item.data, offsetof(btrfs_file_extent_item, type));
  FileExtent out;
  out.file_offset = item.key.offset;
  out.generation = load<std::uint64_t>(item.data, offsetof(btrfs_file_extent_item, generation));
  out.compression = load<std::uint8_t>(item.data, offsetof(btrfs_file_extent_item, compression));
  out.encoded = load<std::uint8_t>(item.data, offsetof(btrfs_file_extent_item, encryption)) != 0 ||
                load<std::uint16_t>(item.data, offsetof(btrfs_file_extent_item, other_encoding));
  if (type > static_cast<std::uint8_t>(FileExtentType::kPrealloc)) return std::nullopt;
  out.type = static_cast<FileExtentType>(type);
  if (out.type == FileExtentType::kInline) {
    out.length = load<std::uint64_t>(item.data, offsetof(btrfs_file_extent_item, ram_bytes));
    return out;
  }
  if (item.data.size() < sizeof raw) return std::nullopt;
  out.length = raw.num_bytes;
  out.extent_address = raw.disk_bytenr;
  out.extent_length = raw.disk_num_bytes;
  out.extent_offset = raw.offset;
  out.content_length = raw.ram_bytes;
  return out;
}

std::optional<Inode> parse_inode_item(const Item& item) {
  if (item.key.type != BTRFS_INODE_ITEM_KEY || item.data.size() < sizeof(btrfs_inode_item)) {
    return std::nullopt;
  }
  const auto raw = load<btrfs_inode_item>(item.data, 0);
  return Inode{raw.size, raw.flags, raw.mode, raw.nlink, raw.generation};
}

std::optional<Subvolume> parse_root_item(const Item& item) {
  constexpr std::size_t kNeeded = offsetof(btrfs_root_item, drop_progress);
  if (item.key.type != BTRFS_ROOT_ITEM_KEY || item.data.size() < kNeeded) return std::nullopt;
  if (!is_subvolume(item.key.objectid)) return std::nullopt;
  const auto refs = load<std::uint32_t>(item.data, offsetof(btrfs_root_item, refs));
  if (refs == 0) return std::nullopt;  // being deleted
  Subvolume out;
  out.root = item.key.objectid;
  out.last_snapshot = load<std::uint64_t>(item.data, offsetof(btrfs_root_item, last_snapshot));
  out.read_only = load<std::uint64_t>(item.data, offsetof(btrfs_root_item, flags)) & 1;
  return out;
}

std::optional<std::uint64_t> parse_root_generation(const Item& item) {
  constexpr std::size_t kAt = offsetof(btrfs_root_item, generation);
  if (item.key.type != BTRFS_ROOT_ITEM_KEY || item.data.size() < kAt + 8) return std::nullopt;
  return load<std::uint64_t>(item.data, kAt);
}

void parse_names(const Item& item, absl::FunctionRef<void(FileName)> visit) {
  const bool extended = item.key.type == BTRFS_INODE_EXTREF_KEY;
  if (!extended && item.key.type != BTRFS_INODE_REF_KEY) return;
  const std::size_t header = extended ? sizeof(btrfs_inode_extref) : sizeof(btrfs_inode_ref);
  const std::size_t length_at =
      extended ? offsetof(btrfs_inode_extref, name_len) : offsetof(btrfs_inode_ref, name_len);
  for (std::size_t at = 0; at < item.data.size();) {
    const auto length = load<std::uint16_t>(item.data, at + length_at);
    FileName out;
    out.folder = extended ? load<std::uint64_t>(item.data, at) : item.key.offset;
    out.name = name_at(item.data, at + header, length);
    if (out.name.empty()) return;
    at += header + length;
    visit(std::move(out));
  }
}

std::optional<FileName> parse_root_backref(const Item& item) {
  if (item.key.type != BTRFS_ROOT_BACKREF_KEY) return std::nullopt;
  FileName out;
  out.folder = load<std::uint64_t>(item.data, offsetof(btrfs_root_ref, dirid));
  out.name = name_at(item.data, sizeof(btrfs_root_ref),
                     load<std::uint16_t>(item.data, offsetof(btrfs_root_ref, name_len)));
  return out.name.empty() ? std::nullopt : std::optional(std::move(out));
}

}  // namespace skep::btrfs
