// SPDX-License-Identifier: MIT
//
// `skep explain`.
#pragma once

#include "skep/service/explain.h"

namespace skep::cli {

struct ExplainCommand {
  service::ExplainOptions options;
  bool json = false;
};

// Returns the exit status.
int explain_file(const ExplainCommand& command);

}  // namespace skep::cli
