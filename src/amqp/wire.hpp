// Our values as librabbitmq's, and back. What is made here points into what it was made of.
#pragma once

#include <amqp.h>

#include <string_view>

#include "amqp/message.hpp"

namespace cognive::amqp {

inline amqp_bytes_t bytes_of(std::string_view text) {
  return {text.size(), const_cast<char*>(text.data())};
}
inline std::string_view view_of(const amqp_bytes_t& bytes) {
  return {static_cast<const char*>(bytes.bytes), bytes.len};
}

// Memory for tables on their way out.
class Pool {
 public:
  Pool() { init_amqp_pool(&pool_, 4'096); }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { empty_amqp_pool(&pool_); }

  // Valid as long as the table and the pool.
  amqp_table_t table(const Table& table);
  amqp_basic_properties_t properties(const Properties& properties);

 private:
  amqp_field_value_t value(const Value& value);

  amqp_pool_t pool_{};
};

Table table_of(const amqp_table_t& table);
Properties properties_of(const amqp_basic_properties_t& properties);

}  // namespace cognive::amqp
