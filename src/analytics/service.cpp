#include "analytics/analytics.hpp"
#include "analytics/store.hpp"

namespace cognive::analytics {
namespace {

template <typename Query>
Result<void> check_range(const Query& query) {
  if (query.from && query.to && *query.to <= *query.from) return unprocessable("?to", "It must be after from.");
  return {};
}

Error too_many_rows() {
  return unprocessable("?group_by", fmt::format("The answer has more than {} rows: narrow the time or the grouping.",
                                                store::rows_max))
      .error();
}

}  // namespace

Async<Result<CostAnswer>> Analytics::costs(const Call& call, CostQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  CostAnswer answer;
  answer.items = co_await store::costs(database_, query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) {
    co_return fail(too_many_rows());
  }
  for (const auto& row : answer.items) {
    answer.total.calls += row.calls;
    answer.total.unpriced_calls += row.unpriced_calls;
    answer.total.errors += row.errors;
    answer.total.input_tokens += row.input_tokens;
    answer.total.output_tokens += row.output_tokens;
    answer.total.cache_read_tokens += row.cache_read_tokens;
    answer.total.cache_write_tokens += row.cache_write_tokens;
    answer.total.cost_usd.nanos += row.cost_usd.nanos;
  }
  co_return answer;
}

Async<Result<CoverageAnswer>> Analytics::coverage(const Call& call, CoverageQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  co_return co_await store::coverage(database_, query, call.principal, call.deadline);
}

Async<Result<RunAnswer>> Analytics::runs(const Call& call, RunQuery query) {
  if (const auto valid = check_range(query); !valid) co_return std::unexpected(valid.error());
  RunAnswer answer;
  answer.items = co_await store::runs(database_, query, call.principal, call.deadline);
  if (answer.items.size() > static_cast<std::size_t>(store::rows_max)) co_return fail(too_many_rows());
  co_return answer;
}

}  // namespace cognive::analytics
