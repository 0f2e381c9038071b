// Background work as a process does it: which tasks there are, what does them, and what runs periodically. The API
// server and `cognive worker` both run it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "alerts/sender.hpp"
#include "amqp/connection.hpp"
#include "commands/local.hpp"
#include "config/settings.hpp"
#include "keyring/root_key.hpp"
#include "objects/objects.hpp"
#include "observe/metrics.hpp"
#include "pg/monitor.hpp"
#include "redis/client.hpp"
#include "runs/known_runs.hpp"
#include "runtime/async.hpp"

namespace cognive::commands {

struct BackgroundOptions {
  objects::Storage& storage;                       // there may be none in it
  amqp::Connection* publisher = nullptr;           // to RabbitMQ; null: there is none
  std::optional<RabbitMq> rabbitmq = {};           // where it is
  std::optional<redis::ClientOptions> redis = {};  // for results of tasks; nothing: there is none
  std::vector<std::string> queues = {};            // from which tasks are taken; empty: all that this version knows
};

class Background {
 public:
  // Has database connections of its own, so that neither requests nor tasks wait for the others'. `settings`,
  // `monitor`, `known` (what the process remembers of runs) and `metrics` must outlive it. Everything happens on
  // `executor`'s thread.
  Background(Executor executor, const Settings& settings, const BackgroundOptions& options, keyring::RootKey root,
             pg::Monitor& monitor, runs::KnownRuns& known, Metrics& metrics);
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  // Code::conflict when the master key is not that of the installation.
  Async<Result<void>> start();
  // Finishes what is under way until shortly before the deadline, and hands the rest back.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// How both send alerts.
alerts::SenderOptions sender_options(const Settings& settings, const keyring::RootKey& root, std::size_t threads);

// How many connections one process needs for it.
std::int64_t background_connections(const Settings& settings);

}  // namespace cognive::commands
