#include "schema/revision.hpp"

#include <algorithm>
#include <stdexcept>

#include "base/resources.hpp"
#include "base/text.hpp"

namespace cognive::schema {

Result<Revision> parse_revision(std::string_view file, std::string_view content) {
  Revision out;
  std::string* section = nullptr;
  const auto broken = [&](std::string_view what) { return fail(Code::malformed, fmt::format("{}: {}", file, what)); };
  while (!content.empty()) {
    const auto end = content.find('\n');
    const auto line = content.substr(0, end);
    content = end == std::string_view::npos ? std::string_view{} : content.substr(end + 1);
    const auto header = [&](std::string_view name) -> std::optional<std::string> {
      if (section != nullptr || !line.starts_with("-- ")) return std::nullopt;
      const auto rest = line.substr(3);
      if (!rest.starts_with(name) || rest.size() <= name.size() || rest[name.size()] != ':') return std::nullopt;
      return std::string(trim(rest.substr(name.size() + 1)));
    };
    if (trim(line) == "-- upgrade") {
      section = &out.upgrade;
    } else if (trim(line) == "-- downgrade") {
      section = &out.downgrade;
    } else if (section != nullptr) {
      section->append(line).push_back('\n');
    } else if (const auto id = header("revision")) {
      out.id = *id;
    } else if (const auto down = header("down")) {
      if (*down != "none") out.down = *down;
    } else if (const auto message = header("message")) {
      out.message = *message;
    } else if (const auto transaction = header("transaction")) {
      if (*transaction != "yes" && *transaction != "no") return broken("`-- transaction:` must be yes or no");
      out.transaction = *transaction == "yes";
    } else if (!trim(line).empty()) {
      return broken("unexpected before `-- upgrade`: " + shortened(line, 60));
    }
  }
  if (out.id.empty() || out.id.size() > 32) return broken("`-- revision:` must have 1 to 32 characters");
  if (trim(out.upgrade).empty()) return broken("there is nothing under `-- upgrade`");
  return out;
}

Result<std::vector<Revision>> order_revisions(std::vector<Revision> all) {
  std::vector<Revision> ordered;
  std::optional<std::string> parent;
  while (!all.empty()) {
    const auto is_next = [&](const Revision& revision) { return revision.down == parent; };
    const auto next = std::ranges::find_if(all, is_next);
    if (next == all.end()) {
      return fail(Code::malformed,
                  "revision " + all.front().id + " has no way to the first one: its `-- down:` is unknown or circular");
    }
    if (std::ranges::count_if(all, is_next) > 1) {
      return fail(Code::malformed,
                  "two revisions follow " + parent.value_or("none") + ": change the `-- down:` of the later one");
    }
    parent = next->id;
    ordered.push_back(std::move(*next));
    all.erase(next);
  }
  return ordered;
}

const std::vector<Revision>& revisions() {
  static const std::vector<Revision> all = [] {
    std::vector<Revision> found;
    for (const auto& file : resources()) {
      if (!file.name.starts_with("migrations/")) continue;
      auto revision = parse_revision(file.name, file.content);
      if (!revision) throw std::logic_error(revision.error().detail);
      found.push_back(std::move(*revision));
    }
    auto ordered = order_revisions(std::move(found));
    if (!ordered) throw std::logic_error(ordered.error().detail);
    return std::move(*ordered);
  }();
  return all;
}

}  // namespace cognive::schema
