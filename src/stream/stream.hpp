// The live stream: what happens to runs and budgets, told to whoever listens over HTTP (server-sent events). Triggers
// write a row in the transaction in which something happens, while anybody listens, or did some minutes ago; each I/O
// thread with listeners reads new rows a few times a second, in the order of commits, and keeps the latest in memory.
//
// A position names a transaction and a row of it. All rows before it have been told, whatever node one listens on.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/principal.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::stream {

enum class Topic { run, alert };

constexpr auto enum_names(Topic) {
  return std::array{json::name(Topic::run, "run"), json::name(Topic::alert, "alert")};
}

struct Position {
  std::int64_t transaction = 0;
  std::int64_t sequence = 0;

  // "1234-56", as an event's id.
  [[nodiscard]] std::string text() const;
  static std::optional<Position> parse(std::string_view text);
  auto operator<=>(const Position&) const = default;
};

struct Message {
  Position position;
  std::string type;  // run.succeeded, budget.alerted
  std::optional<Uuid> team_id;
  std::optional<Uuid> agent_id;
  std::string payload;  // JSON of one line
};

// What a listener wants of what it may see.
struct Wishes {
  std::vector<Topic> topics;     // none: all
  std::optional<Uuid> agent_id;  // only of this agent
};

class Listener;

// Of one thread.
class Hub {
 public:
  // `database` must outlive it, and it its listeners.
  Hub(const Executor& executor, pg::Cluster& database);
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;
  ~Hub();

  // From now on, or from what follows `after`. Code::unavailable when there are too many.
  Async<Result<std::shared_ptr<Listener>>> listen(const Call& call, std::optional<Position> after, Wishes wishes);

  // Reads for the listeners, until it is cancelled.
  Async<> run();
  // All listeners come to their end.
  void stop();

 private:
  friend class Listener;
  struct State;
  std::shared_ptr<State> state_;
};

// One client. It reads what it has not read, so that a slow one costs nothing but a question to the database.
class Listener {
 public:
  Listener(std::shared_ptr<Hub::State> hub, Position position, bool has_missed, Wishes wishes);
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  ~Listener();

  // The next events that `principal` may see, as text of server-sent events; after a while without any a sign of life.
  // Empty: nothing yet, after a second at most, so that the caller can ask whether it still may. Nothing: the server is
  // stopping.
  Async<std::optional<std::string>> next(const Principal& principal);

 private:
  Async<std::string> catch_up(const Principal& principal);
  [[nodiscard]] bool wants(const Principal& principal, const Message& message) const;

  std::shared_ptr<Hub::State> hub_;
  Position position_;
  bool has_missed_;
  bool has_begun_ = false;
  std::int64_t generation_;
  Deadline heartbeat_;
  Wishes wishes_;
};

// Forgets what is older than an hour. For a task.
Async<> forget_old(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::stream
