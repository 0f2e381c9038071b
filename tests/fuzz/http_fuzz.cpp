// Feeds rubbish to a server, byte for byte as a client might send it. What comes back, if anything, is HTTP, and the
// connection ends: nothing hangs.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "http/server.hpp"
#include "runtime/threads.hpp"

namespace {

using namespace cognive;

void expect(bool holds, std::string_view what, std::string_view detail = "") {
  if (holds) return;
  std::fprintf(stderr, "%.*s: %s\n%.*s\n", static_cast<int>(what.size()), what.data(), std::strerror(errno),
               static_cast<int>(detail.size()), detail.data());
  __builtin_trap();
}

struct Thing {
  std::string name;
  std::int64_t count = 1;

  static constexpr std::string_view schema_name = "Thing";
  static constexpr auto fields() {
    return json::fields(json::field("name", &Thing::name, "", {.max_length = 64}),
                        json::field("count", &Thing::count, "", {.min = 0, .max = 9, .optional = true}));
  }
};

struct ThingPath {
  Uuid id;
  std::optional<std::vector<std::string>> tags;

  static constexpr auto fields() {
    return json::fields(json::field("id", &ThingPath::id, ""), json::field("tags", &ThingPath::tags, ""));
  }
};

Async<Result<Thing>> echo(Thing thing) {
  co_return thing;
}

struct NoRefusals final : http::Refusals {
  void note(http::Refusal) override {}
};

struct World {
  World() {
    router.add({.method = "POST",
                .path = "/things/{id}",
                .id = "thing_put",
                .tag = "t",
                .summary = "s",
                .permission = http::open_to_all},
               [](const Call&, ThingPath, Thing body) { return echo(std::move(body)); });
    router.add({.method = "GET",
                .path = "/things/{id}",
                .id = "thing_get",
                .tag = "t",
                .summary = "s",
                .permission = http::open_to_all},
               [](const Call&, ThingPath, http::NoInput) { return echo({.name = "x"}); });
    threads.run_on(0, [this]() -> Async<> {
      server = std::make_unique<http::Server>(threads.executor(0), options(), router, metrics);
      port = server->listen().value();
      co_return;
    });
  }

  static http::ServerOptions options() {
    return {.body_bytes_max = 4096,
            .header_bytes_max = 4096,
            .trusted_proxies = parse_networks("127.0.0.0/8").value(),
            .request_timeout = std::chrono::milliseconds{1'000},
            .idle_timeout = std::chrono::milliseconds{1'000}};
  }

  IoThreads threads{1};
  Metrics metrics;
  http::RecentWrites recent_writes{std::chrono::milliseconds{1'000}};
  http::Limits limits{1'000'000, 1'000'000};
  http::Cors cors{{"https://console.example.com"}};
  NoRefusals refusals;
  http::Router router{{.gate = nullptr,
                       .recent_writes = recent_writes,
                       .metrics = metrics,
                       .limits = limits,
                       .refusals = refusals,
                       .cors = cors}};
  std::unique_ptr<http::Server> server;
  std::uint16_t port = 0;
};

// Calls again what a signal ended: the fuzzer has an alarm clock.
template <typename SystemCall>
auto uninterrupted(const SystemCall& call) {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

// All that the server answers until it ends the connection.
std::string exchange(std::uint16_t port, std::string_view sent) {
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{.tv_sec = 10, .tv_usec = 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  // No TIME_WAIT: thousands of connections a second would use up the ports.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  sockaddr generic{};
  std::memcpy(&generic, &address, sizeof address);
  expect(uninterrupted([&] { return connect(client, &generic, sizeof address); }) == 0, "no connection");
  while (!sent.empty()) {
    const auto count = uninterrupted([&] { return send(client, sent.data(), sent.size(), MSG_NOSIGNAL); });
    if (count <= 0) break;  // it has had enough
    sent.remove_prefix(static_cast<std::size_t>(count));
  }
  shutdown(client, SHUT_WR);
  std::string out;
  std::array<char, 4096> buffer{};
  for (;;) {
    const auto count = uninterrupted([&] { return recv(client, buffer.data(), buffer.size(), 0); });
    expect(count >= 0 || errno == ECONNRESET, "the connection does not end; so far it answered", out);
    if (count <= 0) break;
    out.append(buffer.data(), static_cast<std::size_t>(count));
  }
  close(client);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World& world = *new World;
  const auto answer = exchange(world.port, {reinterpret_cast<const char*>(data), size});
  expect(answer.empty() || answer.starts_with("HTTP/1.1 "), "no HTTP", answer);
  expect(answer.find(" 500 ") != 8, "a fault of the server", answer);
  return 0;
}
