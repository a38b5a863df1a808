// SPDX-License-Identifier: MIT
#include "skep/dedupe/late_csums.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "csum_reader.h"
#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kLatePageBuffer = 64 << 10;

}  // namespace

bool LateCsums::missing(index::Fingerprint fingerprint, std::uint64_t address) const {
  if (!table_.sampled(fingerprint) || fingerprinter_.is_zero(fingerprint)) return false;
  const auto found = table_.find(fingerprint);
  return found.size() < index::Table::kMaxSame &&
         std::find(found.begin(), found.end(), address) == found.end();
}

// Fills `ranges_` from address `from` on; returns where to go on.
absl::StatusOr<std::uint64_t> LateCsums::collect(std::uint64_t from, std::uint64_t after) {
  const std::size_t size = fingerprinter_.csum_size();
  std::uint64_t next = kEnd;
  ranges_.clear();
  auto status =
      fs_.csums_since(from, after + 1, [&](std::uint64_t address, std::span<const std::byte> sums) {
        steps_.wait();
        if (stop_() || ranges_.size() >= limits::kLateExtents) {
          next = address;
          return false;
        }
        for (; sums.size() >= size; sums = sums.subspan(size), address += block_) {
          if (!missing(fingerprinter_.from_csum(sums.first(size)), address)) continue;
          if (ranges_.empty() || ranges_.back().end != address) ranges_.push_back({address, 0});
          ranges_.back().end = address + block_;
        }
        return true;
      });
  if (!status.ok()) return status;
  if (stop_()) return absl::CancelledError("stopped");
  return next;
}

// The extents that hold `ranges_`, but for newer ones.
absl::StatusOr<std::vector<btrfs::Extent>> LateCsums::older(std::uint64_t after) const {
  std::vector<btrfs::Extent> out;
  std::uint64_t walked = 0;  // no extent that begins below comes again
  for (const Range& range : ranges_) {
    if (range.end <= walked) continue;
    auto at = begin_of_extent(fs_, std::max(range.first, walked), walked);
    while (at.ok() && *at < range.end) {
      auto page = fs_.extents(*at, range.end - 1, kLatePageBuffer);
      if (!page.ok()) return page.status();
      for (auto& extent : page->extents) {
        walked = extent.end();
        if (extent.end() <= range.first || extent.generation > after) continue;
        if (lengths_.contains(extent.length)) out.push_back(std::move(extent));
      }
      at = page->done ? range.end : page->next;
    }
    if (!at.ok()) return at.status();
  }
  return out;
}

absl::Status LateCsums::look_at(std::vector<btrfs::Extent> extents, Look look) {
  std::vector<std::uint64_t> addresses;
  addresses.reserve(extents.size());
  for (const auto& extent : extents) addresses.push_back(extent.address);
  std::vector<FingerprintedExtent> found;
  auto status = read_csums(fs_, fingerprinter_, std::move(extents), found);
  if (!status.ok()) return status;
  std::vector<std::pair<index::Fingerprint, std::uint64_t>> cells;
  for (const FingerprintedExtent& one : found) {
    for (std::size_t i = 0; i < one.blocks.size(); ++i) {
      const std::uint64_t address = one.extent.address + i * block_;
      if (missing(one.blocks[i], address)) cells.emplace_back(one.blocks[i], address);
    }
  }
  for (const auto& [fingerprint, address] : cells) table_.insert(fingerprint, address);
  status = look(addresses);
  if (status.ok()) return status;
  for (const auto& [fingerprint, address] : cells) table_.erase(fingerprint, address);
  return status;
}

absl::Status LateCsums::run(std::uint64_t after, Look look) {
  for (std::uint64_t at = 0; at != kEnd;) {
    auto next = collect(at, after);
    if (!next.ok()) return next.status();
    auto extents = older(after);
    if (!extents.ok()) return extents.status();
    at = *next;
    if (extents->empty()) continue;
    if (auto status = look_at(*std::move(extents), look); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace skep::dedupe
