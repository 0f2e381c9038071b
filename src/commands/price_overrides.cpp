// `cognive prices show|set|reprice`: prices of one's own, and what they change, through the API.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/decimal.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "embedded/settings.hpp"
#include "imports/progress.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

struct Flags : ApiFlags {
  std::string model;
  std::string provider;
  std::string team;
  std::string agent_id;
  std::string from;
  std::string to;
  std::string note;
  std::string rates;
  std::vector<std::string> rate;
  bool end = false;
  bool dry_run = false;
  bool json = false;
};

void add_parameter(std::string& path, std::string_view name, const std::string& value) {
  if (value.empty()) return;
  path += path.contains('?') ? '&' : '?';
  path += fmt::format("{}={}", name, embedded::url_encoded(value));
}

// A day stands for its beginning.
Result<Timestamp> time_of(std::string_view flag, const std::string& text) {
  if (const auto day = parse_date(text)) return Timestamp::of(*day);
  if (const auto time = Timestamp::parse(text)) return *time;
  return fail(Code::malformed, fmt::format("{}: \"{}\" is no time; write 2026-11-01 or 2026-11-01T12:00:00Z.", flag,
                                           shortened(text, 64)));
}

// The members of an object as text, strings unquoted: what tables show. The server may be newer than this.
using Members = std::map<std::string, std::string, std::less<>>;

// "input_mtok 2, output_mtok 8" of {"input_mtok":2,"output_mtok":8}
std::string spelled(json::Cursor& in) {
  std::string out;
  in.each_field([&](std::string_view name, json::Cursor& value) {
    if (!out.empty()) out += ", ";
    out += fmt::format("{} {}", name, value.excerpt());
  });
  return out;
}

// "; 22:00:00–06:00:00 UTC: input_mtok 1" for each of the daily windows of a rate card.
std::string windows_spelled(json::Cursor& in) {
  std::string out;
  in.each_item([&](std::size_t, json::Cursor& window) {
    std::string from;
    std::string to;
    std::string rates;
    window.each_field([&](std::string_view name, json::Cursor& value) {
      if (name == "from") from = value.string();
      if (name == "to") to = value.string();
      if (name == "rates") rates = spelled(value);
    });
    out += fmt::format("; {}–{} UTC: {}", from, to, rates);
  });
  return out;
}

// Names of a list, comma-separated.
std::string listed(json::Cursor& in) {
  std::string out;
  in.each_item([&](std::size_t, json::Cursor& item) {
    if (!out.empty()) out += ", ";
    out += item.kind() == json::Kind::string ? std::string(item.string()) : item.excerpt();
  });
  return out;
}

Members members_of(json::Cursor& in) {
  Members out;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    std::string name(key);
    if (value.kind() == json::Kind::string) {
      out[std::move(name)] = value.string();
    } else if (value.kind() == json::Kind::object) {
      out[std::move(name)] = spelled(value);
    } else if (name == "windows") {
      out[std::move(name)] = windows_spelled(value);
    } else if (value.kind() == json::Kind::array) {
      out[std::move(name)] = listed(value);
    } else if (value.kind() != json::Kind::null) {
      out[std::move(name)] = value.excerpt();
    }
  });
  return out;
}

struct Answer {
  Members members;
  std::vector<Members> items;
};

Result<Answer> read_answer(std::string text) {
  Answer out;
  const auto walked = json::walk(text, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "items") {
        value.each_item([&](std::size_t, json::Cursor& item) { out.items.push_back(members_of(item)); });
      } else if (value.kind() == json::Kind::string) {
        out.members[std::string(key)] = value.string();
      } else if (value.kind() != json::Kind::null) {
        out.members[std::string(key)] = value.excerpt();
      }
    });
  });
  if (!walked) return fail(Code::malformed, "The server's answer is not what a Cognive server answers.");
  return out;
}

std::string time_cell(const Members& item, std::string_view name, std::string_view otherwise) {
  const auto found = item.find(name);
  return found == item.end() ? std::string(otherwise) : found->second.substr(0, 19) + "Z";
}

