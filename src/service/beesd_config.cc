// SPDX-License-Identifier: MIT
#include "skep/service/beesd_config.h"

#include <absl/status/status.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include "shell_assignments.h"
#include "skep/btrfs/filesystem_uuid.h"
#include "skep/btrfs/types.h"
#include "skep/index/table.h"

namespace skep::service {
namespace {

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What a comment may hold: one line of ASCII.
std::string in_comment(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return out;
}

std::string words_joined(std::string_view text) {
  const auto words = words_of(text);
  return fmt::format("{}", fmt::join(words, " "));
}

// A factor: a number, or one of the names that beesd defines.
std::optional<std::uint64_t> factor(std::string text) {
  std::erase_if(text, [](char c) { return c == '$' || c == '{' || c == '}'; });
  if (text == "AL16M") return 16ULL << 20;
  if (text == "AL128K") return 128ULL << 10;
  return number<std::uint64_t>(text);
}

// Bytes: a number, or a product as $((64*$AL16M)).
std::optional<std::uint64_t> bytes_of(std::string_view text) {
  if (text.starts_with("$((") && text.ends_with("))")) {
    text = text.substr(3, text.size() - 5);
  }
  std::uint64_t product = 1;
  while (true) {
    const std::size_t star = text.find('*');
    const auto next = factor(words_joined(text.substr(0, star)));
    if (!next || *next == 0 || product > index::Table::kMaxBytes / *next * 2) return std::nullopt;
    product *= *next;
    if (star == text.npos) return product;
    text.remove_prefix(star + 1);
  }
}

std::string size_text(std::uint64_t bytes) {
  for (const auto& [unit, shift] : {std::pair('G', 30), std::pair('M', 20), std::pair('K', 10)}) {
    if (bytes % (1ULL << shift) == 0) return fmt::format("{}{}", bytes >> shift, unit);
  }
  return fmt::format("{}", bytes);
}

// An option of bees in OPTIONS.
struct BeesOption {
  char letter;  // 0: none
  std::string_view name;
  bool has_value;
  std::string_view why;  // it has no counterpart; empty: it has one
};
constexpr std::array kOptions = {
    BeesOption{'c', "thread-count", true, ""},
    BeesOption{'g', "loadavg-target", true, ""},
    BeesOption{'C', "thread-factor", true, "threads is a number, whatever the cpus; 2 by default"},
    BeesOption{'G', "thread-min", true, "above load_average skep waits"},
    BeesOption{'m', "scan-mode", true, "there is one way: over the extents, large ones first"},
    BeesOption{'a', "workaround-btrfs-send", false,
               "skep gives way to btrfs send; read_only_subvolumes = false in [filter] leaves "
               "read-only snapshots out all the same"},
    BeesOption{'v', "verbose", true, "the log is quiet; skep run --verbose says more"},
    BeesOption{'t', "timestamps", false, "the journal has the times"},
    BeesOption{'T', "no-timestamps", false, "the journal has the times"},
    BeesOption{'p', "absolute-paths", false, "no paths are logged"},
    BeesOption{'P', "strip-paths", false, "no paths are logged"},
    BeesOption{0, "throttle-factor", true, "[throttle] has pressures and rates"},
    BeesOption{'h', "help", false, "it is no setting"},
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kVariables = {{
    {"WORK_DIR", "no mounts of its own are kept; the status is in /run/skep"},
    {"MNT_DIR", "any mount point will do, and none is made"},
    {"BEESHOME", "bees' hash table is of no use to skep; the state is in /var/lib/skep/UUID"},
    {"BEESSTATUS", "'skep status' shows it"},
    {"LOG_SHORT_PATH", "no paths are logged"},
    {"LOG_FILTER_TIME", "the journal has the times"},
}};

// What has been understood so far, and then the file.
class Import {
 public:
  void take(const ShellAssignment& line) {
    if (line.name.empty()) return unknown(line.line, "is no plain assignment");
    if (line.name == "UUID") {
      understood_ = true;
      uuid_ = line.value;
    } else if (line.name == "DB_SIZE") {
      understood_ = true;
      db_size_ = line.value;
    } else if (line.name == "OPTIONS") {
      understood_ = true;
      options_ = line.appends ? options_ + ' ' + line.value : line.value;
    } else {
      take_variable(line);
    }
  }

  bool understood() const { return understood_; }

  std::string text(std::string_view name) {
    take_uuid();
    if (!db_size_.empty()) take_size();
    take_options();
    std::string out =
        fmt::format("# Made from {} by 'skep import-beesd'.\n# For {}\n", in_comment(name), place_);
    for (const auto& [section, keys] : sections_) {
      out += fmt::format("\n[{}]\n", section);
      for (const auto& [key, line] : keys) out += '\n' + line;
    }
    if (!left_.empty()) out += fmt::format("\n# Not taken over:\n{}", fmt::join(left_, ""));
    return out;
  }

 private:
  void leave(std::string_view what, std::string_view why) {
    left_.push_back(fmt::format("# {}: {}\n", in_comment(what), why));
  }
  void unknown(std::string_view what, std::string_view why) {
    left_.push_back(fmt::format("# '{}' {}\n", in_comment(what), why));
  }
  // The last one counts, as with bees.
  void set(const std::string& section, const std::string& key, std::string_view why,
           std::string_view value) {
    sections_[section][key] = fmt::format("# {}\n{} = {}\n", in_comment(why), key, value);
  }

  void take_variable(const ShellAssignment& line) {
    for (const auto& [variable, why] : kVariables) {
      if (line.name != variable) continue;
      understood_ = true;
      return leave(fmt::format("{}={}", line.name, line.value), why);
    }
    unknown(line.line, "is not known");
  }

  void take_uuid() {
    const auto uuid = btrfs::parse_uuid(uuid_);
    place_ = uuid ? fmt::format("/etc/skep/{}.conf", btrfs::to_string(*uuid))
                  : "/etc/skep/skep.conf, or UUID.conf beside it";
    if (!uuid && !uuid_.empty()) unknown("UUID=" + uuid_, "is no UUID");
  }

  void take_size() {
    const auto bytes = bytes_of(db_size_);
    if (!bytes) return unknown("DB_SIZE=" + db_size_, "is no size");
    const auto size = std::clamp(*bytes / 2, index::Table::kMinBytes, index::Table::kMaxBytes);
    set("table", "size",
        fmt::format("DB_SIZE was {}: the same number of cells, of 8 bytes instead of 16. Less is "
                    "often enough.",
                    size_text(*bytes)),
        fmt::format("\"{}\"", size_text(size)));
  }

  void take_options() {
    words_ = words_of(options_);
    for (at_ = 0; at_ < words_.size(); ++at_) take_word(words_[at_]);
  }

  void take_word(const std::string& word) {
    std::string value;
    const BeesOption* option = find(word, value);
    if (option == nullptr) return unknown(word, "in OPTIONS is no option that is known");
    if (option->has_value && value.empty() && at_ + 1 < words_.size()) value = words_[++at_];
    const std::string shown =
        fmt::format("--{}{}{}", option->name, value.empty() ? "" : " ", value);
    if (!option->why.empty()) return leave(shown, option->why);
    if (option->letter == 'c') return take_threads(shown, value);
    take_load(shown, value);
  }

  // The value too, where it is part of the word: --name=VALUE, -xVALUE.
  static const BeesOption* find(std::string_view word, std::string& value) {
    for (const BeesOption& option : kOptions) {
      const std::string name = fmt::format("--{}", option.name);
      if (word == name) return &option;
      if (option.has_value && word.starts_with(name + '=')) {
        value = word.substr(name.size() + 1);
        return &option;
      }
      if (option.letter == 0 || word.size() < 2 || word[0] != '-' || word[1] != option.letter) {
        continue;
      }
      if (word.size() > 2 && !option.has_value) continue;
      value = word.substr(2);
      return &option;
    }
    return nullptr;
  }

  void take_threads(const std::string& shown, const std::string& value) {
    constexpr std::uint32_t kMost = 64;
    const auto count = number<std::uint32_t>(value);
    if (!count || *count == 0) return unknown(shown, "is no number of threads");
    set("match", "threads", shown + ". The default, 2, is enough for most devices.",
        fmt::format("{}", std::min(*count, kMost)));
  }

  void take_load(const std::string& shown, const std::string& value) {
    const auto load = number<double>(value);
    if (!load || !std::isfinite(*load) || *load <= 0 || *load > 1e6) {
      return unknown(shown, "is no load");
    }
    set("throttle", "load_average", shown + ". Above it skep waits.", fmt::format("{}", *load));
  }

  bool understood_ = false;
  std::string uuid_, db_size_, options_, place_;
  std::vector<std::string> words_;
  std::size_t at_ = 0;
  std::map<std::string, std::map<std::string, std::string>> sections_;  // lines, by key
  std::vector<std::string> left_;
};

}  // namespace

absl::StatusOr<std::string> from_beesd_config(std::string_view text, std::string_view name) {
  Import import;
  for (const ShellAssignment& line : shell_assignments(text)) import.take(line);
  if (!import.understood()) {
    return absl::InvalidArgumentError(
        "nothing in it is of a beesd configuration, such as DB_SIZE=");
  }
  return import.text(name);
}

}  // namespace skep::service
