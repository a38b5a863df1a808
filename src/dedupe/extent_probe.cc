// SPDX-License-Identifier: MIT
#include "skep/dedupe/extent_probe.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <tuple>

namespace skep::dedupe {
namespace {

// Items that lie closer share a search: to read over a few is cheaper than another one. In a file
// those between are taken to be as long as those looked for: in one that was written at random, in
// extents of a block, 4 MiB may hold 1,024 of them. To read over those took some 100 us an extent,
// of 5 million.
constexpr std::uint64_t kNearInodes = 16;
constexpr std::uint64_t kNearItems = 32;
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
  const Reference found{btrfs::FileHandle(btrfs::FileKey{root, inode}), item.file_offset,
                        item.extent_offset, item.length, 0};
  // Searches of neighbours overlap.
  const bool seen = std::any_of(out.references.begin(), out.references.end(), [&](const auto& r) {
    return r.file == found.file && r.file_offset == found.file_offset;
  });
  if (!seen) out.references.push_back(found);
}

// Items of one inline reference are missing.
bool lacks_some(const ProbedExtent& probed, const btrfs::DataRef& ref) {
  const auto found =
      std::count_if(probed.references.begin(), probed.references.end(), [&](const Reference& one) {
        return one.file == btrfs::FileKey{ref.root, ref.inode} &&
               one.file_offset - one.extent_offset == ref.offset;
      });
  return static_cast<std::uint64_t>(found) < ref.count;
}

}  // namespace

// The file extent items of one inline reference.
struct ExtentProbe::Wanted {
  std::size_t extent = 0;  // its number
  std::uint64_t root = 0;
  std::uint64_t near_bytes = 0;
  btrfs::ItemPlace first, last;

  // They lie at most `reach` bytes behind where the extent would begin in the file.
  Wanted(std::size_t number, const btrfs::Extent& of, const btrfs::DataRef& ref,
         std::uint64_t reach)
      : extent(number), root(ref.root), near_bytes(std::min(kNearItems * of.length, kNearBytes)) {
    const std::uint64_t begin = static_cast<std::int64_t>(ref.offset) < 0 ? 0 : ref.offset;
    first = {ref.inode, begin};
    last = {ref.inode, ref.offset + reach - 1};
  }
  bool near(const Wanted& next) const {
    if (root != next.root) return false;
    if (last.inode == next.first.inode) {
      return next.first.file_offset < last.file_offset + near_bytes;
    }
    // Between two files lies all the rest of the first, which may be long: only at their begins, as
    // small ones have theirs. Of two images of 4 GiB, written at once, each batch read half of one.
    return next.first.inode - last.inode <= kNearInodes && last.file_offset < near_bytes &&
           next.first.file_offset < near_bytes;
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
  const auto want = [&](std::size_t i, const btrfs::DataRef& ref, std::uint64_t reach) {
    if (btrfs::is_subvolume(ref.root)) wanted.emplace_back(i, extents[i], ref, reach);
  };
  // What is not compressed has its items within its length, what is has most. To look as far as
  // content may reach at once, is to read 32 items for one where blocks were written at random.
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (!extents[i].data_refs.empty()) want(i, extents[i].data_refs[0], extents[i].length);
  }
  look_up(wanted, extents, out);
  wanted.clear();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    const auto& refs = extents[i].data_refs;
    const bool needs_all = all_references || out[i].compression != 0;
    const std::size_t most = needs_all ? kMostReferences : out[i].known ? 0 : 1;
    for (std::size_t r = 0; r < std::min(refs.size(), most); ++r) {
      if (!lacks_some(out[i], refs[r])) continue;
      want(i, refs[r], std::max(extents[i].length, btrfs::kMaxCompressedContent));
    }
  }
  look_up(wanted, extents, out);
  return out;
}

}  // namespace skep::dedupe
