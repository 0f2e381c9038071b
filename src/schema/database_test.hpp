// A PostgreSQL for the tests of this folder, and the way of a model into a database and back.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "embedded/cluster.hpp"
#include "schema/autogenerate.hpp"
#include "schema/migrator.hpp"

namespace cognive::schema {

class TestServer : public ::testing::Environment {
 public:
  void SetUp() override;
  void TearDown() override;

  // Of one database, which tests empty before they use it.
  [[nodiscard]] std::string url() const { return cluster_->socket_url(); }
  // Of the same database.
  [[nodiscard]] std::string superuser_url() const { return cluster_->superuser_url(); }

 private:
  std::filesystem::path root_;
  std::optional<embedded::DataDirectory> directory_;
  std::optional<embedded::Cluster> cluster_;
};
TestServer& test_server();

Deadline soon();
Async<std::unique_ptr<pg::Connection>> connect();
Async<std::unique_ptr<pg::Connection>> connect_as_superuser();
void on_an_empty_database(const std::function<Async<>(pg::Connection&)>& test);

// The statements are run as one text, in the schema that everything is in.
Async<> run_sql(pg::Connection& connection, std::string sql);
// The first column of the rows, as text.
Async<std::vector<std::string>> ask_sql(pg::Connection& connection, std::string sql);
// Nothing is left of what an earlier test did.
Async<> empty_database(pg::Connection& connection);
Async<Catalogue> catalogue_of(pg::Connection& connection);
// Throws std::runtime_error when they cannot be compared.
Async<Difference> difference_of(pg::Connection& connection, const Model& model);

// A revision as if it had been read from its file.
Revision as_file(Revision revision);
Revision first_revision();
Revision revision(std::string id, std::vector<std::string> down, std::string upgrade, std::string downgrade = "",
                  bool transaction = true);
History history_of(std::vector<Revision> revisions);
// The difference as the history that a developer has who took all comment marks away, or none; it goes on from
// first_revision().
enum class Review { done, not_done };
History history_of(const Difference& difference, Review review = Review::done);

Async<std::unique_ptr<Migrator>> open(const History& history);
// With a migrator of its own. What went wrong; empty: nothing.
Async<std::string> upgrade(const History& history, std::string target = "heads");
Async<std::string> downgrade(const History& history, std::string target);
// Where first_revision() is.
Async<> stamp_at_first(const History& history);
Async<std::vector<std::string>> versions_in(pg::Connection& connection);
// Those of public that are not the migrations' own.
Async<std::vector<std::string>> tables_in(pg::Connection& connection);

bool mentions(const std::string& text, std::string_view part);
// The SQLSTATE with which a statement is refused; empty: it is not.
Async<std::string> refusal_of(pg::Connection& connection, std::string sql);
// The database's schema as pg_dump writes it, without the tables of the migrations.
std::string dumped();

// As a person would who agrees to everything under `-- REVIEW:`.
std::string without_comment_marks(std::string_view sql);

// What PostgreSQL cannot bring back: a column that was dropped is the last one when it returns.
Catalogue without_column_order(Catalogue catalogue);

std::string text_of(const Difference& difference);
std::string text_of(const Catalogue& catalogue);

// Brings the database, which is as `live` says, to the model, back, and there again, through revisions as a person
// would apply them. Afterwards the database is as the model says. Returns what was not as it should be, with the
// statements; empty: all was well. The difference that was found is left in `difference`; nothing is done when it has
// refusals.
Async<std::string> round_trip(pg::Connection& connection, const Model& model, Difference& difference);

// The same from one model to another, with statements in between that the first one may need (rows, partitions).
struct Trip {
  Difference difference;
  std::string fault;
};
Trip travel(const Model& from, const Model& to, const std::string& between = "");

}  // namespace cognive::schema
