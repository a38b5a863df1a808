// SPDX-License-Identifier: MIT
#include "read_ahead.h"

#include <algorithm>

namespace skep::dedupe {
namespace {
// A range is asked for when it has grown to this: what is held back is not being read.
constexpr std::uint64_t kAskBytes = 1 << 20;
}  // namespace

void ReadAhead::add(const btrfs::FileHandle& file, std::uint64_t offset, std::uint64_t length) {
  length = std::min(length, steps_.bytes());
  asked_ += length;
  for (Range& range : open_) {
    if (range.file != file || offset < range.first || offset > range.end) continue;
    range.end = std::max(range.end, offset + length);
    if (range.end - range.first >= kAskBytes) ask(range);
    return;
  }
  Range& range = open_[next_++ % open_.size()];
  ask(range);
  range = {file, offset, offset + length};
}

void ReadAhead::ask(Range& range) {
  if (range.end == range.first) return;
  auto opened = fs_.open(range.file);
  // An error is told when the range is shared.
  if (opened.ok()) (*opened)->readahead(range.first, range.end - range.first);
  counters_.bytes_read_asked += range.end - range.first;
  range.first = range.end;
}

void ReadAhead::flush() {
  for (Range& range : open_) ask(range);
}

}  // namespace skep::dedupe
