// What a store says in XML.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"

namespace cognive::s3 {

struct Bucket {
  std::string name;
  std::optional<Timestamp> created_at;
};

struct Object {
  std::string key;
  std::uint64_t bytes = 0;
  std::string etag;  // without its quotes
  std::optional<Timestamp> modified_at;
};

struct ObjectPage {
  std::vector<Object> objects;
  std::string next;  // to go on with; empty: there are no more
};

struct Upload {
  std::string key;
  std::string id;
  std::optional<Timestamp> begun_at;
};

struct UploadPage {
  std::vector<Upload> uploads;
  std::string next_key;  // to go on with, both; empty: there are no more
  std::string next_id;
};

struct Fault {
  std::string code;  // "NoSuchKey"
  std::string message;
};

// All of these: nothing when it is not that document.
std::optional<Fault> read_fault(std::string_view xml);
std::optional<std::vector<Bucket>> read_buckets(std::string_view xml);
std::optional<ObjectPage> read_objects(std::string_view xml);
std::optional<UploadPage> read_uploads(std::string_view xml);
std::optional<std::string> read_upload_id(std::string_view xml);
bool is_completed(std::string_view xml);
// Days after which all objects of the bucket expire; 0: never.
std::optional<std::int64_t> read_lifetime(std::string_view xml);

struct Part {
  std::int64_t number = 0;  // from 1
  std::string etag;
  std::uint64_t bytes = 0;
};

std::string completion_of(const std::vector<Part>& parts);
std::string location_of(std::string_view region);
// Objects expire after so many days (0: never), and uploads that nobody has ended after seven.
std::string lifetime_of(std::int64_t days);

}  // namespace cognive::s3
