#include "stream/routes.hpp"

#include "identity/permissions.hpp"

namespace cognive::stream {
namespace {

struct StreamQuery {
  std::vector<Topic> topics;
  std::optional<Uuid> agent_id;

  static constexpr auto fields() {
    return json::fields(json::field("topics", &StreamQuery::topics,
                                    "Comma-separated: run, alert. Both when absent; alerts need budgets:read.",
                                    {.max_length = 2, .optional = true}),
                        json::field("agent_id", &StreamQuery::agent_id, "Only of this agent."));
  }
};

// The answer outlives the request.
struct Listening {
  std::shared_ptr<Listener> listener;
  http::Gate& gate;
  http::Request request;
};

// Who listens, as of now.
Async<Result<Principal>> ask(std::shared_ptr<Listening> listening) {
  constexpr std::chrono::milliseconds patience{5'000};
  listening->request.deadline = Deadline::in(patience);
  co_return co_await listening->gate.admit(listening->request);
}

Async<Result<std::string>> next_of(std::shared_ptr<Listening> listening) {
  // The end of a key or a session is the end of the stream; so is a change of team.
  auto principal = co_await ask(listening);
  while (principal && principal->may(identity::permission::runs_read)) {
    auto text = co_await listening->listener->next(*principal);
    if (!text) break;
    // It has waited.
    auto still = co_await ask(listening);
    if (!still || still->permissions != principal->permissions || still->team_id != principal->team_id) break;
    if (!text->empty()) co_return std::move(*text);
    principal = std::move(still);
  }
  co_return std::string();
}

Async<http::Response> listen(Hub& hub, http::Gate& gate, const Call& call, StreamQuery query,
                             const http::Request& request) {
  std::optional<Position> after;
  if (const auto id = request.header("last-event-id"); !id.empty()) {
    after = Position::parse(id);
    if (!after) co_return http::problem({Code::malformed, "Last-Event-ID is none of this stream.", {}}, request);
  }
  auto listener = co_await hub.listen(call, after, {.topics = std::move(query.topics), .agent_id = query.agent_id});
  if (!listener) co_return http::problem(listener.error(), request);
  auto kept = request;
  kept.body.clear();
  const auto listening = std::make_shared<Listening>(Listening{std::move(*listener), gate, std::move(kept)});
  http::Response response{.status = 200, .content_type = "text/event-stream", .body = {}, .headers = {}};
  response.headers.emplace_back("X-Accel-Buffering", "no");  // nginx would keep it back
  response.stream = [listening] { return next_of(listening); };
  co_return response;
}

}  // namespace

void add_routes(http::Router& router, Hub& hub, http::Gate& gate) {
  router.add_raw<StreamQuery>(
      {.method = "GET",
       .path = "/api/v1/stream",
       .id = "stream",
       .tag = "Stream",
       .summary = "Listen to what happens to runs and budgets",
       .description =
           "Server-sent events. `run.<status>` when a run comes into a state, `budget.alerted` when a threshold is "
           "crossed, within a second of their commit and in the order of commits. With Last-Event-ID it goes on where "
           "it broke off, on any node; what happened more than an hour ago is not kept: then `reset` comes first, and "
           "whoever listens reads anew what they show. Every 15 seconds without an event comes an empty one with an "
           "id. "
           "An event may come twice. The stream ends with its key or session.",
       .permission = identity::permission::runs_read,
       .also = {503}},
      {.parameters =
           {R"({"name":"Last-Event-ID","in":"header","required":false,"schema":{"type":"string"},"description":"The id of the last event that has been seen"})"},
       .body = {},
       .answer = R"({"type":"string"})",
       .answer_type = "text/event-stream"},
      [&hub, &gate](const Call& call, StreamQuery query, const http::Request& request) {
        return listen(hub, gate, call, std::move(query), request);
      });
}

}  // namespace cognive::stream
