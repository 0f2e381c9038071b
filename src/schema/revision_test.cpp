#include "schema/revision.hpp"

#include <gtest/gtest.h>

namespace cognive::schema {
namespace {

Revision revision(std::string id, std::optional<std::string> down) {
  Revision out;
  out.id = std::move(id);
  out.down = std::move(down);
  return out;
}

TEST(Revision, header_and_both_directions_are_read) {
  const auto parsed = parse_revision("f.sql",
                                     "-- revision: b\n-- down: a\n-- message: adds x\n-- transaction: no\n-- "
                                     "upgrade\nSELECT 1;\n-- downgrade\nSELECT 2;\n");
  ASSERT_TRUE(parsed) << parsed.error().detail;
  EXPECT_EQ(parsed->id, "b");
  EXPECT_EQ(parsed->down, "a");
  EXPECT_EQ(parsed->message, "adds x");
  EXPECT_FALSE(parsed->transaction);
  EXPECT_EQ(parsed->upgrade, "SELECT 1;\n");
  EXPECT_EQ(parsed->downgrade, "SELECT 2;\n");
}

TEST(Revision, broken_files_are_named) {
  EXPECT_EQ(parse_revision("f.sql", "SELECT 1;\n").error().detail, "f.sql: unexpected before `-- upgrade`: SELECT 1;");
  EXPECT_FALSE(parse_revision("f.sql", "-- revision: a\n-- upgrade\n"));
}

TEST(Revision, order_is_a_single_chain) {
  const auto ordered = order_revisions({revision("c", "b"), revision("a", {}), revision("b", "a")});
  ASSERT_TRUE(ordered);
  EXPECT_EQ((*ordered)[2].id, "c");
  EXPECT_FALSE(order_revisions({revision("a", {}), revision("b", "a"), revision("c", "a")}));
  EXPECT_FALSE(order_revisions({revision("a", {}), revision("b", "x")}));
  EXPECT_FALSE(order_revisions({revision("a", "b"), revision("b", "a")}));
}

TEST(Revision, shipped_files_form_a_chain) {
  EXPECT_FALSE(revisions().empty());
}

}  // namespace
}  // namespace cognive::schema
