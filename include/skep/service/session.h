// SPDX-License-Identifier: MIT
//
// What works on a filesystem has open: the filesystem, locked against other instances, the state
// directory, and the table. While a session is there the filesystem stays in use, also when its
// mount points are gone. Thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "skep/btrfs/kernel_filesystem.h"
#include "skep/index/table.h"
#include "skep/service/refusal.h"
#include "skep/service/settings.h"
#include "skep/service/state_dir.h"

namespace skep::service {

struct Session {
  std::unique_ptr<btrfs::KernelFilesystem> filesystem;
  std::optional<StateDir> state;
  std::unique_ptr<index::Table> table;
  std::uint64_t subvolume = 0;  // whose top folder was named, by its root; 0: a mount point was
  bool busy = false;            // when refused: another instance works on this filesystem
};

// Opens what `target` names (a mount point, a subvolume's top folder, the UUID of a mounted
// filesystem), and what the
// settings say of its state. What was set aside on the way is logged.
Refusal open_session(const std::string& target, const Settings& settings, Session& session);

// The state directory of a filesystem, as the settings say.
std::string state_path(const Settings& settings, const btrfs::Uuid& filesystem);
// Tells of a damaged checkpoint that was set aside.
void log_set_aside(const StateDir& state);

// Tells of patterns for subvolumes that match none. Once, when work on a filesystem begins.
void warn_of_unmatched(btrfs::Filesystem& fs, const dedupe::FilterOptions& filter);

// The default table: a cell for each block of data at 7/8 fill, between 1 and 64 MiB.
std::uint64_t default_table_bytes(std::uint64_t data_bytes, std::uint32_t block_size);

}  // namespace skep::service
