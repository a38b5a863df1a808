// SPDX-License-Identifier: MIT
//
// BTRFS_IOC_TREE_SEARCH_V2 as a walk over a key range. The kernel compares whole keys, so a range
// that spans objectids also returns the item types in between: the visitor looks at the key.
#pragma once

#include <absl/functional/function_ref.h>
#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "skep/btrfs/parse.h"

namespace skep::btrfs {

// The end of a range that takes in all offsets of its objectid and type.
inline constexpr std::uint64_t kLastOffset = std::numeric_limits<std::uint64_t>::max();
// Buffers for one item, and for a walk.
inline constexpr std::size_t kLookUpBytes = 4096, kWalkBytes = 256 << 10;

// Thread-compatible: one search buffer, so one walk at a time for each object.
class TreeSearch {
 public:
  // `fd`: any descriptor of the filesystem, borrowed. `largest_item`: the node size. The kernel
  // ends a call when the range or the buffer does; when as much as the largest item is left of the
  // buffer, it was the range, and no second call is needed to know. The kernel faults in the whole
  // of the buffer at each call, so look-ups want a small one, walks a large one; the size is what
  // the items get, `largest_item` comes on top. Leaves not written since `generation` are passed by
  // with all above them; what comes may be older all the same.
  TreeSearch(int fd, std::size_t item_bytes, std::size_t largest_item,
             std::uint64_t generation = 0);

  // Calls `visit` for every item of `tree` in [first, last] until it returns false.
  absl::Status for_each(std::uint64_t tree, Key first, Key last,
                        absl::FunctionRef<bool(const Item&)> visit);
  // One call of the kernel. Returns the key after the last item seen, or `done`.
  struct Step {
    Key next;
    bool done = false;
  };
  absl::StatusOr<Step> step(std::uint64_t tree, Key first, Key last,
                            absl::FunctionRef<bool(const Item&)> visit);

 private:
  void allocate(std::size_t item_bytes);

  const int fd_;
  const std::size_t largest_item_;
  const std::uint64_t generation_;
  std::size_t size_ = 0;                     // of the items' part of the buffer
  std::unique_ptr<std::uint64_t[]> buffer_;  // not cleared: the kernel fills it
};

}  // namespace skep::btrfs
