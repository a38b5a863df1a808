// SPDX-License-Identifier: MIT
#include "skep/btrfs/fault_plan.h"

#include <fmt/format.h>

namespace skep::btrfs {

std::string to_string(const FaultPlan& plan) {
  std::string out = fmt::format("seed {}", plan.seed);
  const auto add = [&](const char* name, double rate) {
    if (rate > 0) out += fmt::format(", {} {}", name, rate);
  };
  add("io_error", plan.io_error);
  add("not_found", plan.not_found);
  add("no_space", plan.no_space);
  add("try_again", plan.try_again);
  add("invalid", plan.invalid);
  add("not_permitted", plan.not_permitted);
  add("false_differs", plan.false_differs);
  add("short_answer", plan.short_answer);
  add("empty_answer", plan.empty_answer);
  return out;
}

}  // namespace skep::btrfs
