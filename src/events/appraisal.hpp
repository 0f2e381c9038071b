// What an event costs, what its agent's policy says of it, and what is kept of it: everything that is decided about an
// event without looking at others.
#pragma once

#include "events/item.hpp"
#include "prices/catalogue.hpp"
#include "rollups/deltas.hpp"

namespace cognive::events {

// For one thread.
class Appraiser {
 public:
  // `content_key`: of all hashes of what events say; secret.
  Appraiser(const prices::CurrentCatalogue& catalogue, const Digest& content_key);
  ~Appraiser();

  // Takes the prices and policies of now for those that follow. What has been found out about events before must not be
  // used any more, but for what it says.
  void begin();

  // Fills in the row of an item that belongs to its run.
  void look_at(Item& item);

  // The catalogue to which the prices of the items since `begin` belong.
  [[nodiscard]] std::shared_ptr<const prices::Catalogue> catalogue() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What a stored LLM call adds to the rollups.
void add_to(rollups::Deltas& deltas, const store::Row& row);

}  // namespace cognive::events
