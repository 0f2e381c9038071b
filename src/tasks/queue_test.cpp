// Tasks and the outbox on a real PostgreSQL: what transactions keep and drop, keys, claims, and messages that become
// tasks exactly once.
#include <boost/asio/this_coro.hpp>

#include "pg/test_support.hpp"
#include "pg/transact.hpp"
#include "tasks/embedded_queue.hpp"
#include "tasks/outbox.hpp"
#include "tasks/schedule.hpp"
#include "tasks/tables.hpp"
#include "tasks/worker.hpp"

namespace cognive::tasks {
namespace {

using pg::test::soon;
using std::chrono::milliseconds;

constexpr pg::Query count_query{"count_tasks", "SELECT count(*) FROM tasks WHERE died_at IS NULL"};
constexpr pg::Query texts_query{"task_texts", "SELECT name || ' ' || payload::text FROM tasks ORDER BY name, payload"};
constexpr pg::Query dead_query{"dead_texts",
                               "SELECT name || ' ' || last_error FROM tasks WHERE died_at IS NOT NULL ORDER BY name"};
constexpr pg::Query left_query{"outbox_left", "SELECT count(*) FROM outbox"};
constexpr pg::Query lose_query{"lose_claims", "UPDATE tasks SET claimed_until = now() - interval '1 second'"};
constexpr pg::Query slots_query{"slots", "SELECT count(*) FROM task_schedules"};
constexpr pg::Query rewind_query{"rewind", "UPDATE task_schedules SET last_slot = last_slot - interval '10 days'"};
constexpr pg::Query forward_query{"forward", "UPDATE task_schedules SET last_slot = last_slot + interval '10 years'"};
constexpr pg::Query put_off_query{"put_off", "UPDATE tasks SET due_at = due_at + interval '10 years'"};

constexpr milliseconds lease{60'000};

void with_queue(const std::function<Async<>(pg::Cluster&, EmbeddedQueue&)>& test) {
  pg::test::with_cluster([&](pg::Cluster& database, Executor executor) -> Async<> {
    co_await pg::test::administrate(executor,
                                    "DROP SCHEMA IF EXISTS work CASCADE; CREATE SCHEMA work AUTHORIZATION "
                                    "cognive; ALTER ROLE cognive SET search_path = work; SET ROLE cognive; "
                                    "SET search_path = work; " +
                                        schema::create_statements({.tables = tables()}));
    EmbeddedQueue queue(database);
    co_await test(database, queue);
  });
}

Async<std::int64_t> count(pg::Cluster& database, const pg::Query& query) {
  co_return (co_await database.primary().execute(query, {}, soon()))[0].at<std::int64_t>(0);
}

Async<std::vector<std::string>> texts(pg::Cluster& database, const pg::Query& query) {
  const auto rows = co_await database.primary().execute(query, {}, soon());
  std::vector<std::string> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(rows[i].at<std::string>(0));
  co_return out;
}

NewTask named(std::string name, std::optional<std::string> key = {}, std::string payload = "{}") {
  NewTask task;
  task.name = std::move(name);
  task.key = std::move(key);
  task.payload = std::move(payload);
  return task;
}

// Not in braces where they are used: a list of them would be copied.
std::vector<NewTask> list_of(NewTask first) {
  std::vector<NewTask> out;
  out.push_back(std::move(first));
  return out;
}

std::vector<NewTask> list_of(NewTask first, NewTask second) {
  auto out = list_of(std::move(first));
  out.push_back(std::move(second));
  return out;
}

TEST(Queue, has_a_task_if_its_transaction_commits) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    {
      auto dropped = co_await database.begin(soon());
      EXPECT_EQ(co_await queue.enqueue(dropped, list_of(named("a"))), 1);
    }
    auto kept = co_await database.begin(soon());
    EXPECT_EQ(co_await queue.enqueue(kept, list_of(named("b"), named("b"))), 2);
    co_await kept.commit();
    EXPECT_EQ(co_await count(database, count_query), 2);
  });
}

TEST(Queue, has_one_task_of_a_name_and_key_until_that_is_done) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    EXPECT_EQ(co_await queue.enqueue(list_of(named("a", "k"), named("a", "k")), soon()), 1);
    EXPECT_EQ(co_await queue.enqueue(list_of(named("b", "k"), named("a", "k")), soon()), 1);
    auto taken = co_await queue.take("default", 10, "me", lease, soon());
    EXPECT_EQ(taken.size(), 2U);
    EXPECT_EQ(co_await queue.enqueue(list_of(named("a", "k")), soon()), 0);
    for (const auto& task : taken) EXPECT_TRUE(co_await queue.finish(task, soon()));
    EXPECT_EQ(co_await queue.enqueue(list_of(named("a", "k")), soon()), 1);
    EXPECT_EQ(co_await count(database, count_query), 1);
  });
}

