"""Where TimescaleDB is created in the database, the time series are hypertables that it compresses after a week."""

import datetime
import re
import uuid

import pytest

from named_queries import faults_of_preparing
from revisions_test import write
from timescaledb import Timescaledb
from time_series import (AGENT, PLAIN, RUN, SERIES, TEAM, UNDATED, add_agent, all_rows, buckets, columns, id_of_day, ids_of_all_kinds, insert_text, rules, store,
                         today, values_of)

INSERTS = {"agent_runs": "event_insert_placeholders", "execution_steps": "event_insert_steps", "llm_calls": "event_insert_llm_calls",
           "tool_invocations": "event_insert_tool_invocations"}


@pytest.fixture
def migrated(hyper_database):
    """The database at head, with an agent."""
    hyper_database.migrate("upgrade", "head")
    add_agent(hyper_database)
    return hyper_database


def hypertables(database):
    """The names of the hypertables."""
    return [name for (name,) in database.sql("SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1")]


def partitioned(database):
    """The names of the tables with native partitions."""
    return [name for (name,) in database.sql("SELECT partrelid::regclass::text FROM pg_partitioned_table ORDER BY 1")]


def compressed(database, table):
    """Whether the chunk of each day is compressed."""
    return {start.date() if start.year < 9999 else UNDATED: flag
            for start, flag in database.sql(f"SELECT range_start, is_compressed FROM timescaledb_information.chunks WHERE hypertable_name = '{table}'")}


def compress(database, table, day):
    """Compress the chunk of a day, which must be there."""
    done = database.sql(f"SELECT compress_chunk(format('%I.%I', chunk_schema, chunk_name)::regclass) FROM timescaledb_information.chunks "
                        f"WHERE hypertable_name = '{table}' AND range_start = '{day}'")
    assert len(done) == 1 and compressed(database, table)[day] is True


def count(database, table):
    """The number of rows."""
    return database.sql(f"SELECT count(*) FROM {table}")[0][0]


# --- the tables -------------------------------------------------------------------------------------------------------


def test_the_upgrade_makes_hypertables_of_days_compressed_by_agent_after_a_week(migrated):
    assert migrated.sql("SELECT hypertable_name, dimension_number, column_name, time_interval FROM timescaledb_information.dimensions "
                        "WHERE hypertable_schema = 'public' ORDER BY 1, 2") == [(name, 1, "bucket", datetime.timedelta(days=1)) for name in SERIES]
    assert partitioned(migrated) == []
    assert migrated.sql("SELECT hypertable::text, segmentby, orderby FROM timescaledb_information.hypertable_compression_settings ORDER BY 1") == [
        (name, "agent_id", "id,bucket" if name == "agent_runs" else "run_id,id,bucket") for name in SERIES]
    assert migrated.sql("SELECT hypertable_name, config->>'compress_after', scheduled FROM timescaledb_information.jobs "
                        "WHERE proc_name = 'policy_compression' ORDER BY 1") == [(name, "7 days", True) for name in SERIES]
    # The server calls this every hour, wherever it is.
    assert migrated.sql("SELECT make_day_partitions(current_date - 1, current_date + 7)") == [(0,)]


def test_hypertables_differ_in_nothing_from_the_model(migrated, migrations):
    for table in SERIES:
        migrated.sql(insert_text(table, [id_of_day(day) for day in (-20, -8, 0, 1)]))
        compress(migrated, table, today() - datetime.timedelta(days=20))
    before = sorted(path.name for path in migrations.iterdir())
    assert "as the model says" in migrated.migrate("check")
    done = migrated.run("revision", "--autogenerate", "-m", "nothing")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing to do: the database is as the model says\n")
    assert sorted(path.name for path in migrations.iterdir()) == before


def test_every_query_can_be_prepared_on_hypertables(migrated, queries):
    assert faults_of_preparing(migrated, queries) == []


