// SQL of teams.
#pragma once

#include "teams/teams.hpp"

namespace cognive::teams::store {

// Nothing when the name is taken.
Async<std::optional<Team>> insert(pg::Transaction& transaction, Uuid id, const std::string& name);
// Locked until the transaction ends.
Async<std::optional<Team>> lock(pg::Transaction& transaction, Uuid id);
// False when the name is taken: then the transaction can only be rolled back.
Async<bool> rename(pg::Transaction& transaction, Uuid id, const std::string& name);
// `visible_to`: the caller's team, nothing for the organisation.
Async<std::optional<Team>> get(pg::Reader database, Uuid id, std::optional<Uuid> visible_to, Deadline deadline);
Async<std::optional<Uuid>> find_by_name(pg::Pool& database, const std::string& name, std::optional<Uuid> visible_to,
                                        Deadline deadline);
Async<std::vector<Team>> list(pg::Reader database, std::optional<Uuid> visible_to,
                              std::optional<json::PagePosition> after, std::int64_t count, Deadline deadline);

}  // namespace cognive::teams::store
