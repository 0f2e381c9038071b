// The data file that `cognive prices import` reads: providers, models and price lists, as tools/prices_catalogue.py
// writes them.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "prices/timeline.hpp"

namespace cognive::prices {

struct DataSet {
  struct ModelRow {
    std::string id;
    std::optional<std::string> name;
    std::string match;  // JSON
    std::optional<std::int64_t> context_window;
    bool deprecated = false;
    std::vector<Entry> prices;
  };
  struct ProviderRow {
    std::string id;
    std::string name;
    std::optional<std::string> provider_match;  // JSON
    std::optional<std::string> model_match;     // JSON
    std::vector<std::string> fallback_providers;
    std::vector<ModelRow> models;
  };
  std::string source;
  std::optional<std::chrono::sys_days> retrieved;
  std::vector<ProviderRow> providers;
};

// Code::malformed with what is wrong for anything that is not such a file; every rule in it is checked by building it.
Result<DataSet> read_data_set(std::string text);

// A catalogue as if the data set had just been imported into an empty installation; versions have no ids. For tests and
// tools.
Catalogue catalogue_of(const DataSet& data_set);

}  // namespace cognive::prices
