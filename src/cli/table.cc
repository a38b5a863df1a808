// SPDX-License-Identifier: MIT
#include "table.h"

#include <fmt/format.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "output.h"
#include "skep/btrfs/status.h"
#include "skep/index/table_file.h"
#include "skep/service/exit_status.h"
#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "skep/service/table_location.h"
#include "text.h"

namespace skep::cli {
namespace {

using cli::fail;
using nlohmann::ordered_json;
using service::format_size;
using service::TableLocation;

int fail(const absl::Status& status, const TableLocation& location) {
  const auto message = message_of(status);
  switch (errno_of(status)) {
    case 0:
      break;
    case ENOENT:
    case ENOTDIR:
      return fail(service::kExitUsage,
                  fmt::format("{}: no such table; 'skep run' makes one", location.path));
    case EACCES:
    case EPERM:
    case EROFS:
      return fail(service::kExitUnsupported, message);
    default:
      return fail(service::kExitFailed, message);
  }
  const bool wrong_call = absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) ||
                          absl::IsFailedPrecondition(status) || absl::IsOutOfRange(status);
  return fail(wrong_call ? service::kExitUsage : service::kExitFailed, message);
}

// OK when nothing was said of whose table it is.
absl::Status check_owner(const TableLocation& location, const btrfs::Uuid& filesystem) {
  if (!location.filesystem || *location.filesystem == filesystem) return absl::OkStatus();
  return absl::FailedPreconditionError(
      fmt::format("{}: belongs to filesystem {}", location.path, btrfs::to_string(filesystem)));
}

const char* name_of(index::FingerprintKind kind) {
  switch (kind) {
    case index::FingerprintKind::kCsum:
      return "csum";
    case index::FingerprintKind::kData:
      return "data";
  }
  return "unknown";
}

std::string show_text(const std::string& path, const index::TableInfo& info) {
  std::string out = path + "\n";
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("  {:<13} {}\n", name, value);
  };
  line("filesystem", btrfs::to_string(info.filesystem));
  line("size", format_size(info.size_bytes));
  line("format", fmt::format("version {}", info.format_version));
  line("fingerprints",
       info.kind == index::FingerprintKind::kCsum
           ? fmt::format("csum, from the {} of blocks of {}", btrfs::to_string(info.csum_type),
                         format_size(info.block_size))
           : fmt::format("data, from blocks of {}", format_size(info.block_size)));
  line("created", age(info.created_seconds));
  line("written", age(info.written_seconds));
  line("cells", fmt::format("{} of {} in use, {:.1f} %", grouped(info.usage.cells),
                            grouped(info.usage.capacity),
                            100.0 * static_cast<double>(info.usage.cells) /
                                static_cast<double>(info.usage.capacity)));
  line("sampling",
       fmt::format("level {}: {}", info.usage.level,
                   info.usage.level == 0
                       ? "every block"
                       : fmt::format("one block in {}", grouped(1ULL << info.usage.level))));
  line("buckets",
       fmt::format("{}; cells in use: least {}, median {}, most {}", grouped(info.buckets),
                   info.least_fill, info.median_fill, info.most_fill));
  std::string former;
  for (const std::uint64_t bytes : info.former_sizes) {
    former += (former.empty() ? "" : ", ") + format_size(bytes);
  }
  if (!former.empty()) line("former sizes", former);
  return out;
}

std::string show_json(const std::string& path, const index::TableInfo& info) {
  ordered_json out;
  out["version"] = 1;
  out["file"] = path;
  out["filesystem"] = btrfs::to_string(info.filesystem);
  out["size_bytes"] = info.size_bytes;
  out["format_version"] = info.format_version;
  out["block_size"] = info.block_size;
  out["fingerprints"] = name_of(info.kind);
  out["checksum"] = btrfs::to_string(info.csum_type);
  out["created"] = info.created_seconds;
  out["written"] = info.written_seconds;
  out["cells"] = info.usage.cells;
  out["capacity"] = info.usage.capacity;
  out["sampling_level"] = info.usage.level;
  out["buckets"] = info.buckets;
  out["bucket_cells"] = {
      {"least", info.least_fill}, {"median", info.median_fill}, {"most", info.most_fill}};
  out["former_sizes"] = info.former_sizes;
  return service::json_document(out);
}

int show(const TableCommand& command, const TableLocation& location) {
  auto info = index::inspect_table(location.path);
  absl::Status status = info.status();
  if (status.ok()) status = check_owner(location, info->filesystem);
  if (!status.ok()) return fail(status, location);
  return print(command.json ? show_json(location.path, *info) : show_text(location.path, *info),
               service::kExitDone);
}

std::string check_text(const std::string& path, const index::TableCheck& check) {
  if (check.damaged_buckets == 0) {
    return fmt::format("{}: sound, {}\n", path, plural(check.buckets, "bucket"));
  }
  return fmt::format(
      "{}: {} of {} damaged (cells: {} behind a free one, {} out of reach, {} not sampled, {} "
      "without address); delete it: the next run makes a new one and refills it\n",
      path, grouped(check.damaged_buckets), plural(check.buckets, "bucket"),
      grouped(check.behind_gap), grouped(check.unreachable), grouped(check.unsampled),
      grouped(check.no_address));
}

std::string check_json(const std::string& path, const index::TableCheck& check) {
  ordered_json out;
  out["version"] = 1;
  out["file"] = path;
  out["filesystem"] = btrfs::to_string(check.filesystem);
  out["buckets"] = check.buckets;
  out["damaged_buckets"] = check.damaged_buckets;
  out["damaged_cells"] = {{"behind_free", check.behind_gap},
                          {"out_of_reach", check.unreachable},
                          {"not_sampled", check.unsampled},
                          {"without_address", check.no_address}};
  return service::json_document(out);
}

int check(const TableCommand& command, const TableLocation& location) {
  auto found = index::check_table(location.path);
  absl::Status status = found.status();
  if (status.ok()) status = check_owner(location, found->filesystem);
  if (!status.ok()) return fail(status, location);
  return print(command.json ? check_json(location.path, *found) : check_text(location.path, *found),
               found->damaged_buckets == 0 ? service::kExitDone : service::kExitFailed);
}

int resize(const TableCommand& command, const TableLocation& location) {
  auto done = index::resize_table(location.path, command.size_bytes,
                                  location.filesystem ? &*location.filesystem : nullptr);
  if (!done.ok()) return fail(done.status(), location);
  if (done->from_bytes == done->to_bytes) {
    return print(fmt::format("{}: has {} already\n", location.path, format_size(done->to_bytes)),
                 service::kExitDone);
  }
  return print(fmt::format("{}: resized from {} to {}; {} of {} kept, sampling level {}\n",
                           location.path, format_size(done->from_bytes),
                           format_size(done->to_bytes), grouped(done->after.cells),
                           plural(done->before.cells, "cell"), done->after.level),
               service::kExitDone);
}

}  // namespace

int table(const TableCommand& command) {
  const auto location = service::locate_table(command.name, command.state_dir);
  if (location.refusal.exit_status != 0) {
    return fail(location.refusal.exit_status, location.refusal.message);
  }
  switch (command.action) {
    case TableCommand::Action::kShow:
      return show(command, location);
    case TableCommand::Action::kResize:
      return resize(command, location);
    case TableCommand::Action::kCheck:
      break;
  }
  return check(command, location);
}

}  // namespace skep::cli
