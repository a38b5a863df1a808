// SPDX-License-Identifier: MIT
#include "kernel_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "skep/btrfs/status.h"

namespace skep::btrfs {

absl::StatusOr<std::size_t> read_fully(int fd, absl::FunctionRef<std::string()> name,
                                       std::uint64_t offset, std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n == 0) break;
    if (n > 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      return errno_status(errno, "pread", name());
    }
  }
  return done;
}

absl::StatusOr<std::size_t> read_fully(int fd, FileKey key, std::uint64_t offset,
                                       std::span<std::byte> out) {
  const auto name = [key] { return fmt::format("inode {} of root {}", key.inode, key.root); };
  return read_fully(fd, name, offset, out);
}

// mincore(2) looks without touching: preadv2 with RWF_NOWAIT would start readahead (on Linux 6.12
// and later; not on 6.1), after which what skep brought in looks as if it had been there.
std::vector<bool> cached_pages(int fd, std::uint64_t offset, std::uint64_t length) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const std::uint64_t pages = (length + page - 1) / page;
  void* at = mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (at == MAP_FAILED) return {};
  std::vector<unsigned char> resident(pages);
  const bool known = mincore(at, length, resident.data()) == 0;
  munmap(at, length);
  std::vector<bool> out;
  if (!known) return out;
  for (const unsigned char one : resident) out.push_back(one & 1);
  return out;
}

void drop_cached(int fd, std::uint64_t offset, std::uint64_t length) {
  posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length), POSIX_FADV_DONTNEED);
}

void start_readahead(int fd, std::uint64_t offset, std::uint64_t length) {
  // The kernel cuts each call at the device's readahead size (4 MiB on btrfs), silently.
  constexpr std::uint64_t kPerCall = 2ULL << 20;
  for (const std::uint64_t end = offset + length; offset < end; offset += kPerCall) {
    ::readahead(fd, static_cast<off64_t>(offset), std::min(kPerCall, end - offset));
  }
}

absl::Status KernelTemporaryFile::write(std::uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t n = pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
    if (n > 0) {
      data = data.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    } else if (n == 0 || errno != EINTR) {
      return errno_status(n == 0 ? 0 : errno, "pwrite", "temporary file");
    }
  }
  return absl::OkStatus();
}

void KernelTemporaryFile::start_writeback() {
  sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
}

absl::Status KernelTemporaryFile::truncate(std::uint64_t size) {
  while (ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) return errno_status(errno, "ftruncate", "temporary file");
  }
  return absl::OkStatus();
}

}  // namespace skep::btrfs
