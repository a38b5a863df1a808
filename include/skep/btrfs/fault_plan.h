// SPDX-License-Identifier: MIT
//
// Which errors MemoryFilesystem makes up, how often, and from which seed: the same plan gives the
// same faults to the same sequence of calls. FaultPlan is a value; FaultInjector is
// thread-compatible (its owner locks).
#pragma once

#include <cstdint>
#include <random>
#include <string>

namespace skep::btrfs {

// Each rate is the probability from 0 to 1 that one call, or one target of dedupe(), is hit.
struct FaultPlan {
  std::uint64_t seed = 0;
  double io_error = 0;       // EIO: every call that returns a status
  double not_found = 0;      // ENOENT: file_map(), logical_ino(), open()
  double no_space = 0;       // ENOSPC: create_temporary(), write(), a target of dedupe()
  double try_again = 0;      // EAGAIN: a target of dedupe(), as while a send runs
  double invalid = 0;        // EINVAL: a target of dedupe()
  double not_permitted = 0;  // EPERM: a target of dedupe(), as of a file that may not be changed
  double false_differs = 0;  // kDiffers although equal: as when somebody writes meanwhile
  double short_answer = 0;   // a target of dedupe() that shares only its first blocks, and says so
  double empty_answer = 0;   // a target of dedupe() that succeeds with 0 bytes
};

// One line with the seed and the rates above 0, to print beside a failure.
std::string to_string(const FaultPlan& plan);

class FaultInjector {
 public:
  explicit FaultInjector(const FaultPlan& plan = {}) : plan_(plan), random_(plan.seed) {}

  const FaultPlan& plan() const { return plan_; }
  // True when the fault of this rate strikes now. Rates of 0 draw nothing.
  bool strikes(double rate) {
    if (rate <= 0 || std::uniform_real_distribution<double>(0, 1)(random_) >= rate) return false;
    ++injected_;
    return true;
  }
  // Uniform in [0, bound), for `bound` above 0.
  std::uint64_t below(std::uint64_t bound) {
    return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random_);
  }
  std::uint64_t injected() const { return injected_; }

 private:
  FaultPlan plan_;
  std::mt19937_64 random_;
  std::uint64_t injected_ = 0;
};

}  // namespace skep::btrfs
