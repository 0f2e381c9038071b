#include "ingest/scenarios.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <thread>

#include "base/text.hpp"
#include "base/time.hpp"

namespace cognive::bench {
namespace {

std::string counted(double number) {
  return grouped(static_cast<long long>(std::llround(number)));
}

void note(Cell& cell, const LoadResult& load) {
  cell.events_per_second.push_back(load.events_per_second());
  cell.latency.add(load.latency);
  cell.errors += load.errors;
  cell.runs_started += load.runs_started;
  if (cell.first_error.empty()) cell.first_error = load.first_error;
}

// Slope of a straight line through equally spaced values, per step.
double slope_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  if (values.size() < 2) return 0;
  const double mean_x = (count - 1) / 2;
  const double mean_y = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double above = 0;
  double below = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double x = static_cast<double>(i) - mean_x;
    above += x * (values[i] - mean_y);
    below += x * x;
  }
  return above / below;
}

}  // namespace

void say(const std::string& progress) {
  std::fprintf(stderr, "%s\n", progress.c_str());
}

Bench::Bench(const Settings& settings)
    : settings_(settings),
      server_(settings.server),
      database_(Database::nearest(server_.database_url())),
      postmaster_(parent_of(static_cast<pid_t>(database_.number("SELECT pg_backend_pid()")))),
      pool_(server_.target()) {}

