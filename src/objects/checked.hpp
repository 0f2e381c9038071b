// Objects for whoever downloads them: whole ones are checked against what was stored.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "objects/objects.hpp"

namespace cognive::objects {

// Bytes, piece by piece; empty: that was all.
using Pieces = std::function<Async<Result<std::string>>()>;

struct Wanted {
  Kind kind = Kind::artifacts;
  std::string key;
  std::string etag;  // empty: whichever object is there
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t bytes = 0;            // of all of it
  std::optional<std::string> sha256;  // of all of it, in hexadecimal digits
};

// The first piece has been read when this returns, so that the caller can still answer something else. The last piece
// of a whole object comes only when all of it is what was stored; Code::internal instead when it is not.
// Code::not_found when the object is not there, or shorter.
Async<Result<Pieces>> read_checked(Objects& objects, Transfer transfer, Wanted wanted);

// What a caller of ours is told of an error of the store, whose own words are for the log.
Error for_callers(const Error& error);
// The same of who reads: Code::conflict when the object there is not the one that was stored.
Error for_readers(const Error& error);

}  // namespace cognive::objects
