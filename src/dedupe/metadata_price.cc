// SPDX-License-Identifier: MIT
#include "skep/dedupe/metadata_price.h"

#include <algorithm>
#include <map>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// A leaf of 16 KiB holds the items of some 50 small files (inode, name, one extent: 300 bytes),
// packed by about three quarters. A large file, likely in many extents, has leaves of its own.
// Leaves of another size (mkfs.btrfs --nodesize) hold as much less or more.
constexpr std::uint64_t kLeaf = 16 << 10;
constexpr std::uint64_t kInodesALeaf = 40;
constexpr std::uint64_t kLargeFile = 1ULL << 20;
constexpr std::uint64_t kBytesALeaf = 4ULL << 20;
// A file extent item (53 + 25 bytes of item header) and its backreference (28 + 25 when keyed).
constexpr std::uint64_t kItemBytes = 131;
// Unsharing a leaf also gives every extent that it names a backreference of its own (28 + 25 bytes
// when keyed, some 60 to a leaf), and now and then a node above it goes too.
constexpr double kLeafOverhead = 1.4;
// Leaves split half-full.
constexpr double kFill = 0.65;
// The correction stays within these: one odd commit must neither stop everything nor allow it.
constexpr double kLeastCorrection = 0.5, kMostCorrection = 4;
constexpr double kEnoughToLearn = 2 << 20;  // bytes

std::uint32_t metadata_copies(btrfs::Filesystem& fs) {
  auto space = fs.space();
  return space.ok() ? space->metadata.copies : 1;
}

}  // namespace

MetadataPrice::MetadataPrice(btrfs::Filesystem& fs)
    : MetadataPrice(fs.info().node_size, metadata_copies(fs)) {}

MetadataPrice::Needs MetadataPrice::needs(const std::vector<Reference>& references,
                                          std::uint64_t shares) const {
  Needs out;
  out.new_items = shares > references.size() ? shares - references.size() : 0;
  // The same inode and offset in several subvolumes: snapshots, which share the leaf.
  struct Place {
    std::vector<std::uint64_t> roots;
    bool large = false;
  };
  std::map<std::pair<std::uint64_t, std::uint64_t>, Place> places;
  for (const auto& ref : references) {
    Place& place = places[{ref.file.inode, ref.file_offset}];
    place.roots.push_back(ref.file.root);
    place.large = place.large || ref.file_size >= kLargeFile;
  }
  const std::uint64_t inodes_a_leaf = kInodesALeaf * node_bytes_ / kLeaf;
  const std::uint64_t data_a_leaf = kBytesALeaf / kLeaf * node_bytes_;
  absl::MutexLock lock(&mutex_);
  for (const auto& [where, place] : places) {
    const auto& [inode, offset] = where;
    if (place.roots.size() < 2) continue;
    // Every reference that snapshots shared by sharing the leaf gets a backreference of its own.
    out.new_items += place.roots.size() - 1;
    // One of the roots keeps the leaf that they share now.
    for (std::size_t i = 1; i < place.roots.size(); ++i) {
      // Numbers of large files' leaves lie above those of groups of small files.
      const Leaf leaf = place.large ? Leaf{place.roots[i], ~inode, offset / data_a_leaf}
                                    : Leaf{place.roots[i], inode / inodes_a_leaf, 0};
      if (!unshared_.contains(leaf)) out.leaves.push_back(leaf);
    }
  }
  std::sort(out.leaves.begin(), out.leaves.end());
  out.leaves.erase(std::unique(out.leaves.begin(), out.leaves.end()), out.leaves.end());
  return out;
}

std::uint64_t MetadataPrice::price(std::uint64_t leaves, std::uint64_t new_items) const {
  absl::MutexLock lock(&mutex_);
  const double bytes = static_cast<double>(leaves) * node_bytes_ * kLeafOverhead +
                       static_cast<double>(new_items * kItemBytes) / kFill;
  return static_cast<std::uint64_t>(bytes * copies_ * correction_);
}

void MetadataPrice::unshared(const Needs& needs) {
  absl::MutexLock lock(&mutex_);
  if (unshared_.size() > limits::kUnsharedLeaves) unshared_.clear();
  unshared_.insert(needs.leaves.begin(), needs.leaves.end());
}

void MetadataPrice::learn(std::uint64_t estimated, std::int64_t seen) {
  absl::MutexLock lock(&mutex_);
  estimated_ += static_cast<double>(estimated);
  seen_ += static_cast<double>(seen);
  if (estimated_ < kEnoughToLearn) return;
  // The estimate was made with the correction of its time.
  correction_ = std::clamp(correction_ * seen_ / estimated_, kLeastCorrection, kMostCorrection);
  estimated_ = seen_ = 0;
}

double MetadataPrice::correction() const {
  absl::MutexLock lock(&mutex_);
  return correction_;
}

}  // namespace skep::dedupe
