#include "events/item.hpp"

namespace cognive::events {

void reject(Item& item, Code code, std::string pointer, std::string message) {
  *item.fate = {.kind = Fate::Kind::rejected,
                .code = code,
                .error = {std::move(pointer), std::move(message), {}},
                .violation = {},
                .terminate = {}};
}

bool belongs(Item& item, std::shared_ptr<const runs::KnownRun> run) {
  const auto& stated_agent = item.event->base().agent_id;
  if (!run || !item.sender->principal.sees(run->team_id, run->agent_id)) {
    reject(item, Code::not_found, "/run_id",
           stated_agent ? "There is no such run."
                        : "There is no such run; with agent_id the event would make a placeholder for it.");
    return false;
  }
  if (stated_agent && *stated_agent != run->agent_id) {
    reject(item, Code::unprocessable, "/agent_id", "The run belongs to another agent.");
    return false;
  }
  item.row.event = item.event;
  item.row.run = std::move(run);
  return true;
}

}  // namespace cognive::events
