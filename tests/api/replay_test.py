"""Replay: a run's bundle adds up exactly, and what it would have cost otherwise is what a quote of each call says."""

import datetime
import json
import random
from decimal import Decimal

import pytest

from installation import ROOT, llm_call, uuid7
from price_oracle import Catalogue, parse_time
from problems import pointers
from reports import TIMESTAMP, post_batch, post_one, run_of, step, tool
from tables import row_counts



def exact(answer):
    """A body whose numbers with a point are exact."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal)


def replay(api, run_id, **query):
    """The body of a bundle."""
    return exact(api.get(f"/api/v1/runs/{run_id}/replay", params=query))


def quoted(api, call, **query):
    """What a quote says of the usage of a call: status and cost."""
    parameters = {name: value for name, value in query.items() if value is not None} | call["usage"]
    body = exact(api.get("/api/v1/prices/quote", params=parameters))
    return body["status"], body["cost_usd"]


def summed(costs):
    """What a bundle must say about calls of these costs."""
    known = [cost for cost in costs if cost is not None]
    return {"calls": len(costs), "unpriced_calls": len(costs) - len(known), "cost_usd": sum(known, Decimal())}


def fitting_cases():
    """Cases of the price table that events can report: with usage, not in the future, and not refused at the door."""
    units = Catalogue().units
    now = datetime.datetime.now(datetime.UTC)
    for line in (ROOT / "tests/data/price_cases.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        usage = case["usage"]
        contradicts = any(inner != outer and units[outer].contains(units[inner]) and usage[inner] > usage[outer] for inner in usage for outer in usage)
        if usage and parse_time(case["at"]) <= now and not contradicts and max(usage.values()) <= 10_000_000_000:
            yield case


@pytest.fixture(scope="module")
def recorded(installation):
    """A run of many kinds of calls among steps and tools: its id, its events by id."""
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    chance = random.Random(20261124)
    cases = list(fitting_cases())
    groups = {}
    for case in cases:
        groups.setdefault((case["status"], case["name"].split("/")[0]), []).append(case)
    chosen = [chance.choice(group) for group in groups.values()] + chance.sample(cases, 80)
    calls = [llm_call(run_id, provider=case["provider"], model=case["model"], timestamp=case["at"], usage=case["usage"]) for case in chosen]
    calls += [llm_call(run_id, usage={}), llm_call(run_id, usage={}, model="no-such-model"), llm_call(run_id, usage={"input_tokens": 0})]
    others = [step(run_id, timestamp=chance.choice(calls)["timestamp"]) for _ in range(20)] + [tool(run_id) for _ in range(20)]
    events = calls + others
    chance.shuffle(events)
    assert post_batch(api, events)["accepted"] == len(events)
    return run_id, {event["id"]: event for event in events}


def test_a_bundle_is_the_timeline_with_exact_sums(api, recorded):
    run_id, events = recorded
    bundle = replay(api, run_id)
    assert set(bundle) == {"run", "events", "truncated", "recorded", "repriced", "difference_usd"}
    assert (bundle["truncated"], bundle["repriced"], bundle["difference_usd"]) == (False, None, None)
    timeline = exact(api.get(f"/api/v1/runs/{run_id}/timeline"))
    assert bundle["run"] == timeline["run"]
    more = {"content": None, "repriced_status": None, "repriced_cost_usd": None}
    assert bundle["events"] == [item | more | {"metadata": events[item["id"]].get("metadata")} for item in timeline["items"]]
    assert {item["id"] for item in bundle["events"]} == set(events)
    assert bundle["recorded"] == summed([item["cost_usd"] for item in bundle["events"] if item["type"] == "llm_call"])
    totals = exact(api.get(f"/api/v1/runs/{run_id}"))["totals"]
    assert {"calls": totals["llm_calls"], "unpriced_calls": totals["unpriced_calls"], "cost_usd": totals["cost_usd"]} == bundle["recorded"]


QUERIES = [
    {"as_model": "gpt-4o-mini"},
    {"as_model": "claude-sonnet-4-5"},
    {"as_model": "gemini-2.5-pro", "as_provider": "google"},
    {"as_model": "gpt-4o", "as_provider": "no-such-provider"},
    {"as_model": "no-such-model"},
    {"as_provider": "openai"},
    {"as_provider": "openrouter", "as_of": "2026-11-01T00:00:00Z"},
    {"as_of": "2026-11-01T00:00:00Z"},
    {"as_of": "2024-01-01T00:00:00Z"},
    {"as_of": "2026-11-20T18:30:00+02:00", "as_model": "deepseek-chat"},
    {"as_of": "2998-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: "&".join(f"{name}={value}" for name, value in query.items()))
def test_every_call_costs_what_a_quote_of_its_usage_says(api, recorded, query):
    run_id, events = recorded
    bundle = replay(api, run_id, **query)
    wrong, costs = [], []
    for item in bundle["events"]:
        if item["type"] != "llm_call":
            assert item["repriced_status"] is None and item["repriced_cost_usd"] is None
            continue
        call = events[item["id"]]
        # Of another model another provider is guessed; of the same one, the provider is what was recorded.
        provider = query.get("as_provider", None if "as_model" in query else item["provider"])
        expected = quoted(api, call, model=query.get("as_model", call["model"]), provider=provider, at=query.get("as_of", call["timestamp"]))
        costs.append(item["repriced_cost_usd"])
        if (item["repriced_status"], item["repriced_cost_usd"]) != expected:
            wrong.append((call, item["repriced_status"], item["repriced_cost_usd"], expected))
        if not call["usage"]:
            assert item["repriced_cost_usd"] is None and item["repriced_status"] in ("unknown_usage", "unknown_model", "unknown_provider")
    assert wrong == []
    assert bundle["repriced"] == summed(costs)
    assert bundle["recorded"] == summed([item["cost_usd"] for item in bundle["events"] if item["type"] == "llm_call"])
    # Only what has a price both ways can be compared.
    both = [item["repriced_cost_usd"] - item["cost_usd"] for item in bundle["events"] if None not in (item["repriced_cost_usd"], item["cost_usd"])]
    assert bundle["difference_usd"] == (sum(both) if both else None)


def test_prices_of_the_same_time_change_nothing(api):
    agent = api.agent()["id"]
    chance = random.Random(3)
    by_time = {}
    for case in fitting_cases():
        by_time.setdefault(case["at"], []).append(case)
    # The hours with most cases, so that few runs have many models.
    for at in sorted(by_time, key=lambda at: -len(by_time[at]))[:3]:
        run_id = api.run(agent)["run_id"]
        cases = chance.sample(by_time[at], min(300, len(by_time[at])))
        calls = {event["id"]: event for event in (llm_call(run_id, provider=case["provider"], model=case["model"], timestamp=at, usage=case["usage"]) for case in cases)}
        post_batch(api, list(calls.values()))
        bundle = replay(api, run_id, as_of=at)
        wrong = [(calls[item["id"]], item) for item in bundle["events"] if (item["price_status"], item["cost_usd"]) != (item["repriced_status"], item["repriced_cost_usd"])]
        assert wrong == []
        assert bundle["difference_usd"] == 0 and bundle["repriced"] == bundle["recorded"]


def test_a_replay_stores_and_changes_nothing(installation, api, recorded):
    run_id, _ = recorded
    tables = ("agent_runs", "llm_calls", "tool_invocations", "execution_steps")

    def stored():
        return [installation.sql(f"SELECT md5(string_agg(row::text, '|' ORDER BY row::text)) FROM {name} AS row "
                                 f"WHERE {'id' if name == 'agent_runs' else 'run_id'} = %s", run_id) for name in tables]

    before, counts, run, bundle = stored(), row_counts(installation), run_of(api, run_id), replay(api, run_id)
    for query in QUERIES:
        replay(api, run_id, **query)
        api.get(f"/api/v1/runs/{run_id}/timeline")
    assert (stored(), row_counts(installation), run_of(api, run_id), replay(api, run_id)) == (before, counts, run, bundle)


def test_a_call_of_unknown_usage_stays_unpriced(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    post_batch(api, [llm_call(run_id), llm_call(run_id, usage={})])
    bundle = replay(api, run_id, as_model="sonar-pro", as_provider="perplexity")  # which is paid by request too
    assert bundle["recorded"] == {"calls": 2, "unpriced_calls": 1, "cost_usd": Decimal("0.0035")}
    assert (bundle["repriced"]["calls"], bundle["repriced"]["unpriced_calls"]) == (2, 1)
    ((unknown,),) = [[item for item in bundle["events"] if item["input_tokens"] is None]]
    assert (unknown["price_status"], unknown["cost_usd"], unknown["repriced_status"], unknown["repriced_cost_usd"]) == ("unknown_usage", None, "unknown_usage", None)


def test_a_cheaper_model_makes_a_negative_difference_and_a_dearer_one_a_positive(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    post_batch(api, [llm_call(run_id, model="gpt-4o") for _ in range(3)])
    cheaper, dearer = replay(api, run_id, as_model="gpt-4o-mini"), replay(api, run_id, as_model="o1-pro")
    assert cheaper["recorded"]["cost_usd"] == Decimal("0.0105")
    assert cheaper["difference_usd"] < 0 < dearer["difference_usd"]


def test_a_run_without_calls_costs_nothing_whatever_is_asked(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    post_one(api, step(run_id))
    nothing = {"calls": 0, "unpriced_calls": 0, "cost_usd": 0}
    bundle = replay(api, run_id, as_model="gpt-4o")
    assert (bundle["recorded"], bundle["repriced"], bundle["difference_usd"]) == (nothing, nothing, None)


def test_sums_beyond_sixty_four_bits_are_what_the_run_shows(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    # The most that the door admits of the dearest model: enough of them is more than 2^63 nano-dollars.
    calls = [llm_call(run_id, model="o1-pro", usage={"input_tokens": 10**10, "output_tokens": 10**10}) for _ in range(2000)]
    assert post_batch(api, calls)["accepted"] == 2000
    shown = exact(api.get(f"/api/v1/runs/{run_id}"))["totals"]["cost_usd"]
    bundle = replay(api, run_id, as_of=TIMESTAMP)
    assert shown > 9_000_000_000
    assert (bundle["recorded"]["cost_usd"], bundle["repriced"]["cost_usd"], bundle["difference_usd"]) == (shown, shown, 0)


@pytest.mark.parametrize("query, pointer", [({"as_of": "yesterday"}, "?as_of"), ({"as_model": ""}, "?as_model"), ({"as_model": "m" * 257}, "?as_model"),
                                            ({"as_provider": "p" * 129}, "?as_provider"), ({"as_agent": "x"}, "?as_agent")])
def test_a_question_that_cannot_be_is_refused_with_a_pointer(api, query, pointer):
    run_id = api.run(api.agent()["id"])["run_id"]
    assert pointers(api.get(f"/api/v1/runs/{run_id}/replay", params=query)) == [pointer]


def test_a_bundle_says_that_more_is_not_shown_and_sums_what_is(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    assert post_batch(api, [llm_call(run_id) for _ in range(20_001)])["accepted"] == 20_001
    bundle = replay(api, run_id, as_model="gpt-4o")
    assert bundle["truncated"] is True and len(bundle["events"]) == 20_000
    assert bundle["recorded"] == bundle["repriced"] == {"calls": 20_000, "unpriced_calls": 0, "cost_usd": Decimal("70")}


def test_an_event_of_yesterday_is_priced_as_of_its_own_day_when_no_time_is_asked_for(api):
    run_id = api.run(api.agent()["id"])["run_id"]
    old, new = llm_call(run_id, timestamp="2024-06-01T00:00:00Z", model="gpt-4o"), llm_call(run_id, model="gpt-4o", id=uuid7())
    post_batch(api, [old, new])
    bundle = replay(api, run_id, as_model="gpt-4o")
    assert [item["repriced_cost_usd"] for item in bundle["events"]] == [quoted(api, event, model="gpt-4o", at=event["timestamp"])[1] for event in (old, new)]
    assert bundle["difference_usd"] == 0
