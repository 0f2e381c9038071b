"""Background tasks: what fails is tried again and ends as a dead letter that operators see, retry and discard; what is periodic runs once; what is old goes."""

import contextlib
import datetime
import json
import threading
import time
import uuid

import psycopg2
import pytest

from installation import run_cognive, uuid7, wait_until
from time_series import AGENT, RUN, SERIES, TEAM, UNDATED, add_agent, id_of_day, insert_text, today
from workers import Worker

SCHEDULED = {"alerts.dispatch": 15, "budgets.count_wall_clock": 5, "budgets.expire": 5, "idempotency.forget": 3600, "partitions.make_ahead": 3600, "rollups.compact": 15,
             "rollups.verify": 86400, "runs.end_silent": 15, "runs.sum_costs": 15, "stream.forget": 300}


@pytest.fixture
def migrated(database):
    """A database at head, with an agent."""
    database.migrate("upgrade", "head")
    add_agent(database)
    return database


@pytest.fixture
def worker_on():
    """Starts workers on a database; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda database, *flags, **extra: stack.enter_context(
            Worker(database.workplace, *flags, **({"DATABASE_URL": database.url, "RETENTION_DAYS": 0, "WORKER_LEASE_S": 2} | extra)))


def tasks(database, *arguments):
    """The result of a `cognive tasks` command."""
    return run_cognive("tasks", *arguments, env=database.env)


def listed(database, *flags):
    """What `cognive tasks list` finds of tasks that are not periodic."""
    done = tasks(database, "list", "--json", *flags)
    assert done.returncode == 0, done.stderr
    return [task for task in json.loads(done.stdout)["items"] if not (task["key"] or "").startswith("schedule:")]


def add(database, name, **columns):
    """A task of ours, as SQL; its id."""
    columns = {"name": name} | columns
    values = ", ".join("now() + interval '%s'" % value[1:] if str(value).startswith("+") else "'%s'" % value for value in columns.values())
    return str(database.sql(f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({values}) RETURNING id")[0][0])


def state_of(database, task):
    """The state of a task, its attempts so far, its last error; None when it is done."""
    found = json.loads(done.stdout) if (done := tasks(database, "show", task, "--json")).returncode == 0 else None
    return found and (found["state"], found["attempts"], found["last_error"])


@contextlib.contextmanager
def broken(database, table):
    """A table is away until the block ends."""
    database.sql(f"ALTER TABLE {table} RENAME TO away")
    yield
    database.sql(f"ALTER TABLE away RENAME TO {table}")


@contextlib.contextmanager
def locked(database, table):
    """Whoever wants a table waits until the block ends."""
    with contextlib.closing(psycopg2.connect(database.url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


# --- dead letters -----------------------------------------------------------------------------------------------------


def test_a_task_of_a_name_that_nobody_handles_is_tried_again_and_ends_as_a_dead_letter_that_says_which_names_there_are(migrated, worker_on):
    worker = worker_on(migrated)
    task = add(migrated, "no.such", attempts_max=3)
    wait_until(lambda: (state := state_of(migrated, task)) and state[0] == "dead", "a dead letter", 20)
    _, attempts, error = state_of(migrated, task)
    assert attempts == 3
    assert '"no.such"' in error and "runs.end_silent" in error
    again = [line for line in worker.lines("task failed") if line["id"] == task]
    assert [line["attempt"] for line in again] == [1, 2] and all(0 <= line["again_in_ms"] <= 1000 * 2**number for number, line in enumerate(again))
    assert [line["id"] for line in worker.lines("a task has failed for good and is a dead letter now")] == [task]
    assert worker.metric("celery_tasks_total", task_name="unknown", status="failure") == 1
    assert worker.metric("celery_tasks_total", task_name="unknown", status="retry") == 2


def test_a_failed_task_waits_longer_each_time(migrated, worker_on):
    worker_on(migrated)
    add(migrated, "no.such", attempts_max=4)
    began = time.monotonic()
    wait_until(lambda: listed(migrated, "--state", "dead"), "a dead letter", 30)
    assert time.monotonic() - began < 1 + 2 + 4 + 8


def test_a_task_that_fails_for_a_while_is_done_afterwards(migrated, worker_on):
    worker = worker_on(migrated)
    worker.wait_leader()
    with broken(migrated, "agent_runs"):
        task = add(migrated, "runs.sum_costs", attempts_max=20)
        wait_until(lambda: (state := state_of(migrated, task)) and state[2], "a failure", 20)
        assert '"agent_runs" does not exist' in state_of(migrated, task)[2]
    wait_until(lambda: state_of(migrated, task) is None, "the task is done", 60)


def test_a_task_that_has_expired_is_a_dead_letter_that_was_never_begun(migrated, worker_on):
    task = add(migrated, "runs.sum_costs", expires_at="+-1 second")
    later = add(migrated, "runs.sum_costs", due_at="+1 hour", expires_at="+2 hours")
    worker_on(migrated)
    wait_until(lambda: state_of(migrated, task)[0] == "dead", "a dead letter", 20)
    assert state_of(migrated, task) == ("dead", 0, "It expired before it could be run.")
    assert state_of(migrated, later) == ("waiting", 0, None)


def test_a_task_that_takes_longer_than_its_limit_has_failed(migrated, worker_on):
    worker_on(migrated).wait_leader()
    with locked(migrated, "agent_runs"):
        task = add(migrated, "runs.sum_costs", attempts_max=1, time_limit_ms=300)
        wait_until(lambda: state_of(migrated, task)[0] == "dead", "a dead letter", 20)


def test_dead_letters_are_listed_shown_retried_and_discarded(migrated, worker_on):
    worker = worker_on(migrated)
    first, second, other = (add(migrated, name, attempts_max=1, payload='{"day": 1}') for name in ("no.such", "no.such", "nor.this"))
    wait_until(lambda: len(listed(migrated, "--state", "dead")) == 3, "three dead letters", 20)
    assert worker.stop() == 0
    assert {task["id"] for task in listed(migrated, "--state", "dead", "--name", "no.such")} == {first, second}
    assert len(listed(migrated, "--state", "dead", "--limit", "2")) == 2
    assert listed(migrated, "--queue", "elsewhere") == listed(migrated, "--state", "running") == []
    table = tasks(migrated, "list", "--limit", 1)
    assert table.stdout.splitlines()[0].split()[:4] == ["id", "state", "queue", "name"] and "more" in table.stderr
    shown = tasks(migrated, "show", first)
    assert '{"day": 1}' in shown.stdout and "last error" in shown.stdout

    done = tasks(migrated, "retry", first, first.upper())
    assert (done.returncode, done.stdout) == (0, "1 to be tried again\n"), done.stderr
    assert state_of(migrated, first)[:2] == ("waiting", 0)
    done = tasks(migrated, "retry", first, str(uuid.uuid4()))
    assert (done.returncode, done.stdout) == (1, "0 to be tried again\n")
    assert "it is no dead letter, but waiting" in done.stderr and "there is no such task" in done.stderr
    assert tasks(migrated, "discard", first).returncode == 1 and state_of(migrated, first)

    assert tasks(migrated, "retry", "--all", "--name", "nor.this").stdout == "1 to be tried again\n"
    assert tasks(migrated, "discard", "--all").stdout == "1 discarded\n"
    assert state_of(migrated, second) is None and state_of(migrated, other)[0] == "waiting"
    assert "no such task" in tasks(migrated, "show", second).stderr

    worker_on(migrated)
    wait_until(lambda: len(listed(migrated, "--state", "dead")) == 2, "what was retried has failed again", 20)


@pytest.mark.parametrize("arguments, complaint", [(("retry",), "--all"), (("discard", str(uuid.UUID(int=1)), "--all"), "--all"),
                                                  (("retry", "x"), "x is no task's id"), (("show", "x"), "x is no task's id"),
                                                  (("retry", str(uuid.UUID(int=1)), "--name", "a"), "--name goes with --all")])
def test_what_cannot_be_meant_is_refused(migrated, arguments, complaint):
    done = tasks(migrated, *arguments)
    assert (done.returncode, done.stdout) == (1, "") and complaint in done.stderr


def test_a_dead_letter_is_not_retried_beside_a_task_that_does_its_work(migrated, worker_on):
    dead = add(migrated, "no.such", key="k", attempts_max=1)
    worker = worker_on(migrated)
    wait_until(lambda: state_of(migrated, dead)[0] == "dead", "a dead letter", 20)
    assert worker.stop() == 0
    alive = add(migrated, "no.such", key="k", attempts_max=1)
    done = tasks(migrated, "retry", dead)
    assert done.returncode == 1 and "another task with its name and key" in done.stderr
    # Once that one has failed, too, it stands for both.
    worker_on(migrated)
    wait_until(lambda: [task["id"] for task in listed(migrated)] == [alive], "one dead letter", 20)
    assert state_of(migrated, alive)[0] == "dead"


# --- what is periodic -------------------------------------------------------------------------------------------------


def test_what_is_periodic_runs_once_however_many_workers_there_are_and_the_command_shows_it(migrated, worker_on):
    workers = [worker_on(migrated) for _ in range(3)]
    wait_until(lambda: any(worker.is_leader() for worker in workers), "a leader", 20)
    time.sleep(2)
    assert sum(worker.is_leader() for worker in workers) == 1

    def runs():
        return sum(worker.metric("celery_tasks_total", task_name="runs.end_silent", status="success") or 0 for worker in workers)

    before, began = runs(), time.monotonic()
    time.sleep(20)
    assert 1 <= runs() - before <= (time.monotonic() - began) / 15 + 1
    shown = json.loads(tasks(migrated, "schedule", "--json").stdout)
    assert {one["name"]: one["interval_s"] for one in shown["items"]} == SCHEDULED
    leader = next(worker for worker in workers if worker.is_leader())
    assert shown["leader"].endswith(f":{leader.process.pid}")
    for one in shown["items"]:
        last, following = (datetime.datetime.fromisoformat(one[name]) for name in ("last_slot", "next_due_at"))
        assert last.timestamp() % one["interval_s"] == 0 and (following - last).total_seconds() == one["interval_s"]
    table = tasks(migrated, "schedule")
    assert "runs.end_silent" in table.stdout and f"leader: {shown['leader']}" in table.stdout


def test_a_periodic_task_that_hangs_is_not_enqueued_beside_itself(migrated, worker_on):
    worker_on(migrated).wait_leader()
    with locked(migrated, "agent_runs"):
        time.sleep(20)
        assert migrated.sql("SELECT count(*) FROM tasks WHERE name = 'runs.end_silent'") == [(1,)]


def test_what_is_no_longer_periodic_is_forgotten(migrated, worker_on):
    def names():
        return {one["name"] for one in json.loads(tasks(migrated, "schedule", "--json").stdout)["items"]}

    worker = worker_on(migrated, RETENTION_DAYS=10)
    wait_until(lambda: names() == {*SCHEDULED, "budgets.prune", "retention.drop_days", "retention.begin_pruning"}, "the schedule of retention", 20)
    assert worker.stop() == 0
    worker_on(migrated)
    wait_until(lambda: names() == set(SCHEDULED), "it is gone", 20)


def test_a_worker_goes_on_after_its_own_table_was_away(migrated, worker_on):
    worker = worker_on(migrated)
    worker.wait_leader()
    with locked(migrated, "agent_runs"):
        long = add(migrated, "runs.sum_costs")
        wait_until(lambda: state_of(migrated, long)[0] == "running", "it runs", 20)
        with broken(migrated, "tasks"):
            wait_until(lambda: worker.lines("leases of tasks could not be extended"), "it notices", 10)
    short = add(migrated, "runs.sum_costs")
    wait_until(lambda: state_of(migrated, short) is state_of(migrated, long) is None, "both are done", 60)


def test_without_a_leader_the_command_says_what_to_do(migrated):
    done = tasks(migrated, "schedule")
    assert done.returncode == 0 and "start `cognive serve` or `cognive worker`" in done.stderr


# --- workers ----------------------------------------------------------------------------------------------------------


def test_a_worker_takes_from_its_queues_only(migrated, worker_on):
    other = add(migrated, "runs.sum_costs", queue="other")
    usual = add(migrated, "runs.sum_costs")
    worker_on(migrated, "--queues", "other,more")
    wait_until(lambda: state_of(migrated, other) is None, "the task of its queue is done", 20)
    assert state_of(migrated, usual)[0] == "waiting"


def test_a_worker_runs_as_many_at_a_time_as_it_is_told(migrated, worker_on):
    worker_on(migrated, "--concurrency", 2, WORKER_LEASE_S=60).wait_leader()
    with locked(migrated, "agent_runs"):
        for _ in range(5):
            add(migrated, "runs.sum_costs", due_at="+-1 hour")
        wait_until(lambda: len(json.loads(tasks(migrated, "list", "--json", "--state", "running").stdout)["items"]) == 2, "two at a time", 20)
        time.sleep(2)
        assert migrated.sql("SELECT count(*) FROM tasks WHERE claimed_until > now()") == [(2,)]


def test_a_worker_that_is_told_to_stop_finishes_what_is_under_way(migrated, worker_on):
    worker = worker_on(migrated)
    worker.wait_leader()
    with locked(migrated, "agent_runs"):
        task = add(migrated, "runs.sum_costs")
        wait_until(lambda: state_of(migrated, task)[0] == "running", "it runs", 20)
        stopping = threading.Thread(target=worker.stop)
        stopping.start()
        late = add(migrated, "runs.sum_costs")
        time.sleep(2)
        assert state_of(migrated, task)[0] == "running"
    stopping.join()
    assert worker.process.returncode == 0
    assert state_of(migrated, task) is None
    assert state_of(migrated, late) == ("waiting", 0, None)


def test_a_worker_that_has_no_more_time_hands_its_tasks_back_and_that_is_no_attempt(migrated, worker_on):
    worker = worker_on(migrated, SHUTDOWN_TIMEOUT_MS=3000)
    worker.wait_leader()
    with locked(migrated, "agent_runs"):
        task = add(migrated, "runs.sum_costs")
        wait_until(lambda: state_of(migrated, task)[0] == "running", "it runs", 20)
        assert worker.stop() == 0
        assert state_of(migrated, task) == ("waiting", 0, None)


def test_a_worker_refuses_tables_that_are_too_old_and_says_what_to_do(database):
    database.migrate("upgrade", "head")
    database.migrate("downgrade", "-1")
    done = run_cognive("worker", env=database.env | {"COGNIVE_MASTER_KEY": "0" * 32}, timeout=30)
    assert done.returncode == 1 and "cognive migrate upgrade head" in done.stderr


def test_a_server_does_the_work_too_unless_it_is_told_not_to(fresh):
    busy, idle = fresh().start(), fresh(WORKER_IN_SERVER="no").start()
    wait_until(lambda: json.loads(busy.cli("tasks", "schedule", "--json").stdout)["leader"], "a leader", 20)
    assert busy.cli("tasks", "list", "--state", "dead").returncode == 0
    time.sleep(2)
    assert json.loads(idle.cli("tasks", "schedule", "--json").stdout) == {"items": [], "leader": None}


# --- the outbox -------------------------------------------------------------------------------------------------------


def test_messages_are_moved_on_once_their_transaction_and_all_before_it_have_ended(migrated, worker_on):
    worker_on(migrated).wait_leader()

    def left():
        return [topic for (topic,) in migrated.sql("SELECT topic FROM outbox ORDER BY sequence")]

    with contextlib.closing(psycopg2.connect(migrated.url)) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO outbox (topic, payload) VALUES ('first', '{}')")
        migrated.sql("INSERT INTO outbox (topic, payload) SELECT 'second', '{}' FROM generate_series(1, 1200)")
        time.sleep(2)
        assert len(left()) == 1200
        connection.commit()
    wait_until(lambda: left() == [], "the outbox is empty", 20)


# --- retention --------------------------------------------------------------------------------------------------------


def parts_of(database, table):
    """The days that have a partition, before today's."""
    found = database.sql(f"SELECT right(c.relname, 8) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = '{table}'::regclass "
                         "AND c.relname ~ '_[0-9]{8}$'")
    days = [(datetime.datetime.strptime(day, "%Y%m%d").date() - today()).days for (day,) in found]
    return sorted(day for day in days if day < -1)


