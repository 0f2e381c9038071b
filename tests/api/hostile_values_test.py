"""Rubbish in the fields of bodies, for every route that takes an object: 422 with every fault at its field, nothing stored."""

import json
import re
from datetime import datetime

import jsonschema
import pytest

from installation import llm_call, uuid7
from problems import check_problem, pointers
from routes import DOCUMENT, OBJECTS, TIME, named
from rubbish import SQL, TOKENS

pytestmark = pytest.mark.usefixtures("server_survives")


# Fields.

def is_time(text):
    """Whether a text is a time as RFC 3339 writes it, in the years 1 to 9999."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", text):
        return False
    try:
        parsed = datetime.fromisoformat(re.sub(r"\.\d+", "", text.upper().replace("Z", "+00:00").replace(":60", ":59")))
        return (parsed - datetime.fromisoformat("0001-01-01T00:00:00+00:00")).days >= 0 and (
            datetime.fromisoformat("9999-12-31T23:59:59+00:00") - parsed).total_seconds() >= 0
    except (ValueError, OverflowError):
        return False


FORMATS = jsonschema.FormatChecker(formats=())
FORMATS.checks("uuid")(lambda value: not isinstance(value, str) or bool(
    re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value) and value.isascii()))
FORMATS.checks("date-time")(lambda value: not isinstance(value, str) or is_time(value))


def validator(schema):
    """A validator that knows our formats and resolves our components."""
    resolver = jsonschema.RefResolver("", DOCUMENT)
    return jsonschema.Draft202012Validator(schema, resolver=resolver, format_checker=FORMATS)


def invalid_tokens(schema):
    """The JSON texts that a field's schema refuses."""
    check = validator(schema)
    return [token for token in TOKENS if not check.is_valid(json.loads(token, parse_int=number))]


def number(digits):
    """An integer of any length; Python refuses to read the longest."""
    return int(digits) if len(digits) < 4000 else 10**4000


FIELDS = [(route, name) for route in OBJECTS for name in route.schema["properties"]]


@pytest.mark.parametrize("route, name", FIELDS, ids=lambda value: getattr(value, "id", value))
def test_whatever_the_schema_of_a_field_refuses_is_422_at_that_field(api, things, nothing_stored, route, name):
    tokens = invalid_tokens(route.schema["properties"][name])
    assert tokens or name in ("input", "output", "arguments", "result")
    wrong = []
    for token in tokens:
        data = route.with_field(things, name, token)
        answer = route.send(api, things, data)
        if not route.reads(data):
            check_problem(answer, 413)
            continue
        found = pointers(answer) if answer.status_code == 422 else answer.status_code
        if found == answer.status_code or not all(pointer == f"/{name}" or pointer.startswith(f"/{name}/") for pointer in found):
            wrong.append((token[:80], found))
    assert not wrong


@pytest.mark.parametrize("route", OBJECTS, ids=lambda route: route.id)
def test_a_missing_or_null_required_field_is_422_at_that_field(api, things, nothing_stored, route):
    for name in route.schema.get("required", []):
        body = route.sample(things)
        del body[name]
        assert pointers(route.send(api, things, json.dumps(body).encode())) == [f"/{name}"]
        assert pointers(route.send(api, things, route.with_field(things, name, "null"))) == [f"/{name}"]


def is_text(schema):
    """Whether a field takes text."""
    return any(kind.get("type") == "string" for kind in schema.get("anyOf", [schema]))


@pytest.mark.parametrize("route", OBJECTS, ids=lambda route: route.id)
def test_the_character_zero_is_422_in_every_text(api, things, nothing_stored, route):
    for name, schema in route.schema["properties"].items():
        if is_text(schema):
            for token in ('"\\u0000"', '"a\\u0000b"', '"' + "x" * 50 + '\\u0000"'):
                assert pointers(route.send(api, things, route.with_field(things, name, token))) == [f"/{name}"], (name, token)
        elif name == "metadata":
            for token in ('{"a":"\\u0000"}', '{"\\u0000":1}', '{"a":[{"b":"x\\u0000"}]}'):
                assert pointers(route.send(api, things, route.with_field(things, name, token))) == ["/metadata"], token
        elif name == "labels":
            for token in ('{"a":"\\u0000"}', '{"\\u0000":"a"}'):
                found = pointers(route.send(api, things, route.with_field(things, name, token)))
                assert len(found) == 1 and found[0].startswith("/labels"), token


