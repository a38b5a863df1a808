// SPDX-License-Identifier: MIT
#include "skep/service/pressure_rest.h"

namespace skep::service {

void PressureRest::looked(bool over_limit) {
  const Duration rested = due();
  worked_ = Duration::zero();
  if (over_limit) {
    rest_ = std::min(2 * std::max(rested, kLeast), longest());
  } else {
    rest_ = rested > kLeast ? std::max(rested / 2, kLeast) : Duration::zero();
  }
}

}  // namespace skep::service
