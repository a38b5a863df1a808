// SPDX-License-Identifier: MIT
#include "skep/service/progress.h"

#include <catch2/catch.hpp>

using skep::service::Progress;

TEST_CASE("progress before anything has begun says nothing") {
  const Progress progress;
  CHECK(progress.now().part.empty());
  CHECK(progress.now().total_bytes == 0);
  CHECK(progress.now().seconds == 0);
}

TEST_CASE("progress is of the present part alone") {
  Progress progress;
  progress.begin("quick", 100);
  progress.counters.bytes_progress += 60;
  CHECK(progress.now().share == 0.6);
  progress.begin("content_scan", 100);
  CHECK(progress.now().part == "content_scan");
  CHECK(progress.now().share == 0);
  progress.counters.bytes_progress += 25;
  CHECK(progress.now().done_bytes == 25);
  CHECK(progress.now().total_bytes == 100);
  CHECK(progress.now().share == 0.25);
}

TEST_CASE("progress never goes backwards when work is added") {
  Progress progress;
  progress.begin("quick", 100);
  progress.counters.bytes_progress += 50;
  REQUIRE(progress.now().share == 0.5);
  progress.add(100);
  CHECK(progress.now().total_bytes == 200);
  CHECK(progress.now().share == 0.5);
  progress.counters.bytes_progress += 100;
  CHECK(progress.now().share == 0.75);
}

TEST_CASE("progress is not beyond its end where extents have come since the census") {
  Progress progress;
  progress.begin("quick", 100);
  progress.counters.bytes_progress += 150;
  CHECK(progress.now().done_bytes == 100);
  CHECK(progress.now().share == 1);
}

TEST_CASE("progress of a part whose bytes are not known has no share") {
  Progress progress;
  progress.begin("scan", 0);
  progress.counters.bytes_progress += 10;
  CHECK(progress.now().part == "scan");
  CHECK(progress.now().done_bytes == 0);
  CHECK(progress.now().share == 0);
}
