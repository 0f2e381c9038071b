"""The server makes the day partitions of the time series by itself, and its API does not notice when."""

import contextlib
import datetime
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from installation import Installation, llm_call, processes_in, wait_until
from routes import TIME
from time_series import SERIES, id_of_day, today


@pytest.fixture(scope="module")
def served(shared_directory):
    """An installation of this file's own, since its tests take partitions away and stop it."""
    one = Installation(shared_directory / "day-partitions").start()
    yield one
    assert one.stop() == 0
    assert not processes_in(one.directory)


def days(installation, table):
    """The days from yesterday to a week ahead that have a partition."""
    names = {name for (name,) in installation.sql(f"SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = '{table}'::regclass")}
    wanted = {offset: f"{table}_{today() + datetime.timedelta(days=offset):%Y%m%d}" for offset in range(-1, 8)}
    return [offset for offset, name in wanted.items() if name in names]


def wait_all_made(installation):
    """Wait until no partition is missing."""
    wait_until(lambda: all(days(installation, table) == list(range(-1, 8)) for table in SERIES), "the partitions are made", 20)


def test_partitions_that_are_missing_are_made_when_the_server_starts_with_their_strays(served):
    wait_all_made(served)
    assert served.stop() == 0
    served.start()
    wait_all_made(served)
    # As if nothing had been running for a week: the days from tomorrow on were never made.
    for table in SERIES:
        for offset in range(1, 8):
            name = f"{table}_{today() + datetime.timedelta(days=offset):%Y%m%d}"
            served.sql(f"ALTER TABLE {table} DETACH PARTITION {name}; DROP TABLE {name}")
        assert days(served, table) == [-1, 0]
    api = served.api()
    agent = api.agent()["id"]
    runs = [api.run(agent, run_id=id_of_day(offset))["run_id"] for offset in (0, 1, 3)]
    events = [llm_call(run, id=id_of_day(offset)) for run in runs for offset in (0, 2, 7)]
    assert api.post("/api/v1/events", json=events).json()["accepted"] == len(events)
    assert served.sql("SELECT count(*) FROM llm_calls_stray") == [(6,)]
    assert served.stop() == 0
    served.start()
    wait_all_made(served)
    assert served.sql("SELECT count(*) FROM llm_calls_stray") == served.sql("SELECT count(*) FROM agent_runs_stray") == [(0,)]
    api = served.api()
    for run in runs:
        assert api.get(f"/api/v1/runs/{run}").json()["totals"]["llm_calls"] == 3
    assert api.post("/api/v1/events", json=events).json()["duplicates"] == len(events)
    assert "made day partitions" in (served.directory / "log/cognive.log").read_text()


@contextlib.contextmanager
def making(installation, offset):
    """A day's partitions are being made, from the first lock until the block ends."""
    with contextlib.closing(psycopg2.connect(installation.variables["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        for _ in range(10):
            try:
                cursor.execute("SELECT make_day_partitions(current_date + %s, current_date + %s)", (offset, offset))
                break
            except psycopg2.errors.DeadlockDetected:
                # A statement of the server's own tasks read the series in another order. The server repeats what loses, and so does this.
                connection.rollback()
        yield
        connection.commit()


def wait_blocked(installation):
    """Wait until a statement of the server waits for a lock."""
    wait_until(lambda: installation.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"),
               "a statement waits", 20)


EVENTS = {"llm_calls": lambda run, **given: llm_call(run, **given),
          "tool_invocations": lambda run, **given: {"type": "tool_invocation", "run_id": run, "tool": "search", "timestamp": TIME} | given,
          "execution_steps": lambda run, **given: {"type": "step", "run_id": run, "index": 0, "kind": "plan", "name": "think", "timestamp": TIME} | given}


# PostgreSQL chooses the partition before it waits for its lock, and checks afterwards that the choice still holds.


def test_a_run_that_starts_while_the_partition_of_its_day_is_made_is_taken(served):
    api = served.api()
    agent, run = api.agent()["id"], id_of_day(40)
    with ThreadPoolExecutor(1) as pool:
        with making(served, 40):
            answer = pool.submit(api.post, "/api/v1/runs/start", json={"agent_id": agent, "run_id": run})
            wait_blocked(served)
        assert answer.result(20).status_code == 201, answer.result().text


@pytest.mark.parametrize("table", EVENTS)
@pytest.mark.parametrize("batch", [False, True])
def test_an_event_that_comes_while_the_partition_of_its_day_is_made_is_taken(served, table, batch):
    api = served.api()
    run = api.run(api.agent()["id"])["run_id"]
    offset = 30 + 2 * list(EVENTS).index(table) + batch
    day = today() + datetime.timedelta(days=offset)
    event = EVENTS[table](run, id=id_of_day(offset))
    # That of runs is there already, so that it is the event itself that has to wait.
    served.sql(f"CREATE TABLE agent_runs_{day:%Y%m%d} PARTITION OF agent_runs FOR VALUES FROM ('{day}') TO ('{day + datetime.timedelta(days=1)}')")
    path = {"llm_calls": "llm-calls", "tool_invocations": "tool-invocations", "execution_steps": "steps"}[table]
    with ThreadPoolExecutor(1) as pool:
        with making(served, offset):
            answer = pool.submit(api.post, "/api/v1/events" if batch else f"/api/v1/runs/{run}/{path}", json=[event] if batch else event)
            wait_blocked(served)
        assert answer.result(20).status_code in (200, 201), answer.result().text
    assert served.sql(f"SELECT tableoid::regclass::text FROM {table} WHERE id = %s", event["id"]) == [(f"{table}_{day:%Y%m%d}",)]
