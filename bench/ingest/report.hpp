// What the measurement says: for people, for scripts, and as a picture.
#pragma once

#include <string>

#include "ingest/results.hpp"

namespace cognive::bench {

// Markdown. `plot` is the name of the picture to show; empty for none.
std::string markdown_report(const Results& results, const std::string& plot);

std::string json_report(const Results& results);

// SVG: events a second over connections, a line per batch size, and raw COPY.
std::string plot_of_rates(const Rates& rates);

// A goal of the product and what was measured.
struct Goal {
  std::string text;
  std::string measured;
  bool is_met;
};
std::vector<Goal> goals_of(const Results& results);

}  // namespace cognive::bench
