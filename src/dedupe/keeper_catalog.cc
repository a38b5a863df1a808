// SPDX-License-Identifier: MIT
#include "skep/dedupe/keeper_catalog.h"

#include <algorithm>
#include <utility>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// What of `reference` holds whole blocks from `offset` of the extent on.
std::optional<Source> whole_blocks(const Reference& reference, std::uint64_t offset,
                                   std::uint64_t length, std::uint64_t block) {
  if (offset < reference.extent_offset) return std::nullopt;
  const std::uint64_t skip = offset - reference.extent_offset;
  const std::uint64_t file_offset = reference.file_offset + skip;
  // The kernel refuses a source range past the end of its file.
  const std::uint64_t file_end = reference.file_size / block * block;
  const std::uint64_t end = std::min(reference.file_offset + reference.length, file_end);
  if (skip >= reference.length || file_offset >= end) return std::nullopt;
  return Source{0, reference.file, file_offset, std::min(length, end - file_offset)};
}

std::optional<Source> tail_block(const Reference& reference, std::uint64_t offset,
                                 std::uint32_t length) {
  if (offset < reference.extent_offset) return std::nullopt;
  const std::uint64_t skip = offset - reference.extent_offset;
  const std::uint64_t file_offset = reference.file_offset + skip;
  if (skip >= reference.length || reference.file_size != file_offset + length) return std::nullopt;
  return Source{0, reference.file, file_offset, length};
}

}  // namespace

KeeperCatalog::Entry KeeperCatalog::resolve(const Keeper& keeper) {
  Entry entry;
  auto page = fs_.extents(keeper.address, keeper.address, 4096);
  errors_ += !page.ok();
  if (!page.ok() || page->extents.empty()) return entry;
  entry.extent = std::move(page->extents.front());
  Resolved resolved = resolver_.inline_references(entry.extent, limits::kKeeperReferences);
  entry.references = std::move(resolved.references);
  entry.kind = resolved.kind;
  entry.complete = !resolver_.needs_logical_ino(entry.extent);
  return entry;
}

std::uint64_t KeeperCatalog::errors() const {
  absl::MutexLock lock(&mutex_);
  return errors_ + resolver_.errors();
}

KeeperCatalog::Entry& KeeperCatalog::entry_for(const Keeper& keeper) {
  auto it = by_address_.find(keeper.address);
  if (it == by_address_.end()) {
    newest_first_.push_front({keeper.address, resolve(keeper)});
    by_address_[keeper.address] = newest_first_.begin();
    if (by_address_.size() > limits::kResolvedKeepers) {
      by_address_.erase(newest_first_.back().address);
      newest_first_.pop_back();
    }
  } else {
    newest_first_.splice(newest_first_.begin(), newest_first_, it->second);
  }
  return newest_first_.front().entry;
}

std::optional<Source> KeeperCatalog::find(const Keeper& keeper, std::uint64_t address,
                                          std::uint64_t length) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = entry_for(keeper);
  const std::uint64_t offset = address - keeper.address;
  const std::uint64_t block = fs_.info().block_size;
  for (bool asked = false;; asked = true) {
    std::optional<Source> best;
    if (!entry.references.empty() && entry.kind != keeper.kind) return best;
    for (const Reference& reference : entry.references) {
      auto source = whole_blocks(reference, offset, length, block);
      if (!source || (best && source->length <= best->length)) continue;
      if (resolver_.excludes(source->file)) continue;  // by now: it was not when it was found
      best = source;
      best->extent_address = keeper.address;
    }
    if (best || entry.complete || asked) return best;
    // Not covered by what the extent item names: ask for this block. A few times an extent, so that
    // one with much dead space does not cost a search a run.
    if (entry.searches++ >= limits::kKeeperSearches) return best;
    Resolved more = resolver_.references_at(entry.extent, keeper.kind.compression != 0, offset);
    if (entry.references.empty()) entry.kind = more.kind;
    if (more.references.empty() || entry.kind != more.kind) return best;
    entry.references.insert(entry.references.end(), more.references.begin(), more.references.end());
  }
}

std::optional<Source> KeeperCatalog::find_tail(const Keeper& keeper, std::uint64_t address,
                                               std::uint32_t length) {
  absl::MutexLock lock(&mutex_);
  const Entry& entry = entry_for(keeper);
  if (entry.kind != keeper.kind) return std::nullopt;
  for (const Reference& reference : entry.references) {
    auto source = tail_block(reference, address - keeper.address, length);
    if (!source || resolver_.excludes(source->file)) continue;
    source->extent_address = keeper.address;
    return source;
  }
  return std::nullopt;
}

std::optional<Source> KeeperCatalog::find_tail(std::uint64_t address, std::uint32_t length) {
  absl::MutexLock lock(&mutex_);
  if (auto it = blocks_.find(address); it != blocks_.end()) {
    auto source = tail_block(it->second.reference, it->second.reference.extent_offset, length);
    if (!source || resolver_.excludes(source->file)) return std::nullopt;
    source->extent_address = it->second.extent_address;
    return source;
  }
  return std::nullopt;
}

void KeeperCatalog::add(const NewReference& reference) {
  absl::MutexLock lock(&mutex_);
  if (!blocks_.try_emplace(reference.address, reference).second) return;
  block_order_.push_back(reference.address);
  if (block_order_.size() <= limits::kRememberedBlocks) return;
  blocks_.erase(block_order_.front());
  block_order_.pop_front();
}

void KeeperCatalog::forget(std::uint64_t address, std::uint64_t length) {
  absl::MutexLock lock(&mutex_);
  if (auto it = by_address_.find(address); it != by_address_.end()) {
    newest_first_.erase(it->second);
    by_address_.erase(it);
  }
  // Their files hold another extent now, which may be going itself.
  const std::uint64_t end = address + std::max(length, btrfs::kMaxCompressedContent);
  for (auto it = blocks_.lower_bound(address); it != blocks_.end() && it->first < end;) {
    it = it->second.extent_address == address ? blocks_.erase(it) : std::next(it);
  }
}

}  // namespace skep::dedupe
