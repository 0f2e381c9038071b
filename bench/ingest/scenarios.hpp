// The scenarios of the measurement, each on servers that it starts itself.
#pragma once

#include "ingest/copy_limit.hpp"
#include "ingest/results.hpp"

namespace cognive::bench {

struct Settings {
  ServerOptions server{};
  int rounds = 3;
  std::chrono::milliseconds duration{4'000};  // of a cell
  std::chrono::milliseconds warm_up{500};     // of a cell, not measured
  std::vector<std::size_t> batches{1, 20, 100, 500};
  std::vector<std::size_t> connections{1, 16, 64, 256};
  std::size_t limit_commits = 30;  // of 5,000 rows, for one measurement of the limit
  bool lines = false;
  std::vector<std::uint64_t> growth_rows{1'000'000, 5'000'000, 10'000'000};
  double memory_minutes = 10;
  std::size_t design_commits = 40;
  bool measures_rates = true;
  bool measures_growth = false;
  bool measures_memory = false;
  bool measures_designs = false;
};

// The server under test with everything that a scenario needs of it.
class Bench {
 public:
  explicit Bench(const Settings& settings);

  [[nodiscard]] const Settings& settings() const { return settings_; }
  Database& database() { return database_; }
  ServerProcess& server() { return server_; }

  // Starts runs ahead, then the load. `cpu` gets the shares in the measured window.
  LoadResult load(LoadPlan plan, CpuTimes* cpu = nullptr);
  // Rows that were stored beside the server.
  void add_copied(std::uint64_t rows) { copied_ += rows; }
  [[nodiscard]] std::uint64_t accepted() const { return accepted_; }
  // Waits, for a while, until the server has folded what it stored: that is work of PostgreSQL, too.
  void wait_idle();
  // Compares what is stored with what was accepted and copied.
  void check_count(Results& results, const std::string& scenario);
  [[nodiscard]] CpuTimes cpu() const { return cpu_times(server_.pid(), postmaster_); }

 private:
  const Settings& settings_;
  ServerProcess server_;
  Database database_;
  pid_t postmaster_;
  RunPool pool_;
  double last_rate_ = 20'000;  // events a second: how many runs to start ahead
  std::uint64_t accepted_ = 0;
  std::uint64_t copied_ = 0;
};

Machine describe_machine(Database& database);

// Enough ingested rows for a sample of them.
void warm_up(Bench& bench);

void measure_rates(Bench& bench, Sample& sample, Results& results);
void measure_singles(Bench& bench, Results& results);
void measure_half_rate(Bench& bench, Sample& sample, Results& results);
void measure_designs(Bench& bench, Sample& sample, Results& results);
void measure_growth(const Settings& settings, Results& results);
void measure_memory(const Settings& settings, Results& results);

// Transactions a second of single-row prepared INSERTs into a copy of llm_calls, by pgbench with 16 clients.
double run_pgbench(Database& database, std::chrono::seconds duration, const std::filesystem::path& directory);

void say(const std::string& progress);

}  // namespace cognive::bench
