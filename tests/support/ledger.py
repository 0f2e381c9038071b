"""What LLM calls add up to, summed here call by call from what the database keeps of them, for tests of what analytics answer."""

import contextlib
import datetime
import json
import math
import random
from collections import defaultdict
from decimal import Decimal

import psycopg2

from installation import uuid7, wait_until
from reports import post_batch, step

DIMENSIONS = ("team", "agent", "model", "provider", "environment")
INTERVALS = (None, "hour", "day", "week", "month")
TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
COUNTS = ("calls", "unpriced_calls", "errors")
SUMS = (*COUNTS, *TOKENS, "cost")


def ledger(installation, team=None):
    """All calls, or those of a team, as they are charged now."""
    charges = {}
    for run_id, call_id, cost, status in installation.sql(
            "SELECT run_id, call_id, new_cost_nano_usd, new_price_status FROM charge_adjustments ORDER BY sequence"):
        charges[run_id, call_id] = (cost, status)
    rows = installation.sql("SELECT l.run_id, l.id, t.name, a.name, l.agent_id::text, l.model, l.provider, l.environment, l.timestamp, l.status, "
                            "l.duration_ms, l.input_tokens, l.output_tokens, l.cache_read_tokens, l.cache_write_tokens, l.cost_nano_usd, "
                            "l.price_status FROM llm_calls l JOIN teams t ON t.id = l.team_id JOIN agents a ON a.id = l.agent_id "
                            "WHERE %s::text IS NULL OR t.name = %s", team, team)
    calls = []
    for run_id, call_id, *shown, status, duration, i, o, r, w, cost, price_status in rows:
        cost, price_status = charges.get((run_id, call_id), (cost, price_status))
        calls.append(dict(zip(("team", "agent", "agent_id", "model", "provider", "environment", "time"), shown, strict=True))
                     | {"calls": 1, "errors": int(status == "error"), "unpriced_calls": int(cost is None), "cost": cost or 0, "duration_ms": duration,
                        "price_status": price_status} | dict(zip(TOKENS, (i, o, r, w), strict=True)))
    return calls


