// SQL of prices.
#pragma once

#include "prices/prices.hpp"

namespace cognive::prices::store {

Async<Edition> edition(pg::Pool& database, Deadline deadline);
Async<Edition> edition(pg::Transaction& transaction);

// Everything, in the order of matching, as of one moment. The transaction must be fresh.
Async<Catalogue> load(pg::Transaction& transaction);

// Makes imports wait for each other, and reads what the catalogue tables hold.
struct Held {
  struct ModelRow {
    std::string provider;
    std::string id;
    std::vector<PriceVersion> versions;
  };
  std::vector<ModelRow> models;
};
Async<Held> lock(pg::Transaction& transaction);

// The same wait; of which day the newest data set is that was imported.
Async<std::optional<std::chrono::sys_days>> newest_retrieved(pg::Transaction& transaction);

// The same wait, for one new override.
Async<> lock_for_override(pg::Transaction& transaction);

// When it was written; nothing when there is an override with this id.
Async<std::optional<Timestamp>> insert_override(pg::Transaction& transaction, const PriceOverride& row);
// Whoever it belongs to.
Async<std::optional<PriceOverride>> find_override(pg::Transaction& transaction, Uuid id);
// Newest first, at most limit + 1.
Async<std::vector<PriceOverride>> list_overrides(pg::Reader database, const OverrideList& query,
                                                 const Principal& principal, Deadline deadline);

struct NewVersion {
  std::string provider;
  std::string model;
  std::int64_t version = 0;
  Timestamp from;
  RateCard card;
};

// What writing the rows of a data set did.
struct Put {
  std::int64_t written = 0;  // new, different, or at another position
  std::int64_t changed = 0;  // existed, and are different apart from their position
};
Async<Put> put_providers(pg::Transaction& transaction, const DataSet& data);
Async<Put> put_models(pg::Transaction& transaction, const DataSet& data);
Async<> insert_versions(pg::Transaction& transaction, const std::vector<NewVersion>& versions, const DataSet& data);
Async<> insert_import(pg::Transaction& transaction, const DataSet& data, const ImportReport& report);

}  // namespace cognive::prices::store
