#include "imports/azure_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <optional>
#include <span>
#include <system_error>

#include "base/text.hpp"
#include "imports/file.hpp"

namespace cognive::imports {
namespace {

constexpr std::string_view header = "TIMESTAMP,ContextTokens,GeneratedTokens";
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr std::size_t broken_lines_shown = 5;
constexpr std::size_t quoted_bytes_max = 60;

// A line for people: on one line, and harmless to a terminal whatever the file holds.
std::string shown(std::string_view line) {
  std::string out = "\"";
  for (const char c : line.substr(0, quoted_bytes_max)) {
    if (c >= ' ' && c < '\x7F') {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  out += line.size() > quoted_bytes_max ? "…\"" : "\"";
  return out;
}

// Local to UTC is the identity unless the text names an offset; Timestamp wants one in any case.
std::optional<Timestamp> parse_time(std::string_view text) {
  constexpr std::size_t fraction_at = 19;
  constexpr std::size_t length_max = fraction_at + 10 + 6;  // a point and nine digits, ±hh:mm
  if (text.size() < fraction_at || text.size() > length_max) return std::nullopt;
  std::size_t digits_end = fraction_at;
  if (digits_end < text.size() && text[digits_end] == '.') ++digits_end;
  while (digits_end < text.size() && text[digits_end] >= '0' && text[digits_end] <= '9') ++digits_end;
  if (digits_end > fraction_at + 10) return std::nullopt;
  if (digits_end < text.size()) return Timestamp::parse(text);

  std::array<char, length_max + 1> buffer{};
  std::ranges::copy(text, buffer.begin());
  buffer[text.size()] = 'Z';
  return Timestamp::parse({buffer.data(), text.size() + 1});
}

std::optional<std::int64_t> parse_tokens(std::string_view text) {
  if (text.starts_with('-')) return std::nullopt;  // "-0" would pass as a number
  std::int64_t tokens = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), tokens);
  if (error != std::errc{} || end != text.data() + text.size() || tokens > trace_tokens_max) return std::nullopt;
  return tokens;
}

// What is wrong with the line; empty when it is a row, which is then in `row`.
std::string parse_row(std::string_view line, TraceRow& row) {
  if (trim(line).empty()) return "the line is empty";
  std::array<std::string_view, 3> columns;
  std::size_t count = 0;
  for (std::size_t at = 0; at != std::string_view::npos; ++count) {
    const auto comma = line.find(',', at);
    if (count < columns.size()) columns[count] = line.substr(at, comma - at);
    at = comma == std::string_view::npos ? comma : comma + 1;
  }
  if (count != columns.size()) {
    return fmt::format("{} columns are expected ({}), it has {}", columns.size(), header, count);
  }
  const auto time = parse_time(columns[0]);
  if (!time) return "TIMESTAMP must be a time such as 2023-11-16 18:15:46.6805900";
  const auto input = parse_tokens(columns[1]);
  const auto output = parse_tokens(columns[2]);
  if (!input || !output) {
    return fmt::format("{} must be a whole number from 0 to {}", input ? "GeneratedTokens" : "ContextTokens",
                       grouped(trace_tokens_max));
  }
  row.time = *time;
  row.input_tokens = *input;
  row.output_tokens = *output;
  return {};
}

// Numbers the copies of each line. Identical lines have the same time, so only lines of one instant are compared: in a
// file that is in order that costs one pass.
void count_occurrences(Trace& trace) {
  std::vector<std::uint32_t> order(trace.rows.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto time_of = [&](std::uint32_t row) { return trace.rows[row].time; };
  const auto line_of = [&](std::uint32_t row) { return trace.line_of(trace.rows[row]); };
  if (!std::ranges::is_sorted(order, {}, time_of)) {
    std::ranges::sort(order, {}, [&](std::uint32_t row) { return std::pair(time_of(row), row); });
  }
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end =
        std::find_if(begin, order.end(), [&](std::uint32_t row) { return time_of(row) != time_of(*begin); });
    std::ranges::sort(begin, end, {}, [&](std::uint32_t row) { return std::pair(line_of(row), row); });
    for (auto at = std::next(begin); at < end; ++at) {
      if (line_of(*at) == line_of(*std::prev(at)))
        trace.rows[*at].occurrence = trace.rows[*std::prev(at)].occurrence + 1;
    }
    begin = end;
  }
}

// Where the last line that is not blank ends.
std::size_t end_of_content(std::string_view text) {
  const auto last = text.find_last_not_of(" \t\r\n");
  if (last == std::string_view::npos) return 0;
  const auto end = text.find('\n', last);
  return end == std::string_view::npos ? text.size() : end;
}

// Takes the line that begins at `at` without its line end, and moves on to the next.
std::string_view next_line(std::string_view text, std::size_t& at) {
  const auto end = std::min(text.find('\n', at), text.size());
  std::string_view line = text.substr(at, end - at);
  if (line.ends_with('\r')) line.remove_suffix(1);
  at = end + 1;
  return line;
}

std::unexpected<Error> broken_lines(std::string_view name, const std::vector<std::string>& shown_lines,
                                    std::size_t count) {
  if (count == 1) return fail(Code::malformed, fmt::format("{}, {}.", name, shown_lines.front()));
  std::string detail = fmt::format("{} has {} broken lines", name, grouped(static_cast<long long>(count)));
  detail += count > shown_lines.size() ? fmt::format(", the first {} of them:", shown_lines.size()) : ":";
  for (const auto& line : shown_lines) detail += "\n  " + line;
  return fail(Code::malformed, std::move(detail));
}

// First 16 bytes of SHA-256 over bytes that are put together without a doubt about where one part ends: only the last
// may vary in length.
std::array<std::uint8_t, 16> seed_of(std::string_view bytes) {
  const Digest digest = sha256(bytes);
  std::array<std::uint8_t, 16> seed{};
  std::copy_n(digest.begin(), seed.size(), seed.begin());
  return seed;
}

void append(std::string& out, std::span<const std::uint8_t> bytes) {
  out.append(bytes.begin(), bytes.end());
}

}  // namespace

Result<Trace> read_azure_trace(const std::string& path) {
  auto text = read_file(path);
  if (!text) return std::unexpected(std::move(text).error());
  return parse_azure_trace(*std::move(text), path);
}

Result<Trace> parse_azure_trace(std::string text, std::string_view name) {
  if (text.size() > trace_bytes_max) return file_too_large(name);
  Trace trace;
  trace.digest = sha256(text);
  trace.text = std::move(text);
  const std::string_view content = std::string_view(trace.text).substr(0, end_of_content(trace.text));
  std::size_t at = content.starts_with(byte_order_mark) ? byte_order_mark.size() : 0;
  if (at >= content.size()) return fail(Code::malformed, fmt::format("{} is empty.", name));
  if (const auto line = next_line(content, at); !equal_ignoring_case(trim(line), header)) {
    return fail(Code::malformed,
                fmt::format("{}, line 1: {}: the first line must be the header {}.", name, shown(line), header));
  }
  if (at >= content.size()) return fail(Code::malformed, fmt::format("{} has a header and no rows.", name));

  std::vector<std::string> broken;
  std::size_t broken_count = 0;
  constexpr std::size_t usual_line_bytes = 36;
  trace.rows.reserve(content.size() / usual_line_bytes);
  for (std::size_t number = 2; at < content.size(); ++number) {
    TraceRow row;
    row.offset = static_cast<std::uint32_t>(at);
    const auto line = next_line(content, at);
    row.length = static_cast<std::uint32_t>(line.size());
    if (const std::string fault = parse_row(line, row); fault.empty()) {
      if (broken_count == 0) trace.rows.push_back(row);
    } else if (++broken_count <= broken_lines_shown) {
      broken.push_back(fmt::format("line {}: {}: {}", number, shown(line), fault));
    }
  }
  if (broken_count > 0) return broken_lines(name, broken, broken_count);

  trace.first = trace.last = trace.rows.front().time;
  for (const auto& row : trace.rows) {
    trace.first = std::min(trace.first, row.time);
    trace.last = std::max(trace.last, row.time);
    trace.input_tokens += row.input_tokens;
    trace.output_tokens += row.output_tokens;
  }
  count_occurrences(trace);
  return trace;
}

Uuid run_id_of(const Trace& trace, const Uuid& agent_id) {
  std::string bytes;
  append(bytes, agent_id.bytes);
  append(bytes, trace.digest);
  return Uuid::derived(trace.first, seed_of(bytes));
}

Uuid event_id_of(const Trace& trace, const TraceRow& row, const Uuid& run_id) {
  std::string bytes;
  append(bytes, run_id.bytes);
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(row.occurrence >> shift));
  bytes += trace.line_of(row);
  return Uuid::derived(row.time, seed_of(bytes));
}

}  // namespace cognive::imports
