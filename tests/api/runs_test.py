"""Runs: start, end, repeat; states only move forward."""

import datetime
import uuid

from installation import llm_call, uuid7


def test_a_run_starts_once_however_often_it_is_asked(api):
    agent = api.agent(environment="production")
    run_id = uuid7()
    body = {"agent_id": agent["id"], "run_id": run_id, "session_id": "s1", "labels": {"a": "b"}}
    first = api.post("/api/v1/runs/start", json=body)
    assert first.status_code == 201
    assert first.json()["run_id"] == run_id and first.json()["status"] == "running"
    assert first.json()["environment"] == "production"
    again = api.post("/api/v1/runs/start", json=body)
    assert again.status_code == 200 and again.json() == first.json()
    other = api.agent()
    assert api.post("/api/v1/runs/start", json=body | {"agent_id": other["id"]}).status_code == 409


def test_ends_are_repeatable_and_final(api):
    run = api.run(api.agent()["id"])
    path = f"/api/v1/runs/{run['run_id']}/end"
    ended = api.post(path, json={"status": "failed", "error": "boom"})
    assert ended.status_code == 200
    assert ended.json()["status"] == "failed" and ended.json()["error"] == "boom" and ended.json()["ended_at"]
    assert api.post(path, json={"status": "failed"}).json() == ended.json()
    illegal = api.post(path, json={"status": "succeeded"})
    assert illegal.status_code == 409
    assert api.get(f"/api/v1/runs/{run['run_id']}").json()["status"] == "failed"
    assert api.post(path, json={"status": "terminated"}).status_code == 422
    assert api.post(f"/api/v1/runs/{uuid7()}/end", json={"status": "failed"}).status_code == 404


def test_a_run_cannot_end_before_it_started(api):
    run = api.run(api.agent()["id"], started_at="2026-11-23T10:00:00Z")
    answer = api.post(f"/api/v1/runs/{run['run_id']}/end", json={"status": "succeeded", "ended_at": "2026-11-23T09:00:00Z"})
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/ended_at"


def test_the_repeat_of_a_start_is_answered_although_the_agent_is_suspended_now(api):
    agent = api.agent()["id"]
    run = api.run(agent)
    api.patch(f"/api/v1/agents/{agent}", json={"status": "suspended"})
    again = api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run["run_id"]})
    assert (again.status_code, again.json()) == (200, run)
    assert api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": uuid7()}).status_code == 403


def test_suspended_and_archived_agents_start_no_runs(api):
    agent = api.agent()
    api.patch(f"/api/v1/agents/{agent['id']}", json={"status": "suspended"})
    assert api.post("/api/v1/runs/start", json={"agent_id": agent["id"]}).status_code == 403
    api.post(f"/api/v1/agents/{agent['id']}/archive")
    assert api.post("/api/v1/runs/start", json={"agent_id": agent["id"]}).status_code == 403
    assert api.post("/api/v1/runs/start", json={"agent_id": str(uuid.uuid4())}).status_code == 404


def test_detail_sums_the_events_and_lists_filter(api):
    agent = api.agent()
    run = api.run(agent["id"])
    other = api.run(agent["id"])
    api.post("/api/v1/events", json=[llm_call(run["run_id"]), llm_call(run["run_id"]),
                                     llm_call(run["run_id"], model="no-such-model", provider=None)])
    detail = api.get(f"/api/v1/runs/{run['run_id']}").json()
    assert detail["totals"] == {"steps": 0, "tool_invocations": 0, "llm_calls": 3, "unpriced_calls": 1, "input_tokens": 3000,
                                "output_tokens": 300, "cost_usd": 0.007, "violations": 0}
    api.post(f"/api/v1/runs/{other['run_id']}/end", json={"status": "cancelled"})
    ids = lambda **query: [item["run_id"] for item in api.get("/api/v1/runs", params={"agent_id": agent["id"], **query}).json()["items"]]
    assert ids() == [other["run_id"], run["run_id"]]
    assert ids(status="running") == [run["run_id"]]
    assert ids(**{"from": "2999-01-01T00:00:00Z"}) == []


def test_another_teams_run_does_not_exist(installation, api):
    ours = installation.api(installation.team_key("blue-" + uuid7()))
    theirs = api.run(api.agent()["id"])
    assert ours.get(f"/api/v1/runs/{theirs['run_id']}").status_code == 404
    assert ours.post(f"/api/v1/runs/{theirs['run_id']}/end", json={"status": "failed"}).status_code == 404
    assert ours.get("/api/v1/runs").json()["items"] == []
    assert ours.post("/api/v1/runs/start", json={"agent_id": theirs["agent_id"]}).status_code == 404


def test_a_start_that_comes_after_its_run_has_ended_keeps_its_labels(api):
    agent = api.agent()
    run_id = uuid7()
    assert api.post("/api/v1/events", json=[llm_call(run_id, agent_id=agent["id"])]).json()["accepted"] == 1
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": "succeeded"}).status_code == 200
    started = api.post("/api/v1/runs/start", json={"agent_id": agent["id"], "run_id": run_id, "session_id": "s", "labels": {"a": "b"}})
    assert started.json()["labels"] == {"a": "b"} and started.json()["session_id"] == "s"
    assert started.json()["status"] == "succeeded"


def test_no_run_ends_before_it_starts_whichever_of_the_two_is_said_last(api):
    agent = api.agent()
    later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    early = "2026-11-23T06:02:00Z"

    placeholder = uuid7()
    assert api.post("/api/v1/events", json=[llm_call(placeholder, agent_id=agent["id"], timestamp=early)]).json()["accepted"] == 1
    ended = api.post(f"/api/v1/runs/{placeholder}/end", json={"status": "succeeded", "ended_at": "2026-11-23T06:05:00Z"}).json()
    started = api.post("/api/v1/runs/start", json={"agent_id": agent["id"], "run_id": placeholder}).json()
    assert started["ended_at"] == ended["ended_at"] and started["started_at"] <= started["ended_at"]

    future = api.run(agent["id"], started_at=later)["run_id"]
    ended = api.post(f"/api/v1/runs/{future}/end", json={"status": "succeeded"})
    assert ended.status_code == 200 and ended.json()["started_at"] == later <= ended.json()["ended_at"]
