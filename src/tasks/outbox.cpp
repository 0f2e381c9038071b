#include "tasks/outbox.hpp"

#include <algorithm>

#include "json/writer.hpp"
#include "observe/log.hpp"

namespace cognive::tasks::outbox {
namespace {

constexpr std::int64_t batch_max = 500;

constexpr Definition replay{.name = "outbox.replay", .time_limit = std::chrono::seconds{10}};

constexpr pg::Query append_statement{"outbox_append", "INSERT INTO outbox (topic, payload) VALUES ($1, $2::jsonb)"};

// Below the oldest transaction that runs, nothing is added any more: a batch that is cut there skips none, except those
// that were held up by a transaction for longer than anybody should be, or stem from the dump of another server, which
// counts its transactions differently. Of two that run side by side, either one's message may come first.
constexpr pg::Query take_query{
    "outbox_take",
    "DELETE FROM outbox WHERE sequence IN (SELECT sequence FROM outbox WHERE transaction_id < "
    "pg_snapshot_xmin(pg_current_snapshot()) OR created_at < now() - interval '10 minutes' "
    "ORDER BY sequence LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING sequence, topic, payload, created_at"};

constexpr pg::Query bury_query{
    "outbox_bury",
    "INSERT INTO tasks (id, name, payload, attempts, attempts_max, last_error, died_at) "
    "SELECT $1, $2, jsonb_build_object('topic', $3::text, 'payload', $4::jsonb), 1, 1, $5, now()"};

constexpr pg::Query replay_query{
    "outbox_replay", "INSERT INTO outbox (topic, payload) SELECT $1::jsonb->>'topic', $1::jsonb->'payload'"};

}  // namespace

const pg::Query& append_query() {
  return append_statement;
}

pg::Params params_of(std::string_view topic, std::string_view payload) {
  return pg::Params::of(topic, pg::Json{payload});
}

Async<> append(pg::Transaction& transaction, std::string_view topic, std::string_view payload) {
  co_await transaction.execute(append_statement, params_of(topic, payload));
}

void Relay::subscribe(std::string topic, Subscriber subscriber) {
  subscribers_[std::move(topic)].push_back(std::move(subscriber));
}

void Relay::read(std::span<const Message> messages, std::vector<NewTask>& tasks,
                 std::vector<Unreadable>& unreadable) const {
  const auto found = subscribers_.find(messages.front().topic);
  if (found == subscribers_.end()) return;
  try {
    std::vector<NewTask> made;
    for (const auto& subscriber : found->second) {
      auto some = subscriber(messages);
      made.insert(made.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
    }
    tasks.insert(tasks.end(), std::make_move_iterator(made.begin()), std::make_move_iterator(made.end()));
  } catch (const std::exception& error) {
    if (messages.size() == 1) {
      unreadable.push_back({messages.front(), kept_error(error.what())});
      return;
    }
    // The one that is to blame shall not keep back its neighbours.
    for (std::size_t i = 0; i < messages.size(); ++i) read(messages.subspan(i, 1), tasks, unreadable);
  }
}

Async<bool> Relay::pass(Deadline deadline) {
  auto transaction = co_await database_.begin(deadline);
  const auto rows = co_await transaction.execute(take_query, pg::Params::of(batch_max));
  std::map<std::string, std::vector<Message>, std::less<>> topics;
  for (int i = 0; i < rows.size(); ++i) {
    Message message;
    rows[i].read(message.sequence, message.topic, message.payload, message.created_at);
    topics[message.topic].push_back(std::move(message));
  }
  std::vector<NewTask> tasks;
  std::vector<Unreadable> unreadable;
  for (auto& [topic, messages] : topics) {
    std::ranges::sort(messages, {}, &Message::sequence);
    read(messages, tasks, unreadable);
  }
  co_await queue_.enqueue(transaction, std::move(tasks));
  for (const auto& one : unreadable) {
    log(Level::error, "a message of the outbox cannot be read and is a dead letter now",
        {{"topic", one.message.topic}, {"sequence", one.message.sequence}, {"reason", one.error}});
    auto params =
        pg::Params::of(Uuid::make(), replay.name, one.message.topic, pg::Json{one.message.payload}, one.error);
    co_await transaction.execute(bury_query, std::move(params));
  }
  if (rows.empty()) co_return false;  // rolled back: it has done nothing
  co_await transaction.commit();
  co_return rows.size() == batch_max;
}

void Relay::add_handlers(Handlers& handlers) {
  handlers.add(replay, [this](const Task& task, Deadline deadline) -> Async<> {
    Call call;
    call.deadline = deadline;
    co_await database_.primary().write(replay_query, pg::Params::of(pg::Json{task.payload}), call);
  });
}

}  // namespace cognive::tasks::outbox
