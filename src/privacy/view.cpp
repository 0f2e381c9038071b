#include "privacy/view.hpp"

namespace cognive::privacy {

bool View::has(std::size_t index, std::string_view expected) const {
  if (index > text_.size() || text_.size() - index < expected.size()) return false;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (characters::lower_of(text_[index + i]) != expected[i]) return false;
  return true;
}

bool View::after_escape(std::size_t index) const {
  if (index < floor_ + 2) return false;
  const char c = text_[index - 1];
  return (c == 'n' || c == 'r' || c == 't') && text_[index - 2] == '\\';
}

bool View::starts_word(std::size_t index) const {
  const char c = before(index);
  if (!characters::is(c, characters::high)) return !characters::is_word(c) || after_escape(index);
  // An accented, Greek or Cyrillic letter goes on; a Chinese or Japanese one stands for a word itself.
  const auto lead = static_cast<unsigned char>(index >= floor_ + 2 ? text_[index - 2] : '\0');
  return lead < 0xC3 || lead > 0xDF;
}

}  // namespace cognive::privacy
