// SPDX-License-Identifier: MIT
#include "skep/service/progress.h"

#include "catch.h"
#include "progress_line.h"

using skep::cli::progress_text;
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

TEST_CASE("the line of progress names the pass, its share, its rate and its time") {
  CHECK(progress_text({"quick", 1ULL << 30, 4ULL << 30, 0.25, 10}, 12 << 20, "freed") ==
        "by checksums: 25 %, 1.0 GiB of 4.0 GiB, 102 MiB/s, 30 s left; 12 MiB freed");
}

TEST_CASE("the line of progress tells no rate before it can be told, nor a time of none") {
  CHECK(progress_text({"quick", 1ULL << 30, 4ULL << 30, 0.25, 0.5}, 0, "to be freed") ==
        "by checksums: 25 %, 1.0 GiB of 4.0 GiB; 0 B to be freed");
  CHECK(progress_text({"deep_read", 4ULL << 30, 4ULL << 30, 1, 60}, 0, "freed") ==
        "deep, data that has to be read: 100 %, 4.0 GiB of 4.0 GiB; 0 B freed");
}

TEST_CASE("the line of progress rounds down, and has the time where nothing else is known") {
  CHECK(progress_text({"content_scan", 999, 1000, 0.999, 0.5}, 0, "freed") ==
        "learning what compressed data holds: 99 %, 999 B of 1000 B; 0 B freed");
  CHECK(progress_text({"scan", 0, 0, 0, 75}, 0, "freed") ==
        "reading metadata: 1 min 15 s; 0 B freed");
}
