// SPDX-License-Identifier: MIT
//
// The option table as data: every command with what can follow it, for what is generated from it.
// What is hidden from the help is hidden here too.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace skep::cli {

// The values that an option or argument takes, as far as a shell can offer them.
struct ValueTree {
  std::string title;  // as in the help: "SIZE", "MOUNT|UUID", "quick|deep"; empty: it takes none
  bool directories = false;
  bool files = false;
  bool filesystems = false;  // by UUID
  std::vector<std::string> words;
  bool repeats = false;  // may be given several times

  bool offers_nothing() const { return !directories && !files && !filesystems && words.empty(); }
};

struct OptionTree {
  std::vector<std::string> names;  // with their dashes
  std::string help;
  std::string group;
  std::string default_value;  // where the help does not tell it itself
  ValueTree value;
};

struct ArgumentTree {
  ValueTree value;
  std::string help;
  bool required = false;
};

struct CommandTree {
  std::string name;
  std::vector<std::string> aliases;
  std::string help;
  std::vector<OptionTree> options;
  std::vector<ArgumentTree> arguments;
  std::vector<CommandTree> commands;
};

CommandTree command_tree(const CLI::App& app);

}  // namespace skep::cli
