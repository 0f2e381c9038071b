#include "ingest/processes.hpp"

#include <signal.h>
#include <unistd.h>

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "client/api.hpp"
#include "ingest/interruption.hpp"

namespace cognive::bench {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds start_patience{120};

std::string content_of(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The value of `export NAME='value'`. No value that is asked for here has a quote inside.
std::string exported(const std::string& text, std::string_view name) {
  const auto mark = fmt::format("export {}='", name);
  const auto at = text.find(mark);
  if (at == std::string::npos) return "";
  const auto begin = at + mark.size();
  return text.substr(begin, text.find('\'', begin) - begin);
}

// Of /proc/PID/stat, from the third field on: the second is a name with anything in it.
struct Stat {
  pid_t parent = 0;
  double own = 0;       // seconds
  double children = 0;  // seconds of children that ended and were waited for
};

std::optional<Stat> stat_of(pid_t pid) {
  static const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto text = content_of(fmt::format("/proc/{}/stat", pid));
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  char state = 0;
  int parent = 0;
  unsigned long user = 0;
  unsigned long system = 0;
  long children_user = 0;
  long children_system = 0;
  const int fields =
      std::sscanf(text.c_str() + name_end + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &state,
                  &parent, &user, &system, &children_user, &children_system);
  if (fields != 6) return std::nullopt;
  return Stat{.parent = parent,
              .own = static_cast<double>(user + system) / ticks,
              .children = static_cast<double>(children_user + children_system) / ticks};
}

// Seconds in which the machine's processors were not idle since it started, also those that a hypervisor took away.
double busy_seconds() {
  static const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  const auto text = content_of("/proc/stat");
  std::array<unsigned long, 8> spent{};
  auto& [user, nice, system, idle, io_wait, interrupts, soft_interrupts, stolen] = spent;
  if (std::sscanf(text.c_str(), "cpu %lu %lu %lu %lu %lu %lu %lu %lu", &user, &nice, &system, &idle, &io_wait,
                  &interrupts, &soft_interrupts, &stolen) != static_cast<int>(spent.size()))
    return 0;
  return static_cast<double>(user + nice + system + interrupts + soft_interrupts + stolen) / ticks;
}

// "backend 4711" or the name of an auxiliary process, from a title such as "postgres: cluster: walwriter".
std::string part_name(pid_t pid) {
  auto title = content_of(fmt::format("/proc/{}/cmdline", pid));
  for (auto& c : title) {
    if (c == '\0') c = ' ';
  }
  for (const std::string_view known : {"checkpointer", "background writer", "walwriter", "autovacuum launcher",
                                       "autovacuum worker", "logical replication launcher", "walsender", "startup"}) {
    if (title.find(known) != std::string::npos) return std::string(known);
  }
  return fmt::format("backend {}", pid);
}

}  // namespace

ServerProcess::ServerProcess(const ServerOptions& options) : budgets_(options.budgets) {
  static int number = 0;
  const auto name = fmt::format("cognive-bench-{}-{}", ::getpid(), ++number);
  data_.path = options.directory / name;
  log_.path = options.directory / (name + ".log");
  const auto identity = embedded::Identity::current();
  if (!identity) throw std::runtime_error(identity.error().detail);
  const embedded::Command command{
      .argv = {fs::absolute(options.binary).native(), "up", "--data", data_.path.native(), "--port", "0"},
      .identity = *identity,
      .environment = options.environment};
  auto child = embedded::Child::start(command, log_.path, SIGTERM);
  if (!child) throw std::runtime_error(child.error().detail);
  child_ = std::move(*child);
  wait_until_ready();
}

ServerProcess::Removed::~Removed() {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

// The file of the environment is the last that a start writes, and the API listens by then.
void ServerProcess::wait_until_ready() {
  const auto deadline = Clock::now() + start_patience;
  while (true) {
    throw_if_interrupted();
    const auto text = content_of(data_.path / "env");
    url_ = exported(text, "COGNIVE_URL");
    target_.api_key = exported(text, "COGNIVE_API_KEY");
    database_url_ = exported(text, "DATABASE_URL");
    if (!url_.empty() && !target_.api_key.empty()) break;
    if (child_->poll_exit() || Clock::now() > deadline)
      throw std::runtime_error("the server did not start:\n" + end_of_log());
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
  }
  const auto host = url_.find("//") + 2;
  const auto colon = url_.rfind(':');
  target_.address = {.host = url_.substr(host, colon - host),
                     .port = static_cast<std::uint16_t>(std::stoi(url_.substr(colon + 1)))};
}

std::string ServerProcess::end_of_log() const {
  constexpr std::size_t shown = 4'000;
  const auto text = content_of(log_.path);
  return text.size() <= shown ? text : text.substr(text.size() - shown);
}

const Target& ServerProcess::target() {
  if (!target_.agent_ids.empty()) return target_;
  client::ApiClient api({.base_url = url_, .api_key = target_.api_key, .api_key_source = "the data directory"});
  for (std::size_t i = 0; i < agent_count; ++i) {
    const auto agent = api.agent_put({.name = fmt::format("bench-{}", i), .environment = "bench"});
    if (!agent) throw std::runtime_error("an agent was not registered: " + agent.error().detail);
    target_.agent_ids.push_back(agent->id.text());
  }
  constexpr std::array limits{"limit_usd", "limit_tokens", "limit_requests"};
  for (std::size_t i = 0; i < budgets_; ++i) {
    const auto made = api.post(
        "/api/v1/budgets",
        fmt::format(R"({{"scope":"organisation","window":"day","{}":1000000000}})", limits[i % limits.size()]));
    if (!made) throw std::runtime_error("a budget was not made: " + made.error().detail);
  }
  return target_;
}

CpuTimes cpu_times(pid_t server, pid_t postmaster) {
  CpuTimes out;
  out.server = stat_of(server).value_or(Stat{}).own;
  out.generator = stat_of(::getpid()).value_or(Stat{}).own;
  const auto first = stat_of(postmaster).value_or(Stat{});
  out.postgres = first.own + first.children;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (pid <= 0) continue;
    const auto stat = stat_of(pid);
    if (!stat || stat->parent != postmaster) continue;
    out.postgres += stat->own;
    out.postgres_parts[part_name(pid)] += stat->own;
  }
  out.others = busy_seconds() - out.server - out.postgres - out.generator;
  return out;
}

CpuTimes cpu_shares(const CpuTimes& before, const CpuTimes& after, double seconds) {
  CpuTimes out{.server = (after.server - before.server) / seconds,
               .postgres = (after.postgres - before.postgres) / seconds,
               .generator = (after.generator - before.generator) / seconds,
               .others = std::max(0.0, (after.others - before.others) / seconds)};
  for (const auto& [name, time] : after.postgres_parts) {
    const auto earlier = before.postgres_parts.find(name);
    const auto share = (time - (earlier == before.postgres_parts.end() ? 0 : earlier->second)) / seconds;
    constexpr double worth_mentioning = 0.005;
    if (share >= worth_mentioning) out.postgres_parts[name] = share;
  }
  return out;
}

pid_t parent_of(pid_t pid) {
  const auto stat = stat_of(pid);
  if (!stat) throw std::runtime_error(fmt::format("process {} is not on this machine", pid));
  return stat->parent;
}

Memory memory_of(pid_t pid) {
  const auto text = content_of(fmt::format("/proc/{}/status", pid));
  const auto megabytes = [&](std::string_view name) {
    constexpr double bytes_per_kib = 1'024;
    const auto at = text.find(name);
    return at == std::string::npos ? 0 : std::atof(text.c_str() + at + name.size()) * bytes_per_kib / 1e6;
  };
  return {.resident_mb = megabytes("VmRSS:"), .highest_mb = megabytes("VmHWM:")};
}

}  // namespace cognive::bench
