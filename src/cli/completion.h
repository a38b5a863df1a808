// SPDX-License-Identifier: MIT
//
// `skep completion`: scripts that let shells complete skep's command line, generated from the
// option table. The build installs them; a command or option that is added needs no line here.
#pragma once

#include <string>
#include <vector>

#include "command_tree.h"

namespace skep::cli {

struct CompletionCommand {
  enum class Shell { kBash, kZsh, kFish };
  Shell shell = Shell::kBash;
};

// Each is the whole file.
std::string bash_completion(const CommandTree& tree);
std::string zsh_completion(const CommandTree& tree);
std::string fish_completion(const CommandTree& tree);

// Of the generators: text in single quotes, for bash and zsh.
std::string quoted(const std::string& text);
// The words that lead to a command below those that lead here, by each of its names.
std::vector<std::string> paths_of(const CommandTree& command,
                                  const std::vector<std::string>& above);
// The kinds and words that a function of the scripts is called with: "DIRECTORIES FILESYSTEMS".
std::string kinds(const ValueTree& value);

// Returns the exit status.
int print_completion(const CompletionCommand& command, const CommandTree& tree);

}  // namespace skep::cli
