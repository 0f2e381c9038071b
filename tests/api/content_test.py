"""Content: of inputs, outputs, arguments and results exactly that is kept which the agent's policy says, and nothing else anywhere."""

import hashlib
import json
import re
import subprocess
import uuid
from decimal import Decimal

import pytest

from installation import llm_call, uuid7
from reports import post_batch, post_one, run_of, step, tool

PARTS = {"llm_call": ("input", "output"), "tool_invocation": ("arguments", "result"), "step": ("input", "output")}
MAKERS = {"llm_call": llm_call, "tool_invocation": tool, "step": step}
PART_BYTES_MAX = 256 * 1024

# value: what `metadata` keeps of it
VALUES = [
    ('{"a":1,"b":[1,2,3],"c":{"d":"e,f"}}', {"type": "object", "items": 3}),
    ("{}", {"type": "object", "items": 0}),
    ('{"":""}', {"type": "object", "items": 1}),
    ("[]", {"type": "array", "items": 0}),
    ("[0]", {"type": "array", "items": 1}),
    ("[[]]", {"type": "array", "items": 1}),
    ("[[1,2],[3,4]]", {"type": "array", "items": 2}),
    ('["a,b","[","}{","\\\\","\\"",",\\\\\\""]', {"type": "array", "items": 6}),
    ('[{"role":"user","content":"hi, you"},{"role":"assistant","content":null}]', {"type": "array", "items": 2}),
    ('"text"', {"type": "string"}),
    ('""', {"type": "string"}),
    ('"[1,2]"', {"type": "string"}),
    ("0", {"type": "number"}),
    ("-1.50", {"type": "number"}),
    ("true", {"type": "boolean"}),
    ("false", {"type": "boolean"}),
    ('"ünï😀"', {"type": "string"}),
]


