"""The time series' own partitions of PostgreSQL: every row is in that of its day, whoever makes them, whenever, and however many."""

import contextlib
import datetime
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from installation import wait_until
from time_series import (AGENT, PLAIN, SERIES, UNDATED, add_agent, all_rows, bucket_of, buckets, columns, id_of_day, ids_of_all_kinds, insert_text, rules, store,
                         today, values_of)

LOCK_TIMEOUT_SECONDS = 2  # of make_day_partitions
PATIENCE_SECONDS = 20


@pytest.fixture
def migrated(database):
    """A database at head, with an agent."""
    database.migrate("upgrade", "head")
    add_agent(database)
    return database


def day(offset):
    """A day relative to today."""
    return today() + datetime.timedelta(days=offset)


def name_of(table, bucket):
    """The partition of a day."""
    return f"{table}_{bucket:%Y%m%d}"


def make(database, first, last):
    """Call make_day_partitions for days relative to today; how many it made."""
    return database.sql(f"SELECT make_day_partitions('{day(first)}', '{day(last)}')")[0][0]


def partitions(database, table):
    """The partitions of a table and their bounds."""
    return dict(database.sql("SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                             f"WHERE i.inhparent = '{table}'::regclass"))


def expected_partitions(table, offsets):
    """The partitions of some days, with the two that are always there."""
    return {f"{table}_undated": "FOR VALUES FROM ('9999-12-31') TO (MAXVALUE)", f"{table}_stray": "DEFAULT"} | {
        name_of(table, day(each)): f"FOR VALUES FROM ('{day(each)}') TO ('{day(each + 1)}')" for each in offsets}


def places(database, table):
    """The partition that each id is in."""
    found = database.sql(f"SELECT id::text, tableoid::regclass::text FROM {table}")
    assert len(found) == len(dict(found)), "an id twice"
    return dict(found)


def blocked(database):
    """The processes of a database that wait for a lock."""
    return database.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@contextlib.contextmanager
def holding(database, statement):
    """A transaction that has run a statement and stays open."""
    with contextlib.closing(psycopg2.connect(database.url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        yield connection
        connection.rollback()


# --- where rows go ----------------------------------------------------------------------------------------------------


def test_the_upgrade_makes_yesterday_a_week_ahead_the_undated_and_the_strays(migrated):
    for table in SERIES:
        assert partitions(migrated, table) == expected_partitions(table, range(-1, 8))
        assert migrated.sql(f"SELECT pg_get_partkeydef('{table}'::regclass)") == [("RANGE (bucket)",)]
    assert make(migrated, -1, 7) == 0


def test_a_row_is_in_the_partition_of_its_day(migrated):
    def place(table, bucket):
        if bucket == UNDATED:
            return f"{table}_undated"
        return name_of(table, bucket) if day(-1) <= bucket <= day(7) else f"{table}_stray"

    for table in SERIES:
        kinds = {each: bucket for each, _, bucket in ids_of_all_kinds()}
        migrated.sql(insert_text(table, list(kinds)))
        assert places(migrated, table) == {each: place(table, bucket) for each, bucket in kinds.items()}


def test_a_new_partition_has_the_keys_checks_and_indexes_of_its_table(migrated):
    assert make(migrated, 8, 8) == len(SERIES)

    def about(relation):
        indexes = [(text.split(" USING ")[1], unique, valid) for text, unique, valid in migrated.sql(
            f"SELECT pg_get_indexdef(indexrelid), indisunique, indisvalid FROM pg_index WHERE indrelid = '{relation}'::regclass")]
        constraints = migrated.sql("SELECT contype, pg_get_constraintdef(oid), convalidated FROM pg_constraint "
                                   f"WHERE conrelid = '{relation}'::regclass ORDER BY 1, 2")
        fields = migrated.sql("SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) FROM pg_attribute "
                              f"LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = '{relation}'::regclass AND attnum > 0 "
                              "AND NOT attisdropped ORDER BY attnum")
        return sorted(indexes), constraints, fields

    for table in SERIES:
        for each in (name_of(table, day(8)), name_of(table, day(0)), f"{table}_stray", f"{table}_undated"):
            assert about(each) == about(table), each
        assert len(about(table)[0]) == {"agent_runs": 13, "llm_calls": 2}.get(table, 1)
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        migrated.sql(insert_text("agent_runs", [id_of_day(8)]).replace(AGENT, str(uuid.uuid4())))
    with pytest.raises(psycopg2.errors.CheckViolation, match="agent_runs_status_check"):
        migrated.sql(insert_text("agent_runs", [id_of_day(8)]).replace("'running'", "'resting'"))


# --- strays -----------------------------------------------------------------------------------------------------------


def test_strays_are_moved_when_their_day_is_made_and_nothing_is_lost_or_doubled(migrated):
    ids = {table: [id_of_day(offset) for offset in (20, 20, 20, 21, -30, 0)] for table in SERIES}
    for table in SERIES:
        migrated.sql(insert_text(table, ids[table]))
        assert sorted(places(migrated, table).values()) == sorted([f"{table}_stray"] * 5 + [name_of(table, day(0))])
    before = all_rows(migrated)
    assert make(migrated, 20, 20) == len(SERIES)
    assert all_rows(migrated) == before
    for table in SERIES:
        assert places(migrated, table) == dict(zip(ids[table], [name_of(table, day(20))] * 3 + [f"{table}_stray"] * 2 + [name_of(table, day(0))]))
        with pytest.raises(psycopg2.errors.UniqueViolation):
            migrated.sql(insert_text(table, ids[table][:1]))
    assert make(migrated, -30, -30) == len(SERIES)
    assert all_rows(migrated) == before
    assert make(migrated, 20, 20) == make(migrated, -30, -30) == 0


def test_a_repeat_of_a_stray_is_found_before_and_after_its_day_is_made(migrated, queries):
    stray = values_of("llm_calls", id_of_day(20))

    def repeat():
        return store(migrated, queries, "event_insert_llm_calls", [stray | {"content_hash": 8}])

    assert len(store(migrated, queries, "event_insert_llm_calls", [stray])) == 1
    assert repeat() == []
    make(migrated, 20, 20)
    assert repeat() == []
    assert len(places(migrated, "llm_calls")) == 1


# --- at the same time -------------------------------------------------------------------------------------------------


def test_ten_callers_at_once_all_succeed_and_each_partition_exists_once(migrated):
    migrated.sql(insert_text("llm_calls", [id_of_day(offset) for offset in range(8, 14) for _ in range(5)]))
    before = all_rows(migrated)
    together = threading.Barrier(10)

    def call(_):
        together.wait()
        return make(migrated, 8, 14)

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(call, range(10)))
    # One made them, and the others waited for it.
    assert sorted(made) == [0] * 9 + [7 * len(SERIES)]
    for table in SERIES:
        assert partitions(migrated, table) == expected_partitions(table, range(-1, 15))
    assert all_rows(migrated) == before
    assert "llm_calls_stray" not in places(migrated, "llm_calls").values()


class Writer(threading.Thread):
    """Inserts rows of some days, one by one and each with a repeat, until it is told to stop.

    A row that was on its way to the strays when its day was made is refused by them, and goes in when it is sent again: that
    much a writer has to know, and the server does it for its clients (tests/api/day_partitions_test.py).
    """

    def __init__(self, database, table, offsets, stop):
        super().__init__()
        self.database, self.table, self.offsets, self.stop = database, table, offsets, stop
        self.written, self.sent_again, self.fault = [], 0, None

    def insert(self, cursor, statement):
        """The number of rows that went in."""
        for last in (False, True):
            try:
                cursor.execute(statement)
                return cursor.rowcount
            except psycopg2.errors.CheckViolation as error:
                if last or error.diag.constraint_name or error.diag.table_name != f"{self.table}_stray":
                    raise
                self.sent_again += 1

    def run(self):
        """Insert; the first failure ends it."""
        try:
            with contextlib.closing(psycopg2.connect(self.database.url)) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                while not self.stop.is_set():
                    each = id_of_day(self.offsets[len(self.written) % len(self.offsets)])
                    statement = insert_text(self.table, [each]) + " ON CONFLICT DO NOTHING"
                    assert self.insert(cursor, statement) == 1, "taken for a repeat"
                    assert self.insert(cursor, statement) == 0, "a repeat was taken"
                    self.written.append(each)
        except Exception as error:
            self.fault = error


def test_while_the_days_are_made_that_rows_are_written_for_every_insert_goes_in_and_none_is_lost(migrated):
    stop = threading.Event()
    offsets = list(range(8, 20))
    writers = [Writer(migrated, table, offsets, stop) for table in SERIES]
    for writer in writers:
        writer.start()
    try:
        for last in offsets:
            # Rows of the day are on their way when it is made.
            goal = {writer: len(writer.written) + 2 * len(offsets) for writer in writers}
            wait_until(lambda: all(writer.fault or len(writer.written) >= goal[writer] for writer in writers), "the writers go on", PATIENCE_SECONDS)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                # As the server does: a lock that was not to be had is asked for again.
                with contextlib.suppress(psycopg2.errors.LockNotAvailable):
                    assert make(migrated, -1, last) == len(SERIES)
                    break
                assert time.monotonic() < deadline
    finally:
        stop.set()
        for writer in writers:
            writer.join(PATIENCE_SECONDS)
    for writer in writers:
        assert writer.fault is None
        found = places(migrated, writer.table)
        assert found == {each: name_of(writer.table, bucket_of(each)) for each in writer.written}
        assert partitions(migrated, writer.table) == expected_partitions(writer.table, range(-1, 20))


def test_a_long_transaction_on_the_strays_makes_it_give_up_soon_and_writers_go_on(migrated):
    migrated.sql(insert_text("llm_calls", [id_of_day(20)]))
    with holding(migrated, insert_text("llm_calls", [id_of_day(20)])) as long:
        with ThreadPoolExecutor(2) as pool:
            started = time.monotonic()
            making = pool.submit(make, migrated, 20, 20)
            wait_until(lambda: blocked(migrated), "it waits for the strays", PATIENCE_SECONDS)
            # Rows of days that have a partition never wait for it, and others at most as long as it waits itself.
            migrated.sql(f"SET lock_timeout = '200ms'; {insert_text('llm_calls', [id_of_day(0), str(uuid.uuid4())])}")
            stray = pool.submit(migrated.sql, insert_text("llm_calls", [id_of_day(21)]))
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                making.result(PATIENCE_SECONDS)
            assert LOCK_TIMEOUT_SECONDS - 0.1 < time.monotonic() - started < PATIENCE_SECONDS / 2
            stray.result(PATIENCE_SECONDS)
        assert name_of("llm_calls", day(20)) not in partitions(migrated, "llm_calls")
        assert make(migrated, -1, 7) == 0  # nothing to lock
        long.commit()
    before = all_rows(migrated)
    assert make(migrated, 20, 20) == len(SERIES)
    assert all_rows(migrated) == before
    assert sorted(places(migrated, "llm_calls").values()) == sorted(
        [name_of("llm_calls", day(20))] * 2 + [name_of("llm_calls", day(0)), "llm_calls_undated", "llm_calls_stray"])


def test_a_long_report_does_not_keep_a_day_from_being_made_for_ever(migrated):
    # A reader of the whole table holds the strays as well; it makes the caller give up, and is not disturbed.
    migrated.sql(insert_text("llm_calls", [id_of_day(0)]))
    with holding(migrated, "SELECT count(*) FROM llm_calls") as reader:
        with pytest.raises(psycopg2.errors.LockNotAvailable):
            make(migrated, 8, 8)
        migrated.sql(insert_text("llm_calls", [id_of_day(0), id_of_day(8)]))
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM llm_calls")
            assert cursor.fetchone() == (3,)
    assert make(migrated, 8, 8) == len(SERIES)


def test_a_caller_that_breaks_off_leaves_nothing_behind(migrated):
    migrated.sql(insert_text("llm_calls", [id_of_day(20)]))
    before = all_rows(migrated)
    with contextlib.closing(psycopg2.connect(migrated.url)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT make_day_partitions('{day(20)}', '{day(20)}')")
        assert cursor.fetchone() == (len(SERIES),)
    assert all_rows(migrated) == before
    assert partitions(migrated, "llm_calls") == expected_partitions("llm_calls", range(-1, 8))
    assert make(migrated, 20, 20) == len(SERIES)
    assert all_rows(migrated) == before


# --- the model, there and back, copies ----------------------------------------------------------------------------------


def test_many_partitions_differ_in_nothing_from_the_model(migrated, migrations):
    assert make(migrated, -20, 40) == 52 * len(SERIES)
    assert "as the model says" in migrated.migrate("check")
    before = sorted(path.name for path in migrations.iterdir())
    done = migrated.run("revision", "--autogenerate", "-m", "nothing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing to do: the database is as the model says\n")
    assert sorted(path.name for path in migrations.iterdir()) == before


LOSSES = ("DROP INDEX llm_calls_timestamp_idx", "ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_status_check",
          "ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_agent_id_fkey", "ALTER TABLE llm_calls DROP COLUMN usage",
          "ALTER TABLE llm_calls ALTER COLUMN model DROP NOT NULL", "ALTER TABLE llm_calls ALTER COLUMN arrived_at DROP DEFAULT",
          "COMMENT ON COLUMN llm_calls.duration_ms IS 'x'")


def test_what_partitioned_tables_lack_is_generated_and_applied_and_new_days_have_it(migrated, migrations):
    for table in ("llm_calls", "agent_runs"):
        migrated.sql(insert_text(table, [id_of_day(offset) for offset in (-20, 0, 20)]))
    for loss in LOSSES:
        migrated.sql(loss)
    assert "not as the model says" in migrated.migrate("check", status=1)
    assert migrated.migrate("revision", "--autogenerate", "-m", "as the model says")
    migrated.migrate("upgrade", "head")
    assert "as the model says" in migrated.migrate("check")
    # A day that is made from the table's columns must fit also when one of them came later, as must the strays that are moved.
    before = all_rows(migrated)
    assert make(migrated, 20, 20) == len(SERIES)
    assert all_rows(migrated) == before
    assert "as the model says" in migrated.migrate("check")


def test_rows_survive_both_ways_and_have_the_buckets_of_where_they_are(database):
    database.migrate("upgrade", PLAIN)
    add_agent(database)
    plain_tables = (columns(database), rules(database))
    kinds = ids_of_all_kinds()
    for table in SERIES:
        database.sql(insert_text(table, [each for each, _, _ in kinds], [before for _, before, _ in kinds]))
    plain, rows = all_rows(database), all_rows(database, but_bucket=True)
    database.migrate("upgrade", "head")
    parted = all_rows(database)
    made = {}
    for table in SERIES:
        assert buckets(database, table) == {each: since for each, _, since in kinds}
        # Of the past 90 days too there is a partition of each that has rows.
        assert places(database, table) == {each: f"{table}_undated" if since == UNDATED else name_of(table, since) if day(-90) <= since <= day(7)
                                           else f"{table}_stray" for each, _, since in kinds}
        made[table] = partitions(database, table)
    assert all_rows(database, but_bucket=True) == rows
    database.migrate("downgrade", PLAIN)
    assert all_rows(database) == plain
    assert (columns(database), rules(database)) == plain_tables
    assert database.sql("SELECT count(*) FROM pg_inherits") == [(0,)]
    database.migrate("upgrade", "head")
    assert all_rows(database) == parted
    assert {table: partitions(database, table) for table in SERIES} == made
    assert "as the model says" in database.migrate("check")


def test_a_copy_by_pg_dump_is_the_same_database(migrated, new_database):
    make(migrated, 8, 20)
    for table in SERIES:
        migrated.sql(insert_text(table, [each for each, _, _ in ids_of_all_kinds()]))
    copy = new_database()
    copy.load(migrated.dump())
    assert all_rows(copy) == all_rows(migrated)
    for table in SERIES:
        assert partitions(copy, table) == partitions(migrated, table)
        assert places(copy, table) == places(migrated, table)
    assert (columns(copy), rules(copy)) == (columns(migrated), rules(migrated))
    assert "as the model says" in copy.migrate("check")
    before = all_rows(copy)
    # The strays of day 20 of the original were moved when it was made; those of the past are moved here.
    assert make(copy, -40, -40) == len(SERIES)
    assert all_rows(copy) == before
    assert copy.migrate("current") == migrated.migrate("current")
    copy.migrate("downgrade", PLAIN)
    copy.migrate("upgrade", "head")
    assert all_rows(copy) == before
