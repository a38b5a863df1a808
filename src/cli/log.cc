// SPDX-License-Identifier: MIT
#include "log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <utility>

namespace skep::cli {

void set_up_log() {
  // With levels, as a service; else as a program that somebody looks at.
  const bool to_journal = std::getenv("JOURNAL_STREAM") != nullptr && isatty(STDERR_FILENO) == 0;
  spdlog::sink_ptr sink;
  if (to_journal) {
    sink = std::make_shared<spdlog::sinks::systemd_sink_mt>("skep");
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  auto logger = std::make_shared<spdlog::logger>("skep", std::move(sink));
  logger->set_pattern(to_journal ? "%v" : "skep: %v");
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace skep::cli
