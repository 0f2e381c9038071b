#include "events/meters.hpp"

#include <algorithm>

namespace cognive::events {
namespace {

constexpr std::string_view token_suffix = "_tokens";

}  // namespace

void Meters::Pending::tell() {
  if (amount > 0) counter.add(std::exchange(amount, 0));
}

Meters::Series::Series(Pending ok_events, Pending failed_events, Histogram histogram)
    : ok(ok_events), failed(failed_events), duration(histogram), durations(duration_buckets().size() + 1) {}

void Meters::Series::count(Outcome status, const std::optional<std::int64_t>& duration_ms) {
  ++(status == Outcome::ok ? ok : failed).amount;
  if (!duration_ms) return;
  const auto value = static_cast<double>(*duration_ms) / 1000;
  const auto& bounds = duration_buckets();
  ++durations[static_cast<std::size_t>(std::ranges::lower_bound(bounds, value) - bounds.begin())];
  seconds += value;
}

void Meters::Series::tell() {
  ok.tell();
  failed.tell();
  for (auto& [unit, pending] : tokens) pending.tell();
  duration.observe_many(durations, std::exchange(seconds, 0));
  std::ranges::fill(durations, 0);
  is_touched = false;
}

Meters::Meters(Metrics& metrics)
    : metrics_(metrics),
      commits_(metrics.counter("ingest_commits_total", "Group commits")),
      stored_(metrics.counter("ingest_events_total", "Events stored")) {}

void Meters::count_commit(std::size_t stored) {
  for (auto* series : touched_) series->tell();
  touched_.clear();
  by_model_.clear();
  for (auto& [team_id, cost] : costs_) cost.tell();
  commits_.add();
  stored_.add(static_cast<double>(stored));
}

void Meters::touch(Series& series) {
  if (!std::exchange(series.is_touched, true)) touched_.push_back(&series);
}

Meters::Pending Meters::tokens_counter(const Series& series, prices::UnitId unit) {
  const auto& name = prices::Units::shipped()[unit].name;
  return {metrics_.counter("llm_tokens_total", "Tokens of stored LLM calls",
                           {{"provider", series.provider},
                            {"model", series.name},
                            {"token_type", name.substr(0, name.size() - token_suffix.size())}})};
}

// Those that have prices have series of their own, so that the names that callers make up do not become series.
Meters::Series& Meters::series_of(const prices::Model* model) {
  const auto known = std::ranges::find(by_model_, model, &std::pair<const prices::Model*, Series*>::first);
  if (known != by_model_.end()) return *known->second;
  const auto provider = model != nullptr ? providers_(model->provider) : "unknown";
  const auto name = model != nullptr ? models_(model->id) : "unknown";
  auto place = calls_.find({provider, name});
  if (place == calls_.end()) {
    const Labels labels{{"provider", provider}, {"model", name}};
    const auto counter = [&](Outcome status) {
      auto with_status = labels;
      with_status["status"] = json::enum_text(status);
      return Pending{metrics_.counter("llm_calls_total", "LLM calls stored", with_status)};
    };
    Series series(
        counter(Outcome::ok), counter(Outcome::error),
        metrics_.histogram("llm_call_duration_seconds", "Duration of stored LLM calls", labels, duration_buckets()));
    series.provider = provider;
    series.name = name;
    place = calls_.emplace(std::pair(provider, name), std::move(series)).first;
  }
  by_model_.emplace_back(model, &place->second);
  return place->second;
}

Meters::Series& Meters::series_of_tool(const std::string& tool) {
  const auto name = tools_(tool);
  auto place = tool_series_.find(name);
  if (place == tool_series_.end()) {
    const auto counter = [&](Outcome status) {
      return Pending{metrics_.counter("tool_invocations_total", "Tool invocations stored",
                                      {{"tool_name", name}, {"status", std::string(json::enum_text(status))}})};
    };
    Series series(counter(Outcome::ok), counter(Outcome::error),
                  metrics_.histogram("tool_invocation_duration_seconds", "Duration of stored tool invocations",
                                     {{"tool_name", name}}, duration_buckets()));
    place = tool_series_.emplace(name, std::move(series)).first;
  }
  return place->second;
}

Meters::Pending& Meters::cost_of(const Uuid& team_id) {
  auto place = costs_.find(team_id);
  if (place == costs_.end()) {
    const auto counter =
        metrics_.counter("cost_total_usd", "Cost of stored LLM calls; for a picture only, the ledger is exact",
                         {{"tenant_id", team_id.text()}, {"cost_type", "llm"}});
    place = costs_.emplace(team_id, Pending{counter}).first;
  }
  return place->second;
}

void Meters::count_call(const Item& item, const LlmCall& call) {
  const auto& price = item.row.price;
  auto& series = series_of(price.model);
  touch(series);
  series.count(call.status, call.duration_ms);
  for (auto units = call.usage.reported_units(); units != 0; units &= units - 1) {
    const auto unit = static_cast<prices::UnitId>(std::countr_zero(units));
    auto counter = series.tokens.find(unit);
    if (counter == series.tokens.end()) {
      if (!prices::Units::shipped()[unit].name.ends_with(token_suffix)) continue;
      counter = series.tokens.emplace(unit, tokens_counter(series, unit)).first;
    }
    counter->second.amount += static_cast<double>(call.usage.reported(unit));
  }
  if (price.has_cost()) cost_of(item.row.run->team_id).amount += static_cast<double>(price.cost.nanos) / 1e9;
}

void Meters::count(const Item& item) {
  if (item.row.violation) {
    metrics_
        .counter("policy_violations_total", "Stored events of something that the agent may not use",
                 {{"subject", std::string(*item.row.violation)}})
        .add();
  }
  if (const auto* call = std::get_if<LlmCall>(&item.event->body)) count_call(item, *call);
  if (const auto* tool = std::get_if<ToolInvocation>(&item.event->body)) {
    auto& series = series_of_tool(tool->tool);
    touch(series);
    series.count(tool->status, tool->duration_ms);
  }
}

}  // namespace cognive::events
