// The report for people.
#include <fmt/format.h>

#include <cmath>

#include "base/text.hpp"
#include "ingest/report.hpp"

namespace cognive::bench {
namespace {

std::string counted(double number) {
  return grouped(std::llround(number));
}

// Processors in use, the busiest processes of PostgreSQL by name.
std::string postgres_parts(const CpuTimes& cpu) {
  std::vector<std::pair<double, std::string>> parts;
  for (const auto& [name, share] : cpu.postgres_parts) parts.emplace_back(share, name);
  std::ranges::sort(parts, std::greater{});
  constexpr std::size_t shown = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(shown, parts.size()); ++i) {
    const auto name = parts[i].second.starts_with("backend") ? "backend" : parts[i].second;
    out += fmt::format("{}{} {:.2f}", i == 0 ? "" : ", ", name, parts[i].first);
  }
  return out;
}

std::string machine(const Machine& machine) {
  auto out = fmt::format("Measured {}: {} processors shared by generator, server and PostgreSQL; {}; PostgreSQL {}",
                         machine.time, machine.processors, machine.kernel, machine.postgres);
  for (const auto& [name, value] : machine.settings) out += fmt::format(", {} = {}", name, value);
  return out + fmt::format(". Load average before it began: {:.1f}.\n\n", machine.load_average);
}

std::string goals(const std::vector<Goal>& all) {
  if (all.empty()) return "";
  std::string out = "## Goals\n\n| goal | measured | |\n|---|---|---|\n";
  for (const auto& goal : all)
    out += fmt::format("| {} | {} | {} |\n", goal.text, goal.measured, goal.is_met ? "met" : "**missed**");
  return out + "\n";
}

std::string rates(const Rates& rates, const std::string& plot) {
  auto out = fmt::format(
      "## Rates\n\nClosed loop; events a second that were accepted, which is after their commit. The limit is binary "
      "COPY of the same rows ({:.0f} bytes each) into the same table, one connection, 5,000 rows a commit, in turns "
      "with the cells: **{} rows/s** (median of {} rounds), {:.2f} s of processor time per million rows. Processors as "
      "in the last round.\n\n",
      rates.bytes_per_row, counted(median(rates.limit_rows_per_second)), rates.limit_rows_per_second.size(),
      median(rates.limit_cpu_seconds_per_million));
  constexpr double others_max = 0.2;  // the kernel's work for network and disk is among it
  if (rates.others() > others_max)
    out += fmt::format("**Not to be quoted: others used up to {:.2f} processors meanwhile.**\n\n", rates.others());
  if (!plot.empty()) out += fmt::format("![Events a second over connections]({})\n\n", plot);
  out +=
      "| batch | connections | events/s | of COPY | p50 ms | p99 ms | CPU s per million | server | PostgreSQL | of it "
      "| "
      "generator | others | errors |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|\n";
  for (const auto& cell : rates.cells)
    out += fmt::format(
        "| {} | {} | {} | {:.2f} | {:.1f} | {:.1f} | {:.2f} | {:.2f} | {:.2f} | {} | {:.2f} | "
        "{:.2f} | {} |\n",
        cell.batch, cell.connections, counted(median(cell.events_per_second)), median(cell.ratios),
        cell.latency.percentile_ms(0.5), cell.latency.percentile_ms(0.99), cell.cpu_seconds_per_million(),
        cell.cpu.server, cell.cpu.postgres, postgres_parts(cell.cpu), cell.cpu.generator, cell.cpu.others, cell.errors);
  out += "\n";
  for (const auto& cell : rates.cells) {
    if (cell.errors > 0)
      out += fmt::format("First error of batch {}, {} connections: `{}`\n\n", cell.batch, cell.connections,
                         cell.first_error);
  }
  return out;
}

std::string singles(const Singles& singles) {
  return fmt::format(
      "## Single calls\n\nOne call a request, 64 connections: {} a second, p50 {:.1f} ms, p99 {:.1f} ms. pgbench with "
      "single-row prepared INSERTs into a copy of the table, 16 clients: {} a second. Ratio {:.2f}.\n\n",
      counted(median(singles.cell.events_per_second)), singles.cell.latency.percentile_ms(0.5),
      singles.cell.latency.percentile_ms(0.99), counted(median(singles.pgbench_per_second)), median(singles.ratios));
}

std::string half_rate(const HalfRate& half) {
  return fmt::format(
      "## At half of the highest rate\n\nBatches of 20 over 64 connections at a fixed rate of {} events/s ({} "
      "achieved): "
      "p50 {:.1f} ms, p99 {:.1f} ms from the time a request was due; {} errors. Commits of 200 rows by COPY over one "
      "connection at the same rate, in turns with it: p50 {:.1f} ms, p99 {:.1f} ms.\n\n",
      counted(half.rate), counted(half.achieved), half.latency.percentile_ms(0.5), half.latency.percentile_ms(0.99),
      half.errors, half.limit.percentile_ms(0.5), half.limit.percentile_ms(0.99));
}

std::string growth(const std::vector<GrowthPoint>& points) {
  std::string out =
      "## Growth\n\nEvents with timestamps over 30 days; batches of 100 over 64 connections at each point, then 200 "
      "times (for a minute at most) the costs of 30 days by day and model.\n\n"
      "| rows | events/s | of first | p99 ms | costs p50 ms | costs p95 ms | of first | errors | calls in the answer | "
      "accepted |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
  const auto& first = points.front();
  for (const auto& point : points)
    out += fmt::format("| {} | {} | {:.2f} | {:.1f} | {:.1f} | {:.1f} | {:.2f} | {} | {} | {} |\n",
                       grouped(static_cast<long long>(point.rows)), counted(point.events_per_second),
                       point.events_per_second / first.events_per_second, point.latency.percentile_ms(0.99),
                       point.costs.percentile_ms(0.5), point.costs.percentile_ms(0.95),
                       point.costs.percentile_ms(0.95) / first.costs.percentile_ms(0.95), point.costs_errors,
                       point.costs_calls, point.accepted_calls);
  return out + "\n";
}

std::string memory(const MemoryUse& use) {
  return fmt::format(
      "## Memory\n\n{:.1f} minutes of batches of 100 over 64 connections ({} events/s): at most {:.1f} MB resident, "
      "{:+.2f} MB a minute over the second half.\n\n",
      use.minutes, counted(use.events_per_second), use.highest_mb, use.slope_mb_per_minute);
}

std::string designs(const std::vector<Design>& all) {
  std::string out =
      "## Physical designs\n\nBinary COPY of the same rows, 5,000 a commit; PostgreSQL's processor time is of all its "
      "processes.\n\n| design | rows/s | of the first | CPU s per million rows | WAL bytes/row | index bytes/row | "
      "table "
      "bytes/row |\n|---|--:|--:|--:|--:|--:|--:|\n";
  const auto first = median(all.front().rows_per_second);
  for (const auto& design : all)
    out += fmt::format("| {} | {} | {:.2f} | {:.2f} | {:.0f} | {:.0f} | {:.0f} |\n", design.name,
                       counted(median(design.rows_per_second)), median(design.rows_per_second) / first,
                       median(design.cpu_seconds_per_million), median(design.wal_bytes_per_row),
                       design.index_bytes_per_row, design.table_bytes_per_row);
  return out + "\n";
}

std::string counts(const std::vector<Count>& all) {
  std::string out =
      "## Counts\n\n| after | accepted and copied | stored | without a price | |\n|---|--:|--:|--:|---|\n";
  for (const auto& count : all)
    out += fmt::format("| {} | {} | {} | {} | {} |\n", count.scenario, count.expected, count.stored, count.unpriced,
                       count.expected == count.stored ? "right" : "**WRONG**");
  return out;
}

}  // namespace

std::string markdown_report(const Results& results, const std::string& plot) {
  auto out = "# Ingest\n\n" + machine(results.machine) + goals(goals_of(results));
  if (results.rates) out += rates(*results.rates, plot);
  if (results.singles) out += singles(*results.singles);
  if (results.half_rate) out += half_rate(*results.half_rate);
  if (!results.growth.empty()) out += growth(results.growth);
  if (results.memory) out += memory(*results.memory);
  if (!results.designs.empty()) out += designs(results.designs);
  return out + counts(results.counts);
}

}  // namespace cognive::bench
