#include "budgets/authoriser.hpp"

#include <algorithm>
#include <deque>
#include <mutex>

#include "base/text.hpp"
#include "budgets/reservations.hpp"
#include "budgets/store.hpp"
#include "observe/log.hpp"
#include "pg/transact.hpp"

namespace cognive::budgets {
namespace {

using Batch = std::vector<std::shared_ptr<Waiting>>;
using std::chrono::milliseconds;

constexpr std::size_t waiting_max = 10'000;
constexpr std::size_t batch_max = 1'000;  // beyond it only latency grows
constexpr std::int64_t expired_max = 1'000;
constexpr milliseconds timeout{10'000};
constexpr int roomy_batches_wanted = 10;
constexpr int attempts_max = 10;  // while others change budgets, or windows end

// A reservation among those of its batch.
struct Candidate {
  Waiting* waiting = nullptr;
  Covered covered;
};

enum class Outcome {
  decided,
  outdated,      // a budget has changed, or a window has ended, since the batch was prepared
  expiry_first,  // something did not fit that may fit when what is due has been given back
  not_at_once,   // they must be looked at one by one
};

}  // namespace

std::int64_t Amounts::of(Metric metric, std::int64_t assumed_cost) const {
  switch (metric) {
    case Metric::cost:
      return is_unpriced ? std::max(assumed_cost, cost_nanos) : cost_nanos;
    case Metric::tokens:
      return tokens;
    case Metric::requests:
      return 1;
    case Metric::steps:
    case Metric::tool_calls:
    case Metric::wall_clock:
      return 0;
  }
  return 0;
}

struct Authoriser::State : std::enable_shared_from_this<State> {
  State(Executor own_executor, pg::Cluster& cluster, CurrentCoverage& current, ChargeSets& sets, Metrics& metrics)
      : executor(std::move(own_executor)),
        database(cluster),
        coverage(current),
        charge_sets(sets),
        changed(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        granted(
            metrics.counter("budget_reservations_total", "Reservations that were asked for", {{"verdict", "granted"}})),
        refused(
            metrics.counter("budget_reservations_total", "Reservations that were asked for", {{"verdict", "refused"}})),
        batches(metrics.counter("budget_batches_total", "Transactions in which reservations were decided")) {}

  Executor executor;
  pg::Cluster& database;
  CurrentCoverage& coverage;
  ChargeSets& charge_sets;

  // From any thread.
  std::mutex mutex;
  std::deque<std::shared_ptr<Waiting>> queue;
  bool woken = false;
  std::atomic<bool> stopping = false;

  // Of the authoriser's thread.
  bool is_busy = false;
  // Batches in which everything was granted, since one in which something was not; PostgreSQL logs each that fails.
  int roomy_batches = roomy_batches_wanted;
  Signal changed;
  TaskGroup tasks;
  LogThrottle throttle;
  Counter granted;
  Counter refused;
  Counter batches;

  Batch take() {
    Batch batch;
    const std::lock_guard lock(mutex);
    while (!queue.empty() && batch.size() < batch_max) {
      auto one = std::move(queue.front());
      queue.pop_front();
      if (!one->abandoned) batch.push_back(std::move(one));
    }
    return batch;
  }

  void look() {
    {
      const std::lock_guard lock(mutex);
      woken = false;
      if (queue.empty()) return;
    }
    if (is_busy) return;
    is_busy = true;
    tasks.spawn(work(shared_from_this()));
  }

  static Async<> work(std::shared_ptr<State> state) {
    for (;;) {
      auto batch = state->take();
      if (batch.empty()) break;
      std::exception_ptr failure;
      try {
        co_await state->decide(batch, Deadline::in(timeout));
      } catch (const std::exception& error) {
        failure = std::current_exception();
        if (const auto held_back = state->throttle.pass()) {
          log(Level::warning, "reservations could not be decided",
              {{"reason", error.what()}, {"requests", batch.size()}, {"more_before", *held_back}});
        }
      }
      settle(std::move(batch), failure);
    }
    state->is_busy = false;
    state->changed.notify_all();
  }

  // Hands them back to their threads, each of which is woken once.
  static void settle(Batch batch, const std::exception_ptr& failure) {
    std::map<const void*, Batch> by_thread;
    for (auto& one : batch) {
      one->failure = failure;
      const auto* thread = one->thread;
      by_thread[thread].push_back(std::move(one));
    }
    for (auto& [thread, some] : by_thread) {
      const auto home = some.front()->home;
      post(home, [settled = std::move(some)] {
        for (const auto& one : settled) {
          one->done = true;
          one->settled.notify_all();
        }
      });
    }
  }

  Async<> decide(const Batch& batch, Deadline deadline) {
    bool may_expire = true;
    bool may_grant_all = true;
    int expiries = 0;
    for (int attempt = 0; attempt < attempts_max;) {
      const auto current = coverage.loaded();
      auto candidates = find_budgets(batch, *current);
      std::vector<Covered*> covered;
      for (auto& candidate : candidates) covered.push_back(&candidate.covered);
      co_await charge_sets.resolve(database.primary(), covered, deadline);
      auto outcome = Outcome::outdated;
      try {
        outcome = may_grant_all && roomy_batches >= roomy_batches_wanted
                      ? co_await grant_all(candidates, *current->edition(), deadline)
                      : co_await decide_once(candidates, *current->edition(), may_expire, deadline);
      } catch (const pg::Retryable&) {
      } catch (const pg::SqlError& error) {
        // Another process has granted one of them meanwhile: it is a repeat. Or the primary is another one, which does
        // not have the latest sets of windows.
        if (error.state() != pg::sqlstate::unique_violation && error.state() != pg::sqlstate::foreign_key_violation)
          throw;
      }
      if (outcome == Outcome::decided) co_return;
      if (outcome == Outcome::not_at_once) {
        may_grant_all = false;
        continue;
      }
      if (outcome == Outcome::expiry_first) {
        // Once is enough unless there is more than fits; what expires meanwhile is for those who ask next.
        const auto expired = co_await store::expire(database, expired_max, deadline);
        may_expire = expired == expired_max && ++expiries < attempts_max;
        continue;
      }
      ++attempt;
      charge_sets.forget();
      co_await refresh(coverage, database.primary(), deadline);
    }
    throw Unavailable("budgets change faster than reservations can be decided");
  }

  static std::vector<Candidate> find_budgets(const Batch& batch, const Coverage& current) {
    std::vector<Candidate> out;
    for (const auto& one : batch) {
      auto& candidate = out.emplace_back();
      candidate.waiting = one.get();
      candidate.covered.run_id = one->subject.run_id;
      current.find(one->subject, EventKind::reservation, one->names, candidate.covered.budgets);
    }
    return out;
  }

  // All of them in one round trip, which fails when they might not all fit. That they fit in any order is shown by
  // their sums.
  Async<Outcome> grant_all(std::vector<Candidate>& candidates, std::int64_t edition, Deadline deadline) {
    std::map<std::int64_t, store::Addition> additions;
    std::vector<store::Reservation> held;
    std::vector<std::chrono::seconds> lifetimes;
    for (auto& candidate : candidates) {
      auto& waiting = *candidate.waiting;
      forget_verdict(waiting);
      waiting.error = unpriced_error(candidate);
      if (candidate.covered.budgets.empty() || waiting.error) {
        // What was granted before is granted again, whatever has changed.
        if (waiting.may_be_repeat) co_return Outcome::not_at_once;
        continue;
      }
      if (!add(additions, candidate)) co_return Outcome::not_at_once;
      held.push_back(reservation_of(candidate));
      lifetimes.push_back(waiting.lifetime);
    }
    if (held.empty()) co_return Outcome::not_at_once;
    std::vector<store::Addition> windows;
    for (const auto& [id, addition] : additions) windows.push_back(addition);
    std::vector<pg::Statement> statements;
    statements.push_back(store::insert_statement(held, lifetimes));
    statements.push_back(store::hold_all_statement(windows, edition));
    auto transaction = co_await database.begin_lazily(deadline);
    store::Locked locked;
    try {
      locked = store::read_held((co_await transaction.commit_with(std::move(statements))).rows);
    } catch (const pg::SqlError& error) {
      // Or it is a repeat, or a set of windows is not known here any more.
      const auto state = error.state();
      if (state != store::does_not_fit && state != pg::sqlstate::unique_violation &&
          state != pg::sqlstate::foreign_key_violation) {
        throw;
      }
      if (state == store::does_not_fit) roomy_batches = 0;
      co_return Outcome::not_at_once;
    }
    for (auto& candidate : candidates) {
      auto& waiting = *candidate.waiting;
      if (waiting.error) continue;
      if (reserve_on(locked, candidate)) throw std::logic_error("more was set aside than fits");
      waiting.grant =
          Grant{.expires_at = locked.now.plus(waiting.lifetime), .remaining = remaining_of(locked, candidate)};
    }
    count(candidates);
    co_return Outcome::decided;
  }

  // False when it cannot be summed up.
  static bool add(std::map<std::int64_t, store::Addition>& additions, const Candidate& candidate) {
    for (std::size_t i = 0; i < candidate.covered.budgets.size(); ++i) {
      const auto id = candidate.covered.window_ids[i];
      const auto& definition = *candidate.covered.budgets[i];
      const auto assumed_cost = definition.assumed_cost.value_or(NanoUsd{}).nanos;
      const auto amount = candidate.waiting->amounts.of(definition.metric, assumed_cost);
      auto& sum =
          additions.try_emplace(id, store::Addition{.window_id = id, .assumed_cost = assumed_cost}).first->second;
      const std::int64_t nothing_wanted = amount == 0 || sum.least > sum.amount ? 1 : 0;
      if (id == 0 || __builtin_add_overflow(sum.amount, amount, &sum.amount) ||
          __builtin_add_overflow(sum.amount, nothing_wanted, &sum.least)) {
        return false;
      }
    }
    return true;
  }

  static store::Reservation reservation_of(const Candidate& candidate) {
    const auto& waiting = *candidate.waiting;
    return {.id = waiting.id,
            .subject = waiting.subject,
            .charge_set_id = candidate.covered.charge_set_id,
            .amounts = waiting.amounts,
            .request_hash = waiting.request_hash,
            .granted_at = {},
            .expires_at = {}};
  }

  static void forget_verdict(Waiting& waiting) {
    waiting.grant.reset();
    waiting.refusal.reset();
    waiting.error.reset();
  }

  void count(const std::vector<Candidate>& candidates) {
    batches.add();
    for (const auto& candidate : candidates) (candidate.waiting->grant ? granted : refused).add();
  }

  // In one transaction, in the order in which they came.
  Async<Outcome> decide_once(std::vector<Candidate>& candidates, std::int64_t edition, bool may_expire,
                             Deadline deadline) {
    std::vector<std::int64_t> ids;
    std::vector<Uuid> repeats;
    for (const auto& candidate : candidates) {
      ids.insert(ids.end(), candidate.covered.window_ids.begin(), candidate.covered.window_ids.end());
      if (candidate.waiting->may_be_repeat) repeats.push_back(candidate.waiting->id);
    }
    std::ranges::sort(ids);
    ids.erase(std::ranges::unique(ids).begin(), ids.end());
    auto transaction = co_await database.begin_lazily(deadline);
    std::map<Uuid, store::Reservation> known;
    if (!repeats.empty()) known = co_await store::find(transaction, repeats);
    auto locked = co_await store::lock_windows(transaction, ids);
    if (locked.windows.size() != ids.size() || locked.edition != edition) co_return Outcome::outdated;
    const auto before = locked.windows;
    std::vector<store::Reservation> held;
    std::vector<std::chrono::seconds> lifetimes;
    bool is_refused = false;
    for (auto& candidate : candidates) {
      auto& waiting = *candidate.waiting;
      forget_verdict(waiting);
      if (const auto repeat = known.find(waiting.id); repeat != known.end()) {
        repeat_grant(waiting, repeat->second, locked.now);
        continue;
      }
      if (candidate.covered.budgets.empty()) {
        waiting.grant = Grant{.expires_at = Timestamp::now().plus(waiting.lifetime), .remaining = {}};
        continue;
      }
      if (auto error = unpriced_error(candidate)) {
        waiting.error = std::move(error);
        continue;
      }
      const auto refused_at = reserve_on(locked, candidate);
      if (refused_at) {
        waiting.refusal = refusal_of(locked, *refused_at, waiting);
        is_refused = true;
        continue;
      }
      held.push_back(reservation_of(candidate));
      held.back().expires_at = locked.now.plus(waiting.lifetime);
      lifetimes.push_back(waiting.lifetime);
      known.emplace(waiting.id, held.back());
      waiting.grant = Grant{.expires_at = held.back().expires_at, .remaining = remaining_of(locked, candidate)};
    }
    if (is_refused && may_expire && locked.is_something_due) co_return Outcome::expiry_first;
    if (!held.empty()) {
      std::vector<std::int64_t> touched;
      std::vector<std::int64_t> added;
      for (std::size_t i = 0; i < before.size(); ++i) {
        if (locked.windows[i].reserved == before[i].reserved) continue;
        touched.push_back(before[i].id);
        added.push_back(locked.windows[i].reserved - before[i].reserved);
      }
      std::vector<pg::Statement> statements;
      statements.push_back(store::insert_statement(held, lifetimes));
      statements.push_back(store::hold_statement(touched, added));
      co_await transaction.commit_with(std::move(statements));
    } else if (!known.empty()) {
      // To repeat a grant is to say that it is safe.
      co_await transaction.vouch_for_reads();
      co_await transaction.commit();
    }
    roomy_batches = is_refused ? 0 : roomy_batches + 1;
    count(candidates);
    co_return Outcome::decided;
  }

  // The same request has been answered before.
  static void repeat_grant(Waiting& waiting, const store::Reservation& stored, Timestamp now) {
    if (stored.request_hash != waiting.request_hash || stored.subject.agent_id != waiting.subject.agent_id) {
      waiting.error = Error{Code::conflict, "There is a reservation with this id already, for something else.", {}};
    } else if (stored.state != ReservationState::held) {
      waiting.error = Error{Code::conflict,
                            fmt::format("The reservation with this id is {} already.", json::enum_text(stored.state)),
                            {}};
    } else if (stored.expires_at <= now) {
      waiting.error = Error{Code::conflict, "The reservation with this id is expired already.", {}};
    } else {
      waiting.grant = Grant{.expires_at = stored.expires_at, .remaining = {}};
    }
  }

  // What has no price cannot be stopped exactly, unless somebody says what to take it for.
  static std::optional<Error> unpriced_error(const Candidate& candidate) {
    if (!candidate.waiting->amounts.is_unpriced) return std::nullopt;
    for (const auto& definition : candidate.covered.budgets) {
      if (definition->metric != Metric::cost || !definition->hard_stop || definition->assumed_cost) continue;
      auto message = fmt::format(
          "The model has no price, and budget {} was made without saying what to assume (assumed_usd_per_call).",
          definition->id.text());
      return unprocessable("/model", std::move(message), json::quoted(shortened(candidate.waiting->model, 64))).error();
    }
    return std::nullopt;
  }

  static std::size_t position_of(const store::Locked& locked, std::int64_t id) {
    const auto found = std::ranges::lower_bound(locked.windows, id, {}, &LockedWindow::id);
    return static_cast<std::size_t>(found - locked.windows.begin());
  }

  // Where it does not fit; nothing when it has been set aside.
  static std::optional<std::size_t> reserve_on(store::Locked& locked, const Candidate& candidate) {
    std::vector<Want> wants;
    for (const auto id : candidate.covered.window_ids) {
      const auto position = position_of(locked, id);
      wants.push_back(
          {position, candidate.waiting->amounts.of(locked.metrics[position], locked.assumed_costs[position])});
    }
    const auto refused_at = reserve(locked.windows, wants);
    if (!refused_at) return std::nullopt;
    return wants[*refused_at].window;
  }

  static std::optional<NanoUsd> remaining_of(const store::Locked& locked, const Candidate& candidate) {
    std::optional<NanoUsd> least;
    for (const auto id : candidate.covered.window_ids) {
      const auto position = position_of(locked, id);
      if (locked.metrics[position] != Metric::cost) continue;
      const NanoUsd left{locked.windows[position].remaining()};
      least = least ? std::min(*least, left) : left;
    }
    return least;
  }

  static Refusal refusal_of(const store::Locked& locked, std::size_t position, const Waiting& waiting) {
    const auto& window = locked.windows[position];
    Refusal out{.budget_id = locked.budget_ids[position],
                .metric = locked.metrics[position],
                .limit = window.limit,
                .spent = window.spent,
                .reserved = window.reserved,
                .wanted = waiting.amounts.of(locked.metrics[position], locked.assumed_costs[position]),
                .resets_at = locked.ends_at[position]};
    return out;
  }
};

Authoriser::Authoriser(Executor executor, pg::Cluster& database, CurrentCoverage& coverage, ChargeSets& charge_sets,
                       Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), database, coverage, charge_sets, metrics)) {}

Authoriser::~Authoriser() = default;

Result<void> Authoriser::push(std::shared_ptr<Waiting> waiting) {
  auto& state = *state_;
  if (state.stopping) return fail(Code::unavailable, "The server is stopping; repeat the request with the same id.");
  {
    const std::lock_guard lock(state.mutex);
    if (state.queue.size() >= waiting_max)
      return fail(Code::unavailable, "Too many reservations wait for the database; repeat the request.");
    state.queue.push_back(std::move(waiting));
    if (std::exchange(state.woken, true)) return {};
  }
  post(state.executor, [self = state_] { self->look(); });
  return {};
}

Async<> Authoriser::stop(Deadline deadline) {
  const auto state = state_;
  state->look();
  while (state->is_busy && !deadline.passed()) co_await state->changed.wait(deadline);
  state->stopping = true;
  state->tasks.stop();
  co_await state->tasks.join(Deadline::in(std::chrono::milliseconds{500}));
}

}  // namespace cognive::budgets
