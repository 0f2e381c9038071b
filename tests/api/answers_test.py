"""Answers are what the OpenAPI document declares: statuses, content types, bodies; and its examples are accepted."""

import json
from decimal import Decimal

import pytest
import requests

from contract import BY_ID, DOCUMENT, OPERATIONS, at, check_answer, check_body, each_operation, parameters_of, resolved
from installation import llm_call, uuid7, wait_until
from reports import post_batch
from routes import takes_json



@pytest.fixture(scope="module")
def world(installation):
    """A little of everything: a team, an agent, a run with events of each kind, an ended run."""
    api = installation.api()
    team = api.post("/api/v1/teams", json={"name": "openapi-" + uuid7()}).json()
    agent = api.agent(team=team["name"], description="d", version="1", labels={"a": "b"}, metadata={"a": [1, None, {"b": 1.5}]}, allowed_models=["gpt-*"],
                      allowed_tools=["t"], allowed_providers=["openai"], allowed_data_sources=["s3"], store="full", silence_timeout_s=3600)
    run = api.run(agent["id"], session_id="s", labels={"a": "b"}, metadata={"x": {}}, parent_run_id=uuid7())
    events = [llm_call(run["run_id"]), llm_call(run["run_id"], model="no-such-model", provider=None), llm_call(run["run_id"], status="error", error="e"),
              {"type": "tool_invocation", "id": uuid7(), "run_id": run["run_id"], "tool": "t"},
              {"type": "step", "id": uuid7(), "run_id": run["run_id"], "index": 0, "kind": "k", "name": "n"}]
    assert api.post("/api/v1/events", json=events).json()["accepted"] == 5
    ended = api.run(agent["id"])
    assert api.post(f"/api/v1/runs/{ended['run_id']}/end", json={"status": "failed", "error": "e"}).status_code == 200
    override = {"provider": "acme", "model": "openapi", "rates": {"input_mtok": 1}, "windows": [{"from": "22:00:00", "to": "06:00:00", "rates": {"input_mtok": 2}}]}
    assert api.post("/api/v1/prices/overrides", json=override).status_code == 201
    # Nothing accepts connections there, if anything were sent.
    channel = api.post("/api/v1/alert-channels", json={"kind": "webhook", "url": "https://hooks.example.com/cognive"}).json()
    body = {"scope": "agent", "agent_id": agent["id"], "window": "day", "limit_requests": 1, "thresholds": [100]}
    budget = api.post("/api/v1/budgets", json=body).json()
    by_run = api.post("/api/v1/budgets", json=body | {"window": "run"}).json()
    asked = {"agent_id": agent["id"], "run_id": run["run_id"], "provider": "openai", "model": "gpt-4o", "max_cost_usd": 0.1}
    reservation, held = (api.post("/api/v1/budgets/authorize", json=asked).json()["reservation_id"] for _ in range(2))
    money = api.post("/api/v1/budgets", json={"scope": "agent", "agent_id": agent["id"], "window": "day", "limit_usd": 1}).json()
    assert post_batch(api, [llm_call(run["run_id"], reservation_id=reservation), llm_call(run["run_id"])])["accepted"] == 2
    task = uuid7()  # this installation has no RabbitMQ, and would take none over the API
    installation.sql("INSERT INTO sent_tasks (id, name, queue, request_digest, message_bytes) VALUES (%s, 'a.task', 'somewhere', '', 0)", task)
    artifact = api.post("/api/v1/artifacts", params={"agent_id": agent["id"], "run_id": run["run_id"], "name": "a"}, data=b"bytes").json()
    upload = api.post("/api/v1/artifact-uploads", json={"agent_id": agent["id"], "name": "b"}).json()["artifact"]
    export = api.post("/api/v1/exports", json={"kind": "calls", "agent_id": agent["id"], "from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z"}).json()["id"]
    wait_until(lambda: api.get(f"/api/v1/exports/{export}").json()["state"] == "done", "the export is done", 60)
    return {"artifact": artifact, "upload": upload, "export": export, "task": task, "team": team, "agent": agent, "run": run, "ended": ended, "call": events[0]["id"], "budget": budget, "by_run": by_run, "reservation": reservation,
            "held": held, "money": money, "channel": channel}


