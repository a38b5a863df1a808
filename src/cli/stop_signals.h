// SPDX-License-Identifier: MIT
//
// SIGINT and SIGTERM as a wish to stop. Any thread may read it.
#pragma once

#include <atomic>

namespace skep::cli {

// Whether calls of the kernel that a signal meets are ended early, or gone on with.
enum class InterruptedCalls { kEnd, kGoOn };

// From the first call on, the two signals set this.
const std::atomic<bool>& stop_on_signals(InterruptedCalls calls = InterruptedCalls::kEnd);

}  // namespace skep::cli
