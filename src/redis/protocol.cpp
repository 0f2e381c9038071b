#include "redis/protocol.hpp"

#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <stdexcept>

namespace cognive::redis {
namespace {

constexpr std::size_t reply_bytes_max = 64UL << 20;

Reply converted(const redisReply& from) {
  Reply out;
  switch (from.type) {
    case REDIS_REPLY_INTEGER:
      out.kind = Reply::Kind::integer;
      out.integer = from.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      out.kind = Reply::Kind::text;
      out.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ERROR:
      out.kind = Reply::Kind::error;
      out.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ARRAY:
      out.kind = Reply::Kind::list;
      for (const auto* item : std::span(from.element, from.elements)) out.items.push_back(converted(*item));
      break;
    default:
      break;
  }
  return out;
}

}  // namespace

void append(std::string& out, const Command& command) {
  fmt::format_to(std::back_inserter(out), "*{}\r\n", command.size());
  for (const auto& part : command) fmt::format_to(std::back_inserter(out), "${}\r\n{}\r\n", part.size(), part);
}

struct ReplyReader::State {
  std::unique_ptr<redisReader, decltype(&redisReaderFree)> reader{redisReaderCreate(), &redisReaderFree};
};

ReplyReader::ReplyReader() : state_(std::make_unique<State>()) {
  if (!state_->reader) throw std::bad_alloc();
}

ReplyReader::~ReplyReader() = default;

void ReplyReader::feed(std::string_view bytes) {
  auto& reader = *state_->reader;
  if (reader.len - reader.pos + bytes.size() > reply_bytes_max)
    throw std::runtime_error("a reply of Redis is too long");
  redisReaderFeed(&reader, bytes.data(), bytes.size());
}

std::optional<Reply> ReplyReader::next() {
  void* found = nullptr;
  if (redisReaderGetReply(state_->reader.get(), &found) != REDIS_OK)
    throw std::runtime_error(fmt::format("what Redis answers is no reply: {}", state_->reader->errstr));
  if (found == nullptr) return std::nullopt;
  const std::unique_ptr<redisReply, decltype(&freeReplyObject)> reply(static_cast<redisReply*>(found),
                                                                      &freeReplyObject);
  return converted(*reply);
}

}  // namespace cognive::redis
