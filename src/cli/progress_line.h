// SPDX-License-Identifier: MIT
//
// Shows how far work is while it goes on: on a terminal one line that is written over, elsewhere a
// log line now and then. Reads Progress from a thread of its own, from construction to destruction.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string_view>
#include <thread>

#include "skep/service/progress.h"

namespace skep::cli {

class ProgressLine {
 public:
  // `gained`: what is said of the bytes that the counters have as freed.
  explicit ProgressLine(const service::Progress& progress, std::string_view gained = "freed");
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

 private:
  void run();
  void show();

  const service::Progress& progress_;
  const std::string_view gained_;
  const bool terminal_;
  std::mutex mutex_;
  std::condition_variable ended_changed_;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace skep::cli
