// SPDX-License-Identifier: MIT
//
// `skep dedupe-files`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "skep/service/file_list.h"

namespace skep::cli {

struct DedupeFilesCommand {
  std::vector<std::string> files;
  std::string from;  // a list of files, "-" for stdin; empty: none
  service::ListFormat format = service::ListFormat::kAuto;
  bool blocks = false;
  std::uint64_t min_run_bytes = 4096;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;
};

// Returns the exit status.
int dedupe_files(const DedupeFilesCommand& command);

}  // namespace skep::cli
