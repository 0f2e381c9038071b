"""Rubbish for every route that takes input: a documented 4xx, a problem document with every fault, nothing stored, nobody hurt.

What each field takes comes from the OpenAPI document, so that a new route is covered as soon as it has a sample body here.
"""

import gzip
import json
import random
import re
import time
import uuid
from datetime import datetime
from urllib.parse import quote

import jsonschema
import pytest
import requests

from installation import llm_call, run_cognive, uuid7

DOCUMENT = json.loads(run_cognive("openapi").stdout)
TIME = "2026-11-23T06:02:00.123456Z"
REJECTED_MAX = 72
ANSWER_BYTES_MAX = 128 * 1024

# A valid body per operation; `agent` and `run` stand for the ids of existing ones, `new` for a fresh id.
SAMPLES = {
    "team_create": {"name": "new"},
    "agent_create": {"name": "new", "team": "default", "description": "d", "framework": "custom", "environment": "production",
                     "version": "1", "status": "active", "allowed_providers": ["openai"], "allowed_models": ["gpt-*"],
                     "allowed_tools": [], "allowed_data_sources": [], "labels": {"a": "b"}, "metadata": {"a": 1}},
    "agent_put": {"name": "new", "labels": {"a": "b"}},
    "agent_update": {"version": "2"},
    "run_start": {"agent_id": "agent", "run_id": "new", "session_id": "s", "labels": {"a": "b"}, "metadata": {"a": [1]},
                  "started_at": TIME},
    "run_end": {"status": "succeeded", "error": "none", "ended_at": "2026-11-23T07:00:00Z"},
    "step_create": {"id": "new", "timestamp": TIME, "index": 3, "kind": "llm", "name": "plan", "metadata": {"a": 1}},
    "llm_call_create": {"id": "new", "timestamp": TIME, "provider": "openai", "model": "gpt-4o", "usage": {"input_tokens": 10},
                        "status": "ok", "duration_ms": 12, "metadata": {"a": 1}},
    "tool_invocation_create": {"id": "new", "timestamp": TIME, "tool": "search", "status": "error", "error": "timeout"},
}


