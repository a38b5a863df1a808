// SPDX-License-Identifier: MIT
#include "block_sharer.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <tuple>

#include "skep/dedupe/extent_maps.h"

namespace skep::dedupe {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;
constexpr std::size_t kFirstCompareBytes = 8 << 10, kCompareBytes = 128 << 10;
constexpr std::size_t kMaxOpened = 8;

bool all_zero(std::span<const std::byte> block) {
  return block.empty() || (block[0] == std::byte{0} &&
                           std::memcmp(block.data(), block.data() + 1, block.size() - 1) == 0);
}

std::uint64_t hash_of(std::span<const std::byte> block) {
  return all_zero(block) ? 0 : XXH3_64bits(block.data(), block.size());
}

// How many bytes from two places on are equal, at most `most`; 0 too where they cannot be read.
std::uint64_t equal_ahead(btrfs::NamedFile& one, std::uint64_t at, btrfs::NamedFile& other,
                          std::uint64_t other_at, std::uint64_t most) {
  std::vector<std::byte> a, b;
  // Many runs are short: begin with little.
  std::size_t step = kFirstCompareBytes;
  for (std::uint64_t done = 0; done < most; step = std::min(2 * step, kCompareBytes)) {
    const std::size_t want = std::min<std::uint64_t>(step, most - done);
    a.resize(want);
    b.resize(want);
    const auto got = one.read(at + done, a);
    const auto other_got = other.read(other_at + done, b);
    if (!got.ok() || !other_got.ok()) return done;
    const std::size_t both = std::min(*got, *other_got);
    const auto differs =
        std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(both), b.begin());
    const auto same = static_cast<std::size_t>(differs.first - a.begin());
    done += same;
    if (same < want) return done;
  }
  return most;
}

}  // namespace

struct BlockSharer::Opened {
  std::unique_ptr<btrfs::NamedFile> file;
  btrfs::ExtentMap map;  // as it was when it was opened
};

struct BlockSharer::Run {
  std::shared_ptr<Opened> source;
  std::uint64_t from = 0, offset = 0, length = 0;
};

absl::StatusOr<std::shared_ptr<BlockSharer::Opened>> BlockSharer::open(std::uint32_t index) {
  const auto found = std::find_if(opened_.begin(), opened_.end(),
                                  [&](const auto& entry) { return entry.first == index; });
  if (found != opened_.end()) return found->second;
  auto file = files_.open(records_[index].path);
  if (!file.ok()) return file.status();
  auto opened = std::make_shared<Opened>();
  opened->file = *std::move(file);
  auto map = opened->file->map();
  if (!map.ok()) return map.status();
  opened->map = *std::move(map);
  if (opened_.size() == kMaxOpened) opened_.pop_front();
  opened_.emplace_back(index, opened);
  return opened;
}

// The run of equal blocks around a block that is in the table; empty when it is shorter than
// wanted.
std::optional<BlockSharer::Run> BlockSharer::run_at(const BlockPlaces::Place& place,
                                                    std::uint32_t index, Opened& target,
                                                    std::uint64_t offset, std::uint64_t floor) {
  auto source = open(place.file);
  if (!source.ok()) return std::nullopt;
  btrfs::NamedFile &from = *(*source)->file, &to = *target.file;
  const std::uint64_t block = to.info().block_size;
  const std::uint64_t at = place.block * block;
  // Within one file the two ranges must not overlap.
  const std::uint64_t apart =
      place.file == index ? offset - at : std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t most =
      std::min({from.info().size - std::min(at, from.info().size), to.info().size - offset, apart});
  std::uint64_t ahead = equal_ahead(from, at, to, offset, most);
  // A part of a block is shared where both files end with it.
  const bool both_end = at + ahead == from.info().size && offset + ahead == to.info().size;
  if (!both_end) ahead -= ahead % block;
  std::uint64_t behind = 0;
  while (ahead != 0 && ahead + behind + block <= apart && behind + block <= at &&
         offset >= floor + behind + block &&
         equal_ahead(from, at - behind - block, to, offset - behind - block, block) == block) {
    behind += block;
  }
  Run run{*std::move(source), at - behind, offset - behind, ahead + behind};
  if (ahead == 0 || run.length < options_.min_run_bytes) return std::nullopt;
  return run;
}

