// Feeds rubbish to what reads price catalogues and the rules that match names of models.
#include "json/cursor.hpp"
#include "prices/data_set.hpp"
#include "prices/matcher.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cognive;
  std::string text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(prices::read_data_set(text));
  static_cast<void>(json::walk(text, [](json::Cursor& root) {
    const auto matcher = prices::Matcher::read(root);
    static_cast<void>(matcher.matches("gpt-4o"));
    static_cast<void>(matcher.matches(""));
  }));
  return 0;
}
