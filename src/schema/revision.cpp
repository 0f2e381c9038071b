#include "schema/revision.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "schema/statements.hpp"

namespace cognive::schema {
namespace {

constexpr std::size_t id_length_max = 32;

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const auto end = list.find(',');
    out.emplace_back(trim(list.substr(0, end)));
    list = end == std::string_view::npos ? std::string_view{} : list.substr(end + 1);
  }
  return out;
}

// Why a statement cannot be part of a revision; empty when it can.
std::string refused(const std::string& statement) {
  const auto is_letter = [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  const auto end = std::ranges::find_if_not(statement, is_letter);
  const auto word = lower(std::string(statement.begin(), end));
  for (const std::string_view command :
       {"begin", "start", "commit", "end", "abort", "rollback", "savepoint", "release"}) {
    if (word == command)
      return fmt::format("{} is not for revisions: transactions are made for them, see `-- transaction:`", command);
  }
  const auto text = lower(statement);
  if (word == "prepare" && lower(trim(std::string_view(statement).substr(word.size()))).starts_with("transaction"))
    return "a prepared transaction is not for revisions";
  if (word == "copy" && (text.find("stdin") != std::string::npos || text.find("stdout") != std::string::npos))
    return "COPY from or to the client is not for revisions: write INSERT";
  return "";
}

}  // namespace

Result<Revision> parse_revision(std::string_view file, std::string_view content) {
  Revision out;
  out.irreversible = true;  // unless a section says otherwise
  out.file = file.substr(file.rfind('/') + 1);
  out.hash = to_hex(sha256(content));
  std::string* section = nullptr;
  const auto broken = [&](std::string_view what) { return fail(Code::malformed, fmt::format("{}: {}", file, what)); };
  int number = 0;
  while (!content.empty()) {
    ++number;
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
      out.upgrade_line = number + 1;
    } else if (trim(line) == "-- downgrade") {
      section = &out.downgrade;
      out.irreversible = false;
      out.downgrade_line = number + 1;
    } else if (section != nullptr) {
      section->append(line).push_back('\n');
    } else if (const auto id = header("revision")) {
      out.id = *id;
    } else if (const auto down = header("down")) {
      if (*down != "none") out.down = split_list(*down);
    } else if (const auto message = header("message")) {
      out.message = *message;
    } else if (const auto compatible = header("compatible-from")) {
      out.compatible_from = *compatible;
    } else if (const auto transaction = header("transaction")) {
      if (*transaction != "yes" && *transaction != "no") return broken("`-- transaction:` must be yes or no");
      out.transaction = *transaction == "yes";
    } else if (!trim(line).empty()) {
      return broken("unexpected before `-- upgrade`: " + shortened(line, 60));
    }
  }
  if (out.id.empty() || out.id.size() > id_length_max) return broken("`-- revision:` must have 1 to 32 characters");
  if (out.message.empty()) return broken("`-- message:` is missing");
  if (section == nullptr) return broken("there is no `-- upgrade`");
  for (const auto& statements :
       {split_statements(out.upgrade, out.upgrade_line), split_statements(out.downgrade, out.downgrade_line)}) {
    for (const auto& statement : statements) {
      if (const auto why = refused(statement.text); !why.empty())
        return broken(fmt::format("line {}: {}", statement.line, why));
    }
  }
  return out;
}

std::string revision_text(const Revision& revision) {
  std::string out = fmt::format("-- revision: {}\n-- down: {}\n-- message: {}\n-- transaction: {}\n", revision.id,
                                revision.down.empty() ? "none" : fmt::format("{}", fmt::join(revision.down, ", ")),
                                revision.message, revision.transaction ? "yes" : "no");
  if (revision.compatible_from) out += fmt::format("-- compatible-from: {}\n", *revision.compatible_from);
  out += "-- upgrade\n" + revision.upgrade;
  return revision.irreversible ? out : out + "-- downgrade\n" + revision.downgrade;
}

std::string make_revision_id() {
  // "2026-11-23T06:19:…"
  const auto now = Timestamp::now().text();
  std::array<std::uint8_t, 2> random{};
  random_bytes(random);
  return fmt::format("{}{}{}_{}{}_{}", now.substr(0, 4), now.substr(5, 2), now.substr(8, 2), now.substr(11, 2),
                     now.substr(14, 2), to_hex(random));
}

std::string revision_file_name(const Revision& revision) {
  constexpr std::size_t slug_length_max = 40;
  std::string slug;
  for (const char c : lower(revision.message)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) {
      slug.push_back(c);
    } else if (!slug.empty() && slug.back() != '_') {
      slug.push_back('_');
    }
  }
  slug.resize(std::min(slug.size(), slug_length_max));
  while (slug.ends_with('_')) slug.pop_back();
  return revision.id + (slug.empty() ? "" : "_" + slug) + ".sql";
}

}  // namespace cognive::schema
