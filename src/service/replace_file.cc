// SPDX-License-Identifier: MIT
#include "replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/owner.h"
#include "skep/btrfs/status.h"

namespace skep::service {
namespace {

absl::Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno_status(n == 0 ? 0 : errno, "write", path);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status finish(int fd, const std::string& path, Replacing how) {
  if (how == Replacing::kForReaders) {
    return fchmod(fd, 0644) == 0 ? absl::OkStatus() : errno_status(errno, "fchmod", path);
  }
  btrfs::give_to_owner_of_folder(fd, path);
  return fsync(fd) == 0 ? absl::OkStatus() : errno_status(errno, "fsync", path);
}

absl::Status write_fresh(const std::string& path, std::string_view text, Replacing how) {
  // The directory may belong to somebody else (node exporter's does): a link that waits there under
  // this name must not lead root to another file.
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return errno_status(errno, "unlink", path);
  const btrfs::Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return errno_status(errno, "open", path);
  if (auto status = write_all(fd.get(), text, path); !status.ok()) return status;
  return finish(fd.get(), path, how);
}

}  // namespace

absl::Status replace_file(const std::string& path, std::string_view text, Replacing how) {
  const std::string fresh = path + ".new";
  auto status = write_fresh(fresh, text, how);
  if (status.ok() && std::rename(fresh.c_str(), path.c_str()) != 0) {
    status = errno_status(errno, "rename", path);
  }
  if (!status.ok()) unlink(fresh.c_str());
  return status;
}

}  // namespace skep::service
