// SPDX-License-Identifier: MIT
#include "skep/btrfs/filesystem.h"

#include <limits>
#include <utility>

namespace skep::btrfs {

absl::StatusOr<std::optional<Extent>> Filesystem::extent_at(std::uint64_t address) {
  constexpr std::size_t kOneExtentBuffer = 4096;
  auto page = extents(address, address, kOneExtentBuffer);
  if (!page.ok()) return page.status();
  if (page->extents.empty()) return std::nullopt;
  return std::move(page->extents.front());
}

absl::StatusOr<ExtentPage> Filesystem::extents_since(std::uint64_t first,
                                                     std::uint64_t /*generation*/,
                                                     std::size_t buffer_bytes) {
  return extents(first, std::numeric_limits<std::uint64_t>::max(), buffer_bytes);
}

absl::Status Filesystem::csums_since(std::uint64_t first, std::uint64_t /*generation*/,
                                     NewCsumVisitor visit) {
  bool more = true;
  return csums(first, std::numeric_limits<std::uint64_t>::max(),
               [&](std::uint64_t address, std::span<const std::byte> sums) {
                 more = more && visit(address, sums);
               });
}

}  // namespace skep::btrfs
