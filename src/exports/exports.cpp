#include "exports/exports.hpp"

#include "exports/rows.hpp"
#include "exports/store.hpp"
#include "identity/permissions.hpp"
#include "json/writer.hpp"
#include "pg/transact.hpp"
#include "teams/teams.hpp"

namespace cognive::exports {

namespace {

constexpr std::int64_t days_max = 400;
// Of one team that wait or are written, so that nobody fills the queue.
constexpr std::int64_t unfinished_max = 10;

Error not_found() {
  return {Code::not_found, "There is no such export.", {}};
}

// What is exported can be read elsewhere with this; whoever may not do that must not get it in a file.
std::string_view permission_of(ExportKind kind) {
  switch (kind) {
    case ExportKind::audit:
      return identity::permission::audit_read;
    case ExportKind::runs:
    case ExportKind::replay:
      return identity::permission::runs_read;
    case ExportKind::calls:
    case ExportKind::costs:
      return identity::permission::analytics_read;
  }
  return identity::permission::everything;
}

bool may(const Principal& principal, ExportKind kind) {
  // The trail is of people and teams, not of agents.
  if (kind == ExportKind::audit && principal.agent_id) return false;
  return principal.may(permission_of(kind));
}

std::vector<std::string> kinds_of(const Principal& principal) {
  std::vector<std::string> out;
  for (const auto& [kind, name] : enum_names(ExportKind{})) {
    if (may(principal, kind)) out.emplace_back(name);
  }
  return out;
}

std::string details_of(const Export& one) {
  json::Writer out;
  out.begin_object();
  out.field("kind", json::enum_text(one.kind));
  out.field("format", json::enum_text(one.format));
  if (one.from) out.field("from", one.from->text());
  if (one.to) out.field("to", one.to->text());
  if (one.agent_id) out.field("agent_id", one.agent_id->text());
  if (one.run_id) out.field("run_id", one.run_id->text());
  out.end_object();
  return std::move(out).text();
}

audit::Entry entry(std::string_view action, const Export& one) {
  return {.action = action,
          .resource_kind = "export",
          .resource_id = one.id.text(),
          .team_id = one.team_id,
          .details = details_of(one)};
}

bool is_whole_hour(Timestamp at) {
  return at.micros % std::chrono::microseconds(std::chrono::hours{1}).count() == 0;
}

}  // namespace

void ExportCreate::check(json::Faults& faults) const {
  // One fault for each field: what could not be read has its own.
  const auto add = [&](std::string_view name, std::string message) {
    if (!faults.has_below(name)) faults.add_at(std::string(name), std::move(message));
  };
  if (kind == ExportKind::replay) {
    if (!run_id) add("run_id", "A replay needs it.");
    if (format == ExportFormat::csv) add("format", "A replay has no csv: its lines differ.");
    for (const auto& [name, is_there] : {std::pair("from", from.has_value()),
                                         {"to", to.has_value()},
                                         {"team", team.has_value()},
                                         {"agent_id", agent_id.has_value()}}) {
      if (is_there) add(name, "A replay is of one run, all of it.");
    }
    return;
  }
  if (run_id) add("run_id", "Only a replay is of one run.");
  if (kind == ExportKind::audit && agent_id) add("agent_id", "The audit trail is not of agents.");
  const bool is_readable = !faults.has_below("from") && !faults.has_below("to");
  if (!from) add("from", "It is needed.");
  if (!to) add("to", "It is needed.");
  if (!from || !to || !is_readable) return;
  if (*to <= *from) add("to", "It must be after from.");
  if (to->micros - from->micros > std::chrono::microseconds(std::chrono::days{days_max}).count())
    add("to", fmt::format("It must be at most {} days after from.", days_max));
  if (kind == ExportKind::costs && !is_whole_hour(*from)) add("from", "Costs need a whole hour.");
  if (kind == ExportKind::costs && !is_whole_hour(*to)) add("to", "Costs need a whole hour.");
}

std::string file_name(const Export& one) {
  const auto day = [](Timestamp at) { return date_text(std::chrono::floor<std::chrono::days>(at.point())); };
  const auto of_what = one.run_id ? one.run_id->text() : day(*one.from) + "-" + day(*one.to);
  return fmt::format("{}-{}.{}.gz", json::enum_text(one.kind), of_what, json::enum_text(one.format));
}

Async<Result<Asked>> Exports::ask(const Call& call, ExportCreate request) {
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  const auto& principal = call.principal;
  if (request.kind == ExportKind::audit && principal.agent_id)
    co_return fail(Code::forbidden, "A key of one agent cannot export the audit trail, which is of all.");
  if (!may(principal, request.kind))
    co_return fail(Code::forbidden, fmt::format("An export of {} needs the permission {}.",
                                                json::enum_text(request.kind), permission_of(request.kind)));
  auto team_id = principal.team_id;
  if (request.team) {
    team_id = co_await teams::find_by_name(database_, *request.team, call);
    if (!team_id) co_return unprocessable("/team", "There is no such team.");
  }
  const auto id = call.id_or_new(request.id);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Asked>> {
    auto agent_id = principal.agent_id ? principal.agent_id : request.agent_id;
    if (request.run_id) {
      const auto runs = co_await transaction.execute(
          sql::run(),
          pg::Params::of(*request.run_id, bucket_of(*request.run_id), principal.team_id, principal.agent_id));
      if (runs.empty()) co_return unprocessable("/run_id", "There is no such run.");
      team_id = runs[0].at<Uuid>(0);
      agent_id = runs[0].at<Uuid>(1);
    } else if (request.agent_id) {
      const auto agents =
          co_await transaction.execute(sql::agent(), pg::Params::of(*request.agent_id, team_id, principal.agent_id));
      if (agents.empty()) co_return unprocessable("/agent_id", "There is no such agent.");
      team_id = agents[0].at<Uuid>(0);
    }
    co_await transaction.execute(sql::lock(), pg::Params::of(team_id));
    const auto unfinished = co_await transaction.execute(sql::unfinished(), pg::Params::of(team_id));
    const bool is_full = unfinished[0].at<std::int64_t>(0) >= unfinished_max;
    auto params =
        pg::Params::of(id, request.kind, request.format, request.from, request.to, team_id, agent_id, request.run_id);
    const bool is_new = (co_await transaction.execute(sql::insert(), std::move(params))).affected() > 0;
    if (is_new && is_full)
      co_return fail(
          Code::too_many,
          fmt::format("{} exports wait or are being written already: wait until one has ended, or delete one.",
                      unfinished_max));
    auto rows = sql::read(co_await transaction.execute(
        sql::get(), pg::Params::of(id, principal.team_id, principal.agent_id, kinds_of(principal))));
    if (rows.empty()) co_return fail(Code::conflict, "The id belongs to another export, or to one that has gone.");
    auto& shown = rows.front().shown;
    const bool is_same = shown.kind == request.kind && shown.format == request.format && shown.from == request.from &&
                         shown.to == request.to && shown.team_id == team_id && shown.agent_id == agent_id &&
                         shown.run_id == request.run_id;
    if (!is_same) co_return fail(Code::conflict, "The id belongs to another export.");
    if (is_new) {
      json::Writer payload;
      payload.begin_object();
      payload.field("id", id.text());
      payload.end_object();
      co_await tasks::outbox::append(transaction, asked_topic, payload.text());
      trail_.record(transaction, call, entry("export_create", shown));
    }
    co_return Asked{std::move(shown), is_new};
  };
  co_return co_await pg::transact(database_, "export_create", call, body);
}

Async<Result<Row>> Exports::find(const Call& call, Uuid id) {
  const auto& principal = call.principal;
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id, kinds_of(principal));
  auto rows = sql::read(co_await database_.read_preferred(call).find(sql::get(), std::move(params), call.deadline));
  if (rows.empty()) co_return std::unexpected(not_found());
  co_return std::move(rows.front());
}