def test_a_new_chunk_has_the_keys_and_indexes_of_its_table(migrated):
    migrated.sql(insert_text("agent_runs", [id_of_day(0)]) + ";" + insert_text("llm_calls", [id_of_day(0)]))
    for table in ("agent_runs", "llm_calls"):
        expected = {name for (name,) in migrated.sql(f"SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename = '{table}'")}
        assert f"{table}_pkey" in expected
        found = migrated.sql(f"SELECT indexname FROM pg_indexes i JOIN timescaledb_information.chunks c ON c.chunk_schema = i.schemaname "
                             f"AND c.chunk_name = i.tablename WHERE c.hypertable_name = '{table}'")
        # Named after the chunk, by number.
        assert {re.sub(r"^(_hyper_\d+_\d+_chunk_|\d+_\d+_)", "", name) for (name,) in found} == expected
    with pytest.raises(Exception, match="agent_runs_agent_id_fkey"):
        migrated.sql(insert_text("agent_runs", [id_of_day(0)]).replace("0191f8a0-0000-7000-8000-00000000a9e7", "0191f8a0-0000-7000-8000-00000000dead"))


def test_the_extension_may_be_in_a_schema_of_its_own(tmp_path, database_at):
    with Timescaledb(tmp_path, schema="extensions") as server:
        database = database_at(server.url)
        database.migrate("upgrade", "head")
        assert hypertables(database) == list(SERIES)
        assert "as the model says" in database.migrate("check")
        database.migrate("downgrade", PLAIN)


# --- there and back ---------------------------------------------------------------------------------------------------


def test_the_way_back_gives_the_same_plain_tables_and_forward_again_the_same_hypertables(hyper_database):
    hyper_database.migrate("upgrade", PLAIN)
    plain = (columns(hyper_database), rules(hyper_database))
    hyper_database.migrate("upgrade", "head")
    parted = (columns(hyper_database), rules(hyper_database))
    for _ in range(2):
        hyper_database.migrate("downgrade", PLAIN)
        assert hypertables(hyper_database) == partitioned(hyper_database) == []
        assert (columns(hyper_database), rules(hyper_database)) == plain
        assert hyper_database.sql("SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression'") == [(0,)]
        assert hyper_database.sql("SELECT to_regproc('make_day_partitions')") == [(None,)]
        hyper_database.migrate("upgrade", "head")
        assert hypertables(hyper_database) == list(SERIES)
        assert (columns(hyper_database), rules(hyper_database)) == parted
        assert "as the model says" in hyper_database.migrate("check")


def test_rows_survive_both_ways_and_have_the_buckets_of_where_they_are(hyper_database):
    hyper_database.migrate("upgrade", PLAIN)
    add_agent(hyper_database)
    kinds = ids_of_all_kinds()
    for table in SERIES:
        hyper_database.sql(insert_text(table, [each for each, _, _ in kinds], [before for _, before, _ in kinds]))
    plain = all_rows(hyper_database)
    rows = all_rows(hyper_database, but_bucket=True)
    hyper_database.migrate("upgrade", "head")
    for table in SERIES:
        assert buckets(hyper_database, table) == {each: since for each, _, since in kinds}
        # Also where compressed, which the way back must undo.
        compress(hyper_database, table, today() - datetime.timedelta(days=40))
    assert all_rows(hyper_database, but_bucket=True) == rows
    hyper_database.migrate("downgrade", PLAIN)
    assert all_rows(hyper_database) == plain
    hyper_database.migrate("upgrade", "head")
    assert all_rows(hyper_database, but_bucket=True) == rows
    assert buckets(hyper_database, "llm_calls") == {each: since for each, _, since in kinds}


