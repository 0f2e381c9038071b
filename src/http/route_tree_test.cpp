#include "http/route_tree.hpp"

#include <gtest/gtest.h>

namespace cognive::http {
namespace {

using Segments = std::vector<std::string>;

TEST(RouteTree, FindsByMethodAndSegments) {
  RouteTree<int> tree;
  int root = 0;
  int list = 1;
  int one = 2;
  int made = 3;
  tree.add("GET", {""}, root);
  tree.add("GET", {"agents"}, list);
  tree.add("POST", {"agents"}, made);
  tree.add("GET", {"agents", "{id}"}, one);
  EXPECT_EQ(tree.find("GET", Segments{""}), &root);
  EXPECT_EQ(tree.find("GET", Segments{"agents"}), &list);
  EXPECT_EQ(tree.find("POST", Segments{"agents"}), &made);
  EXPECT_EQ(tree.find("GET", Segments{"agents", "7"}), &one);
  EXPECT_EQ(tree.find("PUT", Segments{"agents"}), nullptr);
  EXPECT_EQ(tree.find("GET", Segments{"agents", ""}), nullptr) << "an empty segment is none";
  EXPECT_EQ(tree.find("GET", Segments{"agents", "7", "8"}), nullptr);
  EXPECT_EQ(tree.find("GET", Segments{"nothing"}), nullptr);
  EXPECT_EQ(tree.find("GET", Segments{}), nullptr);
}

TEST(RouteTree, ANameGoesBeforeAnythingButIsNotTheEnd) {
  RouteTree<int> tree;
  int status = 0;
  int reservation = 1;
  int renew = 2;
  tree.add("GET", {"budgets", "{id}", "status"}, status);
  tree.add("GET", {"budgets", "reservations", "{id}"}, reservation);
  tree.add("POST", {"budgets", "reservations", "{id}"}, renew);
  EXPECT_EQ(tree.find("GET", Segments{"budgets", "reservations", "7"}), &reservation);
  EXPECT_EQ(tree.find("GET", Segments{"budgets", "7", "status"}), &status);
  EXPECT_EQ(tree.find("POST", Segments{"budgets", "7", "status"}), nullptr);
  tree.add("POST", {"budgets", "{id}", "{verb}"}, status);
  EXPECT_EQ(tree.find("POST", Segments{"budgets", "7", "status"}), &status);
  EXPECT_EQ(tree.find("POST", Segments{"budgets", "reservations", "status"}), &renew);
}

}  // namespace
}  // namespace cognive::http
