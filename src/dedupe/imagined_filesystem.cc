// SPDX-License-Identifier: MIT
#include "skep/dedupe/imagined_filesystem.h"

#include <absl/status/status.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "skep/btrfs/status.h"

namespace skep::dedupe {
namespace {

// Inodes of files of copies; btrfs numbers files from 256 on, one after another.
constexpr std::uint64_t kFirstInode = 1ULL << 62;
constexpr std::size_t kCopiesAPage = 4096;

std::uint64_t inode_of(std::uint64_t address) {
  return kFirstInode + (address - ImaginedFilesystem::kCopies);
}
std::uint64_t address_of(std::uint64_t inode) {
  return inode - kFirstInode + ImaginedFilesystem::kCopies;
}
bool is_imagined(btrfs::FileKey file) { return file.inode >= kFirstInode; }

absl::Status nothing_is_done(const char* what) {
  return skep::errno_status(EPERM, what, "a filesystem that is only looked at");
}

}  // namespace

ImaginedFilesystem::ImaginedFilesystem(btrfs::Filesystem& real,
                                       const index::Fingerprinter& fingerprinter,
                                       std::uint64_t generation, const Sample& sample)
    : real_(real),
      fingerprinter_(fingerprinter),
      base_generation_(generation),
      sample_(sample),
      block_(real.info().block_size),
      generation_(generation) {}

void ImaginedFilesystem::remove(const btrfs::Extent& extent) {
  absl::MutexLock lock(&mutex_);
  going_.push_back(extent);
}

std::uint64_t ImaginedFilesystem::reserve(std::uint64_t blocks) {
  absl::MutexLock lock(&mutex_);
  return reserve_locked(blocks);
}

// A block lies free behind each, as a file's copies do not grow together with another's.
std::uint64_t ImaginedFilesystem::reserve_locked(std::uint64_t blocks) {
  const std::uint64_t at = next_address_;
  next_address_ += (blocks + 1) * block_;
  return at;
}

std::uint64_t ImaginedFilesystem::add_copies(std::vector<index::Fingerprint> blocks) {
  absl::MutexLock lock(&mutex_);
  const std::uint64_t address = reserve_locked(blocks.size());
  copied_blocks_ += blocks.size();
  if (copied_blocks_ > kMostCopiedBlocks) return address;
  btrfs::Extent extent;
  extent.address = address;
  extent.length = blocks.size() * block_;
  extent.generation = generation_ + 1;
  extent.refs = 1;
  extent.data_refs.push_back({btrfs::kTopLevelRoot, inode_of(address), 0, 1});
  copies_[address] = {std::move(extent), std::move(blocks)};
  return address;
}

void ImaginedFilesystem::grow_metadata(std::uint64_t bytes) {
  absl::MutexLock lock(&mutex_);
  metadata_growth_ += bytes;
}

bool ImaginedFilesystem::is_gone(std::uint64_t address) const {
  const auto chunk = gone_.find(address / kChunkBytes);
  return chunk != gone_.end() && chunk->second[address % kChunkBytes / block_];
}

void ImaginedFilesystem::mark_gone(const btrfs::Extent& extent) {
  if (is_copy(extent.address)) {
    const auto copies = copies_.find(extent.address);
    if (copies == copies_.end()) return;
    copied_blocks_ -= copies->second.blocks.size();
    // The file stays: plans that are under way may still ask for it.
    copies->second.gone = true;
    copies->second.blocks = {};
    return;
  }
  for (std::uint64_t at = extent.address; at < extent.end(); at += block_) {
    Bits& bits = gone_[at / kChunkBytes];
    if (bits.empty()) bits.resize(kChunkBytes / block_);
    bits[at % kChunkBytes / block_] = true;
  }
}

absl::StatusOr<std::uint64_t> ImaginedFilesystem::generation() {
  absl::ReaderMutexLock lock(&mutex_);
  return generation_;
}

absl::StatusOr<std::uint64_t> ImaginedFilesystem::sync() {
  absl::MutexLock lock(&mutex_);
  for (const btrfs::Extent& extent : std::exchange(going_, {})) mark_gone(extent);
  return ++generation_;
}

void ImaginedFilesystem::leave_those_there(std::vector<btrfs::Extent>& extents) const {
  absl::ReaderMutexLock lock(&mutex_);
  if (gone_.empty()) return;
  std::erase_if(extents, [this](const btrfs::Extent& extent) {
    mutex_.AssertReaderHeld();
    return is_gone(extent.address);
  });
}

btrfs::ExtentPage ImaginedFilesystem::copies_page(std::uint64_t first, std::uint64_t last,
                                                  std::uint64_t generation) const {
  btrfs::ExtentPage page;
  page.done = true;
  absl::ReaderMutexLock lock(&mutex_);
  for (auto it = copies_.lower_bound(first); it != copies_.end() && it->first <= last; ++it) {
    const btrfs::Extent& extent = it->second.extent;
    if (it->second.gone || extent.generation > generation_) continue;
    if (extent.generation < generation) continue;
    if (page.extents.size() == kCopiesAPage) {
      page.done = false;
      page.next = extent.address;
      break;
    }
    page.extents.push_back(extent);
  }
  return page;
}

absl::StatusOr<btrfs::ExtentPage> ImaginedFilesystem::extents(std::uint64_t first,
                                                              std::uint64_t last,
                                                              std::size_t buffer_bytes) {
  if (is_copy(first)) return copies_page(first, last, 0);
  auto page = real_.extents(first, std::min(last, kCopies - 1), buffer_bytes);
  if (!page.ok()) return page;
  leave_those_there(page->extents);
  if (!page->done || !is_copy(last)) return page;
  auto copies = copies_page(kCopies, last, 0);
  page->extents.insert(page->extents.end(), copies.extents.begin(), copies.extents.end());
  page->done = copies.done;
  page->next = copies.next;
  return page;
}

absl::StatusOr<btrfs::ExtentPage> ImaginedFilesystem::extents_since(std::uint64_t first,
                                                                    std::uint64_t generation,
                                                                    std::size_t buffer_bytes) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::uint64_t>::max();
  if (is_copy(first) || generation > base_generation_) return copies_page(first, kLast, generation);
  auto page = extents(first, kLast, buffer_bytes);
  if (!page.ok() || sample_.all()) return page;
  std::erase_if(page->extents, [this](const btrfs::Extent& extent) {
    return !is_copy(extent.address) && !sample_.takes(extent.address, extent.length);
  });
  return page;
}