GETS = {
    "team_list": ["/api/v1/teams", "/api/v1/teams?limit=1"],
    "team_get": ["/api/v1/teams/{team}"],
    "me_get": ["/api/v1/auth/me"],
    "role_list": ["/api/v1/roles"],
    "user_list": ["/api/v1/users", "/api/v1/users?email=admin@localhost&status=active&limit=1"],
    "user_get": ["/api/v1/users/{user}"],
    "member_list": ["/api/v1/teams/{team}/members"],
    "api_key_list": ["/api/v1/api-keys", "/api/v1/api-keys?team={team_name}&agent_id={agent}&limit=1"],
    "api_key_get": ["/api/v1/api-keys/{key}"],
    "session_list": ["/api/v1/auth/sessions"],
    "task_list": ["/api/v1/tasks", "/api/v1/tasks?limit=1&queue=somewhere&name=a.task&state=waiting"],
    "task_get": ["/api/v1/tasks/{task}"],
    "audit_entry_list": ["/api/v1/audit-entries", "/api/v1/audit-entries?limit=1&action=agent_create&resource_kind=agent&from=2020-01-01T00:00:00Z"],
    "agent_list": ["/api/v1/agents", "/api/v1/agents?team={team_name}&status=active&limit=1", "/api/v1/agents?name=nobody"],
    "agent_get": ["/api/v1/agents/{agent}"],
    "run_list": ["/api/v1/runs", "/api/v1/runs?agent_id={agent}&status=failed", "/api/v1/runs?limit=1&from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"],
    "run_get": ["/api/v1/runs/{run}", "/api/v1/runs/{ended}"],
    "run_timeline": ["/api/v1/runs/{run}/timeline", "/api/v1/runs/{ended}/timeline"],
    "run_replay": ["/api/v1/runs/{run}/replay", "/api/v1/runs/{run}/replay?as_model=gpt-4o-mini&as_of=2026-01-01T00:00:00Z", "/api/v1/runs/{ended}/replay?as_provider=x"],
    "price_quote": ["/api/v1/prices/quote?model=gpt-4o&input_tokens=1000&cache_read_tokens=10&output_tokens=5", "/api/v1/prices/quote?model=no-such-model",
                    "/api/v1/prices/quote?model=claude-sonnet-4-5&provider=anthropic&at=2026-01-01T00:00:00Z&input_tokens=300000"],
    "price_version_list": ["/api/v1/prices/versions?model=gpt-4o", "/api/v1/prices/versions?model=openapi&provider=acme", "/api/v1/prices/versions?model=nothing"],
    "price_override_list": ["/api/v1/prices/overrides", "/api/v1/prices/overrides?limit=1&provider=acme&model=openapi"],
    "llm_call_charge": ["/api/v1/runs/{run}/llm-calls/{call}"],
    "analytics_costs": ["/api/v1/analytics/costs", "/api/v1/analytics/costs?group_by=team,agent,model,provider,environment&interval=day",
                        "/api/v1/analytics/costs?agent_id={agent}&interval=hour", "/api/v1/analytics/costs?model=nothing"],
    "analytics_runs": ["/api/v1/analytics/runs", "/api/v1/analytics/runs?group_by=team,agent,environment"],
    "analytics_latency": ["/api/v1/analytics/latency", "/api/v1/analytics/latency?group_by=team,agent,model,provider,environment&agent_id={agent}"],
    "analytics_tools": ["/api/v1/analytics/tools", "/api/v1/analytics/tools?group_by=team,agent,tool,data_source&agent_id={agent}"],
    "analytics_coverage": ["/api/v1/analytics/coverage", "/api/v1/analytics/coverage?from=2999-01-01T00:00:00Z"],
    "budget_list": ["/api/v1/budgets", "/api/v1/budgets?team={team_name}&scope=agent&agent_id={agent}&limit=1", "/api/v1/budgets?run_id={run}"],
    "budget_get": ["/api/v1/budgets/{budget}"],
    "budget_status": ["/api/v1/budgets/{budget}/status", "/api/v1/budgets/{by_run}/status?run_id={run}"],
    "budget_windows": ["/api/v1/budgets/{budget}/windows", "/api/v1/budgets/{by_run}/windows?limit=1&before=1000000"],
    "reservation_get": ["/api/v1/budgets/reservations/{reservation}"],
    "alert_list": ["/api/v1/alerts", "/api/v1/alerts?budget_id={budget}&acknowledged=false&limit=1"],
    "alert_delivery_list": ["/api/v1/alert-deliveries", "/api/v1/alert-deliveries?channel_id={channel}&state=waiting&limit=1"],
    "alert_channel_list": ["/api/v1/alert-channels", "/api/v1/alert-channels?limit=1"],
    "alert_channel_get": ["/api/v1/alert-channels/{channel}"],
    "artifact_list": ["/api/v1/artifacts", "/api/v1/artifacts?agent_id={agent}&run_id={run}&name=a&state=stored&limit=1"],
    "artifact_get": ["/api/v1/artifacts/{artifact}", "/api/v1/artifacts/{upload}"],
    "artifact_download": ["/api/v1/artifacts/{artifact}/content"],
    "artifact_upload_get": ["/api/v1/artifact-uploads/{upload}", "/api/v1/artifact-uploads/{artifact}"],
    "export_list": ["/api/v1/exports", "/api/v1/exports?kind=calls&state=done&limit=1"],
    "export_get": ["/api/v1/exports/{export}"],
    "export_download": ["/api/v1/exports/{export}/content"],
    "root": ["/"], "welcome": ["/api/v1/"], "health_liveness": ["/api/v1/health/liveness"], "health_readiness": ["/api/v1/health/readiness"],
    "health_replication": ["/api/v1/health/replication"], "health_cache": ["/api/v1/health/cache"], "health_storage": ["/api/v1/health/storage"], "metrics": ["/metrics"], "docs": ["/docs"], "docs_file": ["/docs/start.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/licences.txt"],
    "redoc": ["/redoc"], "redoc_file": ["/redoc/start.js", "/redoc/redoc.standalone.js", "/redoc/licences.txt"], "openapi": ["/openapi.json"],
}


