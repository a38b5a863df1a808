// SPDX-License-Identifier: MIT
#include "skep/service/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/owner.h"
#include "skep/btrfs/status.h"

namespace skep::service {
namespace {

using nlohmann::json;
constexpr int kVersion = 1;

// One of the names of dedupe::name_of.
dedupe::PassKind pass_kind(const std::string& name) {
  for (const auto kind : {dedupe::PassKind::kQuick, dedupe::PassKind::kContentScan,
                          dedupe::PassKind::kDeepPlain, dedupe::PassKind::kDeepRead}) {
    if (name == name_of(kind)) return kind;
  }
  throw json::other_error::create(501, "no kind of pass: " + name, nullptr);
}

json to_json(const Checkpoint& c, const btrfs::Uuid& filesystem) {
  json out = {{"version", kVersion},
              {"filesystem", btrfs::to_string(filesystem)},
              {"done_generation", c.position.done_generation},
              {"deep_generation", c.position.deep_generation},
              {"table_generation", c.position.table_generation},
              {"contents_generation", c.position.contents_generation},
              {"nodatasum", c.position.nodatasum},
              {"totals",
               {{"runs", c.totals.runs},
                {"bytes_freed", c.totals.bytes_freed},
                {"bytes_copied", c.totals.bytes_copied},
                {"extents_scanned", c.totals.extents_scanned},
                {"bytes_scanned", c.totals.bytes_scanned},
                {"bytes_shared", c.totals.bytes_shared},
                {"bytes_read", c.totals.bytes_read}}}};
  if (c.today.read != 0 || c.today.written != 0) {
    out["today"] = {{"day", c.today.day}, {"read", c.today.read}, {"written", c.today.written}};
  }
  if (c.position.unfinished) {
    out["pass"] = {{"kind", name_of(c.position.kind)},
                   {"after_generation", c.position.window.after},
                   {"to_generation", c.position.window.to},
                   {"tier", c.position.cursor.tier},
                   {"address", c.position.cursor.address}};
  }
  return out;
}

// Throws nlohmann's exceptions on what is missing or of another type.
Checkpoint from_json(const json& in) {
  Checkpoint c;
  in.at("done_generation").get_to(c.position.done_generation);
  in.at("table_generation").get_to(c.position.table_generation);
  // Not there in states that knew nothing of extents that have to be read.
  c.position.deep_generation = in.value("deep_generation", std::uint64_t{0});
  c.position.contents_generation = in.value("contents_generation", std::uint64_t{0});
  c.position.nodatasum = in.value("nodatasum", false);
  const json& totals = in.at("totals");
  totals.at("runs").get_to(c.totals.runs);
  totals.at("bytes_freed").get_to(c.totals.bytes_freed);
  totals.at("bytes_copied").get_to(c.totals.bytes_copied);
  // Counted since there is a daemon.
  c.totals.extents_scanned = totals.value("extents_scanned", std::uint64_t{0});
  c.totals.bytes_scanned = totals.value("bytes_scanned", std::uint64_t{0});
  c.totals.bytes_shared = totals.value("bytes_shared", std::uint64_t{0});
  c.totals.bytes_read = totals.value("bytes_read", std::uint64_t{0});
  if (auto today = in.find("today"); today != in.end()) {
    today->at("day").get_to(c.today.day);
    today->at("read").get_to(c.today.read);
    today->at("written").get_to(c.today.written);
  }
  if (auto pass = in.find("pass"); pass != in.end()) {
    c.position.unfinished = true;
    c.position.kind =
        pass_kind(pass->value("kind", std::string(name_of(dedupe::PassKind::kQuick))));
    pass->at("after_generation").get_to(c.position.window.after);
    pass->at("to_generation").get_to(c.position.window.to);
    pass->at("tier").get_to(c.position.cursor.tier);
    pass->at("address").get_to(c.position.cursor.address);
  }
  return c;
}

absl::Status write_durably(const std::string& path, std::string_view text) {
  btrfs::Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) return errno_status(errno, "open", path);
  btrfs::give_to_owner_of_folder(fd.get(), path);
  while (!text.empty()) {
    const ssize_t n = write(fd.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno_status(n == 0 ? 0 : errno, "write", path);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  if (fsync(fd.get()) != 0) return errno_status(errno, "fsync", path);
  return absl::OkStatus();
}

}  // namespace

namespace {

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

absl::Status StateDir::load() {
  const std::string path = path_ + "/state.json";
  std::ifstream file(path);
  if (!file) {
    return errno == ENOENT ? absl::OkStatus() : errno_status(errno, "open", path);
  }
  try {
    const json in = json::parse(file);
    if (const auto owner = in.at("filesystem").get<std::string>();
        owner != btrfs::to_string(filesystem_)) {
      return absl::FailedPreconditionError(
          fmt::format("{}: belongs to filesystem {}; choose another --state-dir", path_, owner));
    }
    if (const int version = in.at("version").get<int>(); version != kVersion) {
      set_aside_reason_ = fmt::format("it has version {}", version);
    } else {
      found_ = from_json(in);
    }
  } catch (const json::exception& e) {
    set_aside_reason_ = "it is damaged";
  }
  if (!set_aside_reason_.empty() && std::rename(path.c_str(), (path + ".old").c_str()) != 0) {
    return errno_status(errno, "rename", path);
  }
  return absl::OkStatus();
}

absl::Status StateDir::save(const Checkpoint& checkpoint) const {
  const std::string path = path_ + "/state.json", fresh = path + ".new";
  auto status = write_durably(fresh, to_json(checkpoint, filesystem_).dump(2) + "\n");
  if (!status.ok()) return status;
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return errno_status(errno, "rename", path);
  return absl::OkStatus();
}

}  // namespace skep::service
