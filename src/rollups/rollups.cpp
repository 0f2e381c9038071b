#include "rollups/rollups.hpp"

#include "pg/transact.hpp"
#include "rollups/periods.hpp"
#include "rollups/store.hpp"

namespace cognive::rollups {
namespace {

constexpr std::int64_t fold_max = 50'000;    // of one transaction
constexpr std::int64_t vacuum_from = 5'000;  // folded deltas that are worth it

}  // namespace

pg::Statement append_statement(const Deltas& deltas) {
  return store::append(deltas);
}

Async<> append(pg::Transaction& transaction, const Deltas& deltas) {
  if (deltas.empty()) co_return;
  auto statement = store::append(deltas);
  co_await transaction.execute(*statement.query, std::move(statement.params));
}

Async<std::int64_t> compact(pg::Cluster& database, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  const auto body = [](pg::Transaction& transaction) -> Async<Result<std::optional<std::int64_t>>> {
    co_return co_await store::fold(transaction, fold_max);
  };
  std::int64_t folded = 0;
  for (;;) {
    const auto now = co_await pg::transact(database, "rollups_fold", call, body);
    folded += now->value_or(0);
    if (now->value_or(0) < fold_max || deadline.passed()) break;
  }
  if (folded >= vacuum_from) co_await store::vacuum(database.primary(), deadline);
  co_return folded;
}

Async<Verification> verify(pg::Cluster& database, Timestamp from, Timestamp to, Deadline deadline) {
  const auto first = period_of(from, day_micros);
  const auto last = next_period(to, day_micros);
  Call call;
  call.deadline = deadline;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Verification>> {
    co_return co_await store::verify(transaction, first, last);
  };
  auto verification = co_await pg::transact(database, "rollups_verify", call, body);
  co_return std::move(*verification);
}

}  // namespace cognive::rollups
