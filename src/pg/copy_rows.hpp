// Rows in the binary format of COPY (https://www.postgresql.org/docs/15/sql-copy.html), encoded column by column.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "pg/params.hpp"

namespace cognive::pg {

// What stands before the first row of a COPY and behind the last one.
inline constexpr std::string_view copy_header{"PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0", 19};
inline constexpr std::string_view copy_trailer{"\377\377", 2};

// Appends to a buffer that the caller owns. Each row begins with begin_row and has as many values as it said, in the
// order of the columns of the COPY.
class CopyRows {
 public:
  explicit CopyRows(std::string& out) : out_(out) {}

  void begin_row(std::int16_t columns);

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

 private:
  std::string& out_;
};

}  // namespace cognive::pg
