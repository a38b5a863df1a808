// SPDX-License-Identifier: MIT
//
// Asks the kernel to read file ranges, neighbouring ranges of a file in one call each. Source and
// target alternate in what is added, so it merges into the last ranges of several files.
// Thread-compatible; asks for what is still held back at the end of its life.
#pragma once

#include <array>
#include <cstdint>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

class ReadAhead {
 public:
  ReadAhead(btrfs::Filesystem& fs, Counters& counters, const Steps& steps)
      : fs_(fs), counters_(counters), steps_(steps) {}
  ~ReadAhead() { flush(); }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Of a range longer than a step only that much: the rest is asked for piece by piece while it is
  // shared.
  void add(const btrfs::FileHandle& file, std::uint64_t offset, std::uint64_t length);
  void flush();
  std::uint64_t asked_bytes() const { return asked_; }

 private:
  struct Range {
    btrfs::FileHandle file;
    std::uint64_t first = 0, end = 0;
  };
  void ask(Range& range);

  btrfs::Filesystem& fs_;
  Counters& counters_;
  const Steps& steps_;
  std::array<Range, 4> open_;
  std::size_t next_ = 0;
  std::uint64_t asked_ = 0;
};

}  // namespace skep::dedupe
