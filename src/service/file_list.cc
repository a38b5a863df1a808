// SPDX-License-Identifier: MIT
#include "skep/service/file_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "file_list_json.h"

namespace skep::service {
namespace {

constexpr std::string_view kFclonesTitle = "# Report by fclones";
constexpr std::string_view kFclonesBase = "# Base dir: ";
constexpr std::string_view kFclonesIndent = "    ";
constexpr std::string_view kSpaces = " \t\r\n";

// Takes the text up to the next `end` off it.
std::string_view next_record(std::string_view& text, char end) {
  const std::size_t length = std::min(text.find(end), text.size());
  const std::string_view record = text.substr(0, length);
  text.remove_prefix(std::min(length + 1, text.size()));
  return record;
}

bool all_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// "12 bytes each:", as fdupes -S and jdupes -S write before a group.
bool is_size_line(std::string_view line) {
  const std::size_t digits = std::min(line.find(' '), line.size());
  const std::string_view rest = line.substr(digits);
  return all_digits(line.substr(0, digits)) && (rest == " bytes each:" || rest == " byte each:");
}

// A name may begin with a bracket; a list in JSON goes on with what a name hardly does.
bool looks_like_json(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos || (text[begin] != '{' && text[begin] != '[')) return false;
  const std::size_t next = text.find_first_not_of(kSpaces, begin + 1);
  const char follows = next == std::string_view::npos ? '\0' : text[next];
  return text[begin] == '{' ? follows == '"' : follows == '{' || follows == ']';
}

bool has_group_ends(std::string_view text) {
  std::string_view first = text;
  return text.find("\n\n") != std::string_view::npos || is_size_line(next_record(first, '\n'));
}

FileList parse_lines(std::string_view text) {
  FileList out;
  std::vector<std::string> names;
  while (!text.empty()) {
    const std::string_view line = next_record(text, '\n');
    if (!line.empty()) names.emplace_back(line);
  }
  if (!names.empty()) out.groups.push_back(std::move(names));
  return out;
}

// An empty record ends a group. `sizes`: a group may begin with a line that tells its files' size.
FileList parse_groups(std::string_view text, char end, bool sizes) {
  FileList out;
  out.claims_equal = true;
  std::vector<std::string> group;
  const auto finish = [&] {
    if (!group.empty()) out.groups.push_back(std::move(group));
    group.clear();
  };
  bool begins = true;
  while (!text.empty()) {
    const std::string_view record = next_record(text, end);
    if (record.empty()) finish();
    if (!record.empty() && !(sizes && begins && is_size_line(record))) group.emplace_back(record);
    begins = record.empty();
  }
  finish();
  return out;
}

FileList parse_nul(std::string_view text) {
  const bool groups = text.find(std::string_view("\0\0", 2)) != std::string_view::npos;
  FileList out = parse_groups(text, '\0', false);
  out.format = ListFormat::kNul;
  out.claims_equal = groups;
  return out;
}

FileList parse_fdupes(std::string_view text) {
  FileList out = parse_groups(text, '\n', true);
  out.format = ListFormat::kFdupes;
  return out;
}

// "HASH, 12 B (12 B) * 2:"
bool is_fclones_header(std::string_view line) {
  return !line.empty() && line.back() == ':' && line.find(" B (") != std::string_view::npos &&
         line.find(") * ") != std::string_view::npos;
}

absl::StatusOr<FileList> parse_fclones(std::string_view text) {
  FileList out;
  out.format = ListFormat::kFclones;
  out.claims_equal = true;
  std::string base;
  bool in_group = false;
  for (std::size_t number = 1; !text.empty(); ++number) {
    std::string_view line = next_record(text, '\n');
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    const auto wrong = [&](std::string_view what) {
      return absl::InvalidArgumentError(fmt::format("line {}: {}", number, what));
    };
    if (line.empty()) continue;
    if (line.substr(0, kFclonesBase.size()) == kFclonesBase) {
      base = decode_stfu8(line.substr(kFclonesBase.size()));
    } else if (line[0] == '#') {
      continue;
    } else if (line.substr(0, kFclonesIndent.size()) == kFclonesIndent) {
      const std::string name = decode_stfu8(line.substr(kFclonesIndent.size()));
      if (!in_group) return wrong("a name before the first group");
      if (name.empty()) return wrong("no name, or an escape that is none");
      out.groups.back().push_back(below(base, name));
    } else if (is_fclones_header(line)) {
      if (out.groups.empty() || !out.groups.back().empty()) out.groups.emplace_back();
      in_group = true;
    } else {
      return wrong("neither the head of a group of fclones nor an indented name");
    }
  }
  if (in_group && out.groups.back().empty()) out.groups.pop_back();
  return out;
}

absl::StatusOr<FileList> parse(std::string_view text, ListFormat format) {
  switch (format) {
    case ListFormat::kNul:
      return parse_nul(text);
    case ListFormat::kFdupes:
      return parse_fdupes(text);
    case ListFormat::kRmlint:
      return parse_json_list(text, format);
    case ListFormat::kJdupes:
      if (looks_like_json(text)) return parse_json_list(text, format);
      return text.find('\0') != std::string_view::npos ? parse_nul(text) : parse_fdupes(text);
    case ListFormat::kFclones:
      if (looks_like_json(text)) return parse_json_list(text, format);
      return parse_fclones(text);
    case ListFormat::kAuto:
    case ListFormat::kLines:
      break;
  }
  return parse_lines(text);
}

bool has_nul(const std::string& name) { return name.find('\0') != std::string::npos; }

}  // namespace

ListFormat recognise_list(std::string_view text) {
  if (looks_like_json(text)) return json_flavour(text);
  if (text.find('\0') != std::string_view::npos) return ListFormat::kNul;
  if (text.substr(0, kFclonesTitle.size()) == kFclonesTitle) return ListFormat::kFclones;
  return has_group_ends(text) ? ListFormat::kFdupes : ListFormat::kLines;
}

absl::StatusOr<FileList> parse_file_list(std::string_view text, ListFormat format) {
  auto list = parse(text, format == ListFormat::kAuto ? recognise_list(text) : format);
  if (!list.ok()) return list;
  for (const auto& group : list->groups) {
    const auto bad = std::find_if(group.begin(), group.end(), has_nul);
    if (bad == group.end()) continue;
    return absl::InvalidArgumentError(list->format == ListFormat::kLines ||
                                              list->format == ListFormat::kFdupes
                                          ? "names with NUL in them; --format nul reads such lists"
                                          : "a name with NUL in it");
  }
  return list;
}

}  // namespace skep::service
