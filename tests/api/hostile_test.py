"""Rubbish as whole bodies and batches: a documented 4xx, a problem document, nothing stored, nobody hurt."""

import gzip
import json
import time

import pytest

from installation import llm_call, uuid7
from problems import check_problem, pointers
from routes import BATCH, OBJECTS, ROUTES, SAMPLES, named

pytestmark = pytest.mark.usefixtures("server_survives")


def test_every_route_with_an_object_has_a_sample_here():
    assert {route.id for route in OBJECTS} == set(SAMPLES)


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