def test_every_get_is_tried_here():
    # The stream has no end: see stream_test.py.
    assert set(GETS) == {operation["operationId"] for method, _, operation in OPERATIONS if method == "GET"} - {"stream"}


@pytest.mark.parametrize("operation_id", GETS)
def test_a_get_answers_as_declared(api, world, operation_id):
    words = {"team": world["team"]["id"], "team_name": world["team"]["name"], "agent": world["agent"]["id"], "run": world["run"]["run_id"],
             "ended": world["ended"]["run_id"], "call": world["call"], "budget": world["budget"]["id"], "by_run": world["by_run"]["id"],
             "reservation": world["reservation"], "channel": world["channel"]["id"], "task": world["task"],
             "export": world["export"], "artifact": world["artifact"]["id"], "upload": world["upload"]["id"],
             "user": api.get("/api/v1/users").json()["items"][0]["id"], "key": api.get("/api/v1/auth/me").json()["id"]}
    for target in GETS[operation_id]:
        check_answer(operation_id, api.get(target.format(**words)), 200)


def test_teams_answer_as_declared(api):
    name = "t-" + uuid7()
    check_answer("team_create", api.post("/api/v1/teams", json={"name": name}), 201)
    check_answer("team_create", api.post("/api/v1/teams", json={"name": name}), 409)
    path = f"/api/v1/teams/{api.post('/api/v1/teams', json={'name': uuid7()}).json()['id']}"
    check_answer("team_update", api.patch(path, json={"name": name}), 409)
    check_answer("team_update", api.patch(path, json={"name": uuid7()}), 200)
    check_answer("team_update", api.patch(f"/api/v1/teams/{uuid7()}", json={"name": uuid7()}), 404)


