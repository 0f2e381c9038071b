"""`cognive migrate` beside people and programs: what it prints for them, when it gives up, and what it needs of a role or a schema."""

import contextlib
import json
import subprocess

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from revisions import branch, head_of, write

MIGRATION_LOCK = 0x636F676E697665


def loaded(database, *verb, status=0):
    """The JSON that a verb prints."""
    done = database.run(*verb, "--json")
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


@pytest.fixture
def superuser(installation, database):
    """Runs statements in the test's database as role postgres."""
    parts = parse_dsn(database.url)
    dsn = make_dsn(host=installation.directory / "run", port=parts["port"], user="postgres", dbname=parts["dbname"])

    def run(*statements):
        with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)

    return run


def half_applied(database):
    """A revision of single statements that broke off behind the first; its id."""
    database.migrate("upgrade")
    new = write(database, "steps", "CREATE TABLE steps (n int);\nINSERT INTO steps VALUES (1 / 0);", "DROP TABLE steps;", transaction=False)
    database.migrate("upgrade", status=1)
    return new


# JSON.


def test_current_as_json_says_where_the_database_is(database, revisions):
    head = revisions[-1]
    assert loaded(database, "current") == {"current": [], "heads": [head], "at_head": False, "usable": False, "unfinished": []}
    database.migrate("upgrade", "+1")
    assert loaded(database, "current") == {"current": [revisions[0]], "heads": [head], "at_head": False, "usable": False, "unfinished": []}
    database.migrate("upgrade")
    assert loaded(database, "current") == {"current": [head], "heads": [head], "at_head": True, "usable": True, "unfinished": []}


def test_current_as_json_of_an_unknown_database_is_json_and_a_refusal(database):
    database.sql("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('ae1027a6acf')")
    state = loaded(database, "current", status=1)
    assert state["current"] == ["ae1027a6acf"] and not state["usable"] and not state["at_head"]


@pytest.mark.usefixtures("migrations")
def test_history_as_json_has_what_the_files_say(database, revisions):
    new = write(database, 'say "this" \\ that', "SELECT 1;", transaction=False, compatible_from=revisions[0])
    listed = loaded(database, "history")
    assert [one["revision"] for one in listed] == [new, *revisions[::-1]]
    assert listed[0] | {"file": ""} == {"revision": new, "down": [revisions[-1]], "message": 'say "this" \\ that', "file": "", "transaction": False,
                                        "compatible_from": revisions[0], "head": True}
    assert listed[0]["file"].startswith(new) and listed[-1]["down"] == [] and not listed[1]["head"]


def test_check_as_json_says_what_differs(database):
    database.migrate("upgrade")
    assert loaded(database, "check") == {"differs": False, "changes": [], "refusals": [], "skipped": []}
    database.sql("ALTER TABLE agents ADD COLUMN colour text; ALTER TABLE teams ALTER COLUMN created_at DROP DEFAULT")
    found = loaded(database, "check", status=1)
    assert found["differs"] and found["refusals"] == []
    losing = {change["object"]: change["loses_data"] for change in found["changes"]}
    assert losing == {"agents.colour": True, "teams.created_at default": False}
    assert "SET DEFAULT now()" in next(change["statements"] for change in found["changes"] if not change["loses_data"])
    database.sql("ALTER TABLE agents DROP CONSTRAINT agents_pkey CASCADE")
    found = loaded(database, "check", status=1)
    assert found["differs"] and any("By hand: " in refusal for refusal in found["refusals"])


# Half applied.


@pytest.mark.usefixtures("migrations")
def test_a_half_applied_revision_is_told_by_everything_that_looks(database):
    new = half_applied(database)
    sentence = f"revision {new} is half applied (1 of 2 statements)"
    done = database.run("current")
    assert done.returncode == 1 and sentence in done.stderr and "(head)" not in done.stdout
    assert loaded(database, "current")["unfinished"] == [sentence]
    assert sentence in database.migrate("check", status=1)
    assert sentence in database.migrate("downgrade", "-1", status=1)
    assert "upgrade it first" in database.migrate("revision", "--autogenerate", "-m", "x", status=1)


