"""Every route × everybody: without credentials, with bad, expired and revoked ones, in each role, and of another team."""

import json
import re
import time
from pathlib import Path

import pytest

from installation import uuid7
from problems import check_problem
from routes import OBJECTS, operations

GUARDED = [(method.upper(), path, operation) for method, path, operation in operations() if operation.get("security")]
ROLES = ("admin", "team_lead", "developer", "viewer")
DOCUMENTED = Path(__file__).parents[2] / "docs/identity.md"
# Whoever may call them must be a person with a session, or act for the whole organisation.
OF_PEOPLE = {"session_logout", "password_change"}
OF_THE_ORGANISATION = {"team_create", "team_update", "user_create", "user_list", "user_get", "user_update", "task_get", "task_revoke"}


def documented_roles():
    """The table of docs/identity.md: permission → the roles that hold it."""
    table = {}
    for line in DOCUMENTED.read_text().splitlines():
        found = re.match(r"\| `([a-z]+:[a-z]+)` \|(.*)\|$", line)
        if found:
            cells = [cell.strip() for cell in found[2].split("|")]
            table[found[1]] = {role for role, cell in zip(ROLES, cells, strict=True) if cell == "yes"}
    return table


@pytest.fixture(scope="module")
def people(installation):
    """Somebody of each role: admin in the organisation, the others in the team `insiders`; and the lead of another team."""
    return {"admin": installation.person("admin"), **{role: installation.person(f"{role}@insiders") for role in ROLES[1:]},
            "outsider": installation.person("team_lead@outsiders"), "nobody": installation.person()}


@pytest.fixture(scope="module")
def insiders(installation, people):
    """The id of one of everything that the team `insiders` has, by the part of a path that names it."""
    api = installation.api(installation.team_key("insiders"))
    agent = api.agent()["id"]
    team = people["team_lead"].get("/api/v1/auth/me").json()["team_id"]
    budget = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent, "window": "total", "limit_usd": 1_000_000}).json()["id"]
    reservation = api.post("/api/v1/budgets/authorize", json={"agent_id": agent, "model": "gpt-4o", "max_cost_usd": 1, "expires_in_s": 86_400}).json()["reservation_id"]
    channel = api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": "https://hooks.example.com/cognive", "enabled": False}).json()["id"]
    override = api.post("/api/v1/prices/overrides", json={"provider": "acme", "model": uuid7(), "effective_from": "2036-01-01T00:00:00Z", "rates": {"input_mtok": 1}})
    assert override.status_code == 201, override.text
    artifact = api.post("/api/v1/artifacts", params={"agent_id": agent, "name": "a"}, data=b"bytes").json()["id"]
    upload = api.post("/api/v1/artifact-uploads", json={"agent_id": agent, "name": "a"}).json()["artifact"]["id"]
    export = api.post("/api/v1/exports", json={"kind": "calls", "from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z"}).json()["id"]
    return {"exports": export, "artifacts": artifact, "artifact-uploads": upload, "agents": agent, "runs": api.run(agent)["run_id"], "teams": team, "budgets": budget, "reservations": reservation,
            "alert-channels": channel, "api-keys": api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["events:write"]}).json()["id"]}


def target(path, ids=None):
    """A path with an unknown id in it, or with that of something that there is."""
    kind = next((part for part in reversed(path.split("/{")[0].split("/")) if part in (ids or {})), None)
    path = path.replace("{id}", ids[kind] if kind else uuid7()).replace("{number}", "1")
    return re.sub(r"\{\w+\}", lambda _: uuid7(), path)


def send(client, method, path, **kwargs):
    """A request without anything that a handler would accept."""
    return client.request(method, path, data=None if method == "GET" else b"{}", **kwargs)


guarded = pytest.mark.parametrize("method, path, operation", GUARDED, ids=lambda value: value["operationId"] if isinstance(value, dict) else "")


def test_every_operation_says_who_may_call_it():
    for _, path, operation in operations():
        if operation.get("security"):
            assert operation["security"] == [{"ApiKeyAuth": []}, {"BearerAuth": []}], path
            assert "x-permission" in operation or operation["operationId"] in OF_PEOPLE | {"me_get", "session_list", "session_end", "role_list"}, path


def test_the_documented_table_of_roles_is_the_one_that_holds(installation):
    held = {one["role"]: set(one["permissions"]) for one in installation.api().get("/api/v1/roles").json()["items"]}
    assert list(held) == list(ROLES)
    permissions = set().union(*held.values())
    assert permissions >= {operation["x-permission"] for _, _, operation in GUARDED if "x-permission" in operation}
    assert documented_roles() == {one: {role for role in ROLES if one in held[role]} for one in permissions}