TEST(Queue, hands_out_what_is_due_the_longest_due_first) {
  with_queue([](pg::Cluster&, EmbeddedQueue& queue) -> Async<> {
    auto later = named("later");
    later.delay = std::chrono::hours{1};
    auto elsewhere = named("elsewhere");
    elsewhere.queue = "other";
    auto overdue = named("overdue");
    overdue.delay = std::chrono::hours{-1};
    co_await queue.enqueue(list_of(named("now"), std::move(later)), soon());
    co_await queue.enqueue(list_of(std::move(overdue), std::move(elsewhere)), soon());
    const auto taken = co_await queue.take("default", 10, "me", lease, soon());
    EXPECT_EQ(taken.size(), 2U);
    if (taken.size() == 2) EXPECT_EQ(taken[0].name + " " + taken[1].name, "overdue now");
    EXPECT_TRUE((co_await queue.take("default", 10, "you", lease, soon())).empty());
  });
}

TEST(Queue, does_not_take_the_word_of_a_worker_that_has_lost_the_task) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    co_await queue.enqueue(list_of(named("a")), soon());
    const auto lost = (co_await queue.take("default", 1, "me", lease, soon())).front();
    co_await database.primary().execute(lose_query, {}, soon());
    const auto again = (co_await queue.take("default", 1, "me", lease, soon())).front();
    EXPECT_EQ(again.attempts, 2);
    std::vector<Task> both;
    both.push_back(lost);
    both.push_back(again);
    EXPECT_EQ((co_await queue.extend(both, lease, soon())).size(), 1U);
    EXPECT_FALSE(co_await queue.finish(lost, soon()));
    EXPECT_EQ(co_await queue.fail(lost, "no", milliseconds{0}, soon()), Fate::lost);
    co_await queue.give_back({lost}, soon());
    EXPECT_TRUE(co_await queue.finish(again, soon()));
    EXPECT_EQ(co_await count(database, count_query), 0);
  });
}

TEST(Queue, notes_the_ends_of_many_tasks_at_once) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    constexpr int all = 600;
    std::vector<NewTask> tasks;
    for (int i = 0; i < all; ++i) tasks.push_back(named("a"));
    co_await queue.enqueue(std::move(tasks), soon());
    auto taken = co_await queue.take("default", all, "me", lease, soon());
    EXPECT_EQ(taken.size(), std::size_t{all});
    auto stale = taken.front();
    ++stale.attempts;
    taken.push_back(std::move(stale));
    int ours = 0;
    TaskGroup group(co_await boost::asio::this_coro::executor, [](const std::exception_ptr&) { FAIL(); });
    const auto finish = [](EmbeddedQueue& of, Task task, int& count) -> Async<> {
      if (co_await of.finish(std::move(task), soon())) ++count;
    };
    for (auto& task : taken) group.spawn(finish(queue, std::move(task), ours));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(ours, all);
    EXPECT_EQ(co_await count(database, count_query), 0);
  });
}

TEST(Queue, writes_the_end_of_a_task_although_whoever_wrote_for_it_is_stopped) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    co_await queue.enqueue(list_of(named("a"), named("b")), soon());
    const auto taken = co_await queue.take("default", 2, "me", lease, soon());
    EXPECT_EQ(taken.size(), 2U);
    const auto executor = co_await boost::asio::this_coro::executor;
    TaskGroup stopped(executor, [](const std::exception_ptr&) {});
    const auto finish = [](EmbeddedQueue& of, Task task) -> Async<> { co_await of.finish(std::move(task), soon()); };
    stopped.spawn(finish(queue, taken[0]));
    const auto stop_soon = [](TaskGroup& group) -> Async<> {
      group.stop();
      co_return;
    };
    TaskGroup stopper(executor, [](const std::exception_ptr&) {});
    stopper.spawn(stop_soon(stopped));
    co_await queue.finish(taken[1], soon());
    EXPECT_TRUE(co_await stopped.join(soon()));
    co_await stopper.join(soon());
    const auto left = co_await count(database, count_query);
    EXPECT_LE(left, 1) << "what was stopped may be left, nothing else";
  });
}

// Does tasks of two queues, and notes how many of the flood there were before the other one.
struct Flood {
  int done = 0;
  int running = 0;
  int running_most = 0;
  std::optional<int> done_before_other;

