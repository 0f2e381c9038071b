#include "pg/copy_rows.hpp"

#include "pg/binary.hpp"

namespace cognive::pg {

void CopyRows::begin_row(std::int16_t columns) {
  put(out_, columns);
}

void CopyRows::add(std::int64_t value) {
  put(out_, std::int32_t{8});
  put(out_, value);
}

void CopyRows::add(const Uuid& value) {
  put(out_, std::int32_t{16});
  out_.append(reinterpret_cast<const char*>(value.bytes.data()), value.bytes.size());
}

void CopyRows::add(std::string_view value) {
  put(out_, static_cast<std::int32_t>(value.size()));
  out_ += value;
}

void CopyRows::add(Timestamp value) {
  put(out_, std::int32_t{8});
  put(out_, pg_micros(value));
}

void CopyRows::add(std::chrono::sys_days value) {
  put(out_, std::int32_t{4});
  put(out_, pg_days(value));
}

void CopyRows::add(Json value) {
  put(out_, static_cast<std::int32_t>(value.text.size() + 1));
  out_.push_back(jsonb_version);
  out_ += value.text;
}

void CopyRows::null() {
  put(out_, std::int32_t{-1});
}

}  // namespace cognive::pg
