// The part of Cluster that watches: restarts what died, and follows a promotion.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "embedded/cluster.hpp"
#include "embedded/control_data.hpp"

namespace cognive::embedded {
using namespace std::chrono_literals;

namespace {

constexpr auto settle_pause = 2s;  // between attempts
constexpr auto primary_pause = 1s;

}  // namespace

Result<std::vector<std::string>> Cluster::watch() {
  notice_promotion();
  settle();
  for (auto& node : nodes_) {
    if (auto watched = watch_node(node); !watched) return fail(watched.error());
  }
  return std::exchange(news_, {});
}

void Cluster::notice_promotion() {
  std::optional<std::size_t> best;
  std::uint32_t highest = 0;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const auto& server = nodes_[i].server;
    if (i == primary_ || !server.promoted()) continue;
    // When it cannot be read, it is still certain that this one was promoted.
    const auto control = read_control_data(server.data(), server.binaries(), directory_->database_user());
    const auto timeline = control ? control->timeline : 1;
    if (timeline <= highest) continue;
    highest = timeline;
    best = i;
  }
  if (!best) return;

  const auto before = std::exchange(primary_, *best);
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    auto& node = nodes_[i];
    if (i == *best || (i != before && !node.server.promoted())) continue;
    // Immediately, because the last WAL that a fast shutdown sends would lead the other replicas away from the new
    // primary.
    node.server.fence();
    node.remake = Remake::keeping_old;
    node.restart_at = Clock::now();
    node.announced = false;
    node.given_up = false;
  }
  settled_ = false;
  settle_at_ = Clock::now();
  news_.push_back(fmt::format("PostgreSQL ({}) was promoted: it is the primary now, and {} becomes its replica.",
                              primary().name(), nodes_[before].server.name()));
}

void Cluster::settle() {
  if (settled_ || Clock::now() < settle_at_) return;
  const auto exchange = [&]() -> Result<void> {
    // The slots first, so that nobody asks for one that is not there.
    if (auto prepared = prepare_primary(); !prepared) return prepared;
    for (auto& node : nodes_) {
      std::optional<std::uint16_t> upstream = primary().port();
      if (is_primary(node)) upstream.reset();
      if (auto done = node.server.follow(upstream, options_.interrupted); !done) return done;
    }
    return {};
  };
  if (const auto done = exchange(); !done) {
    settle_at_ = Clock::now() + settle_pause;
    news_.push_back(fmt::format("The replicas do not follow {} yet: {}", primary().name(), done.error().detail));
    return;
  }
  settled_ = true;
}

// A launch, if it is time for one. Whether the server is ready.
Result<bool> Cluster::restart(Node& node) {
  if (!is_primary(node)) {
    if (node.remake != Remake::no) {
      if (!primary().ready() || !primary().running() || !settled_) {
        node.restart_at = Clock::now() + primary_pause;
        return false;
      }
      if (auto made = remake(node); !made) return fail(made.error());
    }
    if (auto done = node.server.follow(primary().port(), options_.interrupted); !done) return fail(done.error());
  }
  if (auto launched = node.server.launch(node.server.port(), options_.interrupted); !launched) {
    return fail(launched.error());
  }
  return false;
}

Result<bool> Cluster::poll_or_restart(Node& node) {
  if (node.restart_at) {
    if (Clock::now() < *node.restart_at) return false;
    node.restart_at.reset();
    return restart(node);
  }
  auto ready = node.server.poll();
  if (is_primary(node)) return ready;
  if (!ready) {
    // Its data do not get it to its feet, and the primary has them all.
    const bool while_starting = !node.server.ready() && ready.error().code != Code::conflict;
    if (while_starting) node.remake = std::max(node.remake, Remake::yes);
  } else if (const auto lost = node.server.lost_track()) {
    node.server.stop();
    node.remake = std::max(node.remake, Remake::yes);
    return fail(Code::unavailable,
                fmt::format("PostgreSQL ({}) cannot follow {}: {}.", node.server.name(), primary().name(), *lost));
  }
  return ready;
}

Result<void> Cluster::watch_node(Node& node) {
  if (node.given_up) return {};
  const auto ready = poll_or_restart(node);
  if (ready) {
    if (*ready && !node.announced) {
      node.announced = true;
      news_.push_back(fmt::format("PostgreSQL ({}) is ready again.", node.server.name()));
    }
    return {};
  }
  if (options_.interrupted && options_.interrupted()) return {};  // the end of everything, not of this server
  node.announced = false;
  const auto now = Clock::now();
  if (const auto delay = node.policy.died(now)) {
    node.restart_at = now + *delay;
    const auto* what = node.remake == Remake::no ? "started again" : "made anew";
    news_.push_back(fmt::format("{} It is {} in {} s.", ready.error().detail, what, delay->count()));
    return {};
  }
  if (is_primary(node)) {
    return fail(ready.error().code, fmt::format("{} It was restarted {} times within a minute; giving up.",
                                                ready.error().detail, RestartPolicy::deaths_max - 1));
  }
  node.given_up = true;
  node.server.stop();
  news_.push_back(fmt::format("{} It was restarted {} times within a minute and is left alone until the next start.",
                              ready.error().detail, RestartPolicy::deaths_max - 1));
  return {};
}

}  // namespace cognive::embedded