std::string cell(const Members& item, std::string_view name, std::string_view otherwise = "") {
  const auto found = item.find(name);
  return found == item.end() ? std::string(otherwise) : found->second;
}

int with_api(const Flags& flags, const std::function<Result<std::string>(client::ApiClient&)>& task) {
  auto options = api_options(flags);
  if (!options) return explain(options.error());
  client::ApiClient api(std::move(*options));
  const auto text = task(api);
  if (!text) return explain(text.error());
  std::printf("%s\n", text->c_str());
  return 0;
}

Result<std::string> overrides_table(const std::string& text) {
  const auto answer = read_answer(text);
  if (!answer) return std::unexpected(answer.error());
  if (answer->items.empty()) return "no prices are set: the catalogue's hold";
  Table table({{"of"}, {"model"}, {"from"}, {"rates (USD)"}, {"covers"}, {"note"}});
  for (const auto& item : answer->items) {
    table.add({cell(item, "team", "(organisation)"), cell(item, "provider") + "/" + cell(item, "model"),
               time_cell(item, "effective_from", ""), cell(item, "rates", "ends") + cell(item, "windows"),
               cell(item, "covers", "(private model)"), cell(item, "note")});
  }
  auto out = table.text();
  if (answer->members.contains("next_cursor")) out += "… and older ones\n";
  out.pop_back();
  return out;
}

Result<std::string> versions_table(const std::string& text) {
  const auto answer = read_answer(text);
  if (!answer) return std::unexpected(answer.error());
  if (answer->items.empty())
    return "no price is known for this model when its provider is not said (--provider): such calls are unpriced";
  bool holds = false;
  Table table({{""}, {"of"}, {"model"}, {"from"}, {"rates (USD)"}});
  for (const auto& item : answer->items) {
    const bool ends = cell(item, "ends") == "true";
    holds = holds || cell(item, "holds") == "true";
    table.add({cell(item, "holds") == "true" ? "→" : "", cell(item, "source"),
               cell(item, "provider") + "/" + cell(item, "model"), time_cell(item, "effective_from", "ever"),
               ends ? "ends" : cell(item, "rates") + cell(item, "windows")});
  }
  const auto at = time_cell(answer->members, "at", "");
  return table.text() + (holds ? "→ holds at " + at : "nothing holds at " + at + ": such calls are unpriced");
}

int show(const Flags& flags) {
  if (flags.model.empty() && !flags.from.empty())
    return explain({Code::malformed, "--at needs a model: the list has every time.", {}});
  std::string path = flags.model.empty() ? "/api/v1/prices/overrides?limit=500" : "/api/v1/prices/versions";
  add_parameter(path, "model", flags.model);
  add_parameter(path, "provider", flags.provider);
  add_parameter(path, "team", flags.team);
  if (!flags.model.empty() && !flags.from.empty()) {
    const auto at = time_of("--at", flags.from);
    if (!at) return explain(at.error());
    add_parameter(path, "at", at->text());
  }
  return with_api(flags, [&](client::ApiClient& api) {
    auto text = api.get(path);
    if (!text || flags.json) return text;
    return flags.model.empty() ? overrides_table(*text) : versions_table(*text);
  });
}

// The rates of the flags as a JSON object; nothing when the override ends.
Result<std::optional<std::string>> rates_of(const Flags& flags) {
  if (flags.end) return std::nullopt;
  if (!flags.rates.empty()) {
    std::string text = flags.rates;
    const auto walked = json::walk(text, [](json::Cursor& root) { root.skip(); });
    if (!walked) return fail(Code::malformed, "--rates is not JSON: " + walked.error().detail);
    return flags.rates;
  }
  json::Writer out;
  out.begin_object();
  for (const auto& one : flags.rate) {
    const auto equals = one.find('=');
    const auto number = equals == std::string::npos ? std::nullopt : Decimal::parse(one.substr(equals + 1));
    if (!number) {
      return fail(Code::malformed,
                  fmt::format("--rate: \"{}\" is not UNIT=DOLLARS, for instance input_mtok=2.5.", shortened(one, 64)));
    }
    out.key(one.substr(0, equals));
    out.raw(number->text());
  }
  out.end_object();
  return std::move(out).text();
}

