"""Rollups: whatever comes late, twice or to another price, analytics are what the ledger adds up to, folded or not."""

import concurrent.futures
import contextlib
import datetime
import itertools
import random
import threading
from collections import Counter

import pytest

from installation import Installation, uuid7, wait_until
from ledger import (
    DIMENSIONS,
    INTERVALS,
    Load,
    bounds,
    check_costs,
    check_coverage,
    check_latency,
    check_verified,
    folding_held,
    ledger,
    wait_folded,
    within,
)
from pricing import a_model, reprice, set_price
from reports import post_batch, post_one

HOUR = datetime.timedelta(hours=1)
MICROSECOND = datetime.timedelta(microseconds=1)
ALL_TIME = {"from": "2020-01-01T00:00:00Z", "to": "2030-01-01T00:00:00Z"}


@pytest.fixture(scope="module")
def place(shared_directory):
    """An installation in which folding can be held without disturbing other tests."""
    running = Installation(shared_directory / "rollups-installation").start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module", params=["deltas", "both", "folded"])
def load(request, place):
    """The same calls: none of them folded yet, some, or all."""
    made = Load(place, seed=11)
    events = made.events(600)
    with contextlib.ExitStack() as stack:
        if request.param == "both":
            made.post(events[:300])
            wait_folded(place)
        if request.param != "folded":
            stack.enter_context(folding_held(place))
        made.post(events[300:] if request.param == "both" else events)
        if request.param == "folded":
            wait_folded(place)
        made.calls = made.ledger()
        assert len(made.calls) == 600
        yield made
        left = place.sql("SELECT count(*) FROM usage_unfolded JOIN teams t ON t.id = team_id WHERE t.name = %s", made.team)[0][0]
        assert (left == 0) == (request.param == "folded")
    wait_folded(place)


def some_ranges(load, count):
    """Ranges by chance whose ends are anywhere, often on an hour, at a call, or beside either; some have one end only."""
    times = [call["time"] for call in load.calls]

    def end():
        hour = load.chance.choice(load.hours) + load.chance.choice((0, 1, 5, 24)) * HOUR
        return load.chance.choice((hour, hour + load.chance.randrange(3600) * datetime.timedelta(seconds=1), load.chance.choice(times),
                                   load.chance.choice(times) + MICROSECOND, hour - MICROSECOND, hour + MICROSECOND))

    for number in range(count):
        begin, until = sorted((end(), end()))
        if number % 4 == 0:  # both in the same hour
            floor = load.chance.choice(load.hours)
            begin, until = sorted(floor + load.chance.randrange(3_600_000_001) * MICROSECOND for _ in range(2))
        if begin == until:
            until += MICROSECOND
        yield (None if number % 7 == 1 else begin), (None if number % 7 == 2 else until)


@pytest.mark.parametrize("interval", INTERVALS)
def test_costs_in_every_grouping_are_those_of_the_ledger(place, load, interval):
    for count in range(len(DIMENSIONS) + 1):
        for group_by in itertools.combinations(DIMENSIONS, count):
            check_costs(load.api, load.calls, group_by, interval)
    check_costs(place.api(), ledger(place), ("team", "model"), interval)
    check_coverage(load.api, load.calls)


@pytest.mark.parametrize("name", DIMENSIONS)
def test_costs_of_one_value_are_those_of_the_ledger(place, load, name):
    for value in {call["agent_id" if name == "agent" else name] for call in load.calls} - {None}:
        parameter = "agent_id" if name == "agent" else name
        own = [call for call in load.calls if call[parameter] == value]
        check_costs(load.api, own, ("model", "provider"), "day", **{parameter: value})
        check_latency(load.api, own, ("agent",), **{parameter: value})
        check_costs(place.api(), own, ("agent",), **{parameter: value, "team": load.team})


def test_any_range_is_exact_wherever_it_begins_and_ends(load):
    for begin, end in some_ranges(load, 150):
        chosen = within(load.calls, begin, end)
        group_by = [name for name in DIMENSIONS if load.chance.random() < 0.3]
        check_costs(load.api, chosen, group_by, load.chance.choice(INTERVALS), **bounds(begin, end))
        check_coverage(load.api, chosen, **bounds(begin, end))
        check_latency(load.api, chosen, group_by, **bounds(begin, end))


def test_neighbouring_ranges_add_up(load):
    times = sorted({call["time"] for call in load.calls})
    cuts = [None, *sorted(load.chance.sample(times, 12)), None]
    for begin, end in itertools.pairwise(cuts):
        check_costs(load.api, within(load.calls, begin, end), ("model",), "hour", **bounds(begin, end))


