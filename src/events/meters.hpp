// Metrics of stored events. Events are counted here first, and told to the registry once for each commit: its numbers
// are shared with whoever reads them, and every change of one costs.
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

  // Tells what has been counted, as one commit of so many events.
  void count_commit(std::size_t stored);

  [[nodiscard]] Metrics& metrics() { return metrics_; }

 private:
  // A counter of the registry, and what has not been added to it yet.
  struct Pending {
    Counter counter;
    double amount = 0;

    void tell();
  };

  // Of the calls of one model, or of a tool.
  struct Series {
    Series(Pending ok_events, Pending failed_events, Histogram durations);

    void count(Outcome status, const std::optional<std::int64_t>& duration_ms);
    void tell();

    Pending ok;
    Pending failed;
    std::map<prices::UnitId, Pending> tokens{};
    Histogram duration;
    std::vector<double> durations;  // by bucket
    double seconds = 0;
    std::string provider{};
    std::string name{};
    bool is_touched = false;
  };

  Series& series_of(const prices::Model* model);
  Series& series_of_tool(const std::string& tool);
  void touch(Series& series);
  void count_call(const Item& item, const LlmCall& call);
  Pending tokens_counter(const Series& series, prices::UnitId unit);
  Pending& cost_of(const Uuid& team_id);

  Metrics& metrics_;
  BoundedLabel providers_{100};
  BoundedLabel models_{200};
  BoundedLabel tools_{200};
  Counter commits_;
  Counter stored_;
  std::map<std::pair<std::string, std::string>, Series> calls_;  // by provider and model, both as labels
  std::map<std::string, Series, std::less<>> tool_series_;
  std::map<Uuid, Pending> costs_;  // by team
  std::vector<Series*> touched_;
  std::vector<std::pair<const prices::Model*, Series*>> by_model_;  // of this commit, whose catalogue holds them
};

}  // namespace cognive::events
