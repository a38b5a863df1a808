// SPDX-License-Identifier: MIT
#include "csum_reader.h"

#include <span>
#include <utility>

namespace skep::dedupe {
namespace {

// Extents closer than this share a search: skipping checksums is cheaper than another search
// (4 MiB of crc32c are one item of 4 KiB).
constexpr std::uint64_t kNearCsums = 4ULL << 20;

}  // namespace

absl::Status read_csums(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                        std::vector<btrfs::Extent> extents, std::vector<FingerprintedExtent>& out) {
  const std::uint64_t block = fs.info().block_size;
  const std::size_t size = fingerprinter.csum_size();
  out.clear();
  out.resize(extents.size());
  for (std::size_t i = 0; i < extents.size(); ++i) out[i].extent = std::move(extents[i]);
  for (std::size_t first = 0; first < out.size();) {
    std::size_t end = first + 1;
    while (end < out.size() && out[end].extent.address - out[end - 1].extent.end() < kNearCsums) {
      ++end;
    }
    std::size_t at = first;  // checksums come in address order, as the extents do
    auto status =
        fs.csums(out[first].extent.address, out[end - 1].extent.end(),
                 [&](std::uint64_t address, std::span<const std::byte> sums) {
                   for (; sums.size() >= size; sums = sums.subspan(size), address += block) {
                     while (at < end && out[at].extent.end() <= address) ++at;
                     if (at == end) return;
                     auto& found = out[at];
                     if (address < found.extent.address) continue;
                     if (found.blocks.empty()) {
                       found.blocks.resize(found.extent.length / block, index::kNoFingerprint);
                     }
                     found.blocks[(address - found.extent.address) / block] =
                         fingerprinter.from_csum(sums.first(size));
                   }
                 });
    if (!status.ok()) return status;
    first = end;
  }
  return absl::OkStatus();
}

}  // namespace skep::dedupe
