// The transactional outbox: a writer adds one row about what its transaction has done, and the leader's relay makes
// tasks of it once that has been committed. Nothing is lost between the commit and the task, and nothing is done twice.
//
//   co_await tasks::outbox::append(transaction, "events.stored", payload);
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pg/cluster.hpp"
#include "tasks/tasks.hpp"

namespace cognive::tasks::outbox {

// For writers that send their statements together: params_of has its parameters.
const pg::Query& append_query();
// `payload` is JSON without U+0000.
pg::Params params_of(std::string_view topic, std::string_view payload);

// Adds a row in the transaction. A writer adds one per commit, about everything that it has done.
Async<> append(pg::Transaction& transaction, std::string_view topic, std::string_view payload);

struct Message {
  std::int64_t sequence = 0;
  std::string topic;
  std::string payload;  // JSON
  Timestamp created_at;
};

// Makes tasks of a batch of messages of one topic, in the order of their numbers. No I/O; whatever it throws is the
// fault of one of the messages.
using Subscriber = std::function<std::vector<NewTask>(std::span<const Message>)>;

// Moves messages on. For the leader, but any number of relays at once do no harm.
class Relay {
 public:
  // Both must outlive it.
  Relay(pg::Cluster& database, Queue& queue) : database_(database), queue_(queue) {}

  // Several subscribers of a topic all get its messages. Messages of a topic without any are deleted.
  void subscribe(std::string topic, Subscriber subscriber);

  // Moves at most one batch; whether there may be more. A message that its subscriber cannot read becomes a dead letter
  // (of the task `outbox.replay`); retrying that passes the message on again. Throws Unavailable.
  Async<bool> pass(Deadline deadline);

  // The handler of such a dead letter.
  void add_handlers(Handlers& handlers);

 private:
  struct Unreadable {
    Message message;
    std::string error;
  };
  // Of messages of one topic.
  void read(std::span<const Message> messages, std::vector<NewTask>& tasks, std::vector<Unreadable>& unreadable) const;

  pg::Cluster& database_;
  Queue& queue_;
  std::map<std::string, std::vector<Subscriber>, std::less<>> subscribers_;
};

}  // namespace cognive::tasks::outbox
