// SPDX-License-Identifier: MIT
//
// A checkpoint as state.json holds it: man/skep-state.5. Functions; nothing is shared.
#pragma once

#include <nlohmann/json.hpp>

#include "skep/btrfs/types.h"
#include "skep/service/state_dir.h"

namespace skep::service {

constexpr int kCheckpointVersion = 1;

nlohmann::json to_json(const Checkpoint& c, const btrfs::Uuid& filesystem);
// Of an object of that version. Throws nlohmann's exceptions on what is missing or of another type.
Checkpoint checkpoint_of(const nlohmann::json& in);

}  // namespace skep::service
