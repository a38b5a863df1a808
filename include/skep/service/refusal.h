// SPDX-License-Identifier: MIT
//
// Why something could not begin, as the exit status that tells it: see man/skep.1. Plain values.
#pragma once

#include <string>

namespace skep::service {

struct Refusal {
  int exit_status = 0;  // 0: not refused
  std::string message;  // one line: what, and the remedy
};

}  // namespace skep::service
