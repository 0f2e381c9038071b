#include "artifacts/store.hpp"

namespace cognive::artifacts::sql {

namespace {

#define COGNIVE_ARTIFACT_COLUMNS                                                                               \
  "a.id, a.team_id, a.agent_id, a.run_id, a.name, a.content_type, a.state, a.bytes, encode(a.sha256, 'hex'), " \
  "a.created_at, a.stored_at, a.expires_at, a.way, a.object_key, coalesce(a.upload_id, ''), "                  \
  "encode(a.declared_sha256, 'hex'), coalesce(a.etag, '') "
#define COGNIVE_VISIBLE(team, agent)                                                                                \
  "(a.expires_at IS NULL OR a.expires_at > now()) AND (" team "::uuid IS NULL OR a.team_id = " team ") AND (" agent \
  "::uuid IS NULL OR a.agent_id = " agent ") "
// Who downloads an artifact that is removed may finish, and who uploads one has so long at most: in one go six hours,
// past us as long as the URL is good.
#define COGNIVE_REMOVE_AFTER                                                                                        \
  "now() + CASE WHEN state = 'stored' OR way = 'parts' THEN interval '1 minute' WHEN way = 'one_go' THEN interval " \
  "'7 hours' ELSE interval '65 minutes' END"

constexpr pg::Query agent_query{
    "artifact_agent",
    "SELECT team_id, status = 'archived' FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND "
    "($3::uuid IS NULL OR id = $3)"};
constexpr pg::Query run_query{"artifact_run", "SELECT FROM agent_runs WHERE id = $1 AND bucket = $2 AND agent_id = $3"};
constexpr pg::Query insert_query{"artifact_insert",
                                 "INSERT INTO artifacts (id, team_id, agent_id, run_id, name, content_type, "
                                 "object_key, way, declared_sha256) VALUES "
                                 "($1, $2, $3, $4, $5, $6, $7, $8, decode($9, 'hex')) ON CONFLICT (id) DO NOTHING"};
// A try in one go that was broken off: what it may still write stands under another key.
constexpr pg::Query take_over_query{
    "artifact_take_over",
    "WITH before AS (SELECT id, object_key FROM artifacts WHERE id = $1 AND state = 'uploading' AND way = 'one_go' FOR "
    "UPDATE), leftover AS (INSERT INTO artifact_leftovers (object_key, remove_after) SELECT object_key, now() + "
    "interval "
    "'7 hours' FROM before ON CONFLICT DO NOTHING) UPDATE artifacts a SET object_key = $2, touched_at = now(), "
    "declared_sha256 = decode($3, 'hex'), content_type = $4 FROM before b WHERE a.id = b.id"};
constexpr pg::Query lock_query{"artifact_lock",
                               "SELECT " COGNIVE_ARTIFACT_COLUMNS
                               "FROM artifacts a WHERE a.id = $1 AND " COGNIVE_VISIBLE("$2", "$3") "FOR NO KEY UPDATE"};
constexpr pg::Query get_query{"artifact_get", "SELECT " COGNIVE_ARTIFACT_COLUMNS
                                              "FROM artifacts a WHERE a.id = $1 AND " COGNIVE_VISIBLE("$2", "$3")};
constexpr pg::Query list_query{
    "artifact_list",
    "SELECT " COGNIVE_ARTIFACT_COLUMNS "FROM artifacts a WHERE " COGNIVE_VISIBLE("$1", "$2")
    "AND ($3::uuid IS NULL OR a.agent_id = $3) AND ($4::uuid IS NULL OR a.run_id = $4) "
    "AND ($5::text IS NULL OR a.name = $5) AND ($6::text IS NULL OR a.state = $6) "
    "AND ($7::timestamptz IS NULL OR (a.created_at, a.id) < ($7, $8)) "
    "ORDER BY a.created_at DESC, a.id DESC LIMIT $9"};
// Under the key that it has by now: the one that was uploaded to, unless others can still write there.
constexpr pg::Query stored_query{
    "artifact_stored",
    "UPDATE artifacts SET state = 'stored', bytes = $3, sha256 = decode($4, 'hex'), etag = $5, object_key = $6, "
    "stored_at = now(), touched_at = now(), expires_at = CASE WHEN $7 > 0 THEN now() + $7 * interval '1 day' END "
    "WHERE id = $1 AND object_key = $2 AND state = 'uploading'"};
constexpr pg::Query give_up_query{"artifact_give_up",
                                  "WITH gone AS (DELETE FROM artifacts WHERE id = $1 AND object_key = $2 AND state = "
                                  "'uploading' RETURNING object_key, "
                                  "upload_id, way) INSERT INTO artifact_leftovers (object_key, upload_id, "
                                  "remove_after) SELECT object_key, upload_id, "
                                  "now() + CASE WHEN way = 'direct' THEN interval '65 minutes' ELSE interval '0' END "
                                  "FROM gone ON CONFLICT DO NOTHING"};
constexpr pg::Query remove_query{
    "artifact_remove",
    "WITH gone AS (DELETE FROM artifacts WHERE id = $1 RETURNING object_key, upload_id, state, way) INSERT INTO "
    "artifact_leftovers (object_key, upload_id, remove_after) SELECT object_key, upload_id, " COGNIVE_REMOVE_AFTER
    " FROM gone ON CONFLICT DO NOTHING"};
constexpr pg::Query parts_query{
    "artifact_part_list",
    "SELECT number, bytes, encode(sha256, 'hex'), etag FROM artifact_parts WHERE artifact_id = $1 ORDER BY number"};
constexpr pg::Query other_parts_query{
    "artifact_part_bytes",
    "SELECT coalesce(sum(bytes), 0)::bigint FROM artifact_parts WHERE artifact_id = $1 AND number <> $2"};
constexpr pg::Query put_part_query{
    "artifact_part_put",
    "WITH upload AS (UPDATE artifacts SET touched_at = now() WHERE id = $1 AND state = 'uploading' RETURNING id) "
    "INSERT INTO artifact_parts (artifact_id, number, etag, bytes, sha256) SELECT id, $2, $3, $4, $5 FROM upload ON "
    "CONFLICT (artifact_id, number) DO UPDATE SET etag = excluded.etag, bytes = excluded.bytes, "
    "sha256 = excluded.sha256"};
constexpr pg::Query begun_query{
    "artifact_begun", "UPDATE artifacts SET upload_id = $3 WHERE id = $1 AND object_key = $2 AND upload_id IS NULL"};
// Before an object is written under a key that no row has yet.
constexpr pg::Query expect_leftover_query{
    "artifact_leftover_expect",
    "INSERT INTO artifact_leftovers (object_key, remove_after) VALUES ($1, now() + interval '1 hour')"};
constexpr pg::Query exchange_leftover_query{
    "artifact_leftover_exchange",
    "WITH ours AS (DELETE FROM artifact_leftovers WHERE object_key = $1) INSERT INTO artifact_leftovers (object_key, "
    "remove_after) VALUES ($2, now() + interval '65 minutes') ON CONFLICT DO NOTHING"};
// Rows first, so that nobody goes on with what is about to be removed.
constexpr pg::Query over_query{
    "artifact_over",
    "WITH gone AS (DELETE FROM artifacts WHERE id IN (SELECT id FROM artifacts WHERE (state = 'uploading' AND "
    "touched_at "
    "< now() - interval '1 day') OR (state = 'stored' AND expires_at <= now()) LIMIT $1 FOR UPDATE SKIP LOCKED) "
    "RETURNING object_key, upload_id, state, way) INSERT INTO artifact_leftovers (object_key, upload_id, remove_after) "
    "SELECT object_key, upload_id, " COGNIVE_REMOVE_AFTER " FROM gone ON CONFLICT DO NOTHING"};
constexpr pg::Query leftovers_query{
    "artifact_leftovers",
    "SELECT object_key, coalesce(upload_id, '') FROM artifact_leftovers l WHERE remove_after <= now() AND NOT EXISTS "
    "(SELECT FROM artifacts a WHERE a.object_key = l.object_key) ORDER BY remove_after LIMIT $1"};
constexpr pg::Query forget_query{"artifact_leftover_forget", "DELETE FROM artifact_leftovers WHERE object_key = $1"};
constexpr pg::Query put_off_query{
    "artifact_leftover_put_off",
    "UPDATE artifact_leftovers SET remove_after = now() + interval '5 minutes' WHERE object_key = $1"};

#undef COGNIVE_REMOVE_AFTER
#undef COGNIVE_ARTIFACT_COLUMNS
#undef COGNIVE_VISIBLE

}  // namespace

const pg::Query& agent() {
  return agent_query;
}

const pg::Query& run() {
  return run_query;
}

const pg::Query& insert() {
  return insert_query;
}

const pg::Query& take_over() {
  return take_over_query;
}

const pg::Query& lock() {
  return lock_query;
}

const pg::Query& get() {
  return get_query;
}

const pg::Query& list() {
  return list_query;
}

const pg::Query& stored() {
  return stored_query;
}

const pg::Query& give_up() {
  return give_up_query;
}

const pg::Query& remove() {
  return remove_query;
}

const pg::Query& parts() {
  return parts_query;
}

const pg::Query& other_parts() {
  return other_parts_query;
}

const pg::Query& put_part() {
  return put_part_query;
}

const pg::Query& begun() {
  return begun_query;
}

const pg::Query& expect_leftover() {
  return expect_leftover_query;
}

const pg::Query& exchange_leftover() {
  return exchange_leftover_query;
}

const pg::Query& over() {
  return over_query;
}

const pg::Query& leftovers() {
  return leftovers_query;
}

const pg::Query& forget() {
  return forget_query;
}

const pg::Query& put_off() {
  return put_off_query;
}

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
