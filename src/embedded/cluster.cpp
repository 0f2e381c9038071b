#include "embedded/cluster.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "embedded/control_data.hpp"
#include "embedded/port.hpp"
#include "embedded/postmaster.hpp"
#include "embedded/settings.hpp"

namespace cognive::embedded {
using namespace std::chrono_literals;

namespace {

constexpr const char* password_file = "postgres/password";
constexpr std::size_t password_length = 32;  // 190 bits
constexpr int start_attempts = 5;
constexpr int replica_attempts = 3;
constexpr auto follow_patience = 30s;

std::string port_file(const Postgres& server) {
  return fmt::format("postgres/{}.port", server.name());
}

// The port of the last start; nothing at the first one.
std::optional<std::uint16_t> last_port(const DataDirectory& directory, const Postgres& server) {
  const auto text = directory.read_private(port_file(server));
  if (!text || !*text) return std::nullopt;
  const auto number = trim(**text);
  std::uint16_t port = 0;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), port);
  if (read.ec != std::errc{} || port == 0) return std::nullopt;
  return port;
}

// The version of the nodes, which the servers must have too: that of a primary counts. Nothing at the first start.
Result<std::optional<int>> version_on_disk(const DataDirectory& directory) {
  for (const bool standby : {false, true}) {
    for (const auto& name : node_names()) {
      const auto data = directory.postgres() / name;
      if (is_standby(data) != standby) continue;
      auto version = data_version(data);
      if (!version || *version) return version;
    }
  }
  return std::nullopt;
}

}  // namespace

Result<Cluster> Cluster::start(const DataDirectory& directory, Options options) {
  if (options.replicas < 0 || options.replicas > replicas_max) {
    return fail(Code::malformed, fmt::format("There can be 0 to {} replicas.", replicas_max));
  }
  const auto made_by = version_on_disk(directory);
  if (!made_by) return fail(made_by.error());
  const auto binaries = find_binaries(directory.database_user(), made_by->value_or(postgres_major));
  if (!binaries) return fail(binaries.error());

  const auto known = directory.read_private(password_file);
  if (!known) return fail(known.error());
  const bool is_new = !*known || trim(**known).empty();
  Cluster cluster(directory, std::move(options), is_new ? random_token(password_length) : std::string(trim(**known)));
  const auto& interrupted = cluster.options_.interrupted;

  // Also of nodes that are not started now: their slots are dropped, and what they are is read from their data.
  for (const auto& name : node_names()) {
    const Postgres node(directory, *binaries, name, cluster.options_.max_connections);
    if (!node.exists() || !node.check_owner()) continue;  // the launch says what is wrong
    auto ended = end_orphan(node.data(), directory.database_user(), interrupted);
    if (!ended) return fail(ended.error());
  }
  const auto roles = read_roles(directory, *binaries, cluster.options_.replicas);
  if (!roles) return fail(roles.error());
  for (const auto& role : *roles) {
    if (role.primary) cluster.primary_ = cluster.nodes_.size();
    Postgres server(directory, *binaries, role.name, cluster.options_.max_connections);
    cluster.nodes_.push_back(Node{.server = std::move(server), .remake = role.remake});
  }

  auto& primary = cluster.nodes_[cluster.primary_].server;
  // The password is set before it is stored, so that what is stored always works.
  if (!primary.exists()) {
    if (auto made = primary.create(cluster.password_, interrupted); !made) return fail(made.error());
  } else if (is_new) {
    if (auto set = primary.set_password(cluster.password_, interrupted); !set) return fail(set.error());
  }
  if (is_new) {
    if (auto stored = directory.write_private(password_file, cluster.password_ + "\n"); !stored) {
      return fail(stored.error());
    }
  }
  if (auto started = cluster.start_primary(); !started) return fail(started.error());
  if (auto prepared = cluster.prepare_primary(); !prepared) return fail(prepared.error());
  if (auto started = cluster.start_replicas(); !started) return fail(started.error());
  return cluster;
}

// `as_before`: the last port may have gone to somebody else.
Result<std::uint16_t> Cluster::choose_port(const Postgres& server, bool as_before) const {
  if (options_.port && server.name() == "primary") return *options_.port;
  if (const auto port = last_port(*directory_, server); port && as_before) return *port;
  return free_port();
}

