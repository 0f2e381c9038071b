#include "embedded/cluster.hpp"

#include <fmt/format.h>

#include <charconv>
#include <ranges>
#include <system_error>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "embedded/port.hpp"
#include "embedded/settings.hpp"

namespace cognive::embedded {
namespace {

constexpr const char* password_file = "postgres/password";
constexpr std::size_t password_length = 32;  // 190 bits

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

}  // namespace

Result<Cluster> Cluster::start(const DataDirectory& directory, Options options) {
  const auto made_by = data_version(directory.postgres() / "primary");
  if (!made_by) return fail(made_by.error());
  auto binaries = find_binaries(directory.database_user(), made_by->value_or(postgres_major));
  if (!binaries) return fail(binaries.error());

  const auto known = directory.read_private(password_file);
  if (!known) return fail(known.error());
  const bool is_new = !*known || trim(**known).empty();
  const std::string password = is_new ? random_token(password_length) : std::string(trim(**known));

  Cluster cluster(directory, std::move(options), password);
  Postgres primary(directory, std::move(*binaries), "primary");
  // The password is set before it is stored, so that what is stored always works.
  if (!primary.exists()) {
    if (auto made = primary.create(password, cluster.options_.interrupted); !made) return fail(made.error());
  } else if (is_new) {
    if (auto set = primary.set_password(password, cluster.options_.interrupted); !set) return fail(set.error());
  }
  if (is_new) {
    if (auto stored = directory.write_private(password_file, password + "\n"); !stored) return fail(stored.error());
  }
  if (auto started = cluster.start_node(primary, cluster.options_.port); !started) return fail(started.error());
  cluster.nodes_.push_back(Node{.server = std::move(primary)});
  return cluster;
}

Result<void> Cluster::start_node(Postgres& server, std::optional<std::uint16_t> fixed_port) {
  constexpr int attempts = 5;
  for (int attempt = 1;; ++attempt) {
    auto port = fixed_port;
    if (!port && attempt == 1) port = last_port(*directory_, server);
    if (!port) {
      const auto free = free_port();
      if (!free) return fail(free.error());
      port = *free;
    }
    auto started = server.start(*port, options_.interrupted);
    if (started) return directory_->write_private(port_file(server), fmt::format("{}\n", *port));
    // The last port may have gone to somebody else, and a free one can go between the choice and the start.
    const bool taken = !fixed_port && started.error().code == Code::conflict && !port_is_free(*port);
    if (!taken || attempt == attempts) return started;
  }
}

Result<std::vector<std::string>> Cluster::watch() {
  std::vector<std::string> news;
  const auto now = Clock::now();
  for (auto& node : nodes_) {
    Result<bool> ready = false;
    if (!node.restart_at) {
      ready = node.server.poll();
    } else if (now < *node.restart_at) {
      continue;
    } else {
      node.restart_at.reset();
      const auto launched = node.server.launch(node.server.port(), options_.interrupted);
      if (!launched) ready = fail(launched.error());
    }
    if (!ready) {
      node.announced = false;
      const auto delay = node.policy.died(now);
      if (!delay) {
        return fail(ready.error().code, fmt::format("{} It was restarted {} times within a minute; giving up.",
                                                    ready.error().detail, RestartPolicy::deaths_max - 1));
      }
      node.restart_at = now + *delay;
      news.push_back(fmt::format("{} It is started again in {} s.", ready.error().detail, delay->count()));
    } else if (*ready && !node.announced) {
      node.announced = true;
      news.push_back(fmt::format("PostgreSQL ({}) is ready again.", node.server.name()));
    }
  }
  return news;
}

void Cluster::stop() {
  for (auto& node : std::views::reverse(nodes_)) node.server.stop();
  nodes_.clear();
}

std::string Cluster::socket_url_of(std::string_view role) const {
  return fmt::format("postgresql://{}@/cognive?host={}&port={}", role, url_encoded(directory_->sockets().native()),
                     primary().port());
}

std::string Cluster::socket_url() const {
  return socket_url_of("cognive");
}

std::string Cluster::superuser_url() const {
  return socket_url_of("postgres");
}

std::string Cluster::tcp_url() const {
  return fmt::format("postgresql://cognive:{}@127.0.0.1:{}/cognive", url_encoded(password_), primary().port());
}

}  // namespace cognive::embedded
