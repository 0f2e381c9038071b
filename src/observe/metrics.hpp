// Prometheus metrics of this process. Handles are cheap to copy, safe on every thread, and valid as long as the
// registry.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace cognive {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  explicit Counter(prometheus::Counter& counter) : counter_(&counter) {}
  void add(double amount = 1) const;

 private:
  prometheus::Counter* counter_;
};

class Gauge {
 public:
  explicit Gauge(prometheus::Gauge& gauge) : gauge_(&gauge) {}
  void set(double value) const;
  void add(double amount) const;

 private:
  prometheus::Gauge* gauge_;
};

class Histogram {
 public:
  explicit Histogram(prometheus::Histogram& histogram) : histogram_(&histogram) {}
  void observe(double value) const;
  // Many values at once: how many fell into each bucket, with one more than bounds for what is above all of them, and
  // their sum.
  void observe_many(const std::vector<double>& counts, double sum) const;

 private:
  prometheus::Histogram* histogram_;
};

// Names carry the prefix `cognive_` by themselves. The same name must always come with the same help and label names.
class Metrics {
 public:
  Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;
  ~Metrics();

  Counter counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `buckets`: upper bounds, ascending.
  Histogram histogram(const std::string& name, const std::string& help, const Labels& labels,
                      const std::vector<double>& buckets);

  // Text exposition format 0.0.4.
  [[nodiscard]] std::string exposition() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Seconds: from 1 ms to 60 s.
const std::vector<double>& duration_buckets();
// Bytes: from 256 to 16 Mi.
const std::vector<double>& size_buckets();

// Keeps a label that clients choose (agent, model, tool) from growing a Prometheus without bound: the first `kept_max`
// values are themselves, every later one is "other".
class BoundedLabel {
 public:
  explicit BoundedLabel(std::size_t kept_max) : kept_max_(kept_max) {}
  std::string operator()(std::string_view value);

 private:
  std::size_t kept_max_;
  std::mutex mutex_;
  std::set<std::string, std::less<>> kept_;
};

}  // namespace cognive
