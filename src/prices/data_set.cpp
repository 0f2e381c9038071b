#include "prices/data_set.hpp"

#include <set>

namespace cognive::prices {
namespace {

std::string copied(json::Cursor& in) {
  json::Writer out;
  in.copy_to(out);
  return std::move(out).text();
}

Matcher matcher_of(std::string text) {
  std::optional<Matcher> out;
  const auto walked = json::walk(text, [&](json::Cursor& in) { out.emplace(Matcher::read(in)); });
  if (!walked) throw json::Malformed("a match rule is broken: " + text.substr(0, 80));
  return std::move(*out);
}

Entry read_entry(json::Cursor& in) {
  Entry entry;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "starts") {
      const auto day = parse_date(value.string());
      if (!day) throw json::Malformed("a start is no date");
      entry.starts = Timestamp::of(*day);
    } else if (key == "from_time") {
      entry.from_time = read_time_of_day(value.string());
    } else if (key == "to_time") {
      entry.to_time = read_time_of_day(value.string());
    } else if (key == "rates") {
      entry.rates = read_rates(value);
    } else {
      throw json::Malformed("a price has an unknown member");
    }
  });
  if (entry.from_time.has_value() != entry.to_time.has_value())
    throw json::Malformed("a daily window has one end only");
  if (entry.starts && entry.from_time) throw json::Malformed("a price has both a start and a daily window");
  return entry;
}

DataSet::ModelRow read_model(json::Cursor& in) {
  DataSet::ModelRow model;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "id") {
      model.id = value.string();
    } else if (key == "name") {
      model.name = value.string();
    } else if (key == "match") {
      model.match = copied(value);
    } else if (key == "context_window") {
      model.context_window = Decimal::parse(value.number()).value_or(Decimal{}).mantissa;
    } else if (key == "deprecated") {
      model.deprecated = value.boolean();
    } else if (key == "prices") {
      value.each_item([&](std::size_t, json::Cursor& entry) { model.prices.push_back(read_entry(entry)); });
    } else {
      throw json::Malformed("a model has an unknown member");
    }
  });
  if (model.id.empty() || model.match.empty()) throw json::Malformed("a model has no id or no match rule");
  return model;
}

DataSet::ProviderRow read_provider(json::Cursor& in) {
  DataSet::ProviderRow provider;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "id") {
      provider.id = value.string();
    } else if (key == "name") {
      provider.name = value.string();
    } else if (key == "provider_match") {
      provider.provider_match = copied(value);
    } else if (key == "model_match") {
      provider.model_match = copied(value);
    } else if (key == "fallback_providers") {
      value.each_item([&](std::size_t, json::Cursor& id) { provider.fallback_providers.emplace_back(id.string()); });
    } else if (key == "models") {
      value.each_item([&](std::size_t, json::Cursor& model) { provider.models.push_back(read_model(model)); });
    } else {
      throw json::Malformed("a provider has an unknown member");
    }
  });
  if (provider.id.empty()) throw json::Malformed("a provider has no id");
  return provider;
}

}  // namespace

Result<DataSet> read_data_set(std::string text) {
  DataSet out;
  // PostgreSQL has no text with U+0000, and no name or rule needs one.
  if (text.find("\\u0000") != std::string::npos) {
    return fail(Code::malformed, "This is not a price catalogue: it contains the character U+0000.");
  }
  auto walked = json::walk(text, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "source") {
        out.source = value.string();
      } else if (key == "retrieved") {
        out.retrieved = parse_date(value.string());
      } else if (key == "providers") {
        value.each_item([&](std::size_t, json::Cursor& provider) { out.providers.push_back(read_provider(provider)); });
      }
    });
  });
  if (walked && out.providers.empty()) walked = fail(Code::malformed, "there are no providers in it");
  if (!walked) return fail(Code::malformed, "This is not a price catalogue: " + walked.error().detail);
  try {
    static_cast<void>(catalogue_of(out));
  } catch (const json::Malformed& error) {
    return fail(Code::malformed, std::string("This is not a price catalogue: ") + error.what() + ".");
  }
  return out;
}

Catalogue catalogue_of(const DataSet& data_set) {
  std::vector<Provider> providers;
  std::set<std::string> provider_ids;
  for (const auto& row : data_set.providers) {
    if (!provider_ids.insert(row.id).second) throw json::Malformed("the provider " + row.id + " appears twice");
    std::set<std::string> model_ids;
    Provider provider{.id = row.id,
                      .provider_match = {},
                      .model_match = {},
                      .fallback_providers = row.fallback_providers,
                      .models = {}};
    if (row.provider_match) provider.provider_match = matcher_of(*row.provider_match);
    if (row.model_match) provider.model_match = matcher_of(*row.model_match);
    for (const auto& model_row : row.models) {
      if (!model_ids.insert(model_row.id).second) {
        throw json::Malformed("the model " + row.id + "/" + model_row.id + " appears twice");
      }
      Model model{.provider = row.id, .id = model_row.id, .match = matcher_of(model_row.match), .versions = {}};
      std::int64_t number = 0;
      for (auto& dated : timeline(model_row.prices)) {
        model.versions.push_back(
            {.id = {}, .version = ++number, .effective_from = dated.from, .card = std::move(dated.card)});
      }
      provider.models.push_back(std::move(model));
    }
    providers.push_back(std::move(provider));
  }
  return Catalogue(std::move(providers));
}

}  // namespace cognive::prices
