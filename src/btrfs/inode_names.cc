// SPDX-License-Identifier: MIT
#include "inode_names.h"

#include <fmt/format.h>
#include <linux/btrfs_tree.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/btrfs/tree_search.h"

namespace skep::btrfs {

// The inode item and its INODE_REFs and INODE_EXTREFs lie side by side: one call, mostly.
absl::StatusOr<NamedInode> inode_names(int fd, std::size_t node_size, FileKey file) {
  constexpr std::size_t kLookupBytes = 4096;
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  TreeSearch search(fd, kLookupBytes, node_size);
  NamedInode out;
  bool found = false;
  auto status = search.for_each(file.root, {file.inode, BTRFS_INODE_ITEM_KEY, 0},
                                {file.inode, BTRFS_INODE_EXTREF_KEY, kMax}, [&](const Item& item) {
                                  if (auto inode = parse_inode_item(item)) {
                                    out.inode = *inode;
                                    found = true;
                                  }
                                  parse_names(item, [&](FileName name) {
                                    // The top folder is its own: "..".
                                    if (name.folder == file.inode) return;
                                    out.names.push_back(std::move(name));
                                  });
                                  return true;
                                });
  if (!status.ok()) return status;
  if (!found) {
    return errno_status(ENOENT, "TREE_SEARCH_V2",
                        fmt::format("inode {} of root {}", file.inode, file.root));
  }
  return out;
}

}  // namespace skep::btrfs
