// `cognive master-key`: replaces the master key of a running installation, without changing any other key.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <system_error>

#include "audit/audit.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/bind.hpp"
#include "keyring/slots.hpp"
#include "pg/transact.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{30};

struct Flags {
  std::string data;
  std::string file;
  std::string id;
  bool force = false;
  bool json = false;
};

using MasterKeyTask =
    std::function<Async<int>(pg::Cluster& database, const Call& call, const keyring::RootKey& root, const Flags&)>;

int with_root_key(const Flags& flags, const MasterKeyTask& task) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  return with_installation(*settings, timeout, Access::proves,
                           [&](pg::Cluster& database, const Call& call, const keyring::RootKey& root) {
                             return task(database, call, root, flags);
                           });
}

Async<int> list(pg::Cluster& database, const Call& call, const keyring::RootKey& root, const Flags& flags) {
  Table table({{"id"}, {"created"}, {"last used"}, {""}});
  for (const auto& one : co_await keyring::list(database.primary(), call.deadline)) {
    if (flags.json) {
      std::printf("%s\n", json::encode(one).c_str());
    } else {
      table.add({one.id, one.created_at.text(), one.used_at ? one.used_at->text() : "never",
                 one.id == root.id() ? "this command's" : ""});
    }
  }
  if (!flags.json) std::fputs(table.text().c_str(), stdout);
  co_return 0;
}

// A new file that nobody else may read, or none.
Result<std::string> make_key_file(const std::string& path) {
  constexpr std::size_t bytes = 32;
  std::array<std::uint8_t, bytes> secret{};
  random_bytes(secret);
  auto key = to_hex(secret);
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0)
    return fail(Code::conflict, path + " cannot be made: " + std::error_code(errno, std::generic_category()).message());
  const auto text = key + "\n";
  errno = ENOSPC;  // what a short write means
  const bool is_whole = ::write(descriptor, text.data(), text.size()) == std::ssize(text) && ::fsync(descriptor) == 0;
  const auto reason = std::error_code(errno, std::generic_category()).message();
  ::close(descriptor);
  if (is_whole) return key;
  ::unlink(path.c_str());
  return fail(Code::conflict, path + " cannot be written: " + reason);
}

Result<std::string> key_of_file(const std::string& path) {
  std::error_code cannot_look;
  if (std::filesystem::is_directory(path, cannot_look)) return fail(Code::unprocessable, path + " is a directory.");
  if (!std::filesystem::exists(path, cannot_look) && !cannot_look) {
    auto key = make_key_file(path);
    if (key) std::fprintf(stderr, "A new master key was written to %s.\n", path.c_str());
    return key;
  }
  std::ifstream in(path);
  std::stringstream content;
  content << in.rdbuf();
  if (!in) return fail(Code::not_found, path + " cannot be read.");
  std::string key(trim(content.str()));
  if (key.size() < master_key_length_min)
    return fail(Code::unprocessable, path + " must have at least 32 characters; without that file, one is made.");
  return key;
}

audit::Entry entry(std::string_view action, const std::string& id) {
  return {.action = action, .resource_kind = "master_key", .resource_id = id, .team_id = {}};
}

Async<int> add(pg::Cluster& database, const Call& call, const keyring::RootKey& root, const Flags& flags) {
  const auto key = key_of_file(flags.file);
  if (!key) co_return explain(key.error());
  const audit::Trail trail(root);
  const auto slot = root.sealed_under(*key);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<std::optional<keyring::Slot>>> {
    auto stored = co_await keyring::add(transaction, slot);
    if (!stored) trail.record(transaction, call, entry("master_key_add", slot.id));
    co_return stored;
  };
  const auto stored = co_await pg::transact(database, "master_key_add", call, body);
  if (!stored) co_return explain(stored.error());
  if (const auto& there = *stored; there && !root.opens_the_same(*key, *there)) {
    co_return explain(
        {Code::conflict,
         "Row " + slot.id + " of table master_keys is not what was stored there: remove it, and try again.",
         {}});
  }
  std::printf("Master key %s opens this installation%s.\n", slot.id.c_str(), *stored ? " already" : "");
  if (slot.id != root.id()) {
    std::printf(
        "Now let every process start with it, one after the other: COGNIVE_MASTER_KEY_FILE, or with `cognive up` the "
        "file\n"
        "DIR/master-key. Then:\n"
        "  cognive master-key remove %s\n",
        root.id().c_str());
  }
  co_return 0;
}

Async<int> remove(pg::Cluster& database, const Call& call, const keyring::RootKey& root, const Flags& flags) {
  if (flags.id == root.id()) {
    co_return explain({Code::conflict,
                       flags.id + " is the master key that this command itself runs with: set the one "
                                  "that shall stay, and try again.",
                       {}});
  }
  const audit::Trail trail(root);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<void>> {
    const auto known = co_await keyring::lock(transaction);
    const auto found = std::ranges::find(known, flags.id, &keyring::KnownMasterKey::id);
    if (found == known.end())
      co_return fail(Code::not_found, "There is no master key " + flags.id + "; see `cognive master-key list`.");
    // Somebody else may have removed ours since this command began: one has to stay.
    if (std::ranges::find(known, root.id(), &keyring::KnownMasterKey::id) == known.end())
      co_return fail(Code::conflict, root.id() + ", which this command runs with, opens nothing any more.");
    if (!flags.force && found->is_in_use) {
      co_return fail(Code::conflict,
                     fmt::format("A process has used it at {}: it could not be started again. Restart all with the new "
                                 "one, and try again half an hour later; or use --force.",
                                 found->used_at->text()));
    }
    co_await keyring::remove(transaction, flags.id);
    auto removed = entry("master_key_remove", flags.id);
    if (found->is_in_use) removed.details = R"({"forced":true})";
    trail.record(transaction, call, std::move(removed));
    co_return Result<void>{};
  };
  const auto removed = co_await pg::transact(database, "master_key_remove", call, body);
  if (!removed) co_return explain(removed.error());
  std::printf("Master key %s opens nothing any more.\n", flags.id.c_str());
  co_return 0;
}

}  // namespace

void add_master_key(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand(
      "master-key",
      "Replace the master key, which opens the key that everything else is encrypted, hashed and signed under.\n"
      "Nothing else changes: API keys, sessions, webhooks and the audit trail go on.\n\n"
      "  cognive master-key add --file NEW      both open the installation from now on\n"
      "  …                                      restart every process with COGNIVE_MASTER_KEY_FILE=NEW\n"
      "  cognive master-key remove OLD_ID       the old one opens nothing any more");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  command->require_subcommand(1);
  command->fallthrough();  // --data may stand behind the verb, too
  const auto verb = [&](const char* name, const char* help, MasterKeyTask task) {
    auto* one = command->add_subcommand(name, help);
    one->callback([flags, &chosen, task] { chosen = [flags, task] { return with_root_key(*flags, task); }; });
    return one;
  };
  verb("list", "List the master keys that open this installation", list)
      ->add_flag("--json", flags->json, "One JSON object per line");
  verb("add", "Let another master key open this installation, too", add)
      ->add_option("--file", flags->file, "A file with the new master key; made, with a random one, when there is none")
      ->required();
  auto* remove_command = verb("remove", "Let a master key open this installation no longer", remove);
  remove_command->add_option("id", flags->id, "Its id, as `list` tells it")->required();
  remove_command->add_flag("--force", flags->force, "Even when a process has used it lately");
}

}  // namespace cognive::commands
