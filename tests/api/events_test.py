"""Events: each stored exactly once, alone or in batches, whatever comes in beside it and whoever repeats it."""

import concurrent.futures
import datetime
import gzip
import json
import random
import threading
import time
import uuid
from collections import Counter

import pytest

from installation import llm_call, uuid7

TIMESTAMP = "2026-11-23T06:02:00.123456Z"
ZERO = {"accepted": 0, "duplicates": 0, "rejected": []}


def step(run_id, **attributes):
    """A step event with sensible content."""
    return {"type": "step", "id": uuid7(), "run_id": run_id, "timestamp": TIMESTAMP, "index": 3, "kind": "llm", "name": "plan"} | attributes


def tool(run_id, **attributes):
    """A tool invocation event with sensible content."""
    return {"type": "tool_invocation", "id": uuid7(), "run_id": run_id, "timestamp": TIMESTAMP, "tool": "search_flights"} | attributes


# make, path of the single route, table, a change of content
KINDS = {
    "llm_call": (llm_call, "llm-calls", "llm_calls", {"model": "gpt-4o-mini"}),
    "tool_invocation": (tool, "tool-invocations", "tool_invocations", {"tool": "book_flight"}),
    "step": (step, "steps", "execution_steps", {"name": "act"}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def post_one(api, event):
    """Report an event alone, by the route of its kind."""
    return api.post(f"/api/v1/runs/{event['run_id']}/{KINDS[event['type']][1]}", json=event)


def post_batch(api, events):
    """Report events together; the answer's body."""
    answer = api.post("/api/v1/events", json=events)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stored(installation, kind, run_id):
    """How many events of a kind a run has in the database."""
    return installation.sql(f"SELECT count(*) FROM {KINDS[kind][2]} WHERE run_id = %s", run_id)[0][0]


@pytest.fixture
def run_id(api):
    """A new run of a new agent."""
    return api.run(api.agent()["id"])["run_id"]


@every_kind
def test_a_single_event_is_created_then_known_then_in_conflict(installation, api, run_id, kind):
    make, _, table, change = KINDS[kind]
    event = make(run_id)
    first = post_one(api, event)
    assert first.status_code == 201
    assert first.json() == {"id": event["id"], "run_id": run_id, "duplicate": False}
    again = post_one(api, event)
    assert again.status_code == 200
    assert again.json() == {"id": event["id"], "run_id": run_id, "duplicate": True}
    before = installation.sql(f"SELECT * FROM {table} WHERE run_id = %s", run_id)
    other = post_one(api, event | change)
    assert other.status_code == 409
    assert other.headers["Content-Type"] == "application/problem+json"
    assert other.json()["type"] == "urn:cognive:problem:conflict"
    assert installation.sql(f"SELECT * FROM {table} WHERE run_id = %s", run_id) == before


@every_kind
def test_the_path_says_kind_and_run_of_a_single_event(api, run_id, kind):
    event = KINDS[kind][0](run_id)
    path = f"/api/v1/runs/{run_id}/{KINDS[kind][1]}"
    bare = {name: value for name, value in event.items() if name not in ("type", "run_id")}
    assert api.post(path, json=bare).status_code == 201
    wrong_type = next(name for name in KINDS if name != kind)
    answer = api.post(path, json=event | {"id": uuid7(), "type": wrong_type})
    assert answer.status_code == 422 and [e["pointer"] for e in answer.json()["errors"]] == ["/type"]
    answer = api.post(path, json=event | {"id": uuid7(), "run_id": uuid7()})
    assert answer.status_code == 422 and [e["pointer"] for e in answer.json()["errors"]] == ["/run_id"]


def test_ids_are_known_in_either_case(api, run_id):
    event = llm_call(run_id)
    assert post_one(api, event).status_code == 201
    assert post_one(api, event | {"id": event["id"].upper()}).status_code == 200


def test_layout_and_absent_defaults_are_not_content(api, run_id):
    event = step(run_id, metadata={"a": [1, {"b": None}]})
    assert post_one(api, event).status_code == 201
    indented = json.dumps(dict(reversed(event.items())) | {"error": None, "parent_step_id": None}, indent=4)
    again = api.post(f"/api/v1/runs/{run_id}/steps", data=indented, headers={"Content-Type": "application/json"})
    assert again.status_code == 200


def test_an_event_without_a_time_happened_when_it_arrived_and_its_repeat_is_a_repeat(installation, api, run_id):
    event = tool(run_id)
    del event["timestamp"]
    assert post_one(api, event).status_code == 201
    assert post_one(api, event).status_code == 200
    ((age,),) = installation.sql("SELECT arrived_at - timestamp FROM tool_invocations WHERE run_id = %s", run_id)
    assert abs(age) < datetime.timedelta(seconds=10)


def test_the_same_id_in_another_run_or_as_another_kind_is_another_event(installation, api, run_id):
    other_run = api.run(api.agent()["id"])["run_id"]
    same = uuid7()
    events = [make(run, id=same) for run in (run_id, other_run) for make in (llm_call, tool, step)]
    assert [post_one(api, event).status_code for event in events] == [201] * 6
    assert [post_one(api, event).status_code for event in events] == [200] * 6
    assert [stored(installation, kind, run) for run in (run_id, other_run) for kind in KINDS] == [1] * 6


def test_a_batch_mixes_kinds_and_runs_as_array_lines_and_gzip(installation, api, run_id):
    runs = [run_id, api.run(api.agent()["id"])["run_id"]]

    def events():
        return [make(run) for run in runs for make in (llm_call, tool, step)]

    array, lines, packed, packed_lines = (events() for _ in range(4))
    ndjson = {"Content-Type": "application/x-ndjson"}
    packed_text = gzip.compress(json.dumps(packed).encode())
    packed_lines_text = gzip.compress("".join(json.dumps(event) + "\r\n\r\n" for event in packed_lines).encode())
    gzipped = {"Content-Encoding": "gzip"}
    for answer in (api.post("/api/v1/events", json=array), api.post("/api/v1/events", data="\n".join(map(json.dumps, lines)), headers=ndjson),
                   api.post("/api/v1/events", data=packed_text, headers={"Content-Type": "application/json"} | gzipped),
                   api.post("/api/v1/events", data=packed_lines_text, headers=ndjson | gzipped)):
        assert (answer.status_code, answer.json()) == (200, ZERO | {"accepted": 6}), answer.text
    assert [stored(installation, kind, run) for run in runs for kind in KINDS] == [4] * 6
    everything = array + lines + packed + packed_lines
    assert post_batch(api, everything) == ZERO | {"duplicates": 24}
    for event in everything:
        assert post_one(api, event).status_code == 200


@pytest.mark.parametrize("body, kind", [("[]", "application/json"), (" [ ] ", "application/json"), ("", "application/x-ndjson"),
                                        ("\n\r\n\n", "application/x-ndjson")])
def test_an_empty_batch_is_no_error(api, body, kind):
    answer = api.post("/api/v1/events", data=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()) == (200, ZERO)


@pytest.mark.parametrize("body, status", [("", 400), ("[", 400), ("[{}", 400), ("[{}]]", 400), ("[{}] x", 400), ("{}", 422), ("7", 422)])
def test_what_is_no_batch_is_refused_as_a_whole(api, body, status):
    assert api.post("/api/v1/events", data=body, headers={"Content-Type": "application/json"}).status_code == status


def test_a_batch_of_another_content_type_or_encoding_is_unsupported(api):
    assert api.post("/api/v1/events", data="[]", headers={"Content-Type": "text/csv"}).status_code == 415
    answer = api.post("/api/v1/events", data="[]", headers={"Content-Type": "application/json", "Content-Encoding": "br"})
    assert answer.status_code == 415
    answer = api.post("/api/v1/events", data="no gzip", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert answer.status_code == 400


def test_one_event_more_than_fifty_thousand_is_too_many(api):
    too_many = "[" + ",".join(["{}"] * 50_001) + "]"
    assert api.post("/api/v1/events", data=too_many, headers={"Content-Type": "application/json"}).status_code == 413
    lines = api.post("/api/v1/events", data="{}\n" * 50_001, headers={"Content-Type": "application/x-ndjson"})
    assert lines.status_code == 413
    at_most = api.post("/api/v1/events", data="{}\n" * 50_000, headers={"Content-Type": "application/x-ndjson"})
    assert at_most.status_code == 200 and len(at_most.json()["rejected"]) == 50_000


def test_a_batch_larger_than_a_commit_is_stored_whole(installation, api, run_id):
    events = [step(run_id, index=i) for i in range(12_000)]
    assert post_batch(api, events) == ZERO | {"accepted": 12_000}
    assert installation.sql("SELECT count(*), sum(index) FROM execution_steps WHERE run_id = %s", run_id) == [(12_000, 71_994_000)]


def test_a_bad_event_is_rejected_with_every_fault_and_its_neighbours_are_stored(installation, api, run_id):
    bad = [
        ({"type": "dream"}, {"/type"}),
        ({}, {"/type"}),
        ("no object", {""}),
        (None, {""}),
        ([], {""}),
        (llm_call(run_id, id="x", model="", duration_ms=-1, colour="red", metadata=[]), {"/id", "/model", "/duration_ms", "/colour", "/metadata"}),
        (tool(run_id, tool="t" * 257, status="maybe", error="e" * 4097), {"/tool", "/status", "/error"}),
        (step(run_id, index=-1, kind=None, name=7, parent_step_id="y"), {"/index", "/kind", "/name", "/parent_step_id"}),
        ({"type": "step", "run_id": run_id}, {"/id", "/index", "/kind", "/name"}),
        ({"type": "llm_call", "run_id": run_id}, {"/id", "/model"}),
        ({"type": "tool_invocation", "run_id": run_id}, {"/id", "/tool"}),
        ({"type": "tool_invocation", "id": uuid7(), "tool": "t"}, {"/run_id"}),
        (step(run_id, metadata={"text": "x" * 17_000}), {"/metadata"}),
        (step(run_id, timestamp="yesterday"), {"/timestamp"}),
    ]
    batch = [step(run_id)]
    batch += [item for event, _ in bad for item in (event, step(run_id))]
    answer = post_batch(api, batch)
    assert answer["accepted"] == len(bad) + 1
    assert [item["index"] for item in answer["rejected"]] == list(range(1, len(batch), 2))
    for item, (event, pointers) in zip(answer["rejected"], bad, strict=True):
        assert {error["pointer"] for error in item["errors"]} == pointers, event
        assert all(error["message"] for error in item["errors"])
    assert stored(installation, "step", run_id) == len(bad) + 1


def test_faults_that_need_two_fields_are_told_together_with_the_others(api, run_id):
    event = llm_call(run_id, id="x", timestamp="2999-01-01T00:00:00Z", colour=1, usage={"input_tokens": 1, "cache_read_tokens": 2, "bananas": 3})
    pointers = {"/id", "/timestamp", "/colour", "/usage/cache_read_tokens", "/usage/bananas"}
    (rejected,) = post_batch(api, [event])["rejected"]
    assert {error["pointer"] for error in rejected["errors"]} == pointers
    single = post_one(api, event)
    assert single.status_code == 422
    assert {error["pointer"] for error in single.json()["errors"]} == pointers
    (rejected,) = post_batch(api, [{"type": "step"}])["rejected"]
    assert {error["pointer"] for error in rejected["errors"]} == {"/id", "/index", "/kind", "/name", "/run_id"}


def test_a_line_that_is_no_json_is_rejected_alone(installation, api, run_id):
    good = [step(run_id) for _ in range(4)]
    lines = [json.dumps(good[0]), '{"type":"step",', json.dumps(good[1]), '{"type":"step","name":"\\ud800"}', json.dumps(good[2]),
             "\x00", json.dumps(good[3])]
    body = "\n".join(lines).encode() + b'\n{"type":"step","name":"\xff\xfe"}\n'
    answer = api.post("/api/v1/events", data=body, headers={"Content-Type": "application/x-ndjson"}).json()
    assert answer["accepted"] == 4
    assert [item["index"] for item in answer["rejected"]] == [1, 3, 5, 7]
    assert stored(installation, "step", run_id) == 4


@every_kind
def test_repeats_inside_a_batch_count_once(installation, api, run_id, kind):
    events = [KINDS[kind][0](run_id) for _ in range(5)]
    batch = events * 3
    random.Random(1).shuffle(batch)
    assert post_batch(api, batch) == ZERO | {"accepted": 5, "duplicates": 10}
    assert stored(installation, kind, run_id) == 5


@every_kind
def test_of_two_contents_under_one_id_in_a_batch_the_first_wins(installation, api, run_id, kind):
    make, _, table, change = KINDS[kind]
    firsts = [make(run_id) for _ in range(60)]
    seconds = [event | change for event in firsts]
    answer = post_batch(api, firsts + seconds)
    assert (answer["accepted"], answer["duplicates"]) == (60, 0)
    for item in answer["rejected"]:
        assert [error["pointer"] for error in item["errors"]] == ["/id"]
        assert "conflict" in item["errors"][0]["message"]
    ((column, value),) = change.items()
    assert installation.sql(f"SELECT count(*) FROM {table} WHERE run_id = %s AND {column} = %s", run_id, value) == [(0,)]
    assert [item["index"] for item in answer["rejected"]] == list(range(60, 120))


@pytest.mark.parametrize("order", ["the conflict first", "the repeat first"])
def test_a_repeat_beside_a_conflict_of_the_same_id_is_still_a_repeat(api, run_id, order):
    event = step(run_id)
    assert post_one(api, event).status_code == 201
    batch = [event | {"name": "other"}, event]
    if order == "the repeat first":
        batch.reverse()
    answer = post_batch(api, batch)
    assert (answer["accepted"], answer["duplicates"]) == (0, 1)
    assert [item["index"] for item in answer["rejected"]] == [batch.index(event | {"name": "other"})]


@pytest.mark.parametrize("together", [True, False])
def test_an_unknown_run_of_a_known_agent_gets_a_placeholder_that_its_start_completes(api, together):
    agent = api.agent(environment="staging")
    run_id = uuid7()
    events = [llm_call(run_id, agent_id=agent["id"], timestamp="2026-11-20T10:00:00Z"),
              step(run_id, agent_id=agent["id"], timestamp="2026-11-20T09:00:00Z")]
    if together:
        assert post_batch(api, events) == ZERO | {"accepted": 2}
    else:
        assert [post_one(api, event).status_code for event in events] == [201, 201]
    placeholder = api.get(f"/api/v1/runs/{run_id}").json()
    assert (placeholder["status"], placeholder["agent_id"], placeholder["environment"]) == ("running", agent["id"], "staging")
    assert placeholder["totals"]["llm_calls"] == 1 and placeholder["totals"]["steps"] == 1
    if together:
        assert placeholder["started_at"] == "2026-11-20T09:00:00.000000Z"
    body = {"agent_id": agent["id"], "run_id": run_id, "session_id": "s", "labels": {"a": "b"}, "metadata": {"c": 1},
            "started_at": "2026-11-20T08:00:00Z"}
    started = api.post("/api/v1/runs/start", json=body)
    assert started.status_code == 201
    run = started.json()
    assert (run["session_id"], run["labels"], run["metadata"], run["started_at"]) == ("s", {"a": "b"}, {"c": 1}, "2026-11-20T08:00:00.000000Z")
    again = api.post("/api/v1/runs/start", json=body)
    assert (again.status_code, again.json()) == (200, run)
    assert api.get(f"/api/v1/runs/{run_id}").json()["totals"]["llm_calls"] == 1
    assert post_batch(api, events) == ZERO | {"duplicates": 2}


def test_an_event_needs_a_run_that_is_known_or_an_agent_that_is(installation, api, run_id):
    other = api.agent()
    nobody = str(uuid.uuid4())
    cases = [
        (step(uuid7()), "/run_id", 404),
        (step(uuid7(), agent_id=nobody), "/agent_id", 404),
        (step(run_id, agent_id=other["id"]), "/agent_id", 422),
        (step(run_id, agent_id=nobody), "/agent_id", 422),
    ]
    batch = [step(run_id)]
    batch += [item for event, _, _ in cases for item in (event, step(run_id))]
    answer = post_batch(api, batch)
    assert answer["accepted"] == len(cases) + 1
    assert [(item["index"], item["errors"][0]["pointer"]) for item in answer["rejected"]] == [
        (2 * i + 1, pointer) for i, (_, pointer, _) in enumerate(cases)]
    for event, pointer, status in cases:
        single = post_one(api, event)
        assert single.status_code == status, (pointer, single.text)
    assert installation.sql("SELECT count(*) FROM agent_runs WHERE agent_id = %s", other["id"]) == [(0,)]


def test_another_teams_runs_and_agents_are_as_if_absent(installation, api, run_id):
    ours = installation.api(installation.team_key("green-" + uuid7()))
    mine = ours.run(ours.agent()["id"])["run_id"]
    their_agent = api.agent()["id"]
    nothing_run, nobody = uuid7(), str(uuid.uuid4())
    batch = [step(run_id), step(nothing_run), step(mine), step(uuid7(), agent_id=their_agent), step(uuid7(), agent_id=nobody), step(mine)]
    answer = post_batch(ours, batch)
    assert answer["accepted"] == 2
    theirs, absent, their_agents, absent_agents = answer["rejected"]
    assert theirs["errors"] == absent["errors"] and their_agents["errors"] == absent_agents["errors"]
    for event, like in ((step(run_id), step(nothing_run)), (step(uuid7(), agent_id=their_agent), step(uuid7(), agent_id=nobody))):
        one, other = post_one(ours, event), post_one(ours, like)
        assert (one.status_code, one.json()["detail"]) == (404, other.json()["detail"])
    # A known event of another team must not be told from an unknown one either.
    known = step(run_id)
    assert post_one(api, known).status_code == 201
    assert post_one(ours, known).status_code == 404
    assert post_one(ours, known | {"name": "other"}).status_code == 404
    assert stored(installation, "step", run_id) == 1


def test_a_suspended_agent_gets_no_new_runs_but_its_running_ones_report(api):
    agent = api.agent()
    run_id = api.run(agent["id"])["run_id"]
    api.patch(f"/api/v1/agents/{agent['id']}", json={"status": "suspended"})
    assert post_one(api, step(run_id)).status_code == 201
    early = step(uuid7(), agent_id=agent["id"])
    assert post_one(api, early).status_code == 403
    answer = post_batch(api, [early, step(run_id)])
    assert answer["accepted"] == 1
    assert [(item["index"], item["errors"][0]["pointer"]) for item in answer["rejected"]] == [(0, "/agent_id")]
    assert api.get(f"/api/v1/runs/{early['run_id']}").status_code == 404


def test_events_after_the_end_are_kept(api, run_id):
    ended = api.post(f"/api/v1/runs/{run_id}/end", json={"status": "succeeded"}).json()
    assert post_one(api, llm_call(run_id)).status_code == 201
    assert post_batch(api, [step(run_id), tool(run_id)])["accepted"] == 2
    run = api.get(f"/api/v1/runs/{run_id}").json()
    assert (run["status"], run["ended_at"]) == ("succeeded", ended["ended_at"])
    assert (run["totals"]["steps"], run["totals"]["llm_calls"], run["totals"]["tool_invocations"]) == (1, 1, 1)


UNDATED = datetime.date(9999, 12, 31)  # the bucket of ids without a plausible day inside


@every_kind
def test_the_bucket_depends_on_the_id_alone_so_that_late_repeats_are_repeats(installation, api, run_id, kind):
    make, _, table, change = KINDS[kind]
    now = time.time() * 1000
    ids = {
        str(uuid.uuid4()): UNDATED,
        str(uuid.uuid1()): UNDATED,
        "00000000-0000-0000-0000-000000000000": UNDATED,
        "ffffffff-ffff-ffff-ffff-ffffffffffff": UNDATED,
        uuid7(): datetime.datetime.now(datetime.UTC).date(),
        uuid7(int(now - 40 * 86_400_000)): (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=40)).date(),
        uuid7(1795391999999): datetime.date(2026, 11, 22),
        uuid7(1795392000000): datetime.date(2026, 11, 23),
        uuid7(0): UNDATED,
        uuid7(1577836799999): UNDATED,
        uuid7(1577836800000): datetime.date(2020, 1, 1),
        uuid7(4102444799999): datetime.date(2099, 12, 31),
        uuid7(4102444800000): UNDATED,
        uuid7(253402300799999): UNDATED,
        uuid7(253402300800000): UNDATED,
        uuid7(2**48 - 1): UNDATED,
    }
    events = [make(run_id, id=event_id) for event_id in ids]
    assert post_batch(api, events) == ZERO | {"accepted": len(ids)}
    assert dict(installation.sql(f"SELECT id::text, bucket FROM {table} WHERE run_id = %s", run_id)) == ids
    installation.sql(f"UPDATE {table} SET arrived_at = arrived_at - interval '5 days' WHERE run_id = %s", run_id)
    assert post_batch(api, events) == ZERO | {"duplicates": len(ids)}
    assert {post_one(api, event).status_code for event in events} == {200}
    assert {post_one(api, event | change).status_code for event in events} == {409}
    assert stored(installation, kind, run_id) == len(ids)


@pytest.mark.parametrize("run_id", [str(uuid.uuid4()), uuid7(0), uuid7(2**48 - 1), uuid7(1700000000000)], ids=["v4", "v7-first", "v7-last", "v7"])
def test_runs_may_have_any_id(api, run_id):
    agent = api.agent()
    assert post_one(api, step(run_id, agent_id=agent["id"])).status_code == 201
    assert api.post("/api/v1/runs/start", json={"agent_id": agent["id"], "run_id": run_id}).status_code == 201
    assert post_one(api, llm_call(run_id)).status_code == 201
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": "succeeded"}).status_code == 200
    assert api.get(f"/api/v1/runs/{run_id}").json()["totals"]["steps"] == 1


def test_every_optional_field_is_stored_as_it_was_said(installation, api, run_id):
    parent = str(uuid.uuid4())
    metadata = {"näme": "✓ 𝄞", "deep": [1, 2.5, None, True, {"": "x"}], "big": 12345678901234567890123}
    common = {"agent_id": api.get(f"/api/v1/runs/{run_id}").json()["agent_id"], "timestamp": "2026-11-23T08:02:00.1234567+02:00",
              "parent_step_id": parent, "error": "timeout\nafter 5 s \u2028", "duration_ms": 31_622_400_000, "metadata": metadata}
    usage = {"input_tokens": 10_000_000_000, "cache_read_tokens": 200, "cache_write_tokens": 50, "cache_write_1h_tokens": 20,
             "output_tokens": 100, "output_reasoning_tokens": 20, "web_searches": 3, "requests": 2}
    call = llm_call(run_id, **common, provider="openai", usage=usage, status="error", reservation_id=uuid7(), input={"x": 1}, output=["y"])
    invocation = tool(run_id, **common, status="error", arguments={"x": 1}, result=None)
    plan = step(run_id, **common, index=1_000_000_000, status="ok", input="x", output=1)
    assert post_batch(api, [call, invocation, plan]) == ZERO | {"accepted": 3}
    time_of = datetime.datetime(2026, 11, 23, 6, 2, 0, 123456, datetime.UTC)
    shared = (time_of, parent, common["error"], common["duration_ms"], metadata)
    columns = "timestamp, parent_step_id::text, error, duration_ms, metadata"
    assert installation.sql(f"SELECT {columns}, tool, status FROM tool_invocations WHERE run_id = %s", run_id) == [
        (*shared, "search_flights", "error")]
    assert installation.sql(f"SELECT {columns}, index, kind, name, status FROM execution_steps WHERE run_id = %s", run_id) == [
        (*shared, 1_000_000_000, "llm", "plan", "ok")]
    columns += ", provider, model, status, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, usage"
    assert installation.sql(f"SELECT {columns} FROM llm_calls WHERE run_id = %s", run_id) == [
        (*shared, "openai", "gpt-4o", "error", 10_000_000_000, 100, 200, 50,
         {"cache_write_1h_tokens": 20, "output_reasoning_tokens": 20, "web_searches": 3, "requests": 2})]


@pytest.mark.parametrize("usage, pointers", [
    ({"bananas": 1}, {"/usage/bananas"}),
    ({"input_tokens": 10, "cache_read_tokens": 11}, {"/usage/cache_read_tokens"}),
    ({"output_tokens": 10, "output_reasoning_tokens": 11}, {"/usage/output_reasoning_tokens"}),
    ({"cache_write_tokens": 10, "cache_write_1h_tokens": 11}, {"/usage/cache_write_1h_tokens"}),
    ({"input_tokens": 10_000_000_001}, {"/usage/input_tokens"}),
    ({"input_tokens": 10**30}, {"/usage/input_tokens"}),
    ({"input_tokens": -1}, {"/usage/input_tokens"}),
    ({"input_tokens": 1.5}, {"/usage/input_tokens"}),
    ({"input_tokens": "1"}, {"/usage/input_tokens"}),
    ({"input_tokens": None}, {"/usage/input_tokens"}),
    ({"input_tokens": True, "output_tokens": -3}, {"/usage/input_tokens", "/usage/output_tokens"}),
    ({"bananas": 2, "pears": 3, "output_tokens": 1, "output_reasoning_tokens": 2}, {"/usage/bananas", "/usage/pears", "/usage/output_reasoning_tokens"}),
    ([], {"/usage"}),
])
def test_a_usage_that_cannot_be_is_refused_with_each_fault(installation, api, run_id, usage, pointers):
    event = llm_call(run_id, usage=usage)
    single = post_one(api, event)
    assert single.status_code == 422
    assert {error["pointer"] for error in single.json()["errors"]} == pointers
    answer = post_batch(api, [llm_call(run_id), event, llm_call(run_id)])
    assert answer["accepted"] == 2
    assert {error["pointer"] for error in answer["rejected"][0]["errors"]} == pointers
    assert stored(installation, "llm_call", run_id) == 2


def test_a_whole_number_may_be_written_with_a_point_or_an_exponent(installation, api, run_id):
    body = json.dumps(llm_call(run_id, usage={"input_tokens": "A", "output_tokens": "B"})).replace('"A"', "12.0").replace('"B"', "1.2e3")
    assert api.post(f"/api/v1/runs/{run_id}/llm-calls", data=body, headers={"Content-Type": "application/json"}).status_code == 201
    assert installation.sql("SELECT input_tokens, output_tokens FROM llm_calls WHERE run_id = %s", run_id) == [(12, 1200)]


# What PostgreSQL could refuse or what lies at the edge of a column, as JSON text.
STRANGE = {
    "metadata": ['{"a\\u0000b":1}', '{"a":{"b":["\\u0000"]}}', '{"x":1e200000}', '{"x":-1e200000}', '{"x":1e-20000}', '{"x":1e131072}',
                 '{"x":1,"x":2}', '{"":{}}', '{"x":"\\ud834\\udd1e"}', '{"x":' + "9" * 16000 + "}", '{"x":0.' + "1" * 16000 + "}",
                 '{"x":' + "[" * 50 + "]" * 50 + "}", '{"' + "k" * 16000 + '":1}'],
    "timestamp": ['"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"0000-01-01T00:00:00Z"', '"10000-01-01T00:00:00Z"',
                  '"1969-12-31T23:59:59.999999Z"', '"1970-01-01T00:00:00Z"', '"2026-02-30T00:00:00Z"', '"2016-12-31T23:59:60Z"',
                  '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', "1e308", '"infinity"'],
    "duration_ms": ["0", "31622400000", "31622400001", "9223372036854775807", "9223372036854775808", "1e308", "-0", "1e10"],
    "id": ['"00000000-0000-0000-0000-000000000000"', '"ffffffff-ffff-7fff-bfff-ffffffffffff"', '"ffffffff-ffff-ffff-ffff-ffffffffffff"'],
    "error": ['"\\u0000"', '"' + "\U0001d11e" * 4096 + '"', '""', '"\\uffff\\ufffe"'],
    "parent_step_id": ['"00000000-0000-0000-0000-000000000000"'],
}


@every_kind
@pytest.mark.parametrize("field", STRANGE)
def test_a_value_that_the_database_cannot_hold_is_rejected_alone(installation, api, run_id, kind, field):
    make = KINDS[kind][0]
    texts, good = [], []
    for value in STRANGE[field]:
        event = make(run_id)
        event.pop(field, None)
        texts.append(json.dumps(event)[:-1] + f',"{field}":{value}}}')
        good.append(make(run_id))
        texts.append(json.dumps(good[-1]))
    batch = ("[" + ",".join(texts) + "]").encode()
    answer = api.post("/api/v1/events", data=batch, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["accepted"] + len(body["rejected"]) == len(texts) and body["duplicates"] == 0
    assert all(item["index"] % 2 == 0 for item in body["rejected"])
    assert post_batch(api, good) == ZERO | {"duplicates": len(good)}
    assert stored(installation, kind, run_id) == body["accepted"]
    for item in body["rejected"]:
        # A pointer to the field, or to the whole event when only the database saw the fault.
        assert all(error["pointer"] in ("", f"/{field}") for error in item["errors"]), (texts[item["index"]][:300], item)
    # The same again, one by one: known or refused, never a 5xx.
    again = {api.post(f"/api/v1/runs/{run_id}/{KINDS[kind][1]}", data=text.encode(), headers={"Content-Type": "application/json"}).status_code
             for text in texts}
    assert again <= {200, 422}


@pytest.mark.parametrize("value", ['{"x":1e200000}', '{"x":1e-20000}', '{"a\\u0000b":1}'])
def test_no_route_that_takes_metadata_answers_500(api, value):
    agent = api.agent()
    json_type = {"Content-Type": "application/json"}
    start = f'{{"agent_id":"{agent["id"]}","metadata":{value}}}'
    create = f'{{"name":"{uuid7()}","metadata":{value}}}'
    answers = {
        "start": api.post("/api/v1/runs/start", data=start, headers=json_type).status_code,
        "create": api.post("/api/v1/agents", data=create, headers=json_type).status_code,
        "put": api.put("/api/v1/agents", data=create, headers=json_type).status_code,
        "patch": api.patch(f"/api/v1/agents/{agent['id']}", data=f'{{"metadata":{value}}}', headers=json_type).status_code,
    }
    assert answers == dict.fromkeys(answers, 422)


def test_no_time_of_a_run_answers_500(api):
    agent = api.agent()
    for started_at in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z"):
        answer = api.post("/api/v1/runs/start", json={"agent_id": agent["id"], "started_at": started_at})
        assert answer.status_code in (201, 422), answer.text
        if answer.status_code == 201:
            ended = api.post(f"/api/v1/runs/{answer.json()['run_id']}/end", json={"status": "failed"})
            assert ended.status_code in (200, 422), ended.text


def test_prompts_outputs_and_arguments_are_nowhere_in_database_or_logs(installation, api, run_id):
    marker = "marker" + uuid.uuid4().hex
    content = {"messages": [{"role": "user", "content": f"say {marker}"}], marker: [marker, {"deep": marker}]}
    events = [llm_call(run_id, input=content, output=marker), tool(run_id, arguments=content, result=[marker]),
              step(run_id, input=marker, output=content)]
    assert post_batch(api, events) == ZERO | {"accepted": 3}
    assert [post_one(api, event).status_code for event in events] == [200, 200, 200]
    # Dropped content is no content.
    assert [post_one(api, {name: value for name, value in event.items() if name not in ("input", "output", "arguments", "result")}).status_code
            for event in events] == [200, 200, 200]
    bad = [event | {"id": uuid7(), "metadata": {"x": 7}, "prompt": marker} for event in events]
    bad += [event | {"id": uuid7(), "run_id": uuid7()} for event in events] + [event | {"parent_step_id": uuid7()} for event in events]
    assert len(post_batch(api, bad)["rejected"]) == 9
    for event in bad:
        assert post_one(api, event).status_code >= 400
    # The database refuses this one, and must not quote it in its log.
    refused = json.dumps(llm_call(run_id, input=content, metadata={"x": "A"})).replace('"A"', "1e200000")
    api.post("/api/v1/events", data=f"[{refused}]", headers={"Content-Type": "application/json"})
    api.post("/api/v1/events", data=json.dumps(events)[:-10], headers={"Content-Type": "application/json"})

    tables = [name for (name,) in installation.sql("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")]
    assert "llm_calls" in tables
    found = {name: installation.sql(f"SELECT count(*) FROM {name} AS row WHERE row::text LIKE %s", f"%{marker}%")[0][0] for name in tables}
    assert found == dict.fromkeys(tables, 0)
    for log in [*(installation.directory / "log").iterdir(), installation.directory.parent / f"{installation.directory.name}.output"]:
        assert marker not in log.read_text(errors="replace"), log


def test_sixteen_callers_with_the_same_events_store_each_once(fresh):
    installation = fresh(HTTP_THREADS=4).start()
    api = installation.api()
    agents = [api.agent()["id"] for _ in range(3)]
    # Some runs are known, the others get their placeholders in the race.
    runs = [(api.run(agent)["run_id"], agent) for agent in agents] + [(uuid7(), agent) for agent in agents]
    chance = random.Random(7)
    events = []
    for i in range(500):
        run_id, agent = chance.choice(runs)
        make = chance.choice([llm_call, tool, step])
        event_id = uuid7() if i % 2 else str(uuid.uuid4())
        events.append(make(run_id, id=event_id, agent_id=agent))
    barrier = threading.Barrier(16)

    def report(seed):
        own = installation.api()
        order = random.Random(seed)
        mine = events[:]
        order.shuffle(mine)
        totals = Counter()
        barrier.wait()
        while mine:
            size = order.randint(1, 60)
            batch, mine = mine[:size], mine[size:]
            answer = post_batch(own, batch)
            assert answer["rejected"] == []
            totals.update(accepted=answer["accepted"], duplicates=answer["duplicates"])
        return totals

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        totals = sum(pool.map(report, range(16)), Counter())
    assert totals == {"accepted": 500, "duplicates": 15 * 500}
    in_database = {(kind, str(event_id)) for kind, (_, _, table, _) in KINDS.items()
                   for (event_id,) in installation.sql(f"SELECT id FROM {table}")}
    assert in_database == {(event["type"], event["id"]) for event in events}
    assert sum(installation.sql(f"SELECT count(*) FROM {table}")[0][0] for _, _, table, _ in KINDS.values()) == 500
    assert installation.sql("SELECT count(*) FROM agent_runs") == [(6,)]
    totals = [api.get(f"/api/v1/runs/{run_id}").json()["totals"] for run_id, _ in runs]
    assert sum(t["steps"] + t["llm_calls"] + t["tool_invocations"] for t in totals) == 500