@pytest.mark.parametrize("route", OBJECTS, ids=lambda route: route.id)
def test_a_field_that_appears_twice_is_422_at_that_field(api, things, nothing_stored, route):
    for name, value in route.sample(things).items():
        body = json.dumps(route.sample(things))[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}"
        assert pointers(route.send(api, things, body.encode())) == [f"/{name}"]


UNKNOWN = {"nope": "/nope", "Name": "/Name", "name ": "/name ", "": "/", "a/b": "/a~1b", "a~b": "/a~0b", "~/~1": "/~0~1~01", "ü": "/ü", "💥": "/💥", '"': '/"',
           "\\": "/\\", "0": "/0", "\0": "/\0", "\n": "/\n", "__proto__": "/__proto__", "$ref": "/$ref"}


@pytest.mark.parametrize("name", UNKNOWN, ids=repr)
def test_an_unknown_field_is_422_at_that_field(api, things, nothing_stored, name):
    for route in OBJECTS:
        for value in (None, 1, "x", [], {"deep": [{}]}):
            body = json.dumps(route.sample(things) | {name: value}).encode()
            assert pointers(route.send(api, things, body)) == [UNKNOWN[name]], route.id


@pytest.mark.parametrize("name", ["x" * 10_000, "ü" * 10_000, "€" * 10_000, "💥" * 10_000, "~" * 10_000, "x" + "💥" * 100], ids=lambda name: f"{name[1]}-{len(name)}")
def test_a_huge_unknown_name_is_reported_shortened_and_in_valid_utf_8(api, things, nothing_stored, name):
    for route in OBJECTS:
        data = json.dumps({**route.sample(things), name: name}, ensure_ascii=False).encode()
        if not route.reads(data):
            continue
        found = pointers(route.send(api, things, data))
        assert len(found) == 1 and found[0].startswith("/" + name[:1].replace("~", "~0")) and len(found[0]) < 300


def test_names_may_be_written_with_escapes(api, things):
    route = named("agent_create")
    name = uuid7()
    answer = route.send(api, things, b'{"n\\u0061me":"%s","\\u006eame":"twice"}' % name.encode())
    assert pointers(answer) == ["/name"]
    assert route.send(api, things, b'{"n\\u0061me":"%s"}' % name.encode()).json()["name"] == name


# Several faults at once.