Result<void> Cluster::remember_port(const Postgres& server) const {
  if (last_port(*directory_, server) == server.port()) return {};
  return directory_->write_private(port_file(server), fmt::format("{}\n", server.port()));
}

Result<void> Cluster::start_primary() {
  auto& server = nodes_[primary_].server;
  for (int attempt = 1;; ++attempt) {
    const auto port = choose_port(server, attempt == 1);
    if (!port) return fail(port.error());
    auto started = server.start(*port, options_.interrupted);
    if (started) return remember_port(server);
    // A free port can go to somebody else between the choice and the start.
    const bool fixed = options_.port == *port;
    const bool taken = !fixed && started.error().code == Code::conflict && !port_is_free(*port);
    if (!taken || attempt == start_attempts) return started;
  }
}

// Everything that the roles and the replicas need of a primary that runs, whatever it has of it already.
Result<void> Cluster::prepare_primary() {
  std::string slots;
  for (const auto& node : nodes_) {
    if (is_primary(node)) continue;
    slots += fmt::format("{}{}", slots.empty() ? "" : ", ", quoted_literal(node.server.name()));
  }
  // Slots of nodes that are not there would keep WAL for ever; one whose WAL is gone is of no use. A new one keeps WAL
  // from its making, not only from the first connection.
  const auto statements = fmt::format(
      R"(DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{0}') THEN
    CREATE ROLE {0} LOGIN REPLICATION;
  END IF;
  IF NOT has_function_privilege('cognive', 'pg_catalog.pg_promote(boolean, integer)', 'EXECUTE') THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO cognive;
  END IF;
END $$;
SELECT FROM (SELECT slot_name FROM pg_replication_slots
             WHERE slot_type = 'physical' AND NOT temporary AND NOT active AND slot_name ~ '^(primary|replica_[1-9])$'
               AND (wal_status = 'lost' OR slot_name <> ALL (ARRAY[{1}]::name[]))) useless,
     pg_drop_replication_slot(slot_name);
SELECT FROM (SELECT name FROM unnest(ARRAY[{1}]::name[]) name
             WHERE name NOT IN (SELECT slot_name FROM pg_replication_slots)) missing,
     pg_create_physical_replication_slot(name, true);
)",
      replication_role, slots);
  auto done = primary().query("cognive", statements, options_.interrupted);
  if (!done) return fail(done.error());
  return {};
}

// Makes the node a copy of the primary and its replica.
Result<void> Cluster::remake(Node& node) {
  const bool known = node.server.exists();
  std::optional<std::filesystem::path> aside;
  if (known && node.remake == Remake::keeping_old) {
    aside = fmt::format("{}.outdated-{:%Y%m%dT%H%M%SZ}", node.server.data().native(), fmt::gmtime(std::time(nullptr)));
    std::error_code unknown;
    while (std::filesystem::exists(*aside, unknown)) *aside += "x";
  }
  // The slot may be gone, and must be there before the copy ends.
  if (auto prepared = prepare_primary(); !prepared) return prepared;
  if (auto copied = node.server.copy(primary().port(), aside, options_.interrupted); !copied) return copied;
  node.remake = Remake::no;
  const auto what = fmt::format("PostgreSQL ({}) was made{} as a copy of {}.", node.server.name(), known ? " anew" : "",
                                primary().name());
  news_.push_back(aside ? fmt::format("{} Its old data, which may hold what was never replicated, are kept in {}.",
                                      what, aside->native())
                        : what);
  return {};
}

Result<void> Cluster::launch_replica(Node& node) {
  if (node.remake != Remake::no) {
    if (auto made = remake(node); !made) return made;
  }
  if (auto done = node.server.follow(primary().port(), options_.interrupted); !done) return done;
  for (int attempt = 1;; ++attempt) {
    const auto port = choose_port(node.server, attempt == 1);
    if (!port) return fail(port.error());
    auto launched = node.server.launch(*port, options_.interrupted);
    if (launched) return remember_port(node.server);
    if (launched.error().code != Code::conflict || port_is_free(*port) || attempt == start_attempts) return launched;
  }
}