// What of a stretch of real checksums is not gone, in pieces.
void ImaginedFilesystem::visit_those_there(std::uint64_t address, std::span<const std::byte> sums,
                                           CsumVisitor visit) const {
  const std::size_t size = real_.info().csum_size;
  const std::size_t blocks = sums.size() / size;
  struct Piece {
    std::size_t begin = 0, end = 0;
  };
  std::vector<Piece> pieces;
  {
    absl::ReaderMutexLock lock(&mutex_);
    for (std::size_t i = 0; i < blocks;) {
      const std::uint64_t at = address + i * block_;
      const std::size_t in_chunk = (kChunkBytes - at % kChunkBytes) / block_;
      const std::size_t end = std::min(blocks, i + in_chunk);
      const auto chunk = gone_.find(at / kChunkBytes);
      const Bits* bits = chunk == gone_.end() ? nullptr : &chunk->second;
      for (std::size_t bit = at % kChunkBytes / block_; i < end; ++i, ++bit) {
        if (bits != nullptr && (*bits)[bit]) continue;
        if (pieces.empty() || pieces.back().end != i) pieces.push_back({i, i});
        pieces.back().end = bits == nullptr ? end : i + 1;
        if (bits == nullptr) i = end - 1;
      }
    }
  }
  for (const auto& [begin, end] : pieces) {
    visit(address + begin * block_, sums.subspan(begin * size, (end - begin) * size));
  }
}

