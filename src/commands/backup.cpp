// `cognive backup`: the database in the object storage, and back.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "backups/backups.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "embedded/binaries.hpp"
#include "json/writer.hpp"
#include "objects/store.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::hours timeout{24};

struct Flags {
  std::string data;
  bool json = false;
  std::string id = "latest";
  std::string to;
};

std::string size_text(std::int64_t bytes) {
  constexpr double kibi = 1024;
  auto size = static_cast<double>(bytes);
  for (const auto* unit : {"bytes", "KiB", "MiB"}) {
    if (size < kibi) return fmt::format("{:.{}f} {}", size, unit == std::string_view("bytes") ? 0 : 1, unit);
    size /= kibi;
  }
  return fmt::format("{:.1f} GiB", size);
}

backups::Progress progress_of(const char* what) {
  const bool is_terminal = ::isatty(STDERR_FILENO) == 1;
  return [is_terminal, what](std::int64_t bytes) {
    if (is_terminal) std::fprintf(stderr, "\r\033[K%s: %s", what, size_text(bytes).c_str());
  };
}

void end_progress() {
  if (::isatty(STDERR_FILENO) == 1) std::fputs("\r\033[K", stderr);
}

Result<std::string> programs() {
  const auto identity = embedded::Identity::unprivileged();
  if (!identity) return std::unexpected(identity.error());
  auto found = embedded::find_binaries(*identity, std::nullopt);
  if (!found) return std::unexpected(found.error());
  return found->directory.native();
}

std::string bucket_of(const Settings& settings) {
  return settings.storage_bucket_prefix + std::string(backups::bucket_name);
}

int create(const Flags& flags) {
  return with_store(flags.data, DatabaseUrl::needed, [&](Settings& settings, objects::Store& store) {
    const auto bucket = bucket_of(settings);
    const auto found = programs();
    if (!found) return explain(found.error());
    return with_database(settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
      const backups::Place from{.url = co_await primary_url(settings), .programs = *found};
      const auto made = co_await backups::create(database, from, store, bucket, progress_of("dumped"), call.deadline);
      end_progress();
      if (!made) co_return explain(made.error());
      if (flags.json) {
        std::printf("%s\n", json::encode(*made).c_str());
      } else {
        std::printf("%s: %lld rows of %zu tables in %s, in %s/%s.\n", made->id.c_str(),
                    static_cast<long long>(made->rows()), made->tables.size(), size_text(made->bytes).c_str(),
                    store.place().c_str(), bucket.c_str());
        std::printf("To use what is restored of it takes the COGNIVE_MASTER_KEY of now, which is not in it.\n");
      }
      co_return 0;
    });
  });
}

// The manifests, each with what is wrong with its backup.
std::string json_of(const std::vector<backups::Listed>& all) {
  json::Writer out;
  out.begin_array();
  for (const auto& [manifest, trouble] : all) {
    auto text = json::encode(manifest);
    text.pop_back();
    json::Writer more;
    more.begin_object();
    more.key("trouble");
    if (trouble.empty()) {
      more.null();
    } else {
      more.string(trouble);
    }
    more.end_object();
    out.raw(text + "," + std::string(more.text()).substr(1));
  }
  out.end_array();
  return std::move(out).text();
}

int remove(const Flags& flags) {
  return with_store(flags.data, DatabaseUrl::unused, [&](const Settings& settings, objects::Store& store) {
    const auto done = backups::remove(store, bucket_of(settings), flags.id, Deadline::in(timeout));
    if (!done) return explain(done.error());
    std::printf("%s is removed.\n", flags.id.c_str());
    return 0;
  });
}

int list(const Flags& flags) {
  return with_store(
      flags.data, DatabaseUrl::unused, [is_json = flags.json](const Settings& settings, objects::Store& store) {
        const auto all = backups::list(store, bucket_of(settings), Deadline::in(timeout));
        if (!all) return explain(all.error());
        const auto is_whole = [](const backups::Listed& one) { return one.trouble.empty(); };
        const int status = std::ranges::all_of(*all, is_whole) ? 0 : 1;
        if (is_json) {
          std::printf("%s\n", json_of(*all).c_str());
          return status;
        }
        Table table({{"backup"},
                     {"made"},
                     {"revision"},
                     {"rows", Table::Align::right},
                     {"size", Table::Align::right},
                     {"trouble"}});
        for (const auto& [one, trouble] : *all) {
          const auto made = one.made_at.micros == 0 ? std::string() : one.made_at.text().substr(0, 19) + "Z";
          table.add({one.id, made, one.revision, std::to_string(one.rows()), size_text(one.bytes), trouble});
        }
        std::printf("%s", table.text().c_str());
        return status;
      });
}

int restore(const Flags& flags) {
  return with_store(flags.data, DatabaseUrl::needed, [&](Settings& settings, objects::Store& store) {
    const auto bucket = bucket_of(settings);
    if (!flags.to.empty()) settings.database_url = flags.to;
    settings.database_read_urls.clear();
    const auto found = programs();
    if (!found) return explain(found.error());
    const auto manifest = backups::find(store, bucket, flags.id, Deadline::in(timeout));
    if (!manifest) return explain(manifest.error());
    return with_database(settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
      const backups::Place to{.url = settings.database_url, .programs = *found};
      const auto done =
          co_await backups::restore(database, to, store, bucket, *manifest, progress_of("restored"), call.deadline);
      end_progress();
      if (!done) co_return explain(done.error());
      if (flags.json) {
        std::printf("%s\n", json::encode(*manifest).c_str());
      } else {
        std::printf("%s is restored: %lld rows of %zu tables, each as it was dumped.\n", manifest->id.c_str(),
                    static_cast<long long>(manifest->rows()), manifest->tables.size());
      }
      co_return 0;
    });
  });
}

}  // namespace

void add_backup(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand("backup", "The database in the object storage (STORAGE_ENDPOINT, …), and back");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, int (*run)(const Flags&)) {
    auto* verb = command->add_subcommand(name, what);
    const auto flags = std::make_shared<Flags>();
    verb->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
    verb->add_flag("--json", flags->json, "Print JSON");
    verb->callback([flags, run, &chosen] { chosen = [flags, run] { return run(*flags); }; });
    return std::pair(verb, flags);
  };
  add("create", "Dump the database of DATABASE_URL as it is at this moment, while all else goes on", &create);
  add("list", "Show what backups there are, the latest first", &list);
  const auto [verb, flags] =
      add("restore", "Fill an empty database from a backup, and compare every table with what was dumped", &restore);
  verb->add_option("backup", flags->id, "Which one; the latest when it is not said");
  verb->add_option("--to", flags->to, "URL of the empty database; DATABASE_URL when it is not said")
      ->check([](const std::string& url) { return url.empty() ? std::string("it is empty") : std::string(); });
  const auto [removing, of_removing] = add("remove", "Remove a backup from the object storage", &remove);
  removing->add_option("backup", of_removing->id, "Which one")->required();
}

}  // namespace cognive::commands
