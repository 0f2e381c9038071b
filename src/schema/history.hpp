// All revisions and how they follow each other: a graph, since two people may add one after the same.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "schema/revision.hpp"

namespace cognive::schema {

// Where the revisions of a checkout are, and the file beside them that holds their chain of hashes.
inline constexpr const char* usual_directory = "migrations";
inline constexpr const char* chain_file = "migrations.sum";

// Ids of revisions. A database is at one set of them: the revisions that are applied and that none applied follows.
using RevisionIds = std::set<std::string>;

class History {
 public:
  // An error when two revisions have one id, one follows an unknown revision or, in the end, itself.
  static Result<History> of(std::vector<Revision> revisions);

  // What this binary carries. Throws std::logic_error when the files are broken: a test sees that before anybody.
  static const History& embedded();

  // The files of a directory that has a file `migrations.sum`, for whoever writes revisions.
  static Result<History> in_directory(const std::string& directory);

  [[nodiscard]] const std::vector<Revision>& all() const { return revisions_; }  // each behind those it follows
  [[nodiscard]] const Revision* find(std::string_view id) const;                 // the whole id; null when unknown
  [[nodiscard]] RevisionIds heads() const;
  [[nodiscard]] std::vector<const Revision*> children(std::string_view id) const;

  // The revision that `text` means: an id or an unambiguous beginning of one.
  [[nodiscard]] Result<const Revision*> resolve(std::string_view text) const;

  // Everything that must have been applied to be at `ids`, they included.
  [[nodiscard]] RevisionIds applied_at(const RevisionIds& ids) const;

  // What is to be run, in this order, from `at` to `target`: head, heads, +N, an id; base, -N, an id on the way down.
  [[nodiscard]] Result<std::vector<const Revision*>> way_up(const RevisionIds& at, std::string_view target) const;
  [[nodiscard]] Result<std::vector<const Revision*>> way_down(const RevisionIds& at, std::string_view target) const;

  // Where the database is after one revision was applied, or taken back.
  [[nodiscard]] static RevisionIds after_upgrade(RevisionIds at, const Revision& revision);
  [[nodiscard]] RevisionIds after_downgrade(RevisionIds at, const Revision& revision) const;

 private:
  std::vector<Revision> revisions_;
  std::map<std::string, std::size_t, std::less<>> positions_;
};

// The files of a directory as they are, whether they agree with each other or not.
struct RevisionFiles {
  std::vector<Revision> revisions;
  std::string chain;
};
Result<RevisionFiles> read_revisions(const std::string& directory);

// `migrations.sum`: one line per file, in the order of their names, each with a hash over the file and the line before.
// An edited, removed or slipped-in revision changes every line behind it; two branches that both add one conflict.
std::string chain_text(std::span<const Revision> revisions);
Result<void> check_chain(std::span<const Revision> revisions, std::string_view chain);

}  // namespace cognive::schema
