#include "artifacts/store.hpp"

namespace cognive::artifacts::sql {

std::vector<Row> read(const pg::Rows& rows) {
  std::vector<Row> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    auto& one = row.artifact;
    rows[i].read(one.id, one.team_id, one.agent_id, one.run_id, one.name, one.content_type, one.state, one.bytes,
                 one.sha256, one.created_at, one.stored_at, one.expires_at, row.way, row.object_key, row.upload_id,
                 row.declared_sha256, row.etag);
  }
  return out;
}

pg::Params by_id(Uuid id, const Principal& principal) {
  return pg::Params::of(id, principal.team_id, principal.agent_id);
}

}  // namespace cognive::artifacts::sql
