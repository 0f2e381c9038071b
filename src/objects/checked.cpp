#include "objects/checked.hpp"

#include "observe/log.hpp"

namespace cognive::objects {
namespace {

struct State {
  Transfer transfer;
  Reader reader;
  std::string first;
  std::optional<std::string> sha256;  // until it has been checked
  bool has_begun = false;
};

Async<Result<std::string>> next_of(std::shared_ptr<State> from) {
  std::string piece;
  if (!std::exchange(from->has_begun, true)) {
    piece = std::move(from->first);
  } else {
    auto read = co_await from->reader.next();
    if (!read) co_return read;
    piece = std::move(*read);
  }
  const bool is_last = from->reader.left() == 0 && !piece.empty();
  if (is_last && from->sha256) {
    const auto stored = *std::exchange(from->sha256, std::nullopt);
    if (to_hex(from->reader.sha256()) != stored)
      co_return fail(Code::internal, "What the object storage gives is not what was stored.");
  }
  co_return piece;
}

}  // namespace

Async<Result<Pieces>> read_checked(Objects& objects, Transfer transfer, Wanted wanted) {
  const bool is_checked = wanted.sha256 && wanted.first == 0 && wanted.count == wanted.bytes && wanted.count > 0;
  auto state = std::make_shared<State>(
      State{.transfer = std::move(transfer),
            .reader = Reader(objects, wanted.kind, std::move(wanted.key), wanted.first, wanted.count,
                             is_checked ? Reader::Checksum::wanted : Reader::Checksum::none, std::move(wanted.etag)),
            .first = {},
            .sha256 = is_checked ? std::move(wanted.sha256) : std::nullopt});
  if (wanted.count > 0) {
    auto first = co_await state->reader.next();
    if (!first) co_return std::unexpected(std::move(first.error()));
    if (first->empty()) co_return fail(Code::not_found, "The object is shorter than was stored.");
    state->first = std::move(*first);
  }
  co_return Pieces([state] { return next_of(state); });
}

Error for_callers(const Error& error) {
  if (error.code == Code::too_large) return error;
  thread_local LogThrottle throttle;
  if (const auto held_back = throttle.pass())
    log(Level::warning, "the object storage has not done what was asked",
        {{"reason", error.detail}, {"more_before", *held_back}});
  return {Code::unavailable, "The object storage does not answer, or refuses; repeat it later with the same id.", {}};
}

Error for_readers(const Error& error) {
  auto out = for_callers(error);
  if (error.code == Code::conflict)
    out = {Code::conflict, "What the object storage has is not what was stored: it was changed there.", {}};
  return out;
}

}  // namespace cognive::objects
