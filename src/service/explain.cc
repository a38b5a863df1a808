// SPDX-License-Identifier: MIT
#include "skep/service/explain.h"

#include <absl/container/flat_hash_set.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>
#include <tuple>
#include <utility>

#include "filter_reason.h"
#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/paths.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/scan.h"
#include "skep/index/table_file.h"
#include "skep/service/config.h"
#include "skep/service/exit_status.h"
#include "skep/service/session.h"
#include "target.h"

namespace skep::service {
namespace {

FileStory refused(int exit_status, std::string message) {
  FileStory out;
  out.refusal = {exit_status, std::move(message)};
  return out;
}

FileStory refused(const absl::Status& status) {
  return refused(kExitFailed, std::string(message_of(status)));
}

struct Opened {
  Refusal refusal;
  btrfs::Descriptor fd;
};

Opened open_file(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) {
    const bool denied = errno == EACCES;
    return {
        {denied ? kExitUnsupported : kExitUsage, fmt::format("{}: {}", path, std::strerror(errno))},
        {}};
  }
  if (!S_ISREG(st.st_mode)) return {{kExitUsage, fmt::format("{}: not a regular file", path)}, {}};
  btrfs::Descriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) {
    const bool denied = errno == EACCES || errno == EPERM;
    return {{denied ? kExitUnsupported : kExitFailed,
             fmt::format("{}: {}", path, std::strerror(errno))},
            {}};
  }
  struct statfs vfs {};
  if (fstatfs(fd.get(), &vfs) != 0 || static_cast<unsigned long>(vfs.f_type) != BTRFS_SUPER_MAGIC) {
    return {{kExitUnsupported, fmt::format("{}: not on a btrfs filesystem", path)}, {}};
  }
  return {{}, std::move(fd)};
}

// Of a hole there is no item, or one without an address; from here on there is one of each.
std::vector<btrfs::FileExtent> with_holes(std::vector<btrfs::FileExtent> items, std::uint64_t size,
                                          std::uint64_t block) {
  std::vector<btrfs::FileExtent> out;
  std::uint64_t at = 0;
  const auto whole = [block](std::uint64_t bytes) { return (bytes + block - 1) / block * block; };
  const auto add_hole = [&](std::uint64_t end) {
    if (end <= at) return;
    btrfs::FileExtent hole;
    hole.file_offset = at;
    hole.length = hole.content_length = end - at;
    out.push_back(hole);
  };
  for (btrfs::FileExtent& item : items) {
    if (item.type == btrfs::FileExtentType::kInline) item.length = item.content_length = size;
    add_hole(item.file_offset);
    at = whole(item.file_offset + item.length);
    out.push_back(item);
  }
  add_hole(whole(size));
  return out;
}

// Tells of one file, with all that is needed for it open.
class Teller {
 public:
  Teller(btrfs::Filesystem& fs, const Settings& settings, FileStory& story)
      : fs_(fs), options_(settings.engine), paths_(fs), story_(story) {}

  absl::Status tell_file(const std::string& path);
  absl::Status use_table(const std::string& state_dir);
  absl::Status tell_extents();

 private:
  absl::Status scan_what_is_new(std::uint64_t after);
  absl::StatusOr<ExtentStory> tell_extent(btrfs::Extent extent);
  absl::Status tell_references(ExtentStory& story);
  absl::Status judge(ExtentStory& story);
  StoredElsewhere elsewhere(const dedupe::Run& run);
  std::string path_of(btrfs::FileKey file);

  btrfs::Filesystem& fs_;
  dedupe::Options options_;
  btrfs::Paths paths_;
  FileStory& story_;
  std::uint64_t looked_at_ = 0;  // up to this generation
  std::optional<index::Fingerprinter> fingerprinter_;
  std::unique_ptr<index::Table> table_;
  std::optional<dedupe::Explainer> explainer_;
};

std::string Teller::path_of(btrfs::FileKey file) {
  auto found = paths_.of(file);
  return found.ok() ? std::move(found->front()) : std::string();
}

