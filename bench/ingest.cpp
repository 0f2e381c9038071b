// Ingest under load: the real server with its PostgreSQL, real HTTP, and beside it what PostgreSQL alone can do with
// the same rows. Everything is measured in turns in one run; what counts is the ratio, since machines and their moods
// differ.
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "ingest/interruption.hpp"
#include "ingest/report.hpp"
#include "ingest/scenarios.hpp"

namespace cognive::bench {
namespace {

struct Flags {
  Settings settings;
  int milliseconds_each = 4'000;
  std::string report;
  bool json = false;
  bool quick = false;
  bool all = false;
  bool without_rates = false;
};

constexpr const char* description =
    R"(How many LLM calls a second the server takes, against binary COPY of the same rows.

Starts `cognive up` on a data directory of its own, sends LLM calls of 64 agents over keep-alive
connections, and in turns with that copies really ingested rows into the same table: the limit.
Writes a report with the goals of the product beside what was measured. Progress is on stderr.
Everything runs on this machine: let nothing else run on it.

  bench_ingest --quick                              two minutes, to see whether something changed
  bench_ingest --report ingest.md                   the rates, with a plot in ingest.svg
  bench_ingest --all --report ingest.md             and growth to ten million rows, memory, designs
  bench_ingest --without-rates --designs            only the physical designs
  bench_ingest --batches 100 --connections 64 --milliseconds 20000 --quick   one cell, to profile)";

void add_options(CLI::App& app, Flags& flags) {
  auto& settings = flags.settings;
  app.add_option("--binary", settings.server.binary, "The server; the `cognive` beside this program when absent")
      ->check(CLI::ExistingFile);
  app.add_option("--directory", settings.server.directory, "Where data directories are made and removed again")
      ->check(CLI::ExistingDirectory);
  app.add_option("--set", settings.server.environment,
                 "NAME=value of the server's environment, for instance HTTP_THREADS=2; it inherits nothing");
  app.add_option("--budgets", settings.server.budgets, "Budgets that every call is charged to")
      ->check(CLI::Range(0, 50));
  app.add_option("--rounds", settings.rounds, "How often everything is measured; the median counts")
      ->check(CLI::Range(1, 100));
  app.add_option("--milliseconds", flags.milliseconds_each, "How long each time")->check(CLI::Range(100, 600'000));
  app.add_option("--batches", settings.batches, "Events of a request; 1 uses the endpoint for one call")
      ->delimiter(',')
      ->check(CLI::Range(1, 50'000));
  app.add_option("--connections", settings.connections, "Connections")->delimiter(',')->check(CLI::Range(1, 5'000));
  app.add_flag("--lines", settings.lines, "Send batches as NDJSON instead of a JSON array");
  app.add_flag("--quick", flags.quick, "One round of short measurements");
  app.add_flag("--without-rates", flags.without_rates, "Leave out rates, single calls and half of the highest rate");
  app.add_flag("--growth", settings.measures_growth, "Also rates and the time of costs while the table grows");
  app.add_option("--growth-rows", settings.growth_rows, "Rows at which growth is measured")->delimiter(',');
  app.add_option("--memory", settings.memory_minutes, "Also memory under full load, for so many minutes (10)")
      ->expected(0, 1)
      ->default_str("10")
      ->check(CLI::Range(0.1, 10'000.0))
      ->each([&settings](const std::string&) { settings.measures_memory = true; });
  app.add_flag("--designs", settings.measures_designs, "Also other keys and indexes of the table");
  app.add_flag("--all", flags.all, "Everything");
  app.add_option("--report", flags.report, "Write the report to this file and the plot beside it");
  app.add_flag("--json", flags.json, "Print everything as JSON instead of the report");
}

void complete(Flags& flags, const std::filesystem::path& program) {
  auto& settings = flags.settings;
  if (settings.server.binary.empty()) settings.server.binary = program.parent_path() / "cognive";
  if (!std::filesystem::exists(settings.server.binary))
    throw std::runtime_error(settings.server.binary.string() + " is not there: build `cognive`, or say --binary");
  if (settings.server.directory.empty()) settings.server.directory = std::filesystem::temp_directory_path();
  settings.duration = std::chrono::milliseconds{flags.milliseconds_each};
  if (flags.all) settings.measures_growth = settings.measures_memory = settings.measures_designs = true;
  settings.measures_rates = !flags.without_rates;
}

// Applied before the command line, which can override each of them.
void make_quick(Flags& flags) {
  constexpr int quick_milliseconds = 1'500;
  flags.settings.rounds = 1;
  flags.milliseconds_each = quick_milliseconds;
  flags.settings.limit_commits = 16;
  flags.settings.design_commits = 16;
}

Results measure(const Settings& settings) {
  Results results;
  {
    Bench bench(settings);
    results.machine = describe_machine(bench.database());
    if (settings.measures_rates || settings.measures_designs) {
      constexpr std::size_t sample_rows = 200'000;
      warm_up(bench);
      Sample sample(bench.database(), sample_rows);
      if (settings.measures_rates) {
        measure_rates(bench, sample, results);
        measure_singles(bench, results);
        measure_half_rate(bench, sample, results);
      }
      if (settings.measures_designs) measure_designs(bench, sample, results);
    }
  }
  if (settings.measures_growth) measure_growth(settings, results);
  if (settings.measures_memory) measure_memory(settings, results);
  return results;
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

int run(Flags& flags, const std::filesystem::path& program) {
  complete(flags, program);
  const auto results = measure(flags.settings);
  std::filesystem::path plot;
  if (!flags.report.empty() && results.rates) {
    plot = std::filesystem::path(flags.report).replace_extension(".svg");
    write_file(plot, plot_of_rates(*results.rates));
  }
  const auto report = markdown_report(results, plot.filename().string());
  if (!flags.report.empty()) write_file(flags.report, report);
  if (flags.json) {
    std::fputs(json_report(results).c_str(), stdout);
  } else if (flags.report.empty()) {
    std::fputs(report.c_str(), stdout);
  }
  if (results.counts_are_right()) return 0;
  std::fprintf(stderr, "bench_ingest: what is stored is not what was accepted\n");
  return 1;
}

}  // namespace
}  // namespace cognive::bench

int main(int argc, char** argv) {
  cognive::bench::Flags flags;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--quick") cognive::bench::make_quick(flags);
  }
  CLI::App app(cognive::bench::description);
  cognive::bench::add_options(app, flags);
  CLI11_PARSE(app, argc, argv);
  cognive::bench::catch_signals();
  try {
    return cognive::bench::run(flags, std::filesystem::read_symlink("/proc/self/exe"));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_ingest: %s\n", error.what());
    return 1;
  }
}
