// SPDX-License-Identifier: MIT
//
// Which kernels skep refuses or warns about, as public bug reports of other deduplicators and of
// btrfs itself name them. Pure functions, thread-safe.
#pragma once

#include <string>
#include <string_view>

namespace skep::btrfs {

struct KernelVerdict {
  enum class Kind { kGood, kWarn, kRefuse };
  Kind kind = Kind::kGood;
  std::string reason;  // one line for kWarn and kRefuse
};

// `release` as uname(2) gives it, "6.1.0-18-amd64".
KernelVerdict judge_kernel(std::string_view release);
// The running kernel's.
KernelVerdict judge_running_kernel();

}  // namespace skep::btrfs
