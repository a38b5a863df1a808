// SPDX-License-Identifier: MIT
#include "html.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace skep::cli {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct Lead {
  std::uint8_t mask, value;
  std::size_t bytes;
  std::uint32_t least;  // code point that needs so many bytes
};
constexpr std::array<Lead, 3> kLeads = {
    {{0xE0, 0xC0, 2, 0x80}, {0xF0, 0xE0, 3, 0x800}, {0xF8, 0xF0, 4, 0x10000}}};

// Bytes of the character that the text begins with, which is not ASCII; 0 when it is no UTF-8.
std::size_t character_bytes(std::string_view text) {
  const auto first = static_cast<std::uint8_t>(text.front());
  for (const Lead& lead : kLeads) {
    if ((first & lead.mask) != lead.value) continue;
    if (text.size() < lead.bytes) return 0;
    std::uint32_t point = first & static_cast<std::uint8_t>(~lead.mask);
    for (const char c : text.substr(1, lead.bytes - 1)) {
      const auto byte = static_cast<std::uint8_t>(c);
      if ((byte & 0xC0) != 0x80) return 0;
      point = point << 6 | (byte & 0x3F);
    }
    const bool surrogate = point >= 0xD800 && point < 0xE000;
    return point < lead.least || point > 0x10FFFF || surrogate ? 0 : lead.bytes;
  }
  return 0;
}

// Of one byte of ASCII.
std::string_view of_ascii(const char& c) {
  switch (c) {
    case '&':
      return "&amp;";
    case '<':
      return "&lt;";
    case '>':
      return "&gt;";
    case '"':
      return "&quot;";
    case '\'':
      return "&#39;";
    default:
      break;
  }
  const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  return control ? kReplacement : std::string_view(&c, 1);
}

}  // namespace

std::string html(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t bytes = 1;
    if (static_cast<unsigned char>(text.front()) < 0x80) {
      out += of_ascii(text.front());
    } else {
      bytes = character_bytes(text);
      out += bytes == 0 ? kReplacement : text.substr(0, bytes);
      bytes = std::max<std::size_t>(bytes, 1);
    }
    text.remove_prefix(bytes);
  }
  return out;
}

}  // namespace skep::cli