  void add_to(Handlers& handlers) {
    handlers.add({.name = "quick", .queue = "flood"}, [this](const Task&, Deadline) { return quick(); });
    handlers.add({.name = "slow", .queue = "flood"}, [this](const Task&, Deadline) { return slow(); });
    handlers.add({.name = "other", .queue = "other"}, [this](const Task&, Deadline) { return other(); });
  }
  Async<> quick() {
    ++done;
    co_return;
  }
  Async<> slow() {
    running_most = std::max(running_most, ++running);
    co_await sleep_for(milliseconds{100});
    --running;
    ++done;
  }
  Async<> other() {
    done_before_other = done;
    co_return;
  }
};

std::vector<NewTask> many(int count, const char* name, const char* queue) {
  std::vector<NewTask> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(named(name));
    out.back().queue = queue;
  }
  return out;
}

Async<> until(const std::function<bool()>& condition) {
  for (const auto deadline = Deadline::in(milliseconds{20'000}); !condition() && !deadline.passed();)
    co_await sleep_for(milliseconds{5});
  EXPECT_TRUE(condition());
}

TEST(Worker, looks_at_all_queues_while_one_is_flooded_with_short_tasks) {
  with_queue([](pg::Cluster&, EmbeddedQueue& queue) -> Async<> {
    Metrics metrics;
    Handlers handlers;
    Flood flood;
    flood.add_to(handlers);
    constexpr int all = 8'000;
    co_await queue.enqueue(many(all, "quick", "flood"), soon());
    Worker worker(co_await boost::asio::this_coro::executor, queue, handlers, {.idle = milliseconds{100}}, metrics);
    worker.start();
    co_await until([&] { return flood.done > 200; });
    co_await queue.enqueue(many(1, "other", "other"), soon());
    co_await until([&] { return flood.done_before_other.has_value(); });
    EXPECT_LT(flood.done_before_other.value_or(all), all);
    co_await until([&] { return flood.done == all; });
    co_await worker.stop(soon());
  });
}

TEST(Worker, begins_no_more_than_it_has_slots_for_whatever_it_has_taken_ahead) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    Metrics metrics;
    Handlers handlers;
    Flood flood;
    flood.add_to(handlers);
    co_await queue.enqueue(many(300, "quick", "flood"), soon());
    co_await queue.enqueue(many(40, "slow", "flood"), soon());
    Worker worker(co_await boost::asio::this_coro::executor, queue, handlers,
                  {.concurrency = 8, .idle = milliseconds{100}}, metrics);
    worker.start();
    co_await until([&] { return flood.done == 340; });
    EXPECT_EQ(flood.running_most, 4) << "half of them, as others than the default queue have";
    co_await worker.stop(soon());
    EXPECT_EQ(co_await count(database, count_query), 0);
  });
}

TEST(Queue, forgets_an_attempt_that_was_handed_back) {
  with_queue([](pg::Cluster&, EmbeddedQueue& queue) -> Async<> {
    auto once = named("a");
    once.attempts_max = 1;
    co_await queue.enqueue(list_of(std::move(once)), soon());
    co_await queue.give_back(co_await queue.take("default", 1, "me", lease, soon()), soon());
    const auto again = co_await queue.take("default", 1, "you", lease, soon());
    EXPECT_EQ(again.size(), 1U);
    EXPECT_EQ(co_await queue.fail(again.front(), "no", milliseconds{0}, soon()), Fate::dead);
  });
}

TEST(Queue, lets_a_task_die_that_would_expire_before_its_next_attempt) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    auto hasty = named("hasty");
    hasty.lifetime = milliseconds{30'000};
    co_await queue.enqueue(list_of(std::move(hasty)), soon());
    const auto task = (co_await queue.take("default", 1, "me", lease, soon())).front();
    EXPECT_EQ(co_await queue.fail(task, "no", milliseconds{60'000}, soon()), Fate::dead);
    EXPECT_EQ(co_await texts(database, dead_query), std::vector<std::string>{"hasty no"});
  });
}

TEST(Scheduler, serves_each_slot_once_and_none_that_was_missed) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    constexpr Definition task{.name = "daily.task"};
    Scheduler scheduler(database);
    scheduler.add({.name = "daily", .interval = std::chrono::hours{24}, .task = task});
    scheduler.add({.name = "on start", .interval = std::chrono::hours{24}, .task = task, .when_elected = true});
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 2);
    EXPECT_EQ(co_await scheduler.enqueue_due(true, soon()), 0);  // they wait already
    const auto taken = co_await queue.take("default", 10, "me", lease, soon());
    for (const auto& one : taken) EXPECT_TRUE(co_await queue.finish(one, soon()));
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 0);
    EXPECT_EQ(co_await scheduler.enqueue_due(true, soon()), 1);
    co_await database.primary().execute(rewind_query, {}, soon());
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 1);  // the other one still waits
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 0);
    EXPECT_EQ(co_await count(database, slots_query), 2);
  });
}

