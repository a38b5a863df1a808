// SPDX-License-Identifier: MIT
#include "skep/service/local_time.h"

#include <stdlib.h>
#include <time.h>

#include <optional>
#include <string>

#include "catch.h"

namespace skep::service {
namespace {

using namespace std::chrono_literals;

// The process's time zone, for the time of a test.
class TimeZone {
 public:
  explicit TimeZone(const char* zone) {
    if (const char* old = getenv("TZ")) old_ = old;
    setenv("TZ", zone, 1);
    tzset();
  }
  ~TimeZone() {
    old_ ? setenv("TZ", old_->c_str(), 1) : unsetenv("TZ");
    tzset();
  }
  TimeZone(const TimeZone&) = delete;
  TimeZone& operator=(const TimeZone&) = delete;

 private:
  std::optional<std::string> old_;
};

TEST_CASE("the day and its time are local", "[throttle]") {
  const std::time_t late = 20000 * 86400 + 23 * 3600 + 30 * 60 + 5;  // 23:30:05 UTC
  {
    const TimeZone utc("UTC0");
    CHECK(to_local(late).day == 20000);
    CHECK(to_local(late).since_midnight == 23h + 30min + 5s);
  }
  {
    const TimeZone east("EAST-2");
    CHECK(to_local(late).day == 20001);
    CHECK(to_local(late).since_midnight == 1h + 30min + 5s);
  }
}

TEST_CASE("hours include their begin, not their end, and go over midnight", "[throttle]") {
  CHECK(within({}, 3h));
  CHECK(within({{2h, 4h}}, 2h));
  CHECK(within({{2h, 4h}}, 4h - 1s));
  CHECK_FALSE(within({{2h, 4h}}, 4h));
  CHECK_FALSE(within({{2h, 4h}}, 2h - 1s));
  CHECK(within({{22h, 6h}}, 23h));
  CHECK(within({{22h, 6h}}, 5h));
  CHECK_FALSE(within({{22h, 6h}}, 6h));
  CHECK(within({{2h, 4h}, {8h, 9h}}, 8h + 30min));
  CHECK(within({{7h, 7h}}, 1h));  // the whole day
  CHECK(within({{0h, 24h}}, 1h));
}

TEST_CASE("the next begin may be tomorrow", "[throttle]") {
  CHECK(next_begin({}, 12h) == "");
  CHECK(next_begin({{2h, 4h}, {22h, 23h}}, 12h) == "22:00");
  CHECK(next_begin({{2h, 4h}, {8h + 5min, 9h}}, 12h) == "02:00");
}

}  // namespace
}  // namespace skep::service
