// SPDX-License-Identifier: MIT
#include "skep/service/generation_watch.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "catch.h"
#include "temporary_folder.h"

namespace skep::service {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// sysfs of one filesystem, and a clock.
class Sysfs {
 public:
  Sysfs() { std::filesystem::create_directories(path()); }
  void show(std::uint64_t generation, std::uint64_t commits, std::uint64_t under_way_ms = 0) {
    std::ofstream(path() + "/generation") << generation << "\n";
    std::ofstream(path() + "/commit_stats")
        << fmt::format("commits {}\ncur_commit_ms {}\nlast_commit_ms 3\n", commits, under_way_ms);
  }
  void show_without_counts(std::uint64_t generation) {
    std::filesystem::remove(path() + "/commit_stats");
    std::ofstream(path() + "/generation") << generation << "\n";
  }
  // As before Linux 5.11.
  void show_nothing() {
    std::filesystem::remove(path() + "/commit_stats");
    std::filesystem::remove(path() + "/generation");
  }
  void unmount() { std::filesystem::remove_all(path()); }
  std::string path() const { return folder_.path() + "/" + btrfs::to_string(uuid_); }
  GenerationWatch watch(GenerationWatch::Ask ask = {}) const {
    return GenerationWatch(uuid_, std::move(ask), folder_.path());
  }
  std::optional<std::uint64_t> poll(GenerationWatch& watch, milliseconds later = seconds(1)) {
    now_ += later;
    return watch.poll(now_);
  }
  GenerationWatch::Clock::time_point now() const { return now_; }

 private:
  const btrfs::Uuid uuid_{1, 2, 3};
  testing::TemporaryFolder folder_;
  GenerationWatch::Clock::time_point now_{};
};

TEST_CASE("generation: all before the one that is named are committed", "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 7);
  CHECK(sysfs.poll(watch) == 99);
  sysfs.show(105, 12);
  CHECK(sysfs.poll(watch) == 104);
}

// A watch that knows what 8 commits mean: that 100 is committed.
GenerationWatch watch_after_sync(Sysfs& sysfs) {
  auto watch = sysfs.watch();
  sysfs.show(100, 8);
  watch.committed(100, sysfs.now());
  CHECK(sysfs.poll(watch) == 100);
  return watch;
}

TEST_CASE("generation: after a sync, commits are told by their count", "[generation]") {
  Sysfs sysfs;
  auto watch = watch_after_sync(sysfs);
  sysfs.show(101, 8);
  CHECK(sysfs.poll(watch) == 100);
  sysfs.show(101, 9);
  CHECK(sysfs.poll(watch) == 101);
}

TEST_CASE("generation: a commit between two looks is told when the count is known",
          "[generation]") {
  Sysfs sysfs;
  auto watch = watch_after_sync(sysfs);
  sysfs.show(103, 11);
  CHECK(sysfs.poll(watch) == 103);
}

TEST_CASE("generation: one that runs beside a commit of under a millisecond is not committed",
          "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(101, 7);  // 99 was the seventh; 100 is being committed, and 101 runs
  CHECK(sysfs.poll(watch) == 100);
  sysfs.show(101, 8);
  CHECK(sysfs.poll(watch) == 100);
  sysfs.show(101, 9);
  CHECK(sysfs.poll(watch) == 100);
  sysfs.poll(watch, seconds(4));
  CHECK(watch.wants_sync(sysfs.now()));
  watch.committed(101, sysfs.now());
  sysfs.poll(watch);
  sysfs.show(102, 10);
  CHECK(sysfs.poll(watch) == 102);
}

TEST_CASE("generation: what others commit beside a sync is not taken for what it has waited for",
          "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 8);
  watch.committed(100, sysfs.now());
  sysfs.show(103, 10);  // two more, and 103 runs
  CHECK(sysfs.poll(watch) == 102);
  sysfs.show(103, 11);
  CHECK(sysfs.poll(watch) == 102);
  sysfs.poll(watch, seconds(4));
  CHECK(watch.wants_sync(sysfs.now()));
}

TEST_CASE("generation: what a sync has returned is committed, and tells the count",
          "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 7);
  CHECK(sysfs.poll(watch) == 99);
  watch.committed(100, sysfs.now());
  CHECK(sysfs.poll(watch, milliseconds(100)) == 100);
  sysfs.poll(watch);
  sysfs.show(101, 8);
  CHECK(sysfs.poll(watch) == 101);
}

TEST_CASE("generation: a sync is wanted where looking does not tell, and not again",
          "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 7);
  sysfs.poll(watch);
  CHECK_FALSE(watch.wants_sync(sysfs.now()));
  sysfs.poll(watch, seconds(4));
  CHECK(watch.wants_sync(sysfs.now()));
  watch.committed(100, sysfs.now());
  CHECK_FALSE(watch.wants_sync(sysfs.now()));
  sysfs.poll(watch);
  sysfs.show(101, 7);  // runs
  sysfs.poll(watch);
  sysfs.poll(watch, seconds(10));
  CHECK_FALSE(watch.wants_sync(sysfs.now()));
}

TEST_CASE("generation: a count is not believed while a commit is under way", "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 7);
  sysfs.poll(watch);
  sysfs.show(101, 7, 3);  // 100 is not counted yet, 101 runs
  CHECK(sysfs.poll(watch) == 100);
  sysfs.show(101, 8);
  CHECK(sysfs.poll(watch) == 100);
}

TEST_CASE("generation: without counts it is committed when it has stood still for long",
          "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show_without_counts(100);
  CHECK(sysfs.poll(watch) == 99);
  CHECK(sysfs.poll(watch, seconds(40)) == 99);
  CHECK_FALSE(watch.wants_sync(sysfs.now()));
  CHECK(sysfs.poll(watch, seconds(30)) == 100);
}

TEST_CASE("generation: the filesystem is asked where sysfs does not name it", "[generation]") {
  Sysfs sysfs;
  std::optional<std::uint64_t> answer = 100;
  int asked = 0;
  auto watch = sysfs.watch([&] {
    ++asked;
    return answer;
  });
  sysfs.show(99, 7);
  CHECK(sysfs.poll(watch) == 98);
  CHECK(asked == 0);
  sysfs.show_nothing();
  CHECK(sysfs.poll(watch) == 99);
  CHECK(sysfs.poll(watch, seconds(70)) == 100);
  answer.reset();  // no mount of it can be opened
  CHECK_FALSE(sysfs.poll(watch).has_value());
  CHECK(asked == 3);
  sysfs.unmount();
  CHECK_FALSE(sysfs.poll(watch).has_value());
  CHECK(asked == 3);
}

TEST_CASE("generation: nothing is told of what is not mounted", "[generation]") {
  Sysfs sysfs;
  auto watch = sysfs.watch();
  sysfs.show(100, 7);
  CHECK(sysfs.poll(watch).has_value());
  sysfs.unmount();
  CHECK_FALSE(sysfs.poll(watch).has_value());
}

}  // namespace
}  // namespace skep::service
