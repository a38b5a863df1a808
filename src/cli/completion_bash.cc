// SPDX-License-Identifier: MIT
//
// For bash: a function that knows what follows each command and option, as one `case`, and one that
// walks over the words of the command line and asks it. It needs nothing of the package
// bash-completion.
#include <absl/strings/str_join.h>
#include <fmt/format.h>

#include "completion.h"

namespace skep::cli {
namespace {

constexpr char kBashHead[] =
    R"(# bash completion for skep(1); made by `skep completion bash` from its table of options.

# What can follow a command, and what an option takes.
_skep_after() {
    case $1 in
)";

constexpr char kTail[] = R"(    esac
}

# Adds those of the words, or kinds of words, that begin with $cur.
_skep_offer() {
    local kind
    local -a found
    for kind in "$@"; do
        found=()
        case $kind in
            NOTHING) ;;
            DIRECTORIES) mapfile -t found < <(compgen -d -- "$cur") && compopt -o filenames ;;
            FILES) mapfile -t found < <(compgen -f -- "$cur") && compopt -o filenames ;;
            FILESYSTEMS) mapfile -t found < <(cd /sys/fs/btrfs 2>/dev/null && compgen -G "$cur*-*") ;;
            *) [[ $kind != "$cur"* ]] || found=("$kind") ;;
        esac
        COMPREPLY+=("${found[@]}")
    done
}

_skep() {
    local cur=${COMP_WORDS[COMP_CWORD]} at=skep word takes='' pending=''
    local commands='' aliases='' options='' repeats=''
    local -a arguments=()
    local -i i given=0
    COMPREPLY=()
    _skep_after "$at"
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == '=' ]]; then
            continue
        elif [[ $pending ]]; then
            pending=''
        elif [[ $word == -* ]]; then
            takes=''
            _skep_after "$at $word"
            pending=$takes
        elif [[ " $commands $aliases " == *" $word "* ]]; then
            at+=" $word" commands='' aliases='' options='' repeats='' arguments=() given=0
            _skep_after "$at"
        else
            given+=1
        fi
    done
    [[ $cur != '=' ]] || cur=''
    if [[ $pending ]]; then
        read -ra arguments <<<"$pending"
        _skep_offer "${arguments[@]}"
    elif [[ $cur == -* || $commands ]]; then
        [[ $cur == -* ]] && takes=$options || takes=$commands
        read -ra arguments <<<"$takes"
        _skep_offer "${arguments[@]}"
    elif ((${#arguments[@]} > 0)); then
        ((given < ${#arguments[@]})) || [[ ! $repeats ]] || given=${#arguments[@]}-1
        read -ra arguments <<<"${arguments[given]-}"
        _skep_offer "${arguments[@]}"
    fi
}

complete -F _skep skep
)";

// All spellings of the words that lead to a command: "'skep find-new' | 'skep new'".
std::string pattern(const std::vector<std::string>& paths, const std::string& suffix) {
  return absl::StrJoin(paths, " | ", [&suffix](std::string* out, const std::string& path) {
    *out += quoted(path + suffix);
  });
}

std::string commands_line(const CommandTree& tree) {
  std::vector<std::string> names, aliases;
  for (const auto& command : tree.commands) {
    names.push_back(command.name);
    aliases.insert(aliases.end(), command.aliases.begin(), command.aliases.end());
  }
  std::string line = fmt::format(" commands={}", quoted(absl::StrJoin(names, " ")));
  if (!aliases.empty()) line += fmt::format(" aliases={}", quoted(absl::StrJoin(aliases, " ")));
  return line;
}

std::string arguments_line(const CommandTree& tree) {
  std::string line =
      fmt::format(" arguments=({})",
                  absl::StrJoin(tree.arguments, " ", [](std::string* out, const auto& argument) {
                    *out += quoted(kinds(argument.value));
                  }));
  if (tree.arguments.back().value.repeats) line += " repeats=yes";
  return line;
}

std::string cases(const CommandTree& tree, const std::vector<std::string>& paths) {
  std::vector<std::string> names;
  std::string of_options;
  for (const auto& option : tree.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
    if (option.value.title.empty()) continue;
    for (const auto& name : option.names) {
      of_options += fmt::format("        {}) takes={} ;;\n", pattern(paths, " " + name),
                                quoted(kinds(option.value)));
    }
  }
  std::string out =
      fmt::format("        {}) options={}", pattern(paths, ""), quoted(absl::StrJoin(names, " ")));
  if (!tree.commands.empty()) out += commands_line(tree);
  if (!tree.arguments.empty()) out += arguments_line(tree);
  out += " ;;\n" + of_options;
  for (const auto& command : tree.commands) {
    const std::vector<std::string> below = paths_of(command, paths);
    out += cases(command, below);
  }
  return out;
}

}  // namespace

std::string bash_completion(const CommandTree& tree) {
  return kBashHead + cases(tree, {tree.name}) + kTail;
}

}  // namespace skep::cli
