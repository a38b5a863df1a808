// SPDX-License-Identifier: MIT
//
// Shares files that somebody has named: sets of them that are said to be equal, or that may be.
// The kernel compares, so a wrong claim costs time. One set after another; between two calls of the
// kernel a stop is looked for. Thread-compatible.
//
// Of a group one file keeps its extents, and the others share them: one that can not be changed (as
// an immutable file), else the one that shares most with others already, of which less would be
// freed, else the one in the fewest pieces, else the first.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "skep/btrfs/named_files.h"
#include "skep/dedupe/file_groups.h"
#include "skep/dedupe/range_sharer.h"

namespace skep::dedupe {

enum class FileFate {
  kKept,     // the others share its extents
  kShared,   // of a dry run: would be
  kAlready,  // was before
  kDiffers,  // is not equal to the one that is kept; a part may be shared all the same
  kFailed,
  kStopped,
};

struct FileResult {
  FileFate fate = FileFate::kFailed;
  std::string path;
  // As the extent maps tell, before and after. Freed: what the file used alone and uses no more.
  std::uint64_t shared_bytes = 0;
  std::uint64_t freed_bytes = 0;
  bool packed = false;       // freed bytes are counted as they are unpacked
  std::string message = {};  // why, for kDiffers and kFailed
};

struct GroupResult {
  std::uint64_t size = 0;         // of each file
  bool blocks = false;            // one file, of which common blocks were shared
  std::vector<FileResult> files;  // the one that is kept first
};

struct FileTotals {
  std::uint64_t files = 0;   // that were named and could be looked at, each once
  std::uint64_t groups = 0;  // of equal files
  std::uint64_t shared_files = 0, shared_bytes = 0, freed_bytes = 0;
  std::uint64_t already_files = 0, different_files = 0;
  std::uint64_t failed_files = 0;
  std::uint64_t unsupported_files = 0;  // of the failed: their filesystem can not share
  std::uint64_t small_files = 0;        // empty, or stored in metadata: nothing to share
  bool packed = false;
};

// Told of each group when it is done, and of files that got into none.
class FileReport {
 public:
  virtual ~FileReport() = default;
  virtual void group(const GroupResult& result) = 0;
  virtual void problem(const std::string& path, const std::string& why) = 0;
};

class FileSharer {
 public:
  struct Options {
    bool dry_run = false;  // changes nothing, and so reads to know what is equal
    bool blocks = false;
    std::uint64_t min_run_bytes = 0;
  };

  FileSharer(btrfs::NamedFiles& files, const Options& options, const std::atomic<bool>& stop,
             FileReport& report)
      : files_(files), options_(options), stop_(stop), report_(report), ranges_(files, stop) {}

  // `claimed`: they are said to be equal.
  void share(std::span<const std::string> paths, bool claimed);
  // After the last set: common blocks of files that are not equal, where that was asked for.
  void finish();
  const FileTotals& totals() const { return totals_; }

 private:
  using Records = std::vector<FileRecord>;
  struct Target;

  Records look(std::span<const std::string> paths);
  void share_claimed(Records records);
  // Finds out what of them is equal. They are not equal to `first` (kRefuted), or it is one of
  // them.
  enum class Claim { kNone, kUntested, kRefuted };
  void share_by_content(const FileRecord& first, Records records, Claim claim);
  void leave_alone(const FileRecord& first, const FileRecord& record, Claim claim,
                   bool alone_on_filesystem, GroupResult& different);
  // Of equal files, one at least. Those that differ after all go to `different`.
  void share_equal(Records records, GroupResult group, Records* different);
  void share_with(btrfs::NamedFile& keeper, Records& records, GroupResult& group,
                  Records* different);
  std::vector<Target> open_some(std::span<FileRecord> records);
  void find_agreement(const btrfs::ExtentMap* keeper_map, Target& target) const;
  void share_open(btrfs::NamedFile& keeper, std::span<Target> targets);
  void settle(const btrfs::ExtentMap* keeper_map, Target& target) const;
  void report(const GroupResult& group);
  void problem(const std::string& path, const absl::Status& status);

  btrfs::NamedFiles& files_;
  const Options options_;
  const std::atomic<bool>& stop_;
  FileReport& report_;
  RangeSharer ranges_;
  FileTotals totals_;
  std::size_t next_order_ = 0;
  Records rest_;  // one of each content, for their common blocks
};

// What is wrong with the file that was named, without its name.
std::string explain(const std::string& path, const absl::Status& status);

}  // namespace skep::dedupe