SEVERAL = [
    ("agent_create", {}, ["/name"]),
    ("agent_create", {"name": "", "framework": 7, "labels": {"a": 1, "b/c": None, "d": "fine"}, "allowed_models": ["x", 2, None, "y"],
                      "status": "sleeping", "nope": 1, "metadata": []},
     ["/allowed_models/1", "/allowed_models/2", "/framework", "/labels/a", "/labels/b~1c", "/metadata", "/name", "/nope", "/status"]),
    ("agent_put", {"team": "", "description": {}, "version": 1.5, "allowed_tools": "all"},
     ["/allowed_tools", "/description", "/name", "/team", "/version"]),
    ("agent_update", {"name": "x", "team": "y", "status": 1, "environment": ""}, ["/environment", "/name", "/status", "/team"]),
    ("agent_create", {"name": "", "status": "archived"}, ["/name", "/status"]),
    ("agent_update", {"version": 1, "status": "archived"}, ["/status", "/version"]),
    ("team_create", {"id": 1, "Name": "x"}, ["/Name", "/id", "/name"]),
    ("run_start", {}, ["/agent_id"]),
    ("run_start", {"agent_id": "x", "run_id": 1, "parent_run_id": "y", "session_id": [], "labels": [], "metadata": "m", "started_at": "now", "more": 0},
     ["/agent_id", "/labels", "/metadata", "/more", "/parent_run_id", "/run_id", "/session_id", "/started_at"]),
    ("run_end", {"error": 1, "ended_at": "soon"}, ["/ended_at", "/error", "/status"]),
    ("run_end", {"status": "terminated", "error": ["x"]}, ["/error", "/status"]),
    ("llm_call_create", {"type": "step", "id": "x", "timestamp": 1, "provider": "", "usage": {"input_tokens": -1, "output_tokens": 1.5, "requests": 1},
                         "status": "great", "duration_ms": -1, "metadata": "no", "extra": {}},
     ["/duration_ms", "/extra", "/id", "/metadata", "/model", "/provider", "/status", "/timestamp", "/type", "/usage/input_tokens", "/usage/output_tokens"]),
    ("llm_call_create", {"id": "new", "model": "", "timestamp": "2999-01-01T00:00:00Z", "run_id": "agent", "usage": {"made_up_tokens": 1}},
     ["/model", "/run_id", "/timestamp", "/usage/made_up_tokens"]),
    ("llm_call_create", {"id": "new", "model": "m", "timestamp": "2999-01-01T00:00:00Z", "run_id": "agent", "usage": {"a": 1, "b": 2, "input_tokens": 1}},
     ["/run_id", "/timestamp", "/usage/a", "/usage/b"]),
    ("step_create", {"index": "3", "kind": "", "name": "x" * 257}, ["/id", "/index", "/kind", "/name"]),
    ("step_create", {"id": "new", "kind": "k", "name": "n", "index": -1, "timestamp": "1969-12-31T23:59:59Z"}, ["/index", "/timestamp"]),
    ("tool_invocation_create", {"type": 1, "status": "maybe", "parent_step_id": "root", "agent_id": 5}, ["/agent_id", "/id", "/parent_step_id", "/status", "/tool", "/type"]),
]


@pytest.mark.parametrize("number", [pytest.param(number, id=f"{number}-{several[0]}")
                                    for number, several in enumerate(SEVERAL)])
