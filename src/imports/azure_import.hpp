// Sends an Azure LLM trace to a Cognive server: one run of one agent, whose LLM calls are the rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/decimal.hpp"
#include "base/error.hpp"
#include "base/function_ref.hpp"
#include "base/uuid.hpp"
#include "client/api.hpp"
#include "imports/azure_trace.hpp"
#include "imports/progress.hpp"

namespace cognive::imports {

struct ImportOptions {
  std::string agent;  // name; made when the server does not know it, otherwise left as it is
  std::string model;
  std::optional<std::string> provider = std::nullopt;
  std::optional<std::string> environment =
      std::nullopt;              // of the agent; replaces what it had, so give it only when meant
  std::size_t batch_rows = 500;  // 1 or more
  bool authorise = false;        // asks before each row whether budgets have room for it, in the order of the file
};

struct ImportSummary {
  Uuid agent_id;
  Uuid run_id;
  std::size_t rows = 0;
  std::int64_t accepted = 0;    // new to the server
  std::int64_t duplicates = 0;  // there already: from an earlier import, or from an attempt whose answer was lost
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  double seconds = 0;

  // When rows were authorised.
  struct Refused {
    std::int64_t rows = 0;
    NanoUsd cost;               // of the rows that a budget of money has refused
    std::int64_t unpriced = 0;  // those that another budget has
  };
  Refused refused;
  NanoUsd accepted_cost;  // of the run, as the server adds it up
};

// With `authorise` a row that a budget refuses is left out, and those behind it are asked for all the same: a smaller
// one may still fit. A repeat finds the reservations of the rows that it sent before. When rows were refused the run is
// left open: with more room, a repeat completes it.
//
// Registers the agent, starts the run at the first time of the trace, sends the rows in order, one request at a time,
// and ends the run as succeeded at the last time. Ids come from the content (event_id_of), so an import that failed or
// was killed is completed by repeating it, and a second import adds nothing. `progress` is called once before the first
// batch and after each.
//
// Errors: what the server or the connection refused, with the lines concerned; the rows before them are stored. When
// single rows are rejected the others are sent all the same; then Code::unprocessable names the lines (the first ones;
// `fields` has the pointer `/line/field` and the message of each) and the run is left open, so that a repeat may still
// complete it.
Result<ImportSummary> import_azure_trace(client::ApiClient& api, const Trace& trace, const ImportOptions& options,
                                         FunctionRef<void(Progress)> progress);

}  // namespace cognive::imports