def let_arrive(database, table, ids, days):
    """Let rows have arrived on a day relative to today; runs are ended."""
    columns = ["created_at", "last_seen_at", "ended_at"] if table == "agent_runs" else ["arrived_at"]
    status = ", status = 'succeeded'" if table == "agent_runs" else ""
    setting = ", ".join(f"{column} = now() + interval '{days} days'" for column in columns)
    id_list = ", ".join(f"'{each}'" for each in ids)
    database.sql(f"UPDATE {table} SET {setting}{status} WHERE id IN ({id_list})")


def ids_in(database, table):
    """The ids of a table."""
    return {str(each) for (each,) in database.sql(f"SELECT id FROM {table}")}


@pytest.fixture
def aged(migrated):
    """Rows of many days and ages, with the partitions of their days; what must stay after ten days, by table."""
    days = (-40, -20, -15, -12, -11, -10, -5)
    for day in days:
        migrated.sql(f"SELECT make_day_partitions(current_date + ({day}), current_date + ({day}))")
    kept = {}
    for table in SERIES:
        of_day = {day: id_of_day(day) for day in days}
        late = id_of_day(-20)  # an old day, but it has arrived lately
        undated_old, undated_new = str(uuid.uuid4()), str(uuid.uuid4())
        stray_old, stray_new = id_of_day(-400), id_of_day(-400)
        migrated.sql(insert_text(table, [*of_day.values(), late, undated_old, undated_new, stray_old, stray_new]))
        for day, each in of_day.items():
            let_arrive(migrated, table, [each], day)
        let_arrive(migrated, table, [late, undated_new, stray_new], -3)
        let_arrive(migrated, table, [undated_old, stray_old], -11)
        kept[table] = {of_day[day] for day in (-20, -11, -10, -5)} | {late, undated_new, stray_new}
    active = id_of_day(-15)
    migrated.sql(insert_text("agent_runs", [active]))
    migrated.sql(f"UPDATE agent_runs SET created_at = now() - interval '15 days' WHERE id = '{active}'")
    kept["agent_runs"] |= {active} | {str(each) for (each,) in migrated.sql(
        f"SELECT id FROM agent_runs WHERE bucket = current_date - 15 AND id <> '{active}'")}
    return kept


