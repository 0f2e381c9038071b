// Parameters and results in PostgreSQL's binary formats.
#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query echo{"echo",
                     "SELECT $1::timestamptz, $2::timestamptz, $3::date, $4::text[], $5::jsonb, $6::uuid, $7::bigint"};
constexpr Query unnest{"unnest", "SELECT count(*), count(v), sum(v)::bigint FROM unnest($1::bigint[]) AS v"};

TEST(Params, travel_to_the_server_and_back_unchanged) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    const auto time = *Timestamp::parse("1969-07-20T20:17:40.000001Z");
    const auto id = Uuid::make();
    const std::vector<std::string> texts{"", "a\"b", "ü,{}"};
    const std::optional<std::int64_t> null;
    auto params = Params::of(time, Timestamp::min(), bucket_of(id), texts, Json{R"({"a":[1.50,"\n"]})"}, id, null);
    const auto rows = co_await pool.execute(echo, std::move(params), soon());
    Timestamp read_time;
    Timestamp infinity;
    std::chrono::sys_days day;
    std::vector<std::string> read_texts;
    json::Object object;
    Uuid read_id;
    std::optional<std::int64_t> number = 1;
    rows[0].read(read_time, infinity, day, read_texts, object, read_id, number);
    EXPECT_EQ(read_time, time);
    EXPECT_EQ(infinity, Timestamp::min());
    EXPECT_EQ(day, bucket_of(id));
    EXPECT_EQ(read_texts, texts);
    EXPECT_EQ(object.text, R"({"a": [1.50, "\n"]})");
    EXPECT_EQ(read_id, id);
    EXPECT_FALSE(number);

    ArrayBuilder numbers(ArrayBuilder::Type::int8);
    numbers.add(std::int64_t{INT64_MAX});
    numbers.null();
    numbers.add(std::int64_t{-1});
    Params array;
    std::move(numbers).move_into(array);
    const auto sums = co_await pool.execute(unnest, std::move(array), soon());
    EXPECT_EQ(sums[0].at<std::int64_t>(0), 3);
    EXPECT_EQ(sums[0].at<std::int64_t>(1), 2);
    EXPECT_EQ(sums[0].at<std::int64_t>(2), INT64_MAX - 1);
  });
}

}  // namespace
}  // namespace cognive::pg::test
