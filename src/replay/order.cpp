#include <algorithm>
#include <unordered_map>

#include "replay/replay.hpp"

namespace cognive::replay {

void put_in_order(std::vector<Recorded>& moments) {
  std::ranges::sort(moments, {}, [](const Recorded& one) {
    return std::tuple(one.timestamp, one.index.value_or(-1), one.type != events::EventType::step, one.id);
  });
  std::unordered_map<Uuid, std::size_t> steps;
  for (std::size_t i = 0; i < moments.size(); ++i) {
    if (moments[i].type == events::EventType::step) steps.emplace(moments[i].id, i);
  }
  std::vector<std::vector<std::size_t>> children(moments.size());
  std::vector<std::size_t> tops;
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const auto& parent = moments[i].parent_step_id;
    const auto found = parent ? steps.find(*parent) : steps.end();
    (found == steps.end() || found->second == i ? tops : children[found->second]).push_back(i);
  }
  std::vector<Recorded> out;
  out.reserve(moments.size());
  std::vector<bool> placed(moments.size());
  const auto place = [&](std::size_t top) {
    // A stack of its own: callers decide how deep steps are nested.
    std::vector<std::pair<std::size_t, std::int64_t>> open{{top, 0}};
    while (!open.empty()) {
      const auto [at, depth] = open.back();
      open.pop_back();
      if (placed[at]) continue;
      placed[at] = true;
      moments[at].depth = depth;
      out.push_back(std::move(moments[at]));
      for (auto child = children[at].rbegin(); child != children[at].rend(); ++child)
        open.emplace_back(*child, depth + 1);
    }
  };
  for (const auto top : tops) place(top);
  // Steps that are each other's ancestors hang from no top: the first of each circle stands in for one.
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (placed[i]) continue;
    std::vector<std::size_t> way;
    std::unordered_map<std::size_t, std::size_t> met;
    auto at = i;
    for (; met.emplace(at, way.size()).second; at = steps.at(*moments[at].parent_step_id)) way.push_back(at);
    place(*std::ranges::min_element(way.begin() + static_cast<std::ptrdiff_t>(met.at(at)), way.end()));
  }
  moments = std::move(out);
}

}  // namespace cognive::replay
