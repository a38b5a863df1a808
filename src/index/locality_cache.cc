// SPDX-License-Identifier: MIT
#include "skep/index/locality_cache.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace skep::index {
namespace {

constexpr std::size_t kExtentBuffer = 64 << 10;
// How far to look back for the extent that reaches into a window: most are short, none is longer
// than btrfs::kMaxExtentLength.
constexpr std::uint64_t kLookBack[] = {1ULL << 20, 16ULL << 20, btrfs::kMaxExtentLength};

}  // namespace

LocalityCache::LocalityCache(btrfs::Filesystem& fs, const Fingerprinter& fingerprinter,
                             std::uint32_t windows)
    : fs_(fs),
      fingerprinter_(fingerprinter),
      block_(fs.info().block_size),
      windows_(windows),
      heads_(std::bit_ceil(std::size_t{windows} * kWindowBlocks / 2)) {}

void LocalityCache::find(Fingerprint fingerprint,
                         absl::FunctionRef<bool(std::uint64_t)> visit) const {
  for (std::uint32_t at = heads_[head_of(fingerprint)]; at != 0;) {
    const Window& window = windows_[(at - 1) / kWindowBlocks];
    const std::uint32_t index = (at - 1) % kWindowBlocks;
    if (window.blocks[index] == fingerprint && !visit(window.base + index * block_)) return;
    at = window.next[index];
  }
}

void LocalityCache::link(std::uint32_t entry) {
  Window& window = windows_[entry / kWindowBlocks];
  std::uint32_t& head = heads_[head_of(window.blocks[entry % kWindowBlocks])];
  window.next[entry % kWindowBlocks] = head;
  head = entry + 1;
}

void LocalityCache::unlink(std::uint32_t entry) {
  Window& window = windows_[entry / kWindowBlocks];
  const std::uint32_t index = entry % kWindowBlocks;
  for (std::uint32_t* at = &heads_[head_of(window.blocks[index])]; *at != 0;) {
    if (*at == entry + 1) {
      *at = window.next[index];
      return;
    }
    at = &windows_[(*at - 1) / kWindowBlocks].next[(*at - 1) % kWindowBlocks];
  }
}

void LocalityCache::clear(Window& window) {
  if (!window.loaded) return;
  const auto slot = static_cast<std::uint32_t>(&window - windows_.data());
  for (std::uint32_t i = 0; i < kWindowBlocks; ++i) {
    if (window.blocks[i] != kNoFingerprint) unlink(slot * kWindowBlocks + i);
  }
  by_base_.erase(window.base);
  window.loaded = false;
}

void LocalityCache::load(Window& window) {
  ++windows_loaded_;
  const std::uint64_t errors_before = errors_;
  window.blocks.assign(kWindowBlocks, kNoFingerprint);
  window.next.assign(kWindowBlocks, 0);
  const std::size_t size = fingerprinter_.csum_size();
  auto status = fs_.csums(window.base, window.base + window_bytes(),
                          [&](std::uint64_t address, std::span<const std::byte> sums) {
                            std::uint64_t index = (address - window.base) / block_;
                            for (std::size_t at = 0; at + size <= sums.size(); at += size) {
                              window.blocks[index++] =
                                  fingerprinter_.from_csum(sums.subspan(at, size));
                            }
                          });
  if (!status.ok()) ++errors_;
  load_extents(window);
  const auto slot = static_cast<std::uint32_t>(&window - windows_.data());
  for (std::uint32_t i = 0; i < kWindowBlocks; ++i) {
    // Zero blocks become holes; in chains they would only be long.
    if (window.blocks[i] == fingerprinter_.zero()) continue;
    if (window.blocks[i] != kNoFingerprint) link(slot * kWindowBlocks + i);
  }
  window.loaded = true;
  bytes_ -= window.bytes;
  window.bytes = kWindowBlocks * (sizeof(Fingerprint) + sizeof(std::uint32_t)) +
                 window.extents.capacity() * sizeof(CachedExtent);
  bytes_ += window.bytes;
  // What could not be read is read again when it is asked for.
  window.epoch = errors_ == errors_before ? epoch_ : epoch_ - 1;
  by_base_[window.base] = slot;
}

