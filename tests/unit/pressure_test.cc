// SPDX-License-Identifier: MIT
#include "skep/service/pressure.h"

#include <chrono>
#include <map>

#include "catch.h"
#include "skep/service/pressure_rest.h"

namespace skep::service {
namespace {

using namespace std::chrono_literals;

TEST_CASE("the total of all tasks that stalled is read", "[throttle]") {
  CHECK(parse_stall_total("some avg10=0.00 avg60=0.04 avg300=0.06 total=392898135\n"
                          "full avg10=0.00 avg60=0.00 avg300=0.00 total=134234686\n") ==
        392898135us);
  CHECK(parse_stall_total("full total=1\nsome total=2") == 2us);
}

TEST_CASE("what has no total is no pressure", "[throttle]") {
  for (const char* text : {"", "some", "some total=", "some total=x", "full total=5\n",
                           "some avg10=0.00\nfull total=5\n", "something total=5"}) {
    INFO("'" << text << "'");
    CHECK_FALSE(parse_stall_total(text).has_value());
  }
}

TEST_CASE("a look tells what part of its time was stalled", "[throttle]") {
  std::map<Resource, std::string> files = {{Resource::kIo, "some total=1000"},
                                           {Resource::kCpu, "some total=1000"}};
  const PressureLook::Reader read = [&](Resource resource) { return files[resource]; };
  const PressureLook::TimePoint begin(1h);
  const PressureLook look(read, begin);
  files[Resource::kIo] = "some total=6000";
  files[Resource::kCpu] = "some total=99000";     // more than the time that went by
  files[Resource::kMemory] = "some total=99000";  // was not there before
  const auto percent = look.percent(begin + 20ms);
  CHECK(percent[index_of(Resource::kIo)] == Catch::Approx(25));
  CHECK(percent[index_of(Resource::kCpu)] == 100);
  CHECK(percent[index_of(Resource::kMemory)] == 0);
  CHECK(look.percent(begin)[0] == 0);
}

// Seconds of the rest that is due, with others always busy.
double busy_rest(PressureRest& rest) {
  PressureRest::Duration total{}, look = rest.due();
  for (; look > 0s; total += look, look = rest.looked(look, true)) {
  }
  return std::chrono::duration<double>(total).count();
}

TEST_CASE("rests follow the work before them, up to a minute", "[throttle]") {
  PressureRest rest;
  CHECK(busy_rest(rest) == Catch::Approx(8));  // before any work
  rest.worked(40ms);
  CHECK(busy_rest(rest) == Catch::Approx(8));
  rest.worked(200ms);
  CHECK(busy_rest(rest) == Catch::Approx(40));
  rest.worked(10s);
  CHECK(busy_rest(rest) == Catch::Approx(60));
}

TEST_CASE("no rest is due before some work was done", "[throttle]") {
  PressureRest rest;
  CHECK(rest.due() == PressureRest::kLeast);
  busy_rest(rest);
  rest.worked(39ms);
  CHECK(rest.due() == 0s);
  rest.worked(1ms);
  CHECK(rest.due() == PressureRest::kLeast);
}

TEST_CASE("a look under the limit ends a rest, one over it makes the next twice as long",
          "[throttle]") {
  PressureRest rest;
  CHECK(rest.looked(20ms, true) == 40ms);
  CHECK(rest.looked(40ms, true) == 80ms);
  CHECK(rest.looked(80ms, false) == 0s);
  CHECK(rest.due() == 0s);
}

}  // namespace
}  // namespace skep::service
