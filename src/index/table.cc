// SPDX-License-Identifier: MIT
#include "skep/index/table.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <utility>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/status.h"

namespace skep::index {

struct Table::Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t page_bytes;
  btrfs::Uuid filesystem;
  std::uint32_t block_size;
  std::uint32_t fingerprint_kind;
  std::uint32_t csum_type;
  std::uint32_t level;
  std::uint64_t buckets;
  std::uint64_t checksum;  // XXH3 of all before
};

namespace {

constexpr char kMagic[8] = {'s', 'k', 'e', 'p', 't', 'a', 'b', '\n'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kAddressBits = 42;
constexpr std::uint32_t kTagBits = 64 - kAddressBits;
constexpr std::uint64_t kAddressMask = (1ULL << kAddressBits) - 1;
constexpr std::size_t kCells = Table::kPageBytes / sizeof(std::uint64_t);
// A bucket's cells lie in cache lines; the top bits of the tag name the line where a cell belongs.
// When it is full the cell lies in the next line with room, so a search ends at the first line that
// is not full: one or two of 64. Measured: 65 ns with warm lines, 190 ns with cold ones.
constexpr std::size_t kLineCells = 64 / sizeof(std::uint64_t);
constexpr std::size_t kLines = kCells / kLineCells;
constexpr std::uint32_t kLineBits = 6;
static_assert(kLines == 1 << kLineBits);
static_assert(Table::kMaxLevel + kLineBits <= kTagBits, "sampled bits would choose the line");

// A cell of zero is empty: no data block has address 0 (btrfs keeps the first MiB).
using Cell = std::uint64_t;
std::uint64_t tag_of(Fingerprint f) { return f & ((1ULL << kTagBits) - 1); }
std::uint64_t tag_of_cell(Cell cell) { return cell >> kAddressBits; }
std::size_t line_of(std::uint64_t tag) { return tag >> (kTagBits - kLineBits); }
Cell make_cell(Fingerprint f, std::uint64_t block) { return tag_of(f) << kAddressBits | block; }

template <typename Header>
std::uint64_t checksum_of(const Header& header) {
  return XXH3_64bits(&header, offsetof(Header, checksum));
}

}  // namespace

// Cells of a line are in use from its front; a free cell ends the line, and the search.
struct Table::Bucket {
  Cell cells[kCells];

