// SPDX-License-Identifier: MIT
#include "shell_assignments.h"

#include <algorithm>
#include <cctype>
#include <optional>

namespace skep::service {
namespace {

constexpr std::string_view kBlanks = " \t\r";

bool is_name(std::string_view text) {
  const auto in_name = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  return !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) == 0 &&
         std::all_of(text.begin(), text.end(), in_name);
}

// Reads one value from the front of `rest`. Empty where a shell would have to run something, or a
// quote has no end.
class ValueReader {
 public:
  explicit ValueReader(std::string_view& rest) : rest_(rest) {}

  std::optional<std::string> read() {
    std::string out;
    while (!rest_.empty() && std::string_view(" \t\r\n").find(rest_.front()) == rest_.npos) {
      if (!piece(out)) return std::nullopt;
    }
    return out;
  }

 private:
  bool piece(std::string& out) {
    if (rest_.starts_with("$((")) return up_to("))", out);
    if (rest_.starts_with("$(") || std::string_view("`;&|<>()").find(rest_.front()) != rest_.npos) {
      return false;
    }
    const char first = take();
    if (first == '\'') return quoted('\'', out);
    if (first == '"') return quoted('"', out);
    if (first == '\\' && !rest_.empty()) {
      out += take();
    } else {
      out += first;
    }
    return true;
  }
  bool up_to(std::string_view end, std::string& out) {
    const std::size_t at = rest_.find(end);
    if (at == rest_.npos) return false;
    out += rest_.substr(0, at + end.size());
    rest_.remove_prefix(at + end.size());
    return true;
  }
  bool quoted(char end, std::string& out) {
    while (!rest_.empty()) {
      if (end == '"' && rest_.starts_with("$((")) {
        if (!up_to("))", out)) return false;
        continue;
      }
      if (end == '"' && (rest_.starts_with("$(") || rest_.front() == '`')) return false;
      char c = take();
      if (c == end) return true;
      if (c == '\\' && end == '"' && !rest_.empty()) c = take();
      out += c == '\n' ? ' ' : c;
    }
    return false;
  }
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  std::string_view& rest_;
};

void skip_blanks(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(kBlanks), rest.size()));
}

void skip_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
}

// Nothing but a comment may follow on the line.
bool at_end_of_line(std::string_view rest) {
  skip_blanks(rest);
  return rest.empty() || rest.front() == '\n' || rest.front() == '#';
}

ShellAssignment read_assignment(std::string_view& rest) {
  const std::string_view begin = rest;
  ShellAssignment out;
  out.line = begin.substr(0, begin.find('\n'));
  if (rest.starts_with("export ")) rest.remove_prefix(7);
  skip_blanks(rest);
  std::string_view name = rest.substr(0, rest.find_first_of("=\n"));
  const std::size_t length = name.size();
  out.appends = name.ends_with('+');
  if (out.appends) name.remove_suffix(1);
  if (length == rest.size() || rest[length] != '=' || !is_name(name)) {
    rest = begin;
    skip_line(rest);
    return out;
  }
  rest.remove_prefix(length + 1);
  auto value = ValueReader(rest).read();
  if (!value || !at_end_of_line(rest)) {
    rest = begin;
  } else {
    out.name = name;
    out.value = *std::move(value);
  }
  skip_line(rest);
  return out;
}

}  // namespace

std::vector<ShellAssignment> shell_assignments(std::string_view text) {
  std::vector<ShellAssignment> out;
  for (std::string_view rest = text; !rest.empty();) {
    skip_blanks(rest);
    if (rest.empty()) break;
    if (rest.front() == '#' || rest.front() == '\n') {
      skip_line(rest);
    } else {
      out.push_back(read_assignment(rest));
    }
  }
  return out;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> out;
  while (true) {
    skip_blanks(text);
    if (text.empty()) return out;
    const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

}  // namespace skep::service
