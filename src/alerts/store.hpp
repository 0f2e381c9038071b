// SQL of alerts, channels and deliveries.
#pragma once

#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"
#include "alerts/message.hpp"
#include "pg/cluster.hpp"

namespace cognive::alerts::store {

// Alerts.

Async<std::vector<Alert>> list(pg::Reader database, const AlertQuery& query, const Principal& principal,
                               Deadline deadline);
Async<std::optional<Alert>> find(pg::Transaction& transaction, Uuid id, const Principal& principal);
// Whether nobody had before.
Async<bool> acknowledge(pg::Transaction& transaction, Uuid id, Uuid principal_id);

// Channels.

// False when the id is taken.
Async<bool> insert(pg::Transaction& transaction, const AlertChannel& channel);
// Of the same team, or of the organisation.
Async<std::int64_t> count_alike(pg::Transaction& transaction, const AlertChannel& channel);
Async<std::optional<AlertChannel>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);
// Writes what may change, and sets updated_at; returns it.
Async<Timestamp> update(pg::Transaction& transaction, const AlertChannel& channel);
Async<> remove(pg::Transaction& transaction, Uuid id);
Async<AlertChannel> rotate_secret(pg::Transaction& transaction, Uuid id);
Async<std::optional<AlertChannel>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::vector<AlertChannel>> list(pg::Reader database, const AlertChannelList& query, const Principal& principal,
                                      Deadline deadline);

// Deliveries.

// What a task to deliver carries.
struct DeliveryTask {
  Uuid delivery_id;

  static constexpr auto fields() { return json::fields(json::field("delivery_id", &DeliveryTask::delivery_id, "")); }
};

Async<std::vector<AlertDelivery>> list_deliveries(pg::Reader database, const DeliveryQuery& query,
                                                  const Principal& principal, Deadline deadline);
Async<std::optional<AlertDelivery>> lock_delivery(pg::Transaction& transaction, Uuid id, const Principal& principal);
Async<> wait_again(pg::Transaction& transaction, Uuid id);

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
  bool is_open = false;  // the channel is enabled and there
  Alert alert;
  AlertedBudget budget;
};
Async<std::optional<Outgoing>> outgoing(pg::Pool& database, Uuid id, Deadline deadline);
// What became of an attempt. One that was accepted stays delivered.
Async<> settle(pg::Pool& database, Uuid id, DeliveryState state, const std::optional<std::string>& error,
               Deadline deadline);

}  // namespace cognive::alerts::store