LoadResult Bench::load(LoadPlan plan, CpuTimes* cpu) {
  plan.lines = settings_.lines;
  const std::chrono::duration<double> time = plan.warm_up + plan.duration;
  const auto rate = plan.rate ? *plan.rate * static_cast<double>(plan.batch) : last_rate_ * 1.5;
  const auto events = plan.events != 0 ? static_cast<double>(plan.events) : rate * time.count();
  const auto runs_of_batch = plan.batch / calls_per_run + 1;
  pool_.fill(static_cast<std::size_t>(events / calls_per_run) + plan.connections * (runs_of_batch + 1));
  CpuTimes before;
  CpuTimes after;
  if (cpu != nullptr) {
    plan.on_begin = [&] { before = this->cpu(); };
    plan.on_end = [&] { after = this->cpu(); };
  }
  auto result = run_load(server_.target(), pool_, plan);
  if (cpu != nullptr) *cpu = cpu_shares(before, after, result.window_seconds);
  if (!plan.rate) last_rate_ = std::max(result.events_per_second(), 1'000.0);
  accepted_ += result.accepted;
  return result;
}

void Bench::wait_idle() {
  const auto end = Clock::now() + std::chrono::seconds{120};
  while (Clock::now() < end) {
    if (database_.value("SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM usage_commits)") == "f") return;
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  say("the server was not done with what came before");
}

void Bench::check_count(Results& results, const std::string& scenario) {
  const auto row = database_
                       .rows(
                           "SELECT count(*), count(*) FILTER (WHERE price_status NOT IN ('priced', 'partial')) "
                           "FROM llm_calls")
                       .front();
  results.counts.push_back({.scenario = scenario,
                            .expected = accepted_ + copied_,
                            .stored = std::stoull(row[0]),
                            .unpriced = std::stoull(row[1])});
  const auto& count = results.counts.back();
  say(fmt::format("{}: {} rows accepted or copied, {} stored{}", scenario, count.expected, count.stored,
                  count.expected == count.stored ? "" : ": WRONG"));
}

Machine describe_machine(Database& database) {
  Machine out;
  out.processors = ::sysconf(_SC_NPROCESSORS_ONLN);
  utsname name{};
  ::uname(&name);
  out.kernel = fmt::format("{} {} {}", name.sysname, name.release, name.machine);
  out.postgres = database.value("SHOW server_version");
  for (const char* setting : {"fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_compression",
                              "shared_buffers", "max_wal_size", "checkpoint_timeout"})
    out.settings.emplace_back(setting, database.value(fmt::format("SHOW {}", setting)));
  ::getloadavg(&out.load_average, 1);
  out.time = Timestamp::now().text();
  return out;
}

void warm_up(Bench& bench) {
  constexpr std::uint64_t wanted = 60'000;
  say("warming up");
  const auto result = bench.load({.batch = 100, .connections = 64, .events = wanted});
  if (result.errors > 0) throw std::runtime_error("the warm-up was not accepted: " + result.first_error);
  // A server that has been running for a while writes its WAL into old segments again. A new one makes each of them
  // first, and all commits wait for that.
  constexpr int segments = 64;
  auto superuser = Database::nearest(bench.server().database_url(), "postgres");
  for (int i = 0; i < segments; ++i)
    superuser.execute("SELECT pg_logical_emit_message(false, 'bench', 'next segment'); SELECT pg_switch_wal()");
  superuser.execute("CHECKPOINT");
}

void measure_rates(Bench& bench, Sample& sample, Results& results) {
  const auto& settings = bench.settings();
  Rates rates;
  rates.bytes_per_row = sample.bytes_per_row();
  for (const auto batch : settings.batches)
    for (const auto connections : settings.connections)
      rates.cells.push_back({.batch = batch, .connections = connections});
  for (int round = 1; round <= settings.rounds; ++round) {
    std::vector<double> limits;
    for (auto& cell : rates.cells) {
      const auto prepared = sample.prepare(settings.limit_commits, Keys::by_run);
      bench.wait_idle();
      const auto rows = static_cast<double>(settings.limit_commits * rows_per_commit);
      const auto before = bench.cpu();
      limits.push_back(copy_rows(bench.database(), "llm_calls", sample, prepared));
      const auto used = cpu_shares(before, bench.cpu(), rows / limits.back());
      rates.limit_cpu_seconds_per_million.push_back(used.postgres / limits.back() * 1e6);
      rates.limit_others.push_back(used.others);
      bench.add_copied(settings.limit_commits * rows_per_commit);
      const auto load = bench.load({.batch = cell.batch,
                                    .connections = cell.connections,
                                    .warm_up = settings.warm_up,
                                    .duration = settings.duration},
                                   &cell.cpu);
      note(cell, load);
      say(fmt::format("round {} of {}: batch {:>3}, {:>3} connections: {:>9} events/s, p99 {:.1f} ms; COPY {} rows/s{}",
                      round, settings.rounds, cell.batch, cell.connections, counted(load.events_per_second()),
                      load.latency.percentile_ms(0.99), counted(limits.back()),
                      load.errors == 0 ? "" : fmt::format("; {} errors: {}", load.errors, load.first_error)));
    }
    const auto limit = median(limits);
    rates.limit_rows_per_second.push_back(limit);
    for (auto& cell : rates.cells) cell.ratios.push_back(cell.events_per_second.back() / limit);
    bench.check_count(results, fmt::format("rates, round {}", round));
  }
  results.rates = std::move(rates);
}

void measure_singles(Bench& bench, Results& results) {
  const auto& settings = bench.settings();
  Singles singles;
  singles.cell = {.batch = 1, .connections = 64};
  const auto seconds = std::max(std::chrono::seconds{1}, std::chrono::ceil<std::chrono::seconds>(settings.duration));
  for (int round = 1; round <= settings.rounds; ++round) {
    singles.pgbench_per_second.push_back(run_pgbench(bench.database(), seconds, settings.server.directory));
    const auto load = bench.load(
        {.batch = 1, .connections = 64, .warm_up = settings.warm_up, .duration = settings.duration}, &singles.cell.cpu);
    note(singles.cell, load);
    singles.ratios.push_back(load.events_per_second() / singles.pgbench_per_second.back());
    say(fmt::format("round {} of {}: single calls {} a second, pgbench {}", round, settings.rounds,
                    counted(load.events_per_second()), counted(singles.pgbench_per_second.back())));
  }
  bench.check_count(results, "single calls against pgbench");
  results.singles = std::move(singles);
}

void measure_half_rate(Bench& bench, Sample& sample, Results& results) {
  constexpr std::size_t batch = 20;
  constexpr std::size_t connections = 64;
  constexpr std::size_t limit_rows = 200;
  const auto& settings = bench.settings();
  const LoadPlan plan{
      .batch = batch, .connections = connections, .warm_up = settings.warm_up, .duration = settings.duration};
  auto highest = results.rates ? results.rates->highest(batch) : std::vector<double>{};
  if (highest.empty()) highest.push_back(bench.load(plan).events_per_second());
  HalfRate half;
  half.rate = median(highest) / 2;
  std::vector<double> achieved;
  for (int round = 1; round <= settings.rounds; ++round) {
    auto paced = plan;
    paced.rate = half.rate / batch;
    const auto load = bench.load(paced);
    achieved.push_back(load.events_per_second());
    half.latency.add(load.latency);
    half.errors += load.errors;
    const std::chrono::duration<double> interval(limit_rows / half.rate);
    const auto commits =
        sample.prepare(static_cast<std::size_t>(settings.duration / interval), Keys::by_run, limit_rows);
    bench.wait_idle();
    half.limit.add(copy_paced(bench.database(), "llm_calls", sample, commits, interval));
    bench.add_copied(commits.size() * limit_rows);
  }
  half.achieved = median(achieved);
  say(fmt::format(
      "half of the highest rate, batches of 20: p99 {:.1f} ms; commits of {} by COPY at this rate: {:.1f} ms",
      half.latency.percentile_ms(0.99), limit_rows, half.limit.percentile_ms(0.99)));
  bench.check_count(results, "half of the highest rate");
  results.half_rate = half;
}

void measure_growth(const Settings& settings, Results& results) {
  Bench bench(settings);
  constexpr std::int64_t ms_of_day = 86'400'000;
  constexpr std::size_t questions = 200;
  constexpr std::chrono::minutes questions_patience{1};
  // Thirty whole days, today included, as the page of costs asks for them.
  const auto now_ms = unix_ms();
  const auto from_ms = (now_ms / ms_of_day - 29) * ms_of_day;
  const auto date = [](std::int64_t ms) { return Timestamp{ms * 1'000}.text().substr(0, 19) + "Z"; };
  const auto path = fmt::format("/api/v1/analytics/costs?from={}&to={}&interval=day&group_by=model&team=default",
                                date(from_ms), date(from_ms + 30 * ms_of_day));
  for (const auto rows : settings.growth_rows) {
    say(fmt::format("loading until {} rows are stored", grouped(static_cast<long long>(rows))));
    std::uint64_t errors = 0;
    if (bench.accepted() < rows) {
      const auto load = bench.load({.batch = 500,
                                    .connections = 64,
                                    .warm_up = std::chrono::milliseconds{0},
                                    .events = rows - bench.accepted(),
                                    .from_ms = from_ms,
                                    .to_ms = now_ms});
      errors = load.errors;
    }
    if (errors > 0) say(fmt::format("{} requests were not accepted", errors));
    GrowthPoint point{.rows = rows};
    std::vector<double> measured;
    for (int round = 0; round < settings.rounds; ++round) {
      const auto load =
          bench.load({.batch = 100, .connections = 64, .warm_up = settings.warm_up, .duration = settings.duration});
      measured.push_back(load.events_per_second());
      point.latency.add(load.latency);
    }
    point.events_per_second = median(measured);
    const auto asked = get_repeatedly(bench.server().target(), path, questions, questions_patience);
    point.costs = asked.latency;
    point.costs_errors = asked.errors;
    const auto& answer = asked.last_body;
    const auto total = answer.rfind(R"("total":)");
    const auto calls = answer.find(R"("calls":)", total);
    if (total != std::string::npos && calls != std::string::npos)
      point.costs_calls = std::strtoull(answer.c_str() + calls + std::string_view(R"("calls":)").size(), nullptr, 10);
    point.accepted_calls = bench.accepted();
    say(fmt::format("{} rows: {} events/s; costs p50 {:.1f} ms, p95 {:.1f} ms, {} calls of {}",
                    grouped(static_cast<long long>(rows)), counted(point.events_per_second),
                    point.costs.percentile_ms(0.5), point.costs.percentile_ms(0.95), point.costs_calls,
                    point.accepted_calls));
    results.growth.push_back(point);
    bench.check_count(results, fmt::format("growth to {} rows", grouped(static_cast<long long>(rows))));
  }
}

void measure_memory(const Settings& settings, Results& results) {
  Bench bench(settings);
  MemoryUse use;
  use.minutes = settings.memory_minutes;
  // In slices, so that runs can be started in between.
  constexpr std::chrono::seconds slice{10};
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double, std::ratio<60>>(settings.memory_minutes));
  std::vector<double> rates;
  while (Clock::now() < end) {
    LoadPlan plan{.batch = 100, .connections = 64, .warm_up = std::chrono::milliseconds{0}, .duration = slice};
    plan.duration =
        std::min<std::chrono::milliseconds>(slice, std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()));
    plan.on_second = [&] { use.resident_mb.push_back(memory_of(bench.server().pid()).resident_mb); };
    rates.push_back(bench.load(plan).events_per_second());
    const auto memory = memory_of(bench.server().pid());
    use.highest_mb = memory.highest_mb;
    say(fmt::format("memory: {:.1f} MB now, {:.1f} MB at most; {} events/s", memory.resident_mb, memory.highest_mb,
                    counted(rates.back())));
  }
  const std::vector<double> second_half(
      use.resident_mb.begin() + static_cast<std::ptrdiff_t>(use.resident_mb.size() / 2), use.resident_mb.end());
  constexpr double seconds_per_minute = 60;
  use.slope_mb_per_minute = slope_of(second_half) * seconds_per_minute;
  use.events_per_second = median(rates);
  bench.check_count(results, "memory");
  results.memory = std::move(use);
}

}  // namespace cognive::bench
