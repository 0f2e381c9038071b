// Overrides: rates that operators set, for the organisation or one team. They win over the catalogue's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "json/bind.hpp"
#include "prices/catalogue.hpp"

namespace cognive::prices {

// A part of the day with rates of its own, as people write it.
struct OverrideWindow {
  std::string from;
  std::string to;
  json::Object rates;

  bool operator==(const OverrideWindow&) const = default;

  static std::vector<OverrideWindow> of(const std::vector<Window>& windows);

  static constexpr std::string_view schema_name = "OverrideWindow";
  static constexpr auto fields() {
    return json::fields(
        json::field("from", &OverrideWindow::from, "Time of day in UTC from which on it holds: 22:00:00.",
                    {.max_length = 16, .example = "\"22:00:00\""}),
        json::field("to", &OverrideWindow::to, "Until when, exclusively; before `from` when it spans midnight.",
                    {.max_length = 16, .example = "\"06:00:00\""}),
        json::field("rates", &OverrideWindow::rates, "As those of the override.", {.max_length = 16 << 10}));
  }
};

struct OverrideSet {
  std::optional<Uuid> id;
  std::optional<std::string> team;
  std::optional<std::string> provider;
  std::string model;
  std::optional<Timestamp> effective_from;
  std::optional<json::Object> rates;
  std::vector<OverrideWindow> windows;
  std::optional<std::string> note;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "PriceOverrideSet";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &OverrideSet::id,
                    "The caller's own id, so that the request can be repeated; made by us when absent."),
        json::field("team", &OverrideSet::team,
                    "Name of the team that it is for; absent: the organisation, or the team of the key.",
                    {.min_length = 1, .max_length = 128}),
        json::field("provider", &OverrideSet::provider,
                    "As calls report it; that of the catalogue's model of this name when absent.",
                    {.min_length = 1, .max_length = 128, .example = "\"openai\""}),
        json::field("model", &OverrideSet::model,
                    "As calls report it, or the catalogue's name, which holds for all that it stands for.",
                    {.min_length = 1, .max_length = 256, .example = "\"gpt-4o\""}),
        json::field("effective_from", &OverrideSet::effective_from,
                    "Time of the calls from which on it holds; now when absent. In the past, it holds for calls that "
                    "have yet to arrive; `reprice` applies it to those that have."),
        json::field("rates", &OverrideSet::rates,
                    "USD by unit, for instance per million tokens; a tiered one as {\"base\":…,\"tiers\":[{\"above\":"
                    "200000,\"rate\":…}]}. Null or absent: the override ends, and what it covers holds again.",
                    {.max_length = 16 << 10, .example = R"({"input_mtok":2.0,"output_mtok":8.0})"}),
        json::field("windows", &OverrideSet::windows, "Parts of the day with rates of their own; the first wins.",
                    {.max_length = 24, .optional = true}),
        json::field("note", &OverrideSet::note, "Why, for whoever wonders later.", {.max_length = 1024}));
  }
};

struct PriceOverride {
  Uuid id;
  std::optional<Uuid> team_id;
  std::optional<std::string> team;
  std::string provider;
  std::string model;
  Timestamp effective_from;
  std::optional<json::Object> rates;
  std::vector<OverrideWindow> windows;
  std::optional<std::string> note;
  std::optional<std::string> covers;
  std::vector<std::string> without;
  Timestamp created_at;

  static constexpr std::string_view schema_name = "PriceOverride";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &PriceOverride::id, "Also the price version of what is charged by it."),
        json::field("team_id", &PriceOverride::team_id, "Null: of the organisation."),
        json::field("team", &PriceOverride::team, "Name."), json::field("provider", &PriceOverride::provider, ""),
        json::field("model", &PriceOverride::model, "In lower case."),
        json::field("effective_from", &PriceOverride::effective_from, ""),
        json::field("rates", &PriceOverride::rates, "Null: the override ends here."),
        json::field("windows", &PriceOverride::windows, ""), json::field("note", &PriceOverride::note, ""),
        json::field("covers", &PriceOverride::covers,
                    "The catalogue's provider/model of this name; null for a private model."),
        json::field(
            "without", &PriceOverride::without,
            "Rates that what it covers has and it has not: such usage takes a coarser rate of its own, or none."),
        json::field("created_at", &PriceOverride::created_at, ""));
  }
};

struct OverrideList {
  std::optional<std::string> team;
  std::optional<std::string> provider;
  std::optional<std::string> model;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("team", &OverrideList::team, "Only those of the team with this name."),
                        json::field("provider", &OverrideList::provider, "Only those of this provider."),
                        json::field("model", &OverrideList::model, "Only those of exactly this name."),
                        json::field("limit", &OverrideList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &OverrideList::cursor, "next_cursor of the page before."));
  }
};

struct SetAnswer {
  PriceOverride override_;
  bool created = false;
};

}  // namespace cognive::prices
