// SPDX-License-Identifier: MIT
//
// The crawl: data extents of the extent tree in address order, one walk for each size tier, large
// extents first, those alone whose generation lies in the pass's window. Snapshots add no extents,
// so they add no work. The cursor (tier, address, window) is what a checkpoint stores.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/content_marks.h"
#include "skep/dedupe/filter_options.h"
#include "skep/dedupe/limits.h"
#include "skep/dedupe/roles.h"
#include "skep/dedupe/size_classes.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// Generations (after, to].
struct Window {
  std::uint64_t after = 0;
  std::uint64_t to = 0;
  bool contains(std::uint64_t generation) const { return generation > after && generation <= to; }
};

// Tier 0 holds the largest extents. What is decided in one tier is a keeper for the next; within a
// tier the order is that of the addresses. Halves above 512 KiB, where order decides what is copied
// and there are few extents; quarters below. Each tier costs a walk over the extent tree (0.07 s
// for 7.5 GiB), those without extents are left out.
inline constexpr std::array<std::uint64_t, 12> kTierMinBytes = {
    64ULL << 20, 32ULL << 20,  16ULL << 20,  8ULL << 20,  4ULL << 20, 2ULL << 20,
    1ULL << 20,  512ULL << 10, 128ULL << 10, 32ULL << 10, 8ULL << 10, 0};
std::uint32_t tier_of(std::uint64_t length);

struct Cursor {
  std::uint32_t tier = 0;
  std::uint64_t address = 0;
  bool operator==(const Cursor&) const = default;
  bool done() const { return tier >= kTierMinBytes.size(); }
  // True when the crawl has gone by an extent of this length at this address.
  bool has_passed(std::uint64_t address_of_extent, std::uint64_t length) const;
};

// Extents and bytes of each tier in a window.
struct Census {
  std::array<std::uint64_t, kTierMinBytes.size()> extents{};
  std::array<std::uint64_t, kTierMinBytes.size()> bytes{};
  SizeClasses sizes;
  std::uint64_t indexed = 0;  // extents whose checksums were put into the table
  // Tiers that together have no more extents are gathered in one walk.
  std::uint64_t most_gathered = limits::kGatherExtents;
  // Of the extents that a crawl from `cursor` has yet to meet, counting its tier as a whole.
  std::uint64_t bytes_from(std::uint32_t tier) const;
};

// Where the extent begins that reaches into `address` from before it, but not from before `floor`;
// `address` when none does.
absl::StatusOr<std::uint64_t> begin_of_extent(btrfs::Filesystem& fs, std::uint64_t address,
                                              std::uint64_t floor);

// Where the batches of a pass come from. Thread-compatible.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  // The next batch, with `extents`, `tier`, `next_address` and `bytes` set; null at the end.
  virtual absl::StatusOr<BatchPtr> next() = 0;
};

class Crawl final : public BatchSource {
 public:
  // `census` lets it leave out tiers without extents, and gather tiers with few in one walk.
  // Extents whose length is not in `lengths` are passed over.
  Crawl(btrfs::Filesystem& fs, Window window, Cursor start, const Census& census,
        SizeLimits lengths = {});
  absl::StatusOr<BatchPtr> next() override;

 private:
  bool wants(const btrfs::Extent& extent) const;
  absl::Status gather(std::uint32_t end_tier);
  absl::Status refill();

  btrfs::Filesystem& fs_;
  const Window window_;
  const SizeLimits lengths_;
  const Census census_;
  const Cursor start_;
  std::uint32_t tier_;                // being walked, the first of those that are
  std::uint64_t address_ = 0;         // where the walk of a single tier goes on
  std::vector<btrfs::Extent> ready_;  // by tier and address, from at_ on
  std::size_t at_ = 0;
  std::uint64_t batches_ = 0;
};

// Extents that reach into marked neighbourhoods, by ascending address, of any generation up to
// `window.to`: what was read may equal what earlier passes have gone by. Everything counts as
// passed by.
class Marked final : public BatchSource {
 public:
  Marked(btrfs::Filesystem& fs, Window window, const ContentMarks& marks, std::uint64_t reach,
         SizeLimits lengths = {});
  absl::StatusOr<BatchPtr> next() override;

 private:
  struct Range {
    std::uint64_t first = 0, end = 0;
  };
  absl::Status refill();

  btrfs::Filesystem& fs_;
  const Window window_;
  const SizeLimits lengths_;
  std::vector<Range> ranges_;  // ascending, apart from each other
  std::size_t range_ = 0;
  std::uint64_t walked_ = 0;  // where the walk goes on; no extent that begins below comes again
  std::vector<btrfs::Extent> ready_;
  std::size_t at_ = 0;
  std::uint64_t batches_ = 0;
};

// Extents named by address, ascending, as they are now: those that were keepers when the crawl met
// them, and those to be retried. Everything else counts as passed by.
class Revisit final : public BatchSource {
 public:
  Revisit(btrfs::Filesystem& fs, std::vector<Roles::Deferred> extents)
      : fs_(fs), deferred_(std::move(extents)) {}
  absl::StatusOr<BatchPtr> next() override;

 private:
  btrfs::Filesystem& fs_;
  const std::vector<Roles::Deferred> deferred_;
  std::size_t at_ = 0;
  std::uint64_t batches_ = 0;
};

}  // namespace skep::dedupe
