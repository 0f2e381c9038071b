"""Analytics: every grouping, interval, filter and bound adds up to what was posted, to the nano-dollar."""

import datetime
import itertools
import json
import random
from collections import defaultdict
from decimal import Decimal
from types import SimpleNamespace

import pytest

from installation import llm_call, uuid7
from price_oracle import Catalogue, parse_time

DIMENSIONS = ("team", "agent", "model", "provider", "environment")
INTERVALS = (None, "hour", "day", "week", "month")
SUMS = ("calls", "unpriced_calls", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost")
# Around the turn of a year, of ISO weeks, months, days and hours, and of a leap day.
INSTANTS = ["2024-02-28T23:59:59.999999Z", "2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999999Z", "2024-03-01T00:00:00Z",
            "2025-12-28T23:59:59.999999Z", "2025-12-29T00:00:00Z", "2025-12-31T23:59:59.999999Z", "2026-01-01T00:00:00Z",
            "2026-01-04T23:59:59.999999Z", "2026-01-05T00:00:00Z", "2026-01-05T00:59:59.999999Z", "2026-01-05T01:00:00Z",
            "2026-03-29T01:30:00Z", "2026-10-25T02:30:00+02:00"]
MODELS = [("openai", "gpt-4o", "openai"), (None, "gpt-4o", "openai"), ("anthropic", "claude-sonnet-4-5", "anthropic"),
          ("google", "gemini-2.5-pro", "google"), (None, "no-such-model", None), ("no-such-provider", "gpt-4o", "no-such-provider")]


def rows_of(answer):
    """The items of an answer with exact costs in nano-dollars, and its total."""
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.text, parse_float=Decimal)
    for row in [*body["items"], body["total"]]:
        nanos = Decimal(row.pop("cost_usd")) * 1_000_000_000
        assert nanos == int(nanos)
        row["cost"] = int(nanos)
    return body["items"], body["total"]


def period_of(time, interval):
    """The begin of the UTC interval of a time, as the API writes it."""
    begin = time.replace(minute=0, second=0, microsecond=0)
    if interval != "hour":
        begin = begin.replace(hour=0)
    if interval == "week":
        begin -= datetime.timedelta(days=begin.isoweekday() - 1)
    if interval == "month":
        begin = begin.replace(day=1)
    return begin.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def summed(calls, group_by=(), interval=None):
    """What the API should answer about calls: sums by (period, dimensions)."""
    groups = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for call in calls:
        key = (period_of(call["time"], interval) if interval else None,
               *(call[dimension] if dimension in group_by else None for dimension in DIMENSIONS),
               call["agent_id"] if "agent" in group_by else None)
        for name in SUMS:
            groups[key][name] += call[name]
    return dict(groups)


def key_of(row):
    """The same key of a row of an answer."""
    return (row["period"], *(row[dimension] for dimension in DIMENSIONS), row["agent_id"])


def check(answer, calls, group_by=(), interval=None):
    """The answer is exactly what these calls add up to, in the promised order, and its total is the sum."""
    items, total = rows_of(answer)
    expected = summed(calls, group_by, interval)
    assert {key_of(row): {name: row[name] for name in SUMS} for row in items} == expected
    assert len(items) == len(expected)
    assert {name: total[name] for name in SUMS} == {name: sum(call[name] for call in calls) for name in SUMS}
    order = [(row["period"] or "", -row["cost"]) for row in items]
    assert order == sorted(order)


