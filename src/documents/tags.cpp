#include "documents/tags.hpp"

namespace cognive::documents {
namespace {

constexpr http::Router::Tag all[] = {
    {"Sign in", "Sessions of people: a short access token, and a refresh token that is exchanged for the next."},
    {"People", "Users, their roles, and the teams in which they hold them."},
    {"API keys",
     "Credentials of machines: of a team or an agent, with permissions, an end and an overlap when rotated."},
    {"Teams", "They own agents, budgets and keys."},
    {"Agents", "The registered AI applications: what each may use, and whether it may run."},
    {"Runs", "Executions of agents, from their start to their end, and the kill switch."},
    {"Events", "What runs do: steps, LLM calls and tool invocations, one by one or in batches."},
    {"Budgets", "Limits that stop exactly, and reservations: money set aside for calls that have not reported yet."},
    {"Alerts", "Thresholds of budgets that were crossed, and the channels that tell of it."},
    {"Prices", "What models cost: versions of the catalogue, overrides, and calls priced again."},
    {"Replay", "Runs as they were, and what they would have cost with another model."},
    {"Analytics", "Costs, runs, durations and tools over time, from sums that agree with the ledger."},
    {"Stream", "What happens to runs and budgets, as it happens."},
    {"Artifacts", "Files that agents make or need, in the object storage."},
    {"Exports", "Calls, runs, costs and the audit trail as files."},
    {"Audit", "Who changed what, in a chain that nobody edits unnoticed."},
    {"Tasks", "Work for Celery workers, sent from here."},
    {"System", "Health, metrics and this description."},
};

}  // namespace

std::span<const http::Router::Tag> tags() {
  return all;
}

}  // namespace cognive::documents
