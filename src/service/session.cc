// SPDX-License-Identifier: MIT
#include "skep/service/session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "skep/btrfs/status.h"
#include "skep/dedupe/file_filter.h"
#include "skep/service/exit_status.h"
#include "skep/service/sizes.h"
#include "target.h"

namespace skep::service {
namespace {

Refusal refuse_state(const absl::Status& status) {
  const int error = errno_of(status);
  // No room for the table: another size or place has to be named, or room be made. Too many open
  // files are as exhausted, and nobody's call is wrong.
  const bool no_room =
      absl::IsResourceExhausted(status) && (error == 0 || error == ENOSPC || error == EDQUOT);
  const bool wrong_call =
      absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) || no_room;
  std::string message(message_of(status));
  if (no_room && error != 0) message += "; make room, or choose another --state-dir";
  if (error == EROFS || error == EACCES || error == EPERM) {
    message += "; make it writable, or choose another --state-dir";
  }
  return {wrong_call ? kExitUsage : kExitFailed, std::move(message), no_room};
}

absl::StatusOr<std::unique_ptr<index::Table>> open_table(btrfs::Filesystem& fs,
                                                         const StateDir& state,
                                                         const Settings& settings) {
  const btrfs::FsInfo& info = fs.info();
  const std::uint64_t wanted = settings.table_size_bytes;
  index::TableOptions options{wanted,          wanted == 0,    info.uuid,
                              info.block_size, info.csum_type, settings.fingerprint};
  if (options.any_size) {
    auto space = fs.space();
    if (!space.ok()) return space.status();
    options.size_bytes = default_table_bytes(space->data.used, info.block_size);
  }
  return index::Table::open(state.table_path(), options);
}

// What a user would wonder about later.
void log_changes(const StateDir& state, const index::Table& table, const Settings& settings) {
  log_set_aside(state);
  if (!table.set_aside_reason().empty()) {
    spdlog::info("{}: {}; set aside as table.old, filling a new one", state.table_path(),
                 table.set_aside_reason());
  }
  if (const std::uint64_t before = table.resized_from_bytes(); before != 0) {
    spdlog::info("{}: resized from {} to {}, what fits is kept", state.table_path(),
                 format_size(before), format_size(settings.table_size_bytes));
  }
}

}  // namespace

std::string state_path(const Settings& settings, const btrfs::Uuid& filesystem) {
  return settings.state_dir.empty() ? StateDir::default_path(filesystem) : settings.state_dir;
}

void log_set_aside(const StateDir& state) {
  if (state.set_aside_reason().empty()) return;
  spdlog::warn("{}/state.json: {}; set aside as state.json.old, beginning anew", state.path(),
               state.set_aside_reason());
}

void warn_of_unmatched(btrfs::Filesystem& fs, const dedupe::FilterOptions& filter) {
  if (!filter.names_subvolumes()) return;
  const auto unmatched = dedupe::FileFilter(fs, filter).unmatched_subvolumes();
  if (!unmatched.ok()) return;  // whoever works on the filesystem meets the same error
  for (const std::string& pattern : *unmatched) {
    spdlog::warn("no subvolume matches '{}'; 'btrfs subvolume list' shows what they are called",
                 pattern);
  }
}

std::uint64_t default_table_bytes(std::uint64_t data_bytes, std::uint32_t block_size) {
  const std::uint64_t cells = data_bytes / block_size * 8 / 7;
  return std::clamp<std::uint64_t>(std::bit_ceil(cells * 8), 1ULL << 20, 64ULL << 20);
}

Refusal open_session(const std::string& target, const Settings& settings, Session& session) {
  Target opened = open_target(target);
  session.busy = opened.busy;
  session.subvolume = opened.subvolume;
  if (opened.filesystem == nullptr) return opened.refusal;
  const btrfs::Uuid& uuid = opened.filesystem->info().uuid;
  if (settings.state_dir.empty() && has_temporary_uuid(uuid)) {
    return {kExitUsage, fmt::format("{}: mounted under a temporary UUID, which no state can be "
                                    "kept for; name a --state-dir",
                                    target)};
  }
  auto state = StateDir::open(state_path(settings, uuid), uuid);
  if (!state.ok()) return refuse_state(state.status());
  auto table = open_table(*opened.filesystem, *state, settings);
  if (!table.ok()) return refuse_state(table.status());
  log_changes(*state, **table, settings);
  session.filesystem = std::move(opened.filesystem);
  session.state = *std::move(state);
  session.table = *std::move(table);
  return {};
}

}  // namespace skep::service
