// The picture of the rates, written as SVG by hand: one picture needs no library.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <set>

#include "base/text.hpp"
#include "ingest/report.hpp"

namespace cognive::bench {
namespace {

constexpr double width = 900;
constexpr double height = 520;
constexpr double left = 90;
constexpr double right = 750;
constexpr double top = 40;
constexpr double bottom = 450;

// Distinguishable also for the colour-blind (Okabe and Ito).
constexpr std::array colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"};

// The next of 1, 2, 5, 10, 20, … times that gives at most six steps.
double step_for(double highest) {
  constexpr double steps_max = 6;
  double step = 1;
  for (int i = 0; highest / step > steps_max; ++i) step *= i % 3 == 1 ? 2.5 : 2;
  return step;
}

std::string text(double x, double y, std::string_view anchor, std::string_view what, std::string_view colour = "#333") {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}">{}</text>)"
                     "\n",
                     x, y, anchor, colour, what);
}

}  // namespace

std::string plot_of_rates(const Rates& rates) {
  std::set<std::size_t> connections;
  std::set<std::size_t> batches;
  const auto limit = median(rates.limit_rows_per_second);
  double highest = limit;
  for (const auto& cell : rates.cells) {
    connections.insert(cell.connections);
    batches.insert(cell.batch);
    highest = std::max(highest, median(cell.events_per_second));
  }
  const auto step = step_for(highest);
  highest = std::ceil(highest / step) * step;
  const auto x_of = [&](std::size_t count) {
    const auto position = static_cast<double>(std::distance(connections.begin(), connections.find(count)));
    return left + (right - left) * (position + 0.5) / static_cast<double>(connections.size());
  };
  const auto y_of = [&](double rate) { return bottom - (bottom - top) * rate / highest; };

  auto out =
      fmt::format(R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1:.0f}" )"
                  R"(font-family="sans-serif" font-size="13"><rect width="{0:.0f}" height="{1:.0f}" fill="white"/>)"
                  "\n",
                  width, height);
  out += text(left, top - 16, "start", "Events a second, durable, by events of a request");
  for (double rate = 0; rate <= highest + step / 2; rate += step) {
    out += fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#ddd"/>)"
                       "\n",
                       left, y_of(rate), right, y_of(rate));
    out += text(left - 10, y_of(rate) + 4, "end", grouped(std::llround(rate)));
  }
  for (const auto count : connections) out += text(x_of(count), bottom + 22, "middle", std::to_string(count));
  out += text((left + right) / 2, bottom + 46, "middle", "connections");
  out += fmt::format(
      R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#333" stroke-width="2" stroke-dasharray="7 5"/>)"
      "\n",
      left, y_of(limit), right, y_of(limit));
  out += text(right + 8, y_of(limit) + 4, "start", "raw COPY");
  std::size_t number = 0;
  double label_above = height;
  // From the smallest batch, which is usually the lowest line: labels that would touch move up.
  for (const auto batch : batches) {
    const auto* colour = colours[number++ % colours.size()];
    std::string points;
    double last_y = bottom;
    for (const auto count : connections) {
      const auto* cell = rates.find(batch, count);
      if (cell == nullptr) continue;
      last_y = y_of(median(cell->events_per_second));
      points += fmt::format("{:.1f},{:.1f} ", x_of(count), last_y);
      out += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"/>)"
                         "\n",
                         x_of(count), last_y, colour);
    }
    out += fmt::format(R"(<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>)"
                       "\n",
                       points, colour);
    constexpr double line_height = 16;
    label_above = std::min(last_y, label_above - line_height);
    out += text(right + 8, label_above + 4, "start", fmt::format("{} a request", batch), colour);
  }
  return out + "</svg>\n";
}

}  // namespace cognive::bench
