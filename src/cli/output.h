// SPDX-License-Identifier: MIT
//
// How a command ends: with its result on stdout, or with one line on stderr. Thread-compatible.
#pragma once

#include <string>
#include <string_view>

namespace skep::cli {

// Prints "skep: MESSAGE" on stderr. Returns the exit status, for `return fail(...)`.
int fail(int exit_status, std::string_view message);

// Prints the text, all of it. Returns the exit status, or that of a failure when it cannot be
// written.
int print(std::string_view text, int exit_status);

}  // namespace skep::cli
