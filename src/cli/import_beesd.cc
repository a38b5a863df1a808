// SPDX-License-Identifier: MIT
#include "import_beesd.h"

#include <absl/status/statusor.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "output.h"
#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/status.h"
#include "skep/service/beesd_config.h"
#include "skep/service/exit_status.h"

namespace skep::cli {
namespace {

using btrfs::Descriptor;

// Such a file has some lines: more is another one.
constexpr std::size_t kMostBytes = 1 << 20;

absl::StatusOr<std::string> read_file(const std::string& path) {
  // A fifo without a writer would wait for one.
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return errno_status(errno, "open", path);
  std::string out(kMostBytes + 1, '\0');
  std::size_t size = 0;
  while (size < out.size()) {
    const ssize_t got = ::read(fd.get(), out.data() + size, out.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_status(errno, "read", path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kMostBytes) return absl::InvalidArgumentError("too long for a beesd configuration");
  out.resize(size);
  return out;
}

absl::Status write_new(const std::string& path, std::string_view text) {
  const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd) return errno_status(errno, "open", path);
  while (!text.empty()) {
    const ssize_t done = ::write(fd.get(), text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      const int error = errno;
      unlink(path.c_str());
      return errno_status(error, "write", path);
    }
    text.remove_prefix(static_cast<std::size_t>(done));
  }
  return absl::OkStatus();
}

int refuse(const std::string& path, const absl::Status& status) {
  switch (const int error = errno_of(status)) {
    case 0:
      return fail(service::kExitUsage, fmt::format("{}: {}", path, message_of(status)));
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
      return fail(service::kExitUsage, fmt::format("{}: {}", path, std::strerror(error)));
    case EEXIST:
      return fail(service::kExitUsage,
                  fmt::format("{}: is there already; name a new file, or remove it", path));
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(service::kExitUnsupported, message_of(status));
    default:
      return fail(service::kExitFailed, message_of(status));
  }
}

}  // namespace

int import_beesd(const ImportBeesdCommand& command) {
  const auto text = read_file(command.file);
  if (!text.ok()) return refuse(command.file, text.status());
  const auto config = service::from_beesd_config(*text, command.file);
  if (!config.ok()) return refuse(command.file, config.status());
  if (command.output.empty()) return print(*config, service::kExitDone);
  if (auto status = write_new(command.output, *config); !status.ok()) {
    return refuse(command.output, status);
  }
  return service::kExitDone;
}

}  // namespace skep::cli
