// Background work of alerts: each goes to every channel that wants it, at least once, under an id that tells repeats.
//
// Whoever raises an alert writes a message into the outbox of its transaction; it only wakes up `alerts.dispatch`,
// which looks for alerts that have not been dispatched, and would find them without. Each delivery is a task of its
// own, in a queue of its own: a receiver that hangs must not hold up anything else.
#pragma once

#include "alerts/sender.hpp"
#include "alerts/store.hpp"
#include "pg/cluster.hpp"
#include "tasks/outbox.hpp"
#include "tasks/schedule.hpp"
#include "tasks/tasks.hpp"

namespace cognive::alerts {

class Delivery {
 public:
  // `database`, `queue` and `sender` must outlive it.
  Delivery(pg::Cluster& database, tasks::Queue& queue, const Sender& sender, const keyring::RootKey& root)
      : database_(database), queue_(queue), sender_(sender), targets_(root) {}

  void add_handlers(tasks::Handlers& handlers);
  static void subscribe(tasks::outbox::Relay& relay);
  static tasks::Schedule schedule();

 private:
  Async<> dispatch(Deadline deadline);
  Async<> seal_targets(Deadline deadline);
  Async<> begin_anew(store::DeliveryTask failed, Deadline deadline);
  Async<> deliver(const tasks::Task& task, Deadline deadline);

  pg::Cluster& database_;
  tasks::Queue& queue_;
  const Sender& sender_;
  Targets targets_;
  bool all_sealed_ = false;
};

}  // namespace cognive::alerts
