// SPDX-License-Identifier: MIT
#include "skep/service/report.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "replace_file.h"
#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/kernel_filesystem.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/scan.h"
#include "skep/service/exit_status.h"
#include "skep/service/mounts.h"
#include "target.h"

namespace skep::service {
namespace {

bool is_missing(const absl::Status& status) {
  return errno_of(status) == ENOENT || errno_of(status) == ENOTDIR;
}

Refusal refusal_of(const absl::Status& status) {
  const int error = errno_of(status);
  const bool denied = error == EACCES || error == EPERM;
  const int exit_status = absl::IsFailedPrecondition(status) ? kExitUsage
                          : denied                           ? kExitUnsupported
                                                             : kExitFailed;
  return {exit_status, fmt::format("{}{}", message_of(status), denied ? "; run as root" : "")};
}

// The row of now: what the checkpoint says, over what the history ends with.
HistoryRow row_of_now(const History& history, const absl::StatusOr<Checkpoint>& checkpoint,
                      std::int64_t time) {
  HistoryRow row;
  if (!history.empty()) row = history.back();
  row.sizes.reset();
  row.time = std::max(row.time, time);
  if (checkpoint.ok()) row.totals = checkpoint->totals;
  return row;
}

// As it is now, where that can be seen.
void look_at_filesystem(const std::string& mount, HistoryRow& row) {
  auto fs = btrfs::KernelFilesystem::open_mount(mount);
  if (!fs.ok()) return;
  if (auto space = (*fs)->space(); space.ok()) row.data_used = space->data.used;
  if (auto sizes = dedupe::count_sizes(**fs, [] { return false; }); sizes.ok()) row.sizes = *sizes;
}

void look_at_table(const std::string& path, Report& report) {
  auto table = index::inspect_table(path);
  if (table.ok() && table->filesystem != report.filesystem) {
    report.no_table =
        fmt::format("{}: belongs to filesystem {}", path, btrfs::to_string(table->filesystem));
  } else if (table.ok()) {
    report.table = *std::move(table);
  } else {
    report.no_table = message_of(table.status());
  }
}

void look_at_instance(const ReportOptions& options, Report& report) {
  auto instances = find_instances(btrfs::to_string(report.filesystem), options.run_dir);
  if (instances.refusal.exit_status != 0 || instances.found.empty()) return;
  report.instance = std::move(instances.found.front());
  // What it has done since its last checkpoint.
  const StatusTotals& ever = report.instance->status.since_ever;
  Totals& totals = report.history.back().totals;
  if (!report.instance->running || ever.scanned < totals.bytes_scanned) return;
  totals = {totals.runs,  ever.freed,  ever.copied, ever.extents_scanned,
            ever.scanned, ever.shared, ever.read};
}

// Fills in history, or says why there is nothing to tell of.
Refusal look_at_state(const std::string& path, const std::string& name, Report& report) {
  auto checkpoint = StateDir::peek(path, report.filesystem);
  auto history = read_history(path, report.filesystem);
  const bool unreadable = !checkpoint.ok() && !is_missing(checkpoint.status()) &&
                          !absl::IsDataLoss(checkpoint.status());
  if (unreadable) return refusal_of(checkpoint.status());
  if (!history.ok() && !absl::IsDataLoss(history.status())) return refusal_of(history.status());
  if (history.ok()) report.history = *std::move(history);
  if (!checkpoint.ok() && report.history.empty()) {
    return {kExitFailed, fmt::format("{}: nothing to tell of yet, {} has no state; "
                                     "'skep run --once {}' makes it",
                                     name, path, name)};
  }
  report.history.push_back(row_of_now(report.history, checkpoint, report.time));
  return {};
}

}  // namespace

Report gather_report(const ReportOptions& options) {
  Report out;
  const auto named = filesystem_named(options.name);
  out.refusal = named.refusal;
  if (out.refusal.exit_status != 0) return out;
  out.filesystem = named.filesystem;
  out.time = std::time(nullptr);
  if (options.state_dir.empty() && has_temporary_uuid(out.filesystem)) {
    out.refusal = {kExitUsage, fmt::format("{}: mounted under a temporary UUID; name its "
                                           "--state-dir",
                                           options.name)};
    return out;
  }
  const std::string state =
      options.state_dir.empty() ? StateDir::default_path(out.filesystem) : options.state_dir;
  out.refusal = look_at_state(state, options.name, out);
  if (out.refusal.exit_status != 0) return out;
  if (!btrfs::parse_uuid(options.name)) {
    std::error_code error;
    out.mount = std::filesystem::canonical(options.name, error).string();
  } else if (const auto mount = mount_of(out.filesystem)) {
    out.mount = mount->path;
  }
  if (!out.mount.empty()) look_at_filesystem(out.mount, out.history.back());
  look_at_table(state + "/table", out);
  look_at_instance(options, out);
  return out;
}

SizesThenAndNow sizes_then_and_now(const History& history) {
  const auto has_sizes = [](const HistoryRow& row) { return row.sizes.has_value(); };
  const auto first = std::find_if(history.begin(), history.end(), has_sizes);
  const auto last = std::find_if(history.rbegin(), history.rend(), has_sizes);
  if (first == history.end()) return {};
  return {&*first, &*last};
}

namespace {

// OK when there is nothing in the way.
absl::Status check_place(const std::string& path, std::string_view mark, bool force) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? absl::OkStatus() : errno_status(errno, "stat", path);
  }
  if (!S_ISREG(st.st_mode)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: no file; without -o the page goes to stdout", path));
  }
  if (force || st.st_size == 0) return absl::OkStatus();
  std::string begin(mark.size(), '\0');
  std::ifstream(path).read(begin.data(), static_cast<std::streamsize>(begin.size()));
  if (begin == mark) return absl::OkStatus();
  return absl::AlreadyExistsError(
      fmt::format("{}: is there, and is no report of skep's; --force writes over it", path));
}

// Where a link leads, also when nothing is there yet: a link stays one.
std::filesystem::path followed(std::filesystem::path path) {
  constexpr int kMostLinks = 40;  // as the kernel
  std::error_code error;
  for (int i = 0; i < kMostLinks && std::filesystem::is_symlink(path, error); ++i) {
    path = path.parent_path() / std::filesystem::read_symlink(path, error);
  }
  return path;
}

}  // namespace

absl::Status write_page(const std::string& path, std::string_view page, std::string_view mark,
                        bool force) {
  if (auto status = check_place(path, mark, force); !status.ok()) return status;
  return replace_file(followed(path).string(), page, Replacing::kForReaders);
}

}  // namespace skep::service
