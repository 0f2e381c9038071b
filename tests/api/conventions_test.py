"""What every resource does alike: ETags and conditions, kinds of answers, compression."""

import gzip
import json

import pytest

from contract import check_answer
from installation import uuid7
from problems import check_problem

# Each with a change of it.
CHANGES = {"agents": {"version": "2"}, "teams": None, "budgets": {"limit_usd": 2}, "alert-channels": {"name": "renamed"}, "users": {"name": "Renamed"}}


def made(api, kind):
    """A new resource of a kind: its path, and a change of it."""
    if kind == "agents":
        one = api.agent()
    elif kind == "teams":
        one = api.post("/api/v1/teams", json={"name": uuid7()}).json()
    elif kind == "budgets":
        one = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": api.agent()["id"], "window": "day", "limit_usd": 1}).json()
    elif kind == "alert-channels":
        one = api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": "https://hooks.example.com/cognive/secret", "enabled": False}).json()
    else:
        one = api.post("/api/v1/users", json={"email": f"{uuid7()}@example.com", "password": "correct horse staple"}).json()
    return f"/api/v1/{kind}/{one['id']}", CHANGES[kind] or {"name": uuid7()}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_meets_the_state_that_it_is_meant_for_or_nothing(api, kind):
    path, change = made(api, kind)
    seen = api.get(path).headers["ETag"]
    assert seen.startswith('"') and seen == api.get(path).headers["ETag"]
    check_problem(api.patch(path, json=change, headers={"If-Match": '"another"'}), 412)
    answer = api.patch(path, json=change, headers={"If-Match": f'"another", {seen}'})
    assert answer.status_code == 200, answer.text
    now = answer.headers["ETag"]
    assert now == api.get(path).headers["ETag"] != seen, "the answer shows what GET shows"
    body = check_problem(api.patch(path, json=change, headers={"If-Match": seen}), 412)
    assert "GET it" in body["detail"]
    assert api.patch(path, json=change, headers={"If-Match": "*"}).status_code == 200
    check_problem(api.patch(f"/api/v1/{kind}/{uuid7()}", json=change, headers={"If-Match": "*"}), 404)


@pytest.mark.parametrize("kind", ["budgets", "alert-channels"])
def test_nothing_is_deleted_that_has_changed_since(api, kind):
    path, change = made(api, kind)
    seen = api.get(path).headers["ETag"]
    now = api.patch(path, json=change).headers["ETag"]
    check_problem(api.delete(path, headers={"If-Match": seen}), 412)
    assert api.delete(path, headers={"If-Match": now}).status_code == 200


def test_whoever_may_not_see_all_of_it_has_a_tag_of_what_they_see(installation, api):
    path, _ = made(api, "alert-channels")
    viewer = installation.person("viewer")
    assert viewer.get(path).headers["ETag"] != api.get(path).headers["ETag"]


def test_what_is_known_already_is_not_sent_again(api):
    path, change = made(api, "agents")
    first = api.get(path)
    for known in (first.headers["ETag"], f'"x", W/{first.headers["ETag"]}', "*"):
        again = api.get(path, headers={"If-None-Match": known})
        assert again.status_code == 304 and not again.content and again.headers["ETag"] == first.headers["ETag"]
        assert api.request("HEAD", path, headers={"If-None-Match": known}).status_code == 304
    assert api.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    api.patch(path, json=change)
    changed = api.get(path, headers={"If-None-Match": first.headers["ETag"], "Cache-Control": "no-cache"})
    assert changed.status_code == 200 and changed.json()["version"] == "2"
    listed = api.get("/api/v1/agents", params={"name": changed.json()["name"]})
    assert api.get("/api/v1/agents", params={"name": changed.json()["name"]}, headers={"If-None-Match": listed.headers["ETag"]}).status_code == 304
    check_problem(api.get(f"/api/v1/agents/{uuid7()}", headers={"If-None-Match": "*"}), 404)


