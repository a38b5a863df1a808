// SPDX-License-Identifier: MIT
#include "skep/dedupe/resolver.h"

#include <algorithm>
#include <tuple>

#include "skep/dedupe/limits.h"

namespace skep::dedupe {
namespace {

// Answers of LOGICAL_INO in one file that lie closer than this are looked up together.
constexpr std::uint64_t kNearReferences = 4ULL << 20;

Verdict judge(const btrfs::FileExtent& item) {
  if (item.encoded) return Verdict::kEncoded;
  if (item.type == btrfs::FileExtentType::kPrealloc) return Verdict::kPreallocated;
  return Verdict::kFreed;
}

Verdict judge(const btrfs::Inode& inode) {
  return inode.flags & btrfs::kInodeImmutable ? Verdict::kImmutable : Verdict::kFreed;
}

// False, and nothing merged, when one has checksums and the other has not.
bool merge(Resolved from, Resolved& into) {
  if (from.references.empty()) return true;
  if (into.references.empty()) {
    into.kind = from.kind;
    into.content_length = from.content_length;
  }
  if (into.kind != from.kind) return false;
  into.references.insert(into.references.end(), from.references.begin(), from.references.end());
  return true;
}

// Adds the items of `map` that use `extent`; kFreed unless the extent must be left alone.
Verdict add(const btrfs::Extent& extent, btrfs::FileKey file, const btrfs::FileMap& map,
            Resolved& out) {
  const bool nodatasum = map.inode.flags & (btrfs::kInodeNodatasum | btrfs::kInodeNodatacow);
  // A deleted file that somebody has open goes by itself. And opening it can be in the way: of a
  // new snapshot the kernel removes such files before the command ends, which fails with EINVAL
  // where somebody holds one (btrfs_orphan_cleanup; seen on Linux 6.18).
  if (map.inode.links == 0) return Verdict::kUnreferenced;
  // The kernel shares no extent between files with and without checksums, but flags can change.
  const bool mixed = !out.references.empty() && out.kind.nodatasum != nodatasum;
  Verdict verdict = mixed ? Verdict::kNodatasum : Verdict::kFreed;
  bool found = false;
  for (const auto& item : map.extents) {
    if (item.type == btrfs::FileExtentType::kInline) continue;
    if (item.extent_address != extent.address) continue;
    found = true;
    if (const Verdict v = judge(item); v != Verdict::kFreed) verdict = v;
    out.references.push_back({btrfs::FileHandle(file, map.inode.generation), item.file_offset,
                              item.extent_offset, item.length, map.inode.size});
    out.kind = {item.compression, nodatasum};
    out.content_length = item.content_length;
  }
  if (!found) return Verdict::kChanged;
  return verdict != Verdict::kFreed ? verdict : judge(map.inode);
}

Resolved left(Verdict verdict) {
  Resolved out;
  out.verdict = verdict;
  return out;
}

// An immutable file cannot be a target, but is a fine source.
bool readable(Verdict verdict) {
  return verdict == Verdict::kFreed || verdict == Verdict::kImmutable;
}

}  // namespace

Resolver::Resolver(btrfs::Filesystem& fs, PhaseGate& gate, Counters& counters, FileFilter* filter)
    : fs_(fs), gate_(gate), counters_(counters), filter_(filter) {}

absl::Status Resolver::refresh() {
  auto subvolumes = fs_.subvolumes();
  if (!subvolumes.ok()) return subvolumes.status();
  last_snapshot_.clear();
  inodes_.clear();
  for (const auto& subvolume : *subvolumes) {
    last_snapshot_[subvolume.root] = subvolume.last_snapshot;
  }
  return absl::OkStatus();
}

// Extents of a large file come one after another: its inode is looked up once a batch. Should it
// change meanwhile, the kernel refuses to share what is no longer there.
absl::StatusOr<btrfs::FileMap> Resolver::file_map(btrfs::FileKey file, std::uint64_t first,
                                                  std::uint64_t end) {
  const auto known = inodes_.find(file);
  if (known == inodes_.end() || first == 0) {
    auto map = fs_.file_map(file, first, end);
    if (map.ok() && first != 0) inodes_[file] = map->inode;
    errors_ += !map.ok() && !absl::IsNotFound(map.status());
    return map;
  }
  btrfs::FileMap map;
  map.inode = known->second;
  auto status = fs_.file_extents(
      file.root, {file.inode, first}, {file.inode, end - 1},
      [&](std::uint64_t, const btrfs::FileExtent& item) { map.extents.push_back(item); });
  if (status.ok()) return map;
  ++errors_;
  return status;
}

bool Resolver::excludes(btrfs::FileKey file) {
  return filter_ != nullptr && judge(file) != Verdict::kFreed;
}

// A file that is gone is nobody's to exclude: who looks at its items finds out.
Verdict Resolver::judge(btrfs::FileKey file) {
  if (filter_ == nullptr) return Verdict::kFreed;
  const auto excluded = filter_->excludes(file);
  if (absl::IsNotFound(excluded.status())) return Verdict::kFreed;
  if (!excluded.ok()) return Verdict::kFailed;
  return *excluded ? Verdict::kExcluded : Verdict::kFreed;
}

Use Resolver::use_of(std::uint64_t address) {
  if (filter_ == nullptr) return Use::kAny;
  const std::uint64_t era = filter_->era();
  if (uses_.size() >= limits::kFilterExtents || era != uses_era_) uses_.clear();
  uses_era_ = era;
  if (const auto it = uses_.find(address); it != uses_.end()) return it->second;
  return uses_[address] = find_use(address);
}

Use Resolver::find_use(std::uint64_t address) {
  const auto read = fs_.extent_at(address);
  if (!read.ok() || !*read) return Use::kNone;
  const btrfs::Extent& extent = **read;
  bool some = false, excluded = false;
  const auto look_at = [&](btrfs::FileKey file) {
    if (!btrfs::is_subvolume(file.root)) return;
    (excludes(file) ? excluded : some) = true;
  };
  for (const auto& ref : extent.data_refs) look_at({ref.root, ref.inode});
  const bool decided = some && excluded;
  if (!decided && needs_logical_ino(extent)) {
    // One that is crowded is no victim, and costs too much to look at whole.
    const bool crowded = extent.refs > limits::kKeeperCrowded;
    const auto found = crowded ? absl::ResourceExhaustedError("") : logical_ino(address, false);
    if (!found.ok()) return some ? Use::kStays : Use::kNone;
    for (const auto& ref : *found) look_at({ref.root, ref.inode});
  }
  if (!excluded) return Use::kAny;
  return some ? Use::kStays : Use::kNone;
}

bool Resolver::needs_logical_ino(const btrfs::Extent& extent) const {
  if (!extent.refs_all_inline()) return true;
  return std::any_of(extent.data_refs.begin(), extent.data_refs.end(), [&](const auto& ref) {
    auto it = last_snapshot_.find(ref.root);
    return it == last_snapshot_.end() || it->second >= extent.generation;
  });
}

Resolved Resolver::resolve(const btrfs::Extent& extent, Excluded excluded) {
  if (extent.refs > limits::kVictimReferences) return left(Verdict::kTooManyReferences);
  return needs_logical_ino(extent) ? from_logical_ino(extent, excluded)
                                   : from_inline(extent, excluded);
}

Resolved Resolver::from_data_ref(const btrfs::Extent& extent, const btrfs::DataRef& ref) {
  if (!btrfs::is_subvolume(ref.root)) return left(Verdict::kSystem);
  const btrfs::FileKey file{ref.root, ref.inode};
  if (const Verdict verdict = judge(file); verdict != Verdict::kFreed) return left(verdict);
  // `offset` is where the extent's first byte would be in the file; it wraps below zero when the
  // file uses only a later part.
  const std::uint64_t first = static_cast<std::int64_t>(ref.offset) < 0 ? 0 : ref.offset;
  auto map =
      file_map(file, first, ref.offset + std::max(extent.length, btrfs::kMaxCompressedContent));
  if (!map.ok()) return left(absl::IsNotFound(map.status()) ? Verdict::kChanged : Verdict::kFailed);
  // The file may use the extent in other places too: those have a DataRef of their own.
  std::erase_if(map->extents, [&](const auto& item) {
    return item.file_offset - item.extent_offset != ref.offset;
  });
  Resolved out;
  out.verdict = add(extent, file, *map, out);
  if (out.verdict == Verdict::kFreed && out.references.size() != ref.count) {
    out.verdict = Verdict::kChanged;
  }
  return out;
}

Resolved Resolver::from_inline(const btrfs::Extent& extent, Excluded excluded) {
  ++counters_.references_inline;
  Resolved out;
  for (const auto& ref : extent.data_refs) {
    auto one = from_data_ref(extent, ref);
    if (one.verdict == Verdict::kExcluded && excluded == Excluded::kDrop) continue;
    if (one.verdict != Verdict::kFreed) return left(one.verdict);
    if (!merge(std::move(one), out)) return left(Verdict::kNodatasum);
  }
  return out;
}

void Resolver::add_references(const btrfs::Extent& extent,
                              const std::vector<btrfs::LogicalRef>& found, Resolved& out) {
  for (std::size_t i = 0; i < found.size();) {
    std::size_t end = i + 1;
    while (end < found.size() && found[end].root == found[i].root &&
           found[end].inode == found[i].inode &&
           found[end].offset - found[end - 1].offset < kNearReferences) {
      ++end;
    }
    const btrfs::FileKey file{found[i].root, found[i].inode};
    auto map = file_map(file, found[i].offset, found[end - 1].offset + 1);
    if (!map.ok()) {
      // Gone since; so is its reference.
      if (!absl::IsNotFound(map.status())) out.verdict = Verdict::kFailed;
    } else if (const Verdict v = add(extent, file, *map, out);
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
  auto found = fs_.logical_ino(address, exact, limits::kVictimReferences);
  errors_ += !found.ok() && !absl::IsNotFound(found.status()) &&
             !absl::IsResourceExhausted(found.status());
  return found;
}

Resolved Resolver::from_logical_ino(const btrfs::Extent& extent, Excluded excluded) {
  auto found = logical_ino(extent.address, false);
  if (absl::IsResourceExhausted(found.status())) return left(Verdict::kTooManyReferences);
  if (absl::IsNotFound(found.status())) return left(Verdict::kUnreferenced);
  if (!found.ok()) return left(Verdict::kFailed);
  if (std::any_of(found->begin(), found->end(),
                  [](const auto& ref) { return !btrfs::is_subvolume(ref.root); })) {
    return left(Verdict::kSystem);
  }
  // By root, inode, offset: one look-up serves neighbours, and sharing meets leaves in order.
  std::sort(found->begin(), found->end(), [](const auto& a, const auto& b) {
    return std::tuple(a.root, a.inode, a.offset) < std::tuple(b.root, b.inode, b.offset);
  });
  found->erase(std::unique(found->begin(), found->end()), found->end());
  Resolved out;
  if (filter_ != nullptr) {
    // Before any is looked up: most that are excluded are so by their subvolume, at no cost.
    for (auto ref = found->begin(); ref != found->end();) {
      const Verdict verdict = judge({ref->root, ref->inode});
      const bool dropped = verdict == Verdict::kExcluded && excluded == Excluded::kDrop;
      if (verdict != Verdict::kFreed && !dropped) return left(verdict);
      ref = dropped ? found->erase(ref) : ref + 1;
    }
  }
  add_references(extent, *found, out);
  if (out.verdict == Verdict::kFreed && out.references.empty())
    out.verdict = Verdict::kUnreferenced;
  return out;
}

Resolved Resolver::inline_references(const btrfs::Extent& extent, std::size_t limit) {
  ++counters_.references_inline;
  Resolved out;
  for (const auto& ref : extent.data_refs) {
    if (out.references.size() >= limit) break;
    auto one = from_data_ref(extent, ref);
    if (readable(one.verdict) || one.verdict == Verdict::kChanged) merge(std::move(one), out);
  }
  return out;
}

Resolved Resolver::references_at(const btrfs::Extent& extent, bool compressed,
                                 std::uint64_t offset) {
  // Of a compressed extent the kernel cannot tell which block lies where, and names them all.
  auto found = logical_ino(compressed ? extent.address : extent.address + offset, !compressed);
  if (!found.ok()) return {};
  Resolved out;
  std::size_t left = limits::kKeeperReferences;
  for (const auto& ref : *found) {
    if (!btrfs::is_subvolume(ref.root)) continue;
    // What came back is the key of the item, or the block's offset in the file; the item then
    // begins at most as far before it as the extent before the block.
    const btrfs::FileKey file{ref.root, ref.inode};
    if (excludes(file)) continue;
    if (left-- == 0) break;
    const std::uint64_t back = compressed ? 0 : std::min(ref.offset, offset);
    auto map = file_map(file, ref.offset - back, ref.offset + 1);
    if (!map.ok()) continue;
    std::erase_if(map->extents,
                  [&](const auto& item) { return item.file_offset + item.length <= ref.offset; });
    Resolved one;
    if (readable(add(extent, file, *map, one))) merge(std::move(one), out);
  }
  return out;
}

}  // namespace skep::dedupe
