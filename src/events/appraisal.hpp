// What an event costs, what its agent's policy says of it, and what is kept of it: everything that is decided about an
// event without looking at others.
#pragma once

#include "events/item.hpp"
#include "keyring/root_key.hpp"
#include "prices/catalogue.hpp"
#include "rollups/deltas.hpp"

namespace cognive::events {

// What has been found out about the events of one submission or commit. Of the thread of its appraiser.
class Appraisal {
 public:
  Appraisal(Appraisal&&) noexcept;
  ~Appraisal();

  // Fills in the rows of items that belong to their runs. Much may have come, and long lists of patterns may have to be
  // compared: others on this thread get their turns in between.
  Async<> look_at(std::span<Item* const> items);

  // The catalogue to which the prices of the items belong.
  [[nodiscard]] const std::shared_ptr<const prices::Catalogue>& catalogue() const;

 private:
  friend class Appraiser;
  struct State;
  explicit Appraisal(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

// For one thread.
class Appraiser {
 public:
  // `content_key`: of all hashes of what events say.
  Appraiser(const prices::CurrentCatalogue& catalogue, const keyring::DerivedKey& content_key);
  ~Appraiser();

  // With the prices of now.
  [[nodiscard]] Appraisal begin();

 private:
  const prices::CurrentCatalogue& current_;
  keyring::DerivedKey content_key_;
  std::shared_ptr<prices::Pricer> pricer_;  // shared by the appraisals that began with the same prices
};

// What a stored LLM call adds to the rollups.
void add_to(rollups::Deltas& deltas, const store::Row& row);

}  // namespace cognive::events
