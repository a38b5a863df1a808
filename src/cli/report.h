// SPDX-License-Identifier: MIT
//
// `skep report`.
#pragma once

#include <string>

#include "skep/service/report.h"

namespace skep::cli {

struct ReportCommand {
  service::ReportOptions options;
  std::string output;  // the page's file; empty: stdout
  bool force = false;
  bool json = false;
};

// Returns the exit status.
int report(const ReportCommand& command);

}  // namespace skep::cli
