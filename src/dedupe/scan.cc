// SPDX-License-Identifier: MIT
#include "skep/dedupe/scan.h"

#include <absl/functional/function_ref.h>

#include <utility>
#include <vector>

#include "csum_reader.h"

namespace skep::dedupe {
namespace {

constexpr std::size_t kScanBuffer = 256 << 10;
// Extents are fingerprinted together up to so many bytes: 64 MiB have 128 KiB of fingerprints. One
// page of the extent tree may span hundreds of GiB.
constexpr std::uint64_t kScanBytes = 64ULL << 20;

absl::Status for_each_page(btrfs::Filesystem& fs, Window window, std::uint64_t start,
                           const std::function<bool()>& stop,
                           absl::FunctionRef<absl::Status(std::vector<btrfs::Extent>&&)> visit) {
  for (std::uint64_t at = start;;) {
    if (stop()) return absl::CancelledError("stopped");
    auto page = fs.extents_since(at, window.after + 1, kScanBuffer);
    if (!page.ok()) return page.status();
    std::erase_if(page->extents, [&](const auto& e) { return !window.contains(e.generation); });
    if (!page->extents.empty()) {
      if (auto status = visit(std::move(page->extents)); !status.ok()) return status;
    }
    if (page->done) return absl::OkStatus();
    at = page->next;
  }
}

// Calls `visit` with up to kScanBytes at a time.
absl::Status in_portions(std::vector<btrfs::Extent> extents,
                         absl::FunctionRef<absl::Status(std::vector<btrfs::Extent>)> visit) {
  std::vector<btrfs::Extent> some;
  std::uint64_t bytes = 0;
  for (auto& extent : extents) {
    bytes += extent.length;
    some.push_back(std::move(extent));
    if (bytes < kScanBytes) continue;
    if (auto s = visit(std::exchange(some, {})); !s.ok()) return s;
    bytes = 0;
  }
  return some.empty() ? absl::OkStatus() : visit(std::move(some));
}

// One portion is let go by the pace like a batch.
class Held {
 public:
  Held(Pace* pace, const std::function<bool()>& stop) : pace_(pace) {
    if (pace_ != nullptr) pace_->before_batch(stop);
  }
  ~Held() {
    if (pace_ != nullptr) pace_->batch_done();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  Pace* const pace_;
};

void count(Census& census, const btrfs::Extent& extent) {
  const std::uint32_t tier = tier_of(extent.length);
  ++census.extents[tier];
  census.bytes[tier] += extent.length;
}

}  // namespace

absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop) {
  const std::uint64_t block = fs.info().block_size;
  Census census;
  std::vector<FingerprintedExtent> page;
  const auto insert = [&](std::vector<btrfs::Extent> extents) {
    if (fingerprinter.kind() != index::FingerprintKind::kCsum) return absl::OkStatus();
    if (auto s = read_csums(fs, fingerprinter, std::move(extents), page); !s.ok()) return s;
    for (const auto& found : page) {
      for (std::size_t i = 0; i < found.blocks.size(); ++i) {
        if (fingerprinter.is_zero(found.blocks[i])) continue;
        table.insert(found.blocks[i], found.extent.address + i * block);
      }
    }
    return absl::OkStatus();
  };
  auto status = for_each_page(fs, window, 0, stop, [&](std::vector<btrfs::Extent>&& extents) {
    for (const auto& extent : extents) count(census, extent);
    return in_portions(std::move(extents), insert);
  });
  if (!status.ok()) return status;
  return census;
}

// A block whose like was seen before makes both places worth another look.
void ContentScan::index(const FingerprintedExtent& extent) {
  const std::uint64_t block = fs.info().block_size;
  const std::uint64_t address = extent.extent.address;
  for (std::size_t i = 0; i < extent.blocks.size(); ++i) {
    const index::Fingerprint fingerprint = extent.blocks[i];
    if (fingerprint == index::kNoFingerprint) continue;
    const std::uint64_t cell = extent.cell_address(i, block);
    if (fingerprinter.is_zero(fingerprint)) {
      marks.mark(cell);
      continue;
    }
    const auto meet = [&](std::uint64_t other) {
      if (other - address < extent.extent.length) return;
      marks.mark(cell);
      marks.mark(other);
    };
    for (const std::uint64_t other : table.find(fingerprint)) meet(other);
    for (const auto& place : contents.find(fingerprint)) meet(place.extent.address);
    table.insert(fingerprint, cell);
  }
}

void ContentScan::count(const FingerprintedExtent& extent) {
  if (unjudged == nullptr) return;
  const std::uint64_t length = extent.extent.length;
  counters.bytes_progress += length;
  if (extent.read) {
    ++unjudged->extents;
    unjudged->bytes += length;
  } else if (fingerprinter.kind() == index::FingerprintKind::kData) {
    // No other pass meets it.
    ++counters.extents_scanned;
    counters.bytes_scanned += length;
    counters.leave(extent.blocks.empty() ? Verdict::kNoChecksum : Verdict::kUnreferenced, length);
  }
}

absl::Status ContentScan::run(Window window, std::uint64_t start, const std::function<bool()>& stop,
                              const std::function<void(std::uint64_t)>& reached) {
  std::vector<FingerprintedExtent> found;
  std::vector<ToRead> to_read;
  const auto visit = [&](std::vector<btrfs::Extent> extents) {
    const Held held(pace, stop);
    if (stop()) return absl::CancelledError("stopped");
    reached(extents.front().address);
    if (auto s = stage.describe(std::move(extents), true, found, to_read); !s.ok()) return s;
    stage.read_contents(to_read, ContentReader::CachePolicy::kDrop, stop);
    for (const ToRead& one : to_read) index(*one.extent);
    for (const FingerprintedExtent& extent : found) count(extent);
    return absl::OkStatus();
  };
  auto status = for_each_page(fs, window, start, stop, [&](std::vector<btrfs::Extent>&& extents) {
    return in_portions(std::move(extents), visit);
  });
  if (!status.ok()) return status;
  return stop() ? absl::CancelledError("stopped") : absl::OkStatus();
}

}  // namespace skep::dedupe