absl::Status BlockSharer::share(const Run& run, Opened& target, FileResult& result) {
  const auto agreed = agreement({run.source->map, run.from}, {target.map, run.offset}, run.length);
  if (agreed.bytes == run.length) return absl::OkStatus();
  if (options_.dry_run) {
    result.shared_bytes += run.length - agreed.bytes;
    return absl::OkStatus();
  }
  const btrfs::RangeTarget asked{target.file.get(), run.offset};
  const auto outcome = ranges_.share(*run.source->file, run.from, run.length, {&asked, 1}).front();
  result.shared_bytes += outcome.done - std::min(outcome.done, agreed.bytes);
  if (outcome.stopped) result.fate = FileFate::kStopped;
  // What differs has changed meanwhile, and is left.
  return outcome.status;
}

// Looks each block of a file up, and puts those into the table that are not there.
void BlockSharer::walk(std::uint32_t index, BlockPlaces& places, Report report, Problem problem) {
  const FileRecord& record = records_[index];
  auto opened = open(index);
  if (!opened.ok()) return problem(record, opened.status());
  const std::shared_ptr<Opened> target = *opened;
  const std::uint64_t block = target->file->info().block_size;
  GroupResult group;
  group.size = record.info.size;
  group.blocks = true;
  FileResult& result = group.files.emplace_back(FileResult{FileFate::kShared, record.path});
  std::vector<std::byte> buffer(std::max<std::uint64_t>(kBufferBytes / block, 1) * block);
  std::uint64_t floor = 0;  // before it all is done
  absl::Status status;
  for (std::uint64_t at = 0; status.ok() && !stop_;) {
    const auto got = target->file->read(at, buffer);
    if (!got.ok()) status = got.status();
    if (!got.ok() || *got < block) break;
    target->file->readahead(at + *got, 2 * kBufferBytes);
    std::uint64_t next = at + *got / block * block;
    for (std::uint64_t here = std::max(at, floor); here < next && status.ok(); here += block) {
      const std::uint64_t hash = hash_of(std::span(buffer).subspan(here - at, block));
      const auto* place = places.find(hash);
      if (place == nullptr) {
        places.add({hash, index, static_cast<std::uint32_t>(here / block)});
      } else if (record.info.may_be_target) {
        const auto run = run_at(*place, index, *target, here, floor);
        if (!run) continue;
        status = share(*run, *target, result);
        floor = run->offset + run->length;
        here = std::max(floor / block, here / block + 1) * block - block;
      }
    }
    at = std::max(next, floor / block * block);
  }
  if (!status.ok()) problem(record, status);
  if (result.shared_bytes == 0) return;
  if (const auto after = target->file->map(); after.ok() && !options_.dry_run) {
    const Released freed = released(target->map, *after, record.info.frees_whole_extents);
    result.freed_bytes = freed.bytes;
    result.packed = freed.packed && freed.bytes != 0;
    target->map = *after;
  }
  report(group);
}

void BlockSharer::run_together(std::vector<FileRecord> records, Report report, Problem problem) {
  records_ = std::move(records);
  opened_.clear();
  // The others share with those that come first: what can not be changed, and what is shared with
  // yet others, of which less would be freed.
  const auto rank = [](const FileRecord& r) {
    return std::tuple(r.info.may_be_target, ~r.shared_bytes, r.order);
  };
  std::sort(records_.begin(), records_.end(),
            [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  std::uint64_t blocks = 0;
  for (const FileRecord& record : records_) blocks += record.info.size / record.info.block_size;
  BlockPlaces places(blocks);
  for (std::uint32_t i = 0; i < records_.size() && !stop_; ++i) walk(i, places, report, problem);
  opened_.clear();
}

void BlockSharer::run(std::vector<FileRecord> records, Report report, Problem problem) {
  const auto key = [](const FileRecord& r) {
    return std::tuple(r.info.filesystem, r.info.nocow, r.info.block_size);
  };
  std::stable_sort(records.begin(), records.end(),
                   [&](const auto& a, const auto& b) { return key(a) < key(b); });
  for (auto first = records.begin(); first != records.end() && !stop_;) {
    const auto end =
        std::find_if(first, records.end(), [&](const auto& r) { return key(r) != key(*first); });
    run_together({std::make_move_iterator(first), std::make_move_iterator(end)}, report, problem);
    first = end;
  }
}

}  // namespace skep::dedupe