Async<Result<Export>> Exports::get(const Call& call, Uuid id) {
  auto row = co_await find(call, id);
  if (!row) co_return std::unexpected(std::move(row.error()));
  co_return std::move(row->shown);
}

Async<Result<json::Page<Export>>> Exports::list(const Call& call, ExportQuery query) {
  const auto& principal = call.principal;
  auto params = pg::Params::of(principal.team_id, principal.agent_id, kinds_of(principal), query.kind, query.state,
                               query.cursor, query.limit + 1);
  auto rows = sql::read(co_await database_.read_preferred(call).execute(sql::list(), std::move(params), call.deadline));
  std::vector<Export> found;
  for (auto& row : rows) found.push_back(std::move(row.shown));
  co_return json::page_of(std::move(found), query.limit,
                          [](const Export& one) { return json::PagePosition{one.created_at, one.id}; });
}

Async<Result<Export>> Exports::remove(const Call& call, Uuid id) {
  const auto& principal = call.principal;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Export>> {
    auto rows = sql::read(co_await transaction.execute(
        sql::get(), pg::Params::of(id, principal.team_id, principal.agent_id, kinds_of(principal))));
    if (rows.empty()) co_return std::unexpected(not_found());
    const auto removed = co_await transaction.execute(sql::remove(), pg::Params::of(id));
    if (removed.affected() == 0) co_return std::unexpected(not_found());
    trail_.record(transaction, call, entry("export_remove", rows.front().shown));
    co_return std::move(rows.front().shown);
  };
  co_return co_await pg::transact(database_, "export_remove", call, body);
}

