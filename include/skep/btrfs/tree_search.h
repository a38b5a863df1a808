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
#include <vector>

#include "skep/btrfs/parse.h"

namespace skep::btrfs {

// Thread-compatible: one search buffer, so one walk at a time for each object.
class TreeSearch {
 public:
  // `fd`: any descriptor of the filesystem, borrowed. The kernel faults in the whole of the buffer
  // at each call, so point look-ups want a small one (4 KiB), walks a large one (1 MiB).
  TreeSearch(int fd, std::size_t buffer_bytes);

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
  int fd_;
  std::vector<std::uint64_t> buffer_;
};

}  // namespace skep::btrfs
