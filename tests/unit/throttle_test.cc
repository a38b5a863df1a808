// SPDX-License-Identifier: MIT
#include "skep/service/throttle.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.h"
#include "fake_machine.h"
#include "skep/service/pressure_rest.h"
#include "testing.h"

namespace skep::service {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kMiB = 1ULL << 20, kGiB = 1ULL << 30;

using testing::never;

struct Setup {
  explicit Setup(const ThrottleSettings& settings = {}, DailyUse used = {},
                 std::chrono::seconds time_of_day = 12h, bool has_pressure = true) {
    machine.begin = time_of_day;
    machine.has_pressure = has_pressure;
    throttle.emplace(settings, counters, used, machine.sources());
    throttle->set_on_hold([this] { ++holds; });
  }
  // Seconds that a batch was made to wait.
  double before() {
    const double begin = machine.seconds();
    throttle->before_batch(never);
    return machine.seconds() - begin;
  }
  // Seconds that a step was made to wait.
  double step() {
    const double begin = machine.seconds();
    throttle->between_steps(never);
    return machine.seconds() - begin;
  }
  void work(std::chrono::milliseconds time, std::uint64_t read = 0, std::uint64_t written = 0) {
    counters.bytes_read_asked += read;
    counters.bytes_copied += written;
    machine.pass(time);
    throttle->batch_done();
  }