void LocalityCache::load_extents(Window& window) {
  window.extents.clear();
  const auto collect = [&](std::uint64_t first, std::uint64_t last) {
    while (first <= last) {
      auto page = fs_.extents(first, last, kExtentBuffer);
      if (!page.ok()) {
        ++errors_;
        return;
      }
      for (const auto& extent : page->extents) {
        window.extents.push_back(
            {extent.address, extent.generation, static_cast<std::uint32_t>(extent.length),
             static_cast<std::uint32_t>(std::min<std::uint64_t>(extent.refs, UINT32_MAX))});
      }
      if (page->done) return;
      first = page->next;
    }
  };
  for (const std::uint64_t back : kLookBack) {
    collect(window.base - std::min(back, window.base), window.base);
    // Only the last one before the window can reach into it.
    if (window.extents.size() > 1)
      window.extents.erase(window.extents.begin(), window.extents.end() - 1);
    if (!window.extents.empty()) break;
  }
  if (!window.extents.empty() && window.extents.back().end() <= window.base) {
    window.extents.clear();
  }
  collect(window.base + 1, window.base + window_bytes() - 1);
}

// A new one while there is room for what it may take, else the one that served least lately. Its
// vectors are used again: to free and allocate them for each window would leave the heap in pieces.
LocalityCache::Window& LocalityCache::free_window() {
  constexpr std::size_t kMostOfOne =
      kWindowBlocks * (sizeof(Fingerprint) + sizeof(std::uint32_t) + sizeof(CachedExtent));
  const bool room = begun_ == 0 || bytes_ + kMostOfOne <= kMostBytes;
  if (room && begun_ < windows_.size()) return windows_[begun_++];
  Window& window =
      *std::min_element(windows_.begin(), windows_.begin() + begun_,
                        [](const Window& a, const Window& b) { return a.used < b.used; });
  clear(window);
  return window;
}

LocalityCache::Window& LocalityCache::window_for(std::uint64_t address) {
  const std::uint64_t base = address / window_bytes() * window_bytes();
  ++tick_;
  if (Window& last = windows_[last_]; last.loaded && last.base == base) {
    last.used = tick_;
    return last;
  }
  auto it = by_base_.find(base);
  if (it == by_base_.end()) {
    Window& window = free_window();
    window.base = base;
    load(window);
    last_ = static_cast<std::uint32_t>(&window - windows_.data());
  } else {
    last_ = it->second;
  }
  windows_[last_].used = tick_;
  return windows_[last_];
}

LocalityCache::Window& LocalityCache::fresh_window_for(std::uint64_t address) {
  Window& window = window_for(address);
  if (window.epoch == epoch_) return window;
  clear(window);
  load(window);
  return window;
}

Fingerprint LocalityCache::at(std::uint64_t address) {
  const Window& window = window_for(address);
  return window.blocks[(address - window.base) / block_];
}

Fingerprint LocalityCache::fresh_at(std::uint64_t address) {
  const Fingerprint known = at(address);
  if (known != kNoFingerprint) return known;
  const Window& window = fresh_window_for(address);
  return window.blocks[(address - window.base) / block_];
}

const LocalityCache::CachedExtent* LocalityCache::extent_at(std::uint64_t address) {
  const auto find_in = [&](const Window& window) -> const CachedExtent* {
    auto it = std::upper_bound(
        window.extents.begin(), window.extents.end(), address,
        [](std::uint64_t a, const CachedExtent& extent) { return a < extent.address; });
    if (it == window.extents.begin()) return nullptr;
    --it;
    return address < it->end() ? &*it : nullptr;
  };
  if (const auto* extent = find_in(window_for(address))) return extent;
  return find_in(fresh_window_for(address));
}

void LocalityCache::forget(std::uint64_t address, std::uint64_t length) {
  for (std::uint64_t end = address + length; address < end;) {
    const std::uint64_t base = address / window_bytes() * window_bytes();
    const std::uint64_t stop = std::min(end, base + window_bytes());
    if (auto it = by_base_.find(base); it != by_base_.end()) {
      Window& window = windows_[it->second];
      for (std::uint64_t i = (address - base) / block_; i < (stop - base) / block_; ++i) {
        if (window.blocks[i] == kNoFingerprint) continue;
        if (window.blocks[i] != fingerprinter_.zero()) {
          unlink(it->second * kWindowBlocks + static_cast<std::uint32_t>(i));
        }
        window.blocks[i] = kNoFingerprint;
      }
    }
    address = stop;
  }
}

}  // namespace skep::index
