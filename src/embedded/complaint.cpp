#include "embedded/complaint.hpp"

#include <array>
#include <fstream>

#include "base/text.hpp"

namespace cognive::embedded {

std::string complaint(std::string_view text) {
  std::string_view last;
  int last_weight = -1;
  constexpr std::array<std::string_view, 4> markers{"error: ", "ERROR:  ", "FATAL:  ", "PANIC:  "};
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto line = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty()) continue;
    int weight = 0;
    auto said = line;
    for (std::size_t i = 0; i < markers.size(); ++i) {
      const auto at = line.find(markers[i]);
      if (at == std::string_view::npos) continue;
      weight = i < 2 ? 1 : 2;
      said = line.substr(at + markers[i].size());
      break;
    }
    if (weight >= last_weight) {
      last_weight = weight;
      last = said;
    }
  }
  return last.empty() ? "it said nothing" : shortened(last, 300);
}

std::string read_from(const std::filesystem::path& path, std::uintmax_t offset) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  std::string text(read_bytes_max, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace cognive::embedded