# --- repeats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", SERIES)
def test_a_repeat_is_found_whatever_its_day(migrated, queries, table):
    ids = [each for each, _, _ in ids_of_all_kinds()]
    store(migrated, queries, INSERTS[table], [values_of(table, each) for each in ids])
    assert count(migrated, table) == len(ids)
    before = all_rows(migrated)
    repeats = [values_of(table, each) | {"environment": "other", "content_hash": 8} for each in ids]
    assert store(migrated, queries, INSERTS[table], repeats) == []
    assert all_rows(migrated) == before


@pytest.mark.parametrize("table", SERIES)
def test_in_a_compressed_chunk_a_repeat_is_found_and_a_new_row_is_taken(migrated, queries, table):
    old, late = id_of_day(-20), id_of_day(-20)
    store(migrated, queries, INSERTS[table], [values_of(table, old)])
    before = all_rows(migrated)
    compress(migrated, table, today() - datetime.timedelta(days=20))
    repeat = values_of(table, old) | {"environment": "other", "content_hash": 8}
    assert store(migrated, queries, INSERTS[table], [repeat]) == []
    assert all_rows(migrated) == before
    # Both in one statement, as a batch of events is stored.
    told = store(migrated, queries, INSERTS[table], [repeat, values_of(table, late)])
    assert table == "agent_runs" or told == [(RUN, late)]
    assert set(buckets(migrated, table)) == {old, late}
    assert set(before[table]) <= set(all_rows(migrated)[table])
    # And once more in rows and compressed rows of one chunk.
    assert store(migrated, queries, INSERTS[table], [repeat, values_of(table, late)]) == []
    compress(migrated, table, today() - datetime.timedelta(days=20))
    assert store(migrated, queries, INSERTS[table], [repeat, values_of(table, late)]) == []
    assert count(migrated, table) == 2


def test_a_placeholder_in_a_compressed_chunk_is_completed_and_ended(migrated, queries):
    run, other = id_of_day(-20), id_of_day(-20)
    store(migrated, queries, INSERTS["agent_runs"], [values_of("agent_runs", run), values_of("agent_runs", other)])
    compress(migrated, "agent_runs", today() - datetime.timedelta(days=20))
    named = {name: text for found in queries.values() for name, text in found}
    day = today() - datetime.timedelta(days=20)
    start = (f"PREPARE starting AS {named['run_start']}; EXECUTE starting ('{day}', '{run}', '{AGENT}', '{TEAM}', 'test', NULL, 'session', "
             "'{}', '{}', '2026-11-23T06:00:00Z', 'running')")
    assert len(migrated.sql(start)) == 1
    # It is no placeholder any more.
    assert migrated.sql(start) == []
    assert len(migrated.sql(f"PREPARE ending AS {named['run_end']}; EXECUTE ending ('{day}', '{run}', NULL, NULL, 'succeeded', NULL, NULL, NULL)")) == 1
    assert migrated.sql("SELECT id::text, status, session_id, placeholder FROM agent_runs ORDER BY placeholder") == [
        (run, "succeeded", "session", False), (other, "running", None, True)]


# --- compression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", SERIES)
def test_the_policy_compresses_what_is_older_than_a_week_and_neither_today_nor_the_undated(migrated, table):
    days = {today() + datetime.timedelta(days=offset): offset for offset in (-400, -30, -9, -6, -1, 0, 7)}
    undated = str(uuid.uuid4())
    migrated.sql(insert_text(table, [*(id_of_day(offset) for offset in days.values()), undated]))
    before = all_rows(migrated)
    assert compressed(migrated, table) == dict.fromkeys([*days, UNDATED], False)
    [(job,)] = migrated.sql(f"SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_compression' AND hypertable_name = '{table}'")
    # It commits between chunks.
    migrated.procedure(f"CALL run_job({job})")
    assert compressed(migrated, table) == {day: offset < -7 for day, offset in days.items()} | {UNDATED: False}
    assert all_rows(migrated) == before
    assert "as the model says" in migrated.migrate("check")


# --- where the features are not -----------------------------------------------------------------------------------------


