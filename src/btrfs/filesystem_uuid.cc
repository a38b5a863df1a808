// SPDX-License-Identifier: MIT
#include "skep/btrfs/filesystem_uuid.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

absl::StatusOr<Uuid> filesystem_uuid(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_status(errno, "open", path);
  return filesystem_uuid(fd.get(), path);
}

absl::StatusOr<Uuid> filesystem_uuid(int fd, const std::string& path) {
  btrfs_ioctl_fs_info_args args{};
  if (ioctl(fd, BTRFS_IOC_FS_INFO, &args) != 0) return errno_status(errno, "FS_INFO", path);
  Uuid out;
  std::copy_n(args.fsid, out.size(), out.begin());
  return out;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
  constexpr std::size_t kLength = 36;
  if (text.size() != kLength) return std::nullopt;
  Uuid out;
  std::size_t at = 0;
  for (std::uint8_t& byte : out) {
    if (at == 8 || at == 13 || at == 18 || at == 23) {
      if (text[at++] != '-') return std::nullopt;
    }
    const int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    byte = static_cast<std::uint8_t>(high << 4 | low);
    at += 2;
  }
  return out;
}

}  // namespace skep::btrfs
