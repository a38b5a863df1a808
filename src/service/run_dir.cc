// SPDX-License-Identifier: MIT
//
// The part of status.h that touches files.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>

#include "replace_file.h"
#include "skep/btrfs/status.h"
#include "skep/service/status.h"

namespace skep::service {
namespace {

// Who only asks whether the lock is held has it for a moment.
constexpr int kTries = 50;
constexpr auto kPause = std::chrono::milliseconds(10);
// Ten times what a status takes, with a long path and a long message.
constexpr std::size_t kMostBytes = 64 << 10;

std::string status_path(const std::string& run_dir) { return run_dir + "/status.json"; }
std::string lock_path(const std::string& run_dir) { return run_dir + "/lock"; }

}  // namespace

std::string default_run_base() { return "/run/skep"; }

std::string default_run_dir(const btrfs::Uuid& filesystem) {
  return default_run_base() + "/" + btrfs::to_string(filesystem);
}

absl::Status write_status(const std::string& run_dir, const Status& status) {
  return replace_file(status_path(run_dir), status_json(status), Replacing::kForReaders);
}

absl::StatusOr<Status> read_status(const std::string& run_dir) {
  const std::string path = status_path(run_dir);
  // O_NONBLOCK: a FIFO must not hold up whoever names its directory by mistake.
  const btrfs::Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return errno_status(errno, "open", path);
  std::string text;
  std::array<char, 8192> buffer;
  while (text.size() <= kMostBytes) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(errno, "read", path);
    if (n == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  auto status = parse_status(text);
  if (status.ok()) return status;
  return absl::Status(status.status().code(),
                      fmt::format("{}: {}", path, message_of(status.status())));
}

absl::StatusOr<btrfs::Descriptor> lock_run_dir(const std::string& run_dir) {
  std::error_code error;
  std::filesystem::create_directories(run_dir, error);
  if (error) return errno_status(error.value(), "mkdir", run_dir);
  const std::string path = lock_path(run_dir);
  btrfs::Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno_status(errno, "open", path);
  for (int i = 0; i < kTries; ++i) {
    if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno != EWOULDBLOCK) return errno_status(errno, "flock", path);
    std::this_thread::sleep_for(kPause);
  }
  return absl::FailedPreconditionError(
      fmt::format("{}: another skep uses this directory; stop it, or choose another", run_dir));
}

bool is_running(const std::string& run_dir) {
  const btrfs::Descriptor fd(
      ::open(lock_path(run_dir).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (fd) return flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (errno != EACCES) return false;
  const auto status = read_status(run_dir);
  return status.ok() && is_skep(status->pid);
}

bool is_skep(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  return pid > 0 && std::getline(file, name) && name == "skep";
}

}  // namespace skep::service
