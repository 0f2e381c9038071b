#include "prices/timeline.hpp"

#include <set>

namespace cognive::prices {
namespace {

const RateCard* card_at(const std::vector<Dated>& cards, Timestamp time) {
  const RateCard* found = nullptr;
  for (const auto& dated : cards) {
    if (dated.from <= time) found = &dated.card;
  }
  return found;
}

bool same(const PriceVersion* version, const RateCard* card) {
  return version != nullptr && card != nullptr && version->card == *card;
}

}  // namespace

std::vector<Dated> timeline(const std::vector<Entry>& entries) {
  if (entries.empty()) return {};
  std::set<Timestamp> starts{Timestamp::min()};
  for (const auto& entry : entries) {
    if (entry.starts) starts.insert(*entry.starts);
  }
  std::vector<Dated> out;
  for (const auto start : starts) {
    // Last to first: daily windows until an entry that holds all day; failing that, the first entry of the list.
    RateCard card;
    bool whole_day = false;
    for (auto entry = entries.rbegin(); entry != entries.rend() && !whole_day; ++entry) {
      if (entry->starts && *entry->starts > start) continue;
      if (entry->from_time && entry->to_time) {
        card.windows.push_back({*entry->from_time, *entry->to_time, entry->rates});
      } else {
        card.rates = entry->rates;
        whole_day = true;
      }
    }
    if (!whole_day) card.rates = entries.front().rates;
    if (out.empty() || !(out.back().card == card)) out.push_back({start, std::move(card)});
  }
  return out;
}

Additions additions(const std::vector<PriceVersion>& existing, const std::vector<Dated>& wanted, Timestamp now) {
  Additions out;
  if (existing.empty()) {
    out.versions = wanted;
    return out;
  }
  // A view of what will exist, to compare later instants with what earlier additions brought.
  Model view;
  for (const auto& version : existing) view.versions.push_back(version);
  const auto add = [&](Timestamp from) {
    const auto* card = card_at(wanted, from);
    if (card == nullptr || same(view.at(from), card)) return;
    out.versions.push_back({from, *card});
    PriceVersion added{.id = {}, .version = INT64_MAX, .effective_from = from, .card = *card};
    const auto place = std::ranges::upper_bound(view.versions, from, {}, &PriceVersion::effective_from);
    view.versions.insert(place, std::move(added));
  };

  std::set<Timestamp> future{now};
  for (const auto& dated : wanted) {
    if (dated.from > now) {
      future.insert(dated.from);
    } else if (dated.from > Timestamp::min() && !same(view.at(dated.from), card_at(wanted, dated.from))) {
      out.refused.push_back("the price that starts at " + dated.from.text() +
                            " came too late to hold before this import");
    }
  }
  for (const auto& version : existing) {
    if (version.effective_from > now) future.insert(version.effective_from);
  }
  for (const auto time : future) add(time);
  return out;
}

}  // namespace cognive::prices
