#include "http/router.hpp"
#include "identity/permissions.hpp"
#include "runs/runs.hpp"

namespace cognive::runs {
namespace {

struct RunPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &RunPath::id, "The run's id.")); }
};

Async<Result<http::Reply<Run>>> start(Runs& runs, const Call& call, RunStart body) {
  auto answer = co_await runs.start(call, std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  co_return http::Reply<Run>{.body = std::move(answer->run), .status = answer->created ? 201 : 200};
}

}  // namespace

void add_routes(http::Router& router, Runs& runs) {
  namespace permission = identity::permission;
  constexpr std::string_view tag = "Runs";
  router.add(
      {.method = "POST",
       .path = "/api/v1/runs/start",
       .id = "run_start",
       .tag = tag,
       .summary = "Start a run",
       .description = "With a run_id of the caller's own it can be repeated: the repeat answers 200 with the run. "
                      "Below a run that was terminated nothing starts (409), whatever has become of those between.",
       .permission = permission::runs_write,
       .status = 201,
       .also = {200, 404, 409}},
      [&runs](const Call& call, http::NoInput, RunStart body) { return start(runs, call, std::move(body)); });
  router.add(
      {.method = "POST",
       .path = "/api/v1/runs/{id}/end",
       .id = "run_end",
       .tag = tag,
       .summary = "End a run",
       .description = "Repeating the same end answers 200; another end of an ended run is 409 and changes nothing.",
       .permission = permission::runs_write,
       .also = {409}},
      [&runs](const Call& call, RunPath path, RunEnd body) { return runs.end(call, path.id, std::move(body)); });
  router.add(
      {.method = "POST",
       .path = "/api/v1/runs/{id}/heartbeat",
       .id = "run_heartbeat",
       .tag = tag,
       .summary = "Say that a run is alive, and hear what is wanted of it",
       .description = "The order is terminate when the run has ended here: killed, or for another reason. A queued "
                      "run begins, unless its agent is suspended or archived: then the order is terminate, too.",
       .permission = permission::runs_write},
      [&runs](const Call& call, RunPath path, http::NoInput) { return runs.heartbeat(call, path.id); });
  router.add({.method = "POST",
              .path = "/api/v1/runs/{id}/terminate",
              .id = "run_terminate",
              .tag = tag,
              .summary = "Stop a run: the kill switch",
              .description = "Ends the run and every run below it at once; they are told with their next heartbeat or "
                             "event, on whichever node. A repeat answers 200.",
              .permission = permission::runs_write,
              .also = {409}},
             [&runs](const Call& call, RunPath path, RunTerminate body) {
               return runs.terminate(call, path.id, std::move(body));
             });
  router.add({.method = "GET",
              .path = "/api/v1/runs",
              .id = "run_list",
              .tag = tag,
              .summary = "List runs",
              .description = "The newest first.",
              .permission = permission::runs_read},
             [&runs](const Call& call, RunList query, http::NoInput) { return runs.list(call, std::move(query)); });
  router.add(
      {.method = "GET",
       .path = "/api/v1/runs/{id}",
       .id = "run_get",
       .tag = tag,
       .summary = "Get one run with its totals",
       .description = "Its totals are those of the ledger: calls, tokens and what they cost, re-pricing included.",
       .permission = permission::runs_read},
      [&runs](const Call& call, RunPath path, http::NoInput) { return runs.get(call, path.id); });
}

}  // namespace cognive::runs