absl::Status Teller::tell_file(const std::string& path) {
  auto map = fs_.file_map(story_.key, 0, std::numeric_limits<std::uint64_t>::max());
  if (!map.ok()) return map.status();
  story_.inode = map->inode;
  story_.items = with_holes(std::move(map->extents), map->inode.size, fs_.info().block_size);
  if (const auto names = paths_.of(story_.key); names.ok()) {
    // Of several hard links the one that was named, as far as that can be told.
    std::error_code error;
    const std::string named = std::filesystem::canonical(path, error).string();
    const auto found = std::find_if(names->begin(), names->end(), [&](const std::string& name) {
      return named.ends_with('/' + name);
    });
    story_.path = found == names->end() ? names->front() : *found;
  }
  return absl::OkStatus();
}

// What was written since the table was last filled goes into the copy of it.
absl::Status Teller::scan_what_is_new(std::uint64_t after) {
  constexpr std::uint64_t kNow = std::numeric_limits<std::uint64_t>::max();
  return dedupe::scan(fs_, *fingerprinter_, {after, kNow}, *table_, [] { return false; }).status();
}

// Without one there is a reason, which is no error.
absl::Status Teller::use_table(const std::string& state_dir) {
  const auto checkpoint = StateDir::peek(state_dir, fs_.info().uuid);
  if (absl::IsFailedPrecondition(checkpoint.status())) return checkpoint.status();
  dedupe::Position position;
  if (checkpoint.ok()) position = checkpoint->position;
  looked_at_ = position.done_generation;
  // What the last run was told to leave out, where the configuration leaves out nothing.
  if (options_.filter == dedupe::FilterOptions()) options_.filter = position.filter;
  options_.nodatasum = options_.nodatasum || position.nodatasum;
  auto excluded = filter_reason(fs_, options_.filter, story_.key);
  if (!excluded.ok()) return excluded.status();
  story_.excluded = *std::move(excluded);

  const std::string path = state_dir + "/table";
  const auto info = index::inspect_table(path);
  if (!info.ok()) {
    const bool missing = errno_of(info.status()) == ENOENT || errno_of(info.status()) == ENOTDIR;
    story_.no_table =
        missing ? fmt::format("{}: no such table", path) : std::string(message_of(info.status()));
    return absl::OkStatus();
  }
  if (info->filesystem != fs_.info().uuid || info->block_size != fs_.info().block_size ||
      info->csum_type != fs_.info().csum_type) {
    story_.no_table = fmt::format("{}: is not of this filesystem", path);
    return absl::OkStatus();
  }
  auto table = index::Table::open_copy(path);
  if (!table.ok()) return table.status();
  table_ = *std::move(table);
  fingerprinter_.emplace(fs_.info(), info->kind);
  if (auto status = scan_what_is_new(position.table_generation); !status.ok()) return status;
  explainer_.emplace(fs_, *fingerprinter_, *table_, options_,
                     dedupe::Explainer::Done{position.done_generation, position.deep_generation});
  return absl::OkStatus();
}

absl::Status Teller::tell_references(ExtentStory& story) {
  auto found = fs_.logical_ino(story.extent.address, false, kExplainReferences);
  absl::flat_hash_set<btrfs::FileKey> files;
  const auto add = [&](btrfs::FileKey file) {
    const bool is_new = files.insert(file).second;
    if (!is_new || file == story_.key || story.others.size() == kExplainFiles) return;
    if (std::string path = path_of(file); !path.empty()) story.others.push_back(std::move(path));
  };
  if (found.ok()) {
    std::sort(found->begin(), found->end(), [](const auto& a, const auto& b) {
      return std::tuple(a.root, a.inode, a.offset) < std::tuple(b.root, b.inode, b.offset);
    });
    for (const btrfs::LogicalRef& ref : *found) add({ref.root, ref.inode});
    story.references = found->size();
  } else if (absl::IsResourceExhausted(found.status())) {
    for (const btrfs::DataRef& ref : story.extent.data_refs) add({ref.root, ref.inode});
  } else {
    return found.status();
  }
  story.files = files.size();
  return absl::OkStatus();
}

StoredElsewhere Teller::elsewhere(const dedupe::Run& run) {
  const std::uint64_t block = fs_.info().block_size;
  const bool compressed = run.keeper.kind.compression != 0;
  StoredElsewhere out;
  out.offset = run.first * block;
  out.length = run.blocks * block;
  out.address = compressed ? run.keeper.address : run.source;
  // Of a compressed extent the kernel cannot tell which block lies where.
  auto found = fs_.logical_ino(out.address, !compressed, kExplainReferences);
  if (!found.ok()) return out;
  for (const btrfs::LogicalRef& ref : *found) {
    out.file = path_of({ref.root, ref.inode});
    out.file_offset = ref.offset;
    if (!out.file.empty()) break;
  }
  return out;
}

