// SPDX-License-Identifier: MIT
#include "skep/dedupe/file_groups.h"

#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>

namespace skep::dedupe {
namespace {

constexpr std::size_t kCompareBuffer = 1 << 20;
// Most files that differ do so near their beginning.
constexpr std::uint64_t kHeadBytes = 64 << 10;

class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
  void add(const void* data, std::size_t size) { XXH3_128bits_update(state_.get(), data, size); }
  Digest digest() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.low64, hash.high64};
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> state_;
};

bool tells_the_place(const btrfs::ExtentMap& map) {
  return !map.empty() && std::all_of(map.begin(), map.end(), [](const auto& extent) {
    return extent.placed && !extent.packed;
  });
}

// The same however the map is cut into extents.
Digest place_of(const btrfs::ExtentMap& map) {
  Hasher hasher;
  btrfs::MappedExtent open = map.front();
  const auto close = [&] {
    const std::uint64_t fields[] = {open.offset, open.address, open.length};
    hasher.add(fields, sizeof fields);
  };
  for (auto next = std::next(map.begin()); next != map.end(); ++next) {
    if (next->offset == open.offset + open.length && next->address == open.address + open.length) {
      open.length += next->length;
      continue;
    }
    close();
    open = *next;
  }
  close();
  return hasher.digest();
}

void note_map(FileRecord& record, const btrfs::ExtentMap& map) {
  record.extents = map.size();
  record.in_metadata = !map.empty();
  for (const auto& extent : map) {
    if (extent.shared) record.shared_bytes += extent.length;
    record.in_metadata = record.in_metadata && !extent.placed;
  }
  if (tells_the_place(map)) record.place = place_of(map);
}

// The digest of the first `length` bytes.
absl::StatusOr<Digest> digest_of(btrfs::NamedFiles& files, const FileRecord& record,
                                 std::uint64_t length, const std::atomic<bool>& stop) {
  auto file = files.open(record.path);
  if (!file.ok()) return file.status();
  Hasher hasher;
  std::vector<std::byte> buffer(std::min<std::uint64_t>(length, kCompareBuffer));
  for (std::uint64_t at = 0; at < length && !stop;) {
    const std::uint64_t want = std::min<std::uint64_t>(buffer.size(), length - at);
    (*file)->readahead(at + want, std::min<std::uint64_t>(length - at - want, 2 * kCompareBuffer));
    const auto got = (*file)->read(at, std::span(buffer).first(want));
    if (!got.ok()) return got.status();
    if (*got == 0) break;  // it was cut meanwhile
    hasher.add(buffer.data(), *got);
    at += *got;
  }
  return hasher.digest();
}

using Records = std::vector<FileRecord>;

class Grouper {
 public:
  Grouper(btrfs::NamedFiles& files, const std::atomic<bool>& stop, Problem problem, Records* alone)
      : files_(files), stop_(stop), problem_(problem), alone_(alone) {}

  std::vector<Records> run(Records records) {
    // Of one filesystem and kind and size.
    split(
        std::move(records),
        [](const FileRecord& r) {
          return std::tuple(r.info.filesystem, r.info.nocow, r.info.size);
        },
        [this](Records same_size) { by_head(std::move(same_size)); });
    if (stop_) return {};
    std::sort(groups_.begin(), groups_.end(),
              [](const Records& a, const Records& b) { return a.front().order < b.front().order; });
    return std::move(groups_);
  }

 private:
  // Hands on each two or more that have the same key; the others are alone. Their order stays.
  template <typename Key, typename Next>
  void split(Records records, Key key, Next next) {
    std::stable_sort(records.begin(), records.end(),
                     [&](const auto& a, const auto& b) { return key(a) < key(b); });
    for (auto first = records.begin(); first != records.end() && !stop_;) {
      const auto end =
          std::find_if(first, records.end(), [&](const auto& r) { return key(r) != key(*first); });
      Records same(std::make_move_iterator(first), std::make_move_iterator(end));
      first = end;
      if (same.size() > 1) {
        next(std::move(same));
      } else if (alone_ != nullptr) {
        alone_->push_back(std::move(same.front()));
      }
    }
  }
  void by_head(Records records) {
    if (records.front().info.size <= 2 * kHeadBytes) return by_content(std::move(records));
    by_digest(std::move(records), kHeadBytes,
              [this](Records same) { by_content(std::move(same)); });
  }
  void by_content(Records records) {
    const std::uint64_t size = records.front().info.size;
    by_digest(std::move(records), size, [this](Records same) {
      std::stable_sort(same.begin(), same.end(),
                       [](const auto& a, const auto& b) { return a.order < b.order; });
      groups_.push_back(std::move(same));
    });
  }
  template <typename Next>
  void by_digest(Records records, std::uint64_t length, Next next);

  btrfs::NamedFiles& files_;
  const std::atomic<bool>& stop_;
  const Problem problem_;
  Records* const alone_;
  std::vector<Records> groups_;
};

template <typename Next>
void Grouper::by_digest(Records records, std::uint64_t length, Next next) {
  std::stable_sort(records.begin(), records.end(),
                   [](const auto& a, const auto& b) { return a.place < b.place; });
  std::vector<std::pair<Digest, FileRecord>> digests;
  for (FileRecord& record : records) {
    if (stop_) return;
    // What is stored in the same place need not be read twice.
    if (!digests.empty() && record.place != Digest{} &&
        record.place == digests.back().second.place) {
      digests.emplace_back(digests.back().first, std::move(record));
      continue;
    }
    const auto digest = digest_of(files_, record, length, stop_);
    if (digest.ok()) {
      digests.emplace_back(*digest, std::move(record));
    } else {
      problem_(record, digest.status());
    }
  }
  if (stop_) return;  // the last one may have been cut short
  std::stable_sort(digests.begin(), digests.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto first = digests.begin(); first != digests.end();) {
    const auto end =
        std::find_if(first, digests.end(), [&](const auto& d) { return d.first != first->first; });
    Records same;
    for (; first != end; ++first) same.push_back(std::move(first->second));
    if (same.size() > 1) {
      next(std::move(same));
    } else if (alone_ != nullptr) {
      alone_->push_back(std::move(same.front()));
    }
  }
}

}  // namespace

absl::StatusOr<FileRecord> look_at(btrfs::NamedFiles& files, const std::string& path) {
  auto file = files.open(path);
  if (!file.ok()) return file.status();
  FileRecord record;
  record.path = path;
  record.info = (*file)->info();
  // Without a map it can be shared as well, only less is known.
  if (const auto map = (*file)->map(); map.ok()) note_map(record, *map);
  return record;
}

bool can_share(const FileRecord& one, const FileRecord& other) {
  return one.info.filesystem == other.info.filesystem && one.info.nocow == other.info.nocow;
}

std::vector<Records> group_equal(btrfs::NamedFiles& files, Records records,
                                 const std::atomic<bool>& stop, Problem problem, Records* alone) {
  return Grouper(files, stop, problem, alone).run(std::move(records));
}

}  // namespace skep::dedupe
