// What the API costs beside a web server that does nothing else: liveness, an agent read from the cache of the process
// and a run read from PostgreSQL, each beside nginx giving out a file of as many bytes, in turns.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "embedded/port.hpp"
#include "embedded/process.hpp"
#include "ingest/ask.hpp"
#include "ingest/http_client.hpp"
#include "json/writer.hpp"
#include "turns.hpp"

namespace cognive::bench {
namespace {

constexpr std::size_t connections = 64;
constexpr std::string_view nginx_program = "/usr/sbin/nginx";

struct Flags : TurnFlags {
  bool json = false;
};

// The same request again and again on every connection, until the time is over; what is answered in it is counted.
class Repeated final : public Traffic {
 public:
  Repeated(std::string request, std::chrono::milliseconds duration)
      : request_(std::move(request)), begin_(Clock::now() + warm_up), end_(begin_ + duration) {}

  bool next(std::size_t, std::string& out) override {
    if (Clock::now() >= end_) return false;
    out += request_;
    return true;
  }
  void answered(std::size_t, const Answer& answer) override {
    if (answer.status != 200) throw std::runtime_error(fmt::format("{} {}", answer.status, answer.body));
    if (answer.end >= begin_ && answer.end < end_) ++count_;
    bytes_ = answer.body.size();
  }

  [[nodiscard]] double per_second() const {
    return static_cast<double>(count_) / std::chrono::duration<double>(end_ - begin_).count();
  }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::chrono::milliseconds warm_up{500};

