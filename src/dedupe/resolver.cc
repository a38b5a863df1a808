// SPDX-License-Identifier: MIT
#include "skep/dedupe/resolver.h"

#include <algorithm>
#include <tuple>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// A compressed extent is at most this long when unpacked (kernel: BTRFS_MAX_UNCOMPRESSED).
constexpr std::uint64_t kMaxUncompressed = 128 << 10;
// Answers of LOGICAL_INO in one file that lie closer than this are looked up together.
constexpr std::uint64_t kNear = 4ULL << 20;

Verdict judge(const btrfs::FileExtent& item) {
  if (item.encoded) return Verdict::kEncoded;
  if (item.compression != 0) return Verdict::kCompressed;
  if (item.type == btrfs::FileExtentType::kPrealloc) return Verdict::kPreallocated;
  return Verdict::kFreed;
}

Verdict judge(const btrfs::Inode& inode) {
  if (inode.flags & btrfs::kInodeImmutable) return Verdict::kImmutable;
  if (inode.flags & (btrfs::kInodeNodatasum | btrfs::kInodeNodatacow)) return Verdict::kNodatasum;
  return Verdict::kFreed;
}

// Adds the items of `map` that use `extent`; kFreed unless the extent must be left alone.
Verdict add(const btrfs::Extent& extent, btrfs::FileKey file, const btrfs::FileMap& map,
            std::vector<Reference>& out) {
  Verdict verdict = Verdict::kFreed;
  bool found = false;
  for (const auto& item : map.extents) {
    if (item.type == btrfs::FileExtentType::kInline) continue;
    if (item.extent_address != extent.address) continue;
    found = true;
    if (const Verdict v = judge(item); v != Verdict::kFreed) verdict = v;
    out.push_back({file, item.file_offset, item.extent_offset, item.length, map.inode.size});
  }
  if (!found) return Verdict::kChanged;
  return verdict != Verdict::kFreed ? verdict : judge(map.inode);
}

// An immutable file cannot be a target, but is a fine source.
bool readable(Verdict verdict) {
  return verdict == Verdict::kFreed || verdict == Verdict::kImmutable;
}

}  // namespace

Resolver::Resolver(btrfs::Filesystem& fs, PhaseGate& gate, Counters& counters)
    : fs_(fs), gate_(gate), counters_(counters) {}

absl::Status Resolver::refresh() {
  auto subvolumes = fs_.subvolumes();
  if (!subvolumes.ok()) return subvolumes.status();
  last_snapshot_.clear();
  for (const auto& subvolume : *subvolumes) {
    last_snapshot_[subvolume.root] = subvolume.last_snapshot;
  }
  return absl::OkStatus();
}

bool Resolver::needs_logical_ino(const btrfs::Extent& extent) const {
  if (!extent.refs_all_inline()) return true;
  return std::any_of(extent.data_refs.begin(), extent.data_refs.end(), [&](const auto& ref) {
    auto it = last_snapshot_.find(ref.root);
    return it == last_snapshot_.end() || it->second >= extent.generation;
  });
}

Resolved Resolver::resolve(const btrfs::Extent& extent) {
  if (extent.refs > limits::kVictimReferences) return {Verdict::kTooManyReferences, {}};
  return needs_logical_ino(extent) ? from_logical_ino(extent) : from_inline(extent);
}

Resolved Resolver::from_data_ref(const btrfs::Extent& extent, const btrfs::DataRef& ref) {
  if (!btrfs::is_subvolume(ref.root)) return {Verdict::kSystem, {}};
  const btrfs::FileKey file{ref.root, ref.inode};
  // `offset` is where the extent's first byte would be in the file; it wraps below zero when the
  // file uses only a later part.
  const std::uint64_t first = static_cast<std::int64_t>(ref.offset) < 0 ? 0 : ref.offset;
  auto map = fs_.file_map(file, first, ref.offset + std::max(extent.length, kMaxUncompressed));
  if (!map.ok()) return {absl::IsNotFound(map.status()) ? Verdict::kChanged : Verdict::kFailed, {}};
  // The file may use the extent in other places too: those have a DataRef of their own.
  std::erase_if(map->extents, [&](const auto& item) {
    return item.file_offset - item.extent_offset != ref.offset;
  });
  Resolved out;
  out.verdict = add(extent, file, *map, out.references);
  if (out.verdict == Verdict::kFreed && out.references.size() != ref.count) {
    out.verdict = Verdict::kChanged;
  }
  return out;
}

