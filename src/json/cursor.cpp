#include "json/cursor.hpp"

#include <simdjson.h>

#include <optional>

#include "base/text.hpp"

namespace cognive::json {
namespace {

namespace ondemand = simdjson::ondemand;

// A parser keeps memory in proportion to the largest text it has seen; texts above this size get one of their own.
constexpr std::size_t kept_parser_bytes_max = 1 << 20;

[[noreturn]] void malformed(simdjson::error_code code) {
  switch (code) {
    case simdjson::UTF8_ERROR:
      throw Malformed("it is not valid UTF-8");
    case simdjson::EMPTY:
      throw Malformed("it is empty");
    case simdjson::UNCLOSED_STRING:
      throw Malformed("a string is not closed");
    case simdjson::UNESCAPED_CHARS:
      throw Malformed("a string contains an unescaped control character");
    case simdjson::STRING_ERROR:
      throw Malformed("a string contains a bad escape sequence");
    case simdjson::INCOMPLETE_ARRAY_OR_OBJECT:
      throw Malformed("an array or object is not closed");
    case simdjson::DEPTH_ERROR:
      throw Malformed("it is nested too deeply");
    case simdjson::CAPACITY:
      throw Malformed("it is larger than 4 GiB");
    default:
      throw Malformed("a value, comma, colon or bracket is missing or misplaced");
  }
}

// The value, or the exception that says what is wrong with the text.
template <typename T>
T taken(simdjson::simdjson_result<T>&& result) {
  if (result.error() != simdjson::SUCCESS) malformed(result.error());
  return std::move(result).value_unsafe();
}

ondemand::value& as_value(void* value) {
  return *static_cast<ondemand::value*>(value);
}

bool is_json_number(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t first = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at > first;
  };
  if (at < text.size() && text[at] == '-') ++at;
  const std::size_t integer = at;
  if (!digits() || (text[integer] == '0' && at > integer + 1)) return false;
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (!digits()) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return false;
  }
  return at == text.size();
}

void check_depth(int depth) {
  if (depth > depth_max) throw Malformed("it is nested deeper than " + std::to_string(depth_max) + " levels");
}

}  // namespace

Kind Cursor::kind() const {
  switch (taken(as_value(value_).type())) {
    case ondemand::json_type::array:
      return Kind::array;
    case ondemand::json_type::object:
      return Kind::object;
    case ondemand::json_type::number:
      return Kind::number;
    case ondemand::json_type::string:
      return Kind::string;
    case ondemand::json_type::boolean:
      return Kind::boolean;
    case ondemand::json_type::null:
      return Kind::null;
  }
  throw Malformed("a value is missing");
}

std::string_view Cursor::string() {
  consumed_ = true;
  return taken(as_value(value_).get_string());
}

std::string_view Cursor::number() {
  consumed_ = true;
  // simdjson would parse it into a double or a 64-bit integer; the token is left to be skipped by the iteration around
  // it.
  std::string_view token = as_value(value_).raw_json_token();
  // It reaches to the next structural character; only the white space of JSON may stand in between.
  token = token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
  if (!is_json_number(token)) throw Malformed("a number is not written as JSON writes numbers");
  return token;
}

bool Cursor::boolean() {
  consumed_ = true;
  return taken(as_value(value_).get_bool());
}

void Cursor::each_field(FunctionRef<void(std::string_view, Cursor&)> visit) {
  if (empty_) return;
  consumed_ = true;
  check_depth(depth_ + 1);
  ondemand::object object = taken(as_value(value_).get_object());
  for (auto entry : object) {
    ondemand::field field = taken(std::move(entry));
    const std::string_view key = taken(field.unescaped_key());
    ondemand::value value = field.value();
    Cursor child(&value, depth_ + 1);
    visit(key, child);
    if (!child.consumed_) child.skip();
  }
}

void Cursor::each_item(FunctionRef<void(std::size_t, Cursor&)> visit) {
  consumed_ = true;
  check_depth(depth_ + 1);
  ondemand::array array = taken(as_value(value_).get_array());
  std::size_t index = 0;
  for (auto entry : array) {
    ondemand::value value = taken(std::move(entry));
    Cursor child(&value, depth_ + 1);
    visit(index, child);
    if (!child.consumed_) child.skip();
    ++index;
  }
}

