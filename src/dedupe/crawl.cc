// SPDX-License-Identifier: MIT
#include "skep/dedupe/crawl.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {
constexpr std::size_t kPageBuffer = 256 << 10;
}  // namespace

std::uint32_t tier_of(std::uint64_t length) {
  std::uint32_t tier = 0;
  while (length < kTierMinBytes[tier]) ++tier;
  return tier;
}

bool Cursor::has_passed(std::uint64_t address_of_extent, std::uint64_t length) const {
  const std::uint32_t of_extent = tier_of(length);
  return of_extent < tier || (of_extent == tier && address_of_extent < address);
}

std::uint64_t Census::bytes_from(std::uint32_t tier) const {
  tier = std::min(tier, static_cast<std::uint32_t>(bytes.size()));
  return std::accumulate(bytes.begin() + tier, bytes.end(), std::uint64_t{0});
}

absl::StatusOr<std::uint64_t> begin_of_extent(btrfs::Filesystem& fs, std::uint64_t address,
                                              std::uint64_t floor) {
  // Most are short: to look back far at once would read over many.
  constexpr std::uint64_t kLookBack[] = {1ULL << 20, 16ULL << 20, btrfs::kMaxExtentLength};
  for (const std::uint64_t back : kLookBack) {
    std::uint64_t at = std::max(floor, address - std::min(address, back));
    std::uint64_t found = address;
    while (at < address) {
      auto page = fs.extents(at, address - 1, kPageBuffer);
      if (!page.ok()) return page.status();
      if (!page->extents.empty()) {
        const btrfs::Extent& last = page->extents.back();
        found = last.end() > address ? last.address : 0;
      }
      if (page->done) break;
      at = page->next;
    }
    // Only the last one before it can reach into it.
    if (found != address) return found == 0 ? address : found;
  }
  return address;
}

Crawl::Crawl(btrfs::Filesystem& fs, Window window, Cursor start, const Census& census,
             SizeLimits lengths)
    : fs_(fs),
      window_(window),
      lengths_(lengths),
      census_(census),
      start_(start),
      tier_(start.tier),
      address_(start.address) {}

bool Crawl::wants(const btrfs::Extent& extent) const {
  return window_.contains(extent.generation) && lengths_.contains(extent.length) &&
         !start_.has_passed(extent.address, extent.length);
}

// Reads the extents of tiers [tier_, end_tier), sorted.
absl::Status Crawl::gather(std::uint32_t end_tier) {
  for (std::uint64_t at = 0;;) {
    auto page = fs_.extents_since(at, window_.after + 1, kPageBuffer);
    if (!page.ok()) return page.status();
    for (auto& extent : page->extents) {
      const std::uint32_t tier = tier_of(extent.length);
      if (tier >= tier_ && tier < end_tier && wants(extent)) ready_.push_back(std::move(extent));
    }
    if (page->done) break;
    at = page->next;
  }
  std::stable_sort(ready_.begin(), ready_.end(), [](const auto& a, const auto& b) {
    return tier_of(a.length) < tier_of(b.length);
  });
  tier_ = end_tier;
  return absl::OkStatus();
}

