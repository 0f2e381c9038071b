// The table of costs, as `cognive costs` and the demonstration of `cognive up` print it.
#pragma once

#include <string>

#include "client/api.hpp"

namespace cognive::commands {

// Agents, runs, calls, tokens and cost, by agent and model, with a total.
Result<std::string> costs_table(client::ApiClient& api);

}  // namespace cognive::commands
