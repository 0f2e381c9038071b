#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/resources.hpp"
#include "json/bind.hpp"
#include "prices/data_set.hpp"
#include "prices/pricer.hpp"

namespace cognive::prices {
namespace {

const Catalogue& shipped() {
  static const Catalogue catalogue = catalogue_of(*read_data_set(std::string(resource("data/prices.json"))));
  return catalogue;
}

std::string rates_of(std::string text) {
  std::string out;
  const auto walked = json::walk(text, [&](json::Cursor& in) { out = rates_json(read_rates(in)); });
  return walked ? out : walked.error().detail;
}

Entry entry(const std::string& rate, std::optional<std::string> starts = {},
            std::optional<std::pair<int, int>> hours = {}) {
  Entry out;
  out.rates = {{.unit = 0, .base = *Decimal::parse(rate), .tiers = {}}};
  if (starts) out.starts = Timestamp::of(*parse_date(*starts));
  if (hours) {
    out.from_time = std::chrono::hours{hours->first};
    out.to_time = std::chrono::hours{hours->second};
  }
  return out;
}

Timestamp at(const std::string& text) {
  return *Timestamp::parse(text);
}

std::string cost_at(const std::vector<Dated>& cards, const std::string& time) {
  const RateCard* card = nullptr;
  for (const auto& dated : cards) {
    if (dated.from <= at(time)) card = &dated.card;
  }
  return card == nullptr ? "none" : card->at(at(time)).front().base.text();
}

struct Case {
  std::string name;
  std::optional<std::string> provider;
  std::string model;
  Timestamp at;
  std::map<std::string, std::int64_t> usage;
  std::string status;
  std::optional<std::int64_t> cost_nano;
  std::optional<std::string> provider_id;
  std::optional<std::string> model_id;