Resolved Resolver::from_inline(const btrfs::Extent& extent) {
  ++counters_.references_inline;
  Resolved out;
  for (const auto& ref : extent.data_refs) {
    auto one = from_data_ref(extent, ref);
    if (one.verdict != Verdict::kFreed) return {one.verdict, {}};
    out.references.insert(out.references.end(), one.references.begin(), one.references.end());
  }
  return out;
}

void Resolver::add_references(const btrfs::Extent& extent,
                              const std::vector<btrfs::LogicalRef>& found, Resolved& out) {
  for (std::size_t i = 0; i < found.size();) {
    std::size_t end = i + 1;
    while (end < found.size() && found[end].root == found[i].root &&
           found[end].inode == found[i].inode &&
           found[end].offset - found[end - 1].offset < kNear) {
      ++end;
    }
    const btrfs::FileKey file{found[i].root, found[i].inode};
    auto map = fs_.file_map(file, found[i].offset, found[end - 1].offset + 1);
    if (!map.ok()) {
      // Gone since; so is its reference.
      if (!absl::IsNotFound(map.status())) out.verdict = Verdict::kFailed;
    } else if (const Verdict v = add(extent, file, *map, out.references);
               v != Verdict::kFreed && v != Verdict::kChanged) {
      out.verdict = v;
    }
    i = end;
  }
}

absl::StatusOr<std::vector<btrfs::LogicalRef>> Resolver::logical_ino(std::uint64_t address,
                                                                     bool exact) {
  ++counters_.references_searched;
  const auto phase = [&] {
    const Stopwatch watch(counters_.nanos_resolve_wait);
    return InPhase(gate_, PhaseGate::kResolving);
  }();
  return fs_.logical_ino(address, exact, limits::kVictimReferences);
}

Resolved Resolver::from_logical_ino(const btrfs::Extent& extent) {
  auto found = logical_ino(extent.address, false);
  if (absl::IsResourceExhausted(found.status())) return {Verdict::kTooManyReferences, {}};
  if (absl::IsNotFound(found.status())) return {Verdict::kUnreferenced, {}};
  if (!found.ok()) return {Verdict::kFailed, {}};
  if (std::any_of(found->begin(), found->end(),
                  [](const auto& ref) { return !btrfs::is_subvolume(ref.root); })) {
    return {Verdict::kSystem, {}};
  }
  // By root, inode, offset: one look-up serves neighbours, and sharing meets leaves in order.
  std::sort(found->begin(), found->end(), [](const auto& a, const auto& b) {
    return std::tuple(a.root, a.inode, a.offset) < std::tuple(b.root, b.inode, b.offset);
  });
  found->erase(std::unique(found->begin(), found->end()), found->end());
  Resolved out;
  add_references(extent, *found, out);
  if (out.verdict == Verdict::kFreed && out.references.empty())
    out.verdict = Verdict::kUnreferenced;
  return out;
}

std::vector<Reference> Resolver::inline_references(const btrfs::Extent& extent, std::size_t limit) {
  ++counters_.references_inline;
  std::vector<Reference> out;
  for (const auto& ref : extent.data_refs) {
    if (out.size() >= limit) break;
    auto one = from_data_ref(extent, ref);
    if (!readable(one.verdict) && one.verdict != Verdict::kChanged) continue;
    out.insert(out.end(), one.references.begin(), one.references.end());
  }
  return out;
}

std::vector<Reference> Resolver::references_at(const btrfs::Extent& extent, std::uint64_t address) {
  auto found = logical_ino(address, true);
  if (!found.ok()) return {};
  Resolved out;
  if (found->size() > limits::kKeeperReferences) found->resize(limits::kKeeperReferences);
  const std::uint64_t offset_in_extent = address - extent.address;
  for (const auto& ref : *found) {
    if (!btrfs::is_subvolume(ref.root)) continue;
    // What came back is the block's offset in the file; the item begins at most as far before it as
    // the extent before the block.
    const btrfs::FileKey file{ref.root, ref.inode};
    auto map =
        fs_.file_map(file, ref.offset - std::min(ref.offset, offset_in_extent), ref.offset + 1);
    if (!map.ok()) continue;
    std::erase_if(map->extents,
                  [&](const auto& item) { return item.file_offset + item.length <= ref.offset; });
    const std::size_t before = out.references.size();
    if (!readable(add(extent, file, *map, out.references))) out.references.resize(before);
  }
  return out.references;
}

}  // namespace skep::dedupe
