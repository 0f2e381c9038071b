// `cognive keys`: API keys, straight in the database.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "identity/keys.hpp"
#include "json/bind.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{30};
constexpr std::int64_t page = 500;

struct Flags {
  std::string data;
  std::string name;
  std::string team;
  std::string agent_id;
  std::string expires_at;
  std::vector<std::string> permissions{"*"};
  std::string id;
  std::int64_t overlap_s = identity::ApiKeyRotate{}.overlap_s;
  bool json = false;
};

using KeysTask = std::function<Async<int>(identity::Keys&, const Call&, const Flags&)>;

int with_keys(const Flags& flags, Access access, const KeysTask& task) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  const auto body = [&](pg::Cluster& database, const Call& call, const keyring::RootKey& root) -> Async<int> {
    identity::KeyLimits limits;
    identity::Keys keys(database, audit::Trail(root), identity::SecretHasher(root), limits);
    co_return co_await task(keys, call, flags);
  };
  return with_installation(*settings, timeout, access, body);
}

// The key alone on standard output, so that a script can take it.
void show_secret(const identity::ApiKeySecret& key, std::string_view what) {
  std::fprintf(stderr, "%s %s (%s), shown once:\n", std::string(what).c_str(), key.name.c_str(),
               key.team.value_or("organisation-wide").c_str());
  std::printf("%s\n", key.key.c_str());
}

Async<int> create(identity::Keys& keys, const Call& call, const Flags& flags) {
  identity::ApiKeyCreate request{.name = flags.name, .permissions = flags.permissions};
  if (!flags.team.empty()) request.team = flags.team;
  if (!flags.agent_id.empty()) {
    request.agent_id = Uuid::parse(flags.agent_id);
    if (!request.agent_id) co_return explain({Code::unprocessable, flags.agent_id + " is no agent's id", {}});
  }
  if (!flags.expires_at.empty()) {
    request.expires_at = Timestamp::parse(flags.expires_at);
    if (!request.expires_at) {
      co_return explain(
          {Code::unprocessable, flags.expires_at + " is no time; write it like 2027-01-31T00:00:00Z", {}});
    }
  }
  const auto created = co_await keys.create(call, std::move(request));
  if (!created) co_return explain(created.error());
  show_secret(*created, "API key");
  co_return 0;
}

std::string state_of(const identity::ApiKey& key) {
  const auto now = Timestamp::now();
  if (key.revoked_at) return "revoked " + key.revoked_at->text();
  if (key.expires_at) return (*key.expires_at <= now ? "expired " : "until ") + key.expires_at->text();
  return "active";
}

Async<int> list(identity::Keys& keys, const Call& call, const Flags& flags) {
  Table table({{"id"}, {"name"}, {"team"}, {"permissions"}, {"created"}, {"last used"}, {"state"}});
  identity::ApiKeyList query{.limit = page};
  if (!flags.team.empty()) query.team = flags.team;
  for (;;) {
    const auto found = co_await keys.list(call, query);
    if (!found) co_return explain(found.error());
    for (const auto& key : found->items) {
      if (flags.json) {
        std::printf("%s\n", json::encode(key).c_str());
        continue;
      }
      table.add({key.id.text(), key.name, key.team.value_or("(organisation)"),
                 fmt::format("{}", fmt::join(key.permissions, " ")), key.created_at.text(),
                 key.last_used_at ? key.last_used_at->text() : "never", state_of(key)});
    }
    if (!found->next_cursor) break;
    query.cursor = json::PagePosition::parse(*found->next_cursor);
  }
  if (!flags.json) std::fputs(table.text().c_str(), stdout);
  co_return 0;
}

std::optional<Uuid> id_of(const Flags& flags) {
  const auto id = Uuid::parse(flags.id);
  if (!id) explain({Code::unprocessable, flags.id + " is no key's id; see `cognive keys list`", {}});
  return id;
}

Async<int> rotate(identity::Keys& keys, const Call& call, const Flags& flags) {
  const auto id = id_of(flags);
  if (!id) co_return 1;
  const auto rotated = co_await keys.rotate(call, *id, {.overlap_s = flags.overlap_s});
  if (!rotated) co_return explain(rotated.error());
  if (rotated->previous_until)
    std::fprintf(stderr, "The secret before is accepted until %s.\n", rotated->previous_until->text().c_str());
  show_secret(*rotated, "New secret of API key");
  co_return 0;
}

Async<int> revoke(identity::Keys& keys, const Call& call, const Flags& flags) {
  const auto id = id_of(flags);
  if (!id) co_return 1;
  const auto revoked = co_await keys.revoke(call, *id);
  if (!revoked) co_return explain(revoked.error());
  std::printf("revoked; in force everywhere within a second\n");
  co_return 0;
}

}  // namespace

void add_keys(CLI::App& root, Action& chosen) {
  auto* keys = root.add_subcommand("keys", "Create, list, rotate and revoke API keys");
  const auto flags = std::make_shared<Flags>();
  keys->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  keys->require_subcommand(1);
  keys->fallthrough();  // --data may stand behind the verb, too
  const auto verb = [&](const char* name, const char* help, KeysTask task, Access access = Access::changes) {
    auto* command = keys->add_subcommand(name, help);
    command->callback(
        [flags, &chosen, task, access] { chosen = [flags, task, access] { return with_keys(*flags, access, task); }; });
    return command;
  };
  auto* create_command = verb("create", "Create a key and print it, once", create);
  create_command->add_option("--name", flags->name, "What it is for")->required()->check([](const std::string& name) {
    return name.empty() || name.size() > 128 ? "It must have 1 to 128 bytes." : std::string();
  });
  create_command->add_option("--team", flags->team, "The team that it belongs to; organisation-wide when absent");
  create_command->add_option("--agent", flags->agent_id, "The id of the only agent that it acts for");
  create_command->add_option("--expires-at", flags->expires_at, "From then on it is refused: 2027-01-31T00:00:00Z");
  create_command->add_option("--permission", flags->permissions,
                             "For instance agents:read; repeatable; all when absent");
  auto* list_command = verb("list", "List keys", list, Access::looks);
  list_command->add_option("--team", flags->team, "Only of this team");
  list_command->add_flag("--json", flags->json, "One JSON object per line");
  auto* rotate_command = verb("rotate", "Give a key a new secret and print it, once", rotate);
  rotate_command->add_option("id", flags->id, "The key's id")->required();
  rotate_command->add_option("--overlap-s", flags->overlap_s, "For so long the secret before is accepted too")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{30} * 86'400))
      ->capture_default_str();
  verb("revoke", "Revoke a key", revoke)->add_option("id", flags->id, "The key's id")->required();
}

}  // namespace cognive::commands
