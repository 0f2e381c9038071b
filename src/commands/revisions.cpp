// `cognive migrate revision`, `merge`, `rehash` and `check`: the verbs that write revisions, and that know the model.
#include <filesystem>
#include <fstream>

#include "commands/local.hpp"
#include "commands/migrate.hpp"
#include "commands/model.hpp"
#include "json/writer.hpp"
#include "schema/autogenerate.hpp"

namespace cognive::commands {
namespace {

namespace fs = std::filesystem;

fs::path directory_of(const MigrateFlags& flags) {
  return flags.directory.empty() ? schema::usual_directory : flags.directory;
}

Result<void> write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) return fail(Code::unavailable, path.string() + " cannot be written");
  return {};
}

Result<void> write_revisions(const fs::path& directory, const schema::History& history,
                             const std::vector<schema::Revision>& revisions) {
  auto all = history.all();
  for (const auto& revision : revisions) {
    auto read_back = schema::parse_revision(schema::revision_file_name(revision), schema::revision_text(revision));
    if (!read_back) return std::unexpected(read_back.error());
    all.push_back(std::move(*read_back));
  }
  for (const auto& revision : revisions) {
    const auto path = directory / schema::revision_file_name(revision);
    if (auto written = write_file(path, schema::revision_text(revision)); !written) return written;
    std::printf("%s\n", path.c_str());
  }
  return write_file(directory / schema::chain_file, schema::chain_text(all));
}

Result<void> one_head(const schema::History& history) {
  if (history.heads().size() < 2) return {};
  return fail(Code::conflict, fmt::format("there are several heads ({}): join them first, cognive migrate merge",
                                          listed(history.heads())));
}

// What a person has to look at before anybody runs it.
void tell_what_to_read(const schema::Difference& difference) {
  std::size_t reviews = 0;
  std::size_t warnings = 0;
  for (const auto& change : difference.changes) {
    reviews += change.review ? 1 : 0;
    warnings += change.warnings.size();
  }
  std::fprintf(stderr,
               "read it before you apply it: %zu statements are commented out because they lose data, %zu warnings\n",
               reviews, warnings);
}

Async<Result<void>> write_difference(pg::Connection& connection, const schema::History& history,
                                     const MigrateFlags& flags) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(look_timeout));
  if (state.at != history.heads()) {
    co_return fail(Code::conflict, fmt::format("the database is at {}, the revisions end at {}: upgrade it first",
                                               listed(state.at), listed(history.heads())));
  }
  const auto difference = co_await schema::compare_with(connection, product_model(), Deadline::in(look_timeout));
  if (!difference) co_return std::unexpected(difference.error());
  for (const auto& skip : difference->skips) std::fprintf(stderr, "skipped: %s\n", skip.c_str());
  if (!difference->refusals.empty())
    co_return fail(Code::conflict, fmt::format("{}", fmt::join(difference->refusals, "\n")));
  if (difference->changes.empty()) {
    std::fputs("nothing to do: the database is as the model says\n", stderr);
    co_return Result<void>{};
  }
  const std::vector<std::string> down(state.at.begin(), state.at.end());
  auto written = write_revisions(directory_of(flags), history, schema::revisions_for(*difference, down, flags.message));
  if (written) tell_what_to_read(*difference);
  co_return written;
}

int status_of(const Result<void>& done) {
  return done ? 0 : explain(done.error());
}

}  // namespace

int write_revision(const MigrateFlags& flags) {
  if (flags.message.empty() || flags.message.find('\n') != std::string::npos)
    return explain({Code::unprocessable, "say in one line what the revision does: -m \"agents get a colour\"", {}});
  const auto chain = directory_of(flags) / schema::chain_file;
  if (!fs::exists(chain)) {
    return explain({Code::not_found,
                    fmt::format("there is no {}: run this where the revisions are, or say --directory", chain.string()),
                    {}});
  }
  const auto history = schema::History::in_directory(directory_of(flags));
  if (!history) return explain(history.error());
  if (const auto single = one_head(*history); !single) return explain(single.error());
  if (flags.autogenerate) {
    return with_connection(flags, [&](pg::Connection& connection, const schema::History& in_force) {
      return write_difference(connection, in_force, flags);
    });
  }
  schema::Revision made;
  made.id = schema::make_revision_id();
  const auto heads = history->heads();
  made.down.assign(heads.begin(), heads.end());
  made.message = flags.message;
  return status_of(write_revisions(directory_of(flags), *history, {made}));
}

