"""Latency and tools: counts, errors, violations and percentiles are those of the events; of calls, percentiles come close."""

import random

import pytest

from installation import llm_call
from ledger import check_percentiles, nearest_rank
from reports import post_batch, tool

MODELS = ("gpt-4o", "model-without-a-price")
TOOLS = ("search_flights", "book_flight", "never_timed")


def percentiles(durations):
    """The exact ones, as an answer tells them."""
    return {f"p{share}_ms": nearest_rank(durations, share) for share in (50, 95, 99)}


@pytest.fixture(scope="module")
def reported(installation):
    """An agent with a few hundred events of known durations."""
    rng = random.Random(5)
    caller = installation.api()
    agent = caller.agent(allowed_tools=["!book_*"])["id"]
    run_id = caller.run(agent)["run_id"]
    calls = [llm_call(run_id, provider="openai", model=rng.choice(MODELS), status=rng.choice(("ok", "ok", "error")),
                      duration_ms=rng.choice((None, rng.randrange(10_000)))) for _ in range(300)]
    tools = [tool(run_id, tool=(name := rng.choice(TOOLS)), status=rng.choice(("ok", "error")), data_source=rng.choice((None, "crm")),
                  duration_ms=None if name == "never_timed" else rng.randrange(5_000)) for _ in range(200)]
    events = [{key: value for key, value in event.items() if value is not None} for event in calls + tools]
    assert post_batch(caller, events)["accepted"] == 500
    return agent, calls, tools


def test_latency_tells_the_percentiles_of_what_was_measured(api, reported):
    agent, calls, _ = reported
    items = api.get("/api/v1/analytics/latency", params={"agent_id": agent, "group_by": "model"}).json()["items"]
    assert [item["model"] for item in items] == sorted(MODELS, key=lambda name: -sum(call["model"] == name for call in calls))
    for item in items:
        own = [call for call in calls if call["model"] == item["model"]]
        measured = [call["duration_ms"] for call in own if call["duration_ms"] is not None]
        expected = {"calls": len(own), "measured_calls": len(measured), "errors": sum(call["status"] == "error" for call in own)}
        assert {name: item[name] for name in expected} == expected
        check_percentiles(item, measured)


def test_latency_filters_and_groups_by_every_dimension(api, reported):
    agent, calls, _ = reported
    names = "team,agent,model,provider,environment"
    items = api.get("/api/v1/analytics/latency", params={"agent_id": agent, "group_by": names, "model": "gpt-4o"}).json()["items"]
    assert [(item["model"], item["provider"], item["agent_id"]) for item in items] == [("gpt-4o", "openai", agent)]
    assert items[0]["calls"] == sum(call["model"] == "gpt-4o" for call in calls)
    assert api.get("/api/v1/analytics/latency", params={"agent_id": agent, "from": "2999-01-01T00:00:00Z"}).json()["items"] == []
    assert api.get("/api/v1/analytics/latency", params={"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}).status_code == 422


def test_tools_tell_invocations_errors_violations_and_percentiles(api, reported):
    agent, _, tools = reported
    items = api.get("/api/v1/analytics/tools", params={"agent_id": agent}).json()["items"]
    assert {item["tool"] for item in items} == set(TOOLS)
    for item in items:
        own = [one for one in tools if one["tool"] == item["tool"]]
        expected = {"invocations": len(own), "errors": sum(one["status"] == "error" for one in own),
                    "violations": len(own) if item["tool"] == "book_flight" else 0}
        assert {name: item[name] for name in expected} == expected
        measured = [one["duration_ms"] for one in own if one["duration_ms"] is not None]
        assert {name: item[name] for name in percentiles(measured)} == percentiles(measured)


def test_tools_are_grouped_by_data_source(api, reported):
    agent, _, tools = reported
    items = api.get("/api/v1/analytics/tools", params={"agent_id": agent, "group_by": "data_source"}).json()["items"]
    assert {item["data_source"]: item["invocations"] for item in items} == {
        name: sum(one["data_source"] == name for one in tools) for name in (None, "crm")}
