"""Timelines: everything a run did, in order and nested, whatever its events say of each other."""

import datetime
import json
import os
import random
import time
from decimal import Decimal

import pytest

from installation import llm_call, uuid7
from problems import check_problem
from reports import post_batch, post_one, run_of, step, tool

START = datetime.datetime(2026, 11, 23, 6, 0, tzinfo=datetime.UTC)
FIELDS = {"type", "id", "parent_step_id", "depth", "timestamp", "offset_ms", "duration_ms", "name", "kind", "index", "status", "error", "provider", "input_tokens",
          "output_tokens", "cache_read_tokens", "cache_write_tokens", "usage", "price_status", "cost_usd", "data_source", "violation"}


def at(milliseconds):
    """A time so many milliseconds after the start of the runs here."""
    return (START + datetime.timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def timeline(api, run_id):
    """The body of a timeline, with exact costs."""
    answer = api.get(f"/api/v1/runs/{run_id}/timeline")
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


@pytest.fixture
def run_id(api):
    """A new run that started at START."""
    return api.run(api.agent()["id"], started_at=at(0))["run_id"]


def test_what_belongs_to_a_step_stands_right_behind_it(api, run_id):
    plan, think, act, done, orphan = (uuid7() for _ in range(5))
    call, search, book = (uuid7() for _ in range(3))
    events = [
        step(run_id, id=plan, timestamp=at(1000), index=0, name="plan"),
        step(run_id, id=think, timestamp=at(1500), index=1, name="think", parent_step_id=plan),
        llm_call(run_id, id=call, timestamp=at(1600), parent_step_id=think),
        step(run_id, id=act, timestamp=at(2000), index=2, name="act", parent_step_id=plan),
        tool(run_id, id=search, timestamp=at(2100), parent_step_id=act),
        tool(run_id, id=book, timestamp=at(1700), parent_step_id=act),
        step(run_id, id=done, timestamp=at(-250), index=9, name="done"),
        tool(run_id, id=orphan, timestamp=at(1800), parent_step_id=uuid7()),
    ]
    random.Random(1).shuffle(events)
    assert post_batch(api, events)["accepted"] == 8
    body = timeline(api, run_id)
    assert set(body) == {"run", "items", "truncated"} and body["truncated"] is False
    assert body["run"] == {name: value for name, value in run_of(api, run_id).items() if name != "totals"}
    assert [(item["id"], item["depth"], item["offset_ms"]) for item in body["items"]] == [
        (done, 0, -250), (plan, 0, 1000), (think, 1, 1500), (call, 2, 1600), (act, 1, 2000), (book, 2, 1700), (search, 2, 2100), (orphan, 0, 1800)]


def test_a_timeline_shows_all_that_each_kind_has(api):
    agent = api.agent(allowed_tools=["!shell"])["id"]
    run_id = api.run(agent, started_at=at(0))["run_id"]
    parent = uuid7()
    first = step(run_id, id=parent, timestamp=at(0), index=7, kind="plan", name="think", status="error", error="lost", duration_ms=1234)
    call = llm_call(run_id, timestamp=at(1), parent_step_id=parent, duration_ms=0, status="error", error="late",
                    usage={"input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 100, "output_reasoning_tokens": 10})
    used = tool(run_id, timestamp=at(2), tool="shell", data_source="disk", duration_ms=5)
    bare = tool(run_id, timestamp=at(3))
    post_batch(api, [first, call, used, bare])
    items = timeline(api, run_id)["items"]
    assert [set(item) for item in items] == [FIELDS] * 4
    none = dict.fromkeys(FIELDS)
    assert items[0] == none | {"type": "step", "id": parent, "depth": 0, "timestamp": at(0), "offset_ms": 0, "duration_ms": 1234, "name": "think", "kind": "plan",
                               "index": 7, "status": "error", "error": "lost"}
    quote = json.loads(api.get("/api/v1/prices/quote", params=call["usage"] | {"model": "gpt-4o", "provider": "openai", "at": at(1)}).text, parse_float=Decimal)
    assert items[1] == none | {"type": "llm_call", "id": call["id"], "parent_step_id": parent, "depth": 1, "timestamp": at(1), "offset_ms": 1, "duration_ms": 0,
                               "name": "gpt-4o", "status": "error", "error": "late", "provider": "openai", "input_tokens": 1000, "output_tokens": 100,
                               "cache_read_tokens": 200, "cache_write_tokens": 0, "usage": {"output_reasoning_tokens": 10}, "price_status": quote["status"],
                               "cost_usd": quote["cost_usd"]}
    assert items[2] == none | {"type": "tool_invocation", "id": used["id"], "depth": 0, "timestamp": at(2), "offset_ms": 2, "duration_ms": 5, "name": "shell",
                               "status": "ok", "data_source": "disk", "violation": "tool"}
    assert items[3] == none | {"type": "tool_invocation", "id": bare["id"], "depth": 0, "timestamp": at(3), "offset_ms": 3, "name": "search_flights", "status": "ok"}


def test_a_call_without_usage_has_no_tokens_and_no_cost(api, run_id):
    events = [llm_call(run_id, timestamp=at(0), usage={}), llm_call(run_id, timestamp=at(1), usage={"input_tokens": 0}),
              llm_call(run_id, timestamp=at(2), model="no-such-model", provider=None)]
    without = llm_call(run_id, timestamp=at(3))
    del without["usage"]
    assert post_batch(api, [*events, without])["accepted"] == 4
    items = timeline(api, run_id)["items"]
    tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    for item in (items[0], items[3]):
        assert [item[name] for name in (*tokens, "usage", "cost_usd")] == [None] * 6
        assert item["price_status"] == "unknown_usage" and item["provider"] == "openai"
    assert [items[1][name] for name in tokens] == [0] * 4 and (items[1]["price_status"], items[1]["cost_usd"]) == ("priced", 0)
    assert (items[2]["input_tokens"], items[2]["cost_usd"]) == (1000, None) and items[2]["price_status"] not in ("priced", "unknown_usage")
    totals = run_of(api, run_id)["totals"]
    assert (totals["llm_calls"], totals["unpriced_calls"], totals["cost_usd"], totals["input_tokens"]) == (4, 3, 0, 1000)


def test_calls_of_unknown_usage_count_as_unpriced_in_analytics(installation):
    ours = installation.api(installation.team_key("unknown-" + uuid7()))
    run_id = ours.run(ours.agent()["id"])["run_id"]
    post_batch(ours, [llm_call(run_id), llm_call(run_id, usage={}), llm_call(run_id, usage={})])
    period = {"from": "2026-11-01T00:00:00Z", "to": "2026-12-01T00:00:00Z"}
    total = json.loads(ours.get("/api/v1/analytics/costs", params=period).text, parse_float=Decimal)["total"]
    assert (total["calls"], total["unpriced_calls"], total["input_tokens"], total["cost_usd"]) == (3, 2, 1000, Decimal("0.0035"))
    assert ours.get("/api/v1/analytics/coverage", params=period).json() == {
        "calls": 3, "priced_calls": 1, "tokens": 1100, "priced_tokens": 1100,
        "unpriced": [{"price_status": "unknown_usage", "provider": "openai", "model": "gpt-4o", "calls": 2, "tokens": 0}]}


def test_siblings_of_one_moment_are_ordered_by_index(api, run_id):
    events = [step(run_id, timestamp=at(5), index=index) for index in (3, 1, 10, 2)]
    post_batch(api, events)
    assert [item["index"] for item in timeline(api, run_id)["items"]] == [1, 2, 3, 10]


def test_times_in_any_zone_are_ordered_as_times(api, run_id):
    late, early = step(run_id, timestamp="2026-11-23T08:00:00.5+02:00"), step(run_id, timestamp="2026-11-23T06:00:00.25Z")
    post_batch(api, [late, early])
    assert [(item["id"], item["offset_ms"]) for item in timeline(api, run_id)["items"]] == [(early["id"], 250), (late["id"], 500)]


def test_steps_that_are_their_own_ancestors_are_all_shown_once(api, run_id):
    alone, first, second, third, below = (uuid7() for _ in range(5))
    post_batch(api, [
        step(run_id, id=alone, parent_step_id=alone, timestamp=at(4)),
        step(run_id, id=first, parent_step_id=third, timestamp=at(3)),
        step(run_id, id=second, parent_step_id=first, timestamp=at(2)),
        step(run_id, id=third, parent_step_id=second, timestamp=at(1)),
        step(run_id, id=below, parent_step_id=second, timestamp=at(5)),
    ])
    items = timeline(api, run_id)["items"]
    assert [(item["id"], item["depth"]) for item in items] == [(alone, 0), (third, 0), (first, 1), (second, 2), (below, 3)]


def test_what_belongs_to_a_step_in_a_circle_stands_behind_it_too(api, run_id):
    first, second, call = (uuid7() for _ in range(3))
    post_batch(api, [step(run_id, id=first, parent_step_id=second, timestamp=at(1)), step(run_id, id=second, parent_step_id=first, timestamp=at(2)),
                     llm_call(run_id, id=call, parent_step_id=first, timestamp=at(0))])
    assert [(item["id"], item["depth"]) for item in timeline(api, run_id)["items"]] == [(first, 0), (call, 1), (second, 1)]


def test_only_a_step_of_the_same_run_is_a_parent(api, run_id):
    other = api.run(api.agent()["id"])["run_id"]
    parent = uuid7()
    post_batch(api, [step(other, id=parent), llm_call(run_id, id=parent, timestamp=at(0)), tool(run_id, parent_step_id=parent, timestamp=at(1))])
    assert [item["depth"] for item in timeline(api, run_id)["items"]] == [0, 0]


def in_order(events):
    """Where a timeline must have events that hang below no circle: (id, depth), depth first, by the rules of the documentation."""
    steps = {event["id"] for event in events if event["type"] == "step"}
    children = {}
    for event in sorted(events, key=lambda event: (event["timestamp"], event.get("index", -1), event["type"] != "step", event["id"])):
        parent = event["parent_step_id"]
        children.setdefault(parent if parent in steps and parent != event["id"] else None, []).append(event)

    def below(parent, depth):
        for child in children.get(parent, []):
            yield child["id"], depth
            if child["type"] == "step":
                yield from below(child["id"], depth + 1)

    return list(below(None, 0))


@pytest.mark.parametrize("seed", range(60 if os.environ.get("COGNIVE_LONG") else 12))
def test_random_events_stand_where_a_reference_puts_them(api, run_id, seed):
    chance = random.Random(seed)
    ids = [uuid7() for _ in range(30)]
    strangers = [uuid7() for _ in range(2)]
    events = []
    for number, event_id in enumerate(ids):
        make = chance.choice([step, step, llm_call, tool])
        # Mostly downwards; now and then to anything, which makes circles.
        parents = [None, *ids[:number], *strangers] if chance.random() < 0.8 else ids
        attributes = {"id": event_id, "timestamp": at(chance.randint(0, 5)), "parent_step_id": chance.choice(parents)}
        if make is step:
            attributes["index"] = chance.randint(0, 3)
        events.append(make(run_id, **attributes))
    chance.shuffle(events)
    assert post_batch(api, events)["accepted"] == len(events)
    items = timeline(api, run_id)["items"]
    assert sorted(item["id"] for item in items) == sorted(ids)
    # Circles come last, wherever they are entered.
    expected = in_order(events)
    assert [(item["id"], item["depth"]) for item in items[:len(expected)]] == expected


def test_a_timeline_of_three_thousand_events_comes_quickly(api, run_id):
    steps = [step(run_id, index=number, timestamp=at(number)) for number in range(1000)]
    calls = [llm_call(run_id, parent_step_id=steps[number]["id"], timestamp=at(number)) for number in range(1000)]
    tools = [tool(run_id, parent_step_id=steps[number]["id"], timestamp=at(number + 1)) for number in range(1000)]
    assert post_batch(api, steps + calls + tools)["accepted"] == 3000
    begin = time.monotonic()
    items = timeline(api, run_id)["items"]
    assert time.monotonic() - begin < 5
    assert [item["id"] for item in items] == [event["id"] for trio in zip(steps, calls, tools, strict=True) for event in trio]
    assert [item["depth"] for item in items] == [0, 1, 1] * 1000
    assert sum(item["cost_usd"] or 0 for item in items) == Decimal("3.5")


def test_a_chain_of_ten_thousand_steps_is_as_deep_as_it_is(api, run_id):
    ids = [uuid7() for _ in range(10_000)]
    steps = [step(run_id, id=own, timestamp=at(-number), parent_step_id=parent) for number, (own, parent) in enumerate(zip(ids, [None, *ids], strict=False))]
    assert post_batch(api, steps)["accepted"] == 10_000
    assert [(item["id"], item["depth"]) for item in timeline(api, run_id)["items"]] == list(zip(ids, range(10_000), strict=True))


def test_a_run_of_more_than_is_shown_says_so_and_shows_the_first(api, run_id):
    steps = [step(run_id, timestamp=at(number), index=number) for number in range(20_001)]
    assert post_batch(api, steps[::-1])["accepted"] == 20_001
    body = timeline(api, run_id)
    assert body["truncated"] is True and [item["index"] for item in body["items"]] == list(range(20_000))
    post_one(api, tool(run_id, timestamp=at(30_000)))
    again = timeline(api, run_id)
    assert again["truncated"] is True and again["items"][-1]["type"] == "tool_invocation"


def test_a_run_without_events_has_an_empty_timeline(api, run_id):
    assert (timeline(api, run_id)["items"], timeline(api, run_id)["truncated"]) == ([], False)


@pytest.mark.parametrize("page", ["timeline", "replay"])
def test_another_teams_run_has_no_page(installation, api, page):
    run_id = api.run(api.agent()["id"])["run_id"]
    theirs = installation.api(installation.team_key("pages-" + uuid7()))
    check_problem(theirs.get(f"/api/v1/runs/{run_id}/{page}"), 404)
    check_problem(api.get(f"/api/v1/runs/{uuid7()}/{page}"), 404)
    check_problem(api.get(f"/api/v1/runs/rubbish/{page}"), 422)
    blind = installation.api(installation.team_key("pages-blind-" + uuid7(), "events:write"))
    assert "runs:read" in check_problem(blind.get(f"/api/v1/runs/{run_id}/{page}"), 403)["detail"]
