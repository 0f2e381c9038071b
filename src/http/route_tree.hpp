// Routes by the segments of their paths, so that finding one costs the same however many there are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cognive::http {

// `T`: what a route is; the tree keeps pointers to it.
template <typename T>
class RouteTree {
 public:
  // `segments`: "{name}" stands for any segment that is not empty. The first of two with the same path and method
  // stays.
  void add(std::string_view method, const std::vector<std::string>& segments, T& route) {
    Node* node = &root_;
    for (const auto& segment : segments) {
      auto& next = segment.starts_with('{') && segment.ends_with('}') ? node->any : node->named[segment];
      if (!next) next = std::make_unique<Node>();
      node = next.get();
    }
    node->routes.emplace(method, &route);
  }

  // Null when there is none. A segment that is named goes before one that may be any.
  [[nodiscard]] T* find(std::string_view method, const std::vector<std::string>& segments) const {
    return find_below(root_, method, segments, 0);
  }

 private:
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> named;
    std::unique_ptr<Node> any;
    std::map<std::string, T*, std::less<>> routes;  // by method
  };

  static T* find_below(const Node& node, std::string_view method, const std::vector<std::string>& segments,
                       std::size_t depth) {
    if (depth == segments.size()) {
      const auto found = node.routes.find(method);
      return found == node.routes.end() ? nullptr : found->second;
    }
    const auto& segment = segments[depth];
    if (const auto named = node.named.find(segment); named != node.named.end()) {
      if (T* const found = find_below(*named->second, method, segments, depth + 1)) return found;
    }
    if (!node.any || segment.empty()) return nullptr;
    return find_below(*node.any, method, segments, depth + 1);
  }

  Node root_;
};

}  // namespace cognive::http
