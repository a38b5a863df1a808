// SPDX-License-Identifier: MIT
#include "skep/service/power.h"

#include <filesystem>
#include <map>

#include "catch.h"
#include "temporary_folder.h"

namespace skep::service {
namespace {

using Supply = std::map<std::string, std::string>;  // file to contents

bool on_mains_with(const std::map<std::string, Supply>& supplies) {
  const testing::TemporaryFolder folder;
  for (const auto& [name, files] : supplies) {
    std::filesystem::create_directory(folder.file(name));
    for (const auto& [file, text] : files) {
      testing::write_file(folder.file(name + "/" + file), text + "\n");
    }
  }
  return on_mains(folder.path());
}

const Supply kBattery = {{"type", "Battery"}, {"status", "Discharging"}};
const Supply kMouse = {{"type", "Battery"}, {"scope", "Device"}};

Supply supply(const std::string& type, bool online) {
  return {{"type", type}, {"online", online ? "1" : "0"}};
}

TEST_CASE("a machine without supplies is on mains", "[throttle]") {
  CHECK(on_mains_with({}));
  CHECK(on_mains_with({{"mouse", kMouse}}));
  CHECK(on_mains("/nonexistent"));
}

TEST_CASE("the mains supply says whether a laptop is on mains", "[throttle]") {
  CHECK(on_mains_with({{"AC", supply("Mains", true)}, {"BAT0", kBattery}}));
  CHECK_FALSE(on_mains_with({{"AC", supply("Mains", false)}, {"BAT0", kBattery}}));
  CHECK_FALSE(on_mains_with({{"AC", supply("Mains", false)}}));
}

TEST_CASE("one supply of several is enough", "[throttle]") {
  CHECK(on_mains_with({{"AC", supply("Mains", false)}, {"ucsi", supply("USB", true)}}));
  CHECK(on_mains_with({{"a", supply("USB_C", false)}, {"b", supply("USB_PD", true)}}));
  CHECK_FALSE(on_mains_with({{"AC", supply("Mains", false)}, {"ucsi", supply("USB", false)}}));
}

TEST_CASE("USB supplies count on machines with a battery", "[throttle]") {
  CHECK_FALSE(on_mains_with({{"ucsi", supply("USB", false)}, {"BAT0", kBattery}}));
  // The USB-C ports of a desktop.
  CHECK(on_mains_with({{"ucsi", supply("USB", false)}}));
  CHECK(on_mains_with({{"ucsi", supply("USB", false)}, {"mouse", kMouse}}));
}

}  // namespace
}  // namespace skep::service
