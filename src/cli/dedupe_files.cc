// SPDX-License-Identifier: MIT
#include "dedupe_files.h"

#include <absl/status/statusor.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "dedupe_files_report.h"
#include "output.h"
#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/kernel_named_files.h"
#include "skep/btrfs/kernel_version.h"
#include "skep/btrfs/status.h"
#include "skep/dedupe/file_sharer.h"
#include "skep/service/exit_status.h"
#include "skep/service/sizes.h"
#include "stop_signals.h"

namespace skep::cli {
namespace {

// About two million names. The list, and the names cut out of it, are kept in memory.
constexpr std::size_t kMostListBytes = 256 << 20;

// Waits for something to read: until a signal comes, and not for long, since one that comes just
// before does not end poll(2).
bool is_readable(int fd) {
  constexpr int kMilliseconds = 200;
  pollfd readable{fd, POLLIN, 0};
  return poll(&readable, 1, kMilliseconds) > 0;
}

absl::StatusOr<std::string> read_all(int fd, const std::string& name,
                                     const std::atomic<bool>& stop_asked) {
  constexpr std::size_t kStep = 1 << 20;
  std::string out;
  for (std::size_t size = 0; !stop_asked;) {
    if (!is_readable(fd)) continue;
    out.resize(size + kStep);
    const ssize_t n = read(fd, out.data() + size, kStep);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(errno, "read", name);
    size += static_cast<std::size_t>(n);
    if (n == 0) {
      out.resize(size);
      return out;
    }
    if (size > kMostListBytes) {
      return absl::InvalidArgumentError(fmt::format("{}: a list of over {}; give it in parts", name,
                                                    service::format_size(kMostListBytes)));
    }
  }
  return std::string();
}

absl::StatusOr<std::string> read_list(const std::string& from,
                                      const std::atomic<bool>& stop_asked) {
  if (from == "-") return read_all(STDIN_FILENO, "standard input", stop_asked);
  const btrfs::Descriptor fd(open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_status(errno, "open", shell_name(from));
  return read_all(fd.get(), shell_name(from), stop_asked);
}

absl::StatusOr<service::FileList> list_of(const DedupeFilesCommand& command,
                                          const std::atomic<bool>& stop_asked) {
  if (command.from.empty()) {
    service::FileList list;
    list.groups.push_back(command.files);
    return list;
  }
  const auto text = read_list(command.from, stop_asked);
  if (!text.ok()) return text.status();
  auto list = service::parse_file_list(*text, command.format);
  if (list.ok()) return list;
  return absl::InvalidArgumentError(
      fmt::format("{}: {}; --format names another format",
                  command.from == "-" ? "standard input" : shell_name(command.from),
                  message_of(list.status())));
}

int exit_status_of(const dedupe::FileTotals& totals) {
  if (totals.failed_files == 0) return service::kExitDone;
  const bool unsupported =
      totals.unsupported_files == totals.failed_files && totals.shared_files == 0;
  return unsupported ? service::kExitUnsupported : service::kExitFailed;
}

FilesReport::Form form_of(const DedupeFilesCommand& command) {
  if (command.json) return FilesReport::Form::kJson;
  return command.quiet ? FilesReport::Form::kNothing : FilesReport::Form::kText;
}

}  // namespace

int dedupe_files(const DedupeFilesCommand& command) {
  if (command.files.empty() == command.from.empty()) {
    return fail(service::kExitUsage,
                command.from.empty() ? "FILE or --from is required; see 'skep dedupe-files --help'"
                                     : "files are named, or listed with --from, not both");
  }
  const auto kernel = btrfs::judge_running_kernel();
  if (kernel.kind == btrfs::KernelVerdict::Kind::kRefuse) {
    return fail(service::kExitUnsupported, kernel.reason);
  }
  // A result that is being written is written to its end; see wait_for() for what is read.
  const std::atomic<bool>& stop_asked = stop_on_signals(InterruptedCalls::kGoOn);
  const auto list = list_of(command, stop_asked);
  if (!list.ok()) return fail(service::kExitUsage, message_of(list.status()));
  btrfs::KernelNamedFiles files;
  FilesReport report(form_of(command), command.dry_run);
  dedupe::FileSharer sharer(files, {command.dry_run, command.blocks, command.min_run_bytes},
                            stop_asked, report);
  for (const auto& group : list->groups) {
    if (!stop_asked) sharer.share(group, list->claims_equal);
  }
  sharer.finish();
  return report.finish(sharer.totals(),
                       stop_asked ? service::kExitStopped : exit_status_of(sharer.totals()));
}

}  // namespace skep::cli
