#include "http/router.hpp"
#include "identity/permissions.hpp"
#include "replay/replay.hpp"

namespace cognive::replay {
namespace {

struct RunPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &RunPath::id, "The run's id.")); }
};

struct BundleInput : ReplayQuery {
  Uuid id;
  static constexpr auto fields() {
    return std::tuple_cat(json::fields(json::field("id", &BundleInput::id, "The run's id.")), ReplayQuery::fields());
  }
};

}  // namespace

void add_routes(http::Router& router, Replay& replay) {
  constexpr std::string_view tag = "Replay";
  router.add(
      {.method = "GET",
       .path = "/api/v1/runs/{id}/timeline",
       .id = "run_timeline",
       .tag = tag,
       .summary = "Everything a run did, in order",
       .description =
           "Steps, LLM calls and tool invocations, with the time since the start, what they cost and how they ended.",
       .permission = identity::permission::runs_read},
      [&replay](const Call& call, RunPath path, http::NoInput) { return replay.timeline(call, path.id); });
  router.add({.method = "GET",
              .path = "/api/v1/runs/{id}/replay",
              .id = "run_replay",
              .tag = tag,
              .summary = "The recorded bundle of a run, priced again if asked",
              .description = "With as_model, as_provider or as_of it says what the run would have cost. Nothing is "
                             "changed or charged.",
              .permission = identity::permission::runs_read},
             [&replay](const Call& call, BundleInput input, http::NoInput) {
               const auto id = input.id;
               return replay.bundle(call, id, std::move(input));
             });
}

}  // namespace cognive::replay
