// `cognive users`: people, straight in the database. For the first admin, and for when nobody can sign in any more.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "base/crypto.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "identity/users.hpp"
#include "json/bind.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{30};
constexpr std::int64_t page = 500;
constexpr std::size_t made_password_length = 20;

struct Flags {
  std::string data;
  std::string email;
  std::string name;
  std::string role;
  std::string team;
  bool password_stdin = false;
  bool json = false;
};

using UsersTask = std::function<Async<int>(identity::Users&, const Call&, const Flags&)>;

int with_users(const Flags& flags, Access access, const UsersTask& task) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  identity::Passwords passwords;
  const auto body = [&](pg::Cluster& database, const Call& call, const keyring::RootKey& root) -> Async<int> {
    identity::Users users(database, audit::Trail(root), passwords);
    co_return co_await task(users, call, flags);
  };
  return with_installation(*settings, timeout, access, body);
}

// Never a flag: command lines are seen by everybody on the machine.
struct NewPassword {
  std::string text;
  bool made = false;
};

Result<NewPassword> new_password(const Flags& flags) {
  if (!flags.password_stdin) return NewPassword{random_token(made_password_length), true};
  NewPassword out;
  std::getline(std::cin, out.text);
  if (out.text.ends_with('\r')) out.text.pop_back();
  if (out.text.size() < identity::password_rules.min_length || out.text.size() > identity::password_rules.max_length) {
    return unprocessable("/password",
                         fmt::format("A password has {} to {} characters.", identity::password_rules.min_length,
                                     identity::password_rules.max_length));
  }
  return out;
}

// The password alone on standard output, so that a script can take it.
void show(const NewPassword& password, const std::string& email) {
  if (!password.made) return;
  std::fprintf(stderr, "Password of %s, shown once:\n", email.c_str());
  std::printf("%s\n", password.text.c_str());
}

Async<int> create(identity::Users& users, const Call& call, const Flags& flags) {
  identity::UserCreate request{.email = flags.email, .name = flags.name};
  if (!looks_like_mail_address(request.email))
    co_return explain({Code::unprocessable, request.email + " is no e-mail address", {}});
  identity::RoleGrant grant;
  json::enum_parse(flags.role, grant.role);  // one of them: the flag allows nothing else
  if (!flags.team.empty()) grant.team = flags.team;
  request.roles.push_back(std::move(grant));
  const auto password = new_password(flags);
  if (!password) co_return explain(password.error());
  request.password = password->text;
  const auto created = co_await users.create(call, std::move(request));
  if (!created) co_return explain(created.error());
  std::fprintf(stderr, "%s is %s %s.\n", created->email.c_str(), flags.role.c_str(),
               flags.team.empty() ? "in the whole organisation" : ("of the team " + flags.team).c_str());
  show(*password, created->email);
  co_return 0;
}

Async<int> list(identity::Users& users, const Call& call, const Flags& flags) {
  Table table({{"id"}, {"e-mail"}, {"name"}, {"roles"}, {"created"}, {"last login"}, {"state"}});
  identity::UserList query{.limit = page};
  for (;;) {
    const auto found = co_await users.list(call, query);
    if (!found) co_return explain(found.error());
    for (const auto& user : found->items) {
      if (flags.json) {
        std::printf("%s\n", json::encode(user).c_str());
        continue;
      }
      std::vector<std::string> roles;
      for (const auto& held : user.roles)
        roles.push_back(std::string(json::enum_text(held.role)) + (held.team ? "@" + *held.team : ""));
      table.add({user.id.text(), user.email, user.name, fmt::format("{}", fmt::join(roles, " ")),
                 user.created_at.text(), user.last_login_at ? user.last_login_at->text() : "never",
                 std::string(json::enum_text(user.status))});
    }
    if (!found->next_cursor) break;
    query.cursor = json::PagePosition::parse(*found->next_cursor);
  }
  if (!flags.json) std::fputs(table.text().c_str(), stdout);
  co_return 0;
}

// Nothing, explained, when there is nobody with that address.
Async<std::optional<Uuid>> find(identity::Users& users, const Call& call, const Flags& flags) {
  const auto found = co_await users.list(call, {.email = flags.email});
  if (found && !found->items.empty()) co_return found->items.front().id;
  explain({Code::not_found, "there is no user " + flags.email + "; see `cognive users list`", {}});
  co_return std::nullopt;
}

Async<int> change(identity::Users& users, const Call& call, const Flags& flags, identity::UserUpdate update) {
  const auto id = co_await find(users, call, flags);
  if (!id) co_return 1;
  const auto changed = co_await users.update(call, *id, std::move(update));
  if (!changed) co_return explain(changed.error());
  std::fprintf(stderr, "%s is %s.\n", changed->email.c_str(), std::string(json::enum_text(changed->status)).c_str());
  co_return 0;
}

Async<int> suspend(identity::Users& users, const Call& call, const Flags& flags) {
  return change(users, call, flags, {.status = identity::UserStatus::suspended});
}

Async<int> activate(identity::Users& users, const Call& call, const Flags& flags) {
  return change(users, call, flags, {.status = identity::UserStatus::active});
}

Async<int> reset_password(identity::Users& users, const Call& call, const Flags& flags) {
  const auto password = new_password(flags);
  if (!password) co_return explain(password.error());
  const int status = co_await change(users, call, flags, {.password = password->text});
  if (status == 0) show(*password, flags.email);
  co_return status;
}

}  // namespace

void add_users(CLI::App& root, Action& chosen) {
  auto* users = root.add_subcommand("users", "Create, list and suspend users, and reset their passwords");
  const auto flags = std::make_shared<Flags>();
  users->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  users->require_subcommand(1);
  users->fallthrough();  // --data may stand behind the verb, too
  const auto verb = [&](const char* name, const char* help, UsersTask task, Access access = Access::changes) {
    auto* command = users->add_subcommand(name, help);
    command->callback([flags, &chosen, task, access] {
      chosen = [flags, task, access] { return with_users(*flags, access, task); };
    });
    return command;
  };
  const auto takes_password = [&](CLI::App* command) {
    command->add_flag("--password-stdin", flags->password_stdin,
                      "Read the password from standard input; without it one is made and printed, once");
  };
  auto* create_command = verb("create", "Create a user", create);
  create_command->add_option("email", flags->email, "What they sign in with")->required();
  create_command->add_option("--name", flags->name, "For people");
  std::vector<std::string> roles;
  for (const auto& [role, text] : enum_names(identity::Role{})) roles.emplace_back(text);
  create_command->add_option("--role", flags->role, "What they are")->required()->check(CLI::IsMember(roles));
  create_command->add_option("--team", flags->team, "Where; in the whole organisation when absent");
  takes_password(create_command);
  verb("list", "List users", list, Access::looks)->add_flag("--json", flags->json, "One JSON object per line");
  for (auto* command : {verb("suspend", "Keep a user out and end all sessions", suspend),
                        verb("activate", "Let a suspended user in again", activate),
                        verb("reset-password", "Give a user a new password and end all sessions", reset_password)}) {
    command->add_option("email", flags->email, "What they sign in with")->required();
    if (command->get_name() == "reset-password") takes_password(command);
  }
}

}  // namespace cognive::commands