TEST(Scheduler, goes_on_when_the_clock_of_the_database_had_been_ahead) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    constexpr Definition task{.name = "daily.task"};
    Scheduler scheduler(database);
    scheduler.add({.name = "daily", .interval = std::chrono::hours{24}, .task = task});
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 1);
    co_await database.primary().execute(forward_query, {}, soon());
    co_await database.primary().execute(put_off_query, {}, soon());
    EXPECT_TRUE((co_await queue.take("default", 10, "me", lease, soon())).empty());
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 1);
    EXPECT_EQ((co_await queue.take("default", 10, "me", lease, soon())).size(), 1U);
    EXPECT_EQ(co_await scheduler.enqueue_due(false, soon()), 0);
    EXPECT_EQ(co_await count(database, count_query), 1);
  });
}

// One task per message, named after the topic.
std::vector<NewTask> one_each(std::span<const outbox::Message> messages) {
  std::vector<NewTask> out;
  for (const auto& message : messages) {
    if (message.payload == R"({"bad": 1})") throw std::runtime_error("it is bad");
    out.push_back(named(message.topic, {}, message.payload));
  }
  return out;
}

Async<> write_messages(pg::Cluster& database, std::vector<std::pair<std::string, std::string>> messages) {
  auto transaction = co_await database.begin(soon());
  for (const auto& [topic, payload] : messages) co_await outbox::append(transaction, topic, payload);
  co_await transaction.commit();
}

TEST(Outbox, has_a_message_if_its_transaction_commits_and_makes_tasks_of_it_once) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    outbox::Relay relay(database, queue);
    relay.subscribe("a", one_each);
    relay.subscribe("a", [](std::span<const outbox::Message> messages) {
      return list_of(named("together", {}, std::to_string(messages.size())));
    });
    {
      auto dropped = co_await database.begin(soon());
      co_await outbox::append(dropped, "a", "{}");
    }
    std::vector<std::pair<std::string, std::string>> messages{{"a", R"({"n": 1})"}, {"a", R"({"n": 2})"}, {"b", "{}"}};
    co_await write_messages(database, std::move(messages));
    EXPECT_FALSE(co_await relay.pass(soon()));
    EXPECT_FALSE(co_await relay.pass(soon()));
    EXPECT_EQ(co_await texts(database, texts_query),
              (std::vector<std::string>{R"(a {"n": 1})", R"(a {"n": 2})", "together 2"}));
    EXPECT_EQ(co_await count(database, left_query), 0);
  });
}

TEST(Outbox, moves_on_all_but_a_message_that_nobody_can_read_and_that_one_when_it_is_retried) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    outbox::Relay relay(database, queue);
    Handlers handlers;
    relay.add_handlers(handlers);
    relay.subscribe("a", one_each);
    std::vector<std::pair<std::string, std::string>> messages{
        {"a", R"({"n": 1})"}, {"a", R"({"bad": 1})"}, {"a", R"({"n": 3})"}};
    co_await write_messages(database, std::move(messages));
    co_await relay.pass(soon());
    EXPECT_EQ(co_await count(database, left_query), 0);
    EXPECT_EQ(co_await count(database, count_query), 2);
    EXPECT_EQ(co_await texts(database, dead_query), std::vector<std::string>{"outbox.replay it is bad"});
    Task replayed;
    replayed.payload = R"({"topic": "a", "payload": {"n": 2}})";
    co_await handlers.find("outbox.replay")->handle(replayed, soon());
    EXPECT_EQ(co_await count(database, left_query), 1);
    co_await relay.pass(soon());
    EXPECT_EQ(co_await count(database, count_query), 3);
  });
}

TEST(Outbox, moves_on_no_more_than_a_batch_at_a_time) {
  with_queue([](pg::Cluster& database, EmbeddedQueue& queue) -> Async<> {
    outbox::Relay relay(database, queue);
    relay.subscribe("a", one_each);
    std::vector<std::pair<std::string, std::string>> messages(700, {"a", "{}"});
    co_await write_messages(database, std::move(messages));
    EXPECT_TRUE(co_await relay.pass(soon()));
    EXPECT_EQ(co_await count(database, left_query), 200);
    EXPECT_FALSE(co_await relay.pass(soon()));
    EXPECT_EQ(co_await count(database, count_query), 700);
  });
}

}  // namespace
}  // namespace cognive::tasks
