#include "config/settings.hpp"

#include <gtest/gtest.h>

namespace cognive {
namespace {

Variables from(std::map<std::string, std::string> values) {
  return [values = std::move(values)](std::string_view name) -> std::optional<std::string> {
    const auto found = values.find(std::string(name));
    return found == values.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

TEST(Settings, only_the_database_is_required) {
  const auto settings = load_settings(from({{"DATABASE_URL", "postgresql+psycopg2://u:p@db:5432/cognive"}}));
  ASSERT_TRUE(settings) << settings.error().detail;
  EXPECT_EQ(settings->database_url, "postgresql://u:p@db:5432/cognive");
  EXPECT_EQ(settings->app_name, "Cognive Control Plane API");
  EXPECT_EQ(settings->http_port, 8000);
  EXPECT_EQ(load_settings(from({})).error().detail.substr(0, 26), "DATABASE_URL: is required:");
}

TEST(Settings, every_fault_is_named_at_once_and_no_secret_is_in_it) {
  const auto settings = load_settings(from({{"DATABASE_URL", "mysql://u:hunter2@db/x"},
                                            {"HTTP_PORT", "80000"},
                                            {"REDIS_URL", "hunter2"},
                                            {"COGNIVE_MASTER_KEY", "hunter2"}}));
  ASSERT_FALSE(settings);
  const auto& text = settings.error().detail;
  for (const auto* name : {"DATABASE_URL", "HTTP_PORT", "REDIS_URL", "COGNIVE_MASTER_KEY"}) {
    EXPECT_NE(text.find(name), std::string::npos) << text;
  }
  EXPECT_EQ(text.find("hunter2"), std::string::npos);
}

TEST(Settings, the_async_url_must_name_the_same_database) {
  const auto load = [](const std::string& other) {
    return load_settings(from({{"DATABASE_URL", "postgres://u:p@db/x"}, {"DATABASE_URL_ASYNC", other}}));
  };
  EXPECT_TRUE(load("postgresql+asyncpg://u:p@db/x"));
  EXPECT_FALSE(load("postgresql+asyncpg://u:p@db/y"));
}

TEST(Settings, replicas_are_separated_by_commas_or_lines) {
  const auto settings =
      load_settings(from({{"DATABASE_URL", "postgres://u:p@db/x"},
                          {"DATABASE_READ_URLS", "postgres://u:p@r1/x,\n postgresql+asyncpg://u:p@r2/x\n"}}));
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->database_read_urls, (std::vector<std::string>{"postgresql://u:p@r1/x", "postgresql://u:p@r2/x"}));
}

TEST(EnvFile, interpolates_as_compose_does) {
  const auto values = parse_env_file(
      "# comment\nexport USER_NAME=cognive\nPASSWORD=\"p#w $x\"\nHOST=db # here\n"
      "URL=postgresql://${USER_NAME}:${SECRET}@${HOST}:${PORT:-5432}/x\nLITERAL='${HOST}'\nEMPTY=\n",
      from({{"SECRET", "from-environment"}}));
  ASSERT_TRUE(values);
  EXPECT_EQ(values->at("URL"), "postgresql://cognive:from-environment@db:5432/x");
  EXPECT_EQ(values->at("PASSWORD"), "p#w $x");
  EXPECT_EQ(values->at("LITERAL"), "${HOST}");
  EXPECT_EQ(values->at("EMPTY"), "");
  EXPECT_EQ(parse_env_file("A=1\nnonsense\n", from({})).error().detail, ".env line 2: expected NAME=VALUE");
}

TEST(MaskedUrl, hides_passwords_wherever_they_stand) {
  const auto with_at = load_settings(from({{"DATABASE_URL", "postgresql://u:p@ss@db:5432/x?options=-cx=@"}}));
  ASSERT_TRUE(with_at);
  EXPECT_EQ(with_at->database_url, "postgresql://u:p%40ss@db:5432/x?options=-cx=@");
  EXPECT_FALSE(load_settings(from({{"DATABASE_URL", "postgresql://u:p@ss/tail@db:5432/x"}})));
  EXPECT_EQ(masked_url("postgresql://u:p@ss@db:5432/x"), "postgresql://u:***@db:5432/x");
  EXPECT_EQ(masked_url("redis://:secret@cache/0"), "redis://:***@cache/0");
  EXPECT_EQ(masked_url("postgresql://db/x?user=u&password=p&sslmode=require"),
            "postgresql://db/x?user=u&password=***&sslmode=require");
  EXPECT_EQ(masked_url("postgresql://db/x?sslpassword=p&pass%77ord=p&a=b"),
            "postgresql://db/x?sslpassword=***&pass%77ord=***&a=b");
  EXPECT_EQ(masked_url("postgresql://u@/x?host=/run"), "postgresql://u@/x?host=/run");
  EXPECT_EQ(masked_url("secret"), "***");
  EXPECT_EQ(masked_url("amqp://u:se/cret@h//"), "amqp://***");
  EXPECT_EQ(masked_url("amqp://u:a@h//;amqp://u:secret@h2//"), "amqp://***");
  EXPECT_EQ(masked_url("amqp://h1,amqp://u:secret@h2"), "amqp://***");
}

}  // namespace
}  // namespace cognive