def test_days_are_dropped_by_arrival_and_what_has_no_day_is_pruned(migrated, aged, worker_on):
    call = next(iter(migrated.sql("SELECT id, bucket FROM llm_calls WHERE bucket = current_date - 40")))
    undated = migrated.sql(f"SELECT id, bucket FROM llm_calls WHERE bucket = '{UNDATED}' ORDER BY arrived_at")
    young = next(iter(migrated.sql("SELECT id, bucket FROM llm_calls WHERE bucket = current_date - 5")))
    for number, (each, bucket) in enumerate([call, *undated, young], 1):
        migrated.sql("INSERT INTO charge_adjustments (bucket, run_id, call_id, sequence, repricing_id, team_id, timestamp, old_price_status, new_price_status) "
                     f"VALUES ('{bucket}', '{RUN}', '{each}', 1, '{uuid7()}', '{TEAM}', now(), 'priced', 'priced')")
    worker = worker_on(migrated, RETENTION_DAYS=10)
    for table in SERIES:
        wait_until(lambda: ids_in(migrated, table) == aged[table], f"the old rows of {table} are gone", 30)
    assert parts_of(migrated, "agent_runs") == [-20, -15, -11, -10, -5]
    for table in SERIES[1:]:
        assert parts_of(migrated, table) == [-20, -11, -10, -5]
    assert {str(each) for (each,) in migrated.sql("SELECT call_id FROM charge_adjustments")} == {str(undated[1][0]), str(young[0])}
    dropped = worker.lines("dropped a day of old rows")
    assert {(line["table"], line["rows"]) for line in dropped if line["day"] == str(today() - datetime.timedelta(days=40))} == {(table, 1) for table in SERIES}
    assert sum(line["rows"] for line in worker.lines("deleted old rows")) == 2 * len(SERIES)
    assert listed(migrated) == []


