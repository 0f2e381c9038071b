#include "tasks/worker.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <deque>
#include <list>
#include <map>
#include <set>

#include "observe/log.hpp"

namespace cognive::tasks {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds statement_timeout{5'000};
constexpr milliseconds bury_interval{2'000};
constexpr milliseconds gauges_interval{15'000};
constexpr milliseconds retry_max{10'000};
constexpr milliseconds settle_retry{200};
// For a cancelled attempt to end; one that does not is left behind.
constexpr milliseconds cancel_patience{2'000};
// Before the deadline of a stop, for cancelling attempts and handing them back.
constexpr milliseconds hand_back_time{2'000};
// Tasks are taken ahead of free slots for so long, as the last ones of their queue went.
constexpr milliseconds ahead_time{100};
constexpr std::size_t ahead_max = 100;  // of a queue
constexpr milliseconds ahead_patience{1'000};
constexpr double usual_ms_at_first = 1'000;
constexpr double usual_ms_after_hand_back = 10'000;
// Every end of a task is a reason to look for others, in all queues; in one that has just been found empty not again so
// soon.
constexpr milliseconds dry_time{20};
// Ends that are being noted at a time; with more, the queue is slower than the tasks, and none is begun.
constexpr std::size_t settling_max = 500;

// Tasks that nobody handles here: rows may be written by anybody, and their names must not become labels.
constexpr Definition unknown{.name = "unknown", .backoff_max = milliseconds{60'000}};

enum class End { done, failed, lost, handed_back };

std::string_view status_text(Fate fate) {
  switch (fate) {
    case Fate::retried:
      return "retry";
    case Fate::dead:
      return "failure";
    case Fate::lost:
      break;
  }
  return "lost";
}

}  // namespace

std::string process_name() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) return fmt::format("?:{}", getpid());
  return fmt::format("{}:{}", host.data(), getpid());
}

// One attempt at a task.
struct Attempt {
  Attempt(const Executor& executor, Task taken, Deadline lease)
      : task(std::move(taken)),
        lease_until(lease),
        changed(executor),
        body(executor, [](const std::exception_ptr&) {}) {}

  Task task;
  Deadline lease_until;  // by our clock, so never later than by the queue's
  Signal changed;
  TaskGroup body;  // runs the handler, so that it can be cancelled
  bool ended = false;
  std::optional<std::string> failure;  // when the handler has thrown
  bool is_hopeless = false;            // and it will again
  bool is_settling = false;            // the handler has ended, and its slot is free; its end is being noted
  bool lost = false;                   // somebody else may have the task
  bool handed_back = false;            // the worker stops and does not wait for it
};

// Tasks of one queue that are ours and have not begun: while tasks there are short, looking for each by itself would
// cost more than the tasks.
struct Ahead {
  struct Held {
    Task task;
    Deadline lease_until;
    Deadline patience;  // then it is not begun any more but handed back: others may have a slot for it
  };

  std::deque<Held> held;
  double usual_ms = usual_ms_at_first;  // that an attempt takes: of the last ones
  Deadline dry_until{};                 // the last look found less than there was room for
  Deadline looked_at{};

  void note(milliseconds taken) {
    constexpr double share = 0.3;
    usual_ms += share * (static_cast<double>(taken.count()) - usual_ms);
  }
  // How many are worth holding for so many slots.
  [[nodiscard]] std::size_t wanted(std::size_t slots) const {
    const auto soon = static_cast<double>(slots) * static_cast<double>(ahead_time.count()) / std::max(usual_ms, 1.0);
    return soon < 1 ? 0 : std::min(ahead_max, static_cast<std::size_t>(soon));
  }
  [[nodiscard]] bool has_waited_in_vain() const { return !held.empty() && held.front().patience.passed(); }
};

struct Worker::State : std::enable_shared_from_this<Worker::State> {
  State(Executor worker_executor, Queue& task_queue, const Handlers& task_handlers, WorkerOptions worker_options,
        Metrics& worker_metrics)
      : executor(std::move(worker_executor)),
        queue(task_queue),
        handlers(task_handlers),
        options(std::move(worker_options)),
        metrics(worker_metrics),
        name(process_name() + "/" + Uuid::make().text().substr(24)),
        changed(executor),
        loops(executor, [](const std::exception_ptr&) {}),
        runs(executor, [](const std::exception_ptr&) {}) {}

  Executor executor;
  Queue& queue;
  const Handlers& handlers;
  WorkerOptions options;
  Metrics& metrics;
  std::string name;
  Signal changed;  // a slot is free, there is work, or the worker stops
  TaskGroup loops;
  TaskGroup runs;
  std::list<std::shared_ptr<Attempt>> attempts;
  std::vector<std::string> queues;                  // from which it takes
  std::map<std::string, Ahead, std::less<>> ahead;  // by queue
  std::size_t turn = 0;
  bool woken = false;
  bool stopping = false;
  bool taking = false;
  bool is_beginning = false;

  [[nodiscard]] const Definition& definition_of(const Task& task) const {
    const auto* entry = handlers.find(task.name);
    return entry == nullptr ? unknown : entry->definition;
  }

  void count(const Task& task, std::string_view status) {
    metrics
        .counter("celery_tasks_total", "Attempts at tasks that have ended",
                 {{"task_name", std::string(definition_of(task).name)}, {"status", std::string(status)}})
        .add();
  }

  // Whether the pauses of a loop end early when there is work.
  enum class Wake { yes, no };

  // Repeats `step` until the worker stops; what it throws is logged once per change of reason.
  template <typename Step>
  static Async<> repeat(std::shared_ptr<State> state, const char* what, Wake wake, Step step) {
    std::string last_failure;
    milliseconds wait{0};
    while (!state->stopping) {
      std::string failure;
      try {
        wait = co_await step();
      } catch (const boost::system::system_error& error) {
        if (error.code() == boost::asio::error::operation_aborted) throw;
        failure = error.what();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      if (failure.empty()) {
        if (!last_failure.empty()) log(Level::info, "background work goes on", {{"what", what}});
      } else {
        if (failure != last_failure)
          log(Level::warning, "background work is held up", {{"what", what}, {"reason", failure}});
        wait = std::clamp(wait * 2, state->options.idle, retry_max);
      }
      last_failure = failure;
      if (state->stopping) break;
      if (wake == Wake::no) {
        co_await sleep_for(jittered(wait));
      } else if (!state->woken) {
        co_await state->changed.wait(Deadline::in(jittered(wait)));
      }
    }
  }

  // What keeps the product itself going never waits for all slots of others: those have half of them, and one beside
  // the only one.
  [[nodiscard]] std::size_t slots_of(std::string_view name_of_queue, bool has_others) const {
    if (const auto found = options.beside.find(name_of_queue); found != options.beside.end()) return found->second;
    if (!has_others || name_of_queue == default_queue) return options.concurrency;
    return std::max<std::size_t>(options.concurrency / 2, 1);
  }

  [[nodiscard]] std::size_t free_for(std::string_view name_of_queue, bool has_others) const {
    const auto left_of = [](std::size_t all, std::size_t used) { return all - std::min(all, used); };
    std::size_t own = 0;
    std::size_t others = 0;
    std::size_t same = 0;
    std::size_t settling = 0;
    for (const auto& attempt : attempts) {
      if (attempt->is_settling) {
        ++settling;
      } else if (attempt->task.queue == name_of_queue) {
        ++same;
      }
      if (attempt->is_settling || options.beside.contains(attempt->task.queue)) continue;
      ++(attempt->task.queue == default_queue ? own : others);
    }
    if (settling >= settling_max) return 0;
    if (const auto found = options.beside.find(name_of_queue); found != options.beside.end())
      return left_of(found->second, same);
    if (!has_others) return left_of(options.concurrency, own + others);
    const auto free = left_of(std::max<std::size_t>(options.concurrency, 2), own + others);
    if (name_of_queue != default_queue) return std::min(free, left_of(slots_of(name_of_queue, true), others));
    return std::min(free, left_of(options.concurrency, own));
  }

  // Takes what there is for the free slots; how long to wait before the next look.
  Async<milliseconds> take_some() {
    woken = false;
    const auto& all = queues;
    const auto first = turn++;
    bool looks_soon = false;
    for (std::size_t i = 0; i < all.size() && !stopping; ++i) {
      const auto& name_of_queue = all[(first + i) % all.size()];
      auto& of_queue = ahead[name_of_queue];
      if (of_queue.has_waited_in_vain()) {
        // They are not short any more.
        of_queue.usual_ms = usual_ms_after_hand_back;
        co_await hand_back(of_queue);
      }
      const auto wanted = of_queue.wanted(slots_of(name_of_queue, all.size() > 1));
      const auto free = free_for(name_of_queue, all.size() > 1);
      // With half of them still there, nobody waits for this.
      if (of_queue.held.size() * 2 >= wanted && (free == 0 || !of_queue.held.empty())) {
        if (!of_queue.held.empty()) of_queue.looked_at = Deadline::in(milliseconds{0});
        continue;
      }
      if (!of_queue.dry_until.passed()) {
        looks_soon = true;
        continue;
      }
      const auto lease_until = Deadline::in(options.lease);
      const auto patience = Deadline::in(std::min(ahead_patience, options.lease / 4));
      const auto room = free + wanted - std::min(wanted, of_queue.held.size());
      auto taken = co_await queue.take(name_of_queue, static_cast<std::int64_t>(room), name, options.lease,
                                       Deadline::in(statement_timeout));
      of_queue.looked_at = Deadline::in(milliseconds{0});
      if (taken.size() < room) of_queue.dry_until = Deadline::in(dry_time);
      for (auto& task : taken) of_queue.held.push_back({std::move(task), lease_until, patience});
      if (!is_turn_of_others(name_of_queue)) begin_held_of(name_of_queue);
    }
    begin_held();
    // With all slots taken, the first that becomes free wakes us; with some left, nothing else is due.
    const bool holds_some = std::ranges::any_of(ahead, [](const auto& one) { return !one.second.held.empty(); });
    if (looks_soon) co_return std::min(options.idle, dry_time);
    co_return holds_some ? std::min(options.idle, ahead_time) : options.idle;
  }

  // Whether another queue, which could have the slot, has not been looked at for so long that its tasks may be waiting
  // for it.
  [[nodiscard]] bool is_turn_of_others(std::string_view name_of_queue) {
    const auto& all = queues;
    return std::ranges::any_of(all, [&](const auto& other) {
      return other != name_of_queue && Deadline{ahead[other].looked_at.at + ahead_time}.passed() &&
             free_for(other, all.size() > 1) > 0;
    });
  }

  void begin_held_of(std::string_view name_of_queue) {
    auto& of_queue = ahead[std::string(name_of_queue)];
    const bool has_others = queues.size() > 1;
    while (!stopping && !of_queue.held.empty() && !of_queue.has_waited_in_vain() &&
           free_for(name_of_queue, has_others) > 0) {
      auto next = std::move(of_queue.held.front());
      of_queue.held.pop_front();
      begin(std::move(next.task), next.lease_until);
    }
  }

  // A task that ends at once frees its slot while it is being begun.
  void begin_held() {
    if (is_beginning) return;
    is_beginning = true;
    const auto& all = queues;
    const auto first = turn++;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto& name_of_queue = all[(first + i) % all.size()];
      if (!is_turn_of_others(name_of_queue)) begin_held_of(name_of_queue);
    }
    is_beginning = false;
  }

  // To those that have a slot for them.
  Async<> hand_back(Ahead& of_queue) {
    std::vector<Task> tasks;
    for (const auto& one : of_queue.held) tasks.push_back(one.task);
    co_await queue.give_back(std::move(tasks), Deadline::in(statement_timeout));
    of_queue.held.clear();
  }

  void begin(Task task, Deadline lease_until) {
    auto attempt = std::make_shared<Attempt>(executor, std::move(task), lease_until);
    // The queue may have lost patience with us while our clock stood still: the claim before is void.
    for (const auto& older : attempts) {
      if (older->task.id == attempt->task.id) lose(*older);
    }
    attempts.push_back(attempt);
    runs.spawn(run(shared_from_this(), std::move(attempt)));
  }

  static void lose(Attempt& attempt) {
    attempt.lost = true;
    attempt.changed.notify_all();
  }

  static Async<> run(std::shared_ptr<State> state, std::shared_ptr<Attempt> attempt) {
    const auto& task = attempt->task;
    const auto begun = Clock::now();
    try {
      log(Level::debug, "task begins", {{"task", task.name}, {"id", task.id.text()}, {"attempt", task.attempts}});
      co_await state->attempt_once(attempt);
      state->metrics
          .histogram("celery_task_duration_seconds", "Time of an attempt at a task",
                     {{"task_name", std::string(state->definition_of(task).name)}}, duration_buckets())
          .observe(std::chrono::duration<double>(Clock::now() - begun).count());
    } catch (const std::exception& error) {
      // Its lease will pass, and somebody else will take it.
      log(Level::warning, "what became of a task could not be noted",
          {{"task", task.name}, {"id", task.id.text()}, {"reason", error.what()}});
      state->count(task, "lost");
    }
    state->attempts.remove(attempt);
    state->begin_held();
    state->look_again();
  }

  void look_again() {
    woken = true;
    changed.notify_all();
  }

  Async<> attempt_once(std::shared_ptr<Attempt> attempt) {
    const auto& task = attempt->task;
    const auto* entry = handlers.find(task.name);
    if (entry == nullptr) {
      auto reason = fmt::format("No handler is named \"{}\"; this version has: {}.", task.name,
                                fmt::join(handlers.names(), ", "));
      co_return co_await settle(*attempt, End::failed, std::move(reason));
    }
    const auto begun = Clock::now();
    const auto deadline = Deadline::in(task.time_limit);
    attempt->body.spawn(handle(attempt, entry->handle, deadline));
    while (!attempt->ended && !attempt->lost && !attempt->handed_back && !deadline.passed()) {
      // Others may have it now, whatever keeps the lease from being extended.
      if (attempt->lease_until.passed()) attempt->lost = true;
      if (!attempt->lost) co_await attempt->changed.wait(Deadline{std::min(deadline.at, attempt->lease_until.at)});
    }
    const bool ended_by_itself = attempt->ended;
    if (!ended_by_itself) {
      attempt->body.stop();
      if (!co_await attempt->body.join(Deadline::in(cancel_patience)))
        log(Level::error, "a cancelled task goes on", {{"task", task.name}, {"id", task.id.text()}});
    }
    ahead[task.queue].note(std::chrono::duration_cast<milliseconds>(Clock::now() - begun));
    attempt->is_settling = true;
    begin_held();
    look_again();
    if (attempt->lost) co_return co_await settle(*attempt, End::lost, {});
    if (attempt->ended && !attempt->failure) co_return co_await settle(*attempt, End::done, {});
    if (attempt->handed_back) co_return co_await settle(*attempt, End::handed_back, {});
    std::string reason = attempt->failure.value_or("");
    if (!ended_by_itself) reason = fmt::format("It took longer than its limit of {} ms.", task.time_limit.count());
    co_await settle(*attempt, End::failed, std::move(reason));
  }

  static Async<> handle(std::shared_ptr<Attempt> attempt, const Handler& handler, Deadline deadline) {
    try {
      co_await handler(attempt->task, deadline);
    } catch (const Hopeless& error) {
      attempt->failure = error.what();
      attempt->is_hopeless = true;
    } catch (const std::exception& error) {
      attempt->failure = error.what();
    } catch (...) {
      attempt->failure = "It failed without saying why.";
    }
    attempt->ended = true;
    attempt->changed.notify_all();
  }

  // Notes what became of an attempt, and tries again for as long as the task is ours.
  Async<> settle(Attempt& attempt, End end, std::string reason) {
    const auto& task = attempt.task;
    if (end == End::lost) {
      log(Level::warning, "a task was lost to another worker, or its lease could not be extended",
          {{"task", task.name}, {"id", task.id.text()}});
      count(task, "lost");
      co_return;
    }
    const auto error = end == End::failed ? kept_error(reason) : std::string();
    const auto wait = backoff(definition_of(task), task.attempts);
    bool is_repeat = false;  // whose first try may have been heard, and only the answer lost
    for (;;) {
      try {
        const auto deadline = Deadline::in(statement_timeout);
        switch (end) {
          case End::done:
            note_done(task, co_await queue.finish(task, deadline) || is_repeat);
            break;
          case End::failed: {
            const auto again = attempt.is_hopeless ? std::nullopt : std::optional(wait);
            auto fate = co_await queue.fail(task, error, again, deadline);
            if (fate == Fate::lost && is_repeat)
              fate = again && task.attempts < task.attempts_max ? Fate::retried : Fate::dead;
            note_failure(task, error, wait, fate);
            break;
          }
          case End::handed_back:
            co_await queue.give_back({task}, deadline);
            log(Level::info, "task handed back", {{"task", task.name}, {"id", task.id.text()}});
            count(task, "returned");
            break;
          case End::lost:
            break;
        }
        co_return;
      } catch (const Unavailable&) {
        if (attempt.lost || attempt.lease_until.passed()) throw;
        is_repeat = true;
      }
      co_await sleep_for(jittered(settle_retry));
    }
  }

  void note_done(const Task& task, bool was_ours) {
    if (!was_ours)
      log(Level::warning, "a task was done that somebody else has taken meanwhile",
          {{"task", task.name}, {"id", task.id.text()}});
    count(task, was_ours ? "success" : "lost");
  }

  void note_failure(const Task& task, const std::string& error, milliseconds wait, Fate fate) {
    count(task, status_text(fate));
    const auto id = task.id.text();
    if (fate == Fate::dead) {
      log(Level::error, "a task has failed for good and is a dead letter now",
          {{"task", task.name}, {"id", id}, {"attempts", task.attempts}, {"reason", error}});
    } else {
      log(Level::warning, "task failed",
          {{"task", task.name},
           {"id", id},
           {"attempt", task.attempts},
           {"of", task.attempts_max},
           {"reason", error},
           {"again_in_ms", wait.count()}});
    }
  }

  // What went wrong; empty: nothing. Attempts whose lease is not ours any more, or may not be, end.
  Async<std::string> extend_leases() {
    std::vector<std::shared_ptr<Attempt>> held;
    std::ranges::copy_if(attempts, std::back_inserter(held), [](const auto& attempt) { return !attempt->lost; });
    if (held.empty()) co_return std::string();
    std::vector<Task> tasks;
    for (const auto& attempt : held) tasks.push_back(attempt->task);
    const auto until = Deadline::in(options.lease);
    std::set<Uuid> ours;
    std::string failure;
    try {
      for (const auto& id : co_await queue.extend(std::move(tasks), options.lease, Deadline::in(options.lease / 3)))
        ours.insert(id);
    } catch (const boost::system::system_error&) {
      throw;  // the worker stops
    } catch (const std::exception& error) {
      failure = error.what();
    }
    for (const auto& attempt : held) {
      if (ours.contains(attempt->task.id)) {
        attempt->lease_until = until;
      } else if ((failure.empty() || attempt->lease_until.passed()) && !attempt->ended) {
        lose(*attempt);
      }
    }
    co_return failure;
  }

  static Async<> keep_leases(std::shared_ptr<State> state) {
    std::string last_failure;
    for (;;) {
      auto failure = co_await state->extend_leases();
      if (failure != last_failure && !failure.empty())
        log(Level::warning, "leases of tasks could not be extended", {{"reason", failure}});
      last_failure = std::move(failure);
      co_await sleep_for(last_failure.empty() ? state->options.lease / 3 : settle_retry);
    }
  }

  Async<milliseconds> bury_some() {
    const auto buried = co_await queue.bury(Deadline::in(statement_timeout));
    for (const auto& one : buried) {
      log(Level::error, "a task has failed for good and is a dead letter now",
          {{"task", one.name}, {"id", one.id.text()}, {"reason", one.error}});
      Task task;
      task.name = one.name;
      count(task, "failure");
    }
    co_return bury_interval;
  }

  Async<milliseconds> count_waiting() {
    const auto waiting = co_await queue.waiting(Deadline::in(statement_timeout));
    // Whoever can write to the table can make queues; only those of handlers become labels.
    for (const auto& queue_name : handlers.queues()) {
      const auto found = waiting.find(queue_name);
      metrics.gauge("celery_tasks_queued", "Tasks that wait, in the whole installation", {{"queue", queue_name}})
          .set(found == waiting.end() ? 0 : static_cast<double>(found->second));
    }
    co_return gauges_interval;
  }

  static Async<> take_all(std::shared_ptr<State> state) {
    state->taking = true;
    co_await repeat(state, "taking tasks", Wake::yes, [state = state.get()] { return state->take_some(); });
    for (auto& [name_of_queue, of_queue] : state->ahead) {
      try {
        co_await state->hand_back(of_queue);
      } catch (const boost::system::system_error&) {
        throw;
      } catch (const std::exception& error) {
        // Their leases will pass.
        log(Level::warning, "tasks that had not begun could not be handed back",
            {{"queue", name_of_queue}, {"reason", error.what()}});
      }
    }
    state->taking = false;
    state->changed.notify_all();
  }

  Async<> stop(Deadline deadline) {
    stopping = true;
    look_again();
    const auto margin = std::min(hand_back_time, deadline.remaining() / 2);
    const Deadline patience{deadline.at - margin};
    while ((taking || !attempts.empty()) && !patience.passed()) co_await changed.wait(patience);
    for (const auto& attempt : attempts) {
      attempt->handed_back = true;
      attempt->changed.notify_all();
    }
    while (!attempts.empty() && !deadline.passed()) co_await changed.wait(deadline);
    loops.stop();
    runs.stop();
    co_await loops.join(deadline);
    co_await runs.join(deadline);
  }
};

Worker::Worker(Executor executor, Queue& queue, const Handlers& handlers, WorkerOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), queue, handlers, std::move(options), metrics)) {}

Worker::~Worker() = default;

void Worker::start() {
  const auto& state = state_;
  state->queues = state->options.queues.empty() ? state->handlers.queues() : state->options.queues;
  state->loops.spawn(State::take_all(state));
  state->loops.spawn(State::keep_leases(state));
  state->loops.spawn(State::repeat(state, "burying dead letters", State::Wake::no,
                                   [state = state.get()] { return state->bury_some(); }));
  state->loops.spawn(State::repeat(state, "counting tasks", State::Wake::no,
                                   [state = state.get()] { return state->count_waiting(); }));
}

void Worker::wake() {
  for (auto& [name, of_queue] : state_->ahead) of_queue.dry_until = {};
  state_->look_again();
}

Async<> Worker::stop(Deadline deadline) {
  const auto state = state_;
  co_await state->stop(deadline);
}

const std::string& Worker::name() const {
  return state_->name;
}

}  // namespace cognive::tasks
