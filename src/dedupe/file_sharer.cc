// SPDX-License-Identifier: MIT
#include "skep/dedupe/file_sharer.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "block_sharer.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/extent_maps.h"

namespace skep::dedupe {
namespace {

using btrfs::ExtentMap;
using btrfs::NamedFile;

std::optional<ExtentMap> map_of(NamedFile& file) {
  auto map = file.map();
  if (!map.ok()) return std::nullopt;
  return *std::move(map);
}

bool is_unsupported(const absl::Status& status) {
  const int error = errno_of(status);
  return error == EOPNOTSUPP || error == ENOTTY || error == ENOSYS;
}

bool changed(const FileRecord& record, const btrfs::NamedFileInfo& now) {
  return record.info.device != now.device || record.info.inode != now.inode ||
         record.info.size != now.size;
}

// Opened again, when it is still what it was.
absl::StatusOr<std::unique_ptr<NamedFile>> open_again(btrfs::NamedFiles& files,
                                                      const FileRecord& record) {
  auto file = files.open(record.path);
  if (file.ok() && changed(record, (*file)->info())) {
    return absl::FailedPreconditionError("has changed meanwhile");
  }
  return file;
}

// Which of equal files is to keep its extents comes first.
bool better_keeper(const FileRecord& one, const FileRecord& other) {
  const auto rank = [](const FileRecord& r) {
    return std::tuple(r.info.may_be_target, ~r.shared_bytes, r.extents, r.order);
  };
  return rank(one) < rank(other);
}

FileResult different_size(const FileRecord& first, const FileRecord& other) {
  FileResult result{FileFate::kDiffers, other.path};
  result.message = fmt::format("has {} bytes, not {}", other.info.size, first.info.size);
  return result;
}

// So begin the messages of RangeSharer, which knows no names.
constexpr std::string_view kOfRange = ": FIDEDUPERANGE: ";

std::string explain_range(const absl::Status& status) {
  switch (errno_of(status)) {
    case EPERM:
    case EACCES:
      return "no permission: a file is shared into by its owner, or by who may write it, unless it "
             "is immutable";
    case ETXTBSY:
      return "is in use as swap";
    case EINVAL:
      return "refused: has changed meanwhile, or is of a kind that does not share (swap, NOCOW)";
    case EXDEV:
      return "is on another filesystem, or another mount of it";
    case EAGAIN:
      return "is busy, as while btrfs send reads it; try again later";
    case EROFS:
      return "is on a read-only mount";
    case EOPNOTSUPP:
    case ENOTTY:
    case ENOSYS:
      return "its filesystem can not share ranges of files (btrfs and XFS can)";
    default:
      return std::string(message_of(status).substr(2));
  }
}

}  // namespace

std::string explain(const std::string& path, const absl::Status& status) {
  std::string_view message = message_of(status);
  if (message.substr(0, kOfRange.size()) == kOfRange) return explain_range(status);
  if (message.substr(0, path.size()) == path && message.substr(path.size(), 2) == ": ") {
    message.remove_prefix(path.size() + 2);
  }
  return std::string(message);
}

// A file that is open to be shared into.
struct FileSharer::Target {
  FileRecord* record = nullptr;
  std::unique_ptr<NamedFile> file;
  std::optional<ExtentMap> before;
  Agreement agreed;  // with the keeper, before
  FileResult result;
  std::uint64_t claimed = 0;  // bytes, by the kernel
  bool done = false;          // nothing more to do

