// Parameters of one statement, encoded in PostgreSQL's binary formats as they are added.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "json/page.hpp"

namespace cognive::pg {

// JSON text for a jsonb parameter; must be valid and without U+0000.
struct Json {
  std::string_view text;
};

// Bytes for a bytea parameter.
struct Bytes {
  std::span<const std::uint8_t> data;
};

class Params {
 public:
  template <typename... Values>
  static Params of(const Values&... values) {
    Params params;
    (params.add(values), ...);
    return params;
  }

  void add(bool value);
  void add(std::int16_t value);
  void add(std::int32_t value);
  void add(std::int64_t value);
  void add(double value);
  void add(std::string_view value);
  void add(const std::string& value) { add(std::string_view(value)); }
  void add(const char* value) { add(std::string_view(value)); }
  void add(const Uuid& value);
  void add(Timestamp value);
  void add(std::chrono::sys_days value);
  void add(NanoUsd value) { add(value.nanos); }
  void add(Json value);
  void add(Bytes value);
  // Two parameters: creation time and id, both NULL at the beginning of a list.
  void add(const std::optional<json::PagePosition>& after);
  void add(std::span<const std::string> values);
  void add(const std::vector<std::string>& values) { add(std::span(values)); }

  // Enumerations travel as their names.
  template <json::NamedEnum E>
  void add(E value) {
    add(json::enum_text(value));
  }

  template <typename T>
  void add(const std::optional<T>& value) {
    if (value) {
      add(*value);
    } else if constexpr (json::NamedEnum<T>) {
      add_null(static_cast<const std::string*>(nullptr));
    } else {
      add_null(static_cast<const T*>(nullptr));
    }
  }

  [[nodiscard]] std::size_t size() const { return oids_.size(); }
  [[nodiscard]] const std::vector<std::uint32_t>& oids() const { return oids_; }

  // What PQsendQueryPrepared wants; the pointers live as long as nothing is added.
  struct Raw {
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
  };
  [[nodiscard]] Raw raw() const;

 private:
  friend class ArrayBuilder;

  void begin(std::uint32_t oid);
  void end();
  void add_null(std::uint32_t oid);
  void add_null(const bool*);
  void add_null(const std::int32_t*);
  void add_null(const std::int64_t*);
  void add_null(const std::string*);
  void add_null(const std::string_view*);
  void add_null(const Uuid*);
  void add_null(const Timestamp*);
  void add_null(const std::chrono::sys_days*);
  void add_null(const NanoUsd*);
  void add_null(const Json*);

  std::string buffer_;
  std::vector<std::uint32_t> oids_;
  std::vector<std::ptrdiff_t> begins_;  // -1 is NULL
  std::vector<int> lengths_;
};

// Builds one array parameter item by item, for `unnest`: a batch of rows is a handful of arrays.
class ArrayBuilder {
 public:
  enum class Type { boolean, int2, int4, int8, uuid, text, timestamptz, date, jsonb };

  explicit ArrayBuilder(Type type);

  void add(bool value);
  void add(std::int16_t value);
  void add(std::int32_t value);
  void add(std::int64_t value);
  void add(const Uuid& value);
  void add(std::string_view value);
  void add(Timestamp value);
  void add(std::chrono::sys_days value);
  void add(Json value);
  void null();

  template <typename T>
  void add(const std::optional<T>& value) {
    if (value) {
      add(*value);
    } else {
      null();
    }
  }

  void move_into(Params& params) &&;

 private:
  template <typename T>
  void put(T value);

  Type type_;
  std::string items_;
  std::int32_t count_ = 0;
  bool has_null_ = false;
};

}  // namespace cognive::pg
