// What the verbs of `cognive migrate` share: those that move a database or look at it (migrate.cpp) and those that
// write revisions from the model (revisions.cpp).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "schema/history.hpp"
#include "schema/migrator.hpp"

namespace cognive::commands {

struct MigrateFlags {
  std::string target;
  std::string directory;
  std::string message;
  std::vector<std::string> revisions;
  int wait_seconds = 900;
  bool autogenerate = false;
  bool sql = false;
  bool purge = false;
  bool verbose = false;
  bool json = false;
};

// One statement that asks the database something.
inline constexpr std::chrono::seconds look_timeout{60};

// Whoever writes revisions works with the files before they are in a binary: those of --directory, or of ./migrations.
Result<schema::History> history_in_force(const MigrateFlags& flags);

// For people: "base", or the ids.
std::string listed(const schema::RevisionIds& ids);

// Runs a task on a connection to the primary, for reading: it waits for no migration. Returns the exit status.
using StateTask = std::function<Async<Result<void>>(pg::Connection&, const schema::History&)>;
int with_connection(const MigrateFlags& flags, const StateTask& task);

// The verbs that know the model. Each returns the exit status.
int write_revision(const MigrateFlags& flags);
int merge_revisions(const MigrateFlags& flags);
int rehash_revisions(const MigrateFlags& flags);
int check_model(const MigrateFlags& flags);

}  // namespace cognive::commands
