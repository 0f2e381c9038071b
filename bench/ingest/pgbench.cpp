// The reference for single calls: PostgreSQL's own load generator with single-row prepared INSERTs.
#include <unistd.h>

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "base/text.hpp"
#include "embedded/binaries.hpp"
#include "ingest/scenarios.hpp"

namespace cognive::bench {
namespace {

// Ids come from a cached sequence: the cheapest there is, and in order, which favours pgbench.
constexpr std::string_view script = R"(\set tokens random(200, 6200)
\set duration random(200, 4000)
INSERT INTO bench_single (bucket, run_id, id, team_id, agent_id, environment, "timestamp", provider, model, status, duration_ms, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, price_status, price_version_id, cost_nano_usd, content_hash) VALUES (current_date, ('01930000-0000-7000-8000-' || lpad(to_hex(:client_id::int), 12, '0'))::uuid, ('01930000-0000-7000-8000-' || lpad(to_hex(nextval('bench_single_ids')), 12, '0'))::uuid, '01930000-0000-7000-8000-000000000001', '01930000-0000-7000-8000-000000000002', 'bench', now(), 'openai', 'gpt-4o', 'ok', :duration, :tokens, 300, 0, 0, 'priced', '01930000-0000-7000-8000-000000000003', 4321000, 5678901234567890123);
)";

}  // namespace

double run_pgbench(Database& database, std::chrono::seconds duration, const std::filesystem::path& directory) {
  const auto identity = embedded::Identity::current();
  if (!identity) throw std::runtime_error(identity.error().detail);
  const auto major = static_cast<int>(database.number("SELECT current_setting('server_version_num')::int / 10000"));
  const auto binaries = embedded::find_binaries(*identity, major);
  if (!binaries) throw std::runtime_error(binaries.error().detail);
  database.execute(
      "DROP TABLE IF EXISTS bench_single; DROP SEQUENCE IF EXISTS bench_single_ids; "
      "CREATE TABLE bench_single (LIKE llm_calls INCLUDING ALL); "
      "CREATE SEQUENCE bench_single_ids CACHE 1000");
  const auto file = directory / fmt::format("cognive-bench-{}.pgbench", ::getpid());
  std::ofstream(file) << script;
  const embedded::Command command{.argv = {binaries->program("pgbench"), "-n", "-M", "prepared", "-f", file.native(),
                                           "-c", "16", "-j", "1", "-T", std::to_string(duration.count())},
                                  .identity = *identity,
                                  .environment = database.environment()};
  const auto output = embedded::run(command, "", embedded::Clock::now() + duration + std::chrono::seconds{60}, {});
  std::filesystem::remove(file);
  if (!output) throw std::runtime_error(output.error().detail);
  const auto at = output->text.find("tps = ");
  if (!output->exit.success() || at == std::string::npos)
    throw std::runtime_error("pgbench: " + shortened(output->text, 1'000));
  database.execute("DROP TABLE bench_single; DROP SEQUENCE bench_single_ids");
  return std::atof(output->text.c_str() + at + std::string_view("tps = ").size());
}

}  // namespace cognive::bench
