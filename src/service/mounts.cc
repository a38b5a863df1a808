// SPDX-License-Identifier: MIT
#include "skep/service/mounts.h"

#include <absl/strings/str_split.h>
#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "skep/btrfs/filesystem_uuid.h"

namespace skep::service {
namespace {

constexpr char kMountInfo[] = "/proc/self/mountinfo";

bool is_octal(char c) { return c >= '0' && c <= '7'; }

// Blanks, newlines and backslashes of paths stand there as \ooo.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_option(const std::string& options, const std::string& wanted) {
  const std::vector<std::string> all = absl::StrSplit(options, ',');
  return std::find(all.begin(), all.end(), wanted) != all.end();
}

// "43 27 0:39 / /mnt rw,relatime shared:1 - btrfs /dev/loop0 rw,ssd": fields up to a lone hyphen,
// then type, source and the options of the filesystem.
std::optional<Mount> parse_line(const std::string& line) {
  const std::vector<std::string> fields = absl::StrSplit(line, ' ');
  const auto hyphen = std::find(fields.begin(), fields.end(), "-");
  if (hyphen - fields.begin() < 6 || fields.end() - hyphen < 4 || *(hyphen + 1) != "btrfs") {
    return std::nullopt;
  }
  return Mount{unescaped(fields[4]), fields[2], has_option(fields[5], "ro"),
               has_option(*(hyphen + 3), "ro")};
}

}  // namespace

std::vector<Mount> parse_btrfs_mounts(std::string_view mountinfo) {
  std::vector<Mount> out;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    if (auto mount = parse_line(line)) out.push_back(*std::move(mount));
  }
  return out;
}

std::vector<Mount> btrfs_mounts() {
  std::ifstream file(kMountInfo);
  return parse_btrfs_mounts(std::string(std::istreambuf_iterator<char>(file), {}));
}

std::optional<Mount> mount_of(const btrfs::Uuid& filesystem) {
  std::optional<Mount> found;
  for (auto& mount : btrfs_mounts()) {
    const auto uuid = btrfs::filesystem_uuid(mount.path);
    if (!uuid.ok() || *uuid != filesystem) continue;
    if (!mount.read_only) return mount;
    found = std::move(mount);
  }
  return found;
}

MountWatch::MountWatch() : fd_(::open(kMountInfo, O_RDONLY | O_CLOEXEC)) {}

bool MountWatch::changed() {
  struct pollfd state {
    fd_.get(), POLLPRI, 0
  };
  const bool told = poll(&state, 1, 0) > 0;
  return std::exchange(noted_, false) || told;
}

}  // namespace skep::service
