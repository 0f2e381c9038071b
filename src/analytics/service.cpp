#include "analytics/analytics.hpp"
#include "analytics/store.hpp"
#include "base/text.hpp"

namespace cognive::analytics {
namespace {

template <typename Query>
Result<void> check_range(const Query& query) {
  if (query.from && query.to && *query.to <= *query.from) return unprocessable("?to", "It must be after from.");
  return {};
}

// Sums end at the largest number that there is, as those of the database do: 9.2 billion dollars.
void add(std::int64_t& total, std::int64_t amount) {
  if (__builtin_add_overflow(total, amount, &total)) total = INT64_MAX;
}

// The same for what no call may have.
void add(std::optional<std::int64_t>& total, const std::optional<std::int64_t>& amount) {
  if (!amount) return;
  std::int64_t sum = total.value_or(0);
  add(sum, *amount);
  total = sum;
}

Error too_many_rows() {
  return unprocessable("?group_by", fmt::format("The answer has more than {} rows: narrow the time or the grouping.",
                                                store::rows_max))
      .error();
}

}  // namespace

void CostQuery::check(json::Faults& faults) const {
  if (faults.has_below("group_by")) return;
  const json::Faults::Scope scope(faults, "group_by");
  int labels = 0;
  for (std::size_t i = 0; i < group_by.size(); ++i) {
    const auto& one = group_by[i];
    Dimension dimension{};
    if (one.starts_with(label_prefix) && one.size() > label_prefix.size()) {
      if (++labels > 1)
        faults.add_at(std::to_string(i), "Only one label can be grouped by.", json::quoted(shortened(one, 64)));
    } else if (!json::enum_parse(one, dimension)) {
      faults.add_at(std::to_string(i), "It must be one of team, agent, model, provider, environment, label:x.",
                    json::quoted(shortened(one, 64)));
    }
  }
}

Async<Result<CostAnswer>> Analytics::costs(const Call& call, CostQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  CostAnswer answer;
  answer.items = co_await store::costs(database_.read_preferred(call), query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) {
    co_return fail(too_many_rows());
  }
  if (answer.items.empty()) {
    answer.total.input_tokens = answer.total.output_tokens = 0;
    answer.total.cache_read_tokens = answer.total.cache_write_tokens = 0;
  }
  for (const auto& row : answer.items) {
    add(answer.total.calls, row.calls);
    add(answer.total.unpriced_calls, row.unpriced_calls);
    add(answer.total.errors, row.errors);
    add(answer.total.input_tokens, row.input_tokens);
    add(answer.total.output_tokens, row.output_tokens);
    add(answer.total.cache_read_tokens, row.cache_read_tokens);
    add(answer.total.cache_write_tokens, row.cache_write_tokens);
    add(answer.total.cost_usd.nanos, row.cost_usd.nanos);
  }
  co_return answer;
}

Async<Result<CoverageAnswer>> Analytics::coverage(const Call& call, CoverageQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  co_return co_await store::coverage(database_.read_preferred(call), query, call.principal, call.deadline);
}

Async<Result<RunAnswer>> Analytics::runs(const Call& call, RunQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  RunAnswer answer;
  answer.items = co_await store::runs(database_.read_preferred(call), query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) co_return fail(too_many_rows());
  co_return answer;
}

Async<Result<LatencyAnswer>> Analytics::latency(const Call& call, LatencyQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  LatencyAnswer answer;
  answer.items = co_await store::latency(database_.read_preferred(call), query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) co_return fail(too_many_rows());
  co_return answer;
}

Async<Result<ToolAnswer>> Analytics::tools(const Call& call, ToolQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  ToolAnswer answer;
  answer.items = co_await store::tools(database_.read_preferred(call), query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) co_return fail(too_many_rows());
  co_return answer;
}

}  // namespace cognive::analytics
