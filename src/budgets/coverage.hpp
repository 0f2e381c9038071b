// Which budgets cover a call, as of one edition of all budgets. What is decided here is repeated until the transaction
// that grants or charges has seen the same edition.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "agents/policy.hpp"
#include "budgets/budgets.hpp"

namespace cognive::budgets {

// A budget as it is enforced.
struct Definition {
  Uuid id;
  Scope scope = Scope::organisation;
  std::optional<Uuid> subject_id;  // the team, agent, key or run; nothing: the organisation
  Metric metric = Metric::cost;
  WindowKind window = WindowKind::day;
  bool hard_stop = false;
  std::optional<NanoUsd> assumed_cost;
  agents::Patterns providers;
  agents::Patterns models;

  // Whether each run has a window of its own.
  [[nodiscard]] bool is_by_run() const { return window == WindowKind::run && scope != Scope::run; }
};

// Whose call it is.
struct Subject {
  Uuid team_id;
  Uuid agent_id;
  std::optional<Uuid> run_id;      // nothing: not said
  std::optional<Uuid> api_key_id;  // nothing: not a key's
};

// What is to be counted; of a reservation everything matters that the run may have used up.
enum class EventKind { llm_call, step, tool_invocation, reservation };

class Coverage {
 public:
  using Definitions = std::vector<std::shared_ptr<const Definition>>;

  Coverage() = default;
  // Nothing when nobody has read any.
  [[nodiscard]] const std::optional<std::int64_t>& edition() const { return edition_; }
  [[nodiscard]] bool empty() const { return by_id_.empty(); }

  // The same with some of them replaced; those of `gone` cover nothing any more.
  [[nodiscard]] Coverage with(const Definitions& changed, std::span<const Uuid> gone, std::int64_t edition) const;

  // Those that cover it, ascending by id. `names`: of an LLM call, none of others: budgets of these have no patterns.
  void find(const Subject& subject, EventKind kind, const agents::CallNames& names, Definitions& out) const;

 private:
  using Key = std::pair<Scope, Uuid>;  // the nil UUID: the organisation

  std::optional<std::int64_t> edition_;
  std::map<Uuid, std::shared_ptr<const Definition>> by_id_;
  std::map<Key, Definitions> by_subject_;
};

// The coverage in force, shared by all threads.
class CurrentCoverage {
 public:
  CurrentCoverage() : current_(std::make_shared<const Coverage>()) {}
  [[nodiscard]] std::shared_ptr<const Coverage> get() const { return current_.load(); }
  // The same for whoever must not go on without it: throws Unavailable until it has been read for the first time.
  [[nodiscard]] std::shared_ptr<const Coverage> loaded() const;
  // Unless there is a newer one already.
  void replace(std::shared_ptr<const Coverage> next);

 private:
  std::atomic<std::shared_ptr<const Coverage>> current_;
};

}  // namespace cognive::budgets
