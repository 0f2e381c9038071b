#include "retention/partitions.hpp"

#include "observe/log.hpp"

namespace cognive::retention {
namespace {

// In one statement and so in one transaction; the function is part of the revisions.
constexpr pg::Query make_query{"retention_make_partitions", "SELECT make_day_partitions($1, $2)"};

}  // namespace

Async<> make_partitions_ahead(pg::Cluster& database, Deadline deadline) {
  const auto today = std::chrono::floor<std::chrono::days>(Timestamp::now().point());
  const auto made = co_await database.primary().write(
      make_query, pg::Params::of(today - std::chrono::days{1}, today + days_ahead), Call{.deadline = deadline});
  if (const auto count = made[0].at<std::int32_t>(0); count > 0)
    log(Level::info, "made day partitions", {{"count", count}, {"until", date_text(today + days_ahead)}});
}

}  // namespace cognive::retention
