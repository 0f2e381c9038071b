// Asks a server to end the statement that a connection is running.
#pragma once

#include <atomic>
#include <memory>

struct pg_conn;

namespace cognive::pg {

// A cancellation names a connection, not a statement: until it is over, it may hit whatever the connection runs by
// then. Set by another thread.
using CancellationOver = std::shared_ptr<const std::atomic<bool>>;

// Returns at once: libpq's cancellation opens a connection and blocks, so it runs on a thread of its own. Best effort:
// dropped (null) when many are under way already, and without effect when the statement ends first.
CancellationOver cancel_in_background(pg_conn* connection);

}  // namespace cognive::pg