def test_the_command_agrees(place, load):
    check_verified(place)


def state_of(load):
    """All that analytics answer about a team."""
    api = load.api
    return [api.get("/api/v1/analytics/costs", params={"group_by": ",".join(DIMENSIONS), "interval": "hour"}).json(),
            api.get("/api/v1/analytics/coverage").json(), api.get("/api/v1/analytics/latency", params={"group_by": "model,agent"}).json()]


@pytest.mark.parametrize("folded", [False, True])
def test_repeats_and_conflicts_change_nothing_wherever_they_come(place, folded):
    load = Load(place, seed=12)
    events = load.events(200)
    with contextlib.nullcontext() if folded else folding_held(place):
        twice = events[:50] + events[:50]
        load.chance.shuffle(twice)
        assert post_batch(load.api, twice) == {"accepted": 50, "duplicates": 50, "rejected": []}
        load.post(events[50:])
        if folded:
            wait_folded(place)
        before = state_of(load)
        calls = load.ledger()
        assert len(calls) == 200
        check_costs(load.api, calls, DIMENSIONS, "hour")
        assert post_batch(load.api, events) == {"accepted": 0, "duplicates": 200, "rejected": []}
        assert [post_one(load.api, event).status_code for event in events[:20]] == [200] * 20
        others = [event | {"model": "another", "usage": {"input_tokens": 5}, "timestamp": "2026-11-01T00:00:00Z"} for event in events]
        answer = post_batch(load.api, others[:100] + events[100:])
        assert (answer["accepted"], answer["duplicates"], len(answer["rejected"])) == (0, 100, 100)
        assert post_one(load.api, others[150]).status_code == 409
        assert state_of(load) == before
        # A new one beside repeats and conflicts counts.
        new = load.events(30)
        mixed = new + events[:30] + others[30:60]
        load.chance.shuffle(mixed)
        answer = post_batch(load.api, mixed)
        assert (answer["accepted"], answer["duplicates"], len(answer["rejected"])) == (30, 30, 30)
        check_costs(load.api, load.ledger(), DIMENSIONS, "hour")
    wait_folded(place)
    assert post_batch(load.api, events + new) == {"accepted": 0, "duplicates": 230, "rejected": []}
    check_costs(load.api, load.ledger(), DIMENSIONS, "hour")
    check_verified(place)


def test_of_many_who_report_the_same_at_once_each_call_counts_once(place):
    load = Load(place, seed=13)
    # Some runs are not known yet.
    load.runs += [(uuid7(), agent) for agent in load.agents]
    events = load.events(400)
    barrier = threading.Barrier(12)

    def report(number):
        api = place.api(load.api.session.headers["X-API-Key"])
        order = random.Random(number)
        mine = events[:]
        order.shuffle(mine)
        told = Counter()
        barrier.wait()
        while mine:
            size = order.choice((1, 20, 90))
            batch, mine = mine[:size], mine[size:]
            answer = post_batch(api, batch)
            assert answer["rejected"] == []
            told.update(accepted=answer["accepted"], duplicates=answer["duplicates"])
        return told

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        told = sum(pool.map(report, range(12)), Counter())
    assert told == {"accepted": 400, "duplicates": 11 * 400}
    for _ in range(2):
        calls = load.ledger()
        assert len(calls) == 400
        check_costs(load.api, calls, DIMENSIONS, "hour")
        check_latency(load.api, calls, ("model",))
        wait_folded(place)
    check_verified(place)


def test_calls_that_come_late_early_or_in_violation_count_once(place):
    load = Load(place, seed=14)
    load.post(load.events(100))
    wait_folded(place)
    (ended, _), (cancelled, _), *_ = load.runs
    assert load.api.post(f"/api/v1/runs/{ended}/end", json={"status": "succeeded"}).status_code == 200
    assert load.api.post(f"/api/v1/runs/{cancelled}/end", json={"status": "cancelled"}).status_code == 200
    strict = load.api.agent("strict", allowed_models=["gpt-4o"], on_violation="terminate")["id"]
    queued = load.api.post("/api/v1/runs/start", json={"agent_id": strict, "status": "queued"})
    strict_run = queued.json()["run_id"] if queued.status_code == 201 else load.api.run(strict)["run_id"]
    early = [(uuid7(), agent) for agent in load.agents]
    load.runs += early + [(strict_run, strict)]
    days_ago = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=5, minutes=13)).isoformat()
    events = load.events(150) + [load.event(timestamp=days_ago) for _ in range(20)]
    with folding_held(place):
        for start in range(0, len(events), 17):
            answer = post_batch(load.api, events[start:start + 17])
            assert (answer["accepted"], answer["duplicates"], answer["rejected"]) == (len(events[start:start + 17]), 0, [])
        assert load.api.get(f"/api/v1/runs/{strict_run}").json()["status"] == "terminated"
        for run_id, agent in early:
            load.api.post("/api/v1/runs/start", json={"agent_id": agent, "run_id": run_id})
        calls = load.ledger()
        assert len(calls) == 270
        for interval in INTERVALS:
            check_costs(load.api, calls, DIMENSIONS, interval)
        assert post_batch(load.api, events)["duplicates"] == len(events)
        check_costs(load.api, calls, DIMENSIONS, "hour")
    wait_folded(place)
    assert post_batch(load.api, events)["duplicates"] == len(events)
    for interval in INTERVALS:
        check_costs(load.api, calls, DIMENSIONS, interval)
    check_coverage(load.api, calls)
    check_verified(place)


