#include "celery/control.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include "celery/message.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"

namespace cognive::celery {
namespace {

constexpr std::size_t ids_max = 10'000;

void write_strings(json::Writer& out, const auto& texts) {
  out.begin_array();
  for (const auto& text : texts) out.string(text);
  out.end_array();
}

void write_active(json::Writer& out, const Inspection& worker) {
  out.begin_array();
  for (const auto& [id, task] : worker.active) {
    out.begin_object();
    out.field("id", id);
    out.field("name", task.name);
    out.field("type", task.name);
    out.key("args");
    out.raw(task.args);
    out.key("kwargs");
    out.raw(task.kwargs);
    out.field("hostname", worker.node);
    out.key("time_start");
    out.real(std::chrono::duration<double>(task.begun_at.point().time_since_epoch()).count());
    out.key("acknowledged");
    out.boolean(true);
    out.key("worker_pid");
    out.integer(getpid());
    out.end_object();
  }
  out.end_array();
}

void write_usage(json::Writer& out) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  out.begin_object();
  out.key("utime");
  out.real(seconds(usage.ru_utime));
  out.key("stime");
  out.real(seconds(usage.ru_stime));
  out.key("maxrss");
  out.integer(usage.ru_maxrss);
  out.end_object();
}

void write_stats(json::Writer& out, const Inspection& worker) {
  out.begin_object();
  out.key("total");
  out.begin_object();
  for (const auto& [name, count] : worker.processed) {
    out.key(name);
    out.integer(count);
  }
  out.end_object();
  out.key("pid");
  out.integer(getpid());
  out.field("clock", std::to_string(worker.clock));
  out.key("uptime");
  out.integer(std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - worker.started_at).count());
  out.key("pool");
  out.begin_object();
  out.field("implementation", "cognive");
  out.key("max-concurrency");
  out.integer(worker.concurrency);
  out.key("processes");
  out.begin_array();
  out.integer(getpid());
  out.end_array();
  out.end_object();
  out.key("broker");
  out.begin_object();
  out.field("hostname", worker.broker_host);
  out.key("port");
  out.integer(worker.broker_port);
  out.field("userid", worker.broker_user);
  out.field("virtual_host", worker.virtual_host);
  out.field("transport", "amqp");
  out.end_object();
  out.key("prefetch_count");
  out.integer(worker.prefetch);
  out.key("rusage");
  write_usage(out);
  out.end_object();
}

void write_queues(json::Writer& out, const Inspection& worker) {
  out.begin_array();
  for (const auto& queue : worker.queues) {
    out.begin_object();
    out.field("name", queue);
    out.key("exchange");
    out.raw(R"({"name":"","type":"direct"})");
    out.field("routing_key", queue);
    out.key("durable");
    out.boolean(true);
    out.end_object();
  }
  out.end_array();
}

void write_said(json::Writer& out, std::string_view name, std::string_view what) {
  out.begin_object();
  out.field(name, what);
  out.end_object();
}

}  // namespace

Result<ControlRequest> read_control(std::string body, std::string_view node) {
  ControlRequest out;
  const auto walked = json::walk(body, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::object) return;
    root.each_field([&](std::string_view key, json::Cursor& value) {
      const auto kind = value.kind();
      if (key == "method" && kind == json::Kind::string) out.method = value.string();
      if (key == "ticket" && kind == json::Kind::string) out.ticket = value.string();
      if (key == "destination" && kind == json::Kind::array) {
        out.is_for_others = true;
        value.each_item([&](std::size_t, json::Cursor& one) {
          if (one.kind() == json::Kind::string && one.string() == node) out.is_for_others = false;
        });
      }
      if (key == "reply_to" && kind == json::Kind::object) {
        value.each_field([&](std::string_view name, json::Cursor& text) {
          if (text.kind() != json::Kind::string) return;
          if (name == "exchange") out.reply_exchange = text.string();
          if (name == "routing_key") out.reply_key = text.string();
        });
        out.wants_reply = true;
      }
      if (key == "arguments" && kind == json::Kind::object) {
        value.each_field([&](std::string_view name, json::Cursor& argument) {
          if (name != "task_id" && name != "ids") return;
          const auto add = [&](std::string_view id) {
            if (id.size() <= id_length_max) out.ids.emplace_back(id);
          };
          if (argument.kind() == json::Kind::string) {
            add(argument.string());
          } else if (argument.kind() == json::Kind::array) {
            argument.each_item([&](std::size_t index, json::Cursor& id) {
              if (index < ids_max && id.kind() == json::Kind::string) add(id.string());
            });
          }
        });
      }
    });
  });
  if (!walked) return std::unexpected(walked.error());
  // As long as a routing key may be; tickets are UUIDs.
  if (out.reply_key.size() > 255 || out.ticket.size() > 255) out.wants_reply = false;
  if (out.method.empty()) return fail(Code::unprocessable, "It names no method.");
  return out;
}

amqp::Exchange control_exchange_declaration() {
  return {.name = std::string(control_exchange), .type = "fanout", .is_durable = false};
}

amqp::Message revocation(std::string_view id) {
  json::Writer body;
  body.begin_object();
  body.field("method", "revoke");
  body.key("arguments");
  body.begin_object();
  body.field("task_id", id);
  body.key("terminate");
  body.boolean(false);
  body.end_object();
  for (const auto* nobody : {"destination", "pattern", "matcher"}) {
    body.key(nobody);
    body.null();
  }
  body.end_object();
  amqp::Message out;
  out.exchange = control_exchange;
  out.properties.content_type = "application/json";
  out.properties.content_encoding = "utf-8";
  out.properties.is_persistent = false;
  out.properties.headers = {{"clock", std::int64_t{1}}};
  out.body = std::move(body).text();
  return out;
}

std::string answer(const ControlRequest& request, const Inspection& worker) {
  const auto& method = request.method;
  json::Writer out;
  if (method == "ping") {
    write_said(out, "ok", "pong");
  } else if (method == "active") {
    write_active(out, worker);
  } else if (method == "reserved" || method == "scheduled") {
    // They wait in the database, for whoever is free.
    out.raw("[]");
  } else if (method == "revoked") {
    write_strings(out, worker.revoked);
  } else if (method == "registered") {
    write_strings(out, worker.names);
  } else if (method == "stats") {
    write_stats(out, worker);
  } else if (method == "active_queues") {
    write_queues(out, worker);
  } else if (method == "conf") {
    out.raw(R"({"accept_content":["json"],"task_serializer":"json","result_serializer":"json"})");
  } else if (method == "report") {
    write_said(out, "ok", "software -> cognive");
  } else if (method == "hello") {
    out.begin_object();
    out.key("revoked");
    out.raw("{}");
    out.key("clock");
    out.integer(worker.clock);
    out.end_object();
  } else if (method == "query_task") {
    out.begin_object();
    for (const auto& id : request.ids) {
      const auto found = worker.active.find(id);
      if (found == worker.active.end()) continue;
      out.key(id);
      out.begin_array();
      out.string("active");
      out.raw("{}");
      out.end_array();
    }
    out.end_object();
  } else if (method == "revoke") {
    write_said(out, "ok", "those that have not begun are revoked; what runs is not stopped");
  } else if (method == "enable_events" || method == "disable_events") {
    write_said(out, "ok", worker.sends_events ? "task events enabled" : "task events disabled");
  } else if (method == "heartbeat") {
    write_said(out, "ok", "sent");
  } else {
    write_said(out, "error", "Not possible with this worker: " + method);
  }
  return std::move(out).text();
}

}  // namespace cognive::celery
