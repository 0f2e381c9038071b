// LLM traces as Azure publishes them (github.com/Azure/AzurePublicDataset): one line per request with its time and its
// tokens.
//
//   TIMESTAMP,ContextTokens,GeneratedTokens
//   2023-11-16 18:15:46.6805900,374,44
//
// A trace is read and checked as a whole before anybody acts on it, so that a broken line is found before half is
// imported.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "imports/file.hpp"

namespace cognive::imports {

inline constexpr std::size_t trace_bytes_max = file_bytes_max;
inline constexpr std::int64_t trace_tokens_max = 10'000'000'000;

struct TraceRow {
  Timestamp time;  // cut to the microsecond
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
  std::uint32_t offset = 0;      // of the line in the text of the trace; 32 bits because of trace_bytes_max
  std::uint32_t length = 0;      // of the line without its line end
  std::uint32_t occurrence = 0;  // how many identical lines come before it
};

// Owns the text, to which the rows refer. Has at least one row.
struct Trace {
  std::string text;
  Digest digest{};  // SHA-256 of the file's bytes
  std::vector<TraceRow> rows;
  Timestamp first;  // the earliest and the latest time, wherever they stand
  Timestamp last;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;

  [[nodiscard]] std::string_view line_of(const TraceRow& row) const {
    return std::string_view(text).substr(row.offset, row.length);
  }
  // As editors count: the header is line 1.
  static constexpr std::size_t line_number(std::size_t row) { return row + 2; }
};

// Reads a file (or pipe) of at most `trace_bytes_max` bytes. Accepted: LF or CRLF, a byte order mark, a last line
// without its line end, blank lines at the end, 0 to 9 digits of fraction, and times with an offset (as the traces of
// 2024 have them); without one they are UTC. Errors name the file, the first five broken lines and how many there are:
//   not_found, forbidden, malformed (not a trace), too_large, internal (the disk)
Result<Trace> read_azure_trace(const std::string& path);

// The same for a text at hand; `name` is for messages.
Result<Trace> parse_azure_trace(std::string text, std::string_view name);

// One run per agent and file.
Uuid run_id_of(const Trace& trace, const Uuid& agent_id);

// The same for the same line of the same run, so that a second import of a file changes nothing; identical lines are
// different calls, told apart by their occurrence.
Uuid event_id_of(const Trace& trace, const TraceRow& row, const Uuid& run_id);

}  // namespace cognive::imports
