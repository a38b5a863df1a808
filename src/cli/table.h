// SPDX-License-Identifier: MIT
//
// `skep table show`, `skep table resize`, `skep table check`.
#pragma once

#include <cstdint>
#include <string>

namespace skep::cli {

struct TableCommand {
  enum class Action { kShow, kResize, kCheck };
  Action action = Action::kShow;
  std::string name;       // mount point, UUID or file; may be empty beside a state directory
  std::string state_dir;  // empty: the filesystem's own
  std::string size;       // as given, and in bytes: for kResize
  std::uint64_t size_bytes = 0;
  bool json = false;
};

// Returns the exit status.
int table(const TableCommand& command);

}  // namespace skep::cli
