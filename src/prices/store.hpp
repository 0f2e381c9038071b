// SQL of prices.
#pragma once

#include "prices/prices.hpp"

namespace cognive::prices::store {

// The newest import; nothing before the first.
Async<std::optional<Uuid>> last_import(pg::Pool& database, Deadline deadline);

// Everything, in the order of matching.
Async<Catalogue> load(pg::Pool& database, Deadline deadline);

// Makes imports wait for each other, and reads what the catalogue tables hold.
struct Held {
  struct ModelRow {
    std::string provider;
    std::string id;
    std::string match;
    std::optional<std::string> name;
    std::vector<PriceVersion> versions;
  };
  std::vector<ModelRow> models;
};
Async<Held> lock(pg::Transaction& transaction);

struct NewVersion {
  std::string provider;
  std::string model;
  std::int64_t version = 0;
  Timestamp from;
  RateCard card;
};

Async<> put_providers(pg::Transaction& transaction, const DataSet& data);
Async<> put_models(pg::Transaction& transaction, const DataSet& data);
Async<> insert_versions(pg::Transaction& transaction, const std::vector<NewVersion>& versions, const DataSet& data);
Async<> insert_import(pg::Transaction& transaction, const DataSet& data, const ImportReport& report);

}  // namespace cognive::prices::store
