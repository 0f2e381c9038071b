"""`cognive migrate`: revisions are written, reviewed, joined and applied as a developer does it, and survive what goes wrong."""

import contextlib
import re
import signal

import psycopg2
import pytest

from installation import BINARY, wait_until
from revisions import branch, head_of, write


def test_the_files_at_hand_are_those_of_the_binary(database, revisions, workplace, migrations):
    assert "using the revisions" not in database.run("history").stderr
    assert head_of(database) == revisions[-1]
    elsewhere = migrations.rename(workplace / "elsewhere")
    assert revisions[-1] in database.migrate("history", "--directory", str(elsewhere))


def test_an_empty_revision_is_written_after_the_head_and_shown(database, migrations):
    before = head_of(database)
    path = database.workplace / database.migrate("revision", "-m", "Agents get a colour").strip()
    assert re.fullmatch(r"\d{8}_\d{4}_[0-9a-f]{4}_agents_get_a_colour\.sql", path.name)
    text = path.read_text()
    assert f"-- down: {before}\n-- message: Agents get a colour\n-- transaction: yes\n-- upgrade\n-- downgrade\n" in text
    assert path.name in (migrations / "migrations.sum").read_text().splitlines()[-1]
    done = database.run("history")
    assert "Agents get a colour" in done.stdout and "not those of this binary" in done.stderr
    new = head_of(database)
    assert new != before and database.migrate("show", "head") == text
    # By its beginning and by its random end.
    assert database.migrate("show", new[:-1]) == text and database.migrate("show", new[-4:]) == text
    assert "may be any of" in database.migrate("show", "20", status=1)
    assert "no revision" in database.migrate("show", "nonsense", status=1)
    database.migrate("upgrade", new[-4:])
    assert database.migrate("current").strip() == f"{new} (head)"
    database.migrate("downgrade", before[-4:])
    assert database.migrate("current").strip() == before


@pytest.mark.parametrize("arguments", [("revision", "-m", ""), ("revision", "-m", "two\nlines"), ("revision", "-m", "x", "--directory", "nowhere"),
                                       ("merge",), ("merge", "head"), ("rehash", "--directory", "nowhere"), ("stamp", "nonsense")])
def test_what_cannot_be_written_is_a_sentence(database, migrations, arguments):
    before = sorted((path.name, path.read_bytes()) for path in migrations.iterdir())
    database.migrate(*arguments, status=1)
    assert sorted((path.name, path.read_bytes()) for path in migrations.iterdir()) == before


def test_an_edited_revision_is_noticed_until_it_is_hashed_anew(database, migrations):
    path = database.workplace / database.migrate("revision", "-m", "x").strip()
    path.write_text(path.read_text().replace("-- upgrade\n", "-- upgrade\nALTER TABLE agents ADD COLUMN colour text;\n"))
    for verb in (("upgrade",), ("history",), ("current",), ("revision", "-m", "y")):
        said = database.migrate(*verb, status=1)
        assert path.name in said and "rehash" in said
    database.migrate("rehash")
    database.migrate("upgrade")
    path.write_text(path.read_text().replace("colour", "color"))
    database.migrate("rehash")
    # Now it has been applied: editing it is too late.
    for verb in (("upgrade",), ("downgrade", "-1"), ("check",)):
        assert "other content" in database.migrate(*verb, status=1)


def test_two_heads_are_told_refused_and_merged(database, migrations):
    base = head_of(database)
    one = write(database, "one", "CREATE TABLE one (x int);", "DROP TABLE one;")
    two = branch(database, migrations, "two", "CREATE TABLE two (x int);", "DROP TABLE two;")
    assert database.migrate("heads").split() == [one, "(head)", two, "(head)"]
    branches = database.migrate("branches")
    assert branches.startswith(f"{base} (branchpoint)\n") and f"-> {one}: one" in branches and f"-> {two}: " in branches
    assert "several heads" in database.migrate("upgrade", "head", status=1)
    assert "several heads" in database.migrate("revision", "-m", "three", status=1)
    assert "base" in database.migrate("current")
    database.migrate("upgrade", "heads")
    assert database.sql("SELECT version_num FROM alembic_version ORDER BY 1") == [(one,), (two,)]
    database.migrate("merge", "heads", "-m", "one and two")
    merged = head_of(database)
    assert f"-- down: {one}, {two}\n" in database.migrate("show", merged)
    database.migrate("upgrade", "head")
    assert database.sql("SELECT version_num FROM alembic_version") == [(merged,)]
    database.migrate("downgrade", "-1")
    assert len(database.migrate("current").splitlines()) == 2
    database.migrate("downgrade", base)
    assert database.migrate("current").strip() == base
    assert database.sql("SELECT to_regclass('one'), to_regclass('two')") == [(None, None)]


