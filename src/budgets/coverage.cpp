#include "budgets/coverage.hpp"

#include <algorithm>

namespace cognive::budgets {
namespace {

bool counts(Metric metric, EventKind kind) {
  // Used up is used up, whatever it is that has been.
  if (kind == EventKind::reservation) return true;
  switch (metric) {
    case Metric::cost:
    case Metric::tokens:
    case Metric::requests:
      return kind == EventKind::llm_call;
    case Metric::steps:
      return kind == EventKind::step;
    case Metric::tool_calls:
      return kind == EventKind::tool_invocation;
    case Metric::wall_clock:
      return false;
  }
  return false;
}

// As policies have it: a model is looked for by its names alone and as provider/name.
bool matches(const Definition& definition, const agents::CallNames& names) {
  if (!definition.providers.empty() && !definition.providers.allow(names.providers)) return false;
  if (definition.models.empty() || definition.models.allow(names.models)) return true;
  std::vector<std::string> full;
  for (const auto& provider : names.providers) {
    for (const auto& model : names.models) full.push_back(provider + "/" + model);
  }
  return definition.models.allow(full);
}

}  // namespace

Coverage Coverage::with(const Definitions& changed, std::span<const Uuid> gone, std::int64_t edition) const {
  Coverage out;
  out.edition_ = edition;
  out.by_id_ = by_id_;
  for (const auto& id : gone) out.by_id_.erase(id);
  for (const auto& definition : changed) out.by_id_.insert_or_assign(definition->id, definition);
  for (const auto& [id, definition] : out.by_id_)
    out.by_subject_[{definition->scope, definition->subject_id.value_or(Uuid{})}].push_back(definition);
  return out;
}

void Coverage::find(const Subject& subject, EventKind kind, const agents::CallNames& names, Definitions& out) const {
  out.clear();
  const auto add = [&](Scope scope, const Uuid& id) {
    const auto found = by_subject_.find({scope, id});
    if (found == by_subject_.end()) return;
    for (const auto& definition : found->second) {
      if (!counts(definition->metric, kind) || (definition->is_by_run() && !subject.run_id)) continue;
      if (matches(*definition, names)) out.push_back(definition);
    }
  };
  add(Scope::organisation, {});
  add(Scope::team, subject.team_id);
  add(Scope::agent, subject.agent_id);
  if (subject.api_key_id) add(Scope::api_key, *subject.api_key_id);
  if (subject.run_id) add(Scope::run, *subject.run_id);
  std::ranges::sort(out, {}, [](const auto& definition) { return definition->id; });
}

std::shared_ptr<const Coverage> CurrentCoverage::loaded() const {
  auto now = get();
  if (!now->edition()) throw Unavailable("budgets have not been read yet");
  return now;
}

void CurrentCoverage::replace(std::shared_ptr<const Coverage> next) {
  auto known = current_.load();
  while (known->edition().value_or(-1) < next->edition().value_or(-1)) {
    if (current_.compare_exchange_weak(known, next)) return;
  }
}

}  // namespace cognive::budgets
