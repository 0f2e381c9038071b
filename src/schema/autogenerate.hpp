// From a model to revisions: what the database lacks, or has too much of, as files for a person to review.
#pragma once

#include <string>
#include <vector>

#include "schema/compare.hpp"
#include "schema/revision.hpp"

namespace cognive::schema {

// Compares the database with the model. The model is created in a schema of its own inside a transaction that is rolled
// back, so nothing is changed; the role needs the right to create a schema in the database, and an error says so. The
// database's tables are those of its first schema in the search_path, as for the migrator. Throws pg::SqlError when the
// model is no valid SQL, Unavailable when the database is lost.
Async<Result<Difference>> compare_with(pg::Connection& connection, Model model, Deadline deadline);

// The same in the words that PostgreSQL settles for when it reads its own: `x IN ('a', 'b')` of a varchar, for one, is
// printed in one way when a person wrote it and in another after a dump or a revision. What cannot be created apart
// from its database stays as it was. `path`: where functions and types of nobody's model are found.
Async<Catalogue> settled(pg::Connection& connection, Catalogue catalogue, std::string path, Deadline deadline);

// The difference as one to three revisions that follow each other and `down`: values of enums, then the structure in
// one transaction, then what must not hold locks.
std::vector<Revision> revisions_for(const Difference& difference, std::vector<std::string> down,
                                    const std::string& message);

}  // namespace cognive::schema
