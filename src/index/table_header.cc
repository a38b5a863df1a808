// SPDX-License-Identifier: MIT
#include "table_header.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "skep/btrfs/status.h"

namespace skep::index {
namespace {

constexpr char kMagic[8] = {'s', 'k', 'e', 'p', 't', 'a', 'b', '\n'};

bool has_magic(const TableHeader& header) {
  return std::memcmp(header.magic, kMagic, sizeof kMagic) == 0;
}

// True when nothing but the magic is wrong: a table after all, and a damaged one.
bool sound_but_for_magic(TableHeader header) {
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  return header.checksum == checksum_of(header);
}

bool fields_make_sense(const TableHeader& header) {
  const auto& former = header.former_buckets;
  const auto* end = std::find(std::begin(former), std::end(former), 0U);
  const auto possible = [](std::uint64_t buckets) {
    return buckets >= 1 && buckets < Table::kMaxBytes / Table::kPageBytes;
  };
  return header.page_bytes == Table::kPageBytes && header.block_size != 0 &&
         header.level <= Table::kMaxLevel && possible(header.buckets) &&
         std::all_of(std::begin(former), end, possible) &&
         std::all_of(end, std::end(former), [](std::uint64_t unused) { return unused == 0; });
}

}  // namespace

std::uint64_t checksum_of(const TableHeader& header) {
  return XXH3_64bits(&header, offsetof(TableHeader, checksum));
}

TableHeader new_header(const TableOptions& options, std::uint64_t created_seconds) {
  TableHeader header{};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.version = kTableVersion;
  header.page_bytes = Table::kPageBytes;
  header.filesystem = options.filesystem;
  header.block_size = options.block_size;
  header.fingerprint_kind = static_cast<std::uint32_t>(options.kind);
  header.csum_type = static_cast<std::uint32_t>(options.csum_type);
  header.buckets = options.size_bytes / Table::kPageBytes - 1;
  header.created_seconds = created_seconds;
  header.checksum = checksum_of(header);
  return header;
}

absl::StatusOr<TableHeader> read_header(int fd, const std::string& path) {
  struct stat st {};
  if (fstat(fd, &st) != 0) return errno_status(errno, "fstat", path);
  TableHeader header{};
  const ssize_t size = pread(fd, &header, sizeof header, 0);
  if (size < 0) return errno_status(errno, "read", path);
  if (!has_magic(header)) {
    if (sound_but_for_magic(header)) return absl::DataLossError("its header is damaged");
    return absl::InvalidArgumentError("it is no table");
  }
  if (size < static_cast<ssize_t>(sizeof header)) return absl::DataLossError("it is cut short");
  if (header.version != kTableVersion && header.version <= 0xffff) {
    return absl::UnimplementedError(fmt::format("it has format version {}", header.version));
  }
  if (header.checksum != checksum_of(header) || !fields_make_sense(header)) {
    return absl::DataLossError("its header is damaged");
  }
  const auto bytes = static_cast<std::uint64_t>(st.st_size);
  if (bytes < header.file_bytes()) return absl::DataLossError("it is cut short");
  if (bytes > header.file_bytes()) return absl::DataLossError("it is longer than its header says");
  return header;
}

}  // namespace skep::index
