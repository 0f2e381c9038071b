// Feeds rubbish to what reads settings: `.env` files, URLs, networks. A password never comes through the mask.
#include "config/settings.hpp"

namespace {

using namespace cognive;

void expect(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto nothing = [](std::string_view) { return std::optional<std::string>(); };
  const auto file = parse_env_file(text, nothing);
  if (file) {
    const auto from_file = [&](std::string_view name) {
      const auto found = file->find(std::string(name));
      return found == file->end() ? std::nullopt : std::optional(found->second);
    };
    if (const auto settings = load_settings(from_file)) {
      for (const auto& row : describe(*settings))
        expect(row.name != "COGNIVE_MASTER_KEY" || row.value == "***" || row.value.empty());
    }
  }
  const auto every = [&](std::string_view) { return std::optional(text); };
  static_cast<void>(load_settings(every));
  constexpr std::string_view password = "Zq7pAsSwOrD";
  if (text.find(password) != std::string::npos) return 0;
  expect(masked_url("postgresql://user:" + std::string(password) + "@" + text).find(password) == std::string::npos);
  static_cast<void>(masked_url(text));
  return 0;
}
