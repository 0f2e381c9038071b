// `cognive replication`: how primary and replicas are doing, and which of them is to be the primary.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/position.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "health/replication.hpp"
#include "json/bind.hpp"
#include "pg/connection.hpp"
#include "pg/conninfo.hpp"
#include "pg/monitor.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::milliseconds look_timeout{5'000};
constexpr std::chrono::milliseconds catch_up_timeout{3'000};
constexpr std::chrono::milliseconds catch_up_interval{200};
constexpr int promotion_seconds = 60;

constexpr pg::Query promote_query{"promote", "SELECT pg_promote(true, $1)"};
constexpr std::string_view insufficient_privilege = "42501";

struct Flags {
  std::string data;
  std::string host;
  bool json = false;
  bool force = false;
};

Result<Settings> settings_of(const Flags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return std::unexpected(variables.error());
  return load_settings(*variables);
}

using MonitorTask = std::function<Async<int>(pg::Monitor&)>;

int with_monitor(const Settings& settings, const MonitorTask& task) {
  int status = 1;
  Metrics metrics;
  const auto body = [&]() -> Async<> {
    auto options = monitor_options(settings);
    options.interval = catch_up_interval;
    pg::Monitor monitor(co_await boost::asio::this_coro::executor, std::move(options), metrics);
    co_await monitor.start(Deadline::in(look_timeout));
    status = co_await task(monitor);
    co_await monitor.stop(Deadline::in(look_timeout));
  };
  run_to_end(body());
  return status;
}

std::string milliseconds_text(std::optional<std::chrono::milliseconds> lag) {
  return lag ? grouped(lag->count()) + " ms" : "unknown";
}

std::string table_of(const pg::Topology& topology) {
  Table table({{"host"},
               {"state"},
               {"timeline", Table::Align::right},
               {"received", Table::Align::right},
               {"replayed", Table::Align::right},
               {"lag", Table::Align::right},
               {"lag bytes", Table::Align::right},
               {"reads"}});
  for (const auto& host : topology.hosts) {
    const auto& report = host.report;
    const bool is_standby = report.reachable && report.identity.in_recovery;
    std::vector<std::string> row{host.label, std::string(pg::text_of(host.state))};
    row.push_back(report.reachable ? std::to_string(report.identity.timeline) : "");
    row.push_back(is_standby && report.receive_lsn ? lsn_text(*report.receive_lsn) : "");
    row.push_back(report.reachable ? lsn_text(report.lsn) : "");
    row.push_back(is_standby ? milliseconds_text(host.lag) : "");
    row.push_back(is_standby && host.lag_bytes ? grouped(static_cast<long long>(*host.lag_bytes)) : "");
    if (host.state == pg::HostState::primary) {
      row.emplace_back("when no replica may");
    } else {
      row.push_back(host.routed ? "yes" : "no: " + host.not_routed);
    }
    table.add(std::move(row));
  }
  std::string out = table.text();
  for (const auto& problem : topology.problems) out += "\n" + problem;
  return topology.problems.empty() ? out : out + "\n";
}

int status(const Flags& flags) {
  const auto settings = settings_of(flags);
  if (!settings) return explain(settings.error());
  return with_monitor(*settings, [&flags](pg::Monitor& monitor) -> Async<int> {
    const auto topology = monitor.topology();
    const auto health = health::describe(*topology, monitor.options().urls());
    const auto text = flags.json ? json::encode(health) + "\n" : table_of(*topology);
    std::fputs(text.c_str(), stdout);
    co_return topology->primary_answers() ? 0 : 1;
  });
}

// The one host whose label is `name`, or begins with it or ends with it.
Result<std::size_t> find_host(const pg::Topology& topology, const std::string& name) {
  std::vector<std::size_t> found;
  std::string known;
  for (std::size_t i = 0; i < topology.hosts.size(); ++i) {
    const auto& label = topology.hosts[i].label;
    if (label == name) return i;
    if (label.starts_with(name + ":") || label.ends_with(":" + name)) found.push_back(i);
    known += (known.empty() ? "" : ", ") + label;
  }
  if (found.size() == 1) return found.front();
  return fail(Code::not_found, fmt::format("{} database host is called {}; there are: {}.",
                                           found.empty() ? "No" : "More than one", name, known));
}

// Log that somebody has and `host` has not replayed: what would be lost, or what it would have to replay first.
struct Behind {
  std::uint64_t bytes = 0;
  std::string whom;
};
Behind behind(const pg::Topology& topology, const pg::Host& host) {
  Behind out;
  const auto compare = [&](std::uint64_t lsn, const std::string& label) {
    if (lsn > host.report.lsn + out.bytes) out = {lsn - host.report.lsn, label};
  };
  for (const auto& other : topology.hosts) {
    if (!other.report.reachable || other.report.identity.timeline != host.report.identity.timeline) continue;
    compare(std::max(other.report.lsn, other.report.receive_lsn.value_or(0)), other.label);
  }
  return out;
}

// Why the host must not be promoted; empty when it may. `forced` leaves what an operator may decide.
std::string objection(const pg::Topology& topology, const pg::Host& host, bool forced) {
  if (!host.report.reachable) return host.label + " does not answer: " + host.report.failure + ".";
  if (!host.report.identity.in_recovery)
    return host.label + " is no standby: it is " + std::string(pg::text_of(host.state)) + ".";
  if (host.state == pg::HostState::foreign) return host.label + " cannot be meant: " + host.not_routed + ".";
  if (forced) return "";
  for (const auto& other : topology.hosts) {
    if (!other.report.reachable || other.report.identity.system != host.report.identity.system ||
        other.report.identity.timeline <= host.report.identity.timeline)
      continue;
    return fmt::format("{} stayed on timeline {}, {} is on {} and has what came since. Choose that, or say --force.",
                       host.label, host.report.identity.timeline, other.label, other.report.identity.timeline);
  }
  if (topology.primary_answers()) {
    return fmt::format(
        "The primary {} answers: promoting another host makes two of them. Stop it first, or say --force.",
        topology.hosts[*topology.primary].label);
  }
  const auto [bytes, whom] = behind(topology, host);
  if (bytes == 0) return "";
  return fmt::format("{} is {} bytes of log behind what {} has{}. Choose the host that has most, or say --force.",
                     host.label, grouped(static_cast<long long>(bytes)), whom,
                     host.report.replay_paused ? ", and its replay is paused" : "");
}

Async<Result<void>> run_promotion(std::string url, std::string label) {
  const auto deadline = Deadline::in(std::chrono::seconds{promotion_seconds + 5});
  const auto executor = co_await boost::asio::this_coro::executor;
  try {
    const auto connection = co_await pg::Connection::open(executor, url, std::chrono::milliseconds{0}, deadline);
    const auto rows =
        co_await connection->execute(promote_query, pg::Params::of(std::int32_t{promotion_seconds}), deadline);
    const bool promoted = rows[0].at<bool>(0);
    if (promoted) co_return Result<void>{};
    co_return fail(Code::unavailable,
                   fmt::format("{} was not promoted within {} s; look at its log.", label, promotion_seconds));
  } catch (const pg::SqlError& error) {
    if (error.state() != insufficient_privilege) throw;
    co_return fail(
        Code::forbidden,
        "The role of the database URL may not promote: run pg_ctl promote on the host itself. For the next time, "
        "let a superuser run in this database, on the primary: GRANT EXECUTE ON FUNCTION "
        "pg_promote(boolean, integer) TO that role.");
  }
}

Async<int> promote_host(pg::Monitor& monitor, const Flags& flags) {
  const auto index = find_host(*monitor.topology(), flags.host);
  if (!index) co_return explain(index.error());
  const auto url = monitor.options().urls()[*index];
  // The last of the log may still be on its way to be replayed.
  const auto patience = Deadline::in(catch_up_timeout);
  std::string refused;
  for (;;) {
    const auto topology = monitor.topology();
    const auto& host = topology->hosts[*index];
    refused = objection(*topology, host, flags.force);
    const bool catching_up = !refused.empty() && host.report.reachable && host.report.identity.in_recovery &&
                             !host.report.replay_paused && !topology->primary_answers();
    if (!catching_up || patience.passed()) break;
    co_await sleep_for(catch_up_interval);
  }
  if (!refused.empty()) co_return explain({Code::conflict, refused, {}});
  const auto promoted = co_await run_promotion(url, pg::host_label(url));
  if (!promoted) co_return explain(promoted.error());
  const auto deadline = Deadline::in(look_timeout);
  while (monitor.topology()->primary != *index && !deadline.passed()) co_await sleep_for(catch_up_interval);
  std::printf(
      "%s\n%s has been promoted. A running service follows it within two seconds.\n"
      "`cognive up` does the rest by itself. Otherwise: point DATABASE_URL at it for the next start, let the other\n"
      "replicas follow it, and re-seed the old primary as a replica (docs/operations/failover.md).\n",
      table_of(*monitor.topology()).c_str(), pg::host_label(url).c_str());
  co_return 0;
}

int promote(const Flags& flags) {
  const auto settings = settings_of(flags);
  if (!settings) return explain(settings.error());
  return with_monitor(*settings, [&flags](pg::Monitor& monitor) { return promote_host(monitor, flags); });
}

}  // namespace

void add_replication(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand(
      "replication", "Look at the primary and its replicas (DATABASE_URL, DATABASE_READ_URLS), and promote one");
  command->require_subcommand(1);
  const auto flags = std::make_shared<Flags>();
  const auto add_data = [&](CLI::App* verb) {
    verb->add_option("--data", flags->data, "Data directory of `cognive up` whose servers are meant");
  };
  auto* show = command->add_subcommand("status", "Show every host: role, lag, and whether reads go there");
  add_data(show);
  show->add_flag("--json", flags->json, "Print what /api/v1/health/replication answers");
  show->callback([flags, &chosen] { chosen = [flags] { return status(*flags); }; });
  auto* choose = command->add_subcommand(
      "promote",
      "Make a replica the primary, after the old one is lost or stopped. Refused while the primary answers, and when\n"
      "another host has more of the log");
  add_data(choose);
  choose->add_option("host", flags->host, "Which: host:port as `status` shows it, the host, or the port")->required();
  choose->add_flag("--force", flags->force, "Promote although it is behind, or although the primary answers");
  choose->callback([flags, &chosen] { chosen = [flags] { return promote(*flags); }; });
}

}  // namespace cognive::commands
