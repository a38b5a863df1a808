// SPDX-License-Identifier: MIT
//
// For zsh: a function for each command, which describes its options and arguments to _arguments.
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>
#include <fmt/format.h>

#include "completion.h"

namespace skep::cli {
namespace {

constexpr char kZshHead[] = R"(#compdef skep
# zsh completion for skep(1); made by `skep completion zsh` from its table of options.

# Offers the words, or kinds of words.
_skep_offer() {
    local kind
    local -a found
    local -i missed=1
    for kind in "$@"; do
        case $kind in
            DIRECTORIES) _files -/ && missed=0 ;;
            FILES) _files && missed=0 ;;
            FILESYSTEMS)
                found=(/sys/fs/btrfs/*-*(N:t))
                compadd -- $found && missed=0
                ;;
            *) compadd -- $kind && missed=0 ;;
        esac
    done
    return missed
}
)";

// What _arguments and _describe would take for their own signs.
std::string escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {":", "\\:"}, {"[", "\\["}, {"]", "\\]"}});
}

std::string function_name(const std::string& path) {
  return "_" + absl::StrReplaceAll(path, {{" ", "_"}, {"-", "_"}});
}

std::string action(const ValueTree& value) {
  if (value.title.empty()) return "";
  return fmt::format(":{}:{}", escaped(value.title),
                     value.offers_nothing() ? " " : " _skep_offer " + kinds(value));
}

// '(-q --quiet)-q[help]' for each name; one that is given takes the others out of the offer.
std::string option_lines(const OptionTree& option) {
  const std::string together =
      option.value.repeats ? "*" : fmt::format("({})", absl::StrJoin(option.names, " "));
  std::string lines;
  for (const auto& name : option.names) {
    const bool is_long = name.compare(0, 2, "--") == 0;
    const char* joined = option.value.title.empty() ? "" : is_long ? "=" : "+";
    lines += fmt::format("        {} \\\n",
                         quoted(fmt::format("{}{}{}[{}]{}", together, name, joined,
                                            escaped(option.help), action(option.value))));
  }
  return lines;
}

std::string commands_function(const CommandTree& tree, const std::string& path) {
  std::string out =
      fmt::format("\n{}_commands() {{\n    local -a commands=(\n", function_name(path));
  for (const auto& command : tree.commands) {
    out += fmt::format("        {}\n", quoted(command.name + ":" + escaped(command.help)));
  }
  return out + "    )\n    _describe -t commands command commands\n}\n";
}

// The arguments of _arguments for what comes after the command is for its own function.
std::string rest(const CommandTree& tree, const std::string& path) {
  std::string out = fmt::format(
      "        '1:command:{}_commands' \\\n        '*::argument:->argument' && return\n"
      "    [[ $state == argument ]] || return\n    case $line[1] in\n",
      function_name(path));
  for (const auto& command : tree.commands) {
    std::vector<std::string> names = {command.name};
    names.insert(names.end(), command.aliases.begin(), command.aliases.end());
    out += fmt::format("        {}) {} ;;\n", absl::StrJoin(names, " | "),
                       function_name(path + " " + command.name));
  }
  return out + "    esac\n";
}

std::string functions(const CommandTree& tree, const std::string& path) {
  std::string out;
  for (const auto& command : tree.commands) out += functions(command, path + " " + command.name);
  if (!tree.commands.empty()) out += commands_function(tree, path);
  out += fmt::format(
      "\n{}() {{\n    local curcontext=$curcontext state line\n    local -A opt_args\n"
      "    _arguments -C -S : \\\n",
      function_name(path));
  for (const auto& option : tree.options) out += option_lines(option);
  if (!tree.commands.empty()) return out + rest(tree, path) + "}\n";
  for (const auto& argument : tree.arguments) {
    out += fmt::format("        {} \\\n",
                       quoted((argument.value.repeats ? "*" : "") + action(argument.value)));
  }
  return out + "        && return\n}\n";
}

}  // namespace

std::string zsh_completion(const CommandTree& tree) {
  return kZshHead + functions(tree, tree.name) + "\n_skep \"$@\"\n";
}

}  // namespace skep::cli
