// The limit that ingest is measured against: binary COPY of really ingested rows, one connection, 5,000 rows a commit.
// Keys are new and ordered in time like those of the load; they are made before the clock starts.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "ingest/database.hpp"
#include "ingest/histogram.hpp"
#include "ingest/ids.hpp"

namespace cognive::bench {

inline constexpr std::size_t rows_per_commit = 5'000;

// How the keys of copied rows are made, and how each 5,000 rows are sorted.
enum class Keys {
  by_run,           // run_id, id: the server's order under the present primary key
  by_id,            // as the calls came
  by_run_and_time,  // run_id, timestamp, id
  random,           // version-4 ids, run_id, id
};

// Rows of llm_calls in memory, in the framing of binary COPY.
class Sample {
 public:
  // Exports at most `rows_max` rows; throws when there are none.
  Sample(Database& database, std::size_t rows_max);

  [[nodiscard]] std::size_t rows() const { return rows_.size(); }
  // Without those that the server computes.
  [[nodiscard]] const std::string& columns() const { return columns_; }
  [[nodiscard]] double bytes_per_row() const;

  // Commits of `rows` with new keys, each ready to be sent. Bytes come from the sample in turn. `rows` is a multiple
  // of 100.
  std::vector<std::string> prepare(std::size_t commits, Keys keys, std::size_t rows = rows_per_commit);

 private:
  struct Row {
    std::size_t begin;
    std::size_t length;
    // Where in the row the values are that are replaced.
    std::size_t id;
    std::size_t run_id;
    std::size_t bucket;
    std::size_t timestamp;
  };
  // A run that batches are written to in turn, as the load's connections do.
  struct Lane {
    Id run{};
    std::size_t calls_left = 0;
  };
  struct Key {
    Id run;
    Id id;
    std::size_t row;
  };

  void parse();
  std::string commit_of(std::vector<Key>& keys_of_commit, Keys keys) const;

  std::string columns_;
  std::vector<std::string> names_;
  std::string bytes_;
  std::vector<Row> rows_;
  std::vector<Lane> lanes_;
  std::size_t next_row_ = 0;
  std::size_t next_lane_ = 0;
};

// Stores prepared rows, each part in a commit of its own. Rows a second.
double copy_rows(Database& database, const std::string& table, const Sample& sample,
                 const std::vector<std::string>& commits);

// The same at a fixed rate: how long each commit took from the time at which it was due.
Histogram copy_paced(Database& database, const std::string& table, const Sample& sample,
                     const std::vector<std::string>& commits, std::chrono::duration<double> interval);

}  // namespace cognive::bench