  static constexpr auto fields() {
    return json::fields(json::field("name", &Case::name, ""), json::field("provider", &Case::provider, ""),
                        json::field("model", &Case::model, ""), json::field("at", &Case::at, ""),
                        json::field("usage", &Case::usage, ""), json::field("status", &Case::status, ""),
                        json::field("cost_nano", &Case::cost_nano, ""),
                        json::field("provider_id", &Case::provider_id, ""),
                        json::field("model_id", &Case::model_id, ""));
  }
};

// The table was made by tests/support/price_oracle.py, which shares nothing with this code but the data file.
TEST(Price, every_case_of_the_independent_table_agrees_to_the_nano_dollar) {
  std::ifstream in(COGNIVE_SOURCE_DIR "/tests/data/price_cases.jsonl");
  ASSERT_TRUE(in);
  std::string line;
  std::size_t count = 0;
  std::size_t wrong = 0;
  while (std::getline(in, line)) {
    const auto wanted = json::decode<Case>(line);
    ASSERT_TRUE(wanted) << line;
    ++count;
    Usage usage;
    for (const auto& [unit, quantity] : wanted->usage) usage.set(*Units::shipped().by_name(unit), quantity);
    const auto quote = price_call(shipped(), {}, wanted->provider.value_or(""), wanted->model, wanted->at, usage);
    const bool has_cost = quote.status == PriceStatus::priced || quote.status == PriceStatus::partial;
    const bool same =
        json::enum_text(quote.status) == wanted->status &&
        (has_cost ? std::optional(quote.cost.nanos) : std::nullopt) == wanted->cost_nano &&
        (quote.model == nullptr ? std::nullopt : std::optional(quote.model->id)) == wanted->model_id &&
        (quote.model == nullptr ? std::nullopt : std::optional(quote.model->provider)) == wanted->provider_id;
    if (!same && ++wrong <= 5) {
      ADD_FAILURE() << wanted->name << ": " << json::enum_text(quote.status) << " " << quote.cost.nanos << ", wanted "
                    << line;
    }
  }
  EXPECT_EQ(wrong, 0U);
  EXPECT_GT(count, 6000U);
}

TEST(Price, rates_survive_the_way_through_json_exactly) {
  EXPECT_EQ(
      rates_of(R"({"output_mtok":{"base":5,"tiers":[{"above":200000,"rate":0.08333333333333334}]},"input_mtok":2.50})"),
      R"({"input_mtok":2.5,"output_mtok":{"base":5,"tiers":[{"above":200000,"rate":0.08333333333333334}]}})");
  EXPECT_NE(rates_of(R"({"input_mtok":-1})").find("negative"), std::string::npos);
  EXPECT_NE(rates_of(R"({"inputs":1})").find("unknown unit"), std::string::npos);
}

TEST(Price, a_window_may_wrap_midnight) {
  const Window night{std::chrono::hours{22}, std::chrono::hours{6}, {}};
  EXPECT_TRUE(night.holds(at("2026-01-01T22:00:00Z")));
  EXPECT_TRUE(night.holds(at("2026-01-01T05:59:59.999999Z")));
  EXPECT_FALSE(night.holds(at("2026-01-01T06:00:00Z")));
  EXPECT_TRUE(night.holds(at("1969-12-31T23:00:00Z")));
}

TEST(Usage, parts_that_exceed_the_whole_are_refused_at_the_door) {
  const auto usage =
      Usage::of({{"input_tokens", 10}, {"cache_read_tokens", 11}, {"nonsense", 1}, {"output_tokens", -1}}, "/usage");
  ASSERT_FALSE(usage);
  std::string pointers;
  for (const auto& fault : usage.error().fields) pointers += fault.pointer + " ";
  EXPECT_EQ(pointers, "/usage/nonsense /usage/output_tokens /usage/cache_read_tokens ");
}

TEST(Timeline, later_entries_win_while_their_condition_holds) {
  const auto cards = timeline({entry("1"), entry("2", "2026-03-13"), entry("3", {}, std::pair{8, 16})});
  EXPECT_EQ(cost_at(cards, "2020-01-01T00:00:00Z"), "1");
  EXPECT_EQ(cost_at(cards, "2026-03-12T23:59:59Z"), "1");
  EXPECT_EQ(cost_at(cards, "2026-03-13T00:00:00Z"), "2");
  EXPECT_EQ(cost_at(cards, "2026-03-13T08:00:00Z"), "3");
  // Before its start a lone dated entry is still the first of the list.
  EXPECT_EQ(cost_at(timeline({entry("5", "2027-01-01")}), "2026-01-01T00:00:00Z"), "5");
}

std::vector<PriceVersion> as_versions(const std::vector<Dated>& cards) {
  std::vector<PriceVersion> out;
  for (const auto& dated : cards) {
    out.push_back({.id = {},
                   .version = static_cast<std::int64_t>(out.size() + 1),
                   .effective_from = dated.from,
                   .card = dated.card});
  }
  return out;
}

TEST(Additions, an_unchanged_list_adds_nothing) {
  const auto cards = timeline({entry("1"), entry("2", "2026-03-13"), entry("3", "2027-01-01")});
  const auto added = additions(as_versions(cards), cards, at("2026-11-24T00:00:00Z"));
  EXPECT_TRUE(added.versions.empty());
  EXPECT_TRUE(added.refused.empty());
}

TEST(Additions, a_changed_rate_holds_from_the_import_on) {
  const auto now = at("2026-11-24T00:00:00Z");
  const auto added = additions(as_versions(timeline({entry("1")})), timeline({entry("2")}), now);
  ASSERT_EQ(added.versions.size(), 1U);
  EXPECT_EQ(added.versions[0].from, now);
}

TEST(Additions, future_starts_are_added_and_withdrawn_ones_overridden) {
  const auto now = at("2026-11-24T00:00:00Z");
  const auto with_future = timeline({entry("1"), entry("2", "2027-01-01")});
  const auto added = additions(as_versions(timeline({entry("1")})), with_future, now);
  ASSERT_EQ(added.versions.size(), 1U);
  EXPECT_EQ(added.versions[0].from, at("2027-01-01T00:00:00Z"));
  const auto withdrawn = additions(as_versions(with_future), timeline({entry("1")}), now);
  ASSERT_EQ(withdrawn.versions.size(), 1U);
  EXPECT_EQ(withdrawn.versions[0].from, at("2027-01-01T00:00:00Z"));
  EXPECT_EQ(withdrawn.versions[0].card.rates.front().base.text(), "1");
}

TEST(Additions, a_start_in_the_past_never_rewrites_history) {
  const auto now = at("2026-11-24T00:00:00Z");
  const auto added =
      additions(as_versions(timeline({entry("1")})), timeline({entry("1"), entry("2", "2026-03-13")}), now);
  ASSERT_EQ(added.versions.size(), 1U);
  EXPECT_EQ(added.versions[0].from, now);
  EXPECT_EQ(added.refused.size(), 1U);
}

}  // namespace
}  // namespace cognive::prices