absl::Status Teller::judge(ExtentStory& story) {
  if (!explainer_) return absl::OkStatus();
  auto explanation = explainer_->explain(story.extent);
  if (!explanation.ok()) return explanation.status();
  for (const dedupe::Run& run : explanation->runs) story.elsewhere.push_back(elsewhere(run));
  const dedupe::SizeLimits& lengths = options_.filter.extent_bytes;
  if (!lengths.contains(story.extent.length)) {
    explanation->verdict = dedupe::Verdict::kExcluded;
    story.excluded = story.extent.length < lengths.least
                         ? fmt::format("--min-extent-size {}", lengths.least)
                         : fmt::format("--max-extent-size {}", lengths.most);
  }
  story.explanation = *std::move(explanation);
  return absl::OkStatus();
}

absl::StatusOr<ExtentStory> Teller::tell_extent(btrfs::Extent extent) {
  ExtentStory out;
  out.extent = std::move(extent);
  out.looked_at = out.extent.generation <= looked_at_;
  if (auto status = tell_references(out); !status.ok()) return status;
  if (auto status = judge(out); !status.ok()) return status;
  return out;
}

absl::Status Teller::tell_extents() {
  for (const btrfs::FileExtent& item : story_.items) {
    if (item.type == btrfs::FileExtentType::kInline || item.extent_address == 0) continue;
    if (story_.story_of(item) != nullptr) continue;
    auto extent = fs_.extent_at(item.extent_address);
    if (!extent.ok()) return extent.status();
    if (!*extent) continue;  // written since: the next call tells of it
    auto story = tell_extent(**std::move(extent));
    if (absl::IsNotFound(story.status())) continue;
    if (!story.ok()) return story.status();
    story_.by_address[item.extent_address] = story_.extents.size();
    story_.extents.push_back(*std::move(story));
  }
  return absl::OkStatus();
}

}  // namespace

const ExtentStory* FileStory::story_of(const btrfs::FileExtent& item) const {
  const auto found = by_address.find(item.extent_address);
  return found == by_address.end() ? nullptr : &extents[found->second];
}

FileStory explain_file(const ExplainOptions& options) {
  const Opened file = open_file(options.path);
  if (file.refusal.exit_status != 0) return refused(file.refusal.exit_status, file.refusal.message);
  const auto filesystem = btrfs::filesystem_uuid(file.fd.get(), options.path);
  if (!filesystem.ok()) return refused(filesystem.status());
  auto settings =
      load_settings(options.config_dir.empty() ? kConfigDir : options.config_dir, &*filesystem);
  if (!settings.ok()) return refused(kExitUsage, std::string(message_of(settings.status())));
  settings->state_dir = options.state_dir.empty() ? settings->state_dir : options.state_dir;

  const Target target = open_target(btrfs::to_string(*filesystem));
  if (target.filesystem == nullptr) {
    return refused(target.refusal.exit_status, target.refusal.message);
  }
  btrfs::Filesystem& fs = *target.filesystem;
  // So that all of it has extents, which the extent tree shows.
  if (fsync(file.fd.get()) != 0) return refused(errno_status(errno, "fsync", options.path));
  if (auto committed = fs.sync(); !committed.ok()) return refused(committed.status());

  FileStory out;
  out.filesystem = *filesystem;
  const auto key = btrfs::file_key(file.fd.get(), options.path);
  if (!key.ok()) return refused(key.status());
  out.key = *key;
  Teller teller(fs, *settings, out);
  if (auto status = teller.tell_file(options.path); !status.ok()) return refused(status);
  if (auto status = teller.use_table(state_path(*settings, *filesystem)); !status.ok()) {
    return refused(absl::IsFailedPrecondition(status) ? kExitUsage : kExitFailed,
                   std::string(message_of(status)));
  }
  if (auto status = teller.tell_extents(); !status.ok()) return refused(status);
  return out;
}

}  // namespace skep::service
