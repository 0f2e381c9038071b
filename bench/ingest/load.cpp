#include "ingest/load.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <numbers>
#include <stdexcept>

#include "base/text.hpp"
#include "base/time.hpp"

namespace cognive::bench {
namespace {

void append(std::string& out, const IdText& id) {
  out.append(id.data(), id.size());
}

std::string head(const Target& target, std::string_view method, std::string_view path, std::string_view type) {
  auto out = fmt::format("{} {} HTTP/1.1\r\nHost: {}:{}\r\nX-API-Key: {}\r\n", method, path, target.address.host,
                         target.address.port, target.api_key);
  if (!type.empty()) out += fmt::format("Content-Type: {}\r\n", type);
  return out;
}

// Writes "Content-Length: n" and the end of the head in front of a body that is written after it: the number has a
// fixed width, so that nothing moves.
class LengthSlot {
 public:
  explicit LengthSlot(std::string& out) : out_(out) {
    out_ += "Content-Length: ";
    at_ = out_.size();
    out_ += "00000000\r\n\r\n";
    body_ = out_.size();
  }
  void close() {
    auto length = out_.size() - body_;
    for (std::size_t i = digits; i-- > 0; length /= 10) out_[at_ + i] = static_cast<char>('0' + length % 10);
  }

 private:
  static constexpr std::size_t digits = 8;
  std::string& out_;
  std::size_t at_ = 0;
  std::size_t body_ = 0;
};

// Everything of an event that is not its ids or its time, rendered once: the generator has to be cheap.
class Tails {
 public:
  Tails() {
    struct Model {
      std::string_view json;
      double typical_ms;
    };
    // In the shipped price catalogue. A provider that is absent is guessed from the model, as callers do.
    static constexpr Model models[] = {{R"("model":"gpt-4o")", 1'400},
                                       {R"("model":"gpt-4o-mini")", 700},
                                       {R"("provider":"anthropic","model":"claude-3-5-sonnet-latest")", 2'200},
                                       {R"("provider":"google","model":"gemini-1.5-pro")", 1'700}};
    constexpr std::size_t tails = 4'096;
    constexpr std::uint64_t failing_of_100 = 2;
    for (std::size_t i = 0; i < tails; ++i) {
      const auto& model = models[i % std::size(models)];
      const auto input = 200 + next_random() % 6'000;
      const auto cached = next_random() % 3 == 0 ? input / 2 : 0;
      const auto output = 20 + next_random() % 900;
      const auto duration = model.typical_ms * std::exp(0.6 * normal());
      const bool fails = next_random() % 100 < failing_of_100;
      texts_.push_back(fmt::format(
          R"(Z",{},"usage":{{"input_tokens":{},"cache_read_tokens":{},"output_tokens":{}}},"duration_ms":{},"status":"{}"{}}})",
          model.json, input, cached, output, static_cast<std::int64_t>(duration), fails ? "error" : "ok",
          fails ? R"(,"error":"rate limited")" : ""));
    }
  }

  const std::string& any() { return texts_[next_random() % texts_.size()]; }

 private:
  static double normal() {
    constexpr double resolution = 1 << 30;
    const auto uniform = [] { return (static_cast<double>(next_random() % (1 << 30)) + 1) / resolution; };
    return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * std::numbers::pi * uniform());
  }

  std::vector<std::string> texts_;
};

// 2026-11-24T18:15:18.123, without the zone; computed once per millisecond.
class TimeText {
 public:
  const std::string& of(std::int64_t ms) {
    if (ms == ms_) return text_;
    ms_ = ms;
    constexpr std::size_t length = 23;
    text_ = Timestamp{ms * 1'000}.text().substr(0, length);
    return text_;
  }

 private:
  std::int64_t ms_ = -1;
  std::string text_;
};

// The number behind `"name":` in an answer of the API, whose text has no spaces around it; nothing when it is absent.
std::optional<std::uint64_t> number_of(std::string_view body, std::string_view name) {
  const auto at = body.find(name);
  if (at == std::string_view::npos) return std::nullopt;
  const auto rest = body.substr(at + name.size());
  const auto colon = rest.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  return std::strtoull(rest.data() + colon + 1, nullptr, 10);
}

class RunStarts final : public Traffic {
 public:
  RunStarts(RunPool& pool, std::size_t count) : pool_(pool), wanted_(count), pending_(connections) {}

  static constexpr std::size_t connections = 16;

