#include "observe/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace cognive {

void Counter::add(double amount) const {
  counter_->Increment(amount);
}
void Gauge::set(double value) const {
  gauge_->Set(value);
}
void Gauge::add(double amount) const {
  gauge_->Increment(amount);
}
void Histogram::observe(double value) const {
  histogram_->Observe(value);
}
void Histogram::observe_many(const std::vector<double>& counts, double sum) const {
  histogram_->ObserveMultiple(counts, sum);
}

struct Metrics::State {
  // Merge: asking again for a family that exists returns it.
  prometheus::Registry registry{prometheus::Registry::InsertBehavior::Merge};
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

Counter Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  return Counter(prometheus::BuildCounter().Name("cognive_" + name).Help(help).Register(state_->registry).Add(labels));
}

Gauge Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return Gauge(prometheus::BuildGauge().Name("cognive_" + name).Help(help).Register(state_->registry).Add(labels));
}

Histogram Metrics::histogram(const std::string& name, const std::string& help, const Labels& labels,
                             const std::vector<double>& buckets) {
  auto& family = prometheus::BuildHistogram().Name("cognive_" + name).Help(help).Register(state_->registry);
  return Histogram(family.Add(labels, prometheus::Histogram::BucketBoundaries(buckets)));
}

std::string Metrics::exposition() const {
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

const std::vector<double>& duration_buckets() {
  static const std::vector<double> buckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                           0.5,   1,      2.5,   5,    10,    30,   60};
  return buckets;
}

const std::vector<double>& size_buckets() {
  static const std::vector<double> buckets{256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216};
  return buckets;
}

std::string BoundedLabel::operator()(std::string_view value) {
  const std::lock_guard lock(mutex_);
  if (kept_.contains(value)) return std::string(value);
  if (kept_.size() >= kept_max_) return "other";
  return *kept_.emplace(value).first;
}

}  // namespace cognive