  std::span<Cell, kLineCells> line(std::size_t index) {
    return std::span<Cell, kLineCells>(cells + index % kLines * kLineCells, kLineCells);
  }
  // Calls `visit` with each cell of the tag, nearest first, until it returns false.
  template <typename Visit>
  void find(std::uint64_t tag, Visit visit) {
    for (std::size_t i = 0; i < kLines; ++i) {
      for (Cell& cell : line(line_of(tag) + i)) {
        if (cell == 0) return;
        if (tag_of_cell(cell) == tag && !visit(cell)) return;
      }
    }
  }
  // The first free cell for the tag, or null when the bucket is full.
  Cell* free_cell(std::uint64_t tag) {
    for (std::size_t i = 0; i < kLines; ++i) {
      auto at = line(line_of(tag) + i);
      if (at.back() == 0) return &*std::find(at.begin(), at.end(), Cell{0});
    }
    return nullptr;
  }
  void remove(Cell& cell);
};

// Closes the gap, so that no search ends too early: the line's last cell moves up, and when the
// line was full, a cell that overflowed from it or from a line before it comes back.
void Table::Bucket::remove(Cell& cell) {
  Cell* gap = &cell;
  auto at = static_cast<std::size_t>(gap - cells) / kLineCells;
  for (std::size_t moved = 0; moved < kLines; ++moved, ++at) {
    auto here = line(at);
    const bool was_full = here.back() != 0;
    auto last = std::find(here.begin(), here.end(), Cell{0}) - 1;
    *gap = *last;
    *last = 0;
    if (!was_full) return;
    gap = &*last;
    // A later line's cell that belongs here or before: it lies as far from home as it overflowed.
    Cell* back = nullptr;
    for (std::size_t i = 1; i < kLines && back == nullptr; ++i) {
      for (Cell& candidate : line(at + i)) {
        if (candidate == 0) break;
        const std::size_t overflow = (at + i - line_of(tag_of_cell(candidate))) % kLines;
        if (overflow >= i) {
          back = &candidate;
          break;
        }
      }
      if (line(at + i).back() == 0) break;
    }
    if (back == nullptr) return;
    *gap = *back;
    at = static_cast<std::size_t>(back - cells) / kLineCells - 1;
    gap = back;
  }
}

bool Table::sampled(Fingerprint fingerprint) const {
  absl::MutexLock lock(&mutex_);
  return (fingerprint & ((1ULL << level_) - 1)) == 0;
}

Table::Bucket& Table::bucket_of(Fingerprint fingerprint) const {
  // The high half chooses the bucket, the low bits are sampled and make the tag.
  const std::uint64_t index = (fingerprint >> 32) * buckets_ >> 32;
  return reinterpret_cast<Bucket*>(map_.data() + kPageBytes)[index];
}

Table::Addresses Table::find(Fingerprint fingerprint) const {
  Addresses out;
  absl::MutexLock lock(&mutex_);
  if ((fingerprint & ((1ULL << level_) - 1)) != 0) return out;
  bucket_of(fingerprint).find(tag_of(fingerprint), [&](Cell cell) {
    out.push_back((cell & kAddressMask) * block_);
    return out.size() < kMaxSame;
  });
  return out;
}

void Table::insert(Fingerprint fingerprint, std::uint64_t address) {
  const std::uint64_t block = address / block_;
  if (fingerprint == kNoFingerprint || block == 0 || block > kAddressMask) return;
  absl::MutexLock lock(&mutex_);
  if ((fingerprint & ((1ULL << level_) - 1)) != 0) return;
  const Cell cell = make_cell(fingerprint, block);
  Bucket& bucket = bucket_of(fingerprint);
  std::size_t same = 0;
  Cell* last_same = nullptr;
  bucket.find(tag_of(fingerprint), [&](Cell& other) {
    ++same;
    last_same = &other;
    return other != cell;
  });
  if (last_same != nullptr && *last_same == cell) return;
  Cell* free = same < kMaxSame ? bucket.free_cell(tag_of(fingerprint)) : last_same;
  if (free == nullptr) {
    // The bucket is full: the last cell of the home line goes, which served least lately.
    free = &bucket.line(line_of(tag_of(fingerprint))).back();
  }
  if (*free == 0) ++cells_;
  *free = cell;
  if (cells_ > buckets_ * kCells / 8 * 7 && level_ < kMaxLevel) raise_level();
}

void Table::erase(Fingerprint fingerprint, std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  const Cell cell = make_cell(fingerprint, address / block_);
  Bucket& bucket = bucket_of(fingerprint);
  Cell* found = nullptr;
  bucket.find(tag_of(fingerprint), [&](Cell& at) {
    if (at == cell) found = &at;
    return found == nullptr;
  });
  if (found == nullptr) return;
  bucket.remove(*found);
  --cells_;
}

void Table::promote(Fingerprint fingerprint, std::uint64_t address) {
  absl::MutexLock lock(&mutex_);
  const Cell cell = make_cell(fingerprint, address / block_);
  Bucket& bucket = bucket_of(fingerprint);
  Cell* first = nullptr;
  bucket.find(tag_of(fingerprint), [&](Cell& at) {
    if (first == nullptr) first = &at;
    if (at == cell) std::swap(*first, at);
    return at != cell && *first != cell;
  });
}

void Table::raise_level() {
  ++level_;
  auto* buckets = reinterpret_cast<Bucket*>(map_.data() + kPageBytes);
  const std::uint64_t mask = (1ULL << level_) - 1;
  cells_ = 0;
  for (std::uint64_t b = 0; b < buckets_; ++b) {
    const Bucket old = buckets[b];
    buckets[b] = {};
    for (const Cell cell : old.cells) {
      if (cell == 0 || (tag_of_cell(cell) & mask) != 0) continue;
      *buckets[b].free_cell(tag_of_cell(cell)) = cell;
      ++cells_;
    }
  }
  auto* header = reinterpret_cast<Header*>(map_.data());
  header->level = level_;
  header->checksum = checksum_of(*header);
}

void Table::count_cells() {
  const auto* cells = reinterpret_cast<const Cell*>(map_.data() + kPageBytes);
  const std::uint64_t total = buckets_ * kCells;
  cells_ = total - static_cast<std::uint64_t>(std::count(cells, cells + total, 0));
}

Table::Usage Table::usage() const {
  absl::MutexLock lock(&mutex_);
  return {cells_, buckets_ * kCells, level_};
}

absl::Status Table::map(int fd, std::uint64_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return errno_status(errno, "mmap", path_);
  map_ = {static_cast<std::byte*>(at), bytes};
  buckets_ = bytes / kPageBytes - 1;
  return absl::OkStatus();
}

absl::Status Table::create(const TableOptions& options) {
  const std::uint64_t bytes = options.size_bytes / kPageBytes * kPageBytes;
  btrfs::Descriptor fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return errno_status(errno, "open", path_);
  // On btrfs: no copy-on-write, so that writing to the map can never run out of space (SIGBUS),
  // and the table neither fragments nor becomes work for skep. Elsewhere it is refused; no harm.
  int flags = FS_NOCOW_FL;
  (void)ioctl(fd.get(), FS_IOC_SETFLAGS, &flags);
  if (const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    unlink(path_.c_str());
    if (error == ENOSPC) {
      return absl::InvalidArgumentError(
          fmt::format("{}: no room for a table of {} bytes; choose a smaller --table-size or "
                      "another --state-dir",
                      path_, bytes));
    }
    return errno_status(error, "fallocate", path_);
  }
  if (auto status = map(fd.get(), bytes); !status.ok()) return status;
  Header header{};
  std::copy(std::begin(kMagic), std::end(kMagic), header.magic);
  header.version = kVersion;
  header.page_bytes = kPageBytes;
  header.filesystem = options.filesystem;
  header.block_size = options.block_size;
  header.fingerprint_kind = static_cast<std::uint32_t>(options.kind);
  header.csum_type = static_cast<std::uint32_t>(options.csum_type);
  header.buckets = buckets_;
  header.checksum = checksum_of(header);
  std::memcpy(map_.data(), &header, sizeof header);
  return absl::OkStatus();
}

// NOT_FOUND when there is no file; DATA_LOSS when it is to be set aside.
absl::Status Table::map_existing(const TableOptions& options) {
  static_assert(sizeof(Header) == 64 && sizeof(Bucket) == kPageBytes);
  btrfs::Descriptor fd(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno_status(errno, "open", path_);
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return errno_status(errno, "fstat", path_);
  Header header{};
  if (pread(fd.get(), &header, sizeof header, 0) != sizeof header ||
      std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    return absl::DataLossError("it is no table");
  }
  if (header.checksum != checksum_of(header)) return absl::DataLossError("its header is damaged");
  if (header.filesystem != options.filesystem) {
    return absl::FailedPreconditionError(
        fmt::format("{}: belongs to filesystem {}; choose another --state-dir", path_,
                    btrfs::to_string(header.filesystem)));
  }
  const auto bytes = static_cast<std::uint64_t>(st.st_size);
  if (header.version != kVersion || header.page_bytes != kPageBytes ||
      header.block_size != options.block_size || header.level > kMaxLevel ||
      header.fingerprint_kind != static_cast<std::uint32_t>(options.kind) ||
      header.csum_type != static_cast<std::uint32_t>(options.csum_type)) {
    return absl::DataLossError("it has another format");
  }
  if (header.buckets == 0 || bytes != (header.buckets + 1) * kPageBytes) {
    return absl::DataLossError("it is cut short");
  }
  if (!options.any_size && bytes != options.size_bytes / kPageBytes * kPageBytes) {
    return absl::DataLossError("it has another size");
  }
  if (auto status = map(fd.get(), bytes); !status.ok()) return status;
  absl::MutexLock lock(&mutex_);
  level_ = header.level;
  count_cells();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Table>> Table::open(const std::string& path,
                                                   const TableOptions& options) {
  if (options.size_bytes < kMinBytes || options.size_bytes > kMaxBytes) {
    return absl::InvalidArgumentError(
        fmt::format("table size {} is not between 8K and 1T", options.size_bytes));
  }
  std::unique_ptr<Table> table(new Table(path, options.block_size));
  auto status = table->map_existing(options);
  table->reopened_ = status.ok();
  if (status.ok()) return table;
  if (absl::IsDataLoss(status)) {
    table->set_aside_reason_ = message_of(status);
    if (std::rename(path.c_str(), (path + ".old").c_str()) != 0) {
      return errno_status(errno, "rename", path);
    }
  } else if (!absl::IsNotFound(status)) {
    return status;
  }
  if (status = table->create(options); !status.ok()) return status;
  return table;
}

absl::Status Table::save() {
  absl::MutexLock lock(&mutex_);
  if (msync(map_.data(), map_.size(), MS_ASYNC) != 0) return errno_status(errno, "msync", path_);
  return absl::OkStatus();
}

Table::~Table() {
  if (!map_.empty()) munmap(map_.data(), map_.size());
}

}  // namespace skep::index
