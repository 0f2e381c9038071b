// Metrics of stored events. Their series are looked up once, not for every event.
#pragma once

#include <map>

#include "events/item.hpp"
#include "observe/metrics.hpp"

namespace cognive::events {

// For one thread.
class Meters {
 public:
  explicit Meters(Metrics& metrics);

  // An item that has been stored.
  void count(const Item& item);

  void count_commit(std::size_t stored) const;

  [[nodiscard]] Metrics& metrics() { return metrics_; }

 private:
  // Of the calls of one model, or of the tool.
  struct Series {
    std::map<Outcome, Counter> by_status{};
    std::map<prices::UnitId, Counter> tokens{};
    std::optional<Histogram> duration{};
    std::string provider{};
    std::string name{};
  };

  void count_call(const Item& item, const LlmCall& call);
  void count_tool(const ToolInvocation& tool);
  Counter tokens_counter(const Series& series, prices::UnitId unit);

  Metrics& metrics_;
  BoundedLabel providers_{100};
  BoundedLabel models_{200};
  BoundedLabel tools_{200};
  Counter commits_;
  Counter stored_;
  std::string names_;
  std::map<std::string, Series, std::less<>> calls_;  // by provider and model
  std::map<std::string, Series, std::less<>> tool_series_;
  std::map<Uuid, Counter> costs_;  // by team
};

}  // namespace cognive::events