@pytest.fixture
def apache_license(timescaledb):
    """The server says that it has the Apache license. This build cannot be started with it, which is where it is chosen."""
    # By another name, since PostgreSQL finds its own functions by number, whatever they are replaced by.
    timescaledb.sql("ALTER FUNCTION pg_catalog.current_setting(text, boolean) RENAME TO real_setting; "
                    "CREATE FUNCTION pg_catalog.current_setting(text, boolean) RETURNS text STABLE LANGUAGE sql AS "
                    "$$ SELECT CASE WHEN $1 = 'timescaledb.license' THEN 'apache' ELSE pg_catalog.real_setting($1, $2) END $$")
    yield
    timescaledb.sql("DROP FUNCTION pg_catalog.current_setting(text, boolean); "
                    "ALTER FUNCTION pg_catalog.real_setting(text, boolean) RENAME TO current_setting")


def test_with_the_apache_license_the_partitions_are_native(hyper_database, apache_license):
    hyper_database.migrate("upgrade", "head")
    assert hypertables(hyper_database) == []
    assert partitioned(hyper_database) == list(SERIES)
    assert "as the model says" in hyper_database.migrate("check")
    hyper_database.migrate("downgrade", PLAIN)
    hyper_database.migrate("upgrade", "head")
    assert partitioned(hyper_database) == list(SERIES)


# --- later revisions --------------------------------------------------------------------------------------------------


def test_a_column_added_by_a_later_revision_is_told_by_check_and_taken_back(migrated, migrations):
    migrated.sql(insert_text("llm_calls", [id_of_day(-20), id_of_day(0)]))
    compress(migrated, "llm_calls", today() - datetime.timedelta(days=20))
    before, model = all_rows(migrated), columns(migrated)
    write(migrated, "colour", "ALTER TABLE llm_calls ADD COLUMN colour text;", "ALTER TABLE llm_calls DROP COLUMN colour;")
    migrated.migrate("upgrade", "head")
    assert "ALTER TABLE llm_calls DROP COLUMN colour" in migrated.migrate("check", status=1)
    assert migrated.sql("SELECT colour, count(*) FROM llm_calls GROUP BY 1") == [(None, 2)]
    migrated.sql(insert_text("llm_calls", [id_of_day(-20)]))
    migrated.sql("UPDATE llm_calls SET colour = 'blue'")
    assert migrated.sql("SELECT colour, count(*) FROM llm_calls GROUP BY 1") == [("blue", 3)]
    migrated.migrate("downgrade", "-1")
    assert set(before["llm_calls"]) < set(all_rows(migrated)["llm_calls"])
    assert columns(migrated) == model




@pytest.mark.parametrize("loss", ["DROP INDEX llm_calls_timestamp_idx",
                                  "ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_status_check",
                                  "ALTER TABLE agent_runs DROP CONSTRAINT agent_runs_agent_id_fkey",
                                  "ALTER TABLE llm_calls DROP COLUMN usage",
                                  "ALTER TABLE llm_calls ALTER COLUMN model DROP NOT NULL",
                                  "ALTER TABLE llm_calls ALTER COLUMN arrived_at DROP DEFAULT",
                                  "COMMENT ON COLUMN llm_calls.usage IS NULL"])
def test_what_a_hypertable_lacks_is_generated_and_applied(migrated, migrations, loss):
    migrated.sql(insert_text("llm_calls", [id_of_day(-20), id_of_day(0)]) + ";" + insert_text("agent_runs", [id_of_day(-20), id_of_day(0)]))
    migrated.sql(loss)
    assert "not as the model says" in migrated.migrate("check", status=1)
    for table in ("llm_calls", "agent_runs"):
        compress(migrated, table, today() - datetime.timedelta(days=20))
    assert migrated.migrate("revision", "--autogenerate", "-m", "as the model says")
    migrated.migrate("upgrade", "head")
    assert "as the model says" in migrated.migrate("check")
