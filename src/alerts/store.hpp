// SQL of alerts, channels and deliveries.
#pragma once

#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"
#include "alerts/message.hpp"
#include "alerts/targets.hpp"
#include "pg/cluster.hpp"

namespace cognive::alerts::store {

// Alerts.

Async<std::vector<Alert>> list(pg::Reader database, const AlertQuery& query, const Principal& principal,
                               Deadline deadline);
Async<std::optional<Alert>> find(pg::Transaction& transaction, Uuid id, const Principal& principal);
// Whose budget raised it; nothing: the organisation's.
Async<std::optional<Uuid>> team_of_alert(pg::Transaction& transaction, Uuid id);
// Whether nobody had before.
Async<bool> acknowledge(pg::Transaction& transaction, Uuid id, Uuid principal_id);

// Channels.

// False when the id is taken.
Async<bool> insert(pg::Transaction& transaction, const AlertChannel& channel, const Targets& targets);
// Of the same team, or of the organisation; nobody else counts them until the transaction ends.
Async<std::int64_t> count_alike(pg::Transaction& transaction, const AlertChannel& channel);
Async<std::optional<AlertChannel>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal,
                                        const Targets& targets);
// Writes what may change, and sets updated_at; returns it.
Async<Timestamp> update(pg::Transaction& transaction, const AlertChannel& channel, const Targets& targets);
Async<> remove(pg::Transaction& transaction, Uuid id);
Async<AlertChannel> rotate_secret(pg::Transaction& transaction, Uuid id, const Targets& targets);
// Encrypts targets that were stored before they were encrypted, some at a time. How many.
Async<std::size_t> seal_some(pg::Transaction& transaction, const Targets& targets);
Async<std::optional<AlertChannel>> get(pg::Reader database, Uuid id, const Principal& principal, const Targets& targets,
                                       Deadline deadline);
Async<std::vector<AlertChannel>> list(pg::Reader database, const AlertChannelList& query, const Principal& principal,
                                      const Targets& targets, Deadline deadline);

// Deliveries.

// What a task to deliver carries.
struct DeliveryTask {
  Uuid delivery_id;
  std::int64_t series = 1;

  static constexpr auto fields() {
    return json::fields(json::field("delivery_id", &DeliveryTask::delivery_id, ""),
                        json::field("series", &DeliveryTask::series, "", {.optional = true}));
  }
};

Async<std::vector<AlertDelivery>> list_deliveries(pg::Reader database, const DeliveryQuery& query,
                                                  const Principal& principal, Deadline deadline);
struct LockedDelivery {
  AlertDelivery delivery;
  bool has_channel = false;  // it may have been deleted
};
Async<std::optional<LockedDelivery>> lock_delivery(pg::Transaction& transaction, Uuid id, const Principal& principal);
// The series of attempts that begins now; those before it are over.
Async<std::int64_t> wait_again(pg::Transaction& transaction, Uuid id);
// The same if this series has failed and is the last; nothing when it is not.
Async<std::optional<std::int64_t>> wait_again_after(pg::Transaction& transaction, const DeliveryTask& failed);
// At most `count` that have waited for longer than between any two attempts: their task may have been lost.
Async<std::vector<DeliveryTask>> overdue(pg::Transaction& transaction, std::int64_t count);

// Makes the deliveries of at most `count` alerts that have none yet; no alert gets them twice.
struct Dispatched {
  std::int64_t alerts = 0;
  std::vector<Uuid> deliveries;
};
Async<Dispatched> dispatch(pg::Transaction& transaction, std::int64_t count);

// All that an attempt needs.
struct Outgoing {
  DeliveryState state = DeliveryState::waiting;
  AlertChannel channel;
  std::int64_t series = 1;
  bool is_open = false;  // the channel is enabled and there
  Alert alert;
  AlertedBudget budget;
};
Async<std::optional<Outgoing>> outgoing(pg::Pool& database, Uuid id, const Targets& targets, Deadline deadline);
// What became of an attempt. What was accepted is delivered; what else becomes of a series that is over tells nothing.
Async<> settle(pg::Pool& database, const DeliveryTask& task, DeliveryState state,
               const std::optional<std::string>& error, Deadline deadline);

}  // namespace cognive::alerts::store
