#include "pg/params.hpp"

#include "pg/binary.hpp"

namespace cognive::pg {
namespace {

// Object identifiers of built-in types: src/include/catalog/pg_type.dat, fixed since PostgreSQL 8.
namespace oid {
constexpr std::uint32_t boolean = 16;
constexpr std::uint32_t bytea = 17;
constexpr std::uint32_t int8 = 20;
constexpr std::uint32_t int2 = 21;
constexpr std::uint32_t int4 = 23;
constexpr std::uint32_t text = 25;
constexpr std::uint32_t float8 = 701;
constexpr std::uint32_t date = 1082;
constexpr std::uint32_t timestamptz = 1184;
constexpr std::uint32_t uuid = 2950;
constexpr std::uint32_t jsonb = 3802;
}  // namespace oid

struct ArrayOids {
  std::uint32_t element;
  std::uint32_t array;
};

constexpr ArrayOids array_oids(ArrayBuilder::Type type) {
  switch (type) {
    case ArrayBuilder::Type::boolean:
      return {16, 1000};
    case ArrayBuilder::Type::int2:
      return {21, 1005};
    case ArrayBuilder::Type::int4:
      return {23, 1007};
    case ArrayBuilder::Type::int8:
      return {20, 1016};
    case ArrayBuilder::Type::uuid:
      return {2950, 2951};
    case ArrayBuilder::Type::text:
      return {25, 1009};
    case ArrayBuilder::Type::timestamptz:
      return {1184, 1185};
    case ArrayBuilder::Type::date:
      return {1082, 1182};
    case ArrayBuilder::Type::jsonb:
      return {3802, 3807};
  }
  return {0, 0};
}

}  // namespace

void Params::begin(std::uint32_t type) {
  oids_.push_back(type);
  begins_.push_back(static_cast<std::ptrdiff_t>(buffer_.size()));
}

void Params::end() {
  lengths_.push_back(static_cast<int>(static_cast<std::ptrdiff_t>(buffer_.size()) - begins_.back()));
}

void Params::add_null(std::uint32_t type) {
  oids_.push_back(type);
  begins_.push_back(-1);
  lengths_.push_back(0);
}

void Params::add_null(const bool*) {
  add_null(oid::boolean);
}
void Params::add_null(const std::int32_t*) {
  add_null(oid::int4);
}
void Params::add_null(const std::int64_t*) {
  add_null(oid::int8);
}
void Params::add_null(const std::string*) {
  add_null(oid::text);
}
void Params::add_null(const std::string_view*) {
  add_null(oid::text);
}
void Params::add_null(const Uuid*) {
  add_null(oid::uuid);
}
void Params::add_null(const Timestamp*) {
  add_null(oid::timestamptz);
}
void Params::add_null(const std::chrono::sys_days*) {
  add_null(oid::date);
}
void Params::add_null(const NanoUsd*) {
  add_null(oid::int8);
}
void Params::add_null(const Json*) {
  add_null(oid::jsonb);
}

void Params::add(bool value) {
  begin(oid::boolean);
  buffer_.push_back(value ? 1 : 0);
  end();
}

void Params::add(std::int16_t value) {
  begin(oid::int2);
  put(buffer_, value);
  end();
}

void Params::add(std::int32_t value) {
  begin(oid::int4);
  put(buffer_, value);
  end();
}

void Params::add(std::int64_t value) {
  begin(oid::int8);
  put(buffer_, value);
  end();
}

void Params::add(double value) {
  begin(oid::float8);
  put(buffer_, std::bit_cast<std::int64_t>(value));
  end();
}

void Params::add(std::string_view value) {
  begin(oid::text);
  buffer_ += value;
  end();
}

void Params::add(const Uuid& value) {
  begin(oid::uuid);
  buffer_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
  end();
}

void Params::add(Timestamp value) {
  begin(oid::timestamptz);
  put(buffer_, pg_micros(value));
  end();
}

void Params::add(std::chrono::sys_days value) {
  begin(oid::date);
  put(buffer_, pg_days(value));
  end();
}

void Params::add(Json value) {
  begin(oid::jsonb);
  buffer_.push_back(jsonb_version);
  buffer_ += value.text;
  end();
}

void Params::add(Bytes value) {
  begin(oid::bytea);
  buffer_.append(reinterpret_cast<const char*>(value.data.data()), value.data.size());
  end();
}

void Params::add(const std::optional<json::PagePosition>& after) {
  add(after ? std::optional(after->created_at) : std::nullopt);
  add(after ? std::optional(after->id) : std::nullopt);
}

void Params::add(std::span<const std::string> values) {
  ArrayBuilder array(ArrayBuilder::Type::text);
  for (const auto& value : values) array.add(std::string_view(value));
  std::move(array).move_into(*this);
}

Params::Raw Params::raw() const {
  Raw out;
  out.values.reserve(size());
  for (const auto begin : begins_) out.values.push_back(begin < 0 ? nullptr : buffer_.data() + begin);
  out.lengths = lengths_;
  out.formats.assign(size(), 1);
  return out;
}

ArrayBuilder::ArrayBuilder(Type type) : type_(type) {}

template <typename T>
void ArrayBuilder::put(T value) {
  ++count_;
  pg::put(items_, static_cast<std::int32_t>(sizeof(T)));
  pg::put(items_, value);
}

void ArrayBuilder::add(bool value) {
  ++count_;
  pg::put(items_, std::int32_t{1});
  items_.push_back(value ? 1 : 0);
}
void ArrayBuilder::add(std::int16_t value) {
  put(value);
}
void ArrayBuilder::add(std::int32_t value) {
  put(value);
}
void ArrayBuilder::add(std::int64_t value) {
  put(value);
}
void ArrayBuilder::add(Timestamp value) {
  put(pg_micros(value));
}
void ArrayBuilder::add(std::chrono::sys_days value) {
  put(pg_days(value));
}

void ArrayBuilder::add(const Uuid& value) {
  ++count_;
  pg::put(items_, std::int32_t{16});
  items_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

void ArrayBuilder::add(std::string_view value) {
  ++count_;
  pg::put(items_, static_cast<std::int32_t>(value.size()));
  items_ += value;
}

void ArrayBuilder::add(Json value) {
  ++count_;
  pg::put(items_, static_cast<std::int32_t>(value.text.size() + 1));
  items_.push_back(jsonb_version);
  items_ += value.text;
}

void ArrayBuilder::null() {
  ++count_;
  has_null_ = true;
  pg::put(items_, std::int32_t{-1});
}

void ArrayBuilder::move_into(Params& params) && {
  // array_recv in src/backend/utils/adt/arrayfuncs.c: dimensions, has-null flag, element type, then length and lower
  // bound of each.
  const auto types = array_oids(type_);
  params.begin(types.array);
  auto& out = params.buffer_;
  pg::put(out, std::int32_t{count_ == 0 ? 0 : 1});
  pg::put(out, std::int32_t{has_null_ ? 1 : 0});
  pg::put(out, static_cast<std::int32_t>(types.element));
  if (count_ > 0) {
    pg::put(out, count_);
    pg::put(out, std::int32_t{1});
    out += items_;
  }
  params.end();
}

}  // namespace cognive::pg
