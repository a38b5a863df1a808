// SPDX-License-Identifier: MIT
#include "skep/service/power.h"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace skep::service {
namespace {

std::string word_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

}  // namespace

bool on_mains(const std::string& folder) {
  bool mains = false, usb = false, battery = false;
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::filesystem::path supply = it->path();
    const std::string type = word_in(supply / "type");
    const bool is_mains = type == "Mains";
    const bool is_usb = type.starts_with("USB");  // USB_C, USB_PD: older kernels
    if ((is_mains || is_usb) && word_in(supply / "online") != "0") return true;
    mains |= is_mains;
    usb |= is_usb;
    battery |= type == "Battery" && word_in(supply / "scope") != "Device";
  }
  return !mains && !(usb && battery);
}

}  // namespace skep::service
