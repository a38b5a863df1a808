// SPDX-License-Identifier: MIT
//
// What instances of skep tell of themselves, for a person and for a program. Pure functions, but
// for the clock.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "skep/service/instances.h"

namespace skep::cli {

// One instance alone with all its figures, several in a few lines each. `bars`: progress as a bar
// too, as on a terminal.
std::string instances_text(const service::Instances& instances, bool bars);

// The object of status.json and `running`: one where one was named, else an array. Followed by a
// newline; `one_line`: and holding no other.
std::string instances_json(const service::Instances& instances, bool one_line);

// What is said of a part of the work; see service::Progress.
std::string part_in_words(std::string_view part);
// Parts of these: what it does; and why it waits or is slow, empty when it does not.
std::string state_in_words(const service::Status& status);
std::string hold_in_words(const service::Status& status);
// The object alone.
nlohmann::ordered_json instance_json(const service::Instance& instance);

}  // namespace skep::cli
