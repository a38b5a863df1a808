// SPDX-License-Identifier: MIT
#include "skep/dedupe/scan.h"

#include <absl/functional/function_ref.h>

#include <future>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include "csum_reader.h"

namespace skep::dedupe {
namespace {

constexpr std::size_t kScanBuffer = 256 << 10;
// Extents are fingerprinted together up to so many bytes: 64 MiB have 128 KiB of fingerprints. One
// page of the extent tree may span hundreds of GiB.
constexpr std::uint64_t kScanBytes = 64ULL << 20;

absl::Status for_each_page(btrfs::Filesystem& fs, Window window, SizeLimits lengths,
                           std::uint64_t start, const std::function<bool()>& stop,
                           absl::FunctionRef<absl::Status(std::vector<btrfs::Extent>&&)> visit) {
  for (std::uint64_t at = start;;) {
    if (stop()) return absl::CancelledError("stopped");
    auto page = fs.extents_since(at, window.after + 1, kScanBuffer);
    if (!page.ok()) return page.status();
    std::erase_if(page->extents, [&](const auto& e) {
      return !window.contains(e.generation) || !lengths.contains(e.length);
    });
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

// Puts portions into the tables, one after another; with std::launch::async each while the next one
// is read.
class TableFiller {
 public:
  TableFiller(std::span<index::Table* const> tables, const index::Fingerprinter& fingerprinter,
              std::uint64_t block)
      : tables_(tables), fingerprinter_(fingerprinter), block_(block) {}
  ~TableFiller() { wait(); }
  TableFiller(const TableFiller&) = delete;
  TableFiller& operator=(const TableFiller&) = delete;

  // Takes the portion, and gives back room for the next one.
  void begin(std::vector<FingerprintedExtent>& portion, std::launch when) {
    wait();
    portion_.swap(portion);
    try {
      done_ = std::async(when, [this] { fill(); });
    } catch (const std::system_error&) {  // no thread to be had
      done_ = std::async(std::launch::deferred, [this] { fill(); });
    }
  }
  void wait() {
    if (done_.valid()) done_.get();
  }

 private:
  void fill() {
    for (const auto& found : portion_) {
      for (std::size_t i = 0; i < found.blocks.size(); ++i) {
        if (fingerprinter_.is_zero(found.blocks[i])) continue;
        for (index::Table* table : tables_) {
          table->insert(found.blocks[i], found.extent.address + i * block_);
        }
      }
    }
  }
  const std::span<index::Table* const> tables_;
  const index::Fingerprinter& fingerprinter_;
  const std::uint64_t block_;
  std::vector<FingerprintedExtent> portion_;
  std::future<void> done_;
};

void count(Census& census, const btrfs::Extent& extent) {
  const std::uint32_t tier = tier_of(extent.length);
  ++census.extents[tier];
  census.bytes[tier] += extent.length;
  census.sizes.add(extent.length);
}

}  // namespace

absl::StatusOr<Census> scan(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                            Window window, index::Table& table, const std::function<bool()>& stop,
                            Pace* pace, SizeLimits lengths, std::uint64_t in_table) {
  index::Table* const tables[] = {&table};
  return scan_into(
      tables, fs, fingerprinter, window, stop, pace, lengths, [](const FingerprintedExtent&) {},
      in_table);
}

absl::StatusOr<Census> scan_into(std::span<index::Table* const> tables, btrfs::Filesystem& fs,
                                 const index::Fingerprinter& fingerprinter, Window window,
                                 const std::function<bool()>& stop, Pace* pace, SizeLimits lengths,
                                 absl::FunctionRef<void(const FingerprintedExtent&)> seen,
                                 std::uint64_t in_table) {
  Census census;
  TableFiller filler(tables, fingerprinter, fs.info().block_size);
  std::vector<FingerprintedExtent> page;
  const auto insert = [&](std::vector<btrfs::Extent> extents) {
    if (fingerprinter.kind() != index::FingerprintKind::kCsum) return absl::OkStatus();
    std::erase_if(extents, [in_table](const auto& e) { return e.generation <= in_table; });
    if (extents.empty()) return absl::OkStatus();
    census.indexed += extents.size();
    const Held held(pace, stop);
    if (auto s = read_csums(fs, fingerprinter, std::move(extents), page); !s.ok()) return s;
    for (const auto& found : page) seen(found);
    // Who is held up by a pace works in one thread, and rests when it does.
    filler.begin(page, pace == nullptr ? std::launch::async : std::launch::deferred);
    if (pace != nullptr) filler.wait();
    return absl::OkStatus();
  };
  auto status =
      for_each_page(fs, window, lengths, 0, stop, [&](std::vector<btrfs::Extent>&& extents) {
        for (const auto& extent : extents) count(census, extent);
        return in_portions(std::move(extents), insert);
      });
  filler.wait();
  if (!status.ok()) return status;
  return census;
}

bool has_extents(btrfs::Filesystem& fs, Window window, SizeLimits lengths) {
  const auto found = [](std::vector<btrfs::Extent>&&) { return absl::CancelledError("found"); };
  return !for_each_page(
              fs, window, lengths, 0, [] { return false; }, found)
              .ok();
}

absl::StatusOr<SizeClasses> count_sizes(btrfs::Filesystem& fs, const std::function<bool()>& stop) {
  constexpr Window kEver{0, std::numeric_limits<std::uint64_t>::max()};
  SizeClasses out;
  auto status = for_each_page(fs, kEver, {}, 0, stop, [&](std::vector<btrfs::Extent>&& extents) {
    for (const auto& extent : extents) out.add(extent.length);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return out;
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
  const Steps steps(pace, stop);
  const auto visit = [&](std::vector<btrfs::Extent> extents) {
    const Held held(pace, stop);
    reached(extents.front().address);
    if (stop()) return absl::CancelledError("stopped");
    if (auto s = stage.describe(std::move(extents), true, found, to_read); !s.ok()) return s;
    stage.read_contents(to_read, ContentReader::CachePolicy::kDrop, stop, steps);
    for (const ToRead& one : to_read) {
      index(*one.extent);
      // The deep pass tries again, and tells.
      if (one.extent->unreadable) marks.mark(one.extent->extent.address);
    }
    for (const FingerprintedExtent& extent : found) count(extent);
    return absl::OkStatus();
  };
  auto status = for_each_page(
      fs, window, lengths, start, stop,
      [&](std::vector<btrfs::Extent>&& extents) { return in_portions(std::move(extents), visit); });
  if (!status.ok()) return status;
  return stop() ? absl::CancelledError("stopped") : absl::OkStatus();
}

}  // namespace skep::dedupe
