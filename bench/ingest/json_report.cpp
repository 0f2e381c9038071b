// The report for scripts.
#include "ingest/report.hpp"
#include "json/writer.hpp"

namespace cognive::bench {
namespace {

class Report {
 public:
  void add(const Results& results) {
    out_.begin_object();
    out_.key("machine");
    add(results.machine);
    list("goals", goals_of(results), [&](const Goal& goal) {
      out_.field("goal", goal.text);
      out_.field("measured", goal.measured);
      out_.key("met");
      out_.boolean(goal.is_met);
    });
    if (results.rates) add(*results.rates);
    if (results.singles) add(*results.singles);
    if (results.half_rate) add(*results.half_rate);
    list("growth", results.growth, [&](const GrowthPoint& point) {
      number("rows", static_cast<double>(point.rows));
      number("events_per_second", point.events_per_second);
      latency("", point.latency);
      latency("costs_", point.costs);
      number("costs_requests", static_cast<double>(point.costs.total()));
      number("costs_errors", static_cast<double>(point.costs_errors));
      number("costs_calls", static_cast<double>(point.costs_calls));
      number("accepted_calls", static_cast<double>(point.accepted_calls));
    });
    if (results.memory) add(*results.memory);
    list("designs", results.designs, [&](const Design& design) {
      out_.field("design", design.name);
      number("rows_per_second", median(design.rows_per_second));
      number("cpu_seconds_per_million_rows", median(design.cpu_seconds_per_million));
      number("wal_bytes_per_row", median(design.wal_bytes_per_row));
      number("index_bytes_per_row", design.index_bytes_per_row);
      number("table_bytes_per_row", design.table_bytes_per_row);
    });
    list("counts", results.counts, [&](const Count& count) {
      out_.field("after", count.scenario);
      number("expected", static_cast<double>(count.expected));
      number("stored", static_cast<double>(count.stored));
      number("without_price", static_cast<double>(count.unpriced));
    });
    out_.end_object();
  }

  std::string text() && { return std::move(out_).text() + "\n"; }

 private:
  template <typename Items, typename Write>
  void list(std::string_view name, const Items& items, const Write& write) {
    out_.key(name);
    out_.begin_array();
    for (const auto& item : items) {
      out_.begin_object();
      write(item);
      out_.end_object();
    }
    out_.end_array();
  }

  void number(std::string_view name, double value) {
    out_.key(name);
    out_.real(value);
  }

  void numbers(std::string_view name, const std::vector<double>& values) {
    out_.key(name);
    out_.begin_array();
    for (const auto value : values) out_.real(value);
    out_.end_array();
  }

  void latency(const std::string& prefix, const Histogram& histogram) {
    number(prefix + "p50_ms", histogram.percentile_ms(0.5));
    number(prefix + "p95_ms", histogram.percentile_ms(0.95));
    number(prefix + "p99_ms", histogram.percentile_ms(0.99));
  }

  void add(const Machine& machine) {
    out_.begin_object();
    number("processors", static_cast<double>(machine.processors));
    out_.field("kernel", machine.kernel);
    out_.field("postgres", machine.postgres);
    for (const auto& [name, value] : machine.settings) out_.field(name, value);
    number("load_average", machine.load_average);
    out_.field("time", machine.time);
    out_.end_object();
  }

  void add_cell(const Cell& cell) {
    number("batch", static_cast<double>(cell.batch));
    number("connections", static_cast<double>(cell.connections));
    number("events_per_second", median(cell.events_per_second));
    numbers("rounds", cell.events_per_second);
    latency("", cell.latency);
    number("server_processors", cell.cpu.server);
    number("postgres_processors", cell.cpu.postgres);
    number("generator_processors", cell.cpu.generator);
    number("other_processors", cell.cpu.others);
    number("cpu_seconds_per_million", cell.cpu_seconds_per_million());
    out_.key("postgres_parts");
    out_.begin_object();
    for (const auto& [name, share] : cell.cpu.postgres_parts) number(name, share);
    out_.end_object();
    number("errors", static_cast<double>(cell.errors));
    if (cell.errors > 0) out_.field("first_error", cell.first_error);
    number("runs_started_within", static_cast<double>(cell.runs_started));
  }

  void add(const Rates& rates) {
    number("bytes_per_row", rates.bytes_per_row);
    number("copy_rows_per_second", median(rates.limit_rows_per_second));
    numbers("copy_rounds", rates.limit_rows_per_second);
    number("copy_cpu_seconds_per_million", median(rates.limit_cpu_seconds_per_million));
    number("others_at_most", rates.others());
    list("cells", rates.cells, [&](const Cell& cell) {
      add_cell(cell);
      number("ratio_to_copy", median(cell.ratios));
    });
  }

  void add(const Singles& singles) {
    out_.key("singles");
    out_.begin_object();
    add_cell(singles.cell);
    number("pgbench_per_second", median(singles.pgbench_per_second));
    number("ratio_to_pgbench", median(singles.ratios));
    out_.end_object();
  }

  void add(const HalfRate& half) {
    out_.key("half_rate");
    out_.begin_object();
    number("events_per_second", half.rate);
    number("achieved_events_per_second", half.achieved);
    latency("", half.latency);
    latency("copy_", half.limit);
    number("errors", static_cast<double>(half.errors));
    out_.end_object();
  }

  void add(const MemoryUse& memory) {
    out_.key("memory");
    out_.begin_object();
    number("minutes", memory.minutes);
    number("highest_mb", memory.highest_mb);
    number("slope_mb_per_minute", memory.slope_mb_per_minute);
    number("events_per_second", memory.events_per_second);
    numbers("resident_mb", memory.resident_mb);
    out_.end_object();
  }

  json::Writer out_;
};

}  // namespace

std::string json_report(const Results& results) {
  Report report;
  report.add(results);
  return std::move(report).text();
}

}  // namespace cognive::bench