# Refusals.


def test_revisions_that_are_no_heads_are_not_merged(database, migrations):
    base = head_of(database)
    one = write(database, "one", "SELECT 1;")
    branch(database, migrations, "two", "SELECT 1;", "")
    before = sorted((path.name, path.read_bytes()) for path in migrations.iterdir())
    assert f"{base} is no head" in database.migrate("merge", base, one, "-m", "x", status=1)
    assert "alone" in database.migrate("merge", one, "-m", "x", status=1)
    assert sorted((path.name, path.read_bytes()) for path in migrations.iterdir()) == before


def test_nothing_is_generated_after_two_heads(database, migrations):
    write(database, "one", "SELECT 1;")
    branch(database, migrations, "two", "SELECT 1;", "")
    database.migrate("upgrade", "heads")
    before = sorted(path.name for path in migrations.iterdir())
    said = database.migrate("revision", "--autogenerate", "-m", "x", status=1)
    assert "several heads" in said and "cognive migrate merge" in said
    assert sorted(path.name for path in migrations.iterdir()) == before


@pytest.mark.parametrize("target", ["head", "base", "-1"])
def test_printing_the_way_back_needs_its_beginning(database, target):
    done = database.run("downgrade", target, "--sql")
    assert done.returncode == 1 and done.stdout == ""
    assert "from where to where" in done.stderr


# Waiting.


def test_an_upgrade_is_followed_line_by_line_through_a_pipe(database, migrations, revisions):
    database.migrate("upgrade")
    one = write(database, "one", "SELECT 1;")
    two = write(database, "two", "ALTER TABLE agents ADD COLUMN colour text;")
    with contextlib.closing(psycopg2.connect(database.url)) as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLE agents IN SHARE MODE")
        running = database.start("upgrade")
        lines = [running.stdout.readline() for _ in range(2)]
        # It says what it is doing while it does it.
        assert running.poll() is None
        assert lines == [f"upgrade {revisions[-1]} -> {one}: one\n", f"upgrade {one} -> {two}: two\n"]
        holder.rollback()
    assert running.wait(timeout=30) == 0, running.communicate()
    running.communicate()


@pytest.mark.parametrize("verb", [("upgrade",), ("downgrade", "-1"), ("stamp", "head")])
def test_who_waits_for_another_migration_gives_up_when_told_to(database, verb):
    database.migrate("upgrade")
    before = database.catalogue()
    with contextlib.closing(psycopg2.connect(database.url)) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        done = database.run(*verb[:1], "--wait", "1", *verb[1:])
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[0] == "waiting for another migration of this database to end"
    assert "another migration is running" in done.stderr.splitlines()[-1]
    assert database.catalogue() == before


# Roles and schemas.


