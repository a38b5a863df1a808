// SPDX-License-Identifier: MIT
#include "table_map.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "skep/btrfs/owner.h"
#include "skep/btrfs/status.h"

namespace skep::index {
namespace {

// `skep table show` holds the lock for 10 ms (64 MiB): no run shall fail for that.
constexpr auto kPause = std::chrono::milliseconds(25);
constexpr int kTries = 20;

absl::Status in_use(const std::string& path) {
  return absl::UnavailableError(fmt::format("{}: in use by a running skep; stop it first", path));
}

bool names_file(const std::string& path, int fd) {
  struct stat named {};
  struct stat open {};
  return lstat(path.c_str(), &named) == 0 && fstat(fd, &open) == 0 && named.st_dev == open.st_dev &&
         named.st_ino == open.st_ino;
}

// The reasons of read_header() with the file's name in front, and what to do.
absl::Status explained(const absl::Status& status, const std::string& path) {
  const auto say = [&](std::string_view remedy) {
    return absl::Status(status.code(), fmt::format("{}: {}{}", path, message_of(status), remedy));
  };
  if (absl::IsDataLoss(status)) {
    return say("; delete it: the next run makes a new one and refills it");
  }
  if (absl::IsUnimplemented(status)) {
    return say(
        fmt::format(", this skep knows version {}; the next run makes a new one and refills it",
                    kTableVersion));
  }
  if (absl::IsInvalidArgument(status) && errno_of(status) == 0) return say("");
  return status;
}

}  // namespace

absl::StatusOr<btrfs::Descriptor> open_and_lock(const std::string& path, TableAccess access) {
  const bool write = access == TableAccess::kWrite;
  // O_NONBLOCK: a FIFO must not hold up whoever names it by mistake.
  const int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  for (int i = 0; i < kTries; ++i) {
    btrfs::Descriptor fd(::open(path.c_str(), flags));
    if (!fd) return errno_status(errno, "open", path);
    if (flock(fd.get(), (write ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) {
      // A resizing may have put a new file in the place of the one just opened.
      if (names_file(path, fd.get())) return fd;
    } else if (errno != EWOULDBLOCK) {
      return errno_status(errno, "flock", path);
    } else if (write) {
      std::this_thread::sleep_for(kPause);
    } else {
      break;
    }
  }
  return in_use(path);
}

absl::StatusOr<TableMap> TableMap::map(const std::string& path, btrfs::Descriptor locked,
                                       std::uint64_t bytes, TableAccess access) {
  const int protection = access == TableAccess::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  const int flags = access == TableAccess::kCopy ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
  void* at = mmap(nullptr, bytes, protection, flags, locked.get(), 0);
  if (at == MAP_FAILED) return errno_status(errno, "mmap", path);
  TableMap out;
  out.fd_ = std::move(locked);
  out.map_ = {static_cast<std::byte*>(at), bytes};
  return out;
}

absl::StatusOr<TableMap> open_table_file(const std::string& path, TableAccess access) {
  auto fd = open_and_lock(path, access);
  if (!fd.ok()) return fd.status();
  auto header = read_header(fd->get(), path);
  if (!header.ok()) return explained(header.status(), path);
  return TableMap::map(path, *std::move(fd), header->file_bytes(), access);
}

absl::StatusOr<TableMap> TableMap::create_beside(const std::string& final_path,
                                                 const TableHeader& header) {
  const std::string path = name_beside(final_path);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return errno_status(errno, "unlink", path);
  btrfs::Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return errno_status(errno, "open", path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return errno == EWOULDBLOCK ? in_use(path) : errno_status(errno, "flock", path);
  }
  btrfs::give_to_owner_of_folder(fd.get(), path);
  // On btrfs: no copy-on-write, so that writing to the map runs out of room for data never (that is
  // a SIGBUS; of room for metadata it still may), and the table neither fragments nor becomes work
  // for skep. Elsewhere it is refused; no harm.
  int flags = FS_NOCOW_FL;
  (void)ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
  const std::uint64_t bytes = header.file_bytes();
  if (const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    unlink(path.c_str());
    if (error != ENOSPC) return errno_status(error, "fallocate", path);
    return absl::ResourceExhaustedError(
        fmt::format("{}: no room for a table of {} bytes; choose a smaller size or another "
                    "--state-dir",
                    final_path, bytes));
  }
  auto out = map(path, std::move(fd), bytes, TableAccess::kWrite);
  if (out.ok()) std::memcpy(out->map_.data(), &header, sizeof header);
  return out;
}

absl::Status TableMap::put_in_place(const std::string& path, unsigned rename_flags) {
  const std::string fresh = name_beside(path);
  const auto failed = [&](const char* call) {
    const int error = errno;
    unlink(fresh.c_str());
    return errno_status(error, call, path);
  };
  // The map is part of the file's page cache: fsync writes it.
  if (fsync(fd()) != 0) return failed("fsync");
  int renamed = renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), rename_flags);
  if (renamed != 0 && errno == EINVAL) renamed = std::rename(fresh.c_str(), path.c_str());
  if (renamed != 0 && errno == EEXIST) return in_use(path);
  if (renamed != 0) return failed("rename");
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const btrfs::Descriptor of_folder(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!of_folder) return errno_status(errno, "open", folder);
  if (fsync(of_folder.get()) != 0) return errno_status(errno, "fsync", folder);
  return absl::OkStatus();
}

absl::StatusOr<TableMap> TableMap::in_memory(const TableHeader& header) {
  const std::uint64_t bytes = header.file_bytes();
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) {
    return errno_status(errno, "mmap", fmt::format("a table of {} bytes in memory", bytes));
  }
  TableMap out;
  out.map_ = {static_cast<std::byte*>(at), bytes};
  std::memcpy(out.map_.data(), &header, sizeof header);
  return out;
}

TableMap::~TableMap() {
  if (!map_.empty()) munmap(map_.data(), map_.size());
}

}  // namespace skep::index
