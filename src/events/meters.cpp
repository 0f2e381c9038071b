#include "events/meters.hpp"

namespace cognive::events {
namespace {

constexpr std::string_view token_suffix = "_tokens";

}  // namespace

Meters::Meters(Metrics& metrics)
    : metrics_(metrics),
      commits_(metrics.counter("ingest_commits_total", "Group commits")),
      stored_(metrics.counter("ingest_events_total", "Events stored")) {}

void Meters::count_commit(std::size_t stored) const {
  commits_.add();
  stored_.add(static_cast<double>(stored));
}

Counter Meters::tokens_counter(const Series& series, prices::UnitId unit) {
  const auto& name = prices::Units::shipped()[unit].name;
  return metrics_.counter("llm_tokens_total", "Tokens of stored LLM calls",
                          {{"provider", series.provider},
                           {"model", series.name},
                           {"token_type", name.substr(0, name.size() - token_suffix.size())}});
}

void Meters::count_call(const Item& item, const LlmCall& call) {
  // Those that have prices, so that the names that callers make up do not become series.
  const auto& price = item.row.price;
  names_.clear();
  if (price.model != nullptr) names_.append(price.model->provider).append(1, '\0').append(price.model->id);
  auto place = calls_.find(names_);
  if (place == calls_.end()) {
    Series series;
    series.provider = price.model != nullptr ? providers_(price.model->provider) : "unknown";
    series.name = price.model != nullptr ? models_(price.model->id) : "unknown";
    const Labels labels{{"provider", series.provider}, {"model", series.name}};
    for (const auto status : {Outcome::ok, Outcome::error}) {
      auto with_status = labels;
      with_status["status"] = json::enum_text(status);
      series.by_status.emplace(status, metrics_.counter("llm_calls_total", "LLM calls stored", with_status));
    }
    series.duration =
        metrics_.histogram("llm_call_duration_seconds", "Duration of stored LLM calls", labels, duration_buckets());
    place = calls_.emplace(names_, std::move(series)).first;
  }
  auto& series = place->second;
  series.by_status.at(call.status).add();
  for (auto units = call.usage.reported_units(); units != 0; units &= units - 1) {
    const auto unit = static_cast<prices::UnitId>(std::countr_zero(units));
    if (!prices::Units::shipped()[unit].name.ends_with(token_suffix)) continue;
    auto counter = series.tokens.find(unit);
    if (counter == series.tokens.end()) counter = series.tokens.emplace(unit, tokens_counter(series, unit)).first;
    counter->second.add(static_cast<double>(call.usage.reported(unit)));
  }
  if (call.duration_ms) series.duration->observe(static_cast<double>(*call.duration_ms) / 1000);
  if (price.has_cost()) {
    auto cost = costs_.find(item.row.run->team_id);
    if (cost == costs_.end()) {
      cost = costs_
                 .emplace(item.row.run->team_id,
                          metrics_.counter("cost_total_usd",
                                           "Cost of stored LLM calls; for a picture only, the ledger is exact",
                                           {{"tenant_id", item.row.run->team_id.text()}, {"cost_type", "llm"}}))
                 .first;
    }
    cost->second.add(static_cast<double>(price.cost.nanos) / 1e9);
  }
}

void Meters::count_tool(const ToolInvocation& tool) {
  const auto name = tools_(tool.tool);
  auto place = tool_series_.find(name);
  if (place == tool_series_.end()) {
    Series series;
    for (const auto status : {Outcome::ok, Outcome::error}) {
      series.by_status.emplace(
          status, metrics_.counter("tool_invocations_total", "Tool invocations stored",
                                   {{"tool_name", name}, {"status", std::string(json::enum_text(status))}}));
    }
    series.duration = metrics_.histogram("tool_invocation_duration_seconds", "Duration of stored tool invocations",
                                         {{"tool_name", name}}, duration_buckets());
    place = tool_series_.emplace(name, std::move(series)).first;
  }
  place->second.by_status.at(tool.status).add();
  if (tool.duration_ms) place->second.duration->observe(static_cast<double>(*tool.duration_ms) / 1000);
}

void Meters::count(const Item& item) {
  if (item.row.violation) {
    metrics_
        .counter("policy_violations_total", "Stored events of something that the agent may not use",
                 {{"subject", std::string(*item.row.violation)}})
        .add();
  }
  if (const auto* call = std::get_if<LlmCall>(&item.event->body)) count_call(item, *call);
  if (const auto* tool = std::get_if<ToolInvocation>(&item.event->body)) count_tool(*tool);
}

}  // namespace cognive::events