def test_people_answer_as_declared(installation, api):
    email, password = f"{uuid7()}@example.com", "correct horse staple"
    user = check_answer("user_create", api.post("/api/v1/users", json={"email": email, "password": password, "roles": [{"role": "viewer"}]}), 201)
    check_answer("user_create", api.post("/api/v1/users", json={"email": email, "password": password}), 409)
    check_answer("user_update", api.patch(f"/api/v1/users/{user['id']}", json={"name": "Somebody"}), 200)
    team = api.post("/api/v1/teams", json={"name": f"t-{uuid7()}"}).json()["id"]
    check_answer("member_put", api.put(f"/api/v1/teams/{team}/members", json={"email": email, "role": "developer"}), 200)
    assert len(check_answer("member_list", api.get(f"/api/v1/teams/{team}/members"), 200)["items"]) == 1
    check_answer("member_remove", api.delete(f"/api/v1/teams/{team}/members/{user['id']}"), 200)
    check_answer("member_remove", api.delete(f"/api/v1/teams/{team}/members/{user['id']}"), 404)
    check_answer("session_begin", api.post("/api/v1/auth/login", json={"email": email, "password": "wrong"}), 401)
    tokens = check_answer("session_begin", api.post("/api/v1/auth/login", json={"email": email, "password": password}), 200)
    tokens = check_answer("session_refresh", api.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}), 200)
    person = installation.api(bearer=tokens["access_token"])
    check_answer("me_get", person.get("/api/v1/auth/me"), 200)
    assert len(check_answer("session_list", person.get("/api/v1/auth/sessions"), 200)["items"]) == 1
    assert check_answer("session_list", api.get("/api/v1/auth/sessions"), 200)["items"] == []
    changed = check_answer("password_change", person.post("/api/v1/auth/password", json={"current_password": password, "new_password": password + "!"}), 200)
    person = installation.api(bearer=changed["access_token"])
    check_answer("session_end", person.delete(f"/api/v1/auth/sessions/{uuid7()}"), 404)
    check_answer("session_logout", person.post("/api/v1/auth/logout"), 200)


def test_keys_answer_as_declared(api):
    made = check_answer("api_key_create", api.post("/api/v1/api-keys", json={"name": "k", "team": "default", "permissions": ["events:write"]}), 201)
    check_answer("api_key_create", api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["nothing:real"]}), 422)
    check_answer("api_key_rotate", api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={}), 200)
    check_answer("api_key_revoke", api.delete(f"/api/v1/api-keys/{made['id']}"), 200)
    check_answer("api_key_rotate", api.post(f"/api/v1/api-keys/{made['id']}/rotate", json={}), 409)


def test_agents_answer_as_declared(installation, api):
    name = "a-" + uuid7()
    agent = check_answer("agent_create", api.post("/api/v1/agents", json={"name": name}), 201)
    check_answer("agent_create", api.post("/api/v1/agents", json={"name": name}), 409)
    check_answer("agent_put", api.put("/api/v1/agents", json={"name": name, "version": "2"}), 200)
    check_answer("agent_put", api.put("/api/v1/agents", json={"name": name + "2", "metadata": {"a": 1}}), 201)
    path = f"/api/v1/agents/{agent['id']}"
    check_answer("agent_update", api.patch(path, json={"allowed_tools": ["a"], "on_violation": "terminate", "store": "hashed", "silence_timeout_s": 0}), 200)
    assert check_answer("agent_check", api.post(path + "/check", json={"tool": "b", "model": "m"}), 200)["allowed"] is False
    check_answer("agent_check", api.post(path + "/check", json={}), 422)
    check_answer("agent_update", api.patch(path, json={"status": "suspended", "description": "d"}), 200)
    check_answer("agent_archive", api.post(path + "/archive"), 200)
    check_answer("agent_update", api.patch(path, json={"version": "3"}), 409)
    check_answer("agent_put", api.put("/api/v1/agents", json={"name": name, "version": "3"}), 409)
    assert check_answer("agent_get", api.get(path), 200)["archived_at"]


