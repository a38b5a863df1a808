// SPDX-License-Identifier: MIT
#include "skep/service/pressure_rest.h"

namespace skep::service {

PressureRest::Duration PressureRest::looked(Duration look, bool over_limit) {
  rested_ += look;
  calm_looks_ = over_limit ? 0 : std::min(calm_looks_ + 1, kCalmLooks);
  const Duration left = std::min(kTimesWork * worked_, kLongest) - rested_;
  if (over_limit && left > Duration::zero()) return std::min(2 * look, left);
  worked_ = rested_ = Duration::zero();
  return Duration::zero();
}

}  // namespace skep::service
