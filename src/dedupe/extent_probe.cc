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

void add(std::uint64_t root, std::uint64_t inode, const btrfs::FileExtent& item,
         ProbedExtent& out) {
  out.known = true;
  out.preallocated = out.preallocated || item.type == btrfs::FileExtentType::kPrealloc;
  out.encoded = out.encoded || item.encoded;
  out.compression = item.compression;
  out.content_length = item.content_length;
  const Reference found{{root, inode}, item.file_offset, item.extent_offset, item.length, 0};
  // Searches of neighbours overlap.
  const bool seen = std::any_of(out.references.begin(), out.references.end(), [&](const auto& r) {
    return r.file == found.file && r.file_offset == found.file_offset;
  });
  if (!seen) out.references.push_back(found);
}

}  // namespace

// The file extent items of one inline reference.
struct ExtentProbe::Wanted {
  std::size_t extent = 0;  // its number
  std::uint64_t root = 0;
  btrfs::ItemPlace first, last;

  Wanted(std::size_t number, const btrfs::Extent& of, const btrfs::DataRef& ref)
      : extent(number), root(ref.root) {
    // The item lies at most an extent's content behind where the extent would begin in the file.
    const std::uint64_t begin = static_cast<std::int64_t>(ref.offset) < 0 ? 0 : ref.offset;
    const std::uint64_t reach = std::max(of.length, btrfs::kMaxCompressedContent);
    first = {ref.inode, begin};
    last = {ref.inode, ref.offset + reach - 1};
  }
  bool near(const Wanted& next) const {
    if (root != next.root) return false;
    if (last.inode == next.first.inode) {
      return next.first.file_offset < last.file_offset + kNearBytes;
    }
    return next.first.inode - last.inode <= kNearInodes;
  }
};

void ExtentProbe::look_up(std::vector<Wanted>& wanted, std::span<const btrfs::Extent> extents,
                          std::vector<ProbedExtent>& out) {
  absl::flat_hash_map<std::uint64_t, std::size_t> by_address;
  for (const Wanted& one : wanted) by_address[extents[one.extent].address] = one.extent;
  std::sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) {
    return std::tuple(a.root, a.first) < std::tuple(b.root, b.first);
  });
  for (std::size_t first = 0; first < wanted.size();) {
    btrfs::ItemPlace last = wanted[first].last;
    std::size_t end = first + 1;
    for (; end < wanted.size() && wanted[end - 1].near(wanted[end]); ++end) {
      last = std::max(last, wanted[end].last);
    }
    const std::uint64_t root = wanted[first].root;
    // What is gone since, or cannot be read, stays unknown: whoever has to know asks again.
    fs_.file_extents(root, wanted[first].first, last,
                     [&](std::uint64_t inode, const btrfs::FileExtent& item) {
                       if (item.type == btrfs::FileExtentType::kInline) return;
                       auto it = by_address.find(item.extent_address);
                       if (it != by_address.end()) add(root, inode, item, out[it->second]);
                     })
        .IgnoreError();
    first = end;
  }
}

std::vector<ProbedExtent> ExtentProbe::probe(std::span<const btrfs::Extent> extents,
                                             bool all_references) {
  std::vector<ProbedExtent> out(extents.size());
  std::vector<Wanted> wanted;
  const auto want = [&](std::size_t i, std::size_t reference) {
    const btrfs::DataRef& ref = extents[i].data_refs[reference];
    if (btrfs::is_subvolume(ref.root)) wanted.emplace_back(i, extents[i], ref);
  };
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (!extents[i].data_refs.empty()) want(i, 0);
  }
  look_up(wanted, extents, out);
  wanted.clear();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (!all_references && out[i].compression == 0) continue;
    for (std::size_t r = 1; r < std::min(extents[i].data_refs.size(), kMostReferences); ++r) {
      want(i, r);
    }
  }
  look_up(wanted, extents, out);
  return out;
}

}  // namespace skep::dedupe