void ImaginedFilesystem::visit_copies(std::uint64_t first, std::uint64_t end,
                                      CsumVisitor visit) const {
  struct Stretch {
    std::uint64_t address = 0;
    std::vector<std::byte> sums;
  };
  std::vector<Stretch> found;
  const std::size_t size = real_.info().csum_size;
  {
    absl::ReaderMutexLock lock(&mutex_);
    auto it = copies_.upper_bound(first);
    if (it != copies_.begin()) --it;
    for (; it != copies_.end() && it->first < end; ++it) {
      const auto& [extent, blocks, gone] = it->second;
      if (gone || extent.end() <= first || extent.generation > generation_) continue;
      const std::uint64_t begin = std::max(first, extent.address);
      const std::uint64_t stop = std::min(end, extent.end());
      Stretch stretch{begin, std::vector<std::byte>((stop - begin) / block_ * size)};
      for (std::uint64_t i = 0; i < (stop - begin) / block_; ++i) {
        fingerprinter_.to_csum(blocks[(begin - extent.address) / block_ + i],
                               std::span(stretch.sums).subspan(i * size, size));
      }
      found.push_back(std::move(stretch));
    }
  }
  for (const Stretch& stretch : found) visit(stretch.address, stretch.sums);
}

absl::Status ImaginedFilesystem::csums(std::uint64_t first, std::uint64_t end, CsumVisitor visit) {
  if (is_copy(first)) {
    visit_copies(first, end, visit);
    return absl::OkStatus();
  }
  return real_.csums(first, end, [&](std::uint64_t address, std::span<const std::byte> sums) {
    visit_those_there(address, sums, visit);
  });
}

absl::StatusOr<btrfs::FileMap> ImaginedFilesystem::file_map(btrfs::FileKey file,
                                                            std::uint64_t first,
                                                            std::uint64_t end) {
  if (!is_imagined(file)) return real_.file_map(file, first, end);
  absl::ReaderMutexLock lock(&mutex_);
  const auto copies = copies_.find(address_of(file.inode));
  if (copies == copies_.end()) return skep::errno_status(ENOENT, "file_map", "file of copies");
  const std::uint64_t length = copies->second.extent.length;
  btrfs::FileMap map;
  map.inode = {length, 0, S_IFREG | 0600U, 1};
  if (first == 0 && end > 0) {
    btrfs::FileExtent item;
    item.length = item.extent_length = item.content_length = length;
    item.extent_address = copies->first;
    map.extents.push_back(item);
  }
  return map;
}

absl::StatusOr<btrfs::NamedInode> ImaginedFilesystem::names(btrfs::FileKey file) {
  if (!is_imagined(file)) return real_.names(file);
  return skep::errno_status(ENOENT, "names", "file of copies");
}

absl::Status ImaginedFilesystem::file_extents(std::uint64_t root, btrfs::ItemPlace first,
                                              btrfs::ItemPlace last, FileExtentVisitor visit) {
  return real_.file_extents(root, first, last, visit);
}

absl::StatusOr<std::vector<btrfs::LogicalRef>> ImaginedFilesystem::logical_ino(
    std::uint64_t address, bool exact, std::size_t limit) {
  if (!is_copy(address)) return real_.logical_ino(address, exact, limit);
  return skep::errno_status(ENOENT, "LOGICAL_INO_V2", "copies");
}

absl::StatusOr<std::vector<btrfs::Subvolume>> ImaginedFilesystem::subvolumes() {
  return real_.subvolumes();
}

absl::StatusOr<btrfs::SpaceInfo> ImaginedFilesystem::space() {
  auto space = real_.space();
  if (!space.ok()) return space;
  absl::ReaderMutexLock lock(&mutex_);
  space->metadata.used += metadata_growth_ / std::max<std::uint64_t>(space->metadata.copies, 1);
  return space;
}

absl::StatusOr<std::shared_ptr<btrfs::File>> ImaginedFilesystem::open(const btrfs::FileHandle&) {
  return nothing_is_done("open");
}

absl::StatusOr<std::shared_ptr<btrfs::TemporaryFile>> ImaginedFilesystem::create_temporary(
    btrfs::ExtentKind) {
  return nothing_is_done("create");
}

absl::StatusOr<std::vector<btrfs::DedupeResult>> ImaginedFilesystem::dedupe(
    btrfs::File&, std::uint64_t, std::uint64_t, std::span<const btrfs::DedupeTarget>) {
  return nothing_is_done("dedupe");
}

}  // namespace skep::dedupe