def exact(text):
    """JSON with numbers as they are written."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def post_raw(api, event, **parts):
    """Report an event whose parts are JSON texts, in a batch; the answer's body."""
    text = json.dumps(event)[:-1] + "".join(f',"{name}":{part}' for name, part in parts.items()) + "}"
    answer = api.post("/api/v1/events", data=f"[{text}]".encode(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def kept(api, run_id, event_id):
    """What was kept of an event, with numbers as they are written."""
    answer = api.get(f"/api/v1/runs/{run_id}/replay")
    assert answer.status_code == 200, answer.text
    (content,) = [item["content"] for item in exact(answer.text)["events"] if item["id"] == event_id]
    return content


def started(api, store):
    """A new run of an agent that stores so."""
    return api.run(api.agent(store=store)["id"])["run_id"]


def test_nothing_is_kept_unless_an_agent_says_so(api):
    assert api.agent()["store"] == "none"
    for store in ("none", "metadata", "hashed", "redacted", "full"):
        assert api.agent(store=store)["store"] == store
    refused = api.post("/api/v1/agents", json={"name": uuid7(), "store": "everything"})
    assert refused.status_code == 422 and [error["pointer"] for error in refused.json()["errors"]] == ["/store"]


@pytest.mark.parametrize("kind", PARTS)
@pytest.mark.parametrize("store", ["none", "metadata", "hashed", "full"])
def test_each_kind_keeps_the_parts_that_came(api, kind, store):
    run_id = started(api, store)
    first, second = PARTS[kind]
    both, one, neither = (MAKERS[kind](run_id) for _ in range(3))
    both |= {first: {"say": "hello"}, second: ["well", "hello"]}
    one |= {second: "hello"}
    assert post_one(api, both).status_code == post_one(api, neither).status_code == 201
    assert post_batch(api, [one])["accepted"] == 1
    assert kept(api, run_id, neither["id"]) is None
    if store == "none":
        assert kept(api, run_id, both["id"]) is None and kept(api, run_id, one["id"]) is None
        return
    assert set(kept(api, run_id, both["id"])) == {first, second}
    assert set(kept(api, run_id, one["id"])) == {second}
    if store == "full":
        assert kept(api, run_id, both["id"]) == {first: {"say": "hello"}, second: ["well", "hello"]}
        assert kept(api, run_id, one["id"]) == {second: "hello"}


@pytest.mark.parametrize("store", ["none", "metadata", "hashed"])
def test_no_word_of_a_message_is_anywhere(installation, api, store):
    word = "word" + uuid.uuid4().hex
    run_id = started(api, store)
    content = {"messages": [{"role": "user", "content": f"say {word}"}], word: [word, {"deep": word}]}
    events = [make(run_id) | {PARTS[kind][0]: content, PARTS[kind][1]: word} for kind, make in MAKERS.items()]
    assert post_batch(api, events)["accepted"] == 3
    for event in events:
        assert post_one(api, event).status_code == 200
        assert post_one(api, event | {"id": uuid7(), PARTS[event["type"]][1]: [word]}).status_code == 201
        # Refused ones, and a conflict.
        assert post_one(api, event | {"id": uuid7(), "duration_ms": -1}).status_code == 422
        assert post_one(api, event | {"duration_ms": 7}).status_code == 409
        assert post_one(api, event | {"id": uuid7(), "run_id": uuid7()}).status_code == 404
    post_raw(api, llm_call(run_id, id=uuid7()), metadata='{"x":1e200000}', input=json.dumps(content))
    api.post(f"/api/v1/runs/{run_id}/terminate", json={"reason": "enough"})
    assert "order" in post_one(api, events[0]).json()
    post_raw(api, llm_call(run_id), input=f'"{word}\\u0000"', output='"' + word * 10_000 + '"')
    dump = subprocess.run(["pg_dump", "--data-only", "--dbname", installation.variables["DATABASE_URL"]], capture_output=True, text=True, timeout=120)
    assert dump.returncode == 0, dump.stderr
    assert run_id in dump.stdout and word not in dump.stdout
    for log in [*(installation.directory / "log").iterdir(), installation.directory.parent / f"{installation.directory.name}.output"]:
        assert word not in log.read_text(errors="replace"), log
    assert word not in api.get(f"/api/v1/runs/{run_id}/replay").text + api.get(f"/api/v1/runs/{run_id}/timeline").text + api.get("/metrics").text


def test_metadata_is_the_kind_of_value_its_bytes_and_its_items(api):
    run_id = started(api, "metadata")
    events = [llm_call(run_id) for _ in VALUES]
    for event, (value, _) in zip(events, VALUES, strict=True):
        assert post_raw(api, event, input=value, output=json.dumps(json.loads(value), indent=3))["accepted"] == 1
    for event, (value, about) in zip(events, VALUES, strict=True):
        expected = about | {"bytes": len(value.encode())}
        content = kept(api, run_id, event["id"])
        assert content["input"] == expected, value
        if not value.startswith("-"):  # there a Python number is not written as it came
            assert content["output"] == expected, f"{value} in another layout"


@pytest.mark.parametrize("store", ["metadata", "hashed", "full"])
def test_null_is_content_like_any_other_value(api, store):
    run_id = started(api, store)
    event = llm_call(run_id)
    post_raw(api, event, input="null")
    content = kept(api, run_id, event["id"])
    assert content is not None and "input" in content
    assert content["input"] is None if store == "full" else (content["input"]["type"], content["input"]["bytes"]) == ("null", 4)


def test_hashes_are_equal_for_equal_content_only_and_cannot_be_guessed(api, other_node):
    run_id, other_run = started(api, "hashed"), started(other_node.api(), "hashed")
    same = '{"question":"How are you?","tags":["a","b"]}'
    others = ['{"question":"How are you!","tags":["a","b"]}', '{"question":"How are you?","tags":["b","a"]}', '{"question":"How are you?","tags":["a"]}',
              '"How are you?"', '"how are you?"', "[1]", "[1.0]", "1", "true", '""', "{}", "[]"]
    found = {}
    for text in [same, *others]:
        event = llm_call(run_id)
        post_raw(api, event, input=text, output=same)
        content = kept(api, run_id, event["id"])
        assert set(content["input"]) - {"items"} == {"type", "bytes", "hmac_sha256"}
        assert re.fullmatch("[0-9a-f]{64}", content["input"]["hmac_sha256"])
        found[text] = content["input"]["hmac_sha256"]
        assert content["output"]["hmac_sha256"] == found[same]
    assert len(set(found.values())) == len(found)
    plain = {hashlib.sha256(form.encode()).hexdigest() for text in found for form in (text, json.dumps(json.loads(text)), text.strip('"'))}
    assert not plain & set(found.values())
    # Another layout, kind of event, run and node.
    event = tool(other_run)
    spaced = json.dumps(json.loads(same), indent=2).replace("question", "\\u0071uestion")
    post_raw(other_node.api(), event, arguments=spaced)
    assert kept(api, other_run, event["id"])["arguments"]["hmac_sha256"] == found[same]


def test_hashes_stay_the_same_over_a_restart_and_differ_between_installations(fresh):
    first, second = fresh(), fresh()

    def hash_of(installation):
        api = installation.api()
        run_id = started(api, "hashed")
        event = llm_call(run_id, input="How are you?")
        assert post_one(api, event).status_code == 201
        return kept(api, run_id, event["id"])["input"]["hmac_sha256"]

    before = hash_of(first.start())
    assert first.stop() == 0
    assert hash_of(first.start()) == before
    assert hash_of(second.start()) != before


def test_the_hash_that_tells_repeats_cannot_be_tried_without_the_key(fresh):
    first, second = fresh(), fresh()
    event = tool(uuid7(), error="call +49 30 901820 15")

    def hash_of(installation):
        api = installation.api()
        again = event | {"agent_id": api.agent("the-same")["id"]}
        assert post_batch(api, [again])["accepted"] == 1
        return installation.sql("SELECT content_hash FROM tool_invocations")

    before = hash_of(first.start())
    assert hash_of(second.start()) != before
    assert first.stop() == 0
    assert post_batch(first.start().api(), [event])["duplicates"] == 1


FULL = [
    *(value for value, _ in VALUES), "1.50", "-0.000", "1e308", "-1E+308", "1e-308", "123456789012345678901234567890.123456789012345678901234567890", "9" * 400,
    "[1.50,[1.0,{\"a\":0.10}],1e3]", '"\\u00e9\\ud83d\\ude00\\n\\t\\b\\"\\\\\\/"', '{"\\u00fc":"\\u2028"}', "[" * 55 + "]" * 55, '{"a":' * 55 + "1" + "}" * 55,
    '{"type":"string","bytes":3}', '{"a":{"a":{"a":[]}},"b":null}', json.dumps(["x" * 1000] * 200), json.dumps({f"k{number}": number for number in range(3000)}),
]


def test_full_content_comes_back_as_it_was(api):
    run_id = started(api, "full")
    events = [tool(run_id) for _ in FULL]
    for event, text in zip(events, FULL, strict=True):
        assert post_raw(api, event, result=text, arguments=f"[{text}]")["accepted"] == 1, text[:100]
    for event, text in zip(events, FULL, strict=True):
        assert kept(api, run_id, event["id"]) == {"result": exact(text), "arguments": [exact(text)]}, text[:100]


def test_numbers_keep_their_digits(api):
    run_id = started(api, "full")
    event = step(run_id)
    post_raw(api, event, input="[1.50,100,0.10,1234567890.0987654321]")
    text = api.get(f"/api/v1/runs/{run_id}/replay").text
    assert re.search(r'"input":\s*\[1\.50,\s*100,\s*0\.10,\s*1234567890\.0987654321\]', text)


@pytest.mark.parametrize("text", ['"a\\u0000b"', '["\\u0000"]', '{"a":{"\\u0000":1}}', "1e200000", "[1e-200000]", "1e400", "[1e-309]", "7" * 1001])
def test_what_the_database_cannot_store_or_could_only_at_length_is_kept_as_metadata(api, text):
    for store in ("full", "redacted"):
        run_id = started(api, store)
        event = llm_call(run_id)
        assert post_raw(api, event, input=text, output='"fine"')["accepted"] == 1
        content = kept(api, run_id, event["id"])
        kind = {'"': "string", "[": "array", "{": "object"}.get(text[0], "number")
        assert content["output"] == "fine"
        assert content["input"]["type"] == kind and content["input"]["bytes"] > 0 and "hmac_sha256" not in content["input"]


@pytest.mark.parametrize("store", ["full", "redacted"])
def test_a_part_beyond_its_bytes_is_kept_as_metadata_alone(api, store):
    run_id = started(api, store)
    largest, larger = json.dumps("x" * (PART_BYTES_MAX - 2)), json.dumps(["y" * (PART_BYTES_MAX - 3)])
    assert (len(largest), len(larger)) == (PART_BYTES_MAX, PART_BYTES_MAX + 1)
    event = llm_call(run_id)
    assert post_raw(api, event, input=larger, output=largest)["accepted"] == 1
    content = kept(api, run_id, event["id"])
    assert content["input"] == {"type": "array", "bytes": PART_BYTES_MAX + 1, "items": 1}
    assert content["output"] == json.loads(largest)


def test_hashed_content_of_any_size_has_its_hash(api):
    run_id = started(api, "hashed")
    texts = [json.dumps("x" * (PART_BYTES_MAX + 10)), json.dumps("x" * (PART_BYTES_MAX + 10)), json.dumps("x" * (PART_BYTES_MAX + 9) + "y"), '"\\u0000"', "1e200000"]
    events = [llm_call(run_id) for _ in texts]
    for event, text in zip(events, texts, strict=True):
        assert post_raw(api, event, input=text)["accepted"] == 1
    hashes = [kept(api, run_id, event["id"])["input"]["hmac_sha256"] for event in events]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 4


def test_harmless_content_passes_redaction_as_it_is(api):
    run_id = started(api, "redacted")
    event = llm_call(run_id, input={"question": "Which way?", "options": ["left", "right", 3]}, output="left")
    assert post_one(api, event).status_code == 201
    assert kept(api, run_id, event["id"]) == {"input": event["input"], "output": "left"}


def test_a_change_of_mode_is_for_later_events_only_and_makes_no_conflicts(api):
    agent = api.agent(store="none")["id"]
    run_id = api.run(agent)["run_id"]
    stores = ["none", "full", "metadata", "hashed", "full", "none"]
    events = []
    for store in stores:
        api.patch(f"/api/v1/agents/{agent}", json={"store": store})
        events.append(llm_call(run_id, input=f"said under {store}"))
        assert post_one(api, events[-1]).status_code == 201
        # All that came before are repeats, whatever was kept of them.
        assert post_batch(api, events)["duplicates"] == len(events)
    shown = [kept(api, run_id, event["id"]) for event in events]
    assert [content and (content["input"] if isinstance(content["input"], str) else sorted(content["input"])) for content in shown] == [
        None, "said under full", ["bytes", "type"], ["bytes", "hmac_sha256", "type"], "said under full", None]
    api.patch(f"/api/v1/agents/{agent}", json={"store": "full"})
    for event in events:
        answer = post_one(api, event)
        assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
    assert [kept(api, run_id, event["id"]) for event in events] == shown
    assert run_of(api, run_id)["totals"]["llm_calls"] == len(events)


def test_the_first_content_stays_when_a_repeat_brings_other(api):
    run_id = started(api, "full")
    event = step(run_id, input="first")
    assert post_one(api, event).status_code == 201
    assert post_one(api, event | {"input": "second", "output": "more"}).status_code == 200
    assert kept(api, run_id, event["id"]) == {"input": "first"}


def test_the_first_event_of_an_unknown_run_is_kept_as_its_agent_says(api):
    run_id = uuid7()
    event = llm_call(run_id, agent_id=api.agent(store="full")["id"], input=["hello"])
    assert post_batch(api, [event])["accepted"] == 1
    assert kept(api, run_id, event["id"]) == {"input": ["hello"]}


def test_a_batch_keeps_of_each_event_what_its_own_agent_says(api):
    runs = {store: started(api, store) for store in ("none", "metadata", "full")}
    events = {store: llm_call(run_id, input="hello") for store, run_id in runs.items()}
    assert post_batch(api, list(events.values()))["accepted"] == 3
    assert [kept(api, runs[store], events[store]["id"]) for store in runs] == [None, {"input": {"type": "string", "bytes": 7}}, {"input": "hello"}]


@pytest.mark.parametrize("store", ["none", "metadata", "hashed", "full"])
def test_errors_are_kept_whatever_is_kept_of_the_rest(api, store):
    run_id = started(api, store)
    post_batch(api, [llm_call(run_id, status="error", error="it took too long"), step(run_id, error="it took too long")])
    assert {item["error"] for item in api.get(f"/api/v1/runs/{run_id}/timeline").json()["items"]} == {"it took too long"}


SECRETS = "login of ann.lee@example.com, call +49 30 901820 15, password: hunter2xyz9, Bearer abcdef0123456789abcdef0123456789"
MASKED = "login of [email], call [phone], password: [key], Bearer [key]"
TELLING = ("ann.lee", "901820", "hunter2xyz9", "abcdef0123456789")


def stored_text(installation, run_id):
    """All texts that tables have of a run, in one."""
    return "".join(str(installation.sql(f"SELECT * FROM {table} WHERE {column} = %s", run_id)) for table, column in (
        ("agent_runs", "id"), ("llm_calls", "run_id"), ("tool_invocations", "run_id"), ("execution_steps", "run_id"), ("audit_logs", "resource_id")))


@pytest.mark.parametrize("store", ["none", "metadata", "hashed", "redacted", "full"])
def test_errors_of_events_are_masked_in_every_mode_but_full(installation, api, store):
    run_id = started(api, store)
    events = [llm_call(run_id, status="error", error=SECRETS), tool(run_id, status="error", error=SECRETS), step(run_id, error=SECRETS)]
    assert post_batch(api, events)["accepted"] == 3
    expected = SECRETS if store == "full" else MASKED
    assert [item["error"] for item in api.get(f"/api/v1/runs/{run_id}/timeline").json()["items"]] == [expected] * 3
    assert any(word in stored_text(installation, run_id) for word in TELLING) == (store == "full")
    # What was masked is still part of what tells a repeat.
    assert post_batch(api, events)["duplicates"] == 3
    assert len(post_batch(api, [event | {"error": SECRETS.replace("ann", "bob")} for event in events])["rejected"]) == 3


@pytest.mark.parametrize("store", ["none", "metadata", "hashed", "redacted", "full"])
def test_the_error_of_a_run_is_masked_in_every_mode_but_full(installation, api, store):
    run_id = started(api, store)
    expected = SECRETS if store == "full" else MASKED
    ended = api.post(f"/api/v1/runs/{run_id}/end", json={"status": "failed", "error": SECRETS})
    assert (ended.status_code, ended.json()["error"]) == (200, expected)
    assert run_of(api, run_id)["error"] == expected
    assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": "failed", "error": SECRETS}).json()["error"] == expected
    assert any(word in stored_text(installation, run_id) for word in TELLING) == (store == "full")


def test_the_end_of_a_run_may_have_no_error(api):
    for store in ("none", "full"):
        ended = api.post(f"/api/v1/runs/{started(api, store)}/end", json={"status": "failed"})
        assert (ended.status_code, ended.json()["error"]) == (200, None)


def test_the_reason_of_a_kill_is_masked_for_each_run_as_its_agent_says(installation, api):
    above = started(api, "full")
    below = api.run(api.agent(store="none")["id"], parent_run_id=above)["run_id"]
    killed = api.post(f"/api/v1/runs/{above}/terminate", json={"reason": SECRETS})
    assert (killed.status_code, killed.json()["error"]) == (200, SECRETS)
    assert run_of(api, below)["error"] == MASKED
    assert api.post(f"/api/v1/runs/{below}/heartbeat").json()["reason"] == MASKED
    reasons = dict(installation.sql("SELECT resource_id, details->>'reason' FROM audit_logs WHERE action = 'run_terminate' AND resource_id = ANY (%s)", [above, below]))
    assert reasons == {above: SECRETS, below: MASKED}
    assert not any(word in stored_text(installation, below) for word in TELLING)


def test_timelines_and_lists_carry_no_content(api):
    run_id = started(api, "full")
    post_batch(api, [llm_call(run_id, input="hello-" + run_id)])
    assert "hello-" + run_id in api.get(f"/api/v1/runs/{run_id}/replay").text
    assert "hello-" + run_id not in api.get(f"/api/v1/runs/{run_id}/timeline").text + api.get("/api/v1/runs").text + api.get(f"/api/v1/runs/{run_id}").text
