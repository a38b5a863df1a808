// SPDX-License-Identifier: MIT
#include "skep/dedupe/crawl.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {
constexpr std::size_t kPageBuffer = 256 << 10;
constexpr std::uint64_t kLastAddress = std::numeric_limits<std::uint64_t>::max();
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

std::uint64_t Census::total_bytes() const { return bytes_from(0); }

std::uint64_t Census::bytes_from(std::uint32_t tier) const {
  tier = std::min(tier, static_cast<std::uint32_t>(bytes.size()));
  return std::accumulate(bytes.begin() + tier, bytes.end(), std::uint64_t{0});
}

Crawl::Crawl(btrfs::Filesystem& fs, Window window, Cursor start, const Census& census)
    : fs_(fs), window_(window), census_(census), cursor_(start) {}

absl::Status Crawl::read_page() {
  auto page = fs_.extents(cursor_.address, kLastAddress, kPageBuffer);
  if (!page.ok()) return page.status();
  page_ = *std::move(page);
  in_page_ = 0;
  page_valid_ = true;
  return absl::OkStatus();
}

absl::StatusOr<BatchPtr> Crawl::next() {
  auto batch = std::make_shared<Batch>();
  while (!cursor_.done()) {
    if (census_.extents[cursor_.tier] == 0) {
      cursor_ = {cursor_.tier + 1, 0};
      page_valid_ = false;
      continue;
    }
    if (!page_valid_) {
      if (auto status = read_page(); !status.ok()) return status;
    }
    while (in_page_ < page_.extents.size()) {
      auto& extent = page_.extents[in_page_++];
      cursor_.address = extent.end();
      if (!window_.contains(extent.generation) || tier_of(extent.length) != cursor_.tier) continue;
      batch->bytes += extent.length;
      batch->extents.push_back(std::move(extent));
      if (batch->extents.size() >= limits::kBatchExtents || batch->bytes >= limits::kBatchBytes) {
        break;
      }
    }
    const bool full = batch->extents.size() >= limits::kBatchExtents ||
                      batch->bytes >= limits::kBatchBytes;
    batch->tier = cursor_.tier;
    if (!full && page_.done) {
      cursor_ = {cursor_.tier + 1, 0};
      page_valid_ = false;
      // A batch never spans tiers: what it decides holds for the next tier.
      if (!batch->extents.empty()) break;
    } else if (!full) {
      cursor_.address = std::max(cursor_.address, page_.next);
      page_valid_ = false;
    } else {
      break;
    }
  }
  if (batch->extents.empty()) return BatchPtr();
  batch->number = batches_++;
  batch->next_address = cursor_.address;
  return batch;
}

absl::StatusOr<BatchPtr> Revisit::next() {
  auto batch = std::make_shared<Batch>();
  while (at_ < addresses_.size() && batch->extents.size() < limits::kBatchExtents &&
         batch->bytes < limits::kBatchBytes) {
    const std::uint64_t address = addresses_[at_++];
    auto page = fs_.extents(address, address, 4096);
    if (!page.ok()) return page.status();
    if (page->extents.empty()) continue;
    batch->bytes += page->extents.front().length;
    batch->extents.push_back(std::move(page->extents.front()));
  }
  if (batch->extents.empty()) return BatchPtr();
  batch->number = batches_++;
  batch->tier = kTierMinBytes.size();
  return batch;
}

}  // namespace skep::dedupe
