// Other physical designs of llm_calls, filled by COPY with the same rows: what each key and index costs.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/text.hpp"
#include "ingest/scenarios.hpp"

namespace cognive::bench {
namespace {

struct Variant {
  const char* name;
  const char* keys;  // statements in which {0} is the table
  bool is_partitioned;
  Keys order;
};

constexpr std::array variants{
    Variant{"as it is: primary key (run_id, id, bucket), BRIN (timestamp), a partition a day",
            "ALTER TABLE {0} ADD PRIMARY KEY (run_id, id, bucket); CREATE INDEX ON {0} USING brin (\"timestamp\")",
            true, Keys::by_run},
    Variant{"the same, not partitioned",
            "ALTER TABLE {0} ADD PRIMARY KEY (run_id, id, bucket); CREATE INDEX ON {0} USING brin (\"timestamp\")",
            false, Keys::by_run},
    Variant{"primary key (id, bucket), index (run_id), BRIN (timestamp)",
            "ALTER TABLE {0} ADD PRIMARY KEY (id, bucket); CREATE INDEX ON {0} (run_id); "
            "CREATE INDEX ON {0} USING brin (\"timestamp\")",
            false, Keys::by_id},
    Variant{"primary key (id, bucket), index (agent_id, timestamp), index (run_id)",
            "ALTER TABLE {0} ADD PRIMARY KEY (id, bucket); CREATE INDEX ON {0} (agent_id, \"timestamp\"); "
            "CREATE INDEX ON {0} (run_id)",
            false, Keys::by_id},
    Variant{"primary key (run_id, timestamp, id)", "ALTER TABLE {0} ADD PRIMARY KEY (run_id, \"timestamp\", id)", false,
            Keys::by_run_and_time},
    Variant{"primary key (id, bucket), BRIN (timestamp)",
            "ALTER TABLE {0} ADD PRIMARY KEY (id, bucket); CREATE INDEX ON {0} USING brin (\"timestamp\")", false,
            Keys::by_id},
    Variant{"no index", "", false, Keys::by_id},
    Variant{"as it is, with version-4 ids",
            "ALTER TABLE {0} ADD PRIMARY KEY (run_id, id, bucket); CREATE INDEX ON {0} USING brin (\"timestamp\")",
            true, Keys::random},
};

std::string table_name(std::size_t number) {
  return fmt::format("bench_designs.design_{}", number);
}

void create(Database& database, std::size_t number) {
  const auto& variant = variants[number];
  const auto table = table_name(number);
  database.execute(
      fmt::format("CREATE TABLE {} (LIKE llm_calls INCLUDING DEFAULTS INCLUDING CONSTRAINTS "
                  "INCLUDING GENERATED){}",
                  table, variant.is_partitioned ? " PARTITION BY RANGE (bucket)" : ""));
  if (variant.is_partitioned) {
    for (const auto* day : {"0", "1"})
      database.execute(
          fmt::format("DO $$ BEGIN EXECUTE format('CREATE TABLE {0}_{1} PARTITION OF {0} FOR VALUES FROM "
                      "(%L) TO (%L)', current_date + {1}, current_date + {1} + 1); END $$",
                      table, day));
  }
  if (*variant.keys != '\0') database.execute(fmt::format(fmt::runtime(variant.keys), table));
}

// Sums over partitions, too.
double size_of(Database& database, const std::string& table, const char* function) {
  return static_cast<double>(database.number(
      fmt::format("SELECT sum({0}(relid))::bigint FROM (SELECT relid::oid FROM pg_partition_tree('{1}') "
                  "UNION SELECT '{1}'::regclass::oid) AS tables",
                  function, table)));
}

// Full pages after a checkpoint would be counted against whoever comes first. Needs the role of the owner.
void checkpoint(const std::string& url) {
  try {
    Database::nearest(url, "postgres").execute("CHECKPOINT");
  } catch (const std::runtime_error& error) {
    say(fmt::format("no checkpoint between designs: {}", error.what()));
  }
}

}  // namespace

void measure_designs(Bench& bench, Sample& sample, Results& results) {
  auto& database = bench.database();
  const auto& settings = bench.settings();
  database.execute("DROP SCHEMA IF EXISTS bench_designs CASCADE; CREATE SCHEMA bench_designs");
  std::vector<Design> designs;
  for (std::size_t i = 0; i < variants.size(); ++i) {
    create(database, i);
    designs.push_back({.name = variants[i].name});
  }
  const auto rows = static_cast<double>(settings.design_commits * rows_per_commit);
  for (int round = 1; round <= settings.rounds; ++round) {
    for (std::size_t i = 0; i < variants.size(); ++i) {
      const auto prepared = sample.prepare(settings.design_commits, variants[i].order);
      checkpoint(bench.server().database_url());
      const auto wal = database.value("SELECT pg_current_wal_lsn()");
      const auto cpu = bench.cpu();
      designs[i].rows_per_second.push_back(copy_rows(database, table_name(i), sample, prepared));
      constexpr double million = 1e6;
      designs[i].cpu_seconds_per_million.push_back((bench.cpu().postgres - cpu.postgres) / rows * million);
      const auto written =
          database.number(fmt::format("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{}')::bigint", wal));
      designs[i].wal_bytes_per_row.push_back(static_cast<double>(written) / rows);
      say(fmt::format("round {} of {}: {}: {} rows/s", round, settings.rounds, designs[i].name,
                      grouped(std::llround(designs[i].rows_per_second.back()))));
    }
  }
  const auto all_rows = rows * settings.rounds;
  for (std::size_t i = 0; i < variants.size(); ++i) {
    designs[i].index_bytes_per_row = size_of(database, table_name(i), "pg_indexes_size") / all_rows;
    designs[i].table_bytes_per_row = size_of(database, table_name(i), "pg_table_size") / all_rows;
  }
  database.execute("DROP SCHEMA bench_designs CASCADE");
  results.designs = std::move(designs);
}

}  // namespace cognive::bench
