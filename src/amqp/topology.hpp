// The exchanges and queues of the product, as those before us have named them and their users know them.
#pragma once

#include <array>
#include <string_view>

#include "amqp/message.hpp"

namespace cognive::amqp {

// Of events that agents publish; also of tasks for Celery workers, which have a header `task`.
inline constexpr std::string_view runs_queue = "agent.runs.events";
inline constexpr std::string_view calls_queue = "agent.llm.calls";
inline constexpr std::string_view tools_queue = "agent.tool.invocations";
inline constexpr std::array inbound_queues{runs_queue, calls_queue, tools_queue};

// Of alerts that we publish.
inline constexpr std::string_view alerts_queue = "budget.alerts";

// Of all that we tell, by topic.
inline constexpr std::string_view events_exchange = "cognive.events";

// All of these. Each queue hangs on a direct exchange of its name; what it refuses, or keeps for a day, goes by the
// exchange `dlx` to `dlq.<queue>` and is kept there for seven.
Topology topology();

}  // namespace cognive::amqp
