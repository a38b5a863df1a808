// SPDX-License-Identifier: MIT
//
// What `skep explain` tells of a file: how it is stored, who shares its extents, and what skep
// makes of them. Works on a copy of the table, and shares nothing; what was written to the file is
// committed first. Holds the filesystem's lock meanwhile. Plain values; thread-compatible.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "skep/btrfs/types.h"
#include "skep/dedupe/explainer.h"
#include "skep/service/refusal.h"

namespace skep::service {

// References that are counted, and files that are named, of one extent.
inline constexpr std::size_t kExplainReferences = 1000;
inline constexpr std::size_t kExplainFiles = 8;

// A stretch of an extent's content that is stored elsewhere, too.
struct StoredElsewhere {
  std::uint64_t offset = 0, length = 0;  // of the content
  std::uint64_t address = 0;             // where: of the block, or of a compressed extent
  std::string file;                      // one that holds it; empty where none could be found
  std::uint64_t file_offset = 0;
};

struct ExtentStory {
  btrfs::Extent extent;
  bool looked_at = false;                   // as far as state.json tells
  std::optional<std::uint64_t> references;  // empty: more than are counted
  std::uint64_t files = 0;                  // that the references are of
  std::vector<std::string> others;          // paths of some of them, without this file
  // What a run would make of it; not there without a table.
  std::optional<dedupe::Explanation> explanation;
  std::string excluded;  // for Verdict::kExcluded, as far as it is the extent's length
  std::vector<StoredElsewhere> elsewhere;
};

struct FileStory {
  Refusal refusal;
  btrfs::Uuid filesystem{};
  btrfs::FileKey key;
  btrfs::Inode inode;
  std::string path;      // from the top level of the filesystem; empty when it has no name
  std::string excluded;  // the option that leaves the file out; empty when none does
  std::string no_table;  // why skep has nothing to say; empty when it has
  std::vector<btrfs::FileExtent> items;
  // Of the data extents of the items, each once, in the order in which they come first.
  std::vector<ExtentStory> extents;
  absl::flat_hash_map<std::uint64_t, std::size_t> by_address;  // of `extents`

  // Null for what is no data, or was written since.
  const ExtentStory* story_of(const btrfs::FileExtent& item) const;
};

struct ExplainOptions {
  std::string path;
  std::string state_dir;   // empty: the filesystem's own
  std::string config_dir;  // empty: kConfigDir
};

FileStory explain_file(const ExplainOptions& options);

}  // namespace skep::service
