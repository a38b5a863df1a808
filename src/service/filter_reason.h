// SPDX-License-Identifier: MIT
//
// Which of the options that leave files out leaves out one. Functions; nothing is shared.
#pragma once

#include <absl/status/statusor.h>

#include <string>

#include "skep/btrfs/filesystem.h"
#include "skep/dedupe/filter_options.h"

namespace skep::service {

// As on a command line: "--exclude '*.tmp'"; empty when the file is not left out.
absl::StatusOr<std::string> filter_reason(btrfs::Filesystem& fs,
                                          const dedupe::FilterOptions& filter, btrfs::FileKey file);

}  // namespace skep::service
