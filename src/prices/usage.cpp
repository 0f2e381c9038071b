#include "prices/usage.hpp"

#include <bit>
#include <stdexcept>

#include "base/resources.hpp"
#include "json/bind.hpp"

namespace cognive::prices {
namespace {

Unit read_unit(json::Cursor& in) {
  Unit unit;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "usage") {
      unit.name = value.string();
    } else if (key == "price") {
      unit.price_key = value.string();
    } else if (key == "per") {
      unit.per = Decimal::parse(value.number()).value_or(Decimal{}).mantissa;
    } else if (key == "family") {
      unit.family = value.string();
    } else if (key == "dimensions") {
      value.each_field([&](std::string_view name, json::Cursor& text) {
        std::string dimension(name);
        unit.dimensions[std::move(dimension)] = text.string();
      });
    }
  });
  return unit;
}

constexpr std::string_view no_such_unit = "There is no such unit of usage.";

bool contains(const Unit& outer, const Unit& inner) {
  return outer.family == inner.family && std::ranges::all_of(outer.dimensions, [&](const auto& dimension) {
           const auto found = inner.dimensions.find(dimension.first);
           return found != inner.dimensions.end() && found->second == dimension.second;
         });
}

template <typename F>
void for_each_unit(UnitSet set, F visit) {
  for (; set != 0; set &= set - 1) visit(static_cast<UnitId>(std::countr_zero(set)));
}

}  // namespace

const Units& Units::shipped() {
  static const Units units = [] {
    std::vector<Unit> list;
    std::string text(resource("data/prices.json"));
    const auto walked = json::walk(text, [&](json::Cursor& root) {
      root.each_field([&](std::string_view key, json::Cursor& value) {
        if (key == "units") value.each_item([&](std::size_t, json::Cursor& unit) { list.push_back(read_unit(unit)); });
      });
    });
    if (!walked) throw std::logic_error("data/prices.json: " + walked.error().detail);
    return Units(std::move(list));
  }();
  return units;
}

Units::Units(std::vector<Unit> units) : units_(std::move(units)) {
  if (units_.empty() || units_.size() > 64) throw std::logic_error("the price catalogue must have 1 to 64 units");
  for (std::size_t i = 0; i < units_.size(); ++i) {
    auto& unit = units_[i];
    if (unit.per <= 0) throw std::logic_error("unit " + unit.name + " has no size");
    const auto id = static_cast<UnitId>(i);
    by_name_[unit.name] = id;
    by_price_key_[unit.price_key] = id;
    deepest_first_.push_back(id);
    for (std::size_t j = 0; j < units_.size(); ++j) {
      if (i != j && contains(unit, units_[j])) {
        unit.descendants |= UnitSet{1} << j;
        units_[j].ancestors |= UnitSet{1} << i;
      }
    }
  }
  in_order_of_names_ = deepest_first_;
  std::ranges::sort(in_order_of_names_, {}, [&](UnitId id) -> const std::string& { return units_[id].name; });
  std::ranges::sort(deepest_first_, {}, [&](UnitId id) { return std::pair(64 - units_[id].dimensions.size(), id); });
}