def test_a_migrated_database_has_nothing_to_generate_also_after_a_dump(database, new_database, migrations):
    database.migrate("upgrade")
    copy = new_database()
    copy.load(database.dump())
    before = sorted(path.name for path in migrations.iterdir())
    for one in (database, copy):
        assert "as the model says" in one.migrate("check")
        done = one.run("revision", "--autogenerate", "-m", "nothing")
        assert done.returncode == 0 and done.stdout == "" and done.stderr == "nothing to do: the database is as the model says\n"
    assert sorted(path.name for path in migrations.iterdir()) == before
    assert copy.migrate("current") == database.migrate("current")
    copy.migrate("downgrade", "base")


def test_what_differs_is_generated_reviewed_and_applied(database, migrations):
    database.migrate("upgrade")
    database.sql("DROP INDEX agents_created_at_idx; ALTER TABLE agents ADD COLUMN colour text; ALTER TABLE teams ALTER COLUMN created_at DROP DEFAULT")
    said = database.migrate("check", status=1)
    assert "not as the model says" in said and "agents_created_at_idx" in said and "colour" in said
    before = database.catalogue()
    written = database.migrate("revision", "--autogenerate", "-m", "as the model says").splitlines()
    assert len(written) == 2
    together, apart = ((database.workplace / path).read_text() for path in written)
    assert "-- transaction: yes" in together and "\nALTER TABLE teams ALTER COLUMN created_at SET DEFAULT now();\n" in together
    assert "-- REVIEW:" in together and "\n-- ALTER TABLE agents DROP COLUMN colour;\n" in together
    assert "-- transaction: no" in apart and "CREATE INDEX CONCURRENTLY agents_created_at_idx" in apart
    database.migrate("upgrade")
    # Not reviewed, so the column is still there.
    assert "colour" in database.migrate("check", status=1)
    assert database.sql("SELECT colour FROM agents") == []
    database.migrate("downgrade", "-2")
    assert database.catalogue() == before
    path = database.workplace / written[0]
    path.write_text(re.sub(r"^-- (ALTER TABLE agents .*)$", r"\1", path.read_text(), flags=re.M))
    database.migrate("rehash")
    database.migrate("upgrade")
    assert "as the model says" in database.migrate("check")


def test_nothing_is_generated_or_checked_before_the_database_is_at_the_head(database, migrations):
    database.migrate("upgrade", "+1")
    assert "upgrade it first" in database.migrate("revision", "--autogenerate", "-m", "x", status=1)
    assert "cognive migrate upgrade head" in database.migrate("check", status=1)


def test_what_cannot_be_generated_is_refused_with_a_recipe(database, migrations):
    database.migrate("upgrade")
    database.sql("ALTER TABLE agents DROP CONSTRAINT agents_pkey CASCADE")
    before = sorted(path.name for path in migrations.iterdir())
    assert "By hand: " in database.migrate("revision", "--autogenerate", "-m", "x", status=1)
    assert sorted(path.name for path in migrations.iterdir()) == before


def test_stamping_says_where_a_database_is_and_runs_nothing(database, new_database, revisions):
    database.migrate("upgrade")
    copy = new_database()
    copy.load(database.dump("--exclude-table=alembic_*"))
    assert "base" in copy.migrate("current")
    before = copy.catalogue("--exclude-table=alembic_*")
    for target, expected in (("head", revisions[-1:]), (revisions[0][-4:], revisions[:1]), ("base", []), ("heads", revisions[-1:])):
        copy.migrate("stamp", target)
        assert [name for (name,) in copy.sql("SELECT version_num FROM alembic_version")] == expected
    assert copy.catalogue("--exclude-table=alembic_*") == before
    assert "as the model says" in copy.migrate("check")
    assert copy.migrate("upgrade") == ""


