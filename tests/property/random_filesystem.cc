// SPDX-License-Identifier: MIT
#include "random_filesystem.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>

#include "collision.h"
#include "skep/btrfs/crc32c.h"
#include "skep/index/fingerprint.h"

namespace skep::property {
namespace {

using btrfs::FileKey;

// A block number with this bit has the checksum of the number without it, and other bytes.
constexpr std::uint32_t kCollides = 1U << 31;
// Tail lengths that come often enough to meet.
constexpr std::array<std::uint64_t, 6> kTails = {1, 100, 511, 2048, 3000, 4095};

void fill(std::uint32_t number, std::span<std::byte> out) {
  const std::uint32_t content = number & ~kCollides;
  for (std::size_t at = 0; content != 0 && at < out.size(); at += 8) {
    const std::uint64_t word = index::mix(std::uint64_t{content} << 32 | at);
    std::memcpy(out.data() + at, &word, 8);
  }
  if ((number & kCollides) == 0) return;
  const std::uint32_t before = btrfs::crc32c(out);
  testing::change_without_checksum(out);
  if (btrfs::crc32c(out) != before) {
    std::fprintf(stderr, "the polynomial does not leave the checksum as it is\n");
    std::abort();
  }
}

void must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "building: %s\n", status.ToString().c_str());
  std::abort();
}

}  // namespace

btrfs::MemoryOptions RandomFilesystem::options(Random& random) {
  btrfs::MemoryOptions out;
  constexpr std::array<std::uint64_t, 4> kMost = {1, 4, 16, 64};
  out.max_extent_length = kMost[random.below(kMost.size())] * kBlock;
  if (random.percent(50)) out.max_extent_length = 64 * kBlock;
  out.csum_stretch_blocks = 1 + random.below(1000);
  return out;
}

RandomFilesystem::RandomFilesystem(std::uint64_t seed, bool collisions)
    : random_(seed),
      collisions_(collisions),
      // Half of them are mostly plain, some mostly compressed or without checksums.
      plain_percent_(random_.percent(50) ? 90 : 10 + random_.below(80)),
      fs_(options(random_)) {}

void RandomFilesystem::build(int files) {
  for (std::uint64_t more = random_.below(3); more > 0; --more) fs_.add_subvolume();
  for (int i = 0; i < files; ++i) {
    create();
    if (random_.percent(40)) step();
    if (random_.percent(3)) must(fs_.sync().status());
  }
  must(fs_.sync().status());
}

// Most are short, some are long.
std::uint64_t RandomFilesystem::some_length() {
  const std::uint64_t most = random_.percent(50) ? 4 : random_.percent(70) ? 16 : 64;
  return 1 + random_.below(most);
}

RandomFilesystem::Blocks RandomFilesystem::some_blocks() {
  Blocks out;
  const std::uint64_t length = some_length();
  const std::uint64_t kind = random_.below(100);
  if (kind < 50 && !sequences_.empty()) {
    // Seen before, from any block on.
    const Blocks& from = sequences_[random_.below(sequences_.size())];
    const std::uint64_t first = random_.percent(50) ? 0 : random_.below(from.size());
    const std::uint64_t end = random_.percent(30) ? from.size() : first + length;
    out.assign(from.begin() + static_cast<std::ptrdiff_t>(first),
               from.begin() + static_cast<std::ptrdiff_t>(std::min(end, from.size())));
    if (random_.percent(15)) out[random_.below(out.size())] = fresh_block();
    if (collisions_ && random_.percent(6)) out[random_.below(out.size())] ^= kCollides;
    return out;
  }
  for (std::uint64_t i = 0; i < length; ++i) {
    if (kind < 75) out.push_back(fresh_block());
    if (kind >= 75 && kind < 92) out.push_back(static_cast<std::uint32_t>(random_.below(3)));
    if (kind >= 92) out.push_back(0);
  }
  sequences_.push_back(out);
  return out;
}

Bytes RandomFilesystem::bytes_of(const Blocks& blocks) {
  Bytes out(blocks.size() * kBlock);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    fill(blocks[i], std::span(out).subspan(i * kBlock, kBlock));
  }
  return out;
}

Bytes RandomFilesystem::some_bytes() {
  Bytes out = bytes_of(some_blocks());
  if (random_.percent(50)) return out;
  const std::uint64_t tail =
      random_.percent(60) ? kTails[random_.below(kTails.size())] : 1 + random_.below(kBlock - 1);
  out.resize(out.size() - kBlock + tail);
  return out;
}

std::uint64_t RandomFilesystem::some_root() {
  std::vector<std::uint64_t> roots = {btrfs::kTopLevelRoot};
  auto subvolumes = fs_.subvolumes();
  if (subvolumes.ok()) {
    for (const auto& subvolume : *subvolumes) {
      if (!subvolume.read_only) roots.push_back(subvolume.root);
    }
  }
  return roots[random_.below(roots.size())];
}

// False when there is none, or when the one that was chosen may not be changed.
bool RandomFilesystem::any_file(FileKey& key) {
  if (shadow_.empty()) return false;
  auto at = shadow_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(random_.below(shadow_.size())));
  key = at->first;
  return !immutable_.contains(key);
}

void RandomFilesystem::put(FileKey key, std::uint64_t at, const Bytes& bytes,
                           std::uint8_t compression) {
  if (!fs_.write(key, at, bytes, compression).ok()) return;
  Bytes& shadow = shadow_[key];
  shadow.resize(std::max<std::size_t>(shadow.size(), at + bytes.size()));
  std::copy(bytes.begin(), bytes.end(), shadow.begin() + static_cast<std::ptrdiff_t>(at));
}

