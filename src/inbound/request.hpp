// A message of one of the inbound queues as the request that it stands for.
//
// The body is one JSON object, an array of events, or one event per line (application/x-ndjson), gzipped when its
// content_encoding says so. What an object is, its `type` says: llm_call, tool_invocation or step is an event, as is
// one without a type in a queue of calls or of tool invocations; run_start, run_end and run_heartbeat are what the
// routes of runs take, with `run_id` in the object. The API key is in the header `X-API-Key` (or `Authorization`).
#pragma once

#include "amqp/message.hpp"
#include "base/error.hpp"
#include "http/message.hpp"

namespace cognive::inbound {

// Without a deadline. An error of a message that can never be understood, or unpacks to more than `body_bytes_max`.
Result<http::Request> request_of(const amqp::Delivery& message, std::size_t body_bytes_max);

}  // namespace cognive::inbound