  std::string request_;
  Clock::time_point begin_;
  Clock::time_point end_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

// One worker process, as the server under test has one I/O thread; files of the sizes that are wanted.
class Nginx {
 public:
  explicit Nginx(const std::vector<std::size_t>& sizes)
      : directory_(std::filesystem::temp_directory_path() / ("cognive-bench-nginx-" + random_token(8))) {
    if (!std::filesystem::exists(nginx_program))
      throw std::runtime_error("there is no nginx to compare with: apt-get install nginx-light");
    std::filesystem::create_directories(directory_ / "files");
    for (const auto size : sizes) std::ofstream(directory_ / "files" / std::to_string(size)) << std::string(size, 'x');
    const auto port = embedded::free_port();
    if (!port) throw std::runtime_error(port.error().detail);
    address_ = {.host = "127.0.0.1", .port = *port};
    std::ofstream(directory_ / "nginx.conf") << fmt::format(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {0}/pid;\nerror_log stderr error;\n"
        "events {{ worker_connections 1024; }}\nhttp {{\n  access_log off;\n  keepalive_requests 1000000000;\n"
        "  open_file_cache max=100;\n  sendfile on;\n  tcp_nopush on;\n  default_type application/json;\n"
        "  client_body_temp_path {0}/t1;\n  proxy_temp_path {0}/t2;\n  fastcgi_temp_path {0}/t3;\n"
        "  uwsgi_temp_path {0}/t4;\n  scgi_temp_path {0}/t5;\n"
        "  server {{ listen 127.0.0.1:{1}; root {0}/files; }}\n}}\n",
        directory_.native(), address_.port);
    const auto identity = embedded::Identity::current();
    if (!identity) throw std::runtime_error(identity.error().detail);
    const embedded::Command command{.argv = {std::string(nginx_program), "-c", (directory_ / "nginx.conf").native()},
                                    .identity = *identity};
    auto child = embedded::Child::start(command, directory_ / "log", SIGTERM);
    if (!child) throw std::runtime_error(child.error().detail);
    child_ = std::move(*child);
    std::this_thread::sleep_for(std::chrono::milliseconds{500});
    if (child_->poll_exit()) throw std::runtime_error("nginx has ended: see " + (directory_ / "log").native());
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx() {
    child_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  [[nodiscard]] const Address& address() const { return address_; }

 private:
  std::filesystem::path directory_;
  Address address_;
  std::unique_ptr<embedded::Child> child_;
};

struct Subject {
  std::string_view name;
  std::string path;
  double goal;
  std::size_t bytes = 0;
  std::vector<double> ours{};
  std::vector<double> nginx{};
  std::vector<double> ratios{};
};

std::string get(const Target& target, const std::string& path) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\n\r\n", path, target.address.host, target.api_key);
}

Repeated measured(const Address& address, std::string request, std::chrono::milliseconds duration) {
  Repeated traffic(std::move(request), duration);
  drive(address, {.connections = connections}, traffic);
  return traffic;
}

double median_of(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string json_of(const std::vector<Subject>& subjects) {
  json::Writer out;
  out.begin_array();
  for (const auto& one : subjects) {
    out.begin_object();
    out.field("name", one.name);
    out.key("bytes");
    out.integer(static_cast<std::int64_t>(one.bytes));
    for (const auto& [name, value] : {std::pair("requests_per_second", median_of(one.ours)),
                                      {"nginx_requests_per_second", median_of(one.nginx)},
                                      {"ratio", median_of(one.ratios)},
                                      {"goal", one.goal}}) {
      out.key(name);
      out.real(value);
    }
    out.end_object();
  }
  out.end_array();
  return std::move(out).text();
}

int measure(const Flags& flags) {
  ServerProcess server(flags.server);
  const auto& target = server.target();
  const auto agent = target.agent_ids.front();
  const auto run =
      text_of(ask(target, "POST", "/api/v1/runs/start", fmt::format(R"({{"agent_id":"{}"}})", agent)), "run_id");
  std::vector<Subject> subjects{{.name = "liveness", .path = "/api/v1/health/liveness", .goal = 0.9},
                                {.name = "agent from the cache", .path = "/api/v1/agents/" + agent, .goal = 0.8},
                                {.name = "run from PostgreSQL", .path = "/api/v1/runs/" + run, .goal = 0.5}};
  std::vector<std::size_t> sizes;
  for (auto& one : subjects) {
    one.bytes = ask(target, "GET", one.path).size();
    sizes.push_back(one.bytes);
  }
  const Nginx nginx(sizes);
  for (int round = 1; round <= flags.rounds; ++round) {
    for (auto& one : subjects) {
      const auto file = fmt::format("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", one.bytes, target.address.host);
      const auto theirs = measured(nginx.address(), file, flags.duration);
      const auto ours = measured(target.address, get(target, one.path), flags.duration);
      if (theirs.bytes() != ours.bytes()) throw std::runtime_error("the bodies differ in length");
      one.nginx.push_back(theirs.per_second());
      one.ours.push_back(ours.per_second());
      one.ratios.push_back(one.ours.back() / one.nginx.back());
      std::fprintf(stderr, "round %d of %d: %-20s %8.0f/s beside %8.0f/s of nginx: %.2f\n", round, flags.rounds,
                   std::string(one.name).c_str(), one.ours.back(), one.nginx.back(), one.ratios.back());
    }
  }
  if (flags.json) {
    std::printf("%s\n", json_of(subjects).c_str());
    return 0;
  }
  std::printf("| read | bytes | requests/s | nginx | ratio | goal |\n|---|---|---|---|---|---|\n");
  for (const auto& one : subjects)
    std::printf("| %s | %zu | %.0f | %.0f | %.2f | %.1f |\n", std::string(one.name).c_str(), one.bytes,
                median_of(one.ours), median_of(one.nginx), median_of(one.ratios), one.goal);
  return 0;
}

}  // namespace
}  // namespace cognive::bench

int main(int argc, char** argv) {
  using namespace cognive::bench;  // NOLINT(google-build-using-namespace)
  Flags flags;
  CLI::App app(
      "What reads over HTTP cost beside nginx (nginx-light), which gives out files of as many bytes, in turns: 64\n"
      "connections, one I/O thread here, one worker process there.\n\n"
      "Starts `cognive up` on a data directory of its own. Progress is on stderr. Let nothing else run on the "
      "machine.");
  app.add_flag("--json", flags.json, "Print everything as JSON");
  return run_in_turns(app, flags, argc, argv, [&] { return measure(flags); });
}
