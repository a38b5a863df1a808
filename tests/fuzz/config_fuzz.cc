// SPDX-License-Identifier: MIT
//
// Reads any bytes as a configuration of skep, and as one of beesd. A wrong one is refused with one
// line that names the file, and changes nothing; what beesd's is translated to is right for skep.
#include <absl/status/status.h>

#include <string>

#include "fuzz_target.h"
#include "scratch.h"
#include "skep/btrfs/status.h"
#include "skep/service/beesd_config.h"
#include "skep/service/config.h"

namespace {

using namespace skep::service;  // NOLINT: one file, one subject
using skep::fuzz::input_of;
using skep::fuzz::require;
using skep::fuzz::Scratch;

absl::Status load(const Scratch& scratch, const char* name, std::string_view text,
                  Settings& settings) {
  return load_config(scratch.write(name, text), settings);
}

}  // namespace

std::vector<skep::fuzz::Input> skep::fuzz::seed_inputs() {
  return {
      input_of("[general]\n"),
      input_of("[throttle]\nio_pressure = 10.5\nread_rate = \"10M\"\nhours = [\"22:00-06:00\"]\n"
               "[checkpoint]\ninterval = 60\n"),
      input_of("[filter]\nexclude = [\"*.tmp\", \"/a/**\"]\nmin_file_size = \"4K\"\n"
               "[table]\nsize = \"64M\"\n"),
      input_of("UUID=01234567-89ab-cdef-0123-456789abcdef\nDB_SIZE=$((1024*1024*1024))\n"
               "OPTIONS=\"--strip-paths --no-timestamps\" # c\nOPTIONS+=' -c 2'\n"
               "export WORK_DIR=/run/bees/$UUID\n"),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Scratch scratch;
  const auto text = skep::fuzz::text_of(data, size);
  Settings settings;
  const auto status = load(scratch, "skep.conf", text, settings);
  if (!status.ok()) {
    require(absl::IsInvalidArgument(status), "a configuration refused with another error");
    const std::string message(skep::message_of(status));
    require(message.find(scratch.path()) == 0, "a message that does not name the file");
    require(message.find('\n') == std::string::npos, "a message of several lines");
    require(changed_options({}, settings).empty(), "a wrong configuration changes something");
  }
  const auto translated = from_beesd_config(text, "beesd.conf");
  if (!translated.ok()) {
    require(absl::IsInvalidArgument(translated.status()), "beesd's refused with another error");
    return 0;
  }
  Settings from_bees;
  require(load(scratch, "bees.conf", *translated, from_bees).ok(), "a translation that is wrong");
  return 0;
}
