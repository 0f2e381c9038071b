#include <gtest/gtest.h>

#include <random>

#include "budgets/charging.hpp"
#include "budgets/coverage.hpp"
#include "budgets/grants.hpp"

namespace cognive::budgets {
namespace {

// Grants.

TEST(Grants, are_all_or_nothing_and_never_exceed_a_hard_limit) {
  std::mt19937 random(7);
  const auto number = [&](std::int64_t most) { return std::uniform_int_distribution<std::int64_t>(0, most)(random); };
  for (int round = 0; round < 2'000; ++round) {
    std::vector<LockedWindow> windows;
    for (std::int64_t id = 0; id < 5; ++id)
      windows.push_back(
          {.id = id, .limit = number(100), .hard_stop = number(3) > 0, .spent = number(60), .reserved = 0});
    for (int asked = 0; asked < 20; ++asked) {
      const auto before = windows;
      std::vector<Want> wants;
      for (std::size_t at = 0; at < windows.size(); ++at) {
        if (number(1) == 1) wants.push_back({at, number(20)});
      }
      const auto refused_at = reserve(windows, wants);
      for (std::size_t at = 0; at < wants.size(); ++at) {
        const auto& window = before[wants[at].window];
        const auto sum = window.spent + window.reserved + std::max<std::int64_t>(wants[at].amount, 1);
        const bool fits = !window.hard_stop || sum <= window.limit;
        if (!refused_at) {
          EXPECT_TRUE(fits);
          EXPECT_EQ(windows[wants[at].window].reserved, window.reserved + wants[at].amount);
        } else if (at == *refused_at) {
          EXPECT_FALSE(fits);
        }
      }
      if (!refused_at) continue;
      for (std::size_t at = 0; at < windows.size(); ++at) EXPECT_EQ(windows[at].reserved, before[at].reserved);
    }
  }
}

TEST(Grants, do_not_overflow) {
  constexpr auto most = INT64_MAX;
  std::vector<LockedWindow> windows{{.id = 1, .limit = most, .hard_stop = true, .spent = most - 1, .reserved = 0},
                                    {.id = 2, .limit = 5, .hard_stop = true, .spent = most, .reserved = most},
                                    {.id = 3, .limit = 5, .hard_stop = false, .spent = 0, .reserved = most}};
  EXPECT_EQ(reserve(windows, std::vector<Want>{{0, 2}}), 0U);
  EXPECT_EQ(reserve(windows, std::vector<Want>{{0, most}}), 0U);
  EXPECT_EQ(reserve(windows, std::vector<Want>{{1, 1}}), 0U);
  EXPECT_EQ(reserve(windows, std::vector<Want>{{2, 1}}), 0U);  // not even a soft one
  EXPECT_EQ(reserve(windows, std::vector<Want>{{0, 1}}), std::nullopt);
}

// Coverage.

std::shared_ptr<const Definition> definition(std::uint8_t number, Scope scope, std::optional<Uuid> subject,
                                             Metric metric, WindowKind window = WindowKind::day) {
  Definition out;
  out.id.bytes[15] = number;
  out.scope = scope;
  out.subject_id = subject;
  out.metric = metric;
  out.window = window;
  return std::make_shared<const Definition>(std::move(out));
}

std::vector<int> found(const Coverage& coverage, const Subject& subject, EventKind kind) {
  Coverage::Definitions out;
  coverage.find(subject, kind, {}, out);
  std::vector<int> numbers;
  for (const auto& one : out) numbers.push_back(one->id.bytes[15]);
  return numbers;
}

TEST(Coverage, finds_what_counts_the_event_of_the_subject) {
  const Subject subject{.team_id = Uuid::make(), .agent_id = Uuid::make(), .run_id = Uuid::make(), .api_key_id = {}};
  const Coverage coverage = Coverage().with(
      {definition(9, Scope::organisation, {}, Metric::cost), definition(1, Scope::team, subject.team_id, Metric::steps),
       definition(2, Scope::agent, subject.agent_id, Metric::tool_calls),
       definition(3, Scope::run, subject.run_id, Metric::tokens),
       definition(4, Scope::agent, Uuid::make(), Metric::cost),
       definition(5, Scope::api_key, Uuid::make(), Metric::cost),
       definition(6, Scope::team, subject.team_id, Metric::requests, WindowKind::run)},
      {}, 1);
  using Numbers = std::vector<int>;
  EXPECT_EQ(found(coverage, subject, EventKind::llm_call), (Numbers{3, 6, 9}));
  EXPECT_EQ(found(coverage, subject, EventKind::step), Numbers{1});
  EXPECT_EQ(found(coverage, subject, EventKind::tool_invocation), Numbers{2});
  EXPECT_EQ(found(coverage, subject, EventKind::reservation), (Numbers{1, 2, 3, 6, 9}));
  auto without_run = subject;
  without_run.run_id.reset();
  EXPECT_EQ(found(coverage, without_run, EventKind::llm_call), Numbers{9});
  Uuid gone;
  gone.bytes[15] = 9;
  const auto next = coverage.with({definition(3, Scope::run, Uuid::make(), Metric::tokens)}, std::array{gone}, 2);
  EXPECT_EQ(found(next, subject, EventKind::llm_call), Numbers{6});
}

TEST(Coverage, of_an_older_edition_does_not_replace_a_newer_one) {
  CurrentCoverage current;
  EXPECT_THROW(static_cast<void>(current.loaded()), Unavailable);
  current.replace(std::make_shared<const Coverage>(Coverage().with({}, {}, 2)));
  current.replace(std::make_shared<const Coverage>(Coverage().with({}, {}, 1)));
  EXPECT_EQ(current.loaded()->edition(), 2);
}

// Charging.

TEST(Charging, is_empty_until_something_is_charged_or_settled) {
  Charging charging;
  EXPECT_TRUE(charging.empty());
  charging.settle({.reservation_id = Uuid::make()});
  EXPECT_FALSE(charging.empty());
}

TEST(Used, tells_of_an_overflow_and_stays_as_it_was) {
  Used used{.cost_nanos = INT64_MAX, .tokens = 1};
  EXPECT_FALSE(used.add({.cost_nanos = 1, .tokens = 1}));
  EXPECT_EQ(used.tokens, 1);
  EXPECT_TRUE(used.add({.tokens = 1}));
  EXPECT_EQ(used.tokens, 2);
}

TEST(Exhausted, is_read_from_its_message) {
  const auto run = Uuid::make();
  const auto found_runs = exhausted_of(R"({"runs": [{"run_id": ")" + run.text() + R"(", "budget_id": "b"}]})");
  ASSERT_EQ(found_runs.size(), 1U);
  EXPECT_EQ(found_runs.at(run), "Its budget b is used up");
  EXPECT_THROW(exhausted_of("{}"), std::runtime_error);
  EXPECT_THROW(exhausted_of("rubbish"), std::runtime_error);
}

}  // namespace
}  // namespace cognive::budgets
