// Asks a server to end the statement that a connection is running.
#pragma once

struct pg_conn;

namespace cognive::pg {

// Returns at once: libpq's cancellation opens a connection and blocks, so it runs on a thread of its own. Best effort:
// dropped when many are under way already, and without effect when the statement ends first.
void cancel_in_background(pg_conn* connection);

}  // namespace cognive::pg
