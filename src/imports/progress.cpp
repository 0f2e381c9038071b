#include "imports/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/text.hpp"

namespace cognive::imports {
namespace {

constexpr std::chrono::milliseconds between_draws{100};
constexpr std::size_t bar_cells_max = 24;
constexpr std::size_t bar_cells_min = 6;
// Back to the first column and clear to the end of the line (ECMA-48 EL).
constexpr std::string_view erase = "\r\x1b[K";

std::string grouped(std::size_t number) {
  return cognive::grouped(static_cast<long long>(number));
}

std::string clock_text(double seconds) {
  const auto whole = std::llround(std::min(seconds, 359'999.0));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string bar(double share, std::size_t cells) {
  const auto full = static_cast<std::size_t>(share * static_cast<double>(cells));
  std::string out = "▕";
  for (std::size_t cell = 0; cell < cells; ++cell) out += cell < full ? "█" : "░";
  return out + "▏";
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

}  // namespace

std::string progress_line(std::string_view label, std::string_view unit, Progress progress,
                          std::chrono::duration<double> elapsed, std::size_t columns) {
  progress.done = std::min(progress.done, progress.total);
  const double share =
      progress.total == 0 ? 1.0 : static_cast<double>(progress.done) / static_cast<double>(progress.total);
  // Rounded, but 100 % only when nothing is left.
  const long percent = progress.done < progress.total ? std::min(std::lround(share * 100), 99L) : 100L;
  const double speed = elapsed.count() > 0 ? static_cast<double>(progress.done) / elapsed.count() : 0;
  const std::string counts =
      fmt::format("{} %  {} / {} {}", percent, grouped(progress.done), grouped(progress.total), unit);
  std::string speed_part;
  std::string left_part;
  if (speed > 0) {
    // Two digits tell a speed; more only flicker.
    double step = 1;
    while (speed / step >= 100) step *= 10;
    speed_part = fmt::format("  {} {}/s",
                             grouped(static_cast<std::size_t>(speed / step) * static_cast<std::size_t>(step)), unit);
    left_part = fmt::format("  {} left", clock_text(static_cast<double>(progress.total - progress.done) / speed));
  }
  if (progress.done >= progress.total) left_part.clear();

  // The last column stays free: some terminals wrap when it is written.
  const std::size_t room = columns == 0 ? 0 : columns - 1;
  // Everything but the bar is ASCII, so bytes are columns.
  const auto fits = [&](std::size_t extra) {
    return label.size() + 1 + counts.size() + speed_part.size() + left_part.size() + extra <= room;
  };
  constexpr std::size_t bar_frame = 3;  // two edges and a space
  std::string bar_part;
  for (std::size_t cells = bar_cells_max; cells >= bar_cells_min; --cells) {
    if (!fits(cells + bar_frame)) continue;
    bar_part = bar(share, cells) + " ";
    break;
  }
  if (!fits(0)) left_part.clear();
  if (!fits(0)) speed_part.clear();
  if (!fits(0)) return fmt::format("{} %", percent);
  return fmt::format("{} {}{}{}{}", label, bar_part, counts, speed_part, left_part);
}

ProgressBar::ProgressBar(std::string label, std::string unit)
    : label_(std::move(label)), unit_(std::move(unit)), visible_(is_terminal()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) fmt::print(stderr, "{}", erase);
}

void ProgressBar::update(Progress progress) {
  if (!visible_) return;
  last_ = progress;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_draw_ && progress.done < progress.total) return;
  next_draw_ = now + between_draws;
  draw(progress, now);
}

void ProgressBar::finish() {
  if (!visible_) return;
  draw(last_, std::chrono::steady_clock::now());
  fmt::print(stderr, "\n");
  visible_ = false;
  drawn_ = false;
}

void ProgressBar::draw(Progress progress, Instant now) {
  fmt::print(stderr, "{}{}", erase, progress_line(label_, unit_, progress, now - begin_, terminal_columns()));
  drawn_ = true;
}

}  // namespace cognive::imports
