// SPDX-License-Identifier: MIT
#include "summary_head.h"

namespace skep::cli {
namespace {

const char* name_of(service::Result result) {
  switch (result) {
    case service::Result::kDone:
      return "done";
    case service::Result::kStopped:
      return "stopped";
    case service::Result::kFailed:
      break;
  }
  return "failed";
}

}  // namespace

nlohmann::ordered_json summary_head(const std::string& mount, const service::Summary& summary) {
  nlohmann::ordered_json out;
  out["version"] = 1;
  out["filesystem"] = btrfs::to_string(summary.filesystem);
  out["mount"] = mount;
  out["result"] = name_of(summary.result);
  if (!summary.stop_reason.empty()) out["stop_reason"] = summary.stop_reason;
  return out;
}

}  // namespace skep::cli
