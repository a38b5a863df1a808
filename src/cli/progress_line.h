// SPDX-License-Identifier: MIT
//
// Shows how far work is while it goes on: on a terminal one line that is written over, elsewhere a
// log line now and then. Reads Progress from a thread of its own, from construction to destruction.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "skep/service/progress.h"

namespace skep::cli {

// "by checksums: 25 %, 1.0 GiB of 4.0 GiB, 100 MiB/s, 31 s left; 12 MiB freed". For `now` of a part
// that has begun.
std::string progress_text(const service::Progress::Now& now, std::uint64_t freed_bytes,
                          std::string_view gained);

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
