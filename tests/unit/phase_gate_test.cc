// SPDX-License-Identifier: MIT
#include "skep/dedupe/phase_gate.h"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "catch.h"

namespace skep::dedupe {
namespace {

using std::chrono::steady_clock;

TEST_CASE("the two phases never overlap, and many threads all get through") {
  PhaseGate gate;
  std::array<std::atomic<int>, 2> inside{};
  std::atomic<int> overlaps{0}, entered{0};
  constexpr int kThreads = 8, kRounds = 500;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto phase = (t + i / 3) % 2 == 0 ? PhaseGate::kResolving : PhaseGate::kSharing;
        const auto own = static_cast<std::size_t>(phase);
        const InPhase in(gate, phase);
        ++inside[own];
        if (inside[1 - own] != 0) ++overlaps;
        if (i % 50 == 0) std::this_thread::yield();
        if (inside[1 - own] != 0) ++overlaps;
        --inside[own];
        ++entered;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(overlaps == 0);
  CHECK(entered == kThreads * kRounds);
}

TEST_CASE("several threads are in one phase at a time") {
  for (const auto phase : {PhaseGate::kResolving, PhaseGate::kSharing}) {
    PhaseGate gate;
    const InPhase first(gate, phase);
    std::atomic<bool> entered{false};
    std::thread other([&] {
      const InPhase second(gate, phase);
      entered = true;
    });
    other.join();
    CHECK(entered);
  }
}

TEST_CASE("a thread waits until the other phase has ended") {
  PhaseGate gate;
  std::atomic<bool> entered{false}, left{false}, too_early{false};
  gate.enter(PhaseGate::kSharing);
  std::thread other([&] {
    const InPhase in(gate, PhaseGate::kResolving);
    too_early = !left;
    entered = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK_FALSE(entered);
  left = true;
  gate.leave(PhaseGate::kSharing);
  other.join();
  CHECK(entered);
  CHECK_FALSE(too_early);
}

TEST_CASE("a phase that is always busy does not keep the other one out") {
  PhaseGate gate;
  std::atomic<bool> entered{false};
  const auto deadline = steady_clock::now() + std::chrono::seconds(30);
  std::vector<std::thread> busy;
  for (int t = 0; t < 4; ++t) {
    busy.emplace_back([&] {
      while (!entered && steady_clock::now() < deadline) {
        const InPhase in(gate, PhaseGate::kSharing);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
  }
  {
    const InPhase in(gate, PhaseGate::kResolving);
    entered = true;
  }
  const bool in_time = steady_clock::now() < deadline;
  for (std::thread& thread : busy) thread.join();
  CHECK(in_time);
}

}  // namespace
}  // namespace skep::dedupe
