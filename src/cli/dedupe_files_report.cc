// SPDX-License-Identifier: MIT
#include "dedupe_files_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "output.h"
#include "skep/btrfs/utf8.h"
#include "skep/service/exit_status.h"
#include "skep/service/json_text.h"
#include "skep/service/sizes.h"
#include "text.h"

namespace skep::cli {
namespace {

using dedupe::FileFate;
using dedupe::FileResult;
using dedupe::GroupResult;
using nlohmann::ordered_json;
using service::format_size;

const char* name_of(FileFate fate) {
  switch (fate) {
    case FileFate::kKept:
      return "kept";
    case FileFate::kShared:
      return "shared";
    case FileFate::kAlready:
      return "already";
    case FileFate::kDiffers:
      return "differs";
    case FileFate::kFailed:
      return "failed";
    case FileFate::kStopped:
      break;
  }
  return "stopped";
}

bool is_plain(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7f; }

// JSON has only UTF-8: a name that is none is told byte by byte, too.
void put_name(ordered_json& out, const std::string& name) {
  out["path"] = name;
  if (btrfs::is_utf8(name)) return;
  std::string hex;
  for (const char c : name) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  out["path_hex"] = hex;
}

struct Sum {
  std::uint64_t shared = 0, freed = 0;
  bool packed = false;
};

Sum sum_of(const GroupResult& group) {
  Sum sum;
  for (const FileResult& file : group.files) {
    sum.shared += file.shared_bytes;
    sum.freed += file.freed_bytes;
    sum.packed = sum.packed || file.packed;
  }
  return sum;
}

std::string amounts(const Sum& sum, bool dry_run) {
  return fmt::format("{} {}, {} {}{}", dry_run ? "would share" : "shared", format_size(sum.shared),
                     dry_run ? "free" : "freed", format_size(sum.freed),
                     sum.packed ? " (unpacked)" : "");
}

std::string group_text(const GroupResult& group, bool dry_run) {
  if (group.blocks) {
    const Sum sum = sum_of(group);
    // What that frees is not known before.
    return fmt::format("common blocks: {}\n  shared   {}\n",
                       dry_run ? "would share " + format_size(sum.shared) : amounts(sum, dry_run),
                       shell_name(group.files.front().path));
  }
  std::string out = fmt::format("{} of {}: {}\n", plural(group.files.size(), "file"),
                                format_size(group.size), amounts(sum_of(group), dry_run));
  for (const FileResult& file : group.files) {
    out += fmt::format("  {:<8} {}", name_of(file.fate), shell_name(file.path));
    if (file.fate == FileFate::kDiffers) out += ": " + printable(file.message);
    out += '\n';
  }
  return out;
}

ordered_json file_json(const FileResult& file) {
  ordered_json out;
  put_name(out, file.path);
  out["fate"] = name_of(file.fate);
  out["bytes_shared"] = file.shared_bytes;
  out["bytes_freed"] = file.freed_bytes;
  if (!file.message.empty()) out["message"] = file.message;
  return out;
}

ordered_json group_json(const GroupResult& group) {
  const Sum sum = sum_of(group);
  ordered_json out;
  out["kind"] = group.blocks ? "blocks" : "files";
  out["file_size"] = group.size;
  out["bytes_shared"] = sum.shared;
  out["bytes_freed"] = sum.freed;
  out["files"] = ordered_json::array();
  for (const FileResult& file : group.files) out["files"].push_back(file_json(file));
  return out;
}

std::string totals_text(const dedupe::FileTotals& totals, bool dry_run, bool stopped) {
  std::string out =
      fmt::format("{}, {}: {}", plural(totals.groups, "group"), plural(totals.files, "file"),
                  amounts({totals.shared_bytes, totals.freed_bytes, totals.packed}, dry_run));
  const auto add = [&](std::uint64_t count, std::string_view what) {
    if (count != 0) out += fmt::format("; {} {}", grouped(count), what);
  };
  add(totals.already_files, "shared already");
  add(totals.different_files, "not equal");
  add(totals.small_files, "empty or in metadata");
  add(totals.failed_files, "failed");
  return out + (stopped ? "; stopped early\n" : "\n");
}

// The members that follow the groups, without the brace before them.
std::string totals_json(const dedupe::FileTotals& totals,
                        const std::vector<std::pair<std::string, std::string>>& problems,
                        int exit_status) {
  ordered_json out;
  out["problems"] = ordered_json::array();
  for (const auto& [path, why] : problems) {
    ordered_json problem;
    put_name(problem, path);
    problem["message"] = why;
    out["problems"].push_back(std::move(problem));
  }
  out["files"] = totals.files;
  out["files_shared"] = totals.shared_files;
  out["files_already_shared"] = totals.already_files;
  out["files_different"] = totals.different_files;
  out["files_small"] = totals.small_files;
  out["files_failed"] = totals.failed_files;
  out["bytes_shared"] = totals.shared_bytes;
  out["bytes_freed"] = totals.freed_bytes;
  out["freed_unpacked"] = totals.packed;
  out["result"] = exit_status == service::kExitDone      ? "done"
                  : exit_status == service::kExitStopped ? "stopped"
                                                         : "failed";
  return service::json_document(out).substr(1);
}

}  // namespace

std::string shell_name(std::string_view name) {
  bool plain = btrfs::is_utf8(name);
  for (const char c : name) plain = plain && is_plain(c);
  if (plain) return std::string(name);
  std::string out = "$'";
  while (!name.empty()) {
    const std::size_t length = btrfs::utf8_length(name);
    const char c = name[0];
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\' || c == '\'') {
      out += fmt::format("\\{}", c);
    } else if (length == 0 || !is_plain(c)) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += name.substr(0, length);
    }
    name.remove_prefix(length == 0 ? 1 : length);
  }
  return out + "'";
}

FilesReport::FilesReport(Form form, bool dry_run) : form_(form), dry_run_(dry_run) {
  if (form_ == Form::kJson) {
    write(fmt::format("{{\n  \"version\": 1,\n  \"dry_run\": {},\n  \"groups\": [", dry_run));
  }
}

void FilesReport::write(std::string_view text) {
  if (write_status_ == service::kExitDone) write_status_ = print(text, service::kExitDone);
}

void FilesReport::group(const GroupResult& result) {
  if (form_ == Form::kText) write(group_text(result, dry_run_));
  if (form_ == Form::kJson) {
    write(fmt::format("{}\n    {}", any_group_ ? "," : "", service::json_line(group_json(result))));
  }
  any_group_ = true;
  for (const FileResult& file : result.files) {
    if (file.fate != FileFate::kFailed) continue;
    fail(service::kExitFailed,
         fmt::format("{}: {}", shell_name(file.path), printable(file.message)));
  }
}

void FilesReport::problem(const std::string& path, const std::string& why) {
  fail(service::kExitFailed, fmt::format("{}: {}", shell_name(path), printable(why)));
  if (form_ == Form::kJson) problems_.emplace_back(path, why);
}

int FilesReport::finish(const dedupe::FileTotals& totals, int exit_status) {
  const bool stopped = exit_status == service::kExitStopped;
  if (form_ == Form::kText) write(totals_text(totals, dry_run_, stopped));
  if (form_ == Form::kJson) {
    write(fmt::format("{}],{}", any_group_ ? "\n  " : "",
                      totals_json(totals, problems_, exit_status)));
  }
  return write_status_ == service::kExitDone ? exit_status : write_status_;
}

}  // namespace skep::cli
