#include "schema/statements.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace cognive::schema {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 128;
}

// The length of what begins at `at` and hides semicolons: a quoted text or name, a dollar-quoted text, a comment; 0
// when nothing of the kind begins there. An unfinished one reaches to the end.
std::size_t hidden_length(std::string_view sql, std::size_t at) {
  const auto until = [&](std::string_view end, std::size_t from) {
    const auto found = sql.find(end, from);
    return found == std::string_view::npos ? sql.size() - at : found + end.size() - at;
  };
  const auto rest = sql.substr(at);
  if (rest.starts_with("--")) return until("\n", at + 2);
  if (rest.starts_with("/*")) {
    int depth = 0;
    for (auto i = at; i + 1 < sql.size();) {
      if (sql.compare(i, 2, "/*") == 0) {
        ++depth;
        i += 2;
      } else if (sql.compare(i, 2, "*/") == 0) {
        i += 2;
        if (--depth == 0) return i - at;
      } else {
        ++i;
      }
    }
    return sql.size() - at;
  }
  if (rest.front() == '"') return until("\"", at + 1);  // a doubled quote begins the next one
  if (rest.front() == '\'') {
    const bool escapes = at > 0 && (sql[at - 1] == 'E' || sql[at - 1] == 'e') && (at < 2 || !is_word(sql[at - 2]));
    for (auto i = at + 1; i < sql.size(); ++i) {
      if (escapes && sql[i] == '\\') {
        ++i;
      } else if (sql[i] == '\'') {
        return i + 1 - at;
      }
    }
    return sql.size() - at;
  }
  if (rest.front() == '$' && (at == 0 || !is_word(sql[at - 1]))) {
    const auto end = rest.find('$', 1);
    if (end == std::string_view::npos) return 0;
    const auto tag = rest.substr(1, end - 1);
    const bool is_tag = std::ranges::all_of(tag, [](char c) { return is_word(c) && c != '$'; }) &&
                        (tag.empty() || std::isdigit(static_cast<unsigned char>(tag.front())) == 0);
    return is_tag ? until(rest.substr(0, end + 1), at + end + 1) : 0;
  }
  return 0;
}

// Where a statement really begins: behind blanks and comments.
std::size_t skip_blank(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto rest = text.substr(at);
    if (std::isspace(static_cast<unsigned char>(rest.front())) != 0) {
      ++at;
    } else if (rest.starts_with("--") || rest.starts_with("/*")) {
      at += hidden_length(text, at);
    } else {
      break;
    }
  }
  return at;
}

}  // namespace

std::vector<SqlStatement> split_statements(std::string_view sql, int first_line) {
  std::vector<SqlStatement> out;
  const auto take = [&](std::size_t begin, std::size_t end) {
    auto text = sql.substr(begin, end - begin);
    const auto skipped = skip_blank(text);
    text = trim(text.substr(skipped));
    if (text.empty()) return;
    const auto lines = std::ranges::count(sql.substr(0, begin + skipped), '\n');
    out.push_back({std::string(text), first_line + static_cast<int>(lines)});
  };
  std::size_t begin = 0;
  int parentheses = 0;  // CREATE RULE … DO (…; …)
  int bodies = 0;       // CREATE FUNCTION … BEGIN ATOMIC …; … END, in which CASE has an END of its own
  std::string previous;
  for (std::size_t at = 0; at < sql.size();) {
    if (const auto length = hidden_length(sql, at); length > 0) {
      at += length;
    } else if (is_word(sql[at])) {
      const auto word_begin = at;
      while (at < sql.size() && is_word(sql[at]) && hidden_length(sql, at) == 0) ++at;
      if (at == word_begin) ++at;
      auto word = lower(sql.substr(word_begin, at - word_begin));
      if ((bodies == 0 && word == "atomic" && previous == "begin") ||
          (bodies > 0 && (word == "case" || word == "begin")))
        ++bodies;
      if (bodies > 0 && word == "end") --bodies;
      previous = std::move(word);
    } else {
      const char c = sql[at++];
      if (c == '(') ++parentheses;
      if (c == ')' && parentheses > 0) --parentheses;
      if (c != ';' || parentheses > 0 || bodies > 0) continue;
      take(begin, at - 1);
      begin = at;
      previous.clear();
    }
  }
  take(begin, sql.size());
  return out;
}

}  // namespace cognive::schema
