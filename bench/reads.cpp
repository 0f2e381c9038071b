// Point reads per second: pipelined over two connections, against the classic pool that runs one statement per
// connection at a time, and spread over replicas. All ways are measured in turns in one run, on servers that the
// program starts itself; what counts is the ratio, since machines and their moods differ.
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/asio.hpp>
#include <cstdio>
#include <filesystem>
#include <random>

#include "embedded/cluster.hpp"
#include "pg/cluster.hpp"

namespace cognive {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::int64_t rows_in_table = 100'000;
constexpr std::size_t callers = 64;
constexpr std::size_t classic_connections = 16;

constexpr pg::Query create_query{"bench_create",
                                 "CREATE TABLE agents_of_bench (id bigint PRIMARY KEY, name text, metadata jsonb)"};
constexpr pg::Query read_query{"bench_read", "SELECT id, name, metadata FROM agents_of_bench WHERE id = $1"};

struct Flags {
  int rounds = 5;
  int milliseconds_each = 1'500;
  int replicas = 2;
  bool json = false;
};

Deadline patience() {
  return Deadline::in(milliseconds{30'000});
}

// Reads per second and latencies of one way, over all rounds.
struct Way {
  std::string name;
  std::vector<double> per_second{};
  std::vector<double> latencies_ms{};

  [[nodiscard]] double median() const {
    auto sorted = per_second;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  [[nodiscard]] double percentile(double share) const {
    auto sorted = latencies_ms;
    std::ranges::sort(sorted);
    return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1))];
  }
};

using Read = std::function<Async<pg::Rows>(pg::Params)>;

Async<> read_until(Clock::time_point end, const Read& read, std::int64_t& done, std::vector<double>& latencies) {
  thread_local std::minstd_rand random{42};
  std::uniform_int_distribution<std::int64_t> ids(1, rows_in_table);
  while (Clock::now() < end) {
    const auto begin = Clock::now();
    const auto rows = co_await read(pg::Params::of(ids(random)));
    if (rows.size() != 1) throw std::logic_error("a row is missing");
    latencies.push_back(std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
    ++done;
  }
}

// `readers` coroutines, each reading one row after the other.
Async<> measure(Executor executor, Way& way, milliseconds duration, std::vector<Read> readers) {
  std::exception_ptr failure;
  TaskGroup group(executor, [&failure](const std::exception_ptr& error) { failure = error; });
  std::int64_t done = 0;
  const auto begin = Clock::now();
  for (const auto& read : readers) group.spawn(read_until(begin + duration, read, done, way.latencies_ms));
  co_await group.join(patience());
  if (failure) std::rethrow_exception(failure);
  way.per_second.push_back(static_cast<double>(done) / std::chrono::duration<double>(Clock::now() - begin).count());
}

Async<> fill(pg::Cluster& database) {
  co_await database.primary().execute(create_query, {}, patience());
  std::string rows;
  for (std::int64_t id = 1; id <= rows_in_table; ++id)
    rows += fmt::format("{}\tagent-{}\t{{\"team\": \"platform\", \"labels\": [\"a\", \"b\"]}}\n", id, id);
  auto transaction = co_await database.begin(patience());
  co_await transaction.copy_in("COPY agents_of_bench FROM STDIN", rows);
  co_await transaction.commit();
}

Async<> wait_for_replicas(const pg::Monitor& monitor) {
  const auto routed = [&] {
    const auto topology = monitor.topology();
    return std::ranges::all_of(topology->hosts, [](const pg::Host& host) {
      return host.state == pg::HostState::primary || (host.routed && host.lag == milliseconds{0});
    });
  };
  const auto deadline = patience();
  while (!routed()) {
    if (deadline.passed()) throw std::runtime_error("the replicas did not catch up");
    co_await sleep_for(milliseconds{100});
  }
}

Async<> run_all(const embedded::Cluster& servers, const Flags& flags, std::vector<Way>& ways) {
  const auto executor = co_await boost::asio::this_coro::executor;
  Metrics metrics;
  pg::MonitorOptions options{.primary_url = servers.socket_url(), .read_urls = {}};
  pg::Monitor alone(executor, options, metrics);
  co_await alone.start(patience());
  options.read_urls = servers.replica_socket_urls();
  pg::Monitor all(executor, options, metrics);
  co_await all.start(patience());
  pg::Cluster primary(executor, {}, alone, metrics);
  pg::Cluster replicated(executor, {}, all, metrics);
  co_await fill(primary);
  co_await wait_for_replicas(all);

  std::vector<std::unique_ptr<pg::Connection>> connections;
  std::vector<Read> classic;
  for (std::size_t i = 0; i < classic_connections; ++i) {
    connections.push_back(co_await pg::Connection::open(executor, servers.socket_url(), milliseconds{0}, patience()));
    classic.emplace_back([connection = connections.back().get()](pg::Params params) {
      return connection->execute(read_query, std::move(params), patience());
    });
  }
  const std::vector<Read> pipelined(callers, [&primary](pg::Params params) {
    return primary.primary().execute(read_query, std::move(params), patience());
  });
  const std::vector<Read> spread(callers, [&replicated](pg::Params params) {
    return replicated.read_preferred({}).execute(read_query, std::move(params), patience());
  });
  ways = {{fmt::format("one statement per connection, {} connections", classic_connections)},
          {"pipelined, 2 connections to the primary"},
          {fmt::format("pipelined, 2 connections to each of {} replicas", flags.replicas)}};
  const milliseconds duration{flags.milliseconds_each};
  for (int round = 0; round < flags.rounds; ++round) {
    co_await measure(executor, ways[0], duration, classic);
    co_await measure(executor, ways[1], duration, pipelined);
    co_await measure(executor, ways[2], duration, spread);
    std::fprintf(stderr, "round %d of %d\n", round + 1, flags.rounds);
  }
  co_await primary.close();
  co_await replicated.close();
  co_await alone.stop(patience());
  co_await all.stop(patience());
}

void print(const std::vector<Way>& ways, bool json) {
  const double base = ways.front().median();
  if (json)
    std::printf("[");
  else
    std::printf("%-52s %10s %7s %9s %9s\n", "point reads, 64 callers, one thread", "reads/s", "ratio", "p50 ms",
                "p99 ms");
  for (const auto& way : ways) {
    if (json) {
      std::printf(
          "%s{\"way\": \"%s\", \"reads_per_second\": %.0f, \"ratio\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}",
          &way == &ways.front() ? "" : ", ", way.name.c_str(), way.median(), way.median() / base, way.percentile(0.5),
          way.percentile(0.99));
    } else {
      std::printf("%-52s %10.0f %7.2f %9.2f %9.2f\n", way.name.c_str(), way.median(), way.median() / base,
                  way.percentile(0.5), way.percentile(0.99));
    }
  }
  if (json) std::printf("]\n");
}

int run_bench(const Flags& flags) {
  const auto user = embedded::Identity::unprivileged();
  if (!user) throw std::runtime_error(user.error().detail);
  const auto root = std::filesystem::temp_directory_path() / ("cognive-bench-" + std::to_string(getpid()));
  {
    const auto directory = embedded::DataDirectory::open(root, *user);
    if (!directory) throw std::runtime_error(directory.error().detail);
    const auto servers = embedded::Cluster::start(*directory, {.replicas = flags.replicas});
    if (!servers) throw std::runtime_error(servers.error().detail);
    std::vector<Way> ways;
    run_to_end(run_all(*servers, flags, ways));
    print(ways, flags.json);
  }
  std::filesystem::remove_all(root);
  return 0;
}

}  // namespace
}  // namespace cognive

int main(int argc, char** argv) {
  cognive::Flags flags;
  CLI::App app("Point reads per second: pipelined against one statement per connection, and over replicas");
  app.add_option("--rounds", flags.rounds, "How often each way is measured; the median counts")
      ->check(CLI::Range(1, 100));
  app.add_option("--milliseconds", flags.milliseconds_each, "How long each time")->check(CLI::Range(50, 60'000));
  app.add_option("--replicas", flags.replicas, "Streaming replicas to start")->check(CLI::Range(1, 8));
  app.add_flag("--json", flags.json, "Print an array for scripts");
  CLI11_PARSE(app, argc, argv);
  try {
    return cognive::run_bench(flags);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_reads: %s\n", error.what());
    return 1;
  }
}
