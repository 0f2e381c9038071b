// Which server a connection leads to: enough to tell a server from another one, and from itself before a restart.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hpp"
#include "pg/rows.hpp"

namespace cognive::pg {

struct ServerIdentity {
  std::string system;          // system identifier and database: the same on a primary and all of its replicas
  std::uint32_t timeline = 0;  // raised by each promotion
  Timestamp started_at{};      // of the server process, by its own clock: another one after each restart
  bool in_recovery = false;    // a standby
  bool read_only = false;      // refuses writes, as a standby or because it is configured so

  // Whether nothing can have happened in between that was not seen: the same process, in the same role.
  [[nodiscard]] bool is_still(const ServerIdentity& known) const {
    return system == known.system && started_at == known.started_at && in_recovery == known.in_recovery &&
           (in_recovery || timeline == known.timeline);
  }
};

// Columns of a SELECT that read_identity understands, in this order.
//
// The control file shows the old timeline for a while after a promotion, and a standby's own only at its restart
// points: a primary is asked for the name of its current log file instead, and of a standby the latest of all that it
// knows.
#define COGNIVE_IDENTITY_COLUMNS                                                                                     \
  "(SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() c, pg_database d WHERE d.datname = "         \
  "current_database()), "                                                                                            \
  "CASE WHEN pg_is_in_recovery() THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()), "                  \
  "(SELECT min_recovery_end_timeline FROM pg_control_recovery()), (SELECT received_tli FROM pg_stat_wal_receiver)) " \
  "ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END, "                             \
  "pg_postmaster_start_time(), pg_is_in_recovery(), current_setting('transaction_read_only')::boolean"

inline constexpr int identity_columns = 5;

// Reads the columns above from the beginning of a row.
ServerIdentity read_identity(Row row);

}  // namespace cognive::pg
