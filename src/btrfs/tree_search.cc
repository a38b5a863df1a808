// SPDX-License-Identifier: MIT
#include "skep/btrfs/tree_search.h"

#include <fmt/format.h>
#include <linux/btrfs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <limits>

#include "skep/btrfs/status.h"

namespace skep::btrfs {
namespace {

// The key after `key` in tree order; wraps to the smallest key after the largest.
Key successor(Key key) {
  if (++key.offset == 0 && ++key.type == 0) ++key.objectid;
  return key;
}

}  // namespace

TreeSearch::TreeSearch(int fd, std::size_t item_bytes, std::size_t largest_item,
                       std::uint64_t generation)
    : fd_(fd), largest_item_(largest_item), generation_(generation) {
  allocate(item_bytes + largest_item);
}

void TreeSearch::allocate(std::size_t item_bytes) {
  size_ = item_bytes;
  const std::size_t words = (sizeof(btrfs_ioctl_search_args_v2) + item_bytes + 7) / 8;
  buffer_ = std::make_unique_for_overwrite<std::uint64_t[]>(words);
}

absl::StatusOr<TreeSearch::Step> TreeSearch::step(std::uint64_t tree, Key first, Key last,
                                                  absl::FunctionRef<bool(const Item&)> visit) {
  auto* args = reinterpret_cast<btrfs_ioctl_search_args_v2*>(buffer_.get());
  for (;;) {
    args->key = {};
    args->key.tree_id = tree;
    args->key.min_objectid = first.objectid;
    args->key.min_type = first.type;
    args->key.min_offset = first.offset;
    args->key.max_objectid = last.objectid;
    args->key.max_type = last.type;
    args->key.max_offset = last.offset;
    args->key.min_transid = generation_;
    args->key.max_transid = std::numeric_limits<std::uint64_t>::max();
    args->key.nr_items = std::numeric_limits<std::uint32_t>::max();
    args->buf_size = size_;
    if (ioctl(fd_, BTRFS_IOC_TREE_SEARCH_V2, args) == 0) break;
    if (errno == EINTR) continue;
    // One item is larger than the buffer: buf_size now says how large.
    if (errno == EOVERFLOW && args->buf_size > size_) {
      allocate(args->buf_size);
      args = reinterpret_cast<btrfs_ioctl_search_args_v2*>(buffer_.get());
      continue;
    }
    return errno_status(errno, "TREE_SEARCH_V2", fmt::format("tree {}", tree));
  }
  Step out;
  if (args->key.nr_items == 0) {
    out.done = true;
    return out;
  }
  Key seen = first;
  bool stopped = false;
  std::size_t used = 0;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(args->buf), size_);
  auto status = parse_search_items(bytes, args->key.nr_items, [&](const Item& item) {
    seen = item.key;
    used = static_cast<std::size_t>(item.data.data() + item.data.size() - bytes.data());
    stopped = !visit(item);
    return !stopped;
  });
  if (!status.ok()) return status;
  out.next = successor(seen);
  const bool range_ended = size_ - used > largest_item_ + sizeof(btrfs_ioctl_search_header);
  out.done = stopped || range_ended || out.next > last || out.next < seen;
  return out;
}

absl::Status TreeSearch::for_each(std::uint64_t tree, Key first, Key last,
                                  absl::FunctionRef<bool(const Item&)> visit) {
  for (Key at = first;;) {
    auto step = this->step(tree, at, last, visit);
    if (!step.ok()) return step.status();
    if (step->done) return absl::OkStatus();
    at = step->next;
  }
}

}  // namespace skep::btrfs
