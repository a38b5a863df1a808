// SPDX-License-Identifier: MIT
//
// Whether the machine runs on mains, from the kernel's power supplies. Thread-safe.
#pragma once

#include <string>

namespace skep::service {

// False when a mains supply is there and none is online, or when there are only USB supplies, none
// is online, and the machine has a battery: desktops have USB-C ports, too, that report themselves
// as supplies. Without any supply, or when `folder` cannot be read, it is true. Batteries of mice
// and the like do not count.
bool on_mains(const std::string& folder = "/sys/class/power_supply");

}  // namespace skep::service
