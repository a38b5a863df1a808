// SPDX-License-Identifier: MIT
#include "find_new.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "find_new_text.h"
#include "output.h"
#include "skep/btrfs/open_subvolume.h"
#include "skep/btrfs/status.h"
#include "skep/service/exit_status.h"

namespace skep::cli {
namespace {

using btrfs::FileExtent;
using btrfs::OpenSubvolume;

int refuse(const FindNewCommand& command, const absl::Status& status) {
  const std::string& path = command.subvolume;
  switch (errno_of(status)) {
    case 0:
      if (!absl::IsInvalidArgument(status)) break;
      return fail(service::kExitUsage,
                  fmt::format("{}: not the top folder of a subvolume; 'btrfs subvolume show' tells "
                              "which one a path is in",
                              path));
    case ENOTTY:
      return fail(service::kExitUnsupported, path + ": not a btrfs filesystem");
    case EPERM:
    case EACCES:
      return fail(service::kExitUnsupported,
                  path + ": no privilege; run as root, or with CAP_SYS_ADMIN");
    case ENOENT:
    case ENOTDIR:
      return fail(service::kExitUsage,
                  fmt::format("{}: {}", path, std::strerror(errno_of(status))));
    default:
      break;
  }
  return fail(service::kExitFailed, message_of(status));
}

// Prints changes as they come: there may be millions of them.
class Printer {
 public:
  explicit Printer(const FindNewCommand& command) : command_(command) {}

  void begin(const OpenSubvolume& subvolume) {
    if (!command_.json) return;
    put(fmt::format(R"({{"version": 1, "filesystem": "{}", "subvolume": {}, "since": {},)"
                    "\n\"changes\": [",
                    btrfs::to_string(subvolume.filesystem()), subvolume.root(),
                    command_.generation));
  }
  // False when it cannot be written.
  bool change(std::uint64_t inode, const std::string& path, const FileExtent& extent) {
    if (command_.json) {
      put(first_ ? "\n" : ",\n");
      put(change_json(inode, path, extent));
    } else {
      put(change_text(inode, path, extent));
      put(line_end());
    }
    first_ = false;
    return error_ == 0;
  }
  void end(std::uint64_t generation) {
    if (command_.json) return put(fmt::format("\n],\n\"generation\": {}}}\n", generation));
    put(fmt::format("transid marker was {}", generation));
    put(line_end());
  }
  // Returns an exit status.
  int flush() {
    if (error_ == 0 && std::fflush(stdout) != 0) error_ = errno;
    if (error_ == 0) return service::kExitDone;
    return fail(service::kExitFailed, fmt::format("writing the result: {}", std::strerror(error_)));
  }

 private:
  // Not fmt::print, which throws when it cannot write.
  void put(std::string_view text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) error_ = errno;
  }
  std::string_view line_end() const { return {command_.nul ? "\0" : "\n", 1}; }

  const FindNewCommand& command_;
  bool first_ = true;
  int error_ = 0;
};

absl::Status list(const FindNewCommand& command, OpenSubvolume& subvolume, Printer& printer) {
  if (auto status = subvolume.sync(); !status.ok()) return status;
  // Before the walk: what is written meanwhile is new for who goes on from there.
  const auto generation = subvolume.generation();
  if (!generation.ok()) return generation.status();
  printer.begin(subvolume);
  auto status = subvolume.changes(command.generation,
                                  [&](auto inode, const auto& path, const FileExtent& extent) {
                                    return printer.change(inode, path, extent);
                                  });
  if (status.ok()) printer.end(*generation);
  return status;
}

}  // namespace

int find_new(const FindNewCommand& command) {
  auto subvolume = OpenSubvolume::open(command.subvolume);
  if (!subvolume.ok()) return refuse(command, subvolume.status());
  Printer printer(command);
  if (auto s = list(command, *subvolume, printer); !s.ok()) return refuse(command, s);
  return printer.flush();
}

}  // namespace skep::cli