def test_budgets_answer_as_declared(api, world):
    body = {"id": uuid7(), "scope": "agent", "agent_id": world["agent"]["id"], "window": "day", "limit_usd": 0.5, "hard_stop": True}
    check_answer("budget_create", api.post("/api/v1/budgets", json=body), 201)
    check_answer("budget_create", api.post("/api/v1/budgets", json=body), 200)
    check_answer("budget_create", api.post("/api/v1/budgets", json=body | {"window": "week"}), 409)
    check_answer("budget_create", api.post("/api/v1/budgets", json=body | {"window": "run", "limit_usd": -1}), 422)
    path = f"/api/v1/budgets/{body['id']}"
    asked = {"agent_id": world["agent"]["id"], "provider": "openai", "model": "gpt-4o", "reservation_id": uuid7(), "max_cost_usd": 0.4}
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked), 200)
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked | {"max_cost_usd": 0.3}), 409)
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked | {"reservation_id": uuid7()}), 429)
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked | {"agent_id": uuid7()}), 404)
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked | {"model": "o3"}), 403)
    check_answer("budget_authorize", api.post("/api/v1/budgets/authorize", json=asked | {"model": "gpt-unpriced", "reservation_id": uuid7()}), 422)
    reservation = f"/api/v1/budgets/reservations/{asked['reservation_id']}"
    check_answer("reservation_renew", api.post(reservation + "/renew", json={}), 200)
    check_answer("reservation_release", api.post(reservation + "/release"), 200)
    check_answer("reservation_renew", api.post(reservation + "/renew", json={}), 409)
    check_answer("reservation_get", api.get(f"/api/v1/budgets/reservations/{uuid7()}"), 404)
    check_answer("budget_update", api.patch(path, json={"limit_usd": 1, "name": "n"}), 200)
    check_answer("budget_delete", api.request("DELETE", path), 200)
    check_answer("budget_delete", api.request("DELETE", path), 404)
    alert = api.get("/api/v1/alerts", params={"budget_id": world["budget"]["id"]}).json()["items"][0]
    assert check_answer("alert_acknowledge", api.post(f"/api/v1/alerts/{alert['id']}/acknowledge"), 200)["acknowledged_at"]
    check_answer("alert_acknowledge", api.post(f"/api/v1/alerts/{uuid7()}/acknowledge"), 404)


def test_channels_answer_as_declared(installation, api, world):
    body = {"id": uuid7(), "kind": "webhook", "url": "https://hooks.example.com/cognive"}
    check_answer("alert_channel_create", api.post("/api/v1/alert-channels", json=body), 201)
    check_answer("alert_channel_create", api.post("/api/v1/alert-channels", json=body), 200)
    check_answer("alert_channel_create", api.post("/api/v1/alert-channels", json=body | {"url": "https://example.com"}), 409)
    check_answer("alert_channel_create", api.post("/api/v1/alert-channels", json=body | {"url": "http://127.0.0.1"}), 422)
    path = f"/api/v1/alert-channels/{body['id']}"
    check_answer("alert_channel_rotate_secret", api.post(path + "/rotate-secret"), 200)
    check_answer("alert_channel_update", api.patch(path, json={"url": "https://hooks.example.com:1/"}), 200)
    # There is no such name.
    assert check_answer("alert_channel_test", api.post(path + "/test"), 200)["delivered"] is False
    delivery = wait_until(lambda: api.get("/api/v1/alert-deliveries", params={"channel_id": world["channel"]["id"]}).json()["items"], "a delivery is made", 30)[0]
    check_answer("alert_delivery_redeliver", api.post(f"/api/v1/alert-deliveries/{delivery['id']}/redeliver"), 200)
    check_answer("alert_delivery_redeliver", api.post(f"/api/v1/alert-deliveries/{uuid7()}/redeliver"), 404)
    check_answer("alert_channel_delete", api.request("DELETE", path), 200)
    check_answer("alert_channel_delete", api.request("DELETE", path), 404)


