// SPDX-License-Identifier: MIT
#include "skep/dedupe/file_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// What was found out holds so long: a second of verdicts on files that lie together saves most
// look-ups, and nobody moves a file and expects it to count at once.
constexpr std::chrono::seconds kHolds{1};
constexpr btrfs::FileKey kTop{btrfs::kTopLevelRoot, btrfs::kFirstFreeObjectid};

bool any_matches(const std::vector<Glob>& globs, std::string_view path, bool is_folder) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const Glob& glob) { return glob.matches(path, is_folder); });
}

}  // namespace

void FileFilter::forget() {
  absl::MutexLock lock(&mutex_);
  loaded_.reset();
}

std::uint64_t FileFilter::era() {
  load().IgnoreError();  // verdicts meet the same error
  absl::MutexLock lock(&mutex_);
  return era_;
}

// Begins a new second, when the last one is over.
absl::Status FileFilter::load() {
  {
    absl::MutexLock lock(&mutex_);
    if (loaded_ && Clock::now() - *loaded_ < kHolds) return absl::OkStatus();
  }
  auto found = fs_.subvolumes();
  if (!found.ok()) return found.status();
  absl::MutexLock lock(&mutex_);
  loaded_ = Clock::now();
  ++era_;
  files_.clear();
  folders_.clear();
  subvolumes_.clear();
  for (auto& one : *found) subvolumes_[one.root].info = std::move(one);
  return absl::OkStatus();
}

std::optional<btrfs::Subvolume> FileFilter::subvolume(std::uint64_t root) const {
  absl::MutexLock lock(&mutex_);
  const auto it = subvolumes_.find(root);
  return it == subvolumes_.end() ? std::nullopt : std::optional(it->second.info);
}

absl::StatusOr<bool> FileFilter::excludes(btrfs::FileKey file) {
  if (auto status = load(); !status.ok()) return status;
  {
    absl::MutexLock lock(&mutex_);
    if (const auto it = files_.find(file); it != files_.end()) return it->second;
  }
  auto of_subvolume = excludes_subvolume(file.root);
  if (!of_subvolume.ok() || *of_subvolume) return of_subvolume;
  if (!options_.names_paths() && !options_.file_bytes.any()) return false;
  const auto found = fs_.names(file);
  if (!found.ok()) return found.status();
  absl::StatusOr<bool> verdict = !options_.file_bytes.contains(found->inode.size);
  if (!*verdict && options_.names_paths()) verdict = judge_names(file.root, found->names);
  if (!verdict.ok()) return verdict;
  absl::MutexLock lock(&mutex_);
  if (files_.size() >= limits::kFilterFiles) files_.clear();
  files_[file] = *verdict;
  return verdict;
}

absl::StatusOr<bool> FileFilter::excludes_subvolume(std::uint64_t root) {
  auto info = subvolume(root);
  if (!info) {
    // Made since, or being deleted: then it stays unknown, and is not asked for again.
    forget();
    if (auto status = load(); !status.ok()) return status;
    info = subvolume(root);
  }
  {
    absl::MutexLock lock(&mutex_);
    Subvolume& known = subvolumes_[root];
    if (!info) known.excluded = true;
    if (known.excluded) return *known.excluded;
  }
  auto verdict = judge_subvolume(*info);
  if (!verdict.ok()) return verdict;
  absl::MutexLock lock(&mutex_);
  subvolumes_[root].excluded = *verdict;
  return verdict;
}

absl::StatusOr<bool> FileFilter::judge_subvolume(const btrfs::Subvolume& subvolume) {
  if (subvolume.read_only && !options_.read_only_subvolumes) return true;
  const std::uint64_t within = options_.within_subvolume;
  if (within != 0 && !lies_in(subvolume.root, within)) return true;
  if (!options_.exclude_subvolumes.empty()) {
    auto excluded = covered(subvolume.root, options_.exclude_subvolumes);
    if (absl::IsNotFound(excluded.status())) return true;
    if (!excluded.ok() || *excluded) return excluded;
  }
  if (options_.include_subvolumes.empty()) return false;
  auto included = covered(subvolume.root, options_.include_subvolumes);
  if (absl::IsNotFound(included.status())) return true;
  if (!included.ok()) return included;
  return !*included;
}

// True when the subvolume is `outer`, or nested in it.
bool FileFilter::lies_in(std::uint64_t root, std::uint64_t outer) const {
  std::size_t steps = 0;
  for (std::uint64_t at = root; at != outer; ++steps) {
    const auto info = subvolume(at);
    if (!info || info->parent == 0 || steps == limits::kFilterDepth) return false;
    at = info->parent;
  }
  return true;
}

