// SPDX-License-Identifier: MIT
//
// SIGINT and SIGTERM as a wish to stop.
#pragma once

#include <atomic>

namespace skep::cli {

// From the first call on, the two signals set this, and end waits in the kernel early.
const std::atomic<bool>& stop_on_signals();

}  // namespace skep::cli
