// Exports: calls, runs, costs or the audit trail of a time, or all that is kept of one run, as a compressed file in the
// object storage. A task writes it, and its progress can be watched. All of one export is of one moment, so that its
// sums are those of the ledger then.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>

#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "json/page.hpp"
#include "objects/checked.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"
#include "tasks/outbox.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::exports {

enum class ExportKind { calls, runs, costs, audit, replay };

constexpr auto enum_names(ExportKind) {
  return std::array{json::name(ExportKind::calls, "calls"), json::name(ExportKind::runs, "runs"),
                    json::name(ExportKind::costs, "costs"), json::name(ExportKind::audit, "audit"),
                    json::name(ExportKind::replay, "replay")};
}

enum class ExportFormat { csv, jsonl };

constexpr auto enum_names(ExportFormat) {
  return std::array{json::name(ExportFormat::csv, "csv"), json::name(ExportFormat::jsonl, "jsonl")};
}

enum class ExportState { waiting, running, done, failed };

constexpr auto enum_names(ExportState) {
  return std::array{json::name(ExportState::waiting, "waiting"), json::name(ExportState::running, "running"),
                    json::name(ExportState::done, "done"), json::name(ExportState::failed, "failed")};
}

struct Export {
  Uuid id;
  ExportKind kind = ExportKind::calls;
  ExportFormat format = ExportFormat::csv;
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::optional<Uuid> team_id;
  std::optional<Uuid> agent_id;
  std::optional<Uuid> run_id;
  ExportState state = ExportState::waiting;
  double progress = 0;
  std::int64_t rows = 0;
  std::optional<std::int64_t> bytes;
  std::optional<std::string> sha256;
  std::optional<std::string> error;
  Timestamp created_at;
  std::optional<Timestamp> finished_at;
  std::optional<Timestamp> expires_at;

  static constexpr std::string_view schema_name = "Export";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &Export::id, ""), json::field("kind", &Export::kind, "Of what."),
        json::field("format", &Export::format, "Compressed with gzip."),
        json::field("from", &Export::from, "Inclusive; null: of a replay."),
        json::field("to", &Export::to, "Exclusive; null: of a replay."),
        json::field("team_id", &Export::team_id, "Only of this team; null: of all."),
        json::field("agent_id", &Export::agent_id, "Only of this agent; null: of all."),
        json::field("run_id", &Export::run_id, "The run that a replay is of."),
        json::field("state", &Export::state, "failed: it is not tried again."),
        json::field("progress", &Export::progress,
                    "0 to 1: how much of the time has been written; of a replay 0 until it is done."),
        json::field("rows", &Export::rows, "Written so far."),
        json::field("bytes", &Export::bytes, "Of the file; null: it is not there yet."),
        json::field("sha256", &Export::sha256, "Of the file as it is stored, 64 hexadecimal digits."),
        json::field("error", &Export::error, "What went wrong with the latest attempt."),
        json::field("created_at", &Export::created_at, ""),
        json::field("finished_at", &Export::finished_at, "When it was done, or had failed."),
        json::field("expires_at", &Export::expires_at, "When the file goes by itself; null: never, or not known yet."));
  }
};

struct ExportCreate {
  std::optional<Uuid> id;
  ExportKind kind = ExportKind::calls;
  ExportFormat format = ExportFormat::jsonl;
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::optional<Uuid> run_id;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "ExportCreate";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &ExportCreate::id, "The caller's own id, so that it can be repeated; ours when absent."),
        json::field("kind", &ExportCreate::kind,
                    "calls: LLM calls with what they are charged now. runs: with their totals. costs: by day, agent "
                    "and model. audit: the audit trail. replay: all that is kept of one run, its content included."),
        json::field("format", &ExportCreate::format, "jsonl: a JSON object per line. A replay has no csv.",
                    {.optional = true}),
        json::field("from", &ExportCreate::from,
                    "Inclusive: of calls their timestamp, of runs their start. Of costs a whole hour. Needed but for "
                    "replay.",
                    {.example = "\"2026-11-01T00:00:00.000000Z\""}),
        json::field("to", &ExportCreate::to, "Exclusive; at most 400 days later.",
                    {.example = "\"2026-12-01T00:00:00.000000Z\""}),
        json::field("team", &ExportCreate::team, "Only of the team of this name; absent: all that the caller sees.",
                    {.min_length = 1, .max_length = 128}),
        json::field("agent_id", &ExportCreate::agent_id, "Only of this agent; not of audit."),
        json::field("run_id", &ExportCreate::run_id, "The run to replay."));
  }
};

struct ExportUrl {
  std::string url;
  Timestamp expires_at;

  static constexpr std::string_view schema_name = "ExportUrl";
  static constexpr auto fields() {
    return json::fields(json::field("url", &ExportUrl::url, "To GET, without credentials."),
                        json::field("expires_at", &ExportUrl::expires_at, ""));
  }
};

struct ExportQuery {
  std::optional<ExportKind> kind;
  std::optional<ExportState> state;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("kind", &ExportQuery::kind, "Only of this kind."),
                        json::field("state", &ExportQuery::state, "Only in this state."),
                        json::field("limit", &ExportQuery::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &ExportQuery::cursor, "next_cursor of the page before."));
  }
};

struct Asked {
  Export wanted;
  bool is_new = false;
};

// What an export is called where it is saved: "calls-2026-11-01-2026-12-01.csv.gz".
std::string file_name(const Export& one);

struct Row;

class Exports {
 public:
  // All must outlive it.
  Exports(pg::Cluster& database, audit::Trail trail, objects::Objects& objects)
      : database_(database), trail_(std::move(trail)), objects_(objects) {}

  // A repeat with the same id and the same wishes changes nothing; with others it is Code::conflict.
  Async<Result<Asked>> ask(const Call& call, ExportCreate request);
  Async<Result<Export>> get(const Call& call, Uuid id);
  Async<Result<json::Page<Export>>> list(const Call& call, ExportQuery query);
  // Also while it is written, which then ends.
  Async<Result<Export>> remove(const Call& call, Uuid id);
  // `count` bytes of the file from `first`.
  Async<Result<objects::Pieces>> content(const Call& call, const Export& one, std::uint64_t first, std::uint64_t count);
  // Code::conflict where the object storage is a directory.
  Async<Result<ExportUrl>> url(const Call& call, Uuid id, std::chrono::seconds lifetime);

 private:
  Async<Result<Row>> find(const Call& call, Uuid id);

  pg::Cluster& database_;
  audit::Trail trail_;
  objects::Objects& objects_;
};

// Of the outbox: an export was asked for. Its payload is that of the task.
inline constexpr std::string_view asked_topic = "exports.asked";
// {"id": "…"}; throws std::runtime_error for anything else.
Uuid id_of(const std::string& payload);

// How the task is called that writes one; its key is the export's id.
inline constexpr std::string_view write_task = "exports.write";

// Writes an export that waits, or that somebody has begun and not ended. `is_last`: whatever goes wrong now is final.
// Throws what went wrong, for the next attempt. `threads`: for the compression.
Async<> write(pg::Cluster& database, objects::Objects& objects, BlockingThreads& threads, Uuid id, bool is_last,
              Deadline deadline);

// Removes what has expired or been removed, and gives up what nobody will write any more.
Async<> sweep(pg::Cluster& database, objects::Objects& objects, Deadline deadline);

void add_routes(http::Router& router, Exports& exports);

}  // namespace cognive::exports
