"""`cognive migrate`: Alembic's verbs move a database along its revisions and back, and leave it as it was."""

import contextlib
import re
import subprocess

import psycopg2
import pytest

from installation import BINARY, clean_environment, run_cognive


def test_an_empty_database_goes_to_head_and_says_each_step(database, revisions):
    assert "base" in database.migrate("current")
    said = database.migrate("upgrade", "head")
    assert [line.split()[3].rstrip(":") for line in said.splitlines()] == revisions
    assert database.migrate("current").strip() == f"{revisions[-1]} (head)"
    assert database.sql("SELECT version_num FROM alembic_version") == [(revisions[-1],)]
    assert database.sql("SELECT name FROM teams") == [("default",)]
    assert database.migrate("upgrade", "head") == ""


def test_the_history_lists_the_newest_first(database, revisions):
    lines = [line for line in database.migrate("history").splitlines() if re.match(r"\d{8}_", line)]
    assert f"{revisions[-1]} (head)" in lines[0] and lines[-1].split("base")[0].strip().removesuffix(" (head)") == revisions[0]
    assert revisions == sorted(revisions)


def test_a_round_trip_leaves_an_identical_catalogue(database, revisions):
    database.migrate("upgrade", "head")
    tables = [name for (name,) in database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    rows = {name: database.sql(f"SELECT t::text FROM {name} t ORDER BY 1") for name in ("teams", "roles")} if {"teams", "roles"} <= set(tables) else {}
    before = database.catalogue()
    assert any("CREATE TABLE public.llm_calls" in line for line in before)
    said = database.migrate("downgrade", "base")
    assert [line.split()[1] for line in said.splitlines()] == revisions[::-1]
    assert "base" in database.migrate("current")
    left = database.sql("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S', 'm', 'p') ORDER BY 1")
    assert left == [("alembic_revision_log",), ("alembic_revision_log_id_seq",), ("alembic_version",)]
    assert database.sql("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace") == []
    assert database.sql("SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')") == []
    database.migrate("upgrade", "head")
    assert database.catalogue() == before
    for name, content in rows.items():
        now = database.sql(f"SELECT t::text FROM {name} t ORDER BY 1")
        # Times of creation differ.
        assert [re.sub(r"\"[^\"]*\"", "", row[0]) for row in now] == [re.sub(r"\"[^\"]*\"", "", row[0]) for row in content]


def test_steps_are_counted_and_named(database, revisions):
    database.migrate("upgrade", "+1")
    assert database.migrate("current").split()[0] == revisions[0]
    database.migrate("downgrade", "-1")
    assert "base" in database.migrate("current")
    for number, revision in enumerate(revisions, 1):
        database.migrate("upgrade", "+1")
        catalogue = database.catalogue()
        database.migrate("downgrade", "-1")
        database.migrate("upgrade", revision)
        assert database.catalogue() == catalogue, revision
        assert database.migrate("current").split()[0] == revision
        assert database.migrate("upgrade", revision) == ""
        if number < len(revisions):
            assert "(head)" not in database.migrate("current")
    database.migrate("downgrade", revisions[0])
    assert database.migrate("current").split()[0] == revisions[0]


def test_a_target_that_does_not_exist_is_a_sentence_and_changes_nothing(database, revisions):
    database.migrate("upgrade", "head")
    before = database.catalogue()
    for verb in (("upgrade", "+1"), ("upgrade", "nonsense"), ("upgrade", "-1"), ("upgrade", "+x"), ("upgrade", "'; DROP TABLE teams; --"),
                 ("downgrade", f"-{len(revisions) + 1}"), ("downgrade", "nonsense"), ("downgrade", "-99999999999999999999")):
        database.migrate(*verb, status=1)
        assert database.catalogue() == before, verb
    # This one exists, and there is nothing to take back.
    assert database.migrate("downgrade", "head") == ""
    assert database.migrate("current").split()[0] == revisions[-1]


def test_migrators_at_once_do_not_collide(database, revisions):
    racers = [database.start("upgrade", "head") for _ in range(5)]
    outcomes = [(racer.communicate(timeout=60), racer.returncode) for racer in racers]
    assert [status for _, status in outcomes] == [0] * 5, outcomes
    applied = "".join(output for (output, _), _ in outcomes).splitlines()
    assert len(applied) == len(revisions)
    assert database.sql("SELECT version_num FROM alembic_version") == [(revisions[-1],)]
    # A migrator that is busy is waited for; looking is possible meanwhile.
    with contextlib.closing(psycopg2.connect(database.url)) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (0x636F676E697665,))
        waiting = database.start("upgrade", "head")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=0.5)
        assert revisions[-1] in database.migrate("current")
        cursor.execute("SELECT pg_advisory_unlock_all()")
        assert "nothing to upgrade" in waiting.communicate(timeout=10)[1]


def test_looking_at_the_revision_changes_nothing(database):
    before = database.catalogue()
    assert "base" in database.migrate("current")
    assert database.catalogue() == before


@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = 'deadbeef'", "INSERT INTO alembic_version VALUES ('deadbeef')"])
def test_a_version_that_this_binary_does_not_know_is_refused(database, change):
    database.migrate("upgrade", "head")
    database.sql(change)
    before = database.catalogue()
    for verb in (("current",), ("upgrade", "head"), ("upgrade", "+1"), ("downgrade", "base"), ("downgrade", "-1")):
        assert "deadbeef" in database.migrate(*verb, status=1)
    assert database.catalogue() == before


def test_tables_that_are_in_the_way_stop_the_upgrade_and_leave_it_undone(database):
    database.sql("CREATE TABLE agents (mine text)")
    said = database.migrate("upgrade", "head", status=1)
    assert "agents" in said
    assert "base" in database.migrate("current")
    assert database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1") == [("agents",), ("alembic_revision_log",), ("alembic_version",)]


def test_under_the_name_alembic_it_answers_the_same_verbs(database, revisions, tmp_path):
    alembic = tmp_path / "alembic"
    alembic.symlink_to(BINARY.resolve())

    def same(*verb):
        said = database.migrate(*verb, program=(alembic,))
        assert said == database.migrate(*verb)
        return said

    assert "base" in same("current")
    assert database.migrate("upgrade", "head", program=(alembic,)).splitlines()[-1].split()[3].rstrip(":") == revisions[-1]
    assert same("current").strip() == f"{revisions[-1]} (head)"
    assert revisions[-1] in same("history")
    database.migrate("downgrade", "-1", program=(alembic,))
    assert "(head)" not in database.migrate("current")
    database.migrate("upgrade", "+1", program=(alembic,))
    database.migrate("downgrade", "base", program=(alembic,))
    assert "base" in same("current")


def test_without_a_database_url_or_a_server_it_says_so_in_one_line(tmp_path):
    done = run_cognive("migrate", "current", env=clean_environment(COGNIVE_DATA=tmp_path))
    assert done.returncode == 1 and re.fullmatch(r"cognive: [^\n]*DATABASE_URL[^\n]*\n", done.stderr)
    done = run_cognive("migrate", "current", env=clean_environment(COGNIVE_DATA=tmp_path, DATABASE_URL="postgresql://x:s3cret@127.0.0.1:1/z"))
    assert done.returncode == 1 and re.fullmatch(r"cognive: [^\n]+\n", done.stderr) and "s3cret" not in done.stderr


@pytest.mark.parametrize("verb", [(), ("sideways",), ("downgrade",)])
def test_wrong_usage_is_explained(verb):
    done = run_cognive("migrate", *verb)
    assert done.returncode != 0 and "--help" in done.stderr + done.stdout