std::optional<std::string> Cursor::peek_string(std::string_view name) {
  ondemand::object object = taken(as_value(value_).get_object());
  if (taken(object.is_empty())) {
    // simdjson has left an empty object once it knows that it is one, and cannot enter it again.
    empty_ = consumed_ = true;
    return std::nullopt;
  }
  std::optional<std::string> out;
  auto found = object.find_field_unordered(name);
  if (found.error() == simdjson::SUCCESS) {
    std::string_view text;
    const auto error = found.get_string().get(text);
    if (error == simdjson::SUCCESS) {
      out.emplace(text);
    } else if (error != simdjson::INCORRECT_TYPE) {
      malformed(error);
    }
  } else if (found.error() != simdjson::NO_SUCH_FIELD) {
    malformed(found.error());  // the object cannot be read again after that
  }
  object.reset();
  return out;
}

void Cursor::skip() {
  Writer ignored;
  copy_to(ignored);
}

namespace {

constexpr std::string_view has_nul = "It must not contain the character U+0000.";
constexpr std::string_view has_huge_number = "It must not contain numbers with more than 1000 digits, or beyond 1e308.";

// jsonb holds numbers as `numeric`, which ends long before what JSON can write: 16383 digits after the point.
bool number_fits(std::string_view number) {
  constexpr std::size_t digits_max = 1000;
  constexpr int exponent_max = 308;
  if (number.size() > digits_max) return false;
  const auto at = number.find_first_of("eE");
  if (at == std::string_view::npos) return true;
  auto digits = number.substr(at + 1);
  if (digits.starts_with('+') || digits.starts_with('-')) digits.remove_prefix(1);
  digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
  return digits.size() <= 3 && (digits.empty() || std::stoi(std::string(digits)) <= exponent_max);
}

}  // namespace

std::string_view Cursor::copy_to(Writer& out) {
  std::string_view fault;
  const auto note = [&](std::string_view found) {
    if (fault.empty()) fault = found;
  };
  switch (kind()) {
    case Kind::null:
      consumed_ = true;
      if (!taken(as_value(value_).is_null())) throw Malformed("a literal is misspelt");
      out.null();
      break;
    case Kind::boolean:
      out.boolean(boolean());
      break;
    case Kind::number: {
      const auto text = number();
      if (!number_fits(text)) note(has_huge_number);
      out.raw(text);
      break;
    }
    case Kind::string: {
      const auto text = string();
      if (text.find('\0') != std::string_view::npos) note(has_nul);
      out.string(text);
      break;
    }
    case Kind::array:
      out.begin_array();
      each_item([&](std::size_t, Cursor& item) { note(item.copy_to(out)); });
      out.end_array();
      break;
    case Kind::object:
      out.begin_object();
      each_field([&](std::string_view key, Cursor& value) {
        if (key.find('\0') != std::string_view::npos) note(has_nul);
        out.key(key);
        note(value.copy_to(out));
      });
      out.end_object();
      break;
  }
  return fault;
}

std::string Cursor::excerpt() {
  Writer out;
  copy_to(out);
  return shortened(out.text(), 64);
}

bool valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

Result<void> walk(std::string& text, FunctionRef<void(Cursor&)> visit) {
  text.reserve(text.size() + simdjson::SIMDJSON_PADDING);
  // One parser per thread serves one document at a time; a document that is read while another one is gets its own.
  thread_local ondemand::parser kept;
  thread_local bool kept_in_use = false;
  std::optional<ondemand::parser> own;
  const bool use_kept = !kept_in_use && text.size() <= kept_parser_bytes_max;
  ondemand::parser& parser = use_kept ? kept : own.emplace();
  struct InUse {
    bool& flag;
    bool before;
    InUse(bool& in_use, bool now) : flag(in_use), before(in_use) { flag = before || now; }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;
    ~InUse() { flag = before; }
  } const in_use(kept_in_use, use_kept);
  try {
    ondemand::document document = taken(parser.iterate(text.data(), text.size(), text.capacity()));
    const auto type = taken(document.type());
    if (type == ondemand::json_type::array || type == ondemand::json_type::object) {
      ondemand::value value = taken(document.get_value());
      Cursor root(&value, 0);
      visit(root);
      if (!root.consumed_) root.skip();
    } else {
      // A lone scalar has no value in simdjson's sense: wrap it, which changes neither its meaning nor its faults.
      std::string wrapped = "[" + text + "]";
      return walk(wrapped, [&](Cursor& array) {
        array.each_item([&](std::size_t index, Cursor& scalar) {
          if (index > 0) throw Malformed("there is more than one value");
          visit(scalar);
        });
      });
    }
    if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
      throw Malformed("there is something after the end of the value");
  } catch (const Malformed& error) {
    return fail(Code::malformed, std::string("The body is not valid JSON: ") + error.what() + ".");
  }
  return {};
}

}  // namespace cognive::json