  testing::FakeMachine machine;
  dedupe::Counters counters;
  int holds = 0;
  std::optional<Throttle> throttle;
};

Hold held(const char* word, const char* text) { return {word, text, false}; }
Hold slowed(const char* word, const char* text) { return {word, text, true}; }

// Free, and one at a time

TEST_CASE("without limits nothing is waited for and nothing looked at", "[throttle]") {
  Setup s;
  for (int i = 0; i < 5; ++i) CHECK(s.before() == 0);  // all under way at once
  s.work(40ms, kGiB, kGiB);
  CHECK(s.before() == 0);
  CHECK(s.machine.waits == 0);
  CHECK(s.machine.pressure_reads == 0);
  CHECK(s.holds == 0);
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("with any limit a batch waits for the one before", "[throttle]") {
  Setup s({.read_bytes_per_second = kGiB});
  CHECK(s.before() == 0);
  s.machine.at(3s, [&] { s.throttle->batch_done(); });
  CHECK(s.before() == Catch::Approx(3));
}

TEST_CASE("batches under way are waited for when the first limit is set", "[throttle]") {
  Setup s;
  CHECK(s.before() == 0);
  CHECK(s.before() == 0);
  s.throttle->set({.read_bytes_per_second = kGiB});
  s.machine.at(1s, [&] { s.throttle->batch_done(); });
  s.machine.at(2s, [&] { s.throttle->batch_done(); });
  CHECK(s.before() == Catch::Approx(2));
}

TEST_CASE("who waits for its turn goes on when the last limit goes", "[throttle]") {
  Setup s({.read_bytes_per_second = kGiB});
  CHECK(s.before() == 0);
  s.machine.at(1s, [&] { s.throttle->set({}); });
  CHECK(s.before() == Catch::Approx(1));
}

TEST_CASE("many threads with limits are never in two batches at once", "[throttle]") {
  Setup s({.io_pressure_percent = 10, .read_bytes_per_second = 10 * kMiB});
  s.machine.stalls[0] = 5;
  std::atomic<int> inside = 0, overlaps = 0, done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        s.throttle->before_batch(never);
        if (++inside != 1) ++overlaps;
        s.counters.bytes_read_asked += kMiB;
        std::this_thread::yield();
        --inside;
        s.throttle->batch_done();
        ++done;
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    s.throttle->pause();
    CHECK(s.throttle->hold().word == "paused");
    s.throttle->set({.io_pressure_percent = 20, .read_bytes_per_second = 20 * kMiB});
    s.throttle->resume();
    std::this_thread::yield();
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(overlaps == 0);
  CHECK(done == 400);
}

// Stop

TEST_CASE("stop ends each kind of wait within 200 ms", "[throttle]") {
  const std::vector<ThrottleSettings> all = {{},
                                             {.io_pressure_percent = 10},
                                             {.read_bytes_per_second = 1},
                                             {.read_bytes_per_day = 1},
                                             {.load_average = 1},
                                             {.hours = {{1h, 2h}}},
                                             {.ac_power_only = true}};
  for (const ThrottleSettings& settings : all) {
    Setup s(settings);
    s.machine.stalls[0] = 90;
    for (int i = 0; i < 10 && settings.io_pressure_percent > 0; ++i) s.before(), s.work(40ms);
    s.machine.load = 9;
    s.machine.on_mains = false;
    s.counters.bytes_read_asked += kMiB;
    if (settings.io_pressure_percent == 0) s.machine.pass(1s);
    if (all.data() == &settings) s.throttle->pause();
    const double begin = s.machine.seconds();
    s.throttle->before_batch([&] { return s.machine.seconds() >= begin + 0.3; });
    INFO(s.throttle->hold().text);
    CHECK(s.machine.seconds() - begin == Catch::Approx(0.3).margin(0.2));
  }
}

TEST_CASE("stop ends the wait for the batch before", "[throttle]") {
  Setup s({.read_bytes_per_second = kGiB});
  s.before();
  s.throttle->before_batch([&] { return s.machine.seconds() >= 1; });
  CHECK(s.machine.seconds() == Catch::Approx(1).margin(0.2));
}

TEST_CASE("a batch that stop kept out counts as none, told of or not", "[throttle]") {
  for (const bool told : {false, true}) {
    Setup s({.read_bytes_per_second = kGiB});
    s.throttle->before_batch([] { return true; });
    if (told) s.throttle->batch_done();
    CHECK(s.before() == 0);
    s.machine.at(1s, [&] { s.throttle->batch_done(); });
    CHECK(s.before() == Catch::Approx(1));
  }
}

// Held by words from outside

TEST_CASE("paused until it is resumed", "[throttle]") {
  Setup s;
  s.throttle->pause();
  CHECK(s.throttle->hold() == held("paused", "paused"));
  s.machine.at(10s, [&] { s.throttle->resume(); });
  CHECK(s.before() == Catch::Approx(10));
  CHECK(s.throttle->hold() == Hold());
  CHECK(s.holds == 1);
  CHECK(s.machine.waits <= 100);  // no busy polling
}

TEST_CASE("a pause waits for the batches under way before it lets go of files", "[throttle]") {
  Setup s;
  s.before();
  s.throttle->pause();
  s.machine.at(1s, [&] { CHECK(s.holds == 0); });
  s.machine.at(2s, [&] { s.throttle->batch_done(); });
  s.machine.at(4s, [&] {
    CHECK(s.holds == 1);
    s.throttle->resume();
  });
  CHECK(s.before() == Catch::Approx(4));
}

TEST_CASE("each external reason has to be released", "[throttle]") {
  Setup s;
  s.throttle->hold_externally("read_only", "mounted read-only");
  s.throttle->hold_externally("metadata_space", "metadata: 10 MiB free");
  s.throttle->hold_externally("metadata_space", "metadata: 12 MiB free");
  CHECK(s.throttle->hold() == held("metadata_space", "metadata: 12 MiB free"));
  s.machine.at(5s, [&] {
    s.throttle->release_externally("metadata_space");
    CHECK(s.throttle->hold() == held("read_only", "mounted read-only"));
  });
  s.machine.at(8s, [&] { s.throttle->release_externally("read_only"); });
  CHECK(s.before() == Catch::Approx(8));
  CHECK(s.holds == 1);
}

// Hours, power, load

TEST_CASE("outside its hours it waits for the next of them", "[throttle]") {
  Setup s({.hours = {{22h, 6h}, {13h, 13h + 30min}}});
  CHECK(s.throttle->hold() == held("hours", "outside its hours, goes on at 13:00"));
  CHECK(s.before() == Catch::Approx(3600).margin(1.1));
  s.work(1h - 1s);
  CHECK(s.throttle->hold() == held("hours", "outside its hours, goes on at 22:00"));
  CHECK(s.before() == Catch::Approx(8 * 3600).margin(2));
  s.work(7h);  // over midnight
  CHECK(s.before() == 0);
}

TEST_CASE("on battery it waits for mains, if told so", "[throttle]") {
  Setup s({.ac_power_only = true});
  CHECK(s.before() == 0);
  s.work(2s);
  s.machine.on_mains = false;
  CHECK(s.throttle->hold() == held("battery", "on battery, goes on with mains power"));
  s.machine.at(100s, [&] { s.machine.on_mains = true; });
  CHECK(s.before() == Catch::Approx(98).margin(1.1));
  s.machine.on_mains = false;
  s.throttle->set({});
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("the load has to be clearly below its limit to go on", "[throttle]") {
  Setup s({.load_average = 2});
  s.machine.load = 1.95;
  CHECK(s.before() == 0);
  s.work(2s);
  s.machine.load = 3.2;
  s.machine.at(10s, [&] { s.machine.load = 1.95; });
  s.machine.at(15s, [&] {
    CHECK(s.throttle->hold() == held("load", "load average 1.95, limit 2.00, goes on below 1.80"));
  });
  s.machine.at(20s, [&] { s.machine.load = 1.7; });
  CHECK(s.before() == Catch::Approx(18).margin(1.1));
  CHECK(s.throttle->hold() == Hold());
}

// Rates and budgets

TEST_CASE("rates hold on average, whatever a batch takes", "[throttle]") {
  for (const bool writes : {false, true}) {
    ThrottleSettings settings;
    (writes ? settings.write_bytes_per_second : settings.read_bytes_per_second) = 10 * kMiB;
    Setup s(settings);
    for (int i = 0; i < 20; ++i) {
      s.before();
      s.work(50ms, writes ? 0 : 15 * kMiB, writes ? 15 * kMiB : 0);
    }
    s.before();
    // It began with a second's worth, and a full bucket gained nothing by the first batch.
    CHECK(s.machine.seconds() == Catch::Approx(30 - 1 + 0.05));
    CHECK(s.throttle->hold() ==
          (writes ? slowed("write_rate", "writes at the limit of 10 MiB a second")
                  : slowed("read_rate", "reads at the limit of 10 MiB a second")));
    CHECK(s.holds > 0);
    s.work(20s);
    s.before();
    CHECK(s.throttle->hold() == Hold());
  }
}

TEST_CASE("a higher rate ends the wait for a lower one", "[throttle]") {
  Setup s({.read_bytes_per_second = kMiB});
  s.before();
  s.work(0ms, 101 * kMiB);
  s.machine.at(10s, [&] { s.throttle->set({.read_bytes_per_second = 10 * kMiB}); });
  CHECK(s.before() == Catch::Approx(10 + 9));
}

TEST_CASE("a day's budget holds until midnight", "[throttle]") {
  Setup s({.read_bytes_per_day = 20 * kGiB, .write_bytes_per_day = kGiB}, {}, 20h);
  CHECK(s.before() == 0);
  s.work(1h, 19 * kGiB);
  CHECK(s.before() == 0);
  s.work(1h, 2 * kGiB, kMiB);
  CHECK(s.throttle->hold() ==
        held("read_budget", "read 21 GiB today of 20 GiB, goes on at midnight"));
  CHECK(s.before() == Catch::Approx(2 * 3600).margin(1.1));
  CHECK(s.holds == 1);
  CHECK(s.throttle->daily_use() == DailyUse{testing::FakeMachine::kDay + 1, 0, 0});
  s.work(1h, 0, kGiB);
  CHECK(s.throttle->hold().word == "write_budget");
  CHECK(s.throttle->hold().text == "written 1.0 GiB today of 1.0 GiB, goes on at midnight");
}

TEST_CASE("a day's use goes on after a restart, on the same day only", "[throttle]") {
  const ThrottleSettings settings{.write_bytes_per_day = kGiB};
  const std::int64_t today = testing::FakeMachine::kDay;
  Setup first(settings);
  first.before();
  first.work(1s, 5, kGiB);
  CHECK(first.throttle->daily_use() == DailyUse{today, 5, kGiB});
  CHECK(Setup(settings, first.throttle->daily_use()).throttle->hold().word == "write_budget");
  // A clock that once was wrong does not hold it until that day.
  for (const std::int64_t other : {today - 1, today + 400}) {
    Setup later(settings, {other, 5, kGiB});
    CHECK(later.throttle->daily_use() == DailyUse{today, 0, 0});
    CHECK(later.throttle->hold() == Hold());
  }
}

TEST_CASE("use is counted without limits, and only what happens from now on", "[throttle]") {
  testing::FakeMachine machine;
  dedupe::Counters counters;
  counters.bytes_read_asked = 7 * kGiB;
  Throttle throttle({}, counters, {}, machine.sources());
  counters.bytes_read_asked += kMiB;
  CHECK(throttle.daily_use().read == kMiB);
  throttle.set({.read_bytes_per_day = kMiB});
  CHECK(throttle.hold().word == "read_budget");
}

// Pressure

TEST_CASE("under pressure work is half a percent of the time, from the first moment",
          "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 43;
  for (int i = 0; i < 5; ++i) {
    CHECK(s.before() == Catch::Approx(200 * 0.04));
    s.work(40ms);
  }
  CHECK(s.throttle->hold() == slowed("io_pressure", "io pressure of others 43 %, limit 10 %"));
  CHECK(s.holds == 5);  // each time it lets go of files
}

TEST_CASE("a rest ends soon after the pressure, and looks are frequent for a while", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 43;
  s.before();
  s.work(40ms);
  s.machine.at(s.machine.elapsed() + 1s, [&] { s.machine.stalls[0] = 3; });
  const double rest = s.before();
  CHECK(rest > 1);
  CHECK(rest < 3);  // a look is at most as long as all before it
  s.work(40ms);
  for (int i = 1; i < PressureRest::kCalmLooks; ++i) {
    CHECK(s.before() == Catch::Approx(0.02));
    s.work(40ms);
  }
  for (int i = 1; i < 5; ++i) {
    CHECK(s.before() == 0);
    s.work(40ms);
  }
  CHECK(s.before() == Catch::Approx(0.02));
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("without pressure there is but a short look now and then", "[throttle]") {
  Setup s({.io_pressure_percent = 10, .cpu_pressure_percent = 10});
  for (int i = 0; i < 20; ++i) s.before(), s.work(40ms);
  double rested = 0;
  for (int i = 0; i < 100; ++i) {
    rested += s.before();
    s.work(40ms);
  }
  CHECK(rested == Catch::Approx(0.02 * 20));
  CHECK(s.throttle->hold() == Hold());
  CHECK(s.holds == 0);
}

TEST_CASE("the resource that is furthest beyond its limit is named", "[throttle]") {
  Setup s({.io_pressure_percent = 40, .cpu_pressure_percent = 10, .memory_pressure_percent = 5});
  s.machine.stalls[0] = 60;
  s.machine.stalls[1] = 20;
  s.before();
  CHECK(s.throttle->hold() == slowed("cpu_pressure", "cpu pressure of others 20 %, limit 10 %"));
  s.work(40ms);
  s.machine.stalls[2] = 50;
  s.before();
  CHECK(s.throttle->hold() ==
        slowed("memory_pressure", "memory pressure of others 50 %, limit 5 %"));
}

TEST_CASE("pressure that has no limit is not minded", "[throttle]") {
  Setup s({.memory_pressure_percent = 5});
  s.machine.stalls[0] = s.machine.stalls[1] = 100;
  s.before();
  s.work(40ms);
  CHECK(s.before() == Catch::Approx(0.02));  // a look
}

TEST_CASE("a kernel without PSI has no limit on pressure", "[throttle]") {
  Setup s({.io_pressure_percent = 10}, {}, 12h, false);
  for (int i = 0; i < 5; ++i) CHECK(s.before() == 0);  // not even one at a time
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("a rest ends when it is told that pressure does not matter any more", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  for (int i = 0; i < 10; ++i) s.before(), s.work(40ms);
  const auto begin = s.machine.elapsed();
  s.machine.at(begin + 1s, [&] { s.throttle->set({}); });
  CHECK(s.before() == Catch::Approx(1));
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("being slow is forgotten when there is nothing to do", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  s.before();
  CHECK(s.throttle->hold().slowed);
  s.work(40ms);
  s.machine.pass(5s);
  CHECK(s.throttle->hold().slowed);
  s.machine.pass(6s);
  CHECK(s.throttle->hold() == Hold());
}

TEST_CASE("short batches rest together, as one stretch of work", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  s.before();
  double rested = 0;
  for (int i = 0; i < 100; ++i) {
    s.work(1ms);
    rested += s.before();
  }
  CHECK(rested == Catch::Approx(8 + 8));  // after 40 ms of work, and after 80
}

// Within a batch

TEST_CASE("a long batch rests between its steps", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  s.before();
  for (int i = 0; i < 5; ++i) {
    s.machine.pass(30ms);
    CHECK(s.step() == 0);
    s.machine.pass(10ms);
    CHECK(s.step() == Catch::Approx(8));
  }
  s.work(10ms);
  CHECK(s.before() == 0);  // the steps have rested already
}

TEST_CASE("without limits steps wait for nothing, and are long", "[throttle]") {
  Setup s;
  s.before();
  s.machine.pass(10s);
  CHECK(s.step() == 0);
  CHECK(s.machine.pressure_reads == 0);
  CHECK(s.throttle->step_bytes() == 16 * kMiB);
  s.throttle->set({.io_pressure_percent = 10});
  CHECK(s.throttle->step_bytes() == 2 * kMiB);
}

TEST_CASE("rates and a pause hold within a batch too", "[throttle]") {
  Setup s({.read_bytes_per_second = kMiB});
  s.before();
  s.counters.bytes_read_asked += 20 * kMiB;
  const double waited = s.step();
  CHECK(waited >= 18);
  CHECK(waited <= 20);
  s.throttle->set({});
  s.throttle->pause();
  s.machine.at(s.machine.elapsed() + 7s, [&] { s.throttle->resume(); });
  CHECK(s.step() == Catch::Approx(7));
  CHECK(s.holds == 2);
}

TEST_CASE("what the daemon finds lets a batch finish that has begun", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.before();
  s.throttle->hold_externally("metadata_space", "3 MiB left for metadata");
  s.machine.pass(10ms);
  CHECK(s.step() == 0);
}

TEST_CASE("several batches that a limit finds under way rest as one", "[throttle]") {
  Setup s;
  s.before();
  s.before();
  s.throttle->set({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  s.machine.pass(40ms);
  CHECK(s.step() > 8);
  CHECK(s.step() == 0);
}

TEST_CASE("stop ends a rest between steps within 200 ms", "[throttle]") {
  Setup s({.io_pressure_percent = 10});
  s.machine.stalls[0] = 100;
  s.before();
  for (int i = 0; i < 10; ++i) s.machine.pass(40ms), s.step();
  s.machine.pass(40ms);
  const double begin = s.machine.seconds();
  s.throttle->between_steps([&] { return s.machine.seconds() >= begin + 0.3; });
  CHECK(s.machine.seconds() - begin <= 0.5);
}

}  // namespace
}  // namespace skep::service
