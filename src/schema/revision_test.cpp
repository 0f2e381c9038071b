// Revisions as text, their graph, and the chain that tells when a shipped one was edited.
#include "schema/revision.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "schema/history.hpp"
#include "schema/statements.hpp"

namespace cognive::schema {
namespace {

Revision revision(std::string id, std::vector<std::string> down) {
  Revision out;
  out.id = std::move(id);
  out.down = std::move(down);
  out.message = "m";
  out.upgrade = "SELECT 1;\n";
  return *parse_revision(out.id + ".sql", revision_text(out));
}

// a - b - d (merge of b and c) - e, and c beside b
History diamond() {
  std::vector<Revision> all;
  all.push_back(revision("20260105_0000_eeee", {"20260104_0000_dddd"}));
  all.push_back(revision("20260103_0000_cccc", {"20260101_0000_aaaa"}));
  all.push_back(revision("20260101_0000_aaaa", {}));
  all.push_back(revision("20260104_0000_dddd", {"20260102_0000_bbbb", "20260103_0000_cccc"}));
  all.push_back(revision("20260102_0000_bbbb", {"20260101_0000_aaaa"}));
  return *History::of(std::move(all));
}

std::vector<std::string> ends(const Result<std::vector<const Revision*>>& way) {
  std::vector<std::string> out;
  if (!way) return {way.error().detail};
  for (const auto* one : *way) out.push_back(one->id.substr(one->id.size() - 4));
  return out;
}

using Strings = std::vector<std::string>;

TEST(Revision, comes_back_from_its_own_text) {
  Revision made{.id = "20260101_0000_aaaa",
                .down = {"x", "y"},
                .message = "a b: c",
                .transaction = false,
                .compatible_from = "x",
                .upgrade = "A;\n",
                .downgrade = "B;\n"};
  const auto read = parse_revision("dir/f.sql", revision_text(made));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->id, made.id);
  EXPECT_EQ(read->down, made.down);
  EXPECT_EQ(read->message, made.message);
  EXPECT_EQ(read->transaction, false);
  EXPECT_EQ(read->compatible_from, "x");
  EXPECT_EQ(read->upgrade, "A;\n");
  EXPECT_EQ(read->downgrade, "B;\n");
  EXPECT_EQ(read->upgrade_line, 7);
  EXPECT_EQ(read->downgrade_line, 9);
  EXPECT_EQ(read->file, "f.sql");
}

TEST(Revision, says_which_line_of_its_file_is_wrong) {
  EXPECT_NE(parse_revision("f.sql", "-- revision: a\nSELECT 1;\n").error().detail.find("SELECT 1"), std::string::npos);
  EXPECT_FALSE(parse_revision("f.sql", "-- upgrade\nSELECT 1;\n"));
  EXPECT_FALSE(parse_revision("f.sql", "-- revision: a\n-- transaction: maybe\n-- upgrade\n"));
}

TEST(Revision, is_named_after_its_message) {
  Revision made{.id = "20260101_0000_aaaa", .message = "Agents get a colour (at last)!"};
  EXPECT_EQ(revision_file_name(made), "20260101_0000_aaaa_agents_get_a_colour_at_last.sql");
  EXPECT_EQ(make_revision_id().size(), 18);
}

TEST(History, has_heads_and_finds_revisions_by_parts_of_their_ids) {
  const auto history = diamond();
  EXPECT_EQ(history.heads(), RevisionIds{"20260105_0000_eeee"});
  EXPECT_EQ((*history.resolve("head"))->id, "20260105_0000_eeee");
  EXPECT_EQ((*history.resolve("cccc"))->id, "20260103_0000_cccc");
  EXPECT_EQ((*history.resolve("20260102"))->id, "20260102_0000_bbbb");
  EXPECT_EQ(history.resolve("2026").error().code, Code::conflict);
  EXPECT_EQ(history.resolve("zzz").error().code, Code::not_found);
  EXPECT_EQ(history.resolve("").error().code, Code::not_found);
}

TEST(History, knows_the_ways_up_and_down) {
  const auto history = diamond();
  EXPECT_EQ(ends(history.way_up({}, "head")), (Strings{"aaaa", "bbbb", "cccc", "dddd", "eeee"}));
  EXPECT_EQ(ends(history.way_up({}, "bbbb")), (Strings{"aaaa", "bbbb"}));
  EXPECT_EQ(ends(history.way_up({"20260102_0000_bbbb"}, "+2")), (Strings{"cccc", "dddd"}));
  EXPECT_EQ(ends(history.way_up({"20260105_0000_eeee"}, "heads")), Strings{});
  const RevisionIds top{"20260105_0000_eeee"};
  EXPECT_EQ(ends(history.way_down(top, "-2")), (Strings{"eeee", "dddd"}));
  EXPECT_EQ(ends(history.way_down(top, "base")), (Strings{"eeee", "dddd", "cccc", "bbbb", "aaaa"}));
  EXPECT_EQ(ends(history.way_down(top, "bbbb")), (Strings{"eeee", "dddd"}));
  EXPECT_EQ(ends(history.way_down(top, "aaaa")), (Strings{"eeee", "dddd", "cccc", "bbbb"}));
  EXPECT_FALSE(history.way_up({}, "+9"));
  EXPECT_FALSE(history.way_down(top, "-9"));
  EXPECT_EQ(history.way_down({"20260102_0000_bbbb"}, "eeee").error().code, Code::conflict);
}

TEST(History, keeps_one_version_per_head) {
  const auto history = diamond();
  RevisionIds at;
  std::vector<RevisionIds> seen;
  const auto way = history.way_up(at, "head");
  for (const auto* one : *way) {
    seen.push_back(at);
    at = History::after_upgrade(at, *one);
  }
  EXPECT_EQ(at, RevisionIds{"20260105_0000_eeee"});
  EXPECT_EQ(seen[3], (RevisionIds{"20260102_0000_bbbb", "20260103_0000_cccc"}));
  for (auto one = way->rbegin(); one != way->rend(); ++one) {
    at = history.after_downgrade(at, **one);
    EXPECT_EQ(at, seen.back());
    seen.pop_back();
  }
}

TEST(History, of_two_heads_neither_is_the_head) {
  std::vector<Revision> all{revision("a", {}), revision("b", {"a"}), revision("c", {"a"})};
  const auto history = *History::of(std::move(all));
  EXPECT_EQ(history.heads(), (RevisionIds{"b", "c"}));
  EXPECT_EQ(history.resolve("head").error().code, Code::conflict);
  EXPECT_EQ(history.way_up({}, "heads")->size(), 3);
  EXPECT_EQ(history.children("a").size(), 2);
}

TEST(History, refuses_circles_unknown_parents_and_twins) {
  EXPECT_FALSE(History::of({revision("a", {"b"}), revision("b", {"a"})}));
  EXPECT_FALSE(History::of({revision("a", {"missing"})}));
  EXPECT_FALSE(History::of({revision("a", {}), revision("a", {})}));
}

TEST(Chain, tells_when_a_revision_was_edited_removed_or_put_in_between) {
  std::vector<Revision> all{revision("a", {}), revision("b", {"a"}), revision("c", {"b"})};
  const auto chain = chain_text(all);
  EXPECT_TRUE(check_chain(all, chain));
  auto edited = all;
  edited[1].hash[0] = edited[1].hash[0] == '0' ? '1' : '0';
  EXPECT_NE(check_chain(edited, chain).error().detail.find("b.sql"), std::string::npos);
  EXPECT_FALSE(check_chain(std::span(all).first(2), chain));
  all.push_back(revision("bb", {"a"}));
  EXPECT_FALSE(check_chain(all, chain));
}

TEST(Embedded, revisions_form_one_chain_that_nobody_has_edited) {
  EXPECT_EQ(History::embedded().heads().size(), 1);
}

Strings split(std::string_view sql) {
  Strings out;
  for (const auto& statement : split_statements(sql, 1))
    out.push_back(fmt::format("{}:{}", statement.line, statement.text));
  return out;
}

TEST(Statements, are_split_where_postgresql_would) {
  EXPECT_EQ(split("SELECT 1;\n\n-- why; not\nSELECT ';', \"a;b\", E'\\';', 'it''s;'; ;"),
            (Strings{"1:SELECT 1", "4:SELECT ';', \"a;b\", E'\\';', 'it''s;'"}));
  EXPECT_EQ(split("/* a; /* b; */ c; */ SELECT 1 /* ; */;"), Strings{"1:SELECT 1 /* ; */"});
  EXPECT_EQ(split("DO $body$ BEGIN; $$ ; $$ END $body$;\nSELECT $1, a$b$c; SELECT 2"),
            (Strings{"1:DO $body$ BEGIN; $$ ; $$ END $body$", "2:SELECT $1, a$b$c", "2:SELECT 2"}));
  EXPECT_EQ(split("-- only a comment\n"), Strings{});
  EXPECT_EQ(split("SELECT 'unfinished;"), Strings{"1:SELECT 'unfinished;"});
}

}  // namespace
}  // namespace cognive::schema
