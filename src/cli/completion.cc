// SPDX-License-Identifier: MIT
#include "completion.h"

#include <absl/strings/str_cat.h>
#include <absl/strings/str_join.h>
#include <absl/strings/str_replace.h>

#include "output.h"
#include "skep/service/exit_status.h"

namespace skep::cli {

std::string quoted(const std::string& text) {
  return "'" + absl::StrReplaceAll(text, {{"'", R"('\'')"}}) + "'";
}

std::vector<std::string> paths_of(const CommandTree& command,
                                  const std::vector<std::string>& above) {
  std::vector<std::string> paths;
  for (const auto& path : above) {
    paths.push_back(absl::StrCat(path, " ", command.name));
    for (const auto& alias : command.aliases) paths.push_back(absl::StrCat(path, " ", alias));
  }
  return paths;
}

std::string kinds(const ValueTree& value) {
  std::vector<std::string> all;
  if (value.directories && !value.files) all.emplace_back("DIRECTORIES");
  if (value.files) all.emplace_back("FILES");
  if (value.filesystems) all.emplace_back("FILESYSTEMS");
  all.insert(all.end(), value.words.begin(), value.words.end());
  return all.empty() ? "NOTHING" : absl::StrJoin(all, " ");
}

int print_completion(const CompletionCommand& command, const CommandTree& tree) {
  using Shell = CompletionCommand::Shell;
  const auto generate = command.shell == Shell::kBash  ? bash_completion
                        : command.shell == Shell::kZsh ? zsh_completion
                                                       : fish_completion;
  return print(generate(tree), service::kExitDone);
}

}  // namespace skep::cli
