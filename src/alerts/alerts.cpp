#include "alerts/alerts.hpp"

#include "alerts/store.hpp"
#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "pg/transact.hpp"
#include "tasks/outbox.hpp"

namespace cognive::alerts {
namespace {

Error agents_key() {
  return {Code::forbidden, "This key belongs to one agent and cannot see where alerts go.", {}};
}

}  // namespace

Async<Result<json::Page<Alert>>> Alerts::list(const Call& call, AlertQuery query) {
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Alert& alert) { return json::PagePosition{alert.created_at, alert.id}; });
}

Async<Result<Alert>> Alerts::acknowledge(const Call& call, Uuid id) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Alert>> {
    if (!co_await store::find(transaction, id, call.principal))
      co_return fail(Code::not_found, "There is no such alert.");
    const bool is_first = co_await store::acknowledge(transaction, id, call.principal.id);
    auto now = co_await store::find(transaction, id, call.principal);
    if (is_first) {
      trail_.record(transaction, call,
                    {.action = "alert_acknowledge",
                     .resource_kind = "alert",
                     .resource_id = id.text(),
                     .team_id = co_await store::team_of_alert(transaction, id),
                     .details = json::encode(*now)});
    }
    co_return std::move(*now);
  };
  co_return co_await pg::transact(database_, "alert_acknowledge", call, body);
}

Async<Result<json::Page<AlertDelivery>>> Alerts::deliveries(const Call& call, DeliveryQuery query) {
  if (call.principal.agent_id) co_return fail(agents_key());
  auto rows = co_await store::list_deliveries(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const AlertDelivery& one) { return json::PagePosition{one.created_at, one.id}; });
}

Async<Result<AlertDelivery>> Alerts::redeliver(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<AlertDelivery>> {
    auto locked = co_await store::lock_delivery(transaction, id, call.principal);
    if (!locked) co_return fail(Code::not_found, "There is no such delivery.");
    if (!locked->has_channel) co_return fail(Code::conflict, "Its channel has been deleted.");
    auto& delivery = locked->delivery;
    // Also when it waits: nobody who asks for it wants to wait for an hour.
    const store::DeliveryTask task{.delivery_id = id, .series = co_await store::wait_again(transaction, id)};
    co_await tasks::outbox::append(transaction, redelivery_topic, json::encode(task));
    delivery.state = DeliveryState::waiting;
    trail_.record(transaction, call,
                  {.action = "alert_delivery_redeliver",
                   .resource_kind = "alert_delivery",
                   .resource_id = id.text(),
                   .team_id = co_await store::team_of_alert(transaction, delivery.alert_id),
                   .details = json::encode(delivery)});
    co_return std::move(delivery);
  };
  co_return co_await pg::transact(database_, "alert_redeliver", call, body);
}

}  // namespace cognive::alerts