@pytest.fixture(scope="module")
def traffic(installation):
    """Two teams' calls, posted, with what each of them should count."""
    oracle, chance = Catalogue(), random.Random(5)
    teams = ["east-" + uuid7(), "west-" + uuid7()]
    calls = []
    for team in teams:
        api = installation.api(installation.team_key(team))
        for name, environment in (("planner", "production"), ("writer", "staging"), ("critic", "production")):
            agent = api.agent(name, environment=environment)
            runs = [api.run(agent["id"])["run_id"] for _ in range(2)]
            events = []
            for instant in INSTANTS * 4:
                provider, model, provider_shown = chance.choice(MODELS)
                inputs, outputs = chance.choice([0, 1, 999, 123_457, 250_001]), chance.randint(0, 5000)
                usage = {"input_tokens": inputs, "output_tokens": outputs, "cache_read_tokens": chance.randint(0, inputs // 2),
                         "cache_write_tokens": chance.randint(0, inputs // 2)}
                event = llm_call(chance.choice(runs), provider=provider, model=model, timestamp=instant, usage=usage,
                                 status=chance.choice(["ok", "ok", "error"]))
                events.append(event)
                charge = oracle.price(provider, model, parse_time(instant), usage)
                calls.append({"team": team, "agent": name, "agent_id": agent["id"], "environment": environment, "model": model,
                              "provider": provider_shown, "time": parse_time(instant), "calls": 1, "errors": int(event["status"] == "error"),
                              "unpriced_calls": int(charge.cost_nano is None), "cost": charge.cost_nano or 0} | usage)
            answer = api.post("/api/v1/events", json=events).json()
            assert answer == {"accepted": len(events), "duplicates": 0, "rejected": []}
    return SimpleNamespace(teams=teams, calls=calls)


@pytest.fixture(scope="module")
def east(installation, traffic):
    """The API as the first team sees it, and its calls."""
    api = installation.api(installation.team_key(traffic.teams[0]))
    return api, [call for call in traffic.calls if call["team"] == traffic.teams[0]]


def costs(api, **parameters):
    """The answer about costs."""
    return api.get("/api/v1/analytics/costs", params={name: value for name, value in parameters.items() if value is not None})


@pytest.mark.parametrize("interval", INTERVALS)
def test_costs_add_up_in_every_grouping(east, interval):
    api, calls = east
    assert {call["unpriced_calls"] for call in calls} == {0, 1}
    for count in range(len(DIMENSIONS) + 1):
        for group_by in itertools.combinations(DIMENSIONS, count):
            check(costs(api, interval=interval, group_by=",".join(group_by) or None), calls, group_by, interval)


def test_the_order_of_the_grouping_does_not_matter(east):
    api, calls = east
    check(costs(api, group_by="environment,model,team"), calls, ("team", "model", "environment"))
    check(costs(api, group_by="model,model"), calls, ("model",))


def test_an_iso_week_begins_on_monday_also_around_the_turn_of_the_year(east):
    api, _ = east
    items, _ = rows_of(costs(api, interval="week", **{"from": "2025-12-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"}))
    assert [row["period"][:10] for row in items] == ["2025-12-22", "2025-12-29", "2026-01-05"]


def test_bounds_include_from_and_exclude_to(east):
    api, calls = east
    times = sorted({call["time"] for call in calls})
    for first, last in itertools.combinations(times, 2):
        inside = [call for call in calls if first <= call["time"] < last]
        answer = costs(api, interval="day", **{"from": first.isoformat(), "to": last.isoformat()})
        check(answer, inside, interval="day")
    check(costs(api, **{"from": times[3].isoformat()}), [call for call in calls if call["time"] >= times[3]])
    check(costs(api, to=times[3].isoformat()), [call for call in calls if call["time"] < times[3]])
    after = times[3] + datetime.timedelta(microseconds=1)
    check(costs(api, **{"from": after.isoformat()}), [call for call in calls if call["time"] > times[3]])
    check(costs(api, to=after.isoformat()), [call for call in calls if call["time"] <= times[3]])


def test_filters_narrow_alone_and_together(installation, east, traffic):
    api, calls = east
    agents = sorted({call["agent_id"] for call in calls})
    for agent_id in agents:
        check(costs(api, agent_id=agent_id, group_by="model"), [call for call in calls if call["agent_id"] == agent_id], ("model",))
    for dimension in ("team", "model", "provider", "environment"):
        for value in {call[dimension] for call in calls} - {None}:
            chosen = [call for call in calls if call[dimension] == value]
            check(costs(api, **{dimension: value}, group_by="agent"), chosen, ("agent",))
    chosen = [call for call in calls if (call["model"], call["environment"], call["agent_id"]) == ("gpt-4o", "production", agents[0])]
    check(costs(api, model="gpt-4o", environment="production", agent_id=agents[0], interval="hour"), chosen, interval="hour")
    for nothing in ({"model": "nothing"}, {"team": "nothing"}, {"agent_id": uuid7()}, {"provider": "nothing"}, {"environment": "nothing"}):
        check(costs(api, **nothing), [])
    # The organisation's key sees each team under its name.
    for team in traffic.teams:
        check(costs(installation.api(), team=team, group_by="team,agent"), [call for call in traffic.calls if call["team"] == team], ("team", "agent"))


def test_a_team_sees_its_own_costs_only(installation, east, traffic):
    api, _ = east
    west = [call for call in traffic.calls if call["team"] == traffic.teams[1]]
    check(costs(api, team=traffic.teams[1]), [])
    check(costs(api, agent_id=west[0]["agent_id"]), [])
    west_api = installation.api(installation.team_key(traffic.teams[1]))
    check(costs(west_api, group_by="team,agent,model"), west, ("team", "agent", "model"))
    assert api.get("/api/v1/analytics/coverage").json()["calls"] == len(traffic.calls) - len(west)


def test_unpriced_calls_are_counted_and_never_free(east):
    api, calls = east
    unpriced = [call for call in calls if call["model"] == "no-such-model"]
    items, total = rows_of(costs(api, model="no-such-model", group_by="model"))
    assert items[0]["unpriced_calls"] == items[0]["calls"] == len(unpriced) == total["unpriced_calls"]
    assert items[0]["input_tokens"] == sum(call["input_tokens"] for call in unpriced)


def test_a_grouping_without_calls_has_a_total_of_zero(installation):
    api = installation.api(installation.team_key("empty-" + uuid7()))
    for interval in INTERVALS:
        items, total = rows_of(costs(api, interval=interval, group_by="model"))
        assert items == [] and total["calls"] == 0 and total["cost"] == 0
    assert api.get("/api/v1/analytics/runs").json()["items"] == []
    assert api.get("/api/v1/analytics/coverage").json() == {"calls": 0, "priced_calls": 0, "tokens": 0, "priced_tokens": 0, "unpriced": []}


@pytest.mark.parametrize("parameters, pointer", [
    ({"interval": "year"}, "?interval"), ({"group_by": "colour"}, "?group_by"), ({"group_by": "model,colour"}, "?group_by"),
    ({"from": "yesterday"}, "?from"), ({"to": "2026-01-01"}, "?to"), ({"agent_id": "x"}, "?agent_id"), ({"colour": "red"}, "?colour"),
    ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "?to"), ({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "?to"),
])
def test_a_wrong_parameter_is_named(api, parameters, pointer):
    answer = api.get("/api/v1/analytics/costs", params=parameters)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)


def test_a_key_without_the_permission_sees_no_analytics(installation):
    api = installation.api(installation.team_key("blind-" + uuid7(), "agents:read"))
    for path in ("costs", "runs", "coverage"):
        refused = api.get(f"/api/v1/analytics/{path}")
        assert refused.status_code == 403 and "analytics:read" in refused.json()["detail"]


def test_runs_are_counted_by_state_group_and_start(installation):
    team = "runs-" + uuid7()
    api = installation.api(installation.team_key(team))
    ends = ["succeeded", "succeeded", "failed", "cancelled", None]
    runs = []
    for name, environment in (("one", "production"), ("two", "staging"), ("three", "production")):
        agent_id = api.agent(name, environment=environment)["id"]
        for i, end in enumerate(ends[: len(ends) - len(runs) // 5]):
            started_at = f"2026-01-0{i + 1}T00:00:00Z"
            run_id = api.run(agent_id, started_at=started_at)["run_id"]
            if end:
                assert api.post(f"/api/v1/runs/{run_id}/end", json={"status": end}).status_code == 200
            runs.append({"team": team, "agent": name, "agent_id": agent_id, "environment": environment, "status": end, "started_at": started_at})

    def check_runs(chosen, group_by=(), **parameters):
        answer = api.get("/api/v1/analytics/runs", params=parameters | ({"group_by": ",".join(group_by)} if group_by else {}))
        assert answer.status_code == 200, answer.text
        expected = defaultdict(lambda: dict.fromkeys(("runs", "active", "succeeded", "failed", "cancelled", "terminated"), 0))
        for run in chosen:
            key = tuple(run[name] if name in group_by else None for name in ("team", "agent", "environment"))
            expected[(*key, run["agent_id"] if "agent" in group_by else None)]["runs"] += 1
            expected[(*key, run["agent_id"] if "agent" in group_by else None)][run["status"] or "active"] += 1
        items = answer.json()["items"]
        keys = ("team", "agent", "environment", "agent_id")
        assert {tuple(row[name] for name in keys): {name: value for name, value in row.items() if name not in keys} for row in items} == expected
        assert [row["runs"] for row in items] == sorted((row["runs"] for row in items), reverse=True)

    for count in range(4):
        for group_by in itertools.combinations(("team", "agent", "environment"), count):
            check_runs(runs, group_by)
    check_runs([run for run in runs if run["started_at"] >= "2026-01-02T00:00:00Z"], ("agent",), **{"from": "2026-01-02T00:00:00Z"})
    check_runs([run for run in runs if run["started_at"] < "2026-01-02T00:00:00Z"], ("agent",), to="2026-01-02T00:00:00Z")
    check_runs([run for run in runs if run["agent"] == "two"], ("environment",), agent_id=runs[5]["agent_id"])
    stranger = installation.api(installation.team_key("other-" + uuid7()))
    assert stranger.get("/api/v1/analytics/runs", params={"agent_id": runs[0]["agent_id"]}).json()["items"] == []


def test_no_sum_of_calls_that_the_door_admits_answers_500(fresh):
    installation = fresh().start()
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    # 10^10 web searches at 10 $ per thousand are 10^17 nano-dollars; a hundred of them leave 64 bits.
    usage = {"web_searches": 10_000_000_000}
    events = [llm_call(run_id, provider="anthropic", model="claude-sonnet-4-5", usage=usage) for _ in range(100)]
    accepted = api.post("/api/v1/events", json=events).json()["accepted"]
    answers = {path: api.get(path).status_code for path in
               ("/api/v1/analytics/costs", "/api/v1/analytics/costs?group_by=model", "/api/v1/analytics/coverage", f"/api/v1/runs/{run_id}")}
    assert answers == dict.fromkeys(answers, 200)
    items, total = rows_of(costs(api, group_by="model"))
    assert accepted == 100
    # Sums end at the largest amount that 64 bits of nano-dollars hold, 9.2 billion dollars, instead of failing.
    assert total["cost"] == 2**63 - 1 == items[0]["cost"]
