// Teams own agents and budgets. They are flat; the team `default` always exists.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "base/error.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::teams {

inline constexpr std::string_view default_team = "default";

struct Team {
  Uuid id;
  std::string name;
  Timestamp created_at;

  static constexpr std::string_view schema_name = "Team";
  static constexpr auto fields() {
    return json::fields(json::field("id", &Team::id, ""),
                        json::field("name", &Team::name, "Unique in the organisation."),
                        json::field("created_at", &Team::created_at, ""));
  }
};

struct TeamCreate {
  std::string name;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "TeamCreate";
  static constexpr auto fields() {
    return json::fields(json::field("name", &TeamCreate::name, "Unique in the organisation.",
                                    {.min_length = 1, .max_length = 128, .example = "\"payments\""}));
  }
};

struct TeamChange {
  std::string name;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "TeamUpdate";
  static constexpr auto fields() {
    return json::fields(json::field("name", &TeamChange::name, "Unique in the organisation.",
                                    {.min_length = 1, .max_length = 128, .example = "\"payments\""}));
  }
};

struct TeamList {
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("limit", &TeamList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &TeamList::cursor, "next_cursor of the page before."));
  }
};

class Teams {
 public:
  Teams(pg::Cluster& database, audit::Trail trail) : database_(database), trail_(trail) {}

  // Code::forbidden for callers who belong to one team; Code::conflict when the name is taken.
  Async<Result<Team>> create(const Call& call, TeamCreate request);
  // The same, and Code::conflict for the team `default`, which is meant by whoever names no team.
  Async<Result<Team>> update(const Call& call, Uuid id, TeamChange change);
  Async<Result<Team>> get(const Call& call, Uuid id);
  Async<Result<json::Page<Team>>> list(const Call& call, TeamList query);

 private:
  pg::Cluster& database_;
  audit::Trail trail_;
};

// For other words of the product: the id of the team of that name, if the caller may see it; decided on the primary.
Async<std::optional<Uuid>> find_by_name(pg::Cluster& database, const std::string& name, const Call& call);

void add_routes(http::Router& router, Teams& teams);

}  // namespace cognive::teams