std::string set_text(const Members& override_) {
  const auto from = time_cell(override_, "effective_from", "");
  auto out = fmt::format("{}/{} of {} from {}: {}\n", cell(override_, "provider"), cell(override_, "model"),
                         override_.contains("team") ? "team " + cell(override_, "team") : "the organisation", from,
                         cell(override_, "rates", "the override ends") + cell(override_, "windows"));
  out += override_.contains("covers") ? "covers " + cell(override_, "covers") + " of the catalogue"
                                      : "a private model: the catalogue does not know it";
  if (const auto without = cell(override_, "without"); !without.empty()) {
    out += "\nit has no rates of its own for " + without +
           ", which that has: such usage takes a coarser rate of these, or stays unpriced";
  }
  const auto begin = Timestamp::parse(cell(override_, "effective_from"));
  if (begin && begin->plus(std::chrono::seconds{5}) < Timestamp::now()) {
    out += fmt::format(
        "\ncalls that have arrived keep their charge; to apply it to them:\n"
        "  cognive prices reprice --from {} --dry-run",
        from);
  }
  return out;
}

int set(const Flags& flags) {
  if (!flags.end && flags.rate.empty() && flags.rates.empty())
    return explain({Code::malformed, "Say the rates (--rate input_mtok=2.5 --rate output_mtok=10) or --end.", {}});
  const auto rates = rates_of(flags);
  if (!rates) return explain(rates.error());
  json::Writer body;
  body.begin_object();
  body.field("id", Uuid::make().text());  // the client repeats what it is not sure of
  body.field("model", flags.model);
  for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>{"provider", flags.provider},
                                    {"team", flags.team},
                                    {"note", flags.note}}) {
    if (!value.empty()) body.field(name, value);
  }
  if (!flags.from.empty()) {
    const auto from = time_of("--from", flags.from);
    if (!from) return explain(from.error());
    body.field("effective_from", from->text());
  }
  if (*rates) {
    body.key("rates");
    body.raw(**rates);
  }
  body.end_object();
  return with_api(flags, [&](client::ApiClient& api) -> Result<std::string> {
    auto text = api.post("/api/v1/prices/overrides", body.text());
    if (!text || flags.json) return text;
    Members members;
    const auto walked = json::walk(*text, [&](json::Cursor& root) { members = members_of(root); });
    if (!walked) return fail(Code::malformed, "The server's answer is not what a Cognive server answers.");
    return set_text(members);
  });
}

// Sums over the requests of one repricing.
struct Repriced {
  std::string id;
  long long calls = 0;
  long long changed = 0;
  long long newly_priced = 0;
  long long no_longer_priced = 0;
  NanoUsd difference;
  struct Model {
    long long changed = 0;
    NanoUsd before;
    NanoUsd after;
  };
  std::map<std::string, Model> models;
};

NanoUsd nanos(const std::string& dollars) {
  return NanoUsd::exactly(Decimal::parse(dollars).value_or(Decimal{})).value_or(NanoUsd{});
}

