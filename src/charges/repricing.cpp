#include <charconv>

#include "audit/audit.hpp"
#include "base/text.hpp"
#include "charges/charges.hpp"
#include "charges/store.hpp"
#include "pg/transact.hpp"
#include "rollups/rollups.hpp"
#include "runs/runs.hpp"
#include "tasks/outbox.hpp"
#include "teams/teams.hpp"

namespace cognive::charges {
namespace {

constexpr std::int64_t chunk_calls = 5'000;  // one transaction: what is held, and how long others wait
constexpr std::chrono::seconds work_max{5};  // of one request
constexpr std::chrono::milliseconds busy_wait{50};
constexpr std::size_t models_max = 1'000;  // names come from clients

// How much of the range a query looks at: as much as has about a chunk of calls, so that none sorts the whole range.
constexpr std::chrono::microseconds slice_first = std::chrono::hours{1};
constexpr std::chrono::microseconds slice_min = std::chrono::milliseconds{1};
constexpr std::chrono::microseconds slice_max = std::chrono::hours{24};
constexpr std::chrono::microseconds gap_max = std::chrono::hours{24 * 3650};  // where there is nothing

// As all sums of money end: at 9.2 billion dollars.
void add(NanoUsd& sum, std::int64_t nanos) {
  if (__builtin_add_overflow(sum.nanos, nanos, &sum.nanos)) sum.nanos = nanos < 0 ? INT64_MIN : INT64_MAX;
}

// What one chunk did; added to the answer when it is committed, since it may be tried more than once.
struct Chunk {
  bool is_busy = false;   // another repricing is at work
  bool is_stale = false;  // prices have changed since the catalogue was read
  std::size_t calls = 0;
  Place reached;
  std::int64_t changed = 0;
  std::int64_t newly_priced = 0;
  std::int64_t no_longer_priced = 0;
  NanoUsd difference;
  std::map<std::pair<std::string, std::string>, RepricedModel> models;
  runs::CostChanges costs;

