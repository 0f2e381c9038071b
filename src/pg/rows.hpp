// The answer to one statement, in binary format. Reading a column as a type that it is not is a bug and throws
// std::logic_error.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "json/fields.hpp"

struct pg_result;

namespace cognive::pg {

class Row;

class Rows {
 public:
  Rows() = default;
  explicit Rows(pg_result* result);  // takes ownership

  [[nodiscard]] int size() const;  // 0 when default-made
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] Row operator[](int index) const;
  // How many rows an INSERT, UPDATE or DELETE touched.
  [[nodiscard]] std::int64_t affected() const;
  // The command tag: "INSERT 0 1", "COMMIT", "ROLLBACK".
  [[nodiscard]] std::string_view command() const;
  [[nodiscard]] pg_result* get() const { return result_.get(); }

 private:
  std::shared_ptr<pg_result> result_;
};

// One row; borrows from its Rows. Columns are read in the order of the SELECT list:
//
//   row.read(agent.id, agent.name, agent.archived_at);
class Row {
 public:
  Row(const Rows& rows, int index) : result_(rows.get()), row_(index) {}

  template <typename... Targets>
  void read(Targets&... targets) {
    int column = 0;
    (get(column++, targets), ...);
  }

  template <typename T>
  [[nodiscard]] T at(int column) const {
    T out{};
    get(column, out);
    return out;
  }

  [[nodiscard]] bool is_null(int column) const;

 private:
  void get(int column, bool& out) const;
  void get(int column, std::int32_t& out) const;
  void get(int column, std::int64_t& out) const;
  void get(int column, double& out) const;
  void get(int column, std::string& out) const;  // text, varchar, name, json, jsonb, bytea as they are
  void get(int column, Uuid& out) const;
  void get(int column, Timestamp& out) const;
  void get(int column, std::chrono::sys_days& out) const;
  void get(int column, NanoUsd& out) const { get(column, out.nanos); }
  void get(int column, json::Object& out) const { get(column, out.text); }
  void get(int column, std::vector<std::string>& out) const;
  void get(int column, std::vector<std::string_view>& out) const;  // of the result, which must outlive them
  void get(int column, std::vector<std::int16_t>& out) const;
  void get(int column, std::vector<std::int64_t>& out) const;
  void get(int column, std::vector<Uuid>& out) const;
  void get(int column, std::vector<Timestamp>& out) const;
  template <typename T>
  void get(int column, std::optional<T>& out) const {
    if (is_null(column)) {
      out.reset();
    } else {
      get(column, out.emplace());
    }
  }
  template <json::NamedEnum E>
  void get(int column, E& out) const {
    bad_enum_unless(json::enum_parse(at<std::string>(column), out), column);
  }

  [[nodiscard]] std::string_view bytes(int column, std::initializer_list<std::uint32_t> types) const;
  void bad_enum_unless(bool known, int column) const;

  pg_result* result_;
  int row_;
};

inline Row Rows::operator[](int index) const {
  return {*this, index};
}

}  // namespace cognive::pg