def period_of(time, interval):
    """The begin of the UTC interval of a time, as the API writes it."""
    begin = time.astimezone(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)
    if interval != "hour":
        begin = begin.replace(hour=0)
    if interval == "week":
        begin -= datetime.timedelta(days=begin.isoweekday() - 1)
    if interval == "month":
        begin = begin.replace(day=1)
    return begin.strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def added(values):
    """Their sum; none when none of them is known."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def grouped(calls, group_by, interval=None):
    """Calls by (period, dimensions, agent's id)."""
    groups = defaultdict(list)
    for call in calls:
        groups[(period_of(call["time"], interval) if interval else None,
                *(call[name] if name in group_by else None for name in DIMENSIONS), call["agent_id"] if "agent" in group_by else None)].append(call)
    return groups


def nanos(row):
    """The cost of a row, exactly."""
    value = Decimal(row["cost_usd"]) * 1_000_000_000
    assert value == int(value)
    return int(value)


def within(calls, begin=None, end=None):
    """Those of a range."""
    return [call for call in calls if (begin is None or call["time"] >= begin) and (end is None or call["time"] < end)]


def bounds(begin=None, end=None):
    """The parameters of a range."""
    return {name: at.isoformat() for name, at in (("from", begin), ("to", end)) if at is not None}


def check_costs(api, calls, group_by=(), interval=None, **parameters):
    """The costs that the API answers are the sums of these calls and nothing else."""
    asked = parameters | ({"group_by": ",".join(group_by)} if group_by else {}) | ({"interval": interval} if interval else {})
    answer = api.get("/api/v1/analytics/costs", params=asked)
    assert answer.status_code == 200, answer.text
    body = json.loads(answer.text, parse_float=Decimal)
    found = {(row["period"], *(row[name] for name in DIMENSIONS), row["agent_id"]): {name: row[name] for name in (*COUNTS, *TOKENS)} | {"cost": nanos(row)}
             for row in body["items"]}
    assert len(found) == len(body["items"])
    assert found == {key: {name: added(call[name] for call in group) for name in SUMS} for key, group in grouped(calls, group_by, interval).items()}, asked
    total = {name: body["total"][name] or 0 for name in (*COUNTS, *TOKENS)} | {"cost": nanos(body["total"])}
    assert total == {name: added(call[name] for call in calls) or 0 for name in SUMS}, asked


def check_coverage(api, calls, **parameters):
    """The coverage that the API answers is that of these calls."""
    answer = api.get("/api/v1/analytics/coverage", params=parameters)
    assert answer.status_code == 200, answer.text
    body = answer.json()

    def tokens(some):
        return sum((call["input_tokens"] or 0) + (call["output_tokens"] or 0) for call in some)

    priced = [call for call in calls if call["price_status"] == "priced"]
    assert {name: body[name] for name in ("calls", "priced_calls", "tokens", "priced_tokens")} == {
        "calls": len(calls), "priced_calls": len(priced), "tokens": tokens(calls), "priced_tokens": tokens(priced)}, parameters
    unpriced = defaultdict(list)
    for call in calls:
        if call["price_status"] != "priced":
            unpriced[call["price_status"], call["provider"], call["model"]].append(call)
    assert {(row["price_status"], row["provider"], row["model"]): (row["calls"], row["tokens"]) for row in body["unpriced"]} == {
        key: (len(group), tokens(group)) for key, group in unpriced.items()}, parameters


def nearest_rank(durations, share):
    """The smallest duration that at least this share (in percent) of them does not exceed."""
    ranked = sorted(durations)
    return ranked[max(math.ceil(share * len(ranked) / 100) - 1, 0)] if ranked else None


def check_percentiles(item, durations):
    """Percentiles that are read from a histogram: within 5 % of the nearest rank, and known when that is."""
    for share in (50, 95, 99):
        found, exact = item[f"p{share}_ms"], nearest_rank(durations, share)
        assert (found is None) == (exact is None), (share, found, exact)
        assert exact is None or abs(found - exact) <= 0.05 * exact, (share, found, exact)


def check_latency(api, calls, group_by=(), **parameters):
    """The latency that the API answers is that of these calls: exact counts, percentiles as close as histograms are."""
    asked = parameters | ({"group_by": ",".join(group_by)} if group_by else {})
    answer = api.get("/api/v1/analytics/latency", params=asked)
    assert answer.status_code == 200, answer.text
    items = {(None, *(row[name] for name in DIMENSIONS), row["agent_id"]): row for row in answer.json()["items"]}
    expected = grouped(calls, group_by)
    assert items.keys() == expected.keys(), asked
    for key, group in expected.items():
        measured = [call["duration_ms"] for call in group if call["duration_ms"] is not None]
        counts = {"calls": len(group), "measured_calls": len(measured), "errors": sum(call["errors"] for call in group)}
        assert {name: items[key][name] for name in counts} == counts, asked
        check_percentiles(items[key], measured)


def wait_folded(installation):
    """Wait until nothing is left to fold. An event more makes sure that somebody looks."""
    api = installation.api()
    post_batch(api, [step(uuid7(), agent_id=api.agent()["id"])])
    wait_until(lambda: installation.sql("SELECT count(*) FROM usage_unfolded") == [(0,)], "all deltas folded", 30)


@contextlib.contextmanager
def folding_held(installation):
    """Nothing is folded meanwhile."""
    with contextlib.closing(psycopg2.connect(installation.variables["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('rollups.compact', 0))")
        connection.commit()
        yield


def verify(installation, *flags):
    """`cognive rollups verify` of all that there is: the finished process."""
    return installation.cli("rollups", "verify", *(flags or ("--from", "2000-01-01", "--to", "2200-01-01")))


def check_verified(installation):
    """The sums are those of the ledger, as the product itself finds."""
    done = verify(installation)
    assert done.returncode == 0, done.stdout + done.stderr


class Load:
    """Calls of one new team by chance: its API, agents and runs, and events that differ in all that sums tell apart."""

    def __init__(self, installation, seed, models=None):
        self.chance = random.Random(seed)
        self.team = "team-" + uuid7()
        self.installation = installation
        self.api = installation.api(installation.team_key(self.team))
        self.agents = [self.api.agent(name, environment=environment)["id"]
                       for name, environment in (("planner", "production"), ("writer", "staging"), ("critic", "production"))]
        self.runs = [(self.api.run(agent)["run_id"], agent) for agent in self.agents for _ in range(2)]
        self.models = models or [("openai", "gpt-4o"), (None, "gpt-4o"), ("anthropic", "claude-sonnet-4-5"), (None, "no-such-model"),
                                 ("no-such-provider", "gpt-4o")]
        now = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0)
        # A few hours with many calls each: today, at the turn of a day, of a month, and of a year.
        self.hours = [now - datetime.timedelta(hours=hours) for hours in (1, 2, 3, 26, 27, 24 * 9)] + [
            datetime.datetime(*begin, tzinfo=datetime.timezone.utc)
            for begin in ((2026, 11, 1, 0), (2026, 10, 31, 23), (2026, 1, 1, 0), (2025, 12, 31, 23), (2025, 12, 31, 22))]

    def time(self):
        """A time in one of the hours; often where one begins or ends."""
        hour = self.chance.choice(self.hours)
        within_hour = self.chance.choice((0, 1, 3_599_999_999, 1_800_000_000, *(self.chance.randrange(3_600_000_000) for _ in range(6))))
        return hour + datetime.timedelta(microseconds=within_hour)

    def usage(self):
        """Token counts, one of them alone, none of them, or what rates know by other names."""
        inputs = self.chance.choice((0, 1, 999, 123_457, 250_001))
        full = {"input_tokens": inputs, "output_tokens": self.chance.randint(0, 5000), "cache_read_tokens": self.chance.randint(0, inputs // 2),
                "cache_write_tokens": self.chance.randint(0, inputs // 2)}
        return self.chance.choice((full, full, full, {"output_tokens": 17}, {"input_tokens": 900, "input_audio_tokens": 30}, {"web_searches": 2}, None))

    def event(self, **attributes):
        """A call."""
        run_id, agent_id = self.chance.choice(self.runs)
        provider, model = self.chance.choice(self.models)
        event = {"type": "llm_call", "id": uuid7(), "run_id": run_id, "agent_id": agent_id, "provider": provider, "model": model,
                 "timestamp": self.time().isoformat(), "usage": self.usage(), "status": self.chance.choice(("ok", "ok", "error")),
                 "duration_ms": self.chance.choice((None, 0, self.chance.randrange(30), self.chance.randrange(100_000)))} | attributes
        return {name: value for name, value in event.items() if value is not None}

    def events(self, count):
        """Some calls."""
        return [self.event() for _ in range(count)]

    def post(self, events):
        """Report events in batches of any size; all must be new."""
        rest = list(events)
        while rest:
            size = self.chance.choice((1, 2, 30, 400))
            batch, rest = rest[:size], rest[size:]
            assert post_batch(self.api, batch) == {"accepted": len(batch), "duplicates": 0, "rejected": []}

    def ledger(self):
        """Its calls, as the database keeps them."""
        return ledger(self.installation, self.team)
