// SPDX-License-Identifier: MIT
//
// Why something could not begin, as the exit status that tells it: see man/skep.1. Plain values.
#pragma once

#include <string>

namespace skep::service {

struct Refusal {
  int exit_status = 0;  // 0: not refused
  std::string message;  // one line: what, and the remedy
  // Time may mend it, such as a full disk: who stays tries again.
  bool may_pass = false;
};

}  // namespace skep::service