def test_runs_answer_as_declared(api):
    agent = api.agent()
    body = {"agent_id": agent["id"], "run_id": uuid7()}
    run = check_answer("run_start", api.post("/api/v1/runs/start", json=body), 201)
    check_answer("run_start", api.post("/api/v1/runs/start", json=body), 200)
    check_answer("run_start", api.post("/api/v1/runs/start", json=body | {"agent_id": api.agent()["id"]}), 409)
    check_answer("run_start", api.post("/api/v1/runs/start", json={"agent_id": uuid7()}), 404)
    path = f"/api/v1/runs/{run['run_id']}/end"
    check_answer("run_end", api.post(path, json={"status": "failed", "error": "e"}), 200)
    check_answer("run_end", api.post(path, json={"status": "succeeded"}), 409)
    assert check_answer("run_heartbeat", api.post(f"/api/v1/runs/{run['run_id']}/heartbeat"), 200)["order"] == "terminate"
    check_answer("run_terminate", api.post(f"/api/v1/runs/{run['run_id']}/terminate", json={"reason": "r"}), 409)
    announced = check_answer("run_start", api.post("/api/v1/runs/start", json={"agent_id": agent["id"], "status": "queued"}), 201)
    assert check_answer("run_terminate", api.post(f"/api/v1/runs/{announced['run_id']}/terminate", json={"reason": "r"}), 200)["terminated_by"] == "operator"
    check_answer("run_heartbeat", api.post(f"/api/v1/runs/{announced['run_id']}/heartbeat"), 200)
    check_answer("run_get", api.get(f"/api/v1/runs/{announced['run_id']}"), 200)
    check_answer("step_create", api.post(f"/api/v1/runs/{announced['run_id']}/steps", json={"id": uuid7(), "index": 1, "kind": "k", "name": "n"}), 201)
    api.patch(f"/api/v1/agents/{agent['id']}", json={"status": "suspended"})
    check_answer("run_start", api.post("/api/v1/runs/start", json={"agent_id": agent["id"]}), 403)


def test_events_answer_as_declared(api, world):
    path = f"/api/v1/runs/{world['run']['run_id']}"
    singles = {"llm_call_create": ("llm-calls", {"model": "gpt-4o", "usage": {"input_tokens": 1}}, {"model": "gpt-4"}),
               "tool_invocation_create": ("tool-invocations", {"tool": "t"}, {"tool": "u"}),
               "step_create": ("steps", {"index": 1, "kind": "k", "name": "n"}, {"index": 2})}
    for operation_id, (name, body, change) in singles.items():
        body = {"id": uuid7(), **body}
        answer = check_answer(operation_id, api.post(f"{path}/{name}", json=body), 201)
        assert answer == {"id": body["id"], "run_id": world["run"]["run_id"], "duplicate": False}
        assert check_answer(operation_id, api.post(f"{path}/{name}", json=body), 200)["duplicate"] is True
        check_answer(operation_id, api.post(f"{path}/{name}", json=body | change), 409)
        check_answer(operation_id, api.post(f"/api/v1/runs/{uuid7()}/{name}", json=body), 404)
    answer = check_answer("event_batch", api.post("/api/v1/events", json=[llm_call(world["run"]["run_id"]), {"type": "step"}, 1]), 200)
    assert answer["accepted"] == 1 and len(answer["rejected"]) == 2
    strict = api.agent(allowed_tools=["a"], on_violation="terminate")["id"]
    answer = check_answer("event_batch", api.post("/api/v1/events", json=[{"type": "tool_invocation", "id": uuid7(), "run_id": api.run(strict)["run_id"], "tool": "b"}]), 200)
    assert answer["violations"] and answer["terminate"]
    check_answer("tool_invocation_create", api.post(f"/api/v1/runs/{api.run(strict)['run_id']}/tool-invocations", json={"id": uuid7(), "tool": "b"}), 201)


@each_operation
def test_refusals_have_declared_statuses_and_bodies(installation, method, path, operation):
    if not operation.get("security"):
        return
    name = operation["operationId"]
    url = installation.url + path
    key = {"X-API-Key": installation.key}
    unknown = url.replace("{id}", uuid7()).replace("{user_id}", uuid7())
    send = lambda target, headers, **kwargs: requests.request(method, target, headers=headers, timeout=30, **kwargs)
    check_answer(name, send(unknown, {}), 401)
    if "x-permission" in operation:
        other = installation.team_key("", next(one for one in ("teams:read", "prices:read") if one != operation["x-permission"]))
        check_answer(name, send(unknown, {"X-API-Key": other}), 403)
    url, unknown = (one.replace("{number}", "1") for one in (url, unknown))
    if "{id}" in path:
        check_answer(name, send(url.replace("{id}", "x").replace("{user_id}", uuid7()), key, json={}), 422)
    if any(parameter["in"] != "header" for parameter in parameters_of(operation)):
        check_answer(name, send(unknown + "?no_such_parameter=1" if "usage" not in str(operation["parameters"]) else unknown, key, json={}), 422)
    if method == "GET":
        check_answer(name, send(unknown, key | {"X-Consistency-Token": "no-token"}), 400)
    if takes_json(operation):
        check_answer(name, send(unknown, key, data=b"{"), 400)
        check_answer(name, send(unknown, key | {"Content-Type": "text/plain"}, data=b"{}"), 415)
        check_answer(name, send(unknown, key, json={"no_such_field": 1}), 422)
        check_answer(name, send(unknown, key, data=b" " * ((16 << 20) + 1)), 413)


