// `cognive audit`: whether the audit trail is what was recorded.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "audit/archive.hpp"
#include "audit/segments.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::minutes timeout{60};

struct Flags {
  std::string data;
  std::string archive;
  bool from_storage = false;
  bool json = false;
};

// What has been looked at.
struct Looked {
  std::string name = "the audit trail";  // for people
  const audit::SegmentVerification* segments = nullptr;
};

std::string json_of(const Looked& looked, const audit::Verification& found) {
  json::Writer out;
  out.begin_object();
  out.key("proved");
  out.integer(found.entries);
  out.key("recorded_before_the_chain");
  out.integer(found.earlier);
  out.key("intact");
  out.boolean(!found.broken);
  out.key("broken");
  if (found.broken) {
    out.begin_object();
    out.key("sequence");
    out.integer(found.broken->sequence);
    out.field("what", found.broken->what);
    out.end_object();
  } else {
    out.null();
  }
  if (looked.segments != nullptr) {
    out.key("first");
    out.integer(looked.segments->first);
    out.key("last");
    out.integer(looked.segments->last ? looked.segments->last->sequence : 0);
    out.key("segments");
    out.integer(looked.segments->segments);
  }
  out.end_object();
  return std::move(out).text();
}

void print(const Looked& looked, const audit::Verification& found) {
  if (found.broken) {
    std::fprintf(stderr, "cognive: %s has been tampered with: %s\n", looked.name.c_str(), found.broken->what.c_str());
    std::printf("%lld entries before that are intact.\n", static_cast<long long>(found.entries));
    return;
  }
  std::printf("%lld entries are what was recorded", static_cast<long long>(found.entries));
  if (found.earlier > 0) std::printf(", and %lld from before there was a chain", static_cast<long long>(found.earlier));
  std::printf(".\n");
}

void print(const Looked& looked, const audit::Verification& found, bool is_json) {
  if (is_json) {
    std::printf("%s\n", json_of(looked, found).c_str());
  } else {
    print(looked, found);
  }
}

// The exit status that tells of it; whatever kept us from looking is 1.
constexpr int tampered = 3;

// Needs no database.
int verify_file(const std::string& file, const Settings& settings, bool is_json) {
  const auto found = audit::verify_archive(file, keyring::RootKey(settings.master_key));
  if (!found) return explain(found.error());
  print({.name = file}, found->trail, is_json);
  if (!is_json && !found->trail.broken)
    std::printf("%lld checkpoints of them are signed by this installation.\n",
                static_cast<long long>(found->checkpoints));
  return found->trail.broken ? tampered : 0;
}

// Needs no database either.
int verify_storage(const Settings& settings, bool is_json) {
  objects::Storage storage;
  if (const auto opened = open_storage(settings, storage); !opened) return explain(opened.error());
  if (!storage.store) return explain(objects::Objects::not_configured());
  Metrics metrics;
  const auto bucket = objects::Objects(storage, metrics).bucket(objects::Kind::audit);
  const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  const auto progress = [is_terminal](std::int64_t proved) {
    if (is_terminal) std::fprintf(stderr, "\r%lld entries", static_cast<long long>(proved));
  };
  const auto found = audit::verify_segments(*storage.store, bucket, keyring::RootKey(settings.master_key),
                                            Deadline::in(timeout), progress);
  if (is_terminal) std::fputs("\r\033[K", stderr);
  if (!found) return explain(found.error());
  print({.name = bucket, .segments = &*found}, found->trail, is_json);
  if (!is_json && !found->trail.broken)
    std::printf("They are entries %lld to %lld, in %lld segments with signed manifests in %s.\n",
                static_cast<long long>(found->first), static_cast<long long>(found->last ? found->last->sequence : 0),
                static_cast<long long>(found->segments), bucket.c_str());
  return found->trail.broken ? tampered : 0;
}

int verify(const Flags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const bool is_offline = flags.from_storage || !flags.archive.empty();
  const auto settings = load_settings(is_offline ? without_database(*variables) : *variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  if (flags.from_storage) return verify_storage(*settings, flags.json);
  if (!flags.archive.empty()) return verify_file(flags.archive, *settings, flags.json);
  const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  const auto progress = [is_terminal](std::int64_t proved) {
    if (is_terminal) std::fprintf(stderr, "\r%lld entries", static_cast<long long>(proved));
  };
  const auto task = [&](pg::Cluster& database, const Call& call, const keyring::RootKey& root) -> Async<int> {
    // What the archive knows of, the database must have.
    std::optional<audit::Checkpoint> kept;
    if (const auto& file = settings->audit_archive_file; !file.empty()) {
      const auto archived = audit::verify_archive(file, root);
      if (!archived) co_return explain(archived.error());
      if (archived->trail.broken) {
        print({.name = file}, archived->trail, flags.json);
        co_return tampered;
      }
      kept = archived->last;
    }
    const auto found = co_await audit::verify(database.primary(), root, kept, call.deadline, progress);
    if (is_terminal) std::fputs("\r\033[K", stderr);
    print({}, found, flags.json);
    co_return found.broken ? tampered : 0;
  };
  return with_installation(*settings, timeout, Access::proves, task);
}

}  // namespace

void add_audit(CLI::App& root, Action& chosen) {
  auto* audit = root.add_subcommand("audit", "The audit trail: prove that it is what was recorded");
  audit->require_subcommand(1);
  audit->fallthrough();  // --data may stand behind the verb, too
  const auto flags = std::make_shared<Flags>();
  audit->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  auto* verify_command = audit->add_subcommand(
      "verify",
      "Reckon the chain of seals again, from what the entries say, under the key that only the service has, and name\n"
      "the first entry that was changed, added, left out or moved. Exits with 3 when there is one, and with 1\nwhen it "
      "could not look.");
  auto* from_archive = verify_command->add_option(
      "--from-archive", flags->archive,
      "Prove this archive instead (see AUDIT_ARCHIVE_FILE), without a database; when that is set, the\n"
      "database is compared with it anyway");
  verify_command
      ->add_flag("--from-storage", flags->from_storage,
                 "Prove the archive in the object storage instead (STORAGE_ENDPOINT, …), without a database")
      ->excludes(from_archive);
  verify_command->add_flag("--json", flags->json, "As JSON, for scripts");
  verify_command->callback([flags, &chosen] { chosen = [flags] { return verify(*flags); }; });
}

}  // namespace cognive::commands
