// SPDX-License-Identifier: MIT
#include "help.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <fmt/format.h>

#include <algorithm>

namespace skep::cli {
namespace {

constexpr std::size_t kColumns = 80;
// Where explanations begin: behind most of the options.
constexpr std::size_t kIndent = 27;

// The words in lines of at most kColumns, each but the first indented; `line` is what the first one
// begins with.
std::string wrapped(std::string line, const std::string& text, std::size_t indent) {
  std::string out;
  bool empty = true;
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  for (const auto& word : words) {
    if (!empty && line.size() + 1 + word.size() > kColumns) {
      out += line + "\n";
      line.assign(indent, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return out + line + "\n";
}

// "  --depth quick|deep     Compressed extents ..."; what is too long for its column has its own
// line.
std::string entry(const std::string& head, const std::string& text) {
  std::string line = "  " + head;
  if (line.size() < kIndent) {
    line.resize(kIndent, ' ');
    return wrapped(line, text, kIndent);
  }
  return line + "\n" + wrapped(std::string(kIndent, ' '), text, kIndent);
}

std::string shown(const ValueTree& value) { return value.title + (value.repeats ? "..." : ""); }

std::string option_entry(const OptionTree& option) {
  std::string head = absl::StrJoin(option.names, ",");
  if (!option.value.title.empty()) head += " " + option.value.title;
  std::string text = option.help;
  if (!option.default_value.empty()) text += fmt::format(" (default: {})", option.default_value);
  return entry(head, text);
}

std::string usage(const CommandTree& tree, const std::string& name) {
  std::string text = "Usage: " + name + " [OPTIONS]";
  for (const auto& argument : tree.arguments) {
    const std::string name_of_it = shown(argument.value);
    text += argument.required ? " " + name_of_it : fmt::format(" [{}]", name_of_it);
  }
  if (!tree.commands.empty()) text += " [SUBCOMMAND]";
  return wrapped("", text, kIndent);
}

// In the order in which the option table has them, each group under its title.
std::string option_groups(const CommandTree& tree) {
  std::vector<std::string> groups;
  for (const auto& option : tree.options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) {
      groups.push_back(option.group);
    }
  }
  std::string out;
  for (const auto& group : groups) {
    out += "\n" + group + ":\n";
    for (const auto& option : tree.options) {
      if (option.group == group) out += option_entry(option);
    }
  }
  return out;
}

}  // namespace

std::string help_text(const CommandTree& tree, const std::string& name) {
  std::string out = wrapped("", tree.help, 0) + usage(tree, name);
  if (!tree.arguments.empty()) out += "\nPositionals:\n";
  for (const auto& argument : tree.arguments) out += entry(shown(argument.value), argument.help);
  out += option_groups(tree);
  if (!tree.commands.empty()) out += "\nSubcommands:\n";
  for (const auto& command : tree.commands) out += entry(command.name, command.help);
  return out;
}

}  // namespace skep::cli
