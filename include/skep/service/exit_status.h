// SPDX-License-Identifier: MIT
//
// The contract of exit statuses (man/skep.1). Constants.
#pragma once

namespace skep::service {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;       // something failed that should not have
inline constexpr int kExitUsage = 2;        // wrong call or configuration
inline constexpr int kExitUnsupported = 3;  // not btrfs, read-only, no privilege, kernel too old
inline constexpr int kExitStopped = 4;      // signal, time limit, no space: state is saved

}  // namespace skep::service
