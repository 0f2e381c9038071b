// The load: agents whose runs report LLM calls, one at a time or in batches, over HTTP; and what came back.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "ingest/histogram.hpp"
#include "ingest/http_client.hpp"
#include "ingest/ids.hpp"

namespace cognive::bench {

inline constexpr std::size_t agent_count = 64;
inline constexpr std::size_t calls_per_run = 200;

// Where the load goes.
struct Target {
  Address address;
  std::string api_key;
  std::vector<std::string> agent_ids{};
};

// Runs that were started and have no calls yet.
class RunPool {
 public:
  explicit RunPool(const Target& target) : target_(&target) {}

  // Starts runs until `count` are there: outside of what is measured.
  void fill(std::size_t count);
  [[nodiscard]] std::size_t size() const { return runs_.size(); }
  IdText take();
  void put(const IdText& run) { runs_.push_back(run); }
  // A whole request that starts a run with a new id, which is returned.
  IdText append_start(std::string& out);

 private:
  const Target* target_;
  std::deque<IdText> runs_;
  std::size_t next_agent_ = 0;
};

struct LoadPlan {
  std::size_t batch = 100;  // events of a request; 1: the endpoint for one call
  std::size_t connections = 64;
  bool lines = false;  // NDJSON instead of a JSON array
  std::chrono::milliseconds warm_up{500};
  std::chrono::milliseconds duration{4'000};  // that is measured, after the warm-up
  std::optional<double> rate = std::nullopt;  // requests a second; nothing: closed loop
  // Send so many events, whatever time that takes, with timestamps that go evenly from `from_ms` to `to_ms`; 0: by
  // time.
  std::uint64_t events = 0;
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  // Called when the measured window begins and ends, and about each second in between. May be empty.
  std::function<void()> on_begin = {};
  std::function<void()> on_end = {};
  std::function<void()> on_second = {};
};

struct LoadResult {
  std::uint64_t accepted = 0;  // events, with those outside of the window
  std::uint64_t window_accepted = 0;
  std::uint64_t window_requests = 0;
  double window_seconds = 0;
  std::uint64_t errors = 0;  // requests that were not answered with all events accepted
  std::string first_error{};
  std::uint64_t runs_started = 0;  // within the load, because the pool was empty
  Histogram latency{};             // of the requests in the window

  [[nodiscard]] double events_per_second() const {
    return window_seconds > 0 ? static_cast<double>(window_accepted) / window_seconds : 0;
  }
};

LoadResult run_load(const Target& target, RunPool& pool, const LoadPlan& plan);

struct GetResult {
  Histogram latency{};
  std::uint64_t errors = 0;  // answers other than 200
  std::string last_body{};   // of the last 200
};

// GET of `path`, one after the other: `count` times, but no longer than `patience`.
GetResult get_repeatedly(const Target& target, const std::string& path, std::size_t count,
                         std::chrono::milliseconds patience);

}  // namespace cognive::bench