// True when a pattern matches the subvolume, or one that it is nested in. The top level, in which
// all are nested, counts for itself alone.
absl::StatusOr<bool> FileFilter::covered(std::uint64_t root, const std::vector<Glob>& globs) {
  for (std::uint64_t at = root; at != btrfs::kTopLevelRoot || at == root;) {
    const auto top = folder({at, btrfs::kFirstFreeObjectid});
    if (!top.ok()) return top.status();
    if (any_matches(globs, top->path, true)) return true;
    const auto info = subvolume(at);
    if (at == btrfs::kTopLevelRoot || !info || info->parent == 0) break;
    at = info->parent;
  }
  return false;
}

absl::StatusOr<bool> FileFilter::judge_names(std::uint64_t root,
                                             const std::vector<btrfs::FileName>& names) {
  if (names.empty()) return true;
  bool included = options_.include_paths.empty();
  for (const btrfs::FileName& name : names) {
    const auto parent = folder({root, name.folder});
    // It goes just now, or hangs nowhere.
    if (absl::IsNotFound(parent.status())) return true;
    if (!parent.ok()) return parent.status();
    const Folder file = inside(*parent, name.name, false);
    if (file.excluded) return true;
    included = included || file.included;
  }
  return !included;
}

FileFilter::Folder FileFilter::inside(const Folder& parent, const std::string& name,
                                      bool is_folder) const {
  Folder out;
  out.path = parent.path.empty() ? name : parent.path + '/' + name;
  out.included = parent.included || any_matches(options_.include_paths, out.path, is_folder);
  out.excluded = parent.excluded || any_matches(options_.exclude_paths, out.path, is_folder);
  return out;
}

std::optional<FileFilter::Folder> FileFilter::known_folder(btrfs::FileKey key) const {
  if (key == kTop) return Folder{};
  absl::MutexLock lock(&mutex_);
  const auto it = folders_.find(key);
  return it == folders_.end() ? std::nullopt : std::optional(it->second);
}

absl::StatusOr<FileFilter::Step> FileFilter::above(btrfs::FileKey folder) {
  const auto nameless = [&] {
    return absl::NotFoundError(
        fmt::format("inode {} of root {}: a folder without a name", folder.inode, folder.root));
  };
  if (folder.inode == btrfs::kFirstFreeObjectid) {
    const auto info = subvolume(folder.root);
    if (!info || info->parent == 0) return nameless();
    return Step{{info->parent, info->place.folder}, info->place.name};
  }
  auto found = fs_.names(folder);
  if (!found.ok()) return found.status();
  if (found->names.empty()) return nameless();
  return Step{{folder.root, found->names.front().folder}, std::move(found->names.front().name)};
}

// Goes up to the first folder that is known, and comes back down.
absl::StatusOr<FileFilter::Folder> FileFilter::folder(btrfs::FileKey key) {
  std::vector<std::pair<btrfs::FileKey, std::string>> way;
  auto known = known_folder(key);
  for (btrfs::FileKey at = key; !known; known = known_folder(at)) {
    if (way.size() == limits::kFilterDepth) {
      return absl::ResourceExhaustedError(
          fmt::format("inode {} of root {}: in over {} folders", key.inode, key.root, way.size()));
    }
    auto step = above(at);
    if (!step.ok()) return step.status();
    way.emplace_back(at, std::move(step->name));
    at = step->parent;
  }
  absl::MutexLock lock(&mutex_);
  for (; !way.empty(); way.pop_back()) {
    known = inside(*known, way.back().second, true);
    if (folders_.size() >= limits::kFilterFolders) folders_.clear();
    folders_[way.back().first] = *known;
  }
  return *known;
}

absl::StatusOr<std::vector<std::string>> FileFilter::unmatched_subvolumes() {
  std::vector<std::string> out;
  if (!options_.names_subvolumes()) return out;
  if (auto status = load(); !status.ok()) return status;
  std::vector<std::uint64_t> roots;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [root, known] : subvolumes_) roots.push_back(root);
  }
  std::vector<std::string> paths;
  for (const std::uint64_t root : roots) {
    auto top = folder({root, btrfs::kFirstFreeObjectid});
    if (top.ok()) paths.push_back(std::move(top->path));
  }
  for (const auto* globs : {&options_.include_subvolumes, &options_.exclude_subvolumes}) {
    for (const Glob& glob : *globs) {
      const bool any = std::any_of(paths.begin(), paths.end(),
                                   [&](const auto& path) { return glob.matches(path, true); });
      if (!any) out.push_back(glob.text());
    }
  }
  return out;
}

}  // namespace skep::dedupe
