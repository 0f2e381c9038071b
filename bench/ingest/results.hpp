// What was measured, for the report, the plot and scripts.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "ingest/histogram.hpp"
#include "ingest/processes.hpp"

namespace cognive::bench {

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

struct Machine {
  long processors = 0;
  std::string kernel{};
  std::string postgres{};
  std::vector<std::pair<std::string, std::string>> settings{};  // of PostgreSQL
  double load_average = 0;                                      // over a minute, before the measurement began
  std::string time{};
};

// One batch size at one number of connections, over all rounds.
struct Cell {
  std::size_t batch = 0;
  std::size_t connections = 0;
  std::vector<double> events_per_second{};
  std::vector<double> ratios{};  // to the raw COPY of the same round
  Histogram latency{};
  CpuTimes cpu{};  // of the last round, in processors
  std::uint64_t errors = 0;
  std::string first_error{};
  std::uint64_t runs_started = 0;

  // Processor time of server and PostgreSQL: what else runs on the machine moves it less than it moves rates.
  [[nodiscard]] double cpu_seconds_per_million() const {
    const auto rate = events_per_second.empty() ? 0 : events_per_second.back();
    return rate > 0 ? (cpu.server + cpu.postgres) / rate * 1e6 : 0;
  }
};

struct Rates {
  std::vector<Cell> cells{};
  std::vector<double> limit_rows_per_second{};          // one median a round
  std::vector<double> limit_cpu_seconds_per_million{};  // of PostgreSQL; one a measurement, as the next
  std::vector<double> limit_others{};                   // processors that others used meanwhile
  double bytes_per_row = 0;

  // The most that others used of the machine while one cell, or the limit on average, was measured.
  [[nodiscard]] double others() const {
    double most = median(limit_others);
    for (const auto& cell : cells) most = std::max(most, cell.cpu.others);
    return most;
  }

  // Of all numbers of connections, one a round; empty when there is no such batch.
  [[nodiscard]] std::vector<double> highest(std::size_t batch) const {
    std::vector<double> out;
    for (const auto& cell : cells) {
      if (cell.batch != batch) continue;
      out.resize(std::max(out.size(), cell.events_per_second.size()));
      for (std::size_t i = 0; i < cell.events_per_second.size(); ++i)
        out[i] = std::max(out[i], cell.events_per_second[i]);
    }
    return out;
  }

  [[nodiscard]] const Cell* find(std::size_t batch, std::size_t connections) const {
    const auto found = std::ranges::find_if(
        cells, [&](const Cell& cell) { return cell.batch == batch && cell.connections == connections; });
    return found == cells.end() ? nullptr : &*found;
  }
};

struct Singles {
  Cell cell{};
  std::vector<double> pgbench_per_second{};
  std::vector<double> ratios{};
};

struct HalfRate {
  double rate = 0;  // events a second that were due
  double achieved = 0;
  Histogram latency{};
  std::uint64_t errors = 0;
  Histogram limit{};  // of commits of COPY at the same rate
};

struct GrowthPoint {
  std::uint64_t rows = 0;
  double events_per_second = 0;
  Histogram latency{};
  Histogram costs{};  // of questions for the costs
  std::uint64_t costs_errors = 0;
  std::uint64_t costs_calls = 0;     // that the answer of the costs counts
  std::uint64_t accepted_calls = 0;  // that were accepted so far

  [[nodiscard]] bool costs_are_right() const { return costs_errors == 0 && costs_calls == accepted_calls; }
};

struct MemoryUse {
  double minutes = 0;
  std::vector<double> resident_mb{};  // one a second
  double highest_mb = 0;
  double slope_mb_per_minute = 0;  // over the second half
  double events_per_second = 0;
};

struct Design {
  std::string name{};
  std::vector<double> rows_per_second{};
  std::vector<double> cpu_seconds_per_million{};
  std::vector<double> wal_bytes_per_row{};
  double index_bytes_per_row = 0;
  double table_bytes_per_row = 0;
};

// After a scenario: what was accepted must be stored, once.
struct Count {
  std::string scenario{};
  std::uint64_t expected = 0;
  std::uint64_t stored = 0;
  std::uint64_t unpriced = 0;
};

struct Results {
  Machine machine{};
  std::optional<Rates> rates{};
  std::optional<Singles> singles{};
  std::optional<HalfRate> half_rate{};
  std::vector<GrowthPoint> growth{};
  std::optional<MemoryUse> memory{};
  std::vector<Design> designs{};
  std::vector<Count> counts{};

  [[nodiscard]] bool counts_are_right() const {
    return std::ranges::all_of(counts, [](const Count& count) { return count.expected == count.stored; }) &&
           std::ranges::all_of(growth, &GrowthPoint::costs_are_right);
  }
};

}  // namespace cognive::bench