def test_nothing_is_dropped_without_a_limit(migrated, aged, worker_on):
    before = {table: ids_in(migrated, table) for table in SERIES}
    worker = worker_on(migrated, RETENTION_DAYS=0)
    worker.wait_leader()
    wait_until(lambda: worker.metric("celery_tasks_total", task_name="partitions.make_ahead", status="success"), "the periodic tasks ran", 20)
    time.sleep(3)
    assert {table: ids_in(migrated, table) for table in SERIES} == before
    assert not [one for one in json.loads(tasks(migrated, "schedule", "--json").stdout)["items"] if one["name"].startswith("retention")]


def test_a_day_in_use_is_dropped_later(migrated, aged, worker_on):
    with contextlib.closing(psycopg2.connect(migrated.url)) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM llm_calls")
        worker = worker_on(migrated, RETENTION_DAYS=10)
        wait_until(lambda: worker.lines("task failed"), "it was tried in vain", 60)
        assert "an old day could not be dropped yet" in worker.lines("task failed")[0]["reason"]
        assert parts_of(migrated, "execution_steps") == [-20, -11, -10, -5] and -40 in parts_of(migrated, "llm_calls")
    wait_until(lambda: parts_of(migrated, "llm_calls") == [-20, -11, -10, -5], "it is dropped", 60)


def test_many_undated_rows_are_pruned_in_steps(migrated, worker_on):
    migrated.sql("INSERT INTO llm_calls (bucket, run_id, id, team_id, agent_id, environment, timestamp, model, status, price_status, content_hash, arrived_at) "
                 f"SELECT '{UNDATED}', gen_random_uuid(), gen_random_uuid(), '{TEAM}', '{AGENT}', 'test', now(), 'm', 'succeeded', 'priced', 7, "
                 "now() - CASE WHEN n % 3 = 0 THEN interval '1 day' ELSE interval '11 days' END FROM generate_series(1, 90000) n")
    worker_on(migrated, RETENTION_DAYS=10)
    wait_until(lambda: migrated.sql("SELECT count(*) FROM llm_calls") == [(30000,)], "the old ones are gone", 60)
