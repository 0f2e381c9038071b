// The examples that AWS publishes, and names of objects that are easily signed wrongly.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
#include "s3/signature.hpp"

#include <gtest/gtest.h>

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace cognive::s3 {
namespace {

const Credentials published{.access_key = "AKIAIOSFODNN7EXAMPLE",
                            .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"};

Timestamp published_time() {
  return *Timestamp::parse("2013-05-24T00:00:00Z");
}

Request to_bucket(std::string path) {
  return {.host = "examplebucket.s3.amazonaws.com", .path = std::move(path)};
}

std::string authorization(const Request& request, std::string_view payload = empty_payload) {
  return signed_headers(published, request, payload, published_time()).back().second;
}

TEST(Signature, of_a_part_of_an_object_is_as_published) {
  auto request = to_bucket("/test.txt");
  request.headers = {{"Range", "bytes=0-9"}};
  EXPECT_EQ(authorization(request),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(Signature, of_an_upload_is_as_published) {
  auto request = to_bucket("/test$file.text");
  request.method = "PUT";
  request.headers = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  EXPECT_TRUE(authorization(request, to_hex(sha256("Welcome to Amazon S3.")))
                  .ends_with("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(Signature, of_a_query_without_a_value_is_as_published) {
  auto request = to_bucket("/");
  request.query = {{"lifecycle", ""}};
  EXPECT_TRUE(
      authorization(request).ends_with("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(Signature, of_a_list_is_as_published_in_whatever_order_it_is_asked_for) {
  auto request = to_bucket("/");
  request.query = {{"prefix", "J"}, {"max-keys", "2"}};
  EXPECT_TRUE(
      authorization(request).ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
  EXPECT_EQ(target_of(request), "/?max-keys=2&prefix=J");
}

TEST(Signature, of_a_url_is_as_published) {
  EXPECT_EQ(presigned_target(published, to_bucket("/test.txt"), std::chrono::hours{24}, published_time()),
            "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2F"
            "s3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
            "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST(Signature, encodes_names_of_objects_byte_by_byte) {
  EXPECT_EQ(target_of(to_bucket("/a b+c%d/é/./..//~-_.*'()!")), "/a%20b%2Bc%25d/%C3%A9/./..//~-_.%2A%27%28%29%21");
  EXPECT_EQ(percent_encoded("a/b", Slash::is_encoded), "a%2Fb");
  EXPECT_EQ(percent_encoded(std::string_view("\0\x7f\xff", 3), Slash::separates), "%00%7F%FF");
}

TEST(Signature, sorts_the_query_by_what_is_sent) {
  auto request = to_bucket("/");
  request.query = {{"a", "2"}, {"a-b", "1"}, {"a", "1"}, {"A", "1"}, {"é", "x y"}};
  EXPECT_EQ(target_of(request), "/?%C3%A9=x%20y&A=1&a=1&a=2&a-b=1");
}

TEST(Signature, has_no_secret_in_what_is_sent) {
  for (const auto& [name, value] : signed_headers(published, to_bucket("/x"), empty_payload, published_time()))
    EXPECT_EQ(value.find(published.secret_key), std::string::npos) << name;
}

}  // namespace
}  // namespace cognive::s3
