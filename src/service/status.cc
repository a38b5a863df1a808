// SPDX-License-Identifier: MIT
#include "skep/service/status.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "skep/btrfs/filesystem_uuid.h"
#include "skep/service/json_text.h"

namespace skep::service {
namespace {

using nlohmann::ordered_json;
constexpr std::uint64_t kVersion = 1;

template <typename Totals, typename Visit>
void for_each_total(Totals& totals, const std::string& at, const Visit& visit) {
  visit(at + "/extents_scanned", totals.extents_scanned);
  visit(at + "/bytes_scanned", totals.scanned);
  visit(at + "/bytes_shared", totals.shared);
  visit(at + "/bytes_freed", totals.freed);
  visit(at + "/bytes_copied", totals.copied);
  visit(at + "/bytes_read", totals.read);
}

// The schema, once for writing and for reading: each field's JSON pointer and value.
template <typename AnyStatus, typename Visit>
void for_each_field(AnyStatus& s, const Visit& visit) {
  visit("/skep_version", s.version);
  visit("/filesystem", s.filesystem);
  visit("/mount", s.mount);
  visit("/pid", s.pid);
  visit("/started", s.started);
  visit("/written", s.written);
  visit("/phase", s.phase);
  visit("/pass", s.pass);
  visit("/progress", s.progress);
  visit("/bytes_done", s.work_done);
  visit("/bytes_total", s.work_total);
  visit("/seconds_left", s.seconds_left);
  visit("/bytes_read_per_second", s.read_rate);
  visit("/bytes_scanned_per_second", s.scan_rate);
  visit("/hold", s.hold);
  visit("/hold_text", s.hold_text);
  visit("/slowed", s.slowed);
  for_each_total(s.since_start, "/since_start", visit);
  for_each_total(s.since_ever, "/since_ever", visit);
  visit("/generation", s.generation);
  visit("/done_generation", s.done_generation);
  visit("/deep_generation", s.deep_generation);
  visit("/table/size_bytes", s.table_bytes);
  visit("/table/cells", s.table_cells);
  visit("/table/capacity", s.table_capacity);
  visit("/table/sampling_level", s.table_level);
  visit("/last_error", s.last_error);
  visit("/last_error_time", s.last_error_time);
  visit("/next_try", s.next_try);
}

template <typename T>
ordered_json to_json(const T& value) {
  return value;
}
// JSON has no word for infinity.
ordered_json to_json(double value) { return std::isfinite(value) ? value : 0; }
ordered_json to_json(const std::optional<double>& value) {
  return value ? to_json(*value) : ordered_json();
}

// False for another type, or a number out of range.
bool from_json(const ordered_json& in, std::string& out) {
  if (!in.is_string()) return false;
  out = in.get<std::string>();
  return true;
}
bool from_json(const ordered_json& in, bool& out) {
  if (!in.is_boolean()) return false;
  out = in.get<bool>();
  return true;
}
template <typename Unsigned>
bool from_json(const ordered_json& in, Unsigned& out) {
  if (!in.is_number_unsigned()) return false;
  const auto value = in.get<std::uint64_t>();
  out = static_cast<Unsigned>(value);
  return value <= std::numeric_limits<Unsigned>::max();
}
bool from_json(const ordered_json& in, std::int64_t& out) {
  if (!in.is_number_integer()) return false;
  out = in.get<std::int64_t>();
  return !in.is_number_unsigned() || out >= 0;  // else it went round
}
bool from_json(const ordered_json& in, double& out) {
  if (!in.is_number()) return false;
  out = in.get<double>();
  return true;
}
bool from_json(const ordered_json& in, std::optional<double>& out) {
  out.reset();
  return in.is_null() || from_json(in, out.emplace());
}

absl::Status no_status(const std::string& why) {
  return absl::InvalidArgumentError(fmt::format("no status of skep: {}", why));
}

absl::Status check_version(const ordered_json& in) {
  const auto version = in.find("version");
  if (version == in.end() || !version->is_number_unsigned()) return no_status("without version");
  if (*version == kVersion) return absl::OkStatus();
  return no_status(
      fmt::format("version {}, this skep knows version {}", version->dump(), kVersion));
}

}  // namespace

bool is_held(const Status& status) {
  return status.phase == "held" || (!status.hold.empty() && !status.slowed);
}

std::string status_json(const Status& status) {
  ordered_json out;
  out["version"] = kVersion;
  for_each_field(status, [&](const std::string& at, const auto& value) {
    out[ordered_json::json_pointer(at)] = to_json(value);
  });
  // Paths and messages need not be UTF-8.
  return json_document(out);
}

absl::StatusOr<Status> parse_status(std::string_view json) {
  const auto in = ordered_json::parse(json, nullptr, false);
  if (!in.is_object()) return no_status("no JSON object");
  if (auto version = check_version(in); !version.ok()) return version;
  Status out;
  std::string wrong;
  for_each_field(out, [&](const std::string& at, auto& value) {
    const ordered_json::json_pointer field(at);
    if (in.contains(field) && !from_json(in.at(field), value) && wrong.empty()) wrong = at;
  });
  if (!wrong.empty()) return no_status(fmt::format("{} has another type", wrong));
  if (!btrfs::parse_uuid(out.filesystem)) return no_status("without filesystem");
  if (out.phase.empty()) return no_status("without phase");
  return out;
}

}  // namespace skep::service
