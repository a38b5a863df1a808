// SPDX-License-Identifier: MIT
#include "skep/service/config.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <string_view>

#include "config_options.h"
#include "config_values.h"
#include "skep/btrfs/descriptor.h"
#include "skep/btrfs/status.h"
#include "skep/service/suggestion.h"

namespace skep::service {
namespace {

// A hundred times the sample; whatever is larger is no configuration, but a mistake in a path.
constexpr std::size_t kMaxFileBytes = 1 << 20;

absl::StatusOr<std::string> read_file(const std::string& path) {
  btrfs::Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return errno_status(errno, "open", path);
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_status(errno, "read", path);
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kMaxFileBytes) return errno_status(EFBIG, "read", path);
  }
}

std::string as_ending(const Suggestion& suggestion) {
  return suggestion.name().empty() ? "; see skep.conf(5)"
                                   : fmt::format("; did you mean '{}'?", suggestion.name());
}

// A key that is right in another section is one mistake, whatever the sections are called.
std::string suggest_option(std::string_view section, std::string_view key) {
  Suggestion right_section(section), suggestion(key);
  for (const OptionRow& row : option_table()) {
    suggestion.offer(row.option.name, row.key(), right_section.is(row.section()) ? 0 : 1);
  }
  return as_ending(suggestion);
}

std::string suggest_section(std::string_view section) {
  Suggestion suggestion(section);
  for (const OptionRow& row : option_table()) suggestion.offer(row.section(), row.section());
  return as_ending(suggestion);
}

bool is_section(std::string_view name) {
  const auto& table = option_table();
  return std::any_of(table.begin(), table.end(),
                     [name](const OptionRow& row) { return row.section() == name; });
}

// One line, whatever stands in the file.
absl::Status error_at(const std::string& path, std::uint32_t line, std::string message) {
  for (char& c : message) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return absl::InvalidArgumentError(fmt::format("{}:{}: {}", path, line, message));
}

// Sets what a document names, and keeps the first line that is wrong. Tables of TOML have no order,
// so all of the document is looked at.
class Reading {
 public:
  Reading(const std::string& path, Settings& settings) : path_(path), settings_(settings) {}

  absl::Status read(const toml::table& document) {
    for (const auto& [key, node] : document) read_section(key, node);
    if (!first_wrong_line_) check_together();
    if (!first_wrong_line_) return absl::OkStatus();
    return error_at(path_, *first_wrong_line_, message_);
  }

 private:
  void read_section(const toml::key& key, const toml::node& node) {
    const toml::table* section = node.as_table();
    if (is_section(key.str())) {
      if (!section) return wrong(key, fmt::format("'{0}' is a section; write [{0}]", key.str()));
      for (const auto& [name, value] : *section) read_option(key.str(), name, value);
    } else if (section) {
      wrong(key, fmt::format("unknown section '{}'{}", key.str(), suggest_section(key.str())));
    } else {
      wrong(key, fmt::format("unknown key '{}'{}", key.str(), suggest_option("", key.str())));
    }
  }

  void read_option(std::string_view section, const toml::key& key, const toml::node& node) {
    const std::string name = fmt::format("{}.{}", section, key.str());
    const auto& table = option_table();
    const auto row = std::find_if(table.begin(), table.end(),
                                  [&](const OptionRow& r) { return r.option.name == name; });
    if (row == table.end()) {
      return wrong(key,
                   fmt::format("unknown key '{}'{}", name, suggest_option(section, key.str())));
    }
    lines_[name] = line_of(key);
    const auto status = row->set(node, settings_);
    if (!status.ok()) wrong(key, fmt::format("{}: {}", name, message_of(status)));
  }

  // Files of which each is right may not be so together. The later of the two lines is named.
  void check_together() {
    check_depth();
    const dedupe::FilterOptions& filter = settings_.engine.filter;
    check_sizes(filter.file_bytes, "file");
    check_sizes(filter.extent_bytes, "extent");
  }

  void check_sizes(const dedupe::SizeLimits& limits, std::string_view of) {
    if (limits.consistent()) return;
    const std::string least = fmt::format("filter.min_{}_size", of);
    const std::string most = fmt::format("filter.max_{}_size", of);
    const std::uint32_t line = std::max(lines_[least], lines_[most]);
    if (line == 0 || (first_wrong_line_ && *first_wrong_line_ <= line)) return;
    first_wrong_line_ = line;
    message_ = fmt::format("{} is above {}: that leaves nothing", least, most);
  }

