#include "ingest/copy_limit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "base/time.hpp"
#include "ingest/interruption.hpp"
#include "ingest/load.hpp"

namespace cognive::bench {
namespace {

// https://www.postgresql.org/docs/15/sql-copy.html: signature, flags and the length of an extension; then rows of a
// field count and fields of a length and bytes; then a field count of -1.
constexpr std::string_view signature{"PGCOPY\n\377\r\n\0", 11};
constexpr std::size_t header_length = signature.size() + 8;
constexpr std::string_view trailer{"\xff\xff", 2};

constexpr std::int64_t epoch_micros = 946'684'800'000'000;  // 2000-01-01, where PostgreSQL counts from
constexpr std::int64_t micros_of_day = 86'400'000'000;

template <typename Number>
Number big_endian(const char* at) {
  Number number;
  std::memcpy(&number, at, sizeof number);
  if constexpr (sizeof number == 2) return static_cast<Number>(__builtin_bswap16(static_cast<std::uint16_t>(number)));
  if constexpr (sizeof number == 4) return static_cast<Number>(__builtin_bswap32(static_cast<std::uint32_t>(number)));
  return number;
}

std::string copy_sql(const std::string& table, const Sample& sample) {
  return fmt::format("COPY {} ({}) FROM STDIN (FORMAT binary)", table, sample.columns());
}

std::int64_t copy(Database& database, const std::string& sql, std::string_view commit) {
  // In pieces: libpq would otherwise double its buffer until a whole commit is in it.
  constexpr std::size_t piece = 64 << 10;
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at < commit.size(); at += piece) parts.push_back(commit.substr(at, piece));
  return database.copy_in(sql, parts);
}

}  // namespace

Sample::Sample(Database& database, std::size_t rows_max) {
  for (const auto& row : database.rows("SELECT attname, quote_ident(attname) FROM pg_attribute "
                                       "WHERE attrelid = 'llm_calls'::regclass AND attnum > 0 AND NOT attisdropped "
                                       "AND attgenerated = '' ORDER BY attnum")) {
    names_.push_back(row[0]);
    columns_ += (columns_.empty() ? "" : ", ") + row[1];
  }
  bytes_ = database.copy_out(
      fmt::format("COPY (SELECT {} FROM llm_calls LIMIT {}) TO STDOUT (FORMAT binary)", columns_, rows_max));
  parse();
  if (rows_.empty()) throw std::runtime_error("llm_calls is empty: there is nothing to copy");
  constexpr std::size_t lanes = 64;
  lanes_.resize(lanes);
}

void Sample::parse() {
  const auto extension = static_cast<std::size_t>(big_endian<std::int32_t>(bytes_.data() + header_length - 4));
  std::size_t at = header_length + extension;
  while (true) {
    const auto fields = big_endian<std::int16_t>(bytes_.data() + at);
    if (fields < 0) return;
    Row row{.begin = at, .length = 0, .id = 0, .run_id = 0, .bucket = 0, .timestamp = 0};
    at += 2;
    for (std::int16_t i = 0; i < fields; ++i) {
      const auto length = big_endian<std::int32_t>(bytes_.data() + at);
      at += 4;
      const auto& name = names_[static_cast<std::size_t>(i)];
      const auto offset = at - row.begin;
      if (name == "id") row.id = offset;
      if (name == "run_id") row.run_id = offset;
      if (name == "bucket") row.bucket = offset;
      if (name == "timestamp") row.timestamp = offset;
      if (length > 0) at += static_cast<std::size_t>(length);
    }
    row.length = at - row.begin;
    rows_.push_back(row);
  }
}

double Sample::bytes_per_row() const {
  return static_cast<double>(bytes_.size()) / static_cast<double>(rows_.size());
}

std::vector<std::string> Sample::prepare(std::size_t commits, Keys keys, std::size_t rows) {
  constexpr std::size_t batch = 100;
  std::vector<std::string> out;
  std::vector<Key> keys_of_commit;
  for (std::size_t commit = 0; commit < commits; ++commit) {
    keys_of_commit.clear();
    while (keys_of_commit.size() < rows) {
      auto& lane = lanes_[next_lane_++ % lanes_.size()];
      if (lane.calls_left == 0) lane = {.run = next_id(unix_ms()), .calls_left = calls_per_run};
      const bool is_random = keys == Keys::random;
      if (is_random && lane.calls_left == calls_per_run) lane.run = random_id();
      for (std::size_t i = 0; i < batch; ++i) {
        keys_of_commit.push_back(
            {.run = lane.run, .id = is_random ? random_id() : next_id(unix_ms()), .row = next_row_++ % rows_.size()});
      }
      lane.calls_left -= batch;
    }
    out.push_back(commit_of(keys_of_commit, keys));
  }
  // A run is of one kind of ids.
  for (auto& lane : lanes_) lane.calls_left = 0;
  return out;
}

std::string Sample::commit_of(std::vector<Key>& keys_of_commit, Keys keys) const {
  // Time and ids grow together here, so by_run_and_time is the order of by_run.
  if (keys != Keys::by_id)
    std::ranges::sort(keys_of_commit, {}, [](const Key& key) { return std::tie(key.run, key.id); });
  std::string out(signature);
  out.append(8, '\0');
  const auto now = Timestamp::now().micros;
  const auto day = static_cast<std::uint32_t>((now - epoch_micros) / micros_of_day);
  const auto bucket = __builtin_bswap32(day);
  auto micros = now - static_cast<std::int64_t>(keys_of_commit.size());
  for (const auto& key : keys_of_commit) {
    const auto& row = rows_[key.row];
    const auto at = out.size();
    out.append(bytes_, row.begin, row.length);
    std::memcpy(out.data() + at + row.id, key.id.data(), key.id.size());
    std::memcpy(out.data() + at + row.run_id, key.run.data(), key.run.size());
    std::memcpy(out.data() + at + row.bucket, &bucket, sizeof bucket);
    const auto timestamp = __builtin_bswap64(static_cast<std::uint64_t>(++micros - epoch_micros));
    std::memcpy(out.data() + at + row.timestamp, &timestamp, sizeof timestamp);
  }
  out += trailer;
  return out;
}

double copy_rows(Database& database, const std::string& table, const Sample& sample,
                 const std::vector<std::string>& commits) {
  const auto sql = copy_sql(table, sample);
  const auto begin = Clock::now();
  std::int64_t stored = 0;
  for (const auto& commit : commits) {
    throw_if_interrupted();
    stored += copy(database, sql, commit);
  }
  return static_cast<double>(stored) / std::chrono::duration<double>(Clock::now() - begin).count();
}

Histogram copy_paced(Database& database, const std::string& table, const Sample& sample,
                     const std::vector<std::string>& commits, std::chrono::duration<double> interval) {
  const auto sql = copy_sql(table, sample);
  Histogram latency;
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < commits.size(); ++i) {
    throw_if_interrupted();
    const auto due = begin + std::chrono::duration_cast<Clock::duration>(interval * static_cast<double>(i));
    std::this_thread::sleep_until(due);
    copy(database, sql, commits[i]);
    latency.record(Clock::now() - due);
  }
  return latency;
}

}  // namespace cognive::bench
