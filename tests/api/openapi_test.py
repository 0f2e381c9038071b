"""The OpenAPI document: well-formed, complete, the same from the server and the command, and true: real answers match what it declares."""

import json
import re
import uuid
import warnings
from datetime import datetime
from decimal import Decimal

import pytest
import requests

from installation import ROOT, clean_environment, llm_call, run_cognive, uuid7, wait_until
from reports import post_batch

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import jsonschema
    Validator = getattr(jsonschema, "Draft202012Validator", None) or jsonschema.validators.validator_for(True)

DOCUMENT = json.loads(run_cognive("openapi").stdout)
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
OPERATIONS = [(method.upper(), path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items() if method in METHODS]
BY_ID = {operation["operationId"]: (method, path, operation) for method, path, operation in OPERATIONS}
TIME = "2026-11-23T06:02:00.123456Z"
SCHEMA_WORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "oneOf", "allOf", "not", "const", "$ref", "description", "title",
                "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "minItems", "maxItems",
                "uniqueItems", "minProperties", "maxProperties", "propertyNames", "default", "examples", "discriminator", "deprecated", "readOnly", "writeOnly",
                "contentMediaType", "contentEncoding"}
each_operation = pytest.mark.parametrize("method, path, operation", OPERATIONS, ids=lambda value: value["operationId"] if isinstance(value, dict) else "")

FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("uuid", raises=(ValueError, AttributeError))(lambda value: not isinstance(value, str) or str(uuid.UUID(value)) == value)
FORMATS.checks("date-time", raises=ValueError)(lambda value: not isinstance(value, str) or bool(
    re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", value) and datetime.fromisoformat(value[:-1])))
FORMATS.checks("uri")(lambda value: not isinstance(value, str) or bool(re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", value)))


def nodes(value, pointer=""):
    """Every node of a document with its pointer."""
    yield pointer, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from nodes(child, f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}")


def at(pointer):
    """The node of the document that a local reference names."""
    assert pointer.startswith("#/"), f"not local: {pointer}"
    node = DOCUMENT
    for name in pointer[2:].split("/"):
        node = node[name.replace("~1", "/").replace("~0", "~")]
    return node


def resolved(node):
    """A node, or what it refers to."""
    return at(node["$ref"]) if "$ref" in node else node


def parameters_of(operation):
    """Its parameters, shared ones looked up."""
    return [resolved(parameter) for parameter in operation.get("parameters", [])]


def media_types():
    """Every media type object with where it is."""
    for method, path, operation in OPERATIONS:
        name = operation["operationId"]
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{name} request {kind}", media
        for status, response in operation["responses"].items():
            for kind, media in resolved(response).get("content", {}).items():
                yield f"{name} {status} {kind}", media


def all_schemas():
    """Every schema of the document that is not inside another."""
    yield from DOCUMENT["components"]["schemas"].items()
    for where, media in media_types():
        yield where, media["schema"]
    for _, _, operation in OPERATIONS:
        for parameter in parameters_of(operation):
            yield f"{operation['operationId']} parameter {parameter['name']}", parameter["schema"]


def subschemas(schema):
    """A schema and all schemas inside it."""
    yield schema
    if not isinstance(schema, dict):
        return
    for name in ("items", "additionalProperties", "not", "propertyNames"):
        if isinstance(schema.get(name), dict):
            yield from subschemas(schema[name])
    for name in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(name, []):
            yield from subschemas(one)
    for one in schema.get("properties", {}).values():
        yield from subschemas(one)


def closed(node):
    """A copy of a schema in which described objects take no other members: an answer has nothing that the document does not tell."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    node = {name: closed(value) for name, value in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        node.setdefault("additionalProperties", False)
    return node


CLOSED = closed(DOCUMENT)


def check_body(value, schema):
    """A value matches a schema of the document."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        resolver = jsonschema.RefResolver("", CLOSED)
        errors = sorted(Validator(closed(schema), resolver=resolver, format_checker=FORMATS).iter_errors(value), key=lambda error: str(error.path))
    assert not errors, [f"{list(error.absolute_path)}: {error.message[:300]}" for error in errors]


def check_answer(operation_id, answer, status=None):
    """An answer has a declared status, the declared content type and a body of the declared schema; the body."""
    method, path, operation = BY_ID[operation_id]
    if status:
        assert answer.status_code == status, answer.text
    assert str(answer.status_code) in operation["responses"], f"{answer.status_code} is not declared: {answer.text[:300]}"
    content = resolved(operation["responses"][str(answer.status_code)]).get("content", {})
    kind = answer.headers["Content-Type"].split(";")[0]
    assert kind in content, f"{kind} is not declared"
    value = json.loads(answer.content.decode("utf-8")) if kind.endswith("json") else answer.text
    check_body(value, content[kind]["schema"])
    return value


# The document by itself.

def test_the_server_and_the_command_tell_the_same(installation):
    answer = requests.get(installation.url + "/openapi.json", timeout=10)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.json() == DOCUMENT


def test_the_committed_file_is_what_the_command_tells():
    made = run_cognive("openapi", env=clean_environment())
    committed = json.loads((ROOT / "openapi.json").read_text())
    assert made.returncode == 0, made.stderr
    # A comparison outside of assert: the difference of two documents of this size would bury the advice.
    same = committed == json.loads(made.stdout)
    assert same, "openapi.json is out of date; run: cognive openapi | python3 -m json.tool > openapi.json"


def test_the_command_needs_no_configuration():
    made = run_cognive("openapi", env={"PATH": "/usr/bin"})
    assert made.returncode == 0 and made.stderr == ""
    assert json.loads(made.stdout) == DOCUMENT


def test_the_command_takes_the_title_from_the_environment():
    made = run_cognive("openapi", env=clean_environment(APP_NAME="Ours"))
    assert json.loads(made.stdout)["info"]["title"] == "Ours"


def test_the_document_can_be_cached(installation):
    answer = requests.get(installation.url + "/openapi.json", timeout=10)
    assert "max-age" in answer.headers.get("Cache-Control", "") or "ETag" in answer.headers
    if "ETag" in answer.headers:
        again = requests.get(installation.url + "/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}, timeout=10)
        assert again.status_code == 304 and again.content == b""


def test_the_head_of_the_document():
    assert DOCUMENT["openapi"] == "3.1.0"
    info = DOCUMENT["info"]
    assert info["title"] == "Cognive Control Plane API" and re.fullmatch(r"\d+\.\d+\.\d+\S*", info["version"])
    assert info["description"] and info["license"]["name"]
    assert set(DOCUMENT) <= {"openapi", "info", "jsonSchemaDialect", "servers", "paths", "webhooks", "components", "security", "tags", "externalDocs"}


def test_there_are_the_two_security_schemes():
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["ApiKeyAuth"]["type"] == "apiKey" and (schemes["ApiKeyAuth"]["in"], schemes["ApiKeyAuth"]["name"]) == ("header", "X-API-Key")
    assert (schemes["BearerAuth"]["type"], schemes["BearerAuth"]["scheme"], schemes["BearerAuth"]["bearerFormat"]) == ("http", "bearer", "JWT")


def test_every_reference_leads_somewhere():
    references = [(pointer, node["$ref"]) for pointer, node in nodes(DOCUMENT) if isinstance(node, dict) and isinstance(node.get("$ref"), str)]
    assert references
    for pointer, target in references:
        try:
            at(target)
        except (KeyError, TypeError):
            raise AssertionError(f"{pointer} refers to {target}, which is not there") from None


def test_every_component_is_used():
    used = {node["$ref"] for _, node in nodes(DOCUMENT) if isinstance(node, dict) and isinstance(node.get("$ref"), str)}
    for kind, components in DOCUMENT["components"].items():
        assert kind in ("schemas", "responses", "parameters", "examples", "requestBodies", "headers", "securitySchemes")
        for name in components:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", name)
            if kind == "securitySchemes":
                assert any(name in one for _, _, operation in OPERATIONS for one in operation.get("security", [])), name
            else:
                assert f"#/components/{kind}/{name}" in used, f"{kind}/{name} is not used"


def test_paths_are_unambiguous():
    shapes = [re.sub(r"\{[^}]*\}", "{}", path) for path in DOCUMENT["paths"]]
    assert len(shapes) == len(set(shapes))
    for path, item in DOCUMENT["paths"].items():
        assert path.startswith("/") and item
        assert set(item) <= {*METHODS, "summary", "description", "servers", "parameters"}


def test_operation_ids_are_unique_and_usable_as_names():
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", one) for one in ids)


@each_operation
def test_an_operation_is_described(method, path, operation):
    assert set(operation) <= {"operationId", "summary", "description", "tags", "security", "parameters", "requestBody", "responses", "deprecated", "externalDocs",
                              "callbacks", "servers"} | {name for name in operation if name.startswith("x-")}
    assert operation["summary"] and not operation["summary"].endswith(".") and "\n" not in operation["summary"]
    assert len(operation["tags"]) == 1 and operation["tags"][0]
    if operation.get("security"):
        assert operation["security"] == [{"ApiKeyAuth": []}, {"BearerAuth": []}]
        assert re.fullmatch(r"[a-z_]+:[a-z_]+", operation["x-permission"])
    else:
        assert operation["security"] == [] and "x-permission" not in operation


@each_operation
def test_parameters_are_declared_completely(method, path, operation):
    parameters = parameters_of(operation)
    names = [(parameter["in"], parameter["name"]) for parameter in parameters]
    assert len(names) == len(set(names))
    assert {name for place, name in names if place == "path"} == set(re.findall(r"\{([^}]*)\}", path))
    for parameter in parameters:
        assert set(parameter) <= {"name", "in", "required", "description", "schema", "style", "explode", "example", "examples", "deprecated", "allowReserved", "content"}
        assert parameter["in"] in ("path", "query", "header", "cookie")
        assert parameter["schema"], parameter["name"]
        if parameter["in"] == "path":
            assert parameter["required"] is True
        else:
            assert parameter["description"], f"{parameter['name']} is not described"


def test_list_parameters_say_that_they_are_separated_by_commas():
    for _, _, operation in OPERATIONS:
        for parameter in parameters_of(operation):
            if parameter["schema"].get("type") == "array":
                # The default of query parameters is ?a=1&a=2, which we refuse.
                assert parameter.get("style", "form") == "form" and parameter.get("explode") is False, (operation["operationId"], parameter["name"])


@each_operation
def test_responses_are_declared_completely(method, path, operation):
    responses = operation["responses"]
    assert all(re.fullmatch(r"[2-5]\d\d", status) for status in responses)
    assert any(status.startswith("2") for status in responses)
    for status, response in responses.items():
        response = resolved(response)
        assert response["description"]
        assert set(response) <= {"description", "headers", "content", "links"}
        if int(status) >= 400 and not (path.endswith("readiness")):
            assert list(response["content"]) == ["application/problem+json"], status
        elif status != "204":
            assert response["content"], status
    if operation.get("security"):
        assert {"401", "403", "503"} <= responses.keys()
    if "{" in path:
        assert "404" in responses
    if any(parameter["in"] != "header" for parameter in parameters_of(operation)):
        assert "422" in responses
    if "requestBody" in operation:
        assert {"400", "413", "415", "422"} <= responses.keys()


def test_request_bodies_are_declared_completely():
    for method, path, operation in OPERATIONS:
        if "requestBody" in operation:
            assert method in ("POST", "PUT", "PATCH")
            body = operation["requestBody"]
            assert isinstance(body["required"], bool) and "application/json" in body["content"]
            for media in body["content"].values():
                assert media["schema"]
        elif method in ("PUT", "PATCH"):
            raise AssertionError(f"{operation['operationId']} takes no body")


@pytest.mark.parametrize("name, schema", list(all_schemas()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_schema_is_valid_json_schema(name, schema):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        Validator.check_schema(schema)
    for one in subschemas(schema):
        assert isinstance(one, dict)
        assert set(one) <= SCHEMA_WORDS, f"unknown words: {set(one) - SCHEMA_WORDS}"
        if one.get("type") == "array":
            assert "items" in one
        if "required" in one:
            assert len(set(one["required"])) == len(one["required"]) and set(one["required"]) <= set(one.get("properties", {}))
        if "enum" in one:
            assert one["enum"] and len(set(map(str, one["enum"]))) == len(one["enum"])
        for example in one.get("examples", []):
            check_body(example, one)
        if "default" in one:
            check_body(one["default"], one)


def test_answers_always_carry_every_member_and_the_document_says_so():
    """Null instead of absent, so that generated clients need no guesses."""
    for name in ("Agent", "Run", "RunDetail", "Team"):
        schema = DOCUMENT["components"]["schemas"][name]
        assert set(schema["required"]) == set(schema["properties"]), name


# The document against real answers.

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
    return {"team": team, "agent": agent, "run": run, "ended": ended, "call": events[0]["id"], "budget": budget, "by_run": by_run, "reservation": reservation,
            "held": held, "money": money, "channel": channel}


GETS = {
    "team_list": ["/api/v1/teams", "/api/v1/teams?limit=1"],
    "team_get": ["/api/v1/teams/{team}"],
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
    "root": ["/"], "welcome": ["/api/v1/"], "health_liveness": ["/api/v1/health/liveness"], "health_readiness": ["/api/v1/health/readiness"],
    "health_replication": ["/api/v1/health/replication"], "metrics": ["/metrics"], "docs": ["/docs"], "redoc": ["/redoc"], "openapi": ["/openapi.json"],
}


def test_every_get_is_tried_here():
    assert set(GETS) == {operation["operationId"] for method, _, operation in OPERATIONS if method == "GET"}


@pytest.mark.parametrize("operation_id", GETS)
def test_a_get_answers_as_declared(api, world, operation_id):
    words = {"team": world["team"]["id"], "team_name": world["team"]["name"], "agent": world["agent"]["id"], "run": world["run"]["run_id"],
             "ended": world["ended"]["run_id"], "call": world["call"], "budget": world["budget"]["id"], "by_run": world["by_run"]["id"],
             "reservation": world["reservation"], "channel": world["channel"]["id"]}
    for target in GETS[operation_id]:
        check_answer(operation_id, api.get(target.format(**words)), 200)


def test_teams_answer_as_declared(api):
    name = "t-" + uuid7()
    check_answer("team_create", api.post("/api/v1/teams", json={"name": name}), 201)
    check_answer("team_create", api.post("/api/v1/teams", json={"name": name}), 409)


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
    other = installation.team_key("", next(one for one in ("teams:read", "prices:read") if one != operation["x-permission"]))
    unknown = url.replace("{id}", uuid7())
    send = lambda target, headers, **kwargs: requests.request(method, target, headers=headers, timeout=30, **kwargs)
    check_answer(name, send(unknown, {}), 401)
    check_answer(name, send(unknown, {"X-API-Key": other}), 403)
    if "{id}" in path:
        check_answer(name, send(url.replace("{id}", "x"), key, json={}), 422)
    if any(parameter["in"] != "header" for parameter in parameters_of(operation)):
        check_answer(name, send(unknown + "?no_such_parameter=1" if "usage" not in str(operation["parameters"]) else unknown, key, json={}), 422)
    if method == "GET":
        check_answer(name, send(unknown, key | {"X-Consistency-Token": "no-token"}), 400)
    if "requestBody" in operation:
        check_answer(name, send(unknown, key, data=b"{"), 400)
        check_answer(name, send(unknown, key | {"Content-Type": "text/plain"}, data=b"{}"), 415)
        check_answer(name, send(unknown, key, json={"no_such_field": 1}), 422)
        check_answer(name, send(unknown, key, data=b" " * ((16 << 20) + 1)), 413)


EXAMPLES = [(name, BY_ID[name][2]["requestBody"]["content"]["application/json"]["schema"]) for name in BY_ID if "requestBody" in BY_ID[name][2]]


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
    if operation_id == "event_batch":
        schemas = DOCUMENT["components"]["schemas"]
        body = [example(schemas[name]) | {"type": kind, "run_id": run} for name, kind in (("LlmCall", "llm_call"), ("ToolInvocation", "tool_invocation"), ("Step", "step"))]
        for event in body:
            event["id"] = uuid7()
        check_body(body, schema)
    else:
        body = example(schema)
    ids = {"/runs/": run, "/reservations/": world["held"], "/budgets/": world["money"]["id"], "/alert-channels/": world["channel"]["id"]}
    target = path.replace("{id}", next((ids[part] for part in ids if part in path), world["agent"]["id"]))
    answer = api.request(method, target, json=body)
    assert answer.status_code in (200, 201), answer.text
    check_answer(operation_id, answer)


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