  bool next(std::size_t connection, std::string& out) override {
    if (begun_ == wanted_) return false;
    ++begun_;
    pending_[connection] = pool_.append_start(out);
    return true;
  }

  void answered(std::size_t connection, const Answer& answer) override {
    if (answer.status != 201)
      throw std::runtime_error(fmt::format("a run was not started: {} {}", answer.status, shortened(answer.body, 300)));
    pool_.put(pending_[connection]);
  }

 private:
  RunPool& pool_;
  std::size_t wanted_;
  std::size_t begun_ = 0;
  std::vector<IdText> pending_;
};

class Load final : public Traffic {
 public:
  Load(const Target& target, RunPool& pool, const LoadPlan& plan)
      : plan_(plan),
        pool_(pool),
        connections_(plan.connections),
        batch_head_(head(target, "POST", "/api/v1/events", plan.lines ? "application/x-ndjson" : "application/json")),
        single_head_(head(target, "POST", "/api/v1/runs/{}/llm-calls", "application/json")),
        window_begin_(Clock::now() + plan.warm_up),
        window_end_(window_begin_ + plan.duration),
        next_second_(window_begin_ + std::chrono::seconds{1}) {
    if (plan.rate) {
      const std::chrono::duration<double> all = plan.warm_up + plan.duration;
      requests_max_ = static_cast<std::uint64_t>(*plan.rate * all.count());
    }
  }

  bool next(std::size_t index, std::string& out) override {
    if (is_over()) return false;
    auto& connection = connections_[index];
    const std::size_t runs_needed = plan_.batch / calls_per_run + 1;
    connection.starts = pool_.size() < runs_needed && connection.calls_left < plan_.batch;
    if (connection.starts) {
      connection.run = pool_.append_start(out);
      ++result_.runs_started;
      return true;
    }
    ++requests_;
    connection.events = plan_.batch;
    if (plan_.events != 0) connection.events = std::min<std::uint64_t>(plan_.batch, plan_.events - events_);
    events_ += connection.events;
    if (plan_.batch == 1) {
      append_single(connection, out);
    } else {
      append_batch(connection, out);
    }
    return true;
  }

  void answered(std::size_t index, const Answer& answer) override {
    auto& connection = connections_[index];
    if (connection.starts) {
      if (answer.status != 201) fail(answer);
      pool_.put(connection.run);
      return;
    }
    const auto accepted = plan_.batch == 1       ? std::uint64_t{answer.status == 201}
                          : answer.status == 200 ? number_of(answer.body, R"("accepted")").value_or(0)
                                                 : 0;
    if (accepted != connection.events) fail(answer);
    result_.accepted += accepted;
    count_in_window(answer, accepted);
  }

  LoadResult finish() {
    if (in_window_) end_window(Clock::now());
    return std::move(result_);
  }

 private:
  struct Connection {
    IdText run{};
    std::size_t calls_left = 0;  // of the run
    std::size_t events = 0;      // of the request in flight
    bool starts = false;         // the request in flight starts a run
  };

  [[nodiscard]] bool is_over() const {
    if (plan_.events != 0) return events_ >= plan_.events;
    if (plan_.rate) return requests_ >= requests_max_;
    return Clock::now() >= window_end_;
  }

  void count_in_window(const Answer& answer, std::uint64_t accepted) {
    if (!in_window_ && !was_in_window_ && answer.end >= window_begin_) {
      in_window_ = was_in_window_ = true;
      began_ = answer.end;
      if (plan_.on_begin) plan_.on_begin();
      return;  // its work was done before
    }
    if (!in_window_) return;
    result_.window_accepted += accepted;
    ++result_.window_requests;
    // A refusal is quick, and no latency of ingest.
    if (answer.status < 300) result_.latency.record(answer.end - answer.begin);
    if (plan_.on_second && answer.end >= next_second_) {
      next_second_ += std::chrono::seconds{1};
      plan_.on_second();
    }
    // At a fixed rate everything that was due counts, also what came late.
    if (plan_.events == 0 && !plan_.rate && answer.end >= window_end_) end_window(answer.end);
  }

  void end_window(Clock::time_point now) {
    in_window_ = false;
    result_.window_seconds = std::chrono::duration<double>(now - began_).count();
    if (plan_.on_end) plan_.on_end();
  }

  void fail(const Answer& answer) {
    ++result_.errors;
    if (result_.first_error.empty())
      result_.first_error = fmt::format("{} {}", answer.status, shortened(answer.body, 300));
  }

