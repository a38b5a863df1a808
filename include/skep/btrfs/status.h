// SPDX-License-Identifier: MIT
//
// Errors of the kernel as absl::Status: "OBJECT: CALL: what errno says", with the errno kept as a
// payload so that callers can tell EAGAIN from EIO. Thread-safe.
#pragma once

#include <absl/status/status.h>

#include <string_view>

namespace skep {

// Never OK, also when `error` is 0 (then: "no progress").
absl::Status errno_status(int error, std::string_view call, std::string_view object);

// The errno inside a status made by errno_status(); 0 for every other status.
int errno_of(const absl::Status& status);

// A status as one line for a person, without the code's name in front.
std::string_view message_of(const absl::Status& status);

}  // namespace skep
