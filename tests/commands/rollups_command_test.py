"""`cognive rollups verify`: agrees with what is right, names what is not, for people and for scripts."""

import datetime
import json

import pytest

from installation import Installation, clean_environment, run_cognive
from ledger import Load, folding_held, verify, wait_folded


@pytest.fixture(scope="module")
def place(shared_directory):
    """An installation whose sums may be spoilt, with calls that are folded, and their owner."""
    running = Installation(shared_directory / "verified-installation").start()
    load = Load(running, seed=21)
    load.post(load.events(200))
    wait_folded(running)
    yield running
    assert running.stop() == 0


@pytest.fixture
def spoilt(place):
    """Runs a statement and puts the sums back as they were in the end."""
    place.sql("DROP TABLE IF EXISTS kept_aggregations; CREATE TABLE kept_aggregations AS TABLE usage_aggregations")
    yield place.sql
    place.sql("TRUNCATE usage_aggregations; INSERT INTO usage_aggregations TABLE kept_aggregations; DROP TABLE kept_aggregations")
    assert verify(place).returncode == 0


TODAY = datetime.datetime.now(datetime.timezone.utc).date()
KEY = "granularity, period, team_id, agent_id, environment, provider, model, price_status"
ONE = (f"({KEY}) = (SELECT {KEY} "
       "FROM usage_aggregations WHERE granularity = '{}' AND cost_nano_usd > 0 AND cardinality(latency_buckets) > 0 "
       "ORDER BY period, agent_id, environment, provider, model LIMIT 1)")


def found(place, *flags):
    """What the command says as JSON, and its exit status."""
    done = verify(place, "--from", "2000-01-01", "--to", "2200-01-01", "--json", *flags)
    assert done.stderr == "", done.stderr
    return done.returncode, json.loads(done.stdout)


def test_right_sums_agree(place):
    done = verify(place)
    assert (done.returncode, done.stderr) == (0, "")
    assert " of 200 LLM calls from 2000-01-01T00:00:00.000000Z to 2200-01-01T00:00:00.000000Z agree" in done.stdout
    status, body = found(place)
    sums = place.sql("SELECT count(*) FROM usage_aggregations")[0][0]
    assert (status, body) == (0, {"from": "2000-01-01T00:00:00.000000Z", "to": "2200-01-01T00:00:00.000000Z", "sums": sums, "calls": 200,
                                  "agrees": True, "disagreements": []})


def test_a_range_compares_its_days_only(place):
    ((day, calls),) = place.sql("SELECT period::date::text, sum(calls)::int FROM usage_aggregations WHERE granularity = 'day' GROUP BY 1 ORDER BY 1 LIMIT 1")
    done = verify(place, "--from", day, "--to", "2026-01-01", "--json")
    assert (done.returncode, json.loads(done.stdout)["calls"]) == (0, calls)
    assert json.loads(verify(place, "--from", "2001-01-01", "--to", "2001-01-02", "--json").stdout)["sums"] == 0
    # A week when nothing is said.
    done = verify(place, "--json")
    body = json.loads(done.stdout)
    ((recent,),) = place.sql("SELECT count(*) FROM llm_calls WHERE timestamp >= %s", body["from"])
    assert (done.returncode, body["calls"]) == (0, recent) and 0 < recent < 200


