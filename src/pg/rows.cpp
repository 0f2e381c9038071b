#include "pg/rows.hpp"

#include <libpq-fe.h>

#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "pg/binary.hpp"

namespace cognive::pg {
namespace {

template <typename T>
T big_endian(std::string_view bytes) {
  std::make_unsigned_t<T> value = 0;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return static_cast<T>(std::byteswap(value));
}

}  // namespace

Rows::Rows(pg_result* result) : result_(result, PQclear) {}

int Rows::size() const {
  return PQntuples(result_.get());
}

std::int64_t Rows::affected() const {
  const std::string_view text = PQcmdTuples(result_.get());
  std::int64_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

std::string_view Rows::command() const {
  return PQcmdStatus(result_.get());
}

bool Row::is_null(int column) const {
  return PQgetisnull(result_, row_, column) == 1;
}

std::string_view Row::bytes(int column, std::initializer_list<std::uint32_t> types) const {
  const auto type = PQftype(result_, column);
  if (std::ranges::find(types, type) == types.end()) {
    throw std::logic_error(fmt::format("column {} ({}) has type {}, which this reader does not take", column,
                                       PQfname(result_, column), type));
  }
  if (is_null(column)) throw std::logic_error(fmt::format("column {} is NULL unexpectedly", PQfname(result_, column)));
  return {PQgetvalue(result_, row_, column), static_cast<std::size_t>(PQgetlength(result_, row_, column))};
}

void Row::get(int column, bool& out) const {
  out = bytes(column, {16})[0] != 0;
}
void Row::get(int column, std::int32_t& out) const {
  out = big_endian<std::int32_t>(bytes(column, {23}));
}
void Row::get(int column, std::int64_t& out) const {
  out = big_endian<std::int64_t>(bytes(column, {20}));
}
void Row::get(int column, double& out) const {
  out = std::bit_cast<double>(big_endian<std::int64_t>(bytes(column, {701})));
}

void Row::get(int column, std::string& out) const {
  auto value = bytes(column, {17, 19, 25, 114, 1043, 3802});
  if (PQftype(result_, column) == 3802) value.remove_prefix(1);  // the version byte of jsonb
  out.assign(value);
}

namespace {

Uuid uuid_of(std::string_view value) {
  Uuid out;
  std::memcpy(out.bytes.data(), value.data(), out.bytes.size());
  return out;
}

Timestamp timestamp_of(std::string_view bytes) {
  const auto value = big_endian<std::int64_t>(bytes);
  if (value == std::numeric_limits<std::int64_t>::min()) return Timestamp::min();  // -infinity
  if (value == std::numeric_limits<std::int64_t>::max()) return Timestamp::max();  // infinity
  return {value + epoch_offset_micros};
}

}  // namespace

void Row::get(int column, Uuid& out) const {
  out = uuid_of(bytes(column, {2950}));
}

void Row::get(int column, Timestamp& out) const {
  out = timestamp_of(bytes(column, {1184}));
}

void Row::get(int column, std::chrono::sys_days& out) const {
  out = std::chrono::sys_days{std::chrono::days{big_endian<std::int32_t>(bytes(column, {1082})) + epoch_offset_days}};
}

namespace {

// Visits the items of an array of one dimension without NULLs (array_send in src/backend/utils/adt/arrayfuncs.c).
template <typename Visit>
void each_item(std::string_view rest, const Visit& visit) {
  const auto next = [&]<typename T>(T) {
    const auto value = big_endian<T>(rest);
    rest.remove_prefix(sizeof(T));
    return value;
  };
  const auto dimensions = next(std::int32_t{});
  rest.remove_prefix(8);  // has-null flag and element type
  if (dimensions == 0) return;
  if (dimensions != 1) throw std::logic_error("an array of more than one dimension");
  const auto count = next(std::int32_t{});
  rest.remove_prefix(4);  // lower bound
  for (std::int32_t i = 0; i < count; ++i) {
    const auto length = next(std::int32_t{});
    if (length < 0) throw std::logic_error("an array with a NULL");
    visit(rest.substr(0, static_cast<std::size_t>(length)));
    rest.remove_prefix(static_cast<std::size_t>(length));
  }
}

}  // namespace

void Row::get(int column, std::vector<std::string>& out) const {
  out.clear();
  each_item(bytes(column, {1009}), [&](std::string_view item) { out.emplace_back(item); });
}
void Row::get(int column, std::vector<std::string_view>& out) const {
  out.clear();
  each_item(bytes(column, {1009}), [&](std::string_view item) { out.push_back(item); });
}
void Row::get(int column, std::vector<std::int16_t>& out) const {
  out.clear();
  each_item(bytes(column, {1005}), [&](std::string_view item) { out.push_back(big_endian<std::int16_t>(item)); });
}
void Row::get(int column, std::vector<std::int64_t>& out) const {
  out.clear();
  each_item(bytes(column, {1016}), [&](std::string_view item) { out.push_back(big_endian<std::int64_t>(item)); });
}

void Row::get(int column, std::vector<Uuid>& out) const {
  out.clear();
  each_item(bytes(column, {2951}), [&](std::string_view item) { out.push_back(uuid_of(item)); });
}
void Row::get(int column, std::vector<Timestamp>& out) const {
  out.clear();
  each_item(bytes(column, {1185}), [&](std::string_view item) { out.push_back(timestamp_of(item)); });
}

void Row::bad_enum_unless(bool known, int column) const {
  if (!known) {
    throw std::logic_error(
        fmt::format("column {} holds a value that this version does not know", PQfname(result_, column)));
  }
}

}  // namespace cognive::pg