@guarded
def test_a_role_may_what_the_table_says(people, method, path, operation):
    if operation["operationId"] == "session_logout":
        return  # anybody's session would be over
    permission = operation.get("x-permission")
    for role in ROLES:
        answer = send(people[role], method, target(path))
        assert answer.status_code not in (401, 500), (role, answer.text)
        lacks = answer.status_code == 403 and "This needs the permission" in answer.json()["detail"]
        assert lacks == (permission is not None and role not in documented_roles()[permission]), (role, answer.text)
        if lacks:
            assert permission in check_problem(answer, 403)["detail"]


@guarded
def test_somebody_without_a_role_may_do_what_needs_none(people, method, path, operation):
    if operation["operationId"] in OF_PEOPLE:
        return
    answer = send(people["nobody"], method, target(path))
    if "x-permission" in operation:
        assert "no role" in check_problem(answer, 403)["detail"]
    else:
        assert answer.status_code in (200, 404), answer.text


@guarded
def test_nothing_of_another_team_can_be_seen_or_changed(installation, people, insiders, method, path, operation):
    """With a body that would be accepted: what is another team's is not there."""
    if "{id}" not in path or "x-permission" not in operation or not any(part in insiders for part in path.split("/")):
        return
    body = next((route.sample({"agent": uuid7(), "run": uuid7()}) for route in OBJECTS if route.id == operation["operationId"]), None)
    data = json.dumps(body) if body is not None else b"[]" if "requestBody" in operation else None
    for client in (people["outsider"], installation.api(installation.team_key("outsiders"))):
        answer = client.request(method, target(path, insiders), data=data)
        assert answer.status_code == (403 if operation["operationId"] in OF_THE_ORGANISATION else 404), answer.text


@guarded
def test_credentials_that_hold_no_more_are_401(installation, dead, method, path, operation):
    for name, headers in dead.items():
        answer = installation.api(None).session.request(method, installation.url + target(path), headers={"X-API-Key": None} | headers, data=b"{}")
        assert check_problem(answer, 401)["type"] == "urn:cognive:problem:unauthenticated", name


@pytest.fixture(scope="module")
def dead(installation):
    """Headers of what was valid once: an expired key, a revoked one, one that was rotated away, a session that was ended, a suspended user."""
    api = installation.api()
    texts = {}
    for name in ("expired", "revoked", "rotated"):
        made = api.post("/api/v1/api-keys", json={"name": name, "permissions": ["*"]}).json()
        texts[name] = {"X-API-Key": made["key"]}
        assert installation.api(made["key"]).get("/api/v1/teams").status_code == 200
        if name == "expired":
            installation.sql("UPDATE api_keys SET expires_at = now() - interval '1 second' WHERE id = %s", made["id"])
        elif name == "revoked":
            assert api.delete(f"/api/v1/api-keys/{made['id']}").status_code == 200
        else:
            assert api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={"overlap_s": 0}).status_code == 200
    gone = installation.person("admin")
    assert gone.post("/api/v1/auth/logout").status_code == 200
    suspended = installation.person("admin")
    assert api.patch(f"/api/v1/users/{suspended.id}", json={"status": "suspended"}).status_code == 200
    for name, client in (("signed out", gone), ("suspended", suspended)):
        texts[name] = {"Authorization": client.session.headers["Authorization"]}
        texts[name + ", as a key"] = {"X-API-Key": client.tokens["access_token"]}
    header, claims, signature = gone.tokens["access_token"].split(".")
    texts["no algorithm"] = {"Authorization": f"Bearer eyJhbGciOiJub25lIn0.{claims}."}
    texts["a refresh token"] = {"Authorization": f"Bearer {installation.person('admin').tokens['refresh_token']}"}
    time.sleep(1.1)
    return texts


# On several nodes.

def test_what_is_revoked_on_one_node_is_refused_on_the_others_within_a_second(installation, other_node):
    api = installation.api()
    made = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["*"]}).json()
    person = installation.person("admin")
    for headers, revoke in (({"X-API-Key": made["key"]}, lambda: api.delete(f"/api/v1/api-keys/{made['id']}")),
                            ({"Authorization": person.session.headers["Authorization"]}, lambda: person.post("/api/v1/auth/logout"))):
        ask = lambda: other_node.api().session.get(other_node.url + "/api/v1/agents?limit=1", headers={"X-API-Key": None} | headers).status_code
        assert ask() == 200
        assert revoke().status_code == 200
        revoked = time.monotonic()
        while ask() == 200:
            assert time.monotonic() - revoked < 1.2
        assert ask() == 401


def test_a_token_of_one_node_holds_on_the_others(installation, other_node):
    person = installation.person("viewer")
    headers = {"X-API-Key": None, "Authorization": person.session.headers["Authorization"]}
    assert other_node.api().session.get(other_node.url + "/api/v1/auth/me", headers=headers).json()["email"] == person.email
    tokens = other_node.api().session.post(other_node.url + "/api/v1/auth/refresh", json={"refresh_token": person.tokens["refresh_token"]}).json()
    assert installation.api(bearer=tokens["access_token"]).get("/api/v1/auth/me").status_code == 200