@pytest.mark.parametrize("granularity", ["hour", "day", "team_hour", "team_day"])
@pytest.mark.parametrize("change, name", [
    ("cost_nano_usd = cost_nano_usd + 1", "cost_nano_usd"), ("calls = calls - 1", "calls"), ("errors = errors + 1", "errors"),
    ("usage_calls = usage_calls + 1", "usage_calls"), ("input_tokens = input_tokens + 1", "input_tokens"),
    ("output_tokens = output_tokens + 1", "output_tokens"), ("cache_read_tokens = cache_read_tokens + 1", "cache_read_tokens"),
    ("cache_write_tokens = cache_write_tokens + 1", "cache_write_tokens"), ("latency_counts[1] = latency_counts[1] + 1", "latencies"),
])
def test_one_wrong_sum_is_named(place, spoilt, granularity, change, name):
    [(period, agent_id, model, price_status)] = spoilt(f"UPDATE usage_aggregations SET {change} WHERE {ONE.format(granularity)} "
                                                       "RETURNING period, agent_id::text, model, price_status")
    status, body = found(place)
    assert (status, body["agrees"], len(body["disagreements"])) == (1, False, 1)
    [one] = body["disagreements"]
    at = period.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    told = None if granularity.startswith("team_") else agent_id
    assert (one["granularity"], one["period"], one["agent_id"], one["model"], one["price_status"]) == (granularity, at, told, model, price_status)
    assert {key for key in one["ledger"] if one["ledger"][key] != one["stored"][key]} == {name}
    shown = verify(place)
    assert shown.returncode == 1 and "are not what the ledger says" in shown.stderr
    # Of days whose calls are gone, the sums alone are left, and nobody should look for a fault there.
    assert "may have been dropped (RETENTION_DAYS=90)" in shown.stderr and "may have been dropped" not in verify(place, "--from", str(TODAY)).stderr
    line = next(line for line in shown.stdout.splitlines() if at in line)
    assert model in line and granularity in line and (told or "all") in line
    # Only what differs is shown.
    assert line.count(f"{name} ") == 2 and not any(f" {other} " in line for other in one["ledger"] if other != name)


def test_a_missing_sum_and_one_of_nothing_are_named(place, spoilt):
    spoilt(f"DELETE FROM usage_aggregations WHERE {ONE.format('hour')}")
    status, body = found(place)
    [one] = body["disagreements"]
    assert (status, one["stored"]) == (1, None) and one["ledger"]["calls"] > 0
    spoilt("INSERT INTO usage_aggregations SELECT 'hour', '2003-03-03', team_id, agent_id, environment, 'ghost', model, price_status, 1, 0, 0, 0, 0, 0, "
           "0, 0, first_at, last_at, '{}', '{}' FROM usage_aggregations LIMIT 1")
    assert [(one["provider"], one["ledger"]) for one in found(place)[1]["disagreements"] if one["ledger"] is None] == [("ghost", None)]
    assert found(place)[0] == 1


def test_a_wrong_delta_is_found_before_it_is_folded(place, spoilt):
    with folding_held(place):
        wrong = ("INSERT INTO usage_commits SELECT 1, ARRAY[period], ARRAY[team_id], ARRAY[agent_id], ARRAY[environment], ARRAY[provider], "
                 "ARRAY[model], ARRAY[price_status], '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{0}', '{1}', ARRAY[first_at], ARRAY[last_at], "
                 "'{\"{}\"}', '{\"{}\"}', %s FROM usage_aggregations WHERE ")
        spoilt(wrong + ONE.format("hour"), False)
        status, body = found(place)
        assert (status, sorted(one["granularity"] for one in body["disagreements"])) == (1, ["day", "hour"])
        spoilt(wrong + ONE.format("team_hour"), True)
        assert sorted(one["granularity"] for one in found(place)[1]["disagreements"]) == ["day", "hour", "team_day", "team_hour"]
        spoilt("TRUNCATE usage_commits")


def test_of_many_wrong_sums_a_hundred_are_told(place, spoilt):
    assert spoilt("SELECT count(*) > 100 FROM usage_aggregations") == [(True,)]
    spoilt("UPDATE usage_aggregations SET calls = calls + 1")
    status, body = found(place)
    assert (status, len(body["disagreements"])) == (1, 100)
    assert "(and perhaps more)" in verify(place).stderr


@pytest.mark.parametrize("flags", [
    ("--from", "yesterday"), ("--to", "2026-13-01"), ("--from", "2026-11-24T00:00:00Z"), ("--from", "2026-02-30"), ("--to", "2001-01-01"),
    ("--from", "2026-01-02", "--to", "2026-01-01"), ("--from", "2026-01-01", "--to", "2026-01-01"), ("--from", " 2026-01-01"),
])
def test_what_is_no_range_of_days_is_refused(place, flags):
    done = verify(place, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cognive: --from and --to must be dates") and done.stderr.count("\n") == 1


def test_a_database_that_is_not_there_is_explained(tmp_path):
    env = clean_environment(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none?sslmode=disable", COGNIVE_DATA=tmp_path)
    done = run_cognive("rollups", "verify", env=env)
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.startswith("cognive: the database is not available")