def test_the_printed_statements_do_what_the_upgrade_does(database, new_database, revisions):
    flags = ("--exclude-table=alembic_revision_log*",)
    database.migrate("upgrade")
    by_hand = new_database()
    by_hand.load(by_hand.migrate("upgrade", "head", "--sql"))
    assert by_hand.catalogue(*flags) == database.catalogue(*flags)
    assert by_hand.migrate("current") == database.migrate("current")
    assert "as the model says" in by_hand.migrate("check")
    # In two parts, and back.
    parts = new_database()
    parts.load(parts.migrate("upgrade", revisions[0], "--sql"))
    parts.load(parts.migrate("upgrade", f"{revisions[0]}:head", "--sql"))
    assert parts.catalogue(*flags) == database.catalogue(*flags)
    parts.load(parts.migrate("downgrade", "head:base", "--sql"))
    assert parts.sql("SELECT * FROM alembic_version") == []
    tables = parts.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert [name for (name,) in tables] == ["alembic_revision_log", "alembic_version"]


def test_a_failure_names_the_revision_the_line_and_the_statement(database, migrations):
    base = head_of(database)
    bad = write(database, "bad", "CREATE TABLE one (x int);\nSELECT\n  1 / 0;")
    said = database.migrate("upgrade", status=1)
    assert f"revision {bad} (bad) failed at line 7 of {bad}_bad.sql and changed nothing: division by zero [22012]" in said
    assert database.migrate("current").strip() == base
    assert database.sql("SELECT to_regclass('one')") == [(None,)]


@pytest.mark.parametrize("transaction", [True, False])
def test_an_upgrade_that_was_killed_in_the_middle_is_finished_by_the_next_one(database, migrations, transaction):
    database.migrate("upgrade")
    slow = "INSERT INTO steps SELECT 2 FROM (SELECT pg_sleep(1.5)) s;"
    new = write(database, "long", f"CREATE TABLE steps (n int);\nINSERT INTO steps VALUES (1);\n{slow}\nINSERT INTO steps VALUES (3);",
                "DROP TABLE steps;", transaction)
    running = database.start("upgrade")
    wait_until(lambda: database.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(1.5)%' "
                                    "AND pid <> pg_backend_pid() AND state = 'active'"), "the slow statement")
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    # The next migrator waits until the server has noticed.
    assert new in database.migrate("upgrade")
    assert database.sql("SELECT n FROM steps ORDER BY 1") == [(1,), (2,), (3,)]
    assert database.migrate("current").strip() == f"{new} (head)"
    database.migrate("downgrade", "-1")
    assert database.sql("SELECT to_regclass('steps')") == [(None,)]


def test_killed_at_any_moment_the_next_upgrade_ends_at_the_head(database, revisions):
    empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
    database.sql(empty)
    database.migrate("upgrade")
    expected = database.catalogue()
    connected = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    locked = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database() AND locktype = 'advisory'"
    begun = [f"SELECT 1 FROM alembic_revision_log WHERE revision = '{revision}'" for revision in (revisions[0], revisions[-1])]
    moments = [connected, locked, *begun, f"SELECT 1 FROM alembic_version WHERE version_num = '{revisions[0]}'"]
    for moment in moments:
        database.sql(empty)
        with contextlib.closing(psycopg2.connect(database.url)) as watcher, watcher.cursor() as cursor:
            watcher.autocommit = True
            running = database.start("upgrade", "head")

            def has_come():
                with contextlib.suppress(psycopg2.errors.UndefinedTable):
                    cursor.execute(moment)
                    return cursor.fetchall()
                return False

            while running.poll() is None and not has_come():
                pass
            running.send_signal(signal.SIGKILL)
            running.communicate(timeout=30)
        database.migrate("upgrade", "head")
        assert database.migrate("current").strip() == f"{revisions[-1]} (head)", moment
        assert database.catalogue() == expected, moment


def test_under_the_name_alembic_revisions_are_written_too(database, migrations, tmp_path):
    alembic = tmp_path / "alembic"
    alembic.symlink_to(BINARY.resolve())
    path = database.migrate("revision", "-m", "by habit", program=(alembic,)).strip()
    assert (database.workplace / path).exists()
    database.migrate("upgrade", "head", program=(alembic,))
    assert head_of(database) in database.migrate("current", program=(alembic,))
    assert "as the model says" in database.migrate("check", program=(alembic,))