  void fail(std::string why) {
    result.fate = FileFate::kFailed;
    result.message = std::move(why);
    done = true;
  }
};

FileSharer::Records FileSharer::look(std::span<const std::string> paths) {
  Records records;
  absl::flat_hash_set<std::pair<std::uint64_t, std::uint64_t>> seen;
  for (const std::string& path : paths) {
    if (stop_) break;
    auto record = look_at(files_, path);
    if (!record.ok()) {
      problem(path, record.status());
      continue;
    }
    // Another name of the same file shares with it anyway.
    if (!seen.emplace(record->info.device, record->info.inode).second) continue;
    ++totals_.files;
    if (record->info.size == 0 || record->in_metadata) {
      ++totals_.small_files;
      continue;
    }
    record->order = next_order_++;
    records.push_back(*std::move(record));
  }
  return records;
}

void FileSharer::share(std::span<const std::string> paths, bool claimed) {
  Records records = look(paths);
  if (stop_ || records.empty()) return;
  const FileRecord first = records.front();
  if (claimed && !options_.dry_run) {
    share_claimed(std::move(records));
  } else {
    share_by_content(first, std::move(records), claimed ? Claim::kUntested : Claim::kNone);
  }
}

void FileSharer::share_claimed(Records records) {
  const FileRecord first = records.front();
  GroupResult group;
  Records same, others;
  for (FileRecord& record : records) {
    if (can_share(first, record) && record.info.size == first.info.size) {
      same.push_back(std::move(record));
      continue;
    }
    if (record.info.size != first.info.size) group.files.push_back(different_size(first, record));
    others.push_back(std::move(record));
  }
  share_equal(std::move(same), std::move(group), &others);
  // They may still equal each other.
  if (!others.empty() && !stop_) share_by_content(first, std::move(others), Claim::kRefuted);
}

void FileSharer::share_by_content(const FileRecord& first, Records records, Claim claim) {
  absl::flat_hash_map<std::uint64_t, std::size_t> on_filesystem;
  for (const FileRecord& record : records) ++on_filesystem[record.info.filesystem];
  Records alone;
  auto groups = group_equal(
      files_, std::move(records), stop_,
      [this](const FileRecord& record, const absl::Status& status) {
        problem(record.path, status);
      },
      &alone);
  if (stop_) return;
  GroupResult different;  // from the first
  for (FileRecord& record : alone) {
    if (record.order != first.order) {
      leave_alone(first, record, claim, on_filesystem[record.info.filesystem] == 1, different);
    }
    if (options_.blocks) rest_.push_back(std::move(record));
  }
  // The first file of all is in the first group, or in none.
  if (!different.files.empty() && (groups.empty() || groups.front().front().order != first.order)) {
    different.size = first.info.size;
    different.files.insert(different.files.begin(), FileResult{FileFate::kKept, first.path});
    report(std::exchange(different, {}));
  }
  for (Records& equal : groups) {
    if (stop_) return;
    share_equal(std::move(equal), std::exchange(different, {}), nullptr);
  }
}

void FileSharer::leave_alone(const FileRecord& first, const FileRecord& record, Claim claim,
                             bool alone_on_filesystem, GroupResult& different) {
  const bool elsewhere = record.info.filesystem != first.info.filesystem;
  if (elsewhere && alone_on_filesystem) {
    problem(record.path, absl::FailedPreconditionError(
                             fmt::format("is on another filesystem than {}", first.path)));
  } else if (!elsewhere && claim != Claim::kNone && !can_share(first, record)) {
    problem(record.path, absl::FailedPreconditionError(fmt::format(
                             "can not share with {}: one of them is NOCOW", first.path)));
  } else if (!elsewhere && claim == Claim::kUntested) {
    different.files.push_back({FileFate::kDiffers, record.path});
    different.files.back().message = fmt::format("is not equal to {}", first.path);
  }
}

void FileSharer::share_equal(Records records, GroupResult group, Records* different) {
  std::sort(records.begin(), records.end(), better_keeper);
  group.size = records.front().info.size;
  auto keeper = open_again(files_, records.front());
  while (!keeper.ok()) {
    problem(records.front().path, keeper.status());
    records.erase(records.begin());
    if (records.empty()) return report(group);
    keeper = open_again(files_, records.front());
  }
  Records targets(std::make_move_iterator(records.begin() + 1),
                  std::make_move_iterator(records.end()));
  std::sort(targets.begin(), targets.end(),
            [](const auto& a, const auto& b) { return a.order < b.order; });
  group.files.insert(group.files.begin(), FileResult{FileFate::kKept, records.front().path});
  share_with(**keeper, targets, group, different);
  if (options_.blocks) {
    records.front().shared_bytes = group.size;
    rest_.push_back(std::move(records.front()));
  }
  report(group);
}

void FileSharer::share_with(NamedFile& keeper, Records& records, GroupResult& group,
                            Records* different) {
  const auto keeper_map = map_of(keeper);
  const ExtentMap* const map = keeper_map ? &*keeper_map : nullptr;
  std::span<FileRecord> left(records);
  while (!left.empty()) {
    std::vector<Target> targets = open_some(left);
    left = left.subspan(targets.size());
    for (Target& target : targets) {
      if (!target.done) find_agreement(map, target);
    }
    if (!options_.dry_run) share_open(keeper, targets);
    for (Target& target : targets) {
      if (!target.done) settle(map, target);
      if (target.result.fate == FileFate::kDiffers) {
        target.result.message = fmt::format("is not equal to {}", group.files.front().path);
        if (different != nullptr) different->push_back(std::move(*target.record));
      }
      group.files.push_back(std::move(target.result));
    }
  }
}

// As many of the next as one call takes, and as their maps leave memory for.
std::vector<FileSharer::Target> FileSharer::open_some(std::span<FileRecord> records) {
  std::vector<Target> targets;
  std::uint64_t extents = 0;
  for (FileRecord& record : records) {
    extents += record.extents;
    const bool full = targets.size() == btrfs::kMaxDedupeTargets ||
                      (!targets.empty() && extents > btrfs::kMaxMappedExtents);
    if (full) break;
    Target& target = targets.emplace_back();
    target.record = &record;
    target.result.path = record.path;
    auto file = open_again(files_, record);
    if (file.ok()) {
      target.file = *std::move(file);
    } else {
      target.fail(explain(record.path, file.status()));
    }
  }
  return targets;
}

void FileSharer::find_agreement(const ExtentMap* keeper_map, Target& target) const {
  target.before = map_of(*target.file);
  const std::uint64_t size = target.record->info.size;
  if (keeper_map != nullptr && target.before) {
    target.agreed = agreement({*keeper_map}, {*target.before}, size);
  }
  if (target.agreed.bytes == size && target.agreed.certain) {
    target.result.fate = FileFate::kAlready;
    target.done = true;
  } else if (options_.dry_run && !target.record->info.may_be_target) {
    target.fail(explain_range(errno_status(EPERM, "FIDEDUPERANGE", "")));
  }
}

void FileSharer::share_open(NamedFile& keeper, std::span<Target> targets) {
  std::vector<btrfs::RangeTarget> asked;
  std::vector<Target*> of;
  for (Target& target : targets) {
    if (target.done) continue;
    asked.push_back({target.file.get(), 0});
    of.push_back(&target);
  }
  if (of.empty()) return;
  const auto outcomes = ranges_.share(keeper, 0, of.front()->record->info.size, asked);
  for (std::size_t i = 0; i < of.size(); ++i) {
    Target& target = *of[i];
    target.claimed = outcomes[i].done;
    target.result.fate = outcomes[i].differs   ? FileFate::kDiffers
                         : outcomes[i].stopped ? FileFate::kStopped
                                               : FileFate::kShared;
    if (outcomes[i].status.ok()) continue;
    target.result.fate = FileFate::kFailed;
    target.result.message = explain_range(outcomes[i].status);
    totals_.unsupported_files += is_unsupported(outcomes[i].status);
  }
}

// What has changed, by the maps: what the kernel answers can be more than it has done.
void FileSharer::settle(const ExtentMap* keeper_map, Target& target) const {
  FileResult& result = target.result;
  const std::uint64_t size = target.record->info.size;
  if (options_.dry_run) {
    result.fate = FileFate::kShared;
    target.claimed = size;
  }
  const auto after =
      options_.dry_run && keeper_map != nullptr ? std::optional(*keeper_map) : map_of(*target.file);
  if (keeper_map == nullptr || !target.before || !after) {
    result.shared_bytes = target.claimed;
    return;
  }
  const std::uint64_t agreed = agreement({*keeper_map}, {*after}, size).bytes;
  result.shared_bytes = agreed - std::min(agreed, target.agreed.bytes);
  const Released freed = released(*target.before, *after, target.record->info.frees_whole_extents);
  result.freed_bytes = freed.bytes;
  result.packed = freed.packed && freed.bytes != 0;
  if (result.fate == FileFate::kShared && agreed == size && result.shared_bytes == 0) {
    result.fate = FileFate::kAlready;
  }
}

void FileSharer::report(const GroupResult& group) {
  bool worth = false;
  for (const FileResult& file : group.files) {
    worth = worth || file.fate != FileFate::kKept;
    totals_.shared_files += file.fate == FileFate::kShared && !group.blocks;
    totals_.already_files += file.fate == FileFate::kAlready;
    totals_.different_files += file.fate == FileFate::kDiffers;
    totals_.failed_files += file.fate == FileFate::kFailed;
    totals_.shared_bytes += file.shared_bytes;
    totals_.freed_bytes += file.freed_bytes;
    totals_.packed = totals_.packed || file.packed;
  }
  if (!worth) return;
  totals_.groups += !group.blocks;
  report_.group(group);
}

void FileSharer::problem(const std::string& path, const absl::Status& status) {
  ++totals_.failed_files;
  report_.problem(path, explain(path, status));
}

void FileSharer::finish() {
  if (!options_.blocks || stop_) return;
  BlockSharer blocks(files_, ranges_, {options_.dry_run, options_.min_run_bytes}, stop_);
  blocks.run(
      std::move(rest_), [this](const GroupResult& result) { report(result); },
      [this](const FileRecord& record, const absl::Status& status) {
        problem(record.path, status);
      });
}

}  // namespace skep::dedupe