@pytest.mark.parametrize("folded", [False, True])
def test_a_new_price_moves_costs_and_coverage(place, folded):
    first, second = a_model(), a_model()
    load = Load(place, seed=15, models=[("acme", first), ("acme", second), ("openai", "gpt-4o")])
    organisation = place.api()

    def check():
        calls = load.ledger()
        assert len(calls) == 300
        if folded:
            wait_folded(place)
        for interval in INTERVALS:
            check_costs(load.api, calls, ("model", "agent"), interval)
        check_coverage(load.api, calls)
        check_latency(load.api, calls, ("model",))
        for begin, end in some_ranges(load, 15):
            check_costs(load.api, within(calls, begin, end), ("model",), "day", **bounds(begin, end))
            check_coverage(load.api, within(calls, begin, end), **bounds(begin, end))
        return Counter(call["price_status"] for call in calls if call["model"] == first), sum(call["cost"] for call in calls if call["model"] == first)

    with contextlib.nullcontext() if folded else folding_held(place):
        load.post(load.events(300))
        load.calls = load.ledger()
        unpriced, cost = check()
        assert unpriced["priced"] == cost == 0
        prices = []
        for rates in ((2, 10), (3, 10), (0, 0), (3, 11), (None, None), (0.5, 1)):
            set_price(organisation, first, *rates)
            assert reprice(organisation, model=first, **ALL_TIME)["changed"] > 0
            assert reprice(organisation, model=first, **ALL_TIME)["changed"] == 0
            prices.append(check())
        assert [(status["priced"] > 0, cost > 0) for status, cost in prices] == [(True, True)] * 2 + [(True, False), (True, True), (False, False), (True, True)]
        assert prices[4] == (unpriced, 0)
        # Part of them only, and beside calls that come in.
        set_price(organisation, second, 7, 7)
        reprice(organisation, model=second, **{"from": "2025-12-31T22:30:00Z", "to": "2026-10-31T23:30:00Z"})
        check()
    wait_folded(place)
    check()
    check_verified(place)


def test_prices_that_change_while_calls_come_in_leave_no_sum_behind(place):
    model = a_model()
    load = Load(place, seed=16, models=[("acme", model)])
    organisation = place.api()
    events = load.events(1500)

    def change():
        for rate in range(1, 9):
            set_price(organisation, model, rate, 0)
            reprice(organisation, model=model, **ALL_TIME)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        changed, posted = pool.submit(change), pool.submit(load.post, events)
        changed.result()
        posted.result()
    reprice(organisation, model=model, **ALL_TIME)
    for _ in range(2):
        calls = load.ledger()
        assert len(calls) == 1500
        check_costs(load.api, calls, DIMENSIONS, "hour")
        check_coverage(load.api, calls)
        wait_folded(place)
    check_verified(place)


def test_every_answer_counts_each_call_once_while_sums_are_folded(place):
    load = Load(place, seed=20)
    begin = min(load.hours) + datetime.timedelta(minutes=30)
    folds = place.sql("SELECT sum(n_tup_del) FROM pg_stat_user_tables WHERE relname = 'usage_commits'")
    posted = []
    while len(posted) < 1200:
        events = load.events(load.chance.choice((1, 5, 20)))
        assert post_batch(load.api, events)["accepted"] == len(events)
        posted += events
        answer = load.api.get("/api/v1/analytics/costs").json()
        assert answer["total"]["calls"] == len(posted)
        inside = sum(datetime.datetime.fromisoformat(event["timestamp"]) >= begin for event in posted)
        assert load.api.get("/api/v1/analytics/costs", params=bounds(begin)).json()["total"]["calls"] == inside
        assert load.api.get("/api/v1/analytics/coverage").json()["calls"] == len(posted)
    wait_until(lambda: place.sql("SELECT sum(n_tup_del) FROM pg_stat_user_tables WHERE relname = 'usage_commits'") > folds, "something folded", 10)
    check_costs(load.api, load.ledger(), DIMENSIONS, "hour")
    check_verified(place)


