#include "events/writer.hpp"

#include <deque>
#include <mutex>

#include "events/general.hpp"
#include "events/recent.hpp"
#include "events/stored.hpp"
#include "observe/log.hpp"
#include "pg/copy_rows.hpp"
#include "rollups/rollups.hpp"
#include "tasks/outbox.hpp"

namespace cognive::events {
namespace {

using Batch = std::vector<std::shared_ptr<Submission>>;

// When repeats that nobody could recognise come often (somebody replays a spool), plain events go the general way for a
// while: a copy that fails is work for nothing.
class RepeatWatch {
 public:
  void note() {
    const auto now = std::chrono::steady_clock::now();
    if (now - first_ > window) {
      first_ = now;
      count_ = 0;
    }
    if (++count_ >= many) until_ = now + detour;
  }
  [[nodiscard]] bool detours() const { return std::chrono::steady_clock::now() < until_; }

 private:
  static constexpr std::chrono::seconds window{1};
  static constexpr std::chrono::seconds detour{2};
  static constexpr int many = 3;

  std::chrono::steady_clock::time_point first_{};
  std::chrono::steady_clock::time_point until_{};
  int count_ = 0;
};

// Submissions that wait for their turn.
struct Queue {
  std::deque<std::shared_ptr<Submission>> submissions;
  std::size_t rows = 0;
};

}  // namespace

struct Writer::State : std::enable_shared_from_this<State> {
  State(Executor writer_executor, pg::Cluster& cluster, const prices::CurrentCatalogue& current, runs::KnownRuns& known,
        Budgeting budgets_of_process, Metrics& metrics, WriterOptions limits)
      : executor(std::move(writer_executor)),
        database(cluster),
        catalogue(current),
        budgeting(budgets_of_process),
        options(limits),
        bound(std::make_shared<Bound>(
            limits.queue_bytes_max, 0,
            metrics.gauge("ingest_queue_bytes", "What waits for a commit, as it is kept in memory"))),
        meters(metrics),
        general_way(cluster, current, known, budgeting, options.trail, meters, options.content_key,
                    options.commit_timeout, options.tells_feed),
        changed(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        copied(metrics.counter("ingest_copies_total", "Group commits of events that were copied")),
        outdated(metrics.counter("ingest_outdated_plans_total", "Requests that were decided again after a long wait")),
        detoured(metrics.counter("ingest_copy_conflicts_total", "Copies that met a repeat and went the general way")) {}

  Executor executor;
  pg::Cluster& database;
  const prices::CurrentCatalogue& catalogue;
  Budgeting budgeting;
  WriterOptions options;

  // From any thread.
  const std::shared_ptr<Bound> bound;
  std::mutex mutex;
  Queue plain;
  Queue general;
  std::atomic<bool> stopping = false;
  bool woken = false;  // the writer's thread has been told, and has not looked yet

  // Of the writer's thread.
  Meters meters;
  GeneralWay general_way;
  RecentKeys recent;
  RepeatWatch repeats;
  std::size_t copying = 0;     // transactions that hand rows over
  std::size_t committing = 0;  // transactions that have, and wait for their end
  bool is_general_busy = false;
  Signal changed;
  TaskGroup tasks;
  LogThrottle throttle;
  Counter copied;
  Counter outdated;
  Counter detoured;

  // Whatever waits becomes the next batch; there is no timer, since waiting for more only ever lost.
  Batch take(Queue& queue) {
    Batch batch;
    std::size_t rows = 0;
    const std::lock_guard lock(mutex);
    while (!queue.submissions.empty()) {
      const auto count = queue.submissions.front()->events.size();
      if (!batch.empty() && rows + count > options.rows_per_commit_max) break;
      auto submission = std::move(queue.submissions.front());
      queue.submissions.pop_front();
      queue.rows -= count;
      if (submission->abandoned) {
        submission->room.give_back();
        continue;
      }
      rows += count;
      batch.push_back(std::move(submission));
    }
    return batch;
  }

  void put(Queue& queue, std::shared_ptr<Submission> submission) {
    const std::lock_guard lock(mutex);
    queue.rows += submission->events.size();
    queue.submissions.push_back(std::move(submission));
  }

  void put_all_plain_aside() {
    const std::lock_guard lock(mutex);
    std::ranges::move(plain.submissions, std::back_inserter(general.submissions));
    general.rows += plain.rows;
    plain = {};
  }

  std::size_t waiting(const Queue& queue) {
    const std::lock_guard lock(mutex);
    return queue.rows;
  }

  // Starts as many coroutines as there is work for.
  void look() {
    {
      const std::lock_guard lock(mutex);
      woken = false;
    }
    if (repeats.detours()) put_all_plain_aside();
    const auto rows = waiting(plain);
    if (rows > 0 && rows >= rows_wanted()) {
      ++copying;
      tasks.spawn(copy_one(shared_from_this()));
    }
    if (!is_general_busy && waiting(general) > 0) {
      is_general_busy = true;
      tasks.spawn(write_all(shared_from_this()));
    }
  }

  // How many rows have to wait for another transaction to begin beside those that run. Each costs something whatever it
  // holds, so small ones come one after the other.
  [[nodiscard]] std::size_t rows_wanted() const {
    if (copying + committing == 0) return 1;
    if (copying + committing == options.transactions_max) return SIZE_MAX;
    return copying == 0 ? options.rows_to_overlap : options.rows_per_commit_max;
  }

  // Hands the submissions back to their threads, each of which is woken once.
  void settle(const Batch& batch, Position position, const std::exception_ptr& failure) {
    std::map<const void*, Batch> by_thread;
    for (const auto& submission : batch) {
      submission->room.give_back();
      by_thread[submission->thread].push_back(submission);
    }
    for (auto& [thread, submissions] : by_thread) {
      const auto home = submissions.front()->home;
      post(home, [settled = std::move(submissions), position, failure] {
        for (const auto& submission : settled) {
          submission->position = position;
          submission->failure = failure;
          submission->done = true;
          submission->settled.notify_all();
        }
      });
    }
  }

  void log_failure(const std::exception& error, std::size_t requests) {
    if (const auto held_back = throttle.pass()) {
      log(Level::warning, "group commit failed",
          {{"reason", error.what()}, {"requests", requests}, {"more_before", *held_back}});
    }
  }

  // Copies what plain submissions wait.
  static Async<> copy_one(std::shared_ptr<State> state) {
    auto batch = state->take(state->plain);
    state->set_outdated_aside(batch);
    state->set_repeats_aside(batch);
    bool is_copying = true;
    if (!batch.empty()) co_await state->copy_batch(std::move(batch), is_copying);
    --(is_copying ? state->copying : state->committing);
    state->look();
    state->changed.notify_all();
  }

  // Leaves those in the batch whose prices and budgets hold and whose runs went on a moment ago: after a long wait a
  // run may have ended and been summed up, or its calls have been repriced.
  void set_outdated_aside(Batch& batch) {
    const auto current = catalogue.get();
    const auto budget_edition = budgeting.coverage.get()->edition();
    const auto planned_first = std::chrono::steady_clock::now() - options.plan_age_max;
    std::erase_if(batch, [&](auto& submission) {
      const bool is_outdated = submission->catalogue != current || submission->planned_at < planned_first ||
                               submission->budget_edition != budget_edition;
      if (!is_outdated) return false;
      outdated.add();
      put(general, std::move(submission));
      return true;
    });
  }

  // Leaves those in the batch that have none.
  void set_repeats_aside(Batch& batch) {
    std::erase_if(batch, [this](auto& submission) {
      bool is_new = true;
      for (std::size_t type = 0; type < submission->rows.size(); ++type) {
        for (const auto& key : submission->rows[type].keys) {
          if (recent.insert(static_cast<EventType>(type), key.run_id, key.id)) is_new = false;
        }
      }
      if (!is_new) put(general, std::move(submission));
      return !is_new;
    });
  }

  Async<> copy_batch(Batch batch, bool& is_copying) {
    std::exception_ptr failure;
    Position position;
    bool is_refused = false;
    try {
      position = co_await copy(batch, is_copying);
    } catch (const pg::SqlError& error) {
      // Most likely a repeat. What it is, and whose, the general way finds out.
      is_refused = true;
      if (error.state() == pg::sqlstate::unique_violation) repeats.note();
    } catch (const pg::Retryable&) {
      is_refused = true;
    } catch (const std::exception& error) {
      failure = std::current_exception();
      log_failure(error, batch.size());
    }
    if (is_refused) {
      detoured.add();
      for (auto& submission : batch) put(general, std::move(submission));
      co_return;
    }
    if (!failure) {
      copied.add();
      count(batch);
    }
    settle(batch, position, failure);
  }

  // In one transaction; where its commit stands.
  Async<Position> copy(const Batch& batch, bool& is_copying) {
    auto transaction = co_await database.begin_lazily(Deadline::in(options.commit_timeout));
    rollups::Deltas deltas;
    budgets::Charging charging;
    Stored stored;
    for (const auto& submission : batch) {
      deltas.merge(submission->deltas);
      charging.merge(submission->charging);
      for (std::size_t type = 0; type < submission->rows.size(); ++type)
        stored.add(static_cast<EventType>(type), submission->rows[type].keys.size());
    }
    std::vector<pg::Statement> statements;
    const bool are_few = stored.total() <= options.rows_to_insert_max;
    for (const auto type : {EventType::step, EventType::llm_call, EventType::tool_invocation}) {
      if (stored.counts[static_cast<std::size_t>(type)] == 0) continue;
      if (are_few) {
        statements.push_back(store::add_statement(type, sorted_items(batch, type)));
      } else {
        co_await transaction.copy_in(store::copy_sql(type), sorted_rows(batch, type));
      }
    }
    if (!are_few) {
      // Others may copy while this one waits for the disk.
      is_copying = false;
      --copying;
      ++committing;
      look();
    }
    if (!deltas.empty()) statements.push_back(rollups::append_statement(deltas));
    statements.push_back({&tasks::outbox::append_query(), tasks::outbox::params_of(stored_topic, stored.message())});
    if (options.tells_feed) tell_feed(batch, statements);
    // Last, since others wait for what it locks.
    statements.push_back(budgets::charge_statement(charging, batch.front()->budget_edition));
    co_return (co_await transaction.commit_with(std::move(statements))).position;
  }

  static void tell_feed(const Batch& batch, std::vector<pg::Statement>& statements) {
    for (const auto type : {EventType::step, EventType::llm_call, EventType::tool_invocation}) {
      std::vector<feed::Key> keys;
      for (const auto& submission : batch) {
        for (const auto& key : submission->rows[static_cast<std::size_t>(type)].keys)
          keys.push_back({key.run_id, key.id});
      }
      for (auto& statement : feed::append_statements(kind_of(type), keys)) statements.push_back(std::move(statement));
    }
  }

  static std::vector<const store::Row*> sorted_items(const Batch& batch, EventType type) {
    std::vector<const Item*> items;
    for (const auto& submission : batch) {
      for (const auto& item : submission->items) {
        if (item.event->type() == type) items.push_back(&item);
      }
    }
    std::ranges::sort(items, {}, [](const Item* item) { return item->key(); });
    std::vector<const store::Row*> rows;
    for (const auto* item : items) rows.push_back(&item->row);
    return rows;
  }

  // Of all submissions, in the order of their keys: no two writers can wait for each other.
  static std::string sorted_rows(const Batch& batch, EventType type) {
    struct Row {
      const store::Key* key;
      std::string_view bytes;
    };
    std::vector<Row> order;
    std::size_t size = 0;
    for (const auto& submission : batch) {
      const auto& rows = submission->rows[static_cast<std::size_t>(type)];
      std::size_t begin = 0;
      for (std::size_t i = 0; i < rows.keys.size(); ++i) {
        order.push_back({&rows.keys[i], std::string_view(rows.bytes).substr(begin, rows.ends[i] - begin)});
        begin = rows.ends[i];
      }
      size += rows.bytes.size();
    }
    std::string out;
    if (order.empty()) return out;
    std::ranges::sort(order, {}, [](const Row& row) -> const store::Key& { return *row.key; });
    out.reserve(size + pg::copy_header.size() + pg::copy_trailer.size());
    out += pg::copy_header;
    for (const auto& row : order) out += row.bytes;
    out += pg::copy_trailer;
    return out;
  }

  void count(const Batch& batch) {
    std::size_t stored = 0;
    for (const auto& submission : batch) {
      for (const auto& item : submission->items) meters.count(item);
      stored += submission->items.size();
    }
    meters.count_commit(stored);
  }

  // Takes submissions the general way until none wait.
  static Async<> write_all(std::shared_ptr<State> state) {
    for (;;) {
      const auto batch = state->take(state->general);
      if (batch.empty()) break;
      std::exception_ptr failure;
      Position position;
      try {
        std::vector<Item> items;
        for (const auto& submission : batch) {
          for (std::size_t i = 0; i < submission->events.size(); ++i) {
            items.push_back({.event = &submission->events[i],
                             .sender = &submission->sender,
                             .fate = &submission->fates[i],
                             .arrival = items.size(),
                             .stored_hash = 0,
                             .row = {},
                             .violation = {}});
          }
        }
        // One order for all writers: no two of them can wait for each other.
        std::ranges::sort(items, {}, [](const Item& item) { return std::pair(item.key(), item.arrival); });
        position = co_await state->general_way.commit(items);
      } catch (const std::exception& error) {
        failure = std::current_exception();
        state->log_failure(error, batch.size());
      }
      state->settle(batch, position, failure);
      state->look();
    }
    state->is_general_busy = false;
    state->changed.notify_all();
  }
};

Writer::Writer(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue,
               runs::KnownRuns& known, Budgeting budgeting, Metrics& metrics, WriterOptions options)
    : state_(std::make_shared<State>(std::move(executor), database, catalogue, known, budgeting, metrics, options)) {}

Writer::~Writer() = default;

const WriterOptions& Writer::options() const {
  return state_->options;
}

Result<Room> Writer::take_room(std::size_t bytes) const {
  if (state_->stopping) return fail(Code::unavailable, "The server is stopping; repeat the request with the same ids.");
  auto room = Room::take(state_->bound, bytes);
  if (!room)
    return fail(Code::unavailable, "Too many events wait for the database; repeat the request with the same ids.");
  return std::move(*room);
}

void Writer::push(std::shared_ptr<Submission> submission) {
  auto& state = *state_;
  {
    const std::lock_guard lock(state.mutex);
    auto& queue = submission->is_plain ? state.plain : state.general;
    queue.rows += submission->events.size();
    queue.submissions.push_back(std::move(submission));
    if (std::exchange(state.woken, true)) return;
  }
  post(state.executor, [self = state_] { self->look(); });
}

Async<> Writer::stop(Deadline deadline) {
  const auto state = state_;
  const auto is_busy = [&] { return state->copying + state->committing > 0 || state->is_general_busy; };
  state->look();
  while (is_busy() && !deadline.passed()) co_await state->changed.wait(deadline);
  state->stopping = true;
  state->tasks.stop();
  co_await state->tasks.join(Deadline::in(std::chrono::milliseconds{500}));
}

}  // namespace cognive::events
