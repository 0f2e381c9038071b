// What an export costs those who write meanwhile: ingest at half of its highest rate, alone and beside an export of a
// million calls, in turns; and whether the file says what the ledger says.
#include <unistd.h>

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <numeric>

#include "base/compression.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "ingest/ask.hpp"
#include "ingest/interruption.hpp"
#include "ingest/scenarios.hpp"
#include "json/writer.hpp"

namespace cognive::bench {
namespace {

constexpr const char* description =
    R"(What an export of many calls costs those who write meanwhile.

Starts `cognive up` on a data directory of its own, stores calls of one past day, and sends batches
of 20 at half of the highest rate: alone, and beside an export of that day, in turns. Each file is
read, and its calls and costs compared with those of the ledger. Progress is on stderr.
Everything runs on this machine: let nothing else run on it.)";

constexpr std::int64_t ms_of_day = 86'400'000;
constexpr std::size_t batch = 20;

struct Flags {
  Settings settings;
  std::uint64_t rows = 1'000'000;
  int milliseconds_each = 4'000;
  bool json = false;
};

struct Sums {
  std::uint64_t calls = 0;
  std::int64_t nanos = 0;

  bool operator==(const Sums&) const = default;
};

struct Round {
  double alone_p99_ms = 0;
  double beside_p99_ms = 0;
  double export_seconds = 0;
  std::size_t bytes = 0;
  bool is_right = false;
};

// A number of dollars with nine digits behind the point, exactly.
std::int64_t nanos_of(std::string_view number) {
  const auto point = number.find('.');
  std::int64_t whole = 0;
  std::int64_t fraction = 0;
  std::from_chars(number.data(), number.data() + point, whole);
  std::from_chars(number.data() + point + 1, number.data() + point + 10, fraction);
  return whole * 1'000'000'000 + fraction;
}

void add_cost(Sums& sums, std::string_view json) {
  constexpr std::string_view name = R"("cost_usd":)";
  const auto at = json.rfind(name);
  if (at == std::string_view::npos) throw std::runtime_error("no cost in " + std::string(shortened(json, 300)));
  const auto value = json.substr(at + name.size());
  if (!value.starts_with("null")) sums.nanos += nanos_of(value);
}

Sums sums_of_file(std::string_view file) {
  constexpr std::size_t bytes_max = std::size_t{8} << 30U;
  const auto lines = decompress(file, Compression::gzip, bytes_max);
  if (!lines) throw std::runtime_error(lines.error().detail);
  Sums out;
  std::string_view rest = *lines;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    add_cost(out, rest.substr(0, end));
    ++out.calls;
    rest.remove_prefix(end + 1);
  }
  return out;
}

Sums sums_of_ledger(const Target& target, const std::string& from, const std::string& to) {
  const auto answer = ask(target, "GET", fmt::format("/api/v1/analytics/costs?from={}&to={}", from, to));
  const auto total = answer.substr(answer.rfind(R"("total":)"));
  Sums out;
  constexpr std::string_view name = R"("calls":)";
  const auto at = total.find(name) + name.size();
  std::from_chars(total.data() + at, total.data() + total.size(), out.calls);
  add_cost(out, total);
  return out;
}

Round measure(Bench& bench, const LoadPlan& paced, const std::string& from, const std::string& to) {
  Round round;
  const auto& target = bench.server().target();
  bench.wait_idle();
  const auto begun = Clock::now();
  const auto made =
      ask(target, "POST", "/api/v1/exports", fmt::format(R"({{"kind":"calls","from":"{}","to":"{}"}})", from, to));
  const auto path = "/api/v1/exports/" + text_of(made, "id");
  Histogram beside;
  int loads = 0;
  std::string state;
  do {
    beside.add(bench.load(paced).latency);
    ++loads;
    state = text_of(ask(target, "GET", path), "state");
    if (state == "failed") throw std::runtime_error("the export has failed");
  } while (state != "done");
  const auto done = ask(target, "GET", path);
  const auto finished = Timestamp::parse(text_of(done, "finished_at"));
  const auto created = Timestamp::parse(text_of(done, "created_at"));
  round.export_seconds = finished && created ? static_cast<double>(finished->micros - created->micros) / 1e6
                                             : std::chrono::duration<double>(Clock::now() - begun).count();
  round.beside_p99_ms = beside.percentile_ms(0.99);
  bench.wait_idle();
  // As long, so that checkpoints and whatever else comes now and then have come to both.
  Histogram alone;
  for (; loads > 0; --loads) alone.add(bench.load(paced).latency);
  round.alone_p99_ms = alone.percentile_ms(0.99);
  const auto file = ask(target, "GET", path + "/content");
  round.bytes = file.size();
  round.is_right = sums_of_file(file) == sums_of_ledger(target, from, to);
  return round;
}

