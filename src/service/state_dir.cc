// SPDX-License-Identifier: MIT
#include "skep/service/state_dir.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "checkpoint_json.h"
#include "replace_file.h"
#include "skep/btrfs/status.h"
#include "whole_json.h"

namespace skep::service {
namespace {

using nlohmann::json;

// Visits each total that is counted, with what this process has counted.
template <typename Visit>
void visit_counted(Totals& totals, const dedupe::Counters& counters, Visit visit) {
  visit(totals.bytes_freed, counters.freed_bytes());
  visit(totals.bytes_copied, counters.bytes_copied);
  visit(totals.extents_scanned, counters.extents_scanned);
  visit(totals.bytes_scanned, counters.bytes_scanned);
  visit(totals.bytes_shared, counters.bytes_duplicate);
  visit(totals.bytes_read, counters.bytes_read_asked);
}

}  // namespace

// Unsigned arithmetic: a difference below zero comes back in the sum.
Totals sum(const Totals& before, const dedupe::Counters& counters) {
  Totals out = before;
  visit_counted(out, counters, [](std::uint64_t& total, std::uint64_t count) { total += count; });
  return out;
}

Totals difference(const Totals& totals, const dedupe::Counters& counters) {
  Totals out = totals;
  visit_counted(out, counters, [](std::uint64_t& total, std::uint64_t count) { total -= count; });
  return out;
}

std::string StateDir::default_path(const btrfs::Uuid& filesystem) {
  return "/var/lib/skep/" + btrfs::to_string(filesystem);
}

absl::StatusOr<StateDir> StateDir::open(std::string path, const btrfs::Uuid& filesystem) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return errno_status(error.value(), "mkdir", path);
  StateDir dir(std::move(path), filesystem);
  if (auto status = dir.load(); !status.ok()) return status;
  return dir;
}

absl::StatusOr<Checkpoint> StateDir::peek(const std::string& path, const btrfs::Uuid& filesystem) {
  std::ifstream file(path + "/state.json");
  if (!file) return errno_status(errno, "open", path + "/state.json");
  try {
    const json in = parse_whole_json<json>(file);
    if (const auto owner = in.at("filesystem").get<std::string>();
        owner != btrfs::to_string(filesystem)) {
      return absl::FailedPreconditionError(
          fmt::format("{}: belongs to filesystem {}; choose another --state-dir", path, owner));
    }
    if (const int version = in.at("version").get<int>(); version != kCheckpointVersion) {
      return absl::DataLossError(fmt::format("it has version {}", version));
    }
    return checkpoint_of(in);
  } catch (const json::exception& e) {
    return absl::DataLossError("it is damaged");
  }
}

absl::Status StateDir::load() {
  auto found = peek(path_, filesystem_);
  if (errno_of(found.status()) == ENOENT) return absl::OkStatus();
  if (found.ok()) found_ = *found;
  if (!absl::IsDataLoss(found.status())) return found.status();
  set_aside_reason_ = message_of(found.status());
  const std::string path = path_ + "/state.json";
  if (std::rename(path.c_str(), (path + ".old").c_str()) != 0) {
    return errno_status(errno, "rename", path);
  }
  return absl::OkStatus();
}

absl::Status StateDir::save(const Checkpoint& checkpoint) const {
  return replace_file(path_ + "/state.json", to_json(checkpoint, filesystem_).dump(2) + "\n",
                      Replacing::kDurably);
}

}  // namespace skep::service
