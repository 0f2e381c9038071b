// Messages of RabbitMQ, which whoever may write to it has made: headers as they come over the wire, and bodies that are
// events of agents, tasks of Celery, or remote control of workers. What is read comes back when it is written.
#include <amqp.h>

#include <cstdlib>

#include "amqp/topology.hpp"
#include "amqp/url.hpp"
#include "amqp/wire.hpp"
#include "celery/control.hpp"
#include "celery/message.hpp"
#include "inbound/request.hpp"

namespace cognive {
namespace {

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// What comes before the last zero byte is a table of headers, in the encoding of AMQP.
amqp::Delivery delivery_of(std::string_view input) {
  amqp::Delivery out;
  const auto end = input.rfind('\0');
  const auto headers = end == std::string_view::npos ? std::string_view{} : input.substr(0, end);
  out.body = end == std::string_view::npos ? input : input.substr(end + 1);
  amqp_pool_t pool;
  init_amqp_pool(&pool, 4'096);
  amqp_table_t table{};
  std::size_t offset = 0;
  if (amqp_decode_table(amqp::bytes_of(headers), &pool, &table, &offset) == AMQP_STATUS_OK)
    out.properties.headers = amqp::table_of(table);
  empty_amqp_pool(&pool);
  return out;
}

void read_headers(const amqp::Delivery& delivery) {
  auto text = amqp::json_of(delivery.properties.headers);
  amqp::Pool pool;
  expect(amqp::json_of(amqp::table_of(pool.table(delivery.properties.headers))) == text, "headers do not come back");
}

void read_event(amqp::Delivery delivery, std::uint8_t choice) {
  constexpr std::array types{"application/json", "application/x-ndjson", "", "text/html"};
  constexpr std::array encodings{"", "utf-8", "gzip"};
  delivery.queue = amqp::inbound_queues[choice % amqp::inbound_queues.size()];
  delivery.properties.content_type = types[choice / 4 % types.size()];
  delivery.properties.content_encoding = encodings[choice / 16 % encodings.size()];
  const auto request = inbound::request_of(delivery, 1U << 20U);
  if (!request) return;
  expect(request->method == "POST" && request->segments.size() >= 3, "a request that is none");
  expect(request->instance.starts_with("/api/v1/"), "a request for elsewhere");
}

void read_task(amqp::Delivery delivery, bool is_compressed) {
  delivery.properties.content_type = "application/json";
  if (amqp::find(delivery.properties.headers, "task") == nullptr)
    delivery.properties.headers = {{"task", "cognive.ping"}, {"id", "x"}};
  if (is_compressed) delivery.properties.headers.emplace_back("compression", "application/x-gzip");
  const auto task = celery::read(delivery);
  if (!task) return;
  amqp::Delivery again;
  const auto message = celery::write(*task, "queue");
  again.properties = message.properties;
  again.body = message.body;
  const auto back = celery::read(again);
  expect(back.has_value(), "a task that is written cannot be read");
  expect(back->args == task->args && back->kwargs == task->kwargs && back->id == task->id, "a task changes on its way");
}

}  // namespace
}  // namespace cognive

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cognive;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      read_headers(delivery_of(input));
      break;
    case 1:
      read_event(delivery_of(input), data[0] / 4);
      break;
    case 2:
      read_task(delivery_of(input), data[0] / 4 % 2 == 1);
      break;
    default:
      if (const auto control = celery::read_control(std::string(input), "me@here")) {
        auto text = celery::answer(*control, {});
        expect(json::walk(text, [](json::Cursor&) {}).has_value(), "an answer that is not JSON");
      }
      [[maybe_unused]] const auto url = amqp::parse_url(input);
  }
  return 0;
}