void RandomFilesystem::create() {
  const std::uint64_t root = some_root();
  if (random_.percent(4)) {
    Bytes small = some_bytes();
    small.resize(1 + random_.below(2000));
    shadow_[fs_.create_inline(root, small)] = small;
    return;
  }
  const bool plain = random_.percent(plain_percent_);
  const std::uint64_t flags =
      !plain && random_.percent(40) ? btrfs::kInodeNodatasum | btrfs::kInodeNodatacow : 0;
  const std::uint8_t compression =
      !plain && random_.percent(60) ? static_cast<std::uint8_t>(1 + random_.below(3)) : 0;
  const FileKey key = fs_.create(root, {}, flags);
  shadow_[key];
  for (std::uint64_t pieces = random_.percent(70) ? 1 : 1 + random_.below(4); pieces > 0;
       --pieces) {
    put(key, shadow_[key].size(), some_bytes(), compression);
  }
  if (!plain && random_.percent(30)) {
    must(fs_.set_flags(key, flags | btrfs::kInodeImmutable));
    immutable_.insert(key);
  }
}

void RandomFilesystem::write() {
  FileKey key;
  if (!any_file(key)) return;
  std::uint64_t at = random_.below(shadow_[key].size() + 2 * kBlock);
  if (random_.percent(80)) at -= at % kBlock;
  put(key, at, some_bytes(), random_.percent(3) ? 1 : 0);
}

void RandomFilesystem::append() {
  FileKey key;
  if (!any_file(key)) return;
  put(key, shadow_[key].size(), some_bytes(), 0);
}

void RandomFilesystem::reflink() {
  FileKey from, to;
  if (!any_file(from) || !any_file(to)) return;
  const Bytes source = shadow_[from];
  Bytes& target = shadow_[to];
  const std::uint64_t at = random_.below(source.size() / kBlock + 1) * kBlock;
  const std::uint64_t to_at = random_.below(target.size() / kBlock + 2) * kBlock;
  std::uint64_t length = source.size() - std::min<std::uint64_t>(source.size(), at);
  if (random_.percent(50)) length = random_.below(length / kBlock + 1) * kBlock;
  if (length == 0 || !fs_.reflink(from, at, length, to, to_at).ok()) return;
  target.resize(std::max<std::size_t>(target.size(), to_at + length));
  std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(at), length,
              target.begin() + static_cast<std::ptrdiff_t>(to_at));
}

void RandomFilesystem::punch() {
  FileKey key;
  if (!any_file(key) || shadow_[key].empty()) return;
  Bytes& shadow = shadow_[key];
  const std::uint64_t at = random_.below(shadow.size());
  const std::uint64_t length = 1 + random_.below(shadow.size() - at);
  if (!fs_.punch(key, at, length).ok()) return;
  std::fill_n(shadow.begin() + static_cast<std::ptrdiff_t>(at), length, std::byte{0});
}

void RandomFilesystem::truncate() {
  FileKey key;
  if (!any_file(key)) return;
  Bytes& shadow = shadow_[key];
  const std::uint64_t size = random_.below(shadow.size() + kBlock);
  if (fs_.truncate(key, size).ok()) shadow.resize(size);
}

void RandomFilesystem::fallocate() {
  FileKey key;
  if (!any_file(key)) return;
  Bytes& shadow = shadow_[key];
  const std::uint64_t at = random_.below(shadow.size() + 1);
  const std::uint64_t length = 1 + random_.below(6 * kBlock);
  if (!fs_.fallocate(key, at, length).ok()) return;
  shadow.resize(std::max<std::size_t>(shadow.size(), at + length));
  if (random_.percent(50)) put(key, at - at % kBlock, some_bytes(), 0);
}

void RandomFilesystem::remove() {
  FileKey key;
  if (shadow_.size() < 4 || !any_file(key) || !fs_.remove(key).ok()) return;
  shadow_.erase(key);
}

void RandomFilesystem::snapshot() {
  auto subvolumes = fs_.subvolumes();
  if (!subvolumes.ok() || subvolumes->size() > 7) return;
  const std::uint64_t root = some_root();
  const bool read_only = random_.percent(60);
  const std::uint64_t copy = fs_.snapshot(root, read_only);
  std::map<FileKey, Bytes> copies;
  for (const auto& [key, bytes] : shadow_) {
    if (key.root != root) continue;
    const FileKey of_copy{copy, key.inode};
    copies[of_copy] = bytes;
    if (read_only || immutable_.contains(key)) immutable_.insert(of_copy);
  }
  shadow_.merge(copies);
}

void RandomFilesystem::step() {
  switch (random_.below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return write();
    case 4:
    case 5:
    case 6:
      return append();
    case 7:
    case 8:
    case 9:
      return reflink();
    case 10:
    case 11:
      return punch();
    case 12:
    case 13:
    case 14:
      return truncate();
    case 15:
      return fallocate();
    case 16:
      return remove();
    case 17:
      return snapshot();
    default:
      return create();
  }
}

absl::Status RandomFilesystem::verify() const {
  if (fs_.files().size() != shadow_.size()) {
    return absl::InternalError(fmt::format("{} files, not {}", fs_.files().size(), shadow_.size()));
  }
  for (const auto& [key, bytes] : shadow_) {
    const Bytes now = fs_.read_all(key);
    if (now == bytes) continue;
    const auto [a, b] = std::mismatch(now.begin(), now.end(), bytes.begin(), bytes.end());
    return absl::InternalError(fmt::format("inode {} of root {}: {} bytes, not {}; differs at {}",
                                           key.inode, key.root, now.size(), bytes.size(),
                                           a - now.begin()));
  }
  return fs_.check();
}

}  // namespace skep::property
