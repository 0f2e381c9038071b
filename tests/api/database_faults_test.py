"""A database that is slow or broken in part: nothing is lost, and what does not need that part goes on."""

import concurrent.futures
import threading
import time

import psycopg2
import pytest
from exposition import samples
from installation import llm_call, wait_until
from problems import check_problem


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


def test_a_queue_that_is_full_refuses_what_comes_and_takes_it_again_when_there_is_room(owner):
    installation, connection = owner
    api = installation.api()
    run_id = api.run(api.agent()["id"])["run_id"]
    batches = [[llm_call(run_id) for _ in range(5000)] for _ in range(16)]

    def queued():
        return samples(api.get("/metrics").text)[1]["cognive_ingest_queue_bytes", ()]

    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE llm_calls IN ACCESS EXCLUSIVE MODE")
    with concurrent.futures.ThreadPoolExecutor(len(batches)) as pool:
        sent = [pool.submit(installation.api().post, "/api/v1/events", json=batch) for batch in batches]

        def refusals():
            answers = [one.result() for one in sent if one.done()]
            return [one for one in answers if check_problem(one, 503)["detail"].startswith("Too many events wait for the database")]

        refused = wait_until(refusals, "a batch refused", 30)[0]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        # Whatever is not ingest goes on.
        assert api.get("/api/v1/teams", timeout=5).status_code == 200
        # One batch of this size, with all that is made of it, is less than 16 MB.
        assert 64 << 20 <= queued() < (64 + 16 * 4) << 20
        connection.rollback()
        answers = [one.result() for one in sent]
    assert {answer.status_code for answer in answers} == {200, 503}
    accepted = sum(answer.json()["accepted"] for answer in answers if answer.status_code == 200)
    for batch in batches:
        answer = api.post("/api/v1/events", json=batch)
        assert answer.status_code == 200 and answer.json()["accepted"] + answer.json()["duplicates"] == len(batch)
        accepted += answer.json()["accepted"]
    assert accepted == installation.sql("SELECT count(*) FROM llm_calls")[0][0] == 16 * 5000
    wait_until(lambda: queued() == 0, "an empty queue", 5)