// Whether WAL of the primary's timeline arrives. A replica may be connected before it finds out that it cannot follow
// through a change of timelines.
Result<bool> Cluster::follows(const Node& node, const std::string& timeline) const {
  const auto answer = node.server.query(
      "postgres",
      "SELECT lpad(upper(to_hex(received_tli)), 8, '0') FROM pg_stat_wal_receiver WHERE status = 'streaming';",
      options_.interrupted);
  if (!answer) return fail(answer.error());
  return *answer == timeline;
}

Result<void> Cluster::start_replicas() {
  struct Starting {
    Node* node;
    int attempts = 1;
  };
  std::vector<Starting> waiting;
  for (auto& node : nodes_) {
    if (is_primary(node)) continue;
    if (auto launched = launch_replica(node); !launched) return launched;
    waiting.push_back({.node = &node});
  }
  if (waiting.empty()) return {};
  const auto timeline =
      primary().query("postgres", "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8);", options_.interrupted);
  if (!timeline) return fail(timeline.error());

  const auto deadline = Clock::now() + follow_patience;
  while (!waiting.empty() && Clock::now() < deadline) {
    if (options_.interrupted && options_.interrupted()) return fail(Code::unavailable, "Interrupted.");
    std::this_thread::sleep_for(10ms);
    for (std::size_t i = 0; i < waiting.size();) {
      auto& node = *waiting[i].node;
      const auto ready = node.server.poll();
      const auto lost = node.server.lost_track();
      if (!ready || lost) {
        if (++waiting[i].attempts > replica_attempts) {
          return !ready ? Result<void>(fail(ready.error()))
                        : fail(Code::unavailable, fmt::format("PostgreSQL ({}) cannot follow {}: {}.",
                                                              node.server.name(), primary().name(), *lost));
        }
        // The port may have gone to another program between its choice and the start: the copy is not to blame.
        if (ready || ready.error().code != Code::conflict) node.remake = std::max(node.remake, Remake::yes);
        node.server.stop();
        if (auto launched = launch_replica(node); !launched) return launched;
      } else if (*ready) {
        const bool promoted = node.server.promoted();  // so early: watch() will see to it
        const auto following = follows(node, *timeline);
        if (promoted || (following && *following)) {
          waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
          continue;
        }
      }
      ++i;
    }
  }
  for (const auto& [node, attempts] : waiting) {
    node->announced = node->server.ready();
    news_.push_back(fmt::format("PostgreSQL ({}) does not follow {} yet: DIR/log/{}.log says what it does.",
                                node->server.name(), primary().name(), node->server.name()));
  }
  return {};
}

void Cluster::stop() {
  if (nodes_.empty()) return;
  nodes_[primary_].server.stop();
  for (auto& node : nodes_) node.server.begin_stop();
  for (auto& node : nodes_) node.server.stop();
  nodes_.clear();
}

std::string Cluster::socket_url_of(const Postgres& server, std::string_view role) const {
  return fmt::format("postgresql://{}@/cognive?host={}&port={}", role, url_encoded(directory_->sockets().native()),
                     server.port());
}

std::string Cluster::tcp_url_of(const Postgres& server) const {
  return fmt::format("postgresql://cognive:{}@127.0.0.1:{}/cognive", url_encoded(password_), server.port());
}

std::vector<std::string> Cluster::replica_socket_urls() const {
  std::vector<std::string> out;
  for (const auto& node : nodes_) {
    if (!is_primary(node) && node.server.running()) out.push_back(socket_url_of(node.server, "cognive"));
  }
  return out;
}

std::vector<std::string> Cluster::replica_tcp_urls() const {
  std::vector<std::string> out;
  for (const auto& node : nodes_) {
    if (!is_primary(node) && node.server.running()) out.push_back(tcp_url_of(node.server));
  }
  return out;
}

std::vector<Cluster::NodeStatus> Cluster::nodes() const {
  std::vector<NodeStatus> out;
  out.reserve(nodes_.size());
  for (const auto& node : nodes_) {
    out.push_back({.name = node.server.name(),
                   .port = node.server.port(),
                   .pid = node.server.pid(),
                   .is_primary = is_primary(node)});
  }
  return out;
}

}  // namespace cognive::embedded
