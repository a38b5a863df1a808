// SPDX-License-Identifier: MIT
//
// Fingerprints extents by reading them, through files that refer to them and the page cache: the
// kernel checks their checksums and unpacks them. Reads are issued ahead, in the order of the
// extents, and bounded; what skep alone brought into the page cache is dropped behind, so that
// other programs' data stays. Thread-compatible.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/counters.h"
#include "skep/dedupe/pace.h"
#include "skep/dedupe/types.h"

namespace skep::dedupe {

// An extent to read: `blocks` has one element for each block of its content, and gets a fingerprint
// where some reference reads it whole or up to its file's end.
struct ToRead {
  FingerprintedExtent* extent = nullptr;
  std::vector<Reference> references;
  std::uint64_t first = 0, end = ~0ULL;  // blocks of its content that are wanted
};

class ContentReader {
 public:
  ContentReader(btrfs::Filesystem& fs, const index::Fingerprinter& fingerprinter,
                Counters& counters)
      : fs_(fs), fingerprinter_(fingerprinter), counters_(counters), block_(fs.info().block_size) {}

  enum class CachePolicy {
    kDrop,  // nobody needs the pages soon
    kKeep,  // they are about to be compared
  };
  // What cannot be read is left without fingerprint, and counted. `stop` is asked now and then;
  // true from it ends the reading early.
  void read(std::span<const ToRead> extents, CachePolicy policy, absl::FunctionRef<bool()> stop,
            const Steps& steps = {});

 private:
  struct Piece {
    FingerprintedExtent* extent = nullptr;
    btrfs::FileHandle key;
    std::uint64_t file_offset = 0;
    std::uint64_t first = 0;  // block of the extent's content
    std::uint64_t length = 0;
    // Once it is started; null when the file could not be opened.
    std::shared_ptr<btrfs::File> file;
    std::vector<bool> cached;  // its pages that were in the page cache before
    std::vector<std::byte> bytes;
  };
  void cut(const ToRead& extent, std::deque<Piece>& pieces) const;
  void start(Piece& piece);
  void finish(Piece& piece, CachePolicy policy);
  void drop(const Piece& piece) const;
  void complete_tail(const ToRead& extent);

  btrfs::Filesystem& fs_;
  const index::Fingerprinter& fingerprinter_;
  Counters& counters_;
  const std::uint64_t block_;
  std::uint64_t ahead_bytes_ = 0;
};

}  // namespace skep::dedupe
