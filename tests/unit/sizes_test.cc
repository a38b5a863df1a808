// SPDX-License-Identifier: MIT
#include "skep/service/sizes.h"

#include "catch.h"

namespace skep::service {
namespace {

TEST_CASE("sizes are read with and without units, as powers of 1024") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("65536") == 65536);
  CHECK(parse_size("17B") == 17);
  for (const char* text : {"64K", "64k", "64KB", "64KiB", "65536B"}) {
    INFO(text);
    CHECK(parse_size(text) == 65536);
  }
  CHECK(parse_size("1.5G") == 1610612736);
  CHECK(parse_size("2T") == 2ULL << 40);
  CHECK(parse_size("1P") == 1ULL << 50);
  CHECK(parse_size("1E") == 1ULL << 60);
}

TEST_CASE("what is no size is not read as one") {
  for (const char* text : {"", "K", "-1", "-1K", "1X", "64KX", "64 K", " 64", "64K ", "1e3", "nan",
                           "inf", "64KiBs", "1..5", "0x10", "99E", "1000000000000000000000"}) {
    INFO("'" << text << "'");
    CHECK_FALSE(parse_size(text).has_value());
  }
}

TEST_CASE("sizes are written with as many digits as one reads") {
  CHECK(format_size(0) == "0 B");
  CHECK(format_size(17) == "17 B");
  CHECK(format_size(1023) == "1023 B");
  CHECK(format_size(1024) == "1.0 KiB");
  CHECK(format_size(12 << 10) == "12 KiB");
  CHECK(format_size(767ULL << 20) == "767 MiB");
  CHECK(format_size(1503238553) == "1.4 GiB");
  CHECK(format_size((1ULL << 20) - 1) == "1.0 MiB");
  CHECK(format_size(3ULL << 40) == "3.0 TiB");
  CHECK(format_size(~0ULL) == "16 EiB");
}

TEST_CASE("what was written as a whole size is read back") {
  for (const std::uint64_t bytes : {5ULL, 12ULL << 10, 767ULL << 20, 20ULL << 30, 11ULL << 40}) {
    std::string text = format_size(bytes);
    INFO(text);
    text.erase(text.find(' '), 1);
    CHECK(parse_size(text) == bytes);
  }
}

TEST_CASE("durations are written in the two units that matter") {
  CHECK(format_duration(0) == "0.0 s");
  CHECK(format_duration(3.24) == "3.2 s");
  CHECK(format_duration(42.4) == "42 s");
  CHECK(format_duration(59.9) == "1 min 0 s");
  CHECK(format_duration(312) == "5 min 12 s");
  CHECK(format_duration(7500) == "2 h 5 min");
}

TEST_CASE("durations are read with and without units") {
  CHECK(parse_duration("0") == std::chrono::seconds(0));
  for (const char* text : {"90", "90s", "90 s", "90sec", "1min 30s", "1m30s", "1 min 30 s "}) {
    INFO(text);
    CHECK(parse_duration(text) == std::chrono::seconds(90));
  }
  CHECK(parse_duration("2h") == std::chrono::hours(2));
  CHECK(parse_duration("1d 1h") == std::chrono::hours(25));
}

TEST_CASE("what is no duration is not read as one") {
  for (const char* text : {"", " ", " 1s", "s", "-1s", "1.5h", "1 2", "1x", "1mins", "1h 5 x", "2M",
                           "99999d", "18446744073709551616", "9223372036854775807d"}) {
    INFO("'" << text << "'");
    CHECK_FALSE(parse_duration(text).has_value());
  }
}

}  // namespace
}  // namespace skep::service
