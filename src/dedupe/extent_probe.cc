// SPDX-License-Identifier: MIT
#include "skep/dedupe/extent_probe.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <tuple>

namespace skep::dedupe {
namespace {

// Items that lie closer share a search: to read over a few is cheaper than another one.
constexpr std::uint64_t kNearInodes = 16;
constexpr std::uint64_t kNearBytes = 4ULL << 20;
// Inline references of an extent that are looked up: together they mostly cover its content.
constexpr std::size_t kMostReferences = 8;

struct Wanted {
  std::uint64_t root = 0;
  btrfs::ItemPlace first, last;
};

Wanted wanted(const btrfs::Extent& extent, const btrfs::DataRef& ref) {
  // The item lies at most an extent's content behind where the extent would begin in the file.
  const std::uint64_t begin = static_cast<std::int64_t>(ref.offset) < 0 ? 0 : ref.offset;
  const std::uint64_t reach = std::max(extent.length, btrfs::kMaxCompressedContent);
  return {ref.root, {ref.inode, begin}, {ref.inode, ref.offset + reach - 1}};
}

bool near(const Wanted& a, const Wanted& b) {
  if (a.root != b.root) return false;
  if (a.last.inode == b.first.inode) return b.first.file_offset < a.last.file_offset + kNearBytes;
  return b.first.inode - a.last.inode <= kNearInodes;
}

void add(std::uint64_t root, std::uint64_t inode, const btrfs::FileExtent& item,
         ProbedExtent& out) {
  out.known = true;
  out.preallocated = out.preallocated || item.type == btrfs::FileExtentType::kPrealloc;
  out.encoded = out.encoded || item.encoded;
  out.compression = item.compression;
  out.content_length = item.content_length;
  out.references.push_back({{root, inode}, item.file_offset, item.extent_offset, item.length, 0});
}

}  // namespace

std::vector<ProbedExtent> ExtentProbe::probe(std::span<const btrfs::Extent> extents) {
  std::vector<ProbedExtent> out(extents.size());
  absl::flat_hash_map<std::uint64_t, std::size_t> by_address;
  std::vector<Wanted> order;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    by_address[extents[i].address] = i;
    std::size_t left = kMostReferences;
    for (const btrfs::DataRef& ref : extents[i].data_refs) {
      if (left == 0) break;
      if (!btrfs::is_subvolume(ref.root)) continue;
      order.push_back(wanted(extents[i], ref));
      --left;
    }
  }
  std::sort(order.begin(), order.end(), [](const Wanted& a, const Wanted& b) {
    return std::tuple(a.root, a.first) < std::tuple(b.root, b.first);
  });
  for (std::size_t first = 0; first < order.size();) {
    btrfs::ItemPlace last = order[first].last;
    std::size_t end = first + 1;
    for (; end < order.size() && near(order[end - 1], order[end]); ++end) {
      last = std::max(last, order[end].last);
    }
    const std::uint64_t root = order[first].root;
    // What is gone since, or cannot be read, stays unknown: whoever has to know asks again.
    fs_.file_extents(root, order[first].first, last,
                     [&](std::uint64_t inode, const btrfs::FileExtent& item) {
                       if (item.type == btrfs::FileExtentType::kInline) return;
                       auto it = by_address.find(item.extent_address);
                       if (it != by_address.end()) add(root, inode, item, out[it->second]);
                     })
        .IgnoreError();
    first = end;
  }
  return out;
}

}  // namespace skep::dedupe
