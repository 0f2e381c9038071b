// What the audit trail costs those who write nothing into it: ingest and authorisations alone, beside changes that are
// not audited, and beside as many that are. All of the latter lock the end of one chain.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <thread>

#include "ingest/interruption.hpp"
#include "ingest/requests.hpp"
#include "turns.hpp"

namespace cognive::bench {
namespace {

constexpr std::size_t agents_count = 64;

struct Flags : TurnFlags {
  double changes_per_second = 200;
};

struct World {
  const Target& target;
  std::vector<std::string> agents;
  std::vector<std::string> runs;  // one of each agent
};

std::string new_id() {
  return {text_of(random_id()).data(), 36};
}

World make_world(const Target& target) {
  World out{.target = target, .agents = {}, .runs = {}};
  const auto agents = send_all(target, agents_count, [](std::size_t) {
    return Message{"POST", "/api/v1/agents", fmt::format(R"({{"name":"bench-{}"}})", new_id())};
  });
  for (const auto& body : agents) out.agents.push_back(id_of(body));
  for (std::size_t i = 0; i < agents_count; ++i) out.runs.push_back(new_id());
  send_all(target, agents_count, [&](std::size_t number) {
    return Message{"POST", "/api/v1/runs/start",
                   fmt::format(R"({{"run_id":"{}","agent_id":"{}"}})", out.runs[number], out.agents[number])};
  });
  return out;
}

enum class Work { ingest, authorise };
enum class Beside { nothing, unaudited, audited };

Requests::Make work_of(Work work, const World& world) {
  if (work == Work::authorise) {
    return [&world](std::size_t number) {
      return Message{"POST", "/api/v1/budgets/authorize",
                     fmt::format(R"({{"agent_id":"{}","provider":"openai","model":"gpt-4o","max_cost_usd":0.000001}})",
                                 world.agents[number % agents_count])};
    };
  }
  return [&world](std::size_t number) {
    return Message{"POST", "/api/v1/events",
                   fmt::format(R"([{{"type":"llm_call","id":"{}","run_id":"{}","provider":"openai","model":"gpt-4o",)"
                               R"("usage":{{"input_tokens":1000,"output_tokens":100}}}}])",
                               new_id(), world.runs[number % agents_count])};
  };
}

// Both are one transaction that writes one row of its own: the agent, or a run.
Requests::Make change_of(Beside beside, const World& world) {
  if (beside == Beside::audited) {
    return [&world](std::size_t number) {
      return Message{"PATCH", "/api/v1/agents/" + world.agents[number % agents_count],
                     fmt::format(R"({{"version":"{}"}})", number)};
    };
  }
  return [&world](std::size_t number) {
    return Message{"POST", "/api/v1/runs/start",
                   fmt::format(R"({{"run_id":"{}","agent_id":"{}"}})", new_id(), world.agents[number % agents_count])};
  };
}

struct Cell {
  std::vector<double> rates;
  Histogram latency;
  std::vector<double> changes;
};

void measure_one(const Flags& flags, const World& world, Work work, Beside beside, Cell& cell) {
  Requests requests(world.target, work_of(work, world), 0, flags.duration);
  Requests changes(world.target, change_of(beside, world), 0, flags.duration);
  std::exception_ptr failure;
  std::jthread other;
  if (beside != Beside::nothing) {
    other = std::jthread([&] {
      try {
        drive(world.target.address, {.connections = 16, .rate = flags.changes_per_second}, changes);
      } catch (...) {
        failure = std::current_exception();
      }
    });
  }
  drive(world.target.address, {.connections = work == Work::ingest ? 16U : 64U}, requests);
  if (other.joinable()) other.join();
  if (failure) std::rethrow_exception(failure);
  cell.rates.push_back(requests.per_second());
  cell.latency.add(requests.latency);
  cell.changes.push_back(changes.per_second());
}

constexpr std::array works{std::pair{Work::ingest, "single calls, 16 connections"},
                           std::pair{Work::authorise, "authorisations, 64 connections"}};
constexpr std::array besides{std::pair{Beside::nothing, "nothing"}, std::pair{Beside::unaudited, "runs that start"},
                             std::pair{Beside::audited, "agents that change (audited)"}};

int measure(const Flags& flags) {
  ServerProcess server(flags.server);
  const auto target = server.target();
  const auto world = make_world(target);
  std::map<std::pair<Work, Beside>, Cell> cells;
  std::map<std::size_t, std::vector<double>> chain;  // audited changes a second, by connections
  for (int round = 1; round <= flags.rounds; ++round) {
    for (const auto& [work, work_name] : works) {
      for (const auto& [beside, beside_name] : besides) {
        throw_if_interrupted();
        auto& cell = cells[{work, beside}];
        measure_one(flags, world, work, beside, cell);
        std::fprintf(stderr, "round %d of %d: %s beside %s: %.0f/s\n", round, flags.rounds, work_name, beside_name,
                     cell.rates.back());
      }
    }
    for (const std::size_t connections : {1U, 16U, 64U}) {
      throw_if_interrupted();
      Requests changes(target, change_of(Beside::audited, world), 0, flags.duration);
      drive(target.address, {.connections = connections}, changes);
      chain[connections].push_back(changes.per_second());
    }
  }
  std::printf("| what | beside | a second | of what is beside unaudited | p50 ms | p99 ms | changes/s |\n");
  std::printf("|---|---|--:|--:|--:|--:|--:|\n");
  for (const auto& [work, work_name] : works) {
    for (const auto& [beside, beside_name] : besides) {
      const auto& cell = cells[{work, beside}];
      const auto rate = median(cell.rates);
      std::printf("| %s | %s | %.0f | %.2f | %.1f | %.1f | %.0f |\n", work_name, beside_name, rate,
                  rate / median(cells[{work, Beside::unaudited}].rates), cell.latency.percentile_ms(0.5),
                  cell.latency.percentile_ms(0.99), median(cell.changes));
    }
  }
  std::printf("\nAudited changes alone, each of its own row:");
  for (const auto& [connections, rates] : chain)
    std::printf(" %zu connections %.0f/s%s", connections, median(rates), connections == 64 ? ".\n" : ";");
  return 0;
}

}  // namespace
}  // namespace cognive::bench

int main(int argc, char** argv) {
  using namespace cognive::bench;
  Flags flags;
  CLI::App app(
      "Whether ingest and authorisations wait for the audit trail: each alone, beside changes that write no entry, "
      "and\n"
      "beside as many that do, in turns.\n\n"
      "Starts `cognive up` on a data directory of its own. Progress is on stderr. Let nothing else run on the "
      "machine.");
  app.add_option("--changes", flags.changes_per_second, "Changes a second that are made beside")
      ->check(CLI::Range(1, 100'000));
  return run_in_turns(app, flags, argc, argv, [&] { return measure(flags); });
}
