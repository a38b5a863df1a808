// SPDX-License-Identifier: MIT
#include "skep/dedupe/fingerprint_stage.h"

#include <absl/functional/function_ref.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace skep::dedupe {
namespace {

// Extents closer than this share a search: skipping checksums is cheaper than another search
// (4 MiB of crc32c are one item of 4 KiB).
constexpr std::uint64_t kNear = 4ULL << 20;
constexpr std::size_t kScanBuffer = 256 << 10;
// Extents are fingerprinted together up to so many bytes: 64 MiB have 128 KiB of fingerprints. One
// page of the extent tree may span hundreds of GiB.
constexpr std::uint64_t kScanBytes = 64ULL << 20;

}  // namespace

absl::Status FingerprintStage::fingerprint(std::vector<btrfs::Extent> extents,
                                           std::vector<FingerprintedExtent>& out) const {
  const std::uint64_t block = fs_.info().block_size;
  const std::size_t size = fingerprinter_.csum_size();
  out.clear();
  out.reserve(extents.size());
  for (auto& extent : extents) out.push_back({std::move(extent), {}});
  for (std::size_t first = 0; first < out.size();) {
    std::size_t end = first + 1;
    while (end < out.size() && out[end].extent.address - out[end - 1].extent.end() < kNear) {
      ++end;
    }
    std::size_t at = first;  // checksums come in address order, as the extents do
    auto status = fs_.csums(
        out[first].extent.address, out[end - 1].extent.end(),
        [&](std::uint64_t address, std::span<const std::byte> sums) {
          for (; sums.size() >= size; sums = sums.subspan(size), address += block) {
            while (at < end && out[at].extent.end() <= address) ++at;
            if (at == end) return;
            auto& [extent, blocks] = out[at];
            if (address < extent.address) continue;
            if (blocks.empty()) blocks.resize(extent.length / block, index::kNoFingerprint);
            blocks[(address - extent.address) / block] = fingerprinter_.from_csum(sums.first(size));
          }
        });
    if (!status.ok()) return status;
    first = end;
  }
  return absl::OkStatus();
}

absl::Status FingerprintStage::run(Batch& batch) const {
  return fingerprint(std::exchange(batch.extents, {}), batch.fingerprinted);
}

namespace {

absl::Status for_each_page(btrfs::Filesystem& fs, Window window, const std::function<bool()>& stop,
                           absl::FunctionRef<absl::Status(std::vector<btrfs::Extent>&&)> visit) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  for (std::uint64_t at = 0;;) {
    if (stop()) return absl::CancelledError("stopped");
    auto page = fs.extents(at, kLast, kScanBuffer);
    if (!page.ok()) return page.status();
    std::erase_if(page->extents, [&](const auto& e) { return !window.contains(e.generation); });
    if (!page->extents.empty()) {
      if (auto status = visit(std::move(page->extents)); !status.ok()) return status;
    }
    if (page->done) return absl::OkStatus();
    at = page->next;
  }
}

void count(Census& census, const btrfs::Extent& extent) {
  const std::uint32_t tier = tier_of(extent.length);
  ++census.extents[tier];
  census.bytes[tier] += extent.length;
}

}  // namespace

absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop) {
  const FingerprintStage stage(fs, fingerprinter);
  const std::uint64_t block = fs.info().block_size;
  Census census;
  std::vector<FingerprintedExtent> page;
  const auto insert = [&](std::vector<btrfs::Extent> extents) {
    if (auto s = stage.fingerprint(std::move(extents), page); !s.ok()) return s;
    for (const auto& [extent, blocks] : page) {
      for (std::size_t i = 0; i < blocks.size(); ++i) {
        if (blocks[i] == fingerprinter.zero()) continue;
        table.insert(blocks[i], extent.address + i * block);
      }
    }
    return absl::OkStatus();
  };
  auto status = for_each_page(fs, window, stop, [&](std::vector<btrfs::Extent>&& extents) {
    std::vector<btrfs::Extent> some;
    std::uint64_t bytes = 0;
    for (auto& extent : extents) {
      count(census, extent);
      bytes += extent.length;
      some.push_back(std::move(extent));
      if (bytes < kScanBytes) continue;
      if (auto s = insert(std::exchange(some, {})); !s.ok()) return s;
      bytes = 0;
    }
    return some.empty() ? absl::OkStatus() : insert(std::move(some));
  });
  if (!status.ok()) return status;
  return census;
}

}  // namespace skep::dedupe
