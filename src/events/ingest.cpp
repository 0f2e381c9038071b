#include "events/ingest.hpp"

#include <algorithm>

namespace cognive::events {
namespace {

// Runs that one submission may ask for at a time; with more it goes the general way, which asks for all of them anyway.
constexpr std::size_t runs_max = 1'000;

bool has_repeats(std::vector<store::Key> keys) {
  std::ranges::sort(keys);
  return std::ranges::adjacent_find(keys) != keys.end();
}

std::vector<Item*> pointers_to(std::vector<Item>& items) {
  std::vector<Item*> out;
  out.reserve(items.size());
  for (auto& item : items) out.push_back(&item);
  return out;
}

}  // namespace

struct Ingest::State {
  State(Executor ingest_executor, pg::Cluster& cluster, const prices::CurrentCatalogue& current,
        runs::KnownRuns& known_runs, Budgeting budgets_of_process, Writer& of_process)
      : executor(std::move(ingest_executor)),
        database(cluster),
        catalogue(current),
        known(known_runs),
        budgeting(budgets_of_process),
        writer(of_process),
        appraiser(current, writer.options().content_key) {}

  Executor executor;
  pg::Cluster& database;
  const prices::CurrentCatalogue& catalogue;
  runs::KnownRuns& known;
  Budgeting budgeting;
  Writer& writer;
  std::optional<ContentHash> content_hash;  // from the first events on
  Appraiser appraiser;

  // The runs of the events, as this node knows them, else as the primary does; those that do not exist are missing.
  // Nothing when they are too many.
  Async<std::optional<runs::KnownRunRows>> find_runs(const std::vector<Event>& events, Deadline deadline) {
    runs::KnownRunRows found;
    std::map<Uuid, runs::KnownRuns::Ticket> missing;
    const Uuid* last = nullptr;
    for (const auto& event : events) {
      if (last != nullptr && *last == event.run_id) continue;
      last = &event.run_id;
      if (found.contains(event.run_id) || missing.contains(event.run_id)) continue;
      if (auto run = known.find(event.run_id)) {
        found.emplace(event.run_id, std::move(run));
      } else {
        missing.emplace(event.run_id, known.ticket(event.run_id));
        if (missing.size() > runs_max) co_return std::nullopt;
      }
    }
    if (missing.empty()) co_return found;
    std::set<Uuid> ids;
    for (const auto& [id, ticket] : missing) ids.insert(id);
    for (auto& [id, run] : co_await runs::find_known(database.primary(), ids, deadline)) {
      known.put(id, run, missing.at(id));
      found.emplace(id, run);
    }
    co_return found;
  }

  // Makes items of the events that belong to their runs. False when one is not plain.
  static bool sort_out(Submission& submission, const runs::KnownRunRows& runs) {
    submission.planned_at = std::chrono::steady_clock::now();
    submission.items.reserve(submission.events.size());
    auto run = runs.end();
    for (std::size_t i = 0; i < submission.events.size(); ++i) {
      const auto& event = submission.events[i];
      auto& item = submission.items.emplace_back(Item{.event = &event,
                                                      .sender = &submission.sender,
                                                      .fate = &submission.fates[i],
                                                      .arrival = i,
                                                      .stored_hash = 0,
                                                      .row = {},
                                                      .violation = {}});
      if (run == runs.end() || run->first != event.run_id) run = runs.find(event.run_id);
      const bool is_known = run != runs.end();
      // Others may make a run of it, and this one may be meant to.
      if (!is_known && event.base().agent_id) return false;
      if (!belongs(item, is_known ? run->second : nullptr)) {
        submission.items.pop_back();
        continue;
      }
      if (item.row.run->status != "running") return false;
      submission.rows[static_cast<std::size_t>(event.type())].keys.push_back(item.key());
    }
    return std::ranges::none_of(submission.rows, [](const auto& rows) { return has_repeats(rows.keys); });
  }

  // Decides about the events as far as they are plain. False when one is not.
  Async<bool> prepare(Submission& submission, const runs::KnownRunRows& runs) {
    if (!sort_out(submission, runs)) co_return false;
    auto appraisal = appraiser.begin();
    const auto items = pointers_to(submission.items);
    co_await appraisal.look_at(items);
    submission.catalogue = appraisal.catalogue();
    co_return std::ranges::none_of(submission.items, [](const Item& item) {
      return item.violation && item.row.run->policy->on_violation == agents::OnViolation::terminate;
    });
  }

  // What there is to store of a plain submission, and what follows from it.
  Async<> plan(Submission& submission, Deadline deadline) {
    if (const auto edition = edition_without_budgets(budgeting)) {
      submission.budget_edition = *edition;
    } else {
      const auto items = pointers_to(submission.items);
      submission.budget_edition = co_await cover(budgeting, database.primary(), items, *submission.catalogue, deadline);
    }
    for (auto& rows : submission.rows) {
      constexpr std::size_t bytes_of_row = 384;  // most are shorter
      rows.bytes.reserve(rows.keys.size() * bytes_of_row);
      rows.ends.reserve(rows.keys.size());
    }
    for (const auto& item : submission.items) {
      auto& rows = submission.rows[static_cast<std::size_t>(item.event->type())];
      store::encode(item.row, rows.bytes);
      rows.ends.push_back(rows.bytes.size());
      if (item.event->type() == EventType::llm_call) add_to(submission.deltas, item.row);
      add_to(submission.charging, item);
      item.fate->violation = item.violation;
    }
    for (const auto& rows : submission.rows) submission.room.grow(rows.bytes.size());
  }
};

Ingest::Ingest(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue,
               runs::KnownRuns& known, Budgeting budgeting, Writer& writer)
    : state_(std::make_unique<State>(std::move(executor), database, catalogue, known, budgeting, writer)) {}

Ingest::~Ingest() = default;

Async<Result<std::vector<Fate>>> Ingest::submit(const Call& call, std::vector<Event> events, std::size_t bytes) {
  auto& state = *state_;
  if (events.empty()) co_return std::vector<Fate>{};
  // What was stored before that would be without a price until somebody repriced it.
  static_cast<void>(state.catalogue.loaded());
  bytes += events.size() * (sizeof(Event) + sizeof(Fate) + sizeof(Item));
  auto room = state.writer.take_room(bytes);
  if (!room) co_return std::unexpected(room.error());
  if (!state.content_hash)
    state.content_hash.emplace(hmac_sha256(state.writer.options().content_key.get(), "cognive/event/1"));
  for (auto& event : events) event.content_hash = state.content_hash->of(event);
  const auto submission =
      std::make_shared<Submission>(state.executor, &state, call, std::move(events), std::move(*room));
  if (const auto runs = co_await state.find_runs(submission->events, call.deadline)) {
    submission->is_plain = co_await state.prepare(*submission, *runs);
    if (!submission->is_plain) submission->forget_plan();
    if (submission->is_plain && submission->items.empty()) co_return std::move(submission->fates);
    if (submission->is_plain) co_await state.plan(*submission, call.deadline);
  }
  state.writer.push(submission);
  while (!submission->done) {
    const bool notified = co_await submission->settled.wait(call.deadline);
    if (!notified && !submission->done) {
      submission->abandoned = true;
      throw Unavailable("events were not committed in time");
    }
  }
  if (submission->failure) std::rethrow_exception(submission->failure);
  call.note(submission->position);
  co_return std::move(submission->fates);
}

}  // namespace cognive::events
