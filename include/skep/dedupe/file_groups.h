// SPDX-License-Identifier: MIT
//
// Files that somebody has named, looked at one by one and closed again, and put into groups of
// equal content. Thread-compatible.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/statusor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "skep/btrfs/named_files.h"

namespace skep::dedupe {

using Digest = std::array<std::uint64_t, 2>;  // 128 bits of XXH3

struct FileRecord {
  std::string path;
  btrfs::NamedFileInfo info;
  std::size_t order = 0;           // in the list
  std::uint64_t shared_bytes = 0;  // that others use too
  std::uint64_t extents = 0;
  bool in_metadata = false;  // small enough to be stored there, whole
  // Of where it is stored: equal ones are stored in the same place, and so have the same content.
  // Zeros: the map does not tell.
  Digest place{};
};

absl::StatusOr<FileRecord> look_at(btrfs::NamedFiles& files, const std::string& path);

// They are on one filesystem, and both NOCOW or neither.
bool can_share(const FileRecord& one, const FileRecord& other);

using Problem = absl::FunctionRef<void(const FileRecord&, const absl::Status&)>;

// Groups of equal content, of two files or more that can share, in the order of their first files;
// what equals none is left out, or goes to `alone`. Reads those files that have as many bytes as
// another one. `stop` ends it early, with nothing. What cannot be read goes to `problem`.
std::vector<std::vector<FileRecord>> group_equal(btrfs::NamedFiles& files,
                                                 std::vector<FileRecord> records,
                                                 const std::atomic<bool>& stop, Problem problem,
                                                 std::vector<FileRecord>* alone = nullptr);

}  // namespace skep::dedupe