def test_what_heeds_no_condition_refuses_it(api):
    agent = api.agent()["id"]
    check_problem(api.post(f"/api/v1/agents/{agent}/archive", headers={"If-Match": "*"}), 412)
    assert api.get(f"/api/v1/agents/{agent}").json()["status"] == "active"


# Kinds of answers.

def test_answers_of_another_kind_than_is_accepted_are_406(api):
    for accepted in ("text/html", "application/xml;q=0.9, text/*", "application/json;q=0", "image/png, */*;q=0"):
        body = check_problem(api.get("/api/v1/teams", headers={"Accept": accepted}), 406)
        assert "application/json" in body["detail"]
    for accepted in ("application/json", "*/*", "application/*;q=0.1", "text/html, */*;q=0.1", "", "APPLICATION/JSON; charset=utf-8"):
        assert api.get("/api/v1/teams", headers={"Accept": accepted}).status_code == 200, accepted
    refused = api.post("/api/v1/teams", json={"name": uuid7()}, headers={"Accept": "text/html"})
    name = json.loads(refused.request.body)["name"]
    assert refused.status_code == 406 and all(team["name"] != name for team in api.get("/api/v1/teams", params={"limit": 200}).json()["items"]), "nothing was done"
    assert api.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"}).status_code == 200


def test_long_answers_are_compressed_for_whoever_takes_that(api):
    for _ in range(5):
        api.agent(description="d" * 500)
    plain = api.get("/api/v1/agents", params={"limit": 5}, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers and "Accept-Encoding" in plain.headers["Vary"]
    for accepted in ("gzip", "br, gzip;q=0.5", "*"):
        answer = api.get("/api/v1/agents", params={"limit": 5}, headers={"Accept-Encoding": accepted}, stream=True)
        raw = answer.raw.read(decode_content=False)
        assert answer.headers["Content-Encoding"] == "gzip" and gzip.decompress(raw) == plain.content
        assert int(answer.headers["Content-Length"]) == len(raw) < len(plain.content) / 3
    for refused in ("gzip;q=0", "br", "gzip;q=0, *"):
        assert "Content-Encoding" not in api.get("/api/v1/agents", params={"limit": 5}, headers={"Accept-Encoding": refused}).headers, refused
    tag = answer.headers["ETag"]
    assert tag != plain.headers["ETag"]
    for known in (tag, plain.headers["ETag"]):
        assert api.get("/api/v1/agents", params={"limit": 5}, headers={"If-None-Match": known}).status_code == 304
    head = api.request("HEAD", "/api/v1/agents", params={"limit": 5}, headers={"Accept-Encoding": "gzip"})
    assert head.headers["Content-Encoding"] == "gzip" and head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert "Content-Encoding" not in api.get("/api/v1/auth/me", headers={"Accept-Encoding": "gzip"}).headers, "what is short stays as it is"


def test_a_tag_of_a_compressed_answer_names_the_same_state(api):
    agent = api.agent(description="d" * 1900)
    path = f"/api/v1/agents/{agent['id']}"
    answer = api.get(path, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["ETag"].endswith('-gzip"')
    assert api.patch(path, json={"version": "3"}, headers={"If-Match": answer.headers["ETag"]}).status_code == 200


# What the description says of it.

def test_faults_of_the_path_are_named_as_such(api):
    body = check_problem(api.get("/api/v1/agents/no-id?nope=1"), 422)
    assert [fault["pointer"] for fault in body["errors"]] == ["?nope", "{id}"] or [fault["pointer"] for fault in body["errors"]] == ["{id}", "?nope"]


def test_conditional_answers_are_declared(api):
    path, change = made(api, "agents")
    tag = api.get(path).headers["ETag"]
    check_answer("agent_update", api.patch(path, json=change, headers={"If-Match": '"x"'}), 412)
    answer = api.get(path, headers={"If-None-Match": tag})
    assert answer.status_code == 304 and "Content-Type" not in answer.headers