std::optional<UnitId> Units::by_name(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<UnitId> Units::by_price_key(std::string_view key) const {
  const auto found = by_price_key_.find(key);
  return found == by_price_key_.end() ? std::nullopt : std::optional(found->second);
}

void Usage::set(UnitId unit, std::int64_t quantity) {
  const auto place = quantities_.begin() + static_cast<std::ptrdiff_t>(place_of(unit));
  if (is_reported(unit)) {
    *place = quantity;
  } else {
    quantities_.insert(place, quantity);
    reported_ |= UnitSet{1} << unit;
  }
}

Result<Usage> Usage::of(const std::map<std::string, std::int64_t>& counts, std::string_view pointer) {
  const auto& units = Units::shipped();
  Usage usage;
  std::vector<FieldError> faults;
  for (const auto& [name, count] : counts) {
    const auto unit = units.by_name(name);
    if (!unit) {
      faults.push_back({name, std::string(no_such_unit), std::to_string(count)});
    } else if (count < 0 || count > quantity_max) {
      faults.push_back(
          {name, fmt::format("It must be a whole number from 0 to {}.", quantity_max), std::to_string(count)});
    } else {
      usage.set(*unit, count);
    }
  }
  for (auto& excess : usage.excesses()) faults.push_back(std::move(excess));
  for (auto& fault : faults) fault.pointer = fmt::format("{}/{}", pointer, fault.pointer);
  if (!faults.empty()) return unprocessable(std::move(faults));
  return usage;
}

std::vector<FieldError> Usage::excesses() const {
  const auto& units = Units::shipped();
  std::vector<FieldError> out;
  for_each_unit(reported_, [&](UnitId inner) {
    for_each_unit(units[inner].ancestors & reported_, [&](UnitId outer) {
      if (reported(inner) > reported(outer)) {
        out.push_back({units[inner].name, fmt::format("It is part of {} and must not exceed it.", units[outer].name),
                       std::to_string(reported(inner))});
      }
    });
  });
  return out;
}

void read(json::Cursor& in, Usage& out, json::Faults& faults, const json::Rules& rules) {
  if (in.kind() != json::Kind::object) return json::detail::wrong_type(in, "an object", faults);
  out = {};
  const json::Rules count_rules{.min = rules.min, .max = rules.max};
  std::size_t members = 0;
  in.each_field([&](std::string_view name, json::Cursor& value) {
    const json::Faults::Scope scope(faults, name);
    ++members;
    const auto unit = Units::shipped().by_name(name);
    if (unit && out.is_reported(*unit)) return json::detail::repeated_field(name, value, faults);
    std::int64_t count = 0;
    const auto before = faults.count();
    json::read(value, count, faults, count_rules);
    if (faults.count() > before) return;
    if (unit) {
      out.set(*unit, count);
    } else {
      faults.add(std::string(no_such_unit), std::to_string(count));
    }
  });
  json::detail::check_length(members, "members", faults, rules);
}

std::int64_t Usage::quantity(UnitId unit) const {
  if (is_reported(unit)) return reported(unit);
  const auto& units = Units::shipped();
  const auto parts = units[unit].descendants;
  if ((parts & reported_) == 0) return 0;
  // What belongs to a unit and to none of its parts; zero for units that were not reported, since we know of nothing
  // else.
  std::array<std::int64_t, sizeof(UnitSet) * 8> own{};
  std::int64_t sum = 0;
  for (const auto id : units.deepest_first()) {
    if (!is_reported(id) || (parts >> id & 1) == 0) continue;
    own[id] = reported(id);
    for_each_unit(units[id].descendants, [&](UnitId part) { own[id] -= own[part]; });
    sum += own[id];
  }
  return sum;
}

std::map<std::string, std::int64_t> Usage::counts() const {
  std::map<std::string, std::int64_t> out;
  for_each_unit(reported_, [&](UnitId id) { out[Units::shipped()[id].name] = reported(id); });
  return out;
}

Usage Usage::stored(std::optional<std::int64_t> input_tokens, std::optional<std::int64_t> output_tokens,
                    std::optional<std::int64_t> cache_read_tokens, std::optional<std::int64_t> cache_write_tokens,
                    const std::optional<std::string>& others) {
  const auto& units = Units::shipped();
  Usage usage;
  if (!input_tokens) return usage;
  const auto set = [&](std::string_view name, std::int64_t count) {
    if (const auto unit = units.by_name(name)) usage.set(*unit, count);
  };
  set("input_tokens", *input_tokens);
  set("output_tokens", output_tokens.value_or(0));
  set("cache_read_tokens", cache_read_tokens.value_or(0));
  set("cache_write_tokens", cache_write_tokens.value_or(0));
  if (others) {
    std::string text = *others;
    const auto walked = json::walk(text, [&](json::Cursor& root) {
      root.each_field([&](std::string_view unit, json::Cursor& value) {
        std::int64_t count = 0;
        json::Faults faults;
        json::read(value, count, faults, json::Rules{});
        if (faults.empty()) set(unit, count);
      });
    });
    if (!walked) throw std::logic_error("a stored usage is not JSON");
  }
  return usage;
}

}  // namespace cognive::prices
