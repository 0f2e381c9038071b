#include "events/ingest.hpp"

#include <deque>

#include "events/content.hpp"
#include "events/names.hpp"
#include "events/store.hpp"
#include "observe/log.hpp"
#include "pg/transact.hpp"
#include "privacy/redactor.hpp"
#include "runs/runs.hpp"

namespace cognive::events {
namespace {

// What one request wants stored; shared by the request and the writer, whichever ends first.
struct Submission {
  Submission(const Executor& executor, const Call& call, std::vector<Event> what, std::size_t size)
      : sender{.principal = call.principal, .request_id = call.request_id, .deadline = call.deadline},
        events(std::move(what)),
        fates(events.size()),
        bytes(size),
        settled(executor) {}

  Call sender;
  std::vector<Event> events;
  std::vector<Fate> fates;
  std::size_t bytes;
  Signal settled;
  bool done = false;
  bool abandoned = false;  // nobody waits any more
  Position position;       // of the commit that settled it
  std::exception_ptr failure;
};

// What an event violated when it was stored; the name that was forbidden is known no more.
std::optional<agents::Violation> stored_violation(const std::optional<std::string>& stored) {
  const auto subject = std::ranges::find(agents::violation_subjects, stored.value_or(""));
  if (subject == agents::violation_subjects.end()) return std::nullopt;
  return agents::Violation{*subject, "The agent was not allowed to use it when the event was stored."};
}

// An event on its way through one commit.
struct Item {
  const Event* event = nullptr;
  const Call* sender = nullptr;
  Fate* fate = nullptr;
  std::size_t arrival = 0;       // position among the items of its commit: the first of two contents under one id wins
  std::int64_t stored_hash = 0;  // of the content that is stored under its key, once that is known
  store::Row row;
  std::optional<agents::Violation> violation;

  [[nodiscard]] store::Key key() const { return {event->run_id, event->base().id}; }
};

void reject(Item& item, Code code, std::string pointer, std::string message) {
  *item.fate = {.kind = Fate::Kind::rejected, .code = code, .error = {std::move(pointer), std::move(message), {}}};
}

void conflict(Item& item) {
  reject(item, Code::conflict, "/id",
         "conflict: there is an event with this id in the run already, with other content.");
}

// An event whose key is taken: the same content is a repeat.
void settle_known(Item& item, std::int64_t stored_hash) {
  if (item.event->content_hash == stored_hash) {
    *item.fate = {.kind = Fate::Kind::duplicate};
  } else {
    conflict(item);
  }
}

bool visible(const Principal& principal, const Uuid& team_id, const Uuid& agent_id) {
  return (!principal.team_id || *principal.team_id == team_id) &&
         (!principal.agent_id || *principal.agent_id == agent_id);
}

// What policies say of the events of one commit. Most events use what others have used, so each verdict is remembered.
class Verdicts {
 public:
  explicit Verdicts(std::shared_ptr<const prices::Catalogue> catalogue) : catalogue_(std::move(catalogue)) {}

  // Nothing when the policy of the item's agent allows it.
  std::optional<agents::Violation> of(const Item& item) {
    const auto& policy = *item.row.run.policy;
    if (const auto* call = std::get_if<LlmCall>(&item.event->body)) {
      if (policy.providers.empty() && policy.models.empty()) return std::nullopt;
      const std::string_view provider = call->provider ? std::string_view(*call->provider) : std::string_view();
      return remembered({&policy, Kind::call, provider, call->model}, [&] {
        return agents::check_call(policy, names_of(*catalogue_, provider, call->model, item.row.price.model));
      });
    }
    const auto* tool = std::get_if<ToolInvocation>(&item.event->body);
    if (tool == nullptr) return std::nullopt;
    if (!policy.tools.empty()) {
      auto violation =
          remembered({&policy, Kind::tool, tool->tool, {}}, [&] { return agents::check_tool(policy, tool->tool); });
      if (violation) return violation;
    }
    if (!tool->data_source || policy.data_sources.empty()) return std::nullopt;
    return remembered({&policy, Kind::data_source, *tool->data_source, {}},
                      [&] { return agents::check_data_source(policy, *tool->data_source); });
  }

