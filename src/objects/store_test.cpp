// One suite for every adapter of the port. The one of S3 runs where COGNIVE_TEST_S3_ENDPOINT names a store
// (tests/storage/ starts one).
#include "objects/store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "base/crypto.hpp"
#include "objects/directory_store.hpp"
#include "objects/objects.hpp"
#include "objects/s3_store.hpp"

namespace cognive::objects {
namespace {

using std::chrono::milliseconds;

Deadline soon() {
  return Deadline::in(milliseconds{60'000});
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string random_text(std::size_t size) {
  static std::mt19937_64 chance(42);
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(chance() & 0xFFU);
  return out;
}

// Makes a store with one empty bucket.
class StoreTest : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    if (GetParam() == "directory") {
      directory_ = std::filesystem::temp_directory_path() / ("objects-" + random_token(12));
      store_ = std::make_unique<DirectoryStore>(directory_);
    } else {
      const auto address = variable("COGNIVE_TEST_S3_ENDPOINT");
      if (address.empty()) GTEST_SKIP() << "COGNIVE_TEST_S3_ENDPOINT names no store";
      const auto addressing = variable("COGNIVE_TEST_S3_ADDRESSING");
      auto endpoint = s3::parse_endpoint(address, false, addressing.empty() ? "path" : addressing);
      ASSERT_TRUE(endpoint) << endpoint.error().detail;
      store_ =
          std::make_unique<S3Store>(s3::ClientOptions{.endpoint = *endpoint,
                                                      .credentials = {.access_key = variable("COGNIVE_TEST_S3_KEY"),
                                                                      .secret_key = variable("COGNIVE_TEST_S3_SECRET")},
                                                      .authority_file = variable("COGNIVE_TEST_S3_CA_FILE"),
                                                      .encryption = variable("COGNIVE_TEST_S3_ENCRYPTION"),
                                                      .kms_key_id = variable("COGNIVE_TEST_S3_KMS_KEY"),
                                                      .stall = std::chrono::seconds{2},
                                                      .tries_max = 12});
    }
    const auto made = store_->make_bucket(bucket_, 30, soon());
    ASSERT_TRUE(made) << made.error().detail;
  }

  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  std::string read(const std::string& key) {
    const auto piece = store_->get(bucket_, key, 0, std::size_t{64} << 20U, {}, soon());
    EXPECT_TRUE(piece) << piece.error().detail;
    return piece ? piece->bytes : std::string();
  }

  std::vector<std::string> keys(const std::string& prefix = {}, std::int64_t together = 1'000) {
    std::vector<std::string> out;
    std::string next;
    do {
      const auto page = store_->list(bucket_, prefix, next, together, soon());
      EXPECT_TRUE(page) << page.error().detail;
      if (!page) return out;
      EXPECT_LE(std::ssize(page->objects), together);
      for (const auto& object : page->objects) out.push_back(object.key);
      next = page->next;
    } while (!next.empty());
    return out;
  }

  std::filesystem::path directory_;
  std::string bucket_ = "suite-" + to_hex(sha256(random_token(20))).substr(0, 12);
  std::unique_ptr<Store> store_;
};

#define EXPECT_DONE(call)                                      \
  do {                                                         \
    const auto done_ = (call);                                 \
    EXPECT_TRUE(done_) << (done_ ? "" : done_.error().detail); \
  } while (false)

TEST_P(StoreTest, BucketsAreMadeOnceAndKeepTheirLifetime) {
  EXPECT_DONE(store_->make_bucket(bucket_, 99, soon()));
  const auto lifetime = store_->lifetime(bucket_, soon());
  ASSERT_TRUE(lifetime) << lifetime.error().detail;
  EXPECT_EQ(*lifetime, 30) << "what is set stays";
  const auto all = store_->buckets(soon());
  ASSERT_TRUE(all);
  const auto ours = std::ranges::find(*all, bucket_, &Bucket::name);
  ASSERT_NE(ours, all->end());
  ASSERT_TRUE(ours->created_at);
  EXPECT_LT(Timestamp::now().micros - ours->created_at->micros, 120'000'000);
}

TEST_P(StoreTest, AnObjectIsReadAsItWasWrittenWholeOrInPart) {
  const auto text = random_text(100'000);
  EXPECT_DONE(store_->put(bucket_, "a/b.bin", text, "application/octet-stream", soon()));
  EXPECT_EQ(read("a/b.bin"), text);
  const auto object = store_->find(bucket_, "a/b.bin", soon());
  ASSERT_TRUE(object) << object.error().detail;
  EXPECT_EQ(object->bytes, text.size());
  for (const auto& [first, count] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, 1}, {99'999, 1}, {99'999, 100}, {50'000, 1'000}, {0, 100'000}, {100'000, 5}, {200'000, 5}}) {
    const auto piece = store_->get(bucket_, "a/b.bin", first, count, object->etag, soon());
    ASSERT_TRUE(piece) << piece.error().detail;
    EXPECT_EQ(piece->bytes, first >= text.size() ? "" : text.substr(first, count)) << first;
    EXPECT_EQ(piece->object_bytes, text.size());
  }
}

TEST_P(StoreTest, AnEmptyObjectIsAnObject) {
  EXPECT_DONE(store_->put(bucket_, "empty", "", "text/plain", soon()));
  EXPECT_EQ(read("empty"), "");
  EXPECT_EQ(store_->find(bucket_, "empty", soon()).value().bytes, 0U);
}

TEST_P(StoreTest, WhoReadsAnObjectIsToldThatItHasBecomeAnotherOne) {
  EXPECT_DONE(store_->put(bucket_, "x", "before", "text/plain", soon()));
  const auto before = store_->find(bucket_, "x", soon());
  ASSERT_TRUE(before);
  EXPECT_DONE(store_->put(bucket_, "x", "after", "text/plain", soon()));
  const auto piece = store_->get(bucket_, "x", 0, 10, before->etag, soon());
  ASSERT_FALSE(piece);
  EXPECT_EQ(piece.error().code, Code::conflict);
  EXPECT_EQ(read("x"), "after");
}

TEST_P(StoreTest, WhatIsNotThereIsNotFoundAndNeedsNoRemoval) {
  EXPECT_EQ(store_->find(bucket_, "no", soon()).error().code, Code::not_found);
  EXPECT_EQ(store_->get(bucket_, "no", 0, 1, {}, soon()).error().code, Code::not_found);
  EXPECT_EQ(store_->put("no-such-bucket-here", "x", "x", "text/plain", soon()).error().code, Code::not_found);
  EXPECT_EQ(store_->list("no-such-bucket-here", "", "", 10, soon()).error().code, Code::not_found);
  EXPECT_DONE(store_->remove(bucket_, "no", soon()));
  EXPECT_DONE(store_->put(bucket_, "yes", "x", "text/plain", soon()));
  EXPECT_DONE(store_->remove(bucket_, "yes", soon()));
  EXPECT_EQ(store_->find(bucket_, "yes", soon()).error().code, Code::not_found);
}

TEST_P(StoreTest, KeysMayHoldWhateverTextHolds) {
  const std::vector<std::string> strange = {"a b",
                                            "a+b",
                                            "a%2Fb",
                                            "a/b/c",
                                            "a//b",
                                            "/a",
                                            "a/",
                                            "ü/é",
                                            "日本",
                                            "😀",
                                            "a?b#c",
                                            "&<>\"'",
                                            ".hidden",
                                            "a/../b",
                                            "%",
                                            "a=b&c",
                                            "~!*'();:@,[]",
                                            std::string(900, 'k'),
                                            std::string(300, '%'),
                                            "x/" + std::string(400, '.')};
  std::map<std::string, std::string> written;
  for (const auto& key : strange) {
    written[key] = "of " + key;
    EXPECT_DONE(store_->put(bucket_, key, written[key], "text/plain", soon()));
  }
  std::vector<std::string> sorted;
  for (const auto& [key, text] : written) {
    EXPECT_EQ(read(key), text) << key;
    sorted.push_back(key);
  }
  EXPECT_EQ(keys(), sorted);
  for (const auto& key : strange) EXPECT_DONE(store_->remove(bucket_, key, soon()));
  EXPECT_TRUE(keys().empty());
}

TEST_P(StoreTest, ListsComeInOrderPageByPage) {
  std::vector<std::string> all;
  for (int i = 0; i < 25; ++i) {
    all.push_back("p/" + std::to_string(i));
    EXPECT_DONE(store_->put(bucket_, all.back(), "x", "text/plain", soon()));
  }
  EXPECT_DONE(store_->put(bucket_, "q", "x", "text/plain", soon()));
  std::ranges::sort(all);
  EXPECT_EQ(keys("p/", 7), all);
  EXPECT_EQ(keys("p/", 25), all);
  EXPECT_EQ(keys("nothing"), std::vector<std::string>());
}

TEST_P(StoreTest, ACopyStaysAsItWas) {
  EXPECT_DONE(store_->put(bucket_, "from ü", "bytes", "text/plain", soon()));
  EXPECT_DONE(store_->copy(bucket_, "from ü", "to +", "text/plain", soon()));
  EXPECT_DONE(store_->put(bucket_, "from ü", "others", "text/plain", soon()));
  EXPECT_EQ(read("to +"), "bytes");
  const auto much = random_text(std::size_t{20} << 20U);
  EXPECT_DONE(store_->put(bucket_, "much", much, "text/plain", soon()));
  EXPECT_DONE(store_->copy(bucket_, "much", "as much", "text/plain", soon()));
  const auto copied = read("as much");
  EXPECT_EQ(copied.size(), much.size());
  EXPECT_TRUE(copied == much) << std::ranges::mismatch(copied, much).in1 - copied.begin();
  EXPECT_EQ(store_->copy(bucket_, "no", "to +", "text/plain", soon()).error().code, Code::not_found);
}

TEST_P(StoreTest, AnUploadAppearsWhenItIsCompleted) {
  const auto first = random_text(part_bytes_min);
  const auto last = random_text(1'000);
  const auto upload = store_->begin(bucket_, "big ü", "application/zip", soon());
  ASSERT_TRUE(upload) << upload.error().detail;
  std::vector<Part> parts;
  for (const auto& [number, bytes] : {std::pair<std::int64_t, std::string_view>{1, last}, {2, last}, {1, first}}) {
    const auto part = store_->put_part(bucket_, "big ü", *upload, number, bytes, soon());
    ASSERT_TRUE(part) << part.error().detail;
    std::erase_if(parts, [&](const Part& one) { return one.number == number; });
    parts.push_back(*part);
  }
  std::ranges::sort(parts, {}, &Part::number);
  EXPECT_EQ(store_->find(bucket_, "big ü", soon()).error().code, Code::not_found);
  EXPECT_DONE(store_->complete(bucket_, "big ü", *upload, parts, soon()));
  EXPECT_EQ(read("big ü"), first + last);
  EXPECT_EQ(store_->put_part(bucket_, "big ü", *upload, 3, last, soon()).error().code, Code::not_found);
}

TEST_P(StoreTest, AnUploadThatIsAbortedLeavesNothing) {
  const auto upload = store_->begin(bucket_, "gone", "text/plain", soon());
  ASSERT_TRUE(upload);
  const auto part = store_->put_part(bucket_, "gone", *upload, 1, "some", soon());
  ASSERT_TRUE(part);
  EXPECT_DONE(store_->abort(bucket_, "gone", *upload, soon()));
  EXPECT_DONE(store_->abort(bucket_, "gone", *upload, soon()));
  EXPECT_FALSE(store_->complete(bucket_, "gone", *upload, {*part}, Deadline::in(milliseconds{1'000})));
  EXPECT_TRUE(keys().empty());
}

TEST_P(StoreTest, ManyThreadsWriteAndReadAtATime) {
  std::vector<std::jthread> threads;
  for (int number = 0; number < 8; ++number) {
    threads.emplace_back([this, number] {
      for (int i = 0; i < 10; ++i) {
        const auto key = std::to_string(number) + "/" + std::to_string(i);
        EXPECT_DONE(store_->put(bucket_, key, key, "text/plain", soon()));
        EXPECT_EQ(read(key), key);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(keys().size(), 80U);
}

INSTANTIATE_TEST_SUITE_P(Adapters, StoreTest, testing::Values("directory", "s3"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DirectoryStoreTest, KeysAndPathsBelongTogether) {
  for (const std::string key : {"a", "a/b", ".", "..", "", "%", "%+", ".a", "a.", "\x01\xFF", "a%+"}) {
    const auto path = path_of_key(key);
    EXPECT_EQ(key_of_path(path), key) << path;
    EXPECT_EQ(path, path.lexically_normal()) << key;
  }
  EXPECT_FALSE(key_of_path("a%2"));
  EXPECT_FALSE(key_of_path("a%62")) << "which is written as ab";
}

TEST(DirectoryStoreTest, WhatHasOutlivedItsTimeGoes) {
  const auto directory = std::filesystem::temp_directory_path() / ("objects-" + random_token(12));
  DirectoryStore store(directory);
  EXPECT_DONE(store.make_bucket("kept", 0, soon()));
  EXPECT_DONE(store.make_bucket("days", 2, soon()));
  const auto age = [&](const std::filesystem::path& path, int hours) {
    std::filesystem::last_write_time(directory / path,
                                     std::filesystem::file_time_type::clock::now() - std::chrono::hours{hours});
  };
  for (const std::string bucket : {"kept", "days"}) {
    for (const std::string key : {"old", "new"}) EXPECT_DONE(store.put(bucket, key, "x", "text/plain", soon()));
    age(bucket + "/objects/old", 49);
    age(bucket + "/objects/new", 47);
  }
  const auto upload = store.begin("kept", "forgotten", "text/plain", soon());
  ASSERT_TRUE(upload);
  age("kept/uploads/" + *upload, 8 * 24);
  EXPECT_DONE(store.expire({"kept", "days"}, soon()));
  EXPECT_EQ(store.list("kept", "", "", 10, soon()).value().objects.size(), 2U);
  EXPECT_EQ(store.list("days", "", "", 10, soon()).value().objects.front().key, "new");
  EXPECT_EQ(store.put_part("kept", "forgotten", *upload, 1, "x", soon()).error().code, Code::not_found);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace cognive::objects
