"""`cognive serve` and the tables that it finds: it serves what it can work with, brings forward what it is told to, and refuses the rest."""

import contextlib
import json
import re
import secrets
import signal
import subprocess

import psycopg2
import pytest

from installation import BINARY, Api, clean_environment, wait_until
from revisions import head_of, write

MIGRATION_LOCK = 0x636F676E697665


class Serving:
    """One `cognive serve` on a database; its log is `log`."""

    def __init__(self, database, *flags):
        self.log = database.workplace / f"serve-{secrets.token_hex(4)}.log"
        env = clean_environment(DATABASE_URL=database.url, COGNIVE_MASTER_KEY="0" * 32)
        with open(self.log, "w") as output:
            self.process = subprocess.Popen([BINARY, "serve", "--port", "0", *flags], env=env, cwd=database.workplace, stdout=output, stderr=output)

    def said(self):
        """All that it has logged."""
        return self.log.read_text()

    def port(self):
        """Where it listens; None as long as it does not."""
        found = re.search(r'"message":"listening".*?"port":"?(\d+)', self.said())
        return found and int(found[1])

    def wait_listening(self):
        """A client without a key, as soon as it listens."""
        def listening():
            assert self.process.poll() is None, self.said()
            return self.port()

        return Api(f"http://127.0.0.1:{wait_until(listening, 'cognive serve listens', 30)}", None)

    def refusal(self):
        """The sentence with which it does not start."""
        assert self.process.wait(timeout=30) == 1, self.said()
        assert self.port() is None
        # The statement that failed follows its sentence.
        sentences = [line for line in self.said().splitlines() if not line.startswith(("{", "  "))]
        assert len(sentences) == 1 and sentences[0].startswith("cognive: "), self.said()
        return sentences[0]

    def log_lines(self):
        """Its log, line by line."""
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def messages(self):
        """The messages of its log."""
        return [line["message"] for line in self.log_lines()]

    def applied(self):
        """The revisions that it says it applies."""
        return [line["revision"] for line in self.log_lines() if "revision" in line]


@pytest.fixture
def serve(database):
    """Starts `cognive serve` on the test's database; what still runs at the end must stop well."""
    started = []

    def start(*flags, on=database):
        started.append(Serving(on, *flags))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGTERM)
            assert each.process.wait(timeout=30) == 0, each.said()


def is_ready(api):
    """Whether it says that it can work."""
    return api.get("/api/v1/health/readiness").status_code == 200


def newer(database, compatible):
    """The database at a revision after those of the binary."""
    base = head_of(database)
    new = write(database, "later", "CREATE TABLE later (x int);", "DROP TABLE later;", compatible_from=base if compatible else None)
    database.migrate("upgrade")
    return new


def test_tables_of_its_own_version_are_served(database, serve):
    database.migrate("upgrade")
    for flags in ((), ("--migrate",)):
        serving = serve(*flags)
        assert is_ready(serving.wait_listening())
        assert serving.applied() == []


def test_older_tables_are_refused_with_the_way_forward_and_left_alone(database, serve, revisions):
    database.migrate("upgrade", revisions[-2])
    before = database.catalogue()
    said = serve().refusal()
    assert revisions[-2] in said and revisions[-1] in said
    assert "cognive migrate upgrade head" in said and said.endswith("or start with --migrate")
    assert database.catalogue() == before


@pytest.mark.parametrize("start", ["base", "first", "last but one"])
def test_older_tables_are_brought_forward_first_when_it_is_told_to(database, serve, revisions, start):
    if start != "base":
        database.migrate("upgrade", revisions[0] if start == "first" else revisions[-2])
    serving = serve("--migrate")
    assert is_ready(serving.wait_listening())
    assert serving.applied() == revisions[{"base": 0, "first": 1, "last but one": len(revisions) - 1}[start]:]
    lines = serving.log_lines()
    assert serving.messages().index("listening") > max(index for index, line in enumerate(lines) if "revision" in line)
    assert database.migrate("current").strip() == f"{revisions[-1]} (head)"
    assert "as the model says" in database.migrate("check")


