// SPDX-License-Identifier: MIT
//
// For fish: a line for each command, option and kind of argument, under the condition that the
// command line is at that command.
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <fmt/format.h>

#include "completion.h"

namespace skep::cli {
namespace {

constexpr char kFishHead[] =
    R"(# fish completion for skep(1); made by `skep completion fish` from its table of options.

function __skep_at --description 'Whether the command line is at one of these commands of skep'
    set -l at
    for token in (commandline -opc)[2..-1]
        string match --quiet -- '-*' $token
        and continue
        contains -- "$at $token" $__skep_commands
        or break
        set at "$at $token"
    end
    contains -- "$at" $argv
end

function __skep_filesystems
    for filesystem in /sys/fs/btrfs/*-*
        string replace /sys/fs/btrfs/ '' $filesystem
    end
end

complete -c skep -f
)";

std::string fish_quoted(const std::string& text) {
  return "'" + absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"'", "\\'"}}) + "'";
}

// "complete -c skep -n '__skep_at " run"'": the beginning of each line.
std::string line(const std::vector<std::string>& paths) {
  const std::string all = absl::StrJoin(
      paths, " ", [](std::string* out, const std::string& path) { *out += '"' + path + '"'; });
  return fmt::format("complete -c skep -n {}", fish_quoted("__skep_at " + all));
}

// The values' own options: what is offered, and -F where files are.
std::string offer(const ValueTree& value) {
  std::vector<std::string> offered = value.words;
  if (value.directories && !value.files) {
    offered.emplace_back("(__fish_complete_directories (commandline -ct) '')");
  }
  if (value.filesystems) offered.emplace_back("(__skep_filesystems)");
  std::string out = value.files ? " -F" : "";
  if (!offered.empty()) out += " -a " + fish_quoted(absl::StrJoin(offered, " "));
  return out;
}

std::string option_line(const OptionTree& option, const std::string& start) {
  std::string out = start;
  for (const auto& name : option.names) {
    const bool is_long = name.compare(0, 2, "--") == 0;
    out += (is_long ? " -l " : " -s ") + name.substr(is_long ? 2 : 1);
  }
  out += " -d " + fish_quoted(option.help);
  if (!option.value.title.empty()) {
    out += (option.value.files ? " -r" : " -x") + offer(option.value);
  }
  return out + "\n";
}

void add_lines(const CommandTree& tree, const std::vector<std::string>& paths, std::string& lines,
               std::vector<std::string>& known) {
  const std::string start = line(paths);
  for (const auto& option : tree.options) lines += option_line(option, start);
  for (const auto& argument : tree.arguments) {
    if (!argument.value.offers_nothing()) lines += start + offer(argument.value) + "\n";
  }
  for (const auto& command : tree.commands) {
    lines += fmt::format("{} -a {} -d {}\n", start, command.name, fish_quoted(command.help));
    const std::vector<std::string> below = paths_of(command, paths);
    for (const auto& path : below) known.push_back(fish_quoted(path));
    add_lines(command, below, lines, known);
  }
}

}  // namespace

std::string fish_completion(const CommandTree& tree) {
  std::string lines;
  std::vector<std::string> known;
  add_lines(tree, {""}, lines, known);
  return kFishHead + fmt::format("set -g __skep_commands {}\n", absl::StrJoin(known, " ")) + lines;
}

}  // namespace skep::cli