// Reads on until there is something ready, or nothing left.
absl::Status Crawl::refill() {
  ready_.clear();
  at_ = 0;
  while (ready_.empty() && tier_ < kTierMinBytes.size()) {
    std::uint32_t end = tier_;
    for (std::uint64_t together = 0; end < kTierMinBytes.size(); ++end) {
      together += census_.extents[end];
      if (together > census_.most_gathered) break;
    }
    if (end > tier_) {
      const bool any = std::any_of(census_.extents.begin() + tier_, census_.extents.begin() + end,
                                   [](std::uint64_t count) { return count != 0; });
      if (!any) tier_ = end;
      if (auto status = any ? gather(end) : absl::OkStatus(); !status.ok()) return status;
      address_ = 0;
      continue;
    }
    auto page = fs_.extents_since(address_, window_.after + 1, kPageBuffer);
    if (!page.ok()) return page.status();
    for (auto& extent : page->extents) {
      if (tier_of(extent.length) == tier_ && wants(extent)) ready_.push_back(std::move(extent));
    }
    address_ = page->next;
    if (page->done) {
      ++tier_;
      address_ = 0;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<BatchPtr> Crawl::next() {
  auto batch = std::make_shared<Batch>();
  while (batch->extents.size() < limits::kBatchExtents && batch->bytes < limits::kBatchBytes) {
    if (at_ == ready_.size()) {
      if (auto status = refill(); !status.ok()) return status;
      if (ready_.empty()) break;
    }
    auto& extent = ready_[at_];
    const std::uint32_t tier = tier_of(extent.length);
    // A batch never spans tiers: what it decides holds for the next tier.
    if (!batch->extents.empty() && batch->tier != tier) break;
    batch->tier = tier;
    batch->bytes += extent.length;
    batch->next_address = extent.end();
    batch->extents.push_back(std::move(extent));
    ++at_;
  }
  if (batch->extents.empty()) return BatchPtr();
  batch->number = batches_++;
  return batch;
}

Marked::Marked(btrfs::Filesystem& fs, Window window, const ContentMarks& marks, std::uint64_t reach,
               SizeLimits lengths)
    : fs_(fs), window_(window), lengths_(lengths) {
  for (const std::uint64_t at : marks.list()) {
    const std::uint64_t first = at - std::min(at, reach);
    const std::uint64_t end = at + ContentMarks::kGranuleBytes + reach;
    if (!ranges_.empty() && first <= ranges_.back().end) {
      ranges_.back().end = std::max(ranges_.back().end, end);
    } else {
      ranges_.push_back({first, end});
    }
  }
}

// Reads a page of the present range.
absl::Status Marked::refill() {
  ready_.clear();
  at_ = 0;
  while (ready_.empty() && range_ < ranges_.size()) {
    const Range range = ranges_[range_];
    if (walked_ < range.first) {
      auto begin = begin_of_extent(fs_, range.first, walked_);
      if (!begin.ok()) return begin.status();
      walked_ = *begin;
    }
    auto page = fs_.extents(walked_, range.end - 1, kPageBuffer);
    if (!page.ok()) return page.status();
    for (auto& extent : page->extents) {
      const bool wanted = extent.generation <= window_.to && lengths_.contains(extent.length);
      if (wanted) ready_.push_back(std::move(extent));
    }
    walked_ = page->done ? range.end : page->next;
    if (walked_ >= range.end) ++range_;
  }
  return absl::OkStatus();
}

absl::StatusOr<BatchPtr> Marked::next() {
  auto batch = std::make_shared<Batch>();
  while (batch->extents.size() < limits::kBatchExtents && batch->bytes < limits::kBatchBytes) {
    if (at_ == ready_.size()) {
      if (auto status = refill(); !status.ok()) return status;
      if (ready_.empty()) break;
    }
    batch->bytes += ready_[at_].length;
    batch->extents.push_back(std::move(ready_[at_++]));
  }
  if (batch->extents.empty()) return BatchPtr();
  batch->number = batches_++;
  batch->tier = kTierMinBytes.size();
  return batch;
}

absl::StatusOr<BatchPtr> Revisit::next() {
  auto batch = std::make_shared<Batch>();
  while (at_ < deferred_.size() && batch->extents.size() < limits::kBatchExtents &&
         batch->bytes < limits::kBatchBytes) {
    const std::uint64_t address = deferred_[at_++].address;
    auto page = fs_.extents(address, address, 4096);
    if (!page.ok()) return page.status();
    if (page->extents.empty()) continue;
    batch->bytes += page->extents.front().length;
    batch->extents.push_back(std::move(page->extents.front()));
  }
  if (batch->extents.empty()) return BatchPtr();
  batch->number = batches_++;
  batch->tier = kTierMinBytes.size();
  batch->revisit = true;
  return batch;
}

}  // namespace skep::dedupe
