// SQL of analytics. Every query has the predicates of team and agent.
#pragma once

#include "analytics/performance.hpp"

namespace cognive::analytics::store {

inline constexpr std::int64_t rows_max = 10'000;

// At most rows_max + 1 rows.
Async<std::vector<CostRow>> costs(pg::Reader database, const CostQuery& query, const Principal& principal,
                                  Deadline deadline);
Async<CoverageAnswer> coverage(pg::Reader database, const CoverageQuery& query, const Principal& principal,
                               Deadline deadline);
Async<std::vector<RunRow>> runs(pg::Reader database, const RunQuery& query, const Principal& principal,
                                Deadline deadline);

Async<std::vector<LatencyRow>> latency(pg::Reader database, const LatencyQuery& query, const Principal& principal,
                                       Deadline deadline);
Async<std::vector<ToolRow>> tools(pg::Reader database, const ToolQuery& query, const Principal& principal,
                                  Deadline deadline);

}  // namespace cognive::analytics::store
