"""A database that is slow or broken in part: nothing is lost, and what does not need that part goes on."""

import threading
import time

import psycopg2
import pytest
from installation import llm_call


@pytest.fixture
def owner(fresh):
    """An installation of the test's own and a connection of its database's owner."""
    installation = fresh().start()
    connection = psycopg2.connect(installation.variables["DATABASE_URL"])
    yield installation, connection
    connection.close()


def test_a_fault_of_the_database_is_503_and_never_a_rejection(owner):
    installation, connection = owner
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    events = [llm_call(run_id) for _ in range(3)]
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("ALTER TABLE llm_calls RENAME TO llm_calls_away")
    assert api.post("/api/v1/events", json=events).status_code == 503
    assert api.post(f"/api/v1/runs/{run_id}/llm-calls", json=events[0]).status_code == 503
    cursor.execute("ALTER TABLE llm_calls_away RENAME TO llm_calls")
    answer = api.post("/api/v1/events", json=events)
    assert answer.status_code == 200 and answer.json()["accepted"] == 3


def test_readiness_says_in_one_sentence_what_is_missing(owner):
    installation, connection = owner
    connection.autocommit = True
    connection.cursor().execute("ALTER TABLE alembic_version RENAME TO alembic_version_away")
    answer = installation.api(None).get("/api/v1/health/readiness")
    assert answer.status_code == 503
    assert answer.json()["detail"] == (
        "Not ready (database unavailable): the database is empty: run cognive migrate upgrade head")


def test_what_the_database_refuses_is_not_quoted_in_the_log(owner):
    installation, connection = owner
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    connection.autocommit = True
    connection.cursor().execute("ALTER TABLE llm_calls ADD CONSTRAINT no_boom CHECK (error IS DISTINCT FROM 'boom-marker')")
    answer = api.post("/api/v1/events", json=[llm_call(run_id), llm_call(run_id, error="boom-marker"), llm_call(run_id)]).json()
    assert answer["accepted"] == 2 and [item["index"] for item in answer["rejected"]] == [1]
    log = (installation.directory / "log/cognive.log").read_text()
    assert "no_boom" in log and "boom-marker" not in log


def test_analytics_that_wait_do_not_hold_up_anybody_else(owner):
    installation, connection = owner
    connection.cursor().execute("LOCK TABLE llm_calls IN ACCESS EXCLUSIVE MODE")
    waiting = [threading.Thread(target=installation.api().get, args=("/api/v1/analytics/costs",)) for _ in range(12)]
    for thread in waiting:
        thread.start()
    api = installation.api()
    begin = time.monotonic()
    while time.monotonic() - begin < 3:
        answer = api.get("/api/v1/teams", timeout=5)
        assert answer.status_code == 200
        assert api.agent()["id"]
    connection.rollback()
    for thread in waiting:
        thread.join()