  void count(const store::NewAdjustment& one) {
    const auto before = one.call->cost.value_or(NanoUsd{});
    const auto after = one.cost.value_or(NanoUsd{});
    ++changed;
    if (!one.call->cost && one.cost) ++newly_priced;
    if (one.call->cost && !one.cost) ++no_longer_priced;
    add(difference, after.nanos - before.nanos);
    costs.add(one.call->place.run_id, after.nanos - before.nanos);
    auto& model = models[{one.call->provider.value_or(""), one.call->model}];
    model.provider = one.call->provider;
    model.model = one.call->model;
    ++model.changed;
    add(model.before_usd, before.nanos);
    add(model.after_usd, after.nanos);
  }
};

// What the adjustment of a call changes in the rollups. With another status it stands under another key.
void add_to(rollups::Deltas& deltas, const store::NewAdjustment& one) {
  const auto& call = *one.call;
  rollups::Key key{.timestamp = call.place.timestamp,
                   .team_id = call.team_id,
                   .agent_id = call.agent_id,
                   .environment = call.environment,
                   .provider = call.provider ? std::string_view(*call.provider) : std::string_view(),
                   .model = call.model,
                   .price_status = call.price_status};
  const auto before = call.cost.value_or(NanoUsd{}).nanos;
  const auto after = one.cost.value_or(NanoUsd{}).nanos;
  if (one.price_status == call.price_status) return deltas.add_cost(key, after - before);
  const auto tokens = [&call](std::string_view unit) {
    return call.usage.quantity(*prices::Units::shipped().by_name(unit));
  };
  rollups::Facts facts{.failed = call.failed,
                       .is_usage_known = call.usage.reported_units() != 0,
                       .tokens = {tokens("input_tokens"), tokens("output_tokens"), tokens("cache_read_tokens"),
                                  tokens("cache_write_tokens")},
                       .cost_nanos = before,
                       .duration_ms = call.duration_ms};
  deltas.subtract(key, facts);
  key.price_status = one.price_status;
  facts.cost_nanos = after;
  deltas.add(key, facts);
}

audit::Entry entry(const Uuid& id, const std::optional<Uuid>& team_id, const Chunk& chunk, const Place& from) {
  json::Writer details;
  details.begin_object();
  details.field("after", from.timestamp.text());
  details.field("until", chunk.reached.timestamp.text());
  details.key("changed");
  details.integer(chunk.changed);
  details.key("difference_usd");
  json::write(details, chunk.difference);
  details.end_object();
  return {.action = "charges_reprice",
          .resource_kind = "repricing",
          .resource_id = id.text(),
          .team_id = team_id,
          .details = std::move(details).text()};
}

struct Work {
  const Call& call;
  const audit::Trail& trail;
  prices::Pricer pricer;
  store::Selection selection;
  Uuid id;
  bool dry_run = false;
};

Async<Result<Chunk>> reprice_chunk(pg::Transaction& transaction, Work& work, const Place& after, Timestamp until) {
  // Not waited for: that would hold a connection which others need.
  if (!work.dry_run && !co_await store::try_lock(transaction)) co_return Chunk{.is_busy = true};
  // Under the lock, so that no adjustment takes back one that was made by newer prices.
  if (!co_await prices::Prices::is_current(transaction, *work.pricer.catalogue())) co_return Chunk{.is_stale = true};
  const auto calls = co_await store::read(transaction, work.selection, after, until, chunk_calls);
  Chunk chunk;
  chunk.calls = calls.size();
  chunk.reached = calls.size() == static_cast<std::size_t>(chunk_calls) ? calls.back().place : Place{until, {}, {}};
  std::vector<store::NewAdjustment> adjustments;
  for (const auto& one : calls) {
    const auto priced =
        work.pricer.price(one.team_id, one.provider.value_or(""), one.model, one.place.timestamp, one.usage);
    const store::NewAdjustment wanted{
        .call = &one,
        .price_status = json::enum_text(priced.status),
        .price_version_id = priced.version != nullptr ? std::optional(priced.version->id) : std::nullopt,
        .cost = priced.has_cost() ? std::optional(priced.cost) : std::nullopt};
    // By which version a call has no cost makes no difference to anybody.
    const bool same_version = !one.cost || wanted.price_version_id == one.price_version_id;
    if (wanted.price_status == one.price_status && wanted.cost == one.cost && same_version) continue;
    chunk.count(wanted);
    adjustments.push_back(wanted);
  }
  if (!work.dry_run && !adjustments.empty()) {
    co_await store::insert(transaction, work.id, adjustments);
    co_await runs::apply(transaction, chunk.costs);
    rollups::Deltas deltas;
    for (const auto& one : adjustments) add_to(deltas, one);
    co_await rollups::append(transaction, deltas);
    co_await tasks::outbox::append(transaction, repriced_topic, fmt::format(R"({{"changed":{}}})", chunk.changed));
    auto record = entry(work.id, work.selection.team_id ? work.selection.team_id : work.selection.principal_team_id,
                        chunk, after);
    work.trail.record(transaction, work.call, std::move(record));
  }
  co_return chunk;
}

// The first part of [from, until) that may have calls and is no wider than a slice: skips what has none.
struct Slice {
  Timestamp from;
  std::chrono::microseconds width{};
};
Async<Result<Slice>> skip_gap(pg::Transaction& transaction, Timestamp from, Timestamp until) {
  auto width = slice_max;
  while (from < until) {
    const auto end = std::min(from.plus(width), until);
    if (!co_await store::any_calls(transaction, from, end)) {
      from = end;
      width = std::min(width * 2, gap_max);
    } else if (width <= slice_max) {
      break;
    } else {
      width = std::max(width / 2, slice_max);
    }
  }
  co_return Slice{from, width};
}

}  // namespace

std::string Place::cursor() const {
  return fmt::format("{}.{}.{}", timestamp.micros, run_id.text(), call_id.text());
}

std::optional<Place> Place::parse(std::string_view cursor) {
  Place out;
  const auto dot = cursor.find('.');
  if (dot == std::string_view::npos || cursor.size() != dot + 1 + 36 + 1 + 36) return std::nullopt;
  const auto [end, error] = std::from_chars(cursor.data(), cursor.data() + dot, out.timestamp.micros);
  const auto run_id = Uuid::parse(cursor.substr(dot + 1, 36));
  const auto call_id = Uuid::parse(cursor.substr(dot + 38));
  const bool in_range = out.timestamp >= Timestamp::min() && out.timestamp <= Timestamp::max();
  if (error != std::errc{} || end != cursor.data() + dot || !run_id || !call_id || !in_range) return std::nullopt;
  out.run_id = *run_id;
  out.call_id = *call_id;
  return out;
}

void RepriceRequest::check(json::Faults& faults) const {
  if (!faults.has_at("from") && !faults.has_at("to") && to <= from)
    faults.add_at("to", "It must be after from.", json::quoted(to.text()));
  if (cursor && !faults.has_at("cursor") && !Place::parse(*cursor))
    faults.add_at("cursor", "It must be the cursor of an answer.", json::quoted(shortened(*cursor, 64)));
}

Async<Result<RepriceAnswer>> Charges::reprice(const Call& call, RepriceRequest request) {
  if (call.principal.agent_id)
    co_return fail(Code::forbidden, "This key belongs to one agent and cannot price calls again.");
  Work work{.call = call,
            .trail = trail_,
            .pricer = prices::Pricer(catalogue_.get()),
            .selection = {.principal_team_id = call.principal.team_id,
                          .team_id = {},
                          .agent_id = request.agent_id,
                          .provider = std::move(request.provider),
                          .model = std::move(request.model)},
            .id = call.id_or_new(request.id),
            .dry_run = request.dry_run};
  if (request.team) {
    work.selection.team_id = co_await teams::find_by_name(database_, *request.team, call);
    if (!work.selection.team_id)
      co_return unprocessable("/team", "There is no such team.", json::quoted(shortened(*request.team, 64)));
  }

  RepriceAnswer answer{.id = work.id};
  Place place{request.from, {}, {}};
  if (request.cursor) place = std::max(place, *Place::parse(*request.cursor));
  const auto stop = std::chrono::steady_clock::now() + work_max;
  auto slice = slice_first;
  std::map<std::pair<std::string, std::string>, RepricedModel> models;
  bool has_progress = false;
  while (place.timestamp < request.to) {
    const auto until = std::min(place.timestamp.plus(slice), request.to);
    const auto body = [&](pg::Transaction& transaction) { return reprice_chunk(transaction, work, place, until); };
    const auto skip = [&](pg::Transaction& transaction) { return skip_gap(transaction, place.timestamp, request.to); };
    Result<Chunk> chunk;
    try {
      chunk = co_await pg::transact(database_, "reprice", call, body);
      if (chunk && chunk->calls == 0 && !chunk->is_busy && !chunk->is_stale && until < request.to) {
        const auto found = co_await pg::transact(database_, "reprice", call, skip);
        const bool is_gap = found->from > place.timestamp;
        place = std::max(place, Place{found->from, {}, {}});
        slice = is_gap ? slice_first : std::min(slice * 2, slice_max);
        has_progress = true;
      }
    } catch (const Unavailable&) {
      // What has been committed has to be told.
      if (!has_progress) throw;
      break;
    }
    if (!chunk) co_return std::unexpected(chunk.error());
    if (chunk->is_stale) {
      co_await prices_.refresh(call.deadline);
      work.pricer = prices::Pricer(catalogue_.get());
      continue;
    }
    if (chunk->is_busy) {
      co_await sleep_for(busy_wait);
      if (std::chrono::steady_clock::now() >= stop) break;
      continue;
    }
    has_progress = true;
    const bool full = chunk->calls == static_cast<std::size_t>(chunk_calls);
    if (chunk->calls > 0) slice = full ? std::max(slice / 2, slice_min) : std::min(slice * 2, slice_max);
    place = std::max(place, chunk->reached);
    answer.calls += static_cast<std::int64_t>(chunk->calls);
    answer.changed += chunk->changed;
    answer.newly_priced += chunk->newly_priced;
    answer.no_longer_priced += chunk->no_longer_priced;
    add(answer.difference_usd, chunk->difference.nanos);
    for (auto& [names, one] : chunk->models) {
      if (models.size() >= models_max && !models.contains(names)) continue;
      auto& sum = models[names];
      sum.provider = std::move(one.provider);
      sum.model = std::move(one.model);
      sum.changed += one.changed;
      add(sum.before_usd, one.before_usd.nanos);
      add(sum.after_usd, one.after_usd.nanos);
    }
    if (std::chrono::steady_clock::now() >= stop) break;
  }
  answer.done = place.timestamp >= request.to;
  answer.reached = place.timestamp;
  if (!answer.done) answer.cursor = place.cursor();
  for (auto& [names, one] : models) answer.items.push_back(std::move(one));
  std::ranges::sort(answer.items, std::greater{}, [](const RepricedModel& one) {
    const auto difference = one.after_usd.nanos - one.before_usd.nanos;
    return std::pair(difference < 0 ? -difference : difference, one.changed);
  });
  co_return answer;
}

}  // namespace cognive::charges
