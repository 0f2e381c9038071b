#include "stream/stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "identity/permissions.hpp"
#include "observe/log.hpp"
#include "stream/store.hpp"

namespace cognive::stream {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds poll_interval{250};
constexpr milliseconds poll_patience{5'000};
constexpr milliseconds heartbeat_interval{15'000};
constexpr milliseconds ask_interval{1'000};  // whether a listener still may
constexpr milliseconds settle_patience{1'000};
constexpr milliseconds settle_interval{20};
constexpr std::chrono::minutes extend_interval{1};
constexpr std::size_t listeners_max = 1'000;  // of a thread
constexpr std::size_t recent_max = 10'000;
constexpr std::size_t told_together_max = 500;

void append_event(std::string& out, const Message& message) {
  fmt::format_to(std::back_inserter(out), "id: {}\nevent: {}\ndata: {}\n\n", message.position.text(), message.type,
                 message.payload);
}

}  // namespace

std::string Position::text() const {
  return fmt::format("{}-{}", transaction, sequence);
}

std::optional<Position> Position::parse(std::string_view text) {
  Position out;
  const auto* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, out.transaction);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, out.sequence);
  if (second.ec != std::errc() || second.ptr != end || out.transaction < 0 || out.sequence < 0) return std::nullopt;
  return out;
}

struct Hub::State {
  State(const Executor& executor, pg::Cluster& cluster) : database(cluster), news(executor), first(executor) {}

  pg::Cluster& database;
  Signal news;   // for listeners
  Signal first;  // somebody listens
  std::size_t listeners = 0;
  bool is_reading = false;
  bool is_stopping = false;
  // All after `begin` and up to `end` that there was.
  Position begin;
  Position end;
  std::deque<Message> recent;
  // Another one whenever transactions are counted anew: another server has become the primary, or was restored.
  std::int64_t generation = 0;
  std::int64_t horizon = 0;

  // Rows are written from now on; where they begin.
  Async<Position> turn_on(const Call& call) {
    co_await database.primary().write(sql::turn_on(), {}, call);
    auto position = co_await sql::note_beginning(database, call);
    // Who began before and saw that nobody listened leaves no row: what is read after the answer must not miss it.
    for (const auto settled = Deadline::in(settle_patience); !settled.passed();) {
      if (co_await sql::horizon(database, call.deadline) >= position.transaction) break;
      co_await sleep_for(settle_interval);
    }
    co_return position;
  }

  Async<> read(Deadline deadline) {
    auto page = co_await sql::after(database, end, deadline);
    if (page.horizon < horizon) {
      ++generation;
      recent.clear();
      begin = Position{.transaction = page.horizon, .sequence = 0};
      end = begin;
      horizon = page.horizon;
      co_return news.notify_all();
    }
    horizon = page.horizon;
    for (auto& message : page.messages) recent.push_back(std::move(message));
    end = std::max(end, page.end);
    for (; recent.size() > recent_max; recent.pop_front()) begin = recent.front().position;
    if (!page.messages.empty()) news.notify_all();
  }
};

Hub::Hub(const Executor& executor, pg::Cluster& database) : state_(std::make_shared<State>(executor, database)) {}

Hub::~Hub() = default;

Async<Result<std::shared_ptr<Listener>>> Hub::listen(const Call& call, std::optional<Position> after, Wishes wishes) {
  const auto state = state_;
  if (state->listeners >= listeners_max || state->is_stopping)
    co_return fail(Code::unavailable, "Too many listen here at this moment.");
  const auto now = co_await state->turn_on(call);
  if (!state->is_reading) {
    state->is_reading = true;
    state->horizon = 0;
    state->begin = now;
    state->end = now;
    state->recent.clear();
  }
  // Behind what is kept, or ahead of what there is: then transactions have been counted anew since.
  const bool has_missed =
      after && (*after > now || after->transaction < co_await sql::oldest(state->database, call.deadline));
  auto listener = std::make_shared<Listener>(state, after && !has_missed ? *after : now, has_missed, std::move(wishes));
  state->first.notify_all();
  co_return listener;
}

Async<> Hub::run() {
  const auto state = state_;
  Deadline extended = Deadline::in(milliseconds{0});
  for (;;) {
    if (state->listeners == 0) {
      state->is_reading = false;
      extended = Deadline::in(extend_interval);
      co_await state->first.wait(Deadline::in(std::chrono::hours{1}));
      continue;
    }
    std::string failure;
    try {
      Call call;
      call.deadline = Deadline::in(poll_patience);
      if (extended.passed()) {
        co_await state->database.primary().write(sql::turn_on(), {}, call);
        extended = Deadline::in(extend_interval);
      }
      co_await state->read(call.deadline);
    } catch (const Unavailable& error) {
      failure = error.what();
    }
    thread_local LogThrottle throttle;
    if (!failure.empty()) {
      if (const auto held_back = throttle.pass())
        log(Level::warning, "the live stream cannot be read", {{"reason", failure}, {"more_before", *held_back}});
    }
    co_await sleep_for(poll_interval);
  }
}

void Hub::stop() {
  state_->is_stopping = true;
  state_->news.notify_all();
}

Listener::Listener(std::shared_ptr<Hub::State> hub, Position position, bool has_missed, Wishes wishes)
    : hub_(std::move(hub)),
      position_(position),
      has_missed_(has_missed),
      generation_(hub_->generation),
      heartbeat_(Deadline::in(heartbeat_interval)),
      wishes_(std::move(wishes)) {
  ++hub_->listeners;
}

Listener::~Listener() {
  --hub_->listeners;
}

bool Listener::wants(const Principal& principal, const Message& message) const {
  const bool is_run = message.type.starts_with("run.");
  const auto topic = is_run ? Topic::run : Topic::alert;
  if (!wishes_.topics.empty() && std::ranges::find(wishes_.topics, topic) == wishes_.topics.end()) return false;
  if (!principal.may(is_run ? identity::permission::runs_read : identity::permission::budgets_read)) return false;
  if (principal.team_id && message.team_id != principal.team_id) return false;
  if (principal.agent_id && message.agent_id != principal.agent_id) return false;
  return !wishes_.agent_id || message.agent_id == wishes_.agent_id;
}

// From the database, what is no longer in memory.
Async<std::string> Listener::catch_up(const Principal& principal) {
  const auto deadline = Deadline::in(poll_patience);
  std::string out;
  if (position_.transaction < co_await sql::oldest(hub_->database, deadline)) {
    has_missed_ = true;
    position_ = hub_->end;
    co_return out;
  }
  const auto page = co_await sql::after(hub_->database, position_, deadline);
  for (const auto& message : page.messages) {
    if (wants(principal, message)) append_event(out, message);
  }
  position_ = std::max(position_, page.end);
  co_return out;
}

Async<std::optional<std::string>> Listener::next(const Principal& principal) {
  // Clients come back by themselves, after two seconds.
  if (!std::exchange(has_begun_, true)) co_return fmt::format("retry: 2000\nid: {}\n\n", position_.text());
  const auto pause = Deadline::in(ask_interval);
  while (!hub_->is_stopping) {
    std::string out;
    if (std::exchange(generation_, hub_->generation) != hub_->generation) {
      has_missed_ = true;
      position_ = hub_->end;
    }
    if (position_ < hub_->begin) {
      out = co_await catch_up(principal);
    } else {
      const auto& recent = hub_->recent;
      auto at = std::ranges::upper_bound(recent, position_, {}, &Message::position);
      for (std::size_t told = 0; at != recent.end() && told < told_together_max; ++at, ++told) {
        if (wants(principal, *at)) append_event(out, *at);
        position_ = at->position;
      }
      if (at == recent.end()) position_ = std::max(position_, hub_->end);
    }
    if (std::exchange(has_missed_, false))
      out =
          fmt::format("id: {}\nevent: reset\ndata: {{\"detail\":\"Something was missed since: read it anew.\"}}\n\n{}",
                      position_.text(), out);
    if (out.empty() && heartbeat_.passed()) out = fmt::format("id: {}\n\n", position_.text());
    if (!out.empty()) heartbeat_ = Deadline::in(heartbeat_interval);
    if (!out.empty() || pause.passed()) co_return out;
    if (position_ < hub_->end) continue;
    co_await hub_->news.wait(pause);
  }
  co_return std::nullopt;
}

Async<> forget_old(pg::Cluster& database, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  constexpr std::int64_t together = 5'000;
  for (std::int64_t last = together; last == together && !deadline.passed();) {
    const auto rows = co_await database.primary().write(sql::forget(), pg::Params::of(together), call);
    last = rows.empty() ? 0 : rows[0].at<std::int64_t>(0);
  }
}

}  // namespace cognive::stream
