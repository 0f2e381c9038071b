// How far a long command has come: one line on the terminal, drawn over itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace cognive::imports {

struct Progress {
  std::size_t done = 0;
  std::size_t total = 0;
};

// "importing ▕████████░░░░▏ 63 %  12,200 / 19,366 rows  9,100 rows/s  0:01 left", without its less important parts
// (bar, time left, speed, in this order) where `columns` are too few. `elapsed` is the time that `done` has taken.
std::string progress_line(std::string_view label, std::string_view unit, Progress progress,
                          std::chrono::duration<double> elapsed, std::size_t columns);

// Draws on standard error when that is a terminal, and otherwise does nothing. What it drew is gone when it is
// destroyed, so that an error message finds a clean line, unless `finish` was called before. One thread.
class ProgressBar {
 public:
  // `label` says what is being done ("importing"), `unit` what is counted ("rows").
  ProgressBar(std::string label, std::string unit);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  // Cheap enough to call for every row: draws at most ten times a second, and when everything is done.
  void update(Progress progress);

  // Leaves the last state standing and moves to the next line.
  void finish();

 private:
  using Instant = std::chrono::steady_clock::time_point;

  void draw(Progress progress, Instant now);

  std::string label_;
  std::string unit_;
  bool visible_;
  bool drawn_ = false;
  Progress last_;
  Instant begin_ = std::chrono::steady_clock::now();
  Instant next_draw_ = begin_;
};

}  // namespace cognive::imports
