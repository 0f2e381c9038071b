"""Agents: create, change, archive, list; teams keep apart."""

import uuid

from installation import uuid7


def test_an_agent_is_created_with_defaults_and_read_back(api):
    made = api.agent("planner-" + uuid7(), description="Plans", labels={"tier": "gold"}, metadata={"owner": {"on": "call"}},
                     allowed_models=["gpt-*"])
    assert made["framework"] == "custom" and made["environment"] == "development" and made["status"] == "active"
    assert made["labels"] == {"tier": "gold"} and made["metadata"] == {"owner": {"on": "call"}}
    assert api.get(f"/api/v1/agents/{made['id']}").json() == made


def test_the_name_is_unique_in_its_team(api):
    name = "unique-" + uuid7()
    api.agent(name)
    again = api.post("/api/v1/agents", json={"name": name})
    assert again.status_code == 409
    assert again.json()["type"] == "urn:cognive:problem:conflict"


def test_put_creates_then_changes_only_what_is_said(api):
    name = "put-" + uuid7()
    first = api.put("/api/v1/agents", json={"name": name, "framework": "langgraph", "version": "1"})
    assert first.status_code == 201
    second = api.put("/api/v1/agents", json={"name": name, "version": "2"})
    assert second.status_code == 200
    assert second.json()["id"] == first.json()["id"]
    assert (second.json()["framework"], second.json()["version"]) == ("langgraph", "2")
    third = api.put("/api/v1/agents", json={"name": name, "version": "2"})
    assert third.json()["updated_at"] == second.json()["updated_at"]


def test_patch_changes_and_archive_ends_it(api):
    agent = api.agent()
    path = f"/api/v1/agents/{agent['id']}"
    assert api.patch(path, json={"status": "suspended", "labels": {}}).json()["status"] == "suspended"
    assert api.patch(path, json={"status": "archived"}).status_code == 422
    archived = api.post(path + "/archive")
    assert archived.status_code == 200 and archived.json()["status"] == "archived" and archived.json()["archived_at"]
    assert api.post(path + "/archive").json() == archived.json()
    assert api.patch(path, json={"version": "3"}).status_code == 409
    assert api.get(path).json()["version"] is None


def test_lists_are_newest_first_and_cursors_are_stable_under_inserts(api):
    team = "list-" + uuid7()
    assert api.post("/api/v1/teams", json={"name": team}).status_code == 201
    names = [api.agent(f"{i}", team=team)["name"] for i in range(7)]
    first = api.get("/api/v1/agents", params={"team": team, "limit": 3}).json()
    assert [agent["name"] for agent in first["items"]] == names[:3:-1]
    api.agent("late", team=team)
    seen = first["items"]
    cursor = first["next_cursor"]
    while cursor:
        page = api.get("/api/v1/agents", params={"team": team, "limit": 3, "cursor": cursor}).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert [agent["name"] for agent in seen] == names[::-1]
    assert api.get("/api/v1/agents", params={"cursor": "rubbish"}).json()["errors"][0]["pointer"] == "?cursor"


def test_every_change_leaves_an_audit_entry_in_its_transaction(installation, api):
    agent = api.agent()
    api.patch(f"/api/v1/agents/{agent['id']}", json={"version": "9"})
    api.patch(f"/api/v1/agents/{agent['id']}", json={"version": "9"})
    api.post(f"/api/v1/agents/{agent['id']}/archive")
    actions = installation.sql("SELECT action, actor_kind FROM audit_logs WHERE resource_id = %s ORDER BY id", agent["id"])
    assert actions == [("agent_create", "api_key"), ("agent_update", "api_key"), ("agent_archive", "api_key")]


def test_another_teams_agent_does_not_exist(installation, api):
    ours = installation.api(installation.team_key("red-" + uuid7()))
    theirs = api.agent()
    assert ours.get(f"/api/v1/agents/{theirs['id']}").status_code == 404
    assert ours.patch(f"/api/v1/agents/{theirs['id']}", json={"version": "1"}).status_code == 404
    assert ours.post(f"/api/v1/agents/{theirs['id']}/archive").status_code == 404
    assert ours.get("/api/v1/agents").json()["items"] == []
    assert ours.post("/api/v1/agents", json={"name": "x", "team": "default"}).status_code == 422
    mine = ours.agent("mine")
    assert [agent["id"] for agent in ours.get("/api/v1/agents").json()["items"]] == [mine["id"]]
    assert ours.post("/api/v1/teams", json={"name": "x"}).status_code == 403


def test_a_key_without_the_permission_is_refused_with_its_name(installation):
    reader = installation.api(installation.team_key("readers-" + uuid7(), "agents:read"))
    assert reader.get("/api/v1/agents").status_code == 200
    refused = reader.post("/api/v1/agents", json={"name": "x"})
    assert refused.status_code == 403
    assert "agents:write" in refused.json()["detail"]


def test_a_revoked_key_stops_working_within_a_second(installation):
    key = installation.team_key("revoked-" + uuid7())
    client = installation.api(key)
    assert client.get("/api/v1/agents").status_code == 200
    key_id = str(uuid.UUID(key.split("_")[1]))
    assert installation.cli("keys", "revoke", key_id).returncode == 0

    def refused():
        return client.get("/api/v1/agents").status_code == 401

    from installation import wait_until
    wait_until(refused, "the revocation in force", seconds=1.5)
