// SPDX-License-Identifier: MIT
//
// A history as history.json holds it: man/skep-state.5. Functions; nothing is shared.
#pragma once

#include <string>
#include <string_view>

#include "skep/btrfs/types.h"
#include "skep/service/history.h"

namespace skep::service {

constexpr int kHistoryVersion = 1;

// One object, a line for each row.
std::string history_json(const History& history, const btrfs::Uuid& filesystem);
// Throws nlohmann's exceptions on what is no history of this version and filesystem.
History history_of(std::string_view text, const btrfs::Uuid& filesystem);

}  // namespace skep::service
