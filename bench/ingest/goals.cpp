// The goals of the product for ingest, as docs and reports quote them.
#include <fmt/format.h>

#include "ingest/report.hpp"

namespace cognive::bench {
namespace {

void add(std::vector<Goal>& goals, std::string text, std::string measured, bool is_met) {
  goals.push_back({.text = std::move(text), .measured = std::move(measured), .is_met = is_met});
}

// What was refused was not fast.
std::string with_errors(std::string measured, std::uint64_t errors) {
  if (errors > 0) measured += fmt::format(", {} errors", errors);
  return measured;
}

void add_rates(const Rates& rates, std::vector<Goal>& goals) {
  struct Wanted {
    std::size_t batch;
    double ratio;
  };
  for (const auto& [batch, wanted] : {Wanted{100, 0.80}, Wanted{20, 0.65}, Wanted{1, 0.15}}) {
    const auto* cell = rates.find(batch, 64);
    if (cell == nullptr) continue;
    const auto ratio = median(cell->ratios);
    add(goals, fmt::format("batches of {}, 64 connections: at least {:.2f} of raw COPY", batch, wanted),
        fmt::format("{:.2f}", ratio), ratio >= wanted);
  }
  constexpr double single_p99_max_ms = 15;
  if (const auto* cell = rates.find(1, 64)) {
    const auto p99 = cell->latency.percentile_ms(0.99);
    add(goals, fmt::format("single calls, 64 connections: p99 at most {:.0f} ms", single_p99_max_ms),
        with_errors(fmt::format("{:.1f} ms", p99), cell->errors), p99 <= single_p99_max_ms && cell->errors == 0);
  }
}

void add_growth(const std::vector<GrowthPoint>& growth, std::vector<Goal>& goals) {
  constexpr double rate_ratio_min = 0.9;
  constexpr double costs_p95_max_ms = 10;
  constexpr double costs_ratio_max = 1.5;
  const auto& first = growth.front();
  const auto& last = growth.back();
  const auto rate_ratio = last.events_per_second / first.events_per_second;
  add(goals, fmt::format("rate with {} rows at least {:.1f} of that with {}", last.rows, rate_ratio_min, first.rows),
      fmt::format("{:.2f}", rate_ratio), rate_ratio >= rate_ratio_min);
  const auto p95 = last.costs.percentile_ms(0.95);
  add(goals, fmt::format("costs of 30 days with {} rows: p95 at most {:.0f} ms", last.rows, costs_p95_max_ms),
      with_errors(fmt::format("{:.1f} ms", p95), last.costs_errors), p95 <= costs_p95_max_ms && last.costs_are_right());
  const auto costs_ratio = p95 / first.costs.percentile_ms(0.95);
  add(goals, fmt::format("… and at most {:.1f} of that with {}", costs_ratio_max, first.rows),
      fmt::format("{:.2f}", costs_ratio), costs_ratio <= costs_ratio_max);
}

void add_memory(const MemoryUse& memory, std::vector<Goal>& goals) {
  constexpr double resident_max_mb = 150;
  constexpr double flat_mb_per_minute = 0.5;
  add(goals, fmt::format("memory of the server under load below {:.0f} MB", resident_max_mb),
      fmt::format("{:.1f} MB", memory.highest_mb), memory.highest_mb < resident_max_mb);
  add(goals, fmt::format("… and flat: at most {:.1f} MB a minute", flat_mb_per_minute),
      fmt::format("{:+.2f} MB/min", memory.slope_mb_per_minute), memory.slope_mb_per_minute <= flat_mb_per_minute);
}

}  // namespace

std::vector<Goal> goals_of(const Results& results) {
  std::vector<Goal> goals;
  if (results.rates) add_rates(*results.rates, goals);
  if (results.singles) {
    constexpr double wanted = 1.8;
    const auto ratio = median(results.singles->ratios);
    add(goals, fmt::format("single calls at least {:.1f} of pgbench's single-row INSERTs", wanted),
        fmt::format("{:.2f}", ratio), ratio >= wanted);
  }
  if (results.half_rate) {
    constexpr double p99_max_ms = 8;
    const auto p99 = results.half_rate->latency.percentile_ms(0.99);
    add(goals, fmt::format("half of the highest rate, batches of 20: p99 at most {:.0f} ms", p99_max_ms),
        with_errors(fmt::format("{:.1f} ms", p99), results.half_rate->errors),
        p99 <= p99_max_ms && results.half_rate->errors == 0);
  }
  if (!results.growth.empty()) add_growth(results.growth, goals);
  if (results.memory) add_memory(*results.memory, goals);
  return goals;
}

}  // namespace cognive::bench
