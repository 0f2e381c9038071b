#include <charconv>

#include "audit/audit.hpp"
#include "base/text.hpp"
#include "charges/charges.hpp"
#include "charges/store.hpp"
#include "pg/transact.hpp"
#include "runs/runs.hpp"
#include "teams/teams.hpp"

namespace cognive::charges {
namespace {

constexpr std::int64_t chunk_calls = 5'000;  // one transaction: what is held, and how long others wait
constexpr std::chrono::seconds work_max{5};  // of one request
constexpr std::size_t models_max = 1'000;    // names come from clients

// How much of the range a query looks at: as much as has about a chunk of calls, so that none sorts the whole range.
constexpr std::chrono::microseconds slice_first = std::chrono::hours{1};
constexpr std::chrono::microseconds slice_min = std::chrono::milliseconds{1};
constexpr std::chrono::microseconds slice_max = std::chrono::hours{24 * 3650};

// As all sums of money end: at 9.2 billion dollars.
void add(NanoUsd& sum, std::int64_t nanos) {
  if (__builtin_add_overflow(sum.nanos, nanos, &sum.nanos)) sum.nanos = nanos < 0 ? INT64_MIN : INT64_MAX;
}

// What one chunk did; added to the answer when it is committed, since it may be tried more than once.
struct Chunk {
  std::size_t calls = 0;
  Place reached;
  std::int64_t changed = 0;
  std::int64_t newly_priced = 0;
  std::int64_t no_longer_priced = 0;
  NanoUsd difference;
  std::map<std::pair<std::string, std::string>, RepricedModel> models;

  void count(const store::NewAdjustment& one) {
    const auto before = one.call->cost.value_or(NanoUsd{});
    const auto after = one.cost.value_or(NanoUsd{});
    ++changed;
    if (!one.call->cost && one.cost) ++newly_priced;
    if (one.call->cost && !one.cost) ++no_longer_priced;
    add(difference, after.nanos - before.nanos);
    auto& model = models[{one.call->provider.value_or(""), one.call->model}];
    model.provider = one.call->provider;
    model.model = one.call->model;
    ++model.changed;
    add(model.before_usd, before.nanos);
    add(model.after_usd, after.nanos);
  }
};

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
  prices::Pricer& pricer;
  store::Selection selection;
  Uuid id;
  bool dry_run = false;
};

Async<Result<Chunk>> reprice_chunk(pg::Transaction& transaction, const Work& work, const Place& after,
                                   Timestamp until) {
  if (!work.dry_run) co_await store::lock(transaction);
  const auto calls = co_await store::read(transaction, work.selection, after, until, chunk_calls);
  Chunk chunk;
  chunk.calls = calls.size();
  chunk.reached = calls.size() == static_cast<std::size_t>(chunk_calls) ? calls.back().place : Place{until, {}, {}};
  std::vector<store::NewAdjustment> adjustments;
  std::set<Uuid> run_ids;
  for (const auto& one : calls) {
    const auto priced =
        work.pricer.price(one.team_id, one.provider.value_or(""), one.model, one.place.timestamp, one.usage);
    const store::NewAdjustment wanted{
        .call = &one,
        .price_status = json::enum_text(priced.status),
        .price_version_id = priced.version != nullptr ? std::optional(priced.version->id) : std::nullopt,
        .cost = priced.has_cost() ? std::optional(priced.cost) : std::nullopt};
    if (wanted.price_status == one.price_status && wanted.price_version_id == one.price_version_id &&
        wanted.cost == one.cost) {
      continue;
    }
    chunk.count(wanted);
    run_ids.insert(one.place.run_id);
    adjustments.push_back(wanted);
  }
  if (!work.dry_run && !adjustments.empty()) {
    co_await store::insert(transaction, work.id, adjustments);
    co_await runs::cost_changed(transaction, run_ids);
    auto record = entry(work.id, work.selection.team_id ? work.selection.team_id : work.selection.principal_team_id,
                        chunk, after);
    co_await audit::record(transaction, work.call, std::move(record));
  }
  co_return chunk;
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
  prices::Pricer pricer(catalogue_.get());
  Work work{.call = call,
            .pricer = pricer,
            .selection = {.principal_team_id = call.principal.team_id,
                          .team_id = {},
                          .agent_id = request.agent_id,
                          .provider = std::move(request.provider),
                          .model = std::move(request.model)},
            .id = request.id.value_or(Uuid::make()),
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
  while (place.timestamp < request.to) {
    const auto until = std::min(place.timestamp.plus(slice), request.to);
    const auto body = [&](pg::Transaction& transaction) { return reprice_chunk(transaction, work, place, until); };
    auto chunk = co_await pg::transact(database_, "reprice", call, body);
    if (!chunk) co_return std::unexpected(chunk.error());
    const bool full = chunk->calls == static_cast<std::size_t>(chunk_calls);
    slice = full ? std::max(slice / 2, slice_min) : std::min(slice * 2, slice_max);
    place = chunk->reached;
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
