"""Workers that are killed, frozen and cut off, and primaries that move: one of the workers leads, and every task is done."""

import contextlib
import time

import psycopg2
import pytest

from installation import wait_until
from workers import Worker

LEASE_SECONDS = 3


@pytest.fixture
def start_worker(deployment):
    """Starts workers of the deployment; they end with the test, and have told no secret."""
    made = []
    with contextlib.ExitStack() as stack:
        def start(**extra):
            worker = Worker(deployment.directory, **deployment.environment(WORKER_LEASE_S=LEASE_SECONDS, **extra))
            made.append(stack.enter_context(worker))
            return worker

        yield start
        for worker in made:
            if worker.process.poll() is None:
                worker.freeze(False)
        deployment.primary.sql("DELETE FROM tasks")
    for worker in made:
        for secret in (deployment.cluster.password, deployment.key, deployment.master_key):
            assert secret not in worker.said()


def leaders(workers):
    """The workers that say that they lead."""
    return [worker for worker in workers if worker.process.poll() is None and worker.is_leader()]


def wait_one_leader(workers, seconds=20):
    """The only one that leads, as soon as it does."""
    def only_one():
        found = leaders(workers)
        return found[0] if len(found) == 1 else None

    return wait_until(only_one, "one leader", seconds)


def add(node, name="runs.sum_costs", attempts_max=5):
    """A task; its id."""
    return str(node.sql("INSERT INTO tasks (name, attempts_max) VALUES (%s, %s) RETURNING id", (name, attempts_max))[0][0])


def row(node, task):
    """Attempts, worker and error of a task; None when it is done."""
    found = node.sql("SELECT attempts, claimed_by, last_error, died_at FROM tasks WHERE id = %s", (task,))
    return found[0] if found else None


@contextlib.contextmanager
def locked(node):
    """Whoever sums costs, or searches silent runs, waits until the block ends."""
    with contextlib.closing(psycopg2.connect(node.url)) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE agent_runs IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def process_of(workers, claimed_by):
    """The worker that a claim names: host:process/random."""
    return next(worker for worker in workers if f":{worker.process.pid}/" in claimed_by)


def test_of_two_workers_one_leads_and_the_other_takes_over_when_it_is_killed(start_worker):
    workers = [start_worker(), start_worker()]
    leader = wait_one_leader(workers)
    time.sleep(2)
    assert leaders(workers) == [leader]
    leader.kill()
    began = time.monotonic()
    follower = wait_one_leader(workers, 10)
    assert follower is not leader and time.monotonic() - began < 5


def test_a_frozen_leader_is_followed_and_steps_back_when_it_comes_to(start_worker):
    workers = [start_worker(), start_worker()]
    leader = wait_one_leader(workers)
    follower = next(worker for worker in workers if worker is not leader)
    leader.freeze()
    follower.wait_leader(20)
    leader.freeze(False)
    wait_until(lambda: leaders(workers) == [follower], "one leader again", 10)
    time.sleep(3)
    assert leaders(workers) == [follower]


def test_a_leader_that_is_cut_off_from_the_database_notices_within_two_seconds_and_leads_again_afterwards(deployment, start_worker):
    worker = start_worker()
    worker.wait_leader()
    deployment.proxy_of(deployment.primary).stall()
    wait_until(lambda: not worker.is_leader(), "it knows that it may have been replaced", 4)
    deployment.proxy_of(deployment.primary).pass_through()
    worker.wait_leader(30)


def test_the_task_of_a_killed_worker_is_done_by_another(deployment, start_worker):
    workers = [start_worker(), start_worker()]
    wait_one_leader(workers)
    with locked(deployment.primary):
        task = add(deployment.primary)
        attempts, claimed_by, *_ = wait_until(lambda: (found := row(deployment.primary, task)) and found[1] and found, "it runs", 10)
        assert attempts == 1
        process_of(workers, claimed_by).kill()
        other = wait_until(lambda: (found := row(deployment.primary, task)) and found[0] == 2 and found[1], "somebody else took it", LEASE_SECONDS + 10)
        assert other != claimed_by
    wait_until(lambda: row(deployment.primary, task) is None, "it is done", 20)


def test_a_task_that_kills_its_workers_ends_as_a_dead_letter(deployment, start_worker):
    with locked(deployment.primary):
        task = add(deployment.primary, attempts_max=2)
        for attempt in (1, 2):
            worker = start_worker()
            wait_until(lambda: (found := row(deployment.primary, task)) and found[0] == attempt, "it runs", LEASE_SECONDS + 20)
            worker.kill()
        start_worker()
        wait_until(lambda: (row(deployment.primary, task))[3], "a dead letter", LEASE_SECONDS + 20)
    attempts, claimed_by, error, _ = row(deployment.primary, task)
    assert (attempts, claimed_by) == (2, None) and f":{worker.process.pid}/" in error and "was lost during the last attempt" in error


def test_a_long_task_keeps_its_lease(deployment, start_worker):
    workers = [start_worker(), start_worker()]
    wait_one_leader(workers)
    with locked(deployment.primary):
        task = add(deployment.primary)
        wait_until(lambda: row(deployment.primary, task)[1], "it runs", 10)
        time.sleep(2.5 * LEASE_SECONDS)
        assert row(deployment.primary, task)[0] == 1
    wait_until(lambda: row(deployment.primary, task) is None, "it is done", 20)


def test_a_frozen_worker_does_not_end_what_somebody_else_has_taken(deployment, start_worker):
    workers = [start_worker(), start_worker()]
    wait_one_leader(workers)
    with locked(deployment.primary):
        task = add(deployment.primary)
        claimed_by = wait_until(lambda: row(deployment.primary, task)[1], "it runs", 10)
        frozen = process_of(workers, claimed_by)
        frozen.freeze()
        wait_until(lambda: row(deployment.primary, task)[0] == 2, "somebody else took it", LEASE_SECONDS + 10)
        frozen.freeze(False)
        wait_until(lambda: frozen.metric("celery_tasks_total", task_name="runs.sum_costs", status="lost"), "it knows that it lost it", 20)
        assert row(deployment.primary, task)[0] == 2
    wait_until(lambda: row(deployment.primary, task) is None, "it is done", 20)


def test_background_work_follows_a_failover(deployment, start_worker):
    workers = [start_worker(), start_worker()]
    wait_one_leader(workers)
    deployment.promote(deployment.replicas[0])
    wait_one_leader(workers, 30)
    task = add(deployment.primary)
    wait_until(lambda: row(deployment.primary, task) is None, "a task on the new primary is done", 30)
    # The leader of before may not have known yet that it was none any more.
    leaders = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, 'cognive leader ')"
    wait_until(lambda: deployment.primary.sql(leaders) == [(1,)], "one leads on the new primary", 30)


def test_two_thousand_tasks_are_each_done_although_workers_are_killed_meanwhile(deployment, start_worker):
    deployment.primary.sql("INSERT INTO tasks (name, attempts_max) SELECT 'runs.sum_costs', 1000 FROM generate_series(1, 2000)")

    def left():
        return deployment.primary.sql("SELECT count(*) FROM tasks WHERE name = 'runs.sum_costs' AND key IS NULL")[0][0]

    while (count := left()) > 500:
        victim = start_worker(WORKER_CONCURRENCY=8)
        wait_until(lambda: left() < count - 200, "some are done", 60)
        victim.kill()
    start_worker()
    wait_until(lambda: left() == 0, "all are done", 60)
    assert deployment.primary.sql("SELECT count(*) FROM tasks WHERE died_at IS NOT NULL") == [(0,)]
