// Messages of Celery's protocol, and what monitors are answered. With Celery itself: tests/commands/celery_test.py.
#include <gtest/gtest.h>

#include "celery/control.hpp"
#include "celery/message.hpp"

namespace cognive::celery {
namespace {

amqp::Delivery ping() {
  amqp::Delivery out;
  out.properties.content_type = "application/json";
  out.properties.content_encoding = "utf-8";
  out.properties.headers = {{"task", "cognive.ping"}, {"id", "a61c41d0-44be-41d8-86b1-3c78126a381b"}};
  out.body = R"([[1], {"a": "ü"}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}])";
  return out;
}

amqp::Delivery with(std::string_view header, amqp::Value value) {
  auto out = ping();
  std::erase_if(out.properties.headers, [&](const auto& one) { return one.first == header; });
  out.properties.headers.emplace_back(header, std::move(value));
  return out;
}

TEST(Message, is_read_as_python_writes_it) {
  auto delivery = ping();
  delivery.properties.headers = {{"lang", "py"},
                                 {"task", "cognive.ping"},
                                 {"id", "7364e4e8"},
                                 {"eta", "2026-11-23T06:46:06.994634+00:00"},
                                 {"expires", "2026-11-23T06:47:36.994634"},
                                 {"retries", std::int64_t{2}},
                                 {"timelimit", amqp::List{std::int64_t{60}, 0.5}},
                                 {"root_id", "root-1"},
                                 {"parent_id", amqp::Value()},
                                 {"ignore_result", true}};
  const auto task = read(delivery);
  ASSERT_TRUE(task) << task.error().detail;
  EXPECT_EQ(task->name + " " + task->id + " " + task->args + " " + task->kwargs,
            R"(cognive.ping 7364e4e8 [1] {"a":"ü"})");
  EXPECT_EQ(task->eta->text(), "2026-11-23T06:46:06.994634Z");
  EXPECT_EQ(task->expires->text(), "2026-11-23T06:47:36.994634Z");
  EXPECT_EQ(task->retries, 2);
  EXPECT_EQ(task->hard_limit_ms, 60'000);
  EXPECT_EQ(task->soft_limit_ms, 500);
  EXPECT_EQ(task->root_id, "root-1");
  EXPECT_TRUE(task->ignores_result);
}

TEST(Message, is_refused_when_it_is_none_or_asks_for_what_is_not_done) {
  const auto refused = [](amqp::Delivery delivery) { return !read(delivery); };
  EXPECT_FALSE(refused(ping()));
  EXPECT_TRUE(refused(with("task", "")));
  EXPECT_TRUE(refused(with("task", std::int64_t{1})));
  EXPECT_TRUE(refused(with("task", std::string(300, 'x'))));
  EXPECT_TRUE(refused(with("task", std::string("a\0b", 3))));
  EXPECT_TRUE(refused(with("id", "")));
  EXPECT_TRUE(refused(with("id", "\xff")));
  EXPECT_TRUE(refused(with("eta", "tomorrow")));
  EXPECT_TRUE(refused(with("expires", std::int64_t{1})));
  EXPECT_TRUE(refused(with("retries", std::int64_t{-1})));
  EXPECT_TRUE(refused(with("timelimit", amqp::List{0.0})));
  EXPECT_TRUE(refused(with("timelimit", amqp::List{"a"})));
  EXPECT_TRUE(refused(with("timelimit", amqp::List{amqp::Value(), amqp::Value(), amqp::Value()})));
  EXPECT_TRUE(refused(with("compression", "application/x-bzip2")));
  for (const auto* body : {"", "{", "[]", "[[],{}]", "[{},[],{}]", "[[],{},{},{}]", "\x80\x04pickle",
                           R"([[],{},{"chain":[{"task":"a"}]}])", R"([[],{},{"chord":{"task":"a"}}])"}) {
    auto delivery = ping();
    delivery.body = body;
    EXPECT_TRUE(refused(delivery)) << body;
  }
  for (const auto* type : {"application/x-python-serialize", "application/x-yaml", ""}) {
    auto delivery = ping();
    delivery.properties.content_type = type;
    EXPECT_TRUE(refused(delivery)) << type;
  }
}

TEST(Message, comes_back_as_it_was_written) {
  TaskMessage task;
  task.id = "x";
  task.name = "work.do";
  task.args = "[1]";
  task.kwargs = R"({"a":2})";
  task.hard_limit_ms = 1'500;
  task.eta = Timestamp::parse("2026-11-23T06:46:06.994634Z");
  const auto message = write(task, "python");
  EXPECT_EQ(message.routing_key, "python");
  EXPECT_TRUE(message.is_mandatory);
  amqp::Delivery delivery;
  delivery.properties = message.properties;
  delivery.body = message.body;
  const auto back = read(delivery);
  ASSERT_TRUE(back) << back.error().detail;
  EXPECT_EQ(back->name + back->args + back->kwargs, task.name + task.args + task.kwargs);
  EXPECT_EQ(back->hard_limit_ms, 1'500);
  EXPECT_EQ(back->eta, task.eta);
}

TEST(Control, is_read_and_answered) {
  const auto request = read_control(
      R"({"method":"ping","arguments":{},"destination":null,"ticket":"T","reply_to":{"exchange":"e","routing_key":"k"}})",
      "me@here");
  ASSERT_TRUE(request);
  EXPECT_FALSE(request->is_for_others);
  EXPECT_EQ(request->ticket + request->reply_exchange + request->reply_key, "Tek");
  EXPECT_EQ(answer(*request, {}), R"({"ok":"pong"})");
  EXPECT_TRUE(read_control(R"({"method":"ping","destination":["you@there"]})", "me@here")->is_for_others);
  EXPECT_FALSE(read_control(R"({"method":"ping","destination":["you@there","me@here"]})", "me@here")->is_for_others);
  EXPECT_EQ(read_control(R"({"method":"revoke","arguments":{"task_id":["a","b"]}})", "me")->ids.size(), 2U);
  EXPECT_EQ(read_control(R"({"method":"revoke","arguments":{"task_id":"a"}})", "me")->ids.size(), 1U);
}

TEST(Control, refuses_what_it_does_not_know) {
  EXPECT_FALSE(read_control("{}", "me"));
  EXPECT_FALSE(read_control("[", "me"));
  EXPECT_FALSE(read_control("[1]", "me"));
  for (const auto* method : {"shutdown", "pool_grow", "add_consumer", "nonsense"}) {
    ControlRequest request;
    request.method = method;
    EXPECT_TRUE(answer(request, {}).starts_with(R"({"error":)")) << method;
  }
}

}  // namespace
}  // namespace cognive::celery