def test_its_log_says_what_it_applies_and_no_line_says_two_things_under_one_name(database, serve, revisions):
    serving = serve("--migrate")
    serving.wait_listening()

    def once(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), pairs
        return dict(pairs)

    lines = [json.loads(line, object_pairs_hook=once) for line in serving.said().splitlines() if line.startswith("{")]
    assert [line["revision"] for line in lines if line["message"] == "applying a revision"] == revisions


def test_an_empty_database_is_refused_with_the_way_forward_and_stays_empty(database, serve):
    before = database.catalogue()
    said = serve().refusal()
    assert "empty" in said and "cognive migrate upgrade head" in said and said.endswith("or start with --migrate")
    assert database.catalogue() == before


@pytest.mark.usefixtures("migrations")
def test_newer_tables_that_say_that_they_are_compatible_are_served_and_left_alone(database, serve):
    new = newer(database, compatible=True)
    for flags in ((), ("--migrate",)):
        assert is_ready(serve(*flags).wait_listening())
        assert database.sql("SELECT version_num FROM alembic_version") == [(new,)]


@pytest.mark.usefixtures("migrations")
def test_newer_tables_that_do_not_say_so_are_refused_with_or_without_migrating(database, serve):
    new = newer(database, compatible=False)
    before = database.catalogue()
    for flags in ((), ("--migrate",)):
        said = serve(*flags).refusal()
        assert new in said and "does not know" in said and "--migrate" not in said
    assert database.catalogue() == before


@pytest.mark.parametrize("flags", [(), ("--migrate",)])
def test_tables_of_another_system_are_refused_and_get_nothing(database, serve, flags):
    database.sql("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('ae1027a6acf'); "
                 "CREATE TABLE agents (mine text)")
    before = database.catalogue()
    assert "ae1027a6acf" in serve(*flags).refusal()
    assert database.catalogue() == before


def test_while_another_migrator_is_busy_it_waits_and_does_not_listen(database, serve, revisions):
    database.migrate("upgrade", revisions[0])
    with contextlib.closing(psycopg2.connect(database.url)) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        holder.commit()
        one, two = serve("--migrate"), serve("--migrate")
        for serving in (one, two):
            wait_until(lambda: "waiting for another migration to end" in serving.said(), "it says that it waits", 30)
        # It goes on asking, and does nothing else.
        asked = set()

        def asked_often():
            asked.update(database.sql("SELECT pid, query_start FROM pg_stat_activity WHERE datname = current_database() "
                                      "AND query LIKE 'SELECT pg_try_advisory_lock%'"))
            return len(asked) > 8

        wait_until(asked_often, "it asks for the lock again and again", 30)
        for serving in (one, two):
            assert serving.process.poll() is None and serving.port() is None
            assert serving.messages().count("waiting for another migration to end") == 1
        assert database.sql("SELECT version_num FROM alembic_version") == [(revisions[0],)]
        cursor.execute("SELECT pg_advisory_unlock_all()")
        holder.commit()
    for serving in (one, two):
        assert is_ready(serving.wait_listening())
    # One of them did it.
    assert sorted(one.applied() + two.applied()) == revisions[1:]
    assert database.migrate("current").strip() == f"{revisions[-1]} (head)"


def test_told_to_bring_a_database_forward_that_is_away_it_does_not_start(database, serve):
    database.url = "postgresql://cognive:s3cret@127.0.0.1:1/cognive"
    said = serve("--migrate").refusal()
    assert "s3cret" not in said


def test_a_revision_that_fails_keeps_it_from_starting(database, serve, revisions):
    database.migrate("upgrade", "+1")
    # Something is in the way of whatever follows.
    database.sql("DROP TABLE user_roles CASCADE")
    said = serve("--migrate").refusal()
    assert revisions[1] in said and "changed nothing" in said
    assert database.sql("SELECT version_num FROM alembic_version") == [(revisions[0],)]
