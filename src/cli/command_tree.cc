// SPDX-License-Identifier: MIT
#include "command_tree.h"

#include <absl/strings/str_split.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace skep::cli {
namespace {

bool is_lower(const std::string& word) {
  return std::none_of(word.begin(), word.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// The words of the option table that stand for a kind of value; all others are explained by the
// help alone.
void add_kind(const std::string& kind, ValueTree& value) {
  if (kind == "MOUNT" || kind == "SUBVOL" || kind == "DIR") value.directories = true;
  if (kind == "FILE" || kind == "PATH" || kind == "LIST") value.files = true;
  if (kind == "UUID") value.filesystems = true;
}

// "MOUNT|UUID", "FILE...", "quick|deep", "N:INT in [1 - 64]".
ValueTree value_of(const CLI::Option& option, const std::string& described) {
  ValueTree value;
  value.title = described.substr(0, described.find_first_of(":. ["));
  const std::vector<std::string> words = absl::StrSplit(value.title, '|', absl::SkipEmpty());
  for (const auto& word : words) {
    if (!is_lower(word)) {
      add_kind(word, value);
    } else if (word != "-") {
      value.words.push_back(word);
    }
  }
  value.repeats = option.get_items_expected_max() > 1;
  return value;
}

OptionTree option_tree(const CLI::Option& option) {
  OptionTree tree;
  for (const auto& name : option.get_snames()) tree.names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) tree.names.push_back("--" + name);
  tree.help = option.get_description();
  tree.group = option.get_group();
  tree.default_value = option.get_default_str();
  if (option.get_type_size_max() > 0) tree.value = value_of(option, option.get_type_name());
  return tree;
}

}  // namespace

CommandTree command_tree(const CLI::App& app) {
  CommandTree tree;
  tree.name = app.get_name();
  tree.aliases = app.get_aliases();
  tree.help = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      tree.arguments.push_back({value_of(*option, option->get_name()), option->get_description(),
                                option->get_required()});
    } else if (!option->get_group().empty()) {
      tree.options.push_back(option_tree(*option));
    }
  }
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (!command->get_group().empty()) tree.commands.push_back(command_tree(*command));
  }
  return tree;
}

}  // namespace skep::cli
