#include "base/time.hpp"

#include <fmt/format.h>

#include <charconv>

namespace cognive {
namespace {

// Reads exactly `width` digits; -1 when there are not that many.
int digits(std::string_view text, std::size_t at, std::size_t width) {
  if (at + width > text.size()) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + width; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

bool has(std::string_view text, std::size_t at, char c) {
  return at < text.size() && text[at] == c;
}

}  // namespace

Timestamp Timestamp::now() {
  return of(std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()));
}

bool Timestamp::is_plausible(Timestamp now) const {
  return micros >= 0 && *this <= now.plus(std::chrono::hours{24});
}

void Timestamp::append_to(std::string& out) const {
  const auto day = std::chrono::floor<std::chrono::days>(point());
  const std::chrono::year_month_day date{day};
  const std::chrono::hh_mm_ss clock{point() - day};
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                 clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

std::string Timestamp::text() const {
  std::string out;
  append_to(out);
  return out;
}

std::optional<std::chrono::sys_days> parse_date(std::string_view text) {
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return std::nullopt;
  const int year = digits(text, 0, 4);
  const int month = digits(text, 5, 2);
  const int day = digits(text, 8, 2);
  if (year < 1 || month < 0 || day < 0) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{static_cast<unsigned>(month)},
                                         std::chrono::day{static_cast<unsigned>(day)}};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days{date};
}

std::string date_text(std::chrono::sys_days day) {
  const std::chrono::year_month_day date{day};
  return fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()));
}

std::optional<Timestamp> Timestamp::parse(std::string_view text) {
  if (text.size() < 20) return std::nullopt;
  const auto day = parse_date(text.substr(0, 10));
  if (!day || !(text[10] == 'T' || text[10] == 't' || text[10] == ' ')) return std::nullopt;
  const int hour = digits(text, 11, 2);
  const int minute = digits(text, 14, 2);
  const int second = digits(text, 17, 2);
  if (!has(text, 13, ':') || !has(text, 16, ':')) return std::nullopt;
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return std::nullopt;

  std::size_t at = 19;
  std::int64_t fraction = 0;
  if (has(text, at, '.')) {
    ++at;
    std::int64_t unit = 100000;
    const std::size_t first = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      fraction += unit * (text[at] - '0');
      unit /= 10;
    }
    if (at == first) return std::nullopt;
  }

  std::int64_t offset_minutes = 0;
  if (has(text, at, 'Z') || has(text, at, 'z')) {
    ++at;
  } else if (has(text, at, '+') || has(text, at, '-')) {
    const int sign = text[at] == '-' ? -1 : 1;
    const int hours = digits(text, at + 1, 2);
    const int minutes = digits(text, at + 4, 2);
    if (!has(text, at + 3, ':') || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
    offset_minutes = sign * (hours * 60 + minutes);
    at += 6;
  } else {
    return std::nullopt;
  }
  if (at != text.size()) return std::nullopt;

  const std::int64_t seconds =
      std::int64_t{day->time_since_epoch().count()} * 86400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
  const Timestamp result{seconds * 1000000 + fraction};
  if (result < min() || result > max()) return std::nullopt;
  return result;
}

}  // namespace cognive
