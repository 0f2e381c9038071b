#include "audit/refusals.hpp"

#include <set>

#include "pg/transact.hpp"

namespace cognive::audit {
namespace {

constexpr std::int64_t minute_us = 60'000'000;

std::int64_t minute_of(Timestamp time) {
  return time.micros / minute_us;
}

std::string_view reason_of(int status) {
  switch (status) {
    case 401:
      return "unauthenticated";
    case 403:
      return "forbidden";
    default:
      return "over_limit";
  }
}

}  // namespace

void Refusals::note(http::Refusal refusal) {
  const auto now = Timestamp::now();
  const auto& principal = refusal.principal;
  const bool is_anonymous = principal.kind == Principal::Kind::anonymous;
  Key key{.minute = minute_of(now),
          .kind = principal.kind,
          .id = principal.id,
          .team_id = principal.team_id,
          .address = is_anonymous ? std::move(refusal.address) : std::string(),
          .account = is_anonymous ? refusal.account : std::nullopt,
          .operation = std::move(refusal.operation),
          .status = refusal.status};
  const std::scoped_lock lock(mutex_);
  add(std::move(key), {.count = 1, .first_at = now, .last_at = now});
}

void Refusals::add(Key key, const Count& count) {
  if (!counts_.contains(key)) {
    if (counts_.size() >= kept_max_of_all) {
      // However long the database is away, and whoever asks.
      key = {.minute = counts_.begin()->first.minute,
             .address = "others",
             .account = {},
             .operation = "others",
             .status = key.status};
    } else if (counts_.size() >= kept_max && key.kind == Principal::Kind::anonymous) {
      key.address = "others";
      key.account.reset();
    }
  }
  auto& sum = counts_.try_emplace(std::move(key), Count{.count = 0, .first_at = count.first_at}).first->second;
  sum.count += count.count;
  sum.first_at = std::min(sum.first_at, count.first_at);
  sum.last_at = std::max(sum.last_at, count.last_at);
}

Refusals::Counts Refusals::take(Which which) {
  const auto now = minute_of(Timestamp::now());
  const std::scoped_lock lock(mutex_);
  Counts out;
  while (!counts_.empty()) {
    const auto first = counts_.begin();
    if (which == Which::past_minutes && first->first.minute >= now) break;
    out.insert(counts_.extract(first));
  }
  return out;
}

void Refusals::put_back(Counts counts) {
  const std::scoped_lock lock(mutex_);
  for (auto& [key, count] : counts) add(key, count);
}

// Entries of one caller are one statement.
Async<> Refusals::record_some(pg::Cluster& database, const Trail& trail, const Counts& counts, Deadline deadline) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<void>> {
    std::map<std::pair<Principal::Kind, Uuid>, std::vector<Entry>> by_caller;
    for (const auto& [key, sum] : counts) {
      json::Writer details;
      details.begin_object();
      details.field("reason", reason_of(key.status));
      details.key("count");
      details.integer(sum.count);
      details.field("first_at", sum.first_at.text());
      details.field("last_at", sum.last_at.text());
      if (!key.address.empty()) details.field("address", key.address);
      if (key.account) details.field("account", key.account->text());
      details.end_object();
      by_caller[{key.kind, key.id}].push_back({.action = "access_refuse",
                                               .resource_kind = "operation",
                                               .resource_id = key.operation,
                                               .team_id = key.team_id,
                                               .details = std::move(details).text()});
    }
    for (auto& [caller, entries] : by_caller) {
      Call call;
      call.principal = {.kind = caller.first, .id = caller.second};
      trail.record(transaction, call, std::move(entries));
    }
    co_return Result<void>{};
  };
  Call call;
  call.deadline = deadline;
  co_await pg::transact(database, "access_refuse", call, body);
}

Async<> Refusals::record(pg::Cluster& database, const Trail& trail, Which which, Deadline deadline) {
  constexpr std::size_t callers_max = 20;
  auto counts = take(which);
  std::exception_ptr failure;
  while (!counts.empty() && !failure) {
    Counts some;
    std::set<std::pair<Principal::Kind, Uuid>> callers;
    while (!counts.empty()) {
      const auto& first = counts.begin()->first;
      callers.emplace(first.kind, first.id);
      if (callers.size() > callers_max) break;
      some.insert(counts.extract(counts.begin()));
    }
    try {
      co_await record_some(database, trail, some, deadline);
    } catch (...) {
      failure = std::current_exception();
      put_back(std::move(some));
    }
  }
  put_back(std::move(counts));
  if (failure) std::rethrow_exception(failure);
}

}  // namespace cognive::audit
