// `cognive keys`: API keys, straight in the database.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "identity/identity.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{30};

struct Flags {
  std::string data;
  std::string name;
  std::string team;
  std::vector<std::string> permissions{"*"};
  std::string id;
};

using IdentityTask = std::function<Async<int>(identity::Identity&, const Call&)>;

int with_identity(const std::string& data, const IdentityTask& task) {
  const auto variables = tool_variables(data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  return with_database(*settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    identity::Identity identity(database, identity::SecretHasher(settings->master_key));
    co_return co_await task(identity, call);
  });
}

Async<int> create(identity::Identity& identity, const Call& call, const Flags& flags) {
  identity::KeyCreate request{.name = flags.name, .permissions = flags.permissions};
  if (!flags.team.empty()) request.team = flags.team;
  const auto created = co_await identity.key_create(call, std::move(request));
  if (!created) co_return explain(created.error());
  // The key alone on standard output, so that a script can take it.
  std::fprintf(stderr, "API key %s (%s), shown once:\n", flags.name.c_str(),
               flags.team.empty() ? "organisation-wide" : flags.team.c_str());
  std::printf("%s\n", created->text.c_str());
  co_return 0;
}

Async<int> list(identity::Identity& identity, const Call& call) {
  Table table({{"id"}, {"name"}, {"team"}, {"permissions"}, {"created"}, {"state"}});
  for (const auto& key : co_await identity.key_list(call)) {
    table.add({key.id.text(), key.name, key.team.value_or("(organisation)"),
               fmt::format("{}", fmt::join(key.permissions, " ")), key.created_at.text(),
               key.revoked_at ? "revoked " + key.revoked_at->text() : "active"});
  }
  std::fputs(table.text().c_str(), stdout);
  co_return 0;
}

Async<int> revoke(identity::Identity& identity, const Call& call, std::string text) {
  const auto id = Uuid::parse(text);
  if (!id) co_return explain({Code::unprocessable, text + " is no key's id; see `cognive keys list`", {}});
  const auto revoked = co_await identity.key_revoke(call, *id);
  if (!revoked) co_return explain(revoked.error());
  std::printf("revoked; in force everywhere within a second\n");
  co_return 0;
}

}  // namespace

void add_keys(CLI::App& root, Action& chosen) {
  auto* keys = root.add_subcommand("keys", "Create, list and revoke API keys");
  const auto flags = std::make_shared<Flags>();
  keys->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  keys->require_subcommand(1);
  keys->fallthrough();  // --data may stand behind the verb, too
  auto* create_command = keys->add_subcommand("create", "Create a key and print it, once");
  create_command->add_option("--name", flags->name, "What it is for")->required();
  create_command->add_option("--team", flags->team, "The team that it belongs to; organisation-wide when absent");
  create_command->add_option("--permission", flags->permissions,
                             "For instance agents:read; repeatable; all when absent");
  create_command->callback([flags, &chosen] {
    chosen = [flags] {
      return with_identity(flags->data,
                           [flags](auto& identity, const Call& call) { return create(identity, call, *flags); });
    };
  });
  auto* list_command = keys->add_subcommand("list", "List keys");
  list_command->callback([flags, &chosen] { chosen = [flags] { return with_identity(flags->data, list); }; });
  auto* revoke_command = keys->add_subcommand("revoke", "Revoke a key");
  revoke_command->add_option("id", flags->id, "The key's id")->required();
  revoke_command->callback([flags, &chosen] {
    chosen = [flags] {
      return with_identity(flags->data,
                           [flags](auto& identity, const Call& call) { return revoke(identity, call, flags->id); });
    };
  });
}

}  // namespace cognive::commands
