"""Retention on hypertables: chunks are dropped by the same rule as partitions, and what has no day is pruned.

The one session of this server is not enough for a worker, so its statements are run here.
"""

import datetime
import uuid

import pytest

from installation import uuid7
from time_series import RUN, SERIES, TEAM, UNDATED, add_agent, id_of_day, insert_text, today

LIMIT_DAYS = 10


@pytest.fixture
def migrated(hyper_database):
    """The database at head, with an agent."""
    hyper_database.migrate("upgrade", "head")
    add_agent(hyper_database)
    return hyper_database


def text_of(queries, name):
    """One of the product's queries."""
    return next(statement for found in queries.values() for query, statement in found if query == name)


def run(database, queries, name, *values):
    """The rows of one of the product's queries."""
    listed = ", ".join(f"'{value}'" for value in values)
    return database.sql(f"PREPARE retained AS {text_of(queries, name)}; EXECUTE retained ({listed})")


def parts(database, queries):
    """The parts that retention looks at: days by table, and what has no day."""
    found = run(database, queries, "retention_parts", LIMIT_DAYS)
    return ({table: [(day - today()).days for series, day, _ in found if series == table and day] for table in SERIES},
            {(series, place) for series, day, place in found if day is None})


def retain(database, queries):
    """What the tasks do: the days that were dropped, by table, and how many rows were pruned."""
    days, undated = parts(database, queries)
    dropped = {table: [] for table in SERIES}
    for table, offsets in days.items():
        for offset in offsets:
            ((rows,),) = run(database, queries, "retention_drop_day", table, today() + datetime.timedelta(days=offset), LIMIT_DAYS)
            if rows is not None:
                dropped[table].append((offset, rows))
    pruned = 0
    for table, place in undated:
        ((deleted, more),) = run(database, queries, "retention_prune", table, place, 0, 1000, LIMIT_DAYS)
        assert more is False
        pruned += deleted
    return dropped, pruned


def let_arrive(database, table, ids, days):
    """Let rows have arrived on a day relative to today; runs are ended."""
    columns = ["created_at", "last_seen_at", "ended_at"] if table == "agent_runs" else ["arrived_at"]
    status = ", status = 'succeeded'" if table == "agent_runs" else ""
    setting = ", ".join(f"{column} = now() + interval '{days} days'" for column in columns)
    id_list = ", ".join(f"'{each}'" for each in ids)
    database.sql(f"UPDATE {table} SET {setting}{status} WHERE id IN ({id_list})")


def fill(database):
    """Rows of several days and ages; those that stay, by table."""
    kept = {}
    for table in SERIES:
        ids = {day: id_of_day(day) for day in (-20, -12, -11, -5)}
        late, old, new = id_of_day(-20 - LIMIT_DAYS), str(uuid.uuid4()), str(uuid.uuid4())
        database.sql(insert_text(table, [*ids.values(), late, old, new]))
        for day, each in ids.items():
            let_arrive(database, table, [each], day)
        let_arrive(database, table, [late, new], -3)
        let_arrive(database, table, [old], -LIMIT_DAYS - 1)
        kept[table] = {ids[-11], ids[-5], late, new}
    return kept


def ids_in(database, table):
    """The ids of a table."""
    return {str(each) for (each,) in database.sql(f"SELECT id FROM {table}")}


def test_chunks_are_dropped_by_arrival_and_the_undated_are_pruned(migrated, queries):
    kept = fill(migrated)
    call, day = migrated.sql("SELECT id, bucket FROM llm_calls WHERE bucket = current_date - 20")[0]
    migrated.sql("INSERT INTO charge_adjustments (bucket, run_id, call_id, sequence, repricing_id, team_id, timestamp, old_price_status, new_price_status) "
                 f"VALUES ('{day}', '{RUN}', '{call}', 1, '{uuid7()}', '{TEAM}', now(), 'priced', 'priced')")
    assert parts(migrated, queries)[0] == {table: [-30, -20, -12] for table in SERIES}
    dropped, pruned = retain(migrated, queries)
    assert dropped == {table: [(-20, 1), (-12, 1)] for table in SERIES}
    assert pruned == len(SERIES)
    for table in SERIES:
        assert ids_in(migrated, table) == kept[table]
    assert migrated.sql("SELECT count(*) FROM charge_adjustments") == [(0,)]
    assert parts(migrated, queries)[0] == {table: [-30] for table in SERIES}
    assert migrated.sql(f"SELECT count(*) FROM llm_calls WHERE bucket = '{UNDATED}'") == [(1,)]
    assert "as the model says" in migrated.migrate("check")


def test_compressed_chunks_are_dropped_as_well(migrated, queries):
    fill(migrated)
    migrated.sql("SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass) FROM timescaledb_information.chunks "
                 "WHERE range_end <= current_date - 10")
    dropped, _ = retain(migrated, queries)
    assert dropped == {table: [(-20, 1), (-12, 1)] for table in SERIES}


def test_an_active_run_keeps_its_day(migrated, queries):
    run_id = id_of_day(-20)
    migrated.sql(insert_text("agent_runs", [run_id]))
    migrated.sql("UPDATE agent_runs SET created_at = now() - interval '20 days'")
    assert retain(migrated, queries)[0]["agent_runs"] == []
    assert ids_in(migrated, "agent_runs") == {run_id}