class Route:
    """An operation that takes a body."""

    def __init__(self, method, path, operation):
        self.method, self.path, self.operation = method.upper(), path, operation
        self.id = operation["operationId"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        self.schema = resolve(schema)

    def send(self, api, things, data, **kwargs):
        """Send a body, given as bytes, to the route."""
        path = self.path.replace("{id}", things["run" if "/runs/" in self.path else "agent"])
        return api.request(self.method, path, data=data, **kwargs)

    def sample(self, things):
        """A valid body."""
        words = things | {"new": uuid7()}
        return {name: words.get(value, value) if isinstance(value, str) else value for name, value in SAMPLES[self.id].items()}

    def with_field(self, things, name, token):
        """A valid body in which one field has the value of a JSON text, as bytes."""
        return json.dumps(self.sample(things) | {name: "@@@"}).replace('"@@@"', token).encode("utf-8", "surrogatepass")


def resolve(schema):
    """A schema, or what it refers to."""
    return DOCUMENT["components"]["schemas"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema


def operations():
    """Every operation: method, path, operation."""
    return [(method, path, operation) for path, item in DOCUMENT["paths"].items() for method, operation in item.items()]


ROUTES = [Route(*each) for each in operations() if "requestBody" in each[2]]
OBJECTS = [route for route in ROUTES if route.schema.get("type") == "object"]
BATCH = next(route for route in ROUTES if route.id == "event_batch")


def named(operation):
    """The route of an operation that takes an object."""
    return next(route for route in OBJECTS if route.id == operation)


def test_every_route_with_an_object_has_a_sample_here():
    assert {route.id for route in OBJECTS} == set(SAMPLES)


@pytest.fixture(scope="module")
def things(installation):
    """Ids of an agent and of a run of it that nobody should manage to end."""
    api = installation.api()
    agent = api.agent()["id"]
    return {"agent": agent, "run": api.run(agent, started_at=TIME)["run_id"]}


def row_counts(installation):
    """The number of rows of every table."""
    tables = installation.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return installation.sql(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for (name,) in tables))


@pytest.fixture
def nothing_stored(installation, things):
    """Fails when the test left a row in any table."""
    before = row_counts(installation)
    yield
    assert row_counts(installation) == before


@pytest.fixture(scope="module", autouse=True)
def server_survives(installation):
    """After all of it the server lives, and it logged no failure of its own."""
    log = installation.directory / "log/cognive.log"
    start = log.stat().st_size
    yield
    assert installation.process.poll() is None
    assert installation.api().get("/api/v1/health/readiness").status_code == 200
    assert '"level":"error"' not in log.read_text()[start:]


def check_problem(answer, *statuses):
    """A problem document with one of the statuses; its body."""
    assert answer.status_code in statuses, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < ANSWER_BYTES_MAX
    body = json.loads(answer.content.decode("utf-8"))
    assert body["status"] == answer.status_code
    for name in ("type", "title", "detail", "instance", "request_id"):
        assert isinstance(body[name], str) and body[name], name
    assert ("errors" in body) == (answer.status_code == 422)
    for error in body.get("errors", []):
        assert set(error) <= {"pointer", "message", "rejected"} and error["message"]
        assert len(error.get("rejected", "")) <= REJECTED_MAX
    return body


def pointers(answer):
    """The sorted pointers of a 422, without the sentence that counts what came after the first hundred."""
    errors = check_problem(answer, 422)["errors"]
    if len(errors) == 101 and "more faults" in errors[-1]["message"]:
        errors.pop()
    return sorted(error["pointer"] for error in errors)


# Whole bodies.

MALFORMED = {
    "blanks": b" \r\n\t ",
    "open object": b"{",
    "open array": b"[",
    "closed object": b"}",
    "wrong bracket": b'{"name":"x"]',
    "no value": b'{"name":}',
    "no colon": b'{"name" "x"}',
    "no comma": b'{"name":"x" "team":"y"}',
    "single quotes": b"{'name':'x'}",
    "bare key": b'{name:"x"}',
    "number key": b'{1:"x"}',
    "trailing comma": b'{"name":"x",}',
    "leading comma": b'{,"name":"x"}',
    "second value": b'{"name":"x"}{"name":"y"}',
    "second value after a line": b'{"name":"x"}\n{"name":"y"}',
    "extra brace": b'{"name":"x"}}',
    "trailing text": b'{"name":"x"}trailing',
    "trailing NUL": b'{"name":"x"}\0',
    "leading NUL": b'\0{"name":"x"}',
    "comma after": b'{"name":"x"},',
    "two scalars": b"1,2",
    "scalar and bracket": b"1]",
    "scalars in disguise": b"1],[2",
    "short null": b"nul",
    "long null": b'{"description":nulll}',
    "long true": b'{"name":truex}',
    "short false": b'{"unknown":fals}',
    "upper-case": b'{"name":NULL}',
    "NaN": b"NaN",
    "NaN inside": b'{"name":NaN}',
    "infinity": b'{"index":Infinity}',
    "undefined": b'{"name":undefined}',
    "hexadecimal": b'{"index":0x10}',
    "leading zero": b'{"index":01}',
    "no digits after the point": b'{"index":1.}',
    "no digits before the point": b'{"index":.5}',
    "plus": b'{"index":+1}',
    "two minus": b'{"index":--1}',
    "minus alone": b'{"index":-}',
    "no exponent": b'{"index":1e}',
    "two numbers": b'{"index":1 2}',
    "vertical tab after a number": b'{"index":1\x0b}',
    "form feed after a number": b'{"duration_ms":1\x0c,"index":1}',
    "number and letters": b'{"index":1abc}',
    "underscores": b'{"index":1_000}',
    "open string": b'{"name":"x',
    "raw line end in a string": b'{"name":"a\nb"}',
    "raw tab in a string": b'{"name":"a\tb"}',
    "raw NUL in a string": b'{"name":"a\0b"}',
    "unknown escape": b'{"name":"\\x41"}',
    "short escape": b'{"name":"\\u12"}',
    "escape of nothing": b'{"name":"\\',
    "bad escape in a key": b'{"na\\qme":"x"}',
    "bad escape in an unknown field": b'{"unknown":"\\q"}',
    "byte FF": b'{"name":"\xff"}',
    "overlong encoding": b'{"name":"\xc0\xaf"}',
    "encoded surrogate": b'{"name":"\xed\xa0\x80"}',
    "beyond Unicode": b'{"name":"\xf4\x90\x80\x80"}',
    "cut UTF-8": b'{"name":"\xe2\x82"}',
    "invalid UTF-8 in a key": b'{"\xff":1}',
    "UTF-16": '{"name":"x"}'.encode("utf-16"),
    "comment": b'/* hello */ {"name":"x"}',
    "comment inside": b'{"name":"x" // hello\n}',
    "form": b"name=x&team=y",
    "XML": b"<name>x</name>",
    "YAML": b"name: x\n",
    "binary": bytes(range(256)),
    "10 MB of [": b"[" * 10_000_000,
    "10 MB of {": b'{"a":' * 2_000_000,
    "10 MB of [ closed": b"[" * 5_000_000 + b"]" * 5_000_000,
    "deep inside an unknown field": b'{"unknown":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep metadata": b'{"metadata":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    "10 MB of one open string": b'{"name":"' + b"x" * 10_000_000,
    "10 MB of commas": b"[" + b"," * 10_000_000 + b"]",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_not_json_is_400_everywhere(api, things, nothing_stored, name):
    huge = len(MALFORMED[name]) > 1_000_000
    for route in (named("agent_create"), named("step_create"), BATCH) if huge else ROUTES:
        begin = time.monotonic()
        body = check_problem(route.send(api, things, MALFORMED[name]), 400)
        assert body["type"] == "urn:cognive:problem:malformed", route.id
        assert time.monotonic() - begin < 5, route.id


def test_what_is_not_json_is_400_in_gzip_too(api, things, nothing_stored):
    for route in ROUTES:
        for name in ("open object", "byte FF", "second value"):
            check_problem(route.send(api, things, gzip.compress(MALFORMED[name]), headers={"Content-Encoding": "gzip"}), 400)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.id)
def test_an_empty_body_is_400_where_a_body_is_required(api, things, nothing_stored, route):
    assert route.operation["requestBody"]["required"] is True
    check_problem(route.send(api, things, b""), 400)


@pytest.mark.parametrize("escape", ["\\ud800", "\\udc00", "\\udc00\\ud800", "\\ud800x", "\\ud800\\u0041", "\\uD83D"])
def test_lone_surrogates_are_refused_everywhere(api, things, nothing_stored, escape):
    for route in OBJECTS:
        for name in ("metadata", "description", "labels", "error", "unknown"):
            token = f'{{"a":"{escape}"}}' if name in ("metadata", "labels") else f'"{escape}"'
            check_problem(route.send(api, things, route.with_field(things, name, token)), 400, 422)
        check_problem(route.send(api, things, route.with_field(things, f"{escape}", "1").replace(b"\\\\", b"\\")), 400, 422)


@pytest.mark.parametrize("body", [b"null", b"true", b"false", b"0", b"-1.5e3", b'"text"', b"[]", b"[{}]", b" null "])
def test_json_that_is_no_object_is_422_at_the_root(api, things, nothing_stored, body):
    for route in OBJECTS:
        assert pointers(route.send(api, things, body)) == [""], route.id


@pytest.mark.parametrize("body", [b"null", b"true", b"1", b'"text"', b"{}", b'{"items":[]}'])
def test_a_batch_that_is_no_array_is_422(api, things, nothing_stored, body):
    assert pointers(BATCH.send(api, things, body)) == [""]


# Fields.

TEXTS = ["", "x", "a" * 65, "b" * 129, "c" * 257, "d" * 4097, "e" * 100_000, "not-a-uuid", "ü" * 5000, "active ", "ACTIVE",
         "'; DROP TABLE agents; --", "1' OR '1'='1", "$1", "\\", "%s%n", "{}", "../../etc/passwd"]
BAD_UUIDS = ["0", "0123456789abcdef0123456789abcdef", "{01234567-89ab-cdef-0123-456789abcdef}", "01234567-89ab-cdef-0123-456789abcde",
             "01234567-89ab-cdef-0123-456789abcdef0", "01234567-89ab-cdef-0123-456789abcdeg", "urn:uuid:01234567-89ab-cdef-0123-456789abcdef",
             "01234567-89ab-cdef-0123-456789abcdef\n", " 01234567-89ab-cdef-0123-456789abcdef", "0123456-789ab-cdef-0123-456789abcdef",
             "٠1234567-89ab-cdef-0123-456789abcdef"]
BAD_TIMES = ["now", "infinity", "-infinity", "epoch", "1700000000", "2026-11-23", "2026-11-23T10:00:00", "2026-13-01T00:00:00Z",
             "2026-00-01T00:00:00Z", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T10:60:00Z",
             "2026-11-23T10:00:61Z", "2026-11-23T10:00:00.Z", "2026-11-23T10:00:00,5Z", "2026-11-23T10:00:00+99:00", "2026-11-23T10:00:00+0100",
             "2026-11-23T10:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "2026-1-1T00:00:00Z",
             "2026-11-23T10:00:00Z\n", " 2026-11-23T10:00:00Z", "2026-11-23T10:00:00ZZ", "2026-11-23T10:00:00 UTC", "2026-W47-1T10:00:00Z",
             "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
TOKENS = ["null", "true", "false", "0", "-0", "-1", "1.5", "1e2", "1e400", "-1e400", "1e-400", "1e99999999999", "9223372036854775807",
          "9223372036854775808", "-9223372036854775809", "123456789012345678901234567890", "0." + "3" * 500, "1" * 10_000,
          "[]", "[null]", "[1]", '["a",2]', "[[]]", '[["a"]]', "[{}]", '["' + "z" * 300 + '"]', json.dumps(["a"] * 257), json.dumps(["a"] * 100_000),
          "{}", '{"a":1}', '{"a":null}', '{"a":{"b":[1]}}', '{"a":-1}', '{"a":1e400}', '{"":"x"}', '{"a":"%s"}' % ("y" * 300), json.dumps({"k" * 200: "v"}),
          json.dumps({f"key{number}": "v" for number in range(1000)}), json.dumps({f"key{number}": 1 for number in range(1000)}),
          json.dumps({"big": "x" * (16 << 10)}), *(json.dumps(text) for text in TEXTS + BAD_UUIDS + BAD_TIMES)]


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
        answer = route.send(api, things, route.with_field(things, name, token))
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
        found = pointers(route.send(api, things, json.dumps({**route.sample(things), name: name}, ensure_ascii=False).encode()))
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


@pytest.mark.parametrize("number", range(len(SEVERAL)), ids=lambda number: f"{number}-{SEVERAL[number][0]}")
def test_every_fault_of_a_body_is_listed(api, things, nothing_stored, number):
    operation, body, expected = SEVERAL[number]
    route = named(operation)
    words = things | {"new": uuid7()}
    body = {name: words.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    assert pointers(route.send(api, things, json.dumps(body).encode())) == expected


def test_faults_of_path_and_body_are_listed_together(api, nothing_stored):
    assert pointers(api.patch("/api/v1/agents/not-an-id", json={"nope": 1})) == ["/nope", "?id"]
    assert pointers(api.post("/api/v1/runs/not-an-id/steps", json={"id": uuid7(), "index": 0, "kind": "k", "name": ""})) == ["/name", "?id"]


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


SQL = ["'; DROP TABLE agents; --", "Robert'); DELETE FROM teams;--", "\" OR \"\"=\"", "1; SELECT pg_sleep(10)", "$$ || version() || $$", "E'\\\\x00'", "${jndi:ldap://x}",
       "{{7*7}}", "<script>alert(1)</script>", "\\N", "{NULL}", "a,b\"c'd\\e", "%", "_", "\u202egnp.exe", "\ufeff", "e\u0301", "\u2028", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]


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


# Batches.

def test_rubbish_in_a_batch_is_rejected_alone_with_all_its_faults(api, things, nothing_stored):
    run = things["run"]
    good_id = uuid7()
    items = [1, None, "x", [], {}, {"type": None}, {"type": "nope"}, {"type": "step"}, {"type": "llm_call", "id": "x", "run_id": 7, "model": ""},
             llm_call(run, usage={"a": 1, "input_tokens": -1}), llm_call(run, usage={"a": 1, "b": 1}, timestamp="2999-01-01T00:00:00Z"),
             llm_call(uuid7()), llm_call(uuid7(), agent_id=uuid7()), {"type": "step", "id": good_id, "index": 1, "kind": "k", "name": "n"},
             llm_call(run, model="a\0b", error="\0"), llm_call(run, model="x" * 300, provider="y" * 300, unknown=1)]
    answer = BATCH.send(api, things, json.dumps(items).encode())
    assert answer.status_code == 200
    body = answer.json()
    assert (body["accepted"], body["duplicates"]) == (0, 0)
    assert [item["index"] for item in body["rejected"]] == list(range(len(items)))
    found = [sorted(error["pointer"] for error in item["errors"]) for item in body["rejected"]]
    assert found == [[""], [""], [""], [""], ["/type"], ["/type"], ["/type"], ["/id", "/index", "/kind", "/name", "/run_id"], ["/id", "/model", "/run_id"],
                     ["/usage/a", "/usage/input_tokens"], ["/timestamp", "/usage/a", "/usage/b"], ["/run_id"], ["/agent_id"], ["/run_id"],
                     ["/error", "/model"], ["/model", "/provider", "/unknown"]]


def test_lines_that_are_no_json_are_rejected_alone(api, things, nothing_stored):
    lines = [b"{", b"nul", b'{"type":"step"}', b"\xff\xfe", b"[]", b'{"type":"llm_call"} {"type":"step"}', b"[" * 100_000, b'"', b"\0"]
    for end in (b"", b"\n", b"\r\n"):
        answer = BATCH.send(api, things, b"\n\n" + b"\n  \n".join(lines) + end, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 200, answer.text
        body = json.loads(answer.content.decode("utf-8"))
        assert body["accepted"] == 0 and [item["index"] for item in body["rejected"]] == list(range(len(lines)))


def test_a_batch_has_its_limits(api, things, nothing_stored):
    check_problem(BATCH.send(api, things, b"[" + b",".join([b"{}"] * 50_001) + b"]"), 413)
    check_problem(BATCH.send(api, things, b"{}\n" * 50_001, headers={"Content-Type": "application/x-ndjson"}), 413)
    assert BATCH.send(api, things, b"[]").json() == {"accepted": 0, "duplicates": 0, "rejected": []}
    answer = BATCH.send(api, things, b"[" + b",".join([b"0"] * 50_000) + b"]")
    assert answer.status_code == 200 and len(answer.json()["rejected"]) == 50_000


# Paths and queries.

WITH_ID = [(method.upper(), path) for method, path, operation in operations() if "{id}" in path]


@pytest.mark.parametrize("method, path", WITH_ID)
def test_a_path_id_that_is_no_uuid_is_422(api, things, nothing_stored, method, path):
    operation = DOCUMENT["paths"][path][method.lower()]["operationId"]
    body = next((json.dumps(route.sample(things)).encode() for route in OBJECTS if route.id == operation), None)
    for text in ("x", "0", "null", "%20", "-1", "*", "'%20OR%20'1'='1", "%00", "%ff", "%0a", "a" * 3000, "%E2%82%AC" * 200, *map(quote, BAD_UUIDS)):
        if "/" in text:
            continue
        answer = api.request(method, path.replace("{id}", text), data=body)
        if text == "%ff":
            check_problem(answer, 400, 404, 422)
        else:
            assert pointers(answer) == ["?id"], text[:50]


@pytest.mark.parametrize("method, path", WITH_ID)
def test_an_unknown_id_is_404(api, things, nothing_stored, method, path):
    operation = DOCUMENT["paths"][path][method.lower()]["operationId"]
    body = next((json.dumps(route.sample(things)).encode() for route in OBJECTS if route.id == operation), None)
    for text in (uuid7(), str(uuid.uuid4()), "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", uuid7().upper()):
        check_problem(api.request(method, path.replace("{id}", text), data=body), 404)


LISTS = ["/api/v1/teams", "/api/v1/agents", "/api/v1/runs"]
SOME_ID = "0191f8a0-0000-7000-8000-000000000000"


@pytest.mark.parametrize("limit", ["0", "-1", "501", "1.5", "1e99", "abc", "", "99999999999999999999", "+5", "0x10", "05", "null", "true", "5,6", "%20", "1%00", "٣"])
def test_a_bad_limit_is_422(api, nothing_stored, limit):
    for path in LISTS:
        assert pointers(api.get(f"{path}?limit={limit}")) == ["?limit"]


@pytest.mark.parametrize("cursor", ["", "x", ".", "0.0", f"zz.{SOME_ID}", f"0.{SOME_ID}x", f"0x10.{SOME_ID}", f".{SOME_ID}", f"0{SOME_ID}", f"ffffffffffffffff.{SOME_ID}", "%00", "a" * 3000])
def test_a_cursor_that_we_did_not_make_is_422(api, nothing_stored, cursor):
    for path in LISTS:
        assert pointers(api.get(f"{path}?cursor={cursor}")) == ["?cursor"]


@pytest.mark.parametrize("micros", ["7fffffffffffffff", "-8000000000000000", "-7fffffffffffffff", "7ffcb9cce5cc8000", "0", "-1"])
def test_a_forged_cursor_far_away_in_time_is_no_server_error(api, nothing_stored, micros):
    for path in LISTS:
        answer = api.get(f"{path}?cursor={micros}.{SOME_ID}")
        if answer.status_code != 200:
            assert pointers(answer) == ["?cursor"]


QUERIES = [
    ("/api/v1/agents?nope=1", ["?nope"]),
    ("/api/v1/agents?=1", ["?"]),
    ("/api/v1/agents?limit", ["?limit"]),
    ("/api/v1/agents?limit=1&limit=2", ["?limit"]),
    ("/api/v1/agents?status=sleeping", ["?status"]),
    ("/api/v1/agents?status=", ["?status"]),
    ("/api/v1/agents?name=a%00b", ["?name"]),
    ("/api/v1/agents?a%2Fb=1", ["?a~1b"]),
    ("/api/v1/agents?limit=0&status=x&nope=1&Name=y", ["?Name", "?limit", "?nope", "?status"]),
    ("/api/v1/agents?limit=0&cursor=rubbish", ["?cursor", "?limit"]),
    (f"/api/v1/agents/{SOME_ID}?nope=1", ["?nope"]),
    (f"/api/v1/agents/{SOME_ID}?id={SOME_ID}", ["?id"]),
    ("/api/v1/teams?team=x", ["?team"]),
    ("/api/v1/runs?agent_id=x&status=alive&from=now&to=later", ["?agent_id", "?from", "?status", "?to"]),
    ("/api/v1/runs?from=2026-11-23T10:00:00", ["?from"]),
    ("/api/v1/runs?from=2026-11-23T10:00:00+01:00", ["?from"]),  # an unescaped plus is a space
    ("/api/v1/prices/quote", ["?model"]),
    ("/api/v1/prices/quote?model=", ["?model"]),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=-1", ["?usage/input_tokens", "?input_tokens"]),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=abc&output_tokens=1.5", None),
    ("/api/v1/prices/quote?model=gpt-4o&made_up_tokens=1", None),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=1&input_tokens=2", None),
    ("/api/v1/prices/quote?model=gpt-4o&input_tokens=99999999999999999999", None),
    ("/api/v1/prices/quote?model=gpt-4o&at=tomorrow", ["?at"]),
    ("/api/v1/prices/quote?model=" + "m" * 300, ["?model"]),
    ("/api/v1/analytics/costs?interval=second", ["?interval"]),
    ("/api/v1/analytics/costs?group_by=planet", ["?group_by/0"]),
    ("/api/v1/analytics/costs?group_by=agent,,team", ["?group_by/1"]),
    ("/api/v1/analytics/costs?group_by=agent,team,model,provider,environment,agent", ["?group_by"]),
    ("/api/v1/analytics/costs?group_by=label:x%27;--", ["?group_by/0"]),
    ("/api/v1/analytics/costs?from=x&to=y&agent_id=z&interval=w&nope=1", ["?agent_id", "?from", "?interval", "?nope", "?to"]),
    ("/api/v1/analytics/runs?group_by=model", ["?group_by/0"]),
    ("/api/v1/analytics/runs?agent_id=%27", ["?agent_id"]),
    ("/api/v1/analytics/coverage?from=0", ["?from"]),
    ("/api/v1/analytics/coverage?limit=1", ["?limit"]),
]


@pytest.mark.parametrize("target, expected", QUERIES)
def test_bad_query_parameters_are_422_with_each_one_named(api, nothing_stored, target, expected):
    found = pointers(api.get(target))
    if target.startswith("/api/v1/prices/quote") and (expected is None or len(expected) > 1):
        # The caller wrote ?input_tokens=; the member of the same name is how we keep it.
        sent = {pair.split("=")[0] for pair in target.split("?")[1].split("&")} - {"model"}
        assert found == sorted("?" + name for name in sent)
    else:
        assert found == expected


@pytest.mark.parametrize("target", ["/api/v1/agents?name=%ff", "/api/v1/agents?%ff=1", "/api/v1/agents?cursor=%ed%a0%80", "/api/v1/prices/quote?model=%c0%af"])
def test_a_query_that_is_no_utf_8_is_refused(api, nothing_stored, target):
    check_problem(api.get(target), 400, 422)


def test_reads_with_hostile_filters_answer_emptily(api, nothing_stored):
    for text in SQL:
        assert api.get("/api/v1/agents", params={"name": text + "?"}).json()["items"] == []
        assert api.get("/api/v1/agents", params={"team": text + "?"}).json()["items"] == []
        assert api.get("/api/v1/analytics/costs", params={"model": text + "?", "group_by": "model"}).json()["items"] == []
        assert api.get("/api/v1/prices/quote", params={"model": text}).status_code == 200
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
    for path in ("/api/v1/runs", "/api/v1/analytics/costs", "/api/v1/analytics/runs", "/api/v1/analytics/coverage"):
        assert api.get(path, params={"from": first, "to": last}).status_code == 200
    for interval in ("hour", "day", "week", "month"):
        assert api.get("/api/v1/analytics/costs", params={"from": first, "to": last, "interval": interval}).status_code == 200
    for bound in (first, last):
        assert api.get("/api/v1/prices/quote", params={"model": "gpt-4o", "at": bound}).status_code == 200


def test_a_thousand_query_parameters_are_refused_briefly(api, nothing_stored):
    body = check_problem(api.get("/api/v1/agents?" + "&".join(f"p{number}=1" for number in range(1000))), 422)
    assert len(body["errors"]) <= 101


# Mutations of valid bodies.

JUNK = [None, True, False, 0, -1, 1.5, 10**30, 1e308, "", "x", "\0", "ü" * 300, [], {}, [[]], {"": {}}, ["a"] * 300, "\ud83d\ude00", TIME, SOME_ID, "9999-12-31T23:59:59Z",
        {"input_tokens": 10**10}, "openai", "gpt-4o", "succeeded", "archived", "default"]


def mutate_value(random_, value):
    """A value with one random change somewhere inside."""
    if isinstance(value, dict) and value and random_.random() < 0.85:
        value = dict(value)
        key = random_.choice(list(value))
        action = random_.random()
        if action < 0.15:
            del value[key]
        elif action < 0.25:
            value[random_.choice(["x", "", "id", "name", "type", "run_id", key + "2"])] = value[key]
        else:
            value[key] = mutate_value(random_, value[key])
        return value
    if isinstance(value, list) and value and random_.random() < 0.85:
        value = list(value)
        at = random_.randrange(len(value))
        value[at:at + 1] = random_.choice([[], [mutate_value(random_, value[at])], [value[at]] * 2])
        return value
    if isinstance(value, str) and value and random_.random() < 0.3:
        at = random_.randrange(len(value))
        return value[:at] + random_.choice(["", "\0", "é", value[at] * 2, "Z"]) + value[at + 1:]
    return random_.choice(JUNK)


def mutate_bytes(random_, body):
    """A text with a few random bytes changed, lost, doubled or moved."""
    body = bytearray(body)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(body)) if body else 0
        action = random_.randrange(6)
        if action == 0:
            body[at:at + 1] = bytes([random_.randrange(256)])
        elif action == 1:
            del body[at:at + random_.randint(1, 5)]
        elif action == 2:
            body[at:at] = random_.choice([b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"1e999", b"null", b"\xc3", b" ", b"-"])
        elif action == 3:
            del body[at:]
        elif action == 4:
            end = random_.randrange(at, len(body) + 1)
            body[at:at] = body[at:end]
        else:
            other = random_.randrange(len(body) + 1)
            body[at:at] = body[min(at, other):max(at, other)][:20]
    return bytes(body)


@pytest.mark.parametrize("seed", range(6))
def test_mutated_bodies_are_accepted_or_refused_but_never_a_server_error(api, things, seed):
    random_ = random.Random(seed)
    statuses = {}
    for _ in range(500):
        route = random_.choice(ROUTES)
        if route is BATCH:
            value = [llm_call(things["run"]), {"type": "step", "run_id": things["run"]} | named("step_create").sample(things), random_.choice(JUNK)]
        else:
            value = route.sample(things)
        for _ in range(random_.randint(0, 3)):
            value = mutate_value(random_, value)
        body = json.dumps(value, ensure_ascii=random_.random() < 0.5).encode("utf-8", "surrogatepass")
        if random_.random() < 0.5:
            body = mutate_bytes(random_, body)
        headers = {}
        if random_.random() < 0.1:
            body, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
            if random_.random() < 0.5:
                body = mutate_bytes(random_, body)
        if route is BATCH and random_.random() < 0.3:
            headers["Content-Type"] = "application/x-ndjson"
        answer = route.send(api, things, body, headers=headers)
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        if answer.status_code not in (200, 201):
            assert 400 <= answer.status_code < 500, f"{route.id}: {body!r}: {answer.text}"
            check_problem(answer, 400, 404, 409, 413, 415, 422)
        else:
            json.loads(answer.content.decode("utf-8"))
    assert {400, 422} <= statuses.keys() and statuses.keys() & {200, 201}


@pytest.mark.parametrize("seed", range(2))
def test_mutated_targets_are_answered_but_never_a_server_error(api, things, seed):
    random_ = random.Random(1000 + seed)
    targets = [target for target, _ in QUERIES] + [f"/api/v1/runs/{things['run']}", f"/api/v1/agents/{things['agent']}", "/metrics", "/openapi.json"]
    for _ in range(500):
        target = bytearray(random_.choice(targets).encode())
        for _ in range(random_.randint(1, 4)):
            at = random_.randrange(1, len(target) + 1)
            piece = random_.choice([b"%", b"%00", b"%ff", b"%2F", b"&", b"=", b"?", b"/", b"..", b",", b"0", b"9" * 20, b"x", b"-", b"%25", b"+", b"%E2%82%AC", b""])
            target[at:at + random_.randint(0, 3)] = piece
        answer = api.get("/")  # keeps the session's connection known to be good
        assert answer.status_code == 200
        request = api.session.prepare_request(requests.Request(random_.choice(["GET", "HEAD", "POST", "PATCH"]), api.url + "/"))
        request.url = api.url + target.decode("latin-1")
        answer = api.session.send(request, timeout=30)
        assert answer.status_code < 500, (request.method, request.url, answer.text)
        if answer.status_code >= 400 and request.method != "HEAD":
            check_problem(answer, 400, 404, 405, 409, 413, 415, 422)
