#include "schema/history.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/crypto.hpp"
#include "base/resources.hpp"
#include "base/text.hpp"

namespace cognive::schema {
namespace {

// "+2" or "-1"; nothing for anything else.
std::optional<std::size_t> steps(std::string_view target, char sign) {
  if (target.size() < 2 || target.front() != sign) return std::nullopt;
  std::size_t count = 0;
  const auto digits = target.substr(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return count;
}

std::string listed(const RevisionIds& ids) {
  return ids.empty() ? "base" : fmt::format("{}", fmt::join(ids, ", "));
}

Result<History> read_all(std::vector<Revision> revisions, std::string_view chain) {
  if (auto whole = check_chain(revisions, chain); !whole) return std::unexpected(whole.error());
  return History::of(std::move(revisions));
}

}  // namespace

Result<History> History::of(std::vector<Revision> revisions) {
  History out;
  // Ids begin with the time, so that this is also the order in which they were written.
  std::ranges::sort(revisions, {}, &Revision::id);
  while (!revisions.empty()) {
    const auto next = std::ranges::find_if(revisions, [&](const Revision& revision) {
      return std::ranges::all_of(revision.down, [&](const auto& id) { return out.positions_.contains(id); });
    });
    if (next == revisions.end()) {
      return fail(Code::malformed, fmt::format("revision {} has no way to the first one: its `-- down:` is unknown or "
                                               "circular",
                                               revisions.front().id));
    }
    if (!out.positions_.emplace(next->id, out.revisions_.size()).second)
      return fail(Code::malformed, "two revisions are called " + next->id);
    out.revisions_.push_back(std::move(*next));
    revisions.erase(next);
  }
  return out;
}

const History& History::embedded() {
  static const History all = [] {
    std::vector<Revision> found;
    std::string_view chain;
    for (const auto& file : resources()) {
      if (!file.name.starts_with("migrations/")) continue;
      if (file.name.ends_with(chain_file)) {
        chain = file.content;
        continue;
      }
      auto revision = parse_revision(file.name, file.content);
      if (!revision) throw std::logic_error(revision.error().detail);
      found.push_back(std::move(*revision));
    }
    auto history = read_all(std::move(found), chain);
    if (!history) throw std::logic_error(history.error().detail);
    return std::move(*history);
  }();
  return all;
}

Result<History> History::in_directory(const std::string& directory) {
  auto files = read_revisions(directory);
  if (!files) return std::unexpected(files.error());
  if (files->revisions.empty()) return fail(Code::not_found, "there are no revisions in " + directory);
  return read_all(std::move(files->revisions), files->chain);
}

const Revision* History::find(std::string_view id) const {
  const auto found = positions_.find(id);
  return found == positions_.end() ? nullptr : &revisions_[found->second];
}

RevisionIds History::heads() const {
  RevisionIds out;
  for (const auto& revision : revisions_) {
    for (const auto& id : revision.down) out.erase(id);
    out.insert(revision.id);
  }
  return out;
}

std::vector<const Revision*> History::children(std::string_view id) const {
  std::vector<const Revision*> out;
  for (const auto& revision : revisions_) {
    if (std::ranges::find(revision.down, id) != revision.down.end()) out.push_back(&revision);
  }
  return out;
}

Result<const Revision*> History::resolve(std::string_view text) const {
  if (text == "head") {
    const auto all = heads();
    if (all.size() == 1) return find(*all.begin());
    return fail(Code::conflict,
                fmt::format("there are several heads ({}): name one, say `heads`, or merge them", listed(all)));
  }
  if (const auto* exact = find(text)) return exact;
  RevisionIds alike;
  for (const auto& revision : revisions_) {
    // An id's random end is what people tell revisions by.
    if (revision.id.starts_with(text) || revision.id.ends_with("_" + std::string(text))) alike.insert(revision.id);
  }
  if (alike.size() == 1 && !text.empty()) return find(*alike.begin());
  if (alike.empty() || text.empty())
    return fail(Code::not_found, fmt::format("there is no revision {}; `history` lists them", text));
  return fail(Code::conflict, fmt::format("{} may be any of {}", text, listed(alike)));
}

RevisionIds History::applied_at(const RevisionIds& ids) const {
  RevisionIds out;
  std::vector<std::string> open(ids.begin(), ids.end());
  while (!open.empty()) {
    const auto id = std::move(open.back());
    open.pop_back();
    const auto* revision = find(id);
    if (revision == nullptr || !out.insert(id).second) continue;
    open.insert(open.end(), revision->down.begin(), revision->down.end());
  }
  return out;
}

Result<std::vector<const Revision*>> History::way_up(const RevisionIds& at, std::string_view target) const {
  const auto applied = applied_at(at);
  std::vector<const Revision*> out;
  if (const auto count = steps(target, '+')) {
    for (const auto& revision : revisions_) {
      if (out.size() < *count && !applied.contains(revision.id)) out.push_back(&revision);
    }
    if (out.size() < *count) return fail(Code::not_found, "there are not that many revisions left to upgrade");
    return out;
  }
  RevisionIds wanted = heads();
  if (target != "heads") {
    const auto found = resolve(target);
    if (!found) return std::unexpected(found.error());
    wanted = {(*found)->id};
  }
  const auto needed = applied_at(wanted);
  for (const auto& revision : revisions_) {
    if (needed.contains(revision.id) && !applied.contains(revision.id)) out.push_back(&revision);
  }
  return out;
}

Result<std::vector<const Revision*>> History::way_down(const RevisionIds& at, std::string_view target) const {
  auto applied = applied_at(at);
  std::vector<const Revision*> out;
  const auto take = [&](auto keep_going) {
    for (auto revision = revisions_.rbegin(); revision != revisions_.rend(); ++revision) {
      if (applied.contains(revision->id) && keep_going(*revision)) out.push_back(&*revision);
    }
  };
  if (const auto count = steps(target, '-')) {
    take([&](const Revision&) { return out.size() < *count; });
    if (out.size() < *count) return fail(Code::not_found, "there are not that many revisions to downgrade");
    return out;
  }
  if (target == "base") {
    take([](const Revision&) { return true; });
    return out;
  }
  const auto found = resolve(target);
  if (!found) return std::unexpected(found.error());
  if (!applied.contains((*found)->id))
    return fail(Code::conflict, fmt::format("the database is not at or above {}: use upgrade", (*found)->id));
  // Whatever was built on it.
  RevisionIds above;
  for (const auto& revision : revisions_) {
    const bool follows = std::ranges::any_of(
        revision.down, [&](const std::string& id) { return id == (*found)->id || above.contains(id); });
    if (follows) above.insert(revision.id);
  }
  take([&](const Revision& revision) { return above.contains(revision.id); });
  return out;
}

RevisionIds History::after_upgrade(RevisionIds at, const Revision& revision) {
  for (const auto& id : revision.down) at.erase(id);
  at.insert(revision.id);
  return at;
}

RevisionIds History::after_downgrade(RevisionIds at, const Revision& revision) const {
  at.erase(revision.id);
  const auto still = applied_at(at);
  for (const auto& id : revision.down) {
    if (!still.contains(id)) at.insert(id);
  }
  return at;
}

Result<RevisionFiles> read_revisions(const std::string& directory) {
  namespace fs = std::filesystem;
  RevisionFiles out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const auto name = entry.path().filename().string();
    if (name != chain_file && !name.ends_with(".sql")) continue;
    std::ifstream in(entry.path());
    std::stringstream content;
    content << in.rdbuf();
    if (!in) return fail(Code::not_found, entry.path().string() + " cannot be read");
    if (name == chain_file) {
      out.chain = content.str();
      continue;
    }
    auto revision = parse_revision(entry.path().string(), content.str());
    if (!revision) return std::unexpected(revision.error());
    out.revisions.push_back(std::move(*revision));
  }
  if (error) return fail(Code::not_found, fmt::format("{} cannot be read: {}", directory, error.message()));
  return out;
}

std::string chain_text(std::span<const Revision> revisions) {
  std::map<std::string, std::string> hashes;
  for (const auto& revision : revisions) hashes.emplace(revision.file, revision.hash);
  std::string out;
  std::string previous;
  for (const auto& [file, hash] : hashes) {
    previous = to_hex(sha256(previous + file + hash));
    out += previous + "  " + file + "\n";
  }
  return out;
}

Result<void> check_chain(std::span<const Revision> revisions, std::string_view chain) {
  const auto expected = chain_text(revisions);
  if (chain == expected) return {};
  std::string_view a = expected;
  std::string_view b = chain;
  const auto first_line = [](std::string_view& text) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    return line;
  };
  for (;;) {
    const auto wanted = first_line(a);
    const auto found = first_line(b);
    if (wanted == found && !wanted.empty()) continue;
    const auto name = wanted.empty() ? found : wanted;
    const auto at = name.find("  ");
    return fail(
        Code::conflict,
        fmt::format("{} disagrees with the revisions from {} on: a revision was edited, removed or put in between. "
                    "A revision that has been shipped is never changed; add another one. For one that was "
                    "not: cognive migrate rehash",
                    chain_file, at == std::string_view::npos ? name : name.substr(at + 2)));
  }
}

}  // namespace cognive::schema