  void check_depth() {
    const dedupe::Options& engine = settings_.engine;
    const bool all_data = settings_.fingerprint == index::FingerprintKind::kData;
    if (engine.depth != dedupe::Depth::kQuick || !(engine.nodatasum || all_data)) return;
    const std::string other = engine.nodatasum ? "match.nodatasum" : "match.fingerprint";
    const std::uint32_t line = std::max(lines_["match.depth"], lines_[other]);
    if (line == 0) return;  // it is not this file's doing
    first_wrong_line_ = line;
    message_ = fmt::format(
        "match.depth: 'quick' reads nothing: not with {}{}; write depth = \"deep\", or take that "
        "out",
        other, engine.nodatasum ? "" : " = \"data\"");
  }

  static std::uint32_t line_of(const toml::key& key) { return key.source().begin.line; }

  void wrong(const toml::key& key, std::string message) {
    if (first_wrong_line_ && *first_wrong_line_ <= line_of(key)) return;
    first_wrong_line_ = line_of(key);
    message_ = std::move(message);
  }

  const std::string& path_;
  Settings& settings_;
  std::map<std::string, std::uint32_t> lines_;  // of the options that the file names
  std::optional<std::uint32_t> first_wrong_line_;
  std::string message_;
};

// The text of a line, from 1 on.
std::string_view line_of(std::string_view text, std::uint32_t number) {
  for (; number > 1; --number) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

bool is_toml(const std::string& text) {
  try {
    return toml::parse(text).contains("value");
  } catch (const toml::parse_error&) {
    return false;
  }
}

// Most syntax errors are values without quotes, "size = 64M", or such as no quotes would help, "=
// yes".
std::string suggest_value(std::string_view line) {
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) return "";
  const std::string_view key = trimmed(line.substr(0, equals));
  line.remove_prefix(equals + 1);
  const std::string value(trimmed(line.substr(0, line.find('#'))));
  if (value.empty() || value.find_first_of("\"'[]{}") != std::string::npos) return "";
  if (is_toml("value = " + value)) return "";  // it is something else
  const auto& table = option_table();
  const auto row = std::find_if(table.begin(), table.end(), [key](const OptionRow& r) {
    return r.key() == key || r.option.name == key;
  });
  Settings ignored;
  const auto status =
      row == table.end() ? absl::OkStatus() : row->set(toml::value<std::string>(value), ignored);
  return status.ok() ? fmt::format("; write it in quotes: \"{}\"", value)
                     : fmt::format("; {}", message_of(status));
}

absl::Status syntax_error(const std::string& path, std::string_view text,
                          const toml::parse_error& error) {
  const std::uint32_t line = error.source().begin.line;
  return error_at(path, line,
                  fmt::format("{}{}", error.description(), suggest_value(line_of(text, line))));
}

absl::Status read_over(const std::string& path, Settings& settings) {
  const auto text = read_file(path);
  if (!text.ok()) return text.status();
  try {
    Settings read = settings;
    const toml::table document = toml::parse(*text);
    auto status = Reading(path, read).read(document);
    if (status.ok()) settings = std::move(read);
    return status;
  } catch (const toml::parse_error& e) {
    return syntax_error(path, *text, e);
  }
}

}  // namespace

absl::Status load_config(const std::string& path, Settings& settings) {
  try {
    return read_over(path, settings);
  } catch (const std::exception& e) {  // memory is out
    return absl::ResourceExhaustedError(path + ": " + e.what());
  }
}

absl::StatusOr<Settings> load_settings(const std::string& config_dir,
                                       const btrfs::Uuid* filesystem) {
  Settings settings;
  std::vector<std::string> names = {"skep"};
  if (filesystem) names.push_back(btrfs::to_string(*filesystem));
  for (const auto& name : names) {
    const auto status = load_config(fmt::format("{}/{}.conf", config_dir, name), settings);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return settings;
}

std::vector<ConfigOption> config_options() {
  std::vector<ConfigOption> out;
  for (const OptionRow& row : option_table()) out.push_back(row.option);
  return out;
}

std::vector<ConfigOption> changed_options(const Settings& before, const Settings& after) {
  std::vector<ConfigOption> out;
  for (const OptionRow& row : option_table()) {
    if (!row.equal(before, after)) out.push_back(row.option);
  }
  return out;
}

void take_reloadable(const Settings& from, Settings& to) {
  for (const OptionRow& row : option_table()) {
    if (row.option.reloadable) row.copy(from, to);
  }
}

}  // namespace skep::service
