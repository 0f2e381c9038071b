#include "amqp/wire.hpp"

#include <limits>

namespace cognive::amqp {
namespace {

// Deeper than anybody nests headers; what lies below is left out, so that hostile ones cannot exhaust the stack.
constexpr int depth_max = 16;

Table table_of(const amqp_table_t& table, int depth);

Value value_of(const amqp_field_value_t& field, int depth) {
  const auto& value = field.value;
  switch (field.kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
      return value.boolean != 0;
    case AMQP_FIELD_KIND_I8:
      return std::int64_t{value.i8};
    case AMQP_FIELD_KIND_U8:
      return std::int64_t{value.u8};
    case AMQP_FIELD_KIND_I16:
      return std::int64_t{value.i16};
    case AMQP_FIELD_KIND_U16:
      return std::int64_t{value.u16};
    case AMQP_FIELD_KIND_I32:
      return std::int64_t{value.i32};
    case AMQP_FIELD_KIND_U32:
      return std::int64_t{value.u32};
    case AMQP_FIELD_KIND_I64:
      return std::int64_t{value.i64};
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_TIMESTAMP:
      return static_cast<std::int64_t>(std::min<std::uint64_t>(value.u64, std::numeric_limits<std::int64_t>::max()));
    case AMQP_FIELD_KIND_F32:
      return double{value.f32};
    case AMQP_FIELD_KIND_F64:
      return value.f64;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
      return view_of(value.bytes);
    case AMQP_FIELD_KIND_ARRAY: {
      List out;
      for (int i = 0; depth < depth_max && i < value.array.num_entries; ++i)
        out.push_back(value_of(value.array.entries[i], depth + 1));
      return out;
    }
    case AMQP_FIELD_KIND_TABLE:
      return table_of(value.table, depth + 1);
    default:
      return {};
  }
}

Table table_of(const amqp_table_t& table, int depth) {
  Table out;
  for (int i = 0; depth < depth_max && i < table.num_entries; ++i)
    out.emplace_back(view_of(table.entries[i].key), value_of(table.entries[i].value, depth));
  return out;
}

}  // namespace

amqp_field_value_t Pool::value(const Value& value) {
  amqp_field_value_t out{};
  struct Visitor {
    Pool& pool;
    amqp_field_value_t& out;
    void operator()(std::monostate) const { out.kind = AMQP_FIELD_KIND_VOID; }
    void operator()(bool one) const {
      out.kind = AMQP_FIELD_KIND_BOOLEAN;
      out.value.boolean = one ? 1 : 0;
    }
    void operator()(std::int64_t one) const {
      out.kind = AMQP_FIELD_KIND_I64;
      out.value.i64 = one;
    }
    void operator()(double one) const {
      out.kind = AMQP_FIELD_KIND_F64;
      out.value.f64 = one;
    }
    void operator()(const std::string& one) const {
      out.kind = AMQP_FIELD_KIND_UTF8;
      out.value.bytes = bytes_of(one);
    }
    void operator()(const List& one) const {
      out.kind = AMQP_FIELD_KIND_ARRAY;
      out.value.array.num_entries = static_cast<int>(one.size());
      out.value.array.entries = static_cast<amqp_field_value_t*>(
          amqp_pool_alloc(&pool.pool_, std::max<std::size_t>(one.size(), 1) * sizeof(amqp_field_value_t)));
      for (std::size_t i = 0; i < one.size(); ++i) out.value.array.entries[i] = pool.value(one[i]);
    }
    void operator()(const Table& one) const {
      out.kind = AMQP_FIELD_KIND_TABLE;
      out.value.table = pool.table(one);
    }
  };
  std::visit(Visitor{*this, out}, value.of);
  return out;
}

amqp_table_t Pool::table(const Table& table) {
  amqp_table_t out{};
  if (table.empty()) return amqp_empty_table;
  out.num_entries = static_cast<int>(table.size());
  out.entries = static_cast<amqp_table_entry_t*>(amqp_pool_alloc(&pool_, table.size() * sizeof(amqp_table_entry_t)));
  for (std::size_t i = 0; i < table.size(); ++i) {
    out.entries[i].key = bytes_of(table[i].first);
    out.entries[i].value = value(table[i].second);
  }
  return out;
}

amqp_basic_properties_t Pool::properties(const Properties& from) {
  amqp_basic_properties_t out{};
  const auto set = [&](amqp_bytes_t& field, const std::string& text, amqp_flags_t flag) {
    if (text.empty()) return;
    field = bytes_of(text);
    out._flags |= flag;
  };
  set(out.content_type, from.content_type, AMQP_BASIC_CONTENT_TYPE_FLAG);
  set(out.content_encoding, from.content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG);
  set(out.correlation_id, from.correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG);
  set(out.reply_to, from.reply_to, AMQP_BASIC_REPLY_TO_FLAG);
  set(out.message_id, from.message_id, AMQP_BASIC_MESSAGE_ID_FLAG);
  set(out.expiration, from.expiration, AMQP_BASIC_EXPIRATION_FLAG);
  set(out.type, from.type, AMQP_BASIC_TYPE_FLAG);
  if (from.timestamp) {
    out.timestamp = *from.timestamp;
    out._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
  }
  out.delivery_mode = from.is_persistent ? 2 : 1;
  out._flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
  if (!from.headers.empty()) {
    out.headers = table(from.headers);
    out._flags |= AMQP_BASIC_HEADERS_FLAG;
  }
  return out;
}

Table table_of(const amqp_table_t& table) {
  return table_of(table, 0);
}

Properties properties_of(const amqp_basic_properties_t& from) {
  Properties out;
  const auto get = [&](const amqp_bytes_t& field, amqp_flags_t flag) {
    return (from._flags & flag) != 0 ? std::string(view_of(field)) : std::string();
  };
  out.content_type = get(from.content_type, AMQP_BASIC_CONTENT_TYPE_FLAG);
  out.content_encoding = get(from.content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG);
  out.correlation_id = get(from.correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG);
  out.reply_to = get(from.reply_to, AMQP_BASIC_REPLY_TO_FLAG);
  out.message_id = get(from.message_id, AMQP_BASIC_MESSAGE_ID_FLAG);
  out.expiration = get(from.expiration, AMQP_BASIC_EXPIRATION_FLAG);
  out.type = get(from.type, AMQP_BASIC_TYPE_FLAG);
  if ((from._flags & AMQP_BASIC_TIMESTAMP_FLAG) != 0) out.timestamp = from.timestamp;
  out.is_persistent = (from._flags & AMQP_BASIC_DELIVERY_MODE_FLAG) != 0 && from.delivery_mode == 2;
  if ((from._flags & AMQP_BASIC_HEADERS_FLAG) != 0) out.headers = table_of(from.headers);
  return out;
}

}  // namespace cognive::amqp