std::string repriced_json(const Repriced& sum, bool dry_run) {
  json::Writer out;
  out.begin_object();
  out.field("id", sum.id);
  out.key("dry_run");
  out.boolean(dry_run);
  for (const auto& [name, value] : {std::pair<std::string_view, long long>{"calls", sum.calls},
                                    {"changed", sum.changed},
                                    {"newly_priced", sum.newly_priced},
                                    {"no_longer_priced", sum.no_longer_priced}}) {
    out.key(name);
    out.integer(value);
  }
  out.key("difference_usd");
  out.raw(sum.difference.text());
  out.key("items");
  out.begin_array();
  for (const auto& [name, model] : sum.models) {
    out.begin_object();
    out.field("model", name);
    out.key("changed");
    out.integer(model.changed);
    out.key("before_usd");
    out.raw(model.before.text());
    out.key("after_usd");
    out.raw(model.after.text());
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return std::move(out).text();
}

std::string repriced_text(const Repriced& sum, bool dry_run) {
  const bool is_less = sum.difference.nanos < 0;
  auto out =
      fmt::format("{} of {} calls {} another charge: ${} {} in all", grouped(sum.changed), grouped(sum.calls),
                  dry_run ? "would have" : "have",
                  NanoUsd{is_less ? -sum.difference.nanos : sum.difference.nanos}.text(), is_less ? "less" : "more");
  if (sum.newly_priced > 0) out += fmt::format("\n{} had no price before", grouped(sum.newly_priced));
  if (sum.no_longer_priced > 0) out += fmt::format("\n{} have no price any more", grouped(sum.no_longer_priced));
  if (!sum.models.empty()) {
    using Align = Table::Align;
    Table table({{"model"}, {"calls", Align::right}, {"before", Align::right}, {"after", Align::right}});
    for (const auto& [name, model] : sum.models)
      table.add({name, grouped(model.changed), "$" + model.before.text(), "$" + model.after.text()});
    out += "\n" + table.text();
    out.pop_back();
  }
  if (dry_run && sum.changed > 0) out += "\nnothing was changed; without --dry-run it is";
  return out;
}

int reprice(const Flags& flags) {
  const auto from = time_of("--from", flags.from);
  if (!from) return explain(from.error());
  const auto to = flags.to.empty() ? Result<Timestamp>(Timestamp::now()) : time_of("--to", flags.to);
  if (!to) return explain(to.error());
  if (*to <= *from) return explain({Code::malformed, "--from must lie before --to, and before now without it.", {}});
  Repriced sum{.id = Uuid::make().text()};
  imports::ProgressBar bar("repricing", "seconds of the range");
  return with_api(flags, [&](client::ApiClient& api) -> Result<std::string> {
    std::string cursor;
    for (;;) {
      json::Writer body;
      body.begin_object();
      body.field("id", sum.id);
      body.field("from", from->text());
      body.field("to", to->text());
      for (const auto& [name, value] : {std::pair<std::string_view, const std::string&>{"team", flags.team},
                                        {"agent_id", flags.agent_id},
                                        {"provider", flags.provider},
                                        {"model", flags.model},
                                        {"cursor", cursor}}) {
        if (!value.empty()) body.field(name, value);
      }
      body.key("dry_run");
      body.boolean(flags.dry_run);
      body.end_object();
      auto text = api.post("/api/v1/prices/reprice", body.text());
      if (!text) {
        // What was done is done; a repeat of the whole would no longer tell of it.
        if (sum.calls > 0)
          std::fprintf(stderr, "until then: %s\nthe same command goes on\n", repriced_text(sum, flags.dry_run).c_str());
        return text;
      }
      const auto answer = read_answer(std::move(*text));
      if (!answer) return std::unexpected(answer.error());
      const auto number = [&](std::string_view name) {
        return std::strtoll(cell(answer->members, name, "0").c_str(), nullptr, 10);
      };
      sum.calls += number("calls");
      sum.changed += number("changed");
      sum.newly_priced += number("newly_priced");
      sum.no_longer_priced += number("no_longer_priced");
      sum.difference.nanos += nanos(cell(answer->members, "difference_usd", "0")).nanos;
      for (const auto& item : answer->items) {
        auto& model = sum.models[cell(item, "provider", "?") + "/" + cell(item, "model")];
        model.changed += std::strtoll(cell(item, "changed", "0").c_str(), nullptr, 10);
        model.before.nanos += nanos(cell(item, "before_usd", "0")).nanos;
        model.after.nanos += nanos(cell(item, "after_usd", "0")).nanos;
      }
      if (const auto reached = Timestamp::parse(cell(answer->members, "reached"))) {
        const auto seconds = [&](Timestamp time) {
          return static_cast<std::size_t>((time.micros - from->micros) / 1'000'000);
        };
        bar.update({.done = seconds(*reached), .total = seconds(*to)});
      }
      cursor = cell(answer->members, "cursor");
      if (cell(answer->members, "done") == "true") break;
      if (cursor.empty()) return fail(Code::malformed, "The server's answer is not what a Cognive server answers.");
    }
    bar.finish();
    return flags.json ? repriced_json(sum, flags.dry_run) : repriced_text(sum, flags.dry_run);
  });
}

void add_api_flags(CLI::App& command, Flags& flags) {
  command.add_option("--url", flags.url, "The server; COGNIVE_URL, else the one of this machine's `cognive up`");
  command.add_option("--api-key", flags.key, "COGNIVE_API_KEY, else DIR/api-key");
  command.add_option("--data", flags.data, "Data directory of a `cognive up` on this machine");
  command.add_flag("--json", flags.json, "Print the API's answer");
}

}  // namespace

