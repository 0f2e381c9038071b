#include "prices/overrides.hpp"

#include "audit/audit.hpp"
#include "base/text.hpp"
#include "pg/transact.hpp"
#include "prices/prices.hpp"
#include "prices/store.hpp"
#include "teams/teams.hpp"

namespace cognive::prices {
namespace {

constexpr Timestamp earliest{0};
constexpr Timestamp latest{4'102'444'800'000'000};  // 2100

// What the override covers of the catalogue, and what of it is lost.
void compare(PriceOverride& row, const Catalogue& catalogue) {
  const auto found = catalogue.find({}, row.provider, row.model).model;
  if (!found) return;
  row.covers = (*found)->provider + "/" + (*found)->id;
  const auto* version = (*found)->at(row.effective_from);
  if (version == nullptr || !row.rates) return;
  Rates own;
  std::string text = row.rates->text;
  static_cast<void>(json::walk(text, [&](json::Cursor& in) { own = read_rates(in); }));
  for (const auto& rate : version->card.rates) {
    if (std::ranges::find(own, rate.unit, &Rate::unit) == own.end())
      row.without.push_back(Units::shipped()[rate.unit].price_key);
  }
}

// What is wrong with a part of a rate card, by reading it as one.
template <typename F>
void check_part(std::string text, std::string_view name, json::Faults& faults, F read) {
  const auto walked = json::walk(text, [&](json::Cursor& in) {
    try {
      read(in);
    } catch (const json::Malformed& fault) {
      faults.add_at(name, fmt::format("It is no rate card: {}.", fault.what()));
      throw;
    }
  });
  if (!walked && !faults.has_at(name)) faults.add_at(name, walked.error().detail);
}

bool same(const PriceOverride& stored, const PriceOverride& wanted, bool with_time) {
  return stored.team_id == wanted.team_id && stored.provider == wanted.provider && stored.model == wanted.model &&
         (!with_time || stored.effective_from == wanted.effective_from) && stored.rates == wanted.rates &&
         stored.windows == wanted.windows && stored.note == wanted.note;
}

// Rates and windows in one spelling, so that equal ones are equal texts. They have been checked.
void normalise(PriceOverride& row) {
  const auto spell = [](std::string text, auto read) {
    static_cast<void>(json::walk(text, [&](json::Cursor& in) { read(in); }));
  };
  if (row.rates) spell(row.rates->text, [&](json::Cursor& in) { row.rates->text = rates_json(read_rates(in)); });
  spell(json::encode(row.windows), [&](json::Cursor& in) { row.windows = OverrideWindow::of(read_windows(in)); });
}

audit::Entry entry(const PriceOverride& row) {
  json::Writer details;
  details.begin_object();
  details.field("provider", row.provider);
  details.field("model", row.model);
  details.field("effective_from", row.effective_from.text());
  details.key("rates");
  json::write(details, row.rates);
  details.key("windows");
  json::write(details, row.windows);
  details.end_object();
  return {.action = "price_override_create",
          .resource_kind = "price_override",
          .resource_id = row.id.text(),
          .team_id = row.team_id,
          .details = std::move(details).text()};
}

}  // namespace

std::vector<OverrideWindow> OverrideWindow::of(const std::vector<Window>& windows) {
  std::vector<OverrideWindow> out;
  for (const auto& window : windows)
    out.push_back({time_of_day_text(window.from), time_of_day_text(window.to), {rates_json(window.rates)}});
  return out;
}

void OverrideSet::check(json::Faults& faults) const {
  if (effective_from && (*effective_from < earliest || *effective_from >= latest) && !faults.has_at("effective_from"))
    faults.add_at("effective_from", "It must lie between 1970 and 2100.", json::quoted(effective_from->text()));
  if (trim(model).empty() && !faults.has_at("model")) faults.add_at("model", "It must not be blank.");
  if (rates && !faults.has_at("rates")) {
    check_part(rates->text, "rates", faults, [&](json::Cursor& in) {
      if (read_rates(in).empty())
        faults.add_at("rates", "It must have a rate at least; null ends an override.", rates->text);
    });
  }
  if (!windows.empty() && !faults.has_below("windows")) {
    if (!rates) faults.add_at("windows", "Windows need rates for the rest of the day.");
    check_part(json::encode(windows), "windows", faults, [](json::Cursor& in) {
      for (const auto& window : read_windows(in)) {
        if (window.from == window.to) throw json::Malformed("a window that ends where it begins");
        if (window.rates.empty()) throw json::Malformed("a window without rates");
        const auto whole = [](std::chrono::microseconds time) { return time % std::chrono::seconds{1} == time.zero(); };
        if (!whole(window.from) || !whole(window.to)) throw json::Malformed("a window with fractions of a second");
      }
    });
  }
}

Async<Result<SetAnswer>> Prices::set(const Call& call, OverrideSet request) {
  if (call.principal.agent_id) co_return fail(Code::forbidden, "This key belongs to one agent and cannot set prices.");
  PriceOverride row{.id = call.id_or_new(request.id),
                    .team_id = call.principal.team_id,
                    .team = {},
                    .provider = {},
                    .model = lower(trim(request.model)),
                    .effective_from = request.effective_from.value_or(Timestamp::now()),
                    .rates = std::move(request.rates),
                    .windows = std::move(request.windows),
                    .note = std::move(request.note)};
  if (request.team) {
    row.team_id = co_await teams::find_by_name(database_, *request.team, call);
    if (!row.team_id)
      co_return unprocessable("/team", "There is no such team.", json::quoted(shortened(*request.team, 64)));
  }
  normalise(row);
  const auto catalogue = current_.loaded();
  if (request.provider) {
    row.provider = catalogue->provider_id(*request.provider);
  } else if (const auto held = catalogue->find(row.team_id, "", row.model).at(row.effective_from); held.model) {
    row.provider = held.model->provider;
  }
  if (row.provider.empty()) {
    co_return unprocessable("/provider", "The catalogue does not know the model: say whose it is.",
                            request.provider ? json::quoted(shortened(*request.provider, 64)) : "");
  }

  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SetAnswer>> {
    co_await store::lock_for_override(transaction);
    const auto written = co_await store::insert_override(transaction, row);
    auto stored = co_await store::find_override(transaction, row.id);
    if (!stored) throw Unavailable("an override appeared and vanished");
    if (!written) {
      if (!same(*stored, row, request.effective_from.has_value()))
        co_return fail(Code::conflict, "There is an override with this id already, with other content.");
      co_return SetAnswer{std::move(*stored), false};
    }
    auto record = entry(*stored);
    trail_.record(transaction, call, std::move(record));
    co_return SetAnswer{std::move(*stored), true};
  };
  auto answer = co_await pg::transact(database_, "price_override", call, body);
  if (!answer) co_return std::unexpected(answer.error());
  co_await refresh(call.deadline);
  compare(answer->override_, *current_.get());
  co_return std::move(*answer);
}

Async<Result<json::Page<PriceOverride>>> Prices::overrides(const Call& call, OverrideList query) {
  const auto catalogue = current_.get();
  if (query.provider) query.provider = catalogue->provider_id(*query.provider);
  if (query.model) query.model = lower(trim(*query.model));
  auto rows = co_await store::list_overrides(database_.read_preferred(call), query, call.principal, call.deadline);
  for (auto& row : rows) compare(row, *catalogue);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const PriceOverride& row) { return json::PagePosition{row.created_at, row.id}; });
}

}  // namespace cognive::prices
