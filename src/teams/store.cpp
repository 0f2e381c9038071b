#include "teams/store.hpp"

namespace cognive::teams::store {
namespace {

constexpr pg::Query insert_query{
    "team_insert",
    "INSERT INTO teams (id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING id, name, created_at"};

constexpr pg::Query lock_query{"team_lock", "SELECT id, name, created_at FROM teams WHERE id = $1 FOR NO KEY UPDATE"};

// Whoever takes the name at the same time is seen by neither, and one of both fails at the constraint.
constexpr pg::Query rename_query{
    "team_rename", "UPDATE teams SET name = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM teams WHERE name = $2)"};

constexpr pg::Query get_query{"team_get",
                              "SELECT id, name, created_at FROM teams WHERE id = $1 AND ($2::uuid IS NULL OR id = $2)"};

constexpr pg::Query find_by_name_query{"team_find_by_name",
                                       "SELECT id FROM teams WHERE name = $1 AND ($2::uuid IS NULL OR id = $2)"};

constexpr pg::Query list_query{
    "team_list",
    "SELECT id, name, created_at FROM teams WHERE ($1::uuid IS NULL OR id = $1) "
    "AND ($2::timestamptz IS NULL OR (created_at, id) < ($2, $3)) ORDER BY created_at DESC, id DESC LIMIT $4"};

std::vector<Team> read(const pg::Rows& rows) {
  std::vector<Team> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& team = out[static_cast<std::size_t>(i)];
    rows[i].read(team.id, team.name, team.created_at);
  }
  return out;
}

std::optional<Team> first(std::vector<Team> teams) {
  if (teams.empty()) return std::nullopt;
  return std::move(teams.front());
}

}  // namespace

Async<std::optional<Team>> insert(pg::Transaction& transaction, Uuid id, const std::string& name) {
  co_return first(read(co_await transaction.execute(insert_query, pg::Params::of(id, name))));
}

Async<std::optional<Team>> lock(pg::Transaction& transaction, Uuid id) {
  co_return first(read(co_await transaction.execute(lock_query, pg::Params::of(id))));
}

Async<bool> rename(pg::Transaction& transaction, Uuid id, const std::string& name) {
  try {
    const auto rows = co_await transaction.execute(rename_query, pg::Params::of(id, name));
    co_return rows.affected() == 1;
  } catch (const pg::SqlError& error) {
    if (error.state() != pg::sqlstate::unique_violation) throw;
    co_return false;
  }
}

Async<std::optional<Team>> get(pg::Reader database, Uuid id, std::optional<Uuid> visible_to, Deadline deadline) {
  co_return first(read(co_await database.find(get_query, pg::Params::of(id, visible_to), deadline)));
}

Async<std::optional<Uuid>> find_by_name(pg::Pool& database, const std::string& name, std::optional<Uuid> visible_to,
                                        Deadline deadline) {
  const auto rows = co_await database.execute(find_by_name_query, pg::Params::of(name, visible_to), deadline);
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<Uuid>(0);
}

Async<std::vector<Team>> list(pg::Reader database, std::optional<Uuid> visible_to,
                              std::optional<json::PagePosition> after, std::int64_t count, Deadline deadline) {
  auto params = pg::Params::of(visible_to, after, count);
  co_return read(co_await database.execute(list_query, std::move(params), deadline));
}

}  // namespace cognive::teams::store