  void append_event(Connection& connection, std::int64_t now_ms, bool is_single, std::string& out) {
    out += is_single ? R"({"id":")" : R"({"type":"llm_call","id":")";
    append(out, text_of(next_id(now_ms)));
    if (!is_single) {
      out += R"(","run_id":")";
      append(out, connection.run);
    }
    out += R"(","timestamp":")";
    out += time_.of(plan_.to_ms == 0 ? now_ms : spread_ms());
    out += tails_.any();
    --connection.calls_left;
  }

  // Evenly from one end of the time to the other.
  std::int64_t spread_ms() {
    const auto share = static_cast<double>(spread_++) / static_cast<double>(plan_.events);
    return plan_.from_ms + static_cast<std::int64_t>(share * static_cast<double>(plan_.to_ms - plan_.from_ms));
  }

  void take_run_if_needed(Connection& connection) {
    if (connection.calls_left > 0) return;
    connection.run = pool_.take();
    connection.calls_left = calls_per_run;
  }

  void append_single(Connection& connection, std::string& out) {
    take_run_if_needed(connection);
    constexpr std::string_view mark = "{}";
    const auto at = single_head_.find(mark);
    out.append(single_head_, 0, at);
    append(out, connection.run);
    out.append(single_head_, at + mark.size());
    LengthSlot length(out);
    append_event(connection, unix_ms(), true, out);
    length.close();
  }

  void append_batch(Connection& connection, std::string& out) {
    out += batch_head_;
    LengthSlot length(out);
    const auto now_ms = unix_ms();
    for (std::size_t i = 0; i < connection.events; ++i) {
      take_run_if_needed(connection);
      if (!plan_.lines) out += i == 0 ? '[' : ',';
      append_event(connection, now_ms, false, out);
      if (plan_.lines) out += '\n';
    }
    if (!plan_.lines) out += ']';
    length.close();
  }

  const LoadPlan& plan_;
  RunPool& pool_;
  std::vector<Connection> connections_;
  std::string batch_head_;
  std::string single_head_;
  Clock::time_point window_begin_;
  Clock::time_point window_end_;
  Clock::time_point next_second_;
  Clock::time_point began_;
  bool in_window_ = false;
  bool was_in_window_ = false;
  std::uint64_t requests_max_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t events_ = 0;  // that were sent
  std::uint64_t spread_ = 0;
  Tails tails_;
  TimeText time_;
  LoadResult result_;
};

class Gets final : public Traffic {
 public:
  Gets(std::string request, std::size_t count, std::chrono::milliseconds patience)
      : request_(std::move(request)), left_(count), end_(Clock::now() + patience) {}

  bool next(std::size_t, std::string& out) override {
    if (left_ == 0 || Clock::now() >= end_) return false;
    --left_;
    out += request_;
    return true;
  }

  void answered(std::size_t, const Answer& answer) override {
    if (answer.status == 200) {
      result.latency.record(answer.end - answer.begin);
      result.last_body = answer.body;
    } else {
      ++result.errors;
    }
  }

  GetResult result;

 private:
  std::string request_;
  std::size_t left_;
  Clock::time_point end_;
};

}  // namespace

void RunPool::fill(std::size_t count) {
  if (count <= runs_.size()) return;
  RunStarts starts(*this, count - runs_.size());
  drive(target_->address, {.connections = RunStarts::connections}, starts);
}

IdText RunPool::take() {
  const auto run = runs_.front();
  runs_.pop_front();
  return run;
}

IdText RunPool::append_start(std::string& out) {
  const auto run = text_of(next_id(unix_ms()));
  out += head(*target_, "POST", "/api/v1/runs/start", "application/json");
  LengthSlot length(out);
  out += R"({"run_id":")";
  append(out, run);
  out += fmt::format(R"(","agent_id":"{}"}})", target_->agent_ids[next_agent_++ % target_->agent_ids.size()]);
  length.close();
  return run;
}

LoadResult run_load(const Target& target, RunPool& pool, const LoadPlan& plan) {
  Load load(target, pool, plan);
  drive(target.address, {.connections = plan.connections, .rate = plan.rate}, load);
  return load.finish();
}

GetResult get_repeatedly(const Target& target, const std::string& path, std::size_t count,
                         std::chrono::milliseconds patience) {
  Gets gets(head(target, "GET", path, "") + "\r\n", count, patience);
  drive(target.address, {.connections = 1}, gets);
  return std::move(gets.result);
}

}  // namespace cognive::bench