Async<Result<objects::Pieces>> Exports::content(const Call& call, const Export& one, std::uint64_t first,
                                                std::uint64_t count) {
  const auto row = co_await find(call, one.id);
  if (!row) co_return std::unexpected(row.error());
  const objects::Wanted wanted{.kind = place_of(one.kind),
                               .key = row->object_key,
                               .etag = row->etag,
                               .first = first,
                               .count = count,
                               .bytes = static_cast<std::uint64_t>(one.bytes.value_or(0)),
                               .sha256 = one.sha256};
  auto transfer = objects_.begin_transfer();
  if (!transfer) co_return std::unexpected(transfer.error());
  auto begun = co_await objects::read_checked(objects_, std::move(*transfer), wanted);
  if (!begun && begun.error().code == Code::not_found)
    co_return fail(Code::not_found, "The file is not in the object storage any more.");
  if (!begun) co_return std::unexpected(objects::for_readers(begun.error()));
  co_return std::move(*begun);
}

Async<Result<ExportUrl>> Exports::url(const Call& call, Uuid id, std::chrono::seconds lifetime) {
  if (!objects_.is_configured()) co_return std::unexpected(objects::Objects::not_configured());
  const auto& principal = call.principal;
  const auto expires_at = Timestamp::now().plus(lifetime);
  // Whoever has it needs no credentials: who gave it to whom is worth knowing.
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ExportUrl>> {
    const auto rows = sql::read(co_await transaction.execute(
        sql::get(), pg::Params::of(id, principal.team_id, principal.agent_id, kinds_of(principal))));
    if (rows.empty()) co_return std::unexpected(not_found());
    const auto& row = rows.front();
    if (row.shown.state != ExportState::done)
      co_return fail(Code::conflict, "The export is not done; its state and progress tell how far it is.");
    const auto disposition = fmt::format("attachment; filename=\"{}\"", file_name(row.shown));
    auto url =
        objects_.store()->url_to_get(objects_.bucket(place_of(row.shown.kind)), row.object_key, disposition, lifetime);
    if (!url)
      co_return fail(Code::conflict,
                     "The object storage here is a directory, which has no URLs; GET the content from us.");
    trail_.record(transaction, call, entry("export_url", row.shown));
    co_return ExportUrl{.url = std::move(*url), .expires_at = expires_at};
  };
  co_return co_await pg::transact(database_, "export_url", call, body);
}

}  // namespace cognive::exports
