// Authorisations a second: the real server with its PostgreSQL over real HTTP, three budgets for every call, beside
// what a bare UPDATE for each request does, and a Redis script, which keeps nothing on disk. Everything in turns in one
// run.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/text.hpp"
#include "embedded/binaries.hpp"
#include "ingest/database.hpp"
#include "ingest/interruption.hpp"
#include "ingest/requests.hpp"
#include "turns.hpp"

namespace cognive::bench {
namespace {

constexpr std::size_t many = 1'000;

struct Flags : TurnFlags {
  std::vector<std::size_t> callers{1, 64, 256};
  std::string binary_of_redis = "/usr/bin/redis-server";
};

// So many agents, each with three budgets: of money, of tokens and of requests.
std::vector<std::string> make_agents(const Target& target, std::size_t count) {
  std::vector<std::string> agents;
  const auto made = send_all(target, count, [](std::size_t) {
    return Message{"POST", "/api/v1/agents",
                   fmt::format(R"({{"name":"bench-{}"}})", std::string_view(text_of(random_id()).data(), 36))};
  });
  for (const auto& body : made) agents.push_back(id_of(body));
  constexpr std::array limits{R"("limit_usd":1000000)", R"("limit_tokens":1000000000000)",
                              R"("limit_requests":1000000000)"};
  send_all(target, count * limits.size(), [&](std::size_t number) {
    return Message{"POST", "/api/v1/budgets",
                   fmt::format(R"({{"scope":"agent","agent_id":"{}","window":"day","hard_stop":true,{}}})",
                               agents[number / limits.size()], limits[number % limits.size()])};
  });
  return agents;
}

struct Cell {
  std::vector<double> rates;
  Histogram latency;
};

// Runs a program to its end; its output.
std::string run(std::vector<std::string> argv, std::vector<std::string> environment, std::chrono::seconds patience) {
  const auto identity = embedded::Identity::current();
  if (!identity) throw std::runtime_error(identity.error().detail);
  const embedded::Command command{
      .argv = std::move(argv), .identity = *identity, .environment = std::move(environment)};
  const auto output = embedded::run(command, "", embedded::Clock::now() + patience, {});
  if (!output) throw std::runtime_error(output.error().detail);
  if (!output->exit.success()) throw std::runtime_error(shortened(output->text, 1'000));
  return output->text;
}

// One UPDATE … RETURNING of one row for each request, as one would write it first. The server's own three budgets would
// be three of them.
double bare_update(Database& database, const Flags& flags) {
  const auto identity = embedded::Identity::current();
  if (!identity) throw std::runtime_error(identity.error().detail);
  const auto major = static_cast<int>(database.number("SELECT current_setting('server_version_num')::int / 10000"));
  const auto binaries = embedded::find_binaries(*identity, major);
  if (!binaries) throw std::runtime_error(binaries.error().detail);
  database.execute(
      "DROP TABLE IF EXISTS bench_budget; CREATE TABLE bench_budget (id int PRIMARY KEY, spent bigint, reserved "
      "bigint, "
      "most bigint); INSERT INTO bench_budget VALUES (1, 0, 0, 1000000000000000)");
  const auto file = flags.server.directory / fmt::format("cognive-bench-{}.pgbench", ::getpid());
  std::ofstream(file)
      << "UPDATE bench_budget SET reserved = reserved + 1000 WHERE id = 1 AND spent + reserved + 1000 <= most "
         "RETURNING reserved;\n";
  const auto seconds = std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(flags.duration).count());
  const auto text = run({binaries->program("pgbench"), "-n", "-M", "prepared", "-f", file.native(), "-c", "16", "-j",
                         "1", "-T", std::to_string(seconds)},
                        database.environment(), std::chrono::seconds{seconds + 60});
  std::filesystem::remove(file);
  database.execute("DROP TABLE bench_budget");
  const auto at = text.find("tps = ");
  if (at == std::string::npos) throw std::runtime_error("pgbench: " + shortened(text, 1'000));
  return std::atof(text.c_str() + at + std::string_view("tps = ").size());
}

// A Redis that keeps nothing, on a socket of its own.
class Redis {
 public:
  explicit Redis(const Flags& flags)
      : socket_(flags.server.directory / fmt::format("cognive-bench-{}.redis", ::getpid())) {
    const auto identity = embedded::Identity::current();
    if (!identity) throw std::runtime_error(identity.error().detail);
    const embedded::Command command{
        .argv = {flags.binary_of_redis, "--port", "0", "--unixsocket", socket_.native(), "--save", "", "--appendonly",
                 "no", "--dir", flags.server.directory.native()},
        .identity = *identity,
        .environment = {}};
    auto child = embedded::Child::start(command, "/dev/null", SIGTERM);
    if (!child) throw std::runtime_error(child.error().detail);
    child_ = std::move(*child);
    for (int i = 0; i < 100 && !std::filesystem::exists(socket_); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
  }

  // Checks and reserves on three budgets, in one script.
  double scripts_per_second(std::size_t callers) {
    constexpr const char* script =
        "for i=1,3 do local r=tonumber(redis.call('HGET',KEYS[i],'reserved') or '0') if r+1000>1e15 then return 0 end "
        "end "
        "for i=1,3 do redis.call('HINCRBY',KEYS[i],'reserved',1000) end return 1";
    const auto text = run({"/usr/bin/redis-benchmark", "-s", socket_.native(), "-c", std::to_string(callers), "-n",
                           "200000", "-q", "EVAL", script, "3", "a", "b", "c"},
                          {}, std::chrono::seconds{120});
    const auto end = text.rfind(" requests per second");
    if (end == std::string::npos) throw std::runtime_error("redis-benchmark: " + shortened(text, 1'000));
    const auto begin = text.rfind(' ', end - 1);
    return std::atof(text.c_str() + begin + 1);
  }

 private:
  std::filesystem::path socket_;
  std::unique_ptr<embedded::Child> child_;
};

void progress(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
}

int measure(const Flags& flags) {
  ServerProcess server(flags.server);
  const Target target = [&] {
    auto out = server.target();
    out.agent_ids.clear();
    return out;
  }();
  auto database = Database::nearest(server.database_url());
  progress("making agents and budgets");
  const auto hot = make_agents(target, 1);
  const auto agents = make_agents(target, many);
  std::unique_ptr<Redis> redis;
  if (std::filesystem::exists(flags.binary_of_redis)) redis = std::make_unique<Redis>(flags);

  std::map<std::pair<std::size_t, std::size_t>, Cell> cells;  // by budgets of money and callers
  std::vector<double> bare;
  std::map<std::size_t, std::vector<double>> scripts;
  for (int round = 1; round <= flags.rounds; ++round) {
    for (const auto callers : flags.callers) {
      for (const auto* asked : {&hot, &agents}) {
        throw_if_interrupted();
        Requests requests(
            target,
            [&](std::size_t number) {
              return Message{
                  "POST", "/api/v1/budgets/authorize",
                  fmt::format(R"({{"agent_id":"{}","provider":"openai","model":"gpt-4o","max_cost_usd":0.000001}})",
                              (*asked)[(number * 7919) % asked->size()])};
            },
            0, flags.duration);
        drive(target.address, {.connections = callers}, requests);
        auto& cell = cells[{asked->size(), callers}];
        cell.rates.push_back(requests.per_second());
        cell.latency.add(requests.latency);
        progress(fmt::format("round {} of {}: {} agents, {} callers: {:.0f}/s, p99 {:.1f} ms", round, flags.rounds,
                             asked->size(), callers, requests.per_second(), requests.latency.percentile_ms(0.99)));
      }
      if (redis && callers > 1) scripts[callers].push_back(redis->scripts_per_second(callers));
    }
    bare.push_back(bare_update(database, flags));
    progress(fmt::format("round {} of {}: bare UPDATE {:.0f}/s", round, flags.rounds, bare.back()));
  }
  const auto reserved = database.number("SELECT count(*) FROM budget_reservations");
  std::uint64_t counted = 0;
  for (const auto& [key, cell] : cells) counted += cell.latency.total();

  const auto of_bare = median(bare);
  std::printf("Three budgets for every call. A bare UPDATE of one row for each request, 16 connections: %.0f/s.\n\n",
              of_bare);
  std::printf("| agents | callers | authorisations/s | of the bare UPDATE | of the Redis script | p50 ms | p99 ms |\n");
  std::printf("|--:|--:|--:|--:|--:|--:|--:|\n");
  for (const auto& [key, cell] : cells) {
    const auto rate = median(cell.rates);
    const auto script = median(scripts[key.second]);
    std::printf("| %zu | %zu | %.0f | %.1f | %s | %.1f | %.1f |\n", key.first, key.second, rate, rate / of_bare,
                script > 0 ? fmt::format("{:.2f} ({:.0f}/s)", rate / script, script).c_str() : "",
                cell.latency.percentile_ms(0.5), cell.latency.percentile_ms(0.99));
  }
  if (reserved >= static_cast<std::int64_t>(counted)) return 0;
  std::fprintf(stderr, "bench_budgets: %lld reservations are stored, and %llu were granted\n",
               static_cast<long long>(reserved), static_cast<unsigned long long>(counted));
  return 1;
}

}  // namespace
}  // namespace cognive::bench

int main(int argc, char** argv) {
  using namespace cognive::bench;
  Flags flags;
  CLI::App app(
      "How many authorisations a second the server grants, three budgets for each, one hot agent and a thousand.\n\n"
      "Starts `cognive up` on a data directory of its own. In turns with it: pgbench with one UPDATE of one row for "
      "each\n"
      "request, and redis-benchmark with a script that does the same without a disk (where redis-server is "
      "installed).\n"
      "Progress is on stderr. Let nothing else run on the machine.");
  app.add_option("--callers", flags.callers, "Connections")->delimiter(',')->check(CLI::Range(1, 5'000));
  return run_in_turns(app, flags, argc, argv, [&] { return measure(flags); });
}
