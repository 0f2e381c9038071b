// Feeds rubbish to the redactor: it may neither crash, nor find more in what it has redacted, nor break UTF-8 or JSON.
#include <cstdint>
#include <string>

#include "json/cursor.hpp"
#include "privacy/redactor.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cognive;
  std::string text(reinterpret_cast<const char*>(data), size);
  const std::string once = privacy::redact(text);
  if (privacy::redact(once) != once || once.size() > 2 * size + 8) __builtin_trap();
  if (json::valid_utf8(text) && !json::valid_utf8(once)) __builtin_trap();
  std::string redacted = privacy::redact_json(text);
  const auto ignore = [](json::Cursor&) {};
  if (json::walk(text, ignore) && !json::walk(redacted, ignore)) __builtin_trap();
  return 0;
}