int merge_revisions(const MigrateFlags& flags) {
  const auto history = schema::History::in_directory(directory_of(flags));
  if (!history) return explain(history.error());
  const auto heads = history->heads();
  schema::RevisionIds merged = heads;
  if (!flags.revisions.empty() && flags.revisions != std::vector<std::string>{"heads"}) {
    merged.clear();
    for (const auto& name : flags.revisions) {
      const auto found = history->resolve(name);
      if (!found) return explain(found.error());
      if (!heads.contains((*found)->id))
        return explain({Code::conflict, fmt::format("{} is no head: others follow it already", (*found)->id), {}});
      merged.insert((*found)->id);
    }
  }
  if (merged.size() < 2)
    return explain({Code::conflict, "there is nothing to merge: " + listed(merged) + " is alone", {}});
  schema::Revision made;
  made.id = schema::make_revision_id();
  made.down.assign(merged.begin(), merged.end());
  made.message = flags.message.empty() ? "merge " + listed(merged) : flags.message;
  return status_of(write_revisions(directory_of(flags), *history, {made}));
}

int rehash_revisions(const MigrateFlags& flags) {
  const auto files = schema::read_revisions(directory_of(flags).string());
  if (!files) return explain(files.error());
  return status_of(write_file(directory_of(flags) / schema::chain_file, schema::chain_text(files->revisions)));
}

namespace {

void print_difference(const schema::Difference& difference) {
  json::Writer out;
  out.begin_object();
  out.key("differs");
  out.boolean(!difference.empty());
  out.key("changes");
  out.begin_array();
  for (const auto& change : difference.changes) {
    out.begin_object();
    out.field("object", change.object);
    out.field("statements", change.up);
    out.key("loses_data");
    out.boolean(change.review);
    out.end_object();
  }
  out.end_array();
  for (const auto& [name, texts] :
       {std::pair{"refusals", &difference.refusals}, std::pair{"skipped", &difference.skips}}) {
    out.key(name);
    out.begin_array();
    for (const auto& text : *texts) out.string(text);
    out.end_array();
  }
  out.end_object();
  std::printf("%s\n", out.text().c_str());
}

Async<Result<void>> check(pg::Connection& connection, const schema::History& history, bool as_json) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(look_timeout));
  if (!state.mismatched.empty()) {
    co_return fail(Code::conflict, fmt::format("applied with other content than this binary has: {}",
                                               fmt::join(state.mismatched, ", ")));
  }
  if (!state.unfinished.empty()) co_return fail(Code::conflict, state.unfinished.front().text());
  if (state.at != history.heads()) {
    co_return fail(Code::conflict,
                   fmt::format("the database is at {}, the revisions end at {}: cognive migrate upgrade "
                               "head",
                               listed(state.at), listed(history.heads())));
  }
  const auto difference = co_await schema::compare_with(connection, product_model(), Deadline::in(look_timeout));
  if (!difference) co_return std::unexpected(difference.error());
  if (as_json) print_difference(*difference);
  if (difference->empty()) {
    if (!as_json) std::printf("the database is as the model says\n");
    co_return Result<void>{};
  }
  std::string text = "the database is not as the model says. To bring it there:";
  for (const auto& change : difference->changes)
    text += fmt::format("\n{}{}", change.review ? "-- loses data:\n" : "", change.up);
  for (const auto& refusal : difference->refusals) text += "\n" + refusal;
  co_return fail(Code::conflict, as_json ? "the database is not as the model says" : std::move(text));
}

}  // namespace

int check_model(const MigrateFlags& flags) {
  return with_connection(flags, [&](pg::Connection& connection, const schema::History& history) {
    return check(connection, history, flags.json);
  });
}

}  // namespace cognive::commands