void add_price_overrides(CLI::App& prices, Action& chosen) {
  const auto show_flags = std::make_shared<Flags>();
  auto* shown =
      prices.add_subcommand("show", "Show the prices that were set; with a model, all that it has and which one holds");
  shown->add_option("model", show_flags->model, "As calls report it, for instance gpt-4o");
  shown->add_option("--provider", show_flags->provider, "As calls report it");
  shown->add_option("--team", show_flags->team, "Whose calls are meant; the organisation's when absent");
  shown->add_option("--at", show_flags->from, "Time of the call; now when absent");
  add_api_flags(*shown, *show_flags);
  shown->callback([show_flags, &chosen] { chosen = [show_flags] { return show(*show_flags); }; });

  const auto set_flags = std::make_shared<Flags>();
  auto* sets = prices.add_subcommand(
      "set",
      "Set prices that win over the catalogue's: negotiated rates, private models.\n"
      "  cognive prices set gpt-4o --team search --rate input_mtok=2 --rate output_mtok=8\n"
      "  cognive prices set acme-7b --provider acme --rate input_mtok=0.2 --rate output_mtok=0.2 --from 2026-11-01");
  sets->add_option("model", set_flags->model, "The catalogue's name, or as calls report it")->required();
  sets->add_option("--provider", set_flags->provider, "Whose model it is; known for models of the catalogue");
  sets->add_option("--team", set_flags->team, "For this team alone; for the organisation when absent");
  sets->add_option("--from", set_flags->from, "From calls of this time on (2026-11-01 or RFC 3339); now when absent");
  auto* rate =
      sets->add_option("--rate", set_flags->rate, "UNIT=DOLLARS, for instance input_mtok=2.5 per million input tokens");
  auto* rates =
      sets->add_option("--rates", set_flags->rates, "All rates as a JSON object, for context tiers")->excludes(rate);
  sets->add_flag("--end", set_flags->end, "End the override: what it covers holds again")
      ->excludes(rate)
      ->excludes(rates);
  sets->add_option("--note", set_flags->note, "Why, for whoever wonders later");
  add_api_flags(*sets, *set_flags);
  sets->callback([set_flags, &chosen] { chosen = [set_flags] { return set(*set_flags); }; });

  const auto reprice_flags = std::make_shared<Flags>();
  auto* reprices = prices.add_subcommand("reprice",
                                         "Price stored calls again by the prices of now. Calls are never changed: "
                                         "where a charge differs, an adjustment is\n"
                                         "appended. A repeat changes nothing more.");
  reprices->add_option("--from", reprice_flags->from, "Calls at or after this time (2026-11-01 or RFC 3339)")
      ->required();
  reprices->add_option("--to", reprice_flags->to, "Calls before this time; until now when absent");
  reprices->add_option("--team", reprice_flags->team, "Only calls of this team");
  reprices->add_option("--agent-id", reprice_flags->agent_id, "Only calls of this agent");
  reprices->add_option("--provider", reprice_flags->provider, "Only calls to this provider");
  reprices->add_option("--model", reprice_flags->model, "Only calls of this model, as reported");
  reprices->add_flag("--dry-run", reprice_flags->dry_run, "Say what would change and change nothing");
  add_api_flags(*reprices, *reprice_flags);
  reprices->callback([reprice_flags, &chosen] { chosen = [reprice_flags] { return reprice(*reprice_flags); }; });
}

}  // namespace cognive::commands
