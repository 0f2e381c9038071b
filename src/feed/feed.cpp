#include "feed/feed.hpp"

namespace cognive::feed {
namespace {

constexpr std::array kind_names{"step", "call", "tool"};

// Of one row, so that the relay can take a row at a time.
constexpr std::size_t keys_max = 1'000;

constexpr pg::Query append_query{"feed_append",
                                 "INSERT INTO feed_messages (kind, run_ids, ids) SELECT $1, $2::uuid[], $3::uuid[] "
                                 "WHERE EXISTS (SELECT FROM feed_switch WHERE is_on)"};

}  // namespace

std::vector<pg::Statement> append_statements(Kind kind, std::span<const Key> keys) {
  std::vector<pg::Statement> out;
  while (!keys.empty()) {
    const auto some = keys.first(std::min(keys.size(), keys_max));
    keys = keys.subspan(some.size());
    pg::ArrayBuilder run_ids(pg::ArrayBuilder::Type::uuid);
    pg::ArrayBuilder ids(pg::ArrayBuilder::Type::uuid);
    for (const auto& key : some) {
      run_ids.add(key.run_id);
      ids.add(key.id);
    }
    auto params = pg::Params::of(std::string_view(kind_names[static_cast<std::size_t>(kind)]));
    std::move(run_ids).move_into(params);
    std::move(ids).move_into(params);
    out.push_back({&append_query, std::move(params)});
  }
  return out;
}

}  // namespace cognive::feed
