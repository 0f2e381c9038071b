// SQL of artifacts.
#pragma once

#include "artifacts/artifacts.hpp"

namespace cognive::artifacts {

// An artifact with what only we know of it.
struct Row {
  Artifact artifact;
  std::string state;
  std::string object_key;
  std::string upload_id;                       // empty: none
  std::optional<std::string> declared_sha256;  // hexadecimal
};

}  // namespace cognive::artifacts

namespace cognive::artifacts::sql {

#define COGNIVE_ARTIFACT_COLUMNS                                                                                    \
  "a.id, a.team_id, a.agent_id, a.run_id, a.name, a.content_type, a.bytes, encode(a.sha256, 'hex'), a.created_at, " \
  "a.stored_at, a.expires_at, a.state, a.object_key, coalesce(a.upload_id, ''), encode(a.declared_sha256, 'hex') "
#define COGNIVE_VISIBLE(team, agent)                                                    \
  "a.state <> 'removing' AND (a.expires_at IS NULL OR a.expires_at > now()) AND (" team \
  "::uuid IS NULL OR a.team_id = " team ") AND (" agent "::uuid IS NULL OR a.agent_id = " agent ") "

inline constexpr pg::Query agent{
    "artifact_agent",
    "SELECT team_id, status = 'archived' FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND "
    "($3::uuid IS NULL OR id = $3)"};
inline constexpr pg::Query run{"artifact_run",
                               "SELECT FROM agent_runs WHERE id = $1 AND bucket = $2 AND agent_id = $3"};
// A try that was broken off is taken over: what it may still write stands under another key.
inline constexpr pg::Query insert{
    "artifact_insert",
    "INSERT INTO artifacts (id, team_id, agent_id, run_id, name, content_type, object_key, upload_id, "
    "declared_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, decode($9, 'hex')) ON CONFLICT (id) DO NOTHING"};
inline constexpr pg::Query take_over{"artifact_take_over",
                                     "UPDATE artifacts SET object_key = $2, touched_at = now(), declared_sha256 = "
                                     "decode($3, 'hex'), content_type = $4 WHERE id = $1 "
                                     "AND state = 'uploading' AND upload_id IS NULL"};
inline constexpr pg::Query lock{
    "artifact_lock", "SELECT " COGNIVE_ARTIFACT_COLUMNS
                     "FROM artifacts a WHERE a.id = $1 AND " COGNIVE_VISIBLE("$2", "$3") "FOR NO KEY UPDATE"};
inline constexpr pg::Query get{"artifact_get", "SELECT " COGNIVE_ARTIFACT_COLUMNS
                                               "FROM artifacts a WHERE a.id = $1 AND " COGNIVE_VISIBLE("$2", "$3")};
inline constexpr pg::Query list{
      "artifact_list",
      "SELECT " COGNIVE_ARTIFACT_COLUMNS "FROM artifacts a WHERE " COGNIVE_VISIBLE("$1", "$2")
      "AND ($3::uuid IS NULL OR a.agent_id = $3) AND ($4::uuid IS NULL OR a.run_id = $4) "
      "AND ($5::text IS NULL OR a.name = $5) AND ($6::text IS NULL OR a.state = $6) "
      "AND ($7::timestamptz IS NULL OR (a.created_at, a.id) < ($7, $8)) "
      "ORDER BY a.created_at DESC, a.id DESC LIMIT $9"};
inline constexpr pg::Query stored{
    "artifact_stored",
    "UPDATE artifacts SET state = 'stored', bytes = $3, sha256 = decode($4, 'hex'), stored_at = now(), touched_at = "
    "now(), "
    "expires_at = now() + $5 * interval '1 day' WHERE id = $1 AND object_key = $2 AND state = 'uploading'"};
inline constexpr pg::Query give_up{"artifact_give_up",
                                   "DELETE FROM artifacts WHERE id = $1 AND object_key = $2 AND state = 'uploading'"};
inline constexpr pg::Query remove{"artifact_remove",
                                  "UPDATE artifacts SET state = 'removing', touched_at = now() WHERE id = $1"};
inline constexpr pg::Query parts{
    "artifact_part_list",
    "SELECT number, bytes, encode(sha256, 'hex'), etag FROM artifact_parts WHERE artifact_id = $1 ORDER BY number"};
inline constexpr pg::Query put_part{
    "artifact_part_put",
    "WITH upload AS (UPDATE artifacts SET touched_at = now() WHERE id = $1 AND state = 'uploading' RETURNING id) "
    "INSERT INTO artifact_parts (artifact_id, number, etag, bytes, sha256) SELECT id, $2, $3, $4, $5 FROM upload ON "
    "CONFLICT (artifact_id, number) DO UPDATE SET etag = excluded.etag, bytes = excluded.bytes, "
    "sha256 = excluded.sha256"};
inline constexpr pg::Query begun{"artifact_begun",
                                 "UPDATE artifacts SET upload_id = $3 WHERE id = $1 AND object_key = $2"};
// What the store has nothing of any more is no loss: rows go last.
inline constexpr pg::Query over{
    "artifact_over",
    "SELECT id, object_key, coalesce(upload_id, '') FROM artifacts WHERE (state = 'removing' AND touched_at < now() - "
    "$2 * interval '1 second') OR (state = 'uploading' AND touched_at < now() - interval '1 day') OR (state = "
    "'stored' AND expires_at <= now()) LIMIT $1"};
inline constexpr pg::Query forget{
    "artifact_forget",
    "DELETE FROM artifacts WHERE id = $1 AND object_key = $2 AND (state <> 'stored' OR expires_at <= now())"};

#undef COGNIVE_ARTIFACT_COLUMNS
#undef COGNIVE_VISIBLE

std::vector<Row> read(const pg::Rows& rows);
pg::Params by_id(Uuid id, const Principal& principal);

}  // namespace cognive::artifacts::sql