def test_checking_a_read_only_database_says_what_is_needed(database, superuser):
    database.migrate("upgrade")
    name = parse_dsn(database.url)["dbname"]
    superuser(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    said = database.migrate("check", status=1)
    assert "read-only" in said and "use the primary" in said
    assert "(head)" in database.migrate("current")


def test_checking_with_a_role_that_may_only_read_says_what_is_needed(database, superuser):
    database.migrate("upgrade")
    name = parse_dsn(database.url)["dbname"]
    superuser(f"ALTER DATABASE {name} OWNER TO postgres",
              "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP "
              "EXECUTE format('ALTER TABLE %I OWNER TO postgres', t); EXECUTE format('GRANT SELECT ON %I TO cognive', t); END LOOP; END $$")
    said = database.migrate("check", status=1)
    assert "GRANT CREATE ON DATABASE" in said
    assert "(head)" in database.migrate("current")
    superuser(f"GRANT CREATE ON DATABASE {name} TO cognive")
    assert "as the model says" in database.migrate("check")


@pytest.mark.parametrize("path", ["mine", "mine, public"])
def test_tables_in_a_schema_of_their_own_are_migrated_and_compared_there(database, migrations, superuser, revisions, path):
    name = parse_dsn(database.url)["dbname"]
    superuser("CREATE SCHEMA mine AUTHORIZATION cognive", f"ALTER ROLE cognive IN DATABASE {name} SET search_path = {path}")
    database.migrate("upgrade")
    assert database.migrate("current").strip() == f"{revisions[-1]} (head)"
    assert database.sql("SELECT DISTINCT schemaname FROM pg_tables WHERE tableowner = 'cognive'") == [("mine",)]
    assert "as the model says" in database.migrate("check")
    done = database.run("revision", "--autogenerate", "-m", "nothing")
    assert done.returncode == 0 and done.stdout == "" and "nothing to do" in done.stderr
    database.sql("DROP INDEX agents_created_at_idx")
    written = database.migrate("revision", "--autogenerate", "-m", "index").splitlines()
    assert len(written) == 1 and "mine" not in (database.workplace / written[0]).read_text()
    database.migrate("upgrade")
    assert "as the model says" in database.migrate("check")
    database.migrate("downgrade", "base")
    assert database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'mine' ORDER BY 1") == [("alembic_revision_log",), ("alembic_version",)]


def test_a_search_path_that_names_no_schema_is_a_sentence(database, superuser):
    name = parse_dsn(database.url)["dbname"]
    superuser(f"ALTER ROLE cognive IN DATABASE {name} SET search_path = nowhere")
    assert "search_path names no schema" in database.migrate("upgrade", status=1)


# Printed statements.


LOG = "SELECT revision, direction, message, hash, compatible_from, statements, done, error, finished_at IS NOT NULL FROM alembic_revision_log ORDER BY id"


def test_printed_statements_leave_the_log_that_an_upgrade_leaves(database, new_database, migrations):
    base = head_of(database)
    write(database, "gentle; it's", "CREATE TABLE gentle (x int);", "DROP TABLE gentle;", compatible_from=base)
    database.migrate("upgrade")
    by_hand = new_database()
    by_hand.load(by_hand.migrate("upgrade", "head", "--sql"))
    assert by_hand.sql(LOG) == database.sql(LOG)
    assert by_hand.sql(LOG)[-1][4] == base
    assert by_hand.migrate("upgrade") == ""
    assert "gentle" in by_hand.migrate("check", status=1)
    # Whoever lacks the last revision can work with it; whoever has it knows that it is missing.
    own = by_hand.sql("SELECT version_num FROM alembic_version")
    migrations.rename(migrations.with_name("elsewhere"))
    assert loaded(by_hand, "current") == {"current": [own[0][0]], "heads": [base], "at_head": False, "usable": True, "unfinished": []}
    assert by_hand.migrate("upgrade") == ""
    assert by_hand.sql("SELECT version_num FROM alembic_version") == own


def test_printed_statements_of_a_part_of_the_way_are_found_to_be_older(database, revisions):
    database.load(database.migrate("upgrade", revisions[0], "--sql"))
    assert loaded(database, "current")["usable"] is False
    assert revisions[0] in database.migrate("check", status=1)
    database.load(database.migrate("upgrade", f"{revisions[0]}:head", "--sql"))
    assert loaded(database, "current")["at_head"] is True
    assert [row[0] for row in database.sql(LOG)] == revisions
    # An edited file is noticed there, too.
    database.sql(f"UPDATE alembic_revision_log SET hash = 'other' WHERE revision = '{revisions[0]}'")
    assert "other content" in database.migrate("upgrade", status=1)


def test_printed_statements_go_through_psql_as_a_pipe(database, revisions):
    printed = database.run("upgrade", "head", "--sql")
    done = subprocess.run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "--single-transaction", database.url], input=printed.stdout, capture_output=True,
                          text=True, timeout=60, check=False)
    # Revisions bring their own transactions; psql only warns of the one around them.
    assert done.returncode == 0, done.stderr
    assert database.migrate("current").strip() == f"{revisions[-1]} (head)"
