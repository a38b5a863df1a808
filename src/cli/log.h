// SPDX-License-Identifier: MIT
//
// Where messages of all commands go: to stderr, never among results on stdout.
#pragma once

namespace skep::cli {

// Once, before anything is logged. Notes and graver, until the level is set otherwise
// (spdlog::set_level).
void set_up_log();

}  // namespace skep::cli