def test_calls_at_the_ends_of_time_are_in_the_sums(place):
    load = Load(place, seed=22)
    soon = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=4)).isoformat()
    times = ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000001Z", "2019-06-30T12:30:00Z", soon,
             "9999-12-31T23:59:59.999999Z")
    events = [load.event(timestamp=time) for time in times]
    taken = [event for event in events if post_one(load.api, event).status_code == 201]
    for _ in range(2):
        calls = load.ledger()
        assert len(calls) == len(taken) >= 3
        for interval in INTERVALS:
            check_costs(load.api, calls, DIMENSIONS, interval)
        check_costs(load.api, calls, **{"from": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"})
        check_coverage(load.api, calls, to="9999-12-31T23:00:00Z")
        wait_folded(place)
    check_verified(place)


def test_a_provider_that_is_not_known_is_no_provider_of_an_empty_name(place):
    load = Load(place, seed=23, models=[(None, "no-such-model"), ("openai", "gpt-4o")])
    load.post(load.events(20))
    for path in ("costs", "latency"):
        answer = load.api.get(f"/api/v1/analytics/{path}", params={"provider": ""})
        assert answer.status_code == 422 or answer.json()["items"] == [], answer.text


DISTRIBUTIONS = {
    "zeros": lambda chance: 0,
    "one value": lambda chance: 1234,
    "small": lambda chance: chance.randrange(25),
    "a heavy tail": lambda chance: int(20 * chance.paretovariate(0.6)) % 30_000_000_000,
    "a wide range": lambda chance: int(10 ** chance.uniform(0, 9)),
    "two humps": lambda chance: int(chance.choice((chance.gauss(40, 4), chance.gauss(9000, 500)))),
    "not measured": lambda chance: None,
    "mostly not measured": lambda chance: chance.choice((None, None, None, 77)),
}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentiles_are_within_five_percent_of_the_nearest_rank(place, name, folded):
    load = Load(place, seed=17)
    events = [load.event() for _ in range(300)]
    for event in events:
        event.pop("duration_ms", None)
        duration = DISTRIBUTIONS[name](load.chance)
        if duration is not None:
            event["duration_ms"] = duration
    with contextlib.nullcontext() if folded else folding_held(place):
        load.post(events)
        if folded:
            wait_folded(place)
        load.calls = load.ledger()
        for group_by in ((), ("model",), ("agent", "provider"), DIMENSIONS):
            check_latency(load.api, load.calls, group_by)
        for begin, end in some_ranges(load, 25):
            check_latency(load.api, within(load.calls, begin, end), ("model",), **bounds(begin, end))


def test_keys_of_a_team_and_of_an_agent_see_their_own_sums_only(place):
    one, other = Load(place, seed=18), Load(place, seed=19)
    agent_key = place.team_key(one.team)
    # No command makes keys of agents; the table knows them.
    place.sql("UPDATE api_keys SET agent_id = %s WHERE id = (SELECT max(id::text)::uuid FROM api_keys WHERE name = %s)", one.agents[0], f"{one.team} key")
    with folding_held(place):
        for load in (one, other):
            load.post(load.events(150))
            load.calls = load.ledger()
        mine = [call for call in one.calls if call["agent_id"] == one.agents[0]]
        assert 0 < len(mine) < len(one.calls)
        for _ in range(2):
            for api, calls in ((one.api, one.calls), (other.api, other.calls), (place.api(agent_key), mine)):
                check_costs(api, calls, ("team", "agent", "model"), "day")
                check_coverage(api, calls)
                check_latency(api, calls, ("agent",))
                for begin, end in some_ranges(one, 20):
                    chosen = within(calls, begin, end)
                    check_costs(api, chosen, ("team", "agent"), "hour", **bounds(begin, end))
                    check_coverage(api, chosen, **bounds(begin, end))
                    check_latency(api, chosen, ("team", "agent"), **bounds(begin, end))
                stranger = other if api is not other.api else one
                check_costs(api, [], team=stranger.team)
                check_costs(api, [], agent_id=stranger.agents[0])
                check_latency(api, [], agent_id=stranger.agents[0])
            check_costs(place.api(agent_key), [], agent_id=one.agents[1])
