// SPDX-License-Identifier: MIT
//
// Files that somebody has named, on any filesystem that can share ranges (FIDEDUPERANGE), for any
// user. The second door to the kernel, beside Filesystem: no tree is read here, only what the
// virtual filesystem offers. An interface, so that tests can put faults behind it.
//
// Thread-compatible. Errors: absl::Status made by errno_status(), or without errno where the kernel
// was not asked.
#pragma once

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "skep/btrfs/filesystem.h"

namespace skep::btrfs {

// A stretch of a file that has data, and where that is stored (FIEMAP). What no extent covers is a
// hole.
struct MappedExtent {
  std::uint64_t offset = 0;
  std::uint64_t address = 0;
  std::uint64_t length = 0;  // in the file: of compressed data the unpacked length
  bool shared = false;       // others, or another place of this file, use it too
  bool packed = false;       // compressed: `address` is where its extent begins
  bool placed = true;        // false: in metadata (inline), `address` means nothing
};
using ExtentMap = std::vector<MappedExtent>;  // ascending, not overlapping

struct NamedFileInfo {
  std::uint64_t device = 0, inode = 0;  // the same file has the same pair
  std::uint64_t filesystem = 0;         // the same for all subvolumes of a btrfs
  std::uint64_t size = 0;
  std::uint64_t block_size = 4096;  // ranges begin and end at multiples, or at the file's end
  // The filesystem gives an extent back only when no part of it is used (btrfs).
  bool frees_whole_extents = false;
  bool nocow = false;         // NOCOW files share with their like only
  bool may_be_target = true;  // as far as permissions and attributes tell
};

// A regular file, open for reading only.
class NamedFile {
 public:
  virtual ~NamedFile() = default;
  virtual const NamedFileInfo& info() const = 0;
  // Fills `out` from `offset`; short only at the end of the file. Returns the bytes read.
  virtual absl::StatusOr<std::size_t> read(std::uint64_t offset, std::span<std::byte> out) = 0;
  // Starts reading a range into the page cache. A hint: no errors. From any thread.
  virtual void readahead(std::uint64_t offset, std::uint64_t length) = 0;
  // Writes back what is not stored yet, and tells where all of it is. RESOURCE_EXHAUSTED for more
  // than kMaxMappedExtents.
  virtual absl::StatusOr<ExtentMap> map() = 0;
};

// 64 MiB of memory, and a file of 4 GiB in the smallest extents there are.
inline constexpr std::size_t kMaxMappedExtents = 1 << 20;

struct RangeTarget {
  NamedFile* file = nullptr;
  std::uint64_t offset = 0;
};

class NamedFiles {
 public:
  virtual ~NamedFiles() = default;
  // Never waits for what is at the other end of a fifo, and follows no symbolic link that the last
  // part of the path is. INVALID_ARGUMENT for what is no regular file.
  virtual absl::StatusOr<std::unique_ptr<NamedFile>> open(const std::string& path) = 0;
  // As Filesystem::dedupe().
  virtual absl::StatusOr<std::vector<DedupeResult>> dedupe(
      NamedFile& source, std::uint64_t offset, std::uint64_t length,
      std::span<const RangeTarget> targets) = 0;
};

}  // namespace skep::btrfs
