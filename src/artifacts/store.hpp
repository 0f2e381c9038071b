// SQL of artifacts.
#pragma once

#include "artifacts/artifacts.hpp"

namespace cognive::artifacts {

enum class Way { one_go, parts, direct };

constexpr auto enum_names(Way) {
  return std::array{json::name(Way::one_go, "one_go"), json::name(Way::parts, "parts"),
                    json::name(Way::direct, "direct")};
}

// An artifact with what only we know of it.
struct Row {
  Artifact artifact;
  Way way = Way::one_go;
  std::string object_key;
  std::string upload_id;                       // empty: none
  std::optional<std::string> declared_sha256;  // hexadecimal
  std::string etag;                            // of what is stored
};

}  // namespace cognive::artifacts

namespace cognive::artifacts::sql {

// By the parameters that each names $1, $2, …; store.cpp says what they do.
const pg::Query& agent();
const pg::Query& run();
const pg::Query& insert();
const pg::Query& take_over();
const pg::Query& lock();
const pg::Query& get();
const pg::Query& list();
const pg::Query& stored();
const pg::Query& give_up();
const pg::Query& remove();
const pg::Query& parts();
const pg::Query& other_parts();
const pg::Query& put_part();
const pg::Query& begun();
const pg::Query& expect_leftover();
const pg::Query& exchange_leftover();
const pg::Query& over();
const pg::Query& leftovers();
const pg::Query& forget();
const pg::Query& put_off();

std::vector<Row> read(const pg::Rows& rows);
pg::Params by_id(Uuid id, const Principal& principal);

}  // namespace cognive::artifacts::sql