std::string json_of(const std::vector<Round>& rounds, double rate, double ratio, std::uint64_t rows) {
  json::Writer out;
  const auto number = [&](std::string_view name, double value) {
    out.key(name);
    out.real(value);
  };
  out.begin_object();
  number("rows", static_cast<double>(rows));
  number("events_per_second", rate);
  number("p99_ratio", ratio);
  out.key("rounds");
  out.begin_array();
  for (const auto& one : rounds) {
    out.begin_object();
    number("alone_p99_ms", one.alone_p99_ms);
    number("beside_p99_ms", one.beside_p99_ms);
    number("export_seconds", one.export_seconds);
    number("bytes", static_cast<double>(one.bytes));
    out.key("sums_are_equal");
    out.boolean(one.is_right);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return std::move(out).text();
}

int run(Flags& flags, const std::filesystem::path& program) {
  auto& settings = flags.settings;
  if (settings.server.binary.empty()) settings.server.binary = program.parent_path() / "cognive";
  if (settings.server.directory.empty()) settings.server.directory = std::filesystem::temp_directory_path();
  settings.duration = std::chrono::milliseconds{flags.milliseconds_each};
  Bench bench(settings);
  warm_up(bench);
  const auto day_ms = (Timestamp::now().micros / 1'000 / ms_of_day - 2) * ms_of_day;
  const auto date = [](std::int64_t ms) { return Timestamp{ms * 1'000}.text(); };
  say(fmt::format("storing {} calls of one day", grouped(static_cast<long long>(flags.rows))));
  bench.load({.batch = 500,
              .connections = 64,
              .warm_up = std::chrono::milliseconds{0},
              .events = flags.rows,
              .from_ms = day_ms,
              .to_ms = day_ms + ms_of_day});
  bench.wait_idle();
  LoadPlan plan{.batch = batch, .connections = 64, .warm_up = settings.warm_up, .duration = settings.duration};
  const auto rate = bench.load(plan).events_per_second() / 2;
  plan.rate = rate / static_cast<double>(batch);
  std::vector<Round> rounds;
  std::vector<double> ratios;
  for (int number = 1; number <= settings.rounds; ++number) {
    rounds.push_back(measure(bench, plan, date(day_ms), date(day_ms + ms_of_day)));
    const auto& last = rounds.back();
    ratios.push_back(last.beside_p99_ms / last.alone_p99_ms);
    say(fmt::format(
        "round {} of {}: p99 {:.1f} ms alone, {:.1f} ms beside the export ({:.2f}), which took {:.1f} s for "
        "{:.1f} MB; its sums are {}",
        number, settings.rounds, last.alone_p99_ms, last.beside_p99_ms, ratios.back(), last.export_seconds,
        static_cast<double>(last.bytes) / 1e6, last.is_right ? "the ledger's" : "WRONG"));
  }
  const auto ratio = median(ratios);
  if (flags.json) {
    std::printf("%s\n", json_of(rounds, rate, ratio, flags.rows).c_str());
  } else {
    std::printf(
        "At half of the highest rate (%s calls a second) beside an export of %s calls: p99 is %.2f of that alone.\n",
        grouped(static_cast<long long>(rate)).c_str(), grouped(static_cast<long long>(flags.rows)).c_str(), ratio);
  }
  return std::ranges::all_of(rounds, &Round::is_right) ? 0 : 1;
}

}  // namespace
}  // namespace cognive::bench

int main(int argc, char** argv) {
  using namespace cognive::bench;  // NOLINT(google-build-using-namespace)
  Flags flags;
  CLI::App app(description);
  app.add_option("--binary", flags.settings.server.binary, "The server; the `cognive` beside this program when absent")
      ->check(CLI::ExistingFile);
  app.add_option("--directory", flags.settings.server.directory, "Where data directories are made and removed again")
      ->check(CLI::ExistingDirectory);
  app.add_option("--set", flags.settings.server.environment, "NAME=value of the server's environment");
  app.add_option("--rows", flags.rows, "Calls of the export")->check(CLI::Range(1'000, 100'000'000));
  app.add_option("--rounds", flags.settings.rounds, "How often; the median counts")->check(CLI::Range(1, 100));
  app.add_option("--milliseconds", flags.milliseconds_each, "How long each measurement")
      ->check(CLI::Range(500, 600'000));
  app.add_flag("--json", flags.json, "Print everything as JSON");
  CLI11_PARSE(app, argc, argv);
  catch_signals();
  try {
    return run(flags, std::filesystem::read_symlink("/proc/self/exe"));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_exports: %s\n", error.what());
    return 1;
  }
}
