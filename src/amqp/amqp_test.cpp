// URLs as Python's kombu reads them, and headers on their way in and out. Connections: tests/api/rabbitmq_test.py.
#include <gtest/gtest.h>

#include "amqp/url.hpp"
#include "amqp/wire.hpp"

namespace cognive::amqp {
namespace {

TEST(Url, names_the_virtual_host_last) {
  EXPECT_EQ(parse_url("amqp://a:b@broker:5673//")->virtual_host, "/");
  EXPECT_EQ(parse_url("amqp://a:b@broker:5673/")->virtual_host, "/");
  EXPECT_EQ(parse_url("amqp://a:b@broker:5673")->virtual_host, "/");
  EXPECT_EQ(parse_url("amqp://a:b@broker/%2F")->virtual_host, "/");
  EXPECT_EQ(parse_url("amqp://a:b@broker/agents")->virtual_host, "agents");
  EXPECT_EQ(parse_url("pyamqp://broker//")->text(), "amqp://broker:5672//");
}

TEST(Url, has_what_it_does_not_say_from_its_scheme) {
  EXPECT_EQ(parse_url("amqp://")->text(), "amqp://localhost:5672//");
  EXPECT_EQ(parse_url("amqps://broker")->port, 5671);
  EXPECT_EQ(parse_url("amqp://broker")->user, "guest");
  EXPECT_EQ(parse_url("amqp://p%40t:s%2Fecret%3A@broker//")->user, "p@t");
  EXPECT_EQ(parse_url("amqp://p%40t:s%2Fecret%3A@broker//")->password, "s/ecret:");
  EXPECT_EQ(parse_url("amqp://[::1]:5673/x")->host, "::1");
}

TEST(Url, takes_parameters) {
  EXPECT_EQ(parse_url("amqp://broker//?heartbeat=30")->heartbeat.count(), 30);
  EXPECT_EQ(parse_url("amqps://broker//?ssl_ca_certs=/etc/ca.pem")->authority_file, "/etc/ca.pem");
  EXPECT_FALSE(parse_url("amqps://broker//?ssl_cert_reqs=none")->verifies_peer);
  EXPECT_TRUE(parse_url("amqps://broker//?verify=verify_peer")->verifies_peer);
}

TEST(Url, is_refused_when_it_is_none_and_never_tells_its_password) {
  for (const auto* wrong :
       {"", "broker", "http://a:secret@broker", "amqp://a:secret@broker//?heartbeat=0",
        "amqp://a:secret@broker//?heartbeat=x", "amqp://a:secret@broker:0", "amqp://a:secret@broker:99999//",
        "amqp://a:secret@broker:abc//", "amqp://a:se/secret@broker:5672//", "amqp://a:b@h//;amqp://a:secret@h2//",
        "amqp://h1,amqp://a:secret@h2", "amqp://a:sec ret@b"}) {
    const auto url = parse_url(wrong);
    ASSERT_FALSE(url) << wrong;
    EXPECT_EQ(url.error().detail.find("secret"), std::string::npos);
  }
  EXPECT_EQ(parse_url("amqp://a:secret@broker")->text().find("secret"), std::string::npos);
}

TEST(Table, comes_back_as_it_went) {
  const Table table{{"task", "cognive.ping"},
                    {"retries", std::int64_t{2}},
                    {"eta", Value()},
                    {"ignore_result", false},
                    {"share", 0.5},
                    {"timelimit", List{Value(), std::int64_t{60}}},
                    {"more", Table{{"ünïcode", "\"quoted\""}}}};
  Pool pool;
  const auto out = pool.table(table);
  EXPECT_EQ(json_of(table_of(out)),
            R"({"task":"cognive.ping","retries":2,"eta":null,"ignore_result":false,"share":0.5,)"
            R"("timelimit":[null,60],"more":{"ünïcode":"\"quoted\""}})");
  EXPECT_EQ(text_of(table, "task"), "cognive.ping");
  EXPECT_EQ(text_of(table, "retries"), "");
  EXPECT_EQ(find(table, "nobody"), nullptr);
}

TEST(Table, is_cut_where_nobody_nests_any_more) {
  Table table{{"a", std::int64_t{1}}};
  for (int i = 0; i < 100; ++i) table = Table{{"a", std::move(table)}};
  Pool pool;
  EXPECT_LT(json_of(table_of(pool.table(table))).size(), 200U);
}

TEST(Properties, come_back_as_they_went) {
  Properties properties;
  properties.content_type = "application/json";
  properties.correlation_id = "c";
  properties.expiration = "60000";
  properties.timestamp = 1'795'416'366;
  properties.headers = {{"a", "b"}};
  Pool pool;
  const auto back = properties_of(pool.properties(properties));
  EXPECT_EQ(back.content_type, "application/json");
  EXPECT_EQ(back.content_encoding, "");
  EXPECT_EQ(back.correlation_id, "c");
  EXPECT_EQ(back.expiration, "60000");
  EXPECT_EQ(back.timestamp, properties.timestamp);
  EXPECT_TRUE(back.is_persistent);
  EXPECT_EQ(text_of(back.headers, "a"), "b");
}

}  // namespace
}  // namespace cognive::amqp
