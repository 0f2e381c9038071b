#include "alerts/delivery.hpp"

#include <fmt/format.h>

#include <stdexcept>

#include "alerts/store.hpp"
#include "budgets/charging.hpp"
#include "json/bind.hpp"

namespace cognive::alerts {
namespace {

using std::chrono::milliseconds;

constexpr tasks::Definition dispatch_alerts{.name = "alerts.dispatch",
                                            .attempts_max = 12,
                                            .time_limit = milliseconds{10'000},
                                            .backoff_max = milliseconds{15'000}};
// The waits between attempts add up to six hours at most, three on average: a receiver may be away for a night's
// maintenance. Then it is a dead letter.
constexpr tasks::Definition deliver_alert{.name = "alerts.deliver",
                                          .queue = "alerts",
                                          .attempts_max = 16,
                                          .time_limit = milliseconds{30'000},
                                          .backoff_first = milliseconds{5'000},
                                          .backoff_max = milliseconds{3'600'000}};

constexpr std::int64_t alerts_per_step = 200;
constexpr std::chrono::seconds sweep_interval{15};

tasks::NewTask task_of(const store::DeliveryTask& payload) {
  return tasks::NewTask::of(deliver_alert, json::encode(payload),
                            fmt::format("{}/{}", payload.delivery_id.text(), payload.series));
}

store::DeliveryTask read_task(std::string payload) {
  auto read = json::decode<store::DeliveryTask>(std::move(payload));
  if (!read) throw std::runtime_error("no message about a delivery: " + read.error().detail);
  return *read;
}

}  // namespace

void Delivery::add_handlers(tasks::Handlers& handlers) {
  handlers.add(dispatch_alerts, [this](const tasks::Task&, Deadline deadline) { return dispatch(deadline); });
  handlers.add(deliver_alert, [this](const tasks::Task& task, Deadline deadline) { return deliver(task, deadline); });
}

void Delivery::subscribe(tasks::outbox::Relay& relay) {
  // One task stands for all messages that come before it runs.
  relay.subscribe(std::string(budgets::alerted_topic), [](std::span<const tasks::outbox::Message>) {
    return std::vector{tasks::NewTask::of(dispatch_alerts, "{}", "alerts")};
  });
  relay.subscribe(std::string(redelivery_topic), [](std::span<const tasks::outbox::Message> messages) {
    std::vector<tasks::NewTask> out;
    for (const auto& message : messages) out.push_back(task_of(read_task(message.payload)));
    return out;
  });
}

tasks::Schedule Delivery::schedule() {
  return {.name = dispatch_alerts.name, .interval = sweep_interval, .task = dispatch_alerts, .when_elected = true};
}

// Those that were stored before they were encrypted: nobody stores others any more.
Async<> Delivery::seal_targets(Deadline deadline) {
  while (!all_sealed_) {
    auto transaction = co_await database_.begin(deadline);
    all_sealed_ = co_await store::seal_some(transaction, targets_) == 0;
    if (!all_sealed_) co_await transaction.commit();
  }
}

Async<> Delivery::dispatch(Deadline deadline) {
  co_await seal_targets(deadline);
  for (;;) {
    auto transaction = co_await database_.begin(deadline);
    const auto dispatched = co_await store::dispatch(transaction, alerts_per_step);
    const auto overdue = co_await store::overdue(transaction, alerts_per_step);
    if (dispatched.alerts == 0 && overdue.empty()) co_return;
    std::vector<tasks::NewTask> deliveries;
    for (const auto& id : dispatched.deliveries) deliveries.push_back(task_of({.delivery_id = id, .series = 1}));
    // Whose task is alive gets no other: it has the same key.
    for (const auto& one : overdue) deliveries.push_back(task_of(one));
    if (!deliveries.empty()) co_await queue_.enqueue(transaction, std::move(deliveries));
    co_await transaction.commit();
  }
}

Async<> Delivery::begin_anew(store::DeliveryTask failed, Deadline deadline) {
  auto transaction = co_await database_.begin(deadline);
  const auto series = co_await store::wait_again_after(transaction, failed);
  if (!series) co_return;  // somebody else has, or it has been delivered
  failed.series = *series;
  co_await queue_.enqueue(transaction, {task_of(failed)});
  co_await transaction.commit();
}

Async<> Delivery::deliver(const tasks::Task& task, Deadline deadline) {
  const auto wanted = read_task(task.payload);
  const auto id = wanted.delivery_id;
  auto& primary = database_.primary();
  const auto outgoing = co_await store::outgoing(primary, id, targets_, deadline);
  // Delivered by an attempt whose end could not be noted.
  if (!outgoing || outgoing->state == DeliveryState::delivered) co_return;
  if (outgoing->series != wanted.series) {
    // Begun anew by somebody who did not want to wait. If that has failed, too, this is a dead letter that is tried
    // again.
    if (outgoing->state == DeliveryState::failed) co_await begin_anew({id, outgoing->series}, deadline);
    co_return;
  }
  if (!outgoing->is_open) {
    const std::string reason = "The channel is disabled or deleted.";
    co_return co_await store::settle(primary, wanted, DeliveryState::failed, reason, deadline);
  }
  const auto sent =
      co_await sender_.send(outgoing->channel.endpoint(), message_of(id, outgoing->alert, outgoing->budget), deadline);
  if (sent) co_return co_await store::settle(primary, wanted, DeliveryState::delivered, std::nullopt, deadline);
  const bool is_last = task.attempts >= task.attempts_max;
  const auto error = tasks::kept_error(sent.error().detail);
  co_await store::settle(primary, wanted, is_last ? DeliveryState::failed : DeliveryState::waiting, error, deadline);
  throw std::runtime_error(error);
}

}  // namespace cognive::alerts
