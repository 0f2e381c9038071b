#include "pg/server_identity.hpp"

namespace cognive::pg {

ServerIdentity read_identity(Row row) {
  ServerIdentity out;
  std::int32_t timeline = 0;
  row.read(out.system, timeline, out.started_at, out.in_recovery, out.read_only);
  out.timeline = static_cast<std::uint32_t>(timeline);
  return out;
}

}  // namespace cognive::pg