OF_PEOPLE = {"session_begin", "session_refresh", "password_change"}  # nobody's password is in an example: see test_people_answer_as_declared
OF_RABBITMQ = {"task_send"}  # which is not here: see sent_tasks_test.py
EXAMPLES = [(name, BY_ID[name][2]["requestBody"]["content"]["application/json"]["schema"])
            for name in BY_ID if takes_json(BY_ID[name][2]) and name not in OF_PEOPLE | OF_RABBITMQ]


@pytest.mark.parametrize("operation_id, schema", EXAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_body_made_from_the_schemas_examples_is_accepted(api, world, operation_id, schema):
    """What a reader of the documentation tries first."""
    method, path, operation = BY_ID[operation_id]
    special = {"id": uuid7(), "run_id": uuid7(), "agent_id": world["agent"]["id"], "name": uuid7()}

    def example(schema):
        schema = resolved(schema)
        body = {}
        for name, field in schema["properties"].items():
            if name in schema.get("required", []) or "examples" in field:
                body[name] = special.get(name) or (field["examples"][0] if "examples" in field else field["enum"][0])
        check_body(body, schema)
        return body

    run = api.run(world["agent"]["id"])["run_id"]
    special["email"] = f"{uuid7()}@example.com"
    person = api.post("/api/v1/users", json={"email": special["email"], "password": "correct horse staple"}).json()
    made = api.post("/api/v1/api-keys", json={"name": "k", "permissions": ["events:write"]}).json()
    if operation_id == "user_create":
        special["email"] = f"{uuid7()}@example.com"
    if operation_id == "event_batch":
        schemas = DOCUMENT["components"]["schemas"]
        body = [example(schemas[name]) | {"type": kind, "run_id": run} for name, kind in (("LlmCall", "llm_call"), ("ToolInvocation", "tool_invocation"), ("Step", "step"))]
        for event in body:
            event["id"] = uuid7()
        check_body(body, schema)
    else:
        body = example(schema)
    ids = {"/runs/": run, "/reservations/": world["held"], "/budgets/": world["money"]["id"], "/alert-channels/": world["channel"]["id"],
           "/teams/": world["team"]["id"], "/users/": person["id"], "/api-keys/": made["id"]}
    target = path.replace("{id}", next((ids[part] for part in ids if part in path), world["agent"]["id"]))
    answer = api.request(method, target, json=body)
    assert answer.status_code in (200, 201, 202), answer.text
    check_answer(operation_id, answer)
    # What holds in the whole organisation would hold for the tests of other files.
    if operation_id == "budget_create":
        assert api.delete(f"/api/v1/budgets/{answer.json()['id']}").status_code == 200
    if operation_id == "price_override_create":
        end = {name: answer.json()[name] for name in ("team", "provider", "model", "effective_from")}
        assert api.post("/api/v1/prices/overrides", json=end).status_code == 201


def test_the_event_schema_tells_the_three_kinds_apart():
    events = [llm_call(uuid7()), {"type": "tool_invocation", "id": uuid7(), "run_id": uuid7(), "tool": "t"},
              {"type": "step", "id": uuid7(), "run_id": uuid7(), "index": 0, "kind": "k", "name": "n"}]
    schema = {"$ref": "#/components/schemas/Event"}
    for event in events:
        check_body(event, schema)
    for wrong in (events[0] | {"type": "step"}, events[1] | {"type": "nope"}, {"id": uuid7(), "tool": "t"}):
        with pytest.raises(AssertionError):
            check_body(wrong, schema)


def test_costs_are_exact_decimals_in_the_text(api, world):
    answer = api.get(f"/api/v1/runs/{world['run']['run_id']}")
    cost = json.loads(answer.text, parse_float=Decimal)["totals"]["cost_usd"]
    assert isinstance(cost, Decimal) and cost.as_tuple().exponent == -9
    check_answer("run_get", answer, 200)
