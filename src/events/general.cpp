#include "events/general.hpp"

#include "events/stored.hpp"
#include "pg/transact.hpp"
#include "rollups/rollups.hpp"
#include "tasks/outbox.hpp"

namespace cognive::events {
namespace {

void conflict(Item& item) {
  reject(item, Code::conflict, "/id",
         "conflict: there is an event with this id in the run already, with other content.");
}

// An event whose key is taken: the same content is a repeat.
void settle_known(Item& item, std::int64_t stored_hash) {
  if (item.event->content_hash == stored_hash) {
    *item.fate = {};
    item.fate->kind = Fate::Kind::duplicate;
  } else {
    conflict(item);
  }
}

// What an event violated when it was stored; the name that was forbidden is known no more.
std::optional<agents::Violation> stored_violation(const std::optional<std::string>& stored) {
  const auto subject = std::ranges::find(agents::violation_subjects, stored.value_or(""));
  if (subject == agents::violation_subjects.end()) return std::nullopt;
  return agents::Violation{*subject, "The agent was not allowed to use it when the event was stored."};
}

}  // namespace

GeneralWay::GeneralWay(pg::Cluster& database, const prices::CurrentCatalogue& catalogue, runs::KnownRuns& known,
                       Budgeting budgeting, audit::Trail trail, Meters& meters, const keyring::DerivedKey& content_key,
                       std::chrono::milliseconds commit_timeout, bool tells_feed)
    : database_(database),
      known_(known),
      budgeting_(budgeting),
      trail_(trail),
      meters_(meters),
      commit_timeout_(commit_timeout),
      tells_feed_(tells_feed),
      appraiser_(catalogue, content_key) {}

// Stores the items in one transaction. When PostgreSQL refuses a value that we let through, the halves are tried
// apart, until the one bad event stands alone and is rejected. Where the last commit stands.
Async<Position> GeneralWay::commit(std::span<Item> items) {
  try {
    co_return co_await commit_with_retry(items);
  } catch (const pg::SqlError& error) {
    // Classes 22 and 23 are about values. Anything else (a missing table, a missing right) is the database's fault,
    // not an event's: its sender must repeat it, not drop it.
    const bool about_values = error.state().starts_with("22") || error.state().starts_with("23");
    if (!about_values) throw Unavailable(error.what());
    if (throttle_.pass()) {
      log(Level::warning, "the database refused a value",
          {{"state", error.state()}, {"constraint", error.constraint()}, {"reason", error.what()}});
    }
  }
  if (items.size() == 1) {
    reject(items.front(), Code::unprocessable, "", "The database refuses this event.");
    co_return Position{};
  }
  const auto first = co_await commit(items.first(items.size() / 2));
  const auto second = co_await commit(items.subspan(items.size() / 2));
  co_return std::max(first, second);
}

Async<Position> GeneralWay::commit_with_retry(std::span<Item> items) {
  Written written;
  Call call;
  call.deadline = Deadline::in(commit_timeout_);
  call.written = &written;
  const auto body = [&](pg::Transaction& transaction) { return store_together(transaction, items); };
  auto settled = co_await pg::transact(database_, "ingest", call, body);
  settle(items, *settled);
  co_return written.position;
}

Async<Result<GeneralWay::Repeats>> GeneralWay::store_together(pg::Transaction& transaction, std::span<Item> items) {
  co_await resolve_runs(transaction, items);

  // Repeats within the batch are settled here; the table sees each key once.
  ByType by_type;
  std::array<std::map<store::Key, Item*>, 3> firsts;
  Repeats repeats;
  for (auto& item : items) {
    if (item.fate->kind == Fate::Kind::rejected) continue;
    const auto type = static_cast<std::size_t>(item.event->type());
    const auto [first, is_new] = firsts[type].try_emplace(item.key(), &item);
    if (is_new) {
      by_type[type].push_back(&item);
    } else {
      repeats.emplace_back(&item, first->second);
    }
  }

  std::vector<Item*> all;
  for (const auto& fresh : by_type) all.insert(all.end(), fresh.begin(), fresh.end());
  auto appraisal = appraiser_.begin();
  co_await appraisal.look_at(all);
  const auto edition =
      co_await cover(budgeting_, database_.primary(), all, *appraisal.catalogue(), transaction.deadline());

  bool changed = false;
  for (const auto type : {EventType::step, EventType::llm_call, EventType::tool_invocation}) {
    auto& fresh = by_type[static_cast<std::size_t>(type)];
    if (fresh.empty()) continue;
    const bool inserted = co_await insert(transaction, type, fresh);
    changed = changed || inserted;
  }
  const auto& calls = by_type[static_cast<std::size_t>(EventType::llm_call)];
  co_await append_deltas(transaction, calls);
  co_await tell_ended_runs(transaction, calls);
  co_await move_runs(transaction, by_type);
  if (changed) co_await announce(transaction, by_type);
  if (changed) co_await charge(transaction, by_type, edition);
  // To call an event a repeat is to say that its first copy is safe.
  if (!changed) co_await transaction.vouch_for_reads();
  co_return repeats;
}

Async<> GeneralWay::announce(pg::Transaction& transaction, const ByType& by_type) {
  Stored stored;
  std::array<std::vector<feed::Key>, 3> keys;
  for (const auto& fresh : by_type) {
    for (const auto* item : fresh) {
      if (item->fate->kind != Fate::Kind::accepted) continue;
      stored.add(item->event->type(), 1);
      keys[static_cast<std::size_t>(item->event->type())].push_back({item->event->run_id, item->event->base().id});
    }
  }
  for (const auto type : {EventType::step, EventType::llm_call, EventType::tool_invocation}) {
    if (!tells_feed_) break;
    for (auto& statement : feed::append_statements(kind_of(type), keys[static_cast<std::size_t>(type)]))
      co_await transaction.execute(*statement.query, std::move(statement.params));
  }
  co_await tasks::outbox::append(transaction, stored_topic, stored.message());
}

// The last of all, since others wait for what it locks.
Async<> GeneralWay::charge(pg::Transaction& transaction, const ByType& by_type, std::int64_t edition) {
  budgets::Charging charging;
  std::vector<const Item*> accepted;
  for (const auto& fresh : by_type) {
    for (const auto* item : fresh) {
      if (item->fate->kind == Fate::Kind::accepted) accepted.push_back(item);
    }
  }
  // Of several calls that name one reservation the first settles it.
  std::ranges::sort(accepted, {}, &Item::arrival);
  for (const auto* item : accepted) add_to(charging, *item);
  bool is_outdated = false;
  try {
    auto statement = budgets::charge_statement(charging, edition);
    co_await transaction.execute(*statement.query, std::move(statement.params));
  } catch (const pg::SqlError& error) {
    if (error.state() != budgets::outdated) throw;
    is_outdated = true;
  }
  if (!is_outdated) co_return;
  budgeting_.charge_sets.forget();
  co_await budgets::refresh(budgeting_.coverage, database_.primary(), transaction.deadline());
  throw pg::Retryable("budgets have changed");
}

// Those of the calls that are new, and only they.
Async<> GeneralWay::append_deltas(pg::Transaction& transaction, const std::vector<Item*>& calls) {
  rollups::Deltas deltas;
  for (const auto* item : calls) {
    if (item->fate->kind == Fate::Kind::accepted) add_to(deltas, item->row);
  }
  co_await rollups::append(transaction, deltas);
}

// A call that comes after the end of its run changes what the run cost.
Async<> GeneralWay::tell_ended_runs(pg::Transaction& transaction, const std::vector<Item*>& calls) {
  runs::CostChanges changes;
  for (const auto* item : calls) {
    const bool has_ended = !item->row.run->is_active();
    if (item->fate->kind == Fate::Kind::accepted && has_ended && item->row.price.has_cost())
      changes.add(item->event->run_id, item->row.price.cost.nanos);
  }
  co_await runs::apply(transaction, changes);
}

// Runs begin with their first event, and end with a violation where the policy says so, and with them those below.
Async<> GeneralWay::move_runs(pg::Transaction& transaction, const ByType& by_type) {
  std::map<Uuid, Timestamp> queued;
  std::map<Uuid, runs::Violator> violators;
  for (const auto& fresh : by_type) {
    for (const auto* item : fresh) {
      if (item->fate->kind != Fate::Kind::accepted) continue;
      const auto& run = *item->row.run;
      if (run.status == "queued") {
        auto& first_at = queued.try_emplace(item->event->run_id, item->event->timestamp).first->second;
        first_at = std::min(first_at, item->event->timestamp);
      }
      if (run.is_active() && item->violation && run.policy->on_violation == agents::OnViolation::terminate)
        violators.try_emplace(item->event->run_id, runs::Violator{item->violation->detail, item->sender});
    }
  }
  if (!queued.empty()) co_await store::begin_runs(transaction, queued);
  terminated_.clear();
  if (violators.empty()) co_return;
  for (auto& run : co_await runs::terminate_violators(transaction, trail_, violators)) {
    const auto run_id = run.run_id;
    terminated_.emplace(run_id, std::move(run));
  }
}

// After the commit: what became of repeats, what the senders have to know of their runs, and the metrics.
void GeneralWay::settle(std::span<Item> items, const Repeats& repeats) {
  for (const auto& [item, first] : repeats) {
    settle_known(*item, first->stored_hash);
    item->violation = first->violation;
  }
  for (const auto& [run_id, run] : terminated_) {
    // Without the name of what it used, which is the caller's text.
    log(Level::info, "terminated a run that violated its policy, or one below it",
        {{"run_id", run_id.text()}, {"agent_id", run.agent_id.text()}});
    runs::count_ended(meters_.metrics(), run);
    known_.forget(run_id);
  }
  std::size_t stored = 0;
  for (auto& item : items) {
    if (item.fate->kind != Fate::Kind::rejected) tell_of_run(item);
    if (item.fate->kind != Fate::Kind::accepted) continue;
    // It has begun.
    if (item.row.run->status == "queued") known_.forget(item.event->run_id);
    meters_.count(item);
    ++stored;
  }
  meters_.count_commit(stored);
}

void GeneralWay::tell_of_run(Item& item) const {
  item.fate->violation = item.violation;
  if (const auto now = terminated_.find(item.event->run_id); now != terminated_.end()) {
    item.fate->terminate = now->second.error.value_or("");
  } else if (item.row.run->status == "terminated") {
    item.fate->terminate = item.row.run->error.value_or("");
  }
}

// Finds the run of every item, makes placeholders for the unknown ones of known agents, and rejects what has no run
// that its sender may see. Fates start afresh: a batch may be tried more than once.
Async<> GeneralWay::resolve_runs(pg::Transaction& transaction, std::span<Item> items) {
  std::set<Uuid> run_ids;
  for (const auto& item : items) {
    *item.fate = {};
    run_ids.insert(item.event->run_id);
  }
  auto runs = co_await runs::find_known(transaction, run_ids);
  if (runs.size() < run_ids.size()) co_await make_placeholders(transaction, items, runs);

  for (auto& item : items) {
    if (item.fate->kind == Fate::Kind::rejected) continue;
    const auto run = runs.find(item.event->run_id);
    belongs(item, run == runs.end() ? nullptr : run->second);
  }
}

Async<> GeneralWay::make_placeholders(pg::Transaction& transaction, std::span<Item> items, runs::KnownRunRows& runs) {
  std::set<Uuid> agent_ids;
  for (const auto& item : items) {
    if (!runs.contains(item.event->run_id) && item.event->base().agent_id)
      agent_ids.insert(*item.event->base().agent_id);
  }
  if (agent_ids.empty()) co_return;
  const auto agents = co_await store::find_agents(transaction, agent_ids);
  std::map<Uuid, store::Placeholder> placeholders;
  for (auto& item : items) {
    const auto& agent_id = item.event->base().agent_id;
    if (runs.contains(item.event->run_id) || !agent_id) continue;
    const auto agent = agents.find(*agent_id);
    if (agent == agents.end() || !item.sender->principal.sees(agent->second.team_id, *agent_id)) {
      reject(item, Code::not_found, "/agent_id", "There is no such agent.");
    } else if (agent->second.status != "active") {
      reject(item, Code::forbidden, "/agent_id", "The agent is " + agent->second.status + " and cannot start runs.");
    } else {
      auto& run = placeholders
                      .try_emplace(item.event->run_id, store::Placeholder{item.event->run_id, *agent_id, agent->second,
                                                                          item.event->timestamp})
                      .first->second;
      run.started_at = std::min(run.started_at, item.event->timestamp);
    }
  }
  if (placeholders.empty()) co_return;
  std::vector<store::Placeholder> rows;
  std::set<Uuid> ids;
  for (auto& [id, run] : placeholders) {
    ids.insert(id);
    rows.push_back(std::move(run));
  }
  co_await store::insert_placeholders(transaction, rows);
  // Read back: somebody else may have made one of them for another agent in the meantime.
  runs.merge(co_await runs::find_known(transaction, ids));
}

// Whether anything was new.
Async<bool> GeneralWay::insert(pg::Transaction& transaction, EventType type, const std::vector<Item*>& items) {
  std::vector<const store::Row*> rows;
  for (auto* item : items) {
    rows.push_back(&item->row);
    item->stored_hash = item->event->content_hash;
  }
  const auto inserted = co_await store::insert(transaction, type, rows);
  if (inserted.size() == items.size()) co_return true;
  std::vector<const store::Row*> known;
  for (const auto* item : items) {
    if (!inserted.contains(item->key())) known.push_back(&item->row);
  }
  const auto all_stored = co_await store::find_stored(transaction, type, known);
  for (auto* item : items) {
    if (inserted.contains(item->key())) continue;
    const auto stored = all_stored.find(item->key());
    if (stored == all_stored.end()) throw Unavailable("an event appeared and vanished");
    item->stored_hash = stored->second.content_hash;
    // Not what the policy says of it today.
    item->violation = stored_violation(stored->second.violation);
    settle_known(*item, stored->second.content_hash);
  }
  co_return !inserted.empty();
}

}  // namespace cognive::events