def test_every_fault_of_a_body_is_listed(api, things, nothing_stored, number):
    operation, body, expected = SEVERAL[number]
    route = named(operation)
    words = things | {"new": uuid7()}
    body = {name: words.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    assert pointers(route.send(api, things, json.dumps(body).encode())) == expected


def test_faults_of_path_and_body_are_listed_together(api, nothing_stored):
    assert pointers(api.patch("/api/v1/agents/not-an-id", json={"nope": 1})) == ["/nope", "{id}"]
    assert pointers(api.post("/api/v1/runs/not-an-id/steps", json={"id": uuid7(), "index": 0, "kind": "k", "name": ""})) == ["/name", "{id}"]


def test_messages_say_what_was_expected_and_show_what_came(api, nothing_stored):
    errors = {error["pointer"]: error for error in check_problem(api.post("/api/v1/agents", json={
        "name": "", "framework": 7, "status": "sleeping", "team": ["x" * 500]}), 422)["errors"]}
    assert errors["/framework"]["rejected"] == "7" and "string" in errors["/framework"]["message"]
    assert errors["/status"]["rejected"] == '"sleeping"'
    assert all(word in errors["/status"]["message"] for word in ("active", "suspended"))
    assert errors["/team"]["rejected"].startswith('["xxx')


def test_a_hundred_faults_are_listed_and_a_hundred_thousand_are_counted(api, nothing_stored):
    hundred = {f"unknown{number}": number for number in range(99)}
    assert pointers(api.post("/api/v1/agents", json=hundred)) == sorted([f"/{name}" for name in hundred] + ["/name"])
    many = {f"unknown{number}": number for number in range(100_000)}
    body = check_problem(api.post("/api/v1/agents", json=many), 422)
    assert len(body["errors"]) <= 101
    assert "more" in body["errors"][-1]["message"] and "99901" in body["errors"][-1]["message"]


# Values that only the product knows to be wrong.

@pytest.fixture
def other_run(things, installation):
    """A run of the test's own, for values that would end it if they were taken."""
    return things | {"run": installation.api().run(things["agent"], started_at=TIME)["run_id"]}


@pytest.mark.parametrize("operation, body, pointer", [
    ("run_start", {"started_at": "9999-12-31T23:59:59Z"}, "/started_at"),
    ("run_start", {"started_at": "2999-01-01T00:00:00Z"}, "/started_at"),
    ("run_end", {"ended_at": "9999-12-31T23:59:59.999999Z"}, "/ended_at"),
    ("run_end", {"ended_at": "2000-01-01T00:00:00Z"}, "/ended_at"),
    ("llm_call_create", {"timestamp": "9999-12-31T23:59:59Z"}, "/timestamp"),
    ("step_create", {"timestamp": "0001-01-01T00:00:00Z"}, "/timestamp"),
    ("tool_invocation_create", {"timestamp": "2999-01-01T00:00:00Z"}, "/timestamp"),
    ("llm_call_create", {"usage": {"": 1}}, "/usage/"),
    ("llm_call_create", {"usage": {"input_tokens": 10_000_000_001}}, "/usage/input_tokens"),
    ("llm_call_create", {"usage": {"inputtokens": 1}}, "/usage/inputtokens"),
    ("llm_call_create", {"type": "tool_invocation"}, "/type"),
    ("llm_call_create", {"run_id": "00000000-0000-0000-0000-000000000000"}, "/run_id"),
    ("agent_create", {"team": "no-such-team"}, "/team"),
    ("agent_create", {"labels": {f"l{number}": "v" for number in range(65)}}, "/labels"),
    ("agent_create", {"labels": {f"l{number}": "v" for number in range(1000)}}, "/labels"),
    ("agent_create", {"metadata": {"a": "x" * (16 << 10)}}, "/metadata"),
    ("agent_update", {"metadata": {"a": ["x" * 100] * 200}}, "/metadata"),
    ("run_start", {"metadata": {"a": "ü" * (9 << 10)}}, "/metadata"),
    ("step_create", {"metadata": {f"k{number}": number for number in range(3000)}}, "/metadata"),
], ids=str)
def test_a_value_that_cannot_be_is_422_at_its_field(api, other_run, nothing_stored, operation, body, pointer):
    route = named(operation)
    assert pointers(route.send(api, other_run, json.dumps(route.sample(other_run) | body).encode())) == [pointer]


@pytest.mark.parametrize("number", ["1e200000", "-1e200000", "1e-200000", "1e2147483648", "1e-2147483649", "1e99999999999999999999", "9" * 15_000,
                                    "0." + "1" * 15_000])
def test_metadata_with_numbers_beyond_the_database_is_422_or_kept(api, things, number):
    for route in OBJECTS:
        if "metadata" not in route.schema["properties"]:
            continue
        answer = route.send(api, things, route.with_field(things, "metadata", f'{{"a":{number}}}'))
        if answer.status_code not in (200, 201):
            assert pointers(answer) == ["/metadata"], route.id


@pytest.mark.parametrize("text", SQL, ids=ascii)
def test_texts_that_look_dangerous_are_kept_as_they_are(installation, api, text):
    name = text + uuid7()
    agent = api.agent(name, description=text, version=text, labels={text: text}, metadata={text: [text]}, allowed_models=[text], allowed_tools=[text, text])
    assert (agent["name"], agent["labels"], agent["metadata"]) == (name, {text: text}, {text: [text]})
    read = api.get(f"/api/v1/agents/{agent['id']}").json()
    assert read == agent and read["allowed_tools"] == [text, text]
    assert [one["id"] for one in api.get("/api/v1/agents", params={"name": name}).json()["items"]] == [agent["id"]]
    run = api.run(agent["id"], session_id=text, labels={text: text})["run_id"]
    events = [llm_call(run, model=text, provider=text, error=text, metadata={text: text}),
              {"type": "tool_invocation", "id": uuid7(), "run_id": run, "tool": text, "error": text},
              {"type": "step", "id": uuid7(), "run_id": run, "index": 0, "kind": text, "name": text}]
    assert api.post("/api/v1/events", json=events).json() == {"accepted": 3, "duplicates": 0, "rejected": []}
    assert installation.sql("SELECT model, provider, error FROM llm_calls WHERE run_id = %s", run) == [(text, text, text)]
    assert api.get("/api/v1/analytics/costs", params={"model": text, "agent_id": agent["id"]}).json()["total"]["calls"] == 1
    assert api.get("/metrics").status_code == 200
