// SPDX-License-Identifier: MIT
//
// Which kernels skep refuses or warns about, as public bug reports of other deduplicators and of
// btrfs itself name them; and what it does on those that lack something it uses. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
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

// What skep uses of a kernel where it is there. Whether it is, is found by trying, where it is
// first wanted: a distribution's kernel may have more, or less, than its version says.
enum class KernelFeature : std::uint8_t {
  kGenerationFile,
  kWritableMount,
  kCommitCount,
  kAnyGeneration,
  kCount
};
struct FeatureFacts {
  KernelFeature feature;
  std::string_view what;
  std::string_view since;    // the first Linux that has it, "5.11"
  std::string_view without;  // what skep does then
};
// The one list, by version; man/skep.1 has the same table, and a test holds the two together.
const FeatureFacts& facts_of(KernelFeature feature);
// To be called wherever one is found missing: tells of it in the log, at level debug, once.
void note_missing(KernelFeature feature);

}  // namespace skep::btrfs