 private:
  enum class Kind { call, tool, data_source };
  using Key = std::tuple<const agents::Policy*, Kind, std::string_view, std::string_view>;

  template <typename Check>
  std::optional<agents::Violation> remembered(const Key& key, const Check& check) {
    const auto [place, is_new] = known_.try_emplace(key);
    if (is_new) place->second = check();
    return place->second;
  }

  std::shared_ptr<const prices::Catalogue> catalogue_;
  std::map<Key, std::optional<agents::Violation>> known_;  // the texts are those of the events
};

struct Meters {
  explicit Meters(Metrics& registry) : metrics(registry), providers(100), models(200), tools(200) {}

  Metrics& metrics;
  BoundedLabel providers;
  BoundedLabel models;
  BoundedLabel tools;

  void count(const Item& item) {
    if (item.row.violation) {
      metrics
          .counter("policy_violations_total", "Stored events of something that the agent may not use",
                   {{"subject", std::string(*item.row.violation)}})
          .add();
    }
    const auto& base = item.event->base();
    const double seconds = base.duration_ms ? static_cast<double>(*base.duration_ms) / 1000 : -1;
    if (const auto* call = std::get_if<LlmCall>(&item.event->body)) {
      // Those that have prices, so that the names that callers make up do not become series.
      const auto& price = item.row.price;
      const std::string provider = price.model != nullptr ? providers(price.model->provider) : "unknown";
      const std::string model = price.model != nullptr ? models(price.model->id) : "unknown";
      metrics
          .counter("llm_calls_total", "LLM calls stored",
                   {{"provider", provider}, {"model", model}, {"status", std::string(json::enum_text(call->status))}})
          .add();
      for (const auto& [unit, count] : call->usage) {
        if (!unit.ends_with("_tokens")) continue;
        metrics
            .counter("llm_tokens_total", "Tokens of stored LLM calls",
                     {{"provider", provider}, {"model", model}, {"token_type", unit.substr(0, unit.size() - 7)}})
            .add(static_cast<double>(count));
      }
      if (price.has_cost()) {
        metrics
            .counter("cost_total_usd", "Cost of stored LLM calls; for a picture only, the ledger is exact",
                     {{"tenant_id", item.row.run.team_id.text()}, {"cost_type", "llm"}})
            .add(static_cast<double>(price.cost.nanos) / 1e9);
      }
      if (seconds >= 0) {
        metrics
            .histogram("llm_call_duration_seconds", "Duration of stored LLM calls",
                       {{"provider", provider}, {"model", model}}, duration_buckets())
            .observe(seconds);
      }
    } else if (const auto* tool = std::get_if<ToolInvocation>(&item.event->body)) {
      const auto name = tools(tool->tool);
      metrics
          .counter("tool_invocations_total", "Tool invocations stored",
                   {{"tool_name", name}, {"status", std::string(json::enum_text(tool->status))}})
          .add();
      if (seconds >= 0) {
        metrics
            .histogram("tool_invocation_duration_seconds", "Duration of stored tool invocations", {{"tool_name", name}},
                       duration_buckets())
            .observe(seconds);
      }
    }
  }
};

}  // namespace

struct Ingest::State : std::enable_shared_from_this<State> {
  State(Executor ingest_executor, pg::Cluster& cluster, const prices::CurrentCatalogue& current, Metrics& metrics,
        IngestOptions limits)
      : executor(ingest_executor),
        database(cluster),
        catalogue(current),
        options(limits),
        content_hashes(hmac_sha256(limits.content_key, "cognive/event/1")),
        pricer(current.get()),
        meters(metrics),
        arrived(executor),
        emptied(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        queued_bytes(metrics.gauge("ingest_queue_bytes", "Bodies that wait for the next commit")),
        commits(metrics.counter("ingest_commits_total", "Group commits")),
        rows_stored(metrics.counter("ingest_events_total", "Events stored")) {}

  Executor executor;
  pg::Cluster& database;
  const prices::CurrentCatalogue& catalogue;
  IngestOptions options;
  KeyedHash content_hashes;
  prices::Pricer pricer;
  Meters meters;
  std::deque<std::shared_ptr<Submission>> queue;
  std::size_t queue_bytes = 0;
  bool writing = false;
  bool stopping = false;
  std::map<Uuid, runs::Run> terminated;  // by the commit that is running
  Signal arrived;
  Signal emptied;
  TaskGroup tasks;
  LogThrottle throttle;
  Gauge queued_bytes;
  Counter commits;
  Counter rows_stored;

  // Whatever waits becomes the next batch; there is no timer, since waiting for more only ever lost.
  std::vector<std::shared_ptr<Submission>> next_batch() {
    std::vector<std::shared_ptr<Submission>> batch;
    std::size_t rows = 0;
    while (!queue.empty() && (batch.empty() || rows + queue.front()->events.size() <= options.rows_per_commit_max)) {
      auto submission = std::move(queue.front());
      queue.pop_front();
      queue_bytes -= submission->bytes;
      if (submission->abandoned) continue;
      rows += submission->events.size();
      batch.push_back(std::move(submission));
    }
    queued_bytes.set(static_cast<double>(queue_bytes));
    return batch;
  }

  static Async<> write(std::shared_ptr<State> state) {
    for (;;) {
      auto batch = state->next_batch();
      if (batch.empty()) {
        state->writing = false;
        state->emptied.notify_all();
        co_return;
      }
      std::exception_ptr failure;
      Position position;
      try {
        std::vector<Item> items;
        for (const auto& submission : batch) {
          for (std::size_t i = 0; i < submission->events.size(); ++i) {
            items.push_back({.event = &submission->events[i],
                             .sender = &submission->sender,
                             .fate = &submission->fates[i],
                             .arrival = items.size()});
          }
        }
        // One order for all writers: no two of them can wait for each other.
        std::ranges::sort(items, {}, [](const Item& item) { return std::pair(item.key(), item.arrival); });
        position = co_await state->commit(items);
      } catch (const std::exception& error) {
        failure = std::current_exception();
        if (const auto held_back = state->throttle.pass()) {
          log(Level::warning, "group commit failed",
              {{"reason", error.what()}, {"requests", batch.size()}, {"more_before", *held_back}});
        }
      }
      for (const auto& submission : batch) {
        submission->failure = failure;
        submission->position = position;
        submission->done = true;
        submission->settled.notify_all();
      }
    }
  }

  // Stores the items in one transaction. When PostgreSQL refuses a value that we let through, the halves are tried
  // apart, until the one bad event stands alone and is rejected. Where the last commit stands.
  Async<Position> commit(std::span<Item> items) {
    try {
      co_return co_await commit_with_retry(items);
    } catch (const pg::SqlError& error) {
      // Classes 22 and 23 are about values. Anything else (a missing table, a missing right) is the database's fault,
      // not an event's: its sender must repeat it, not drop it.
      const bool about_values = error.state().starts_with("22") || error.state().starts_with("23");
      if (!about_values) throw Unavailable(error.what());
      if (throttle.pass()) {
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

  Async<Position> commit_with_retry(std::span<Item> items) {
    Written written;
    Call call;
    call.deadline = Deadline::in(options.commit_timeout);
    call.written = &written;
    const auto body = [&](pg::Transaction& transaction) { return store_together(transaction, items); };
    auto settled = co_await pg::transact(database, "ingest", call, body);
    settle(items, *settled);
    co_return written.position;
  }

  // Repeats within a batch: the item, and the first one under its key.
  using Repeats = std::vector<std::pair<Item*, Item*>>;

  Async<Result<Repeats>> store_together(pg::Transaction& transaction, std::span<Item> items) {
    co_await resolve_runs(transaction, items);

    // Repeats within the batch are settled here; the table sees each key once.
    std::array<std::vector<Item*>, 3> by_type;
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

    if (pricer.catalogue() != catalogue.get()) pricer = prices::Pricer(catalogue.get());
    Verdicts verdicts(pricer.catalogue());
    // Nothing here waits, and much may have come: others on this thread get their turns in between.
    constexpr std::chrono::milliseconds turn{2};
    auto until = Deadline::in(turn);
    for (const auto& fresh : by_type) {
      for (auto* item : fresh) {
        look_at(*item, verdicts);
        if (!until.passed()) continue;
        co_await sleep_for(std::chrono::milliseconds{0});
        until = Deadline::in(turn);
      }
    }

    bool changed = false;
    for (const auto type : {EventType::step, EventType::llm_call, EventType::tool_invocation}) {
      auto& fresh = by_type[static_cast<std::size_t>(type)];
      if (fresh.empty()) continue;
      const bool inserted = co_await insert(transaction, type, fresh);
      changed = changed || inserted;
    }
    co_await tell_ended_runs(transaction, by_type[static_cast<std::size_t>(EventType::llm_call)]);
    co_await move_runs(transaction, by_type);
    // To call an event a repeat is to say that its first copy is safe.
    if (!changed) co_await transaction.vouch_for_reads();
    co_return repeats;
  }

  // What the event costs, and what the agent's policy says of it: whether it is allowed, and what is kept of it.
  void look_at(Item& item, Verdicts& verdicts) {
    if (const auto* call = std::get_if<LlmCall>(&item.event->body)) {
      item.row.price = pricer.price(item.row.run.team_id, call->provider.value_or(""), call->model,
                                    item.event->timestamp, item.event->usage);
    }
    item.violation = verdicts.of(item);
    item.row.violation.reset();
    const auto kept_as = item.row.run.policy->store;
    if (item.violation) {
      item.row.violation = item.violation->subject;
      // It may become the error of the run, and is kept as errors are.
      if (kept_as != agents::Store::full) item.violation->detail = privacy::redact(item.violation->detail);
    }
    auto kept = kept_of(*item.event, kept_as, options.content_key);
    item.row.error = std::move(kept.error);
    item.row.content = std::move(kept.content);
  }

  // A call that comes after the end of its run changes what the run cost.
  static Async<> tell_ended_runs(pg::Transaction& transaction, const std::vector<Item*>& calls) {
    runs::CostChanges changes;
    for (const auto* item : calls) {
      const auto& status = item->row.run.status;
      const bool ended = status != "queued" && status != "running";
      if (item->fate->kind == Fate::Kind::accepted && ended && item->row.price.has_cost())
        changes.add(item->event->run_id, item->row.price.cost.nanos);
    }
    co_await runs::apply(transaction, changes);
  }

  // Runs begin with their first event, and end with a violation where the policy says so, and with them those below.
  Async<> move_runs(pg::Transaction& transaction, const std::array<std::vector<Item*>, 3>& by_type) {
    std::map<Uuid, Timestamp> queued;
    std::map<Uuid, runs::Violator> violators;
    for (const auto& fresh : by_type) {
      for (const auto* item : fresh) {
        if (item->fate->kind != Fate::Kind::accepted) continue;
        const auto& run = item->row.run;
        if (run.status == "queued") {
          auto& first_at = queued.try_emplace(item->event->run_id, item->event->timestamp).first->second;
          first_at = std::min(first_at, item->event->timestamp);
        }
        const bool active = run.status == "queued" || run.status == "running";
        if (active && item->violation && run.policy->on_violation == agents::OnViolation::terminate)
          violators.try_emplace(item->event->run_id, runs::Violator{item->violation->detail, item->sender});
      }
    }
    if (!queued.empty()) co_await store::begin_runs(transaction, queued);
    terminated.clear();
    if (violators.empty()) co_return;
    for (auto& run : co_await runs::terminate_violators(transaction, violators)) {
      const auto run_id = run.run_id;
      terminated.emplace(run_id, std::move(run));
    }
  }

  // After the commit: what became of repeats, what the senders have to know of their runs, and the metrics.
  void settle(std::span<Item> items, const Repeats& repeats) {
    for (const auto& [item, first] : repeats) {
      settle_known(*item, first->stored_hash);
      item->violation = first->violation;
    }
    for (const auto& [run_id, run] : terminated) {
      // Without the name of what it used, which is the caller's text.
      log(Level::info, "terminated a run that violated its policy, or one below it",
          {{"run_id", run_id.text()}, {"agent_id", run.agent_id.text()}});
      runs::count_ended(meters.metrics, run);
    }
    std::size_t stored = 0;
    for (auto& item : items) {
      if (item.fate->kind != Fate::Kind::rejected) tell_of_run(item);
      if (item.fate->kind != Fate::Kind::accepted) continue;
      meters.count(item);
      ++stored;
    }
    commits.add();
    rows_stored.add(static_cast<double>(stored));
  }

  void tell_of_run(Item& item) const {
    item.fate->violation = item.violation;
    if (const auto now = terminated.find(item.event->run_id); now != terminated.end()) {
      item.fate->terminate = now->second.error.value_or("");
    } else if (item.row.run.status == "terminated") {
      item.fate->terminate = item.row.run.error.value_or("");
    }
  }

  // Finds the run of every item, makes placeholders for the unknown ones of known agents, and rejects what has no run
  // that its sender may see. Fates start afresh: a batch may be tried more than once.
  Async<> resolve_runs(pg::Transaction& transaction, std::span<Item> items) {
    std::set<Uuid> run_ids;
    for (const auto& item : items) {
      *item.fate = {};
      run_ids.insert(item.event->run_id);
    }
    auto runs = co_await store::find_runs(transaction, run_ids);
    if (runs.size() < run_ids.size()) co_await make_placeholders(transaction, items, runs);

    for (auto& item : items) {
      if (item.fate->kind == Fate::Kind::rejected) continue;
      const auto& stated_agent = item.event->base().agent_id;
      const auto run = runs.find(item.event->run_id);
      if (run == runs.end() || !visible(item.sender->principal, run->second.team_id, run->second.agent_id)) {
        reject(item, Code::not_found, "/run_id",
               stated_agent ? "There is no such run."
                            : "There is no such run; with agent_id the event would make a placeholder for it.");
      } else if (stated_agent && *stated_agent != run->second.agent_id) {
        reject(item, Code::unprocessable, "/agent_id", "The run belongs to another agent.");
      } else {
        item.row.event = item.event;
        item.row.run = run->second;
      }
    }
  }

  Async<> make_placeholders(pg::Transaction& transaction, std::span<Item> items, store::RunRows& runs) {
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
      if (agent == agents.end() || !visible(item.sender->principal, agent->second.team_id, *agent_id)) {
        reject(item, Code::not_found, "/agent_id", "There is no such agent.");
      } else if (agent->second.status != "active") {
        reject(item, Code::forbidden, "/agent_id", "The agent is " + agent->second.status + " and cannot start runs.");
      } else {
        auto& run = placeholders
                        .try_emplace(item.event->run_id, store::Placeholder{item.event->run_id, *agent_id,
                                                                            agent->second, item.event->timestamp})
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
    runs.merge(co_await store::find_runs(transaction, ids));
  }

  // Whether anything was new.
  Async<bool> insert(pg::Transaction& transaction, EventType type, const std::vector<Item*>& items) {
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
};

Ingest::Ingest(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue, Metrics& metrics,
               IngestOptions options)
    : state_(std::make_shared<State>(std::move(executor), database, catalogue, metrics, options)) {}

Ingest::~Ingest() = default;

Async<Result<std::vector<Fate>>> Ingest::submit(const Call& call, std::vector<Event> events, std::size_t bytes) {
  const auto state = state_;
  if (events.empty()) co_return std::vector<Fate>{};
  if (state->stopping)
    co_return fail(Code::unavailable, "The server is stopping; repeat the request with the same ids.");
  if (state->queue_bytes + bytes > state->options.queue_bytes_max && !state->queue.empty()) {
    co_return fail(Code::unavailable, "Too many events wait for the database; repeat the request with the same ids.");
  }
  for (auto& event : events) event.content_hash = content_hash(event, state->content_hashes);
  const auto submission = std::make_shared<Submission>(state->executor, call, std::move(events), bytes);
  state->queue.push_back(submission);
  state->queue_bytes += bytes;
  state->queued_bytes.set(static_cast<double>(state->queue_bytes));
  if (!state->writing) {
    state->writing = true;
    state->tasks.spawn(State::write(state));
  }
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

Async<> Ingest::stop(Deadline deadline) {
  const auto state = state_;
  while (state->writing && !deadline.passed()) co_await state->emptied.wait(deadline);
  state->stopping = true;
  state->tasks.stop();
  co_await state->tasks.join(Deadline::in(std::chrono::milliseconds{500}));
}

}  // namespace cognive::events
